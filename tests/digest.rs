//! Digests (PKCS#11 3.2, 5.12, 6.20).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::undocumented_unsafe_blocks, missing_docs)]

mod common;

use common::vectors::{self, hex};
use common::*;

/// Mechanism, digest of `abc`, digest of nothing, length.
const DIGESTS: [(CK_MECHANISM_TYPE, &str, usize); 5] = [
    (CKM_SHA_1, vectors::SHA1_ABC, 20),
    (CKM_SHA224, vectors::SHA224_ABC, 28),
    (CKM_SHA256, vectors::SHA256_ABC, 32),
    (CKM_SHA384, vectors::SHA384_ABC, 48),
    (CKM_SHA512, vectors::SHA512_ABC, 64),
];

#[test]
fn known_answers() {
    isolated(|world| {
        // No login is needed to digest.
        let session = world.token().session();
        for (mechanism, expected, length) in DIGESTS {
            let digest = session.digest(mechanism, b"abc").unwrap();
            assert_eq!((&digest, digest.len()), (&hex(expected), length));
            session.digest_init(mechanism).unwrap();
            for part in [&b"a"[..], b"", b"bc"] {
                session.digest_update(part).unwrap();
            }
            assert_eq!(session.digest_final().unwrap(), hex(expected));
            session.digest_init(mechanism).unwrap();
            assert_eq!(
                session.digest_final().unwrap(),
                session.digest(mechanism, b"").unwrap()
            );
        }
        let million = vec![b'a'; 1_000_000];
        let expected = hex("cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
        assert_eq!(session.digest(CKM_SHA256, &million).unwrap(), expected);
    });
}

#[test]
fn size_queries_and_short_buffers() {
    isolated(|world| {
        let session = world.token().session();
        let module = session.module;
        for (mechanism, expected, length) in DIGESTS {
            let (data, mut buffer) = (b"abc".as_ptr().cast_mut(), [0xaa; 64]);
            for whole in [true, false] {
                session.digest_init(mechanism).unwrap();
                if !whole {
                    session.digest_update(b"abc").unwrap();
                }
                let call = |out, length: &mut CK_ULONG| {
                    if whole {
                        try_call!(module, C_Digest(session.handle, data, 3, out, length))
                    } else {
                        try_call!(module, C_DigestFinal(session.handle, out, length))
                    }
                };
                let mut needed = 0;
                call(null_mut(), &mut needed).unwrap();
                assert_eq!(needed as usize, length);
                needed -= 1;
                call(buffer.as_mut_ptr(), &mut needed).refused(CKR_BUFFER_TOO_SMALL);
                assert_eq!((needed as usize, buffer), (length, [0xaa; 64]));
                let mut large = [0; 100];
                needed = 100;
                call(large.as_mut_ptr(), &mut needed).unwrap();
                assert_eq!(large[..needed as usize], hex(expected));
                call(large.as_mut_ptr(), &mut needed).refused(CKR_OPERATION_NOT_INITIALIZED);
            }
        }
    });
}

#[test]
fn the_operation() {
    isolated(|world| {
        let session = world.token().session();
        let module = session.module;
        let ended = CKR_OPERATION_NOT_INITIALIZED;
        session.digest_rest(b"x").refused(ended);
        session.digest_update(b"x").refused(ended);
        session.digest_final().refused(ended);
        session.digest_init(CKM_SHA256).unwrap();
        session
            .digest_init(CKM_SHA256)
            .refused(CKR_OPERATION_ACTIVE);
        session.digest_update(b"x").unwrap();
        session.digest_rest(b"x").refused(CKR_OPERATION_ACTIVE);
        session.cancel(CKF_DIGEST);
        session.digest_final().refused(ended);

        session.digest_init(CKM_SHA256).unwrap();
        try_call!(module, C_DigestInit(session.handle, null_mut())).unwrap();
        // With nothing to end, a null mechanism is what 2.40 says.
        try_call!(module, C_DigestInit(session.handle, null_mut())).refused(CKR_ARGUMENTS_BAD);
        session.digest_rest(b"x").refused(ended);
        session.digest_init(CKM_SHA256).unwrap();
        try_call!(module, C_DigestUpdate(session.handle, null_mut(), 3)).refused(CKR_ARGUMENTS_BAD);
        session.digest_final().refused(ended);

        session
            .digest_init(CKM_AES_ECB)
            .refused(CKR_MECHANISM_INVALID);
        session
            .digest_init(Mech::bytes(CKM_SHA256, b"x"))
            .refused(CKR_MECHANISM_PARAM_INVALID);
    });
}

#[test]
fn overlapping_input_and_output() {
    isolated(|world| {
        let session = world.token().session();
        let mut buffer = [0; 32];
        buffer[..3].copy_from_slice(b"abc");
        let (place, mut length) = (buffer.as_mut_ptr(), 32);
        session.digest_init(CKM_SHA256).unwrap();
        try_call!(
            session.module,
            C_Digest(session.handle, place, 3, place, &mut length)
        )
        .unwrap();
        assert_eq!(buffer[..], hex(vectors::SHA256_ABC));
    });
}

/// Digests of keys would tell about them (THREATS.md 3).
#[test]
fn a_sensitive_key_is_not_digested() {
    isolated(|world| {
        let session = world.token().user();
        let key = session.aes(32);
        session.digest_init(CKM_SHA256).unwrap();
        try_call!(session.module, C_DigestKey(session.handle, key))
            .refused_with(&[CKR_KEY_INDIGESTIBLE, CKR_FUNCTION_NOT_SUPPORTED]);
    });
}

/// Java clones a digest by saving its state (CLIENTS.md, "Behaviour", 11); a token may say that it cannot (5.6.6).
#[test]
fn saved_states() {
    isolated(|world| {
        let token = world.token();
        let (one, two) = (token.session(), token.session());
        one.operation_state()
            .refused_with(&[CKR_OPERATION_NOT_INITIALIZED, CKR_FUNCTION_NOT_SUPPORTED]);
        one.digest_init(CKM_SHA256).unwrap();
        one.digest_update(b"a").unwrap();
        match one.operation_state() {
            Ok(mut state) => {
                let (place, length) = (state.as_mut_ptr(), state.len() as CK_ULONG);
                try_call!(
                    two.module,
                    C_SetOperationState(two.handle, place, length, 0, 0)
                )
                .unwrap();
                two.digest_update(b"bc").unwrap();
                assert_eq!(two.digest_final().unwrap(), hex(vectors::SHA256_ABC));
                state[0] ^= 0xff;
                try_call!(
                    two.module,
                    C_SetOperationState(two.handle, state.as_mut_ptr(), length, 0, 0)
                )
                .refused(CKR_SAVED_STATE_INVALID);
            }
            refused => refused.refused_with(&[CKR_STATE_UNSAVEABLE, CKR_FUNCTION_NOT_SUPPORTED]),
        }
        one.digest_update(b"bc").unwrap();
        assert_eq!(one.digest_final().unwrap(), hex(vectors::SHA256_ABC));
    });
}
