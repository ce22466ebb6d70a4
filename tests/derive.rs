//! Deriving keys (PKCS#11 3.2, 5.18.5, 6.3.17, 6.17, 6.37, 6.62): values, what a derived key may show,
//! and what is refused. SP 800-108 is in `derive_sp800_108`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::undocumented_unsafe_blocks, missing_docs)]

mod common;

use common::vectors::hex;
use common::*;

/// NIST CAVP, KAS ECC CDH primitive, count 0 of each curve: d, the peer's point, the secret.
const CAVP: [(Curve, &str, &str, &str); 2] = [
    (
        Curve::P256,
        "7d7dc5f71eb29ddaf80d6214632eeae03d9058af1fb6d22ed80badb62bc1a534",
        "04700c48f77f56584c5cc632ca65640db91b6bacce3a4df6b42ce7cc838833d287db71e509e3fd9b060ddb20ba5c51dcc5948d46fbf640dfe0441782cab85fa4ac",
        "46fc62106420ff012e54a434fbdd2d25ccc5852060561e68040dd7778997bd7b",
    ),
    (
        Curve::P384,
        "3cc3122a68f0d95027ad38c067916ba0eb8c38894d22e1b15618b6818a661774ad463b205da88cf699ab4d43c9cf98a1",
        "04a7c76b970c3b5fe8b05d2838ae04ab47697b9eaf52e764592efda27fe7513272734466b400091adbf2d68c58e0c50066ac68f19f2e1cb879aed43a9969b91a0839c4c38a49749b661efedf243451915ed0905a32b060992b468c64766fc8437a",
        "5f9d29dc5e31a163060356213669c8ce132e22f57c9a04f40ba7fcead493b457e5621e766c40a2e3d4d6a04b25e533f1",
    ),
];

/// A session key whose value may be read.
fn readable() -> Template {
    Template::new()
        .set(CKA_CLASS, CKO_SECRET_KEY)
        .set(CKA_KEY_TYPE, CKK_GENERIC_SECRET)
        .set(CKA_SENSITIVE, false)
        .set(CKA_EXTRACTABLE, true)
}

fn of(len: CK_ULONG) -> Template {
    readable().set(CKA_VALUE_LEN, len)
}

/// A secret key that may be derived from.
fn base(session: Session, key_type: CK_KEY_TYPE, value: &[u8]) -> CK_OBJECT_HANDLE {
    let template = readable()
        .set(CKA_KEY_TYPE, key_type)
        .set(CKA_DERIVE, true)
        .set(CKA_VALUE, value);
    session.create(&template).unwrap()
}

fn value(session: Session, key: CK_OBJECT_HANDLE) -> Vec<u8> {
    session.get(key, CKA_VALUE).unwrap()
}

#[track_caller]
fn derives(
    session: Session,
    mechanism: impl Into<Mech>,
    base: CK_OBJECT_HANDLE,
    template: &Template,
) -> Vec<u8> {
    value(session, session.derive(mechanism, base, template).unwrap())
}

/// The point of a public key, without the OCTET STRING around it.
fn point(session: Session, public: CK_OBJECT_HANDLE) -> Vec<u8> {
    let wrapped = session.get(public, CKA_EC_POINT).unwrap();
    let start = wrapped.iter().skip(1).position(|byte| *byte == 4).unwrap() + 1;
    wrapped[start..].to_vec()
}

