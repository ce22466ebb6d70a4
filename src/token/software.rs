//! The software token: a token of a store whose locks and keys are this process's own work.

use super::store::{Cost, Keeper, SecretOf, Setup, Store};
use super::{KeyPair, NewObject, PrivateKey, User};
use crate::attribute::Attributes;
use crate::config::Software;
use crate::crypto::{KeySpec, engine};
use crate::error::{Result, fail};
use crate::key;
use crate::mechanism::Mechanism;
use crate::memory::Secret;
use cryptoki_sys::*;
use std::sync::Arc;

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
        keeper: Arc::new(InSoftware),
    })
}

/// Needs nothing but the PIN and the store.
struct InSoftware;

impl Keeper for InSoftware {
    fn model(&self) -> &str {
        "software"
    }

    fn offer(&self, row: &Mechanism) -> Option<Mechanism> {
        Some(*row)
    }

    fn bind(&self) -> Result<Option<Vec<u8>>> {
        Ok(None)
    }

    fn flags(&self, _binding: &[u8]) -> Result<CK_FLAGS> {
        Ok(0)
    }

    fn cost(&self, _user: User) -> Cost {
        Cost::FULL
    }

    fn guard(
        &self,
        _binding: &[u8],
        _user: User,
        pin_key: &[u8],
    ) -> Result<(Secret, Option<Vec<u8>>)> {
        Ok((Secret::copy_of(pin_key)?, None))
    }

    fn release(
        &self,
        _binding: &[u8],
        _user: User,
        pin_key: &[u8],
        guarded: Option<&[u8]>,
    ) -> Result<Secret> {
        match guarded {
            None => Secret::copy_of(pin_key),
            Some(_) => fail!(
                CKR_DEVICE_ERROR,
                "the store's PIN record is not a software token's: restore a backup"
            ),
        }
    }

    fn unblock(&self, _binding: &[u8]) -> Result<()> {
        Ok(())
    }

    fn generate(&self, _binding: &[u8], spec: &KeySpec, _private: &Attributes) -> Result<KeyPair> {
        key::pair_attributes(engine::generate(spec)?)
    }

    fn adopt(&self, _binding: &[u8], key: NewObject) -> Result<NewObject> {
        Ok(key)
    }

    fn private_key(
        &self,
        _binding: &[u8],
        attributes: &Attributes,
        secret: &SecretOf<'_>,
    ) -> Result<Arc<dyn PrivateKey>> {
        let parts = key::private_parts(attributes, secret)?;
        Ok(Arc::new(engine::PrivateKey::from_parts(&parts)?))
    }
}
