//! A slot: a place with a token, who is logged in to it, and the objects that can be seen in it.

use crate::allow_list::Gate;
use crate::attribute::{Attributes, Template};
use crate::config::{Config, Policy};
use crate::error::{Error, Result, fail};
use crate::lock::{Locked, Shared};
use crate::mechanism::{MECHANISMS, Mechanism};
use crate::memory::{self, Secret};
use crate::object::{Index, Object};
use crate::operation::random::Seeds;
use crate::token::{Change, NewObject, ObjectId, Place, Presence, Stored, Token, User};
use cryptoki_sys::*;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// One slot. It lives from the C_Initialize or C_GetSlotList that found it to C_Finalize.
pub struct Slot {
    /// Where it is.
    pub place: Place,
    pub(crate) policy: Policy,
    state: Mutex<State>,
    /// One login, logout or PIN change at a time; not held by anything that signs.
    login: Mutex<()>,
    /// Counts logouts: what a private key was allowed to do before, it is not allowed after.
    era: AtomicU64,
    objects: RwLock<Objects>,
    /// Profiles and mechanisms: objects that every token has (4.13, 4.14).
    built_in: Index,
    /// Which of its mechanisms the configuration lets the token offer.
    gate: Gate,
    /// What callers have given to the random generator.
    pub(crate) seeds: Seeds,
    /// What C_WaitForSlotEvent has told of the place.
    told: Mutex<Presence>,
    /// Of the tags of saved states (5.6.6).
    state_key: OnceLock<Secret>,
}

#[derive(Default)]
struct State {
    /// [`Token::removals`] when the sessions that are counted here began.
    removals: u64,
    user: Option<User>,
    read_only_sessions: CK_ULONG,
    read_write_sessions: CK_ULONG,
}

#[derive(Default)]
struct Objects {
    index: Index,
    /// The token's revision that the index shows; `None`: load everything again.
    revision: Option<u64>,
    /// Handles of public keys that went with their private key and that nobody has destroyed yet,
    /// the newest last.
    gone_along: VecDeque<CK_OBJECT_HANDLE>,
}

/// So many handles are remembered of public keys that went with their private key.
const GONE_ALONG: usize = 1024;

/// Read access to the index, brought up to date.
pub struct View<'a>(RwLockReadGuard<'a, Objects>);

impl std::ops::Deref for View<'_> {
    type Target = Index;
    fn deref(&self) -> &Index {
        &self.0.index
    }
}

impl Slot {
    /// More memory than a slot takes when it is new, with an object for each mechanism; the C library
    /// gets 1 MiB at a time where its heap cannot grow.
    pub const BYTES: usize = 2 << 20;

    /// A slot on a place, nobody logged in.
    pub fn new(place: Place, config: &Config) -> Self {
        // A place that can come by itself is an event when it does (5.5.4).
        let told = match place.flags & CKF_REMOVABLE_DEVICE {
            0 => Presence::BUILT_IN,
            _ => Presence::default(),
        };
        Self {
            told: Mutex::new(told),
            policy: config.policy.clone(),
            gate: Gate::new(config.mechanisms.clone()),
            seeds: Seeds::default(),
            state: Mutex::default(),
            login: Mutex::default(),
            era: AtomicU64::new(0),
            objects: RwLock::default(),
            built_in: built_in(&*place.token, &config.policy),
            state_key: OnceLock::new(),
            place,
        }
    }

    /// The token in it.
    pub fn token(&self) -> &dyn Token {
        &*self.place.token
    }

    /// The key of the tags of saved states, made at the first one: a run's own.
    pub(crate) fn state_key(&self) -> Result<&Secret> {
        if let Some(key) = self.state_key.get() {
            return Ok(key);
        }
        let key = crate::operation::state::new_key()?;
        Ok(self.state_key.get_or_init(|| key))
    }

    /// What is in it now. Asks the system, never the token.
    pub fn presence(&self) -> Presence {
        let now = self.token().presence();
        self.renew(&mut self.state.locked());
        now
    }

    /// Whether something has happened that C_WaitForSlotEvent has not told yet; it is told now.
    pub(crate) fn take_event(&self) -> bool {
        let now = self.presence();
        let mut told = self.told.locked();
        std::mem::replace(&mut *told, now) != now
    }

    /// Takes note of a login that the token has ended by itself.
    pub(crate) fn notice(&self) {
        if self.token().login_lost() {
            self.renew(&mut self.state.locked());
        }
    }