#[test]
fn ecdh_gives_the_secrets_of_nist() {
    isolated(|world| {
        let session = world.token().user();
        for (curve, d, peer, shared) in CAVP {
            if !world.kind.keys(false).curves.contains(&curve) {
                continue;
            }
            // Into the chip of a TPM; the session keys of a card are software's.
            let import = ec_private_import(curve, d).set(CKA_DERIVE, true);
            let key = session.create(&import).unwrap();
            let (peer, shared) = (hex(peer), hex(shared));
            for given in [peer.clone(), octet_string(&peer)] {
                let mechanism = Mech::ecdh(CKD_NULL, &[], &given);
                assert_eq!(derives(session, mechanism, key, &readable()), shared);
            }
            // What is left out is the beginning (6.3.17).
            let mechanism = Mech::ecdh(CKD_NULL, &[], &peer);
            let short = derives(session, mechanism.clone(), key, &of(10));
            assert_eq!(short, shared[shared.len() - 10..]);
            let aes = of(16).set(CKA_KEY_TYPE, CKK_AES);
            let aes = derives(session, mechanism, key, &aes);
            assert_eq!(aes, shared[shared.len() - 16..]);
            // X9.63: the digest of secret, counter and shared data.
            let input = [&shared[..], &[0, 0, 0, 1], b"info"].concat();
            let digest = session.digest(CKM_SHA256, &input).unwrap();
            let mechanism = Mech::ecdh(CKD_SHA256_KDF, b"info", &peer);
            assert_eq!(derives(session, mechanism, key, &of(32)), digest);
            // SP 800-56A: the counter comes first.
            let input = [&[0, 0, 0, 1], &shared[..], b"info"].concat();
            let digest = session.digest(CKM_SHA384, &input).unwrap();
            let mechanism = Mech::ecdh(CKD_SHA384_KDF_SP800, b"info", &peer);
            assert_eq!(derives(session, mechanism, key, &of(48)), digest);
        }
    });
}

#[test]
fn ecdh_agrees_between_two_pairs() {
    isolated(|world| {
        let token = world.token();
        let session = token.user();
        for on_token in [false, true] {
            for curve in world.kind.keys(on_token).curves {
                if *curve == Curve::ED25519 {
                    continue;
                }
                let ours = session.ec_with(*curve, &on(on_token));
                // Of a session: on a card the other engine.
                let theirs = session.ec_with(*curve, &on(false));
                let with = |pair: Pair| Mech::ecdh(CKD_NULL, &[], &point(session, pair.public));
                let one = derives(session, with(theirs), ours.private, &readable());
                let other = derives(session, with(ours), theirs.private, &readable());
                assert_eq!(one, other, "{}", curve.name);
                assert_eq!(one.len(), curve.size);
                let mut cofactor = with(theirs);
                cofactor.kind = CKM_ECDH1_COFACTOR_DERIVE;
                assert_eq!(derives(session, cofactor, ours.private, &readable()), one);
            }
        }
        let info = session
            .module
            .mechanism_info(token.slot, CKM_ECDH1_DERIVE)
            .unwrap();
        assert_ne!(info.flags & CKF_DERIVE, 0);
        assert_eq!(info.flags & CKF_HW != 0, world.kind.name != "software");
    });
}

/// RFC 7748 6.1.
#[test]
fn x25519_gives_the_secret_of_rfc_7748() {
    isolated_on(&[SOFTWARE], |world| {
        let session = world.token().user();
        let scalar = "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a";
        let peer = hex("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f");
        let shared = hex("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742");
        let import = Template::new()
            .set(CKA_CLASS, CKO_PRIVATE_KEY)
            .set(CKA_KEY_TYPE, CKK_EC_MONTGOMERY)
            .set(CKA_EC_PARAMS, &[6, 3, 0x2b, 0x65, 0x6e])
            .set(CKA_VALUE, hex(scalar));
        let key = session.create(&import).unwrap();
        for given in [peer.clone(), octet_string(&peer)] {
            let mechanism = Mech::ecdh(CKD_NULL, &[], &given);
            assert_eq!(derives(session, mechanism, key, &readable()), shared);
        }
        // A point of small order, and what is no point at all.
        for bad in [&[0; 32][..], &peer[1..], &[]] {
            let mechanism = Mech::ecdh(CKD_NULL, &[], bad);
            let refused = session.derive(mechanism, key, &readable());
            refused.refused(CKR_MECHANISM_PARAM_INVALID);
        }
        // It has no cofactor form (6.3.18).
        let mut cofactor = Mech::ecdh(CKD_NULL, &[], &peer);
        cofactor.kind = CKM_ECDH1_COFACTOR_DERIVE;
        let refused = session.derive(cofactor, key, &readable());
        refused.refused(CKR_KEY_TYPE_INCONSISTENT);
        let public = session.derive(CKM_PUB_KEY_FROM_PRIV_KEY, key, &Template::new());
        let own = hex("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a");
        let point = session.get(public.unwrap(), CKA_EC_POINT).unwrap();
        assert!(point.ends_with(&own));
    });
}

