//! Wrapping and unwrapping keys (PKCS#11 3.2 sections 5.18.3 to 5.18.7 and 6.7).

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

const IV: [u8; 16] = [3; 16];

/// A key of both roles, so that every mechanism is open to it and what it wrapped can be looked at.
fn aes_both(session: Session) -> CK_OBJECT_HANDLE {
    let template = aes_template(&[0x42; 32])
        .set(CKA_WRAP, true)
        .set(CKA_UNWRAP, true);
    session.create(&template).unwrap()
}

fn secret(session: Session, value: &[u8]) -> CK_OBJECT_HANDLE {
    session
        .create(&generic_secret_template(value).set(CKA_EXTRACTABLE, true))
        .unwrap()
}

fn secret_again(len: Option<usize>) -> Template {
    let template = Template::new()
        .set(CKA_CLASS, CKO_SECRET_KEY)
        .set(CKA_KEY_TYPE, CKK_GENERIC_SECRET);
    match len {
        Some(len) => template.set(CKA_VALUE_LEN, len as CK_ULONG),
        None => template,
    }
}

fn rsa_both(session: Session) -> Pair {
    let public = rsa_public_import().set(CKA_WRAP, true);
    let private = rsa_private_import()
        .set(CKA_UNWRAP, true)
        .set(CKA_TOKEN, false);
    Pair {
        public: session.create(&public).unwrap(),
        private: session.create(&private).unwrap(),
    }
}

fn oaep() -> Mech {
    Mech::oaep(CKM_SHA256, CKG_MGF1_SHA256, b"label")
}

#[test]
fn secret_keys_there_and_back() {
    isolated_on(&[SOFTWARE], |world| {
        let session = world.token().user();
        let aes = aes_both(session);
        let rsa = rsa_both(session);
        // The mechanism, whether it tells the length, and the length of what it makes of so many.
        type Made = fn(usize) -> usize;
        let aes_mechanisms: [(Mech, bool, Made); 9] = [
            (CKM_AES_ECB.into(), false, |len| len.next_multiple_of(16)),
            (Mech::bytes(CKM_AES_CBC, &IV), false, |len| {
                len.next_multiple_of(16)
            }),
            (Mech::bytes(CKM_AES_CBC_PAD, &IV), true, |len| {
                len - len % 16 + 16
            }),
            (Mech::ctr(IV, 128), true, |len| len),
            (Mech::gcm(&[7; 12], b"with", 128), true, |len| len + 16),
            (Mech::ccm_wrap(&[7; 13], 0, b"with", 12), true, |len| {
                len + 12
            }),
            (CKM_AES_KEY_WRAP.into(), false, |len| {
                len.next_multiple_of(8) + 8
            }),
            (CKM_AES_KEY_WRAP_KWP.into(), true, |len| {
                len.next_multiple_of(8) + 8
            }),
            (CKM_AES_KEY_WRAP_PKCS7.into(), true, |len| {
                len - len % 8 + 16
            }),
        ];
        let rsa_mechanisms: [(Mech, bool, Made); 4] = [
            (Mech::rsa_aes(256), true, |len| {
                256 + len.next_multiple_of(8) + 8
            }),
            (CKM_RSA_PKCS.into(), true, |_| 256),
            (oaep(), true, |_| 256),
            (CKM_RSA_X_509.into(), false, |_| 256),
        ];
        let all = aes_mechanisms.into_iter().map(|row| (aes, aes, row));
        let all = all.chain(
            rsa_mechanisms
                .into_iter()
                .map(|row| (rsa.public, rsa.private, row)),
        );
        for (wraps, unwraps, (mechanism, tells, made)) in all {
            for len in [1, 15, 16, 17, 32, 100] {
                let value: Vec<u8> = (0x51..0x51 + len as u8).collect();
                let key = secret(session, &value);
                // RFC 3394 begins with two units of eight bytes.
                let rfc_3394 = [CKM_AES_KEY_WRAP, CKM_AES_KEY_WRAP_PKCS7].contains(&mechanism.kind);
                if rfc_3394 && made(len) < 24 {
                    session
                        .wrap(mechanism.clone(), wraps, key)
                        .refused(CKR_KEY_SIZE_RANGE);
                    continue;
                }
                let wrapped = session.wrap(mechanism.clone(), wraps, key).unwrap();
                assert_eq!(wrapped.len(), made(len), "{mechanism:?}");
                assert!(len < 15 || !wrapped.windows(len).any(|part| part == value));
                let unwrap = |template: &Template| {
                    session.unwrap(mechanism.clone(), unwraps, &wrapped, template)
                };
                let again = unwrap(&secret_again(Some(len)));
                let again = again.unwrap_or_else(|rv| panic!("{mechanism:?} of {len}: {rv:?}"));
                assert_eq!(session.get(again, CKA_VALUE).unwrap(), value);
                assert!(session.get_bool(again, CKA_EXTRACTABLE));
                for history in [CKA_LOCAL, CKA_ALWAYS_SENSITIVE, CKA_NEVER_EXTRACTABLE] {
                    assert!(!session.get_bool(again, history));
                }
                if tells {
                    let again = unwrap(&secret_again(None)).unwrap();
                    assert_eq!(session.get(again, CKA_VALUE).unwrap(), value);
                    unwrap(&secret_again(Some(len + 1))).refused(CKR_WRAPPED_KEY_LEN_RANGE);
                } else {
                    unwrap(&secret_again(None)).refused(CKR_TEMPLATE_INCOMPLETE);
                    unwrap(&secret_again(Some(1000))).refused(CKR_WRAPPED_KEY_LEN_RANGE);
                }
                session.destroy(again).unwrap();
            }
        }
    });
}

