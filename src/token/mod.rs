//! What a token is to the rest of the house: one trait, and the registry of its kinds.
//!
//! A new kind of token is a file or a folder beside this one and a line in [`open`]. Where it keeps
//! its objects in a [`store`], it needs to be no more than a [`store::Keeper`].

use crate::attribute::Attributes;
use crate::config::Config;
use crate::crypto::{CryptScheme, KeySpec, SignScheme};
use crate::error::{Result, fail};
use crate::key::Secrets;
use crate::mechanism::Mechanism;
use crate::memory::Secret;
use cryptoki_sys::*;
use std::sync::Arc;

mod card;
pub mod software;
pub mod store;
mod tpm;
mod wire;

pub use card::Presence;

#[cfg(fuzzing)]
pub use card::fuzzing as card_fuzzing;
#[cfg(fuzzing)]
pub use tpm::fuzzing;

/// Name of an object inside its token, for ever: the bytes behind CKA_UNIQUE_ID.
pub type ObjectId = [u8; 16];

/// Among the secrets of a private key that lives in a chip: the key as the chip wraps it. Not an
/// attribute that a caller can name.
pub const CHIP_KEY: CK_ATTRIBUTE_TYPE = CKA_VENDOR_DEFINED | 0x4e54_0002;

/// A private key that its token uses without a login (PIV: card authentication). Not an attribute
/// that a caller can name.
pub const FREE_KEY: CK_ATTRIBUTE_TYPE = CKA_VENDOR_DEFINED | 0x4e54_0003;

/// Who logs in (PKCS#11 CK_USER_TYPE; context-specific login is a user's, checked by the session).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum User {
    /// CKU_SO: initializes, unblocks, marks certificates as trusted; sees no private object.
    SecurityOfficer,
    /// CKU_USER.
    User,
}

/// The part of CK_TOKEN_INFO that the token knows; the slot adds the session counts.
#[derive(Debug, Clone)]
pub struct TokenInfo {
    /// Label, UTF-8, at most 32 bytes.
    pub label: String,
    /// At most 32 bytes.
    pub manufacturer: String,
    /// At most 16 bytes.
    pub model: String,
    /// At most 16 bytes, stable for the token's life.
    pub serial: String,
    /// CKF_TOKEN_INITIALIZED, the PIN flags, CKF_WRITE_PROTECTED, CKF_RNG, ….
    pub flags: CK_FLAGS,
    /// Shortest PIN in bytes.
    pub min_pin_len: usize,
    /// Longest PIN in bytes.
    pub max_pin_len: usize,
}

/// An object as it lies in a token: all that may be read of it.
///
/// Secret values (CKA_VALUE of a key, CKA_PRIVATE_EXPONENT, …) are never among the attributes: ask
/// [`Token::secret`].
#[derive(Debug, Clone)]
pub struct Stored {
    /// Its name.
    pub id: ObjectId,
    /// Its attributes, without CKA_UNIQUE_ID, which follows from `id`.
    pub attributes: Attributes,
}

/// An object to be stored.
#[derive(Debug)]
pub struct NewObject {
    /// What may be read of it.
    pub attributes: Attributes,
    /// Its secret values.
    pub secrets: Secrets,
}

/// What happened in a token since a revision.
#[derive(Debug)]
pub struct Changes {
    /// The revision that these changes lead to.
    pub revision: u64,
    /// `stored` is everything there is: what is not in it is gone.
    pub complete: bool,
    /// New and changed objects.
    pub stored: Vec<Stored>,
    /// Objects that are gone.
    pub removed: Vec<ObjectId>,
}

/// A private key that a signature or decryption is asked of.
pub trait PrivateKey: Send + Sync {
    /// Signs `input` as `scheme` says.
    fn sign(&self, scheme: &SignScheme, input: &[u8]) -> Result<Vec<u8>>;
    /// Decrypts `input` as `scheme` says.
    fn decrypt(&self, scheme: &CryptScheme, input: &[u8]) -> Result<Secret>;
    /// The key that `ciphertext` encapsulates.
    fn decapsulate(&self, _ciphertext: &[u8]) -> Result<Secret> {
        fail!(
            CKR_KEY_TYPE_INCONSISTENT,
            "this type of key encapsulates nothing"
        )
    }
    /// The secret that is shared with who has the private half of `peer`: of an EC key the x
    /// coordinate, of which `peer` is an uncompressed point of its curve.
    fn agree(&self, _peer: &[u8]) -> Result<Secret> {
        fail!(
            CKR_KEY_TYPE_INCONSISTENT,
            "this key of this token agrees on no secrets"
        )
    }
}