#[test]
fn ecdh_refuses_what_is_no_point() {
    isolated(|world| {
        let session = world.token().user();
        let pair = session.ec_with(Curve::P256, &Template::new());
        let good = point(session, pair.public);
        let mut off = good.clone();
        off[64] ^= 1;
        let infinity = vec![0];
        let compressed = [&[2], &good[1..33]].concat();
        for bad in [off, infinity, compressed, vec![], good[1..].to_vec()] {
            let mechanism = Mech::ecdh(CKD_NULL, &[], &bad);
            let refused = session.derive(mechanism, pair.private, &readable());
            refused.refused(CKR_MECHANISM_PARAM_INVALID);
        }
        let refuse = |kdf, shared: &[u8], template: &Template, rv| {
            let mechanism = Mech::ecdh(kdf, shared, &good);
            let refused = session.derive(mechanism, pair.private, template);
            refused.refused(rv);
        };
        refuse(
            CKD_NULL,
            b"shared",
            &readable(),
            CKR_MECHANISM_PARAM_INVALID,
        );
        refuse(999, b"", &readable(), CKR_MECHANISM_PARAM_INVALID);
        refuse(CKD_NULL, b"", &of(33), CKR_KEY_SIZE_RANGE);
        refuse(CKD_NULL, b"", &of(0), CKR_KEY_SIZE_RANGE);
        refuse(CKD_SHA256_KDF, b"", &readable(), CKR_TEMPLATE_INCOMPLETE);
        refuse(CKD_SHA256_KDF, b"", &of(CK_ULONG::MAX), CKR_KEY_SIZE_RANGE);
        refuse(CKD_SHA256_KDF, b"", &of(1 << 62), CKR_KEY_SIZE_RANGE);
        let untyped = of(16).without(CKA_KEY_TYPE);
        refuse(CKD_NULL, b"", &untyped, CKR_TEMPLATE_INCOMPLETE);
        let aes = readable().set(CKA_KEY_TYPE, CKK_AES);
        refuse(CKD_NULL, b"", &aes, CKR_TEMPLATE_INCOMPLETE);
        let odd = aes.set(CKA_VALUE_LEN, 20 as CK_ULONG);
        refuse(CKD_NULL, b"", &odd, CKR_KEY_SIZE_RANGE);
        let given = of(16).set(CKA_VALUE, &[0; 16]);
        refuse(CKD_NULL, b"", &given, CKR_ATTRIBUTE_READ_ONLY);
        // The public half agrees with nobody, a key that is not for it neither.
        let mechanism = Mech::ecdh(CKD_NULL, &[], &good);
        let public = session.derive(mechanism.clone(), pair.public, &readable());
        public.refused(CKR_KEY_FUNCTION_NOT_PERMITTED);
        let signer = session.ec_with(Curve::P256, &Template::new().set(CKA_DERIVE, false));
        let signer = session.derive(mechanism, signer.private, &readable());
        signer.refused(CKR_KEY_FUNCTION_NOT_PERMITTED);
        // Neither of the type nor permitted: the type comes first (5.1.6).
        let other = session.aes(16);
        session
            .derive(Mech::ecdh(CKD_NULL, &[], &good), other, &readable())
            .refused(CKR_KEY_TYPE_INCONSISTENT);
    });
}

