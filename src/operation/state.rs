//! Saving what an operation has come to, and going on from there (PKCS#11 5.6.6, 5.6.7): digests, as
//! Java clones them.
//!
//! A saved state is `version ‖ hash ‖ updated ‖ state ‖ tag`. The tag is an HMAC with a key of the
//! slot that lives no longer than the run: what comes back is what this run has given out, for the
//! token that is in the slot, or it is `CKR_SAVED_STATE_INVALID`. What depends on a key stays here: the
//! state of an HMAC is as good as its key.

use super::{Answer, Operations, Room, digest::Digesting};
use crate::crypto::{Hash, engine};
use crate::error::{Error, Result, fail};
use crate::memory::Secret;
use crate::session::Session;
use cryptoki_sys::*;
use subtle::ConstantTimeEq;

const VERSION: u8 = 1;
const TAG: Hash = Hash::Sha256;

fn invalid() -> Error {
    Error::new(
        CKR_SAVED_STATE_INVALID,
        "this is no state that this run has saved for this token",
    )
}

impl Digesting {
    fn save(&self) -> Result<Vec<u8>> {
        let hash = Hash::ALL.iter().position(|hash| *hash == self.hash);
        let (Some(hash), Some(state)) = (hash, self.state.save()) else {
            return fail!(
                CKR_STATE_UNSAVEABLE,
                "the state of this hash function cannot be saved"
            );
        };
        let mut saved = vec![VERSION, hash as u8, u8::from(self.updated)];
        saved.extend_from_slice(&state);
        Ok(saved)
    }

    /// From what [`Digesting::save`] made.
    fn restore(saved: &[u8]) -> Option<Self> {
        let [VERSION, hash, updated, state @ ..] = saved else {
            return None;
        };
        let hash = *Hash::ALL.get(usize::from(*hash))?;
        Some(Self {
            hash,
            state: engine::Digest::restore(hash, state)?,
            updated: *updated == 1,
        })
    }
}

impl Session {
    /// The tag of a saved state, which holds for this slot, this run and the token that is there now.
    fn state_tag(&self, saved: &[u8]) -> Result<Vec<u8>> {
        let mut mac = engine::Hmac::new(TAG, self.slot.state_key()?)?;
        mac.update(&self.removals().to_be_bytes());
        mac.update(saved);
        Ok(mac.finish())
    }

    /// C_GetOperationState.
    pub fn operation_state(&self, room: Room) -> Result<Answer> {
        let operations = self.operations();
        let state = match &operations.digest {
            _ if operations.has_key() => {
                return fail!(
                    CKR_STATE_UNSAVEABLE,
                    "what an operation with a key has come to does not leave the module"
                );
            }
            Some(digest) => digest.save()?,
            None => {
                return fail!(
                    CKR_OPERATION_NOT_INITIALIZED,
                    "no operation that could be saved is under way in this session"
                );
            }
        };
        let len = state.len() + TAG.len();
        match room {
            Room::Query => Ok(Answer::Length(len)),
            Room::Bytes(room) if room < len => Ok(Answer::TooSmall(len)),
            Room::Bytes(_) => {
                let tag = self.state_tag(&state)?;
                Ok(Answer::Bytes([state, tag].concat()))
            }
        }
    }

    /// C_SetOperationState: what the session was at is over, and it goes on from the saved state.
    pub fn set_operation_state(
        &self,
        saved: &[u8],
        encryption_key: CK_OBJECT_HANDLE,
        authentication_key: CK_OBJECT_HANDLE,
    ) -> Result<()> {
        let split = saved.len().checked_sub(TAG.len());
        let (state, tag) = split
            .and_then(|at| saved.split_at_checked(at))
            .ok_or_else(invalid)?;
        if !bool::from(self.state_tag(state)?.ct_eq(tag)) {
            return Err(invalid());
        }
        let digest = Digesting::restore(state).ok_or_else(invalid)?;
        if encryption_key != CK_INVALID_HANDLE || authentication_key != CK_INVALID_HANDLE {
            return fail!(CKR_KEY_NOT_NEEDED, "a digest goes on without a key");
        }
        *self.operations() = Operations {
            digest: Some(digest),
            ..Operations::default()
        };
        Ok(())
    }
}

/// A key for the tags of saved states.
pub(crate) fn new_key() -> Result<Secret> {
    let mut key = Secret::zeroed(TAG.len())?;
    engine::random(&mut key)?;
    Ok(key)
}
