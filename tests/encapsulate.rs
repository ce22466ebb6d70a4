//! C_EncapsulateKey and C_DecapsulateKey (PKCS#11 3.2, 5.18.8 and 5.18.9).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::undocumented_unsafe_blocks, missing_docs)]

mod common;

use common::*;

const CIPHERTEXTS: [usize; 3] = [768, 1088, 1568];
const SETS: [CK_ULONG; 3] = [CKP_ML_KEM_512, CKP_ML_KEM_768, CKP_ML_KEM_1024];

impl Session {
    fn kem(self, set: CK_ULONG) -> Pair {
        let public = Template::new().set(CKA_PARAMETER_SET, set);
        self.pair(CKM_ML_KEM_KEY_PAIR_GEN, &public, &Template::new())
    }

    /// The return code, and what the length became, with room for `room` bytes (`None`: NULL).
    fn try_encapsulate(
        self,
        mechanism: impl Into<Mech>,
        key: CK_OBJECT_HANDLE,
        template: &Template,
        room: Option<&mut [u8]>,
    ) -> (Result<CK_OBJECT_HANDLE, Rv>, CK_ULONG) {
        let mechanism = mechanism.into();
        let mut attributes = template.attributes();
        let mut made = 0;
        let (out, mut len) = match room {
            Some(room) => (room.as_mut_ptr(), room.len() as CK_ULONG),
            None => (null_mut(), 0),
        };
        let done = try_call!(via self.module.v32(), C_EncapsulateKey(
            self.handle, &mut mechanism.raw(), key, attributes.as_mut_ptr(),
            attributes.len() as CK_ULONG, out, &mut len, &mut made));
        (done.map(|()| made), len)
    }

    fn encapsulate(
        self,
        key: CK_OBJECT_HANDLE,
        template: &Template,
    ) -> Result<(Vec<u8>, CK_OBJECT_HANDLE), Rv> {
        self.encapsulate_by(CKM_ML_KEM, key, template)
    }

    fn encapsulate_by(
        self,
        mechanism: impl Into<Mech>,
        key: CK_OBJECT_HANDLE,
        template: &Template,
    ) -> Result<(Vec<u8>, CK_OBJECT_HANDLE), Rv> {
        let mechanism = mechanism.into();
        let (asked, len) = self.try_encapsulate(mechanism.clone(), key, template, None);
        asked?;
        let mut ciphertext = vec![0; len as usize];
        let (made, written) = self.try_encapsulate(mechanism, key, template, Some(&mut ciphertext));
        assert_eq!(written, len);
        Ok((ciphertext, made?))
    }

    fn decapsulate(
        self,
        key: CK_OBJECT_HANDLE,
        template: &Template,
        ciphertext: &[u8],
    ) -> Result<CK_OBJECT_HANDLE, Rv> {
        self.decapsulate_by(CKM_ML_KEM, key, template, ciphertext)
    }

    fn decapsulate_by(
        self,
        mechanism: impl Into<Mech>,
        key: CK_OBJECT_HANDLE,
        template: &Template,
        ciphertext: &[u8],
    ) -> Result<CK_OBJECT_HANDLE, Rv> {
        let mechanism = mechanism.into();
        let mut attributes = template.attributes();
        let mut made = 0;
        try_call!(via self.module.v32(), C_DecapsulateKey(
            self.handle, &mut mechanism.raw(), key, attributes.as_mut_ptr(),
            attributes.len() as CK_ULONG, ciphertext.as_ptr().cast_mut(),
            ciphertext.len() as CK_ULONG, &mut made))?;
        Ok(made)
    }

    fn secrets(self) -> usize {
        let secrets = Template::new().set(CKA_CLASS, CKO_SECRET_KEY);
        self.find(&secrets).unwrap().len()
    }
}

fn open() -> Template {
    Template::new().set(CKA_SENSITIVE, false)
}

