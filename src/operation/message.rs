//! Many messages with one key (PKCS#11 5.14, 5.16; encryption: [`aead`]).
//!
//! A process lasts from C_Message…Init to C_Message…Final. In it messages come one after the other,
//! whole or in parts; an error ends a message, not the process. A key that asks for the PIN each
//! time asks for each message.

pub mod aead;
mod nonce;

pub use aead::Crypting;
pub use nonce::Nonce;

use super::sign::{Checking, Making};
use super::{Answer, Guard, Room, Step, advance, finish, none_active, take, with_room};
use crate::error::{Error, Result, fail};
use crate::mechanism::{Mechanism, Parameter};
use crate::object::Object;
use crate::session::Session;
use crate::slot::Slot;
use cryptoki_sys::*;
use std::sync::Arc;

/// A process of signing or verifying messages.
pub struct Process<T> {
    pub(crate) guard: Guard,
    row: Mechanism,
    parameter: Parameter,
    key: Arc<Object>,
    /// The message that comes in parts.
    current: Option<T>,
}

impl<T> Process<T> {
    fn new(slot: &Slot, row: Mechanism, parameter: Parameter, key: Arc<Object>) -> Self {
        Self {
            guard: Guard::new(slot, &key),
            row,
            parameter,
            key,
            current: None,
        }
    }
}

/// C_MessageSignInit to C_MessageSignFinal.
pub type Signing = Process<Making>;
/// C_MessageVerifyInit to C_MessageVerifyFinal.
pub type Verifying = Process<Checking>;

/// A process of any kind: what it asks before it goes on, and the message in parts.
pub(crate) trait Messages {
    /// The message in parts.
    type Message;
    /// What the key's use depends on.
    fn guard(&mut self) -> &mut Guard;
    /// The message in parts, if one has begun.
    fn current(&mut self) -> &mut Option<Self::Message>;
}

impl<T> Messages for Process<T> {
    type Message = T;
    fn guard(&mut self) -> &mut Guard {
        &mut self.guard
    }
    fn current(&mut self) -> &mut Option<T> {
        &mut self.current
    }
}

/// The process, which a logout ends. `CKR_OPERATION_NOT_INITIALIZED`, `CKR_USER_NOT_LOGGED_IN`.
fn process<'a, P: Messages>(active: &'a mut Option<P>, slot: &Slot) -> Result<&'a mut P> {
    let ended = active.take_if(|process| process.guard().is_stale(slot));
    if let Some(mut process) = ended {
        process.guard().check(slot)?;
    }
    active.as_mut().ok_or_else(|| {
        Error::new(
            CKR_OPERATION_NOT_INITIALIZED,
            "no process of messages of this kind is under way in this session",
        )
    })
}

/// The process, where no message in parts is under way. `CKR_OPERATION_ACTIVE`.
fn between<'a, P: Messages>(active: &'a mut Option<P>, slot: &Slot) -> Result<&'a mut P> {
    let process = process(active, slot)?;
    match process.current() {
        None => Ok(process),
        Some(_) => fail!(
            CKR_OPERATION_ACTIVE,
            "a message in parts is under way: end it first"
        ),
    }
}

/// The process, in the middle of a message whose key may be used; a refusal ends the message.
fn within<'a, P: Messages>(active: &'a mut Option<P>, slot: &Slot) -> Result<&'a mut P> {
    let process = process(active, slot)?;
    if let (Some(_), Err(refusal)) = (
        process.current().as_ref().map(drop),
        process.guard().check(slot),
    ) {
        *process.current() = None;
        return Err(refusal);
    }
    Ok(process)
}

/// Ends the message in parts, where one is under way.
fn forget_message<P: Messages>(active: &mut Option<P>) {
    if let Some(process) = active {
        *process.current() = None;
    }
}

/// C_Message…Final.
fn end<P: Messages>(active: &mut Option<P>, slot: &Slot) -> Result<()> {
    between(active, slot)?;
    *active = None;
    Ok(())
}

impl Signing {
    fn start(&self, session: &Session) -> Result<Making> {
        Making::new(session, &self.row, &self.parameter, &self.key)
    }
}

impl Verifying {
    fn start(&self, session: &Session) -> Result<Checking> {
        Checking::new(session, &self.row, &self.parameter, &self.key)
    }
}

impl Session {
    /// Ends the message in parts of a process, by its CKF_ flag.
    fn end_message(&self, function: CK_FLAGS) {
        let mut operations = self.operations();
        match function {
            CKF_MESSAGE_SIGN => forget_message(&mut operations.message_sign),
            CKF_MESSAGE_VERIFY => forget_message(&mut operations.message_verify),
            CKF_MESSAGE_ENCRYPT => forget_message(&mut operations.message_encrypt),
            _ => forget_message(&mut operations.message_decrypt),
        }
    }

