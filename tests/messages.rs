//! Encrypting, decrypting, signing and verifying many messages with one key (PKCS#11 3.2, 5.9, 5.11,
//! 5.14, 5.16, 6.13.2).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::undocumented_unsafe_blocks, missing_docs)]

mod common;

use common::signing;
use common::*;
use std::collections::BTreeSet;

const EVERY_GENERATOR: [CK_GENERATOR_FUNCTION; 5] = [
    CKG_NO_GENERATE,
    CKG_GENERATE,
    CKG_GENERATE_COUNTER,
    CKG_GENERATE_RANDOM,
    CKG_GENERATE_COUNTER_XOR,
];

#[test]
fn messages_are_encrypted_as_c_encrypt_does_and_decrypted_again() {
    isolated(|world| {
        let session = world.token().user();
        let key = session.aes(32);
        for generator in EVERY_GENERATOR {
            session.message_encrypt_init(CKM_AES_GCM, key).unwrap();
            session.message_decrypt_init(CKM_AES_GCM, key).unwrap();
            let mut gcm = Gcm::new(&[3; 12], 0, generator);
            let mut nonces = BTreeSet::new();
            for size in [0, 1, 15, 16, 17, 5000] {
                let plain = vec![size as u8; size];
                let sealed = session.encrypt_message(&mut gcm, b"aad", &plain).unwrap();
                assert_eq!(sealed.len(), size, "the tag is not in it");
                let whole = [&sealed[..], &gcm.tag].concat();
                let single = Mech::gcm(&gcm.iv, b"aad", 128);
                assert_eq!(session.encrypt(single, key, &plain).unwrap(), whole);
                if generator != CKG_NO_GENERATE {
                    assert!(nonces.insert(gcm.iv.clone()), "a nonce came twice");
                }
                // Whoever decrypts says which nonce: the generator is ignored.
                assert_eq!(
                    session
                        .decrypt_message(&mut gcm.clone(), b"aad", &sealed)
                        .unwrap(),
                    plain
                );
            }
            session.message_encrypt_final().unwrap();
            session.message_decrypt_final().unwrap();
        }
    });
}

#[test]
fn parts_give_what_the_whole_gives() {
    isolated(|world| {
        let session = world.token().user();
        let key = session.aes(16);
        let plain = [9; 100];
        session.message_encrypt_init(CKM_AES_GCM, key).unwrap();
        session.message_decrypt_init(CKM_AES_GCM, key).unwrap();
        let mut gcm = Gcm::new(&[4; 12], 32, CKG_GENERATE);
        session.encrypt_message_begin(&mut gcm, b"aad").unwrap();
        assert_eq!(gcm.iv[..4], [4; 4], "the fixed part");
        let begun = gcm.clone();
        let mut sealed = Vec::new();
        for part in [&plain[..30], &[], &plain[30..77]] {
            sealed.extend(session.encrypt_message_next(&mut gcm, part, 0).unwrap());
        }
        assert_eq!(gcm, begun, "the tag comes at the end");
        let last = session.encrypt_message_next(&mut gcm, &plain[77..], CKF_END_OF_MESSAGE);
        sealed.extend(last.unwrap());
        let single = session
            .encrypt(Mech::gcm(&gcm.iv, b"aad", 128), key, &plain)
            .unwrap();
        assert_eq!([&sealed[..], &gcm.tag].concat(), single);

        session.decrypt_message_begin(&mut gcm, b"aad").unwrap();
        let mut opened = Vec::new();
        for part in sealed.chunks(33).take(2) {
            // No plaintext before the tag holds.
            assert_eq!(
                session.decrypt_message_next(&mut gcm, part, 0).unwrap(),
                b""
            );
        }
        let last = session.decrypt_message_next(&mut gcm, &sealed[66..], CKF_END_OF_MESSAGE);
        opened.extend(last.unwrap());
        assert_eq!(opened, plain);

        // A message that ends goes on with another, and the last call may be without data.
        session.encrypt_message_begin(&mut gcm, b"").unwrap();
        session.encrypt_message_next(&mut gcm, b"all", 0).unwrap();
        let sealed = session
            .encrypt_message_next(&mut gcm, b"", CKF_END_OF_MESSAGE)
            .unwrap();
        assert_eq!(
            session.decrypt_message(&mut gcm, b"", &sealed).unwrap(),
            b"all"
        );
    });
}

