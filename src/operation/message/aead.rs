//! Encrypting and decrypting messages (PKCS#11 5.9, 5.11): nonce and tag come and go with each.
//!
//! A message in parts is worked on at its end, in one piece: no plaintext is given out before the
//! tag holds, and a ciphertext that was begun cannot be left without its tag.

use super::nonce::{Nonce, Nonces};
use super::{Messages, between, end, within};
use crate::crypto::{Direction, engine};
use crate::error::{Result, fail};
use crate::mechanism::Plan;
use crate::memory::{self, Secret};
use crate::operation::{
    Answer, Guard, Operations, Room, advance, collect, finish, none_active, renamed, with_room,
};
use crate::session::Session;
use cryptoki_sys::*;
use std::sync::Arc;
use zeroize::Zeroizing;

/// The ciphers that take messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aead {
    /// CKM_AES_GCM, CK_GCM_MESSAGE_PARAMS.
    Gcm,
    /// CKM_AES_CCM, CK_CCM_MESSAGE_PARAMS.
    Ccm,
    /// CKM_CHACHA20_POLY1305, CK_SALSA20_CHACHA20_POLY1305_MSG_PARAMS.
    ChaCha20Poly1305,
}

impl Aead {
    /// That of a mechanism's plan.
    pub fn of(plan: Plan) -> Option<Self> {
        match plan {
            Plan::Gcm => Some(Aead::Gcm),
            Plan::Ccm => Some(Aead::Ccm),
            Plan::ChaCha20Poly1305 => Some(Aead::ChaCha20Poly1305),
            _ => None,
        }
    }

    /// Ciphertext and tag.
    fn seal(self, key: &[u8], message: &Message, data: &[u8]) -> Result<(Vec<u8>, Vec<u8>)> {
        let Message {
            nonce, aad, tag, ..
        } = message;
        let mut sealed = match self {
            Aead::Gcm => engine::gcm_seal(key, nonce, aad, *tag, data)?,
            Aead::Ccm => engine::ccm_seal(key, nonce, aad, *tag, data)?,
            Aead::ChaCha20Poly1305 => engine::chacha_seal(key, nonce, aad, data)?,
        };
        let tag = sealed.split_off(data.len());
        Ok((sealed, tag))
    }

    /// The plaintext. `CKR_AEAD_DECRYPT_FAILED` where the tag does not hold.
    fn open(self, key: &[u8], message: &Message, data: &[u8], tag: &[u8]) -> Result<Vec<u8>> {
        let Message { nonce, aad, .. } = message;
        let mut input = memory::buffer(data.len().saturating_add(tag.len()))?;
        input.extend_from_slice(data);
        input.extend_from_slice(tag);
        let opened = match self {
            Aead::Gcm => engine::gcm_open(key, nonce, aad, tag.len(), &input),
            Aead::Ccm => engine::ccm_open(key, nonce, aad, tag.len(), &input),
            Aead::ChaCha20Poly1305 => engine::chacha_open(key, nonce, aad, &input),
        };
        let plain = opened.map_err(renamed(CKR_ENCRYPTED_DATA_INVALID, CKR_AEAD_DECRYPT_FAILED))?;
        memory::copy(&plain)
    }
}

/// A process of encrypting or decrypting messages.
pub struct Crypting {
    pub(crate) guard: Guard,
    aead: Aead,
    key: Arc<Secret>,
    nonces: Nonces,
    current: Option<Message>,
}

impl Messages for Crypting {
    type Message = Message;
    fn guard(&mut self) -> &mut Guard {
        &mut self.guard
    }
    fn current(&mut self) -> &mut Option<Message> {
        &mut self.current
    }
}

/// A message, and what has come in of it.
pub(crate) struct Message {
    nonce: Vec<u8>,
    aad: Vec<u8>,
    /// Length of the tag.
    tag: usize,
    /// Length of the message, where it was said beforehand.
    len: Option<usize>,
    collected: Zeroizing<Vec<u8>>,
}

/// The tag of a message.
pub enum Tag {
    /// Of one that is encrypted: its length.
    Wanted(usize),
    /// Of one that is decrypted.
    Given(Vec<u8>),
}

impl Tag {
    fn len(&self) -> usize {
        match self {
            Tag::Wanted(len) => *len,
            Tag::Given(tag) => tag.len(),
        }
    }
}

/// What a message says of itself when it begins.
pub struct Start<'a> {
    /// Its nonce, or how that is made.
    pub nonce: &'a Nonce,
    /// Its associated data.
    pub aad: &'a [u8],
    /// Its length, where that is said beforehand (CCM).
    pub len: Option<usize>,
}

/// What a step gives to the caller.
pub struct Output {
    /// By the convention of 5.2.
    pub answer: Answer,
    /// The nonce, of a message that has just begun.
    pub nonce: Option<Vec<u8>>,
    /// The tag, of a message that was encrypted.
    pub tag: Option<Vec<u8>>,
}

impl From<Answer> for Output {
    fn from(answer: Answer) -> Self {
        Self {
            answer,
            nonce: None,
            tag: None,
        }
    }
}

impl Crypting {
    /// The output of a whole message.
    fn run(
        aead: Aead,
        key: &[u8],
        message: &Message,
        data: &[u8],
        tag: &Tag,
    ) -> Result<(Vec<u8>, Option<Vec<u8>>)> {
        match tag {
            Tag::Wanted(_) => aead
                .seal(key, message, data)
                .map(|(sealed, tag)| (sealed, Some(tag))),
            Tag::Given(tag) => Ok((aead.open(key, message, data, tag)?, None)),
        }
    }

