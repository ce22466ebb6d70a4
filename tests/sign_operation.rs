//! The life of a signature operation (PKCS#11 3.2, 5.2, 5.13, 5.15), with every mechanism.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::undocumented_unsafe_blocks, missing_docs)]

mod common;

use common::signing::{Case, every_mechanism};
use common::*;

/// What follows the end of an operation.
const ENDED: CK_RV = CKR_OPERATION_NOT_INITIALIZED;

#[test]
fn wrong_signatures_are_refused() {
    isolated(|world| {
        let session = world.token().user();
        for case in every_mechanism(world.kind, session) {
            let Case {
                name,
                mechanism,
                signer,
                verifier,
                input,
                ..
            } = &case;
            let signature = session.sign(mechanism.clone(), *signer, input).unwrap();
            let verify = |data: &[u8], signature: &[u8]| {
                session.verify(mechanism.clone(), *verifier, data, signature)
            };
            for at in [0, signature.len() / 2, signature.len() - 1] {
                let mut wrong = signature.clone();
                wrong[at] ^= 1;
                assert_eq!(
                    verify(input, &wrong),
                    Err(Rv(CKR_SIGNATURE_INVALID)),
                    "{name}, byte {at}"
                );
            }
            for constant in [0, 0xff] {
                assert_eq!(
                    verify(input, &vec![constant; signature.len()]),
                    Err(Rv(CKR_SIGNATURE_INVALID)),
                    "{name}"
                );
            }
            let mut wrong = input.clone();
            wrong[0] ^= 1;
            assert_eq!(
                verify(&wrong, &signature),
                Err(Rv(CKR_SIGNATURE_INVALID)),
                "{name}"
            );
            for wrong in [&signature[1..], &[&signature[..], &[0]].concat(), &[]] {
                assert_eq!(
                    verify(input, wrong),
                    Err(Rv(CKR_SIGNATURE_LEN_RANGE)),
                    "{name}, {} bytes",
                    wrong.len()
                );
            }
            // Each of them ended its operation.
            session.verify_rest(input, &signature).refused(ENDED);
        }
    });
}

/// 5.2: a size query or a short buffer neither signs nor ends the operation.
#[test]
fn size_queries_and_short_buffers() {
    isolated(|world| {
        let session = world.token().user();
        let module = session.module;
        for case in every_mechanism(world.kind, session) {
            let Case {
                name,
                mechanism,
                signer,
                verifier,
                length,
                input,
                parts,
            } = &case;
            let mut buffer = vec![0xaa; *length];
            let (data, data_length) = (input.as_ptr().cast_mut(), input.len() as CK_ULONG);
            session.sign_init(mechanism.clone(), *signer).unwrap();
            for _ in 0..2 {
                let mut needed = 0;
                try_call!(
                    module,
                    C_Sign(session.handle, data, data_length, null_mut(), &mut needed)
                )
                .unwrap();
                assert_eq!(needed as usize, *length, "{name}");
                needed -= 1;
                try_call!(
                    module,
                    C_Sign(
                        session.handle,
                        data,
                        data_length,
                        buffer.as_mut_ptr(),
                        &mut needed
                    )
                )
                .refused(CKR_BUFFER_TOO_SMALL);
                assert_eq!(needed as usize, *length, "{name}: the length is written");
                assert!(
                    buffer.iter().all(|&byte| byte == 0xaa),
                    "{name}: the buffer is not"
                );
            }
            let signature = session.sign_rest(input).unwrap();
            session
                .verify(mechanism.clone(), *verifier, input, &signature)
                .unwrap();
            session.sign_rest(input).refused(ENDED);

            if *parts {
                session.sign_init(mechanism.clone(), *signer).unwrap();
                session.sign_update(input).unwrap();
                let mut needed = 0;
                try_call!(module, C_SignFinal(session.handle, null_mut(), &mut needed)).unwrap();
                assert_eq!(needed as usize, *length);
                needed = 1;
                try_call!(
                    module,
                    C_SignFinal(session.handle, buffer.as_mut_ptr(), &mut needed)
                )
                .refused(CKR_BUFFER_TOO_SMALL);
                assert_eq!(needed as usize, *length);
                let signature = session.sign_final().unwrap();
                session
                    .verify(mechanism.clone(), *verifier, input, &signature)
                    .unwrap();
                session.sign_final().refused(ENDED);
            }
        }
    });
}

