//! What the kinds of token that are kept in a store differ in: who checks their PINs, and where
//! their private keys are.

use crate::attribute::Attributes;
use crate::crypto::KeySpec;
use crate::error::Result;
use crate::mechanism::Mechanism;
use crate::memory::Secret;
use crate::token::{KeyPair, NewObject, PrivateKey, User};
use cryptoki_sys::{CK_ATTRIBUTE_TYPE, CK_FLAGS};
use std::sync::Arc;

/// What opens the locks of a store's tokens, and has their private keys.
///
/// `binding` is everywhere what [`Keeper::bind`] gave when the token was initialized; empty where
/// that was nothing, or has not been yet.
pub trait Keeper: Send + Sync {
    /// Model of the tokens, at most 16 bytes (CK_TOKEN_INFO).
    fn model(&self) -> &str;

    /// This row of the mechanism table as [`Token::offer`](crate::token::Token::offer) gives it.
    fn offer(&self, row: &Mechanism) -> Option<Mechanism>;

    /// What the store is to note of the chip on which a token is being initialized.
    fn bind(&self) -> Result<Option<Vec<u8>>>;

    /// More flags for the CK_TOKEN_INFO of an initialized token, such as a chip's own lockout.
    fn flags(&self, binding: &[u8]) -> Result<CK_FLAGS>;

    /// What stretching a new PIN of `user` costs.
    fn cost(&self, user: User) -> Cost;

    /// A key that from now on only `pin_key`, which a new PIN was stretched to, gets back; and what
    /// the store must keep for that.
    fn guard(
        &self,
        binding: &[u8],
        user: User,
        pin_key: &[u8],
    ) -> Result<(Secret, Option<Vec<u8>>)>;

    /// The key that [`Keeper::guard`] made. `CKR_PIN_INCORRECT` for another `pin_key`, unless the
    /// key that comes out is then another; `CKR_DEVICE_ERROR` for a `guarded` that cannot be its own.
    fn release(
        &self,
        binding: &[u8],
        user: User,
        pin_key: &[u8],
        guarded: Option<&[u8]>,
    ) -> Result<Secret>;

    /// Lets a chip that counts wrong PINs forget them: the user's was right, or the security officer
    /// has set a new one.
    fn unblock(&self, binding: &[u8]) -> Result<()>;

    /// Makes a key pair. `private` is what the template says of the private key.
    fn generate(&self, binding: &[u8], spec: &KeySpec, private: &Attributes) -> Result<KeyPair>;

    /// What is to be kept of a private key, in the store or a session: where a chip can take it in,
    /// [`CHIP_KEY`](crate::token::CHIP_KEY) in the place of its secret values. Keys that have come
    /// that far, from [`Keeper::generate`] or as a copy, are shown too.
    fn adopt(&self, binding: &[u8], key: NewObject) -> Result<NewObject>;

    /// A private key ready to sign, by the attributes and the secret values that were kept of it.
    fn private_key(
        &self,
        binding: &[u8],
        attributes: &Attributes,
        secret: &SecretOf<'_>,
    ) -> Result<Arc<dyn PrivateKey>>;
}

/// Gives a secret value of an object, `None` where it has none of that type.
pub type SecretOf<'a> = dyn Fn(CK_ATTRIBUTE_TYPE) -> Result<Option<Secret>> + 'a;

/// What a guess of a PIN costs: Argon2id in one lane (RFC 9106).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes over it; none: the PIN is not stretched, for the keeper itself limits the guesses.
    pub passes: u32,
}

impl Cost {
    /// The memory of RFC 9106's second choice. Two passes are some 100 ms of one core: every process
    /// that signs pays them once when it logs in, a guesser at every guess. Unit tests are not to
    /// take minutes.
    pub const FULL: Self = Self {
        memory_kib: if cfg!(test) { 64 } else { 64 * 1024 },
        passes: 2,
    };
    /// No stretching.
    pub const NONE: Self = Self {
        memory_kib: 0,
        passes: 0,
    };
}
