//! The My Number card (JPKI, the public authentication service for individuals), read and signed with.
//!
//! It has two keys with a PIN each: one to authenticate, one to sign. Either is a token of its own kind
//! with one user's PIN; `card.applications` says which. The certificate to sign with holds name and
//! address: the card shows it after the PIN only.
//!
//! Never tested on a real card: the commands are those that OpenSC's driver sends to such cards, and
//! the tests emulate a card that understands nothing else.

use super::apdu::{Command, Expected, Result, Talk};
use super::application::{Application, Extent, Identity, Login, Operation};
use super::files;
use super::objects::{self, Signer};
use crate::config::Card;
use crate::token::{ObjectId, Stored, User};
use cryptoki_sys::*;
use zeroize::Zeroizing;

/// Application identifier.
pub(super) const AID: [u8; 10] = [0xd3, 0x92, 0xf0, 0x00, 0x26, 0x01, 0x00, 0x00, 0x00, 0x01];

/// VERIFY and the signature are about the file that is selected.
const SELECTED: u8 = 0x80;
/// COMPUTE DIGITAL SIGNATURE of this card: class, INS, P1, P2.
const SIGN_CLASS: u8 = 0x80;
const SIGN_COMMAND: [u8; 3] = [0x2a, 0x00, SELECTED];
const UNLOCKS: &str = "the municipal office sets a new one";

/// One of the two keys, with all that belongs to it.
struct Half {
    label: &'static str,
    model: &'static str,
    pin: [u8; 2],
    pin_len: (usize, usize),
    /// What the PIN looks like.
    pin_form: &'static str,
    tries: u8,
    key: [u8; 2],
    certificate: [u8; 2],
    authority: [u8; 2],
    authority_id: u8,
    authority_label: &'static str,
    objects: Signer<'static>,
}

/// Identifiers and labels of objects are those of OpenSC.
static AUTHENTICATION: Half = Half {
    label: "JPKI authentication",
    model: "JPKI",
    pin: [0x00, 0x18],
    pin_len: (4, 4),
    pin_form: "it has four digits",
    tries: 3,
    key: [0x00, 0x17],
    certificate: [0x00, 0x0a],
    authority: [0x00, 0x0b],
    authority_id: 3,
    authority_label: "User Authentication Certificate CA",
    objects: Signer {
        id: &[1],
        labels: [
            "User Authentication Key",
            "User Authentication Key",
            "User Authentication Certificate",
        ],
        hidden: false,
        always_asks: false,
    },
};
static SIGNATURE: Half = Half {
    label: "JPKI signature",
    model: "JPKI signature",
    pin: [0x00, 0x1b],
    pin_len: (6, 16),
    pin_form: "it has 6 to 16 capital letters and digits",
    tries: 5,
    key: [0x00, 0x1a],
    certificate: [0x00, 0x01],
    authority: [0x00, 0x02],
    authority_id: 4,
    authority_label: "Digital Signature Certificate CA",
    objects: Signer {
        id: &[2],
        labels: [
            "Digital Signature Key",
            "Digital Signature Key",
            "Digital Signature Certificate",
        ],
        hidden: true,
        always_asks: false,
    },
};

struct Jpki(&'static Half);

/// The key to authenticate with.
pub(super) fn open(_answer: &[u8], _rules: &Card) -> Box<dyn Application> {
    Box::new(Jpki(&AUTHENTICATION))
}

/// The key to sign with.
pub(super) fn open_to_sign(_answer: &[u8], _rules: &Card) -> Box<dyn Application> {
    Box::new(Jpki(&SIGNATURE))
}

impl Application for Jpki {
    /// The application names no card: the certificate that everybody may read stands for it.
    fn identity(&mut self, talk: &mut Talk<'_>) -> Result<Identity> {
        let certificate = files::read_object(talk, &AUTHENTICATION.certificate, 0)?;
        Ok(Identity {
            label: self.0.label.into(),
            manufacturer: "JPKI".into(),
            model: self.0.model.into(),
            serial: files::serial_of(certificate.as_deref()),
            pin_len: self.0.pin_len,
            read_only: true,
            public_certificates: !self.0.objects.hidden,
        })
    }

    fn pin_flags(&mut self, talk: &mut Talk<'_>) -> Result<CK_FLAGS> {
        files::must_select(talk, &self.0.pin)?;
        let left = files::tries_left(talk, SELECTED)?;
        Ok(files::pin_flags(left, self.0.tries))
    }

    fn read(
        &mut self,
        talk: &mut Talk<'_>,
        _extent: Extent,
        user: Option<User>,
    ) -> Result<Vec<Stored>> {
        let half = self.0;
        let mut found = Vec::new();
        if (user.is_some() || !half.objects.hidden)
            && let Some(value) = files::read_object(talk, &half.certificate, 0)?
        {
            found.extend(half.objects.objects(&value)?);
        }
        if let Some(value) = files::read_object(talk, &half.authority, 0)? {
            let id = [half.authority_id];
            found.push(objects::authority(&value, &id, half.authority_label)?);
        }
        Ok(found)
    }

    fn verify(&mut self, talk: &mut Talk<'_>, user: User, pin: &[u8]) -> Result<()> {
        let half = self.0;
        files::check_login(user, pin, half.pin_len, half.pin_form)?;
        files::must_select(talk, &half.pin)?;
        let response = files::verify(talk, SELECTED, pin)?;
        files::judge(response, "PIN", UNLOCKS, half.pin_form)
    }

    fn end_login(&mut self, talk: &mut Talk<'_>) -> Result<()> {
        files::reselect(talk, &AID)
    }

    fn takes_padded_blocks(&self) -> bool {
        false
    }

    fn operate(
        &mut self,
        talk: &mut Talk<'_>,
        _login: &Login,
        _key: &ObjectId,
        operation: &Operation<'_>,
    ) -> Result<Zeroizing<Vec<u8>>> {
        let info = files::pkcs1_input(operation)?;
        files::must_select(talk, &self.0.key)?;
        let command = Command {
            what: "the signature",
            header: SIGN_COMMAND,
            data: info,
            response: Expected::Short,
        };
        talk.send_in(SIGN_CLASS, &command)?.done()
    }
}