#[test]
fn hkdf_gives_the_keys_of_rfc_5869() {
    isolated(|world| {
        let session = world.token().user();
        let input = vec![0x0b; 22];
        let salt = hex("000102030405060708090a0b0c");
        let info = hex("f0f1f2f3f4f5f6f7f8f9");
        let extracted = hex("077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5");
        let output = hex(
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
        );
        for key_type in [CKK_GENERIC_SECRET, CKK_HKDF] {
            let key = base(session, key_type, &input);
            let whole = Mech::hkdf(CKM_HKDF_DERIVE, Some(&salt), Some(&info));
            assert_eq!(derives(session, whole, key, &of(42)), output);
            let first = Mech::hkdf(CKM_HKDF_DERIVE, Some(&salt), None);
            let made = readable().set(CKA_KEY_TYPE, key_type).set(CKA_DERIVE, true);
            let first = session.derive(first, key, &made).unwrap();
            assert_eq!(value(session, first), extracted);
            let second = Mech::hkdf(CKM_HKDF_DERIVE, None, Some(&info));
            assert_eq!(derives(session, second, first, &of(42)), output);
            let data = Mech::hkdf(CKM_HKDF_DATA, Some(&salt), Some(&info));
            let template = Template::new()
                .set(CKA_CLASS, CKO_DATA)
                .set(CKA_VALUE_LEN, 42 as CK_ULONG);
            assert_eq!(derives(session, data, key, &template), output);
            // The salt as a key.
            let salt_key = base(session, CKK_GENERIC_SECRET, &salt);
            let mut parameters = CK_HKDF_PARAMS {
                bExtract: CK_TRUE,
                bExpand: CK_FALSE,
                prfHashMechanism: CKM_SHA256,
                ulSaltType: CKF_HKDF_SALT_KEY,
                pSalt: null_mut(),
                ulSaltLen: 0,
                hSaltKey: salt_key,
                pInfo: null_mut(),
                ulInfoLen: 0,
            };
            let mechanism = Mech::structure(CKM_HKDF_DERIVE, parameters, vec![]);
            assert_eq!(derives(session, mechanism, key, &readable()), extracted);
            parameters.hSaltKey = 0;
            let mechanism = Mech::structure(CKM_HKDF_DERIVE, parameters, vec![]);
            let refused = session.derive(mechanism, key, &readable());
            refused.refused(CKR_KEY_HANDLE_INVALID);
        }
        let key = base(session, CKK_HKDF, &input);
        let expand = Mech::hkdf(CKM_HKDF_DERIVE, Some(b""), Some(b""));
        let most = 255 * 32;
        let all = derives(session, expand.clone(), key, &of(most));
        assert_eq!(all.len(), most as usize);
        for (mechanism, len) in [
            (expand.clone(), most + 1),
            (expand, 0),
            (Mech::hkdf(CKM_HKDF_DERIVE, Some(b""), None), 33),
            // A pseudorandom key is as long as a digest (RFC 5869 2.3).
            (Mech::hkdf(CKM_HKDF_DERIVE, None, Some(b"")), 16),
        ] {
            let refused = session.derive(mechanism, key, &of(len));
            refused.refused(CKR_KEY_SIZE_RANGE);
        }
        let neither = session.derive(Mech::hkdf(CKM_HKDF_DERIVE, None, None), key, &of(16));
        neither.refused(CKR_MECHANISM_PARAM_INVALID);
        let template = Template::new().set(CKA_VALUE_LEN, 32 as CK_ULONG);
        let made = session.generate_key(CKM_HKDF_KEY_GEN, &template).unwrap();
        assert_eq!(session.get_ulong(made, CKA_KEY_TYPE), CKK_HKDF);
        assert!(session.get_bool(made, CKA_DERIVE));
    });
}

#[test]
fn aes_makes_keys_of_data() {
    isolated(|world| {
        let session = world.token().user();
        let secret = hex("2b7e151628aed2a6abf7158809cf4f3c");
        let key = base(session, CKK_AES, &secret);
        let data: Vec<u8> = (0..48).collect();
        let iv = [9; 16];
        let ecb = session.encrypt(CKM_AES_ECB, key, &data).unwrap();
        let cbc = session
            .encrypt(Mech::bytes(CKM_AES_CBC, &iv), key, &data)
            .unwrap();
        for (mechanism, whole) in [
            (Mech::ecb_data(&data), ecb),
            (Mech::cbc_data(iv, &data), cbc),
        ] {
            assert_eq!(derives(session, mechanism.clone(), key, &readable()), whole);
            // What is left out is the end (6.17).
            assert_eq!(
                derives(session, mechanism.clone(), key, &of(20)),
                whole[..20]
            );
            let aes = of(32).set(CKA_KEY_TYPE, CKK_AES);
            assert_eq!(derives(session, mechanism.clone(), key, &aes), whole[..32]);
            let refused = session.derive(mechanism, key, &of(49));
            refused.refused(CKR_MECHANISM_PARAM_INVALID);
        }
        for bad in [&data[..0], &data[..15], &data[..17]] {
            for mechanism in [Mech::ecb_data(bad), Mech::cbc_data(iv, bad)] {
                let refused = session.derive(mechanism, key, &of(8));
                refused.refused(CKR_MECHANISM_PARAM_INVALID);
            }
        }
        // A key of another type.
        let other = base(session, CKK_GENERIC_SECRET, &secret);
        let refused = session.derive(Mech::ecb_data(&data), other, &of(16));
        refused.refused(CKR_KEY_TYPE_INCONSISTENT);
    });
}

