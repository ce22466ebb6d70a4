//! The commands of PIV (NIST SP 800-73-4 Part 2, 3) and those that many cards took over from the
//! YubiKey.

use crate::crypto::{Curve, KeySpec, PublicParts};
use crate::token::card::apdu::{
    Command, Expected, Failure, Response, Result, Status, Talk, refuse,
};
use crate::token::card::files;
use crate::token::card::tlv::{self, Tag};
use cryptoki_sys::*;
use zeroize::Zeroizing;

/// Length of a PIN or PUK as it is sent, and what fills it up (2.4.3).
pub(super) const PIN_LEN: usize = 8;
const FILL: u8 = 0xff;

const VERIFY: u8 = 0x20;
const CHANGE_REFERENCE_DATA: u8 = 0x24;
const RESET_RETRY_COUNTER: u8 = 0x2c;
const GENERATE_ASYMMETRIC_KEY_PAIR: u8 = 0x47;
const GENERAL_AUTHENTICATE: u8 = 0x87;
const GET_DATA: u8 = 0xcb;
const PUT_DATA: u8 = 0xdb;
/// Of the YubiKey.
const GET_METADATA: u8 = 0xf7;
const GET_VERSION: u8 = 0xfd;
const SET_MANAGEMENT_KEY: u8 = 0xff;
/// Deletes a key, with this P1; version 5.7 and later.
const MOVE_KEY: u8 = 0xf6;

/// What a private operation is done with, in the dynamic authentication template (3.2.4, table 7).
pub(super) const CHALLENGE: Tag = 0x81;
pub(super) const EXPONENTIATION: Tag = 0x85;

/// Card application administration key.
pub(super) const ADMINISTRATION: u8 = 0x9b;

/// What is authenticated by a number (2.4.3, table 4 of Part 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reference {
    /// PIV Card Application PIN.
    Pin = 0x80,
    /// Global PIN of the card.
    GlobalPin = 0x00,
    /// PIN Unblocking Key.
    Puk = 0x81,
}

/// Cryptographic algorithm identifiers (SP 800-78-4, table 6-2); Ed25519 is the YubiKey's.
pub(super) fn algorithm_of(spec: &KeySpec) -> Result<u8> {
    match spec {
        KeySpec::Rsa { bits: 2048, .. } => Ok(0x07),
        KeySpec::Rsa { bits: 3072, .. } => Ok(0x05),
        KeySpec::Rsa { bits: 4096, .. } => Ok(0x16),
        KeySpec::Rsa { bits, .. } => refuse!(
            CKR_KEY_SIZE_RANGE,
            "PIV cards have RSA keys of 2048, 3072 and 4096 bits, not {bits}"
        ),
        KeySpec::Ec(Curve::P256) => Ok(0x11),
        KeySpec::Ec(Curve::P384) => Ok(0x14),
        KeySpec::Ec(Curve::P521) => {
            refuse!(CKR_CURVE_NOT_SUPPORTED, "PIV cards do not have P-521")
        }
        KeySpec::Ed25519 => Ok(0xe0),
        KeySpec::X25519 => refuse!(
            CKR_CURVE_NOT_SUPPORTED,
            "no X25519 keys are kept on PIV cards"
        ),
        KeySpec::MlDsa(_) | KeySpec::MlKem(_) => refuse!(
            CKR_PARAMETER_SET_NOT_SUPPORTED,
            "no keys of ML-DSA and ML-KEM are kept on PIV cards"
        ),
    }
}

/// Every kind of key that a card can have.
pub(super) fn specs() -> [KeySpec; 6] {
    let rsa = |bits| KeySpec::Rsa {
        bits,
        exponent: vec![1, 0, 1],
    };
    [
        rsa(2048),
        rsa(3072),
        rsa(4096),
        KeySpec::Ec(Curve::P256),
        KeySpec::Ec(Curve::P384),
        KeySpec::Ed25519,
    ]
}

/// A PIN as it is sent. `CKR_PIN_LEN_RANGE`.
fn filled(pin: &[u8], padded: &mut Zeroizing<Vec<u8>>) -> Result<()> {
    if pin.is_empty() || pin.len() > PIN_LEN {
        return refuse!(
            CKR_PIN_LEN_RANGE,
            "a PIN or PUK of a PIV card has at most {PIN_LEN} bytes, not {}",
            pin.len()
        );
    }
    padded.extend_from_slice(pin);
    padded.extend(std::iter::repeat_n(FILL, PIN_LEN - pin.len()));
    Ok(())
}

