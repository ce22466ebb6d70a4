//! What a session does: operations that begin with C_…Init and end by their own rules.

use crate::crypto::Direction;
use crate::error::{Error, Result, fail};
use crate::mechanism::Mechanism;
use crate::memory;
use crate::object::Object;
use crate::session::Session;
use crate::slot::Slot;
use crate::token::User;
use cryptoki_sys::*;
use std::sync::Arc;

pub mod cipher;
pub mod derive;
pub mod digest;
pub mod dual;
pub mod encapsulate;
mod ephemeral;
pub mod find;
pub mod generate;
pub mod message;
pub mod objects;
pub mod random;
pub mod recover;
pub mod sign;
pub mod state;
mod whole;
pub mod wrap;

/// Declares [`Operations`]: each with the CKF_ flag that ends it (5.6.5), those with a key apart.
macro_rules! operations {
    (
        without_key { $($free:ident: $free_kind:ty, $free_flag:ident;)* }
        with_key { $($field:ident: $kind:ty, $flag:ident;)* }
    ) => {
        /// The operations of a session that can be under way side by side (5.6, 5.1).
        #[derive(Default)]
        pub struct Operations {
            $(pub(crate) $free: Option<$free_kind>,)*
            $(pub(crate) $field: Option<$kind>,)*
        }

        impl Operations {
            /// Ends operations, by the CKF_ flags of their functions; whether there was one.
            pub(crate) fn cancel(&mut self, functions: CK_FLAGS) -> bool {
                let mut ended = false;
                $(ended |= functions & $free_flag != 0 && self.$free.take().is_some();)*
                $(ended |= functions & $flag != 0 && self.$field.take().is_some();)*
                ended
            }

            /// Whether an operation with a key is under way.
            pub(crate) fn has_key(&self) -> bool {
                false $(|| self.$field.is_some())*
            }

            /// Ends the operations whose login is over.
            pub(crate) fn drop_stale(&mut self, slot: &Slot) {
                $(self.$field.take_if(|operation| operation.guard.is_stale(slot));)*
            }

            /// The guard of the operation that waits for a context-specific login.
            pub(crate) fn asks_for_pin(&mut self) -> Option<&mut Guard> {
                let guards = [$(self.$field.as_mut().map(|operation| &mut operation.guard)),*];
                let mut waiting = guards.into_iter().flatten();
                waiting.find(|guard| guard.unconfirmed().is_some())
            }
        }
    };
}

operations! {
    without_key {
        find: find::Search, CKF_FIND_OBJECTS;
        digest: digest::Digesting, CKF_DIGEST;
    }
    with_key {
        sign: sign::Signing, CKF_SIGN;
        verify: sign::Verifying, CKF_VERIFY;
        verify_signature: sign::VerifyingSignature, CKF_VERIFY;
        sign_recover: recover::Signing, CKF_SIGN_RECOVER;
        verify_recover: recover::Verifying, CKF_VERIFY_RECOVER;
        encrypt: cipher::Crypting, CKF_ENCRYPT;
        decrypt: cipher::Crypting, CKF_DECRYPT;
        message_sign: message::Signing, CKF_MESSAGE_SIGN;
        message_verify: message::Verifying, CKF_MESSAGE_VERIFY;
        message_encrypt: message::Crypting, CKF_MESSAGE_ENCRYPT;
        message_decrypt: message::Crypting, CKF_MESSAGE_DECRYPT;
    }
}

impl Operations {
    /// The encryption or the decryption.
    pub(crate) fn crypting(&mut self, direction: Direction) -> &mut Option<cipher::Crypting> {
        match direction {
            Direction::Encrypt => &mut self.encrypt,
            Direction::Decrypt => &mut self.decrypt,
        }
    }
}

/// The room that a caller has for an answer (5.2, output length convention).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// A null buffer: how long would it be?
    Query,
    /// A buffer of so many bytes.
    Bytes(usize),
}

impl Room {
    /// The room for an answer that is so much longer.
    pub fn with(self, more: usize) -> Self {
        match self {
            Room::Query => Room::Query,
            Room::Bytes(room) => Room::Bytes(room.saturating_add(more)),
        }
    }
}

/// An answer by that convention.
#[derive(Debug)]
pub enum Answer {
    /// To a query: so many bytes, or fewer.
    Length(usize),
    /// CKR_BUFFER_TOO_SMALL: so many bytes are needed.
    TooSmall(usize),
    /// Here it is.
    Bytes(Vec<u8>),
}

/// An answer of which the end goes elsewhere.
#[derive(Debug)]
pub struct Split {
    /// What stays.
    pub rest: Answer,
    /// The end; nothing where there is no answer yet.
    pub end: Vec<u8>,
}

impl Answer {
    /// The answer without its last bytes.
    pub fn without(self, len: usize) -> Split {
        let mut end = Vec::new();
        let rest = match self {
            Answer::Length(whole) => Answer::Length(whole.saturating_sub(len)),
            Answer::TooSmall(whole) => Answer::TooSmall(whole.saturating_sub(len)),
            Answer::Bytes(mut bytes) => {
                end = bytes.split_off(bytes.len().saturating_sub(len));
                Answer::Bytes(bytes)
            }
        };
        Split { rest, end }
    }
}

