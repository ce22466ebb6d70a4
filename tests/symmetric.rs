//! SHA-3, CMAC, CCM, ChaCha20-Poly1305 and AES Key Wrap as mechanisms, and keys for them
//! (PKCS#11 3.2, 6.13 to 6.16, 6.31, 6.66).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::undocumented_unsafe_blocks, missing_docs)]

mod common;

use common::vectors::{MESSAGE, hex};
use common::*;

/// A secret key of this type and value, for every use.
fn secret(session: Session, key_type: CK_KEY_TYPE, value: &[u8]) -> CK_OBJECT_HANDLE {
    let template = Template::new()
        .set(CKA_CLASS, CKO_SECRET_KEY)
        .set(CKA_KEY_TYPE, key_type)
        .set(CKA_VALUE, value);
    session.create(&template).unwrap()
}

fn of_length(length: CK_ULONG) -> Template {
    Template::new().set(CKA_VALUE_LEN, length)
}

const SHA3: [(CK_MECHANISM_TYPE, &str); 6] = [
    (
        CKM_SHA3_224,
        "e642824c3f8cf24ad09234ee7d3c766fc9a3a5168d0c94ad73b46fdf",
    ),
    (
        CKM_SHA3_256,
        "3a985da74fe225b2045c172d6bd390bd855f086e3e9d525b46bfe24511431532",
    ),
    (
        CKM_SHA3_384,
        "ec01498288516fc926459f58e2c6ad8df9b473cb0fc08c2596da7cf0e49be4b298d88cea927ac7f539f1edf228376d25",
    ),
    (
        CKM_SHA3_512,
        "b751850b1a57168a5693cd924b6b096e08f621827444f70d884f5d0240d2712e10e116e9192af3c91a7ec57647e3934057340b4cf408d5a56592f8274eec53f0",
    ),
    (
        CKM_SHA512_224,
        "4634270f707b6a54daae7530460842e20e37ed265ceee9a43e8924aa",
    ),
    (
        CKM_SHA512_256,
        "53048e2681941ef99b2e29b76b4c7dabe4c2d0c634fc6d46e0e2f13107e7af23",
    ),
];

/// FIPS 202 and FIPS 180-4, the examples of "abc".
#[test]
fn digests() {
    isolated(|world| {
        let session = world.token().user();
        for (mechanism, expected) in SHA3 {
            assert_eq!(session.digest(mechanism, b"abc").unwrap(), hex(expected));
        }
    });
}

#[test]
fn sha3_signs() {
    isolated(|world| {
        let session = world.token().user();
        let (rsa, ec) = (session.any_rsa(), session.ec(Curve::P256));
        let cases = [
            (
                CKM_SHA3_224,
                CKG_MGF1_SHA3_224,
                28,
                CKM_SHA3_224_RSA_PKCS,
                CKM_SHA3_224_RSA_PKCS_PSS,
                CKM_ECDSA_SHA3_224,
            ),
            (
                CKM_SHA3_256,
                CKG_MGF1_SHA3_256,
                32,
                CKM_SHA3_256_RSA_PKCS,
                CKM_SHA3_256_RSA_PKCS_PSS,
                CKM_ECDSA_SHA3_256,
            ),
            (
                CKM_SHA3_384,
                CKG_MGF1_SHA3_384,
                48,
                CKM_SHA3_384_RSA_PKCS,
                CKM_SHA3_384_RSA_PKCS_PSS,
                CKM_ECDSA_SHA3_384,
            ),
            (
                CKM_SHA3_512,
                CKG_MGF1_SHA3_512,
                64,
                CKM_SHA3_512_RSA_PKCS,
                CKM_SHA3_512_RSA_PKCS_PSS,
                CKM_ECDSA_SHA3_512,
            ),
        ];
        for (hash, mgf, length, pkcs1, pss, ecdsa) in cases {
            let pss = Mech::pss(pss, hash, mgf, length);
            for (mechanism, pair) in [(pkcs1.into(), rsa), (pss, rsa), (Mech::new(ecdsa), ec)] {
                let signature = session
                    .sign(mechanism.clone(), pair.private, MESSAGE)
                    .unwrap();
                session
                    .verify(mechanism.clone(), pair.public, MESSAGE, &signature)
                    .unwrap();
                session
                    .verify(mechanism, pair.public, b"another", &signature)
                    .refused(CKR_SIGNATURE_INVALID);
            }
            // The digest made elsewhere gives the same signature (RFC 8017 9.2 note 1).
            let digest = session.digest(hash, MESSAGE).unwrap();
            let raw = session.sign(CKM_ECDSA, ec.private, &digest).unwrap();
            session.verify(ecdsa, ec.public, MESSAGE, &raw).unwrap();
            let oaep = Mech::oaep(hash, mgf, b"label");
            let sealed = session
                .encrypt(oaep.clone(), rsa.public, b"secret")
                .unwrap();
            assert_eq!(
                session.decrypt(oaep, rsa.private, &sealed).unwrap(),
                b"secret"
            );
        }
    });
}

