//! RSA: signatures, encryption and keys.

use super::*;

/// The hash functions of the mask: all of them with one key, that of the message with the others.
fn masks(parts: &PrivateParts, hash: Hash) -> Vec<Hash> {
    let all = parts.public.bits() == 2041;
    Hash::ALL
        .into_iter()
        .filter(|mgf| all || *mgf == hash)
        .collect()
}

fn without_crt(parts: &PrivateParts) -> PrivateParts {
    let mut parts = duplicate(parts);
    if let SecretParts::Rsa { crt, .. } = &mut parts.secret {
        *crt = None;
    }
    parts
}

#[test]
fn rsa_pkcs1_signatures() {
    for parts in rsa_keys() {
        let pair = Pair::new(parts);
        for hash in Hash::ALL {
            let info = pkcs1::digest_info(hash, &pattern(hash.len()));
            let [first, second] = pair.sign(&SignScheme::RsaPkcs1, &info);
            assert_eq!(first, second);
        }
        for len in [0, 1, parts.public.output_len() - 11] {
            pair.sign(&SignScheme::RsaPkcs1, &pattern(len));
        }
    }
}

#[test]
fn rsa_pss_signatures() {
    for parts in rsa_keys() {
        let pair = Pair::new(parts);
        let encoded_len = (parts.public.bits() - 1).div_ceil(8);
        for hash in Hash::ALL {
            for mgf in masks(parts, hash) {
                for salt in [0, hash.len(), encoded_len - hash.len() - 2] {
                    let scheme = SignScheme::RsaPss { hash, mgf, salt };
                    let [first, second] = pair.sign(&scheme, &pattern(hash.len()));
                    assert_eq!(first == second, salt == 0, "the salt is random");
                }
            }
        }
        // Another salt length is another scheme.
        let digest = pattern(32);
        let pss = |salt| SignScheme::RsaPss {
            hash: Hash::Sha256,
            mgf: Hash::Sha256,
            salt,
        };
        let signature = AwsLc::sign(&AwsLc::private(parts).unwrap(), &pss(32), &digest).unwrap();
        both_refuse!(CKR_SIGNATURE_INVALID, engine => engine::PublicKey::from_parts(&parts.public)
            .unwrap()
            .verify(&pss(31), &digest, &signature));
        both_refuse!(CKR_MECHANISM_PARAM_INVALID, engine => engine::PrivateKey::from_parts(parts)
            .unwrap()
            .sign(&pss(encoded_len - 33), &digest));
        both_refuse!(CKR_DATA_LEN_RANGE, engine => engine::PrivateKey::from_parts(parts)
            .unwrap()
            .sign(&pss(32), &digest[1..]));
    }
}

/// The bit that a PSS encoding is shorter than the modulus is 0 in a signature that holds
/// (RFC 8017 9.1.2 step 6), although the mask would clear it again.
#[test]
fn pss_block_with_its_first_bit_set() {
    let scheme = SignScheme::RsaPss {
        hash: Hash::Sha256,
        mgf: Hash::Sha256,
        salt: 32,
    };
    let Pair {
        aws_lc, rustcrypto, ..
    } = Pair::new(&RSA_2048);
    let signature = (0..100)
        .find_map(|_| {
            let signature = aws_lc.0.sign(&scheme, &pattern(32)).unwrap();
            let mut block = aws_lc.1.encrypt(&CryptScheme::RsaRaw, &signature).unwrap();
            assert_eq!(block[0] & 0x80, 0);
            block[0] |= 0x80;
            // Refused where the block is no longer below the modulus.
            aws_lc.0.sign(&SignScheme::RsaRaw, &block).ok()
        })
        .unwrap();
    for rv in [
        refusal(aws_lc.1.verify(&scheme, &pattern(32), &signature)),
        refusal(rustcrypto.1.verify(&scheme, &pattern(32), &signature)),
    ] {
        assert_eq!(rv, CKR_SIGNATURE_INVALID);
    }
}