#[test]
fn both_sides_agree() {
    isolated_on(&[SOFTWARE], |world| {
        let session = world.token().user();
        for (set, len) in SETS.into_iter().zip(CIPHERTEXTS) {
            let pair = session.kem(set);
            let (ciphertext, sent) = session.encapsulate(pair.public, &open()).unwrap();
            assert_eq!(ciphertext.len(), len);
            let received = session
                .decapsulate(pair.private, &open(), &ciphertext)
                .unwrap();
            let value = session.get(sent, CKA_VALUE).unwrap();
            assert_eq!(value.len(), 32);
            assert_eq!(session.get(received, CKA_VALUE).unwrap(), value);
            for key in [sent, received] {
                assert_eq!(session.get_ulong(key, CKA_CLASS), CKO_SECRET_KEY);
                assert_eq!(session.get_ulong(key, CKA_KEY_TYPE), CKK_GENERIC_SECRET);
                assert_eq!(session.get_ulong(key, CKA_VALUE_LEN), 32);
                for no in [CKA_LOCAL, CKA_ALWAYS_SENSITIVE, CKA_NEVER_EXTRACTABLE] {
                    assert!(!session.get_bool(key, no), "{no:#x}");
                }
                assert!(
                    session.get_bool(key, CKA_EXTRACTABLE),
                    "the default of 5.18.8"
                );
            }
            // Implicit rejection: a key, but not this one (FIPS 203 6.3).
            let mut broken = ciphertext.clone();
            broken[0] ^= 1;
            let other = session.decapsulate(pair.private, &open(), &broken).unwrap();
            assert_ne!(session.get(other, CKA_VALUE).unwrap(), value);
        }
    });
}

#[test]
fn the_template_says_what_key_it_is() {
    isolated_on(&[SOFTWARE], |world| {
        let session = world.token().user();
        let pair = session.kem(CKP_ML_KEM_768);
        let aes = Template::new()
            .set(CKA_CLASS, CKO_SECRET_KEY)
            .set(CKA_KEY_TYPE, CKK_AES)
            .set(CKA_TOKEN, true)
            .set(CKA_LABEL, "agreed")
            .set(CKA_SENSITIVE, true)
            .set(CKA_EXTRACTABLE, false);
        let (ciphertext, sent) = session.encapsulate(pair.public, &aes).unwrap();
        let received = session
            .decapsulate(pair.private, &aes, &ciphertext)
            .unwrap();
        assert!(session.get_bool(sent, CKA_TOKEN));
        assert!(!session.get_bool(sent, CKA_NEVER_EXTRACTABLE));
        session
            .get(sent, CKA_VALUE)
            .refused(CKR_ATTRIBUTE_SENSITIVE);
        let iv = [1; 16];
        let encrypted = session
            .encrypt(Mech::bytes(CKM_AES_CBC_PAD, &iv), sent, b"between us")
            .unwrap();
        let decrypted = session
            .decrypt(Mech::bytes(CKM_AES_CBC_PAD, &iv), received, &encrypted)
            .unwrap();
        assert_eq!(decrypted, b"between us");
        // A shorter key is the end of the longer one.
        let whole = session
            .decapsulate(pair.private, &open(), &ciphertext)
            .unwrap();
        let short = open()
            .set(CKA_KEY_TYPE, CKK_AES)
            .set(CKA_VALUE_LEN, 16 as CK_ULONG);
        let short = session
            .decapsulate(pair.private, &short, &ciphertext)
            .unwrap();
        assert_eq!(
            session.get(short, CKA_VALUE).unwrap(),
            session.get(whole, CKA_VALUE).unwrap()[16..]
        );
    });
}