/// One token. Every method may be called from many threads at once; none is called while a lock of
/// the module is held that another session needs for its signature.
///
/// Objects are cached by the slot: a token only reports what changed. It shows private objects
/// (CKA_PRIVATE) while the user is logged in, and only then.
pub trait Token: Send + Sync {
    /// Label, serial, flags. Cheap: clients poll it.
    fn info(&self) -> Result<TokenInfo>;

    /// The label alone.
    fn label(&self) -> Result<String> {
        Ok(self.info()?.label)
    }

    /// What is in the place now. Asks the system, never the token: clients poll this.
    fn presence(&self) -> Presence {
        Presence::BUILT_IN
    }

    /// How many tokens have been taken out of the place, as far as this process has noticed. Asks
    /// nobody. Sessions end when it grows.
    fn removals(&self) -> u64 {
        0
    }

    /// Whether the token has ended a login by itself, and nobody has logged in or out since. Asks
    /// nobody.
    fn login_lost(&self) -> bool {
        false
    }

    /// Refuses where a session cannot be opened: `CKR_TOKEN_NOT_PRESENT`, `CKR_TOKEN_NOT_RECOGNIZED`.
    fn ready(&self) -> Result<()> {
        Ok(())
    }

    /// Said before a search for objects of a class, of every class where it is `None`: a token that
    /// is slow to read need not read the rest.
    fn survey(&self, _class: Option<CK_OBJECT_CLASS>) -> Result<()> {
        Ok(())
    }

    /// Whether the security officer makes, changes and destroys the user's objects as well.
    fn so_writes(&self) -> bool {
        false
    }

    /// This row of the mechanism table as the token offers it: of fewer key sizes or functions
    /// where it cannot do all, with CKF_HW where its chip does it; `None` where it cannot do it.
    fn offer(&self, row: &Mechanism) -> Option<Mechanism>;

    /// Whether certificates are found and read without a login, but for those that their owner has
    /// marked as private (Profiles 3.2, 5.5).
    fn has_public_certificates(&self) -> Result<bool> {
        Ok(true)
    }

    /// Checks the PIN and opens the token to `user`. `CKR_PIN_INCORRECT`, `CKR_PIN_LOCKED`,
    /// `CKR_USER_PIN_NOT_INITIALIZED`.
    fn login(&self, user: User, pin: &[u8]) -> Result<()>;

    /// Checks the PIN that a key asks for each time, while the user is logged in (context-specific
    /// login); its next use is allowed.
    fn confirm(&self, _key: &Stored, pin: &[u8]) -> Result<()> {
        self.login(User::User, pin)
    }

    /// Closes the token to whoever is logged in and wipes what was opened for them.
    fn logout(&self);

    /// A number that changes whenever the token's objects or who may see them change. Cheap.
    fn revision(&self) -> Result<u64>;

    /// What changed since `since`; everything where `since` is `None` or is too old to tell.
    fn changes(&self, since: Option<u64>) -> Result<Changes>;

    /// The key behind a private key object, ready to sign. The slot caches it while logged in.
    /// `session` has the secret values of a session object; those of the token's own it knows.
    fn private_key(
        &self,
        object: &Stored,
        session: Option<&Secrets>,
    ) -> Result<Arc<dyn PrivateKey>>;

    /// One secret value of an object, `None` where the object has no such value.
    fn secret(&self, _id: &ObjectId, _attribute: CK_ATTRIBUTE_TYPE) -> Result<Option<Secret>> {
        Ok(None)
    }

    /// C_InitToken: makes the token empty, under a new label. On a token that has been initialized
    /// before, `so_pin` must be the security officer's.
    fn initialize(&self, _so_pin: &[u8], _label: &str) -> Result<()> {
        read_only()
    }

    /// C_InitPIN by the security officer who is logged in: sets the user's PIN, clears its counter.
    fn init_pin(&self, _pin: &[u8]) -> Result<()> {
        read_only()
    }

    /// C_SetPIN: changes the PIN of `user`, all or nothing. A wrong `old` counts as a wrong login.
    fn set_pin(&self, _user: User, _old: &[u8], _new: &[u8]) -> Result<()> {
        read_only()
    }

