//! Message entries (PKCS#11 5.9, 5.11, 5.14, 5.16).

use super::crypto::mechanism;
use super::parameter::{self, LONGEST_NONCE, invalid};
use super::{entries, input, output, session};
use crate::crypto::Direction::{self, Decrypt, Encrypt};
use crate::error::{Result, fail};
use crate::mechanism;
use crate::operation::message::Nonce;
use crate::operation::message::aead::{Aead, Output, Start, Tag};
use cryptoki_sys::*;
use std::ffi::c_void;

/// The arguments of a step of a message: a refusal of them ends the message too (5.2).
macro_rules! arguments {
    ($session:expr, $operation:expr, $($argument:expr),+) => {
        $session.or_end_message($operation, || Ok(($($argument?),+)))?
    };
}

/// The parameter of a message: where its nonce and its tag are, or go.
struct Given {
    nonce: *mut CK_BYTE,
    nonce_len: CK_ULONG,
    fixed_bits: CK_ULONG,
    generator: CK_GENERATOR_FUNCTION,
    tag: *mut CK_BYTE,
    tag_len: usize,
    /// Length of the message, where the structure has it.
    len: Option<usize>,
}

impl Given {
    /// # Safety
    /// The structure is readable.
    unsafe fn read(aead: Aead, pointer: *const c_void, len: CK_ULONG) -> Result<Self> {
        match aead {
            Aead::Gcm => {
                // SAFETY: the caller's word.
                let given: CK_GCM_MESSAGE_PARAMS = unsafe { parameter::structure(pointer, len) }?;
                Ok(Self {
                    nonce: given.pIv,
                    nonce_len: given.ulIvLen,
                    fixed_bits: given.ulIvFixedBits,
                    generator: given.ivGenerator,
                    tag: given.pTag,
                    tag_len: parameter::gcm_tag(given.ulTagBits)?,
                    len: None,
                })
            }
            Aead::Ccm => {
                // SAFETY: the caller's word.
                let given: CK_CCM_MESSAGE_PARAMS = unsafe { parameter::structure(pointer, len) }?;
                parameter::ccm_nonce(given.ulNonceLen)?;
                Ok(Self {
                    nonce: given.pNonce,
                    nonce_len: given.ulNonceLen,
                    fixed_bits: given.ulNonceFixedBits,
                    generator: given.nonceGenerator,
                    tag: given.pMAC,
                    tag_len: parameter::ccm_tag(given.ulMACLen)?,
                    len: Some(given.ulDataLen.try_into().unwrap_or(usize::MAX)),
                })
            }
            Aead::ChaCha20Poly1305 => {
                // SAFETY: the caller's word.
                let given: CK_SALSA20_CHACHA20_POLY1305_MSG_PARAMS =
                    unsafe { parameter::structure(pointer, len) }?;
                // 6.61.2: the nonce is always the caller's.
                Ok(Self {
                    nonce: given.pNonce,
                    nonce_len: parameter::chacha20_nonce(given.ulNonceLen)?,
                    fixed_bits: 0,
                    generator: CKG_NO_GENERATE,
                    tag: given.pTag,
                    tag_len: 16,
                    len: None,
                })
            }
        }
    }

    /// The nonce as it stands, of a message that begins.
    ///
    /// # Safety
    /// It is readable.
    unsafe fn nonce(&self, direction: Direction) -> Result<Nonce> {
        if self.nonce_len == 0 {
            return Err(invalid("the nonce is empty"));
        }
        Ok(Nonce {
            // SAFETY: the caller's word.
            bytes: unsafe { parameter::nested(self.nonce, self.nonce_len, LONGEST_NONCE) }?,
            fixed_bits: self.fixed_bits.try_into().unwrap_or(usize::MAX),
            // Whoever decrypts has the nonce: 6.13.2 ignores the generator.
            generator: match direction {
                Encrypt => self.generator,
                Decrypt => CKG_NO_GENERATE,
            },
        })
    }

    /// The tag of a message that ends.
    ///
    /// # Safety
    /// It is readable.
    unsafe fn tag(&self, direction: Direction) -> Result<Tag> {
        // SAFETY: the caller's word.
        let tag = unsafe { parameter::nested(self.tag, self.tag_len as CK_ULONG, LONGEST_NONCE) }?;
        Ok(match direction {
            Encrypt => Tag::Wanted(tag.len()),
            Decrypt => Tag::Given(tag),
        })
    }