#[test]
fn what_was_changed_is_not_decrypted_and_the_process_goes_on() {
    isolated(|world| {
        let session = world.token().user();
        let key = session.aes(32);
        session.message_encrypt_init(CKM_AES_GCM, key).unwrap();
        session.message_decrypt_init(CKM_AES_GCM, key).unwrap();
        let mut gcm = Gcm::new(&[0; 12], 0, CKG_GENERATE);
        let sealed = session
            .encrypt_message(&mut gcm, b"aad", b"plaintext")
            .unwrap();
        let refused = |gcm: &Gcm, aad: &[u8], sealed: &[u8]| {
            let (mut out, mut len) = ([0xaa; 9], 9);
            let mut gcm = gcm.clone();
            let mut given = gcm.raw();
            let refused = try_call!(via session.module.v3(), C_DecryptMessage(
                session.handle, (&raw mut given).cast(), size_of_val(&given) as CK_ULONG,
                aad.as_ptr().cast_mut(), aad.len() as CK_ULONG,
                sealed.as_ptr().cast_mut(), sealed.len() as CK_ULONG, out.as_mut_ptr(), &mut len));
            refused.refused(CKR_AEAD_DECRYPT_FAILED);
            assert_eq!(out, [0xaa; 9], "nothing of the plaintext");
            // In parts: the message is over, the process is not.
            session.decrypt_message_begin(&mut gcm, aad).unwrap();
            session.decrypt_message_next(&mut gcm, sealed, 0).unwrap();
            session
                .decrypt_message_next(&mut gcm, b"", CKF_END_OF_MESSAGE)
                .refused(CKR_AEAD_DECRYPT_FAILED);
            session
                .decrypt_message_next(&mut gcm, b"", CKF_END_OF_MESSAGE)
                .refused(CKR_OPERATION_NOT_INITIALIZED);
        };
        let mut changed = gcm.clone();
        changed.tag[15] ^= 1;
        refused(&changed, b"aad", &sealed);
        let mut changed = gcm.clone();
        changed.iv[0] ^= 1;
        refused(&changed, b"aad", &sealed);
        refused(&gcm, b"aae", &sealed);
        let mut cut = sealed.clone();
        cut[0] ^= 1;
        refused(&gcm, b"aad", &cut);
        assert_eq!(
            session.decrypt_message(&mut gcm, b"aad", &sealed).unwrap(),
            b"plaintext"
        );
    });
}

