//! ML-DSA and ML-KEM keys (PKCS#11 3.2, "ML-DSA" and "ML-KEM"): made, brought, read, and signing.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::undocumented_unsafe_blocks, missing_docs)]

mod common;

use common::*;
use der::Decode;
use spki::SubjectPublicKeyInfoOwned;

/// A parameter set: CKP_…, lengths of public key, private key, seed; its object identifier.
struct Set {
    key_type: CK_KEY_TYPE,
    generation: CK_MECHANISM_TYPE,
    id: CK_ULONG,
    lengths: [usize; 3],
    oid: &'static str,
}

const SIGNATURES: [usize; 3] = [2420, 3309, 4627];

#[rustfmt::skip]
const ML_DSA: [Set; 3] = [
    dsa(CKP_ML_DSA_44, [1312, 2560, 32], "2.16.840.1.101.3.4.3.17"),
    dsa(CKP_ML_DSA_65, [1952, 4032, 32], "2.16.840.1.101.3.4.3.18"),
    dsa(CKP_ML_DSA_87, [2592, 4896, 32], "2.16.840.1.101.3.4.3.19"),
];
#[rustfmt::skip]
const ML_KEM: [Set; 3] = [
    kem(CKP_ML_KEM_512, [800, 1632, 64], "2.16.840.1.101.3.4.4.1"),
    kem(CKP_ML_KEM_768, [1184, 2400, 64], "2.16.840.1.101.3.4.4.2"),
    kem(CKP_ML_KEM_1024, [1568, 3168, 64], "2.16.840.1.101.3.4.4.3"),
];

const fn dsa(id: CK_ULONG, lengths: [usize; 3], oid: &'static str) -> Set {
    Set {
        key_type: CKK_ML_DSA,
        generation: CKM_ML_DSA_KEY_PAIR_GEN,
        id,
        lengths,
        oid,
    }
}

const fn kem(id: CK_ULONG, lengths: [usize; 3], oid: &'static str) -> Set {
    Set {
        key_type: CKK_ML_KEM,
        generation: CKM_ML_KEM_KEY_PAIR_GEN,
        id,
        lengths,
        oid,
    }
}

impl Set {
    fn public(&self) -> Template {
        Template::new().set(CKA_PARAMETER_SET, self.id)
    }

    fn pair(&self, session: Session, extra: &Template) -> Pair {
        let (public, private) = session
            .generate_key_pair(self.generation, &self.public().with(extra), extra)
            .unwrap();
        Pair { public, private }
    }

    /// A pair whose private values can be read.
    fn open_pair(&self, session: Session) -> Pair {
        let (public, private) = session
            .generate_key_pair(self.generation, &self.public(), &open())
            .unwrap();
        Pair { public, private }
    }

    fn import(&self, class: CK_OBJECT_CLASS) -> Template {
        self.public()
            .set(CKA_CLASS, class)
            .set(CKA_KEY_TYPE, self.key_type)
    }
}

fn open() -> Template {
    Template::new()
        .set(CKA_SENSITIVE, false)
        .set(CKA_EXTRACTABLE, true)
}

fn sets() -> impl Iterator<Item = Set> {
    ML_DSA.into_iter().chain(ML_KEM)
}

/// CK_SIGN_ADDITIONAL_CONTEXT.
fn with_context(kind: CK_MECHANISM_TYPE, hedge: CK_HEDGE_TYPE, context: &[u8]) -> Mech {
    let context = context.to_vec();
    let parameter = CK_SIGN_ADDITIONAL_CONTEXT {
        hedgeVariant: hedge,
        pContext: context.as_ptr().cast_mut(),
        ulContextLen: context.len() as CK_ULONG,
    };
    Mech::structure(kind, parameter, vec![context])
}

/// CK_HASH_SIGN_ADDITIONAL_CONTEXT.
fn with_hash(hash: CK_MECHANISM_TYPE, context: &[u8]) -> Mech {
    let context = context.to_vec();
    let parameter = CK_HASH_SIGN_ADDITIONAL_CONTEXT {
        hedgeVariant: CKH_HEDGE_PREFERRED,
        pContext: context.as_ptr().cast_mut(),
        ulContextLen: context.len() as CK_ULONG,
        hash,
    };
    Mech::structure(CKM_HASH_ML_DSA, parameter, vec![context])
}