fn pins(first: &[u8], second: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
    let mut both = Zeroizing::new(Vec::with_capacity(2 * PIN_LEN));
    filled(first, &mut both)?;
    filled(second, &mut both)?;
    Ok(both)
}

/// The answer to a command that a wrong PIN makes fail.
fn judge(response: Response, who: &str) -> Result<()> {
    let unlocks = "the security officer unlocks a PIN by the PUK";
    files::judge(response, who, unlocks, "PIV asks for 6 to 8 digits")
}

/// VERIFY (3.2.1).
pub(super) fn verify(talk: &mut Talk<'_>, reference: Reference, pin: &[u8]) -> Result<()> {
    let mut data = Zeroizing::new(Vec::with_capacity(PIN_LEN));
    filled(pin, &mut data)?;
    match files::verify(talk, reference as u8, &data)? {
        response if response.status == Status::WRONG_DATA => refuse!(
            CKR_PIN_INCORRECT,
            "the card never takes such a PIN: PIV asks for 6 to 8 digits"
        ),
        response => judge(response, "PIN"),
    }
}

/// VERIFY with P1 FF: the PIN is not verified any more.
pub(super) fn end_login(talk: &mut Talk<'_>, reference: Reference) -> Result<()> {
    let response = talk.send(&Command {
        what: "the end of a login",
        header: [VERIFY, 0xff, reference as u8],
        data: &[],
        response: Expected::Nothing,
    })?;
    response.done().map(drop)
}

/// CHANGE REFERENCE DATA (3.2.2).
pub(super) fn change(
    talk: &mut Talk<'_>,
    reference: Reference,
    old: &[u8],
    new: &[u8],
) -> Result<()> {
    let data = pins(old, new)?;
    let response = talk.send(&Command {
        what: "the change of a PIN",
        header: [CHANGE_REFERENCE_DATA, 0, reference as u8],
        data: &data,
        response: Expected::Nothing,
    })?;
    // Some cards do not say here that it is locked.
    if response.status == Status(0x6300)
        && reference != Reference::Puk
        && files::tries_left(talk, reference as u8)? == Some(0)
    {
        return refuse!(CKR_PIN_LOCKED, "the PIN is locked");
    }
    judge(
        response,
        if reference == Reference::Puk {
            "PUK"
        } else {
            "PIN"
        },
    )
}

/// RESET RETRY COUNTER (3.2.3).
pub(super) fn unblock(
    talk: &mut Talk<'_>,
    reference: Reference,
    puk: &[u8],
    pin: &[u8],
) -> Result<()> {
    let data = pins(puk, pin)?;
    let response = talk.send(&Command {
        what: "the unblocking of the PIN",
        header: [RESET_RETRY_COUNTER, 0, reference as u8],
        data: &data,
        response: Expected::Nothing,
    })?;
    judge(response, "PUK")
}

/// The tag list that names a data object (3.1.2, 3.3.1).
fn tag_list(tag: Tag) -> Vec<u8> {
    let name = tag.to_be_bytes();
    let name: Vec<_> = name.into_iter().skip_while(|byte| *byte == 0).collect();
    tlv::object(0x5c, &name)
}

/// GET DATA (3.1.2): what the data object holds; `None` where there is nothing, or nothing that may
/// be read now.
pub(super) fn get(talk: &mut Talk<'_>, tag: Tag) -> Result<Option<Zeroizing<Vec<u8>>>> {
    let response = talk.send(&Command {
        what: "the reading of a data object",
        header: [GET_DATA, 0x3f, 0xff],
        data: &tag_list(tag),
        response: Expected::Long,
    })?;
    if response.status == Status::NOT_ALLOWED || response.status.is_of_no_such_object() {
        return Ok(None);
    }
    let data = response.done()?;
    // 7E and 7F61 are templates themselves, the others lie in 53.
    let wrapper = if tag > 0xffff { 0x53 } else { tag };
    let value = tlv::value_of(&data, wrapper)?;
    Ok((!value.is_empty()).then(|| Zeroizing::new(value.to_vec())))
}

/// PUT DATA (3.3.1). An empty value removes the data object.
pub(super) fn put(talk: &mut Talk<'_>, tag: Tag, value: &[u8]) -> Result<()> {
    let data = if tag > 0xffff {
        let mut data = tag_list(tag);
        tlv::push(&mut data, 0x53, value);
        data
    } else {
        tlv::object(tag, value)
    };
    let no_room = || {
        refuse!(
            CKR_DEVICE_MEMORY,
            "the card has no room for a data object of {} bytes",
            data.len()
        )
    };
    // No reader has longer ones, and some fall over them.
    if data.len() > usize::from(u16::MAX) {
        return no_room();
    }
    let response = talk.send(&Command {
        what: "the writing of a data object",
        header: [PUT_DATA, 0x3f, 0xff],
        data: &data,
        response: Expected::Nothing,
    })?;
    if matches!(response.status, Status(0x6700 | 0x6a84)) {
        return no_room();
    }
    response.done().map(drop)
}