/// What the mechanism encrypts is CKA_VALUE, or PrivateKeyInfo.
#[test]
fn private_keys_there_and_back() {
    isolated_on(&[SOFTWARE], |world| {
        let session = world.token().user();
        let aes = aes_both(session);
        let rsa = rsa_both(session);
        let plain = Template::new()
            .set(CKA_EXTRACTABLE, true)
            .set(CKA_SENSITIVE, false);
        let mut keys = vec![(
            session.create(&rsa_private_import().with(&plain)).unwrap(),
            CKK_RSA,
            CKA_PRIVATE_EXPONENT,
        )];
        for curve in Curve::NIST {
            let public = Template::new().set(CKA_EC_PARAMS, curve.params);
            let (_, private) = session
                .generate_key_pair(CKM_EC_KEY_PAIR_GEN, &public, &plain)
                .unwrap();
            keys.push((private, CKK_EC, CKA_VALUE));
        }
        let x25519: &[u8] = &[6, 3, 0x2b, 0x65, 0x6e];
        for (mechanism, params, key_type) in [
            (
                CKM_EC_EDWARDS_KEY_PAIR_GEN,
                Curve::ED25519.params,
                CKK_EC_EDWARDS,
            ),
            (CKM_EC_MONTGOMERY_KEY_PAIR_GEN, x25519, CKK_EC_MONTGOMERY),
        ] {
            let public = Template::new().set(CKA_EC_PARAMS, params);
            let (_, private) = session
                .generate_key_pair(mechanism, &public, &plain)
                .unwrap();
            keys.push((private, key_type, CKA_VALUE));
        }
        for (key, key_type, value) in keys {
            let template = Template::new()
                .set(CKA_CLASS, CKO_PRIVATE_KEY)
                .set(CKA_KEY_TYPE, key_type)
                .set(CKA_SENSITIVE, false);
            for mechanism in [
                Mech::bytes(CKM_AES_CBC_PAD, &IV),
                Mech::gcm(&[9; 12], b"", 96),
                Mech::ctr(IV, 64),
                CKM_AES_KEY_WRAP.into(),
                CKM_AES_KEY_WRAP_KWP.into(),
                CKM_AES_KEY_WRAP_PKCS7.into(),
                Mech::ccm_wrap(&[7; 13], 0, b"", 16),
                Mech::rsa_aes(128),
            ] {
                let (wraps, aes) = match mechanism.kind {
                    CKM_RSA_AES_KEY_WRAP => (rsa.public, rsa.private),
                    _ => (aes, aes),
                };
                let wrapped = session.wrap(mechanism.clone(), wraps, key).unwrap();
                let again = session
                    .unwrap(mechanism.clone(), aes, &wrapped, &template)
                    .unwrap();
                for same in [value, CKA_PUBLIC_KEY_INFO] {
                    assert_eq!(
                        session.get(again, same).unwrap(),
                        session.get(key, same).unwrap()
                    );
                }
                let other = if key_type == CKK_RSA { CKK_EC } else { CKK_RSA };
                let wrong = template.clone().set(CKA_KEY_TYPE, other);
                session
                    .unwrap(mechanism.clone(), aes, &wrapped, &wrong)
                    .refused(CKR_WRAPPED_KEY_INVALID);
                // No secret key is made of the bytes of a private one.
                if mechanism.kind != CKM_AES_KEY_WRAP {
                    session
                        .unwrap(mechanism.clone(), aes, &wrapped, &secret_again(None))
                        .refused(CKR_WRAPPED_KEY_INVALID);
                }
                let last = wrapped.len() - 1;
                let mut broken = wrapped.clone();
                broken[last] ^= 1;
                if mechanism.kind != CKM_AES_CTR && mechanism.kind != CKM_AES_CBC_PAD {
                    session
                        .unwrap(mechanism.clone(), aes, &broken, &template)
                        .refused(CKR_WRAPPED_KEY_INVALID);
                }
            }
            for mechanism in [CKM_AES_ECB.into(), Mech::bytes(CKM_AES_CBC, &IV)] {
                session
                    .wrap(mechanism, aes, key)
                    .refused(CKR_KEY_NOT_WRAPPABLE);
            }
            session
                .wrap(oaep(), rsa_both(session).public, key)
                .refused(CKR_KEY_NOT_WRAPPABLE);
            let info = session
                .decrypt(
                    Mech::bytes(CKM_AES_CBC_PAD, &IV),
                    aes,
                    &session
                        .wrap(Mech::bytes(CKM_AES_CBC_PAD, &IV), aes, key)
                        .unwrap(),
                )
                .unwrap();
            // SEQUENCE { INTEGER 0, AlgorithmIdentifier, … } (RFC 5958 2).
            assert_eq!(info[0], 0x30);
            assert!(info.windows(3).any(|part| part == [2, 1, 0]));
        }
    });
}