    /// Ends what a token that was taken out leaves behind (5.6: its sessions and its login), or a
    /// login that the token takes no more.
    fn renew(&self, state: &mut State) {
        let removals = self.token().removals();
        let stays = state.removals == removals;
        if stays && !self.token().login_lost() {
            return;
        }
        if state.user.is_some() {
            self.forget_login(state);
        }
        self.token().logout();
        if stays {
            return;
        }
        *state = State {
            removals,
            ..State::default()
        };
        *self.objects.writing() = Objects::default();
    }

    /// Who is logged in.
    pub fn user(&self) -> Option<User> {
        self.state.locked().user
    }

    /// A number that stays the same from login to logout.
    pub fn era(&self) -> u64 {
        self.era.load(Ordering::Acquire)
    }

    /// Sessions that are open: all, and those for reading and writing.
    pub fn sessions(&self) -> (CK_ULONG, CK_ULONG) {
        let state = self.state.locked();
        (
            state.read_only_sessions + state.read_write_sessions,
            state.read_write_sessions,
        )
    }

    /// A row of the mechanism table as this token offers it.
    fn offer(&self, row: &Mechanism) -> Option<Mechanism> {
        self.token().offer(row).map(Mechanism::with_messages)
    }

    /// The rows of the mechanism table as this token offers them.
    pub fn mechanisms(&self) -> Result<impl Iterator<Item = Mechanism>> {
        let permit = self.gate.permit(self.token())?;
        Ok(MECHANISMS
            .iter()
            .filter(move |row| permit.allows(row.kind))
            .filter_map(|row| self.offer(row))
            .map(|row| row.under(&self.policy, row.functions))
            .filter(|row| row.functions != 0))
    }

    /// The row of a mechanism that this token offers for `function` (a CKF_ flag).
    pub fn mechanism(&self, kind: CK_MECHANISM_TYPE, function: CK_FLAGS) -> Result<Mechanism> {
        let row = crate::mechanism::serving(kind, function)?;
        if !self.gate.permit(self.token())?.allows(kind) {
            return fail!(
                CKR_MECHANISM_INVALID,
                "[mechanisms] of the configuration leaves out {} for this token",
                row.name
            );
        }
        let offered = self.offer(row);
        match offered.filter(|row| row.functions & function != 0) {
            Some(row) => {
                let row = row.under(&self.policy, function);
                if row.functions & function == 0 {
                    return fail!(
                        CKR_MECHANISM_INVALID,
                        "[policy] of the configuration leaves this out of {} (sha1_sign, roles)",
                        row.name
                    );
                }
                Ok(row)
            }
            None => fail!(
                CKR_MECHANISM_INVALID,
                "this token does not offer {} for this function",
                row.name
            ),
        }
    }

    /// Counts a session in (C_OpenSession 5.6.1); the token that it is with, as
    /// [`Token::removals`] counts them. `CKR_TOKEN_NOT_PRESENT`, `CKR_TOKEN_NOT_RECOGNIZED`.
    pub(crate) fn enter(&self, read_write: bool) -> Result<u64> {
        self.token().ready()?;
        let mut state = self.state.locked();
        self.renew(&mut state);
        if !read_write && state.user == Some(User::SecurityOfficer) {
            return fail!(
                CKR_SESSION_READ_WRITE_SO_EXISTS,
                "the security officer is logged in: only read/write sessions can be opened"
            );
        }
        if read_write {
            state.read_write_sessions += 1;
        } else {
            state.read_only_sessions += 1;
        }
        Ok(state.removals)
    }

    /// Counts a session out; the last one logs out (5.6.2).
    pub(crate) fn leave(&self, read_write: bool, removals: u64) {
        let mut state = self.state.locked();
        self.renew(&mut state);
        if state.removals != removals {
            return;
        }
        let count = if read_write {
            &mut state.read_write_sessions
        } else {
            &mut state.read_only_sessions
        };
        *count = count.saturating_sub(1);
        let is_over = |state: &State| {
            state.read_only_sessions + state.read_write_sessions == 0 && state.user.is_some()
        };
        if !is_over(&state) {
            return;
        }
        drop(state);
        let _one = self.login.locked();
        let state = self.state.locked();
        if is_over(&state) {
            self.end_login(state);
        }
    }

