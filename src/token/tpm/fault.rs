//! What can go wrong on the way to a TPM, and the standard's code for it.

use crate::error::Error;
use cryptoki_sys::*;
use std::fmt;
use std::io;
use tpm2_protocol::TpmError;
use tpm2_protocol::data::TpmRcBase;

/// Why a command did not come back with what was asked.
#[derive(Debug)]
pub(super) enum Fault {
    /// The TPM answered with a response code.
    Code(Code),
    /// The way to it is broken.
    Link(io::Error),
    /// Refused on this side of the bus, or by a check of what came back.
    Error(Error),
}

/// A response code (TPM 2.0 Part 2, 6.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Code(pub(super) u32);

/// TPM_RC_FMT1: bits 6 and 8 to 11 say which handle, session or parameter is meant.
const FORMAT_1: u32 = 0x80;
const FORMAT_1_NUMBER: u32 = 0xbf;

impl Code {
    /// The code without the number of the handle, session or parameter.
    pub(super) fn base(self) -> Option<TpmRcBase> {
        let base = match self.0 & FORMAT_1 {
            0 => self.0,
            _ => self.0 & FORMAT_1_NUMBER,
        };
        TpmRcBase::try_from(base).ok()
    }

    /// "Send it again" (Part 2, 6.6.3): the command had no effect.
    pub(super) fn says_again(self) -> bool {
        use TpmRcBase::{NvRate, Retry, Testing, Yielded};
        matches!(self.base(), Some(Retry | Testing | Yielded | NvRate))
    }

    /// No room for another object or session.
    pub(super) fn says_full(self) -> bool {
        use TpmRcBase::{Memory, ObjectHandles, ObjectMemory, SessionHandles, SessionMemory};
        matches!(
            self.base(),
            Some(ObjectMemory | ObjectHandles | SessionMemory | SessionHandles | Memory)
        )
    }

    /// No room for another session.
    pub(super) fn says_no_session(self) -> bool {
        matches!(self.base(), Some(TpmRcBase::SessionMemory))
    }

    /// Too many wrong authorization values.
    pub(super) fn says_locked(self) -> bool {
        self.base() == Some(TpmRcBase::Lockout)
    }

    /// It cannot have a key of the kind, nor ever will.
    pub(super) fn says_impossible(self) -> bool {
        use TpmRcBase::{Asymmetric, Curve, Hash, KeySize, Range, Scheme, Value};
        matches!(
            self.base(),
            Some(Value | Curve | KeySize | Asymmetric | Hash | Scheme | Range)
        )
    }

    /// The authorization did not hold, of an object under dictionary attack protection or of
    /// another.
    pub(super) fn says_wrong_auth(self) -> bool {
        matches!(self.base(), Some(TpmRcBase::AuthFail | TpmRcBase::BadAuth))
    }

    /// A session or a loaded object is not in the chip (Part 2, 6.6.3: TPM_RC_REFERENCE_H0 to _S6).
    pub(super) fn says_no_reference(self) -> bool {
        (0x910..=0x91e).contains(&self.0) || self.base() == Some(TpmRcBase::Handle)
    }

    /// There is no object at a handle, or none of the kind.
    pub(super) fn says_no_such_handle(self) -> bool {
        use TpmRcBase::{Handle, ReferenceH0, ReferenceH1, Value};
        matches!(
            self.base(),
            Some(Handle | ReferenceH0 | ReferenceH1 | Value)
        )
    }

    fn rv(self) -> CK_RV {
        match self.base() {
            Some(TpmRcBase::NvSpace) => CKR_DEVICE_MEMORY,
            Some(TpmRcBase::Canceled) => CKR_FUNCTION_FAILED,
            _ if self.says_full() => CKR_DEVICE_MEMORY,
            _ if self.says_again() => CKR_FUNCTION_FAILED,
            _ => CKR_DEVICE_ERROR,
        }
    }

    fn advice(self) -> &'static str {
        match self.base() {
            Some(TpmRcBase::Lockout) => {
                ": too many wrong PINs anywhere on this TPM; wait, or let the security officer set \
                 the user's PIN anew"
            }
            Some(TpmRcBase::NvSpace) => ": it has no room for another persistent key",
            Some(TpmRcBase::Failure) => ": it is in failure mode, restart the machine",
            Some(TpmRcBase::ContextGap) => {
                ": another program has kept a session for too long; end that program"
            }
            _ if self.says_full() => {
                ": other programs fill it; let all of them use the resource manager, /dev/tpmrm0"
            }
            _ if self.says_again() => ": it was busy all the time, try again",
            _ => "",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.base() {
            Some(base) => write!(f, "{base} ({:#x})", self.0),
            None => write!(f, "response code {:#x}", self.0),
        }
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Error(error) => error,
            // The kernel's resource manager, where it cannot put its contexts in or out.
            Fault::Link(error) if error.raw_os_error() == Some(libc::EFAULT) => Error::new(
                CKR_DEVICE_ERROR,
                format!(
                    "the TPM's resource manager failed: {error}; another program may have kept a \
                     session for too long: see the kernel's log"
                ),
            ),
            Fault::Link(error) => Error::new(
                match error.kind() {
                    io::ErrorKind::TimedOut => CKR_DEVICE_ERROR,
                    _ => CKR_DEVICE_REMOVED,
                },
                format!("the TPM no longer answers: {error}"),
            ),
            Fault::Code(code) => Error::new(
                code.rv(),
                format!("the TPM refused with {code}{}", code.advice()),
            ),
        }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Link(error)
    }
}

/// Of encoding and decoding: what came back is not what the command gives.
impl From<TpmError> for Fault {
    fn from(error: TpmError) -> Self {
        Self::Error(malformed(&error.to_string()))
    }
}

/// `CKR_DEVICE_ERROR` for a response that makes no sense.
pub(super) fn malformed(what: &str) -> Error {
    Error::new(
        CKR_DEVICE_ERROR,
        format!("the TPM's response makes no sense: {what}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_with_their_numbers() {
        assert_eq!(Code(0x98e).base(), Some(TpmRcBase::AuthFail));
        assert!(Code(0x98e).says_wrong_auth() && Code(0x9a2).says_wrong_auth());
        assert!(Code(0x922).says_again() && Code(0x902).says_full());
        assert!(Code(0x921).says_locked() && Code(0x2c4).says_impossible());
        assert_eq!(Code(0x18b).base(), Some(TpmRcBase::Handle));
        assert_eq!(Code(0x000b_0902).base(), None);
        assert_eq!(Code(0x000b_0902).rv(), CKR_DEVICE_ERROR);
    }
}