#[test]
fn no_nonce_comes_twice() {
    isolated(|world| {
        let session = world.token().user();
        let key = session.aes(32);
        let invalid = CKR_MECHANISM_PARAM_INVALID;
        session.message_encrypt_init(CKM_AES_GCM, key).unwrap();
        // Two bits of the counter are left: four messages.
        let mut gcm = Gcm::new(&[0xff; 12], 94, CKG_GENERATE_COUNTER);
        let last: Vec<_> = (0..4)
            .map(|_| {
                session.encrypt_message(&mut gcm, b"", b"x").unwrap();
                gcm.iv[11]
            })
            .collect();
        assert_eq!(last, [0xfc, 0xfd, 0xfe, 0xff]);
        session
            .encrypt_message(&mut gcm, b"", b"x")
            .refused(invalid);
        session
            .encrypt_message_begin(&mut gcm, b"")
            .refused(invalid);
        // Nor one that the caller gives, which may have been made before, nor by another way.
        for generator in EVERY_GENERATOR {
            if generator != CKG_GENERATE_COUNTER {
                let mut other = Gcm::new(&[0xff; 12], 0, generator);
                session
                    .encrypt_message(&mut other, b"", b"x")
                    .refused(invalid);
            }
        }
        session.message_encrypt_final().unwrap();
        session.message_encrypt_init(CKM_AES_GCM, key).unwrap();
        for (fixed, generator) in [
            (97, CKG_GENERATE),
            (CK_ULONG::MAX, CKG_GENERATE_COUNTER),
            (96, CKG_GENERATE_COUNTER),
            (1, CKG_GENERATE_RANDOM),
            (0, 5),
            (0, CK_ULONG::MAX),
        ] {
            let mut gcm = Gcm::new(&[0; 12], fixed, generator);
            session
                .encrypt_message(&mut gcm, b"", b"x")
                .refused(invalid);
        }
        // A length query takes no nonce.
        let mut gcm = Gcm::new(&[0; 12], 0, CKG_GENERATE_COUNTER);
        let mut given = gcm.raw();
        for _ in 0..3 {
            let mut len = 0;
            try_call!(via session.module.v3(), C_EncryptMessage(
                session.handle, (&raw mut given).cast(), size_of_val(&given) as CK_ULONG,
                null_mut(), 0, [1; 5].as_mut_ptr(), 5, null_mut(), &mut len))
            .unwrap();
            assert_eq!(len, 5);
            len = 4;
            try_call!(via session.module.v3(), C_EncryptMessage(
                session.handle, (&raw mut given).cast(), size_of_val(&given) as CK_ULONG,
                null_mut(), 0, [1; 5].as_mut_ptr(), 5, [0; 4].as_mut_ptr(), &mut len))
            .refused(CKR_BUFFER_TOO_SMALL);
        }
        session.encrypt_message(&mut gcm, b"", b"x").unwrap();
        assert_eq!(gcm.iv, [0; 12], "the counter starts at zero");
    });
}

#[test]
fn hostile_parameters() {
    isolated(|world| {
        let session = world.token().user();
        let key = session.aes(32);
        session.message_encrypt_init(CKM_AES_GCM, key).unwrap();
        session.message_decrypt_init(CKM_AES_GCM, key).unwrap();
        let good = Gcm::new(&[1; 12], 0, CKG_GENERATE).raw();
        let (mut iv, mut tag) = ([1u8; 12], [0u8; 16]);
        let good = CK_GCM_MESSAGE_PARAMS {
            pIv: iv.as_mut_ptr(),
            pTag: tag.as_mut_ptr(),
            ..good
        };
        let number = |number: usize| number as *mut CK_BYTE;
        let mut hostile = Vec::new();
        for pointer in [0, 1, 8, usize::MAX, 1 << 63].map(number) {
            hostile.push(CK_GCM_MESSAGE_PARAMS {
                pIv: pointer,
                ..good
            });
            hostile.push(CK_GCM_MESSAGE_PARAMS {
                pTag: pointer,
                ..good
            });
        }
        for len in [0, 257, 1 << 63, CK_ULONG::MAX] {
            hostile.push(CK_GCM_MESSAGE_PARAMS {
                ulIvLen: len,
                ..good
            });
        }
        for bits in [0, 8, 95, 97, 136, 1 << 63, CK_ULONG::MAX] {
            hostile.push(CK_GCM_MESSAGE_PARAMS {
                ulTagBits: bits,
                ..good
            });
        }
        let size = size_of_val(&good) as CK_ULONG;
        let mut data = [0; 16];
        let mut out = [0; 32];
        let v3 = session.module.v3();
        let mut calls = |at: *mut std::ffi::c_void, len| {
            let (data, out, h) = (data.as_mut_ptr(), out.as_mut_ptr(), session.handle);
            let mut room = 32;
            let refused = [CKR_MECHANISM_PARAM_INVALID, CKR_ARGUMENTS_BAD];
            try_call!(via v3, C_EncryptMessage(h, at, len, null_mut(), 0, data, 16, out, &mut room)).refused_with(&refused);
            try_call!(via v3, C_DecryptMessage(h, at, len, null_mut(), 0, data, 16, out, &mut room)).refused_with(&refused);
            for (begin, next) in [
                (
                    v3.C_EncryptMessageBegin.unwrap(),
                    v3.C_EncryptMessageNext.unwrap(),
                ),
                (
                    v3.C_DecryptMessageBegin.unwrap(),
                    v3.C_DecryptMessageNext.unwrap(),
                ),
            ] {
                let mut given = good;
                let begun = unsafe { begin(h, (&raw mut given).cast(), size, null_mut(), 0) };
                assert_eq!(begun, CKR_OK);
                let next = |at, len| {
                    let mut room = 32;
                    Rv(unsafe { next(h, at, len, data, 16, out, &mut room, CKF_END_OF_MESSAGE) })
                        .ok()
                };
                match next(at, len) {
                    // The nonce was given at the beginning.
                    Ok(()) | Err(Rv(CKR_AEAD_DECRYPT_FAILED)) => {}
                    other => other.refused_with(&refused),
                }
                // Either way the message is over.
                next((&raw mut given).cast(), size).refused(CKR_OPERATION_NOT_INITIALIZED);
            }
        };
        for mut hostile in hostile {
            calls((&raw mut hostile).cast(), size);
        }
        let mut given = good;
        for (at, len) in [
            (null_mut(), 0),
            (null_mut(), size),
            (8 as *mut _, size),
            ((&raw mut given).cast(), 0),
            ((&raw mut given).cast(), size - 1),
            ((&raw mut given).cast(), 1 << 63),
            ((&raw mut given).cast(), CK_ULONG::MAX),
        ] {
            calls(at, len);
        }
        session.message_encrypt_final().unwrap();
        // The mechanism may carry the parameter of the first message, and no other.
        let mut gcm = Gcm::new(&[1; 12], 0, CKG_GENERATE);
        session
            .message_encrypt_init(Mech::structure(CKM_AES_GCM, gcm.raw(), vec![]), key)
            .unwrap();
        session.message_encrypt_final().unwrap();
        session
            .message_encrypt_init(Mech::bytes(CKM_AES_GCM, &[0; 12]), key)
            .refused(CKR_MECHANISM_PARAM_INVALID);
        session
            .message_encrypt_init(CKM_AES_CBC, key)
            .refused(CKR_MECHANISM_INVALID);
        session
            .message_sign_init(Mech::gcm(&[0; 12], b"", 128), key)
            .refused(CKR_MECHANISM_INVALID);
    });
}

