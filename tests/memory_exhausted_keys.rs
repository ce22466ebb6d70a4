//! Memory that runs out where keys are wrapped, derived and agreed on, and in messages: as in
//! `memory_exhausted.rs`, CKR_HOST_MEMORY or the work done, and a process that lives.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::undocumented_unsafe_blocks, missing_docs)]

mod common;

use common::exhausted::*;
use common::*;

const IV: &[u8] = b"0123456789abcdef";
/// Bytes that a call finds, from none to more than it needs.
const ROOMS: [usize; 6] = [0, 1 << 12, 1 << 14, 1 << 16, 1 << 18, 1 << 20];

fn generic(len: CK_ULONG) -> Template {
    Template::new()
        .set(CKA_CLASS, CKO_SECRET_KEY)
        .set(CKA_KEY_TYPE, CKK_GENERIC_SECRET)
        .set(CKA_VALUE_LEN, len)
}

/// A template as the calls take it, made while there is memory.
struct Ready {
    attributes: Vec<CK_ATTRIBUTE>,
    /// What they point to.
    _template: Template,
}

impl Ready {
    fn new(template: Template) -> Self {
        Self {
            attributes: template.attributes(),
            _template: template,
        }
    }

    fn raw(&self) -> (*mut CK_ATTRIBUTE, CK_ULONG) {
        let list = &self.attributes;
        (list.as_ptr().cast_mut(), list.len() as CK_ULONG)
    }
}

/// Makes the call without memory again and again, then with ever more room, in the end with all there is. How
/// often it was refused.
fn starve(name: &str, session: Session, mut call: impl FnMut() -> Result<(), Rv>) -> usize {
    let mut answers = Vec::with_capacity(2 * ROOMS.len());
    {
        // The first call finds the module's ballast, the next what that has left of it.
        session.info().unwrap();
        let mut full = Full::take();
        for _ in ROOMS {
            full.take_more();
            answers.push(call());
        }
    }
    for room in ROOMS {
        session.info().unwrap();
        answers.push(limited(room, &mut call));
    }
    call().unwrap();
    answers
        .into_iter()
        .filter(|answer| !is_answer(name, *answer))
        .count()
}

fn alone_in_software(body: impl Fn(Session)) {
    isolated_on(&[SOFTWARE], |world| {
        world.process(|| body(world.token().user()))
    });
}

#[test]
fn keys_that_are_derived() {
    alone_in_software(|session| {
        let (module, handle) = (session.module, session.handle);
        let mut refusals = 0;
        let derives = || Template::new().set(CKA_DERIVE, true);
        let aes = aes_template(&[3; 16]).with(&derives());
        let aes = session.create(&aes).unwrap();
        let secret = generic_secret_template(&[4; 32]).with(&derives());
        let secret = session.create(&secret).unwrap();
        let ec = session.ec(Curve::P256);
        let point = session.get(ec.public, CKA_EC_POINT).unwrap();
        let mut counter: CK_SP800_108_COUNTER_FORMAT = unsafe { std::mem::zeroed() };
        counter.ulWidthInBits = 32;
        let mut part = CK_PRF_DATA_PARAM {
            type_: CK_SP800_108_ITERATION_VARIABLE,
            pValue: (&raw mut counter).cast(),
            ulValueLen: size_of_val(&counter) as CK_ULONG,
        };
        let kdf = CK_SP800_108_KDF_PARAMS {
            prfType: CKM_SHA256_HMAC,
            ulNumberOfDataParams: 1,
            pDataParams: &mut part,
            ulAdditionalDerivedKeys: 0,
            pAdditionalDerivedKeys: null_mut(),
        };
        let kdf = Mech::structure(CKM_SP800_108_COUNTER_KDF, kdf, vec![]);
        let public = Template::new().set(CKA_CLASS, CKO_PUBLIC_KEY);
        let bytes = Template::new()
            .set(CKA_CLASS, CKO_DATA)
            .set(CKA_VALUE_LEN, 1000 as CK_ULONG);
        let long = generic(5000);
        for (mechanism, base, template) in [
            (Mech::ecdh(CKD_NULL, b"", &point), ec.private, generic(32)),
            (
                Mech::ecdh(CKD_SHA256_KDF, b"shared", &point),
                ec.private,
                long.clone(),
            ),
            (
                Mech::hkdf(CKM_HKDF_DERIVE, Some(b"salt"), Some(b"info")),
                secret,
                long.clone(),
            ),
            (
                Mech::hkdf(CKM_HKDF_DATA, None, Some(b"info")),
                secret,
                bytes,
            ),
            (kdf, secret, long),
            (Mech::ecb_data(&[1; 4096]), aes, generic(4096)),
            (Mech::cbc_data([0; 16], &[1; 4096]), aes, generic(4096)),
            (Mech::new(CKM_PUB_KEY_FROM_PRIV_KEY), ec.private, public),
        ] {
            let (mut raw, template, mut key) = (mechanism.raw(), Ready::new(template), 0);
            let name = format!("C_DeriveKey {:#x}", mechanism.kind);
            let (list, count) = template.raw();
            refusals += starve(&name, session, || {
                try_call!(
                    module,
                    C_DeriveKey(handle, &mut raw, base, list, count, &mut key)
                )
            });
        }
        let password = Mech::pbkdf2(b"password", b"salt", 1);
        let (mut raw, template, mut key) = (password.raw(), Ready::new(generic(32)), 0);
        let (list, count) = template.raw();
        refusals += starve("C_GenerateKey", session, || {
            try_call!(
                module,
                C_GenerateKey(handle, &mut raw, list, count, &mut key)
            )
        });
        assert!(refusals > 0);
    });
}

