//! The life of a node's credential, apart from any token: what is asked of a CA, what it hands
//! back, and when it must be renewed.
//!
//! | room | job |
//! |---|---|
//! | [`subject`] | an RFC 4514 string to a distinguished name |
//! | [`csr`] | a PKCS#10 request, signed by a key that stays where it is |
//! | [`certificate`] | certificates and chains as CAs hand them over: PEM, DER, certs-only CMS |
//! | [`gzip`] | certificates that a card keeps compressed |
//! | [`status`] | days left and the warnings of REQUIREMENTS R18 |
//!
//! Nothing here reads a file, a clock or a token: bytes and times come in, values go out.

use std::fmt;

pub mod certificate;
pub mod csr;
pub mod gzip;
pub mod status;
pub mod subject;

/// What is wrong with the input, in words for who gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error(String);

impl Error {
    /// An error that says `words`.
    pub fn new(words: impl Into<String>) -> Self {
        Self(words.into())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

/// What every room of this folder returns.
pub type Result<T> = std::result::Result<T, Error>;

/// `Err` with the words of a format string.
macro_rules! refuse {
    ($($words:tt)+) => {
        Err($crate::credential::Error::new(format!($($words)+)))
    };
}
use refuse;
