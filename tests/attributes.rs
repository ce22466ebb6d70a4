//! The rules of attributes: defaults, secrecy, what may change (PKCS#11 3.2, 4.1 and the footnotes of 4.1.1).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::undocumented_unsafe_blocks, missing_docs)]

mod common;

use common::vectors;
use common::*;

#[test]
fn defaults_of_a_generated_pair() {
    isolated(|world| {
        let session = world.token().user();
        let mut pairs = vec![
            (session.rsa(2048), CKK_RSA, CKM_RSA_PKCS_KEY_PAIR_GEN),
            (session.ec(Curve::P384), CKK_EC, CKM_EC_KEY_PAIR_GEN),
        ];
        if world.kind.has(Curve::ED25519) {
            pairs.push((
                session.ed25519(),
                CKK_EC_EDWARDS,
                CKM_EC_EDWARDS_KEY_PAIR_GEN,
            ));
        }
        for (pair, key_type, generation) in pairs {
            let Pair { public, private } = pair;
            let on_token = world.kind.works_on_token() && key_type != CKK_EC_EDWARDS;
            for (attribute, expected) in [
                (CKA_TOKEN, on_token),
                (CKA_PRIVATE, true),
                (CKA_SENSITIVE, true),
                (CKA_EXTRACTABLE, false),
                (CKA_ALWAYS_SENSITIVE, true),
                (CKA_NEVER_EXTRACTABLE, true),
                (CKA_LOCAL, true),
                (CKA_SIGN, true),
                (CKA_DECRYPT, key_type == CKK_RSA),
                (CKA_UNWRAP, false),
                (CKA_ALWAYS_AUTHENTICATE, false),
                (CKA_WRAP_WITH_TRUSTED, false),
                (CKA_MODIFIABLE, true),
            ] {
                assert_eq!(
                    session.get_bool(private, attribute),
                    expected,
                    "private key, {attribute:#x}"
                );
            }
            for (attribute, expected) in [
                (CKA_PRIVATE, false),
                (CKA_LOCAL, true),
                (CKA_VERIFY, true),
                (CKA_ENCRYPT, key_type == CKK_RSA),
                (CKA_WRAP, false),
                (CKA_TRUSTED, false),
            ] {
                assert_eq!(
                    session.get_bool(public, attribute),
                    expected,
                    "public key, {attribute:#x}"
                );
            }
            for (key, class) in [(public, CKO_PUBLIC_KEY), (private, CKO_PRIVATE_KEY)] {
                assert_eq!(session.get_ulong(key, CKA_CLASS), class);
                assert_eq!(session.get_ulong(key, CKA_KEY_TYPE), key_type);
                assert_eq!(session.get_ulong(key, CKA_KEY_GEN_MECHANISM), generation);
            }
            // A card's key is named by its place, as its certificate would be.
            let ids = [public, private].map(|key| session.get(key, CKA_ID).unwrap());
            assert_eq!(ids[0], ids[1]);
            assert_eq!(ids[0].is_empty(), !on_token);
            assert_eq!(
                session.get(public, CKA_PUBLIC_KEY_INFO),
                session.get(private, CKA_PUBLIC_KEY_INFO)
            );
            assert_ne!(session.get(private, CKA_PUBLIC_KEY_INFO).unwrap(), b"");
            if key_type == CKK_RSA {
                assert_eq!(session.get_ulong(public, CKA_MODULUS_BITS), 2048);
                assert_eq!(
                    session.get(public, CKA_MODULUS),
                    session.get(private, CKA_MODULUS)
                );
                assert_eq!(
                    session.get(private, CKA_PUBLIC_EXPONENT).unwrap(),
                    [1, 0, 1]
                );
            } else {
                assert_eq!(
                    session.get(public, CKA_EC_POINT),
                    session.get(private, CKA_EC_POINT)
                );
                assert_eq!(
                    session.get(public, CKA_EC_PARAMS),
                    session.get(private, CKA_EC_PARAMS)
                );
            }
        }
    });
}

/// History is computed: an imported key was known outside.
#[test]
fn defaults_of_imported_keys() {
    isolated(|world| {
        let session = world.token().user();
        for (template, sensitive) in [
            (rsa_private_import(), true),
            (ec_private_import(Curve::P256, vectors::P256_SCALAR), true),
            // 4.11.2: "default is CK_FALSE".
            (aes_template(&[1; 16]), false),
        ] {
            let key = session.create(&template).unwrap();
            for (attribute, expected) in [
                (CKA_PRIVATE, true),
                (CKA_SENSITIVE, sensitive),
                (CKA_EXTRACTABLE, false),
                (CKA_ALWAYS_SENSITIVE, false),
                (CKA_NEVER_EXTRACTABLE, false),
                (CKA_LOCAL, false),
            ] {
                assert_eq!(session.get_bool(key, attribute), expected, "{attribute:#x}");
            }
            assert_eq!(
                session.get_ulong(key, CKA_KEY_GEN_MECHANISM),
                CK_UNAVAILABLE_INFORMATION
            );
        }
    });
}

