//! The security officer of a PIV card: the PUK, the card administration key (9B), or both in one PIN.

use super::commands::{self, Reference};
use crate::crypto::{CipherMode, Direction, engine};
use crate::error::{Error, Result as Answer, fail};
use crate::memory::Secret;
use crate::token::card::apdu::{Failure, Result, Status, Talk, refuse};
use crate::token::card::transport::Fault;
use cryptoki_sys::*;
use std::io::Read;
use std::path::Path;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Longest text of a management key file: 32 bytes in hexadecimal, and an editor's newline.
const LONGEST_FILE: u64 = 66;

/// The security officer's PIN: `PUK`, `KEY` in hexadecimal, or `PUK:KEY`.
pub(super) struct SoPin<'a> {
    /// To unblock the user's PIN.
    pub(super) puk: Option<&'a [u8]>,
    /// To write to the card.
    pub(super) key: Option<Key>,
}

/// A card administration key.
pub(super) struct Key(Secret);

impl<'a> SoPin<'a> {
    /// `CKR_PIN_INCORRECT` for what can be neither: nothing is sent to the card.
    pub(super) fn parse(pin: &'a [u8]) -> Answer<Self> {
        let mut halves = pin.splitn(2, |byte| *byte == b':');
        let (first, second) = (halves.next().unwrap_or_default(), halves.next());
        let puk = |puk: &'a [u8]| {
            (super::PIN_LEN.0..=super::PIN_LEN.1)
                .contains(&puk.len())
                .then_some(puk)
        };
        let parsed = match second {
            Some(key) => puk(first).zip(Key::parse(key)?).map(|(puk, key)| Self {
                puk: Some(puk),
                key: Some(key),
            }),
            None => match Key::parse(first)? {
                Some(key) => Some(Self {
                    puk: None,
                    key: Some(key),
                }),
                None => puk(first).map(|puk| Self {
                    puk: Some(puk),
                    key: None,
                }),
            },
        };
        parsed.ok_or_else(|| {
            Error::new(
                CKR_PIN_INCORRECT,
                "the security officer of a PIV card has the PUK (6 to 8 bytes), the management key \
                 (32, 48 or 64 hexadecimal digits), or both as PUK:KEY",
            )
        })
    }
}

impl Key {
    /// A key in hexadecimal; `None` where the text is none.
    fn parse(text: &[u8]) -> Answer<Option<Self>> {
        if !matches!(text.len(), 32 | 48 | 64) {
            return Ok(None);
        }
        let mut key = Secret::zeroed(text.len() / 2)?;
        for (to, pair) in key.iter_mut().zip(text.as_chunks::<2>().0) {
            let digit = |at: u8| char::from(at).to_digit(16);
            let [high, low] = pair;
            let (Some(high), Some(low)) = (digit(*high), digit(*low)) else {
                return Ok(None);
            };
            *to = (high << 4 | low) as u8;
        }
        Ok(Some(Self(key)))
    }

    /// The key that a file holds, in hexadecimal.
    pub(super) fn from_file(path: &Path) -> Answer<Self> {
        let mut text = Zeroizing::new(Vec::with_capacity(LONGEST_FILE as usize));
        let read = std::fs::metadata(path).and_then(|found| match found.is_file() {
            true => std::fs::File::open(path)?
                .take(LONGEST_FILE)
                .read_to_end(&mut text),
            false => Err(std::io::Error::other("it is no regular file")),
        });
        if let Err(error) = read {
            return fail!(CKR_FUNCTION_FAILED, "{}: {error}", path.display());
        }
        match Self::parse(text.trim_ascii())? {
            Some(key) => Ok(key),
            None => fail!(
                CKR_FUNCTION_FAILED,
                "{} does not hold a management key of 32, 48 or 64 hexadecimal digits",
                path.display()
            ),
        }
    }

