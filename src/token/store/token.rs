//! One token of a store: who is logged in, and what the module asks of it.

use super::Setup;
use super::database::{Database, Draft};
use super::encoding::octets;
use super::keeper::{Keeper, SecretOf};
use super::objects::{self, Owner, Reported, Secrets, uninitialized};
use super::pin::{self, Lock, Outcome, Pin};
use super::seal::{Keys, random_key};
use super::state::{Manifest, Role, TokenState};
use super::tries::Tries;
use crate::attribute::Attributes;
use crate::crypto::{KeySpec, engine};
use crate::error::{Error, Result, fail};
use crate::key;
use crate::lock::{Locked, Shared};
use crate::log;
use crate::mechanism::Mechanism;
use crate::memory::Secret;
use crate::token::{
    Change, Changes, KeyPair, NewObject, ObjectId, PrivateKey, Stored, Token, TokenInfo, User,
};
use cryptoki_sys::*;
use der::asn1::OctetString;
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

/// How long a login sleeps while others' tries are open.
const PAUSE: Duration = Duration::from_millis(20);

/// The token of one slot; initialized when the store's state has it.
pub(super) struct StoredToken {
    database: Arc<Database>,
    setup: Arc<Setup>,
    slot: usize,
    login: RwLock<Option<Arc<Login>>>,
    reported: Mutex<Reported>,
}

/// What a PIN has opened.
struct Login {
    user: User,
    /// Which initialization the keys are of.
    epoch: u64,
    /// What the keeper noted of the token, as the PIN has proven it: the store's record could be
    /// changed meanwhile, and keys go where it says.
    binding: Option<OctetString>,
    token_key: Secret,
    keys: Keys,
}

/// A PIN that is being tried.
struct Begun {
    lock: Lock,
    /// The token whose PIN it is, as it was then.
    token: TokenState,
    /// The try's name, and what tells others that it is under way.
    counted: Option<(u64, Tries)>,
}

/// A PIN that was right.
struct Tried {
    begun: Begun,
    token_key: Secret,
}

impl StoredToken {
    /// The token of slot `slot`, nobody logged in.
    pub(super) fn new(database: Arc<Database>, setup: Arc<Setup>, slot: usize) -> Self {
        Self {
            database,
            setup,
            slot,
            login: RwLock::default(),
            reported: Mutex::default(),
        }
    }

    fn now(&self) -> Result<Option<(TokenState, bool)>> {
        let known = self.database.known()?;
        Ok(known.and_then(|known| {
            let token = known.state.tokens.get(self.slot)?.clone();
            Some((token, known.writable))
        }))
    }

    /// The login, if it is of the token as it is: another process may have initialized it anew.
    fn login_of(&self, token: &TokenState) -> Option<Arc<Login>> {
        let login = self.login.reading();
        login.clone().filter(|login| login.epoch == token.epoch)
    }

    /// The same where private objects may be seen: the security officer sees none.
    fn user_of(&self, token: Option<&TokenState>) -> Option<Arc<Login>> {
        self.login_of(token?)
            .filter(|login| login.user == User::User)
    }

    fn role<'a>(&'a self, token: &'a TokenState, user: User) -> Role<'a> {
        Role {
            keeper: self.keeper(),
            token,
            user,
        }
    }

    fn keeper(&self) -> &dyn Keeper {
        &*self.setup.keeper
    }

    /// What the keeper noted of this token.
    fn binding(&self) -> Result<Vec<u8>> {
        let Some((mut token, _)) = self.now()? else {
            return Ok(Vec::new());
        };
        if let Some(login) = self.login_of(&token) {
            token.binding.clone_from(&login.binding);
        }
        Ok(token.binding().to_vec())
    }

