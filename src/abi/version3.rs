//! Entries that came with PKCS#11 3.0 and 3.2: interfaces, messages, and more.

use super::{entries, input, not_supported, output, parameter, session};
use crate::memory;
use cryptoki_sys::*;
use std::ffi::c_void;

entries! {
    /// 5.9.1.
    fn C_MessageEncryptInit(
        session: CK_SESSION_HANDLE,
        _mechanism: *mut CK_MECHANISM,
        _key: CK_OBJECT_HANDLE,
    ) {
        not_supported(session)
    }

    /// 5.9.2.
    fn C_EncryptMessage(
        session: CK_SESSION_HANDLE,
        _parameter: *mut c_void,
        _parameter_len: CK_ULONG,
        _associated: *mut CK_BYTE,
        _associated_len: CK_ULONG,
        _data: *mut CK_BYTE,
        _data_len: CK_ULONG,
        _output: *mut CK_BYTE,
        _output_len: *mut CK_ULONG,
    ) {
        not_supported(session)
    }

    /// 5.9.3.
    fn C_EncryptMessageBegin(
        session: CK_SESSION_HANDLE,
        _parameter: *mut c_void,
        _parameter_len: CK_ULONG,
        _associated: *mut CK_BYTE,
        _associated_len: CK_ULONG,
    ) {
        not_supported(session)
    }

    /// 5.9.4.
    fn C_EncryptMessageNext(
        session: CK_SESSION_HANDLE,
        _parameter: *mut c_void,
        _parameter_len: CK_ULONG,
        _data: *mut CK_BYTE,
        _data_len: CK_ULONG,
        _output: *mut CK_BYTE,
        _output_len: *mut CK_ULONG,
        _flags: CK_FLAGS,
    ) {
        not_supported(session)
    }

    /// 5.9.5.
    fn C_MessageEncryptFinal(
        session: CK_SESSION_HANDLE,
    ) {
        not_supported(session)
    }

    /// 5.11.1.
    fn C_MessageDecryptInit(
        session: CK_SESSION_HANDLE,
        _mechanism: *mut CK_MECHANISM,
        _key: CK_OBJECT_HANDLE,
    ) {
        not_supported(session)
    }

    /// 5.11.2.
    fn C_DecryptMessage(
        session: CK_SESSION_HANDLE,
        _parameter: *mut c_void,
        _parameter_len: CK_ULONG,
        _associated: *mut CK_BYTE,
        _associated_len: CK_ULONG,
        _data: *mut CK_BYTE,
        _data_len: CK_ULONG,
        _output: *mut CK_BYTE,
        _output_len: *mut CK_ULONG,
    ) {
        not_supported(session)
    }

    /// 5.11.3.
    fn C_DecryptMessageBegin(
        session: CK_SESSION_HANDLE,
        _parameter: *mut c_void,
        _parameter_len: CK_ULONG,
        _associated: *mut CK_BYTE,
        _associated_len: CK_ULONG,
    ) {
        not_supported(session)
    }

    /// 5.11.4.
    fn C_DecryptMessageNext(
        session: CK_SESSION_HANDLE,
        _parameter: *mut c_void,
        _parameter_len: CK_ULONG,
        _data: *mut CK_BYTE,
        _data_len: CK_ULONG,
        _output: *mut CK_BYTE,
        _output_len: *mut CK_ULONG,
        _flags: CK_FLAGS,
    ) {
        not_supported(session)
    }

    /// 5.11.5.
    fn C_MessageDecryptFinal(
        session: CK_SESSION_HANDLE,
    ) {
        not_supported(session)
    }

    /// 5.14.1.
    fn C_MessageSignInit(
        session: CK_SESSION_HANDLE,
        _mechanism: *mut CK_MECHANISM,
        _key: CK_OBJECT_HANDLE,
    ) {
        not_supported(session)
    }

    /// 5.14.2.
    fn C_SignMessage(
        session: CK_SESSION_HANDLE,
        _parameter: *mut c_void,
        _parameter_len: CK_ULONG,
        _data: *mut CK_BYTE,
        _data_len: CK_ULONG,
        _output: *mut CK_BYTE,
        _output_len: *mut CK_ULONG,
    ) {
        not_supported(session)
    }

    /// 5.14.3.
    fn C_SignMessageBegin(
        session: CK_SESSION_HANDLE,
        _parameter: *mut c_void,
        _parameter_len: CK_ULONG,
    ) {
        not_supported(session)
    }

    /// 5.14.4.
    fn C_SignMessageNext(
        session: CK_SESSION_HANDLE,
        _parameter: *mut c_void,
        _parameter_len: CK_ULONG,
        _data: *mut CK_BYTE,
        _data_len: CK_ULONG,
        _output: *mut CK_BYTE,
        _output_len: *mut CK_ULONG,
    ) {
        not_supported(session)
    }

    /// 5.14.5.
    fn C_MessageSignFinal(
        session: CK_SESSION_HANDLE,
    ) {
        not_supported(session)
    }

    /// 5.16.1.
    fn C_MessageVerifyInit(
        session: CK_SESSION_HANDLE,
        _mechanism: *mut CK_MECHANISM,
        _key: CK_OBJECT_HANDLE,
    ) {
        not_supported(session)
    }

    /// 5.16.2.
    fn C_VerifyMessage(
        session: CK_SESSION_HANDLE,
        _parameter: *mut c_void,
        _parameter_len: CK_ULONG,
        _data: *mut CK_BYTE,
        _data_len: CK_ULONG,
        _signature: *mut CK_BYTE,
        _signature_len: CK_ULONG,
    ) {
        not_supported(session)
    }

    /// 5.16.3.
    fn C_VerifyMessageBegin(
        session: CK_SESSION_HANDLE,
        _parameter: *mut c_void,
        _parameter_len: CK_ULONG,
    ) {
        not_supported(session)
    }

    /// 5.16.4.
    fn C_VerifyMessageNext(
        session: CK_SESSION_HANDLE,
        _parameter: *mut c_void,
        _parameter_len: CK_ULONG,
        _data: *mut CK_BYTE,
        _data_len: CK_ULONG,
        _signature: *mut CK_BYTE,
        _signature_len: CK_ULONG,
    ) {
        not_supported(session)
    }

    /// 5.16.5.
    fn C_MessageVerifyFinal(
        session: CK_SESSION_HANDLE,
    ) {
        not_supported(session)
    }

    /// 5.15.7.
    fn C_VerifySignatureInit(
        session: CK_SESSION_HANDLE,
        _mechanism: *mut CK_MECHANISM,
        _key: CK_OBJECT_HANDLE,
        _signature: *mut CK_BYTE,
        _signature_len: CK_ULONG,
    ) {
        not_supported(session)
    }

    /// 5.15.8.
    fn C_VerifySignature(
        session: CK_SESSION_HANDLE,
        _data: *mut CK_BYTE,
        _data_len: CK_ULONG,
    ) {
        not_supported(session)
    }

    /// 5.15.9.
    fn C_VerifySignatureUpdate(
        session: CK_SESSION_HANDLE,
        _data: *mut CK_BYTE,
        _data_len: CK_ULONG,
    ) {
        not_supported(session)
    }

    /// 5.15.10.
    fn C_VerifySignatureFinal(
        session: CK_SESSION_HANDLE,
    ) {
        not_supported(session)
    }

    /// 5.18.6. The tag is given out beside the wrapped key.
    fn C_WrapKeyAuthenticated(
        handle: CK_SESSION_HANDLE,
        mechanism: *mut CK_MECHANISM,
        wrapping_key: CK_OBJECT_HANDLE,
        key: CK_OBJECT_HANDLE,
        associated: *mut CK_BYTE,
        associated_len: CK_ULONG,
        wrapped: *mut CK_BYTE,
        wrapped_len: *mut CK_ULONG,
    ) {
        let session = session(handle)?;
        let associated = input::bytes(associated, associated_len)?;
        let (how, back) = parameter::wrapping(mechanism, Some(associated))?;
        let room = output::room(wrapped, wrapped_len)?;
        let tag = back.tag_len();
        let answer = session.wrap(&how, wrapping_key, key, room.with(tag))?.without(tag);
        back.give_nonce(&how, &answer.rest)?;
        back.give_tag(&answer.end)?;
        output::answer(answer.rest, wrapped, wrapped_len)
    }

    /// 5.18.7.
    fn C_UnwrapKeyAuthenticated(
        handle: CK_SESSION_HANDLE,
        mechanism: *mut CK_MECHANISM,
        unwrapping_key: CK_OBJECT_HANDLE,
        wrapped: *mut CK_BYTE,
        wrapped_len: CK_ULONG,
        template: *mut CK_ATTRIBUTE,
        count: CK_ULONG,
        associated: *mut CK_BYTE,
        associated_len: CK_ULONG,
        key: *mut CK_OBJECT_HANDLE,
    ) {
        let session = session(handle)?;
        output::writable(key)?;
        let associated = input::bytes(associated, associated_len)?;
        let how = parameter::unwrapping(mechanism, Some(associated))?;
        let mut whole = memory::copy(input::bytes(wrapped, wrapped_len)?)?;
        whole.extend(parameter::tag(mechanism)?);
        let template = input::template(template, count)?;
        output::put(key, session.unwrap(&how, unwrapping_key, &whole, &template)?)
    }

    /// 5.22.1.
    fn C_AsyncComplete(
        session: CK_SESSION_HANDLE,
        _function: *mut CK_UTF8CHAR,
        _result: *mut CK_ASYNC_DATA,
    ) {
        not_supported(session)
    }

    /// 5.22.2.
    fn C_AsyncGetID(
        session: CK_SESSION_HANDLE,
        _function: *mut CK_UTF8CHAR,
        _id: *mut CK_ULONG,
    ) {
        not_supported(session)
    }

    /// 5.22.3.
    fn C_AsyncJoin(
        session: CK_SESSION_HANDLE,
        _function: *mut CK_UTF8CHAR,
        _id: CK_ULONG,
        _data: *mut CK_BYTE,
        _data_len: CK_ULONG,
    ) {
        not_supported(session)
    }
}