#[test]
fn history_follows_what_a_key_was() {
    isolated(|world| {
        let session = world.token().user();
        let template = Template::new()
            .set(CKA_VALUE_LEN, 16)
            .set(CKA_SENSITIVE, false)
            .set(CKA_EXTRACTABLE, true);
        let key = session.generate_key(CKM_AES_KEY_GEN, &template).unwrap();
        let history = |key| {
            [CKA_ALWAYS_SENSITIVE, CKA_NEVER_EXTRACTABLE]
                .map(|attribute| session.get_bool(key, attribute))
        };
        assert_eq!(history(key), [false, false]);
        session
            .set(
                key,
                &Template::new()
                    .set(CKA_SENSITIVE, true)
                    .set(CKA_EXTRACTABLE, false),
            )
            .unwrap();
        assert_eq!(history(key), [false, false], "it was readable once");
        assert_eq!(
            history(session.copy(key, &Template::new()).unwrap()),
            [false, false]
        );
        let sensitive = Template::new()
            .set(CKA_VALUE_LEN, 16)
            .set(CKA_SENSITIVE, true);
        let secret = session.generate_key(CKM_AES_KEY_GEN, &sensitive).unwrap();
        assert_eq!(history(secret), [true, true]);
        assert_eq!(
            history(session.copy(secret, &Template::new()).unwrap()),
            [true, true]
        );
    });
}

/// Footnote 7: which attributes of which keys stay inside, and when a value may be read.
#[test]
fn sensitive_values() {
    let rsa = [
        CKA_PRIVATE_EXPONENT,
        CKA_PRIME_1,
        CKA_PRIME_2,
        CKA_EXPONENT_1,
        CKA_EXPONENT_2,
        CKA_COEFFICIENT,
    ];
    isolated(|world| {
        let session = world.token().user();
        for (sensitive, extractable) in [(true, false), (true, true), (false, false), (false, true)]
        {
            let secrecy = Template::new()
                .set(CKA_SENSITIVE, sensitive)
                .set(CKA_EXTRACTABLE, extractable);
            let readable = !sensitive && extractable;
            for on_token in [false, true] {
                let keys = world.kind.keys(on_token);
                let mut cases = Vec::new();
                if world.kind.keeps_secrets || !on_token {
                    cases.push((aes_template(&[1; 16]), &[CKA_VALUE][..]));
                    cases.push((generic_secret_template(b"secret"), &[CKA_VALUE]));
                }
                // The others a chip does not take (tests/kinds.rs).
                if keys.imported && (!keys.in_chip || (sensitive && !extractable)) {
                    cases.push((rsa_private_import(), &rsa));
                    for (curve, value) in [
                        (Curve::P256, vectors::P256_SCALAR),
                        (Curve::ED25519, vectors::ED25519_SEED),
                    ] {
                        if keys.curves.contains(&curve) {
                            cases.push((ec_private_import(curve, value), &[CKA_VALUE]));
                        }
                    }
                }
                for (template, hidden) in cases {
                    let key = session
                        .create(&template.clone().with(&secrecy).set(CKA_TOKEN, on_token))
                        .unwrap();
                    for &attribute in hidden {
                        let value = session.get(key, attribute);
                        if readable {
                            let given = template.attributes();
                            let given = given.iter().find(|a| a.type_ == attribute).unwrap();
                            let given = unsafe {
                                std::slice::from_raw_parts(
                                    given.pValue.cast::<u8>(),
                                    given.ulValueLen as usize,
                                )
                            };
                            assert_eq!(value.unwrap(), given);
                        } else {
                            value.refused(CKR_ATTRIBUTE_SENSITIVE);
                        }
                    }
                }
            }
        }
    });
}