#[test]
fn generated() {
    isolated_on(&[SOFTWARE], |world| {
        let session = world.token().user();
        for set in sets() {
            for on_token in [true, false] {
                let pair = set.pair(session, &on(on_token));
                let value = session.get(pair.public, CKA_VALUE).unwrap();
                assert_eq!(value.len(), set.lengths[0]);
                for key in [pair.public, pair.private] {
                    assert_eq!(session.get_ulong(key, CKA_PARAMETER_SET), set.id);
                    assert_eq!(session.get_ulong(key, CKA_KEY_TYPE), set.key_type);
                    assert!(session.get_bool(key, CKA_LOCAL));
                    let info = session.get(key, CKA_PUBLIC_KEY_INFO).unwrap();
                    let info = SubjectPublicKeyInfoOwned::from_der(&info).unwrap();
                    assert_eq!(info.algorithm.oid.to_string(), set.oid);
                    assert_eq!(info.algorithm.parameters, None);
                    assert_eq!(info.subject_public_key.raw_bytes(), value);
                }
                let kem = set.key_type == CKK_ML_KEM;
                assert_eq!(session.get_bool(pair.public, CKA_ENCAPSULATE), kem);
                assert_eq!(session.get_bool(pair.private, CKA_DECAPSULATE), kem);
                assert_eq!(session.get_bool(pair.private, CKA_SIGN), !kem);
                assert_eq!(session.get_bool(pair.public, CKA_VERIFY), !kem);
                for secret in [CKA_SEED, CKA_VALUE] {
                    session
                        .get(pair.private, secret)
                        .refused(CKR_ATTRIBUTE_SENSITIVE);
                }
            }
            let pair = set.open_pair(session);
            for (attribute, len) in [(CKA_VALUE, set.lengths[1]), (CKA_SEED, set.lengths[2])] {
                assert_eq!(session.get(pair.private, attribute).unwrap().len(), len);
            }
            // miekg/pkcs11 and pkcs11-check say it in both templates.
            let (_, private) = session
                .generate_key_pair(set.generation, &set.public(), &set.public())
                .unwrap();
            assert_eq!(session.get_ulong(private, CKA_PARAMETER_SET), set.id);
            let unknown = Template::new().set(CKA_PARAMETER_SET, 4 as CK_ULONG);
            session
                .generate_key_pair(set.generation, &set.public(), &unknown)
                .refused(CKR_ATTRIBUTE_READ_ONLY);
            session
                .generate_key_pair(set.generation, &unknown, &Template::new())
                .refused(CKR_PARAMETER_SET_NOT_SUPPORTED);
            session
                .generate_key_pair(set.generation, &Template::new(), &Template::new())
                .refused(CKR_TEMPLATE_INCOMPLETE);
        }
    });
}

