//! ECDSA, EdDSA and ECDH: signatures, shared secrets and keys.

use super::*;

#[test]
fn ecdsa_signatures_over_digests_of_any_length() {
    for curve in Curve::ALL {
        for parts in [
            aws_lc::generate(&KeySpec::Ec(curve)).unwrap(),
            rustcrypto::generate(&KeySpec::Ec(curve)).unwrap(),
        ] {
            let pair = Pair::new(&parts);
            for len in [1, 20, 28, 31, 32, 33, 47, 48, 49, 64, 65, 66, 67, 132] {
                pair.sign(&SignScheme::Ecdsa, &pattern(len));
                pair.sign(&SignScheme::Ecdsa, &vec![0xff; len]);
            }
            both_refuse!(CKR_DATA_LEN_RANGE, engine => engine::PrivateKey::from_parts(&parts)
                .unwrap()
                .sign(&SignScheme::Ecdsa, &[]));
            for half in [vec![0; curve.len()], vec![0xff; curve.len()]] {
                let signature = [half, vec![1; curve.len()]].concat();
                both_refuse!(CKR_SIGNATURE_INVALID, engine => {
                    engine::PublicKey::from_parts(&parts.public)
                        .unwrap()
                        .verify(&SignScheme::Ecdsa, &pattern(32), &signature)
                });
            }
        }
    }
}

/// The bits that a digest has beyond the order count for nothing (FIPS 186-5 6.4.1), nor do the
/// last seven of 66 bytes on P-521.
#[test]
fn ecdsa_cuts_long_digests() {
    for (curve, bits) in [(Curve::P256, 256), (Curve::P384, 384), (Curve::P521, 521)] {
        let parts = aws_lc::generate(&KeySpec::Ec(curve)).unwrap();
        let pair = Pair::new(&parts);
        let digest = pattern(70);
        let mut tail = digest.clone();
        tail[bits / 8] ^= 0x80 >> (bits % 8);
        let mut counted = digest.clone();
        counted[(bits - 1) / 8] ^= 0x80 >> ((bits - 1) % 8);
        for signature in pair.sign(&SignScheme::Ecdsa, &digest) {
            both_give!(engine => {
                let key = engine::PublicKey::from_parts(&parts.public).unwrap();
                key.verify(&SignScheme::Ecdsa, &tail, &signature).unwrap();
                refusal(key.verify(&SignScheme::Ecdsa, &counted, &signature))
            });
        }
    }
}

#[test]
fn ed25519_signatures() {
    for parts in [
        aws_lc::generate(&KeySpec::Ed25519).unwrap(),
        rustcrypto::generate(&KeySpec::Ed25519).unwrap(),
    ] {
        let pair = Pair::new(&parts);
        for prehash in [false, true] {
            for context in [None, Some(vec![]), Some(pattern(1)), Some(pattern(255))] {
                let scheme = SignScheme::EdDsa {
                    prehash,
                    context: context.clone(),
                };
                if !prehash && context == Some(vec![]) {
                    both_refuse!(CKR_MECHANISM_PARAM_INVALID, engine => {
                        engine::PrivateKey::from_parts(&parts).unwrap().sign(&scheme, b"")
                    });
                    continue;
                }
                for len in [0, 1, 32, 1000] {
                    let [first, second] = pair.sign(&scheme, &pattern(len));
                    assert_eq!(first, second);
                }
            }
            let scheme = SignScheme::EdDsa {
                prehash,
                context: Some(pattern(256)),
            };
            both_refuse!(CKR_MECHANISM_PARAM_INVALID, engine => {
                engine::PrivateKey::from_parts(&parts).unwrap().sign(&scheme, b"")
            });
        }
    }
}

#[test]
fn public_halves_of_private_values() {
    for curve in Curve::ALL {
        let mut one = vec![0; curve.len()];
        one[curve.len() - 1] = 1;
        let most = vec![0x3f; curve.len()];
        for d in [one, [&[0], &most[1..]].concat()] {
            both_give!(engine => engine::public_point(curve, &d).unwrap());
        }
        for d in [
            vec![],
            vec![0; curve.len()],
            vec![0xff; curve.len()],
            vec![1; curve.len() - 1],
            vec![1; curve.len() + 1],
        ] {
            both_refuse!(CKR_ATTRIBUTE_VALUE_INVALID, engine => engine::public_point(curve, &d));
        }
    }
    both_give!(engine => engine::ed25519_public(&pattern(32)).unwrap());
    for len in [0, 31, 33] {
        both_refuse!(CKR_ATTRIBUTE_VALUE_INVALID, engine => engine::ed25519_public(&pattern(len)));
    }
}