#[test]
fn passwords_make_keys() {
    isolated(|world| {
        let session = world.token().user();
        let output = hex("55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc");
        let mechanism = Mech::pbkdf2(b"passwd", b"salt", 1);
        let key = session.generate_key(mechanism, &of(32)).unwrap();
        assert_eq!(value(session, key), output);
        assert!(session.get_bool(key, CKA_LOCAL));
        assert_eq!(
            session.get_ulong(key, CKA_KEY_GEN_MECHANISM),
            CKM_PKCS5_PBKD2
        );
        // The older structure points to the length.
        let (password, salt, len) = (
            b"passwd".to_vec(),
            b"salt".to_vec(),
            Box::new(6 as CK_ULONG),
        );
        let older = CK_PKCS5_PBKD2_PARAMS {
            saltSource: CKZ_SALT_SPECIFIED,
            pSaltSourceData: salt.as_ptr().cast_mut().cast(),
            ulSaltSourceDataLen: 4,
            iterations: 1,
            prf: CKP_PKCS5_PBKD2_HMAC_SHA256,
            pPrfData: null_mut(),
            ulPrfDataLen: 0,
            pPassword: password.as_ptr().cast_mut(),
            ulPasswordLen: (&raw const *len).cast_mut(),
        };
        let mechanism = Mech::structure(CKM_PKCS5_PBKD2, older, vec![]);
        let key = session.generate_key(mechanism, &of(32)).unwrap();
        assert_eq!(value(session, key), output);

        for iterations in [0, 10_000_001, CK_ULONG::MAX] {
            let mechanism = Mech::pbkdf2(b"passwd", b"salt", iterations);
            let refused = session.generate_key(mechanism, &of(32));
            refused.refused(CKR_MECHANISM_PARAM_INVALID);
        }
        for (template, rv) in [
            (readable(), CKR_TEMPLATE_INCOMPLETE),
            (of(32).without(CKA_KEY_TYPE), CKR_TEMPLATE_INCOMPLETE),
            (of(0), CKR_KEY_SIZE_RANGE),
            (of(1 << 40), CKR_KEY_SIZE_RANGE),
        ] {
            let mechanism = Mech::pbkdf2(b"passwd", b"salt", 1);
            session.generate_key(mechanism, &template).refused(rv);
        }
    });
}

#[test]
fn a_derived_key_has_its_history() {
    isolated(|world| {
        let session = world.token().user();
        let generate = |sensitive: bool, extractable: bool| {
            let template = Template::new()
                .set(CKA_VALUE_LEN, 32 as CK_ULONG)
                .set(CKA_DERIVE, true)
                .set(CKA_SENSITIVE, sensitive)
                .set(CKA_EXTRACTABLE, extractable);
            session
                .generate_key(CKM_GENERIC_SECRET_KEY_GEN, &template)
                .unwrap()
        };
        let mechanism = Mech::hkdf(CKM_HKDF_DERIVE, Some(b""), Some(b"history"));
        for (sensitive, extractable) in [(true, false), (false, true), (true, true)] {
            let key = generate(sensitive, extractable);
            let bare = Template::new();
            let derived = session.derive(mechanism.clone(), key, &bare).unwrap();
            // Left out, they are those of the base key.
            assert_eq!(session.get_bool(derived, CKA_SENSITIVE), sensitive);
            assert_eq!(session.get_bool(derived, CKA_EXTRACTABLE), extractable);
            assert_eq!(session.get_bool(derived, CKA_ALWAYS_SENSITIVE), sensitive);
            assert_eq!(
                session.get_bool(derived, CKA_NEVER_EXTRACTABLE),
                !extractable
            );
            assert!(!session.get_bool(derived, CKA_LOCAL));
            let by = session.get_ulong(derived, CKA_KEY_GEN_MECHANISM);
            assert_eq!(by, CK_UNAVAILABLE_INFORMATION);
            assert_eq!(session.get_ulong(derived, CKA_KEY_TYPE), CKK_GENERIC_SECRET);
            assert_eq!(session.get_ulong(derived, CKA_VALUE_LEN), 32);
            // What came from outside has not always been a secret, nor has what comes of it.
            let hidden = bare.set(CKA_SENSITIVE, true).set(CKA_EXTRACTABLE, false);
            let imported = base(session, CKK_GENERIC_SECRET, &[7; 32]);
            let derived = session
                .derive(mechanism.clone(), imported, &hidden)
                .unwrap();
            assert!(!session.get_bool(derived, CKA_ALWAYS_SENSITIVE));
            assert!(!session.get_bool(derived, CKA_NEVER_EXTRACTABLE));
            session
                .get(derived, CKA_VALUE)
                .refused(CKR_ATTRIBUTE_SENSITIVE);
            for attribute in [CKA_ALWAYS_SENSITIVE, CKA_NEVER_EXTRACTABLE, CKA_LOCAL] {
                let template = Template::new().set(attribute, true);
                let refused = session.derive(mechanism.clone(), key, &template);
                refused.refused(CKR_ATTRIBUTE_READ_ONLY);
            }
        }
    });
}