/// CKA_ENCAPSULATE_TEMPLATE is matched (4.9), CKA_DECAPSULATE_TEMPLATE added, as where a key is unwrapped.
#[test]
fn templates_of_the_pair() {
    isolated_on(&[SOFTWARE], |world| {
        let session = world.token().user();
        let of = |template: &Template| array(&template.attributes());
        let demanded = Template::new().set(CKA_LABEL, "agreed");
        let added = Template::new()
            .set(CKA_LABEL, "received")
            .set(CKA_EXTRACTABLE, false);
        let (public, private) = session
            .generate_key_pair(
                CKM_ML_KEM_KEY_PAIR_GEN,
                &Template::new()
                    .set(CKA_PARAMETER_SET, CKP_ML_KEM_512)
                    .set(CKA_ENCAPSULATE_TEMPLATE, of(&demanded)),
                &Template::new().set(CKA_DECAPSULATE_TEMPLATE, of(&added)),
            )
            .unwrap();
        let before = session.find(&Template::new()).unwrap().len();
        session
            .encapsulate(public, &open())
            .map(drop)
            .refused(CKR_TEMPLATE_INCONSISTENT);
        assert_eq!(session.find(&Template::new()).unwrap().len(), before);
        let (ciphertext, _) = session
            .encapsulate(public, &open().with(&demanded))
            .unwrap();
        for conflict in [demanded.clone(), open().set(CKA_EXTRACTABLE, true)] {
            session
                .decapsulate(private, &conflict, &ciphertext)
                .refused(CKR_TEMPLATE_INCONSISTENT);
        }
        let received = session
            .decapsulate(private, &Template::new(), &ciphertext)
            .unwrap();
        assert_eq!(session.get(received, CKA_LABEL).unwrap(), b"received");
        assert!(!session.get_bool(received, CKA_EXTRACTABLE));
    });
}

#[test]
fn nothing_is_made_without_room() {
    isolated_on(&[SOFTWARE], |world| {
        let session = world.token().user();
        let pair = session.kem(CKP_ML_KEM_512);
        let (asked, len) = session.try_encapsulate(CKM_ML_KEM, pair.public, &open(), None);
        assert_eq!((asked.map(drop), len), (Ok(()), 768));
        for room in [0, 1, 767] {
            let mut ciphertext = vec![0; room];
            ciphertext.reserve(1);
            let (refused, len) =
                session.try_encapsulate(CKM_ML_KEM, pair.public, &open(), Some(&mut ciphertext));
            refused.refused(CKR_BUFFER_TOO_SMALL);
            assert_eq!(len, 768);
        }
        assert_eq!(session.secrets(), 0);
        let mut larger = vec![0; 1000];
        let (made, len) =
            session.try_encapsulate(CKM_ML_KEM, pair.public, &open(), Some(&mut larger));
        session
            .decapsulate(pair.private, &open(), &larger[..len as usize])
            .unwrap();
        made.unwrap();
        assert_eq!((len, session.secrets()), (768, 2));
    });
}

#[test]
fn refusals() {
    isolated_on(&[SOFTWARE], |world| {
        let session = world.token().user();
        let pair = session.kem(CKP_ML_KEM_512);
        let (ciphertext, _) = session.encapsulate(pair.public, &open()).unwrap();
        let before = session.secrets();
        let templates = [
            (open().set(CKA_VALUE, &[1; 32]), CKR_ATTRIBUTE_READ_ONLY),
            (open().set(CKA_LOCAL, true), CKR_ATTRIBUTE_READ_ONLY),
            (open().set(CKA_MODULUS, &[1]), CKR_ATTRIBUTE_TYPE_INVALID),
            (
                open().set(CKA_CLASS, CKO_PUBLIC_KEY),
                CKR_TEMPLATE_INCONSISTENT,
            ),
            (
                open().set(CKA_VALUE_LEN, 33 as CK_ULONG),
                CKR_TEMPLATE_INCONSISTENT,
            ),
            (
                open().set(CKA_VALUE_LEN, CK_ULONG::MAX),
                CKR_TEMPLATE_INCONSISTENT,
            ),
            (
                open().set(CKA_VALUE_LEN, 0 as CK_ULONG),
                CKR_ATTRIBUTE_VALUE_INVALID,
            ),
            (
                open()
                    .set(CKA_KEY_TYPE, CKK_AES)
                    .set(CKA_VALUE_LEN, 17 as CK_ULONG),
                CKR_ATTRIBUTE_VALUE_INVALID,
            ),
            (
                open().set(CKA_KEY_TYPE, CKK_RSA),
                CKR_ATTRIBUTE_VALUE_INVALID,
            ),
        ];
        for (template, rv) in templates {
            let mut room = vec![0; 768];
            let (made, _) =
                session.try_encapsulate(CKM_ML_KEM, pair.public, &template, Some(&mut room));
            made.refused(rv);
            session
                .decapsulate(pair.private, &template, &ciphertext)
                .refused(rv);
        }
        for wrong in [&ciphertext[1..], &[1; 769], &[]] {
            session
                .decapsulate(pair.private, &open(), wrong)
                .refused(CKR_WRAPPED_KEY_LEN_RANGE);
        }
        // Neither of the type nor permitted: the type comes first (5.1.6).
        let ec = session.ec(Curve::P256);
        session
            .encapsulate(ec.public, &open())
            .refused(CKR_KEY_TYPE_INCONSISTENT);
        session
            .decapsulate(ec.private, &open(), &ciphertext)
            .refused(CKR_UNWRAPPING_KEY_TYPE_INCONSISTENT);
        let closed = Template::new().set(CKA_DECAPSULATE, false);
        session.set(pair.private, &closed).unwrap();
        session
            .decapsulate(pair.private, &open(), &ciphertext)
            .refused(CKR_KEY_FUNCTION_NOT_PERMITTED);
        session
            .decapsulate(0xdead, &open(), &ciphertext)
            .refused(CKR_UNWRAPPING_KEY_HANDLE_INVALID);
        session
            .encapsulate(0xdead, &open())
            .refused(CKR_KEY_HANDLE_INVALID);
        assert_eq!(session.secrets(), before);
    });
}