/// 5.7.5: each attribute is answered by itself; a refused one has CK_UNAVAILABLE_INFORMATION.
#[test]
fn one_bad_attribute_leaves_the_others() {
    isolated(|world| {
        let session = world.token().user();
        let key = session
            .create(
                &rsa_private_import()
                    .set(CKA_LABEL, "label")
                    .set(CKA_ID, "identifier"),
            )
            .unwrap();
        let (mut label, mut id, mut exponent, mut other) =
            ([0u8; 16], [0u8; 4], [0u8; 512], [0u8; 8]);
        let attribute = |kind, buffer: &mut [u8]| CK_ATTRIBUTE {
            type_: kind,
            pValue: buffer.as_mut_ptr().cast(),
            ulValueLen: buffer.len() as CK_ULONG,
        };
        let mut template = [
            attribute(CKA_PRIVATE_EXPONENT, &mut exponent),
            attribute(CKA_VENDOR_DEFINED | 9, &mut other),
            attribute(CKA_ID, &mut id),
            CK_ATTRIBUTE {
                type_: CKA_MODULUS,
                pValue: null_mut(),
                ulValueLen: 77,
            },
            attribute(CKA_LABEL, &mut label),
        ];
        session.get_raw(key, &mut template).refused_with(&[
            CKR_ATTRIBUTE_SENSITIVE,
            CKR_ATTRIBUTE_TYPE_INVALID,
            CKR_BUFFER_TOO_SMALL,
        ]);
        let none = CK_UNAVAILABLE_INFORMATION;
        assert_eq!(
            template.map(|attribute| attribute.ulValueLen),
            [none, none, none, 256, 5]
        );
        assert_eq!(&label[..5], b"label");
        assert_eq!(
            (id, exponent, other),
            ([0; 4], [0; 512], [0; 8]),
            "refused values are not written"
        );

        session
            .get(key, CKA_VENDOR_DEFINED | 9)
            .refused(CKR_ATTRIBUTE_TYPE_INVALID);
        session
            .get(key, CKA_MODULUS_BITS)
            .refused(CKR_ATTRIBUTE_TYPE_INVALID);
        // What NSS asks of every certificate.
        let certificate = session.create(&certificate()).unwrap();
        session
            .get(certificate, 0xce53_4352)
            .refused(CKR_ATTRIBUTE_TYPE_INVALID);
    });
}

#[test]
fn what_a_token_notes_for_itself_is_no_attribute() {
    isolated(|world| {
        let session = world.token().user();
        // That a public key is a companion; a private key as a chip wraps it.
        for own in [0xce54_0001, 0xce54_0002] {
            let given = Template::new().set(own, &[CK_TRUE]);
            session
                .create(&rsa_private_import().with(&given))
                .refused(CKR_ATTRIBUTE_TYPE_INVALID);
            for (public, private) in [(&given, &Template::new()), (&Template::new(), &given)] {
                session
                    .generate_key_pair(
                        CKM_RSA_PKCS_KEY_PAIR_GEN,
                        &rsa_public(2048).with(public),
                        private,
                    )
                    .refused(CKR_ATTRIBUTE_TYPE_INVALID);
            }
            let key = session.create(&rsa_private_import()).unwrap();
            session.get(key, own).refused(CKR_ATTRIBUTE_TYPE_INVALID);
            session.set(key, &given).refused(CKR_ATTRIBUTE_TYPE_INVALID);
            session
                .copy(key, &given)
                .refused(CKR_ATTRIBUTE_TYPE_INVALID);
        }
    });
}

#[test]
fn a_short_buffer_is_named_and_not_written() {
    isolated(|world| {
        let session = world.token().user();
        let object = session
            .create(&data("ten letter").set(CKA_VALUE, ""))
            .unwrap();
        for room in 0..10 {
            let mut buffer = [0u8; 10];
            let mut attribute = CK_ATTRIBUTE {
                type_: CKA_LABEL,
                pValue: buffer.as_mut_ptr().cast(),
                ulValueLen: room,
            };
            session
                .get_raw(object, std::slice::from_mut(&mut attribute))
                .refused(CKR_BUFFER_TOO_SMALL);
            assert_eq!(
                (attribute.ulValueLen, buffer),
                (CK_UNAVAILABLE_INFORMATION, [0; 10])
            );
        }
        assert_eq!(session.get(object, CKA_LABEL).unwrap(), b"ten letter");
        assert_eq!(session.get(object, CKA_VALUE).unwrap(), b"");
    });
}

