//! Wrapping under keys that agree: CKM_ECDH_AES_KEY_WRAP and its like (PKCS#11 3.2, 6.3.20 to 6.3.22).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::undocumented_unsafe_blocks, missing_docs)]

mod common;

use common::*;

const X25519: &[u8] = &[6, 3, 0x2b, 0x65, 0x6e];
const VALUE: [u8; 32] = [0x5c; 32];

/// A mechanism with a key that it works with.
#[derive(Clone, Copy)]
struct Case {
    mechanism: CK_MECHANISM_TYPE,
    /// `None`: X25519.
    curve: Option<Curve>,
}

fn cases() -> Vec<Case> {
    let nist = |mechanism| {
        Curve::NIST.map(|curve| Case {
            mechanism,
            curve: Some(curve),
        })
    };
    let x25519 = [CKM_ECDH_AES_KEY_WRAP, CKM_ECDH_X_AES_KEY_WRAP].map(|mechanism| Case {
        mechanism,
        curve: None,
    });
    [
        &nist(CKM_ECDH_AES_KEY_WRAP)[..],
        &nist(CKM_ECDH_COF_AES_KEY_WRAP),
        &x25519,
    ]
    .concat()
}

impl Case {
    fn generate(self, session: Session, public: &Template, private: &Template) -> Result<Pair, Rv> {
        let (mechanism, params) = match self.curve {
            Some(curve) => (CKM_EC_KEY_PAIR_GEN, curve.params),
            None => (CKM_EC_MONTGOMERY_KEY_PAIR_GEN, X25519),
        };
        let public = public.clone().set(CKA_EC_PARAMS, params);
        session
            .generate_key_pair(mechanism, &public, private)
            .map(|(public, private)| Pair { public, private })
    }

    /// A pair that wraps and unwraps, and of which `private` says more.
    fn kek(self, session: Session, private: &Template) -> Pair {
        let wraps = Template::new().set(CKA_WRAP, true);
        let unwraps = private.clone().set(CKA_UNWRAP, true);
        self.generate(session, &wraps, &unwraps).unwrap()
    }

    fn with(self, bits: CK_ULONG, kdf: CK_EC_KDF_TYPE, shared: &[u8]) -> Mech {
        Mech::ecdh_aes(self.mechanism, bits, kdf, shared)
    }

    fn usual(self) -> Mech {
        self.with(256, CKD_SHA256_KDF, b"for whom")
    }

    /// What stands before the wrapped key, of this point.
    fn written(self, point: &[u8]) -> Vec<u8> {
        match self.mechanism {
            CKM_ECDH_COF_AES_KEY_WRAP => octet_string(point),
            _ => point.to_vec(),
        }
    }

    fn point_len(self) -> usize {
        self.curve.map_or(32, |curve| 2 * curve.size + 1)
    }

    fn head_len(self) -> usize {
        self.written(&vec![4; self.point_len()]).len()
    }

    /// The bare point of a public key.
    fn point(self, session: Session, public: CK_OBJECT_HANDLE) -> Vec<u8> {
        let value = session.get(public, CKA_EC_POINT).unwrap();
        value[value.len() - self.point_len()..].to_vec()
    }
}

fn secret() -> Template {
    Template::new()
        .set(CKA_CLASS, CKO_SECRET_KEY)
        .set(CKA_KEY_TYPE, CKK_GENERIC_SECRET)
}

fn carried(session: Session, value: &[u8]) -> CK_OBJECT_HANDLE {
    let template = generic_secret_template(value).set(CKA_EXTRACTABLE, true);
    session.create(&template).unwrap()
}

/// A token where keys of every role may wrap, so that each step can be done again by other means.
fn open(test: impl Fn(Session)) {
    isolated_on(&[SOFTWARE], |world| {
        world.configure("[policy]\nroles = \"open\"\n");
        test(world.token().user());
    });
}