fn encapsulates() -> Template {
    Template::new().set(CKA_ENCAPSULATE, true)
}

fn decapsulates() -> Template {
    Template::new().set(CKA_DECAPSULATE, true)
}

fn of(len: CK_ULONG) -> Template {
    open().set(CKA_VALUE_LEN, len)
}

/// 6.3.17: the ciphertext is the public half of a pair made for one use, and the key what C_DeriveKey
/// makes of it.
#[test]
fn ecdh_encapsulates() {
    isolated(|world| {
        let session = world.token().user();
        let mech = |kind, kdf, shared: &[u8], peer: &[u8]| {
            let mut mech = Mech::ecdh(kdf, shared, peer);
            mech.kind = kind;
            mech
        };
        for on_token in [false, true] {
            for curve in world.kind.keys(on_token).curves {
                if *curve == Curve::ED25519 {
                    continue;
                }
                let place = on(on_token);
                let (public, private) = session
                    .generate_key_pair(
                        CKM_EC_KEY_PAIR_GEN,
                        &encapsulates().set(CKA_EC_PARAMS, curve.params).with(&place),
                        &decapsulates().set(CKA_DERIVE, true).with(&place),
                    )
                    .unwrap();
                let generic = open().set(CKA_KEY_TYPE, CKK_GENERIC_SECRET);
                let aes = of(32).set(CKA_KEY_TYPE, CKK_AES);
                for (kind, kdf, shared, template) in [
                    (CKM_ECDH1_DERIVE, CKD_NULL, &b""[..], generic.clone()),
                    (CKM_ECDH1_DERIVE, CKD_SHA256_KDF, b"shared", aes.clone()),
                    (CKM_ECDH1_COFACTOR_DERIVE, CKD_NULL, b"", aes),
                ] {
                    let by = |peer: &[u8]| mech(kind, kdf, shared, peer);
                    let (ciphertext, sent) =
                        session.encapsulate_by(by(b""), public, &template).unwrap();
                    assert_eq!(ciphertext.len(), 1 + 2 * curve.size);
                    let received = session
                        .decapsulate_by(by(b""), private, &template, &ciphertext)
                        .unwrap();
                    let value = |key| session.get(key, CKA_VALUE).unwrap();
                    assert_eq!(value(sent), value(received), "{}", curve.name);
                    let typed = template
                        .clone()
                        .set(CKA_CLASS, CKO_SECRET_KEY)
                        .set(CKA_EXTRACTABLE, true);
                    let derived = session.derive(by(&ciphertext), private, &typed).unwrap();
                    assert_eq!(value(derived), value(sent), "{}", curve.name);
                    for bad in [&ciphertext[1..], &[4; 65][..], b""] {
                        session
                            .decapsulate_by(by(b""), private, &template, bad)
                            .refused(CKR_WRAPPED_KEY_INVALID);
                    }
                    session
                        .encapsulate_by(by(&ciphertext), public, &template)
                        .map(drop)
                        .refused(CKR_MECHANISM_PARAM_INVALID);
                }
                session
                    .encapsulate_by(
                        mech(CKM_ECDH1_DERIVE, CKD_SHA256_KDF, b"", b""),
                        public,
                        &open(),
                    )
                    .map(drop)
                    .refused(CKR_TEMPLATE_INCOMPLETE);
            }
        }
    });
}

