//! Smart cards of a test's own: a thread behind a unix socket that answers APDUs, framed as the module's
//! device transport has them, and what such cards have in common.

use super::vectors::{self, hex};
use nodetoken::crypto::{
    Crt, CryptScheme, PrivateParts, PublicParts, SecretParts, SignScheme, engine,
};
use nodetoken::memory::Secret;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

/// What answers.
pub trait Chip: Send + 'static {
    /// A connection is made: what a reset does to a card.
    fn reset(&mut self) {}

    /// The response, its status included; `None` takes the card away.
    fn answer(&mut self, command: &[u8]) -> Option<Vec<u8>>;
}

/// A command and its response.
pub type Exchange = (Vec<u8>, Vec<u8>);

/// A card in a thread of the test's process.
pub struct Emulator {
    log: Arc<Mutex<Vec<Exchange>>>,
}

impl Emulator {
    /// Starts one at a path that is free. One connection is served at a time.
    pub fn start(path: &Path, mut chip: impl Chip) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let log: Arc<Mutex<Vec<Exchange>>> = Arc::default();
        let written = Arc::clone(&log);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                chip.reset();
                serve(stream.unwrap(), &mut chip, &written);
            }
        });
        Self { log }
    }

    /// What was said since the last time.
    pub fn log(&self) -> Vec<Exchange> {
        std::mem::take(&mut self.log.lock().unwrap())
    }
}

fn serve(mut stream: UnixStream, chip: &mut impl Chip, log: &Mutex<Vec<Exchange>>) {
    let mut length = [0; 2];
    while stream.read_exact(&mut length).is_ok() {
        let mut command = vec![0; usize::from(u16::from_be_bytes(length)) - 2];
        if stream.read_exact(&mut command).is_err() {
            return;
        }
        let Some(response) = chip.answer(&command) else {
            return;
        };
        let length = u16::try_from(response.len() + 2).unwrap().to_be_bytes();
        log.lock().unwrap().push((command, response.clone()));
        if stream
            .write_all(&[&length, &response[..]].concat())
            .is_err()
        {
            return;
        }
    }
}

/// A short command APDU, taken apart (ISO 7816-4, 5.1).
#[derive(Debug)]
pub struct Apdu<'a> {
    /// CLA, INS, P1, P2.
    pub header: [u8; 4],
    pub data: &'a [u8],
    /// How much may come back.
    pub expected: Option<usize>,
}

impl<'a> Apdu<'a> {
    /// `None` where its lengths are wrong.
    pub fn parse(command: &'a [u8]) -> Option<Self> {
        let (&header, body) = command.split_first_chunk()?;
        let le = |le: u8| Some(if le == 0 { 256 } else { usize::from(le) });
        let (data, expected) = match body {
            [] => (&[][..], None),
            [expected] => (&[][..], le(*expected)),
            [len, rest @ ..] if *len > 0 => match rest.split_at_checked(usize::from(*len))? {
                (data, []) => (data, None),
                (data, [expected]) => (data, le(*expected)),
                _ => return None,
            },
            _ => return None,
        };
        Some(Self {
            header,
            data,
            expected,
        })
    }
}

/// A response: data and 9000, or a status alone.
pub fn response(result: Result<Vec<u8>, u16>) -> Vec<u8> {
    let (mut bytes, status) = match result {
        Ok(data) => (data, 0x9000),
        Err(status) => (Vec::new(), status),
    };
    bytes.extend(u16::to_be_bytes(status));
    bytes
}

/// READ BINARY of a file.
pub fn read_binary(file: &[u8], apdu: &Apdu<'_>) -> Result<Vec<u8>, u16> {
    let [_, _, high, low] = apdu.header;
    let offset = usize::from(u16::from_be_bytes([high, low]));
    let rest = file.get(offset..).filter(|rest| !rest.is_empty());
    let rest = rest.ok_or(0x6b00u16)?;
    Ok(rest[..rest.len().min(apdu.expected.ok_or(0x6700u16)?)].to_vec())
}

/// A PIN with its counter.
pub struct Pin {
    pub value: &'static str,
    pub full: u8,
    pub left: u8,
    pub verified: bool,
}

impl Pin {
    pub fn new(value: &'static str, full: u8) -> Self {
        Self {
            value,
            full,
            left: full,
            verified: false,
        }
    }

    /// VERIFY with these data.
    pub fn verify(&mut self, data: &[u8]) -> Result<Vec<u8>, u16> {
        if self.left == 0 {
            return Err(0x6983);
        }
        if data.is_empty() {
            return match self.verified {
                true => Ok(Vec::new()),
                false => Err(0x63c0 | u16::from(self.left)),
            };
        }
        self.verified = data == self.value.as_bytes();
        if self.verified {
            self.left = self.full;
            return Ok(Vec::new());
        }
        self.left -= 1;
        Err(0x63c0 | u16::from(self.left))
    }
}

/// The private operations with the vectors' RSA key.
pub struct RsaKey(engine::PrivateKey);

impl RsaKey {
    pub fn new() -> Self {
        let secret = |text| Secret::copy_of(&hex(text)).unwrap();
        let parts = PrivateParts {
            public: PublicParts::Rsa {
                n: hex(vectors::RSA_MODULUS),
                e: vec![1, 0, 1],
            },
            secret: SecretParts::Rsa {
                d: secret(vectors::RSA_PRIVATE_EXPONENT),
                crt: Some(Crt {
                    p: secret(vectors::RSA_PRIME_1),
                    q: secret(vectors::RSA_PRIME_2),
                    dp: secret(vectors::RSA_EXPONENT_1),
                    dq: secret(vectors::RSA_EXPONENT_2),
                    qinv: secret(vectors::RSA_COEFFICIENT),
                }),
            },
        };
        Self(engine::PrivateKey::from_parts(&parts).unwrap())
    }

    /// Pads and signs a DigestInfo.
    pub fn sign(&self, info: &[u8]) -> Result<Vec<u8>, u16> {
        let signature = self.0.sign(&SignScheme::RsaPkcs1, info);
        signature.map_err(|_| 0x6a80)
    }

    /// Signs a block that is padded already.
    pub fn sign_block(&self, block: &[u8]) -> Result<Vec<u8>, u16> {
        let signature = self.0.decrypt(&CryptScheme::RsaRaw, block);
        signature.map(|s| s.to_vec()).map_err(|_| 0x6a80)
    }
}
