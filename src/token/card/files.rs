//! Cards that are files and PINs (ISO 7816-4, 7): selecting, reading, verifying.

use super::apdu::{Command, Expected, Response, Result, Status, Talk, refuse};
use super::application::Operation;
use crate::crypto::{Hash, engine};
use crate::token::User;
use cryptoki_sys::*;
use der::{Decode, Header, Reader, SliceReader};
use zeroize::Zeroizing;

const SELECT: u8 = 0xa4;
const READ_BINARY: u8 = 0xb0;
const VERIFY: u8 = 0x20;

/// Bytes of tag and length that are asked for first: enough for objects of up to 65,535 bytes.
const HEAD: usize = 4;
/// READ BINARY takes offsets of 15 bits (7.2.3): no file is read beyond.
const LONGEST: usize = 1 << 15;
/// End of file reached before as much was read as was asked for: there are bytes all the same.
const END_OF_FILE: Status = Status(0x6282);
/// Offset outside of the file.
const BEYOND: Status = Status(0x6b00);
/// Command incompatible with the file: it has another structure, or there is nothing in it.
const NO_FILE: Status = Status(0x6986);
/// Reference data not usable: some cards say that of a PIN that is locked.
const NOT_USABLE: Status = Status(0x6984);

/// Selects the application anew, which takes back what was verified in it (5.4: the security status
/// of an application ends with its selection).
pub(super) fn reselect(talk: &mut Talk<'_>, aid: &[u8]) -> Result<()> {
    let response = talk.send(&Command {
        what: "the end of a login",
        header: [SELECT, 0x04, 0x0c],
        data: aid,
        response: Expected::Nothing,
    })?;
    response.done().map(drop)
}

/// SELECT of a file by its identifier or path (7.1.1).
fn select(talk: &mut Talk<'_>, path: &[u8]) -> Result<Response> {
    let (by, data) = match path {
        [_, _] => (0x02, path),
        [0x3f, 0x00, below @ ..] => (0x08, below),
        _ => (0x09, path),
    };
    talk.send(&Command {
        what: "the selection of a file",
        header: [SELECT, by, 0x0c],
        data,
        response: Expected::Nothing,
    })
}

/// Selects a file that has to be there.
pub(super) fn must_select(talk: &mut Talk<'_>, path: &[u8]) -> Result<()> {
    select(talk, path)?.done().map(drop)
}

/// Selects a file; `false` where there is none.
fn may_select(talk: &mut Talk<'_>, path: &[u8]) -> Result<bool> {
    match select(talk, path)? {
        response if response.status == Status::NOT_FOUND => Ok(false),
        response => response.done().map(|_| true),
    }
}

/// READ BINARY of up to 256 bytes (7.2.3); nothing where the file ends before.
fn read(talk: &mut Talk<'_>, offset: usize, len: usize) -> Result<Zeroizing<Vec<u8>>> {
    let [high, low] = (offset as u16).to_be_bytes();
    let response = talk.send(&Command {
        what: "the reading of a file",
        header: [READ_BINARY, high, low],
        data: &[],
        response: Expected::UpTo(len.min(256) as u8),
    })?;
    match response.status {
        END_OF_FILE => Ok(response.data),
        BEYOND | NO_FILE => Ok(Zeroizing::default()),
        _ => response.done(),
    }
}

/// The object of DER that begins at an offset of the selected file. `None` where none does: files
/// are filled up with zeros or FF.
fn object_at(talk: &mut Talk<'_>, offset: usize) -> Result<Option<Vec<u8>>> {
    let mut object = read(talk, offset, HEAD)?.to_vec();
    let head = SliceReader::new(&object).and_then(|mut reader| {
        let header = Header::decode(&mut reader)?;
        header.length() + reader.position()
    });
    let Some(len) = head.ok().and_then(|len| usize::try_from(len).ok()) else {
        return Ok(None);
    };
    if offset + len > LONGEST {
        return refuse!(CKR_DEVICE_ERROR, "an object of the card is too long");
    }
    object.truncate(len);
    while object.len() < len {
        let more = read(talk, offset + object.len(), len - object.len())?;
        if more.is_empty() {
            return refuse!(
                CKR_DEVICE_ERROR,
                "a file of the card ends within its object"
            );
        }
        object.extend(more.iter().take(len - object.len()));
    }
    Ok(Some(object))
}

