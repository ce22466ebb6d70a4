//! AES-CCM and ChaCha20-Poly1305.

use super::super::engine::{ccm_open, ccm_seal, chacha_open, chacha_seal};
use super::{hex, refused};
use cryptoki_sys::*;

/// Length of the nonce, additional data, plaintext, length of the tag, and what comes of it.
type Example = (usize, Vec<u8>, Vec<u8>, usize, &'static str);

#[test]
fn aes_ccm() {
    // SP 800-38C appendix C, examples 1 to 4: one key; nonce, additional data, plaintext, tag length.
    let key = hex("404142434445464748494a4b4c4d4e4f");
    let counting = |from: u8, len: usize| (0..len).map(|i| from.wrapping_add(i as u8)).collect();
    let cases: [Example; 4] = [
        (7, counting(0, 8), counting(0x20, 4), 4, "7162015b4dac255d"),
        (
            8,
            counting(0, 16),
            counting(0x20, 16),
            6,
            "d2a1f0e051ea5f62081a7792073d593d1fc64fbfaccd",
        ),
        (
            12,
            counting(0, 20),
            counting(0x20, 24),
            8,
            "e3b201a9f5b71a7a9b1ceaeccd97e70b6176aad9a4428aa5484392fbc1b09951",
        ),
        (
            13,
            counting(0, 65536),
            counting(0x20, 32),
            14,
            "69915dad1e84c6376a68c2967e4dab615ae0fd1faec44cc484828529463ccf72\
             b4ac6bec93e8598e7f0dadbcea5b",
        ),
    ];
    for (nonce, aad, plaintext, tag, expected) in cases {
        let nonce: Vec<u8> = counting(0x10, nonce);
        let sealed = ccm_seal(&key, &nonce, &aad, tag, &plaintext).unwrap();
        assert_eq!(sealed, hex(expected), "tag of {tag} bytes");
        let opened = ccm_open(&key, &nonce, &aad, tag, &sealed).unwrap();
        assert_eq!(*opened, *plaintext);
    }
}

#[test]
fn aes_ccm_refusals() {
    let (key, nonce) = ([1; 32], [2; 13]);
    for len in [0, 15, 17, 33] {
        refused(
            ccm_seal(&vec![0; len], &nonce, &[], 16, &[]),
            CKR_KEY_SIZE_RANGE,
        );
    }
    for len in [0, 6, 14, 256] {
        refused(
            ccm_seal(&key, &vec![0; len], &[], 16, &[]),
            CKR_MECHANISM_PARAM_INVALID,
        );
    }
    for tag in [0, 2, 5, 15, 18, usize::MAX] {
        refused(
            ccm_seal(&key, &nonce, &[], tag, &[]),
            CKR_MECHANISM_PARAM_INVALID,
        );
        refused(
            ccm_open(&key, &nonce, &[], tag, &[0; 20]),
            CKR_MECHANISM_PARAM_INVALID,
        );
    }
    // Two bytes are left for the length.
    let longest = vec![3; 65535];
    let sealed = ccm_seal(&key, &nonce, &[], 4, &longest).unwrap();
    assert_eq!(*ccm_open(&key, &nonce, &[], 4, &sealed).unwrap(), *longest);
    refused(
        ccm_seal(&key, &nonce, &[], 4, &vec![3; 65536]),
        CKR_DATA_LEN_RANGE,
    );
    refused(
        ccm_open(&key, &nonce, &[], 16, &[0; 15]),
        CKR_ENCRYPTED_DATA_LEN_RANGE,
    );
}

#[test]
fn chacha20_poly1305() {
    // RFC 8439 2.8.2.
    let key: Vec<u8> = (0x80..=0x9f).collect();
    let nonce = hex("070000004041424344454647");
    let aad = hex("50515253c0c1c2c3c4c5c6c7");
    let plaintext = b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip \
        for the future, sunscreen would be it.";
    let expected = hex(
        "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d63dbea45e8ca9671282fafb69\
         da92728b1a71de0a9e060b2905d6a5b67ecd3b3692ddbd7f2d778b8c9803aee328091b58fab324e4fad67594\
         5585808b4831d7bc3ff4def08e4b7a9de576d26586cec64b61161ae10b594f09e26a7e902ecbd0600691",
    );
    let sealed = chacha_seal(&key, &nonce, &aad, plaintext).unwrap();
    assert_eq!(sealed, expected);
    assert_eq!(
        *chacha_open(&key, &nonce, &aad, &sealed).unwrap(),
        *plaintext
    );
    refused(
        chacha_open(&key, &nonce, b"", &sealed),
        CKR_ENCRYPTED_DATA_INVALID,
    );
    refused(
        chacha_open(&key, &nonce, &aad, &[0; 15]),
        CKR_ENCRYPTED_DATA_LEN_RANGE,
    );
    for len in [0, 16, 31, 33] {
        refused(
            chacha_seal(&vec![0; len], &nonce, b"", b""),
            CKR_KEY_SIZE_RANGE,
        );
    }
    for len in [0, 8, 11, 13, 24] {
        refused(
            chacha_seal(&key, &vec![0; len], b"", b""),
            CKR_MECHANISM_PARAM_INVALID,
        );
        refused(
            chacha_open(&key, &vec![0; len], b"", &[0; 16]),
            CKR_MECHANISM_PARAM_INVALID,
        );
    }
}
