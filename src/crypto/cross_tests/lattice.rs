//! ML-DSA and ML-KEM: keys of seeds, signatures, encapsulated secrets.

use super::*;

/// The secrets of a key of either kind.
fn secrets(parts: &PrivateParts) -> (Option<&Secret>, &Secret) {
    match &parts.secret {
        SecretParts::MlDsa { seed, expanded } | SecretParts::MlKem { seed, expanded } => {
            (seed.as_ref(), expanded)
        }
        _ => panic!("a key of ML-DSA or ML-KEM"),
    }
}

/// The same key with other secrets.
fn with_secrets(parts: &PrivateParts, seed: Option<&[u8]>, expanded: &[u8]) -> PrivateParts {
    let seed = seed.map(|seed| Secret::copy_of(seed).unwrap());
    let expanded = Secret::copy_of(expanded).unwrap();
    PrivateParts {
        public: parts.public.clone(),
        secret: match parts.secret {
            SecretParts::MlDsa { .. } => SecretParts::MlDsa { seed, expanded },
            _ => SecretParts::MlKem { seed, expanded },
        },
    }
}

/// A pair of each engine.
fn generated(spec: &KeySpec) -> [PrivateParts; 2] {
    [
        aws_lc::generate(spec).unwrap(),
        rustcrypto::generate(spec).unwrap(),
    ]
}

fn specs() -> impl Iterator<Item = KeySpec> {
    let ml_dsa = MlDsaSet::ALL.into_iter().map(KeySpec::MlDsa);
    ml_dsa.chain(MlKemSet::ALL.into_iter().map(KeySpec::MlKem))
}

fn everything(parts: PrivateParts) -> (PublicParts, Vec<u8>) {
    let (_, expanded) = secrets(&parts);
    (parts.public.clone(), expanded.to_vec())
}

#[test]
fn keys_of_seeds() {
    let seed = |len| Secret::copy_of(&pattern(len)).unwrap();
    for set in MlDsaSet::ALL {
        let (public, expanded) = both_give!(engine => {
            everything(engine::ml_dsa_from_seed(set, seed(32)).unwrap())
        });
        let key = both_give!(engine => engine::ml_dsa_public(set, &expanded).unwrap());
        assert_eq!(public, PublicParts::MlDsa { set, key });
        for len in [0, 31, 33] {
            both_refuse!(CKR_ATTRIBUTE_VALUE_INVALID, engine => {
                engine::ml_dsa_from_seed(set, seed(len))
            });
        }
    }
    for set in MlKemSet::ALL {
        both_give!(engine => everything(engine::ml_kem_from_seed(set, seed(64)).unwrap()));
        for len in [0, 32, 63, 65] {
            both_refuse!(CKR_ATTRIBUTE_VALUE_INVALID, engine => {
                engine::ml_kem_from_seed(set, seed(len))
            });
        }
    }
}

#[test]
fn ml_dsa_signatures() {
    for set in MlDsaSet::ALL {
        for parts in generated(&KeySpec::MlDsa(set)) {
            let without_seed = with_secrets(&parts, None, secrets(&parts).1);
            let pairs = [Pair::new(&parts), Pair::new(&without_seed)];
            let hashes = [None, Some(Hash::Sha256), Some(Hash::Sha3_512)];
            for (prehash, context, deterministic) in hashes
                .into_iter()
                .zip([vec![], pattern(1), pattern(255)])
                .flat_map(|(hash, context)| {
                    [false, true].map(|deterministic| (hash, context.clone(), deterministic))
                })
            {
                let scheme = SignScheme::MlDsa(MlDsaScheme {
                    prehash,
                    context,
                    deterministic,
                });
                let input = pattern(prehash.map_or(1000, Hash::len));
                let signatures = pairs.each_ref().map(|pair| pair.sign(&scheme, &input));
                let [[first, second], again] = signatures;
                assert_eq!(first == second, deterministic);
                assert_eq!([first, second] == again, deterministic);
            }
            let refuses = |prehash, context: Vec<u8>, input: Vec<u8>, rv| {
                let scheme = SignScheme::MlDsa(MlDsaScheme {
                    prehash,
                    context,
                    deterministic: false,
                });
                both_refuse!(rv, engine => {
                    engine::PrivateKey::from_parts(&parts).unwrap().sign(&scheme, &input)
                });
            };
            refuses(None, pattern(256), vec![], CKR_MECHANISM_PARAM_INVALID);
            let sha1 = Some(Hash::Sha1);
            refuses(sha1, vec![], pattern(20), CKR_MECHANISM_PARAM_INVALID);
            refuses(Some(Hash::Sha256), vec![], pattern(31), CKR_DATA_LEN_RANGE);
        }
    }
}