#[test]
fn nothing_derived_is_the_base_key() {
    isolated(|world| {
        let session = world.token().user();
        let secret: Vec<u8> = (100..132).collect();
        let hidden = readable()
            .set(CKA_SENSITIVE, true)
            .set(CKA_EXTRACTABLE, false)
            .set(CKA_DERIVE, true)
            .set(CKA_VALUE, &secret[..]);
        let generic = session.create(&hidden).unwrap();
        let aes = session.create(&hidden.set(CKA_KEY_TYPE, CKK_AES)).unwrap();
        session
            .get(generic, CKA_VALUE)
            .refused(CKR_ATTRIBUTE_SENSITIVE);
        for (mechanism, key) in [
            (Mech::hkdf(CKM_HKDF_DERIVE, Some(b""), None), generic),
            (Mech::hkdf(CKM_HKDF_DERIVE, None, Some(b"")), generic),
            (Mech::hkdf(CKM_HKDF_DERIVE, Some(b""), Some(b"")), generic),
            (Mech::ecb_data(&[0; 32]), aes),
            (Mech::cbc_data([0; 16], &[0; 32]), aes),
        ] {
            let made = derives(session, mechanism.clone(), key, &of(32));
            let common = |window: &[u8]| secret.windows(4).any(|other| other == window);
            assert!(!made.windows(4).any(common), "{mechanism:?}");
        }
        // Those that would give a key away piece by piece (6.43) are there under `roles = "open"` only.
        let data = [0u8; 16];
        let string = CK_KEY_DERIVATION_STRING_DATA {
            pData: data.as_ptr().cast_mut(),
            ulLen: data.len() as CK_ULONG,
        };
        let string = |kind| Mech::structure(kind, string, vec![]);
        for mechanism in [
            Mech::structure(CKM_CONCATENATE_BASE_AND_KEY, generic, vec![]),
            string(CKM_CONCATENATE_BASE_AND_DATA),
            string(CKM_CONCATENATE_DATA_AND_BASE),
            string(CKM_XOR_BASE_AND_DATA),
            Mech::structure(CKM_EXTRACT_KEY_FROM_KEY, 0 as CK_EXTRACT_PARAMS, vec![]),
        ] {
            let refused = session.derive(mechanism, generic, &of(1));
            refused.refused(CKR_MECHANISM_INVALID);
        }
    });
}

