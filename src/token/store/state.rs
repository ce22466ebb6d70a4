//! The store's state: one sealed record about all its tokens, so that they change together.

use super::keeper::Keeper;
use super::pin::Pin;
use super::seal::{Context, Keys};
use crate::error::{Result, fail};
use crate::token::User;
use cryptoki_sys::CKR_DEVICE_ERROR;
use der::Sequence;
use der::asn1::OctetString;

/// What stands in the one row of table `store`, sealed.
#[derive(Debug, Default, Clone, PartialEq, Eq, Sequence)]
pub(super) struct State {
    /// Counts the transactions.
    pub(super) sequence: u64,
    /// The last revision that an object or a removal was given.
    pub(super) revision: u64,
    /// The tokens; the position is the slot id, so that none is ever taken out.
    pub(super) tokens: Vec<TokenState>,
}

/// One token.
#[derive(Debug, Clone, PartialEq, Eq, Sequence)]
pub(super) struct TokenState {
    /// 16 hexadecimal digits.
    pub(super) serial: String,
    /// As C_InitToken gave it.
    pub(super) label: String,
    /// Counts initializations: each has a token key of its own.
    pub(super) epoch: u64,
    /// Revision of the last change of its objects.
    pub(super) revision: u64,
    /// Its public objects.
    pub(super) public: Manifest,
    /// Its private objects.
    pub(super) private: Manifest,
    /// Over the private manifest, by a key that lies in no file.
    pub(super) private_mark: u128,
    /// The security officer's PIN.
    pub(super) officer: Pin,
    /// The user's PIN.
    pub(super) user: Pin,
    /// Of what the token's keeper has outside the store. The last field, so that records from
    /// before it was there are still what they were.
    pub(super) binding: Option<OctetString>,
}

/// Number of objects and the sum of their rows' marks: no row is lost, old or there twice without
/// its being noticed.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Sequence)]
pub(super) struct Manifest {
    count: u64,
    sum: u128,
}

impl Manifest {
    /// Takes a row in.
    pub(super) fn add(&mut self, mark: u128) {
        self.count = self.count.wrapping_add(1);
        self.sum = self.sum.wrapping_add(mark);
    }

    /// Takes a row out.
    pub(super) fn remove(&mut self, mark: u128) {
        self.count = self.count.wrapping_sub(1);
        self.sum = self.sum.wrapping_sub(mark);
    }
}

impl TokenState {
    /// The PIN of a role.
    pub(super) fn pin(&self, user: User) -> &Pin {
        match user {
            User::SecurityOfficer => &self.officer,
            User::User => &self.user,
        }
    }

    /// The PIN of a role, to be changed.
    pub(super) fn pin_mut(&mut self, user: User) -> &mut Pin {
        match user {
            User::SecurityOfficer => &mut self.officer,
            User::User => &mut self.user,
        }
    }

    /// What the token's keeper noted; empty where that was nothing.
    pub(super) fn binding(&self) -> &[u8] {
        self.binding
            .as_ref()
            .map(OctetString::as_bytes)
            .unwrap_or_default()
    }

    /// Marks the private manifest with the token's keys.
    pub(super) fn mark_private(&mut self, keys: &Keys) -> Result<()> {
        self.private_mark = self.private_mark_of(keys)?;
        Ok(())
    }

    /// Refuses a private manifest that the token's keys did not mark.
    pub(super) fn check_private(&self, keys: &Keys) -> Result<()> {
        if self.private_mark_of(keys)? == self.private_mark {
            return Ok(());
        }
        fail!(
            CKR_DEVICE_ERROR,
            "the list of private objects was changed from outside; restore a backup"
        )
    }

    fn private_mark_of(&self, keys: &Keys) -> Result<u128> {
        keys.mark(&[
            b"manifest",
            &self.epoch.to_be_bytes(),
            &self.private.count.to_be_bytes(),
            &self.private.sum.to_be_bytes(),
            self.binding(),
        ])
    }
}

/// Whose lock it is, of which token, and who guards it.
pub(super) struct Role<'a> {
    pub(super) keeper: &'a dyn Keeper,
    pub(super) token: &'a TokenState,
    pub(super) user: User,
}

impl Role<'_> {
    /// What the lock is bound to.
    pub(super) fn context(&self) -> Context<'_> {
        Context {
            purpose: match self.user {
                User::SecurityOfficer => b"SO PIN",
                User::User => b"user PIN",
            },
            serial: &self.token.serial,
            // With another chip in its record the token does not open.
            id: self.token.binding(),
            number: self.token.epoch,
        }
    }
}