#[test]
fn the_order_of_calls() {
    isolated(|world| {
        let session = world.token().user();
        let aes = session.aes(32);
        let hmac = session.create(&generic_secret_template(&[2; 32])).unwrap();
        let (none, active) = (CKR_OPERATION_NOT_INITIALIZED, CKR_OPERATION_ACTIVE);
        let mut gcm = Gcm::new(&[0; 12], 0, CKG_GENERATE);
        session.encrypt_message(&mut gcm, b"", b"").refused(none);
        session.encrypt_message_begin(&mut gcm, b"").refused(none);
        session.encrypt_message_next(&mut gcm, b"", 0).refused(none);
        session.message_encrypt_final().refused(none);
        session.sign_message(b"").refused(none);
        session.sign_message_begin().refused(none);
        session.sign_message_next(b"").refused(none);
        session.message_sign_final().refused(none);
        session.verify_message(b"", &[0; 32]).refused(none);
        session.verify_message_next(b"", None).refused(none);
        session.message_verify_final().refused(none);

        session.message_encrypt_init(CKM_AES_GCM, aes).unwrap();
        session.message_sign_init(CKM_SHA256_HMAC, hmac).unwrap();
        session.message_verify_init(CKM_SHA256_HMAC, hmac).unwrap();
        session
            .message_encrypt_init(CKM_AES_GCM, aes)
            .refused(active);
        session
            .message_sign_init(CKM_SHA256_HMAC, hmac)
            .refused(active);
        session
            .message_verify_init(CKM_SHA256_HMAC, hmac)
            .refused(active);
        session.encrypt_message_next(&mut gcm, b"", 0).refused(none);
        session.sign_message_next(b"").refused(none);
        session.sign_message_last(b"").refused(none);
        session
            .verify_message_next(b"", Some(&[0; 32]))
            .refused(none);
        session.encrypt_message_begin(&mut gcm, b"").unwrap();
        session.sign_message_begin().unwrap();
        session.verify_message_begin().unwrap();
        session.encrypt_message_begin(&mut gcm, b"").refused(active);
        session.encrypt_message(&mut gcm, b"", b"").refused(active);
        session.message_encrypt_final().refused(active);
        session.sign_message_begin().refused(active);
        session.sign_message(b"").refused(active);
        session.message_sign_final().refused(active);
        session.verify_message_begin().refused(active);
        session.verify_message(b"", &[0; 32]).refused(active);
        session.message_verify_final().refused(active);
        // They run beside the operations of the same key, and none of the other's functions goes on.
        session.sign_update(b"x").refused(none);
        session.encrypt(CKM_AES_ECB, aes, &[0; 16]).unwrap();
        session.sign(CKM_SHA256_HMAC, hmac, b"x").unwrap();

        session.cancel(CKF_MESSAGE_ENCRYPT | CKF_MESSAGE_SIGN | CKF_MESSAGE_VERIFY);
        session.message_encrypt_final().refused(none);
        session.message_sign_final().refused(none);
        session.message_verify_final().refused(none);
        session.message_decrypt_init(CKM_AES_GCM, aes).unwrap();
        let v3 = session.module.v3();
        try_call!(via v3, C_MessageDecryptInit(session.handle, null_mut(), 0)).unwrap();
        session.message_decrypt_final().refused(none);
    });
}

