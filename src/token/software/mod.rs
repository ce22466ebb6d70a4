//! Tokens in files: a directory with one SQLite database, shared by any number of processes.
//!
//! | file | job |
//! |---|---|
//! | `token` | the trait [`Token`](super::Token): login, objects, keys |
//! | `objects` | objects as sealed rows, and the proof that none is missing |
//! | `state` | the record about all tokens: names, PINs, manifests |
//! | `pin`, `tries` | Argon2id; how many guesses there are, and which are under way |
//! | `seal`, `encoding` | AES-256-GCM with its keys; DER |
//! | `database`, `schema` | transactions, tables, SQLite's errors |
//! | `stamp`, `files` | noticing changes without SQLite; directory and permissions |
//!
//! ```text
//! PIN ─ Argon2id ─▶ token key (one for each token and initialization)
//!                     ├─▶ secrets of all objects; bodies of private ones, their marks
//! store key (in the file)
//!                     ├─▶ the state, bodies of public objects, their marks
//! ```

mod database;
mod encoding;
mod files;
mod objects;
mod pin;
mod schema;
mod seal;
mod stamp;
mod state;
mod token;
mod tries;

use super::{Place, Source, Token};
use crate::config::Software;
use crate::error::{Result, fail};
use crate::lock::Locked;
use cryptoki_sys::*;
use database::Database;
use std::sync::{Arc, Mutex};
use token::SoftwareToken;

/// The tokens of one directory.
pub struct Store {
    database: Arc<Database>,
    rules: Arc<Software>,
    tokens: Mutex<Vec<Arc<SoftwareToken>>>,
}

impl Store {
    /// The store that the configuration names. Nothing is read before it is asked for, and nothing
    /// is made before a token is initialized.
    pub fn open(config: &Software) -> Result<Self> {
        if config.store.as_os_str().is_empty() {
            return fail!(
                CKR_GENERAL_ERROR,
                "no directory is configured for the software tokens"
            );
        }
        Ok(Self {
            database: Arc::new(Database::new(&config.store)),
            rules: Arc::new(config.clone()),
            tokens: Mutex::default(),
        })
    }
}

impl Source for Store {
    fn places(&self) -> Result<Vec<Place>> {
        let known = self.database.known()?;
        let there = known.map_or(0, |known| known.state.tokens.len());
        let spare = usize::from(there == 0 || self.rules.spare_slot);
        let mut tokens = self.tokens.locked();
        // One that was shown stays, initialized or not.
        let shown = (there + spare).max(tokens.len());
        for slot in tokens.len()..shown {
            let (database, rules) = (Arc::clone(&self.database), Arc::clone(&self.rules));
            tokens.push(Arc::new(SoftwareToken::new(database, rules, slot)));
        }
        let place = |(slot, token): (usize, &Arc<SoftwareToken>)| Place {
            id: slot as CK_SLOT_ID,
            description: format!("nodetoken software slot {slot}"),
            flags: 0,
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
