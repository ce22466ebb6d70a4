//! The C interface: every `C_*` of PKCS#11 2.40, 3.0 and 3.2, every pointer read or written.
//!
//! An entry decodes its arguments, calls one function of a session or of the module, and writes the
//! answer. Nothing unwinds into C; an error is logged here and nowhere else.

use crate::error::Result;
use crate::module;
use crate::session::Session;
use crate::{error, log, memory};
use cryptoki_sys::*;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

pub mod capsule;
pub mod crypto;
mod environment;
pub mod general;
mod initialize;
mod input;
pub mod keys;
pub mod message;
pub mod objects;
mod output;
mod parameter;
pub mod sessions;
pub mod tables;
pub mod version3;
mod wrapping;

/// Declares entries. The body is an expression of type `Result<()>` that may use the arguments as
/// the standard lets it: that is the contract of every entry, stated once here.
macro_rules! entries {
    ($($(#[$doc:meta])* fn $name:ident($($argument:ident: $kind:ty),* $(,)?) $body:block)*) => {$(
        $(#[$doc])*
        ///
        /// # Safety
        /// The caller's pointers are null or good for what the standard makes of them (5.1.1).
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name($($argument: $kind),*) -> CK_RV {
            $crate::abi::call(stringify!($name), || {
                // SAFETY: the contract of this entry, passed on to the reader and writer of
                // arguments (`input`, `output`), who check what can be checked.
                #[allow(unused_unsafe)]
                unsafe { $body }
            })
        }
    )*};
}
pub(crate) use entries;

/// Functions that give memory back, or let the caller do so: they do with little of it.
const FRUGAL: [&str; 7] = [
    "C_Finalize",
    "C_CloseSession",
    "C_CloseAllSessions",
    "C_SessionCancel",
    "C_Logout",
    "C_DestroyObject",
    "C_FindObjectsFinal",
];

/// Whether a function may begin where memory has run out.
#[cold]
fn is_frugal(function: &'static str) -> bool {
    if memory::pieces() == 0 {
        // Not even for a line in the log.
        return false;
    }
    let frugal = FRUGAL.contains(&function);
    if !frugal {
        let refusal = error::Error::new(CKR_HOST_MEMORY, "the process has run out of memory");
        log::refusal(function, &refusal);
    }
    frugal
}

/// Runs the body of an entry: no unwinding into C, one line in the log for a refusal.
pub(crate) fn call(function: &'static str, body: impl FnOnce() -> Result<()>) -> CK_RV {
    if !memory::ballast() && !is_frugal(function) {
        return CKR_HOST_MEMORY;
    }
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => {
            if log::enabled(log::Level::Debug) {
                log::write(log::Level::Debug, &format!("{function}: CKR_OK"));
            }
            CKR_OK
        }
        Ok(Err(refusal)) => {
            log::refusal(function, &refusal);
            refusal.rv()
        }
        Err(_) => {
            let bug = error::Error::new(CKR_GENERAL_ERROR, "a bug in nodetoken; please report it");
            log::refusal(function, &bug);
            CKR_GENERAL_ERROR
        }
    }
}

/// The session behind a handle.
fn session(handle: CK_SESSION_HANDLE) -> Result<Arc<Session>> {
    module::current()?.session(handle)
}