/// Footnotes 8, 11 and 12, and 4.4.1: what may change. A refused change changes nothing.
#[test]
fn changing_attributes() {
    isolated(|world| {
        let session = world.token().user();
        for on_token in [false, true] {
            let key = match world.kind.keys(on_token).imported {
                true => session.create(&rsa_private_import().with(&on(on_token))),
                false => Ok(session.rsa(2048).private),
            };
            let key = key.unwrap();
            assert_eq!(session.get_bool(key, CKA_TOKEN), on_token);
            let changes = Template::new()
                .set(CKA_LABEL, "new")
                .set(CKA_ID, "new")
                .set(CKA_SUBJECT, "new")
                .set(CKA_DECRYPT, false);
            session.set(key, &changes).unwrap();
            assert_eq!(session.get(key, CKA_LABEL).unwrap(), b"new");
            assert!(!session.get_bool(key, CKA_DECRYPT));
            for (what, change) in [
                ("class", Template::new().set(CKA_CLASS, CKO_DATA)),
                ("key type", Template::new().set(CKA_KEY_TYPE, CKK_EC)),
                ("token", Template::new().set(CKA_TOKEN, !on_token)),
                ("private", Template::new().set(CKA_PRIVATE, false)),
                ("modifiable", Template::new().set(CKA_MODIFIABLE, false)),
                ("modulus", Template::new().set(CKA_MODULUS, "x")),
                (
                    "private exponent",
                    Template::new().set(CKA_PRIVATE_EXPONENT, "x"),
                ),
                ("local", Template::new().set(CKA_LOCAL, true)),
                (
                    "always sensitive",
                    Template::new().set(CKA_ALWAYS_SENSITIVE, true),
                ),
                ("sensitive off", Template::new().set(CKA_SENSITIVE, false)),
                ("extractable on", Template::new().set(CKA_EXTRACTABLE, true)),
                (
                    "always authenticate",
                    Template::new().set(CKA_ALWAYS_AUTHENTICATE, true),
                ),
            ] {
                // In either order, the good half is not carried out.
                let label = Template::new().set(CKA_LABEL, "half");
                for template in [label.clone().with(&change), change.clone().with(&label)] {
                    assert_eq!(
                        session.set(key, &template),
                        Err(Rv(CKR_ATTRIBUTE_READ_ONLY)),
                        "{what}"
                    );
                    assert_eq!(session.get(key, CKA_LABEL).unwrap(), b"new", "{what}");
                }
            }
            session
                .set(key, &Template::new().set(CKA_VENDOR_DEFINED, "x"))
                .refused(CKR_ATTRIBUTE_TYPE_INVALID);
            session
                .set(key, &Template::new().set(CKA_DECRYPT, &[2]))
                .refused(CKR_ATTRIBUTE_VALUE_INVALID);
            session
                .set(
                    key,
                    &Template::new().and(CKA_LABEL, "a").and(CKA_LABEL, "b"),
                )
                .refused(CKR_TEMPLATE_INCONSISTENT);
            assert_eq!(session.get(key, CKA_LABEL).unwrap(), b"new");
            session.sign(CKM_SHA256_RSA_PKCS, key, b"data").unwrap();
        }
        // A data object's owner and value are the application's to change; its type says where a card keeps it.
        for on_token in [false, true] {
            let note = data("note").set(CKA_VALUE, "old").set(CKA_TOKEN, on_token);
            let note = session.create(&note).unwrap();
            let then = Template::new()
                .set(CKA_VALUE, "a longer value")
                .set(CKA_APPLICATION, "the owner");
            let copy = session.copy(note, &then).unwrap();
            let has = |object| {
                assert_eq!(session.get(object, CKA_VALUE).unwrap(), b"a longer value");
                assert_eq!(session.get(object, CKA_APPLICATION).unwrap(), b"the owner");
            };
            has(copy);
            assert_eq!(session.get(note, CKA_VALUE).unwrap(), b"old");
            session.set(note, &then).unwrap();
            has(note);
            session.destroy(copy).unwrap();
            assert_eq!(
                session.find_one(&then.clone().set(CKA_TOKEN, on_token)),
                note
            );
            // A card is read anew after a logout.
            session.logout().unwrap();
            session.login(CKU_USER, USER_PIN).unwrap();
            let note = session.find_one(&then.set(CKA_TOKEN, on_token));
            has(note);
            for fixed in [
                Template::new().set(CKA_OBJECT_ID, &[6, 1, 42]),
                Template::new().set(CKA_CLASS, CKO_DATA),
            ] {
                session.set(note, &fixed).refused(CKR_ATTRIBUTE_READ_ONLY);
                session.copy(note, &fixed).refused(CKR_ATTRIBUTE_READ_ONLY);
            }
        }
        let fixed = session
            .create(&data("fixed").set(CKA_MODIFIABLE, false))
            .unwrap();
        session
            .set(fixed, &Template::new().set(CKA_LABEL, "x"))
            .refused(CKR_ACTION_PROHIBITED);
        assert_eq!(session.get(fixed, CKA_LABEL).unwrap(), b"fixed");
    });
}