/// The object of DER that begins at an offset of a file; `None` where there is none.
pub(super) fn read_object(
    talk: &mut Talk<'_>,
    path: &[u8],
    offset: usize,
) -> Result<Option<Vec<u8>>> {
    match may_select(talk, path)? {
        true => object_at(talk, offset),
        false => Ok(None),
    }
}

/// The answer to a command that a wrong PIN makes fail. `unlocks` says who unlocks it, `form` what it
/// looks like.
pub(super) fn judge(response: Response, who: &str, unlocks: &str, form: &str) -> Result<()> {
    match (response.status, response.status.tries_left()) {
        (Status::DONE, _) => Ok(()),
        (NOT_USABLE, _) | (_, Some(0)) => {
            refuse!(CKR_PIN_LOCKED, "the {who} is locked: {unlocks}")
        }
        (_, Some(left)) => refuse!(
            CKR_PIN_INCORRECT,
            "the {who} is wrong, {left} tries are left"
        ),
        // Some cards do not say how many are left.
        (Status(0x6300), _) => refuse!(CKR_PIN_INCORRECT, "the {who} is wrong"),
        (Status::WRONG_DATA, _) => refuse!(
            CKR_PIN_INVALID,
            "the card does not take such a {who}: {form}"
        ),
        (Status::NOT_ALLOWED, _) => refuse!(
            CKR_DEVICE_ERROR,
            "the card does not take the {who} now: by radio it may ask for secure messaging"
        ),
        _ => response.done().map(drop),
    }
}

/// VERIFY (7.5.6).
pub(super) fn verify(talk: &mut Talk<'_>, reference: u8, pin: &[u8]) -> Result<Response> {
    talk.send(&Command {
        what: "the PIN",
        header: [VERIFY, 0, reference],
        data: pin,
        response: Expected::Nothing,
    })
}

/// VERIFY without a PIN: how many tries it has left; `None` where it is verified.
pub(super) fn tries_left(talk: &mut Talk<'_>, reference: u8) -> Result<Option<u8>> {
    let response = talk.send(&Command {
        what: "the question for the PIN's tries",
        header: [VERIFY, 0, reference],
        data: &[],
        response: Expected::Nothing,
    })?;
    match (response.status, response.status.tries_left()) {
        (Status::DONE, _) => Ok(None),
        (NOT_USABLE, _) => Ok(Some(0)),
        (_, Some(left)) => Ok(Some(left)),
        _ => response.done().map(|_| None),
    }
}

/// CKF_USER_PIN_… flags of a PIN that has so many tries left, of so many at the start.
pub(super) fn pin_flags(left: Option<u8>, full: u8) -> CK_FLAGS {
    match left {
        Some(0) => CKF_USER_PIN_LOCKED,
        Some(1) => CKF_USER_PIN_FINAL_TRY | CKF_USER_PIN_COUNT_LOW,
        Some(few) if few < full => CKF_USER_PIN_COUNT_LOW,
        _ => 0,
    }
}

/// Refuses a login that cannot be right, without a word to the card.
pub(super) fn check_login(
    user: User,
    pin: &[u8],
    (shortest, longest): (usize, usize),
    form: &str,
) -> Result<()> {
    if user == User::SecurityOfficer {
        return refuse!(
            CKR_USER_TYPE_INVALID,
            "this kind of card has no security officer: it is only read and signed with"
        );
    }
    if (shortest..=longest).contains(&pin.len()) {
        return Ok(());
    }
    refuse!(
        CKR_PIN_INCORRECT,
        "a PIN of {} bytes cannot be right: {form}; nothing was sent",
        pin.len()
    )
}

/// The serial number of a card that has none: the beginning of its certificate's digest.
pub(super) fn serial_of(certificate: Option<&[u8]>) -> String {
    let digest = certificate.map(|value| engine::digest(Hash::Sha256, value));
    let bytes = digest.iter().flatten().take(8);
    bytes.map(|byte| format!("{byte:02x}")).collect()
}

/// What a card is to sign that makes PKCS #1 v1.5 signatures and nothing else.
pub(super) fn pkcs1_input<'a>(operation: &Operation<'a>) -> Result<&'a [u8]> {
    match operation {
        Operation::RsaPkcs1(input) => Ok(input),
        _ => refuse!(
            CKR_MECHANISM_INVALID,
            "this card makes PKCS #1 v1.5 signatures and nothing else"
        ),
    }
}