#[test]
fn a_key_says_what_may_be_derived() {
    isolated(|world| {
        let session = world.token().user();
        let mechanism = Mech::hkdf(CKM_HKDF_DERIVE, Some(b""), Some(b""));
        let template = readable().set(CKA_DERIVE, true).set(CKA_VALUE, &[1; 32]);
        let refuse = |template: &Template, rv| {
            let key = session.create(template).unwrap();
            session.derive(mechanism.clone(), key, &of(16)).refused(rv);
        };
        let not = template.clone().set(CKA_DERIVE, false);
        refuse(&not, CKR_KEY_FUNCTION_NOT_PERMITTED);
        let ended = template.clone().set(CKA_END_DATE, "20010101");
        refuse(&ended, CKR_KEY_FUNCTION_NOT_PERMITTED);
        let other = template.clone().set(CKA_ALLOWED_MECHANISMS, CKM_HKDF_DATA);
        refuse(&other, CKR_MECHANISM_INVALID);
        let key = session.create(&template.set(CKA_ALLOWED_MECHANISMS, CKM_HKDF_DERIVE));
        assert_eq!(
            derives(session, mechanism.clone(), key.unwrap(), &of(16)).len(),
            16
        );
        let none = session.derive(mechanism, 999_999, &of(16));
        none.refused(CKR_KEY_HANDLE_INVALID);
    });
}

/// CKA_DERIVE_TEMPLATE of the base key (5.18.5).
#[test]
fn a_key_says_what_comes_of_it() {
    isolated(|world| {
        let session = world.token().user();
        let (yes, no) = ([CK_TRUE], [CK_FALSE]);
        let mut demanded = [
            CK_ATTRIBUTE {
                type_: CKA_EXTRACTABLE,
                pValue: no.as_ptr().cast_mut().cast(),
                ulValueLen: 1,
            },
            CK_ATTRIBUTE {
                type_: CKA_SENSITIVE,
                pValue: yes.as_ptr().cast_mut().cast(),
                ulValueLen: 1,
            },
        ];
        let nested = unsafe {
            std::slice::from_raw_parts(demanded.as_mut_ptr().cast::<u8>(), size_of_val(&demanded))
        };
        let template = readable()
            .set(CKA_DERIVE, true)
            .set(CKA_VALUE, &[1; 32])
            .set(CKA_DERIVE_TEMPLATE, nested);
        let key = session.create(&template).unwrap();
        let mechanism = Mech::hkdf(CKM_HKDF_DERIVE, Some(b""), Some(b""));
        let made = session.derive(mechanism.clone(), key, &Template::new());
        let made = made.unwrap();
        assert!(session.get_bool(made, CKA_SENSITIVE));
        assert!(!session.get_bool(made, CKA_EXTRACTABLE));
        let against = session.derive(mechanism, key, &of(16));
        against.refused(CKR_TEMPLATE_INCONSISTENT);
    });
}

#[test]
fn a_public_key_comes_of_its_private_one() {
    isolated(|world| {
        let session = world.token().user();
        let pairs = [session.ec(Curve::P256), session.any_rsa()];
        let attributes = [CKA_CLASS, CKA_KEY_TYPE, CKA_PUBLIC_KEY_INFO];
        for pair in pairs {
            let made = session
                .derive(CKM_PUB_KEY_FROM_PRIV_KEY, pair.private, &Template::new())
                .unwrap();
            for attribute in attributes {
                let [one, other] = [made, pair.public].map(|key| session.get(key, attribute));
                assert_eq!(one.unwrap(), other.unwrap());
            }
            assert!(!session.get_bool(made, CKA_LOCAL));
            let of_public =
                session.derive(CKM_PUB_KEY_FROM_PRIV_KEY, pair.public, &Template::new());
            of_public.refused(CKR_KEY_TYPE_INCONSISTENT);
            let other = Template::new().set(CKA_CLASS, CKO_SECRET_KEY);
            let other = session.derive(CKM_PUB_KEY_FROM_PRIV_KEY, pair.private, &other);
            other.refused(CKR_TEMPLATE_INCONSISTENT);
            let signature = match session.get_ulong(made, CKA_KEY_TYPE) {
                CKK_RSA => continue,
                _ => session.sign(CKM_ECDSA, pair.private, &[3; 32]).unwrap(),
            };
            session
                .verify(CKM_ECDSA, made, &[3; 32], &signature)
                .unwrap();
        }
        let other = Template::new().set(CKA_EC_PARAMS, Curve::P384.params);
        let private = session.ec(Curve::P256).private;
        let refused = session.derive(CKM_PUB_KEY_FROM_PRIV_KEY, private, &other);
        refused.refused(CKR_TEMPLATE_INCONSISTENT);
    });
}