    /// Tries a PIN. The try is counted before it is made, durably, so that no kill or crash gives
    /// it back; where the store can only be read, it cannot be counted. The outcome is noted at
    /// once: what the caller then fails in takes no try.
    fn try_pin(&self, user: User, pin: &[u8]) -> Result<Tried> {
        let (token, writable) = self.now()?.ok_or_else(uninitialized)?;
        let begun = if writable {
            self.begin(user)?
        } else {
            Begun {
                lock: token.pin(user).lock()?.clone(),
                token,
                counted: None,
            }
        };
        match begun.lock.open(pin, &self.role(&begun.token, user)) {
            Ok(token_key) => {
                // What wrong tries took is given back, by a chip that counts them too.
                if user == User::User && begun.token.user.has_failed() {
                    self.unblock(&begun.token);
                }
                self.end(user, &begun, Outcome::Right)?;
                Ok(Tried { begun, token_key })
            }
            Err(refusal) => {
                let outcome = match refusal.rv() {
                    CKR_PIN_INCORRECT => Outcome::Wrong,
                    _ => Outcome::None,
                };
                // The try stays taken where this cannot be written.
                let _ = self.end(user, &begun, outcome);
                Err(refusal)
            }
        }
    }

    /// Asks the keeper to forget wrong tries. What was asked for has been done without.
    fn unblock(&self, token: &TokenState) {
        if let Err(error) = self.keeper().unblock(token.binding()) {
            let line = format!("wrong tries of the PIN still count in the chip: {error}");
            log::write(log::Level::Error, &line);
        }
    }

    /// Takes a try. Where none is left but the outcome of others is open, it waits for that.
    fn begin(&self, user: User) -> Result<Begun> {
        let tries = self.database.tries()?;
        loop {
            let begun = self.database.write(false, |draft| {
                let number = draft.state.sequence;
                let token = self.drafted(draft)?;
                let lock = token.pin_mut(user).begin(number)?;
                tries.hold(number);
                Ok((number, lock, token.clone()))
            });
            match begun {
                Ok((number, lock, token)) => {
                    return Ok(Begun {
                        lock,
                        token,
                        counted: Some((number, tries)),
                    });
                }
                Err(refusal) if refusal.rv() == CKR_PIN_LOCKED => {
                    let (token, _) = self.now()?.ok_or_else(uninitialized)?;
                    if !token.pin(user).is_being_tried(|number| tries.holds(number)) {
                        return Err(refusal);
                    }
                    std::thread::sleep(PAUSE);
                }
                Err(refusal) => return Err(refusal),
            }
        }
    }

    /// Notes the outcome of a try that was counted, unless another PIN was set meanwhile.
    fn end(&self, user: User, begun: &Begun, outcome: Outcome) -> Result<()> {
        let Some((number, tries)) = &begun.counted else {
            return Ok(());
        };
        self.database.write(false, |draft| {
            let pin = self.drafted(draft)?.pin_mut(user);
            if pin.lock.as_ref() == Some(&begun.lock) {
                pin.end(*number, outcome, |n| tries.holds(n), &self.setup.pin);
            }
            Ok(())
        })
    }

    /// The token in a transaction that writes.
    fn drafted<'a>(&self, draft: &'a mut Draft<'_>) -> Result<&'a mut TokenState> {
        draft
            .state
            .tokens
            .get_mut(self.slot)
            .ok_or_else(uninitialized)
    }

    /// Runs `job` in a transaction that writes, for whoever is logged in.
    fn change<T>(&self, job: impl FnOnce(&mut Draft<'_>, Owner<'_>) -> Result<T>) -> Result<T> {
        self.database.write(false, |draft| {
            let login = self.user_of(draft.state.tokens.get(self.slot));
            job(draft, self.owner(login.as_deref()))
        })
    }

    fn owner<'a>(&self, login: Option<&'a Login>) -> Owner<'a> {
        Owner {
            slot: self.slot,
            private: login.map(|login| &login.keys),
        }
    }

    fn secrets(&self, id: &ObjectId) -> Result<Secrets> {
        self.database
            .read(|view| {
                let login = self.user_of(view.state.tokens.get(self.slot));
                Secrets::of(view, self.owner(login.as_deref()), id)
            })?
            .ok_or_else(uninitialized)
    }
}

