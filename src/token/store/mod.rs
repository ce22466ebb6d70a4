//! Tokens in files: one SQLite database in a directory, shared by any number of processes.
//!
//! | file | job |
//! |---|---|
//! | `token` | the trait [`Token`](super::Token): login, objects, keys |
//! | `keeper` | the trait [`Keeper`]: what a kind of token does its own way: locks, private keys |
//! | `objects` | objects as sealed rows, and the proof that none is missing |
//! | `state` | the record about all tokens: names, PINs, manifests |
//! | `pin`, `tries` | PIN to key; how many guesses there are, and which are under way |
//! | `seal`, `encoding` | AES-256-GCM with its keys; DER |
//! | `database`, `schema` | transactions, tables, SQLite's errors |
//! | `stamp`, `files` | noticing changes without SQLite; directory and permissions |
//!
//! ```text
//! PIN ─ Argon2id ─▶ PIN key ─ keeper ─▶ lock key ─ AES-GCM ─▶ token key
//! token key (one for each token and initialization)
//!   ├─▶ secrets of all objects; bodies of private ones, their marks
//! store key (in the file)
//!   ├─▶ the state, bodies of public objects, their marks
//! ```
//!
//! In software the lock key is the PIN key. A chip gives it out for the PIN key, and counts.

mod database;
mod encoding;
mod files;
mod keeper;
mod objects;
mod pin;
mod schema;
mod seal;
mod stamp;
mod state;
mod token;
mod tries;

pub use keeper::{Cost, Keeper, SecretOf};

use super::{Place, Source, Token};
use crate::config;
use crate::error::{Result, fail};
use crate::lock::Locked;
use cryptoki_sys::*;
use database::Database;
use files::Files;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use token::StoredToken;

/// Where a store is, and how its tokens show.
pub struct Setup {
    /// Its directory, which stores of other kinds of token may share.
    pub directory: PathBuf,
    /// Name of the database file in it.
    pub file: &'static str,
    /// Rules for PINs.
    pub pin: config::Pin,
    /// Show a slot with an uninitialized token although the store has tokens.
    pub spare_slot: bool,
    /// Slot id of the first token; the others follow.
    pub first_slot: CK_SLOT_ID,
    /// CKF_REMOVABLE_DEVICE, CKF_HW_SLOT.
    pub slot_flags: CK_FLAGS,
    /// Description of every slot, to which its number in the store is added.
    pub slot_name: &'static str,
    /// What opens the tokens' locks and has their private keys.
    pub keeper: Arc<dyn Keeper>,
}

/// The tokens of one database.
pub struct Store {
    database: Arc<Database>,
    setup: Arc<Setup>,
    tokens: Mutex<Vec<Arc<StoredToken>>>,
}

impl Store {
    /// The store that is described. Nothing is read before it is asked for, and nothing is made
    /// before a token is initialized.
    pub fn open(setup: Setup) -> Result<Self> {
        if setup.directory.as_os_str().is_empty() {
            return fail!(
                CKR_GENERAL_ERROR,
                "no directory is configured for the store"
            );
        }
        Ok(Self {
            database: Arc::new(Database::new(Files::new(&setup.directory, setup.file))),
            setup: Arc::new(setup),
            tokens: Mutex::default(),
        })
    }

    fn is_in_hardware(&self) -> bool {
        self.setup.slot_flags & CKF_HW_SLOT != 0
    }
}

impl Source for Store {
    fn places(&self) -> Result<Vec<Place>> {
        let known = self.database.known()?;
        let there = known.map_or(0, |known| known.state.tokens.len());
        let spare = usize::from(there == 0 || self.setup.spare_slot);
        let mut tokens = self.tokens.locked();
        // One that was shown stays, initialized or not.
        let shown = (there + spare).max(tokens.len());
        for slot in tokens.len()..shown {
            let (database, setup) = (Arc::clone(&self.database), Arc::clone(&self.setup));
            tokens.push(Arc::new(StoredToken::new(database, setup, slot)));
        }
        let place = |(slot, token): (usize, &Arc<StoredToken>)| Place {
            id: self.setup.first_slot + slot as CK_SLOT_ID,
            description: format!("{} {slot}", self.setup.slot_name),
            flags: self.setup.slot_flags,
            filler: slot >= there && !self.setup.spare_slot && !self.is_in_hardware(),
            token: Arc::clone(token) as Arc<dyn Token>,
        };
        Ok(tokens.iter().enumerate().map(place).collect())
    }

    fn close(&self) {
        for token in self.tokens.locked().drain(..) {
            token.logout();
        }
        // Refused only in a child that was forked amid a call: the parent closes its own.
        let _ = self.database.close();
    }
}

#[cfg(test)]
mod tests;