#[test]
fn rsa_raw_signatures() {
    for parts in rsa_keys() {
        let len = parts.public.output_len();
        let mut block = pattern(len);
        block[0] = 0;
        let private = AwsLc::private(parts).unwrap();
        let signature = AwsLc::sign(&private, &SignScheme::RsaRaw, &block).unwrap();
        let signed = both_give!(engine => engine::PrivateKey::from_parts(parts)
            .unwrap()
            .sign(&SignScheme::RsaRaw, &block)
            .unwrap());
        assert_eq!(signed, signature);
        both_give!(engine => engine::PublicKey::from_parts(&parts.public)
            .unwrap()
            .verify(&SignScheme::RsaRaw, &block, &signature)
            .is_ok());
        for (input, rv) in [
            (vec![0xff; len], CKR_DATA_INVALID),
            (pattern(len - 1), CKR_DATA_LEN_RANGE),
            (pattern(len + 1), CKR_DATA_LEN_RANGE),
        ] {
            both_refuse!(rv, engine => engine::PrivateKey::from_parts(parts)
                .unwrap()
                .sign(&SignScheme::RsaRaw, &input));
        }
        both_refuse!(CKR_SIGNATURE_INVALID, engine => engine::PublicKey::from_parts(&parts.public)
            .unwrap()
            .verify(&SignScheme::RsaRaw, &block, &vec![0xff; len]));
    }
}

/// Ciphertexts that are none, and what all schemes say to them.
fn refuse_broken_ciphertexts(parts: &PrivateParts, scheme: &CryptScheme) {
    let len = parts.public.output_len();
    for (ciphertext, rv) in [
        (vec![0xff; len], CKR_ENCRYPTED_DATA_INVALID),
        (pattern(len - 1), CKR_ENCRYPTED_DATA_LEN_RANGE),
        (pattern(len + 1), CKR_ENCRYPTED_DATA_LEN_RANGE),
    ] {
        both_refuse!(rv, engine => engine::PrivateKey::from_parts(parts)
            .unwrap()
            .decrypt(scheme, &ciphertext));
    }
}

#[test]
fn rsa_pkcs1_encryption() {
    let scheme = CryptScheme::RsaPkcs1;
    for parts in rsa_keys() {
        let pair = Pair::new(parts);
        let len = parts.public.output_len();
        for plaintext in [0, 1, 48, len - 11] {
            pair.encrypt(&scheme, &pattern(plaintext));
        }
        both_refuse!(CKR_DATA_LEN_RANGE, engine => engine::PublicKey::from_parts(&parts.public)
            .unwrap()
            .encrypt(&scheme, &pattern(len - 10)));
        refuse_broken_ciphertexts(parts, &scheme);
        // Implicit rejection: a bad padding gives a message, the same from both engines.
        for first in 1..20 {
            let mut ciphertext = pattern(len);
            ciphertext[0] = 0;
            ciphertext[1] = first;
            both_give!(engine => engine::PrivateKey::from_parts(parts)
                .unwrap()
                .decrypt(&scheme, &ciphertext)
                .unwrap()
                .to_vec());
        }
    }
}

#[test]
fn rsa_oaep_encryption() {
    for parts in rsa_keys() {
        let pair = Pair::new(parts);
        let len = parts.public.output_len();
        for hash in Hash::ALL {
            for mgf in masks(parts, hash) {
                for label in [vec![], pattern(100)] {
                    let scheme = CryptScheme::RsaOaep { hash, mgf, label };
                    for plaintext in [0, 1, len - 2 * hash.len() - 2] {
                        pair.encrypt(&scheme, &pattern(plaintext));
                    }
                }
            }
            let oaep = |hash, mgf, label| CryptScheme::RsaOaep { hash, mgf, label };
            let scheme = oaep(hash, hash, vec![]);
            both_refuse!(CKR_DATA_LEN_RANGE, engine => {
                engine::PublicKey::from_parts(&parts.public)
                    .unwrap()
                    .encrypt(&scheme, &pattern(len - 2 * hash.len() - 1))
            });
            refuse_broken_ciphertexts(parts, &scheme);

            let other = Hash::ALL[(hash as usize + 1) % Hash::ALL.len()];
            let public = AwsLc::public(&parts.public).unwrap();
            let ciphertext = AwsLc::encrypt(&public, &scheme, b"secret").unwrap();
            for wrong in [
                oaep(hash, hash, vec![0]),
                oaep(other, hash, vec![]),
                oaep(hash, other, vec![]),
            ] {
                both_refuse!(CKR_ENCRYPTED_DATA_INVALID, engine => {
                    engine::PrivateKey::from_parts(parts).unwrap().decrypt(&wrong, &ciphertext)
                });
            }
        }
    }
}

