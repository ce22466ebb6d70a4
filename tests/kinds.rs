//! What a kind of token declares in `common/token.rs` is true, and what it cannot do is refused, with
//! the right code and without a trace. The other tests leave that out.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::undocumented_unsafe_blocks, missing_docs)]

mod common;

use common::vectors::{self, hex};
use common::*;

const MESSAGE: &[u8] = vectors::MESSAGE;

/// Runs `body`, which must leave no object.
#[track_caller]
fn without_a_trace(session: Session, body: impl FnOnce()) {
    let count = || session.find(&Template::new()).unwrap().len();
    let before = count();
    body();
    assert_eq!(count(), before, "a refused call left an object");
}

/// On the token and in the session.
const BOTH_PLACES: [bool; 2] = [true, false];

/// What a token without imported keys says to a private key from outside: there is none that can be
/// wrong otherwise.
const NOT_IMPORTED: CK_RV = CKR_TEMPLATE_INCONSISTENT;

#[test]
fn mechanisms() {
    isolated(|world| {
        let token = world.token();
        let info = |mechanism| token.module.mechanism_info(token.slot, mechanism);
        let bits = |curve: Curve| (8 * curve.size as CK_ULONG).min(521);
        let largest_curve = world.kind.nist().map(bits).max();
        let places = BOTH_PLACES.map(|on_token| world.kind.keys(on_token));
        let largest_rsa = places.iter().flat_map(|keys| keys.rsa_bits).copied().max();
        for (mechanisms, largest) in [
            (
                [
                    CKM_RSA_PKCS_KEY_PAIR_GEN,
                    CKM_RSA_PKCS,
                    CKM_SHA256_RSA_PKCS_PSS,
                    CKM_RSA_PKCS_OAEP,
                ],
                largest_rsa,
            ),
            (
                [
                    CKM_EC_KEY_PAIR_GEN,
                    CKM_ECDSA,
                    CKM_ECDSA_SHA256,
                    CKM_ECDSA_SHA512,
                ],
                largest_curve,
            ),
        ] {
            for mechanism in mechanisms {
                let info = info(mechanism).unwrap();
                assert_eq!(Some(info.ulMaxKeySize), largest, "{mechanism:#x}");
                let in_chip = info.flags & CKF_HW != 0;
                assert_eq!(in_chip, world.kind.token_keys.in_chip, "{mechanism:#x}");
            }
        }
        for mechanism in [CKM_EC_EDWARDS_KEY_PAIR_GEN, CKM_EDDSA] {
            let there = info(mechanism).map(drop);
            match world.kind.has(Curve::ED25519) {
                true => there.unwrap(),
                false => there.refused(CKR_MECHANISM_INVALID),
            }
        }
        // What needs no private key is not the chip's.
        for mechanism in [CKM_SHA256, CKM_AES_GCM, CKM_SHA256_HMAC] {
            assert_eq!(info(mechanism).unwrap().flags & CKF_HW, 0);
        }
    });
}

