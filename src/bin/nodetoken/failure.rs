//! How the command fails: an exit code for programs and exact words for people.

use cryptoki_sys::*;
use nodetoken::credential;
use nodetoken::error::{Error, rv_name};
use std::fmt;
use std::process::ExitCode;

/// What every command returns.
pub type Result<T> = std::result::Result<T, Failure>;

/// Declares the exit codes once: the enum, its numbers and the table of `--help`.
macro_rules! exit_codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $words:literal;)*) => {
        /// Why the command ended without success.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Exit {
            $($(#[$doc])* $name = $code,)*
        }

        /// The table of exit codes, for `--help`.
        pub const EXIT_CODES: &str = concat!(
            "Exit codes:\n   0  done\n",
            $("   ", $code, "  ", $words, "\n",)*
        );
    };
}

exit_codes! {
    /// Anything that has no code of its own.
    Other = 1, "failed for a reason that has no code of its own";
    /// Also clap's own code.
    Usage = 2, "wrong command line, a PIN that cannot be asked for, or a choice that is not unique";
    /// Nothing has the given name.
    NotFound = 3, "no such token, key, object or file";
    /// The token counted a wrong try.
    WrongPin = 4, "wrong PIN (the token has counted it)";
    /// No try is left.
    PinLocked = 5, "the PIN is locked";
    /// The token is sound and says no.
    Refused = 6, "refused by the token or by its policy";
    /// Someone must look at the store.
    Damaged = 7, "the store, the token or the configuration is damaged or unreadable";
    /// A certificate, chain or name from outside.
    BadInput = 8, "the given certificate or name is malformed or fits no key of the token";
    /// `status --check`.
    Attention = 9, "status --check: a certificate or a PIN needs attention";
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// A failed command.
#[derive(Debug)]
pub struct Failure {
    exit: Exit,
    message: String,
}

impl Failure {
    /// A failure with the words for standard error.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
        }
    }

    /// The same failure, with what was being done in front: `certificate node.pem: …`.
    pub fn during(mut self, what: impl fmt::Display) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }

    /// The same failure under another exit code.
    pub fn with_exit(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }

    /// The process's exit code.
    pub fn code(&self) -> ExitCode {
        self.exit.into()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// `Err` with an exit code and the words of a format string.
macro_rules! fail {
    ($exit:ident, $($words:tt)+) => {
        Err($crate::failure::Failure::new($crate::failure::Exit::$exit, format!($($words)+)))
    };
}
pub(crate) use fail;

/// What the module refused: its reason, the standard's name of the code, and what to do.
impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let (exit, advice) = advice(error.rv());
        let mut message = format!("{} ({})", error.reason(), rv_name(error.rv()));
        if !advice.is_empty() {
            message.push_str("; ");
            message.push_str(advice);
        }
        Self { exit, message }
    }
}

/// The exit code for a return code of the module, and what the user can do about it.
fn advice(rv: CK_RV) -> (Exit, &'static str) {
    match rv {
        CKR_PIN_INCORRECT => (Exit::WrongPin, "check the PIN; wrong tries are counted"),
        CKR_PIN_LOCKED => (
            Exit::PinLocked,
            "the security officer unblocks a user PIN with `nodetoken pin unblock`",
        ),
        CKR_USER_PIN_NOT_INITIALIZED => (
            Exit::Refused,
            "the security officer sets the user PIN with `nodetoken pin unblock`",
        ),
        CKR_PIN_LEN_RANGE | CKR_PIN_INVALID => (Exit::Refused, "choose another PIN"),
        CKR_TOKEN_WRITE_PROTECTED => (
            Exit::Refused,
            "run the command as a user who may write to the store",
        ),
        CKR_SESSION_READ_ONLY
        | CKR_SESSION_EXISTS
        | CKR_USER_NOT_LOGGED_IN
        | CKR_USER_TYPE_INVALID
        | CKR_FUNCTION_NOT_SUPPORTED
        | CKR_FUNCTION_REJECTED
        | CKR_MECHANISM_INVALID
        | CKR_MECHANISM_PARAM_INVALID
        | CKR_CURVE_NOT_SUPPORTED
        | CKR_KEY_SIZE_RANGE
        | CKR_KEY_TYPE_INCONSISTENT
        | CKR_KEY_FUNCTION_NOT_PERMITTED
        | CKR_ACTION_PROHIBITED
        | CKR_ATTRIBUTE_READ_ONLY
        | CKR_ATTRIBUTE_TYPE_INVALID
        | CKR_ATTRIBUTE_VALUE_INVALID
        | CKR_TEMPLATE_INCOMPLETE
        | CKR_TEMPLATE_INCONSISTENT => (Exit::Refused, ""),
        CKR_SLOT_ID_INVALID
        | CKR_TOKEN_NOT_PRESENT
        | CKR_OBJECT_HANDLE_INVALID
        | CKR_KEY_HANDLE_INVALID => (Exit::NotFound, ""),
        CKR_DEVICE_ERROR | CKR_DEVICE_REMOVED | CKR_TOKEN_NOT_RECOGNIZED => (Exit::Damaged, ""),
        _ => (Exit::Other, ""),
    }
}

impl From<credential::Error> for Failure {
    fn from(error: credential::Error) -> Self {
        Self::new(Exit::BadInput, error.to_string())
    }
}