impl Token for StoredToken {
    fn info(&self) -> Result<TokenInfo> {
        let now = self.now()?;
        let mut flags = CKF_RNG | CKF_LOGIN_REQUIRED;
        if let Some((token, writable)) = &now {
            flags |= CKF_TOKEN_INITIALIZED;
            if token.user.is_set() {
                flags |= CKF_USER_PIN_INITIALIZED;
            }
            if !writable {
                flags |= CKF_WRITE_PROTECTED;
            }
            let holds = |number| self.database.tries().is_ok_and(|t| t.holds(number));
            flags |= token.user.flags(
                holds,
                CKF_USER_PIN_COUNT_LOW,
                CKF_USER_PIN_FINAL_TRY,
                CKF_USER_PIN_LOCKED,
            );
            flags |= token.officer.flags(
                holds,
                CKF_SO_PIN_COUNT_LOW,
                CKF_SO_PIN_FINAL_TRY,
                CKF_SO_PIN_LOCKED,
            );
            let of_chip = match token.user.is_set() {
                true => self.keeper().flags(token.binding()),
                false => Ok(0),
            };
            flags |= of_chip.map_err(|error| match error.rv() {
                CKR_DEVICE_REMOVED => error.with_rv(CKR_TOKEN_NOT_PRESENT),
                _ => error,
            })?;
        }
        let (label, serial) =
            now.map_or_else(Default::default, |(token, _)| (token.label, token.serial));
        Ok(TokenInfo {
            label,
            manufacturer: "nodetoken".into(),
            model: self.keeper().model().into(),
            serial,
            flags,
            min_pin_len: self.setup.pin.min_length,
            max_pin_len: pin::MAX_LEN,
        })
    }

    fn offer(&self, row: &Mechanism) -> Option<Mechanism> {
        self.keeper().offer(row)
    }

    fn login(&self, user: User, pin: &[u8]) -> Result<()> {
        let tried = self.try_pin(user, pin)?;
        let login = Login {
            user,
            epoch: tried.begun.token.epoch,
            binding: tried.begun.token.binding,
            keys: Keys::of(&tried.token_key)?,
            token_key: tried.token_key,
        };
        *self.login.writing() = Some(Arc::new(login));
        Ok(())
    }

    fn logout(&self) {
        *self.login.writing() = None;
    }

    fn label(&self) -> Result<String> {
        let now = self.now()?;
        Ok(now.map(|(token, _)| token.label).unwrap_or_default())
    }

    fn revision(&self) -> Result<u64> {
        let known = self.database.known()?;
        Ok(known
            .as_ref()
            .and_then(|known| known.state.tokens.get(self.slot))
            .map_or(0, |token| token.revision))
    }

    fn changes(&self, since: Option<u64>) -> Result<Changes> {
        let mut reported = self.reported.locked();
        let changes = self.database.read(|view| {
            let Some(token) = view.state.tokens.get(self.slot) else {
                return Ok(None);
            };
            let login = self.user_of(Some(token));
            objects::changes(view, self.owner(login.as_deref()), since, &mut reported).map(Some)
        })?;
        Ok(changes.flatten().unwrap_or(Changes {
            revision: 0,
            complete: true,
            stored: Vec::new(),
            removed: Vec::new(),
        }))
    }