/// GENERATE ASYMMETRIC KEY PAIR (3.3.2): the public half.
pub(super) fn generate(talk: &mut Talk<'_>, reference: u8, spec: &KeySpec) -> Result<PublicParts> {
    let algorithm = algorithm_of(spec)?;
    let response = talk.send(&Command {
        what: "the making of a key",
        header: [GENERATE_ASYMMETRIC_KEY_PAIR, 0, reference],
        data: &tlv::object(0xac, &tlv::object(0x80, &[algorithm])),
        response: Expected::Long,
    })?;
    if response.status == Status::WRONG_DATA {
        return match spec {
            KeySpec::Rsa { bits, .. } => refuse!(
                CKR_KEY_SIZE_RANGE,
                "this card makes no RSA keys of {bits} bits there"
            ),
            _ => refuse!(
                CKR_CURVE_NOT_SUPPORTED,
                "this card makes no keys on this curve there"
            ),
        };
    }
    let data = response.done()?;
    public_of(tlv::value_of(&data, 0x7f49)?, spec)
}

/// A public key as cards send it (3.3.2, table 11).
pub(super) fn public_of(template: &[u8], spec: &KeySpec) -> Result<PublicParts> {
    let objects = tlv::all(template)?;
    let part = |tag| {
        tlv::find(&objects, tag).ok_or_else(|| {
            Failure::from(crate::error::Error::new(
                CKR_DEVICE_ERROR,
                "the card sent a public key with a part missing",
            ))
        })
    };
    let public = match spec {
        KeySpec::Rsa { .. } => PublicParts::Rsa {
            n: crate::crypto::trim(part(0x81)?).to_vec(),
            e: crate::crypto::trim(part(0x82)?).to_vec(),
        },
        KeySpec::Ec(curve) => PublicParts::Ec {
            curve: *curve,
            point: part(0x86)?.to_vec(),
        },
        KeySpec::Ed25519 => PublicParts::Ed25519(part(0x86)?.to_vec()),
        // No card is asked to make others ([`algorithm_of`]).
        KeySpec::X25519 | KeySpec::MlDsa(_) | KeySpec::MlKem(_) => {
            return refuse!(CKR_DEVICE_ERROR, "PIV cards have no keys of this type");
        }
    };
    let right = match (&public, spec) {
        (PublicParts::Rsa { .. }, KeySpec::Rsa { bits, .. }) => public.bits() == *bits,
        _ => true,
    };
    match right {
        true => Ok(public),
        false => refuse!(
            CKR_DEVICE_ERROR,
            "the card made a key of another length than it was asked for"
        ),
    }
}

/// GENERAL AUTHENTICATE (3.2.4): the template that the card answers with.
fn authenticate(
    talk: &mut Talk<'_>,
    what: &'static str,
    algorithm: u8,
    reference: u8,
    template: &[u8],
    response: Expected,
) -> Result<Response> {
    talk.send(&Command {
        what,
        header: [GENERAL_AUTHENTICATE, algorithm, reference],
        data: template,
        response,
    })
}

/// The private operation with a key: the response to a [`CHALLENGE`] (Part 2, A.4), or, of an EC key,
/// to a point, with which it agrees on a secret ([`EXPONENTIATION`], A.5).
pub(super) fn operate(
    talk: &mut Talk<'_>,
    (algorithm, reference): (u8, u8),
    tag: Tag,
    input: &[u8],
) -> Result<Zeroizing<Vec<u8>>> {
    let mut inner = Zeroizing::new(Vec::with_capacity(input.len() + 8));
    tlv::push(&mut inner, 0x82, &[]);
    tlv::push(&mut inner, tag, input);
    let template = Zeroizing::new(tlv::object(0x7c, &inner));
    let data = authenticate(
        talk,
        "the use of a private key",
        algorithm,
        reference,
        &template,
        Expected::Long,
    )?
    .done()?;
    Ok(Zeroizing::new(response_of(&data)?.to_vec()))
}

