//! The database of a store: one connection in a process, transactions, and what is known of it
//! between them.
//!
//! Every use of SQLite lies inside the gate of [`crate::fork`], the connection's lock inside that,
//! so that a forked child finds both free. The child may not use the parent's connection, nor let
//! it lie, since SQLite keeps one record of every file it has open: it closes it, which without a
//! checkpoint touches neither the files nor the parent's locks, and opens its own.

use super::encoding::{decode, encode};
use super::files::{Files, Identity, create_file, io_trouble, remove_file};
use super::schema;
use super::seal::{self, Context, KEY_LEN, Keys};
use super::stamp::{Stamp, Writing};
use super::state::State;
use super::tries::Tries;
use crate::error::{Error, Result, fail};
use crate::fork;
use crate::lock::{Locked, Shared};
use crate::signal;
use cryptoki_sys::*;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, DEFAULT_NAME, FileControl, MAIN_DB, OpenFlags, TransactionBehavior};
use std::path::Path;
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant};

/// How long a writer waits for those of other processes.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long it sleeps between two looks.
const PAUSE: Duration = Duration::from_micros(300);
/// How long it stands back after a write for which another process has had to wait. Without this
/// one that writes all the time would take the lock again before a sleeper wakes.
const COURTESY: Duration = Duration::from_millis(1);
/// How long SQLite waits for another process that recovers the log.
const RECOVERY: Duration = Duration::from_secs(1);
/// A stamp that somebody removed stays unnoticed for no longer.
const RECHECK: Duration = Duration::from_secs(1);

/// Connections of this process, and after a fork those of its parent.
static REGISTRY: Mutex<Vec<Registered>> = Mutex::new(Vec::new());

struct Registered {
    process: u32,
    identity: Identity,
    connection: Arc<Mutex<Option<Opened>>>,
}

/// The database of a store, open or not, existing or not.
pub(super) struct Database {
    files: Files,
    connection: Arc<Mutex<Option<Opened>>>,
    seen: RwLock<Option<Seen>>,
    /// Until when others go first.
    others_first: Mutex<Option<Instant>>,
}

struct Opened {
    sqlite: Connection,
    identity: Identity,
    writable: bool,
    wrote: bool,
    keys: Arc<Keys>,
    stamp: Option<Arc<Stamp>>,
}

struct Seen {
    known: Arc<Known>,
    /// With its even number when `known` was read.
    stamp: Option<(Arc<Stamp>, u64)>,
    at: Instant,
}

/// The store's state as of the last look.
pub(super) struct Known {
    /// All tokens.
    pub(super) state: State,
    /// Whether this process may write to the store.
    pub(super) writable: bool,
    sealed: Vec<u8>,
}

/// Inside a transaction that reads.
pub(super) struct View<'a> {
    /// For queries.
    pub(super) sqlite: &'a Connection,
    /// The state that the transaction sees.
    pub(super) state: &'a State,
    /// What follows from the store's key.
    pub(super) keys: &'a Keys,
}

/// Inside a transaction that writes.
pub(super) struct Draft<'a> {
    /// For queries and changes.
    pub(super) sqlite: &'a Connection,
    /// The state, which is stored at the end.
    pub(super) state: State,
    /// What follows from the store's key.
    pub(super) keys: &'a Keys,
}

impl Database {
    /// Of these files. Nothing is opened yet.
    pub(super) fn new(files: Files) -> Self {
        Self {
            files,
            connection: Arc::default(),
            seen: RwLock::default(),
            others_first: Mutex::default(),
        }
    }

    /// The state now; `None` where there is no database yet. Some 300 ns where nothing changed.
    pub(super) fn known(&self) -> Result<Option<Arc<Known>>> {
        match self.unchanged() {
            Some(known) => Ok(Some(known)),
            None => self.look().map_err(|error| self.located(error)),
        }
    }

