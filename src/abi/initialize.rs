//! What C_Initialize is given (PKCS#11 5.4.1), in all the forms that real clients use.

use super::input;
use crate::error::{Result, fail};
use cryptoki_sys::*;
use std::ffi::{OsString, c_void};

/// Checks the arguments and takes the configuration string out of them.
///
/// The caller's mutexes are never used: with CKF_OS_LOCKING_OK they need not be, and without it the
/// answer is `CKR_CANT_LOCK`, on which clients ask again with the flag.
///
/// # Safety
/// A pointer that is not null is to a CK_C_INITIALIZE_ARGS.
pub unsafe fn arguments(pointer: *const c_void) -> Result<Option<String>> {
    if pointer.is_null() {
        return Ok(None);
    }
    // SAFETY: the caller's word.
    let given = unsafe { input::structure(pointer.cast::<CK_C_INITIALIZE_ARGS>()) }?;
    let callbacks = [
        given.CreateMutex.is_some(),
        given.DestroyMutex.is_some(),
        given.LockMutex.is_some(),
        given.UnlockMutex.is_some(),
    ];
    if callbacks.contains(&true) {
        if callbacks.contains(&false) {
            return fail!(
                CKR_ARGUMENTS_BAD,
                "some of the four mutex callbacks are missing"
            );
        }
        if given.flags & CKF_OS_LOCKING_OK == 0 {
            return fail!(
                CKR_CANT_LOCK,
                "the module locks with the system's own locks only (CKF_OS_LOCKING_OK)"
            );
        }
    }
    match given.pReserved.is_null() {
        true => Ok(None),
        false => input::string(given.pReserved.cast()).map(Some),
    }
}

/// A variable of the environment, unless the process has gained privileges by being executed
/// (set-uid, file capabilities): then the environment is somebody else's.
pub fn environment(name: &str) -> Option<OsString> {
    // SAFETY: getauxval reads the vector that the kernel gave the process; it cannot fail.
    let gained = unsafe { libc::getauxval(libc::AT_SECURE) } != 0;
    match gained {
        true => None,
        false => std::env::var_os(name),
    }
}
