//! X25519: shared secrets and keys.

use super::*;

fn halves(parts: PrivateParts) -> (Secret, Vec<u8>) {
    match (parts.secret, parts.public) {
        (SecretParts::X25519 { scalar }, PublicParts::X25519(public)) => (scalar, public),
        _ => panic!("an X25519 key"),
    }
}

#[test]
fn shared_secrets() {
    let first = halves(aws_lc::generate(&KeySpec::X25519).unwrap());
    let second = halves(rustcrypto::generate(&KeySpec::X25519).unwrap());
    for (scalar, public) in [&first, &second] {
        let given = both_give!(engine => engine::x25519_public(scalar).unwrap());
        assert_eq!(given, *public);
    }
    let agree = |own: &Secret, peer: &[u8]| both_give!(engine => engine::x25519(own, peer).unwrap().to_vec());
    assert_eq!(agree(&first.0, &second.1), agree(&second.0, &first.1));

    // Scalars are clamped, and the top bit of a public key does not count (RFC 7748 5).
    let mut unclamped = Secret::copy_of(&first.0).unwrap();
    unclamped[0] ^= 7;
    unclamped[31] ^= 0x80;
    let mut top = second.1.clone();
    top[31] ^= 0x80;
    assert_eq!(agree(&unclamped, &top), agree(&first.0, &second.1));
    for filler in [0, 0x5a, 0xff] {
        both_give!(engine => engine::x25519_public(&[filler; 32]).unwrap());
        agree(&Secret::copy_of(&[filler; 32]).unwrap(), &first.1);
    }
}

#[test]
fn broken_keys() {
    let parts = aws_lc::generate(&KeySpec::X25519).unwrap();
    let other = rustcrypto::generate(&KeySpec::X25519).unwrap();
    for key in [&parts, &other] {
        AwsLc::private(key).unwrap();
        RustCrypto::private(key).unwrap();
    }
    let (scalar, _) = halves(duplicate(&parts));
    for public in [
        other.public.clone(),
        PublicParts::X25519(vec![9; 31]),
        PublicParts::X25519(vec![0; 32]),
        PublicParts::Ed25519(vec![9; 32]),
    ] {
        let broken = PrivateParts {
            public,
            ..duplicate(&parts)
        };
        both_refuse!(CKR_ATTRIBUTE_VALUE_INVALID, engine => {
            engine::PrivateKey::from_parts(&broken)
        });
    }
    for peer in [vec![0; 32], vec![9; 31], vec![9; 33], vec![]] {
        both_refuse!(CKR_ATTRIBUTE_VALUE_INVALID, engine => engine::x25519(&scalar, &peer));
    }
    for len in [0, 31, 33] {
        both_refuse!(CKR_ATTRIBUTE_VALUE_INVALID, engine => engine::x25519_public(&pattern(len)));
    }
}