/// How a step of an operation comes out.
pub(crate) enum Step<T> {
    /// The operation is over, with this answer.
    Done(Answer),
    /// It goes on as it was.
    Again(T, Answer),
}

/// Makes an answer of `len` bytes if the caller has room for it. Otherwise the operation stays.
pub(crate) fn with_room<T>(
    operation: T,
    room: Room,
    len: usize,
    make: impl FnOnce(T) -> Result<Vec<u8>>,
) -> Result<Step<T>> {
    match room {
        Room::Query => Ok(Step::Again(operation, Answer::Length(len))),
        Room::Bytes(room) if room < len => Ok(Step::Again(operation, Answer::TooSmall(len))),
        Room::Bytes(_) => make(operation).map(|bytes| Step::Done(Answer::Bytes(bytes))),
    }
}

/// The only way an operation ends (5.2): it is taken out, and put back only for a length query or
/// `CKR_BUFFER_TOO_SMALL`. An error ends it.
pub(crate) fn finish<T>(
    active: &mut Option<T>,
    step: impl FnOnce(T) -> Result<Step<T>>,
) -> Result<Answer> {
    match step(take(active)?)? {
        Step::Done(answer) => Ok(answer),
        Step::Again(operation, answer) => {
            *active = Some(operation);
            Ok(answer)
        }
    }
}

/// The way an operation goes on: an error ends it.
pub(crate) fn advance<T, R>(
    active: &mut Option<T>,
    step: impl FnOnce(&mut T) -> Result<R>,
) -> Result<R> {
    let mut operation = take(active)?;
    let result = step(&mut operation)?;
    *active = Some(operation);
    Ok(result)
}

/// Takes an operation out. `CKR_OPERATION_NOT_INITIALIZED`.
pub(crate) fn take<T>(active: &mut Option<T>) -> Result<T> {
    active.take().ok_or_else(|| {
        Error::new(
            CKR_OPERATION_NOT_INITIALIZED,
            "no such operation is under way in this session",
        )
    })
}

/// Refuses to begin an operation beside one of its kind. `CKR_OPERATION_ACTIVE`.
pub(crate) fn none_active<T>(active: &Option<T>) -> Result<()> {
    match active {
        None => Ok(()),
        Some(_) => fail!(
            CKR_OPERATION_ACTIVE,
            "an operation of this kind is under way in this session"
        ),
    }
}

/// What a key's use depends on from C_…Init to the end: the login it began under, and the PIN that
/// a key with CKA_ALWAYS_AUTHENTICATE asks for each time (4.10, 5.6.8).
pub struct Guard {
    era: Option<u64>,
    /// The key that asks for a PIN each time.
    asks: Option<Arc<Object>>,
    /// It was given.
    confirmed: bool,
}

impl Guard {
    /// Of an operation with this key that begins now.
    pub(crate) fn new(slot: &Slot, key: &Arc<Object>) -> Self {
        Self {
            era: key.needs_login().then(|| slot.era()),
            asks: key
                .attributes()
                .is(CKA_ALWAYS_AUTHENTICATE)
                .then(|| Arc::clone(key)),
            confirmed: false,
        }
    }

    /// The key that waits for its PIN.
    pub(crate) fn unconfirmed(&self) -> Option<&Arc<Object>> {
        self.asks.as_ref().filter(|_| !self.confirmed)
    }

    /// The PIN was right.
    pub(crate) fn confirm(&mut self) {
        self.confirmed = true;
    }

    /// The key was used; for the next message it asks again.
    pub(crate) fn used(&mut self) {
        self.confirmed = false;
    }

    /// Whether the login that it began under is over.
    pub(crate) fn is_stale(&self, slot: &Slot) -> bool {
        self.era
            .is_some_and(|era| era != slot.era() || slot.user() != Some(User::User))
    }

    /// Refuses to go on after a logout, or without the PIN. `CKR_USER_NOT_LOGGED_IN`.
    pub(crate) fn check(&self, slot: &Slot) -> Result<()> {
        if self.is_stale(slot) {
            return fail!(
                CKR_USER_NOT_LOGGED_IN,
                "the user logged out while the operation was under way"
            );
        }
        if self.unconfirmed().is_some() {
            return fail!(
                CKR_USER_NOT_LOGGED_IN,
                "this key asks for the PIN each time: C_Login with CKU_CONTEXT_SPECIFIC first"
            );
        }
        Ok(())
    }
}

/// Asks the guard of an operation that is about to go on; a refusal ends the operation.
pub(crate) fn check_guard<T>(
    active: &mut Option<T>,
    guard: impl Fn(&T) -> &Guard,
    slot: &Slot,
) -> Result<()> {
    match active
        .as_ref()
        .map(|operation| guard(operation).check(slot))
    {
        Some(Err(refusal)) => {
            *active = None;
            Err(refusal)
        }
        _ => Ok(()),
    }
}

