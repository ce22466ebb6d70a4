//! Session management entries (PKCS#11 5.6).

use super::{entries, input, not_supported, output};
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
    fn C_GetOperationState(session: CK_SESSION_HANDLE, _state: *mut CK_BYTE, _len: *mut CK_ULONG) {
        not_supported(session)
    }

    /// 5.6.7.
    fn C_SetOperationState(
        session: CK_SESSION_HANDLE,
        _state: *mut CK_BYTE,
        _len: CK_ULONG,
        _encryption_key: CK_OBJECT_HANDLE,
        _authentication_key: CK_OBJECT_HANDLE,
    ) {
        not_supported(session)
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
        _user: CK_USER_TYPE,
        _pin: *mut CK_UTF8CHAR,
        _pin_len: CK_ULONG,
        _name: *mut CK_UTF8CHAR,
        _name_len: CK_ULONG,
    ) {
        not_supported(session)
    }

    /// 5.6.10.
    fn C_Logout(session: CK_SESSION_HANDLE) {
        module::current()?.logout(session)
    }

    /// 5.6.11.
    fn C_GetSessionValidationFlags(
        session: CK_SESSION_HANDLE,
        _kind: CK_SESSION_VALIDATION_FLAGS_TYPE,
        _flags: *mut CK_FLAGS,
    ) {
        not_supported(session)
    }
}