#[test]
fn keys_that_are_wrapped() {
    alone_in_software(|session| {
        let (module, handle) = (session.module, session.handle);
        let mut refusals = 0;
        let carries = Template::new()
            .set(CKA_WRAP, true)
            .set(CKA_UNWRAP, true)
            .set(CKA_DECRYPT, true);
        let aes = session.create(&aes_template(&[3; 16]).with(&carries));
        let aes = aes.unwrap();
        let public = rsa_public_import().set(CKA_WRAP, true);
        let private = rsa_private_import().set(CKA_UNWRAP, true);
        let rsa = Pair {
            public: session.create(&public).unwrap(),
            private: session.create(&private).unwrap(),
        };
        let open = Template::new()
            .set(CKA_SENSITIVE, false)
            .set(CKA_EXTRACTABLE, true);
        let secret = generic_secret_template(&[4; 32]).with(&open);
        let secret = session.create(&secret).unwrap();
        let private = session.create(&rsa_private_import().with(&open)).unwrap();
        let of_secret = || generic(32).without(CKA_VALUE_LEN);
        let of_private = || {
            Template::new()
                .set(CKA_CLASS, CKO_PRIVATE_KEY)
                .set(CKA_KEY_TYPE, CKK_RSA)
        };
        let oaep = Mech::oaep(CKM_SHA256, CKG_MGF1_SHA256, b"");
        for (mechanism, (wraps, unwraps), key, template) in [
            (
                Mech::bytes(CKM_AES_CBC_PAD, IV),
                (aes, aes),
                private,
                of_private(),
            ),
            (
                Mech::new(CKM_AES_KEY_WRAP_KWP),
                (aes, aes),
                private,
                of_private(),
            ),
            (
                Mech::new(CKM_AES_KEY_WRAP_PKCS7),
                (aes, aes),
                secret,
                of_secret(),
            ),
            (
                Mech::gcm(&IV[..12], b"", 128),
                (aes, aes),
                private,
                of_private(),
            ),
            (oaep, (rsa.public, rsa.private), secret, of_secret()),
            (
                Mech::new(CKM_RSA_PKCS),
                (rsa.public, rsa.private),
                secret,
                of_secret(),
            ),
            (
                Mech::rsa_aes(256),
                (rsa.public, rsa.private),
                private,
                of_private(),
            ),
        ] {
            let (mut raw, mut out) = (mechanism.raw(), [0u8; 4096]);
            let mut len = 0;
            let name = format!("C_WrapKey {:#x}", mechanism.kind);
            refusals += starve(&name, session, || {
                len = out.len() as CK_ULONG;
                let out = out.as_mut_ptr();
                try_call!(
                    module,
                    C_WrapKey(handle, &mut raw, wraps, key, out, &mut len)
                )
            });
            let (template, mut again) = (Ready::new(template), 0);
            let (list, count) = template.raw();
            let name = format!("C_UnwrapKey {:#x}", mechanism.kind);
            refusals += starve(&name, session, || {
                let wrapped = out.as_mut_ptr();
                try_call!(
                    module,
                    C_UnwrapKey(
                        handle, &mut raw, unwraps, wrapped, len, list, count, &mut again
                    )
                )
            });
        }
        assert!(refusals > 0);
    });
}