    /// The arguments of a step of a message; a refusal of them ends the message (5.2).
    pub(crate) fn or_end_message<T>(
        &self,
        function: CK_FLAGS,
        arguments: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        arguments().inspect_err(|_| self.end_message(function))
    }

    /// C_MessageSignInit.
    pub fn message_sign_init(
        &self,
        mechanism: CK_MECHANISM_TYPE,
        parameter: Parameter,
        key: CK_OBJECT_HANDLE,
    ) -> Result<()> {
        let mut operations = self.operations();
        none_active(&operations.message_sign)?;
        let (row, key) = self.key_for(CKF_MESSAGE_SIGN, CKA_SIGN, mechanism, key)?;
        let process = Signing::new(&self.slot, row, parameter, key);
        // What cannot be begun is refused here, not at the first message.
        process.start(self)?;
        operations.message_sign = Some(process);
        Ok(())
    }

    /// C_SignMessage.
    pub fn sign_message(&self, data: &[u8], room: Room) -> Result<Answer> {
        let mut operations = self.operations();
        let process = between(&mut operations.message_sign, &self.slot)?;
        process.guard.check(&self.slot)?;
        let making = process.start(self)?;
        let len = making.len;
        let step = with_room(making, room, len, |making| making.finish(data));
        match step {
            Ok(Step::Again(_, answer)) => Ok(answer),
            Ok(Step::Done(answer)) => {
                process.guard.used();
                Ok(answer)
            }
            Err(refusal) => {
                process.guard.used();
                Err(refusal)
            }
        }
    }

    /// C_SignMessageBegin.
    pub fn sign_message_begin(&self) -> Result<()> {
        let mut operations = self.operations();
        let process = between(&mut operations.message_sign, &self.slot)?;
        process.current = Some(process.start(self)?);
        Ok(())
    }

    /// C_SignMessageNext: `room` is there at the last part.
    pub fn sign_message_next(&self, data: &[u8], room: Option<Room>) -> Result<Option<Answer>> {
        let mut operations = self.operations();
        let process = within(&mut operations.message_sign, &self.slot)?;
        let Some(room) = room else {
            return advance(&mut process.current, |making| making.update(data)).map(|()| None);
        };
        let answer = finish(&mut process.current, |making| {
            let len = making.len;
            with_room(making, room, len, |making| making.finish(data))
        });
        if process.current.is_none() {
            process.guard.used();
        }
        answer.map(Some)
    }

    /// C_MessageSignFinal.
    pub fn message_sign_final(&self) -> Result<()> {
        end(&mut self.operations().message_sign, &self.slot)
    }

    /// C_MessageVerifyInit.
    pub fn message_verify_init(
        &self,
        mechanism: CK_MECHANISM_TYPE,
        parameter: Parameter,
        key: CK_OBJECT_HANDLE,
    ) -> Result<()> {
        let mut operations = self.operations();
        none_active(&operations.message_verify)?;
        let (row, key) = self.key_for(CKF_MESSAGE_VERIFY, CKA_VERIFY, mechanism, key)?;
        let process = Verifying::new(&self.slot, row, parameter, key);
        process.start(self)?;
        operations.message_verify = Some(process);
        Ok(())
    }

    /// C_VerifyMessage.
    pub fn verify_message(&self, data: &[u8], signature: &[u8]) -> Result<()> {
        let mut operations = self.operations();
        let process = between(&mut operations.message_verify, &self.slot)?;
        process.guard.check(&self.slot)?;
        process.start(self)?.finish(data, signature)
    }

    /// C_VerifyMessageBegin.
    pub fn verify_message_begin(&self) -> Result<()> {
        let mut operations = self.operations();
        let process = between(&mut operations.message_verify, &self.slot)?;
        process.current = Some(process.start(self)?);
        Ok(())
    }

    /// C_VerifyMessageNext: the signature is there at the last part.
    pub fn verify_message_next(&self, data: &[u8], signature: Option<&[u8]>) -> Result<()> {
        let mut operations = self.operations();
        let process = within(&mut operations.message_verify, &self.slot)?;
        match signature {
            None => advance(&mut process.current, |checking| checking.update(data)),
            Some(signature) => take(&mut process.current)?.finish(data, signature),
        }
    }

    /// C_MessageVerifyFinal.
    pub fn message_verify_final(&self) -> Result<()> {
        end(&mut self.operations().message_verify, &self.slot)
    }
}
