//! AES in the plain modes and in GCM, Triple DES.

use super::super::engine::{Cipher, cfb, gcm_open, gcm_seal, tdes_block};
use super::super::*;
use super::{hex, refused};
use cryptoki_sys::*;

// SP 800-38A appendix F: keys of F.1, the plaintext, and the four blocks of each mode; "wrapped" is
// CTR from a counter of ones, which carries through all of its 128 bits.
const AES_KEYS: [&str; 3] = [
    "2b7e151628aed2a6abf7158809cf4f3c",
    "8e73b0f7da0e6452c810f32b809079e562f8ead2522c6b7b",
    "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4",
];
const AES_PLAINTEXT: &str = "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e5130c81c46a35ce411e5fbc1191a0a\
     52eff69f2445df4f9b17ad2b417be66c3710";
const AES: [(CipherMode, &str, [&str; 3]); 4] = [
    (
        CipherMode::Ecb,
        "",
        [
            "3ad77bb40d7a3660a89ecaf32466ef97f5d3d58503b9699de785895a96fdbaaf43b1cd7f598ece23881b\
             00e3ed0306887b0c785e27e8ad3f8223207104725dd4",
            "bd334f1d6e45f25ff712a214571fa5cc974104846d0ad3ad7734ecb3ecee4eefef7afd2270e2e60adce0\
             ba2face6444e9a4b41ba738d6c72fb16691603c18e0e",
            "f3eed1bdb5d2a03c064b5a7e3db181f8591ccb10d410ed26dc5ba74a31362870b6ed21b99ca6f4f9f153\
             e7b1beafed1d23304b7a39f9f3ff067d8d8f9e24ecc7",
        ],
    ),
    (
        CipherMode::Cbc,
        "000102030405060708090a0b0c0d0e0f",
        [
            "7649abac8119b246cee98e9b12e9197d5086cb9b507219ee95db113a917678b273bed6b8e3c1743b7116\
             e69e222295163ff1caa1681fac09120eca307586e1a7",
            "4f021db243bc633d7178183a9fa071e8b4d9ada9ad7dedf4e5e738763f69145a571b242012fb7ae07fa9\
             baac3df102e008b0e27988598881d920a9e64f5615cd",
            "f58c4c04d6e5f1ba779eabfb5f7bfbd69cfc4e967edb808d679f777bc6702c7d39f23369a9d9bacfa530\
             e26304231461b2eb05e2c39be9fcda6c19078c6a9d1b",
        ],
    ),
    (
        CipherMode::Ctr,
        "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff",
        [
            "874d6191b620e3261bef6864990db6ce9806f66b7970fdff8617187bb9fffdff5ae4df3edbd5d35e5b4f\
             09020db03eab1e031dda2fbe03d1792170a0f3009cee",
            "1abc932417521ca24f2b0459fe7e6e0b090339ec0aa6faefd5ccc2c6f4ce8e941e36b26bd1ebc670d1bd\
             1d665620abf74f78a7f6d29809585a97daec58c6b050",
            "601ec313775789a5b7a7f504bbf3d228f443e3ca4d62b59aca84e990cacaf5c52b0930daa23de94ce870\
             17ba2d84988ddfc9c58db67aada613c2dd08457941a6",
        ],
    ),
    (
        CipherMode::Ctr,
        "ffffffffffffffffffffffffffffffff",
        [
            "e13338e36cb71962e00d020b4cedbd86d3dae15b04bb352fa0f59febfcb4da3e67da610697ed5aae4b0f\
             a7a0dd783d2961a00ab697367915d23c754bd99e2899",
            "5cc38fab30b6ac67dcc21e7b012ecf988c68a7d957ab090f01c44e62afc2df1ace7bdea8029039ebaa29\
             5a1424fe45d2564eee85c2fa2fd2ce79369e8d55bc73",
            "50fd97c3e61abb4873fb78df1e8e77e64b457cd68accda4a89fa236c06bf2605a1dd021ba826fb0a252c\
             6dc9b434030be1910794ac1349c2d4cd7bf39da5ff03",
        ],
    ),
];