#[test]
fn hmac_keys_of_every_hash() {
    let cases = [
        (
            CKM_SHA_1_KEY_GEN,
            CKK_SHA_1_HMAC,
            CKM_SHA_1_HMAC,
            CKM_SHA_1_HMAC_GENERAL,
            20,
        ),
        (
            CKM_SHA224_KEY_GEN,
            CKK_SHA224_HMAC,
            CKM_SHA224_HMAC,
            CKM_SHA224_HMAC_GENERAL,
            28,
        ),
        (
            CKM_SHA256_KEY_GEN,
            CKK_SHA256_HMAC,
            CKM_SHA256_HMAC,
            CKM_SHA256_HMAC_GENERAL,
            32,
        ),
        (
            CKM_SHA384_KEY_GEN,
            CKK_SHA384_HMAC,
            CKM_SHA384_HMAC,
            CKM_SHA384_HMAC_GENERAL,
            48,
        ),
        (
            CKM_SHA512_KEY_GEN,
            CKK_SHA512_HMAC,
            CKM_SHA512_HMAC,
            CKM_SHA512_HMAC_GENERAL,
            64,
        ),
        (
            CKM_SHA512_224_KEY_GEN,
            CKK_SHA512_224_HMAC,
            CKM_SHA512_224_HMAC,
            CKM_SHA512_224_HMAC_GENERAL,
            28,
        ),
        (
            CKM_SHA512_256_KEY_GEN,
            CKK_SHA512_256_HMAC,
            CKM_SHA512_256_HMAC,
            CKM_SHA512_256_HMAC_GENERAL,
            32,
        ),
        (
            CKM_SHA3_224_KEY_GEN,
            CKK_SHA3_224_HMAC,
            CKM_SHA3_224_HMAC,
            CKM_SHA3_224_HMAC_GENERAL,
            28,
        ),
        (
            CKM_SHA3_256_KEY_GEN,
            CKK_SHA3_256_HMAC,
            CKM_SHA3_256_HMAC,
            CKM_SHA3_256_HMAC_GENERAL,
            32,
        ),
        (
            CKM_SHA3_384_KEY_GEN,
            CKK_SHA3_384_HMAC,
            CKM_SHA3_384_HMAC,
            CKM_SHA3_384_HMAC_GENERAL,
            48,
        ),
        (
            CKM_SHA3_512_KEY_GEN,
            CKK_SHA3_512_HMAC,
            CKM_SHA3_512_HMAC,
            CKM_SHA3_512_HMAC_GENERAL,
            64,
        ),
    ];
    isolated(|world| {
        let session = world.token().user();
        for (generate, key_type, whole, general, length) in cases {
            let template = of_length(length)
                .set(CKA_SENSITIVE, false)
                .set(CKA_EXTRACTABLE, true);
            let key = session.generate_key(generate, &template).unwrap();
            assert_eq!(session.get_ulong(key, CKA_KEY_TYPE), key_type);
            let tag = session.sign(whole, key, MESSAGE).unwrap();
            assert_eq!(tag.len(), length as usize);
            session.verify(whole, key, MESSAGE, &tag).unwrap();
            let cut = Mech::bytes(general, &(10 as CK_ULONG).to_ne_bytes());
            assert_eq!(session.sign(cut.clone(), key, MESSAGE).unwrap(), tag[..10]);
            session.verify(cut, key, MESSAGE, &tag[..10]).unwrap();
            let longer = Mech::bytes(general, &(length + 1).to_ne_bytes());
            session
                .sign_init(longer, key)
                .refused(CKR_MECHANISM_PARAM_INVALID);
            // SHA-1 of the value stands for a MAC key (4.11.2).
            let value = session.get(key, CKA_VALUE).unwrap();
            let check = session.digest(CKM_SHA_1, &value).unwrap();
            assert_eq!(session.get(key, CKA_CHECK_VALUE).unwrap(), check[..3]);
            session
                .sign_init(
                    if whole == CKM_SHA256_HMAC {
                        CKM_SHA384_HMAC
                    } else {
                        CKM_SHA256_HMAC
                    },
                    key,
                )
                .refused(CKR_KEY_TYPE_INCONSISTENT);
            session
                .generate_key(generate, &of_length(0))
                .refused(CKR_KEY_SIZE_RANGE);
        }
    });
}