#[test]
fn gcm_gives_nonce_and_tag_beside_the_key() {
    isolated_on(&[SOFTWARE], |world| {
        let session = world.token().user();
        let aes = aes_both(session);
        let key = secret(session, &[5; 40]);
        let made = Mech::gcm_message(&[0; 12], CKG_GENERATE, &[0; 16]);
        let wrapped = session
            .wrap_authenticated(made.clone(), aes, key, b"for whom")
            .unwrap();
        assert_eq!(wrapped.len(), 40);
        let (nonce, tag) = (made.pointed_to(0), made.pointed_to(1));
        assert_ne!((&nonce[..], &tag[..]), (&[0; 12][..], &[0; 16][..]));
        let unwrap = |mechanism: Mech, wrapped: &[u8], associated: &[u8]| {
            let template = secret_again(None);
            session.unwrap_authenticated(mechanism, aes, wrapped, associated, &template)
        };
        let again = unwrap(
            Mech::gcm_message(&nonce, CKG_NO_GENERATE, &tag),
            &wrapped,
            b"for whom",
        );
        assert_eq!(session.get(again.unwrap(), CKA_VALUE).unwrap(), [5; 40]);
        for (mechanism, associated) in [
            (Mech::gcm_message(&nonce, 0, &tag), &b"for me"[..]),
            (Mech::gcm_message(&[1; 12], 0, &tag), b"for whom"),
            (Mech::gcm_message(&nonce, 0, &[0; 16]), b"for whom"),
        ] {
            unwrap(mechanism, &wrapped, associated).refused(CKR_WRAPPED_KEY_INVALID);
        }
        // As one: C_Decrypt sees the same.
        let whole = [wrapped, tag].concat();
        assert_eq!(
            session
                .decrypt(Mech::gcm(&nonce, b"for whom", 128), aes, &whole)
                .unwrap(),
            [5; 40]
        );
        session
            .wrap_authenticated(Mech::bytes(CKM_AES_CBC_PAD, &IV), aes, key, b"")
            .refused(CKR_MECHANISM_INVALID);
        for refused in [CKG_GENERATE_COUNTER, CKG_GENERATE_COUNTER_XOR, 77] {
            let mechanism = Mech::gcm_wrap(&[0; 12], 0, refused, b"", 128);
            session
                .wrap(mechanism, aes, key)
                .refused(CKR_MECHANISM_PARAM_INVALID);
        }
    });
}