#[test]
fn hostile_parameters_are_refused() {
    isolated(|world| {
        let session = world.token().user();
        let pair = session.ec_with(Curve::P256, &Template::new());
        let secret = base(session, CKK_GENERIC_SECRET, &[1; 32]);
        let aes = base(session, CKK_AES, &[1; 32]);
        let here = [0u8; 64];
        let pointers: [*mut CK_BYTE; 3] = [null_mut(), 8 as *mut _, here.as_ptr().cast_mut()];
        let lens: [CK_ULONG; 4] = [1 << 63, CK_ULONG::MAX, 1 << 40, 1 << 24];
        for pointer in pointers {
            for len in lens {
                let refuse = |mechanism: Mech, key| {
                    let refused = session.derive(mechanism, key, &of(16));
                    refused.refused(CKR_MECHANISM_PARAM_INVALID);
                };
                let mut ecdh = CK_ECDH1_DERIVE_PARAMS {
                    kdf: CKD_SHA256_KDF,
                    ulSharedDataLen: 0,
                    pSharedData: null_mut(),
                    ulPublicDataLen: len,
                    pPublicData: pointer,
                };
                refuse(
                    Mech::structure(CKM_ECDH1_DERIVE, ecdh, vec![]),
                    pair.private,
                );
                (ecdh.ulSharedDataLen, ecdh.pSharedData) = (len, pointer);
                ecdh.ulPublicDataLen = 0;
                refuse(
                    Mech::structure(CKM_ECDH1_DERIVE, ecdh, vec![]),
                    pair.private,
                );
                let mut hkdf = CK_HKDF_PARAMS {
                    bExtract: CK_TRUE,
                    bExpand: CK_TRUE,
                    prfHashMechanism: CKM_SHA256,
                    ulSaltType: CKF_HKDF_SALT_DATA,
                    pSalt: pointer,
                    ulSaltLen: len,
                    hSaltKey: 0,
                    pInfo: null_mut(),
                    ulInfoLen: 0,
                };
                refuse(Mech::structure(CKM_HKDF_DERIVE, hkdf, vec![]), secret);
                hkdf.ulSaltType = CKF_HKDF_SALT_NULL;
                (hkdf.pInfo, hkdf.ulInfoLen) = (pointer, len);
                refuse(Mech::structure(CKM_HKDF_DERIVE, hkdf, vec![]), secret);
                let ecb = CK_KEY_DERIVATION_STRING_DATA {
                    pData: pointer,
                    ulLen: len,
                };
                refuse(Mech::structure(CKM_AES_ECB_ENCRYPT_DATA, ecb, vec![]), aes);
                let cbc = CK_AES_CBC_ENCRYPT_DATA_PARAMS {
                    iv: [0; 16],
                    pData: pointer,
                    length: len,
                };
                refuse(Mech::structure(CKM_AES_CBC_ENCRYPT_DATA, cbc, vec![]), aes);
                let pbkdf2 = CK_PKCS5_PBKD2_PARAMS2 {
                    saltSource: CKZ_SALT_SPECIFIED,
                    pSaltSourceData: pointer.cast(),
                    ulSaltSourceDataLen: len,
                    iterations: 1,
                    prf: CKP_PKCS5_PBKD2_HMAC_SHA256,
                    pPrfData: null_mut(),
                    ulPrfDataLen: 0,
                    pPassword: null_mut(),
                    ulPasswordLen: 0,
                };
                for (password, salt) in [(0, len), (len, 0)] {
                    let parameters = CK_PKCS5_PBKD2_PARAMS2 {
                        ulSaltSourceDataLen: salt,
                        pPassword: pointer,
                        ulPasswordLen: password,
                        ..pbkdf2
                    };
                    let mechanism = Mech::structure(CKM_PKCS5_PBKD2, parameters, vec![]);
                    let refused = session.generate_key(mechanism, &of(16));
                    refused.refused(CKR_MECHANISM_PARAM_INVALID);
                }
            }
        }
        for kind in [CKM_ECDH1_DERIVE, CKM_HKDF_DERIVE, CKM_AES_ECB_ENCRYPT_DATA] {
            for mechanism in [Mech::new(kind), Mech::bytes(kind, &[0; 7])] {
                let refused = session.derive(mechanism, secret, &of(16));
                refused.refused(CKR_MECHANISM_PARAM_INVALID);
            }
        }
    });
}
