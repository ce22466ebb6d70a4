//! Emulated cards of the healthcare PKI, in the forms that are known from public descriptions: the
//! example of the JAHIS guideline, and the cards in the field. They understand nothing else.

use super::emulator::{Apdu, Chip, Pin, RsaKey, read_binary, response};
use super::vectors::{CARD_AUTHENTICATION, CARD_AUTHORITY};
use std::collections::BTreeMap;

pub const PIN: &str = "pin-5678";

/// The application, whose last byte says for what; which PIN it asks for, by which reference; its key.
pub struct Hpki {
    key: RsaKey,
    pin: Pin,
    form: Form,
    files: BTreeMap<u16, Vec<u8>>,
    selected: bool,
    file: u16,
    /// MANAGE SECURITY ENVIRONMENT chose the key.
    key_is_set: bool,
    /// The pieces of a chain so far.
    chain: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// The guideline's example: the host pads, the PIN is asked for each signature.
    Guideline,
    /// A card in the field.
    Field,
}

impl Hpki {
    /// The guideline's example.
    pub fn of_the_guideline() -> Self {
        let both = [CARD_AUTHENTICATION, CARD_AUTHORITY].concat();
        let second = CARD_AUTHENTICATION.len() as u16;
        let key = object(
            &[&UTF8_KEY, &PRIVATE, &octets(&[1]), &integer(1)],
            &octets(&[0x45]),
            &sequence(&[&path(0x0017, None), &integer(2048)]),
        );
        let certificate = |id: u8, offset| {
            object(
                &[&UTF8_KEY],
                &octets(&[id]),
                &sequence(&[&path(0x0011, offset)]),
            )
        };
        let pin = object(
            &[&UTF8_KEY, &PRIVATE],
            &octets(&[1]),
            &sequence(&[
                &[3, 2, 4, 0x90],
                &[10, 1, 2],
                &integer(4),
                &integer(0),
                &integer(16),
                // As some cards write it: a negative number.
                &[0x80, 1, 0x96],
            ]),
        );
        let mut padded_out = key;
        padded_out.extend([0; 40]);
        Self::with(
            Form::Guideline,
            [
                (0x5031, directory([0x4401, 0x4402, 0x4403])),
                (0x4401, padded_out),
                (
                    0x4402,
                    [certificate(0x44, Some(second)), certificate(0x45, None)].concat(),
                ),
                (0x4403, pin),
                (0x0011, both),
            ],
        )
    }

    /// A card in the field that does not say what is where.
    pub fn of_the_field() -> Self {
        Self::with(
            Form::Field,
            [(0x0016, CARD_AUTHENTICATION.to_vec()), (0x0002, Vec::new())],
        )
    }

    /// One that does; of its PIN as somebody has read it from such a card, of the rest as the standard
    /// has it.
    pub fn of_the_field_with_directories() -> Self {
        let key = object(
            &[&UTF8_KEY, &PRIVATE, &octets(&[8])],
            &octets(&[0x17]),
            &sequence(&[&path(0x000c, None), &integer(2048)]),
        );
        let certificate = object(
            &[&UTF8_KEY],
            &octets(&[0x17]),
            &sequence(&[&path(0x0016, None)]),
        );
        let pin: Vec<u8> = [
            &[3, 2, 3, 0xc8][..],
            &[10, 1, 2],
            &integer(4),
            &integer(0),
            &integer(16),
            &[0x80, 2, 0x00, 0x88],
        ]
        .concat();
        let pin = sequence(&[
            &sequence(&[&UTF8_KEY, &PRIVATE]),
            &sequence(&[&octets(&[8])]),
            &tlv(0xa1, &[&pin]),
        ]);
        Self::with(
            Form::Field,
            [
                (0x5031, directory([0x0003, 0x0004, 0x0005])),
                (0x0003, key),
                (0x0004, [certificate, vec![0xff; 30]].concat()),
                (0x0005, pin),
                (0x0016, CARD_AUTHENTICATION.to_vec()),
                (0x0002, Vec::new()),
            ],
        )
    }

    fn with<const N: usize>(form: Form, files: [(u16, Vec<u8>); N]) -> Self {
        Self {
            key: RsaKey::new(),
            pin: Pin::new(PIN, 5),
            form,
            files: files.into(),
            selected: false,
            file: 0,
            key_is_set: false,
            chain: Vec::new(),
        }
    }

