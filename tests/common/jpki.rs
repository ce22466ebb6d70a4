//! An emulated My Number card that understands what OpenSC's driver sends to real ones, and nothing
//! else.

use super::emulator::{Apdu, Chip, Pin, RsaKey, read_binary, response};
use super::vectors::{CARD_AUTHENTICATION, CARD_AUTHORITY, CARD_SIGNATURE};

pub const AID: [u8; 10] = [0xd3, 0x92, 0xf0, 0, 0x26, 1, 0, 0, 0, 1];
pub const AUTHENTICATION_PIN: &str = "1234";
pub const SIGNATURE_PIN: &str = "ABC123DEF456";

const KEYS: [u16; 2] = [0x17, 0x1a];
const PINS: [u16; 2] = [0x18, 0x1b];
/// The certificates by their files; one is shown after the second PIN.
const CERTIFICATES: [(u16, &[u8]); 4] = [
    (0x0a, CARD_AUTHENTICATION),
    (0x0b, CARD_AUTHORITY),
    (HIDDEN, CARD_SIGNATURE),
    (0x02, CARD_AUTHORITY),
];
const HIDDEN: u16 = 0x01;

pub struct Jpki {
    key: RsaKey,
    selected: bool,
    file: u16,
    pins: [Pin; 2],
}

impl Jpki {
    pub fn new() -> Self {
        Self {
            key: RsaKey::new(),
            selected: false,
            file: 0,
            pins: [Pin::new(AUTHENTICATION_PIN, 3), Pin::new(SIGNATURE_PIN, 5)],
        }
    }

    fn execute(&mut self, apdu: &Apdu<'_>) -> Result<Vec<u8>, u16> {
        let place = |files: [u16; 2]| files.iter().position(|file| *file == self.file);
        match (apdu.header, apdu.expected) {
            ([0, 0xa4, 4, _], _) if apdu.data != AID => Err(0x6a82),
            ([0, 0xa4, 4, 0x0c], None) => {
                self.reset();
                self.selected = true;
                Ok(Vec::new())
            }
            _ if !self.selected => Err(0x6d00),
            ([0, 0xa4, 2, 0x0c], None) => {
                let file = u16::from_be_bytes(apdu.data.try_into().map_err(|_| 0x6700u16)?);
                let certificates = CERTIFICATES.map(|certificate| certificate.0);
                if ![&KEYS[..], &PINS, &certificates].concat().contains(&file) {
                    return Err(0x6a82);
                }
                self.file = file;
                Ok(Vec::new())
            }
            ([0, 0xb0, ..], Some(_)) => {
                let found = CERTIFICATES.iter().find(|one| one.0 == self.file);
                let (file, certificate) = found.ok_or(0x6986u16)?;
                if *file == HIDDEN && !self.pins[1].verified {
                    return Err(0x6982);
                }
                read_binary(certificate, apdu)
            }
            ([0, 0x20, 0, 0x80], None) => {
                let at = place(PINS).ok_or(0x6986u16)?;
                self.pins[at].verify(apdu.data)
            }
            ([0x80, 0x2a, 0, 0x80], Some(256)) => {
                let at = place(KEYS).ok_or(0x6986u16)?;
                if !self.pins[at].verified {
                    return Err(0x6982);
                }
                self.key.sign(apdu.data)
            }
            _ => Err(0x6d00),
        }
    }
}

impl Chip for Jpki {
    fn reset(&mut self) {
        self.selected = false;
        self.file = 0;
        for pin in &mut self.pins {
            pin.verified = false;
        }
    }

    fn answer(&mut self, command: &[u8]) -> Option<Vec<u8>> {
        let result = match Apdu::parse(command) {
            Some(apdu) => self.execute(&apdu),
            None => Err(0x6700),
        };
        Some(response(result))
    }
}
