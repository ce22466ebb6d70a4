//! Encryption, decryption, digest, signature and verification entries (PKCS#11 5.8 to 5.16).

use super::{entries, input, output, parameter, session};
use crate::crypto::Direction::{Decrypt, Encrypt};
use cryptoki_sys::*;

/// The arguments of a step of an operation: a refusal of them ends the operation too (5.2).
macro_rules! arguments {
    ($session:expr, $operation:expr, $($argument:expr),+) => {
        $session.or_cancel($operation, || Ok(($($argument?),+)))?
    };
}

/// The mechanism of a C_…Init; a null one ends the operation instead (3.0 and later).
macro_rules! mechanism {
    ($session:expr, $operation:expr, $mechanism:expr) => {
        match parameter::mechanism($mechanism)? {
            Some(mechanism) => mechanism,
            None => return $session.cancel_active($operation),
        }
    };
}
pub(super) use mechanism;

entries! {
    /// 5.8.1.
    fn C_EncryptInit(handle: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, key: CK_OBJECT_HANDLE) {
        let session = session(handle)?;
        let (mechanism, parameter) = mechanism!(session, CKF_ENCRYPT, mechanism);
        session.encrypt_init(mechanism, parameter, key)
    }

    /// 5.8.2.
    fn C_Encrypt(
        handle: CK_SESSION_HANDLE,
        data: *mut CK_BYTE,
        data_len: CK_ULONG,
        output: *mut CK_BYTE,
        output_len: *mut CK_ULONG,
    ) {
        let session = session(handle)?;
        let (data, room) = arguments!(session, CKF_ENCRYPT, input::bytes(data, data_len), output::room(output, output_len));
        output::answer(session.crypt(Encrypt, data, room)?, output, output_len)
    }

    /// 5.8.3.
    fn C_EncryptUpdate(
        handle: CK_SESSION_HANDLE,
        data: *mut CK_BYTE,
        data_len: CK_ULONG,
        output: *mut CK_BYTE,
        output_len: *mut CK_ULONG,
    ) {
        let session = session(handle)?;
        let (data, room) = arguments!(session, CKF_ENCRYPT, input::bytes(data, data_len), output::room(output, output_len));
        output::answer(session.crypt_update(Encrypt, data, room)?, output, output_len)
    }

    /// 5.8.4.
    fn C_EncryptFinal(
        handle: CK_SESSION_HANDLE,
        output: *mut CK_BYTE,
        output_len: *mut CK_ULONG,
    ) {
        let session = session(handle)?;
        let room = arguments!(session, CKF_ENCRYPT, output::room(output, output_len));
        output::answer(session.crypt_final(Encrypt, room)?, output, output_len)
    }

    /// 5.10.1.
    fn C_DecryptInit(handle: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, key: CK_OBJECT_HANDLE) {
        let session = session(handle)?;
        let (mechanism, parameter) = mechanism!(session, CKF_DECRYPT, mechanism);
        session.decrypt_init(mechanism, parameter, key)
    }

    /// 5.10.2.
    fn C_Decrypt(
        handle: CK_SESSION_HANDLE,
        data: *mut CK_BYTE,
        data_len: CK_ULONG,
        output: *mut CK_BYTE,
        output_len: *mut CK_ULONG,
    ) {
        let session = session(handle)?;
        let (data, room) = arguments!(session, CKF_DECRYPT, input::bytes(data, data_len), output::room(output, output_len));
        output::answer(session.crypt(Decrypt, data, room)?, output, output_len)
    }

    /// 5.10.3.
    fn C_DecryptUpdate(
        handle: CK_SESSION_HANDLE,
        data: *mut CK_BYTE,
        data_len: CK_ULONG,
        output: *mut CK_BYTE,
        output_len: *mut CK_ULONG,
    ) {
        let session = session(handle)?;
        let (data, room) = arguments!(session, CKF_DECRYPT, input::bytes(data, data_len), output::room(output, output_len));
        output::answer(session.crypt_update(Decrypt, data, room)?, output, output_len)
    }

    /// 5.10.4.
    fn C_DecryptFinal(
        handle: CK_SESSION_HANDLE,
        output: *mut CK_BYTE,
        output_len: *mut CK_ULONG,
    ) {
        let session = session(handle)?;
        let room = arguments!(session, CKF_DECRYPT, output::room(output, output_len));
        output::answer(session.crypt_final(Decrypt, room)?, output, output_len)
    }

    /// 5.12.1.
    fn C_DigestInit(handle: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM) {
        let session = session(handle)?;
        let (mechanism, parameter) = mechanism!(session, CKF_DIGEST, mechanism);
        session.digest_init(mechanism, &parameter)
    }

    /// 5.12.2.
    fn C_Digest(
        handle: CK_SESSION_HANDLE,
        data: *mut CK_BYTE,
        data_len: CK_ULONG,
        output: *mut CK_BYTE,
        output_len: *mut CK_ULONG,
    ) {
        let session = session(handle)?;
        let (data, room) = arguments!(session, CKF_DIGEST, input::bytes(data, data_len), output::room(output, output_len));
        output::answer(session.digest(data, room)?, output, output_len)
    }

    /// 5.12.3.
    fn C_DigestUpdate(handle: CK_SESSION_HANDLE, data: *mut CK_BYTE, data_len: CK_ULONG) {
        let session = session(handle)?;
        let data = arguments!(session, CKF_DIGEST, input::bytes(data, data_len));
        session.digest_update(data)
    }

    /// 5.12.4.
    fn C_DigestKey(handle: CK_SESSION_HANDLE, key: CK_OBJECT_HANDLE) {
        session(handle)?.digest_key(key)
    }

    /// 5.12.5.
    fn C_DigestFinal(
        handle: CK_SESSION_HANDLE,
        output: *mut CK_BYTE,
        output_len: *mut CK_ULONG,
    ) {
        let session = session(handle)?;
        let room = arguments!(session, CKF_DIGEST, output::room(output, output_len));
        output::answer(session.digest_final(room)?, output, output_len)
    }

    /// 5.13.1.
    fn C_SignInit(handle: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, key: CK_OBJECT_HANDLE) {
        let session = session(handle)?;
        let (mechanism, parameter) = mechanism!(session, CKF_SIGN, mechanism);
        session.sign_init(mechanism, &parameter, key)
    }

    /// 5.13.2.
    fn C_Sign(
        handle: CK_SESSION_HANDLE,
        data: *mut CK_BYTE,
        data_len: CK_ULONG,
        output: *mut CK_BYTE,
        output_len: *mut CK_ULONG,
    ) {
        let session = session(handle)?;
        let (data, room) = arguments!(session, CKF_SIGN, input::bytes(data, data_len), output::room(output, output_len));
        output::answer(session.sign(data, room)?, output, output_len)
    }

    /// 5.13.3.
    fn C_SignUpdate(handle: CK_SESSION_HANDLE, data: *mut CK_BYTE, data_len: CK_ULONG) {
        let session = session(handle)?;
        let data = arguments!(session, CKF_SIGN, input::bytes(data, data_len));
        session.sign_update(data)
    }

    /// 5.13.4.
    fn C_SignFinal(
        handle: CK_SESSION_HANDLE,
        output: *mut CK_BYTE,
        output_len: *mut CK_ULONG,
    ) {
        let session = session(handle)?;
        let room = arguments!(session, CKF_SIGN, output::room(output, output_len));
        output::answer(session.sign_final(room)?, output, output_len)
    }

    /// 5.13.5.
    fn C_SignRecoverInit(handle: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, key: CK_OBJECT_HANDLE) {
        let session = session(handle)?;
        let (mechanism, parameter) = mechanism!(session, CKF_SIGN_RECOVER, mechanism);
        session.sign_recover_init(mechanism, &parameter, key)
    }

    /// 5.13.6.
    fn C_SignRecover(
        handle: CK_SESSION_HANDLE,
        data: *mut CK_BYTE,
        data_len: CK_ULONG,
        output: *mut CK_BYTE,
        output_len: *mut CK_ULONG,
    ) {
        let session = session(handle)?;
        let (data, room) = arguments!(session, CKF_SIGN_RECOVER, input::bytes(data, data_len), output::room(output, output_len));
        output::answer(session.sign_recover(data, room)?, output, output_len)
    }

    /// 5.15.1.
    fn C_VerifyInit(handle: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, key: CK_OBJECT_HANDLE) {
        let session = session(handle)?;
        let (mechanism, parameter) = mechanism!(session, CKF_VERIFY, mechanism);
        session.verify_init(mechanism, &parameter, key)
    }

    /// 5.15.2.
    fn C_Verify(
        handle: CK_SESSION_HANDLE,
        data: *mut CK_BYTE,
        data_len: CK_ULONG,
        signature: *mut CK_BYTE,
        signature_len: CK_ULONG,
    ) {
        let session = session(handle)?;
        let (data, signature) = arguments!(
            session,
            CKF_VERIFY,
            input::bytes(data, data_len),
            input::bytes(signature, signature_len)
        );
        session.verify(data, signature)
    }

    /// 5.15.3.
    fn C_VerifyUpdate(handle: CK_SESSION_HANDLE, data: *mut CK_BYTE, data_len: CK_ULONG) {
        let session = session(handle)?;
        let data = arguments!(session, CKF_VERIFY, input::bytes(data, data_len));
        session.verify_update(data)
    }

    /// 5.15.4.
    fn C_VerifyFinal(handle: CK_SESSION_HANDLE, data: *mut CK_BYTE, data_len: CK_ULONG) {
        let session = session(handle)?;
        let data = arguments!(session, CKF_VERIFY, input::bytes(data, data_len));
        session.verify_final(data)
    }

    /// 5.15.5.
    fn C_VerifyRecoverInit(handle: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, key: CK_OBJECT_HANDLE) {
        let session = session(handle)?;
        let (mechanism, parameter) = mechanism!(session, CKF_VERIFY_RECOVER, mechanism);
        session.verify_recover_init(mechanism, &parameter, key)
    }

    /// 5.15.6.
    fn C_VerifyRecover(
        handle: CK_SESSION_HANDLE,
        data: *mut CK_BYTE,
        data_len: CK_ULONG,
        output: *mut CK_BYTE,
        output_len: *mut CK_ULONG,
    ) {
        let session = session(handle)?;
        let (data, room) = arguments!(session, CKF_VERIFY_RECOVER, input::bytes(data, data_len), output::room(output, output_len));
        output::answer(session.verify_recover(data, room)?, output, output_len)
    }

    /// 5.15.7.
    fn C_VerifySignatureInit(
        handle: CK_SESSION_HANDLE,
        mechanism: *mut CK_MECHANISM,
        key: CK_OBJECT_HANDLE,
        signature: *mut CK_BYTE,
        signature_len: CK_ULONG,
    ) {
        let session = session(handle)?;
        let (mechanism, parameter) = mechanism!(session, CKF_VERIFY, mechanism);
        let signature = input::bytes(signature, signature_len)?;
        session.verify_signature_init(mechanism, &parameter, key, signature)
    }

    /// 5.15.8.
    fn C_VerifySignature(handle: CK_SESSION_HANDLE, data: *mut CK_BYTE, data_len: CK_ULONG) {
        let session = session(handle)?;
        let data = arguments!(session, CKF_VERIFY, input::bytes(data, data_len));
        session.verify_signature(data)
    }

    /// 5.15.9.
    fn C_VerifySignatureUpdate(handle: CK_SESSION_HANDLE, data: *mut CK_BYTE, data_len: CK_ULONG) {
        let session = session(handle)?;
        let data = arguments!(session, CKF_VERIFY, input::bytes(data, data_len));
        session.verify_signature_update(data)
    }

    /// 5.15.10.
    fn C_VerifySignatureFinal(handle: CK_SESSION_HANDLE) {
        session(handle)?.verify_signature_final()
    }

    /// 5.17.1.
    fn C_DigestEncryptUpdate(
        handle: CK_SESSION_HANDLE,
        data: *mut CK_BYTE,
        data_len: CK_ULONG,
        output: *mut CK_BYTE,
        output_len: *mut CK_ULONG,
    ) {
        let session = session(handle)?;
        let (data, room) = arguments!(session, CKF_DIGEST | CKF_ENCRYPT, input::bytes(data, data_len), output::room(output, output_len));
        output::answer(session.crypt_digest_update(Encrypt, data, room)?, output, output_len)
    }

    /// 5.17.2.
    fn C_DecryptDigestUpdate(
        handle: CK_SESSION_HANDLE,
        data: *mut CK_BYTE,
        data_len: CK_ULONG,
        output: *mut CK_BYTE,
        output_len: *mut CK_ULONG,
    ) {
        let session = session(handle)?;
        let (data, room) = arguments!(session, CKF_DECRYPT | CKF_DIGEST, input::bytes(data, data_len), output::room(output, output_len));
        output::answer(session.crypt_digest_update(Decrypt, data, room)?, output, output_len)
    }

    /// 5.17.3.
    fn C_SignEncryptUpdate(
        handle: CK_SESSION_HANDLE,
        data: *mut CK_BYTE,
        data_len: CK_ULONG,
        output: *mut CK_BYTE,
        output_len: *mut CK_ULONG,
    ) {
        let session = session(handle)?;
        let (data, room) = arguments!(session, CKF_SIGN | CKF_ENCRYPT, input::bytes(data, data_len), output::room(output, output_len));
        output::answer(session.sign_encrypt_update(data, room)?, output, output_len)
    }

    /// 5.17.4.
    fn C_DecryptVerifyUpdate(
        handle: CK_SESSION_HANDLE,
        data: *mut CK_BYTE,
        data_len: CK_ULONG,
        output: *mut CK_BYTE,
        output_len: *mut CK_ULONG,
    ) {
        let session = session(handle)?;
        let (data, room) = arguments!(session, CKF_DECRYPT | CKF_VERIFY, input::bytes(data, data_len), output::room(output, output_len));
        output::answer(session.decrypt_verify_update(data, room)?, output, output_len)
    }
}