    fn execute(&mut self, apdu: &Apdu<'_>) -> Result<Vec<u8>, u16> {
        let guideline = self.form == Form::Guideline;
        let pin_reference = if guideline { 0x96 } else { 0x88 };
        match (apdu.header, apdu.expected) {
            ([0, 0xa4, 4, _], _) if apdu.data != AID => Err(0x6a82),
            ([0, 0xa4, 4, 0], Some(_)) | ([0, 0xa4, 4, 0x0c], None) => {
                self.reset();
                self.selected = true;
                Ok(Vec::new())
            }
            _ if !self.selected => Err(0x6d00),
            ([0, 0xa4, 2, 0x0c], None) => {
                let file = u16::from_be_bytes(apdu.data.try_into().map_err(|_| 0x6700u16)?);
                let is_key = !guideline && file == 0x000c;
                if !is_key && !self.files.contains_key(&file) {
                    return Err(0x6a82);
                }
                self.file = file;
                Ok(Vec::new())
            }
            ([0, 0xb0, ..], Some(_)) => {
                read_binary(self.files.get(&self.file).ok_or(0x6986u16)?, apdu)
            }
            ([0, 0x20, 0, p2], None) if p2 == pin_reference => self.pin.verify(apdu.data),
            ([0, 0x22, 0x41, 0xb6], None) if guideline => {
                self.key_is_set = apdu.data == [0x81, 2, 0, 0x17];
                if self.key_is_set {
                    Ok(Vec::new())
                } else {
                    Err(0x6a88)
                }
            }
            ([0x10, 0x2a, 0x9e, 0x9a], None) if guideline && self.key_is_set => {
                self.chain.extend_from_slice(apdu.data);
                Ok(Vec::new())
            }
            ([0, 0x2a, 0x9e, 0x9a], Some(256)) if guideline && self.key_is_set => {
                self.chain.extend_from_slice(apdu.data);
                let block = std::mem::take(&mut self.chain);
                // Consent to one signature.
                if !std::mem::take(&mut self.pin.verified) {
                    return Err(0x6982);
                }
                self.key.sign_block(&block)
            }
            ([0x80, 0x2a, 0, 0x80], Some(256)) if !guideline => {
                if self.file != 0x000c {
                    return Err(0x6986);
                }
                if !self.pin.verified {
                    return Err(0x6982);
                }
                self.key.sign(apdu.data)
            }
            _ => Err(0x6d00),
        }
    }
}

/// To authenticate.
const AID: [u8; 16] = [
    0xe8, 0x28, 0xbd, 0x08, 0x0f, 0xa0, 0, 0, 3, 0x91, 0, 0, 0, 0, 0, 2,
];

impl Chip for Hpki {
    fn reset(&mut self) {
        self.selected = false;
        self.file = 0;
        self.pin.verified = false;
        self.key_is_set = false;
        self.chain.clear();
    }

    fn answer(&mut self, command: &[u8]) -> Option<Vec<u8>> {
        let result = match Apdu::parse(command) {
            Some(apdu) => self.execute(&apdu),
            None => Err(0x6700),
        };
        Some(response(result))
    }
}

/// A label, and the flag that says "private".
const UTF8_KEY: [u8; 5] = *b"\x0c\x03key";
const PRIVATE: [u8; 4] = [3, 2, 6, 0x80];

fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let value = parts.concat();
    let len = u8::try_from(value.len()).unwrap();
    let head: &[u8] = if len < 128 {
        &[tag, len]
    } else {
        &[tag, 0x81, len]
    };
    [head, &value].concat()
}

fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    tlv(0x30, parts)
}

fn octets(bytes: &[u8]) -> Vec<u8> {
    tlv(4, &[bytes])
}

fn integer(number: u16) -> Vec<u8> {
    let bytes = number.to_be_bytes();
    tlv(2, &[if number < 128 { &bytes[1..] } else { &bytes }])
}

/// Path, with the offset in the file.
fn path(file: u16, offset: Option<u16>) -> Vec<u8> {
    let offset = offset.map(integer).unwrap_or_default();
    sequence(&[&octets(&file.to_be_bytes()), &offset])
}

/// EF.OD that names the directories of private keys, certificates and PINs, and one that nobody reads.
fn directory(files: [u16; 3]) -> Vec<u8> {
    let entry = |tag: u8, file| tlv(0xa0 | tag, &[&path(file, None)]);
    let [keys, certificates, pins] = files;
    [
        entry(0, keys),
        entry(7, 0x4407),
        entry(4, certificates),
        entry(8, pins),
    ]
    .concat()
}

/// A CIO: common attributes, those of its class, and those of its kind.
fn object(common: &[&[u8]], class: &[u8], of_kind: &[u8]) -> Vec<u8> {
    sequence(&[
        &sequence(common),
        &sequence(&[class, &[3, 2, 5, 0x20]]),
        &tlv(0xa1, &[of_kind]),
    ])
}