#[test]
fn every_mechanism_signs_messages() {
    isolated(|world| {
        let session = world.token().user();
        for case in signing::every_mechanism(world.kind, session) {
            eprintln!("{}", case.name);
            session
                .message_sign_init(case.mechanism.clone(), case.signer)
                .unwrap();
            session
                .message_verify_init(case.mechanism.clone(), case.verifier)
                .unwrap();
            for parts in [false, true, false] {
                let (first, rest) = case.input.split_at(case.input.len() / 2);
                let signature = if parts {
                    session.sign_message_begin().unwrap();
                    session.sign_message_next(first).unwrap();
                    session.sign_message_last(rest).unwrap()
                } else {
                    session.sign_message(&case.input).unwrap()
                };
                assert_eq!(signature.len(), case.length);
                let mechanism = case.mechanism.clone();
                session
                    .verify(mechanism, case.verifier, &case.input, &signature)
                    .unwrap();
                session.verify_message(&case.input, &signature).unwrap();
                session.verify_message_begin().unwrap();
                session.verify_message_next(first, None).unwrap();
                session.verify_message_next(rest, Some(&signature)).unwrap();
                let mut wrong = signature;
                wrong[case.length - 1] ^= 1;
                session
                    .verify_message(&case.input, &wrong)
                    .refused(CKR_SIGNATURE_INVALID);
                session
                    .verify_message(&case.input, &wrong[1..])
                    .refused(CKR_SIGNATURE_LEN_RANGE);
            }
            session.message_sign_final().unwrap();
            session.message_verify_final().unwrap();
        }
    });
}

#[test]
fn a_parameter_with_a_signature_is_refused() {
    isolated(|world| {
        let session = world.token().user();
        let hmac = session.create(&generic_secret_template(&[2; 32])).unwrap();
        let (mut byte, mut out, mut len) = (0u8, [0u8; 32], 32);
        let (h, v3) = (session.handle, session.module.v3());
        session.message_sign_init(CKM_SHA256_HMAC, hmac).unwrap();
        session.message_verify_init(CKM_SHA256_HMAC, hmac).unwrap();
        let at: *mut std::ffi::c_void = (&raw mut byte).cast();
        let invalid = CKR_MECHANISM_PARAM_INVALID;
        try_call!(via v3, C_SignMessage(h, at, 1, null_mut(), 0, out.as_mut_ptr(), &mut len))
            .refused(invalid);
        try_call!(via v3, C_SignMessageBegin(h, at, 1)).refused(invalid);
        try_call!(via v3, C_VerifyMessage(h, null_mut(), 1, null_mut(), 0, out.as_mut_ptr(), 32))
            .refused(invalid);
        try_call!(via v3, C_VerifyMessageBegin(h, at, 0)).refused(invalid);
        // In the middle of a message it ends the message.
        session.sign_message_begin().unwrap();
        try_call!(via v3, C_SignMessageNext(h, at, 1, null_mut(), 0, null_mut(), null_mut()))
            .refused(invalid);
        session
            .sign_message_next(b"")
            .refused(CKR_OPERATION_NOT_INITIALIZED);
        session.sign_message(b"").unwrap();
    });
}