/// RFC 3394 4.6, RFC 5649 6.
#[test]
fn known_answers() {
    isolated_on(&[SOFTWARE], |world| {
        let session = world.token().user();
        let kek = |value: &str| {
            let template = aes_template(&hex(value))
                .set(CKA_WRAP, true)
                .set(CKA_UNWRAP, true);
            session.create(&template).unwrap()
        };
        let long = kek("000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F");
        let other = kek("5840df6e29b02af1ab493b705bf16ea1ae8338f4dcc176a8");
        for (mechanism, kek, value, wrapped) in [
            (
                CKM_AES_KEY_WRAP,
                long,
                "00112233445566778899AABBCCDDEEFF000102030405060708090A0B0C0D0E0F",
                "28C9F404C4B810F4CBCCB35CFB87F8263F5786E2D80ED326CBC7F0E71A99F43BFB988B9B7A02DD21",
            ),
            (
                CKM_AES_KEY_WRAP_KWP,
                other,
                "c37b7e6492584340bed12207808941155068f738",
                "138bdeaa9b8fa7fc61f97742e72248ee5ae6ae5360d1ae6a5f54f373fa543b6a",
            ),
            (
                CKM_AES_KEY_WRAP_KWP,
                other,
                "466f7250617369",
                "afbeb0f07dfbf5419200f2ccb50bb24f",
            ),
        ] {
            let (value, wrapped) = (hex(value), hex(wrapped));
            let key = secret(session, &value);
            assert_eq!(session.wrap(mechanism, kek, key).unwrap(), wrapped);
            let again = secret_again(Some(value.len()));
            let again = session.unwrap(mechanism, kek, &wrapped, &again).unwrap();
            assert_eq!(session.get(again, CKA_VALUE).unwrap(), value);
        }
    });
}

