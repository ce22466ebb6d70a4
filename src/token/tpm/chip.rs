//! One TPM: its link, its turn-taking, and what is known of it.
//!
//! All use of the chip is a [`Visit`]: one thread at a time, from connecting to leaving nothing
//! behind. A simulator's socket and a bare device have no resource manager and serve one client, so
//! that each visit connects anew and takes out what it has loaded. The kernel's resource manager
//! keeps each client's objects apart: there the link stays open and the last key loaded.

use super::fault::Fault;
use super::transport::Device;
use super::visit::{BUSY, Line, Outcome, PAUSE, Visit};
use crate::error::{Error, Result};
use crate::lock::Locked;
use std::io::ErrorKind;
use std::sync::{Mutex, OnceLock, TryLockError};
use std::time::{Duration, Instant};

/// How long sessions of others are left alone when there is no room for another.
const SESSIONS_REST: Duration = Duration::from_millis(if cfg!(fuzzing) { 1 } else { 1000 });

/// A TPM.
pub(super) struct Chip {
    device: Device,
    line: Mutex<Option<Line>>,
    abilities: OnceLock<Abilities>,
    lockout: Mutex<Option<Lockout>>,
}

/// What kinds of keys it can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Abilities {
    /// Longest RSA modulus in bits.
    pub(super) rsa_bits: usize,
    /// P-384 besides P-256.
    pub(super) p384: bool,
}

/// The state of its protection against guessing (Part 1, 19.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lockout {
    /// Wrong values so far.
    pub(super) counter: u32,
    /// How many there may be.
    pub(super) limit: u32,
    /// It is locked.
    pub(super) locked: bool,
    /// Its reset needs an authorization value.
    pub(super) guarded: bool,
}

impl Chip {
    /// The TPM at a device. Nothing is opened yet.
    pub(super) fn new(device: Device) -> Self {
        Self {
            device,
            line: Mutex::default(),
            abilities: OnceLock::new(),
            lockout: Mutex::default(),
        }
    }

    /// Lets the link go (C_Finalize). A thread that is amid a visit keeps it to the end, and lets it
    /// go with the chip.
    pub(super) fn close(&self) {
        let line = self.line.try_lock().ok().and_then(|mut slot| slot.take());
        if let Some(line) = line {
            line.leave();
        }
    }

    /// Runs `job` with the chip to itself. It runs again where the link broke (a simulator was
    /// restarted, a device was reset) and where the chip was full, since each run starts from
    /// nothing.
    pub(super) fn visit<T>(&self, mut job: impl FnMut(&mut Visit<'_>) -> Outcome<T>) -> Result<T> {
        let mut slot = self.line.locked();
        let mut pause = Duration::from_millis(1);
        let begun = Instant::now();
        let mut broken = false;
        loop {
            let (mut line, kept) = match slot.take() {
                Some(line) => (line, true),
                None => (Line::new(self.device.connect()?), false),
            };
            let fault = match job(&mut line.visit()) {
                Ok(done) => {
                    if line.stays() && line.visit().end_session().is_ok() {
                        *slot = Some(line);
                    } else {
                        line.leave();
                    }
                    return Ok(done);
                }
                Err(fault) => fault,
            };
            match &fault {
                // The link is spent: no late answer may be taken for one to the next command.
                Fault::Link(error) if broken || error.kind() == ErrorKind::TimedOut => {
                    return Err(self.located(fault));
                }
                Fault::Link(_) => broken = true,
                // A chip that was reset no longer knows the session, nor what was loaded.
                Fault::Code(code) if kept && code.says_no_reference() => line.leave(),
                Fault::Code(code) if code.says_full() && begun.elapsed() < BUSY => {
                    let rested = begun.elapsed() >= SESSIONS_REST;
                    let sessions = code.says_no_session() && rested && !line.stays();
                    line.visit().make_room(sessions);
                    line.leave();
                    std::thread::sleep(pause);
                    pause = (2 * pause).min(PAUSE);
                }
                _ => {
                    line.leave();
                    return Err(self.located(fault));
                }
            }
        }
    }

    fn located(&self, fault: Fault) -> Error {
        let error = Error::from(fault);
        let reason = format!("TPM at {}: {}", self.device, error.reason());
        Error::new(error.rv(), reason)
    }

    /// The state of its protection against guessing; the last known one while another thread makes
    /// a key, which can take a minute: clients poll this.
    pub(super) fn lockout(&self) -> Result<Lockout> {
        let busy = matches!(self.line.try_lock(), Err(TryLockError::WouldBlock));
        if busy && let Some(known) = *self.lockout.locked() {
            return Ok(known);
        }
        let now = self.visit(|visit| visit.lockout())?;
        *self.lockout.locked() = Some(now);
        Ok(now)
    }

    /// Lets the next [`Chip::lockout`] ask the chip: a PIN was tried.
    pub(super) fn forget_lockout(&self) {
        *self.lockout.locked() = None;
    }

    /// What it can hold; asked once.
    pub(super) fn abilities(&self) -> Result<Abilities> {
        if let Some(known) = self.abilities.get() {
            return Ok(*known);
        }
        let found = self.visit(|visit| visit.abilities())?;
        Ok(*self.abilities.get_or_init(|| found))
    }
}