/// The response (82) in a dynamic authentication template (7C).
pub(super) fn response_of(template: &[u8]) -> Result<&[u8]> {
    let answer = tlv::all(tlv::value_of(template, 0x7c)?)?;
    match tlv::find(&answer, 0x82) {
        Some(value) => Ok(value),
        None => refuse!(CKR_DEVICE_ERROR, "the card's answer holds no response"),
    }
}

/// The first half of the mutual authentication (Part 2, A.1.2): the card's witness, encrypted.
/// `None` where the card's key is for another algorithm.
pub(super) fn witness(talk: &mut Talk<'_>, algorithm: u8) -> Result<Option<Vec<u8>>> {
    let asked = tlv::object(0x7c, &tlv::object(0x80, &[]));
    let what = "the authentication of the administrator";
    let response = authenticate(
        talk,
        what,
        algorithm,
        ADMINISTRATION,
        &asked,
        Expected::Short,
    )?;
    match response.status {
        Status::DONE => {}
        Status::BLOCKED => return refuse!(CKR_PIN_LOCKED, "the management key is locked"),
        status if status.is_breakdown() => {}
        _ => return Ok(None),
    }
    let data = response.done()?;
    let answer = tlv::all(tlv::value_of(&data, 0x7c)?)?;
    Ok(tlv::find(&answer, 0x80).map(<[u8]>::to_vec))
}

/// The second half: our decrypted witness and our challenge; the card's response to that.
pub(super) fn challenge(
    talk: &mut Talk<'_>,
    algorithm: u8,
    witness: &[u8],
    challenge: &[u8],
) -> Result<Response> {
    let mut inner = Zeroizing::new(Vec::with_capacity(64));
    // The empty 82 of the standard's example is left out: cards take it for a third thing asked.
    tlv::push(&mut inner, 0x80, witness);
    tlv::push(&mut inner, 0x81, challenge);
    let template = Zeroizing::new(tlv::object(0x7c, &inner));
    let what = "the authentication of the administrator";
    authenticate(
        talk,
        what,
        algorithm,
        ADMINISTRATION,
        &template,
        Expected::Short,
    )
}

/// Selects another application, the card's own manager (GlobalPlatform Card Specification, 2.3): what
/// was authenticated in this one ends. Not every card lets it be selected.
pub(super) fn leave(talk: &mut Talk<'_>) -> Result<()> {
    talk.send(&Command {
        what: "the end of a login",
        header: [0xa4, 0x04, 0x00],
        data: &[0xa0, 0x00, 0x00, 0x01, 0x51, 0x00, 0x00, 0x00],
        response: Expected::Short,
    })
    .map(drop)
}

/// GET VERSION of the YubiKey; `None` where the card is none, and none like it.
pub(super) fn version(talk: &mut Talk<'_>) -> Result<Option<[u8; 3]>> {
    let response = talk.send(&Command {
        what: "the question for its version",
        header: [GET_VERSION, 0, 0],
        data: &[],
        response: Expected::Short,
    })?;
    if response.status != Status::DONE {
        return Ok(None);
    }
    Ok(response.done()?.first_chunk().copied())
}

/// GET METADATA of the YubiKey: what it knows of a key; `None` where there is none, or no such
/// command.
pub(super) fn metadata(talk: &mut Talk<'_>, reference: u8) -> Result<Option<Zeroizing<Vec<u8>>>> {
    let response = talk.send(&Command {
        what: "the question for a key",
        header: [GET_METADATA, 0, reference],
        data: &[],
        response: Expected::Long,
    })?;
    if response.status != Status::DONE {
        return Ok(None);
    }
    response.done().map(Some)
}

/// SET MANAGEMENT KEY of the YubiKey.
pub(super) fn set_administration_key(talk: &mut Talk<'_>, algorithm: u8, key: &[u8]) -> Result<()> {
    let mut data = Zeroizing::new(Vec::with_capacity(key.len() + 3));
    data.extend_from_slice(&[algorithm, ADMINISTRATION, key.len() as u8]);
    data.extend_from_slice(key);
    let response = talk.send(&Command {
        what: "the change of the management key",
        header: [SET_MANAGEMENT_KEY, 0xff, 0xff],
        data: &data,
        response: Expected::Nothing,
    })?;
    response.done().map(drop)
}

/// Deletes a key: MOVE KEY of the YubiKey to nowhere. Whether the card can do that.
pub(super) fn delete_key(talk: &mut Talk<'_>, reference: u8) -> Result<bool> {
    let response = talk.send(&Command {
        what: "the deletion of a key",
        header: [MOVE_KEY, 0xff, reference],
        data: &[],
        response: Expected::Nothing,
    })?;
    Ok(response.status == Status::DONE)
}