/// The key that a private key agrees on with who has the private half of `peer`: "the first
/// ulAESKeyBits bits of the derived key".
fn agreed(
    session: Session,
    private: CK_OBJECT_HANDLE,
    peer: &[u8],
    (bits, kdf, shared): (CK_ULONG, CK_EC_KDF_TYPE, &[u8]),
) -> CK_OBJECT_HANDLE {
    let readable = secret()
        .set(CKA_SENSITIVE, false)
        .set(CKA_EXTRACTABLE, true);
    let derived = match kdf {
        CKD_NULL => readable,
        _ => readable.set(CKA_VALUE_LEN, bits / 8),
    };
    let derived = session
        .derive(Mech::ecdh(kdf, shared, peer), private, &derived)
        .unwrap();
    let value = session.get(derived, CKA_VALUE).unwrap();
    let template = aes_template(&value[..bits as usize / 8])
        .set(CKA_WRAP, true)
        .set(CKA_UNWRAP, true);
    session.create(&template).unwrap()
}

/// What C_WrapKey makes is opened by C_DeriveKey and CKM_AES_KEY_WRAP_KWP, and what these make is
/// unwrapped: the form is that of the standard.
#[test]
fn the_parts_are_those_of_the_standard() {
    open(|session| {
        for case in cases() {
            let kek = case.kek(session, &Template::new().set(CKA_DERIVE, true));
            let key = carried(session, &VALUE);
            let peer = case.generate(session, &Template::new(), &Template::new());
            let peer = peer.unwrap();
            for (bits, kdf, shared) in [
                (256, CKD_SHA256_KDF, &b"for whom"[..]),
                (128, CKD_SHA1_KDF, b""),
                (192, CKD_SHA512_KDF_SP800, b"x"),
                (256, CKD_SHA3_256_KDF, b""),
                (256, CKD_NULL, b""),
                (128, CKD_NULL, b""),
            ] {
                let say = (bits, kdf, shared);
                let mechanism = case.with(bits, kdf, shared);
                let wrapped = session.wrap(mechanism.clone(), kek.public, key).unwrap();
                assert_eq!(wrapped.len(), case.head_len() + 32 + 8);
                let (head, rest) = wrapped.split_at(case.head_len());
                let point = &head[head.len() - case.point_len()..];
                assert_eq!(head, case.written(point));
                let once = agreed(session, kek.private, point, say);
                assert_eq!(
                    session.decrypt(CKM_AES_KEY_WRAP_KWP, once, rest).unwrap(),
                    VALUE
                );
                // The other way round.
                let own = case.point(session, kek.public);
                let once = agreed(session, peer.private, &own, say);
                let rest = session.wrap(CKM_AES_KEY_WRAP_KWP, once, key).unwrap();
                let head = case.written(&case.point(session, peer.public));
                let made = [head, rest].concat();
                for blob in [&wrapped, &made] {
                    let again = session
                        .unwrap(mechanism.clone(), kek.private, blob, &secret())
                        .unwrap();
                    assert_eq!(session.get(again, CKA_VALUE).unwrap(), VALUE);
                    session.destroy(again).unwrap();
                }
            }
            // A pair is used once.
            let heads = [(); 2].map(|()| {
                let wrapped = session.wrap(case.usual(), kek.public, key).unwrap();
                wrapped[..case.head_len()].to_vec()
            });
            assert_ne!(heads[0], heads[1]);
        }
    });
}

#[test]
fn keys_of_any_length_and_type() {
    open(|session| {
        let plain = Template::new()
            .set(CKA_EXTRACTABLE, true)
            .set(CKA_SENSITIVE, false);
        let rsa = session.create(&rsa_private_import().with(&plain)).unwrap();
        for case in cases() {
            let kek = case.kek(session, &Template::new());
            for len in [1, 7, 8, 9, 100, 512] {
                let value: Vec<u8> = (0..len).map(|at| at as u8).collect();
                let key = carried(session, &value);
                let wrapped = session.wrap(case.usual(), kek.public, key).unwrap();
                let len = len as usize;
                let expected = case.head_len() + len.next_multiple_of(8) + 8;
                assert_eq!(wrapped.len(), expected);
                let unwrap = |len: usize| {
                    let template = secret().set(CKA_VALUE_LEN, len as CK_ULONG);
                    session.unwrap(case.usual(), kek.private, &wrapped, &template)
                };
                let again = unwrap(len).unwrap();
                assert_eq!(session.get(again, CKA_VALUE).unwrap(), value);
                unwrap(len + 1).refused(CKR_WRAPPED_KEY_LEN_RANGE);
            }
            let wrapped = session.wrap(case.usual(), kek.public, rsa).unwrap();
            let template = Template::new()
                .set(CKA_CLASS, CKO_PRIVATE_KEY)
                .set(CKA_KEY_TYPE, CKK_RSA)
                .set(CKA_SENSITIVE, false);
            let again = session
                .unwrap(case.usual(), kek.private, &wrapped, &template)
                .unwrap();
            for same in [CKA_PRIVATE_EXPONENT, CKA_PUBLIC_KEY_INFO] {
                assert_eq!(
                    session.get(again, same).unwrap(),
                    session.get(rsa, same).unwrap()
                );
            }
        }
    });
}

