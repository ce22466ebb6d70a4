//! Message digesting (PKCS#11 5.12).

use super::{Answer, Room, advance, finish, none_active, with_room};
use crate::crypto::{Hash, engine};
use crate::error::{Result, fail};
use crate::mechanism::{Parameter, Plan};
use crate::session::Session;
use cryptoki_sys::*;

/// A digest under way.
pub struct Digesting {
    hash: Hash,
    state: engine::Digest,
    /// C_DigestUpdate has been called: C_Digest comes too late.
    updated: bool,
}

impl Session {
    /// C_DigestInit.
    pub fn digest_init(&self, mechanism: CK_MECHANISM_TYPE, _parameter: &Parameter) -> Result<()> {
        let mut operations = self.operations();
        none_active(&operations.digest)?;
        let row = self.slot.mechanism(mechanism, CKF_DIGEST)?;
        let Plan::Digest(hash) = row.plan else {
            return fail!(CKR_MECHANISM_INVALID, "{} is no hash function", row.name);
        };
        operations.digest = Some(Digesting {
            hash,
            state: engine::Digest::new(hash)?,
            updated: false,
        });
        Ok(())
    }

    /// C_Digest.
    pub fn digest(&self, data: &[u8], room: Room) -> Result<Answer> {
        finish(&mut self.operations().digest, |digest| {
            if digest.updated {
                return fail!(CKR_OPERATION_ACTIVE, "C_Digest after C_DigestUpdate");
            }
            let len = digest.hash.len();
            with_room(digest, room, len, |mut d| {
                d.state.update(data);
                Ok(d.state.finish())
            })
        })
    }

    /// C_DigestUpdate.
    pub fn digest_update(&self, data: &[u8]) -> Result<()> {
        advance(&mut self.operations().digest, |digest| {
            digest.updated = true;
            digest.state.update(data);
            Ok(())
        })
    }

    /// C_DigestFinal.
    pub fn digest_final(&self, room: Room) -> Result<Answer> {
        finish(&mut self.operations().digest, |digest| {
            let len = digest.hash.len();
            with_room(digest, room, len, |d| Ok(d.state.finish()))
        })
    }
}