/// By seed, by value, or both (C_CreateObject); both must be of one key.
#[test]
fn brought() {
    isolated_on(&[SOFTWARE], |world| {
        let session = world.token().user();
        for set in sets() {
            let [one, other] = [(); 2].map(|()| set.open_pair(session));
            let read = |pair: Pair, attribute| session.get(pair.private, attribute).unwrap();
            let info = session.get(one.public, CKA_PUBLIC_KEY_INFO).unwrap();
            let (seed, value) = (read(one, CKA_SEED), read(one, CKA_VALUE));
            let import = set.import(CKO_PRIVATE_KEY).with(&open());
            let by_seed = import.clone().set(CKA_SEED, seed.clone());
            let by_value = import.clone().set(CKA_VALUE, value.clone());
            let by_both = by_seed.clone().set(CKA_VALUE, value.clone());
            for (template, has_seed) in
                [(by_seed, true), (by_value.clone(), false), (by_both, true)]
            {
                let key = session.create(&template).unwrap();
                assert_eq!(session.get(key, CKA_PUBLIC_KEY_INFO).unwrap(), info);
                assert_eq!(session.get(key, CKA_VALUE).unwrap(), value);
                match has_seed {
                    true => assert_eq!(session.get(key, CKA_SEED).unwrap(), seed),
                    false => session
                        .get(key, CKA_SEED)
                        .refused(CKR_ATTRIBUTE_TYPE_INVALID),
                }
                assert!(!session.get_bool(key, CKA_LOCAL));
            }
            let public = set
                .import(CKO_PUBLIC_KEY)
                .set(CKA_VALUE, session.get(one.public, CKA_VALUE).unwrap());
            let key = session.create(&public).unwrap();
            assert_eq!(session.get(key, CKA_PUBLIC_KEY_INFO).unwrap(), info);
            let mut tampered = value.clone();
            let hash_of_public = match set.key_type {
                CKK_ML_DSA => 64,              // tr (FIPS 204, algorithm 24)
                _ => set.lengths[1] - 32 - 32, // before z (FIPS 203, algorithm 16)
            };
            tampered[hash_of_public] ^= 1;
            for (name, template, rv) in [
                ("neither", import.clone(), CKR_TEMPLATE_INCOMPLETE),
                (
                    "another's seed",
                    by_value.clone().set(CKA_SEED, read(other, CKA_SEED)),
                    CKR_ATTRIBUTE_VALUE_INVALID,
                ),
                (
                    "another's CKA_PUBLIC_KEY_INFO",
                    by_value.clone().set(
                        CKA_PUBLIC_KEY_INFO,
                        session.get(other.public, CKA_PUBLIC_KEY_INFO).unwrap(),
                    ),
                    CKR_ATTRIBUTE_VALUE_INVALID,
                ),
                (
                    "a broken value",
                    import.clone().set(CKA_VALUE, tampered),
                    CKR_ATTRIBUTE_VALUE_INVALID,
                ),
                (
                    "a value cut",
                    import.clone().set(CKA_VALUE, &value[1..]),
                    CKR_ATTRIBUTE_VALUE_INVALID,
                ),
                (
                    "a seed cut",
                    import.clone().set(CKA_SEED, &seed[1..]),
                    CKR_ATTRIBUTE_VALUE_INVALID,
                ),
                (
                    "no parameter set",
                    by_value.clone().without(CKA_PARAMETER_SET),
                    CKR_TEMPLATE_INCOMPLETE,
                ),
                (
                    "a parameter set that does not exist",
                    by_value.clone().set(CKA_PARAMETER_SET, 9 as CK_ULONG),
                    CKR_PARAMETER_SET_NOT_SUPPORTED,
                ),
                (
                    "a public key cut",
                    public.clone().set(CKA_VALUE, &[1; 100]),
                    CKR_ATTRIBUTE_VALUE_INVALID,
                ),
            ] {
                assert_eq!(session.create(&template), Err(Rv(rv)), "{name}");
            }
        }
    });
}

/// A key of the token is found again, with its companion, by another process's session.
#[test]
fn an_imported_key_brings_its_public_key() {
    isolated_on(&[SOFTWARE], |world| {
        let session = world.token().user();
        let set = &ML_DSA[1];
        let pair = set.open_pair(session);
        let key = set
            .import(CKO_PRIVATE_KEY)
            .set(CKA_TOKEN, true)
            .set(CKA_ID, &[7])
            .set(CKA_SEED, session.get(pair.private, CKA_SEED).unwrap());
        let private = session.create(&key).unwrap();
        let wanted = Template::new()
            .set(CKA_CLASS, CKO_PUBLIC_KEY)
            .set(CKA_ID, &[7]);
        let [public] = session.find(&wanted).unwrap()[..] else {
            panic!("no companion");
        };
        let signature = session.sign(CKM_ML_DSA, private, b"message").unwrap();
        session
            .verify(CKM_ML_DSA, public, b"message", &signature)
            .unwrap();
        assert_eq!(
            session.get(public, CKA_VALUE).unwrap(),
            session.get(pair.public, CKA_VALUE).unwrap()
        );
    });
}

