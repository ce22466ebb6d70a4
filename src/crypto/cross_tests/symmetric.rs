//! Digests, HMAC, AES, Triple DES and random bytes.

use super::*;

#[test]
fn digests_and_hmacs() {
    for hash in Hash::ALL {
        for len in [0, 1, 55, 56, 64, 111, 112, 128, 1000] {
            let data = pattern(len);
            let whole = both_give!(engine => engine::digest(hash, &data));
            assert_eq!(whole.len(), hash.len());
            let in_parts = both_give!(engine => {
                let mut digest = engine::Digest::new(hash).unwrap();
                digest.update(&data[..len / 3]);
                let mut copy = digest.try_clone().unwrap();
                digest.update(b"not in the copy");
                copy.update(&data[len / 3..]);
                copy.finish()
            });
            assert_eq!(in_parts, whole);
            for key in [0, 1, 64, 65, 128, 129, 300] {
                let tag = both_give!(engine => {
                    let mut hmac = engine::Hmac::new(hash, &pattern(key)).unwrap();
                    hmac.update(&data[..len / 2]);
                    hmac.update(&data[len / 2..]);
                    hmac.finish()
                });
                assert_eq!(tag.len(), hash.len());
            }
        }
    }
}

#[test]
fn aes_modes() {
    for key_len in [16, 24, 32] {
        let key = pattern(key_len);
        for (mode, iv) in [
            (CipherMode::Ecb, vec![]),
            (CipherMode::Cbc, pattern(16)),
            (CipherMode::Ctr, pattern(16)),
            // The counter is 128 bits wide and goes over its end.
            (CipherMode::Ctr, vec![0xff; 16]),
        ] {
            let plaintext = pattern(16 * 33);
            let ciphertext = both_give!(engine => {
                let mut data = plaintext.clone();
                let mut cipher =
                    engine::Cipher::new(mode, Direction::Encrypt, &key, &iv).unwrap();
                let (first, rest) = data.split_at_mut(16 * 5);
                cipher.update(first).unwrap();
                cipher.update(&mut []).unwrap();
                cipher.update(rest).unwrap();
                data
            });
            assert_ne!(ciphertext, plaintext);
            let decrypted = both_give!(engine => {
                let mut data = ciphertext.clone();
                let mut cipher =
                    engine::Cipher::new(mode, Direction::Decrypt, &key, &iv).unwrap();
                for part in data.chunks_mut(if mode == CipherMode::Ctr { 7 } else { 48 }) {
                    cipher.update(part).unwrap();
                }
                data
            });
            assert_eq!(decrypted, plaintext);

            if mode != CipherMode::Ctr {
                both_refuse!(CKR_DATA_LEN_RANGE, engine => {
                    engine::Cipher::new(mode, Direction::Encrypt, &key, &iv)
                        .unwrap()
                        .update(&mut [0; 17])
                });
            }
            for len in [1, 12, 15, 17] {
                both_refuse!(CKR_MECHANISM_PARAM_INVALID, engine => {
                    engine::Cipher::new(mode, Direction::Encrypt, &key, &pattern(len))
                });
            }
            for len in [0, 15, 17, 33] {
                both_refuse!(CKR_KEY_SIZE_RANGE, engine => {
                    engine::Cipher::new(mode, Direction::Decrypt, &pattern(len), &iv)
                });
            }
        }
    }
}

#[test]
fn aes_cfb() {
    let iv = pattern(16);
    for key in [16, 24, 32].map(pattern) {
        for plaintext in [0, 1, 15, 16, 17, 160, 1001].map(pattern) {
            let ciphertext = both_give!(engine => {
                let mut data = plaintext.clone();
                engine::cfb(Direction::Encrypt, &key, &iv, &mut data).unwrap();
                data
            });
            let decrypted = both_give!(engine => {
                let mut data = ciphertext.clone();
                engine::cfb(Direction::Decrypt, &key, &iv, &mut data).unwrap();
                data
            });
            assert_eq!(decrypted, plaintext);
        }
    }
    for (key, iv, rv) in [
        (0, 16, CKR_KEY_SIZE_RANGE),
        (17, 16, CKR_KEY_SIZE_RANGE),
        (32, 0, CKR_MECHANISM_PARAM_INVALID),
        (16, 17, CKR_MECHANISM_PARAM_INVALID),
    ] {
        let (key, iv) = (pattern(key), pattern(iv));
        both_refuse!(rv, engine => {
            engine::cfb(Direction::Encrypt, &key, &iv, &mut [0; 20])
        });
    }
}