#[test]
fn codes() {
    isolated_on(&[SOFTWARE], |world| {
        let session = world.token().user();
        let aes = aes_both(session);
        let rsa = rsa_both(session);
        let key = secret(session, &[0x55; 32]);
        let pad = || Mech::bytes(CKM_AES_CBC_PAD, &IV);
        let wrapped = session.wrap(pad(), aes, key).unwrap();
        let again = secret_again(None);

        session
            .wrap(pad(), 999, key)
            .refused(CKR_WRAPPING_KEY_HANDLE_INVALID);
        session
            .wrap(pad(), aes, 999)
            .refused(CKR_KEY_HANDLE_INVALID);
        session
            .wrap(pad(), aes, rsa.public)
            .refused(CKR_KEY_HANDLE_INVALID);
        session
            .wrap(pad(), rsa.public, key)
            .refused(CKR_WRAPPING_KEY_TYPE_INCONSISTENT);
        session
            .wrap(CKM_SHA256, aes, key)
            .refused(CKR_MECHANISM_INVALID);
        session
            .wrap(CKM_AES_CBC_PAD, aes, key)
            .refused(CKR_MECHANISM_PARAM_INVALID);
        let stays = session.create(&aes_template(&[1; 16])).unwrap();
        session
            .wrap(pad(), aes, stays)
            .refused(CKR_KEY_UNEXTRACTABLE);
        session
            .wrap(pad(), stays, key)
            .refused(CKR_KEY_FUNCTION_NOT_PERMITTED);
        let long = secret(session, &[5; 300]);
        session
            .wrap(CKM_RSA_PKCS, rsa.public, long)
            .refused(CKR_KEY_SIZE_RANGE);

        let unwrap = |mechanism: Mech, kek, wrapped: &[u8], template: &Template| {
            session.unwrap(mechanism, kek, wrapped, template)
        };
        unwrap(pad(), 999, &wrapped, &again).refused(CKR_UNWRAPPING_KEY_HANDLE_INVALID);
        unwrap(pad(), rsa.private, &wrapped, &again).refused(CKR_UNWRAPPING_KEY_TYPE_INCONSISTENT);
        unwrap(pad(), stays, &wrapped, &again).refused(CKR_KEY_FUNCTION_NOT_PERMITTED);
        unwrap(pad(), aes, &wrapped[1..], &again).refused(CKR_WRAPPED_KEY_LEN_RANGE);
        unwrap(pad(), aes, &wrapped[..16], &again).refused(CKR_WRAPPED_KEY_INVALID);
        unwrap(oaep(), rsa.private, &[1; 255], &again).refused(CKR_WRAPPED_KEY_LEN_RANGE);
        unwrap(oaep(), rsa.private, &[1; 256], &again).refused(CKR_WRAPPED_KEY_INVALID);
        for (template, code) in [
            (again.clone().without(CKA_CLASS), CKR_TEMPLATE_INCOMPLETE),
            (again.clone().without(CKA_KEY_TYPE), CKR_TEMPLATE_INCOMPLETE),
            (
                again.clone().set(CKA_VALUE, &[1; 32]),
                CKR_ATTRIBUTE_READ_ONLY,
            ),
            (again.clone().set(CKA_LOCAL, true), CKR_ATTRIBUTE_READ_ONLY),
            (
                again.clone().set(CKA_TRUSTED, true),
                CKR_ATTRIBUTE_READ_ONLY,
            ),
            (
                again.clone().set(CKA_MODULUS_BITS, 2048 as CK_ULONG),
                CKR_ATTRIBUTE_TYPE_INVALID,
            ),
            (
                again.clone().set(CKA_CLASS, CKO_DATA),
                CKR_TEMPLATE_INCONSISTENT,
            ),
        ] {
            let refused = unwrap(pad(), aes, &wrapped, &template);
            assert!(refused.is_err(), "{template:?}");
            if template.types().contains(&CKA_CLASS) && code != CKR_TEMPLATE_INCONSISTENT {
                refused.refused(code);
            }
        }
        // An AES key of 20 bytes does not exist.
        let odd = session.wrap(pad(), aes, secret(session, &[5; 20])).unwrap();
        let aes_key = again.clone().set(CKA_KEY_TYPE, CKK_AES);
        unwrap(pad(), aes, &odd, &aes_key).refused(CKR_WRAPPED_KEY_LEN_RANGE);
        // A key that asks for its PIN each time has no moment for it.
        let asks = rsa_private_import()
            .set(CKA_UNWRAP, true)
            .set(CKA_ALWAYS_AUTHENTICATE, true);
        let asks = session.create(&asks).unwrap();
        let sealed = session.wrap(CKM_RSA_PKCS, rsa.public, key).unwrap();
        unwrap(CKM_RSA_PKCS.into(), asks, &sealed, &again).refused(CKR_USER_NOT_LOGGED_IN);
        // None of the refusals has left an object.
        let before = session.find(&Template::new()).unwrap().len();
        unwrap(pad(), aes, &wrapped, &again).unwrap();
        assert_eq!(session.find(&Template::new()).unwrap().len(), before + 1);
    });
}