    fn private_key(
        &self,
        object: &Stored,
        session: Option<&key::Secrets>,
    ) -> Result<Arc<dyn PrivateKey>> {
        let ready = |secret: &SecretOf<'_>| {
            self.keeper()
                .private_key(&self.binding()?, &object.attributes, secret)
        };
        match session {
            Some(secrets) => ready(&|kind| key::secret_of(secrets, kind)),
            None => {
                let secrets = self.secrets(&object.id)?;
                ready(&|kind| secrets.get(kind))
            }
        }
    }

    fn secret(&self, id: &ObjectId, attribute: CK_ATTRIBUTE_TYPE) -> Result<Option<Secret>> {
        self.secrets(id)?.get(attribute)
    }

    fn initialize(&self, so_pin: &[u8], label: &str) -> Result<()> {
        let before = self.now()?.map(|(token, _)| token);
        let tried = match &before {
            Some(_) => Some(self.try_pin(User::SecurityOfficer, so_pin)?),
            None => None,
        };
        if tried.is_none() {
            pin::check_len(so_pin, &self.setup.pin)?;
        }
        let (serial, epoch) = match before {
            Some(token) => (token.serial, token.epoch + 1),
            None => (new_serial()?, 1),
        };
        let token_key = random_key()?;
        let mut fresh = TokenState {
            serial,
            label: label.to_owned(),
            epoch,
            revision: 0,
            public: Manifest::default(),
            private: Manifest::default(),
            private_mark: 0,
            officer: Pin::unset(),
            user: Pin::unset(),
            binding: self.keeper().bind()?.map(octets).transpose()?,
        };
        let role = self.role(&fresh, User::SecurityOfficer);
        let lock = Lock::new(so_pin, &token_key, &role)?;
        fresh.officer = Pin::set(lock, &self.setup.pin);
        fresh.mark_private(&Keys::of(&token_key)?)?;
        self.database.write(true, |draft| {
            draft.state.revision += 1;
            fresh.revision = draft.state.revision;
            let there = draft.state.tokens.len();
            match (draft.state.tokens.get_mut(self.slot), &tried) {
                (Some(token), Some(tried))
                    if token.officer.lock.as_ref() == Some(&tried.begun.lock) =>
                {
                    *token = fresh;
                }
                (None, None) if self.slot == there => draft.state.tokens.push(fresh),
                _ => {
                    return fail!(
                        CKR_FUNCTION_FAILED,
                        "another process changed this slot's token at the same moment: try again"
                    );
                }
            }
            objects::wipe(draft, self.slot)
        })?;
        self.logout();
        Ok(())
    }

    fn init_pin(&self, pin: &[u8]) -> Result<()> {
        pin::check_len(pin, &self.setup.pin)?;
        let (token, _) = self.now()?.ok_or_else(uninitialized)?;
        let login = self.login_of(&token).ok_or_else(not_the_officer)?;
        if login.user != User::SecurityOfficer {
            return Err(not_the_officer());
        }
        let proven = TokenState {
            binding: login.binding.clone(),
            ..token
        };
        let lock = Lock::new(pin, &login.token_key, &self.role(&proven, User::User))?;
        self.database.write(false, |draft| {
            let token = self.drafted(draft)?;
            if token.epoch != login.epoch {
                return Err(not_the_officer());
            }
            token.user = Pin::set(lock, &self.setup.pin);
            Ok(())
        })?;
        self.unblock(&proven);
        Ok(())
    }

    fn set_pin(&self, user: User, old: &[u8], new: &[u8]) -> Result<()> {
        pin::check_len(new, &self.setup.pin)?;
        let tried = self.try_pin(user, old)?;
        let role = self.role(&tried.begun.token, user);
        let lock = Lock::new(new, &tried.token_key, &role)?;
        self.database.write(false, |draft| {
            let pin = self.drafted(draft)?.pin_mut(user);
            if pin.lock.as_ref() != Some(&tried.begun.lock) {
                return fail!(
                    CKR_PIN_INCORRECT,
                    "the PIN was changed meanwhile: the old one is no longer right"
                );
            }
            *pin = Pin::set(lock, &self.setup.pin);
            Ok(())
        })
    }

    fn generate(&self, spec: &KeySpec, private: &Attributes) -> Result<KeyPair> {
        self.keeper().generate(&self.binding()?, spec, private)
    }

    fn adopt(&self, key: NewObject) -> Result<NewObject> {
        self.keeper().adopt(&self.binding()?, key)
    }

    fn insert(&self, objects: Vec<NewObject>, replaced: &[ObjectId]) -> Result<Vec<ObjectId>> {
        self.change(|draft, owner| {
            objects::remove(draft, owner, replaced)?;
            objects::insert(draft, owner, &objects)
        })
    }

    fn update(&self, ids: &[ObjectId], change: &mut Change<'_>) -> Result<()> {
        self.change(|draft, owner| {
            ids.iter()
                .try_for_each(|id| objects::update(draft, owner, id, change))
        })
    }

    fn remove(&self, ids: &[ObjectId]) -> Result<()> {
        self.change(|draft, owner| objects::remove(draft, owner, ids))
    }
}

/// 16 hexadecimal digits.
fn new_serial() -> Result<String> {
    let mut bytes = [0; 8];
    engine::random(&mut bytes)?;
    Ok(format!("{:016x}", u64::from_be_bytes(bytes)))
}

fn not_the_officer() -> Error {
    Error::new(
        CKR_USER_NOT_LOGGED_IN,
        "the security officer must be logged in to set the user's PIN",
    )
}