#[test]
fn signatures() {
    let digest_of = |session: Session, kind| session.digest(kind, b"message").unwrap();
    isolated_on(&[SOFTWARE], |world| {
        let session = world.token().user();
        for (set, len) in ML_DSA.iter().zip(SIGNATURES) {
            let pair = set.pair(session, &Template::new());
            let hashing = [
                (CKM_HASH_ML_DSA_SHA224, CKM_SHA224),
                (CKM_HASH_ML_DSA_SHA256, CKM_SHA256),
                (CKM_HASH_ML_DSA_SHA384, CKM_SHA384),
                (CKM_HASH_ML_DSA_SHA512, CKM_SHA512),
            ];
            let mechanisms = std::iter::once(CKM_ML_DSA)
                .chain(hashing.map(|(kind, _)| kind))
                .flat_map(|kind| {
                    [
                        (Mech::new(kind), None),
                        (with_context(kind, CKH_HEDGE_PREFERRED, &[]), None),
                        (
                            with_context(kind, CKH_HEDGE_REQUIRED, &[3; 255]),
                            Some(false),
                        ),
                        (
                            with_context(kind, CKH_DETERMINISTIC_REQUIRED, b"ctx"),
                            Some(true),
                        ),
                    ]
                });
            for (mechanism, deterministic) in mechanisms {
                let sign = || {
                    session
                        .sign(mechanism.clone(), pair.private, b"message")
                        .unwrap()
                };
                let signature = sign();
                assert_eq!(signature.len(), len);
                if let Some(deterministic) = deterministic {
                    assert_eq!(sign() == signature, deterministic);
                }
                let parts = [&b"mess"[..], b"", b"age"];
                let in_parts = session
                    .sign_parts(mechanism.clone(), pair.private, &parts)
                    .unwrap();
                for signature in [&signature, &in_parts] {
                    session
                        .verify(mechanism.clone(), pair.public, b"message", signature)
                        .unwrap();
                    session
                        .verify_parts(mechanism.clone(), pair.public, &parts, signature)
                        .unwrap();
                }
                let verify = |message: &[u8], signature: &[u8]| {
                    session.verify(mechanism.clone(), pair.public, message, signature)
                };
                verify(b"Message", &signature).refused(CKR_SIGNATURE_INVALID);
                verify(b"message", &signature[1..]).refused(CKR_SIGNATURE_LEN_RANGE);
                let other = with_context(mechanism.kind, CKH_HEDGE_PREFERRED, b"another");
                session
                    .verify(other, pair.public, b"message", &signature)
                    .refused(CKR_SIGNATURE_INVALID);
            }
            // Who hashes first and who lets the token hash sign the same.
            for (kind, hash) in hashing {
                let digest = digest_of(session, hash);
                let signature = session
                    .sign(with_hash(hash, b"ctx"), pair.private, &digest)
                    .unwrap();
                let context = with_context(kind, CKH_HEDGE_PREFERRED, b"ctx");
                session
                    .verify(context, pair.public, b"message", &signature)
                    .unwrap();
                session
                    .sign(with_hash(hash, b"ctx"), pair.private, &digest[1..])
                    .refused(CKR_DATA_LEN_RANGE);
            }
        }
    });
}

#[test]
fn bad_parameters_are_refused() {
    isolated_on(&[SOFTWARE], |world| {
        let session = world.token().user();
        let pair = ML_DSA[0].pair(session, &Template::new());
        let raw = |context: *mut CK_BYTE, len| {
            Mech::structure(
                CKM_ML_DSA,
                CK_SIGN_ADDITIONAL_CONTEXT {
                    hedgeVariant: CKH_HEDGE_PREFERRED,
                    pContext: context,
                    ulContextLen: len,
                },
                vec![],
            )
        };
        let mut byte = 0;
        for (name, mechanism) in [
            ("no context of 5 bytes", raw(null_mut(), 5)),
            ("a context of 2^63 bytes", raw(&mut byte, 1 << 63)),
            ("a context of 2^64-1 bytes", raw(&mut byte, CK_ULONG::MAX)),
            (
                "a context of 256 bytes",
                with_context(CKM_ML_DSA, 0, &[0; 256]),
            ),
            ("rubbish", Mech::bytes(CKM_ML_DSA, &[1; 7])),
            ("no hash function", Mech::new(CKM_HASH_ML_DSA)),
            ("AES as the hash function", with_hash(CKM_AES_ECB, b"")),
        ] {
            let refusal = Err(Rv(CKR_MECHANISM_PARAM_INVALID));
            assert_eq!(
                session.sign_init(mechanism.clone(), pair.private),
                refusal,
                "{name}"
            );
            assert_eq!(
                session.verify_init(mechanism, pair.public),
                refusal,
                "{name}"
            );
        }
        session
            .sign(with_hash(CKM_SHA_1, b""), pair.private, &[1; 20])
            .refused(CKR_MECHANISM_PARAM_INVALID);
        // "On verification the hedgeVariant parameter is ignored."
        let unknown = with_context(CKM_ML_DSA, 77, b"");
        session
            .sign_init(unknown.clone(), pair.private)
            .refused(CKR_MECHANISM_PARAM_INVALID);
        let signature = session.sign(CKM_ML_DSA, pair.private, b"m").unwrap();
        session
            .verify(unknown, pair.public, b"m", &signature)
            .unwrap();
        let signs = Template::new().set(CKA_SIGN, true);
        let (_, kem) = session
            .generate_key_pair(CKM_ML_KEM_KEY_PAIR_GEN, &ML_KEM[0].public(), &signs)
            .unwrap();
        session
            .sign_init(CKM_ML_DSA, kem)
            .refused(CKR_KEY_TYPE_INCONSISTENT);
    });
}