/// What one engine encapsulates the other finds, and both find the same in what is no ciphertext
/// (implicit rejection, FIPS 203 6.3).
#[test]
fn ml_kem_secrets() {
    for set in MlKemSet::ALL {
        for parts in generated(&KeySpec::MlKem(set)) {
            let pair = Pair::new(&parts);
            for (ciphertext, shared) in [
                pair.aws_lc.1.encapsulate().unwrap(),
                pair.rustcrypto.1.encapsulate().unwrap(),
            ] {
                assert_eq!(ciphertext.len(), set.ciphertext_len());
                let found = |ciphertext: &[u8]| {
                    let found = pair.aws_lc.0.decapsulate(ciphertext).unwrap();
                    assert!(*found == *pair.rustcrypto.0.decapsulate(ciphertext).unwrap());
                    found
                };
                assert!(*found(&ciphertext) == *shared);
                let mut corrupt = ciphertext.clone();
                corrupt[0] ^= 1;
                assert!(*found(&corrupt) != *shared);
                for wrong in [&ciphertext[1..], &[&ciphertext[..], &[0]].concat(), &[]] {
                    both_refuse!(CKR_WRAPPED_KEY_LEN_RANGE, engine => {
                        engine::PrivateKey::from_parts(&parts).unwrap().decapsulate(wrong)
                    });
                }
            }
        }
    }
}

#[test]
fn broken_keys() {
    for spec in specs() {
        let [parts, other] = generated(&spec);
        let (Some(seed), expanded) = secrets(&parts) else {
            panic!("a generated key has its seed");
        };
        let (other_seed, other_expanded) = secrets(&other);
        let foreign = PrivateParts {
            public: other.public.clone(),
            ..duplicate(&parts)
        };
        for broken in [
            foreign,
            with_secrets(&parts, other_seed.map(|seed| &**seed), expanded),
            with_secrets(&parts, Some(seed), other_expanded),
            with_secrets(&parts, None, other_expanded),
            with_secrets(&parts, Some(&seed[1..]), expanded),
            with_secrets(&parts, Some(&[]), expanded),
            with_secrets(&parts, None, &expanded[1..]),
            with_secrets(&parts, None, &[]),
        ] {
            both_refuse!(CKR_ATTRIBUTE_VALUE_INVALID, engine => {
                engine::PrivateKey::from_parts(&broken)
            });
        }
        let key = |key| match spec {
            KeySpec::MlDsa(set) => PublicParts::MlDsa { set, key },
            KeySpec::MlKem(set) => PublicParts::MlKem { set, key },
            _ => panic!("ML-DSA or ML-KEM"),
        };
        let len = parts.public.bits();
        for public in [vec![], vec![0; len - 1], vec![0; len + 1]] {
            let public = key(public);
            both_refuse!(CKR_ATTRIBUTE_VALUE_INVALID, engine => {
                engine::PublicKey::from_parts(&public)
            });
        }
        // Coefficients of ML-KEM are below the modulus (FIPS 203 7.2); ML-DSA takes what comes.
        let filled = key(vec![0xff; len]);
        match spec {
            KeySpec::MlKem(_) => both_refuse!(CKR_ATTRIBUTE_VALUE_INVALID, engine => {
                engine::PublicKey::from_parts(&filled)
            }),
            _ => {
                AwsLc::public(&filled).unwrap();
                RustCrypto::public(&filled).unwrap();
            }
        }
    }
}

/// An expanded ML-DSA key whose parts do not belong together: ρ ‖ K ‖ tr ‖ s1 ‖ s2 ‖ t0.
#[test]
fn expanded_ml_dsa_keys_with_wrong_parts() {
    for set in MlDsaSet::ALL {
        let parts = aws_lc::generate(&KeySpec::MlDsa(set)).unwrap();
        let (_, expanded) = secrets(&parts);
        // ρ, tr, the first coefficients of s1; but K is any bytes.
        for (position, bits) in [(0, 1), (64, 1), (128, 0xff)] {
            let mut broken = expanded.to_vec();
            broken[position] ^= bits;
            let broken = with_secrets(&parts, None, &broken);
            both_refuse!(CKR_ATTRIBUTE_VALUE_INVALID, engine => {
                engine::PrivateKey::from_parts(&broken)
            });
        }
        // One bit of t0: AWS-LC sees it, the other engine only beside the seed.
        let mut off_by_one = expanded.to_vec();
        *off_by_one.last_mut().unwrap() ^= 1;
        let without_seed = with_secrets(&parts, None, &off_by_one);
        let refused = refusal(AwsLc::private(&without_seed));
        assert_eq!(refused, CKR_ATTRIBUTE_VALUE_INVALID);
        let beside_seed = with_secrets(&parts, secrets(&parts).0.map(|seed| &**seed), &off_by_one);
        both_refuse!(CKR_ATTRIBUTE_VALUE_INVALID, engine => {
            engine::PrivateKey::from_parts(&beside_seed)
        });
        let mut zeroed = expanded.to_vec();
        let start = zeroed.len() - 416;
        zeroed[start..].fill(0);
        let zeroed = with_secrets(&parts, None, &zeroed);
        both_refuse!(CKR_ATTRIBUTE_VALUE_INVALID, engine => {
            engine::PrivateKey::from_parts(&zeroed)
        });
    }
}