#[test]
fn aes_modes() {
    let plaintext = hex(AES_PLAINTEXT);
    for (mode, iv, ciphertexts) in AES {
        for (key, ciphertext) in AES_KEYS.iter().zip(ciphertexts) {
            let (key, iv, ciphertext) = (hex(key), hex(iv), hex(ciphertext));
            let mut data = plaintext.clone();
            let mut cipher = Cipher::new(mode, Direction::Encrypt, &key, &iv).unwrap();
            let (first, rest) = data.split_at_mut(16);
            cipher.update(first).unwrap();
            cipher.update(&mut []).unwrap();
            cipher.update(rest).unwrap();
            assert_eq!(data, ciphertext, "{mode:?} {}", key.len());
            let mut cipher = Cipher::new(mode, Direction::Decrypt, &key, &iv).unwrap();
            cipher.update(&mut data).unwrap();
            assert_eq!(data, plaintext, "{mode:?} {}", key.len());
        }
    }
}

#[test]
fn aes_ctr_takes_any_length() {
    let (mode, iv, ciphertexts) = AES[2];
    let (key, iv) = (hex(AES_KEYS[0]), hex(iv));
    let mut data = hex(AES_PLAINTEXT);
    let mut cipher = Cipher::new(mode, Direction::Encrypt, &key, &iv).unwrap();
    let (first, rest) = data.split_at_mut(5);
    let (second, third) = rest.split_at_mut(30);
    for part in [first, second, third] {
        cipher.update(part).unwrap();
    }
    assert_eq!(data, hex(ciphertexts[0]));
}

// SP 800-38A F.3.13, F.3.15 and F.3.17, with the IV of CBC.
const CFB: [&str; 3] = [
    "3b3fd92eb72dad20333449f8e83cfb4ac8a64537a0b3a93fcde3cdad9f1ce58b26751f67a3cbb140b1808cf187a4\
     f4dfc04b05357c5d1c0eeac4c66f9ff7f2e6",
    "cdc80d6fddf18cab34c25909c99a417467ce7f7f81173621961a2b70171d3d7a2e1e8a1dd59b88b1c8e60fed1efa\
     c4c9c05f9f9ca9834fa042ae8fba584b09ff",
    "dc7e84bfda79164b7ecd8486985d386039ffed143b28b1c832113c6331e5407bdf10132415e54b92a13ed0a8267a\
     e2f975a385741ab9cef82031623d55b1e471",
];

#[test]
fn aes_cfb() {
    let iv = hex(AES[1].1);
    for (key, ciphertext) in AES_KEYS.iter().zip(CFB) {
        let key = hex(key);
        // A part of a block is the beginning of the whole one.
        for len in [64, 0, 1, 15, 16, 17, 63] {
            let (plaintext, ciphertext) = (&hex(AES_PLAINTEXT)[..len], &hex(ciphertext)[..len]);
            let mut data = plaintext.to_vec();
            cfb(Direction::Encrypt, &key, &iv, &mut data).unwrap();
            assert_eq!(data, ciphertext);
            cfb(Direction::Decrypt, &key, &iv, &mut data).unwrap();
            assert_eq!(data, plaintext);
        }
    }
    for len in [0, 17, 31, 33] {
        refused(
            cfb(Direction::Encrypt, &vec![0; len], &iv, &mut [0; 16]),
            CKR_KEY_SIZE_RANGE,
        );
    }
    for len in [0, 12, 15, 17] {
        refused(
            cfb(Direction::Decrypt, &[0; 16], &vec![0; len], &mut [0; 16]),
            CKR_MECHANISM_PARAM_INVALID,
        );
    }
}

#[test]
fn aes_refusals() {
    let new = |mode, key: &[u8], iv: &[u8]| Cipher::new(mode, Direction::Encrypt, key, iv);
    refused(new(CipherMode::Cbc, &[0; 17], &[0; 16]), CKR_KEY_SIZE_RANGE);
    refused(new(CipherMode::Ctr, &[], &[0; 16]), CKR_KEY_SIZE_RANGE);
    refused(
        new(CipherMode::Cbc, &[0; 16], &[0; 15]),
        CKR_MECHANISM_PARAM_INVALID,
    );
    refused(
        new(CipherMode::Ctr, &[0; 16], &[]),
        CKR_MECHANISM_PARAM_INVALID,
    );
    refused(
        new(CipherMode::Ecb, &[0; 16], &[0; 16]),
        CKR_MECHANISM_PARAM_INVALID,
    );
    for (mode, iv) in [(CipherMode::Ecb, 0), (CipherMode::Cbc, 16)] {
        let mut cipher = new(mode, &[0; 16], &vec![0; iv]).unwrap();
        refused(cipher.update(&mut [0; 15]), CKR_DATA_LEN_RANGE);
    }
}

