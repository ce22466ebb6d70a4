//! The one error of the module: a return code of the standard and the reason for the log.

use cryptoki_sys::*;
use std::borrow::Cow;
use std::fmt;

/// What every room of the house returns.
pub type Result<T> = std::result::Result<T, Error>;

/// A refusal: the `CK_RV` that the standard names for it, and why, in words for the log.
///
/// The reason never holds a PIN, a key or a byte of user data.
#[derive(Debug, Clone)]
pub struct Error {
    rv: CK_RV,
    reason: Cow<'static, str>,
}

impl Error {
    /// A refusal with return code `rv` because of `reason`.
    pub fn new(rv: CK_RV, reason: impl Into<Cow<'static, str>>) -> Self {
        Self {
            rv,
            reason: reason.into(),
        }
    }

    /// The same with a reason that may have parts to be filled in.
    pub fn formatted(rv: CK_RV, reason: fmt::Arguments<'_>) -> Self {
        match reason.as_str() {
            Some(reason) => Self::new(rv, reason),
            None => Self::new(rv, reason.to_string()),
        }
    }

    /// The return code for the caller.
    pub fn rv(&self) -> CK_RV {
        self.rv
    }

    /// Why, for the log and for the admin command.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// The same refusal under another code, where the standard names the same fault differently
    /// (PKCS#11 5.1.6: `CKR_KEY_HANDLE_INVALID` for `CKR_OBJECT_HANDLE_INVALID`).
    pub fn with_rv(mut self, rv: CK_RV) -> Self {
        self.rv = rv;
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.reason, rv_name(self.rv))
    }
}

impl std::error::Error for Error {}

/// `fail!(CKR_X, "reason {}", …)`: the refusal as an `Err`.
macro_rules! fail {
    ($rv:expr, $($reason:tt)+) => {
        Err($crate::error::Error::formatted($rv, format_args!($($reason)+)))
    };
}
pub(crate) use fail;

macro_rules! rv_names {
    ($($name:ident)*) => {
        /// The standard's name of a return code (PKCS#11 5.1), for logs and messages.
        pub fn rv_name(rv: CK_RV) -> Cow<'static, str> {
            match rv {
                $($name => Cow::Borrowed(stringify!($name)),)*
                _ => Cow::Owned(format!("CK_RV {rv:#x}")),
            }
        }
    };
}

rv_names! {
    CKR_OK CKR_CANCEL CKR_HOST_MEMORY CKR_SLOT_ID_INVALID CKR_GENERAL_ERROR CKR_FUNCTION_FAILED
    CKR_ARGUMENTS_BAD CKR_NO_EVENT CKR_NEED_TO_CREATE_THREADS CKR_CANT_LOCK CKR_ATTRIBUTE_READ_ONLY
    CKR_ATTRIBUTE_SENSITIVE CKR_ATTRIBUTE_TYPE_INVALID CKR_ATTRIBUTE_VALUE_INVALID
    CKR_ACTION_PROHIBITED CKR_DATA_INVALID CKR_DATA_LEN_RANGE CKR_DEVICE_ERROR CKR_DEVICE_MEMORY
    CKR_DEVICE_REMOVED CKR_ENCRYPTED_DATA_INVALID CKR_ENCRYPTED_DATA_LEN_RANGE
    CKR_AEAD_DECRYPT_FAILED CKR_FUNCTION_CANCELED CKR_FUNCTION_NOT_PARALLEL
    CKR_FUNCTION_NOT_SUPPORTED CKR_KEY_HANDLE_INVALID CKR_KEY_SIZE_RANGE
    CKR_KEY_TYPE_INCONSISTENT CKR_KEY_NOT_NEEDED CKR_KEY_CHANGED CKR_KEY_NEEDED
    CKR_KEY_INDIGESTIBLE CKR_KEY_FUNCTION_NOT_PERMITTED CKR_KEY_NOT_WRAPPABLE
    CKR_KEY_UNEXTRACTABLE CKR_MECHANISM_INVALID CKR_MECHANISM_PARAM_INVALID
    CKR_OBJECT_HANDLE_INVALID CKR_OPERATION_ACTIVE CKR_OPERATION_NOT_INITIALIZED CKR_PIN_INCORRECT
    CKR_PIN_INVALID CKR_PIN_LEN_RANGE CKR_PIN_EXPIRED CKR_PIN_LOCKED CKR_SESSION_CLOSED
    CKR_SESSION_COUNT CKR_SESSION_HANDLE_INVALID CKR_SESSION_PARALLEL_NOT_SUPPORTED
    CKR_SESSION_READ_ONLY CKR_SESSION_EXISTS CKR_SESSION_READ_ONLY_EXISTS
    CKR_SESSION_READ_WRITE_SO_EXISTS CKR_SIGNATURE_INVALID CKR_SIGNATURE_LEN_RANGE
    CKR_TEMPLATE_INCOMPLETE CKR_TEMPLATE_INCONSISTENT CKR_TOKEN_NOT_PRESENT
    CKR_TOKEN_NOT_RECOGNIZED CKR_TOKEN_WRITE_PROTECTED CKR_UNWRAPPING_KEY_HANDLE_INVALID
    CKR_UNWRAPPING_KEY_SIZE_RANGE CKR_UNWRAPPING_KEY_TYPE_INCONSISTENT CKR_USER_ALREADY_LOGGED_IN
    CKR_USER_NOT_LOGGED_IN CKR_USER_PIN_NOT_INITIALIZED CKR_USER_TYPE_INVALID
    CKR_USER_ANOTHER_ALREADY_LOGGED_IN CKR_USER_TOO_MANY_TYPES CKR_WRAPPED_KEY_INVALID
    CKR_WRAPPED_KEY_LEN_RANGE CKR_WRAPPING_KEY_HANDLE_INVALID CKR_WRAPPING_KEY_SIZE_RANGE
    CKR_WRAPPING_KEY_TYPE_INCONSISTENT CKR_RANDOM_SEED_NOT_SUPPORTED CKR_RANDOM_NO_RNG
    CKR_DOMAIN_PARAMS_INVALID CKR_CURVE_NOT_SUPPORTED CKR_BUFFER_TOO_SMALL CKR_SAVED_STATE_INVALID
    CKR_INFORMATION_SENSITIVE CKR_STATE_UNSAVEABLE CKR_CRYPTOKI_NOT_INITIALIZED
    CKR_CRYPTOKI_ALREADY_INITIALIZED CKR_MUTEX_BAD CKR_MUTEX_NOT_LOCKED CKR_FUNCTION_REJECTED
    CKR_OPERATION_CANCEL_FAILED CKR_SESSION_ASYNC_NOT_SUPPORTED CKR_TOKEN_NOT_INITIALIZED
    CKR_PARAMETER_SET_NOT_SUPPORTED CKR_OPERATION_NOT_VALIDATED CKR_PENDING
}