#[test]
fn cmac() {
    isolated(|world| {
        let session = world.token().user();
        // RFC 4493 4, example 3.
        let value = hex("2b7e151628aed2a6abf7158809cf4f3c");
        let key = secret(session, CKK_AES, &value);
        let message =
            hex("6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e5130c81c46a35ce411");
        let tag = hex("dfa66747de9ae63030ca32611497c827");
        assert_eq!(session.sign(CKM_AES_CMAC, key, &message).unwrap(), tag);
        let parts = [&message[..3], &message[3..20], &message[20..]];
        assert_eq!(session.sign_parts(CKM_AES_CMAC, key, &parts).unwrap(), tag);
        session.verify(CKM_AES_CMAC, key, &message, &tag).unwrap();
        session
            .verify(CKM_AES_CMAC, key, MESSAGE, &tag)
            .refused(CKR_SIGNATURE_INVALID);
        session
            .verify(CKM_AES_CMAC, key, &message, &tag[..15])
            .refused(CKR_SIGNATURE_LEN_RANGE);
        let general = |length: CK_ULONG| Mech::bytes(CKM_AES_CMAC_GENERAL, &length.to_ne_bytes());
        assert_eq!(session.sign(general(8), key, &message).unwrap(), tag[..8]);
        session
            .verify(general(8), key, &message, &tag[..8])
            .unwrap();
        for length in [0, 17, CK_ULONG::MAX] {
            session
                .sign_init(general(length), key)
                .refused(CKR_MECHANISM_PARAM_INVALID);
        }
        let generic = session.create(&generic_secret_template(&value)).unwrap();
        session
            .sign_init(CKM_AES_CMAC, generic)
            .refused(CKR_KEY_TYPE_INCONSISTENT);
        let never = aes_template(&value).set(CKA_SIGN, false);
        session
            .sign_init(CKM_AES_CMAC, session.create(&never).unwrap())
            .refused(CKR_KEY_FUNCTION_NOT_PERMITTED);
    });
}

