//! Saved operation states, digested keys, and what sessions say of logins by name, seeds, validations and
//! asynchronous calls (PKCS#11 3.2, 5.6.6, 5.6.7, 5.6.9, 5.6.11, 5.12.4, 5.20.1, 5.22).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::undocumented_unsafe_blocks, missing_docs)]

mod common;

use common::*;

const DIGESTS: [CK_MECHANISM_TYPE; 5] = [CKM_SHA_1, CKM_SHA224, CKM_SHA256, CKM_SHA384, CKM_SHA512];

fn restore(session: Session, state: &[u8], keys: [CK_OBJECT_HANDLE; 2]) -> Result<(), Rv> {
    let (at, len) = (state.as_ptr().cast_mut(), state.len() as CK_ULONG);
    try_call!(
        session.module,
        C_SetOperationState(session.handle, at, len, keys[0], keys[1])
    )
}

#[test]
fn a_digest_goes_on_from_its_saved_state() {
    isolated(|world| {
        let token = world.token();
        let (one, two) = (token.session(), token.session());
        let message: Vec<u8> = (0..=255).cycle().take(300).collect();
        for mechanism in DIGESTS {
            let whole = one.digest(mechanism, &message).unwrap();
            for cut in [0, 1, 55, 63, 64, 65, 127, 128, 129, 300] {
                let (first, rest) = message.split_at(cut);
                one.digest_init(mechanism).unwrap();
                one.digest_update(first).unwrap();
                let state = one.operation_state().unwrap();
                // Of another session, and as often as wanted.
                for session in [two, two, one] {
                    restore(session, &state, [0; 2]).unwrap();
                    session.digest_update(rest).unwrap();
                    assert_eq!(session.digest_final().unwrap(), whole);
                }
            }
        }
        // What was begun and not fed can still be given all at once.
        one.digest_init(CKM_SHA256).unwrap();
        let state = one.operation_state().unwrap();
        restore(two, &state, [0; 2]).unwrap();
        assert_eq!(
            two.digest_rest(&message).unwrap(),
            one.digest_rest(&message).unwrap()
        );
    });
}

#[test]
fn states_that_were_not_saved_here_are_refused() {
    isolated(|world| {
        let session = world.token().session();
        let module = session.module;
        session.digest_init(CKM_SHA256).unwrap();
        session.digest_update(b"abc").unwrap();
        let state = session.operation_state().unwrap();
        for at in 0..state.len() {
            let mut forged = state.clone();
            forged[at] ^= 1;
            restore(session, &forged, [0; 2]).refused(CKR_SAVED_STATE_INVALID);
        }
        for len in 0..state.len() {
            restore(session, &state[..len], [0; 2]).refused(CKR_SAVED_STATE_INVALID);
        }
        restore(session, &[&state[..], &[0]].concat(), [0; 2]).refused(CKR_SAVED_STATE_INVALID);
        restore(session, &vec![0; 1 << 20], [0; 2]).refused(CKR_SAVED_STATE_INVALID);
        for keys in [[1, 0], [0, 1], [CK_ULONG::MAX; 2]] {
            restore(session, &state, keys).refused(CKR_KEY_NOT_NEEDED);
        }
        for (at, len) in [
            (null_mut(), 1),
            (8 as *mut u8, 8),
            (state.as_ptr().cast_mut(), 1 << 63),
        ] {
            try_call!(module, C_SetOperationState(session.handle, at, len, 0, 0))
                .refused(CKR_ARGUMENTS_BAD);
        }
        // None of this has touched the operation.
        assert_eq!(
            session.digest_final().unwrap(),
            session.digest(CKM_SHA256, b"abc").unwrap()
        );
        // Nor is it a state of another run.
        let slot = session.info().unwrap().slotID;
        module.finalize().unwrap();
        module.initialize().unwrap();
        let session = Session::open(module, slot, CKF_SERIAL_SESSION).unwrap();
        restore(session, &state, [0; 2]).refused(CKR_SAVED_STATE_INVALID);
    });
}