/// Blocks that are wrong in one place each, in the order in which a decoder meets them.
#[test]
fn oaep_blocks_that_are_almost_right() {
    let parts = &*RSA_2048;
    let scheme = CryptScheme::RsaOaep {
        hash: Hash::Sha1,
        mgf: Hash::Sha1,
        label: vec![],
    };
    // A block whose seed is such that the mask is known: MGF1 is undone by hand.
    let mgf1 = |seed: &[u8], len: usize| -> Vec<u8> {
        (0u32..)
            .flat_map(|i| aws_lc::digest(Hash::Sha1, &[seed, &i.to_be_bytes()].concat()))
            .take(len)
            .collect()
    };
    let xor = |a: &[u8], b: &[u8]| -> Vec<u8> { a.iter().zip(b).map(|(a, b)| a ^ b).collect() };
    let encode = |first: u8, block: &[u8]| {
        let seed = pattern(20);
        let masked = xor(block, &mgf1(&seed, block.len()));
        let masked_seed = xor(&seed, &mgf1(&masked, 20));
        let encoded = [&[first], &masked_seed[..], &masked[..]].concat();
        let public = AwsLc::public(&parts.public).unwrap();
        AwsLc::encrypt(&public, &CryptScheme::RsaRaw, &encoded).unwrap()
    };
    let label = aws_lc::digest(Hash::Sha1, b"");
    let right = [&label[..], &[0; 200], &[1], &pattern(14)].concat();
    let message = both_give!(engine => engine::PrivateKey::from_parts(parts)
        .unwrap()
        .decrypt(&scheme, &encode(0, &right))
        .unwrap()
        .to_vec());
    assert_eq!(message, pattern(14));

    let changed = |position: usize, value: u8| {
        let mut block = right.clone();
        block[position] = value;
        block
    };
    let no_separator = [&label[..], &[0; 215]].concat();
    for (first, block) in [
        (1, right.clone()),
        (0, changed(0, !label[0])),
        (0, changed(20, 2)),
        (0, changed(219, 0xff)),
        (0, changed(220, 3)),
        (0, no_separator),
    ] {
        both_refuse!(CKR_ENCRYPTED_DATA_INVALID, engine => engine::PrivateKey::from_parts(parts)
            .unwrap()
            .decrypt(&scheme, &encode(first, &block)));
    }
}

/// What an engine pads, the raw operation of the other makes a signature of that the first takes.
#[test]
fn padding_for_raw_signatures() {
    for parts in rsa_keys() {
        let (aws_lc, rustcrypto) = (
            AwsLc::public(&parts.public).unwrap(),
            RustCrypto::public(&parts.public).unwrap(),
        );
        let (len, digest) = (parts.public.output_len(), pattern(32));
        let mut integer = pattern(len);
        integer[0] = 0;
        let pss = |salt| SignScheme::RsaPss {
            hash: Hash::Sha256,
            mgf: Hash::Sha384,
            salt,
        };
        // The blocks are the same, unless there is a salt.
        for (scheme, input) in [
            (SignScheme::RsaPkcs1, &digest),
            (SignScheme::RsaRaw, &integer),
            (pss(0), &digest),
        ] {
            both_give!(engine => engine::PublicKey::from_parts(&parts.public)
                .unwrap()
                .pad_to_sign(&scheme, input)
                .unwrap());
        }
        let longest = (parts.public.bits() - 1).div_ceil(8) - 34;
        for scheme in [pss(32), pss(longest)] {
            let block = aws_lc.pad_to_sign(&scheme, &digest).unwrap();
            let signature = RustCrypto::private(parts)
                .unwrap()
                .sign(&SignScheme::RsaRaw, &block)
                .unwrap();
            rustcrypto.verify(&scheme, &digest, &signature).unwrap();
            let block = rustcrypto.pad_to_sign(&scheme, &digest).unwrap();
            let signature = AwsLc::private(parts)
                .unwrap()
                .sign(&SignScheme::RsaRaw, &block)
                .unwrap();
            aws_lc.verify(&scheme, &digest, &signature).unwrap();
        }
        for (scheme, input, rv) in [
            (SignScheme::RsaPkcs1, pattern(len - 10), CKR_DATA_LEN_RANGE),
            (SignScheme::RsaRaw, pattern(len - 1), CKR_DATA_LEN_RANGE),
            (pss(32), pattern(31), CKR_DATA_LEN_RANGE),
            (pss(longest + 1), pattern(32), CKR_MECHANISM_PARAM_INVALID),
            (SignScheme::Ecdsa, pattern(32), CKR_KEY_TYPE_INCONSISTENT),
        ] {
            both_refuse!(rv, engine => engine::PublicKey::from_parts(&parts.public)
                .unwrap()
                .pad_to_sign(&scheme, &input));
        }
    }
}