/// What is wrong with the RSA block of CKM_RSA_AES_KEY_WRAP is told by no length of what follows it.
#[test]
fn a_wrong_length_tells_nothing_of_the_padding() {
    isolated_on(&[SOFTWARE], |world| {
        let session = world.token().user();
        let rsa = rsa_both(session);
        let key = secret(session, &[5; 32]);
        let good = session.wrap(Mech::rsa_aes(256), rsa.public, key).unwrap();
        let mut wrong = good.clone();
        wrong[100] ^= 1;
        for wrapped in [&good, &wrong] {
            let unwrap = |wrapped: &[u8]| {
                session.unwrap(
                    Mech::rsa_aes(256),
                    rsa.private,
                    wrapped,
                    &secret_again(None),
                )
            };
            for len in [255, 256, 264, wrapped.len() - 1] {
                unwrap(&wrapped[..len]).refused(CKR_WRAPPED_KEY_LEN_RANGE);
            }
            unwrap(&wrapped[..wrapped.len() - 8]).refused(CKR_WRAPPED_KEY_INVALID);
        }
    });
}

/// A wrong PKCS #1 padding is no other answer than a right one of another length (Bleichenbacher 1998).
#[test]
fn pkcs1_tells_nothing_of_its_padding() {
    isolated_on(&[SOFTWARE], |world| {
        let session = world.token().user();
        let rsa = rsa_both(session);
        let good = session
            .wrap(CKM_RSA_PKCS, rsa.public, secret(session, &[5; 32]))
            .unwrap();
        let wrong_padding = session
            .encrypt(CKM_RSA_X_509, rsa.public, &[1; 200])
            .unwrap();
        for wrapped in [&good, &wrong_padding] {
            session
                .unwrap(CKM_RSA_PKCS, rsa.private, wrapped, &secret_again(Some(247)))
                .refused(CKR_WRAPPED_KEY_LEN_RANGE);
        }
        // Always the same bytes come of the same wrong block, so that asking again tells nothing.
        let any = || {
            session
                .unwrap(
                    CKM_RSA_PKCS,
                    rsa.private,
                    &wrong_padding,
                    &secret_again(None),
                )
                .and_then(|key| session.get(key, CKA_VALUE))
        };
        assert_eq!(any(), any());
    });
}