#[test]
fn one_way_attributes() {
    isolated(|world| {
        let session = world.token().user();
        let open = aes_template(&[1; 16])
            .set(CKA_SENSITIVE, false)
            .set(CKA_EXTRACTABLE, true);
        for (attribute, tighter) in [
            (CKA_SENSITIVE, true),
            (CKA_EXTRACTABLE, false),
            (CKA_WRAP_WITH_TRUSTED, true),
        ] {
            let key = session.create(&open).unwrap();
            session
                .set(key, &Template::new().set(attribute, tighter))
                .unwrap();
            let looser = Template::new().set(attribute, !tighter);
            session.set(key, &looser).refused(CKR_ATTRIBUTE_READ_ONLY);
            // It has become read-only, which the value that it has is no exception to (notes 11, 12).
            let same = Template::new().set(attribute, tighter);
            session.set(key, &same).refused(CKR_ATTRIBUTE_READ_ONLY);
            session.copy(key, &same).unwrap();
            session
                .copy(key, &looser)
                .refused_with(&[CKR_ATTRIBUTE_READ_ONLY, CKR_TEMPLATE_INCONSISTENT]);
            assert_eq!(session.get_bool(key, attribute), tighter);
            assert_eq!(
                session.get(key, CKA_VALUE).is_ok(),
                attribute == CKA_WRAP_WITH_TRUSTED
            );
        }
    });
}

/// Footnote 10: only the security officer says whom to trust.
#[test]
fn trusted_is_the_security_officers() {
    isolated(|world| {
        let token = world.token();
        let user = token.user();
        let object = user
            .create(&certificate().set(CKA_TOKEN, true).set(CKA_PRIVATE, false))
            .unwrap();
        let trusted = Template::new().set(CKA_TRUSTED, true);
        assert!(!user.get_bool(object, CKA_TRUSTED));
        user.set(object, &trusted).refused(CKR_ATTRIBUTE_READ_ONLY);
        user.copy(object, &trusted).refused(CKR_ATTRIBUTE_READ_ONLY);
        user.logout().unwrap();
        user.login(CKU_SO, SO_PIN).unwrap();
        let object = user.find_one(&Template::new().set(CKA_CLASS, CKO_CERTIFICATE));
        user.set(object, &trusted).unwrap();
        assert!(user.get_bool(object, CKA_TRUSTED));
    });
}

/// A key does only what it is for (THREATS.md 4).
#[test]
fn usage_binds() {
    let rsa = |attribute, value| rsa_private_import().set(attribute, value);
    isolated(|world| {
        let session = world.token().user();
        let refused = CKR_KEY_FUNCTION_NOT_PERMITTED;
        let key = session.create(&rsa(CKA_SIGN, false)).unwrap();
        session.sign_init(CKM_SHA256_RSA_PKCS, key).refused(refused);
        session.decrypt_init(CKM_RSA_PKCS, key).unwrap();
        let key = session.create(&rsa(CKA_DECRYPT, false)).unwrap();
        session.cancel(CKF_DECRYPT);
        session.decrypt_init(CKM_RSA_PKCS, key).refused(refused);
        let key = session
            .create(&rsa_public_import().set(CKA_VERIFY, false))
            .unwrap();
        session
            .verify_init(CKM_SHA256_RSA_PKCS, key)
            .refused(refused);
        let key = session
            .create(&rsa_public_import().set(CKA_ENCRYPT, false))
            .unwrap();
        session.encrypt_init(CKM_RSA_PKCS, key).refused(refused);
        let key = session
            .create(&aes_template(&[1; 16]).set(CKA_ENCRYPT, false))
            .unwrap();
        session.encrypt_init(CKM_AES_ECB, key).refused(refused);
        let key = session
            .create(&generic_secret_template(b"secret").set(CKA_SIGN, false))
            .unwrap();
        session.sign_init(CKM_SHA256_HMAC, key).refused(refused);

        let allowed = CKM_SHA256_RSA_PKCS.to_ne_bytes();
        let key = session
            .create(&rsa_private_import().set(CKA_ALLOWED_MECHANISMS, &allowed))
            .unwrap();
        session
            .sign_init(CKM_SHA384_RSA_PKCS, key)
            .refused(CKR_MECHANISM_INVALID);
        session.sign(CKM_SHA256_RSA_PKCS, key, b"data").unwrap();
        session
            .set(key, &Template::new().set(CKA_ALLOWED_MECHANISMS, ""))
            .refused(CKR_ATTRIBUTE_READ_ONLY);
        // A list without a mechanism allows none.
        let key = session
            .create(&aes_template(&[1; 16]).set(CKA_ALLOWED_MECHANISMS, ""))
            .unwrap();
        session
            .encrypt_init(CKM_AES_ECB, key)
            .refused(CKR_MECHANISM_INVALID);
    });
}