#[test]
fn keys_that_are_agreed_on() {
    alone_in_software(|session| {
        let (module, handle) = (session.module, session.handle);
        let mut refusals = 0;
        let set = Template::new().set(CKA_PARAMETER_SET, CKP_ML_KEM_1024);
        let kem = session.pair(CKM_ML_KEM_KEY_PAIR_GEN, &set, &Template::new());
        let mut mechanism = Mech::new(CKM_ML_KEM).raw();
        let template = Ready::new(generic(32));
        let (list, count) = template.raw();
        let (mut out, mut len, mut key) = ([0u8; 1568], 1568, 0);
        let table = module.v32();
        refusals += starve("C_EncapsulateKey", session, || {
            try_call!(via table, C_EncapsulateKey(
                handle, &mut mechanism, kem.public, list, count, out.as_mut_ptr(), &mut len, &mut key))
        });
        refusals += starve("C_DecapsulateKey", session, || {
            try_call!(via table, C_DecapsulateKey(
                handle, &mut mechanism, kem.private, list, count, out.as_mut_ptr(), len, &mut key))
        });
        for (kind, set) in [
            (CKM_ML_KEM_KEY_PAIR_GEN, CKP_ML_KEM_1024),
            (CKM_ML_DSA_KEY_PAIR_GEN, CKP_ML_DSA_87),
        ] {
            let public = Ready::new(Template::new().set(CKA_PARAMETER_SET, set));
            let (list, count) = public.raw();
            let (mut raw, mut one, mut other) = (Mech::new(kind).raw(), 0, 0);
            refusals += starve("C_GenerateKeyPair", session, || {
                try_call!(
                    module,
                    C_GenerateKeyPair(
                        handle,
                        &mut raw,
                        list,
                        count,
                        null_mut(),
                        0,
                        &mut one,
                        &mut other
                    )
                )
            });
        }
        assert!(refusals > 0);
    });
}

#[test]
fn signatures_of_lattices() {
    alone_in_software(|session| {
        let (module, handle) = (session.module, session.handle);
        let mut refusals = 0;
        let set = Template::new().set(CKA_PARAMETER_SET, CKP_ML_DSA_87);
        let pair = session.pair(CKM_ML_DSA_KEY_PAIR_GEN, &set, &Template::new());
        let mut mechanism = Mech::new(CKM_ML_DSA).raw();
        let (mut out, mut len, text) = ([0u8; 5000], 0, [7u8; 100]);
        let data = text.as_ptr().cast_mut();
        refusals += starve("C_Sign", session, || {
            session.cancel(CKF_SIGN);
            len = out.len() as CK_ULONG;
            try_call!(module, C_SignInit(handle, &mut mechanism, pair.private))?;
            try_call!(
                module,
                C_Sign(handle, data, 100, out.as_mut_ptr(), &mut len)
            )
        });
        refusals += starve("C_VerifySignature", session, || {
            session.cancel(CKF_VERIFY);
            let given = out.as_mut_ptr();
            try_call!(via module.v32(), C_VerifySignatureInit(
                handle, &mut mechanism, pair.public, given, len))?;
            try_call!(via module.v32(), C_VerifySignature(handle, data, 100))
        });
        refusals += starve("C_SignMessage", session, || {
            session.cancel(CKF_MESSAGE_SIGN);
            len = out.len() as CK_ULONG;
            let table = module.v3();
            try_call!(via table, C_MessageSignInit(handle, &mut mechanism, pair.private))?;
            try_call!(via table, C_SignMessage(
                handle, null_mut(), 0, data, 100, out.as_mut_ptr(), &mut len))
        });
        assert!(refusals > 0);
    });
}

