//! Smart cards and USB tokens: cards with an application that this module knows, in readers.
//!
//! | file | job |
//! |---|---|
//! | `token` | a card as a token: what can be seen, logins, session objects |
//! | `key` | signing and decrypting: padding here, the private operation there |
//! | `card` | one reader: visits to the card in it, recovering |
//! | `conversation` | one transaction: finding the application, keeping it selected and verified |
//! | `application` | what a card can be, and the table of those that are known |
//! | `piv` | PIV |
//! | `hpki` | the card of the healthcare PKI |
//! | `jpki` | the My Number card |
//! | `files` | files and PINs, for cards that are no more than these |
//! | `objects` | the PKCS#11 objects of a key and its certificate |
//! | `apdu`, `tlv` | commands and responses; data objects |
//! | `transport` | reader and channel |
//! | `pcsc`, `device` | the two kinds of them: PC/SC, and a device or socket that carries APDUs |

mod apdu;
mod application;
#[expect(clippy::module_inception)]
mod card;
mod conversation;
mod device;
mod files;
#[cfg(fuzzing)]
pub mod fuzzing;
mod hpki;
mod jpki;
mod key;
mod objects;
mod pcsc;
mod piv;
mod tlv;
mod token;
mod transport;

pub use transport::Presence;

use super::{Place, Source, Watch};
use crate::config;
use crate::crypto::{Hash, engine};
use crate::error::{Error, Result};
use crate::lock::Locked;
use application::{Row, TABLE};
use card::Card;
use cryptoki_sys::*;
use device::Devices;
use pcsc::Pcsc;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use token::CardToken;
use transport::{Reader, Readers};

/// Slots of readers come after those of TPMs.
const FIRST_SLOT: CK_SLOT_ID = 2 << 24;
/// How many there are room for.
const SLOTS: CK_SLOT_ID = 1 << 24;

/// The readers of one system.
pub(super) struct Cards {
    readers: Box<dyn Readers>,
    rules: config::Card,
    applications: Vec<&'static Row>,
    /// Every place that was ever reported, by the name of its reader.
    known: Mutex<BTreeMap<String, Known>>,
}

struct Known {
    slot: CK_SLOT_ID,
    card: Arc<Card>,
    token: Arc<CardToken>,
}

/// The readers that the configuration names; `None` where it wants none, or PC/SC is not installed.
pub(super) fn open(rules: &config::Card) -> Result<Option<Cards>> {
    let applications = rules
        .applications
        .iter()
        .map(|name| {
            TABLE.iter().find(|row| row.name == name).ok_or_else(|| {
                let known: Vec<_> = TABLE.iter().map(|row| row.name).collect();
                let known = known.join(", ");
                Error::new(
                    CKR_FUNCTION_FAILED,
                    format!("card.applications: {name:?} is none of {known}"),
                )
            })
        })
        .collect::<Result<_>>()?;
    let readers: Option<Box<dyn Readers>> = match rules.readers.as_str() {
        "" | "off" => None,
        #[cfg(fuzzing)]
        "fuzzed" => Some(Box::new(fuzzing::Stage)),
        "pcsc" => Pcsc::open().map(|pcsc| Box::new(pcsc) as _),
        path => Some(Box::new(Devices::open(&[path.to_owned()])?)),
    };
    Ok(readers.map(|readers| Cards {
        readers,
        rules: rules.clone(),
        applications,
        known: Mutex::default(),
    }))
}

impl Cards {
    fn known(&self, known: &BTreeMap<String, Known>, reader: Arc<dyn Reader>) -> Known {
        let mut slot = slot_of(reader.name());
        while known.values().any(|other| other.slot == slot) {
            slot = FIRST_SLOT + (slot + 1) % SLOTS;
        }
        let applications = self.applications.clone();
        let card = Arc::new(Card::new(reader, applications, self.rules.clone()));
        Known {
            slot,
            token: Arc::new(CardToken::new(Arc::clone(&card))),
            card,
        }
    }
}

/// The slot of a reader: the same for the same name in every process.
fn slot_of(name: &str) -> CK_SLOT_ID {
    let digest = engine::digest(Hash::Sha256, name.as_bytes());
    let start = digest.iter().take(3);
    FIRST_SLOT + start.fold(0, |number, byte| number << 8 | CK_SLOT_ID::from(*byte))
}

impl Source for Cards {
    fn places(&self) -> Result<Vec<Place>> {
        let mut all = self.known.locked();
        let mut places = Vec::new();
        for reader in self.readers.list()? {
            let name = reader.name().to_owned();
            if !all.contains_key(&name) {
                let known = self.known(&all, reader);
                all.insert(name.clone(), known);
            }
            if let Some(known) = all.get(&name) {
                places.push(Place {
                    id: known.slot,
                    description: name,
                    flags: CKF_HW_SLOT | CKF_REMOVABLE_DEVICE,
                    filler: false,
                    token: Arc::clone(&known.token) as _,
                });
            }
        }
        Ok(places)
    }

    fn close(&self) {
        for known in self.known.locked().values() {
            known.card.close();
        }
    }

    fn watch(&self) -> Option<&dyn Watch> {
        Some(self)
    }
}

impl Watch for Cards {
    fn moment(&self) -> u64 {
        self.readers.moment()
    }

    fn wait(&self, since: u64) {
        self.readers.wait(since);
    }

    fn wake(&self) {
        self.readers.wake();
    }
}
