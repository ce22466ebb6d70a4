//! The card of the Japanese healthcare PKI (HPKI), read and signed with: an application to authenticate
//! and one to sign, each with a key and a PIN, each a token of its own kind.
//!
//! What is where is read from the card (`directory`). How it signs is asked of it: first as the example
//! of the JAHIS guideline for HPKI cards does, MANAGE SECURITY ENVIRONMENT and a block that is padded
//! here; a card that does not understand that is taken for one of those in the field, which sign a
//! DigestInfo with the file of the key selected. The PKCS#11 face is the guideline's: CKM_RSA_PKCS (and
//! hash functions before it, which are ours), CKA_ID 17h, the name of the private key, and the PIN at
//! every signature where the card asks for consent.
//!
//! Never tested on a real card: none was at hand, and no free software signs with one to compare with.
//! The tests emulate both forms as they are described in public.

mod directory;

use super::apdu::{Command, Expected, Failure, Result, Status, Talk};
use super::application::{Application, Extent, Identity, Login, Operation};
use super::files;
use super::objects::{self, Signer};
use super::transport::Fault;
use crate::config::Card;
use crate::crypto::pkcs1;
use crate::log;
use crate::token::{ObjectId, Stored, User};
use cryptoki_sys::*;
use directory::{Key, Layout, Pin, Place};
use zeroize::Zeroizing;

/// Application identifiers of the cards in the field: to authenticate, to sign.
pub(super) const AID: [u8; 16] = aid(2);
pub(super) const AID_TO_SIGN: [u8; 16] = aid(1);

const fn aid(last: u8) -> [u8; 16] {
    [
        0xe8, 0x28, 0xbd, 0x08, 0x0f, 0xa0, 0x00, 0x00, 0x03, 0x91, 0x00, 0x00, 0x00, 0x00, 0x00,
        last,
    ]
}

/// Lengths of PINs by the guideline.
const PIN_LEN: (usize, usize) = (4, 16);
const PIN_FORM: &str = "its issuer says how long it is";
const UNLOCKS: &str = "its issuer unlocks it";
/// Fewer tries than this are few: how many there are at the start is not known.
const MANY_TRIES: u8 = 3;

/// MANAGE SECURITY ENVIRONMENT, SET for a digital signature (ISO 7816-4, 7.5.11), and the data object
/// that names the key by its file.
const SET_FOR_SIGNATURE: [u8; 3] = [0x22, 0x41, 0xb6];
const FILE_REFERENCE: u8 = 0x81;
/// PERFORM SECURITY OPERATION, COMPUTE DIGITAL SIGNATURE (ISO 7816-8).
const COMPUTE_SIGNATURE: [u8; 3] = [0x2a, 0x9e, 0x9a];
/// The same of the cards in the field, in their own class.
const FIELD_CLASS: u8 = 0x80;
const FIELD_COMPUTE_SIGNATURE: [u8; 3] = [0x2a, 0x00, 0x80];

/// The application on one card.
struct Hpki {
    aid: &'static [u8],
    label: &'static str,
    /// What is where, once read.
    layout: Option<Layout>,
    /// It signs as the guideline's example does, as far as is known.
    standard: bool,
}

/// The application to authenticate with.
pub(super) fn open(_answer: &[u8], _rules: &Card) -> Box<dyn Application> {
    Box::new(Hpki::new(&AID, "HPKI authentication"))
}

/// The application to sign with.
pub(super) fn open_to_sign(_answer: &[u8], _rules: &Card) -> Box<dyn Application> {
    Box::new(Hpki::new(&AID_TO_SIGN, "HPKI signature"))
}

/// Where things are on the cards in the field, where they do not say it themselves.
fn usual_layout() -> Layout {
    Layout {
        pin: Pin {
            file: Some(vec![0x00, 0x02]),
            reference: 0x88,
            len: PIN_LEN,
            filled: None,
        },
        key: Key {
            file: vec![0x00, 0x0c],
            len: 256,
            always_asks: true,
        },
        certificate: Place {
            file: vec![0x00, 0x16],
            offset: 0,
        },
        authorities: Vec::new(),
    }
}

impl Hpki {
    fn new(aid: &'static [u8], label: &'static str) -> Self {
        Self {
            aid,
            label,
            layout: None,
            standard: true,
        }
    }

    fn layout(&mut self, talk: &mut Talk<'_>) -> Result<&Layout> {
        let layout = match self.layout.take() {
            Some(known) => known,
            None => {
                let said = match directory::read(talk) {
                    Err(Failure::Fault(Fault::Error(error))) => {
                        let line =
                            format!("an HPKI card is taken for one of the usual kind: {error}");
                        log::write(log::Level::Error, &line);
                        None
                    }
                    said => said?,
                };
                self.standard = said.is_some();
                said.unwrap_or_else(usual_layout)
            }
        };
        Ok(self.layout.insert(layout))
    }