    /// C_Login of the SO or the user (5.6.8), of a session with the token that was there when
    /// [`Token::removals`] said `removals`.
    pub(crate) fn log_in(&self, user: User, pin: &[u8], removals: u64) -> Result<()> {
        let _one = self.login.locked();
        self.check_token(removals)?;
        self.may_log_in(&self.state.locked(), user)?;
        // The PIN check takes long on purpose; sessions open and close meanwhile.
        self.token().login(user, pin)?;
        let mut state = self.state.locked();
        let refusal = self.may_log_in(&state, user);
        state.user = Some(user);
        self.objects.writing().revision = None;
        if refusal.is_err() {
            self.end_login(state);
        }
        refusal
    }

    /// Refuses to give a PIN to another token than it was meant for: the caller may have waited for
    /// its turn while the token was changed.
    fn check_token(&self, removals: u64) -> Result<()> {
        match self.token().removals() == removals {
            true => Ok(()),
            false => fail!(CKR_DEVICE_REMOVED, "the token was taken out just now"),
        }
    }

    fn may_log_in(&self, state: &State, user: User) -> Result<()> {
        match state.user {
            Some(now) if now == user => {
                return fail!(CKR_USER_ALREADY_LOGGED_IN, "this user is logged in already");
            }
            Some(_) => {
                return fail!(
                    CKR_USER_ANOTHER_ALREADY_LOGGED_IN,
                    "somebody else is logged in; log out first"
                );
            }
            None => {}
        }
        if state.read_only_sessions + state.read_write_sessions == 0 {
            return fail!(CKR_SESSION_HANDLE_INVALID, "the session was closed");
        }
        if user == User::SecurityOfficer && state.read_only_sessions > 0 {
            return fail!(
                CKR_SESSION_READ_ONLY_EXISTS,
                "the security officer cannot log in while a read-only session is open"
            );
        }
        Ok(())
    }

    /// Checks the user's PIN once more, for a key that asks each time (5.6.8, CKU_CONTEXT_SPECIFIC).
    pub(crate) fn confirm(&self, key: &Stored, pin: &[u8], removals: u64) -> Result<()> {
        let _one = self.login.locked();
        self.check_token(removals)?;
        if self.user() != Some(User::User) {
            return fail!(CKR_USER_NOT_LOGGED_IN, "the user is not logged in");
        }
        self.token().confirm(key, pin)
    }

    /// C_Logout (5.6.10).
    pub(crate) fn log_out(&self) -> Result<()> {
        let _one = self.login.locked();
        let state = self.state.locked();
        if state.user.is_none() {
            return fail!(CKR_USER_NOT_LOGGED_IN, "nobody is logged in");
        }
        self.end_login(state);
        Ok(())
    }

    /// The caller has `login` locked: nobody logs in before the token, which may be busy with
    /// another call, has logged out. Who only asks who is logged in need not wait for that.
    fn end_login(&self, mut state: MutexGuard<'_, State>) {
        self.forget_login(&mut state);
        drop(state);
        self.token().logout();
        // What was read of the token meanwhile.
        self.objects.writing().index.log_out();
    }

    fn forget_login(&self, state: &mut State) {
        let mut objects = self.objects.writing();
        self.era.fetch_add(1, Ordering::AcqRel);
        // "All private session objects are destroyed" (5.6.10), and token objects are not seen.
        objects.index.log_out();
        state.user = None;
    }

    /// C_InitToken (5.5.7): no session may be open.
    pub fn initialize(&self, so_pin: &[u8], label: &str) -> Result<()> {
        let _one = self.login.locked();
        // Sessions with a token that was taken out are none.
        self.presence();
        if self.sessions().0 > 0 {
            return fail!(
                CKR_SESSION_EXISTS,
                "close every session before the token is initialized"
            );
        }
        self.token().initialize(so_pin, label)?;
        *self.objects.writing() = Objects::default();
        Ok(())
    }

    /// C_InitPIN (5.5.8).
    pub(crate) fn init_pin(&self, pin: &[u8], removals: u64) -> Result<()> {
        let _one = self.login.locked();
        self.check_token(removals)?;
        if self.user() != Some(User::SecurityOfficer) {
            return fail!(
                CKR_USER_NOT_LOGGED_IN,
                "only the security officer sets the user's PIN: log in as SO"
            );
        }
        self.token().init_pin(pin)
    }

    /// C_SetPIN (5.5.9): of whoever is logged in, of the user where nobody is.
    pub(crate) fn set_pin(&self, old: &[u8], new: &[u8], removals: u64) -> Result<()> {
        let _one = self.login.locked();
        self.check_token(removals)?;
        self.token()
            .set_pin(self.user().unwrap_or(User::User), old, new)
    }