#[test]
fn aes_gcm_in_pieces() {
    for key_len in [16, 24, 32] {
        for (iv_len, aad_len) in [(12, 0), (1, 5), (16, 16), (256, 100)] {
            for pieces in [&[][..], &[0], &[1, 15, 16, 17], &[7; 30], &[4096, 1, 4096]] {
                let (key, iv, aad) = (pattern(key_len), pattern(iv_len), pattern(aad_len));
                let plaintext = pattern(pieces.iter().sum());
                let sealed = both_give!(engine => {
                    let mut sealing = engine::GcmSealing::new(&key, &iv, &aad, 16).unwrap();
                    let (mut sealed, mut at) = (Vec::new(), 0);
                    for len in pieces {
                        sealing.update(&plaintext[at..at + len], &mut sealed).unwrap();
                        at += len;
                    }
                    sealed.extend(sealing.finish().unwrap());
                    sealed
                });
                let whole = both_give!(engine => {
                    engine::gcm_seal(&key, &iv, &aad, 16, &plaintext).unwrap()
                });
                assert_eq!(sealed, whole);
            }
        }
    }
    for (key, iv, tag_len, rv) in [
        (0, 12, 16, CKR_KEY_SIZE_RANGE),
        (17, 12, 16, CKR_KEY_SIZE_RANGE),
        (16, 0, 16, CKR_MECHANISM_PARAM_INVALID),
        (16, 257, 16, CKR_MECHANISM_PARAM_INVALID),
        (16, 12, 11, CKR_MECHANISM_PARAM_INVALID),
        (16, 12, 17, CKR_MECHANISM_PARAM_INVALID),
    ] {
        let (key, iv) = (pattern(key), pattern(iv));
        both_refuse!(rv, engine => {
            engine::GcmSealing::new(&key, &iv, b"", tag_len).map(drop)
        });
    }
}

#[test]
fn aes_gcm() {
    for key_len in [16, 24, 32] {
        for iv_len in [1, 8, 12, 16, 60, 256] {
            for tag_len in 12..=16 {
                for (aad_len, len) in [(0, 0), (13, 0), (0, 1), (20, 100), (16, 4096)] {
                    let (key, iv, aad) = (pattern(key_len), pattern(iv_len), pattern(aad_len));
                    let plaintext = pattern(len);
                    let sealed = both_give!(engine => {
                        engine::gcm_seal(&key, &iv, &aad, tag_len, &plaintext).unwrap()
                    });
                    assert_eq!(sealed.len(), len + tag_len);
                    let opened = both_give!(engine => {
                        engine::gcm_open(&key, &iv, &aad, tag_len, &sealed).unwrap().to_vec()
                    });
                    assert_eq!(opened, plaintext);

                    for position in [0, len / 2, len, len + tag_len - 1] {
                        let mut corrupt = sealed.clone();
                        corrupt[position] ^= 0x10;
                        both_refuse!(CKR_ENCRYPTED_DATA_INVALID, engine => {
                            engine::gcm_open(&key, &iv, &aad, tag_len, &corrupt)
                        });
                    }
                    both_refuse!(CKR_ENCRYPTED_DATA_INVALID, engine => {
                        engine::gcm_open(&key, &iv, b"another", tag_len, &sealed)
                    });
                    both_refuse!(CKR_ENCRYPTED_DATA_LEN_RANGE, engine => {
                        engine::gcm_open(&key, &iv, &aad, tag_len, &pattern(tag_len - 1))
                    });
                }
            }
        }
    }
    let (key, iv) = (pattern(16), pattern(12));
    for tag_len in [0, 4, 11, 17] {
        both_refuse!(CKR_MECHANISM_PARAM_INVALID, engine => {
            engine::gcm_seal(&key, &iv, b"", tag_len, b"")
        });
        both_refuse!(CKR_MECHANISM_PARAM_INVALID, engine => {
            engine::gcm_open(&key, &iv, b"", tag_len, &[0; 32])
        });
    }
    for iv_len in [0, 257] {
        both_refuse!(CKR_MECHANISM_PARAM_INVALID, engine => {
            engine::gcm_seal(&key, &pattern(iv_len), b"", 16, b"")
        });
    }
    for key_len in [0, 15, 33] {
        both_refuse!(CKR_KEY_SIZE_RANGE, engine => {
            engine::gcm_open(&pattern(key_len), &iv, b"", 16, &[0; 32])
        });
    }
}