#[test]
fn templates_of_wrapping_keys() {
    isolated_on(&[SOFTWARE], |world| {
        let session = world.token().user();
        let label = Template::new()
            .set(CKA_LABEL, "carried")
            .set(CKA_KEY_TYPE, CKK_GENERIC_SECRET);
        let label = label.attributes();
        let adds = Template::new()
            .set(CKA_LABEL, "unwrapped")
            .set(CKA_EXTRACTABLE, false);
        let adds_attributes = adds.attributes();
        let kek = aes_template(&[0x42; 32])
            .set(CKA_TOKEN, true)
            .set(CKA_WRAP, true)
            .set(CKA_UNWRAP, true)
            .set(CKA_WRAP_TEMPLATE, array(&label))
            .set(CKA_UNWRAP_TEMPLATE, array(&adds_attributes));
        let kek = session.create(&kek).unwrap();
        let pad = || Mech::bytes(CKM_AES_CBC_PAD, &IV);
        let other = secret(session, &[5; 32]);
        session
            .wrap(pad(), kek, other)
            .refused(CKR_KEY_HANDLE_INVALID);
        session
            .set(other, &Template::new().set(CKA_LABEL, "carried"))
            .unwrap();
        let wrapped = session.wrap(pad(), kek, other).unwrap();
        let again = session
            .unwrap(pad(), kek, &wrapped, &secret_again(None))
            .unwrap();
        assert_eq!(session.get(again, CKA_LABEL).unwrap(), b"unwrapped");
        assert!(!session.get_bool(again, CKA_EXTRACTABLE));
        for conflict in [
            secret_again(None).set(CKA_EXTRACTABLE, true),
            secret_again(None).set(CKA_LABEL, "mine"),
        ] {
            session
                .unwrap(pad(), kek, &wrapped, &conflict)
                .refused(CKR_TEMPLATE_INCONSISTENT);
        }

        // The two steps of 5.7.5: the number, then the lengths, then the values.
        let size = size_of::<CK_ATTRIBUTE>();
        let mut asked = CK_ATTRIBUTE {
            type_: CKA_UNWRAP_TEMPLATE,
            pValue: null_mut(),
            ulValueLen: 0,
        };
        session
            .get_raw(kek, std::slice::from_mut(&mut asked))
            .unwrap();
        assert_eq!(asked.ulValueLen as usize, 2 * size);
        let mut inner = [CK_ATTRIBUTE::default(); 2];
        asked.pValue = inner.as_mut_ptr().cast();
        asked.ulValueLen -= 1;
        let mut short = asked;
        session
            .get_raw(kek, std::slice::from_mut(&mut short))
            .refused(CKR_BUFFER_TOO_SMALL);
        assert_eq!(short.ulValueLen, CK_UNAVAILABLE_INFORMATION);
        asked.ulValueLen += 1;
        session
            .get_raw(kek, std::slice::from_mut(&mut asked))
            .unwrap();
        let lengths = inner.map(|one| (one.type_, one.ulValueLen));
        assert_eq!(lengths, [(CKA_LABEL, 9), (CKA_EXTRACTABLE, 1)]);
        let (mut text, mut flag) = ([0u8; 9], [7u8; 1]);
        inner[0].pValue = text.as_mut_ptr().cast();
        inner[1].pValue = flag.as_mut_ptr().cast();
        session
            .get_raw(kek, std::slice::from_mut(&mut asked))
            .unwrap();
        assert_eq!((&text, flag), (b"unwrapped", [CK_FALSE]));
        inner[0].ulValueLen = 3;
        session
            .get_raw(kek, std::slice::from_mut(&mut asked))
            .refused(CKR_BUFFER_TOO_SMALL);
        assert_eq!(inner[0].ulValueLen, CK_UNAVAILABLE_INFORMATION);
        assert_eq!(inner[1].ulValueLen, 1);
    });
}