#[test]
fn curves() {
    isolated(|world| {
        let session = world.token().user();
        for (curve, scalar, point) in [
            (Curve::P256, vectors::P256_SCALAR, vectors::P256_POINT),
            (Curve::P384, vectors::P384_SCALAR, vectors::P384_POINT),
            (Curve::P521, vectors::P521_SCALAR, vectors::P521_POINT),
            (
                Curve::ED25519,
                vectors::ED25519_SEED,
                vectors::ED25519_POINT,
            ),
        ] {
            let (generation, signing, refusal) = match curve {
                Curve::ED25519 => (
                    CKM_EC_EDWARDS_KEY_PAIR_GEN,
                    CKM_EDDSA,
                    CKR_MECHANISM_INVALID,
                ),
                _ => (CKM_EC_KEY_PAIR_GEN, CKM_ECDSA_SHA256, CKR_KEY_SIZE_RANGE),
            };
            // Any token keeps a public key; whether it checks with it is another matter.
            let public = session.create(&ec_public_import(curve, point)).unwrap();
            if !world.kind.has(curve) {
                session.verify_init(signing, public).refused(refusal);
            }
            for on_token in BOTH_PLACES {
                let keys = world.kind.keys(on_token);
                let params = on(on_token).set(CKA_EC_PARAMS, curve.params);
                let import = ec_private_import(curve, scalar).with(&on(on_token));
                if keys.curves.contains(&curve) {
                    let made = session.pair(generation, &params, &on(on_token));
                    let mut pairs = vec![(made.private, made.public)];
                    match keys.imported {
                        true => pairs.push((session.create(&import).unwrap(), public)),
                        false => without_a_trace(session, || {
                            session.create(&import).refused(NOT_IMPORTED);
                        }),
                    }
                    for (private, public) in pairs {
                        let signature = session.sign(signing, private, MESSAGE).unwrap();
                        session
                            .verify(signing, public, MESSAGE, &signature)
                            .unwrap();
                    }
                    continue;
                }
                without_a_trace(session, || {
                    let refusal = match curve {
                        Curve::ED25519 if !world.kind.has(curve) => CKR_MECHANISM_INVALID,
                        _ => CKR_CURVE_NOT_SUPPORTED,
                    };
                    session
                        .generate_key_pair(generation, &params, &on(on_token))
                        .refused(refusal);
                    let refusal = match keys.imported {
                        true => CKR_CURVE_NOT_SUPPORTED,
                        false => NOT_IMPORTED,
                    };
                    session.create(&import).refused(refusal);
                });
            }
        }
    });
}

/// Those that can be made are made in `larger_rsa_keys`.
#[test]
fn rsa_sizes() {
    isolated(|world| {
        let session = world.token().user();
        for on_token in BOTH_PLACES {
            let keys = world.kind.keys(on_token);
            let missing = |bits: &&CK_ULONG| !keys.rsa_bits.contains(bits);
            for &bits in SOFTWARE.session_keys.rsa_bits.iter().filter(missing) {
                without_a_trace(session, || {
                    session
                        .generate_key_pair(
                            CKM_RSA_PKCS_KEY_PAIR_GEN,
                            &rsa_public(bits).with(&on(on_token)),
                            &on(on_token),
                        )
                        .refused(CKR_KEY_SIZE_RANGE);
                });
            }
            for (bits, key) in [(3072, vectors::RSA_3072), (4096, vectors::RSA_4096)] {
                let (private, public) = rsa_imports_of(key);
                let public = session.create(&public).unwrap();
                let import = private.clone().with(&on(on_token));
                if !keys.imported {
                    without_a_trace(session, || session.create(&import).refused(NOT_IMPORTED));
                    continue;
                }
                if keys.rsa_bits.contains(&bits) {
                    let private = session.create(&import).unwrap();
                    let signature = session.sign(CKM_SHA256_RSA_PKCS, private, MESSAGE).unwrap();
                    session
                        .verify(CKM_SHA256_RSA_PKCS, public, MESSAGE, &signature)
                        .unwrap();
                    let sealed = session.encrypt(CKM_RSA_PKCS, public, MESSAGE).unwrap();
                    assert_eq!(
                        session.decrypt(CKM_RSA_PKCS, private, &sealed).unwrap(),
                        MESSAGE
                    );
                    continue;
                }
                without_a_trace(session, || {
                    session.create(&import).refused(CKR_ATTRIBUTE_VALUE_INVALID);
                });
                session
                    .verify_init(CKM_SHA256_RSA_PKCS, public)
                    .refused(CKR_KEY_SIZE_RANGE);
                session
                    .encrypt_init(CKM_RSA_PKCS, public)
                    .refused(CKR_KEY_SIZE_RANGE);
            }
        }
    });
}