#[test]
fn cmacs() {
    for key in [16, 24, 32].map(pattern) {
        for data in [0, 1, 15, 16, 17, 32, 1000].map(pattern) {
            let tag = both_give!(engine => {
                let mut cmac = engine::Cmac::new(&key).unwrap();
                cmac.update(&data[..data.len() / 3]);
                cmac.update(&data[data.len() / 3..]);
                cmac.finish()
            });
            assert_eq!(tag.len(), 16);
        }
    }
    both_refuse!(CKR_KEY_SIZE_RANGE, engine => engine::Cmac::new(&pattern(20)));
}

#[test]
fn key_wraps() {
    for kek in [16, 24, 32].map(pattern) {
        for (padded, len, iv) in [
            (false, 16, 8),
            (false, 40, 8),
            (true, 1, 4),
            (true, 8, 4),
            (true, 9, 4),
            (true, 2400, 4),
        ] {
            let data = pattern(len);
            for iv in [None, Some(pattern(iv))] {
                let iv = iv.as_deref();
                let wrapped =
                    both_give!(engine => engine::key_wrap(padded, &kek, iv, &data).unwrap());
                let unwrapped = both_give!(engine => {
                    engine::key_unwrap(padded, &kek, iv, &wrapped).unwrap().to_vec()
                });
                assert_eq!(unwrapped, data);
            }
        }
    }
}

#[test]
fn ccm_and_chacha() {
    let lengths = [
        (0, 0),
        (13, 0),
        (0, 1),
        (20, 100),
        (300, 4096),
        (70_000, 20),
    ];
    for key in [16, 24, 32].map(pattern) {
        for nonce in (7..=13).map(pattern) {
            for tag in [4, 6, 8, 10, 12, 14, 16] {
                for (aad, len) in lengths {
                    let (aad, data) = (pattern(aad), pattern(len));
                    let sealed = both_give!(engine => {
                        engine::ccm_seal(&key, &nonce, &aad, tag, &data).unwrap()
                    });
                    assert_eq!(sealed.len(), len + tag);
                    let opened = both_give!(engine => {
                        engine::ccm_open(&key, &nonce, &aad, tag, &sealed).unwrap().to_vec()
                    });
                    assert_eq!(opened, data);
                    let mut corrupt = sealed;
                    *corrupt.last_mut().unwrap() ^= 1;
                    both_refuse!(CKR_ENCRYPTED_DATA_INVALID, engine => {
                        engine::ccm_open(&key, &nonce, &aad, tag, &corrupt)
                    });
                }
            }
        }
    }
    let (key, nonce) = (pattern(32), pattern(12));
    for (aad, len) in lengths {
        let (aad, data) = (pattern(aad), pattern(len));
        let sealed = both_give!(engine => engine::chacha_seal(&key, &nonce, &aad, &data).unwrap());
        let opened = both_give!(engine => {
            engine::chacha_open(&key, &nonce, &aad, &sealed).unwrap().to_vec()
        });
        assert_eq!(opened, data);
        let mut corrupt = sealed;
        corrupt[0] ^= 1;
        both_refuse!(CKR_ENCRYPTED_DATA_INVALID, engine => {
            engine::chacha_open(&key, &nonce, &aad, &corrupt)
        });
    }
}

#[test]
fn tdes() {
    let bytes = pattern(8 * 131);
    let (three_keys, two_keys) = (pattern(24), [pattern(16), pattern(8)].concat());
    // The key that PIV cards are delivered with: three times the same, of either parity.
    let delivered = [1, 2, 3, 4, 5, 6, 7, 8].repeat(3);
    for key in [three_keys, two_keys, delivered, vec![0; 24]] {
        for plaintext in bytes.as_chunks::<8>().0 {
            let ciphertext = both_give!(engine => {
                let mut block = *plaintext;
                engine::tdes_block(Direction::Encrypt, &key, &mut block).unwrap();
                block
            });
            let decrypted = both_give!(engine => {
                let mut block = ciphertext;
                engine::tdes_block(Direction::Decrypt, &key, &mut block).unwrap();
                block
            });
            assert_eq!(&decrypted, plaintext);
        }
    }
    for len in [0, 8, 16, 23, 25] {
        both_refuse!(CKR_KEY_SIZE_RANGE, engine => {
            engine::tdes_block(Direction::Encrypt, &pattern(len), &mut [0; 8])
        });
    }
}

#[test]
fn random_bytes() {
    for random in [aws_lc::random, rustcrypto::random] {
        let (mut first, mut second) = ([0; 32], [0; 32]);
        random(&mut first).unwrap();
        random(&mut second).unwrap();
        assert_ne!(first, second);
        random(&mut []).unwrap();
    }
}