/// CKM_HASH_ML_DSA takes a digest: "single-part operations only".
#[test]
fn a_digest_comes_in_one_piece() {
    isolated_on(&[SOFTWARE], |world| {
        let session = world.token().user();
        let pair = ML_DSA[0].pair(session, &Template::new());
        let mechanism = || with_hash(CKM_SHA256, b"");
        let signature = session.sign(mechanism(), pair.private, &[1; 32]).unwrap();
        session.sign_init(mechanism(), pair.private).unwrap();
        session
            .sign_update(&[1; 16])
            .refused(CKR_OPERATION_NOT_INITIALIZED);
        session.sign_final().refused(CKR_OPERATION_NOT_INITIALIZED);
        session.verify_init(mechanism(), pair.public).unwrap();
        session
            .verify_update(&[1; 16])
            .refused(CKR_OPERATION_NOT_INITIALIZED);
        session
            .verify_final(&signature)
            .refused(CKR_OPERATION_NOT_INITIALIZED);
        session
            .verify(mechanism(), pair.public, &[1; 32], &signature)
            .unwrap();
    });
}

#[test]
fn mechanisms() {
    isolated(|world| {
        let token = world.token();
        let info = |kind| token.module.mechanism_info(token.slot, kind);
        if world.kind.name == TPM.name {
            for kind in [CKM_ML_DSA, CKM_ML_DSA_KEY_PAIR_GEN, CKM_ML_KEM] {
                info(kind).map(drop).refused(CKR_MECHANISM_INVALID);
            }
            return;
        }
        for (kind, sizes, functions) in [
            (CKM_ML_DSA_KEY_PAIR_GEN, (1312, 2592), CKF_GENERATE_KEY_PAIR),
            (
                CKM_ML_DSA,
                (1312, 2592),
                CKF_SIGN | CKF_VERIFY | CKF_MESSAGE_SIGN | CKF_MESSAGE_VERIFY | CKF_MULTI_MESSAGE,
            ),
            (CKM_ML_KEM_KEY_PAIR_GEN, (800, 1568), CKF_GENERATE_KEY_PAIR),
            (CKM_ML_KEM, (800, 1568), CKF_ENCAPSULATE | CKF_DECAPSULATE),
        ] {
            let info = info(kind).unwrap();
            assert_eq!((info.ulMinKeySize, info.ulMaxKeySize), sizes);
            assert_eq!(info.flags, functions);
        }
    });
}

fn tlv(tag: u8, value: &[u8]) -> Vec<u8> {
    let len = u16::try_from(value.len()).unwrap().to_be_bytes();
    let head = match value.len() {
        0..0x80 => vec![tag, len[1]],
        0x80..0x100 => vec![tag, 0x81, len[1]],
        _ => vec![tag, 0x82, len[0], len[1]],
    };
    [head, value.to_vec()].concat()
}

/// PrivateKeyInfo (RFC 5958) of what stands in its OCTET STRING.
fn private_key_info(set: &Set, parameters: &[u8], key: &[u8]) -> Vec<u8> {
    let oid = der::asn1::ObjectIdentifier::new(set.oid).unwrap();
    let algorithm = [&tlv(6, oid.as_bytes()), parameters].concat();
    let info = [vec![2, 1, 0], tlv(0x30, &algorithm), tlv(4, key)].concat();
    tlv(0x30, &info)
}