    /// The objects that can be seen now, other processes' changes included.
    pub fn objects(&self) -> Result<View<'_>> {
        let revision = self.token().revision()?;
        let objects = self.objects.reading();
        if objects.revision == Some(revision) {
            return Ok(View(objects));
        }
        drop(objects);
        let mut objects = self.objects.writing();
        self.refresh(&mut objects)?;
        Ok(View(RwLockWriteGuard::downgrade(objects)))
    }

    fn refresh(&self, objects: &mut Objects) -> Result<()> {
        let changes = self.token().changes(objects.revision)?;
        objects.index.reserve(changes.stored.len())?;
        if changes.complete {
            let mut there = memory::gather(changes.stored.iter().map(|o| o.id))?;
            there.sort_unstable();
            objects.index.retain(|object| {
                !object.is_token() || there.binary_search(&object.stored.id).is_ok()
            });
        }
        for id in &changes.removed {
            if let Some(handle) = objects.index.by_id(id).map(|object| object.handle) {
                objects.index.remove(handle);
            }
        }
        for stored in changes.stored {
            objects.index.put(stored);
        }
        objects.revision = Some(changes.revision);
        Ok(())
    }

    /// Handles of the built-in objects that match. They show only to who asks for their class:
    /// older clients do not know them (4.13.1).
    pub(crate) fn built_in(&self, template: &Template<'_>) -> Result<Vec<CK_OBJECT_HANDLE>> {
        match template.ulong(CKA_CLASS) {
            Some(CKO_PROFILE | CKO_MECHANISM) => {
                let mut shown = Vec::new();
                for handle in self.built_in.find(template)? {
                    if self.built_in_object(handle)?.is_some() {
                        shown.push(handle);
                    }
                }
                Ok(shown)
            }
            _ => Ok(Vec::new()),
        }
    }

    /// The object behind a handle.
    pub fn object(&self, handle: CK_OBJECT_HANDLE) -> Result<Option<Arc<Object>>> {
        let found = self.objects()?.get(handle).cloned();
        match found {
            Some(object) => Ok(Some(object)),
            None => self.built_in_object(handle),
        }
    }

    /// The built-in object behind a handle, where it is true of the token that is in the slot now.
    fn built_in_object(&self, handle: CK_OBJECT_HANDLE) -> Result<Option<Arc<Object>>> {
        let Some(object) = self.built_in.get(handle) else {
            return Ok(None);
        };
        let attributes = object.attributes();
        let profile = attributes.ulong(CKA_PROFILE_ID);
        let is_true = match (profile, attributes.ulong(CKA_MECHANISM_TYPE)) {
            (Some(CKP_PUBLIC_CERTIFICATES_TOKEN), _) => self.token().has_public_certificates()?,
            (_, Some(kind)) => self.gate.permit(self.token())?.allows(kind),
            _ => true,
        };
        Ok(is_true.then(|| Arc::clone(object)))
    }

    /// Stores new token objects in the place of others, all or none, and returns their handles.
    pub(crate) fn insert(
        &self,
        new: Vec<NewObject>,
        replaced: &[ObjectId],
    ) -> Result<Vec<CK_OBJECT_HANDLE>> {
        let ids = self.token().insert(new, replaced)?;
        match self.objects() {
            // They are stored, even if there is no memory left to look at them.
            Err(refusal) if refusal.rv() != CKR_HOST_MEMORY => return Err(refusal),
            _ => {}
        }
        // Nor does everybody who may write an object see it: the security officer of a card.
        let mut objects = self.objects.writing();
        Ok(ids.iter().map(|id| objects.index.promise(id)).collect())
    }

    /// Takes in new objects of a session. `era` is from before the caller's login was looked at: a
    /// private object does not come in after its user has logged out.
    pub(crate) fn insert_session_objects(
        &self,
        owner: CK_SESSION_HANDLE,
        new: Vec<NewObject>,
        era: u64,
    ) -> Result<Vec<CK_OBJECT_HANDLE>> {
        let made: Vec<Arc<Object>> = new
            .into_iter()
            .map(|new| {
                let mut id = ObjectId::default();
                crate::crypto::engine::random(&mut id)?;
                Ok(Arc::new(Object::of_session(owner, id, new)))
            })
            .collect::<Result<_>>()?;
        let handles = made.iter().map(|object| object.handle).collect();
        let mut objects = self.objects.writing();
        if era != self.era() && made.iter().any(|object| object.is_private()) {
            return fail!(CKR_USER_NOT_LOGGED_IN, "the user has just logged out");
        }
        objects.index.reserve(made.len())?;
        for object in made {
            objects.index.add(object);
        }
        Ok(handles)
    }

    /// Gives objects of one kind, in this order, the attributes that `change` makes of those they
    /// have at that moment; all or none.
    pub(crate) fn update(&self, changed: &[&Object], change: &mut Change<'_>) -> Result<()> {
        let ids: Vec<_> = changed
            .iter()
            .filter(|object| object.is_token())
            .map(|object| object.stored.id)
            .collect();
        if !ids.is_empty() {
            return self.token().update(&ids, change);
        }
        let mut objects = self.objects.writing();
        let mut made = Vec::new();
        for object in changed {
            let now = objects.index.get(object.handle).ok_or_else(|| {
                Error::new(
                    CKR_OBJECT_HANDLE_INVALID,
                    "the object has just been destroyed",
                )
            })?;
            let attributes = change(&now.stored.id, now.attributes())?;
            made.push(Arc::new(now.with(attributes)?));
        }
        for object in made {
            objects.index.remove(object.handle);
            objects.index.add(object);
        }
        Ok(())
    }

    /// Destroys objects of one kind, all or none.
    pub(crate) fn remove(&self, gone: &[&Object]) -> Result<()> {
        let ids: Vec<_> = gone
            .iter()
            .filter(|object| object.is_token())
            .map(|object| object.stored.id)
            .collect();
        if !ids.is_empty() {
            self.token().remove(&ids)?;
        }
        let mut objects = self.objects.writing();
        for object in gone {
            objects.index.remove(object.handle);
        }
        Ok(())
    }

    /// Notes that an object is gone because another was destroyed.
    pub(crate) fn note_gone_along(&self, handle: CK_OBJECT_HANDLE) {
        let gone = &mut self.objects.writing().gone_along;
        if gone.len() == GONE_ALONG {
            gone.pop_front();
        }
        // Without memory it is forgotten, and refused as any handle that means nothing.
        if gone.try_reserve(1).is_ok() {
            gone.push_back(handle);
        }
    }

    /// Whether an object has gone with another, asked once of each.
    pub(crate) fn take_gone_along(&self, handle: CK_OBJECT_HANDLE) -> bool {
        let gone = &mut self.objects.writing().gone_along;
        let place = gone.iter().rposition(|one| *one == handle);
        place.is_some_and(|place| gone.remove(place).is_some())
    }

    /// Lets the objects of a closed session go (5.6.2).
    pub(crate) fn forget(&self, handles: &[CK_OBJECT_HANDLE]) {
        if handles.is_empty() {
            return;
        }
        let mut objects = self.objects.writing();
        for handle in handles {
            objects.index.remove(*handle);
        }
    }
}