#[test]
fn ccm() {
    isolated(|world| {
        let session = world.token().user();
        // SP 800-38C C.4.
        let key = secret(session, CKK_AES, &hex("404142434445464748494a4b4c4d4e4f"));
        let nonce = hex("101112131415161718191a1b1c");
        let aad: Vec<u8> = (0..=u8::MAX).cycle().take(65536).collect();
        let text: Vec<u8> = (0x20..0x40).collect();
        let sealed = hex(
            "69915dad1e84c6376a68c2967e4dab615ae0fd1faec44cc484828529463ccf72b4ac6bec93e8598e7f0dadbcea5b",
        );
        let mechanism = Mech::ccm(32, &nonce, &aad, 14);
        assert_eq!(
            session.encrypt(mechanism.clone(), key, &text).unwrap(),
            sealed
        );
        let parts = [&text[..5], &text[5..]];
        assert_eq!(
            session
                .encrypt_parts(mechanism.clone(), key, &parts)
                .unwrap(),
            sealed
        );
        assert_eq!(
            session.decrypt(mechanism.clone(), key, &sealed).unwrap(),
            text
        );
        let mut changed = sealed.clone();
        changed[0] ^= 1;
        session
            .decrypt(mechanism.clone(), key, &changed)
            .refused(CKR_ENCRYPTED_DATA_INVALID);
        // The length was told before.
        session
            .encrypt(mechanism.clone(), key, &text[1..])
            .refused(CKR_DATA_LEN_RANGE);
        session
            .decrypt(mechanism, key, &sealed[1..])
            .refused(CKR_ENCRYPTED_DATA_LEN_RANGE);
        for (what, wrong) in [
            ("nonce of 6", Mech::ccm(16, &[1; 6], &aad, 16)),
            ("nonce of 14", Mech::ccm(16, &[1; 14], &aad, 16)),
            ("no nonce", Mech::ccm(16, &[], &aad, 16)),
            ("tag of 4", Mech::ccm(16, &nonce, &aad, 4)),
            ("tag of 10", Mech::ccm(16, &nonce, &aad, 10)),
            ("tag of 13", Mech::ccm(16, &nonce, &aad, 13)),
            ("tag of 18", Mech::ccm(16, &nonce, &aad, 18)),
        ] {
            assert_eq!(
                session.encrypt_init(wrong, key),
                Err(Rv(CKR_MECHANISM_PARAM_INVALID)),
                "{what}"
            );
        }
    });
}

#[test]
fn chacha20_poly1305() {
    isolated(|world| {
        let session = world.token().user();
        let key = session
            .generate_key(CKM_CHACHA20_KEY_GEN, &of_length(32))
            .unwrap();
        assert_eq!(session.get_ulong(key, CKA_KEY_TYPE), CKK_CHACHA20);
        let mechanism = Mech::chacha20_poly1305(&[7; 12], b"aad");
        let sealed = session.encrypt(mechanism.clone(), key, MESSAGE).unwrap();
        assert_eq!(sealed.len(), MESSAGE.len() + 16);
        assert_eq!(
            session.decrypt(mechanism.clone(), key, &sealed).unwrap(),
            MESSAGE
        );
        session
            .decrypt(Mech::chacha20_poly1305(&[7; 12], b"other"), key, &sealed)
            .refused(CKR_ENCRYPTED_DATA_INVALID);
        session
            .decrypt(mechanism.clone(), key, &sealed[..15])
            .refused(CKR_ENCRYPTED_DATA_LEN_RANGE);
        for nonce in [0, 8, 24] {
            session
                .encrypt_init(Mech::chacha20_poly1305(&vec![1; nonce], b""), key)
                .refused(CKR_MECHANISM_PARAM_INVALID);
        }
        for length in [16, 31, 33] {
            session
                .generate_key(CKM_CHACHA20_KEY_GEN, &of_length(length))
                .refused(CKR_KEY_SIZE_RANGE);
        }
        session
            .encrypt_init(mechanism, session.aes(32))
            .refused(CKR_KEY_TYPE_INCONSISTENT);
    });
}