    /// Makes a key pair inside the token, for itself or for a session; what must be kept of it
    /// besides the templates. `private` is what the template says of the private key.
    fn generate(&self, _spec: &KeySpec, _private: &Attributes) -> Result<KeyPair> {
        read_only()
    }

    /// What is to be kept, in the token or a session, of a private key that was generated, brought
    /// from outside or copied.
    fn adopt(&self, key: NewObject) -> Result<NewObject> {
        Ok(key)
    }

    /// Stores all of `objects` and removes all of `replaced`, or does nothing, durably; returns the
    /// new names in the order of the objects.
    fn insert(&self, _objects: Vec<NewObject>, _replaced: &[ObjectId]) -> Result<Vec<ObjectId>> {
        read_only()
    }

    /// Gives all of `ids`, in this order, the attributes that `change` makes of those they have at
    /// that moment, or changes nothing, durably. No other change comes in between.
    fn update(&self, _ids: &[ObjectId], _change: &mut Change<'_>) -> Result<()> {
        read_only()
    }

    /// Removes all of `ids` or none, durably.
    fn remove(&self, _ids: &[ObjectId]) -> Result<()> {
        read_only()
    }
}

/// What [`Token::update`] makes of the attributes of one object.
pub type Change<'a> = dyn FnMut(&ObjectId, &Attributes) -> Result<Attributes> + 'a;

/// A generated pair as attributes: what the two objects have besides their templates.
#[derive(Debug)]
pub struct KeyPair {
    /// Of the public key (CKA_MODULUS, CKA_EC_POINT, …).
    pub public: Attributes,
    /// Of the private key, readable.
    pub private: Attributes,
    /// Of the private key, secret.
    pub secrets: Secrets,
}

/// Refuses what could not be true of a private key in a chip or card.
fn never_leaves(private: &Attributes) -> Result<()> {
    for (attribute, wrong) in [(CKA_SENSITIVE, false), (CKA_EXTRACTABLE, true)] {
        if private.is(attribute) == wrong {
            return fail!(
                CKR_TEMPLATE_INCONSISTENT,
                "{} cannot be {wrong}: a private key never leaves this token",
                crate::attribute::name(attribute)
            );
        }
    }
    Ok(())
}

fn read_only<T>() -> Result<T> {
    fail!(
        CKR_FUNCTION_NOT_SUPPORTED,
        "this kind of token cannot do that"
    )
}

/// A place for a token, as the registry hands it to the module.
pub struct Place {
    /// Slot id: stable, below 2^31 (CLIENTS: Java reads it as a positive 32-bit integer).
    pub id: CK_SLOT_ID,
    /// Slot description, at most 64 bytes.
    pub description: String,
    /// CKF_REMOVABLE_DEVICE, CKF_HW_SLOT.
    pub flags: CK_FLAGS,
    /// A place for a software token that has none, shown only where nothing else is.
    pub filler: bool,
    /// The token in it.
    pub token: Arc<dyn Token>,
}

/// Where tokens of one kind come from.
pub trait Source: Send + Sync {
    /// Every place that there is now. A place that was reported before is reported with the same
    /// token again.
    fn places(&self) -> Result<Vec<Place>>;
    /// Wipes what is held for a login and lets the system's resources go (C_Finalize).
    fn close(&self);
    /// How to wait for tokens to come and go; `None` where they never do.
    fn watch(&self) -> Option<&dyn Watch> {
        None
    }
}

/// Waiting for tokens and places to come and go.
pub trait Watch {
    /// A number to be taken before looking for what to wait for.
    fn moment(&self) -> u64;
    /// Waits until one may have come or gone since the moment `since`; or until [`Watch::wake`]. It
    /// may come back without cause.
    fn wait(&self, since: u64);
    /// Ends every [`Watch::wait`], now and from now on (C_Finalize).
    fn wake(&self);
}

/// Opens every kind of token that the configuration names.
pub fn open(config: &Config) -> Result<Vec<Box<dyn Source>>> {
    let mut sources: Vec<Box<dyn Source>> = Vec::new();
    if !config.tpm.device.is_empty() {
        sources.push(Box::new(tpm::Tpm::open(config)?));
    }
    if let Some(cards) = card::open(&config.card)? {
        sources.push(Box::new(cards));
    }
    sources.push(Box::new(software::open(&config.software)?));
    Ok(sources)
}
