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
fn both_places() -> [Template; 2] {
    [true, false].map(|on_token| Template::new().set(CKA_TOKEN, on_token))
}

#[test]
fn mechanisms() {
    isolated(|world| {
        let token = world.token();
        let info = |mechanism| token.module.mechanism_info(token.slot, mechanism);
        let bits = |curve: Curve| (8 * curve.size as CK_ULONG).min(521);
        let largest_curve = world.kind.nist().map(bits).max();
        let largest_rsa = world.kind.rsa_bits.iter().copied().max();
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
                assert_eq!(in_chip, world.kind.in_chip, "{mechanism:#x}");
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
            for place in both_places() {
                let params = Template::new().set(CKA_EC_PARAMS, curve.params);
                let import = ec_private_import(curve, scalar).with(&place);
                if world.kind.has(curve) {
                    let made = session.pair(generation, &params, &place);
                    let imported = session.create(&import).unwrap();
                    for (private, public) in [(made.private, made.public), (imported, public)] {
                        let signature = session.sign(signing, private, MESSAGE).unwrap();
                        session
                            .verify(signing, public, MESSAGE, &signature)
                            .unwrap();
                    }
                    continue;
                }
                without_a_trace(session, || {
                    let refusal = match curve {
                        Curve::ED25519 => CKR_MECHANISM_INVALID,
                        _ => CKR_CURVE_NOT_SUPPORTED,
                    };
                    session
                        .generate_key_pair(generation, &params.clone().with(&place), &place)
                        .refused(refusal);
                    session.create(&import).refused(CKR_CURVE_NOT_SUPPORTED);
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
        let has = |bits| world.kind.rsa_bits.contains(&bits);
        for &bits in SOFTWARE.rsa_bits.iter().filter(|bits| !has(**bits)) {
            without_a_trace(session, || {
                session
                    .generate_key_pair(
                        CKM_RSA_PKCS_KEY_PAIR_GEN,
                        &rsa_public(bits),
                        &Template::new(),
                    )
                    .refused(CKR_KEY_SIZE_RANGE);
            });
        }
        for (bits, key) in [(3072, vectors::RSA_3072), (4096, vectors::RSA_4096)] {
            let (private, public) = rsa_imports_of(key);
            let public = session.create(&public).unwrap();
            for place in both_places() {
                let import = private.clone().with(&place);
                if has(bits) {
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
        let generate = |public: &Template| {
            session.generate_key_pair(CKM_RSA_PKCS_KEY_PAIR_GEN, public, &Template::new())
        };
        if world.kind.in_chip {
            without_a_trace(session, || {
                generate(&three).refused(CKR_ATTRIBUTE_VALUE_INVALID);
                session
                    .create(&private)
                    .refused(CKR_ATTRIBUTE_VALUE_INVALID);
            });
        } else {
            let (made, _) = generate(&three).unwrap();
            assert_eq!(session.get(made, CKA_PUBLIC_EXPONENT).unwrap(), [3]);
            let private = session.create(&private).unwrap();
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
            let (made, _) = generate(&same).unwrap();
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
        for place in both_places() {
            for (import, refusal) in [(&longer, None), (&without, Some(CKR_TEMPLATE_INCOMPLETE))] {
                let import = import.clone().with(&place);
                match refusal.filter(|_| world.kind.in_chip) {
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
            if world.kind.in_chip || cfg!(feature = "rustcrypto") {
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
        for place in both_places() {
            for (sensitive, extractable) in [(false, false), (false, true), (true, true)] {
                let open = Template::new()
                    .set(CKA_SENSITIVE, sensitive)
                    .set(CKA_EXTRACTABLE, extractable)
                    .with(&place);
                let generated = || session.generate_key_pair(CKM_EC_KEY_PAIR_GEN, &params, &open);
                let imports = [
                    ec_private_import(Curve::P256, vectors::P256_SCALAR),
                    rsa_private_import(),
                ];
                if world.kind.in_chip {
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