// "The Galois/Counter Mode of Operation" (McGrew, Viega), test cases 4-6, 10-12 and 16-18:
// one key cut to three lengths, each with an IV of 12, 8 and 60 bytes; ciphertext and tag.
const GCM_KEY: &str = "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308";
const GCM_PLAINTEXT: &str = "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6\
     b525b16aedf5aa0de657ba637b39";
const GCM_AAD: &str = "feedfacedeadbeeffeedfacedeadbeefabaddad2";
const GCM_IVS: [&str; 3] = [
    "cafebabefacedbaddecaf888",
    "cafebabefacedbad",
    "9313225df88406e555909c5aff5269aa6a7a9538534f7da1e4c303d2a318a728c3c0c95156809539fcf0e2429a6b\
     525416aedbf5a0de6a57a637b39b",
];
const GCM: [(usize, [&str; 3]); 3] = [
    (
        16,
        [
            "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e21d514b25466931c7d8f\
             6a5aac84aa051ba30b396a0aac973d58e0915bc94fbc3221a5db94fae95ae7121a47",
            "61353b4c2806934a777ff51fa22a4755699b2a714fcdc6f83766e5f97b6c742373806900e49f24b22b09\
             7544d4896b424989b5e1ebac0f07c23f45983612d2e79e3b0785561be14aaca2fccb",
            "8ce24998625615b603a033aca13fb894be9112a5c3a211a8ba262a3cca7e2ca701e4a9a4fba43c90ccdc\
             b281d48c7c6fd62875d2aca417034c34aee5619cc5aefffe0bfa462af43c1699d050",
        ],
    ),
    (
        24,
        [
            "3980ca0b3c00e841eb06fac4872a2757859e1ceaa6efd984628593b40ca1e19c7d773d00c144c525ac61\
             9d18c84a3f4718e2448b2fe324d9ccda27102519498e80f1478f37ba55bd6d27618c",
            "0f10f599ae14a154ed24b36e25324db8c566632ef2bbb34f8347280fc4507057fddc29df9a471f75c665\
             41d4d4dad1c9e93a19a58e8b473fa0f062f765dcc57fcf623a24094fcca40d3533f8",
            "d27e88681ce3243c4830165a8fdcf9ff1de9a1d8e6b447ef6ef7b79828666e4581e79012af34ddd9e2f0\
             37589b292db3e67c036745fa22e7e9b7373bdcf566ff291c25bbb8568fc3d376a6d9",
        ],
    ),
    (
        32,
        [
            "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b0\
             8b1056828838c5f61e6393ba7a0abcc9f66276fc6ece0f4e1768cddf8853bb2d551b",
            "c3762df1ca787d32ae47c13bf19844cbaf1ae14d0b976afac52ff7d79bba9de0feb582d33934a4f0954c\
             c2363bc73f7862ac430e64abe499f47c9b1f3a337dbf46a792c45e454913fe2ea8f2",
            "5a8def2f0c9e53f1f75d7853659e2a20eeb2b22aafde6419a058ab4f6f746bf40fc0c3b780f244452da3\
             ebf1c5d82cdea2418997200ef82e44ae7e3fa44a8266ee1c8eb0c8b5d4cf5ae9f19a",
        ],
    ),
];

#[test]
fn aes_gcm() {
    let (plaintext, aad) = (hex(GCM_PLAINTEXT), hex(GCM_AAD));
    for (key_len, sealed) in GCM {
        for (iv, sealed) in GCM_IVS.iter().zip(sealed) {
            let (key, iv, sealed) = (&hex(GCM_KEY)[..key_len], hex(iv), hex(sealed));
            for tag_len in 12..=16 {
                let cut = &sealed[..plaintext.len() + tag_len];
                assert_eq!(gcm_seal(key, &iv, &aad, tag_len, &plaintext).unwrap(), cut);
                let opened = gcm_open(key, &iv, &aad, tag_len, cut).unwrap();
                assert_eq!(*opened, *plaintext);
            }
        }
    }
    let sealed = gcm_seal(&[1; 32], &[2; 256], &[], 16, &[]).unwrap();
    assert_eq!(sealed.len(), 16);
    assert!(
        gcm_open(&[1; 32], &[2; 256], &[], 16, &sealed)
            .unwrap()
            .is_empty()
    );
}