#[test]
fn what_depends_on_a_key_is_not_saved() {
    isolated(|world| {
        let session = world.token().user();
        let aes = session.aes(16);
        let hmac = session.create(&generic_secret_template(&[2; 32])).unwrap();
        session
            .operation_state()
            .refused(CKR_OPERATION_NOT_INITIALIZED);
        type Begin = fn(Session, CK_OBJECT_HANDLE, CK_OBJECT_HANDLE) -> Result<(), Rv>;
        let begin: [(Begin, CK_FLAGS); 9] = [
            (|s, aes, _| s.encrypt_init(CKM_AES_ECB, aes), CKF_ENCRYPT),
            (|s, aes, _| s.decrypt_init(CKM_AES_ECB, aes), CKF_DECRYPT),
            (|s, _, hmac| s.sign_init(CKM_SHA256_HMAC, hmac), CKF_SIGN),
            (
                |s, _, hmac| s.verify_init(CKM_SHA256_HMAC, hmac),
                CKF_VERIFY,
            ),
            (
                |s, _, hmac| s.verify_signature_init(CKM_SHA256_HMAC, hmac, &[0; 32]),
                CKF_VERIFY,
            ),
            (
                |s, aes, _| s.message_encrypt_init(CKM_AES_GCM, aes),
                CKF_MESSAGE_ENCRYPT,
            ),
            (
                |s, aes, _| s.message_decrypt_init(CKM_AES_GCM, aes),
                CKF_MESSAGE_DECRYPT,
            ),
            (
                |s, _, hmac| s.message_sign_init(CKM_SHA256_HMAC, hmac),
                CKF_MESSAGE_SIGN,
            ),
            (
                |s, _, hmac| s.message_verify_init(CKM_SHA256_HMAC, hmac),
                CKF_MESSAGE_VERIFY,
            ),
        ];
        for (begin, flag) in begin {
            for digest in [false, true] {
                begin(session, aes, hmac).unwrap();
                if digest {
                    session.digest_init(CKM_SHA256).unwrap();
                }
                session.operation_state().refused(CKR_STATE_UNSAVEABLE);
                session.cancel(flag | CKF_DIGEST);
            }
        }
        session
            .operation_state()
            .refused(CKR_OPERATION_NOT_INITIALIZED);
    });
}

#[test]
fn a_state_takes_the_place_of_every_operation() {
    isolated(|world| {
        let session = world.token().user();
        let (aes, module) = (session.aes(16), session.module);
        session.digest_init(CKM_SHA256).unwrap();
        let (mut state, mut len) = (vec![0xaa; 400], 10);
        try_call!(
            module,
            C_GetOperationState(session.handle, state.as_mut_ptr(), &mut len)
        )
        .refused(CKR_BUFFER_TOO_SMALL);
        assert!(state.iter().all(|byte| *byte == 0xaa));
        try_call!(
            module,
            C_GetOperationState(session.handle, state.as_mut_ptr(), &mut len)
        )
        .unwrap();
        state.truncate(len as usize);
        session.digest_update(b"more").unwrap();
        session.encrypt_init(CKM_AES_ECB, aes).unwrap();
        session.message_encrypt_init(CKM_AES_GCM, aes).unwrap();
        try_call!(module, C_FindObjectsInit(session.handle, null_mut(), 0)).unwrap();
        restore(session, &state, [0; 2]).unwrap();
        session
            .encrypt_final()
            .refused(CKR_OPERATION_NOT_INITIALIZED);
        session
            .message_encrypt_final()
            .refused(CKR_OPERATION_NOT_INITIALIZED);
        try_call!(module, C_FindObjectsFinal(session.handle))
            .refused(CKR_OPERATION_NOT_INITIALIZED);
        assert_eq!(
            session.digest_final().unwrap(),
            session.digest(CKM_SHA256, b"").unwrap()
        );
    });
}

