//! Sessions (TPM 2.0 Part 1, 19): the TPM and this process prove to each other, message by message,
//! that they hold what they should.
//!
//! A session is salted: its key is encrypted to the storage root whose public half was pinned when
//! the token was made, so that only that chip learns it. Every command then carries an HMAC that
//! proves to the chip who sends it, and the authorization value (PIN or key) in no other form; every
//! response carries one that only the chip can make. What is secret in a command or response is
//! encrypted under the session's key. This is the mutual authentication of the guide, 7.2.2 b.

use super::fault::malformed;
use super::frame::{Command, Response, split_2b};
use super::kdf::kdfa;
use crate::crypto::{Direction, Hash, engine};
use crate::error::{Error, Result, fail};
use crate::memory::Secret;
use cryptoki_sys::CKR_DEVICE_ERROR;
use subtle::ConstantTimeEq;
use tpm2_protocol::data::TpmaSession;

/// Length of every nonce, key and HMAC here: that of SHA-256.
const LEN: usize = 32;
/// AES-128 in CFB, as the session was begun with.
const AES_KEY: usize = 16;
const AES_IV: usize = 16;
/// Smallest nonce that a TPM may answer with (Part 1, 19.6.3).
const SHORTEST_NONCE: usize = 16;

/// One HMAC session.
pub(super) struct Session {
    /// Its handle in the TPM.
    pub(super) handle: u32,
    key: Secret,
    caller: [u8; LEN],
    tpm: Vec<u8>,
}

/// What a command asks of its session.
#[derive(Clone, Copy, Default)]
pub(super) struct Asks<'a> {
    /// The authorization value of the command's first handle.
    pub(super) auth: &'a [u8],
    /// The first parameter of the command is a TPM2B to be encrypted.
    pub(super) hides_command: bool,
    /// The first parameter of the response is a TPM2B to be encrypted.
    pub(super) hides_response: bool,
    /// The session ends with this command.
    pub(super) ends: bool,
}

/// A fresh nonce.
pub(super) fn nonce() -> Result<[u8; LEN]> {
    let mut nonce = [0; LEN];
    engine::random(&mut nonce)?;
    Ok(nonce)
}

impl Session {
    /// The session that TPM2_StartAuthSession has begun: `salt` is what was encrypted to the TPM,
    /// empty for a session without.
    pub(super) fn new(handle: u32, salt: &[u8], caller: [u8; LEN], tpm: &[u8]) -> Result<Self> {
        if tpm.len() < SHORTEST_NONCE {
            return Err(malformed("the nonce of a session is too short"));
        }
        let key = if salt.is_empty() {
            Secret::zeroed(0)?
        } else {
            kdfa(salt, b"ATH", tpm, &caller, LEN)?
        };
        Ok(Self {
            handle,
            key,
            caller,
            tpm: tpm.to_vec(),
        })
    }

    /// Authorizes a command, whose first parameter is encrypted where that is asked: its
    /// authorization area. `names` stand for the handles (Part 1, 16).
    pub(super) fn authorize(
        &mut self,
        command: &mut Command,
        names: &[&[u8]],
        asks: Asks<'_>,
    ) -> Result<Vec<u8>> {
        self.caller = nonce()?;
        let value = self.value(asks.auth)?;
        if asks.hides_command {
            self.crypt(&value, Direction::Encrypt, &mut command.parameters)?;
        }
        let mut digest = engine::Digest::new(Hash::Sha256)?;
        digest.update(&command.code.to_be_bytes());
        for name in names {
            digest.update(name);
        }
        digest.update(&command.parameters);
        let attributes = asks.attributes();
        let hmac = self.hmac(
            &value,
            &digest.finish(),
            [&self.caller, &self.tpm],
            attributes,
        )?;
        let mut area = Vec::with_capacity(4 + 2 + LEN + 1 + 2 + LEN);
        area.extend(self.handle.to_be_bytes());
        area.extend((LEN as u16).to_be_bytes());
        area.extend(self.caller);
        area.push(attributes);
        area.extend((LEN as u16).to_be_bytes());
        area.extend(hmac);
        Ok(area)
    }