    /// Selects what VERIFY is about.
    fn pin(&mut self, talk: &mut Talk<'_>) -> Result<Pin> {
        let pin = self.layout(talk)?.pin.clone();
        if let Some(file) = &pin.file {
            files::must_select(talk, file)?;
        }
        Ok(pin)
    }
}

impl Application for Hpki {
    /// The certificate stands for the card.
    fn identity(&mut self, talk: &mut Talk<'_>) -> Result<Identity> {
        let Layout {
            certificate, pin, ..
        } = self.layout(talk)?.clone();
        let value = files::read_object(talk, &certificate.file, certificate.offset)?;
        Ok(Identity {
            label: self.label.into(),
            manufacturer: "HPKI".into(),
            model: "HPKI".into(),
            serial: files::serial_of(value.as_deref()),
            pin_len: pin.len,
            read_only: true,
            public_certificates: true,
        })
    }

    fn pin_flags(&mut self, talk: &mut Talk<'_>) -> Result<CK_FLAGS> {
        let pin = self.pin(talk)?;
        let left = files::tries_left(talk, pin.reference)?;
        Ok(files::pin_flags(left, MANY_TRIES))
    }

    fn read(
        &mut self,
        talk: &mut Talk<'_>,
        _extent: Extent,
        _user: Option<User>,
    ) -> Result<Vec<Stored>> {
        let layout = self.layout(talk)?.clone();
        let signer = Signer {
            id: &[0x17],
            labels: [
                "Private key of HPKI",
                "Public key of HPKI",
                "Certificate of HPKI",
            ],
            hidden: false,
            always_asks: layout.key.always_asks,
        };
        let mut found = Vec::new();
        let own = &layout.certificate;
        if let Some(value) = files::read_object(talk, &own.file, own.offset)? {
            found.extend(signer.objects(&value)?);
        }
        for (id, place) in &layout.authorities {
            if let Some(value) = files::read_object(talk, &place.file, place.offset)? {
                found.push(objects::authority(&value, id, "Authority of HPKI")?);
            }
        }
        Ok(found)
    }

    fn verify(&mut self, talk: &mut Talk<'_>, user: User, pin: &[u8]) -> Result<()> {
        let place = self.pin(talk)?;
        files::check_login(user, pin, place.len, PIN_FORM)?;
        let (len, fill) = place.filled.unwrap_or((pin.len(), 0));
        let mut filled = Zeroizing::new(Vec::with_capacity(len.max(pin.len())));
        filled.extend_from_slice(pin);
        filled.resize(len.max(pin.len()), fill);
        let response = files::verify(talk, place.reference, &filled)?;
        files::judge(response, "PIN", UNLOCKS, PIN_FORM)
    }

    fn end_login(&mut self, talk: &mut Talk<'_>) -> Result<()> {
        files::reselect(talk, self.aid)
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
        let key = self.layout(talk)?.key.clone();
        if self.standard {
            match sign_by_the_standard(talk, &key, info) {
                // Not what a card says that waits for its PIN, or where something else is selected:
                // both are asked again.
                Err(Failure::Refused { status, .. }) if status != Status::NOT_ALLOWED => {}
                signed => return signed,
            }
        }
        let signed = sign_as_in_the_field(talk, &key, info)?;
        self.standard = false;
        Ok(signed)
    }
}

fn sign_by_the_standard(talk: &mut Talk<'_>, key: &Key, info: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
    let block = pkcs1::pad_type1(info, key.len)?;
    let mut reference = vec![FILE_REFERENCE, key.file.len() as u8];
    reference.extend_from_slice(&key.file);
    let set = Command {
        what: "the choice of its key",
        header: SET_FOR_SIGNATURE,
        data: &reference,
        response: Expected::Nothing,
    };
    talk.send(&set)?.done()?;
    let sign = Command {
        what: "the signature",
        header: COMPUTE_SIGNATURE,
        data: &block,
        response: Expected::Short,
    };
    talk.send(&sign)?.done()
}

fn sign_as_in_the_field(talk: &mut Talk<'_>, key: &Key, info: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
    files::must_select(talk, &key.file)?;
    let sign = Command {
        what: "the signature",
        header: FIELD_COMPUTE_SIGNATURE,
        data: info,
        response: Expected::Short,
    };
    talk.send_in(FIELD_CLASS, &sign)?.done()
}