#[test]
fn keys_are_digested_if_they_may_be_read() {
    isolated(|world| {
        let session = world.token().user();
        let digest_key = |key| try_call!(session.module, C_DigestKey(session.handle, key));
        digest_key(1).refused(CKR_OPERATION_NOT_INITIALIZED);
        let open = |value: &[u8]| {
            let template = generic_secret_template(value);
            session
                .create(
                    &template
                        .set(CKA_SENSITIVE, false)
                        .set(CKA_EXTRACTABLE, true),
                )
                .unwrap()
        };
        let (short, long) = (open(&[1]), open(&[2; 200]));
        session.digest_init(CKM_SHA256).unwrap();
        session.digest_update(b"before").unwrap();
        digest_key(short).unwrap();
        digest_key(long).unwrap();
        session.digest_rest(b"").refused(CKR_OPERATION_ACTIVE);
        session.digest_init(CKM_SHA256).unwrap();
        session.digest_update(b"before").unwrap();
        digest_key(short).unwrap();
        digest_key(long).unwrap();
        let expected = [&b"before"[..], &[1], &[2; 200]].concat();
        assert_eq!(
            session.digest_final().unwrap(),
            session.digest(CKM_SHA256, &expected).unwrap()
        );

        let secret = |sensitive, extractable| {
            let template = generic_secret_template(&[3; 20]);
            session
                .create(
                    &template
                        .set(CKA_SENSITIVE, sensitive)
                        .set(CKA_EXTRACTABLE, extractable),
                )
                .unwrap()
        };
        let refused = [
            secret(true, true),
            secret(true, false),
            secret(false, false),
            session.ec(Curve::P256).public,
        ];
        // The digest goes on without a key that is refused.
        session.digest_init(CKM_SHA256).unwrap();
        session.digest_update(b"data").unwrap();
        for key in refused {
            digest_key(key).refused(CKR_KEY_INDIGESTIBLE);
        }
        digest_key(CK_ULONG::MAX).refused(CKR_KEY_HANDLE_INVALID);
        assert_eq!(
            session.digest_final().unwrap(),
            session.digest(CKM_SHA256, b"data").unwrap()
        );

        // A key that is for other mechanisms is not for this one either (4.8.2).
        let bound = generic_secret_template(b"a secret")
            .set(CKA_SENSITIVE, false)
            .set(CKA_EXTRACTABLE, true)
            .set(CKA_ALLOWED_MECHANISMS, &CKM_SHA256_HMAC.to_ne_bytes());
        let bound = session.create(&bound).unwrap();
        session.digest_init(CKM_SHA256).unwrap();
        digest_key(bound).refused(CKR_KEY_INDIGESTIBLE);
    });
}

#[test]
fn users_have_no_names() {
    isolated(|world| {
        let session = world.token().session();
        let login = |pin: &str, name: *mut u8, len| {
            let (pin, pin_len) = (pin.as_ptr().cast_mut(), pin.len() as CK_ULONG);
            try_call!(via session.module.v3(), C_LoginUser(session.handle, CKU_USER, pin, pin_len, name, len))
        };
        let name = b"alice".as_ptr().cast_mut();
        login(USER_PIN, name, 5).refused(CKR_ARGUMENTS_BAD);
        login(USER_PIN, null_mut(), 5).refused(CKR_ARGUMENTS_BAD);
        login(USER_PIN, name, 1 << 63).refused(CKR_ARGUMENTS_BAD);
        assert_eq!(session.state(), CKS_RW_PUBLIC_SESSION);
        login(WRONG_PIN, null_mut(), 0).refused(CKR_PIN_INCORRECT);
        login(USER_PIN, name, 0).unwrap();
        assert_eq!(session.state(), CKS_RW_USER_FUNCTIONS);
        login(USER_PIN, null_mut(), 0).refused(CKR_USER_ALREADY_LOGGED_IN);
    });
}

#[test]
fn nothing_is_validated_and_nothing_asynchronous() {
    isolated(|world| {
        let token = world.token();
        let session = token.session();
        let (handle, v32) = (session.handle, session.module.v32());
        let mut flags = CK_FLAGS::MAX;
        try_call!(via v32, C_GetSessionValidationFlags(handle, CKS_LAST_VALIDATION_OK, &mut flags))
            .unwrap();
        assert_eq!(flags, 0);
        for kind in [0, 2, CK_ULONG::MAX] {
            try_call!(via v32, C_GetSessionValidationFlags(handle, kind, &mut flags))
                .refused(CKR_ARGUMENTS_BAD);
        }
        let open = Session::open(
            session.module,
            token.slot,
            CKF_SERIAL_SESSION | CKF_ASYNC_SESSION,
        );
        open.map(drop).refused(CKR_SESSION_ASYNC_NOT_SUPPORTED);
        session.digest_init(CKM_SHA256).unwrap();
        let name = c"C_DigestInit".as_ptr().cast_mut().cast();
        let mut id = 7;
        let none = CKR_OPERATION_NOT_INITIALIZED;
        try_call!(via v32, C_AsyncComplete(handle, name, null_mut())).refused(none);
        try_call!(via v32, C_AsyncGetID(handle, name, &mut id)).refused(none);
        try_call!(via v32, C_AsyncJoin(handle, name, 7, null_mut(), 0))
            .refused(CKR_SAVED_STATE_INVALID);
        for bad in [null_mut(), 8 as *mut u8] {
            try_call!(via v32, C_AsyncComplete(handle, bad, null_mut())).refused(CKR_ARGUMENTS_BAD);
            try_call!(via v32, C_AsyncGetID(handle, bad, &mut id)).refused(CKR_ARGUMENTS_BAD);
            try_call!(via v32, C_AsyncJoin(handle, bad, 7, null_mut(), 0))
                .refused(CKR_ARGUMENTS_BAD);
        }
        assert_eq!(id, 7);
        session.digest_final().unwrap();
    });
}
