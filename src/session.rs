//! A session: a caller's view of one token, and the operations that are under way in it.

use crate::error::{Error, Result, fail};
use crate::lock::Locked;
use crate::memory;
use crate::object::Object;
use crate::operation::Operations;
use crate::slot::Slot;
use crate::token::User;
use cryptoki_sys::*;
use std::sync::{Arc, Mutex, MutexGuard};

/// One session. Threads may share it; its operations take turns.
pub struct Session {
    /// Its handle.
    pub handle: CK_SESSION_HANDLE,
    /// Whose token it sees.
    pub slot: Arc<Slot>,
    /// CKF_RW_SESSION.
    pub read_write: bool,
    /// The token that it is with, as [`Token::removals`](crate::token::Token::removals) counts them.
    removals: u64,
    operations: Mutex<Operations>,
    /// Handles of the objects that live as long as the session; `None` once it is closed.
    objects: Mutex<Option<Vec<CK_OBJECT_HANDLE>>>,
}

impl Session {
    /// Opens a session on a slot (5.6.1).
    pub(crate) fn open(slot: Arc<Slot>, read_write: bool) -> Result<Self> {
        let removals = slot.enter(read_write)?;
        Ok(Self {
            removals,
            handle: crate::handle::next(),
            slot,
            read_write,
            operations: Mutex::default(),
            objects: Mutex::new(Some(Vec::new())),
        })
    }

    /// Whether its token is still in the slot, as far as is known.
    pub(crate) fn has_its_token(&self) -> bool {
        self.slot.token().removals() == self.removals
    }

    /// Which token it is with, as [`Token::removals`](crate::token::Token::removals) counts them.
    pub(crate) fn removals(&self) -> u64 {
        self.removals
    }

    /// Ends it: its objects go, and with the last session the login (5.6.2).
    pub(crate) fn close(&self) {
        let made = self.objects.locked().take().unwrap_or_default();
        self.slot.forget(&made);
        self.slot.leave(self.read_write, self.removals);
        *self.operations() = Operations::default();
    }

