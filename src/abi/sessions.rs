//! Session management entries (PKCS#11 5.6).

use super::{entries, input, output};
use crate::error::fail;
use crate::module;
use cryptoki_sys::*;
use std::ffi::c_void;

entries! {
    /// 5.6.1. There is nothing to notify about.
    fn C_OpenSession(
        slot: CK_SLOT_ID,
        flags: CK_FLAGS,
        _application: *mut c_void,
        _notify: CK_NOTIFY,
        session: *mut CK_SESSION_HANDLE,
    ) {
        let module = module::current()?;
        output::writable(session)?;
        if flags & CKF_SERIAL_SESSION == 0 {
            return fail!(
                CKR_SESSION_PARALLEL_NOT_SUPPORTED,
                "CKF_SERIAL_SESSION must be set"
            );
        }
        if flags & CKF_ASYNC_SESSION != 0 {
            return fail!(CKR_SESSION_ASYNC_NOT_SUPPORTED, "sessions are not asynchronous");
        }
        output::put(session, module.open_session(slot, flags & CKF_RW_SESSION != 0)?)
    }

    /// 5.6.2.
    fn C_CloseSession(session: CK_SESSION_HANDLE) {
        module::current()?.close_session(session)
    }

    /// 5.6.3.
    fn C_CloseAllSessions(slot: CK_SLOT_ID) {
        module::current()?.close_all_sessions(slot)
    }

    /// 5.6.4.
    fn C_GetSessionInfo(session: CK_SESSION_HANDLE, info: *mut CK_SESSION_INFO) {
        let session = super::session(session)?;
        // Clients ask this to learn of a removal (5.6.4).
        session.slot.presence();
        let session = super::session(session.handle)?;
        let read_write = if session.read_write { CKF_RW_SESSION } else { 0 };
        output::put(info, CK_SESSION_INFO {
            slotID: session.slot.place.id,
            state: session.state(),
            flags: CKF_SERIAL_SESSION | read_write,
            ulDeviceError: 0,
        })
    }

    /// 5.6.5.
    fn C_SessionCancel(session: CK_SESSION_HANDLE, flags: CK_FLAGS) {
        super::session(session)?.cancel(flags);
        Ok(())
    }

    /// 5.6.6.
    fn C_GetOperationState(session: CK_SESSION_HANDLE, state: *mut CK_BYTE, len: *mut CK_ULONG) {
        let session = super::session(session)?;
        let room = output::room(state, len)?;
        output::answer(session.operation_state(room)?, state, len)
    }

    /// 5.6.7.
    fn C_SetOperationState(
        session: CK_SESSION_HANDLE,
        state: *mut CK_BYTE,
        len: CK_ULONG,
        encryption_key: CK_OBJECT_HANDLE,
        authentication_key: CK_OBJECT_HANDLE,
    ) {
        let session = super::session(session)?;
        let state = input::bytes(state, len)?;
        session.set_operation_state(state, encryption_key, authentication_key)
    }

    /// 5.6.8.
    fn C_Login(
        session: CK_SESSION_HANDLE,
        user: CK_USER_TYPE,
        pin: *mut CK_UTF8CHAR,
        pin_len: CK_ULONG,
    ) {
        super::session(session)?.login(user, input::pin(pin, pin_len)?)
    }

    /// 5.6.9.
    fn C_LoginUser(
        session: CK_SESSION_HANDLE,
        user: CK_USER_TYPE,
        pin: *mut CK_UTF8CHAR,
        pin_len: CK_ULONG,
        name: *mut CK_UTF8CHAR,
        name_len: CK_ULONG,
    ) {
        let session = super::session(session)?;
        let name = input::bytes(name, name_len)?;
        session.login_user(user, input::pin(pin, pin_len)?, name)
    }

    /// 5.6.10.
    fn C_Logout(session: CK_SESSION_HANDLE) {
        module::current()?.logout(session)
    }

    /// 5.6.11. The module has no validation, so that no operation meets one (4.15.3.1).
    fn C_GetSessionValidationFlags(
        session: CK_SESSION_HANDLE,
        kind: CK_SESSION_VALIDATION_FLAGS_TYPE,
        flags: *mut CK_FLAGS,
    ) {
        super::session(session)?;
        if kind != CKS_LAST_VALIDATION_OK {
            return fail!(CKR_ARGUMENTS_BAD, "there are no session validation flags of type {kind}");
        }
        output::put(flags, 0)
    }
}
