//! PINs: what a guess costs, how many there are, and how a PIN opens its token.

use super::encoding::octets;
use super::keeper::Cost;
use super::seal::{self, KEY_LEN};
use super::state::Role;
use crate::config;
use crate::crypto::{Hash, engine};
use crate::error::{Error, Result, fail};
use crate::memory::Secret;
use argon2::{Algorithm, Argon2, Block, Params, Version};
use cryptoki_sys::*;
use der::Sequence;
use der::asn1::OctetString;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use zeroize::Zeroize;

/// Longest PIN in bytes.
pub(super) const MAX_LEN: usize = 255;
/// No store gives more tries.
const MAX_TRIES: u32 = 10;
const SALT_LEN: usize = 16;
/// A try that is under way for longer is that of a process that was stopped.
/// A chip may take a while.
const LONGEST: Duration = Duration::from_secs(45);

/// What a record may ask for at most, so that a changed one cannot take the machine down.
const MAX_MEMORY_KIB: u32 = 1024 * 1024;
const MAX_PASSES: u32 = 64;

/// One role's PIN as the store keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Sequence)]
pub(super) struct Pin {
    /// Tries after a right one.
    tries: u32,
    /// Tries left; none: locked.
    left: u32,
    /// Of the tries taken, those whose outcome is open: processes that log in at the same moment
    /// must not lock each other out.
    open: Vec<Open>,
    /// Absent until the PIN is set.
    pub(super) lock: Option<Lock>,
}

/// A try whose outcome is open.
#[derive(Debug, Clone, PartialEq, Eq, Sequence)]
struct Open {
    /// Its name in the store.
    number: u64,
    /// When it began, in milliseconds of Unix time.
    begun: u64,
}

/// How a try ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The PIN was right.
    Right,
    /// It was wrong.
    Wrong,
    /// It was not compared: there was no memory.
    None,
}

/// The token's key under a key that the keeper gives to the PIN alone.
#[derive(Debug, Clone, PartialEq, Eq, Sequence)]
pub(super) struct Lock {
    salt: OctetString,
    memory_kib: u32,
    passes: u32,
    token_key: OctetString,
    /// What the keeper gave to be stored. The last field, so that records from before it was there
    /// are still what they were.
    guarded: Option<OctetString>,
}

impl Pin {
    /// No PIN yet.
    pub(super) fn unset() -> Self {
        Self {
            tries: 0,
            left: 0,
            open: Vec::new(),
            lock: None,
        }
    }

    /// A new PIN with all its tries.
    pub(super) fn set(lock: Lock, rules: &config::Pin) -> Self {
        let tries = rules.tries.clamp(1, MAX_TRIES);
        Self {
            tries,
            left: tries,
            lock: Some(lock),
            ..Self::unset()
        }
    }

    /// Takes a try, by the name of `number`, before it is made, and gives what is to be tried.
    pub(super) fn begin(&mut self, number: u64) -> Result<Lock> {
        let lock = self.lock()?.clone();
        self.left -= 1;
        self.open.push(Open {
            number,
            begun: now(),
        });
        Ok(lock)
    }

    /// Notes the outcome of a try: a right one gives back what wrong ones took, those of processes
    /// that died over them too. `holds` tells of another try whether it is still under way.
    pub(super) fn end(
        &mut self,
        number: u64,
        outcome: Outcome,
        holds: impl Fn(u64) -> bool,
        rules: &config::Pin,
    ) {
        self.open.retain(|open| open.number != number);
        match outcome {
            Outcome::Right => {
                self.tries = rules.tries.clamp(1, MAX_TRIES);
                self.open.retain(|open| open.is_under_way(&holds));
                self.left = self.tries.saturating_sub(self.open.len() as u32);
            }
            Outcome::Wrong => {}
            Outcome::None => self.left = self.tries.min(self.left + 1),
        }
    }

    /// Whether the outcome of a try is worth waiting for.
    pub(super) fn is_being_tried(&self, holds: impl Fn(u64) -> bool) -> bool {
        self.open.iter().any(|open| open.is_under_way(&holds))
    }

    /// Whether a try was wrong since the last right one, or was never finished.
    pub(super) fn has_failed(&self) -> bool {
        self.left.saturating_add(self.open.len() as u32) < self.tries
    }

    /// Whether there is a PIN.
    pub(super) fn is_set(&self) -> bool {
        self.lock.is_some()
    }

    /// The lock, as long as it may be tried; `CKR_USER_PIN_NOT_INITIALIZED`, `CKR_PIN_LOCKED`.
    pub(super) fn lock(&self) -> Result<&Lock> {
        let Some(lock) = &self.lock else {
            return fail!(
                CKR_USER_PIN_NOT_INITIALIZED,
                "this PIN has not been set; the security officer sets the user's (C_InitPIN)"
            );
        };
        if self.left == 0 {
            return fail!(
                CKR_PIN_LOCKED,
                "too many wrong PINs; the security officer can set the user's anew (C_InitPIN)"
            );
        }
        Ok(lock)
    }