    fn begin(&mut self, start: &Start<'_>, tag: usize) -> Result<Message> {
        Ok(Message {
            aad: memory::copy(start.aad)?,
            nonce: self.nonces.next(start.nonce)?,
            tag,
            len: start.len,
            collected: Zeroizing::default(),
        })
    }
}

/// Refuses a message that is not as long as was said (ulDataLen).
fn check_len(direction: Direction, said: Option<usize>, len: usize) -> Result<()> {
    if said.is_none_or(|said| said == len) {
        return Ok(());
    }
    let code = match direction {
        Direction::Encrypt => CKR_DATA_LEN_RANGE,
        Direction::Decrypt => CKR_ENCRYPTED_DATA_LEN_RANGE,
    };
    fail!(
        code,
        "the message has {len} bytes, and ulDataLen says otherwise"
    )
}

impl Operations {
    fn messages(&mut self, direction: Direction) -> &mut Option<Crypting> {
        match direction {
            Direction::Encrypt => &mut self.message_encrypt,
            Direction::Decrypt => &mut self.message_decrypt,
        }
    }
}

impl Session {
    /// C_MessageEncryptInit, C_MessageDecryptInit. What the mechanism's parameter says is said
    /// again, and holds, with each message.
    pub fn message_crypt_init(
        &self,
        direction: Direction,
        mechanism: CK_MECHANISM_TYPE,
        key: CK_OBJECT_HANDLE,
    ) -> Result<()> {
        let (function, usage) = match direction {
            Direction::Encrypt => (CKF_MESSAGE_ENCRYPT, CKA_ENCRYPT),
            Direction::Decrypt => (CKF_MESSAGE_DECRYPT, CKA_DECRYPT),
        };
        let mut operations = self.operations();
        let active = operations.messages(direction);
        none_active(active)?;
        let (row, key) = self.key_for(function, usage, mechanism, key)?;
        let Some(aead) = Aead::of(row.plan) else {
            return fail!(CKR_MECHANISM_INVALID, "{} takes no messages", row.name);
        };
        *active = Some(Crypting {
            guard: Guard::new(&self.slot, &key),
            aead,
            key: key.secret_key(self.slot.token())?,
            nonces: Nonces::default(),
            current: None,
        });
        Ok(())
    }

    /// The cipher of the process, by which the parameters of its messages are read.
    /// `CKR_OPERATION_NOT_INITIALIZED`.
    pub fn message_aead(&self, direction: Direction) -> Result<Aead> {
        let mut operations = self.operations();
        let process = super::process(operations.messages(direction), &self.slot)?;
        Ok(process.aead)
    }

    /// C_EncryptMessage, C_DecryptMessage.
    pub fn crypt_message(
        &self,
        direction: Direction,
        start: &Start<'_>,
        tag: &Tag,
        data: &[u8],
        room: Room,
    ) -> Result<Output> {
        let mut operations = self.operations();
        let process = between(operations.messages(direction), &self.slot)?;
        process.guard.check(&self.slot)?;
        check_len(direction, start.len, data.len())?;
        match room {
            Room::Query => return Ok(Answer::Length(data.len()).into()),
            Room::Bytes(room) if room < data.len() => {
                return Ok(Answer::TooSmall(data.len()).into());
            }
            Room::Bytes(_) => {}
        }
        let message = process.begin(start, tag.len())?;
        let (output, made) = Crypting::run(process.aead, &process.key, &message, data, tag)?;
        Ok(Output {
            answer: Answer::Bytes(output),
            nonce: Some(message.nonce),
            tag: made,
        })
    }

    /// C_EncryptMessageBegin, C_DecryptMessageBegin: the nonce.
    pub fn crypt_message_begin(
        &self,
        direction: Direction,
        start: &Start<'_>,
        tag: usize,
    ) -> Result<Vec<u8>> {
        let mut operations = self.operations();
        let process = between(operations.messages(direction), &self.slot)?;
        process.guard.check(&self.slot)?;
        let message = process.begin(start, tag)?;
        let nonce = memory::copy(&message.nonce)?;
        process.current = Some(message);
        Ok(nonce)
    }

    /// C_EncryptMessageNext, C_DecryptMessageNext: the tag is there at the last part.
    pub fn crypt_message_next(
        &self,
        direction: Direction,
        tag: Option<&Tag>,
        data: &[u8],
        room: Room,
    ) -> Result<Output> {
        let mut operations = self.operations();
        let process = within(operations.messages(direction), &self.slot)?;
        let Some(tag) = tag else {
            if room == Room::Query && process.current.is_some() {
                return Ok(Answer::Length(0).into());
            }
            advance(&mut process.current, |message| {
                collect(&mut message.collected, data)
            })?;
            return Ok(Answer::Bytes(Vec::new()).into());
        };
        let (aead, key) = (process.aead, &process.key);
        let mut made = None;
        let answer = finish(&mut process.current, |message| {
            if message.tag != tag.len() {
                return fail!(
                    CKR_MECHANISM_PARAM_INVALID,
                    "the message was begun with a tag of {} bytes, not {}",
                    message.tag,
                    tag.len()
                );
            }
            let len = message.collected.len().saturating_add(data.len());
            check_len(direction, message.len, len)?;
            with_room(message, room, len, |mut message| {
                let mut whole = std::mem::take(&mut message.collected);
                collect(&mut whole, data)?;
                let (output, tag) = Crypting::run(aead, key, &message, &whole, tag)?;
                made = tag;
                Ok(output)
            })
        })?;
        Ok(Output {
            answer,
            nonce: None,
            tag: made,
        })
    }

    /// C_MessageEncryptFinal, C_MessageDecryptFinal.
    pub fn message_crypt_final(&self, direction: Direction) -> Result<()> {
        end(self.operations().messages(direction), &self.slot)
    }
}
