//! AES Key Wrap without padding and with.

use super::super::engine::{key_unwrap, key_wrap};
use super::{hex, refused};
use cryptoki_sys::*;

#[test]
fn known_answers() {
    // RFC 3394 4.1, 4.2 and 4.6; RFC 5649 6.
    let counting = |len: u8| (0..len).collect::<Vec<_>>();
    let data = hex("00112233445566778899aabbccddeeff000102030405060708090a0b0c0d0e0f");
    let kek = hex("5840df6e29b02af1ab493b705bf16ea1ae8338f4dcc176a8");
    for (padded, kek, data, expected) in [
        (
            false,
            counting(16),
            data[..16].to_vec(),
            "1fa68b0a8112b447aef34bd8fb5a7b829d3e862371d2cfe5",
        ),
        (
            false,
            counting(24),
            data[..16].to_vec(),
            "96778b25ae6ca435f92b5b97c050aed2468ab8a17ad84e5d",
        ),
        (
            false,
            counting(32),
            data.clone(),
            "28c9f404c4b810f4cbccb35cfb87f8263f5786e2d80ed326cbc7f0e71a99f43bfb988b9b7a02dd21",
        ),
        (
            true,
            kek.clone(),
            hex("c37b7e6492584340bed12207808941155068f738"),
            "138bdeaa9b8fa7fc61f97742e72248ee5ae6ae5360d1ae6a5f54f373fa543b6a",
        ),
        (
            true,
            kek,
            hex("466f7250617369"),
            "afbeb0f07dfbf5419200f2ccb50bb24f",
        ),
    ] {
        let wrapped = key_wrap(padded, &kek, None, &data).unwrap();
        assert_eq!(wrapped, hex(expected));
        assert_eq!(*key_unwrap(padded, &kek, None, &wrapped).unwrap(), *data);
        refused(
            key_unwrap(!padded, &kek, None, &wrapped),
            if wrapped.len() == 16 {
                CKR_WRAPPED_KEY_LEN_RANGE
            } else {
                CKR_WRAPPED_KEY_INVALID
            },
        );
    }
}

#[test]
fn initial_values_of_the_caller() {
    let kek = [7; 32];
    let (whole, prefix) = ([9; 8], [9; 4]);
    let cases: [(bool, &[u8], &[u8]); 2] = [
        (false, &whole, &[0xa6; 8]),
        (true, &prefix, &[0xa6, 0x59, 0x59, 0xa6]),
    ];
    for (padded, iv, usual) in cases {
        for len in [8, 16, 24, 64] {
            let data = vec![5; len];
            if !padded && len < 16 {
                continue;
            }
            let wrapped = key_wrap(padded, &kek, Some(iv), &data).unwrap();
            let unwrapped = key_unwrap(padded, &kek, Some(iv), &wrapped).unwrap();
            assert_eq!(*unwrapped, *data);
            refused(
                key_unwrap(padded, &kek, None, &wrapped),
                CKR_WRAPPED_KEY_INVALID,
            );
            let by_default = key_wrap(padded, &kek, None, &data).unwrap();
            assert_ne!(by_default, wrapped);
            assert_eq!(
                key_wrap(padded, &kek, Some(usual), &data).unwrap(),
                by_default
            );
        }
        for len in [0, 3, 5, 7, 9, 16] {
            let iv = vec![0; len];
            refused(
                key_wrap(padded, &kek, Some(&iv), &[0; 16]),
                CKR_MECHANISM_PARAM_INVALID,
            );
            refused(
                key_unwrap(padded, &kek, Some(&iv), &[0; 24]),
                CKR_MECHANISM_PARAM_INVALID,
            );
        }
    }
}

#[test]
fn every_length_with_padding() {
    let kek = [3; 16];
    for len in 1..80 {
        let data = vec![0xee; len];
        let wrapped = key_wrap(true, &kek, None, &data).unwrap();
        assert_eq!(wrapped.len(), len.next_multiple_of(8) + 8);
        assert_eq!(*key_unwrap(true, &kek, None, &wrapped).unwrap(), *data);
        for position in [0, 7, wrapped.len() - 1] {
            let mut changed = wrapped.clone();
            changed[position] ^= 1;
            refused(
                key_unwrap(true, &kek, None, &changed),
                CKR_WRAPPED_KEY_INVALID,
            );
        }
    }
}

#[test]
fn padding_is_checked() {
    // W of an initial value that tells another length, or of padding that is not zero.
    let kek = [4; 16];
    let wrapped = |told: u8, data: &[u8]| {
        let iv = [0xa6, 0x59, 0x59, 0xa6, 0, 0, 0, told];
        key_wrap(false, &kek, Some(&iv), data).unwrap()
    };
    let zeros = [0; 24];
    for told in 17..=24 {
        let unwrapped = key_unwrap(true, &kek, None, &wrapped(told, &zeros)).unwrap();
        assert_eq!(unwrapped.len(), usize::from(told));
    }
    for told in [0, 1, 8, 15, 16, 25, 32, 255] {
        refused(
            key_unwrap(true, &kek, None, &wrapped(told, &zeros)),
            CKR_WRAPPED_KEY_INVALID,
        );
    }
    let mut padded_with_more = zeros;
    padded_with_more[23] = 1;
    refused(
        key_unwrap(true, &kek, None, &wrapped(20, &padded_with_more)),
        CKR_WRAPPED_KEY_INVALID,
    );
    key_unwrap(true, &kek, None, &wrapped(24, &padded_with_more)).unwrap();
}

#[test]
fn refused_lengths() {
    let kek = [0; 16];
    for len in [0, 8, 15, 17, 23] {
        refused(
            key_wrap(false, &kek, None, &vec![0; len]),
            CKR_DATA_LEN_RANGE,
        );
    }
    refused(key_wrap(true, &kek, None, &[]), CKR_DATA_LEN_RANGE);
    for len in [0, 8, 16, 25, 31] {
        refused(
            key_unwrap(false, &kek, None, &vec![0; len]),
            CKR_WRAPPED_KEY_LEN_RANGE,
        );
    }
    for len in [0, 8, 15, 17] {
        refused(
            key_unwrap(true, &kek, None, &vec![0; len]),
            CKR_WRAPPED_KEY_LEN_RANGE,
        );
    }
    for len in [0, 15, 33] {
        let kek = vec![0; len];
        refused(key_wrap(false, &kek, None, &[0; 16]), CKR_KEY_SIZE_RANGE);
        refused(key_unwrap(true, &kek, None, &[0; 16]), CKR_KEY_SIZE_RANGE);
    }
}
