//! Tokens on a TPM 2.0, over its device or a simulator's socket; no library of the TSS in between.
//!
//! | file | job |
//! |---|---|
//! | `keeper` | PINs as authorization values, keys as objects under the storage root |
//! | `key` | signing and decrypting: padding here, the private operation there |
//! | `chip` | one visit at a time, again where the link broke or the chip was full |
//! | `commands` | what is asked of the chip |
//! | `visit` | sending, authorizing, loading, taking out again |
//! | `root` | the storage root: pinned, proven, secrets for it |
//! | `session` | HMAC sessions: mutual proof, encrypted parameters |
//! | `object` | templates, and keys as the TPM wraps them |
//! | `frame`, `kdf`, `fault` | bytes of commands; key derivation; response codes |
//! | `transport` | device and socket |
//! | `fuzzing` | the way in of `fuzz/tpm` |
//!
//! ```text
//! storage root (in the chip, its public half pinned in the store)
//!   ├─▶ sealed secret ◀─ user PIN (the chip counts wrong ones)   ─▶ token key ─▶ the store
//!   ├─▶ sealed secret ◀─ SO PIN (Argon2id; must open when the chip is locked) ─▶ token key
//!   └─▶ private keys, wrapped; each under an authorization value of its own, which the token key
//!       guards
//! ```
//!
//! Certificates, data and secret keys lie in a store like the software token's, in a file of its own.

mod chip;
mod commands;
mod fault;
mod frame;
#[cfg(fuzzing)]
pub mod fuzzing;
mod kdf;
mod keeper;
mod key;
mod object;
mod root;
mod session;
mod transport;
mod visit;

use super::store::{Setup, Store};
use super::{Place, Source};
use crate::config::Config;
use crate::error::Result;
use crate::lock::Locked;
use crate::log;
use chip::Chip;
use cryptoki_sys::{CK_SLOT_ID, CKF_HW_SLOT, CKR_DEVICE_ERROR};
use keeper::TpmKeeper;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use transport::Device;

/// Slots of TPMs come after any number of software tokens.
const FIRST_SLOT: CK_SLOT_ID = 1 << 24;

/// How long a TPM that does not answer is left alone: each look for it takes long.
const REST: Duration = Duration::from_secs(60);

/// The tokens of one TPM.
pub(super) struct Tpm {
    chip: Arc<Chip>,
    store: Store,
    /// What was last said about a TPM that is not there: once is enough.
    said: Mutex<Option<String>>,
    /// When it last did not answer in time.
    silent: Mutex<Option<Instant>>,
}

impl Tpm {
    /// The TPM that the configuration names. Nothing is opened yet.
    pub(super) fn open(config: &Config) -> Result<Self> {
        root::check_handle(config.tpm.storage_root)?;
        let chip = Arc::new(Chip::new(Device::parse(&config.tpm.device)?));
        let store = Store::open(Setup {
            directory: config.software.store.clone(),
            file: "tpm.sqlite",
            pin: config.pin.clone(),
            spare_slot: config.tpm.spare_slot,
            first_slot: FIRST_SLOT,
            slot_flags: CKF_HW_SLOT,
            slot_name: "nodetoken TPM slot",
            keeper: Arc::new(TpmKeeper {
                chip: Arc::clone(&chip),
                rules: config.tpm.clone(),
                lockout_refused: AtomicBool::new(false),
            }),
        })?;
        Ok(Self {
            chip,
            store,
            said: Mutex::default(),
            silent: Mutex::default(),
        })
    }
}

impl Source for Tpm {
    /// No slot where no TPM answers; everything else works without.
    fn places(&self) -> Result<Vec<Place>> {
        let silent = *self.silent.locked();
        if silent.is_some_and(|since| since.elapsed() < REST) {
            return Ok(Vec::new());
        }
        match self.chip.abilities() {
            Ok(_) => self.store.places(),
            Err(error) => {
                *self.silent.locked() = (error.rv() == CKR_DEVICE_ERROR).then(Instant::now);
                let said = format!("no slot for the TPM: {error}");
                let mut before = self.said.locked();
                if before.as_ref() != Some(&said) {
                    log::write(log::Level::Error, &said);
                    *before = Some(said);
                }
                Ok(Vec::new())
            }
        }
    }

    fn close(&self) {
        self.store.close();
        self.chip.close();
    }
}