#[test]
fn key_wrap_of_data() {
    isolated(|world| {
        let session = world.token().user();
        // RFC 3394 4.1; RFC 5649 6.
        let kek = secret(session, CKK_AES, &hex("000102030405060708090a0b0c0d0e0f"));
        let data = hex("00112233445566778899aabbccddeeff");
        let wrapped = hex("1fa68b0a8112b447aef34bd8fb5a7b829d3e862371d2cfe5");
        assert_eq!(
            session.encrypt(CKM_AES_KEY_WRAP, kek, &data).unwrap(),
            wrapped
        );
        assert_eq!(
            session.decrypt(CKM_AES_KEY_WRAP, kek, &wrapped).unwrap(),
            data
        );
        let usual = Mech::bytes(CKM_AES_KEY_WRAP, &[0xa6; 8]);
        assert_eq!(session.encrypt(usual, kek, &data).unwrap(), wrapped);
        let own = Mech::bytes(CKM_AES_KEY_WRAP, &[1; 8]);
        let other = session.encrypt(own.clone(), kek, &data).unwrap();
        assert_ne!(other, wrapped);
        assert_eq!(session.decrypt(own, kek, &other).unwrap(), data);
        session
            .decrypt(CKM_AES_KEY_WRAP, kek, &other)
            .refused(CKR_ENCRYPTED_DATA_INVALID);
        session
            .decrypt(CKM_AES_KEY_WRAP, kek, &other[..16])
            .refused(CKR_ENCRYPTED_DATA_LEN_RANGE);
        session
            .encrypt(CKM_AES_KEY_WRAP, kek, &data[..15])
            .refused(CKR_DATA_LEN_RANGE);

        let kek = secret(
            session,
            CKK_AES,
            &hex("5840df6e29b02af1ab493b705bf16ea1ae8338f4dcc176a8"),
        );
        let data = hex("466f7250617369");
        let wrapped = hex("afbeb0f07dfbf5419200f2ccb50bb24f");
        assert_eq!(
            session.encrypt(CKM_AES_KEY_WRAP_KWP, kek, &data).unwrap(),
            wrapped
        );
        // Room for the seven bytes that there are is enough.
        session.decrypt_init(CKM_AES_KEY_WRAP_KWP, kek).unwrap();
        let (mut input, mut room) = (wrapped.clone(), [0; 7]);
        let mut length = 3;
        let module = session.module;
        let mut decrypt = |length: &mut CK_ULONG| {
            try_call!(
                module,
                C_Decrypt(
                    session.handle,
                    input.as_mut_ptr(),
                    16,
                    room.as_mut_ptr(),
                    length
                )
            )
        };
        decrypt(&mut length).refused(CKR_BUFFER_TOO_SMALL);
        assert_eq!(length, 7);
        decrypt(&mut length).unwrap();
        assert_eq!((room.as_slice(), length), (data.as_slice(), 7));
        for wrong in [
            Mech::bytes(CKM_AES_KEY_WRAP, &[1; 4]),
            Mech::bytes(CKM_AES_KEY_WRAP_KWP, &[1; 8]),
        ] {
            session
                .encrypt_init(wrong, kek)
                .refused(CKR_MECHANISM_PARAM_INVALID);
        }
    });
}

/// RFC 3394 of PKCS #7 padding up to a unit of eight bytes, always one byte at least (6.16.3).
#[test]
fn key_wrap_with_pkcs7_padding() {
    isolated(|world| {
        let session = world.token().user();
        let kek = secret(session, CKK_AES, &[0x42; 32]);
        for (bytes, padding) in [(8, 8), (9, 7), (15, 1), (16, 8), (100, 4)] {
            let data = vec![0x5a; bytes];
            let padded = [data.clone(), vec![padding; usize::from(padding)]].concat();
            for iv in [&[][..], &[1; 8]] {
                let mech = |kind| match iv {
                    [] => Mech::new(kind),
                    iv => Mech::bytes(kind, iv),
                };
                let sealed = session
                    .encrypt(mech(CKM_AES_KEY_WRAP_PKCS7), kek, &data)
                    .unwrap();
                let same = session.encrypt(mech(CKM_AES_KEY_WRAP), kek, &padded);
                assert_eq!(same.unwrap(), sealed);
                let opened = session.decrypt(mech(CKM_AES_KEY_WRAP_PKCS7), kek, &sealed);
                assert_eq!(opened.unwrap(), data);
            }
        }
        // Too short for RFC 3394, without padding, cut.
        session
            .encrypt(CKM_AES_KEY_WRAP_PKCS7, kek, &[1; 7])
            .refused(CKR_DATA_LEN_RANGE);
        let bare = session.encrypt(CKM_AES_KEY_WRAP, kek, &[9; 16]).unwrap();
        session
            .decrypt(CKM_AES_KEY_WRAP_PKCS7, kek, &bare)
            .refused(CKR_ENCRYPTED_DATA_INVALID);
        session
            .decrypt(CKM_AES_KEY_WRAP_PKCS7, kek, &bare[..16])
            .refused(CKR_ENCRYPTED_DATA_LEN_RANGE);
    });
}