#[test]
fn what_was_changed_is_refused() {
    isolated_on(&[SOFTWARE], |world| {
        let session = world.token().user();
        for case in cases() {
            let kek = case.kek(session, &Template::new());
            let wrapped = session
                .wrap(case.usual(), kek.public, carried(session, &VALUE))
                .unwrap();
            let before = session.find(&Template::new()).unwrap().len();
            let unwrap = |mechanism: Mech, blob: &[u8]| {
                session.unwrap(mechanism, kek.private, blob, &secret())
            };
            for at in 0..wrapped.len() {
                let mut broken = wrapped.clone();
                broken[at] ^= 1;
                unwrap(case.usual(), &broken).refused(CKR_WRAPPED_KEY_INVALID);
            }
            for len in 0..wrapped.len() {
                // Whole semiblocks are another key, which is not there; anything else is none.
                let rest = len.saturating_sub(case.head_len());
                let code = match rest >= 16 && rest.is_multiple_of(8) {
                    true => CKR_WRAPPED_KEY_INVALID,
                    false => CKR_WRAPPED_KEY_LEN_RANGE,
                };
                let mut cut = wrapped[..len].to_vec();
                cut.reserve(1);
                unwrap(case.usual(), &cut).refused(code);
            }
            for more in [1, 8] {
                let longer = [wrapped.clone(), vec![0; more]].concat();
                let refused = unwrap(case.usual(), &longer);
                refused.refused_with(&[CKR_WRAPPED_KEY_INVALID, CKR_WRAPPED_KEY_LEN_RANGE]);
            }
            for other in [
                case.with(256, CKD_SHA256_KDF, b"for me"),
                case.with(128, CKD_SHA256_KDF, b"for whom"),
                case.with(256, CKD_SHA384_KDF, b"for whom"),
                case.with(256, CKD_SHA256_KDF_SP800, b"for whom"),
                case.with(256, CKD_NULL, b""),
            ] {
                unwrap(other, &wrapped).refused(CKR_WRAPPED_KEY_INVALID);
            }
            // Points that are none, or that agree on what everybody knows.
            let zeros = vec![0; case.point_len()];
            let mut infinity = zeros.clone();
            infinity[0] = 4;
            let mut order_one = zeros.clone();
            order_one[0] = 1;
            for point in [zeros, infinity, order_one, vec![0xff; case.point_len()]] {
                let blob = [case.written(&point), wrapped[case.head_len()..].to_vec()].concat();
                unwrap(case.usual(), &blob).refused(CKR_WRAPPED_KEY_INVALID);
            }
            let other = case.kek(session, &Template::new());
            session
                .unwrap(case.usual(), other.private, &wrapped, &secret())
                .refused(CKR_WRAPPED_KEY_INVALID);
            // None of the refusals has left an object; `other` is two.
            let after = session.find(&Template::new()).unwrap().len();
            assert_eq!(after, before + 2);
            unwrap(case.usual(), &wrapped).unwrap();
        }
    });
}

#[test]
fn hostile_parameters() {
    isolated_on(&[SOFTWARE], |world| {
        let session = world.token().user();
        let key = carried(session, &VALUE);
        let here = [0u8; 8];
        for case in cases() {
            let kek = case.kek(session, &Template::new());
            let refuse = |mechanism: Mech| {
                session
                    .wrap(mechanism.clone(), kek.public, key)
                    .refused(CKR_MECHANISM_PARAM_INVALID);
                session
                    .unwrap(mechanism, kek.private, &[4; 200], &secret())
                    .refused(CKR_MECHANISM_PARAM_INVALID);
            };
            for bits in [0, 16, 32, 127, 129, 255, 264, 512, CK_ULONG::MAX] {
                refuse(case.with(bits, CKD_SHA256_KDF, b""));
            }
            for kdf in [0, 99, CKD_SHA1_KDF_ASN1, CKD_CPDIVERSIFY_KDF, CK_ULONG::MAX] {
                refuse(case.with(256, kdf, b""));
            }
            refuse(case.with(256, CKD_NULL, b"shared"));
            refuse(Mech::new(case.mechanism));
            refuse(Mech::bytes(case.mechanism, &[0; 31]));
            let pointers: [*mut CK_BYTE; 3] = [null_mut(), 8 as *mut _, here.as_ptr().cast_mut()];
            for pointer in pointers {
                for len in [1 << 63, CK_ULONG::MAX, 1 << 40, 1 << 24] {
                    let parameters = CK_ECDH_AES_KEY_WRAP_PARAMS {
                        ulAESKeyBits: 256,
                        kdf: CKD_SHA256_KDF,
                        ulSharedDataLen: len,
                        pSharedData: pointer,
                    };
                    refuse(Mech::structure(case.mechanism, parameters, vec![]));
                }
            }
        }
    });
}