#[test]
fn rsa_exponents() {
    isolated(|world| {
        let session = world.token().user();
        let (private, public) = rsa_imports_of(vectors::RSA_EXPONENT_3);
        let public = session.create(&public).unwrap();
        let three = rsa_public(2048).set(CKA_PUBLIC_EXPONENT, &[3]);
        let generate = |public: &Template, place: &Template| {
            let public = public.clone().with(place);
            session.generate_key_pair(CKM_RSA_PKCS_KEY_PAIR_GEN, &public, place)
        };
        for on_token in BOTH_PLACES {
            let (keys, place) = (world.kind.keys(on_token), on(on_token));
            let import = private.clone().with(&place);
            if keys.in_chip {
                without_a_trace(session, || {
                    generate(&three, &place).refused(CKR_TEMPLATE_INCONSISTENT);
                    session.create(&import).refused(match keys.imported {
                        true => CKR_ATTRIBUTE_VALUE_INVALID,
                        false => NOT_IMPORTED,
                    });
                });
                continue;
            }
            let (made, _) = generate(&three, &place).unwrap();
            assert_eq!(session.get(made, CKA_PUBLIC_EXPONENT).unwrap(), [3]);
            let private = session.create(&import).unwrap();
            let signature = session.sign(CKM_SHA256_RSA_PKCS, private, MESSAGE).unwrap();
            session
                .verify(CKM_SHA256_RSA_PKCS, public, MESSAGE, &signature)
                .unwrap();
        }
        // A public key of others is none of the chip's.
        session
            .verify(CKM_SHA256_RSA_PKCS, public, MESSAGE, &[1; 256])
            .refused(CKR_SIGNATURE_INVALID);
        // 65537 may be written longer, and is the default.
        for same in [
            rsa_public(2048).set(CKA_PUBLIC_EXPONENT, &[0, 1, 0, 1]),
            rsa_public(2048).without(CKA_PUBLIC_EXPONENT),
        ] {
            let place = on(world.kind.works_on_token());
            let (made, _) = generate(&same, &place).unwrap();
            assert_eq!(session.get(made, CKA_PUBLIC_EXPONENT).unwrap(), [1, 0, 1]);
        }
    });
}

/// 6.1.3: the primes "may not be present"; a chip asks for them, and for primes of one length.
#[test]
fn rsa_primes() {
    let crt = [
        (CKA_PRIME_1, vectors::RSA_PRIME_1),
        (CKA_PRIME_2, vectors::RSA_PRIME_2),
        (CKA_EXPONENT_1, vectors::RSA_EXPONENT_1),
        (CKA_EXPONENT_2, vectors::RSA_EXPONENT_2),
        (CKA_COEFFICIENT, vectors::RSA_COEFFICIENT),
    ];
    isolated(|world| {
        let session = world.token().user();
        let import = rsa_private_import();
        let without = crt
            .iter()
            .fold(import.clone(), |import, (part, _)| import.without(*part));
        // An integer with a leading zero, as DER and some clients write it.
        let longer = crt.iter().fold(import, |import, (part, value)| {
            import.set(*part, [vec![0], hex(value)].concat())
        });
        let (unequal, _) = rsa_imports_of(vectors::RSA_UNEQUAL_PRIMES);
        let public = session.create(&rsa_public_import()).unwrap();
        for on_token in BOTH_PLACES {
            let (keys, place) = (world.kind.keys(on_token), on(on_token));
            if !keys.imported {
                continue;
            }
            for (import, refusal) in [(&longer, None), (&without, Some(CKR_TEMPLATE_INCOMPLETE))] {
                let import = import.clone().with(&place);
                match refusal.filter(|_| keys.in_chip) {
                    Some(refusal) => {
                        without_a_trace(session, || session.create(&import).refused(refusal));
                    }
                    None => {
                        let key = session.create(&import).unwrap();
                        let signature = session.sign(CKM_SHA256_RSA_PKCS, key, MESSAGE).unwrap();
                        session
                            .verify(CKM_SHA256_RSA_PKCS, public, MESSAGE, &signature)
                            .unwrap();
                    }
                }
            }
            let import = unequal.clone().with(&place);
            // The second engine takes no such key either.
            if keys.in_chip || cfg!(feature = "rustcrypto") {
                without_a_trace(session, || {
                    session.create(&import).refused(CKR_ATTRIBUTE_VALUE_INVALID);
                });
            } else {
                session.create(&import).unwrap();
            }
        }
    });
}