/// RFC 9881 6 and RFC 9935 6: the seed, the expanded key, or both.
#[test]
fn wrapped_and_unwrapped() {
    isolated_on(&[SOFTWARE], |world| {
        let session = world.token().user();
        // Of both roles, so that what it wraps can be looked at.
        let aes = aes_template(&[0x42; 32])
            .set(CKA_WRAP, true)
            .set(CKA_UNWRAP, true);
        let aes = session.create(&aes).unwrap();
        let mechanism = Mech::bytes(CKM_AES_CBC_PAD, &[3; 16]);
        for set in sets() {
            let key = set.open_pair(session).private;
            let [value, seed, info] = [CKA_VALUE, CKA_SEED, CKA_PUBLIC_KEY_INFO]
                .map(|kind| session.get(key, kind).unwrap());
            let by_value = open()
                .set(CKA_CLASS, CKO_PRIVATE_KEY)
                .set(CKA_KEY_TYPE, set.key_type)
                .set(CKA_PARAMETER_SET, set.id)
                .set(CKA_VALUE, value.as_slice());
            let seedless = session.create(&by_value).unwrap();

            // What is wrapped is the seed where the token has it.
            let opened = |key| {
                let wrapped = session.wrap(mechanism.clone(), aes, key).unwrap();
                session.decrypt(mechanism.clone(), aes, &wrapped).unwrap()
            };
            let forms = [
                tlv(0x80, &seed),
                tlv(4, &value),
                tlv(0x30, &[tlv(4, &seed), tlv(4, &value)].concat()),
            ];
            assert_eq!(opened(key), private_key_info(&set, &[], &forms[0]));
            assert_eq!(opened(seedless), private_key_info(&set, &[], &forms[1]));

            let template = Template::new()
                .set(CKA_CLASS, CKO_PRIVATE_KEY)
                .set(CKA_KEY_TYPE, set.key_type)
                .set(CKA_SENSITIVE, false);
            let unwrap = |der: &[u8]| {
                let wrapped = session.encrypt(mechanism.clone(), aes, der).unwrap();
                session.unwrap(mechanism.clone(), aes, &wrapped, &template)
            };
            for (form, seeded) in forms.iter().zip([true, false, true]) {
                let again = unwrap(&private_key_info(&set, &[], form)).unwrap();
                assert_eq!(session.get(again, CKA_VALUE).unwrap(), value);
                assert_eq!(session.get(again, CKA_PUBLIC_KEY_INFO).unwrap(), info);
                assert_eq!(session.get_ulong(again, CKA_PARAMETER_SET), set.id);
                let its_seed = session.get(again, CKA_SEED).unwrap_or_default();
                assert_eq!(its_seed, if seeded { &seed[..] } else { &[] });
                assert!(session.get_bool(again, CKA_EXTRACTABLE));
                assert!(!session.get_bool(again, CKA_LOCAL));
                session.destroy(again).unwrap();
            }

            let mut foreign = seed.clone();
            foreign[0] ^= 1;
            let wrong: [&[u8]; 10] = [
                &tlv(0x80, &seed[1..]),
                // Explicit, where the modules of the RFCs tag implicitly.
                &tlv(0xa0, &tlv(4, &seed)),
                &tlv(4, &seed),
                &seed,
                &tlv(4, &value[1..]),
                &tlv(0x30, &[tlv(4, &foreign), tlv(4, &value)].concat()),
                &tlv(0x30, &[tlv(4, &value), tlv(4, &seed)].concat()),
                &tlv(0x30, &tlv(4, &seed)),
                &[&forms[0][..], &[0]].concat(),
                &[],
            ];
            for key in wrong {
                unwrap(&private_key_info(&set, &[], key)).refused(CKR_WRAPPED_KEY_INVALID);
            }
            // The algorithms have no parameters, and another set has other keys.
            unwrap(&private_key_info(&set, &[5, 0], &forms[0])).refused(CKR_WRAPPED_KEY_INVALID);
            for other in sets().filter(|other| other.oid != set.oid) {
                unwrap(&private_key_info(&other, &[], &forms[1])).refused(CKR_WRAPPED_KEY_INVALID);
            }
        }
    });
}