    /// The operations under way, for the length of one call.
    pub(crate) fn operations(&self) -> MutexGuard<'_, Operations> {
        self.operations.locked()
    }

    /// Ends operations, by the CKF_ flags of their functions (C_SessionCancel, 5.6.5).
    pub fn cancel(&self, functions: CK_FLAGS) {
        self.operations().cancel(functions);
    }

    /// Ends the operation of one kind, as a C_…Init with a null mechanism asks (3.0 and later).
    /// `CKR_ARGUMENTS_BAD` where there is none: then it is what 2.40 calls it.
    pub(crate) fn cancel_active(&self, function: CK_FLAGS) -> Result<()> {
        match self.operations().cancel(function) {
            true => Ok(()),
            false => fail!(
                CKR_ARGUMENTS_BAD,
                "the mechanism is null, and there is no operation to end"
            ),
        }
    }

    /// The arguments of a step of an operation; a refusal of them ends it (5.2).
    pub(crate) fn or_cancel<T>(
        &self,
        function: CK_FLAGS,
        arguments: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        arguments().inspect_err(|_| self.cancel(function))
    }

    /// Notes objects that go with this session; they go at once where it has just been closed.
    pub(crate) fn own(&self, made: &[CK_OBJECT_HANDLE]) -> Result<()> {
        let noted = match &mut *self.objects.locked() {
            Some(objects) => match objects.try_reserve(made.len()) {
                Ok(()) => {
                    objects.extend_from_slice(made);
                    Ok(())
                }
                Err(error) => Err(memory::short(error)),
            },
            None => fail!(
                CKR_SESSION_HANDLE_INVALID,
                "the session has just been closed"
            ),
        };
        noted.inspect_err(|_| self.slot.forget(made))
    }

    /// Ends what was begun under a login that is over, and lets its keys go.
    pub(crate) fn drop_stale(&self) {
        self.operations().drop_stale(&self.slot);
    }

    /// CK_STATE (5.6.5).
    pub fn state(&self) -> CK_STATE {
        match (self.slot.user(), self.read_write) {
            (None, false) => CKS_RO_PUBLIC_SESSION,
            (None, true) => CKS_RW_PUBLIC_SESSION,
            (Some(User::User), false) => CKS_RO_USER_FUNCTIONS,
            (Some(User::User), true) => CKS_RW_USER_FUNCTIONS,
            (Some(User::SecurityOfficer), _) => CKS_RW_SO_FUNCTIONS,
        }
    }

    /// The object behind a handle. `CKR_OBJECT_HANDLE_INVALID`.
    pub fn object(&self, handle: CK_OBJECT_HANDLE) -> Result<Arc<Object>> {
        self.slot.object(handle)?.ok_or_else(|| no_object(handle))
    }

    /// The key behind a handle. `CKR_KEY_HANDLE_INVALID` (5.1.6).
    pub fn key(&self, handle: CK_OBJECT_HANDLE) -> Result<Arc<Object>> {
        self.slot
            .object(handle)?
            .filter(|object| object.attributes().key_type().is_some())
            .ok_or_else(|| no_object(handle).with_rv(CKR_KEY_HANDLE_INVALID))
    }

    /// Refuses to make, change or destroy an object that this session may not write (4.4, 5.6.1):
    /// `CKR_SESSION_READ_ONLY`, `CKR_USER_NOT_LOGGED_IN`.
    pub(crate) fn may_write(&self, token_object: bool, private: bool) -> Result<()> {
        if token_object && !self.read_write {
            return fail!(
                CKR_SESSION_READ_ONLY,
                "a read-only session cannot change the token"
            );
        }
        let user = self.slot.user();
        let so = user == Some(User::SecurityOfficer) && self.slot.token().so_writes();
        if private && user != Some(User::User) && !so {
            return fail!(
                CKR_USER_NOT_LOGGED_IN,
                "private objects are the user's: log in first"
            );
        }
        // The guide, 7.2.2 d: what everybody may read, only who has logged in may change.
        if token_object && user.is_none() && !self.slot.policy.public_write {
            return fail!(
                CKR_USER_NOT_LOGGED_IN,
                "the token is changed only after login (policy.public_write allows it without)"
            );
        }
        Ok(())
    }

    /// C_LoginUser (5.6.9): the users of these tokens have no names.
    pub fn login_user(&self, user: CK_USER_TYPE, pin: Option<&[u8]>, name: &[u8]) -> Result<()> {
        match name {
            [] => self.login(user, pin),
            _ => fail!(
                CKR_ARGUMENTS_BAD,
                "this token knows no users by name: leave the user name empty"
            ),
        }
    }

    /// C_Login (5.6.8). `user` is a CK_USER_TYPE.
    pub fn login(&self, user: CK_USER_TYPE, pin: Option<&[u8]>) -> Result<()> {
        let Some(pin) = pin else {
            return fail!(
                CKR_ARGUMENTS_BAD,
                "no PIN: this token has no protected authentication path"
            );
        };
        match user {
            CKU_USER => self.slot.log_in(User::User, pin, self.removals),
            CKU_SO => self.slot.log_in(User::SecurityOfficer, pin, self.removals),
            CKU_CONTEXT_SPECIFIC => self.confirm(pin),
            _ => fail!(CKR_USER_TYPE_INVALID, "user type {user} does not exist"),
        }
    }

    fn confirm(&self, pin: &[u8]) -> Result<()> {
        let mut operations = self.operations();
        let Some(guard) = operations.asks_for_pin() else {
            return fail!(
                CKR_OPERATION_NOT_INITIALIZED,
                "no operation of this session waits for the PIN"
            );
        };
        if let Some(key) = guard.unconfirmed() {
            self.slot.confirm(&key.stored, pin, self.removals)?;
        }
        guard.confirm();
        Ok(())
    }

    /// C_InitPIN (5.5.8).
    pub fn init_pin(&self, pin: &[u8]) -> Result<()> {
        self.slot.init_pin(pin, self.removals)
    }

    /// C_SetPIN (5.5.9).
    pub fn set_pin(&self, old: &[u8], new: &[u8]) -> Result<()> {
        if !self.read_write {
            return fail!(
                CKR_SESSION_READ_ONLY,
                "a PIN is changed in a read/write session"
            );
        }
        self.slot.set_pin(old, new, self.removals)
    }
}

fn no_object(handle: CK_OBJECT_HANDLE) -> Error {
    Error::new(
        CKR_OBJECT_HANDLE_INVALID,
        format!("there is no object {handle}, or it cannot be seen now"),
    )
}
