//! Card applications: what a card can be to this module, and the table of those that it knows.

use super::apdu::{Result, Talk, refuse};
use crate::attribute::Attributes;
use crate::config::Card;
use crate::crypto::{KeySpec, PublicParts};
use crate::memory::Secret;
use crate::token::{Change, NewObject, ObjectId, Stored, User};
use cryptoki_sys::*;
use zeroize::Zeroizing;

/// A kind of card.
pub(super) struct Row {
    /// Its name in `card.applications`.
    pub(super) name: &'static str,
    /// Application identifier for SELECT, without the version where it has one.
    pub(super) aid: &'static [u8],
    /// Whether SELECT asks for the description of the application, as cards of this kind are known to
    /// take it.
    pub(super) described: bool,
    /// It is read by numbers of files that other applications of the card have as well: it is selected
    /// anew before, lest theirs be taken for its own.
    pub(super) files: bool,
    /// The application of a card that has just been selected, by the answer to that.
    pub(super) open: fn(&[u8], &Card) -> Box<dyn Application>,
}

/// Every kind of card that there is.
pub(super) static TABLE: &[Row] = &[
    Row {
        name: "piv",
        aid: &super::piv::AID,
        described: true,
        files: false,
        open: super::piv::open,
    },
    Row {
        name: "hpki",
        aid: &super::hpki::AID,
        described: true,
        files: true,
        open: super::hpki::open,
    },
    Row {
        name: "hpki-sign",
        aid: &super::hpki::AID_TO_SIGN,
        described: true,
        files: true,
        open: super::hpki::open_to_sign,
    },
    Row {
        name: "jpki",
        aid: &super::jpki::AID,
        described: false,
        files: true,
        open: super::jpki::open,
    },
    Row {
        name: "jpki-sign",
        aid: &super::jpki::AID,
        described: false,
        files: true,
        open: super::jpki::open_to_sign,
    },
];

/// The part of CK_TOKEN_INFO that stays the same while the card is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    /// At most 32 bytes.
    pub(super) label: String,
    /// At most 32 bytes.
    pub(super) manufacturer: String,
    /// At most 16 bytes.
    pub(super) model: String,
    /// At most 16 bytes.
    pub(super) serial: String,
    /// Shortest and longest PIN in bytes.
    pub(super) pin_len: (usize, usize),
    /// Nothing can be written to it.
    pub(super) read_only: bool,
    /// Every certificate can be read without a PIN.
    pub(super) public_certificates: bool,
}

/// What a private key is asked to do.
pub(super) enum Operation<'a> {
    /// The bare RSA operation on a block as long as the modulus.
    Rsa(&'a [u8]),
    /// RSASSA-PKCS1-v1_5 over a DigestInfo: for cards that pad themselves.
    RsaPkcs1(&'a [u8]),
    /// ECDSA over a digest as long as the order.
    Ecdsa(&'a [u8]),
    /// Ed25519 over the message.
    Ed25519(&'a [u8]),
    /// ECDH with an uncompressed point: the x coordinate of the product.
    Agree(&'a [u8]),
}

/// How much of a card is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Extent {
    /// Keys and certificates.
    Credentials,
    /// Data objects as well.
    Everything,
}

/// What was selected and verified in the card since, and what must be known to do it again.
#[derive(Default)]
pub(super) struct Login {
    /// Who is logged in, with the PIN.
    pub(super) user: Option<(User, Secret)>,
    /// A PIN was sent since that was wrong, as far as we know: that of the login is not sent any
    /// more, for it would set the card's counter of wrong tries back.
    pub(super) doubted: bool,
    /// The key that was confirmed for one use, with the PIN.
    pub(super) confirmed: Option<(ObjectId, Secret)>,
}

/// A key pair that a card has made.
pub(super) struct Made {
    /// Its public half.
    pub(super) public: PublicParts,
    /// What the place of the private half says of it.
    pub(super) private: Attributes,
    /// What the private half is known by when its object is written.
    pub(super) reference: Secret,
}

/// An application on a card. All of it happens while no other program talks to the card.
///
/// A refusal of the card that it does not understand goes back as it is: then the application is
/// selected anew, the PIN is verified anew, and it is asked once more, for another program may have
/// selected something else in between.
pub(super) trait Application: Send {
    /// Forgets what the card forgets when the application is selected.
    fn selected(&mut self) {}

    /// Who the card is.
    fn identity(&mut self, talk: &mut Talk<'_>) -> Result<Identity>;

    /// CKF_USER_PIN_… flags, without spending a try.
    fn pin_flags(&mut self, talk: &mut Talk<'_>) -> Result<CK_FLAGS>;

    /// What can be seen now; private objects too, of which the token shows what it may.
    fn read(
        &mut self,
        talk: &mut Talk<'_>,
        extent: Extent,
        user: Option<User>,
    ) -> Result<Vec<Stored>>;

    /// Verifies a PIN. `CKR_PIN_INCORRECT`, `CKR_PIN_LOCKED`.
    fn verify(&mut self, talk: &mut Talk<'_>, user: User, pin: &[u8]) -> Result<()>;

    /// Verifies once more what was verified before the application was selected anew.
    fn resume(&mut self, talk: &mut Talk<'_>, user: User, pin: &[u8]) -> Result<()> {
        self.verify(talk, user, pin)
    }

    /// Takes back what was verified.
    fn end_login(&mut self, talk: &mut Talk<'_>) -> Result<()>;

    /// Whether RSA blocks come padded to it.
    fn takes_padded_blocks(&self) -> bool {
        true
    }

    /// The private operation. A signature of ECDSA is DER, as cards give it.
    fn operate(
        &mut self,
        talk: &mut Talk<'_>,
        login: &Login,
        key: &ObjectId,
        operation: &Operation<'_>,
    ) -> Result<Zeroizing<Vec<u8>>>;

    /// Makes the card empty, under a new label.
    fn initialize(&mut self, _talk: &mut Talk<'_>, _so_pin: &[u8], _label: &str) -> Result<()> {
        read_only()
    }

    /// Sets the user's PIN and its counter, as the security officer.
    fn unblock(&mut self, _talk: &mut Talk<'_>, _so_pin: &[u8], _pin: &[u8]) -> Result<()> {
        read_only()
    }

    /// Changes a PIN.
    fn change_pin(
        &mut self,
        _talk: &mut Talk<'_>,
        _user: User,
        _old: &[u8],
        _new: &[u8],
    ) -> Result<()> {
        read_only()
    }

    /// Makes a key pair.
    fn generate(
        &mut self,
        _talk: &mut Talk<'_>,
        _login: &Login,
        _spec: &KeySpec,
        _private: &Attributes,
    ) -> Result<Made> {
        read_only()
    }

    /// Writes and removes objects; the names of the new ones, in order.
    fn write(
        &mut self,
        _talk: &mut Talk<'_>,
        _login: &Login,
        _new: &[NewObject],
        _removed: &[ObjectId],
    ) -> Result<Vec<ObjectId>> {
        read_only()
    }

    /// Changes the attributes of objects.
    fn update(
        &mut self,
        _talk: &mut Talk<'_>,
        _login: &Login,
        _ids: &[ObjectId],
        _change: &mut Change<'_>,
    ) -> Result<()> {
        read_only()
    }
}

fn read_only<T>() -> Result<T> {
    refuse!(
        CKR_TOKEN_WRITE_PROTECTED,
        "this kind of card is only read and signed with"
    )
}