    /// Writes the nonce of a message that has begun, and the tag of one that has ended.
    ///
    /// # Safety
    /// The parameter's buffers are writable, and have been found as long as they say.
    unsafe fn write(&self, nonce: Option<&[u8]>, tag: Option<&[u8]>) {
        // SAFETY: the caller's word.
        unsafe {
            output::elements(nonce.unwrap_or_default(), self.nonce);
            output::elements(tag.unwrap_or_default(), self.tag);
        }
    }

    /// Writes what a step gives.
    ///
    /// # Safety
    /// As [`Given::write`]; buffer and length are those of [`output::room`].
    unsafe fn answer(&self, done: Output, buffer: *mut CK_BYTE, len: *mut CK_ULONG) -> Result<()> {
        // SAFETY: the caller's word. Of a message that is decrypted, nothing is written.
        unsafe {
            if done.tag.is_some() {
                self.write(done.nonce.as_deref(), done.tag.as_deref());
            }
            output::answer(done.answer, buffer, len)
        }
    }
}

/// A signature takes nothing with the message: the mechanism has said all.
fn no_parameter(pointer: *const c_void, len: CK_ULONG) -> Result<()> {
    match pointer.is_null() && len == 0 {
        true => Ok(()),
        false => Err(invalid("this mechanism takes no parameter with a message")),
    }
}

/// The mechanism of a C_Message…Init of an AEAD. Its parameter may be left out: the nonce comes with
/// each message. Some callers leave there what they pass with the first (the example of 5.9.5).
///
/// # Safety
/// Mechanism and parameter are readable.
unsafe fn aead_mechanism(pointer: *const CK_MECHANISM) -> Result<Option<CK_MECHANISM_TYPE>> {
    if pointer.is_null() {
        return Ok(None);
    }
    // SAFETY: the caller's word.
    let given = unsafe { input::structure(pointer) }?;
    if given.ulParameterLen != 0 {
        let plan = mechanism::row(given.mechanism).map(|row| row.plan);
        let Some(aead) = plan.and_then(Aead::of) else {
            return fail!(
                CKR_MECHANISM_INVALID,
                "mechanism {:#x} takes no messages",
                given.mechanism
            );
        };
        // SAFETY: the caller's word.
        unsafe { Given::read(aead, given.pParameter, given.ulParameterLen) }?;
    }
    Ok(Some(given.mechanism))
}

/// C_EncryptMessage, C_DecryptMessage.
macro_rules! whole {
    ($direction:ident, $handle:ident, $parameter:ident, $parameter_len:ident, $aad:ident, $aad_len:ident, $data:ident, $data_len:ident, $output:ident, $output_len:ident) => {{
        let session = session($handle)?;
        let given = Given::read(
            session.message_aead($direction)?,
            $parameter,
            $parameter_len,
        )?;
        let (nonce, tag) = (given.nonce($direction)?, given.tag($direction)?);
        let aad = input::bytes($aad, $aad_len)?;
        let data = input::bytes($data, $data_len)?;
        let room = output::room($output, $output_len)?;
        let start = Start {
            nonce: &nonce,
            aad,
            len: given.len,
        };
        let done = session.crypt_message($direction, &start, &tag, data, room)?;
        given.answer(done, $output, $output_len)
    }};
}

/// C_EncryptMessageBegin, C_DecryptMessageBegin.
macro_rules! begin {
    ($direction:ident, $handle:ident, $parameter:ident, $parameter_len:ident, $aad:ident, $aad_len:ident) => {{
        let session = session($handle)?;
        let given = Given::read(
            session.message_aead($direction)?,
            $parameter,
            $parameter_len,
        )?;
        let nonce = given.nonce($direction)?;
        let aad = input::bytes($aad, $aad_len)?;
        let start = Start {
            nonce: &nonce,
            aad,
            len: given.len,
        };
        let nonce = session.crypt_message_begin($direction, &start, given.tag_len)?;
        if $direction == Encrypt {
            given.write(Some(&nonce), None);
        }
        Ok(())
    }};
}

/// C_EncryptMessageNext, C_DecryptMessageNext.
macro_rules! next {
    ($direction:ident, $function:ident, $handle:ident, $parameter:ident, $parameter_len:ident, $data:ident, $data_len:ident, $output:ident, $output_len:ident, $flags:ident) => {{
        let session = session($handle)?;
        let aead = session.message_aead($direction)?;
        let (given, data, room, tag) = session.or_end_message($function, || {
            let given = Given::read(aead, $parameter, $parameter_len)?;
            let data = input::bytes($data, $data_len)?;
            let room = output::room($output, $output_len)?;
            let tag = match $flags & CKF_END_OF_MESSAGE {
                0 => None,
                _ => Some(given.tag($direction)?),
            };
            Ok((given, data, room, tag))
        })?;
        let done = session.crypt_message_next($direction, tag.as_ref(), data, room)?;
        given.answer(done, $output, $output_len)
    }};
}

