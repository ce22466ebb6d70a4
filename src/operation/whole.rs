//! Ciphers that take a message in one piece: those with authentication, of which no plaintext is given
//! out before the tag holds, and AES Key Wrap (PKCS#11 6.13, 6.14, 6.66).

use super::cipher::{padded_to, unpadded};
use super::{append, collect, renamed};
use crate::crypto::{Direction, engine};
use crate::error::{Error, Result, fail};
use crate::mechanism::{Parameter, Plan};
use crate::memory::{self, Secret};
use cryptoki_sys::*;
use std::sync::Arc;
use zeroize::Zeroizing;

/// Which cipher, and its parameter.
pub(super) enum How {
    Gcm {
        iv: Vec<u8>,
        aad: Vec<u8>,
        tag: usize,
    },
    Ccm {
        len: usize,
        nonce: Vec<u8>,
        aad: Vec<u8>,
        tag: usize,
    },
    ChaCha20Poly1305 {
        nonce: Vec<u8>,
        aad: Vec<u8>,
    },
    KeyWrap {
        padded: bool,
        iv: Option<Vec<u8>>,
    },
    /// RFC 3394 of PKCS#7 padding.
    KeyWrapPkcs7 {
        iv: Option<Vec<u8>>,
    },
}

/// Length of the tag of ChaCha20-Poly1305 (RFC 8439 2.8).
const POLY1305_TAG: usize = 16;
/// AES Key Wrap adds one (RFC 3394 2.2.1), after it has filled the last (RFC 5649 4.1).
const SEMIBLOCK: usize = 8;

impl How {
    /// `None` for a mechanism that is none of these.
    pub(super) fn new(plan: Plan, parameter: Parameter) -> Option<Self> {
        match (plan, parameter) {
            (Plan::Gcm, Parameter::Gcm { iv, aad, tag }) => Some(How::Gcm { iv, aad, tag }),
            (
                Plan::Ccm,
                Parameter::Ccm {
                    len,
                    nonce,
                    aad,
                    tag,
                },
            ) => Some(How::Ccm {
                len,
                nonce,
                aad,
                tag,
            }),
            (Plan::ChaCha20Poly1305, Parameter::ChaCha20Poly1305 { nonce, aad }) => {
                Some(How::ChaCha20Poly1305 { nonce, aad })
            }
            (Plan::KeyWrap { padded }, parameter) => Some(How::KeyWrap {
                padded,
                iv: given(parameter),
            }),
            (Plan::KeyWrapPkcs7, parameter) => Some(How::KeyWrapPkcs7 {
                iv: given(parameter),
            }),
            _ => None,
        }
    }

    /// Length of the ciphertext of so many bytes.
    pub(super) fn sealed_len(&self, len: usize) -> usize {
        let filled = match self {
            How::KeyWrap { .. } => len.checked_next_multiple_of(SEMIBLOCK).unwrap_or(len),
            How::KeyWrapPkcs7 { .. } => (len - len % SEMIBLOCK).saturating_add(SEMIBLOCK),
            _ => len,
        };
        filled.saturating_add(self.surplus())
    }

    /// How much longer than the message the ciphertext is; at least, for AES Key Wrap.
    fn surplus(&self) -> usize {
        match self {
            How::Gcm { tag, .. } | How::Ccm { tag, .. } => *tag,
            How::ChaCha20Poly1305 { .. } => POLY1305_TAG,
            How::KeyWrap { .. } | How::KeyWrapPkcs7 { .. } => SEMIBLOCK,
        }
    }
}

/// An initial value other than the default one.
fn given(parameter: Parameter) -> Option<Vec<u8>> {
    match parameter {
        Parameter::Iv(iv) => Some(iv),
        _ => None,
    }
}

/// An encryption or decryption that collects its message.
pub(super) struct Whole {
    direction: Direction,
    key: Arc<Secret>,
    how: How,
    collected: Zeroizing<Vec<u8>>,
}

impl Whole {
    pub(super) fn new(direction: Direction, key: Arc<Secret>, how: How) -> Self {
        Self {
            direction,
            key,
            how,
            collected: Zeroizing::default(),
        }
    }

    /// Takes in a piece.
    pub(super) fn collect(&mut self, data: &[u8]) -> Result<()> {
        let too_long = match self.direction {
            Direction::Encrypt => CKR_DATA_LEN_RANGE,
            Direction::Decrypt => CKR_ENCRYPTED_DATA_LEN_RANGE,
        };
        collect(&mut self.collected, data).map_err(renamed(CKR_DATA_LEN_RANGE, too_long))
    }

