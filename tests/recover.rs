//! Signatures that hold their message (PKCS#11 3.2, 5.13.5, 5.15.5, 6.1).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::undocumented_unsafe_blocks, missing_docs)]

mod common;

use common::*;

#[test]
fn the_message_comes_back() {
    isolated(|world| {
        let session = world.token().user();
        let pair = session.any_rsa();
        for message in [&b""[..], b"x", &[0; 3], &[0xff; 245]] {
            session
                .sign_recover_init(CKM_RSA_PKCS, pair.private)
                .unwrap();
            let signature = session.sign_recover_rest(message).unwrap();
            assert_eq!(
                signature,
                session.sign(CKM_RSA_PKCS, pair.private, message).unwrap()
            );
            session
                .verify_recover_init(CKM_RSA_PKCS, pair.public)
                .unwrap();
            assert_eq!(session.verify_recover_rest(&signature).unwrap(), message);
        }
        session
            .sign_recover_init(CKM_RSA_PKCS, pair.private)
            .unwrap();
        session
            .sign_recover_rest(&[1; 246])
            .refused(CKR_DATA_LEN_RANGE);

        session
            .sign_recover_init(CKM_RSA_X_509, pair.private)
            .unwrap();
        let signature = session.sign_recover_rest(b"an integer").unwrap();
        session
            .verify_recover_init(CKM_RSA_X_509, pair.public)
            .unwrap();
        let block = session.verify_recover_rest(&signature).unwrap();
        assert_eq!(block.len(), 256);
        assert_eq!(block[246..], *b"an integer");
        assert_eq!(block[..246], [0; 246]);
    });
}

#[test]
fn wrong_signatures_come_before_short_buffers() {
    isolated(|world| {
        let session = world.token().user();
        let pair = session.any_rsa();
        session
            .sign_recover_init(CKM_RSA_PKCS, pair.private)
            .unwrap();
        let signature = session.sign_recover_rest(b"message").unwrap();
        // Raw blocks that no PKCS #1 v1.5 padding made.
        let raw = |block: &[u8]| session.sign(CKM_RSA_X_509, pair.private, block).unwrap();
        let short_padding = [&[1u8][..], &[0xff; 7], &[0], &[9; 246]].concat();
        let type_2 = [&[2u8][..], &[0xff; 100], &[0], &[9; 153]].concat();
        let no_end = [&[1u8][..], &[0xff; 254]].concat();
        let mut broken = signature.clone();
        broken[100] ^= 1;
        let invalid = [
            &broken[..],
            &[0xff; 256],
            &raw(&short_padding),
            &raw(&type_2),
            &raw(&no_end),
            &raw(b"x"),
        ];
        let module = session.module;
        for (signatures, code) in [
            (&invalid[..], CKR_SIGNATURE_INVALID),
            (&[&signature[1..], b"", &[0; 257]], CKR_SIGNATURE_LEN_RANGE),
        ] {
            for wrong in signatures {
                let (at, len) = (wrong.as_ptr().cast_mut(), wrong.len() as CK_ULONG);
                for (out, mut room) in [(null_mut(), 0), ([0u8; 1].as_mut_ptr(), 1)] {
                    session
                        .verify_recover_init(CKM_RSA_PKCS, pair.public)
                        .unwrap();
                    try_call!(
                        module,
                        C_VerifyRecover(session.handle, at, len, out, &mut room)
                    )
                    .refused(code);
                    session
                        .verify_recover_rest(&signature)
                        .refused(CKR_OPERATION_NOT_INITIALIZED);
                }
            }
        }
        // A right one waits for room.
        session
            .verify_recover_init(CKM_RSA_PKCS, pair.public)
            .unwrap();
        let (at, mut out, mut room) = (signature.as_ptr().cast_mut(), [0xaau8; 7], 6);
        let place = out.as_mut_ptr();
        try_call!(
            module,
            C_VerifyRecover(session.handle, at, 256, place, &mut room)
        )
        .refused(CKR_BUFFER_TOO_SMALL);
        assert_eq!((room, out), (7, [0xaa; 7]));
        assert_eq!(session.verify_recover_rest(&signature).unwrap(), b"message");
    });
}

