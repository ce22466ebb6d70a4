//! Entries that came with PKCS#11 3.2: authenticated wrapping, asynchronous calls.

use super::{entries, input, output, parameter, session};
use crate::error::{Result, fail};
use crate::memory;
use cryptoki_sys::*;

entries! {
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
        function: *mut CK_UTF8CHAR,
        _result: *mut CK_ASYNC_DATA,
    ) {
        super::session(session)?;
        let function = input::string(function)?;
        not_asynchronous(&function)
    }

    /// 5.22.2.
    fn C_AsyncGetID(
        session: CK_SESSION_HANDLE,
        function: *mut CK_UTF8CHAR,
        id: *mut CK_ULONG,
    ) {
        super::session(session)?;
        output::writable(id)?;
        let function = input::string(function)?;
        not_asynchronous(&function)
    }

    /// 5.22.3.
    fn C_AsyncJoin(
        session: CK_SESSION_HANDLE,
        function: *mut CK_UTF8CHAR,
        id: CK_ULONG,
        _data: *mut CK_BYTE,
        _data_len: CK_ULONG,
    ) {
        super::session(session)?;
        let function = input::string(function)?;
        fail!(
            CKR_SAVED_STATE_INVALID,
            "{id} names no call of {function:?}: nothing here is asynchronous"
        )
    }
}

/// What 5.22 gives where a function is not performing an asynchronous operation: none ever does, as
/// no session is asynchronous (5.6.1).
fn not_asynchronous(function: &str) -> Result<()> {
    fail!(
        CKR_OPERATION_NOT_INITIALIZED,
        "{function:?} is not under way: nothing here is asynchronous"
    )
}