impl Session {
    /// The mechanism that an operation begins with, as the token offers it, and its key, when the key may be used
    /// so. `function` is the operation's CKF_ flag, `usage` the attribute that permits it.
    ///
    /// Errors: `CKR_MECHANISM_INVALID`, `CKR_KEY_HANDLE_INVALID`, `CKR_KEY_TYPE_INCONSISTENT`,
    /// `CKR_KEY_SIZE_RANGE`, `CKR_KEY_FUNCTION_NOT_PERMITTED`.
    fn key_for(
        &self,
        function: CK_FLAGS,
        usage: CK_ATTRIBUTE_TYPE,
        mechanism: CK_MECHANISM_TYPE,
        key: CK_OBJECT_HANDLE,
    ) -> Result<(Mechanism, Arc<Object>)> {
        let row = self.slot.mechanism(mechanism, function)?;
        let key = self.key(key)?;
        // In this order: "higher priority than CKR_KEY_FUNCTION_NOT_PERMITTED" (5.1.6).
        row.check_key(key.attributes().key_type(), key.size().0)?;
        check_usage(&key, usage, mechanism)?;
        Ok((row, key))
    }
}

/// Refuses a key that may not be used so: its usage attribute is not true, CKA_ALLOWED_MECHANISMS does
/// not name the mechanism, or today is not between CKA_START_DATE and CKA_END_DATE (by which the
/// standard itself restricts nothing, 4.8). What an old key made can still be verified and decrypted.
/// `CKR_KEY_FUNCTION_NOT_PERMITTED`, `CKR_MECHANISM_INVALID`.
fn check_usage(key: &Object, usage: CK_ATTRIBUTE_TYPE, mechanism: CK_MECHANISM_TYPE) -> Result<()> {
    if !key.attributes().is(usage) {
        return fail!(
            CKR_KEY_FUNCTION_NOT_PERMITTED,
            "{} of this key is not true",
            crate::attribute::name(usage)
        );
    }
    let makes_something_new = matches!(
        usage,
        CKA_SIGN | CKA_SIGN_RECOVER | CKA_ENCRYPT | CKA_WRAP | CKA_ENCAPSULATE | CKA_DERIVE
    );
    if makes_something_new && !crate::attribute::is_valid_today(key.attributes()) {
        return fail!(
            CKR_KEY_FUNCTION_NOT_PERMITTED,
            "today is not between CKA_START_DATE and CKA_END_DATE of this key"
        );
    }
    check_allowed(key, mechanism)
}

/// Refuses a mechanism that CKA_ALLOWED_MECHANISMS leaves out; an empty one allows none (4.8).
/// `CKR_MECHANISM_INVALID`.
fn check_allowed(key: &Object, mechanism: CK_MECHANISM_TYPE) -> Result<()> {
    let allowed = key.attributes().get(CKA_ALLOWED_MECHANISMS);
    let left_out = allowed.is_some_and(|allowed| {
        !allowed
            .chunks_exact(size_of::<CK_MECHANISM_TYPE>())
            .any(|one| one == mechanism.to_ne_bytes())
    });
    if left_out {
        return fail!(
            CKR_MECHANISM_INVALID,
            "CKA_ALLOWED_MECHANISMS of this key leaves the mechanism out"
        );
    }
    Ok(())
}

/// How often the values of an object are copied on their way into a token: attributes, encoding,
/// sealing, twice in SQLite, and back; and into a session: the change, the object, the index.
const COPIES: (usize, usize) = (8, 4);

/// Refuses an object, with so many bytes of values, that there is no memory to make.
/// `CKR_HOST_MEMORY`, before anything is begun.
pub(crate) fn afford_object(bytes: usize, on_token: bool) -> Result<()> {
    let copies = if on_token { COPIES.0 } else { COPIES.1 };
    memory::afford(bytes.saturating_mul(copies))
}

/// The longest message that is kept for a mechanism which works on all of it at the end: a host that
/// feeds more would wait for its memory to be filled. In one call there is no limit.
const LONGEST: usize = 1 << 30;

/// Adds a part to what is collected for a mechanism that works in one piece. `CKR_HOST_MEMORY`,
/// `CKR_DATA_LEN_RANGE`.
pub(crate) fn collect(collected: &mut Vec<u8>, part: &[u8]) -> Result<()> {
    if collected.len().saturating_add(part.len()) > LONGEST {
        return fail!(
            CKR_DATA_LEN_RANGE,
            "this mechanism works on the whole message at its end, and keeps no more than 1 GiB of parts"
        );
    }
    append(collected, part)
}

/// `CKR_HOST_MEMORY`.
fn append(bytes: &mut Vec<u8>, more: &[u8]) -> Result<()> {
    bytes.try_reserve(more.len()).map_err(memory::short)?;
    bytes.extend_from_slice(more);
    Ok(())
}

/// Changes one code of an error to another.
fn renamed(from: CK_RV, to: CK_RV) -> impl Fn(Error) -> Error {
    move |error| match error.rv() == from {
        true => error.with_rv(to),
        false => error,
    }
}
