//! A run of the module: from C_Initialize to C_Finalize, in one process.

use crate::config::Config;
use crate::error::{Error, Result, fail};
use crate::fork::{self, ForkCell};
use crate::handle::Handles;
use crate::lock::{Locked, Shared};
use crate::log;
use crate::memory;
use crate::session::Session;
use crate::slot::Slot;
use crate::token::{self, Place, Source, Watch};
use cryptoki_sys::*;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ffi::OsString;
use std::sync::{Arc, Condvar, Mutex, RwLock};

/// What a process has: a run or none. It is leaked once for each process (a forked child finds
/// [`PROCESS`] empty and makes its own: the parent's locks may be held for ever, its sessions and
/// its database are the parent's).
#[derive(Default)]
struct Process {
    run: RwLock<Option<Arc<Module>>>,
    /// One C_Initialize or C_Finalize at a time.
    change: Mutex<()>,
}

static PROCESS: ForkCell = ForkCell::new();

/// One run.
pub struct Module {
    config: Config,
    sources: Vec<Box<dyn Source>>,
    slots: RwLock<BTreeMap<CK_SLOT_ID, Arc<Slot>>>,
    sessions: Handles<Session>,
    ended: Mutex<bool>,
    event: Condvar,
}

fn not_initialized() -> Error {
    Error::new(
        CKR_CRYPTOKI_NOT_INITIALIZED,
        "C_Initialize has not been called in this process",
    )
}

/// The process's cell, `None` before the first C_Initialize and in a forked child.
fn process() -> Option<&'static Process> {
    fork::leaked(PROCESS.get())
}

/// The run that is under way. `CKR_CRYPTOKI_NOT_INITIALIZED`.
pub fn current() -> Result<Arc<Module>> {
    process()
        .and_then(|process| process.run.reading().clone())
        .ok_or_else(not_initialized)
}

/// C_Initialize (5.4.1) with the configuration string that it was given.
/// `CKR_CRYPTOKI_ALREADY_INITIALIZED`.
pub fn initialize(
    environment: impl Fn(&str) -> Option<OsString>,
    reserved: Option<&str>,
) -> Result<()> {
    let process = match process() {
        Some(process) => process,
        None => {
            let fresh = fork::leak(Process::default());
            // Of two threads that come first at once, one leaks a few empty bytes.
            PROCESS.compare_exchange(0, fork::address(fresh))?;
            self::process().ok_or_else(not_initialized)?
        }
    };
    let _one = process.change.locked();
    if process.run.reading().is_some() {
        return fail!(
            CKR_CRYPTOKI_ALREADY_INITIALIZED,
            "C_Initialize has been called already"
        );
    }
    fork::install()?;
    let config = Config::load(environment, reserved)?;
    if let Some(switch) = &config.log
        && let Err(reason) = log::configure(switch)
    {
        return fail!(CKR_FUNCTION_FAILED, "{reason}");
    }
    let module = Module {
        sources: token::open(&config)?,
        config,
        slots: RwLock::default(),
        sessions: Handles::default(),
        ended: Mutex::new(false),
        event: Condvar::new(),
    };
    module.look_for_slots()?;
    for slot in module.slots.reading().values() {
        slot.take_event();
    }
    *process.run.writing() = Some(Arc::new(module));
    if !memory::locked() {
        log::write(
            log::Level::Info,
            "C_Initialize: secrets cannot all be kept out of swap: raise RLIMIT_MEMLOCK",
        );
    }
    Ok(())
}

/// C_Finalize (5.4.2). Calls that are running finish on what they hold.
pub fn finalize() -> Result<()> {
    let process = process().ok_or_else(not_initialized)?;
    let _one = process.change.locked();
    let module = process.run.writing().take().ok_or_else(not_initialized)?;
    *module.ended.locked() = true;
    module.event.notify_all();
    if let Some(watch) = module.watch() {
        watch.wake();
    }
    for session in module.sessions.all() {
        // Another thread may have closed it meanwhile.
        let _ = module.close_session(session.handle);
    }
    for source in &module.sources {
        source.close();
    }
    // The entry's own line would come when the log is closed.
    log::write(log::Level::Debug, "C_Finalize: CKR_OK");
    log::close();
    Ok(())
}

impl Module {
    /// Adds the slots of tokens that have come to be since.
    fn look_for_slots(&self) -> Result<()> {
        let mut places = Vec::new();
        let mut refusal = None;
        for source in &self.sources {
            match source.places() {
                Ok(found) => places.extend(found),
                Err(error) => {
                    let line = format!("C_GetSlotList: some tokens are left out: {error}");
                    log::write(log::Level::Error, &line);
                    refusal = Some(error);
                }
            }
        }
        // One kind of token that is damaged does not keep the others from their users. A reader is
        // no token.
        let real = |place: &Place| !place.filler && place.flags & CKF_REMOVABLE_DEVICE == 0;
        let nothing = !places.iter().any(real);
        if let (Some(refusal), true) = (refusal, nothing) {
            return Err(refusal);
        }
        if !nothing {
            places.retain(|place| !place.filler);
        }
        self.take_in(places)
    }