    /// The flags of CK_TOKEN_INFO: `low`, `last`, `locked` are the role's three. A try that is
    /// under way (`holds`) is not lost yet.
    pub(super) fn flags(
        &self,
        holds: impl Fn(u64) -> bool,
        low: CK_FLAGS,
        last: CK_FLAGS,
        locked: CK_FLAGS,
    ) -> CK_FLAGS {
        if self.lock.is_none() {
            return 0;
        }
        let under_way = self.open.iter().filter(|open| open.is_under_way(&holds));
        let left = self.left + under_way.count() as u32;
        let low = if left < self.tries { low } else { 0 };
        low | match left {
            0 => locked,
            1 => last,
            _ => 0,
        }
    }
}

/// Refuses a new PIN of the wrong length with `CKR_PIN_LEN_RANGE`.
pub(super) fn check_len(pin: &[u8], rules: &config::Pin) -> Result<()> {
    if (rules.min_length..=MAX_LEN).contains(&pin.len()) {
        return Ok(());
    }
    fail!(
        CKR_PIN_LEN_RANGE,
        "a PIN has {} to {MAX_LEN} bytes",
        rules.min_length
    )
}

impl Open {
    fn is_under_way(&self, holds: impl Fn(u64) -> bool) -> bool {
        u128::from(now().abs_diff(self.begun)) < LONGEST.as_millis() && holds(self.number)
    }
}

impl Lock {
    /// Locks `token_key` with the new `pin` of a role, under a fresh salt.
    pub(super) fn new(pin: &[u8], token_key: &[u8], role: &Role<'_>) -> Result<Self> {
        let mut salt = [0; SALT_LEN];
        engine::random(&mut salt)?;
        let cost = role.keeper.cost(role.user);
        let pin_key = stretch(pin, &salt, cost)?;
        let (key, guarded) = role
            .keeper
            .guard(role.token.binding(), role.user, &pin_key)?;
        let sealed = seal::seal(&key, role.context(), token_key)?;
        Ok(Self {
            salt: octets(salt)?,
            memory_kib: cost.memory_kib,
            passes: cost.passes,
            token_key: octets(sealed)?,
            guarded: guarded.map(octets).transpose()?,
        })
    }

    /// The token's key; `CKR_PIN_INCORRECT` when `pin` is not the one. Where the keeper does not
    /// tell, the tag of the sealed key is the comparison, and AES-GCM compares it in constant time.
    pub(super) fn open(&self, pin: &[u8], role: &Role<'_>) -> Result<Secret> {
        let wrong = || Error::new(CKR_PIN_INCORRECT, "the PIN is wrong");
        if pin.is_empty() || pin.len() > MAX_LEN {
            return Err(wrong());
        }
        let cost = Cost {
            memory_kib: self.memory_kib,
            passes: self.passes,
        };
        let guarded = self.guarded.as_ref().map(OctetString::as_bytes);
        // Else a changed record would make guesses cheap that nobody counts.
        if cost.passes == 0 && guarded.is_none() {
            return Err(odd());
        }
        let pin_key = stretch(pin, self.salt.as_bytes(), cost)?;
        let key = role
            .keeper
            .release(role.token.binding(), role.user, &pin_key, guarded)?;
        // A keeper that has given its key out has found the PIN right: then the record is wrong.
        let token_key = match guarded {
            Some(_) => Some(seal::open(&key, role.context(), self.token_key.as_bytes())?),
            None => seal::try_open(&key, role.context(), self.token_key.as_bytes())?,
        };
        token_key.filter(|k| k.len() == KEY_LEN).ok_or_else(wrong)
    }
}

fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default().as_millis() as u64
}

fn odd() -> Error {
    Error::new(CKR_DEVICE_ERROR, "the store's PIN record makes no sense")
}

/// The key that a PIN is stretched to.
fn stretch(pin: &[u8], salt: &[u8], cost: Cost) -> Result<Secret> {
    if cost.passes > 0 {
        return argon2id(pin, salt, cost);
    }
    let mut hmac = engine::Hmac::new(Hash::Sha256, salt)?;
    hmac.update(pin);
    seal::wiped(hmac.finish())
}

/// Argon2id in one lane, since a guesser has as many cores as guesses, with memory that is asked
/// for politely and wiped.
fn argon2id(pin: &[u8], salt: &[u8], cost: Cost) -> Result<Secret> {
    let Cost { memory_kib, passes } = cost;
    if memory_kib > MAX_MEMORY_KIB || passes > MAX_PASSES {
        return Err(odd());
    }
    let params = Params::new(memory_kib, passes, 1, Some(KEY_LEN)).map_err(|_| odd())?;
    let mut blocks: Vec<Block> = Vec::new();
    blocks
        .try_reserve_exact(params.block_count())
        .map_err(|_| {
            let mib = memory_kib / 1024;
            Error::new(
                CKR_HOST_MEMORY,
                format!("checking a PIN takes {mib} MiB of memory, which there is not"),
            )
        })?;
    blocks.resize(params.block_count(), Block::new());
    let mut key = Secret::zeroed(KEY_LEN)?;
    let done = Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into_with_memory(pin, salt, &mut key, &mut blocks);
    blocks.zeroize();
    done.map_err(|_| odd())?;
    Ok(key)
}
