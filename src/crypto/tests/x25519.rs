//! X25519.

use super::super::engine::{generate, x25519, x25519_public};
use super::super::*;
use super::{PrivateKey, PublicKey};
use super::{hex, refused, secret};
use cryptoki_sys::*;

const ALICE: [&str; 2] = [
    "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a",
    "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a",
];
const BOB: [&str; 2] = [
    "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb",
    "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f",
];

#[test]
fn known_answers() {
    // RFC 7748 5.2: the second u has the bit set that does not count.
    for [scalar, u, shared] in [
        [
            "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
            "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
            "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552",
        ],
        [
            "4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
            "e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
            "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957",
        ],
    ] {
        assert_eq!(*x25519(&hex(scalar), &hex(u)).unwrap(), *hex(shared));
    }
    // RFC 7748 6.1.
    let shared = hex("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742");
    for ([scalar, public], [_, peer]) in [(ALICE, BOB), (BOB, ALICE)] {
        assert_eq!(x25519_public(&hex(scalar)).unwrap(), hex(public));
        assert_eq!(*x25519(&hex(scalar), &hex(peer)).unwrap(), *shared);
    }
}

#[test]
fn generated_pairs_agree() {
    let [one, other] = [(); 2].map(|()| generate(&KeySpec::X25519).unwrap());
    let agree = |own: &PrivateParts, peer: &PrivateParts| {
        PrivateKey::from_parts(own).unwrap();
        PublicKey::from_parts(&peer.public).unwrap();
        let (SecretParts::X25519 { scalar }, PublicParts::X25519(peer)) =
            (&own.secret, &peer.public)
        else {
            panic!("not X25519");
        };
        x25519(scalar, peer).unwrap()
    };
    assert_eq!(*agree(&one, &other), *agree(&other, &one));
}

#[test]
fn bad_keys_are_refused() {
    let scalar = hex(ALICE[0]);
    let mut minus_one = vec![0xff; 32];
    (minus_one[0], minus_one[31]) = (0xec, 0x7f);
    // u of points of order 4, 1 and 2, and 8 (RFC 7748 7; cr.yp.to/ecdh.html).
    let order_8 = hex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800");
    let mut one = vec![0; 32];
    one[0] = 1;
    for small in [vec![0; 32], one, minus_one, order_8] {
        refused(x25519(&scalar, &small), CKR_ATTRIBUTE_VALUE_INVALID);
        let public = PublicParts::X25519(small);
        refused(PublicKey::from_parts(&public), CKR_ATTRIBUTE_VALUE_INVALID);
    }
    for len in [0, 31, 33] {
        refused(x25519(&scalar, &vec![9; len]), CKR_ATTRIBUTE_VALUE_INVALID);
        refused(
            x25519(&vec![9; len], &hex(BOB[1])),
            CKR_ATTRIBUTE_VALUE_INVALID,
        );
        refused(x25519_public(&vec![9; len]), CKR_ATTRIBUTE_VALUE_INVALID);
    }
    let foreign = PrivateParts {
        public: PublicParts::X25519(hex(BOB[1])),
        secret: SecretParts::X25519 {
            scalar: secret(ALICE[0]),
        },
    };
    refused(
        PrivateKey::from_parts(&foreign),
        CKR_ATTRIBUTE_VALUE_INVALID,
    );
}

#[test]
fn x25519_does_not_sign() {
    let parts = generate(&KeySpec::X25519).unwrap();
    let key = PrivateKey::from_parts(&parts).unwrap();
    refused(
        key.sign(&SignScheme::Ecdsa, &[1; 32]),
        CKR_KEY_TYPE_INCONSISTENT,
    );
    refused(
        key.decrypt(&CryptScheme::RsaRaw, &[1; 32]),
        CKR_KEY_TYPE_INCONSISTENT,
    );
    let key = PublicKey::from_parts(&parts.public).unwrap();
    refused(
        key.verify(&SignScheme::Ecdsa, &[1; 32], &[1; 64]),
        CKR_KEY_TYPE_INCONSISTENT,
    );
}