#[test]
fn keys_that_do_not_fit() {
    isolated_on(&[SOFTWARE], |world| {
        let session = world.token().user();
        let key = carried(session, &VALUE);
        let none = Template::new();
        for case in cases() {
            let kek = case.kek(session, &none);
            let foreign: &[CK_MECHANISM_TYPE] = match case.curve {
                Some(_) => &[CKM_ECDH_X_AES_KEY_WRAP, CKM_AES_KEY_WRAP_KWP],
                None => &[CKM_ECDH_COF_AES_KEY_WRAP, CKM_AES_KEY_WRAP_KWP],
            };
            for other in foreign {
                let mechanism = match *other {
                    CKM_AES_KEY_WRAP_KWP => Mech::new(CKM_AES_KEY_WRAP_KWP),
                    kind => Mech::ecdh_aes(kind, 256, CKD_SHA256_KDF, b""),
                };
                session
                    .wrap(mechanism.clone(), kek.public, key)
                    .refused(CKR_WRAPPING_KEY_TYPE_INCONSISTENT);
                session
                    .unwrap(mechanism, kek.private, &[4; 100], &secret())
                    .refused(CKR_UNWRAPPING_KEY_TYPE_INCONSISTENT);
            }
            // The halves are no other's, and what does not wrap must have been asked to.
            session
                .wrap(case.usual(), kek.private, key)
                .refused(CKR_KEY_FUNCTION_NOT_PERMITTED);
            session
                .unwrap(case.usual(), kek.public, &[4; 100], &secret())
                .refused(CKR_KEY_FUNCTION_NOT_PERMITTED);
            let plain = case.generate(session, &none, &none).unwrap();
            session
                .wrap(case.usual(), plain.public, key)
                .refused(CKR_KEY_FUNCTION_NOT_PERMITTED);
            session
                .unwrap(case.usual(), plain.private, &[4; 100], &secret())
                .refused(CKR_KEY_FUNCTION_NOT_PERMITTED);
            // It makes no other use of the mechanism.
            session
                .derive(case.usual(), kek.private, &secret())
                .refused(CKR_MECHANISM_INVALID);
            let stays = session.create(&generic_secret_template(&VALUE)).unwrap();
            session
                .wrap(case.usual(), kek.public, stays)
                .refused(CKR_KEY_UNEXTRACTABLE);
        }
    });
}

