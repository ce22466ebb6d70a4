//! Known answers from the standards and properties, over whichever engine is compiled.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod aead;
mod ec;
mod kdf;
mod lattice;
mod rsa;
mod symmetric;
mod wrapping;
mod wycheproof;
mod x25519;

use super::engine::{Cmac, Digest, Hmac, PrivateKey, PublicKey, digest, random};
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

// The examples of "abc" of FIPS 180-4 and FIPS 202 (csrc.nist.gov, examples with intermediate values).
const ABC: [(Hash, &str); 11] = [
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
    (
        Hash::Sha512_224,
        "4634270f707b6a54daae7530460842e20e37ed265ceee9a43e8924aa",
    ),
    (
        Hash::Sha512_256,
        "53048e2681941ef99b2e29b76b4c7dabe4c2d0c634fc6d46e0e2f13107e7af23",
    ),
    (
        Hash::Sha3_224,
        "e642824c3f8cf24ad09234ee7d3c766fc9a3a5168d0c94ad73b46fdf",
    ),
    (
        Hash::Sha3_256,
        "3a985da74fe225b2045c172d6bd390bd855f086e3e9d525b46bfe24511431532",
    ),
    (
        Hash::Sha3_384,
        "ec01498288516fc926459f58e2c6ad8df9b473cb0fc08c2596da7cf0e49be4b2\
         98d88cea927ac7f539f1edf228376d25",
    ),
    (
        Hash::Sha3_512,
        "b751850b1a57168a5693cd924b6b096e08f621827444f70d884f5d0240d2712e\
         10e116e9192af3c91a7ec57647e3934057340b4cf408d5a56592f8274eec53f0",
    ),
];

#[test]
fn digests() {
    for (hash, expected) in ABC {
        assert_eq!(digest(hash, b"abc"), hex(expected), "{hash:?}");
        assert_eq!(hex(expected).len(), hash.len());

        let mut running = Digest::new(hash).unwrap();
        running.update(b"a");
        let fork = running.try_clone().unwrap();
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
    let cases: [(Hash, &[u8], &[u8], &str); 9] = [
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
        // The same message with SHA-3, as Python's hashlib has it.
        (
            Hash::Sha3_256,
            b"Jefe",
            jefe,
            "c7d4072e788877ae3596bbb0da73b887c9171f93095b294ae857fbe2645e1ba5",
        ),
        (
            Hash::Sha3_512,
            b"Jefe",
            jefe,
            "5a4bfeab6166427c7a3647b747292b8384537cdb89afb3bf5665e4c5e709350b\
             287baec921fd7ca0ee7a0c31d022a95e1fc92ba9d77df883960275beb4e62024",
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

#[test]
fn cmacs() {
    // RFC 4493 4; SP 800-38B appendix D for the longer keys.
    let message = hex(
        "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51\
         30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710",
    );
    let keys = [
        "2b7e151628aed2a6abf7158809cf4f3c",
        "8e73b0f7da0e6452c810f32b809079e562f8ead2522c6b7b",
        "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4",
    ];
    for (key, len, expected) in [
        (0, 0, "bb1d6929e95937287fa37d129b756746"),
        (0, 16, "070a16b46b4d4144f79bdd9dd04a287c"),
        (0, 40, "dfa66747de9ae63030ca32611497c827"),
        (0, 64, "51f0bebf7e3b9d92fc49741779363cfe"),
        (1, 0, "d17ddf46adaacde531cac483de7a9367"),
        (1, 40, "8a1de5be2eb31aad089a82e6ee908b0e"),
        (2, 0, "028962f61b7bf89efc6b551f4667d983"),
        (2, 64, "e1992190549f6ed5696a2c056c315410"),
    ] {
        let mut cmac = Cmac::new(&hex(keys[key])).unwrap();
        for piece in message[..len].chunks(13) {
            cmac.update(piece);
        }
        assert_eq!(cmac.finish(), hex(expected), "key {key}, {len} bytes");
    }
    for len in [0, 15, 17, 33] {
        refused(Cmac::new(&vec![0; len]), CKR_KEY_SIZE_RANGE);
    }
}