/// Which combinations let a key be read, `sensitive_values` shows.
#[test]
fn private_keys_that_could_be_read() {
    isolated(|world| {
        let session = world.token().user();
        let params = Template::new().set(CKA_EC_PARAMS, Curve::P256.params);
        for on_token in BOTH_PLACES {
            let (keys, place) = (world.kind.keys(on_token), on(on_token));
            for (sensitive, extractable) in [(false, false), (false, true), (true, true)] {
                let open = Template::new()
                    .set(CKA_SENSITIVE, sensitive)
                    .set(CKA_EXTRACTABLE, extractable)
                    .with(&place);
                let params = params.clone().with(&place);
                let generated = || session.generate_key_pair(CKM_EC_KEY_PAIR_GEN, &params, &open);
                let imports = [
                    ec_private_import(Curve::P256, vectors::P256_SCALAR),
                    rsa_private_import(),
                ];
                if keys.in_chip {
                    without_a_trace(session, || {
                        generated().refused(CKR_TEMPLATE_INCONSISTENT);
                        for import in imports {
                            session
                                .create(&import.with(&open))
                                .refused(CKR_TEMPLATE_INCONSISTENT);
                        }
                    });
                } else {
                    generated().unwrap();
                    for import in imports {
                        session.create(&import.with(&open)).unwrap();
                    }
                }
            }
        }
    });
}

/// A key that the token made itself neither leaves it nor comes to it again.
#[test]
fn copies_of_private_keys() {
    isolated(|world| {
        let session = world.token().user();
        for from in BOTH_PLACES {
            let pair = session.ec_with(Curve::P256, &on(from));
            for to in BOTH_PLACES {
                let keys = |on_token| world.kind.keys(on_token);
                let copy = || session.copy(pair.private, &on(to));
                let refusal = match (keys(from).imported, keys(to).imported) {
                    (true, true) => {
                        let copy = copy().unwrap();
                        let signature = session.sign(CKM_ECDSA_SHA256, copy, MESSAGE).unwrap();
                        session
                            .verify(CKM_ECDSA_SHA256, pair.public, MESSAGE, &signature)
                            .unwrap();
                        continue;
                    }
                    (false, _) => CKR_ACTION_PROHIBITED,
                    (true, false) => NOT_IMPORTED,
                };
                without_a_trace(session, || copy().refused(refusal));
            }
        }
    });
}

/// Secret keys and private objects on the token; in the session there are always such.
#[test]
fn secrets_of_an_application() {
    isolated(|world| {
        let session = world.token().user();
        let length = Template::new().set(CKA_VALUE_LEN, 16);
        let private = Template::new().set(CKA_PRIVATE, true);
        for on_token in BOTH_PLACES {
            let make: [&dyn Fn() -> Result<CK_OBJECT_HANDLE, Rv>; 6] = [
                &|| session.create(&aes_template(&[1; 16]).with(&on(on_token))),
                &|| session.create(&generic_secret_template(&[1; 16]).with(&on(on_token))),
                &|| {
                    let open = Template::new().set(CKA_PRIVATE, false);
                    let open = aes_template(&[1; 16]).with(&on(on_token)).with(&open);
                    session.create(&open)
                },
                &|| session.generate_key(CKM_AES_KEY_GEN, &length.clone().with(&on(on_token))),
                &|| session.create(&data("data").with(&on(on_token)).with(&private)),
                &|| session.create(&certificate().with(&on(on_token)).with(&private)),
            ];
            for make in make {
                if world.kind.keeps_secrets || !on_token {
                    let made = make().unwrap();
                    assert_eq!(session.get_bool(made, CKA_TOKEN), on_token);
                } else {
                    without_a_trace(session, || make().refused(CKR_TEMPLATE_INCONSISTENT));
                }
            }
        }
        let open = on(true).set(CKA_PRIVATE, false);
        let generate = || {
            session.generate_key_pair(
                CKM_EC_KEY_PAIR_GEN,
                &on(true).set(CKA_EC_PARAMS, Curve::P256.params),
                &open,
            )
        };
        // Nor does it show to all a key that is the user's.
        match world.kind.keeps_secrets {
            true => drop(generate().unwrap()),
            false => without_a_trace(session, || {
                generate().refused(CKR_TEMPLATE_INCONSISTENT);
            }),
        }
    });
}