/// The roles of `[policy]`: a public key carries sensitive keys where its private half unwraps, does
/// nothing else, and stays here.
#[test]
fn a_pair_that_only_wraps_carries_sensitive_keys() {
    isolated_on(&[SOFTWARE], |world| {
        let session = world.token().user();
        let sensitive = aes_template(&[7; 16])
            .set(CKA_SENSITIVE, true)
            .set(CKA_EXTRACTABLE, true);
        let sensitive = session.create(&sensitive).unwrap();
        let (wraps, unwraps) = (
            Template::new().set(CKA_WRAP, true),
            Template::new().set(CKA_UNWRAP, true),
        );
        for case in cases() {
            let kek = case.kek(session, &Template::new());
            for other in [CKA_DERIVE, CKA_SIGN] {
                assert!(!session.get_bool(kek.private, other), "{other:#x}");
                let wins = Template::new().set(other, true);
                session
                    .set(kek.private, &wins)
                    .refused(CKR_ATTRIBUTE_READ_ONLY);
                case.generate(session, &wraps, &unwraps.clone().with(&wins))
                    .map(drop)
                    .refused(CKR_TEMPLATE_INCONSISTENT);
            }
            let wrapped = session.wrap(case.usual(), kek.public, sensitive).unwrap();
            let aes = Template::new()
                .set(CKA_CLASS, CKO_SECRET_KEY)
                .set(CKA_KEY_TYPE, CKK_AES);
            let again = session
                .unwrap(case.usual(), kek.private, &wrapped, &aes)
                .unwrap();
            session
                .get(again, CKA_VALUE)
                .refused(CKR_ATTRIBUTE_SENSITIVE);
            session
                .unwrap(
                    case.usual(),
                    kek.private,
                    &wrapped,
                    &aes.clone().set(CKA_SENSITIVE, false),
                )
                .refused(CKR_TEMPLATE_INCONSISTENT);
            // The same point without what is known of its private half.
            let brought = Template::new()
                .set(CKA_CLASS, CKO_PUBLIC_KEY)
                .set(
                    CKA_KEY_TYPE,
                    case.curve.map_or(CKK_EC_MONTGOMERY, Curve::key_type),
                )
                .set(
                    CKA_EC_PARAMS,
                    session.get(kek.public, CKA_EC_PARAMS).unwrap(),
                )
                .set(CKA_EC_POINT, session.get(kek.public, CKA_EC_POINT).unwrap())
                .set(CKA_WRAP, true);
            let brought = session.create(&brought).unwrap();
            let derived = session
                .derive(CKM_PUB_KEY_FROM_PRIV_KEY, kek.private, &wraps)
                .unwrap();
            let leaves = unwraps.clone().set(CKA_EXTRACTABLE, true);
            let leaves = case.generate(session, &wraps, &leaves).unwrap();
            for known in [brought, derived, leaves.public] {
                session
                    .wrap(case.usual(), known, sensitive)
                    .refused(CKR_KEY_NOT_WRAPPABLE);
            }
            // What is no secret, anybody may carry.
            let open = carried(session, &VALUE);
            let wrapped = session.wrap(case.usual(), brought, open).unwrap();
            session
                .unwrap(case.usual(), kek.private, &wrapped, &secret())
                .unwrap();
        }
    });
}

/// Chips agree as software does: the private key is asked through its token.
#[test]
fn keys_of_every_kind_unwrap() {
    isolated(|world| {
        let token = world.token();
        let session = token.user();
        let info = |mechanism| token.module.mechanism_info(token.slot, mechanism);
        for mechanism in [CKM_ECDH_AES_KEY_WRAP, CKM_ECDH_COF_AES_KEY_WRAP] {
            let flags = info(mechanism).unwrap().flags;
            assert_eq!(flags & (CKF_WRAP | CKF_UNWRAP), CKF_WRAP | CKF_UNWRAP);
            let in_chip = flags & CKF_HW != 0;
            assert_eq!(in_chip, world.kind.token_keys.in_chip, "{mechanism:#x}");
        }
        // X25519 goes with its key pairs.
        assert_eq!(
            info(CKM_ECDH_X_AES_KEY_WRAP).is_ok(),
            info(CKM_EC_MONTGOMERY_KEY_PAIR_GEN).is_ok()
        );
        let key = carried(session, &VALUE);
        let mut done = 0;
        for on_token in [false, true] {
            for case in cases() {
                let Some(curve) = case.curve else { continue };
                if !world.kind.keys(on_token).curves.contains(&curve) {
                    continue;
                }
                let wraps = on(on_token).set(CKA_WRAP, true);
                let unwraps = on(on_token).set(CKA_UNWRAP, true);
                let kek = case.generate(session, &wraps, &unwraps).unwrap();
                let wrapped = session.wrap(case.usual(), kek.public, key).unwrap();
                let again = session
                    .unwrap(case.usual(), kek.private, &wrapped, &secret())
                    .unwrap();
                assert_eq!(
                    session.sign(CKM_SHA256_HMAC, again, b"same").unwrap(),
                    session.sign(CKM_SHA256_HMAC, key, b"same").unwrap()
                );
                let mut broken = wrapped.clone();
                broken[case.head_len() - 1] ^= 1;
                session
                    .unwrap(case.usual(), kek.private, &broken, &secret())
                    .refused(CKR_WRAPPED_KEY_INVALID);
                done += 1;
            }
        }
        assert_ne!(done, 0);
    });
}