#[test]
fn shared_secrets() {
    for curve in Curve::ALL {
        let mut keys = Vec::new();
        for parts in [
            aws_lc::generate(&KeySpec::Ec(curve)).unwrap(),
            rustcrypto::generate(&KeySpec::Ec(curve)).unwrap(),
        ] {
            let (PublicParts::Ec { point, .. }, SecretParts::Ec { d }) =
                (parts.public, parts.secret)
            else {
                panic!("an EC key");
            };
            keys.push((point, d));
        }
        let (first, second) = (&keys[0], &keys[1]);
        let shared =
            both_give!(engine => engine::agree(curve, &first.1, &second.0).unwrap().to_vec());
        let again =
            both_give!(engine => engine::agree(curve, &second.1, &first.0).unwrap().to_vec());
        assert_eq!((shared.len(), &shared), (curve.len(), &again));

        // Some of these begin with a zero, and keep it.
        let mut d = vec![0; curve.len()];
        for low in 1..=100 {
            d[curve.len() - 1] = low;
            let x = both_give!(engine => engine::agree(curve, &d, &first.0).unwrap().to_vec());
            assert_eq!(x.len(), curve.len());
        }

        let mut off_curve = first.0.clone();
        off_curve[2 * curve.len()] ^= 1;
        let infinity = vec![0];
        let mut compressed = first.0[..=curve.len()].to_vec();
        compressed[0] = 2 + (first.0[2 * curve.len()] & 1);
        let mut hybrid = first.0.clone();
        hybrid[0] = 6 + (first.0[2 * curve.len()] & 1);
        for point in [off_curve, infinity, compressed, hybrid, vec![]] {
            both_refuse!(CKR_ATTRIBUTE_VALUE_INVALID, engine => {
                engine::agree(curve, &second.1, &point)
            });
        }
        for d in [
            vec![0; curve.len()],
            vec![0xff; curve.len()],
            vec![1; curve.len() - 1],
            vec![],
        ] {
            both_refuse!(CKR_ATTRIBUTE_VALUE_INVALID, engine => {
                engine::agree(curve, &d, &first.0)
            });
        }
    }
}

#[test]
fn broken_ec_keys() {
    for curve in Curve::ALL {
        let parts = aws_lc::generate(&KeySpec::Ec(curve)).unwrap();
        let other = rustcrypto::generate(&KeySpec::Ec(curve)).unwrap();
        let PublicParts::Ec { point, .. } = &parts.public else {
            panic!("an EC key");
        };
        let with_public = |public: PublicParts| PrivateParts {
            public,
            ..duplicate(&parts)
        };
        both_refuse!(CKR_ATTRIBUTE_VALUE_INVALID, engine => {
            engine::PrivateKey::from_parts(&with_public(other.public.clone()))
        });

        let mut off_curve = point.clone();
        off_curve[2 * curve.len()] ^= 1;
        let mut hybrid = point.clone();
        hybrid[0] = 6 + (point[2 * curve.len()] & 1);
        let compressed = [&[2 + (point[2 * curve.len()] & 1)], &point[1..=curve.len()]].concat();
        let beyond_field = [&[4], &vec![0xff; 2 * curve.len()][..]].concat();
        let longer = [&point[..], &[0]].concat();
        for point in [
            vec![],
            vec![0],
            off_curve,
            hybrid,
            compressed,
            beyond_field,
            longer,
            point[1..].to_vec(),
        ] {
            let public = PublicParts::Ec { curve, point };
            both_refuse!(CKR_ATTRIBUTE_VALUE_INVALID, engine => {
                engine::PublicKey::from_parts(&public)
            });
            both_refuse!(CKR_ATTRIBUTE_VALUE_INVALID, engine => {
                engine::PrivateKey::from_parts(&with_public(public.clone()))
            });
        }
        for d in [
            vec![0; curve.len()],
            vec![0xff; curve.len()],
            vec![1; curve.len() - 1],
        ] {
            let broken = PrivateParts {
                public: parts.public.clone(),
                secret: SecretParts::Ec {
                    d: Secret::copy_of(&d).unwrap(),
                },
            };
            both_refuse!(CKR_ATTRIBUTE_VALUE_INVALID, engine => {
                engine::PrivateKey::from_parts(&broken)
            });
        }
    }
}

#[test]
fn broken_ed25519_keys() {
    let parts = aws_lc::generate(&KeySpec::Ed25519).unwrap();
    let other = rustcrypto::generate(&KeySpec::Ed25519).unwrap();
    for public in [
        other.public.clone(),
        PublicParts::Ed25519(vec![0; 31]),
        PublicParts::Ec {
            curve: Curve::P256,
            point: vec![],
        },
    ] {
        let broken = PrivateParts {
            public,
            ..duplicate(&parts)
        };
        both_refuse!(CKR_ATTRIBUTE_VALUE_INVALID, engine => {
            engine::PrivateKey::from_parts(&broken)
        });
    }
    for len in [0, 31, 33] {
        both_refuse!(CKR_ATTRIBUTE_VALUE_INVALID, engine => {
            engine::PublicKey::from_parts(&PublicParts::Ed25519(pattern(len)))
        });
    }
}