#[test]
fn aes_gcm_refusals() {
    let (key, iv, aad) = ([7; 16], [8; 12], [9; 20]);
    let sealed = gcm_seal(&key, &iv, &aad, 16, b"twenty bytes of text").unwrap();
    for at in 0..sealed.len() {
        let mut broken = sealed.clone();
        broken[at] ^= 1;
        refused(
            gcm_open(&key, &iv, &aad, 16, &broken),
            CKR_ENCRYPTED_DATA_INVALID,
        );
    }
    refused(
        gcm_open(&key, &iv, &aad[1..], 16, &sealed),
        CKR_ENCRYPTED_DATA_INVALID,
    );
    refused(
        gcm_open(&key, &iv[1..], &aad, 16, &sealed),
        CKR_ENCRYPTED_DATA_INVALID,
    );
    refused(
        gcm_open(&[6; 16], &iv, &aad, 16, &sealed),
        CKR_ENCRYPTED_DATA_INVALID,
    );
    refused(
        gcm_open(&key, &iv, &aad, 15, &sealed),
        CKR_ENCRYPTED_DATA_INVALID,
    );
    refused(
        gcm_open(&key, &iv, &aad, 16, &[0; 15]),
        CKR_ENCRYPTED_DATA_LEN_RANGE,
    );
    refused(gcm_seal(&[0; 20], &iv, &aad, 16, b""), CKR_KEY_SIZE_RANGE);
    for (iv_len, tag_len) in [(0, 16), (257, 16), (12, 11), (12, 17)] {
        let iv = vec![0; iv_len];
        refused(
            gcm_seal(&key, &iv, &aad, tag_len, b""),
            CKR_MECHANISM_PARAM_INVALID,
        );
        refused(
            gcm_open(&key, &iv, &aad, tag_len, &sealed),
            CKR_MECHANISM_PARAM_INVALID,
        );
    }
}

// SP 800-67 version 1.1, appendix B: three keys, and three blocks of plaintext.
const TDES_KEY: &str = "0123456789abcdef23456789abcdef01456789abcdef0123";
const TDES: [(&str, &str); 3] = [
    ("5468652071756663", "a826fd8ce53b855f"),
    ("6b2062726f776e20", "cce21c8112256fe6"),
    ("666f78206a756d70", "68d5c05dd9b6b900"),
];

// SP 800-20 appendix A, where the three keys are one: the beginnings of the tables for the variable
// plaintext, the variable key, the permutation operation and the substitution table.
const TDES_OF_ONE_KEY: [(&str, &str, &str); 8] = [
    ("0101010101010101", "8000000000000000", "95f8a5e5dd31d900"),
    ("0101010101010101", "4000000000000000", "dd7f121ca5015619"),
    ("8001010101010101", "0000000000000000", "95a8d72813daa94d"),
    ("4001010101010101", "0000000000000000", "0eec1487dd8c26d5"),
    ("1046913489980131", "0000000000000000", "88d55e54f54c97b4"),
    ("1007103489988020", "0000000000000000", "0c0cc00c83ea48fd"),
    ("7ca110454a1a6e57", "01a1d6d039776742", "690f5b0d9a26939b"),
    ("0131d9619dc1376e", "5cd54ca83def57da", "7a389d10354bd271"),
];

#[test]
fn tdes() {
    let check = |key: &[u8], plaintext: &str, ciphertext: &str| {
        let mut block: [u8; 8] = hex(plaintext).try_into().unwrap();
        tdes_block(Direction::Encrypt, key, &mut block).unwrap();
        assert_eq!(block.as_slice(), hex(ciphertext));
        tdes_block(Direction::Decrypt, key, &mut block).unwrap();
        assert_eq!(block.as_slice(), hex(plaintext));
    };
    let key = hex(TDES_KEY);
    let other_parity: Vec<u8> = key.iter().map(|byte| byte ^ 1).collect();
    for (plaintext, ciphertext) in TDES {
        check(&key, plaintext, ciphertext);
        check(&other_parity, plaintext, ciphertext);
    }
    for (key, plaintext, ciphertext) in TDES_OF_ONE_KEY {
        check(&hex(key).repeat(3), plaintext, ciphertext);
    }
}

#[test]
fn tdes_refusals() {
    for len in [0, 8, 16, 23, 25, 32] {
        let mut block = *b"a block!";
        for direction in [Direction::Encrypt, Direction::Decrypt] {
            refused(
                tdes_block(direction, &vec![1; len], &mut block),
                CKR_KEY_SIZE_RANGE,
            );
        }
        assert_eq!(&block, b"a block!");
    }
}
