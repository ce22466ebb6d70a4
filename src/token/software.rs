//! The software token: a token of a store whose lock and whose keys are this process's own work.

use super::store::{Setup, Store};
use crate::config::Software;
use crate::error::Result;

/// The software tokens that the configuration names.
pub fn open(config: &Software) -> Result<Store> {
    Store::open(Setup {
        directory: config.store.clone(),
        file: "nodetoken.sqlite",
        pin: config.pin.clone(),
        spare_slot: config.spare_slot,
        first_slot: 0,
        slot_flags: 0,
        slot_name: "nodetoken software slot",
    })
}