#[test]
fn messages_of_raw_decryptions() {
    for parts in rsa_keys() {
        let len = parts.public.output_len();
        let private = AwsLc::private(parts).unwrap();
        for scheme in [
            CryptScheme::RsaRaw,
            CryptScheme::RsaPkcs1,
            CryptScheme::RsaOaep {
                hash: Hash::Sha256,
                mgf: Hash::Sha1,
                label: pattern(9),
            },
        ] {
            let raw = scheme == CryptScheme::RsaRaw;
            let mut message = pattern(if raw { len } else { 40 });
            message[0] = 0;
            let public = RustCrypto::public(&parts.public).unwrap();
            let ciphertext = public.encrypt(&scheme, &message).unwrap();
            let block = private.decrypt(&CryptScheme::RsaRaw, &ciphertext).unwrap();
            let found = both_give!(engine => engine::PublicKey::from_parts(&parts.public)
                .unwrap()
                .unpad_decrypted(&scheme, &block, &ciphertext, b"rejection")
                .unwrap()
                .to_vec());
            assert_eq!(found, message);
            for (block, ciphertext) in [(&block[1..], &ciphertext[..]), (&block, &[0; 8])] {
                both_refuse!(CKR_ENCRYPTED_DATA_LEN_RANGE, engine => {
                    engine::PublicKey::from_parts(&parts.public)
                        .unwrap()
                        .unpad_decrypted(&scheme, block, ciphertext, b"rejection")
                });
            }
        }
    }
}

#[test]
fn rsa_raw_encryption() {
    for parts in rsa_keys() {
        let pair = Pair::new(parts);
        let len = parts.public.output_len();
        let mut block = pattern(len);
        block[0] = 0;
        pair.encrypt(&CryptScheme::RsaRaw, &block);
        refuse_broken_ciphertexts(parts, &CryptScheme::RsaRaw);
        for (input, rv) in [
            (vec![0xff; len], CKR_DATA_INVALID),
            (pattern(len - 1), CKR_DATA_LEN_RANGE),
        ] {
            both_refuse!(rv, engine => engine::PublicKey::from_parts(&parts.public)
                .unwrap()
                .encrypt(&CryptScheme::RsaRaw, &input));
        }
    }
}

/// One engine makes a key, the other takes it and makes the same of it, with and without CRT.
#[test]
fn generated_rsa_keys() {
    for exponent in [&[3][..], &[0, 1, 0, 1]] {
        for parts in [
            aws_lc::generate(&rsa(2048, exponent)).unwrap(),
            rustcrypto::generate(&rsa(2048, exponent)).unwrap(),
        ] {
            assert_eq!(parts.public.bits(), 2048);
            assert!(
                matches!(&parts.public, PublicParts::Rsa { e, .. } if **e == *trim(exponent)),
                "the exponent asked for"
            );
            Pair::new(&parts).sign(&SignScheme::RsaPkcs1, b"with CRT");
            Pair::new(&without_crt(&parts)).sign(&SignScheme::RsaPkcs1, b"without");
        }
    }
    for bits in [1016, 2047, 4224] {
        both_refuse!(CKR_ATTRIBUTE_VALUE_INVALID, engine => engine::generate(&rsa(bits, &[1, 0, 1])));
    }
    for exponent in [&[][..], &[0], &[1], &[2], &[1, 0, 0], &[1, 0, 0, 0, 0, 1]] {
        both_refuse!(CKR_TEMPLATE_INCONSISTENT, engine => engine::generate(&rsa(2048, exponent)));
    }
}