    fn take_in(&self, places: Vec<Place>) -> Result<()> {
        let mut slots = self.slots.writing();
        for place in places {
            if let Entry::Vacant(entry) = slots.entry(place.id) {
                memory::afford(Slot::BYTES)?;
                entry.insert(Arc::new(Slot::new(place, &self.config)));
            }
        }
        Ok(())
    }

    /// The one source whose tokens come and go.
    fn watch(&self) -> Option<&dyn Watch> {
        self.sources.iter().find_map(|source| source.watch())
    }

    /// What was configured for this run.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Every slot: those in hardware first, which clients then prefer, and by id. `look_again` where
    /// the caller asks for the first time in a listing: only then may the list change (5.5.1).
    pub fn slots(&self, look_again: bool) -> Result<Vec<Arc<Slot>>> {
        if look_again {
            self.look_for_slots()?;
        }
        let mut slots: Vec<_> = self.slots.reading().values().cloned().collect();
        slots.sort_by_key(|slot| slot.place.flags & CKF_HW_SLOT == 0);
        Ok(slots)
    }

    /// One slot. `CKR_SLOT_ID_INVALID`.
    pub fn slot(&self, id: CK_SLOT_ID) -> Result<Arc<Slot>> {
        self.slots.reading().get(&id).cloned().ok_or_else(|| {
            Error::new(
                CKR_SLOT_ID_INVALID,
                format!("there is no slot with id {id}"),
            )
        })
    }

    /// C_OpenSession (5.6.1): its handle.
    pub fn open_session(&self, slot: CK_SLOT_ID, read_write: bool) -> Result<CK_SESSION_HANDLE> {
        let session = Arc::new(Session::open(self.slot(slot)?, read_write)?);
        let handle = session.handle;
        if let Err(refusal) = self.sessions.insert(handle, Arc::clone(&session)) {
            session.close();
            return Err(refusal);
        }
        // A C_Finalize beside this call may have emptied the table just before.
        if *self.ended.locked() {
            // C_Finalize may have closed this one too.
            let _ = self.close_session(handle);
            return Err(not_initialized());
        }
        Ok(handle)
    }

    /// The session behind a handle. `CKR_SESSION_HANDLE_INVALID`.
    pub fn session(&self, handle: CK_SESSION_HANDLE) -> Result<Arc<Session>> {
        let session = self
            .sessions
            .get(handle)
            .ok_or_else(|| no_session(handle))?;
        if session.has_its_token() {
            session.slot.notice();
            return Ok(session);
        }
        // Taking a token out closes its sessions (5.6).
        if self.sessions.remove(handle).is_some() {
            session.close();
        }
        Err(no_session(handle))
    }

    /// C_CloseSession (5.6.2).
    pub fn close_session(&self, handle: CK_SESSION_HANDLE) -> Result<()> {
        let session = self
            .sessions
            .remove(handle)
            .ok_or_else(|| no_session(handle))?;
        session.close();
        match session.has_its_token() {
            true => Ok(()),
            false => Err(no_session(handle)),
        }
    }

    /// C_CloseAllSessions (5.6.3).
    pub fn close_all_sessions(&self, slot: CK_SLOT_ID) -> Result<()> {
        self.slot(slot)?;
        for session in self.sessions.all() {
            if session.slot.place.id == slot && self.sessions.remove(session.handle).is_some() {
                session.close();
            }
        }
        Ok(())
    }

    /// C_Logout (5.6.10). What other sessions have begun with private keys ends too.
    pub fn logout(&self, handle: CK_SESSION_HANDLE) -> Result<()> {
        let session = self.session(handle)?;
        session.slot.log_out()?;
        for other in self.sessions.all() {
            if Arc::ptr_eq(&other.slot, &session.slot) {
                other.drop_stale();
            }
        }
        Ok(())
    }

    /// C_WaitForSlotEvent (5.5.4): the slot in which something has happened. It waits on the
    /// caller's thread; C_Finalize ends that.
    pub fn wait_for_event(&self, block: bool) -> Result<CK_SLOT_ID> {
        loop {
            if *self.ended.locked() {
                return Err(not_initialized());
            }
            let moment = self.watch().map(Watch::moment);
            for source in self.sources.iter().filter(|one| one.watch().is_some()) {
                self.take_in(source.places()?)?;
            }
            let slots: Vec<_> = self.slots.reading().values().cloned().collect();
            if let Some(slot) = slots.iter().find(|slot| slot.take_event()) {
                return Ok(slot.place.id);
            }
            if !block {
                return fail!(CKR_NO_EVENT, "no slot event has happened");
            }
            match (self.watch(), moment) {
                (Some(watch), Some(moment)) => watch.wait(moment),
                _ => drop(
                    self.event
                        .wait_while(self.ended.locked(), |ended| !*ended)
                        .unwrap_or_else(std::sync::PoisonError::into_inner),
                ),
            }
        }
    }
}

fn no_session(handle: CK_SESSION_HANDLE) -> Error {
    Error::new(
        CKR_SESSION_HANDLE_INVALID,
        format!("session {handle} is not open"),
    )
}