/// The profiles that the module keeps (PKCS#11 Profiles 3.2, 5.1 and 5.3 to 5.5), as long as nothing
/// about a token speaks against one: see `Slot::built_in_object`.
const PROFILES: [CK_PROFILE_ID; 4] = [
    CKP_BASELINE_PROVIDER,
    CKP_EXTENDED_PROVIDER,
    CKP_AUTHENTICATION_TOKEN,
    CKP_PUBLIC_CERTIFICATES_TOKEN,
];

/// An object for each profile, and one for each mechanism that the token can do.
fn built_in(token: &dyn Token, policy: &Policy) -> Index {
    let profiles = PROFILES.map(|id| (CKO_PROFILE, CKA_PROFILE_ID, id));
    let mechanisms = MECHANISMS
        .iter()
        .filter_map(|row| token.offer(row))
        .filter(|row| row.under(policy, row.functions).functions != 0)
        .map(|row| (CKO_MECHANISM, CKA_MECHANISM_TYPE, row.kind));
    let mut index = Index::default();
    for (class, attribute, value) in profiles.into_iter().chain(mechanisms) {
        let mut attributes = Attributes::new();
        attributes.set_ulong(CKA_CLASS, class);
        attributes.set_ulong(attribute, value);
        attributes.set_bool(CKA_TOKEN, true);
        for never in [CKA_PRIVATE, CKA_MODIFIABLE, CKA_COPYABLE, CKA_DESTROYABLE] {
            attributes.set_bool(never, false);
        }
        attributes.set(CKA_LABEL, []);
        // Class and value name such an object.
        let mut id = ObjectId::default();
        let name = class.to_be_bytes().into_iter().chain(value.to_be_bytes());
        for (to, from) in id.iter_mut().zip(name) {
            *to = from;
        }
        index.put(Stored { id, attributes });
    }
    index
}