#[test]
fn broken_rsa_keys() {
    let parts = &*RSA_2048;
    type Change = Box<dyn Fn(&mut PrivateParts)>;
    let public = |change: fn(&mut Vec<u8>, &mut Vec<u8>)| -> Change {
        Box::new(move |parts| match &mut parts.public {
            PublicParts::Rsa { n, e } => change(n, e),
            _ => unreachable!(),
        })
    };
    let crt = |change: fn(&mut Crt)| -> Change {
        Box::new(move |parts| match &mut parts.secret {
            SecretParts::Rsa { crt: Some(crt), .. } => change(crt),
            _ => unreachable!(),
        })
    };
    let exponent = |change: fn(&mut Secret)| -> Change {
        Box::new(move |parts| match &mut parts.secret {
            SecretParts::Rsa { d, .. } => change(d),
            _ => unreachable!(),
        })
    };
    let changes: Vec<(&str, Change)> = vec![
        ("n", public(|n, _| n[255] ^= 2)),
        ("n even", public(|n, _| n[255] ^= 1)),
        ("n too short", public(|n, _| n.truncate(100))),
        ("n empty", public(|n, _| n.clear())),
        ("n too long", public(|n, _| *n = pattern(1025))),
        ("e", public(|_, e| *e = vec![1, 0, 3])),
        ("e even", public(|_, e| *e = vec![1, 0, 0])),
        ("e one", public(|_, e| *e = vec![1])),
        ("e empty", public(|_, e| e.clear())),
        ("e too long", public(|_, e| *e = vec![1; 6])),
        ("d", exponent(|d| d[255] ^= 2)),
        ("d even", exponent(|d| d[255] ^= 1)),
        ("d zero", exponent(|d| d.fill(0))),
        ("d beyond n", exponent(|d| d.fill(0xff))),
        ("p", crt(|crt| crt.p[127] ^= 2)),
        ("q", crt(|crt| crt.q[127] ^= 2)),
        ("p zero", crt(|crt| crt.p.fill(0))),
        ("q zero", crt(|crt| crt.q.fill(0))),
        (
            "p is q",
            crt(|crt| crt.p = Secret::copy_of(&crt.q).unwrap()),
        ),
        (
            "p and q swapped",
            crt(|crt| std::mem::swap(&mut crt.p, &mut crt.q)),
        ),
        ("dp", crt(|crt| crt.dp[127] ^= 2)),
        ("dq", crt(|crt| crt.dq[127] ^= 2)),
        ("qinv", crt(|crt| crt.qinv[127] ^= 2)),
        ("dp zero", crt(|crt| crt.dp.fill(0))),
        ("qinv beyond p", crt(|crt| crt.qinv.fill(0xff))),
    ];
    for (what, change) in changes {
        let mut broken = duplicate(parts);
        change(&mut broken);
        let found = [
            AwsLc::private(&broken)
                .map(|_| ())
                .map_err(|error| error.rv()),
            RustCrypto::private(&broken)
                .map(|_| ())
                .map_err(|error| error.rv()),
        ];
        assert_eq!(found, [Err(CKR_ATTRIBUTE_VALUE_INVALID); 2], "{what}");
        if what.starts_with("n ") || what.starts_with("e ") {
            both_refuse!(CKR_ATTRIBUTE_VALUE_INVALID, engine => {
                engine::PublicKey::from_parts(&broken.public)
            });
        }
        if what.starts_with(['n', 'e', 'd']) && !what.starts_with("dp") && what != "dq" {
            let broken = without_crt(&broken);
            both_refuse!(CKR_ATTRIBUTE_VALUE_INVALID, engine => {
                engine::PrivateKey::from_parts(&broken)
            });
        }
    }
}