#[test]
fn init_refuses_wrong_keys() {
    isolated(|world| {
        let session = world.token().user();
        let (rsa, ec, aes) = (session.any_rsa(), session.ec(Curve::P256), session.aes(16));
        let object = session.create(&data("no key")).unwrap();
        let wrong_type = &[CKR_KEY_TYPE_INCONSISTENT][..];
        let wrong_class = &[
            CKR_KEY_TYPE_INCONSISTENT,
            CKR_KEY_FUNCTION_NOT_PERMITTED,
            CKR_KEY_HANDLE_INVALID,
        ][..];
        let unknown = &[CKR_KEY_HANDLE_INVALID][..];
        let not_ed25519 = match world.kind.has(Curve::ED25519) {
            true => wrong_type,
            false => &[CKR_MECHANISM_INVALID],
        };
        for (what, mechanism, key, codes) in [
            ("RSA for ECDSA", CKM_ECDSA, rsa.private, wrong_type),
            ("EC for RSA", CKM_SHA256_RSA_PKCS, ec.private, wrong_type),
            ("EC for Ed25519", CKM_EDDSA, ec.private, not_ed25519),
            ("AES for HMAC", CKM_SHA256_HMAC, aes, wrong_type),
            ("public for private", CKM_ECDSA, ec.public, wrong_class),
            ("secret for private", CKM_ECDSA, aes, wrong_class),
            ("data for a key", CKM_ECDSA, object, wrong_class),
            ("0", CKM_ECDSA, 0, unknown),
            ("-1", CKM_ECDSA, CK_ULONG::MAX, unknown),
            ("a later handle", CKM_ECDSA, ec.private + 1000, unknown),
        ] {
            match session.sign_init(mechanism, key) {
                Err(Rv(code)) if codes.contains(&code) => {}
                other => panic!("{what}: {other:?}"),
            }
            session.sign_rest(b"data").refused(ENDED);
        }
        session
            .verify_init(CKM_ECDSA, ec.private)
            .refused_with(wrong_class);
        session
            .verify_init(CKM_SHA256_RSA_PKCS, ec.public)
            .refused(CKR_KEY_TYPE_INCONSISTENT);
        session
            .sign_init(CKM_SHA256, ec.private)
            .refused(CKR_MECHANISM_INVALID);
        session
            .sign_init(CKM_VENDOR_DEFINED, ec.private)
            .refused(CKR_MECHANISM_INVALID);
    });
}