    /// Runs `job` in a transaction that reads; `None` where there is no database yet.
    pub(super) fn read<T>(&self, job: impl FnOnce(&View<'_>) -> Result<T>) -> Result<Option<T>> {
        self.try_read(job).map_err(|error| self.located(error))
    }

    /// Runs `job` in a transaction that writes, which is durable when this returns `Ok` and has not
    /// taken place when it returns `Err`. With `create` the database is made where there is none.
    pub(super) fn write<T>(
        &self,
        create: bool,
        job: impl FnOnce(&mut Draft<'_>) -> Result<T>,
    ) -> Result<T> {
        within_limits(|| self.try_write(create, job)).map_err(|error| self.located(error))
    }

    /// What tells which tries of PINs are under way.
    pub(super) fn tries(&self) -> Result<Tries> {
        Tries::open(&self.files)
    }

    /// Empties the log into the database, so that a copy of the file alone is whole, and closes it.
    pub(super) fn close(&self) -> Result<()> {
        let _pass = fork::enter_store()?;
        let mut slot = self.connection.locked();
        *self.seen.writing() = None;
        if let Some(opened) = slot.take()
            && opened.wrote
        {
            // Where others are at it, the last of them does it.
            let _ = opened.sqlite.busy_timeout(Duration::ZERO);
            let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
            let _ = signal::withheld(|| opened.sqlite.query_row(checkpoint, [], |_| Ok(())));
        }
        self.unregister();
        Ok(())
    }

    fn located(&self, error: Error) -> Error {
        let path = self.files.database();
        Error::new(
            error.rv(),
            format!("{}: {}", path.display(), error.reason()),
        )
    }

    fn unchanged(&self) -> Option<Arc<Known>> {
        let seen = self.seen.reading();
        let seen = seen.as_ref()?;
        let (stamp, number) = seen.stamp.as_ref()?;
        (stamp.read() == Some(*number) && seen.at.elapsed() < RECHECK)
            .then(|| Arc::clone(&seen.known))
    }

    fn look(&self) -> Result<Option<Arc<Known>>> {
        let _pass = fork::enter_store()?;
        let mut slot = self.connection.locked();
        let Some(opened) = self.ready(&mut slot)? else {
            *self.seen.writing() = None;
            return Ok(None);
        };
        // Read before the database: whatever is committed in between makes it differ next time.
        let number = opened.stamp.as_ref().and_then(|stamp| stamp.read());
        let sealed = sealed_state(&opened.sqlite)?;
        let before = self.seen.reading().as_ref().map(|s| Arc::clone(&s.known));
        let known = match before {
            Some(known) if known.sealed == sealed && known.writable == opened.writable => known,
            _ => Arc::new(Known {
                state: opened.unseal(&sealed)?,
                writable: opened.writable,
                sealed,
            }),
        };
        not_older(number, &known.state)?;
        self.remember(opened, &known, number);
        Ok(Some(known))
    }

    fn remember(&self, opened: &Opened, known: &Arc<Known>, number: Option<u64>) {
        let even = number.filter(|number| number % 2 == 0);
        *self.seen.writing() = Some(Seen {
            known: Arc::clone(known),
            stamp: opened.stamp.clone().zip(even),
            at: Instant::now(),
        });
    }

    fn try_read<T>(&self, job: impl FnOnce(&View<'_>) -> Result<T>) -> Result<Option<T>> {
        let _pass = fork::enter_store()?;
        let mut slot = self.connection.locked();
        let Some(opened) = self.ready(&mut slot)? else {
            return Ok(None);
        };
        let number = opened.stamp.as_ref().and_then(|stamp| stamp.read());
        let transaction = opened.sqlite.unchecked_transaction()?;
        let state = opened.unseal(&sealed_state(&transaction)?)?;
        not_older(number, &state)?;
        let done = job(&View {
            sqlite: &transaction,
            state: &state,
            keys: &opened.keys,
        })?;
        transaction.finish()?;
        Ok(Some(done))
    }

    fn try_write<T>(
        &self,
        create: bool,
        job: impl FnOnce(&mut Draft<'_>) -> Result<T>,
    ) -> Result<T> {
        let give_up = Instant::now() + PATIENCE;
        loop {
            let until = *self.others_first.locked();
            if let Some(wait) = until.and_then(|u| u.checked_duration_since(Instant::now())) {
                std::thread::sleep(wait);
            }
            let pass = fork::enter_store()?;
            let mut slot = self.connection.locked();
            if create && self.files.identity()?.is_none() {
                self.files.make_directory()?;
            } else {
                writable(self.ready(&mut slot)?)?;
            }
            let stamp = Stamp::open_or_create(&self.files)?;
            if let Some(writing) = stamp.try_lock()? {
                if create && self.files.identity()?.is_none() {
                    self.create(&writing)?;
                }
                let opened = writable(self.ready(&mut slot)?)?;
                let done = self.commit(opened, &stamp, &writing, job);
                *self.others_first.locked() = stamp.is_wanted().then(|| Instant::now() + COURTESY);
                return done;
            }
            stamp.want();
            // The wait is outside the gate: it keeps neither a reader nor a fork.
            drop(slot);
            drop(pass);
            if Instant::now() >= give_up {
                return fail!(
                    CKR_FUNCTION_FAILED,
                    "another process has been writing for {} s: try again",
                    PATIENCE.as_secs()
                );
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn commit<T>(
        &self,
        opened: &mut Opened,
        stamp: &Stamp,
        writing: &Writing<'_>,
        job: impl FnOnce(&mut Draft<'_>) -> Result<T>,
    ) -> Result<T> {
        let keys = Arc::clone(&opened.keys);
        let number = stamp.read();
        let transaction = opened
            .sqlite
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let state: State = unseal(&keys, &sealed_state(&transaction)?)?;
        not_older(number, &state)?;
        let mut draft = Draft {
            sqlite: &transaction,
            state,
            keys: &keys,
        };
        let done = job(&mut draft)?;
        let mut state = draft.state;
        state.sequence += 1;
        let number = 2 * state.sequence;
        let sealed = seal(&keys, &state)?;
        transaction.execute("UPDATE store SET state = ?1 WHERE one = 1", [&sealed])?;
        writing.write(number - 1)?;
        *self.seen.writing() = None;
        transaction.commit()?;
        opened.wrote = true;
        // An odd stamp costs readers time, not truth.
        let number = writing.write(number).is_ok().then_some(number);
        let known = Arc::new(Known {
            state,
            writable: true,
            sealed,
        });
        self.remember(opened, &known, number);
        Ok(done)
    }

    /// The connection, opened where that is possible.
    fn ready<'a>(&self, slot: &'a mut Option<Opened>) -> Result<Option<&'a mut Opened>> {
        let identity = self.files.identity()?;
        if slot.as_ref().map(|opened| opened.identity) != identity {
            *slot = None;
            self.unregister();
            // Whoever opens it first, if only to read, makes the index of the log.
            *slot = within_limits(|| self.open())?;
        }
        if let Some(opened) = slot
            && !opened.stamp.as_ref().is_some_and(|s| s.is_current())
        {
            opened.stamp = Stamp::open(&self.files)?.map(Arc::new);
        }
        Ok(slot.as_mut())
    }

    fn open(&self) -> Result<Option<Opened>> {
        let mut registry = REGISTRY.locked();
        let process = std::process::id();
        registry.retain(|entry| {
            let own = entry.process == process;
            if !own {
                entry.connection.locked().take();
            }
            own
        });
        let Some(found) = self.files.inspect()? else {
            return Ok(None);
        };
        // Closing any descriptor of a file lets go of the POSIX locks that the process has on it
        // (fcntl(2)): the header is not read beside an open connection, which has read it.
        if !registry.iter().any(|e| e.identity == found.identity) {
            self.files.check_header(found.identity)?;
        }
        let (sqlite, key) = self.connect(found.foreign)?;
        registry.push(Registered {
            process,
            identity: found.identity,
            connection: Arc::clone(&self.connection),
        });
        Ok(Some(Opened {
            writable: !sqlite.is_readonly(MAIN_DB)?,
            sqlite,
            identity: found.identity,
            wrote: false,
            keys: Arc::new(Keys::of(&key)?),
            stamp: None,
        }))
    }

    fn unregister(&self) {
        REGISTRY
            .locked()
            .retain(|entry| !Arc::ptr_eq(&entry.connection, &self.connection));
    }

    /// A connection, and the store's key. SQLite itself falls back to reading where writing is not
    /// allowed; where not even the log and its index can be opened (a copy of the database alone on
    /// a read-only medium), the database is read as a file that nobody changes.
    fn connect(&self, foreign: bool) -> Result<(Connection, Vec<u8>)> {
        let path = self.files.resolved_database()?;
        let access = if foreign {
            OpenFlags::SQLITE_OPEN_READ_ONLY
        } else {
            OpenFlags::SQLITE_OPEN_READ_WRITE
        };
        match connection(&path, access) {
            Err(_) if self.files.is_lone_copy() => connection(
                Path::new(&immutable(&path)),
                OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI,
            ),
            opened => opened,
        }
    }

    /// Makes the database under another name and gives it its own when it is whole.
    fn create(&self, writing: &Writing<'_>) -> Result<()> {
        let path = self.files.beside("-new");
        // Of a writer that died here, or of a database that somebody removed.
        for suffix in [
            "-new",
            "-new-wal",
            "-new-shm",
            "-new-journal",
            "-wal",
            "-shm",
        ] {
            remove_file(&self.files.beside(suffix))?;
        }
        drop(create_file(&path).map_err(|error| io_trouble("make", &path, &error))?);
        self.fill(&path)?;
        writing.write(0)?;
        std::fs::rename(&path, self.files.database())
            .map_err(|error| io_trouble("rename", &path, &error))?;
        self.files.sync()
    }

    fn fill(&self, path: &Path) -> Result<()> {
        let key = seal::random_key()?;
        let state = seal(&Keys::of(&key)?, &State::default())?;
        let resolved = self
            .files
            .resolved_database()?
            .with_file_name(path.file_name().unwrap_or_default());
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX
            | OpenFlags::SQLITE_OPEN_NOFOLLOW;
        let mut sqlite = Connection::open_with_flags(resolved, flags)?;
        sqlite.pragma_update(None, "synchronous", "FULL")?;
        let transaction = sqlite.transaction()?;
        schema::create(&transaction, &key, &state)?;
        transaction.commit()?;
        sqlite.pragma_update(None, "journal_mode", "WAL")?;
        sqlite.close().map_err(|(_, error)| error.into())
    }
}

impl Opened {
    fn unseal(&self, sealed: &[u8]) -> Result<State> {
        unseal(&self.keys, sealed)
    }
}

const STATE: Context<'static> = Context {
    purpose: b"state",
    serial: "",
    id: &[],
    number: 1,
};

fn seal(keys: &Keys, state: &State) -> Result<Vec<u8>> {
    seal::seal(&keys.state, STATE, &encode(state)?)
}

fn unseal(keys: &Keys, sealed: &[u8]) -> Result<State> {
    decode(&seal::open(&keys.state, STATE, sealed)?)
}

fn sealed_state(sqlite: &Connection) -> Result<Vec<u8>> {
    Ok(sqlite
        .prepare_cached("SELECT state FROM store WHERE one = 1")?
        .query_row([], |row| row.get(0))?)
}

/// Also checks that the database is a store.
fn store_key(sqlite: &Connection) -> Result<Vec<u8>> {
    schema::check(sqlite)?;
    let key: Vec<u8> = sqlite.query_row("SELECT key FROM store WHERE one = 1", [], |r| r.get(0))?;
    if key.len() == KEY_LEN {
        Ok(key)
    } else {
        fail!(
            CKR_DEVICE_ERROR,
            "the store's key is damaged: restore a backup"
        )
    }
}

/// Runs what may make a file longer; beyond `RLIMIT_FSIZE` that is a full disk to us.
fn within_limits<T>(job: impl FnOnce() -> Result<T>) -> Result<T> {
    match signal::withheld(job) {
        (Err(error), true) if [CKR_DEVICE_ERROR, CKR_DEVICE_MEMORY].contains(&error.rv()) => fail!(
            CKR_DEVICE_MEMORY,
            "this process may not make its files longer: raise RLIMIT_FSIZE (ulimit -f)"
        ),
        (done, _) => done,
    }
}

/// Refuses a database in which a transaction is missing that the stamp has seen.
fn not_older(stamp: Option<u64>, state: &State) -> Result<()> {
    match stamp {
        Some(number) if number / 2 > state.sequence => fail!(
            CKR_DEVICE_ERROR,
            "it is older than its stamp, so that changes are lost: restore a backup of the whole \
             directory, or remove the file that ends in -stamp to accept this state"
        ),
        _ => Ok(()),
    }
}

fn writable(opened: Option<&mut Opened>) -> Result<&mut Opened> {
    match opened {
        Some(opened) if opened.writable => Ok(opened),
        Some(_) => fail!(
            CKR_TOKEN_WRITE_PROTECTED,
            "this process may only read the store"
        ),
        None => fail!(CKR_TOKEN_NOT_RECOGNIZED, "there is no store yet"),
    }
}

/// Opens the database and reads the store's key.
fn connection(path: &Path, access: OpenFlags) -> Result<(Connection, Vec<u8>)> {
    let flags = access | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let sqlite = Connection::open_with_flags(path, flags)?;
    sqlite.busy_timeout(RECOVERY)?;
    for (option, on) in [
        (DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true),
        (DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false),
        (DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false),
    ] {
        sqlite.set_db_config(option, on)?;
    }
    // The log and its index stay, for readers who could not make them.
    sqlite.file_control(DEFAULT_NAME, FileControl::PersistWal(&mut 1))?;
    for (pragma, value) in [
        ("synchronous", "FULL"),
        ("secure_delete", "ON"),
        ("cell_size_check", "ON"),
        ("temp_store", "MEMORY"),
    ] {
        sqlite.pragma_update(None, pragma, value)?;
    }
    let key = store_key(&sqlite)?;
    Ok((sqlite, key))
}

/// The URI of a file that nobody changes (SQLite, "URI filenames").
fn immutable(path: &Path) -> String {
    use std::fmt::Write;
    use std::os::unix::ffi::OsStrExt;
    let mut uri = String::from("file:");
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'/' | b'-' | b'_' | b'.' => uri.push(char::from(*byte)),
            _ if byte.is_ascii_alphanumeric() => uri.push(char::from(*byte)),
            // Writing to a String cannot fail.
            _ => drop(write!(uri, "%{byte:02X}")),
        }
    }
    uri + "?immutable=1"
}