/// What is promised fits, what does not is refused and is not there.
#[test]
fn room() {
    isolated(|world| {
        let session = world.token().user();
        let bytes = world.kind.room.map_or(100_000, |room| room.bytes);
        let count = world.kind.room.map_or(100, |room| room.objects);
        let note = |number: usize, bytes: usize| {
            let label = format!("note {number}");
            data(&label)
                .with(&on(true))
                .set(CKA_VALUE, vec![number as u8; bytes])
        };
        let notes: Vec<_> = (0..count)
            .map(|number| session.create(&note(number, bytes)).unwrap())
            .collect();
        for (number, note) in notes.iter().enumerate() {
            let value = session.get(*note, CKA_VALUE).unwrap();
            assert_eq!(value, vec![number as u8; bytes]);
        }
        if world.kind.room.is_none() {
            return;
        }
        let full = |bytes| session.create(&note(77, bytes)).refused(CKR_DEVICE_MEMORY);
        without_a_trace(session, || full(1));
        session.destroy(notes[0]).unwrap();
        for kilobytes in [16, 40, 64, 1024] {
            without_a_trace(session, || full(kilobytes << 10));
        }
        session.create(&note(0, bytes)).unwrap();
    });
}

#[test]
fn pins() {
    isolated(|world| {
        let token = world.token();
        let session = token.session();
        let letters = "letters";
        let login = |pin| session.login(CKU_USER, pin);
        login(letters).refused(CKR_PIN_INCORRECT);
        let changed = session.set_pin(USER_PIN, letters);
        session.login(CKU_SO, SO_PIN).unwrap();
        if world.kind.pin_of_digits {
            changed.refused(CKR_PIN_INVALID);
            // It may have set a PIN that never works, and said so.
            session.init_pin(letters).refused(CKR_PIN_INVALID);
            session.init_pin(USER_PIN).unwrap();
        } else {
            changed.unwrap();
            session.init_pin("other letters").unwrap();
            session.init_pin(USER_PIN).unwrap();
        }
        session.logout().unwrap();
        login(USER_PIN).unwrap();
        assert_eq!(token.info().flags & CKF_USER_PIN_COUNT_LOW, 0);
    });
}

/// Data that only the user reads goes with all the rest when the card is initialized.
#[test]
fn private_data_of_a_card() {
    isolated_on(&[CARD], |world| {
        let token = world.token();
        let session = token.user();
        // Printed Information, 2.16.840.1.101.3.7.2.48.1.
        let oid = [6, 10, 0x60, 0x86, 0x48, 1, 0x65, 3, 7, 2, 0x30, 1];
        let printed = Template::new()
            .set(CKA_CLASS, CKO_DATA)
            .set(CKA_OBJECT_ID, &oid);
        let private = on(true).set(CKA_PRIVATE, true);
        let value = [1, 4, b'N', b'a', b'm', b'e'];
        let new = printed.clone().with(&private).set(CKA_VALUE, &value);
        session.create(&new).unwrap();
        let seen = session.find_one(&printed);
        assert_eq!(session.get(seen, CKA_VALUE).unwrap(), value);
        session.close().unwrap();
        token
            .module
            .init_token(token.slot, SO_PIN, "test token")
            .unwrap();
        let session = token.user();
        assert_eq!(session.find(&printed).unwrap(), []);
        // None that it came with either.
        assert_eq!(
            session
                .find(&Template::new().set(CKA_PRIVATE, true))
                .unwrap(),
            []
        );
    });
}