    /// The algorithms that a key of this length can be for (SP 800-78-4, table 6-2): Triple DES,
    /// AES-128, AES-192, AES-256.
    fn algorithms(&self) -> &'static [u8] {
        match self.0.len() {
            16 => &[0x08],
            24 => &[0x03, 0x0a],
            _ => &[0x0c],
        }
    }

    /// One block.
    fn apply(
        &self,
        algorithm: u8,
        direction: Direction,
        block: &[u8],
    ) -> Answer<Zeroizing<Vec<u8>>> {
        let mut block = Zeroizing::new(block.to_vec());
        match algorithm {
            0x03 => {
                let Ok(tdes) = <&mut [u8; 8]>::try_from(block.as_mut_slice()) else {
                    return Err(not_a_block());
                };
                engine::tdes_block(direction, &self.0, tdes)?;
            }
            _ if block.len() == 16 => {
                engine::Cipher::new(CipherMode::Ecb, direction, &self.0, &[])?
                    .update(&mut block)?;
            }
            _ => return Err(not_a_block()),
        }
        Ok(block)
    }

    /// Mutual authentication (SP 800-73-4 Part 2, A.1.2): the card learns that we have the key, and
    /// we that the card has it. The algorithm. `CKR_PIN_INCORRECT`.
    pub(super) fn authenticate(&self, talk: &mut Talk<'_>) -> Result<u8> {
        for &algorithm in self.algorithms() {
            let Some(witness) = commands::witness(talk, algorithm)? else {
                continue;
            };
            let decrypted = self.apply(algorithm, Direction::Decrypt, &witness)?;
            let mut challenge = Zeroizing::new(vec![0; witness.len()]);
            engine::random(&mut challenge)?;
            let response = commands::challenge(talk, algorithm, &decrypted, &challenge)?;
            let refused = matches!(response.status, Status(0x6300 | 0x6982 | 0x6a80))
                || response.status.tries_left().is_some();
            if refused {
                return refuse!(CKR_PIN_INCORRECT, "the management key is wrong");
            }
            let data = response.done()?;
            let answer = commands::response_of(&data)?;
            let expected = self.apply(algorithm, Direction::Encrypt, &challenge)?;
            if !bool::from(answer.ct_eq(&expected)) {
                return refuse!(
                    CKR_DEVICE_ERROR,
                    "the card does not have the management key that it asks for"
                );
            }
            return Ok(algorithm);
        }
        refuse!(
            CKR_PIN_INCORRECT,
            "the card's management key is for another algorithm than keys of {} bytes are",
            self.0.len()
        )
    }

    /// Changes the card's key to this one, of the algorithm that the old one had if it can be.
    pub(super) fn install(&self, talk: &mut Talk<'_>, before: u8) -> Result<()> {
        let algorithms = self.algorithms();
        let first = algorithms.first().copied().unwrap_or(before);
        let algorithm = if algorithms.contains(&before) {
            before
        } else {
            first
        };
        commands::set_administration_key(talk, algorithm, &self.0)
    }
}

fn not_a_block() -> Error {
    Error::new(
        CKR_DEVICE_ERROR,
        "the card sent a witness that is no block of its algorithm",
    )
}

/// Whether the PUK is right: it is changed to itself, which costs no try where it is. A card that does
/// not let it be set so, for it is too simple or the same, tells when it is used.
pub(super) fn check_puk(talk: &mut Talk<'_>, puk: &[u8]) -> Result<()> {
    match commands::change(talk, Reference::Puk, puk, puk) {
        Err(Failure::Fault(Fault::Error(error))) if error.rv() == CKR_PIN_INVALID => Ok(()),
        checked => checked,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_security_officers_pin_in_its_forms() {
        let key = "010203040506070801020304050607080102030405060708";
        let both = format!("12345678:{key}");
        let parsed = |text: &str| {
            let parsed = SoPin::parse(text.as_bytes()).unwrap();
            (
                parsed.puk.map(<[u8]>::len),
                parsed.key.map(|key| key.0.len()),
            )
        };
        assert_eq!(parsed(key), (None, Some(24)));
        assert_eq!(parsed(&key[..32]), (None, Some(16)));
        assert_eq!(parsed("12345678"), (Some(8), None));
        assert_eq!(parsed(&both), (Some(8), Some(24)));
        for wrong in ["", "123456789", ":", "x:12", &key[1..], &both[..20]] {
            let refused = SoPin::parse(wrong.as_bytes()).err().unwrap();
            assert_eq!(refused.rv(), CKR_PIN_INCORRECT, "{wrong}");
        }
    }
}