#[test]
fn hostile_templates_in_templates() {
    isolated_on(&[SOFTWARE], |world| {
        let session = world.token().user();
        let size = size_of::<CK_ATTRIBUTE>() as CK_ULONG;
        let one = |type_, value: *mut std::ffi::c_void, len| CK_ATTRIBUTE {
            type_,
            pValue: value,
            ulValueLen: len,
        };
        let make = |outer: CK_ATTRIBUTE| {
            let template = aes_template(&[1; 16]);
            let mut attributes = template.attributes();
            attributes.push(outer);
            let mut key = 0;
            try_call!(
                session.module,
                C_CreateObject(
                    session.handle,
                    attributes.as_mut_ptr(),
                    attributes.len() as CK_ULONG,
                    &mut key
                )
            )
        };
        let wild = std::ptr::without_provenance_mut(0xdead_0000_0000);
        let mut flags = [CK_TRUE, CK_FALSE];
        let (first, second) = (flags.as_mut_ptr(), unsafe { flags.as_mut_ptr().add(1) });
        for (pointer, len) in [
            (null_mut(), size),
            (wild, size),
            (wild, CK_ULONG::MAX / size * size),
            (wild, size * 5000),
            (first.cast(), 5),
        ] {
            make(one(CKA_WRAP_TEMPLATE, pointer, len)).refused(CKR_ATTRIBUTE_VALUE_INVALID);
        }
        for (mut inner, code) in [
            (vec![one(CKA_LABEL, wild, 5)], CKR_ATTRIBUTE_VALUE_INVALID),
            (
                vec![one(CKA_LABEL, null_mut(), CK_ULONG::MAX)],
                CKR_ATTRIBUTE_VALUE_INVALID,
            ),
            (
                vec![one(CKA_SIGN, first.cast(), 2)],
                CKR_ATTRIBUTE_VALUE_INVALID,
            ),
            (
                vec![one(0x7fff_1234, first.cast(), 1)],
                CKR_ATTRIBUTE_TYPE_INVALID,
            ),
            (
                vec![
                    one(CKA_SIGN, first.cast(), 1),
                    one(CKA_SIGN, second.cast(), 1),
                ],
                CKR_TEMPLATE_INCONSISTENT,
            ),
        ] {
            let len = inner.len() as CK_ULONG * size;
            make(one(CKA_WRAP_TEMPLATE, inner.as_mut_ptr().cast(), len)).refused(code);
        }
        // A template that stands in itself.
        let mut endless = [one(CKA_UNWRAP_TEMPLATE, null_mut(), size)];
        endless[0].pValue = endless.as_mut_ptr().cast();
        make(endless[0]).refused(CKR_ATTRIBUTE_VALUE_INVALID);
        // A thousand million attributes, all of them in a few pages.
        let mut most = vec![one(CKA_SIGN, first.cast(), 1); 1000];
        for _ in 0..3 {
            let len = most.len() as CK_ULONG * size;
            let again = one(CKA_WRAP_TEMPLATE, most.leak().as_mut_ptr().cast(), len);
            most = vec![again; 1000];
        }
        make(most[0]).refused(CKR_ATTRIBUTE_VALUE_INVALID);
        make(one(CKA_WRAP_TEMPLATE, null_mut(), 0)).unwrap();
        // One that makes a key trusted is no way around the security officer.
        let trusted = [one(CKA_TRUSTED, first.cast(), 1)];
        let kek = aes_template(&[0x42; 32])
            .set(CKA_UNWRAP, true)
            .set(CKA_UNWRAP_TEMPLATE, array(&trusted));
        let kek = session.create(&kek).unwrap();
        session
            .unwrap(CKM_AES_ECB, kek, &[0; 16], &secret_again(Some(16)))
            .refused(CKR_ATTRIBUTE_READ_ONLY);
    });
}

/// Chips unwrap as software does: the private key is asked through its token.
#[test]
fn keys_of_every_kind_unwrap() {
    isolated(|world| {
        let session = world.token().user();
        let public = rsa_public(2048).set(CKA_WRAP, true);
        let kind = world.kind;
        let on_token = kind.works_on_token() && kind.token_keys.rsa_bits.contains(&2048);
        let private = on(on_token).set(CKA_UNWRAP, true);
        let Ok((public, private)) = session.generate_key_pair(
            CKM_RSA_PKCS_KEY_PAIR_GEN,
            &public.with(&on(on_token)),
            &private,
        ) else {
            assert!(kind.name != "software");
            return;
        };
        let key = secret(session, &[5; 32]);
        for mechanism in [Mech::from(CKM_RSA_PKCS), oaep()] {
            let wrapped = session.wrap(mechanism.clone(), public, key).unwrap();
            let again = session
                .unwrap(mechanism, private, &wrapped, &secret_again(Some(32)))
                .unwrap();
            assert_eq!(
                session.sign(CKM_SHA256_HMAC, again, b"same").unwrap(),
                session.sign(CKM_SHA256_HMAC, key, b"same").unwrap()
            );
        }
    });
}