entries! {
    /// 5.9.1.
    fn C_MessageEncryptInit(handle: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, key: CK_OBJECT_HANDLE) {
        let session = session(handle)?;
        match aead_mechanism(mechanism)? {
            Some(mechanism) => session.message_crypt_init(Encrypt, mechanism, key),
            None => session.cancel_active(CKF_MESSAGE_ENCRYPT),
        }
    }

    /// 5.9.2. Nonce and tag are written into what `parameter` points to.
    fn C_EncryptMessage(
        handle: CK_SESSION_HANDLE,
        parameter: *mut c_void,
        parameter_len: CK_ULONG,
        aad: *mut CK_BYTE,
        aad_len: CK_ULONG,
        data: *mut CK_BYTE,
        data_len: CK_ULONG,
        output: *mut CK_BYTE,
        output_len: *mut CK_ULONG,
    ) {
        whole!(Encrypt, handle, parameter, parameter_len, aad, aad_len, data, data_len, output, output_len)
    }

    /// 5.9.3. The nonce is written into what `parameter` points to.
    fn C_EncryptMessageBegin(
        handle: CK_SESSION_HANDLE,
        parameter: *mut c_void,
        parameter_len: CK_ULONG,
        aad: *mut CK_BYTE,
        aad_len: CK_ULONG,
    ) {
        begin!(Encrypt, handle, parameter, parameter_len, aad, aad_len)
    }

    /// 5.9.4. The ciphertext comes with the last part, and the tag into what `parameter` points to.
    fn C_EncryptMessageNext(
        handle: CK_SESSION_HANDLE,
        parameter: *mut c_void,
        parameter_len: CK_ULONG,
        data: *mut CK_BYTE,
        data_len: CK_ULONG,
        output: *mut CK_BYTE,
        output_len: *mut CK_ULONG,
        flags: CK_FLAGS,
    ) {
        next!(Encrypt, CKF_MESSAGE_ENCRYPT, handle, parameter, parameter_len, data, data_len, output, output_len, flags)
    }

    /// 5.9.5.
    fn C_MessageEncryptFinal(handle: CK_SESSION_HANDLE) {
        session(handle)?.message_crypt_final(Encrypt)
    }

    /// 5.11.1.
    fn C_MessageDecryptInit(handle: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, key: CK_OBJECT_HANDLE) {
        let session = session(handle)?;
        match aead_mechanism(mechanism)? {
            Some(mechanism) => session.message_crypt_init(Decrypt, mechanism, key),
            None => session.cancel_active(CKF_MESSAGE_DECRYPT),
        }
    }

    /// 5.11.2.
    fn C_DecryptMessage(
        handle: CK_SESSION_HANDLE,
        parameter: *mut c_void,
        parameter_len: CK_ULONG,
        aad: *mut CK_BYTE,
        aad_len: CK_ULONG,
        data: *mut CK_BYTE,
        data_len: CK_ULONG,
        output: *mut CK_BYTE,
        output_len: *mut CK_ULONG,
    ) {
        whole!(Decrypt, handle, parameter, parameter_len, aad, aad_len, data, data_len, output, output_len)
    }

    /// 5.11.3.
    fn C_DecryptMessageBegin(
        handle: CK_SESSION_HANDLE,
        parameter: *mut c_void,
        parameter_len: CK_ULONG,
        aad: *mut CK_BYTE,
        aad_len: CK_ULONG,
    ) {
        begin!(Decrypt, handle, parameter, parameter_len, aad, aad_len)
    }

    /// 5.11.4. The plaintext comes with the last part, when the tag holds.
    fn C_DecryptMessageNext(
        handle: CK_SESSION_HANDLE,
        parameter: *mut c_void,
        parameter_len: CK_ULONG,
        data: *mut CK_BYTE,
        data_len: CK_ULONG,
        output: *mut CK_BYTE,
        output_len: *mut CK_ULONG,
        flags: CK_FLAGS,
    ) {
        next!(Decrypt, CKF_MESSAGE_DECRYPT, handle, parameter, parameter_len, data, data_len, output, output_len, flags)
    }

    /// 5.11.5.
    fn C_MessageDecryptFinal(handle: CK_SESSION_HANDLE) {
        session(handle)?.message_crypt_final(Decrypt)
    }

    /// 5.14.1.
    fn C_MessageSignInit(handle: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, key: CK_OBJECT_HANDLE) {
        let session = session(handle)?;
        let (mechanism, parameter) = mechanism!(session, CKF_MESSAGE_SIGN, mechanism);
        session.message_sign_init(mechanism, parameter, key)
    }

    /// 5.14.2.
    fn C_SignMessage(
        handle: CK_SESSION_HANDLE,
        parameter: *mut c_void,
        parameter_len: CK_ULONG,
        data: *mut CK_BYTE,
        data_len: CK_ULONG,
        output: *mut CK_BYTE,
        output_len: *mut CK_ULONG,
    ) {
        let session = session(handle)?;
        no_parameter(parameter, parameter_len)?;
        let data = input::bytes(data, data_len)?;
        let room = output::room(output, output_len)?;
        output::answer(session.sign_message(data, room)?, output, output_len)
    }

    /// 5.14.3.
    fn C_SignMessageBegin(handle: CK_SESSION_HANDLE, parameter: *mut c_void, parameter_len: CK_ULONG) {
        let session = session(handle)?;
        no_parameter(parameter, parameter_len)?;
        session.sign_message_begin()
    }

    /// 5.14.4. A null `output_len` says that more of the message follows.
    fn C_SignMessageNext(
        handle: CK_SESSION_HANDLE,
        parameter: *mut c_void,
        parameter_len: CK_ULONG,
        data: *mut CK_BYTE,
        data_len: CK_ULONG,
        output: *mut CK_BYTE,
        output_len: *mut CK_ULONG,
    ) {
        let session = session(handle)?;
        let room = || match output_len.is_null() {
            true => Ok(None),
            false => output::room(output, output_len).map(Some),
        };
        let ((), data, room) = arguments!(
            session,
            CKF_MESSAGE_SIGN,
            no_parameter(parameter, parameter_len),
            input::bytes(data, data_len),
            room()
        );
        match session.sign_message_next(data, room)? {
            Some(answer) => output::answer(answer, output, output_len),
            None => Ok(()),
        }
    }

    /// 5.14.5.
    fn C_MessageSignFinal(handle: CK_SESSION_HANDLE) {
        session(handle)?.message_sign_final()
    }

    /// 5.16.1.
    fn C_MessageVerifyInit(handle: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, key: CK_OBJECT_HANDLE) {
        let session = session(handle)?;
        let (mechanism, parameter) = mechanism!(session, CKF_MESSAGE_VERIFY, mechanism);
        session.message_verify_init(mechanism, parameter, key)
    }

    /// 5.16.2.
    fn C_VerifyMessage(
        handle: CK_SESSION_HANDLE,
        parameter: *mut c_void,
        parameter_len: CK_ULONG,
        data: *mut CK_BYTE,
        data_len: CK_ULONG,
        signature: *mut CK_BYTE,
        signature_len: CK_ULONG,
    ) {
        let session = session(handle)?;
        no_parameter(parameter, parameter_len)?;
        let data = input::bytes(data, data_len)?;
        session.verify_message(data, input::bytes(signature, signature_len)?)
    }

    /// 5.16.3.
    fn C_VerifyMessageBegin(handle: CK_SESSION_HANDLE, parameter: *mut c_void, parameter_len: CK_ULONG) {
        let session = session(handle)?;
        no_parameter(parameter, parameter_len)?;
        session.verify_message_begin()
    }

    /// 5.16.4. A null `signature` says that more of the message follows.
    fn C_VerifyMessageNext(
        handle: CK_SESSION_HANDLE,
        parameter: *mut c_void,
        parameter_len: CK_ULONG,
        data: *mut CK_BYTE,
        data_len: CK_ULONG,
        signature: *mut CK_BYTE,
        signature_len: CK_ULONG,
    ) {
        let session = session(handle)?;
        let ((), data, given) = arguments!(
            session,
            CKF_MESSAGE_VERIFY,
            no_parameter(parameter, parameter_len),
            input::bytes(data, data_len),
            input::bytes(signature, signature_len)
        );
        session.verify_message_next(data, (!signature.is_null()).then_some(given))
    }

    /// 5.16.5.
    fn C_MessageVerifyFinal(handle: CK_SESSION_HANDLE) {
        session(handle)?.message_verify_final()
    }
}