#[test]
fn a_logout_ends_the_process() {
    isolated(|world| {
        let token = world.token();
        let session = token.user();
        let other = token.session();
        let key = session
            .create(&aes_template(&[1; 16]).set(CKA_PRIVATE, true))
            .unwrap();
        let hmac = session
            .create(&generic_secret_template(&[2; 32]).set(CKA_PRIVATE, true))
            .unwrap();
        let mut gcm = Gcm::new(&[0; 12], 0, CKG_GENERATE);
        session.message_encrypt_init(CKM_AES_GCM, key).unwrap();
        session.encrypt_message_begin(&mut gcm, b"").unwrap();
        session.message_sign_init(CKM_SHA256_HMAC, hmac).unwrap();
        session.message_verify_init(CKM_SHA256_HMAC, hmac).unwrap();
        other.logout().unwrap();
        for ended in [
            session.encrypt_message_next(&mut gcm, b"", 0).map(drop),
            session.sign_message(b"").map(drop),
            session.verify_message(b"", &[0; 32]),
        ] {
            ended.refused_with(&[CKR_USER_NOT_LOGGED_IN, CKR_OPERATION_NOT_INITIALIZED]);
        }
        session
            .message_encrypt_final()
            .refused(CKR_OPERATION_NOT_INITIALIZED);
    });
}

/// "For each use" (4.10): each message asks anew.
#[test]
fn a_key_that_asks_for_the_pin_asks_for_each_message() {
    isolated_on(&[SOFTWARE, TPM], |world| {
        let session = world.token().user();
        let public = Template::new().set(CKA_EC_PARAMS, Curve::P256.params);
        let private = Template::new()
            .set(CKA_PRIVATE, true)
            .set(CKA_ALWAYS_AUTHENTICATE, true);
        let (_, key) = session
            .generate_key_pair(CKM_EC_KEY_PAIR_GEN, &public, &private)
            .unwrap();
        let pin = || session.login(CKU_CONTEXT_SPECIFIC, USER_PIN);
        session.message_sign_init(CKM_ECDSA_SHA256, key).unwrap();
        session.sign_message(b"one").refused(CKR_USER_NOT_LOGGED_IN);
        pin().unwrap();
        session.sign_message(b"one").unwrap();
        session.sign_message(b"two").refused(CKR_USER_NOT_LOGGED_IN);
        pin().unwrap();
        session.sign_message(b"two").unwrap();
        session.sign_message_begin().unwrap();
        pin().unwrap();
        pin().refused(CKR_OPERATION_NOT_INITIALIZED);
        session.sign_message_next(b"thr").unwrap();
        session.sign_message_last(b"ee").unwrap();
        session.sign_message_begin().unwrap();
        session
            .sign_message_next(b"four")
            .refused(CKR_USER_NOT_LOGGED_IN);
        session.message_sign_final().unwrap();
    });
}

#[test]
fn the_mechanism_list_says_what_takes_messages() {
    isolated(|world| {
        let token = world.token();
        for kind in token.module.mechanisms(token.slot).unwrap() {
            let flags = token.module.mechanism_info(token.slot, kind).unwrap().flags;
            for (one, many) in [
                (CKF_SIGN, CKF_MESSAGE_SIGN),
                (CKF_VERIFY, CKF_MESSAGE_VERIFY),
            ] {
                assert_eq!(flags & one != 0, flags & many != 0, "{kind:#x}");
            }
            let crypts = flags & (CKF_MESSAGE_ENCRYPT | CKF_MESSAGE_DECRYPT);
            if kind == CKM_AES_GCM {
                assert_eq!(crypts, CKF_MESSAGE_ENCRYPT | CKF_MESSAGE_DECRYPT);
            }
            let any = crypts | flags & (CKF_MESSAGE_SIGN | CKF_MESSAGE_VERIFY);
            assert_eq!(any != 0, flags & CKF_MULTI_MESSAGE != 0, "{kind:#x}");
        }
    });
}