#[test]
fn x25519_encapsulates() {
    isolated_on(&[SOFTWARE], |world| {
        let session = world.token().user();
        let params = Template::new().set(CKA_EC_PARAMS, &[6, 3, 0x2b, 0x65, 0x6e]);
        let (public, private) = session
            .generate_key_pair(
                CKM_EC_MONTGOMERY_KEY_PAIR_GEN,
                &encapsulates().with(&params),
                &decapsulates(),
            )
            .unwrap();
        let mech = || Mech::ecdh(CKD_NULL, b"", b"");
        let (ciphertext, sent) = session.encapsulate_by(mech(), public, &open()).unwrap();
        assert_eq!(ciphertext.len(), 32);
        let received = session
            .decapsulate_by(mech(), private, &open(), &ciphertext)
            .unwrap();
        let value = |key| session.get(key, CKA_VALUE).unwrap();
        assert_eq!(value(sent), value(received));
        // A point of small order agrees on zeros.
        session
            .decapsulate_by(mech(), private, &open(), &[0; 32])
            .refused_with(&[CKR_WRAPPED_KEY_INVALID, CKR_FUNCTION_FAILED]);
    });
}

/// 6.1.8: a secret of the token's choice under RSAES-OAEP.
#[test]
fn rsa_encapsulates() {
    isolated(|world| {
        let session = world.token().user();
        let public = session
            .create(&rsa_public_import().with(&encapsulates()))
            .unwrap();
        let mech = || Mech::oaep(CKM_SHA256, CKG_MGF1_SHA256, b"label");
        let (ciphertext, sent) = session.encapsulate_by(mech(), public, &of(32)).unwrap();
        assert_eq!(ciphertext.len(), 256);
        let (_, again) = session.encapsulate_by(mech(), public, &of(32)).unwrap();
        let value = |key| session.get(key, CKA_VALUE).unwrap();
        assert_ne!(value(sent), value(again));
        for (template, rv) in [
            (open(), CKR_TEMPLATE_INCOMPLETE),
            (of(191), CKR_KEY_SIZE_RANGE),
            (of(0), CKR_KEY_SIZE_RANGE),
            (of(CK_ULONG::MAX), CKR_KEY_SIZE_RANGE),
        ] {
            session
                .encapsulate_by(mech(), public, &template)
                .map(drop)
                .refused(rv);
        }
        session
            .encapsulate_by(CKM_RSA_PKCS, public, &of(32))
            .map(drop)
            .refused(CKR_MECHANISM_INVALID);
        // Session keys of every kind that takes them from outside.
        if !world.kind.keys(false).imported {
            return;
        }
        let private = session
            .create(&rsa_private_import().with(&decapsulates()))
            .unwrap();
        let received = session
            .decapsulate_by(mech(), private, &of(32), &ciphertext)
            .unwrap();
        assert_eq!(value(sent), value(received));
        let mut broken = ciphertext.clone();
        broken[100] ^= 1;
        for (ciphertext, template, rv) in [
            (&broken[..], of(32), CKR_WRAPPED_KEY_INVALID),
            (&ciphertext[1..], of(32), CKR_WRAPPED_KEY_LEN_RANGE),
            (&ciphertext[..], of(31), CKR_WRAPPED_KEY_LEN_RANGE),
        ] {
            session
                .decapsulate_by(mech(), private, &template, ciphertext)
                .refused(rv);
        }
        let other = session.create(&rsa_private_import()).unwrap();
        session
            .decapsulate_by(mech(), other, &of(32), &ciphertext)
            .refused(CKR_KEY_FUNCTION_NOT_PERMITTED);
    });
}
