//! Message digesting (PKCS#11 5.12).

use super::{Answer, Room, advance, check_allowed, finish, none_active, take, with_room};
use crate::crypto::{Hash, engine};
use crate::error::{Result, fail};
use crate::mechanism::{MECHANISMS, Mechanism, Parameter, Plan};
use crate::memory::Secret;
use crate::object::Object;
use crate::session::Session;
use cryptoki_sys::*;
use std::sync::Arc;

/// A digest under way.
pub struct Digesting {
    pub(super) hash: Hash,
    pub(super) state: engine::Digest,
    /// C_DigestUpdate has been called: C_Digest comes too late.
    pub(super) updated: bool,
}

impl Digesting {
    /// C_DigestUpdate.
    pub(crate) fn update(&mut self, data: &[u8]) {
        self.updated = true;
        self.state.update(data);
    }

    /// Whether CKA_ALLOWED_MECHANISMS of a key lets it be digested so. `CKR_KEY_INDIGESTIBLE`.
    fn check_key(&self, key: &Object) -> Result<()> {
        let is_this = |row: &&Mechanism| row.plan == Plan::Digest(self.hash);
        match MECHANISMS.iter().find(is_this) {
            Some(row) => {
                check_allowed(key, row.kind).map_err(|error| error.with_rv(CKR_KEY_INDIGESTIBLE))
            }
            None => Ok(()),
        }
    }
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
            digest.update(data);
            Ok(())
        })
    }

    /// C_DigestKey. The digest of a short key, or of a key after bytes that the caller chose, tells
    /// the key: one that may not be read is not digested either.
    pub fn digest_key(&self, key: CK_OBJECT_HANDLE) -> Result<()> {
        let mut operations = self.operations();
        let active = &mut operations.digest;
        // The message is as it was when there is no such key: the operation goes on.
        let value = match active {
            Some(digest) => self.digestible(digest, key)?,
            None => return take(active).map(drop),
        };
        advance(active, |digest| {
            digest.update(&value);
            Ok(())
        })
    }

    /// The value of a key that may be digested: whoever has its digest can try what it is.
    fn digestible(&self, digest: &Digesting, key: CK_OBJECT_HANDLE) -> Result<Arc<Secret>> {
        let key = self.key(key)?;
        let attributes = key.attributes();
        if attributes.class() != Some(CKO_SECRET_KEY) {
            return fail!(CKR_KEY_INDIGESTIBLE, "only secret keys can be digested");
        }
        if attributes.is(CKA_SENSITIVE) || !attributes.is(CKA_EXTRACTABLE) {
            return fail!(
                CKR_KEY_INDIGESTIBLE,
                "a key that is sensitive or not extractable is not digested"
            );
        }
        digest.check_key(&key)?;
        key.secret_key(self.slot.token())
    }

    /// C_DigestFinal.
    pub fn digest_final(&self, room: Room) -> Result<Answer> {
        finish(&mut self.operations().digest, |digest| {
            let len = digest.hash.len();
            with_room(digest, room, len, |d| Ok(d.state.finish()))
        })
    }
}