    /// Whether the length of the input tells that of the answer: only the padding of AES Key Wrap hides
    /// it.
    pub(super) fn tells_len(&self) -> bool {
        self.direction == Direction::Encrypt
            || !matches!(
                self.how,
                How::KeyWrap { padded: true, .. } | How::KeyWrapPkcs7 { .. }
            )
    }

    /// Length of the answer when `more` bytes have come; at most, where it is hidden.
    pub(super) fn longest(&self, more: usize) -> usize {
        let input = self.collected.len().saturating_add(more);
        match self.direction {
            Direction::Encrypt => self.how.sealed_len(input),
            Direction::Decrypt => input.saturating_sub(self.how.surplus()),
        }
    }

    /// The answer, with `data` as the last piece.
    pub(super) fn run(mut self, data: &[u8]) -> Result<Vec<u8>> {
        // A message in one piece is not copied.
        if self.collected.is_empty() {
            return self.apply(data);
        }
        append(&mut self.collected, data)?;
        self.apply(&self.collected)
    }

    /// As [`Whole::run`], but the operation stays as it was.
    pub(super) fn preview(&self, data: &[u8]) -> Result<Vec<u8>> {
        let mut input = Zeroizing::new(memory::copy(&self.collected)?);
        append(&mut input, data)?;
        self.apply(&input)
    }

    fn apply(&self, input: &[u8]) -> Result<Vec<u8>> {
        self.check_data_len(input.len())?;
        match self.direction {
            Direction::Encrypt => self.seal(input),
            Direction::Decrypt => memory::copy(&self.open(input)?),
        }
    }

    /// Refuses a message of CCM that has not the length that its parameter told before (6.13.10).
    fn check_data_len(&self, input: usize) -> Result<()> {
        let How::Ccm { len, tag, .. } = self.how else {
            return Ok(());
        };
        let (expected, rv) = match self.direction {
            Direction::Encrypt => (len, CKR_DATA_LEN_RANGE),
            Direction::Decrypt => (len.saturating_add(tag), CKR_ENCRYPTED_DATA_LEN_RANGE),
        };
        if input == expected {
            return Ok(());
        }
        fail!(rv, "{input} bytes where ulDataLen lets expect {expected}")
    }

    pub(super) fn seal(&self, input: &[u8]) -> Result<Vec<u8>> {
        let key = &self.key;
        match &self.how {
            How::Gcm { iv, aad, tag } => engine::gcm_seal(key, iv, aad, *tag, input),
            How::Ccm {
                nonce, aad, tag, ..
            } => engine::ccm_seal(key, nonce, aad, *tag, input),
            How::ChaCha20Poly1305 { nonce, aad } => engine::chacha_seal(key, nonce, aad, input),
            How::KeyWrap { padded, iv } => engine::key_wrap(*padded, key, iv.as_deref(), input),
            How::KeyWrapPkcs7 { iv } => {
                let text = Zeroizing::new(padded_to(SEMIBLOCK, input)?);
                engine::key_wrap(false, key, iv.as_deref(), &text)
            }
        }
    }

    pub(super) fn open(&self, input: &[u8]) -> Result<Secret> {
        let key = &self.key;
        match &self.how {
            How::Gcm { iv, aad, tag } => engine::gcm_open(key, iv, aad, *tag, input),
            How::Ccm {
                nonce, aad, tag, ..
            } => engine::ccm_open(key, nonce, aad, *tag, input),
            How::ChaCha20Poly1305 { nonce, aad } => engine::chacha_open(key, nonce, aad, input),
            How::KeyWrap { padded, iv } => {
                engine::key_unwrap(*padded, key, iv.as_deref(), input).map_err(as_data)
            }
            How::KeyWrapPkcs7 { iv } => engine::key_unwrap(false, key, iv.as_deref(), input)
                .map_err(as_data)
                .and_then(|text| unpadded(SEMIBLOCK, &text)),
        }
    }
}

/// A refusal to unwrap, where it is data that was wrapped.
fn as_data(refusal: Error) -> Error {
    match refusal.rv() {
        CKR_WRAPPED_KEY_INVALID => refusal.with_rv(CKR_ENCRYPTED_DATA_INVALID),
        CKR_WRAPPED_KEY_LEN_RANGE => refusal.with_rv(CKR_ENCRYPTED_DATA_LEN_RANGE),
        _ => refusal,
    }
}