    /// Checks that the TPM made this response to that command, and decrypts its first parameter
    /// where that was asked.
    pub(super) fn check(
        &mut self,
        code: u32,
        response: &mut Response,
        asks: Asks<'_>,
    ) -> Result<()> {
        let (tpm, rest) = split_2b(&response.authorizations).ok_or_else(no_session)?;
        let (attributes, rest) = rest.split_first().ok_or_else(no_session)?;
        let (Some((given, [])), true) = (split_2b(rest), tpm.len() >= SHORTEST_NONCE) else {
            return Err(no_session());
        };
        self.tpm = tpm.to_vec();
        let value = self.value(asks.auth)?;
        let mut digest = engine::Digest::new(Hash::Sha256)?;
        digest.update(&0u32.to_be_bytes());
        digest.update(&code.to_be_bytes());
        digest.update(&response.parameters);
        let hmac = self.hmac(
            &value,
            &digest.finish(),
            [&self.tpm, &self.caller],
            *attributes,
        )?;
        if !bool::from(hmac.ct_eq(given)) {
            return fail!(
                CKR_DEVICE_ERROR,
                "token not authentic: the response is not from the TPM that the token was made on"
            );
        }
        if asks.hides_response {
            self.crypt(&value, Direction::Decrypt, &mut response.parameters)?;
        }
        Ok(())
    }

    /// The session's key with the authorization value (Part 1, 19.6.5): a TPM leaves trailing zeros
    /// of the latter away (Part 1, 19.6.4.3).
    fn value(&self, auth: &[u8]) -> Result<Secret> {
        let zeros = auth.iter().rev().take_while(|byte| **byte == 0).count();
        let auth = auth.get(..auth.len() - zeros).unwrap_or_default();
        let mut value = Secret::zeroed(self.key.len() + auth.len())?;
        for (to, from) in value.iter_mut().zip(self.key.iter().chain(auth)) {
            *to = *from;
        }
        Ok(value)
    }

    /// Part 1, 19.6.5 and 19.6.12: `nonces` are the newer and the older one.
    fn hmac(
        &self,
        value: &[u8],
        digest: &[u8],
        nonces: [&[u8]; 2],
        attributes: u8,
    ) -> Result<Vec<u8>> {
        let [newer, older] = nonces;
        let mut hmac = engine::Hmac::new(Hash::Sha256, value)?;
        for part in [digest, newer, older, &[attributes]] {
            hmac.update(part);
        }
        Ok(hmac.finish())
    }

    /// Encrypts or decrypts the TPM2B at the head of the parameters (Part 1, 21.3).
    fn crypt(&self, value: &[u8], direction: Direction, parameters: &mut [u8]) -> Result<()> {
        let [newer, older]: [&[u8]; 2] = match direction {
            Direction::Encrypt => [&self.caller, &self.tpm],
            Direction::Decrypt => [&self.tpm, &self.caller],
        };
        let derived = kdfa(value, b"CFB", newer, older, AES_KEY + AES_IV)?;
        let (key, iv) = derived.split_at(AES_KEY);
        let first = parameters
            .split_first_chunk_mut()
            .and_then(|(len, rest)| rest.get_mut(..u16::from_be_bytes(*len).into()))
            .ok_or_else(|| malformed("its first parameter is cut short"))?;
        engine::cfb(direction, key, iv, first)
    }
}

impl Asks<'_> {
    fn attributes(self) -> u8 {
        let mut attributes = TpmaSession::empty();
        if !self.ends {
            attributes |= TpmaSession::CONTINUE_SESSION;
        }
        if self.hides_command {
            attributes |= TpmaSession::DECRYPT;
        }
        if self.hides_response {
            attributes |= TpmaSession::ENCRYPT;
        }
        attributes.bits()
    }
}

fn no_session() -> Error {
    malformed("it has no session area")
}