#[test]
fn the_operation() {
    isolated(|world| {
        let session = world.token().user();
        let module = session.module;
        let pair = session.any_rsa();
        let never = Template::new().set(CKA_VERIFY_RECOVER, false);
        let (public, private) = session
            .generate_key_pair(
                CKM_RSA_PKCS_KEY_PAIR_GEN,
                &rsa_public(2048).with(&never),
                &Template::new().set(CKA_SIGN_RECOVER, false),
            )
            .unwrap();
        let none = CKR_OPERATION_NOT_INITIALIZED;
        session.sign_recover_rest(b"x").refused(none);
        session.verify_recover_rest(&[0; 256]).refused(none);
        // Usage of its own (4.9): CKA_SIGN and CKA_VERIFY do not stand for it.
        session
            .sign_recover_init(CKM_RSA_PKCS, private)
            .refused(CKR_KEY_FUNCTION_NOT_PERMITTED);
        session
            .verify_recover_init(CKM_RSA_PKCS, public)
            .refused(CKR_KEY_FUNCTION_NOT_PERMITTED);
        for mechanism in [CKM_SHA256_RSA_PKCS, CKM_ECDSA, CKM_SHA256, CKM_SHA256_HMAC] {
            session
                .sign_recover_init(mechanism, pair.private)
                .refused(CKR_MECHANISM_INVALID);
            session
                .verify_recover_init(mechanism, pair.public)
                .refused(CKR_MECHANISM_INVALID);
        }
        session
            .sign_recover_init(CKM_RSA_PKCS, session.aes(16))
            .refused(CKR_KEY_TYPE_INCONSISTENT);
        session
            .sign_recover_init(Mech::bytes(CKM_RSA_PKCS, b"x"), pair.private)
            .refused(CKR_MECHANISM_PARAM_INVALID);

        session
            .sign_recover_init(CKM_RSA_PKCS, pair.private)
            .unwrap();
        session
            .sign_recover_init(CKM_RSA_PKCS, pair.private)
            .refused(CKR_OPERATION_ACTIVE);
        session
            .verify_recover_init(CKM_RSA_PKCS, pair.public)
            .unwrap();
        session
            .verify_recover_init(CKM_RSA_PKCS, pair.public)
            .refused(CKR_OPERATION_ACTIVE);
        session.sign_rest(b"x").refused(none);
        session.sign_update(b"x").refused(none);
        session.cancel(CKF_SIGN_RECOVER);
        session.sign_recover_rest(b"x").refused(none);
        try_call!(module, C_VerifyRecoverInit(session.handle, null_mut(), 0)).unwrap();
        session.verify_recover_rest(&[0; 256]).refused(none);
        for (at, len) in [
            (null_mut(), 1),
            (8 as *mut u8, 1),
            ([1u8; 8].as_mut_ptr(), 1 << 63),
        ] {
            let (mut out, mut room) = ([0u8; 256], 256);
            session
                .sign_recover_init(CKM_RSA_PKCS, pair.private)
                .unwrap();
            session
                .verify_recover_init(CKM_RSA_PKCS, pair.public)
                .unwrap();
            try_call!(
                module,
                C_SignRecover(session.handle, at, len, out.as_mut_ptr(), &mut room)
            )
            .refused(CKR_ARGUMENTS_BAD);
            try_call!(
                module,
                C_VerifyRecover(session.handle, at, len, out.as_mut_ptr(), &mut room)
            )
            .refused(CKR_ARGUMENTS_BAD);
            session.sign_recover_rest(b"x").refused(none);
            session.verify_recover_rest(&[0; 256]).refused(none);
        }
        session
            .sign_recover_init(CKM_RSA_PKCS, pair.private)
            .unwrap();
        session.logout().unwrap();
        session
            .sign_recover_rest(b"x")
            .refused_with(&[CKR_USER_NOT_LOGGED_IN, none]);
    });
}