#[test]
fn the_operation() {
    isolated(|world| {
        let session = world.token().user();
        let Pair { public, private } = session.ec(Curve::P256);
        let mechanism = CKM_ECDSA_SHA256;
        session.sign_rest(b"x").refused(ENDED);
        session.sign_update(b"x").refused(ENDED);
        session.sign_final().refused(ENDED);
        session.verify_rest(b"x", &[0; 64]).refused(ENDED);
        session.verify_update(b"x").refused(ENDED);
        session.verify_final(&[0; 64]).refused(ENDED);

        session.sign_init(mechanism, private).unwrap();
        session
            .sign_init(mechanism, private)
            .refused(CKR_OPERATION_ACTIVE);
        // Another kind of operation may run beside it.
        let signature = {
            session.verify_init(mechanism, public).unwrap();
            session.digest_init(CKM_SHA256).unwrap();
            session.sign_rest(b"data").unwrap()
        };
        session.verify_rest(b"data", &signature).unwrap();
        session.digest_final().unwrap();

        // One part after another part is no single part (CLIENTS.md, "Behaviour", 7).
        session.sign_init(mechanism, private).unwrap();
        session.sign_update(b"da").unwrap();
        session.sign_rest(b"ta").refused(CKR_OPERATION_ACTIVE);
        session.cancel(CKF_SIGN);
        session.verify_init(mechanism, public).unwrap();
        session.verify_update(b"da").unwrap();
        session
            .verify_rest(b"ta", &signature)
            .refused(CKR_OPERATION_ACTIVE);
        session.cancel(CKF_VERIFY);

        // A NULL mechanism ends the operation (5.13.1).
        session.sign_init(mechanism, private).unwrap();
        try_call!(
            session.module,
            C_SignInit(session.handle, null_mut(), private)
        )
        .unwrap();
        session.sign_rest(b"data").refused(ENDED);
        session.verify_init(mechanism, public).unwrap();
        try_call!(session.module, C_VerifyInit(session.handle, null_mut(), 0)).unwrap();
        session.verify_rest(b"data", &signature).refused(ENDED);

        // A bad argument ends it too.
        session.sign_init(mechanism, private).unwrap();
        try_call!(
            session.module,
            C_Sign(session.handle, null_mut(), 4, null_mut(), null_mut())
        )
        .refused(CKR_ARGUMENTS_BAD);
        session.sign_rest(b"data").refused(ENDED);

        // NULL with length 0 is a fine part (CLIENTS.md, "Behaviour", 8).
        session.verify_init(mechanism, public).unwrap();
        try_call!(
            session.module,
            C_VerifyUpdate(session.handle, null_mut(), 0)
        )
        .unwrap();
        session.verify_update(b"data").unwrap();
        session.verify_final(&signature).unwrap();

        // C_SessionCancel with nothing to cancel is no fault (5.6.12).
        session.cancel(
            CKF_SIGN | CKF_VERIFY | CKF_DIGEST | CKF_ENCRYPT | CKF_DECRYPT | CKF_FIND_OBJECTS,
        );
    });
}

/// Mechanisms that the standard gives one part only refuse parts, or do them right.
#[test]
fn parts_for_single_part_mechanisms() {
    isolated(|world| {
        let session = world.token().user();
        for case in every_mechanism(world.kind, session)
            .into_iter()
            .filter(|case| !case.parts)
        {
            let split: [&[u8]; 2] = [&case.input[..3], &case.input[3..]];
            match session.sign_parts(case.mechanism.clone(), case.signer, &split) {
                Ok(signature) => session
                    .verify(case.mechanism, case.verifier, &case.input, &signature)
                    .unwrap(),
                refused => {
                    refused.refused_with(&[
                        CKR_OPERATION_NOT_INITIALIZED,
                        CKR_FUNCTION_NOT_SUPPORTED,
                        CKR_MECHANISM_INVALID,
                    ]);
                    session.cancel(CKF_SIGN);
                }
            }
        }
    });
}

#[test]
fn key_and_session_may_go_while_a_signature_is_made() {
    isolated(|world| {
        let token = world.token();
        let session = token.user();
        let keeper = token.session();
        let key = session.ec(Curve::P256).private;
        session.sign_init(CKM_ECDSA_SHA256, key).unwrap();
        session.destroy(key).unwrap();
        // The standard says nothing of this order; the operation works on or is over, and no more.
        let result = session.sign_rest(b"data");
        if result.is_err() {
            result.refused_with(&[
                CKR_KEY_HANDLE_INVALID,
                CKR_OPERATION_NOT_INITIALIZED,
                CKR_OBJECT_HANDLE_INVALID,
            ]);
        }
        session
            .sign_init(CKM_ECDSA_SHA256, key)
            .refused(CKR_KEY_HANDLE_INVALID);
        session.close().unwrap();
        session
            .sign_rest(b"data")
            .refused(CKR_SESSION_HANDLE_INVALID);
        keeper.random(1).unwrap();
    });
}
