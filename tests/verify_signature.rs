//! Verifying a signature that is there at the beginning (PKCS#11 3.2, 5.15.7 to 5.15.10).

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

#[test]
fn every_mechanism_verifies_so() {
    isolated(|world| {
        let session = world.token().user();
        for case in signing::every_mechanism(world.kind, session) {
            eprintln!("{}", case.name);
            let mechanism = || case.mechanism.clone();
            let signature = session.sign(mechanism(), case.signer, &case.input).unwrap();
            let begin = |signature: &[u8]| {
                session
                    .verify_signature_init(mechanism(), case.verifier, signature)
                    .unwrap();
            };
            begin(&signature);
            session.verify_signature(&case.input).unwrap();
            begin(&signature);
            for part in case.input.chunks(5) {
                session.verify_signature_update(part).unwrap();
            }
            session.verify_signature_final().unwrap();
            session
                .verify_signature_final()
                .refused(CKR_OPERATION_NOT_INITIALIZED);

            let mut wrong = signature.clone();
            wrong[case.length - 1] ^= 1;
            begin(&wrong);
            session
                .verify_signature(&case.input)
                .refused(CKR_SIGNATURE_INVALID);
            begin(&wrong);
            session.verify_signature_update(&case.input).unwrap();
            session
                .verify_signature_final()
                .refused(CKR_SIGNATURE_INVALID);
            for wrong in [&signature[1..], b"", &[&signature[..], &[0]].concat()] {
                begin(wrong);
                session
                    .verify_signature(&case.input)
                    .refused(CKR_SIGNATURE_LEN_RANGE);
            }
        }
    });
}

#[test]
fn the_operation() {
    isolated(|world| {
        let session = world.token().user();
        let v32 = session.module.v32();
        let key = session.create(&generic_secret_template(&[2; 32])).unwrap();
        let signature = session.sign(CKM_SHA256_HMAC, key, b"data").unwrap();
        let (none, active) = (CKR_OPERATION_NOT_INITIALIZED, CKR_OPERATION_ACTIVE);
        let begin = || session.verify_signature_init(CKM_SHA256_HMAC, key, &signature);
        session.verify_signature(b"data").refused(none);
        session.verify_signature_update(b"data").refused(none);
        session.verify_signature_final().refused(none);
        // One verification at a time, each with its own functions.
        begin().unwrap();
        begin().refused(active);
        session.verify_init(CKM_SHA256_HMAC, key).refused(active);
        session.verify_update(b"data").refused(none);
        session.verify_final(&signature).refused(none);
        session.verify_signature_update(b"da").unwrap();
        session.verify_signature(b"ta").refused(active);
        session.verify_signature_final().refused(none);
        session.verify_init(CKM_SHA256_HMAC, key).unwrap();
        begin().refused(active);
        session.verify_signature_update(b"data").refused(none);
        session.cancel(CKF_VERIFY);
        begin().unwrap();
        session.cancel(CKF_VERIFY);
        session.verify_signature_final().refused(none);
        begin().unwrap();
        let end = || try_call!(via v32, C_VerifySignatureInit(session.handle, null_mut(), 0, null_mut(), 0));
        end().unwrap();
        end().refused(CKR_ARGUMENTS_BAD);
        session.verify_signature(b"data").refused(none);
        // The signature was copied.
        let mut moved = signature.clone();
        session
            .verify_signature_init(CKM_SHA256_HMAC, key, &moved)
            .unwrap();
        moved.fill(0);
        session.verify_signature(b"data").unwrap();

        for (at, len) in [
            (null_mut(), 1),
            (8 as *mut u8, 1),
            (moved.as_mut_ptr(), 1 << 63),
        ] {
            let mut mechanism = Mech::new(CKM_SHA256_HMAC).raw();
            try_call!(via v32, C_VerifySignatureInit(session.handle, &mut mechanism, key, at, len))
                .refused(CKR_ARGUMENTS_BAD);
            begin().unwrap();
            try_call!(via v32, C_VerifySignature(session.handle, at, len))
                .refused(CKR_ARGUMENTS_BAD);
            session.verify_signature_final().refused(none);
            begin().unwrap();
            try_call!(via v32, C_VerifySignatureUpdate(session.handle, at, len))
                .refused(CKR_ARGUMENTS_BAD);
            session.verify_signature_final().refused(none);
        }
        session
            .verify_signature_init(CKM_SHA256, key, &signature)
            .refused(CKR_MECHANISM_INVALID);
        session
            .verify_signature_init(CKM_SHA256_HMAC, CK_ULONG::MAX, &signature)
            .refused(CKR_KEY_HANDLE_INVALID);
    });
}

#[test]
fn a_logout_ends_it() {
    isolated(|world| {
        let session = world.token().user();
        let template = generic_secret_template(&[2; 32]).set(CKA_PRIVATE, true);
        let key = session.create(&template).unwrap();
        session
            .verify_signature_init(CKM_SHA256_HMAC, key, &[0; 32])
            .unwrap();
        session.logout().unwrap();
        session
            .verify_signature(b"data")
            .refused_with(&[CKR_USER_NOT_LOGGED_IN, CKR_OPERATION_NOT_INITIALIZED]);
    });
}