/// A message as long as the ballast, whole and in parts, there and back.
#[test]
fn messages_of_many_megabytes() {
    alone_in_software(|session| {
        let (module, handle) = (session.module, session.handle);
        let table = module.v3();
        let key = session.aes(16);
        let text = vec![7u8; LARGE];
        let mut sealed = vec![0u8; LARGE];
        let mut gcm = Gcm::new(&IV[..12], 0, CKG_NO_GENERATE);
        let mut given = gcm.raw();
        let at = (&raw mut given).cast();
        let size = size_of_val(&given) as CK_ULONG;
        let len = LARGE as CK_ULONG;
        let data = text.as_ptr().cast_mut();
        sweep(
            "C_EncryptMessage",
            LARGE,
            || session.message_encrypt_init(CKM_AES_GCM, key).unwrap(),
            |()| {
                let mut room = len;
                try_call!(via table, C_EncryptMessage(
                    handle, at, size, null_mut(), 0, data, len, sealed.as_mut_ptr(), &mut room))
            },
            |(), _| session.cancel(CKF_MESSAGE_ENCRYPT),
        );
        sweep(
            "C_EncryptMessageNext",
            LARGE,
            || session.message_encrypt_init(CKM_AES_GCM, key).unwrap(),
            |()| {
                let out = sealed.as_mut_ptr();
                let (mut room, end) = (len, CKF_END_OF_MESSAGE);
                try_call!(via table, C_EncryptMessageBegin(handle, at, size, data, len))?;
                try_call!(via table, C_EncryptMessageNext(
                    handle, at, size, data, len / 2, out, &mut room, 0))?;
                room = len;
                try_call!(via table, C_EncryptMessageNext(
                    handle, at, size, data, len / 2, out, &mut room, end))
            },
            |(), _| session.cancel(CKF_MESSAGE_ENCRYPT),
        );
        sealed.truncate(LARGE / 2 * 2);
        let mut plain = vec![0u8; LARGE];
        sweep(
            "C_DecryptMessage",
            LARGE,
            || session.message_decrypt_init(CKM_AES_GCM, key).unwrap(),
            |()| {
                let (mut room, input) = (len, sealed.as_mut_ptr());
                try_call!(via table, C_DecryptMessage(
                    handle, at, size, data, len, input, len / 2 * 2, plain.as_mut_ptr(), &mut room))
            },
            |(), _| session.cancel(CKF_MESSAGE_DECRYPT),
        );
        assert_eq!(plain, text);
    });
}

/// A key as long as the ballast, wrapped and unwrapped.
#[test]
fn a_key_of_many_megabytes() {
    alone_in_software(|session| {
        let (module, handle) = (session.module, session.handle);
        let carries = Template::new().set(CKA_WRAP, true).set(CKA_UNWRAP, true);
        let kek = aes_template(&[3; 16]).set(CKA_DECRYPT, true).with(&carries);
        let kek = session.create(&kek).unwrap();
        let key = generic_secret_template(&vec![4; LARGE]).set(CKA_EXTRACTABLE, true);
        let key = session.create(&key).unwrap();
        let template = Ready::new(generic(LARGE as CK_ULONG).without(CKA_VALUE_LEN));
        let (list, count) = template.raw();
        let mut out = vec![0u8; LARGE + 64];
        for mechanism in [
            Mech::bytes(CKM_AES_CBC_PAD, IV),
            Mech::new(CKM_AES_KEY_WRAP_KWP),
            Mech::new(CKM_AES_KEY_WRAP_PKCS7),
            Mech::gcm(&IV[..12], b"", 128),
        ] {
            let (mut raw, mut len) = (mechanism.raw(), 0);
            sweep(
                "C_WrapKey",
                LARGE,
                || (),
                |()| {
                    len = out.len() as CK_ULONG;
                    let out = out.as_mut_ptr();
                    try_call!(module, C_WrapKey(handle, &mut raw, kek, key, out, &mut len))
                },
                |(), _| (),
            );
            sweep(
                "C_UnwrapKey",
                LARGE,
                || 0,
                |again| {
                    let wrapped = out.as_mut_ptr();
                    try_call!(
                        module,
                        C_UnwrapKey(handle, &mut raw, kek, wrapped, len, list, count, again)
                    )
                },
                |again, made| {
                    if made {
                        session.destroy(again).unwrap();
                    }
                },
            );
        }
    });
}
