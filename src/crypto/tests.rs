//! Known answers from the standards and properties, over whichever engine is compiled.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod ec;
mod rsa;
mod symmetric;
mod x25519;

use super::engine::{Digest, Hmac, PrivateKey, PublicKey, digest, random};
use super::*;
use cryptoki_sys::*;

fn hex(digits: &str) -> Vec<u8> {
    assert!(digits.len().is_multiple_of(2), "whole bytes");
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
        .collect()
}

fn secret(digits: &str) -> Secret {
    Secret::copy_of(&hex(digits)).unwrap()
}

#[track_caller]
fn refused<T>(result: Result<T>, rv: CK_RV) {
    match result {
        Ok(_) => panic!("was not refused"),
        Err(error) => assert_eq!(error.rv(), rv, "{error}"),
    }
}

fn round_trip(parts: &PrivateParts, scheme: &SignScheme, input: &[u8]) {
    let private = PrivateKey::from_parts(parts).unwrap();
    let public = PublicKey::from_parts(&parts.public).unwrap();
    let signature = private.sign(scheme, input).unwrap();
    assert_eq!(signature.len(), parts.public.output_len());
    public.verify(scheme, input, &signature).unwrap();
    let mut broken = signature;
    *broken.last_mut().unwrap() ^= 1;
    refused(public.verify(scheme, input, &broken), CKR_SIGNATURE_INVALID);
}

#[test]
fn random_bytes_differ() {
    let (mut first, mut second) = ([0; 32], [0; 32]);
    random(&mut first).unwrap();
    random(&mut second).unwrap();
    assert_ne!(first, second);
    assert_ne!(first, [0; 32]);
    random(&mut []).unwrap();
}

// FIPS 180-4, the examples of "abc".
const ABC: [(Hash, &str); 5] = [
    (Hash::Sha1, "a9993e364706816aba3e25717850c26c9cd0d89d"),
    (
        Hash::Sha224,
        "23097d223405d8228642a477bda255b32aadbce4bda0b3f7e36c9da7",
    ),
    (
        Hash::Sha256,
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    ),
    (
        Hash::Sha384,
        "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed\
         8086072ba1e7cc2358baeca134c825a7",
    ),
    (
        Hash::Sha512,
        "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
         2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
    ),
];

#[test]
fn digests() {
    for (hash, expected) in ABC {
        assert_eq!(digest(hash, b"abc"), hex(expected), "{hash:?}");
        assert_eq!(hex(expected).len(), hash.len());

        let mut running = Digest::new(hash).unwrap();
        running.update(b"a");
        let fork = running.clone();
        running.update(b"");
        running.update(b"bc");
        assert_eq!(running.finish(), hex(expected), "{hash:?} in parts");
        assert_eq!(fork.finish(), digest(hash, b"a"), "{hash:?} of the copy");
    }
}

#[test]
fn hmacs() {
    // RFC 4231 4.3, 4.7 (a key longer than the block) and RFC 2202 3 for SHA-1.
    let long_key = [0xaa; 131];
    let long: &[u8] = b"Test Using Larger Than Block-Size Key - Hash Key First";
    let jefe: &[u8] = b"what do ya want for nothing?";
    let cases: [(Hash, &[u8], &[u8], &str); 7] = [
        (
            Hash::Sha1,
            b"Jefe",
            jefe,
            "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79",
        ),
        (
            Hash::Sha224,
            b"Jefe",
            jefe,
            "a30e01098bc6dbbf45690f3a7e9e6d0f8bbea2a39e6148008fd05e44",
        ),
        (
            Hash::Sha256,
            b"Jefe",
            jefe,
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        ),
        (
            Hash::Sha384,
            b"Jefe",
            jefe,
            "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e\
             8e2240ca5e69e2c78b3239ecfab21649",
        ),
        (
            Hash::Sha512,
            b"Jefe",
            jefe,
            "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554\
             9758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737",
        ),
        (
            Hash::Sha256,
            &long_key,
            long,
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
        ),
        (
            Hash::Sha512,
            &long_key,
            long,
            "80b24263c7c1a3ebb71493c1dd7be8b49b46d1f41b4aeec1121b013783f8f352\
             6b56d037e05f2598bd0fd2215d6a1e5295e64f73f63f0aec8b915a985d786598",
        ),
    ];
    for (hash, key, message, expected) in cases {
        let mut hmac = Hmac::new(hash, key).unwrap();
        let (first, second) = message.split_at(7);
        hmac.update(first);
        hmac.update(second);
        assert_eq!(hmac.finish(), hex(expected), "{hash:?}");
    }
    // An empty key is a key of zeros (RFC 2104 2).
    let mut empty = Hmac::new(Hash::Sha256, b"").unwrap();
    let mut zeros = Hmac::new(Hash::Sha256, &[0; 64]).unwrap();
    empty.update(b"x");
    zeros.update(b"x");
    assert_eq!(empty.finish(), zeros.finish());
}