/// The other ciphers with a tag, in their own structures (6.13.4, 6.61).
#[test]
fn ccm_and_chacha20_poly1305() {
    isolated(|world| {
        let session = world.token().user();
        let (handle, v3) = (session.handle, session.module.v3());
        let aes = session.aes(32);
        let chacha_key = Template::new()
            .set(CKA_CLASS, CKO_SECRET_KEY)
            .set(CKA_KEY_TYPE, CKK_CHACHA20)
            .set(CKA_VALUE, &[7u8; 32][..])
            .set(CKA_ENCRYPT, true)
            .set(CKA_DECRYPT, true);
        let chacha = session.create(&chacha_key).unwrap();
        let (mut nonce, mut tag) = ([4u8; 12], [0u8; 16]);
        let ccm = CK_CCM_MESSAGE_PARAMS {
            ulDataLen: 50,
            pNonce: nonce.as_mut_ptr(),
            ulNonceLen: 12,
            ulNonceFixedBits: 0,
            nonceGenerator: CKG_NO_GENERATE,
            pMAC: tag.as_mut_ptr(),
            ulMACLen: 16,
        };
        let poly = |nonce_len| CK_SALSA20_CHACHA20_POLY1305_MSG_PARAMS {
            pNonce: ccm.pNonce,
            ulNonceLen: nonce_len,
            pTag: ccm.pMAC,
        };
        let plain = [9u8; 50];
        let aad = b"aad".as_ptr().cast_mut();
        let by_nonce = |name,
                        nonce: &mut [u8; 12],
                        kind,
                        key,
                        given: *mut std::ffi::c_void,
                        size: usize,
                        single: Mech| {
            eprintln!("{name}");
            let size = size as CK_ULONG;
            session.message_encrypt_init(kind, key).unwrap();
            session.message_decrypt_init(kind, key).unwrap();
            let (data, mut out, mut back, mut len) =
                (plain.as_ptr().cast_mut(), [0u8; 50], [0u8; 50], 50);
            try_call!(via v3, C_EncryptMessage(handle, given, size, aad, 3, data, 50, out.as_mut_ptr(), &mut len)).unwrap();
            let sealed = [&out[..], unsafe {
                std::slice::from_raw_parts(ccm.pMAC, 16)
            }]
            .concat();
            assert_eq!(session.encrypt(single, key, &plain).unwrap(), sealed);
            try_call!(via v3, C_DecryptMessage(handle, given, size, aad, 3, out.as_mut_ptr(), 50, back.as_mut_ptr(), &mut len)).unwrap();
            assert_eq!(back, plain);
            // In parts.
            try_call!(via v3, C_DecryptMessageBegin(handle, given, size, aad, 3)).unwrap();
            let mut none = 0;
            try_call!(via v3, C_DecryptMessageNext(handle, given, size, out.as_mut_ptr(), 20, back.as_mut_ptr(), &mut none, 0)).unwrap();
            let rest = out[20..].as_mut_ptr();
            try_call!(via v3, C_DecryptMessageNext(handle, given, size, rest, 30, back.as_mut_ptr(), &mut len, CKF_END_OF_MESSAGE)).unwrap();
            assert_eq!((back, len), (plain, 50));
            nonce[0] ^= 1;
            try_call!(via v3, C_DecryptMessage(handle, given, size, aad, 3, out.as_mut_ptr(), 50, back.as_mut_ptr(), &mut len)).refused(CKR_AEAD_DECRYPT_FAILED);
            nonce[0] ^= 1;
            try_call!(via v3, C_EncryptMessage(handle, given, size - 1, aad, 3, data, 50, out.as_mut_ptr(), &mut len)).refused(CKR_MECHANISM_PARAM_INVALID);
        };
        let mut given = ccm;
        let single = {
            let (nonce, aad) = (vec![4u8; 12], b"aad".to_vec());
            let given = CK_CCM_PARAMS {
                ulDataLen: 50,
                pNonce: nonce.as_ptr().cast_mut(),
                ulNonceLen: 12,
                pAAD: aad.as_ptr().cast_mut(),
                ulAADLen: 3,
                ulMACLen: 16,
            };
            Mech::structure(CKM_AES_CCM, given, vec![nonce, aad])
        };
        by_nonce(
            "CCM",
            &mut nonce,
            CKM_AES_CCM,
            aes,
            (&raw mut given).cast(),
            size_of_val(&given),
            single,
        );
        // It is as long as was said.
        let (mut out, mut len) = ([0u8; 60], 60);
        let at: *mut std::ffi::c_void = (&raw mut given).cast();
        let size = size_of_val(&given) as CK_ULONG;
        try_call!(via v3, C_EncryptMessage(handle, at, size, aad, 3, aad, 3, out.as_mut_ptr(), &mut len)).refused(CKR_DATA_LEN_RANGE);
        for wild in [
            CK_CCM_MESSAGE_PARAMS {
                ulNonceLen: 6,
                ..ccm
            },
            CK_CCM_MESSAGE_PARAMS {
                ulNonceLen: 14,
                ..ccm
            },
            CK_CCM_MESSAGE_PARAMS { ulMACLen: 5, ..ccm },
            CK_CCM_MESSAGE_PARAMS {
                ulMACLen: CK_ULONG::MAX,
                ..ccm
            },
            CK_CCM_MESSAGE_PARAMS {
                pNonce: null_mut(),
                ..ccm
            },
            CK_CCM_MESSAGE_PARAMS {
                pMAC: 8 as *mut u8,
                ..ccm
            },
        ] {
            unsafe { at.cast::<CK_CCM_MESSAGE_PARAMS>().write(wild) };
            try_call!(via v3, C_EncryptMessage(handle, at, size, aad, 3, plain.as_ptr().cast_mut(), 50, out.as_mut_ptr(), &mut len)).refused(CKR_MECHANISM_PARAM_INVALID);
        }
        // Its nonces are made as those of GCM.
        let made_here = CK_CCM_MESSAGE_PARAMS {
            ulNonceFixedBits: 32,
            nonceGenerator: CKG_GENERATE,
            ..ccm
        };
        unsafe { at.cast::<CK_CCM_MESSAGE_PARAMS>().write(made_here) };
        try_call!(via v3, C_EncryptMessage(handle, at, size, aad, 3, plain.as_ptr().cast_mut(), 50, out.as_mut_ptr(), &mut len)).unwrap();
        assert_eq!(nonce[..4], [4; 4]);
        assert_ne!(nonce, [4; 12]);
        nonce = [4; 12];
        session.cancel(CKF_MESSAGE_ENCRYPT | CKF_MESSAGE_DECRYPT);

        let mut given = poly(96);
        let single = {
            let (nonce, aad) = (vec![4u8; 12], b"aad".to_vec());
            let given = CK_SALSA20_CHACHA20_POLY1305_PARAMS {
                pNonce: nonce.as_ptr().cast_mut(),
                ulNonceLen: 96,
                pAAD: aad.as_ptr().cast_mut(),
                ulAADLen: 3,
            };
            Mech::structure(CKM_CHACHA20_POLY1305, given, vec![nonce, aad])
        };
        by_nonce(
            "ChaCha20-Poly1305",
            &mut nonce,
            CKM_CHACHA20_POLY1305,
            chacha,
            (&raw mut given).cast(),
            size_of_val(&given),
            single,
        );
        let mut given = poly(11);
        let (at, size): (*mut std::ffi::c_void, _) =
            ((&raw mut given).cast(), size_of_val(&given) as CK_ULONG);
        try_call!(via v3, C_EncryptMessage(handle, at, size, aad, 3, plain.as_ptr().cast_mut(), 50, out.as_mut_ptr(), &mut len)).refused(CKR_MECHANISM_PARAM_INVALID);
    });
}
