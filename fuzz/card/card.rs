//! A PIV card that is played: a small honest one, of which the script says for each command whether it
//! answers well, oddly, not at all, or as nobody's card would.

use crate::script::Script;
use flate2::Compression;
use flate2::write::GzEncoder;
use nodetoken::attribute::RULES;
use nodetoken::crypto::{
    CryptScheme, Curve, Direction, KeySpec, PrivateParts, PublicParts, SignScheme, engine,
};
use nodetoken::key;
use std::collections::BTreeMap;
use std::io::Write;
use std::sync::LazyLock;

/// How many ways there are to answer a command.
pub const WAYS: u8 = 20;
/// More commands than one call can need, however they are answered.
pub const MOST_COMMANDS: usize = 50_000;

/// Statuses with a meaning to the module, and others.
pub const STATUSES: [u16; 24] = [
    0x9000, 0x6300, 0x63c0, 0x63c1, 0x63c3, 0x6982, 0x6983, 0x6985, 0x6a80, 0x6a81, 0x6a82, 0x6a84,
    0x6a86, 0x6a88, 0x6d00, 0x6e00, 0x6700, 0x6581, 0x6100, 0x6c00, 0x6cff, 0x6f00, 0x0000, 0xffff,
];
/// Answers to reset: none, two cards that take extended lengths, one that does not, and broken ones.
const ATRS: [&[u8]; 6] = [
    b"",
    b"\x3b\x85\x01\x80\x73\xc0\x21\xc0\x56",
    b"\x3b\xfd\x13\0\0\x81\x31\xfe\x15\x80\x73\xc0\x21\xc0\x57\x59\x75\x62\x69\x4b\x65\x79\x40",
    b"\x3b\x85\x01\x80\x73\xc0\x21\x80\x16",
    b"\x3b\xff\xff\xff\xff",
    b"\x3b\x8f\x80\xff\x01",
];

pub const CHUID: u32 = 0x5fc102;
const DISCOVERY: u32 = 0x7e;
const KEY_HISTORY: u32 = 0x5fc10c;
/// The data objects that lie in the card from the beginning, by their tags.
pub const OBJECTS: [u32; 10] = [
    0x5fc105,
    0x5fc10a,
    0x5fc10b,
    0x5fc101,
    0x5fc10d,
    CHUID,
    DISCOVERY,
    KEY_HISTORY,
    0x5fc109,
    0x5fc107,
];
/// Where keys are, as [`OBJECTS`] has their certificates.
const REFERENCES: [u8; 5] = [0x9a, 0x9c, 0x9d, 0x9e, 0x82];

/// What must not be seen where it does not belong: random, so that no input holds it.
pub struct Pins {
    pub user: [u8; 8],
    pub other: [u8; 8],
    pub puk: [u8; 8],
    /// The key of the administrator.
    pub key: [u8; 24],
}

pub static PINS: LazyLock<Pins> = LazyLock::new(|| {
    let mut pins = Pins {
        user: [0; 8],
        other: [0; 8],
        puk: [0; 8],
        key: [0; 24],
    };
    for bytes in [
        &mut pins.user[..],
        &mut pins.other,
        &mut pins.puk,
        &mut pins.key,
    ] {
        engine::random(bytes).expect("random bytes");
        // No colon, which divides a PIN of the security officer.
        bytes.iter_mut().for_each(|byte| *byte |= 0x40);
    }
    pins
});

/// A key of the card, and a certificate for it.
struct Pair {
    parts: PrivateParts,
    certificate: Vec<u8>,
}

static PAIRS: LazyLock<Vec<Pair>> = LazyLock::new(|| {
    let rsa = || KeySpec::Rsa {
        bits: 2048,
        exponent: vec![1, 0, 1],
    };
    [
        KeySpec::Ec(Curve::P256),
        rsa(),
        rsa(),
        KeySpec::Ed25519,
        KeySpec::Ec(Curve::P384),
    ]
    .iter()
    .map(|spec| {
        let parts = engine::generate(spec).expect("a key");
        let certificate = certificate(&parts.public);
        Pair { parts, certificate }
    })
    .collect()
});

/// The pair that the card makes when it is asked for one.
static NEW: LazyLock<[PrivateParts; 2]> = LazyLock::new(|| {
    let rsa = KeySpec::Rsa {
        bits: 2048,
        exponent: vec![1, 0, 1],
    };
    [KeySpec::Ec(Curve::P256), rsa].map(|spec| engine::generate(&spec).expect("a key"))
});

/// A certificate that inflates to a thousand times its size.
static BOMB: LazyLock<Vec<u8>> = LazyLock::new(|| gzip(&vec![0; 60 << 20]));

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).expect("a vector takes it");
    encoder.finish().expect("a vector takes it")
}

/// A data object in BER-TLV.
pub fn tlv(tag: u32, value: &[u8]) -> Vec<u8> {
    let tag = tag.to_be_bytes();
    let mut bytes: Vec<u8> = tag.into_iter().skip_while(|byte| *byte == 0).collect();
    match value.len() {
        len @ 0..=0x7f => bytes.push(len as u8),
        len @ 0x80..=0xff => bytes.extend([0x81, len as u8]),
        len => {
            bytes.push(0x82);
            bytes.extend((len as u16).to_be_bytes());
        }
    }
    bytes.extend(value);
    bytes
}

/// The first object, and what follows it.
fn first(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    let (short, rest) = rest.split_first()?;
    let (len, rest) = match short {
        0..=0x7f => (usize::from(*short), rest),
        0x81 => (usize::from(*rest.first()?), rest.get(1..)?),
        _ => {
            let (len, rest) = rest.split_first_chunk()?;
            (usize::from(u16::from_be_bytes(*len)), rest)
        }
    };
    let (value, rest) = rest.split_at_checked(len)?;
    Some((*tag, value, rest))
}

/// A certificate that nobody has signed.
pub fn certificate(public: &PublicParts) -> Vec<u8> {
    let name = tlv(
        0x30,
        &tlv(
            0x31,
            &tlv(
                0x30,
                &[&b"\x06\x03\x55\x04\x03"[..], &tlv(0x0c, b"node")].concat(),
            ),
        ),
    );
    let algorithm = tlv(0x30, b"\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02");
    let validity = [tlv(0x17, b"250101000000Z"), tlv(0x17, b"450101000000Z")];
    let info = key::public_key_info(public).expect("a key's description");
    let body = [
        b"\xa0\x03\x02\x01\x02\x02\x01\x01".as_slice(),
        &algorithm,
        &name,
        &tlv(0x30, &validity.concat()),
        &name,
        &info,
    ];
    let signature = tlv(3, b"\0\x30\x06\x02\x01\x01\x02\x01\x01");
    tlv(
        0x30,
        &[tlv(0x30, &body.concat()), algorithm, signature].concat(),
    )
}

/// The data object for a certificate.
pub fn content(certificate: &[u8], info: u8) -> Vec<u8> {
    [tlv(0x70, certificate), tlv(0x71, &[info]), tlv(0xfe, &[])].concat()
}

/// What lies in the card from the beginning.
pub fn honest(tag: u32) -> Vec<u8> {
    let at = OBJECTS.iter().position(|known| *known == tag);
    match (tag, at) {
        (CHUID, _) => [
            tlv(0x30, &[7; 25]),
            tlv(0x34, &[9; 16]),
            tlv(0x35, b"20991231"),
        ]
        .concat(),
        (DISCOVERY, _) => [tlv(0x4f, &[1; 11]), tlv(0x5f2f, &[0x40, 0x10])].concat(),
        (KEY_HISTORY, _) => [tlv(0xc1, &[1]), tlv(0xc2, &[0]), tlv(0xfe, &[])].concat(),
        // One certificate is compressed.
        (_, Some(2)) => content(&gzip(&PAIRS[2].certificate), 1),
        (_, Some(at)) if at < PAIRS.len() => content(&PAIRS[at].certificate, 0),
        _ => tlv(0x01, b"printed"),
    }
}

/// A private key as the card uses it.
fn private(parts: &PrivateParts) -> engine::PrivateKey {
    engine::PrivateKey::from_parts(parts).expect("a key")
}

/// Compares without telling the fuzzer what it is compared with.
fn same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).all(|(a, b)| a ^ b == 0)
}

/// How an exchange ends.
pub use nodetoken::token::card_fuzzing::Reply;

/// What a command that carries a PIN has come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// The first PIN in it.
    pub pin: Vec<u8>,
    /// The card took it.
    pub taken: bool,
}

/// What the card repeats for ever.
#[derive(Clone, Copy)]
enum Forever {
    /// More bytes follow.
    More(u8),
    /// The length is another.
    Length,
    Status(u16),
}

pub struct Card {
    pub script: Script,
    atr: &'static [u8],
    yubikey: bool,
    /// Conversations may fail at their beginning.
    restless: bool,
    pub here: bool,
    pub changes: u64,
    data: BTreeMap<u32, Vec<u8>>,
    keys: BTreeMap<u8, usize>,
    made: BTreeMap<u8, usize>,
    pin: [u8; 8],
    tries: u8,
    verified: bool,
    administrator: bool,
    witness: Vec<u8>,
    chained: Vec<u8>,
    rest: Vec<u8>,
    forever: Option<Forever>,
    /// It has done nothing odd.
    pub behaves: bool,
    /// Of one call: commands, and those of them that carried a PIN.
    pub commands: usize,
    pub shown: Vec<Shown>,
    /// How often it was reset meanwhile.
    pub resets: usize,
    /// The last of these is still being answered.
    open: bool,
    /// PINs that were refused since this card came; [`Card::carries`] may be sent all the same.
    refused: Vec<Vec<u8>>,
    /// The PINs that the call has been given.
    pub carries: Vec<Vec<u8>>,
}

impl Card {
    pub fn new(mut script: Script) -> Self {
        let how = script.byte();
        let mut card = Self {
            atr: ATRS[usize::from(how) % ATRS.len()],
            yubikey: how & 0x40 != 0,
            restless: how & 0x80 != 0,
            here: true,
            changes: 0,
            data: OBJECTS.into_iter().map(|tag| (tag, honest(tag))).collect(),
            keys: REFERENCES.into_iter().zip(0..).collect(),
            made: BTreeMap::new(),
            pin: PINS.user,
            tries: 3,
            verified: false,
            administrator: false,
            witness: Vec::new(),
            chained: Vec::new(),
            rest: Vec::new(),
            forever: None,
            behaves: how & 0x80 == 0 && how % 6 < 4,
            commands: 0,
            shown: Vec::new(),
            resets: 0,
            open: false,
            refused: Vec::new(),
            carries: Vec::new(),
            script,
        };
        for _ in 0..card.script.byte() % 4 {
            card.spoil();
        }
        card
    }

    /// Changes what lies in the card before it is first asked.
    fn spoil(&mut self) {
        self.behaves = false;
        let tag = self.script.one_of(&OBJECTS);
        let value = match self.script.byte() % 7 {
            0 => {
                let mut value = honest(tag);
                self.script.edit(&mut value);
                value
            }
            1 => self.script.bytes(),
            2 => content(&BOMB, 1),
            // A record beside the certificate.
            3 => {
                let mut value = honest(tag);
                value.extend(tlv(0xde, &self.script.bytes()));
                value
            }
            4 => {
                let which = self.script.one_of(&OBJECTS);
                honest(which)
            }
            5 => content(&certificate(&self.odd_key()), 0),
            _ => {
                let record = self.record();
                let certificate = if self.script.byte() % 2 == 0 {
                    honest(tag)
                } else {
                    Vec::new()
                };
                [certificate, tlv(0xde, &record)].concat()
            }
        };
        self.data.insert(tag, value);
    }

    /// A record of this module, of whatever objects and attributes.
    fn record(&mut self) -> Vec<u8> {
        let mut parts = Vec::new();
        for _ in 0..self.script.byte() % 4 {
            let mut entries = Vec::new();
            let class = integer(&[self.script.byte()]);
            for _ in 0..self.script.byte() % 4 {
                let kind = match self.script.byte() % 4 {
                    0 => self.script.number() as u32,
                    1 => 0xce54_0001 + u32::from(self.script.byte() % 3),
                    _ => {
                        let at = usize::from(self.script.byte());
                        RULES[at % RULES.len()].attribute as u32
                    }
                };
                let value = tlv(0x04, &self.script.bytes());
                entries.extend(tlv(0x30, &[integer(&kind.to_be_bytes()), value].concat()));
            }
            parts.extend(tlv(0x30, &[class, tlv(0x30, &entries)].concat()));
        }
        let mut record = Vec::new();
        if self.script.byte() % 2 == 1 {
            let info = key::public_key_info(&PAIRS[0].parts.public).expect("a key");
            record.extend(tlv(0x80, &info));
        }
        record.extend(tlv(0x30, &parts));
        tlv(0x30, &record)
    }

    /// A public key that is none, or one that the card does not have.
    fn odd_key(&mut self) -> PublicParts {
        let e = vec![1, 0, 1];
        let rsa = |n: Vec<u8>| PublicParts::Rsa { n, e: e.clone() };
        match self.script.byte() % 8 {
            0 => rsa(vec![0]),
            1 => rsa(vec![0xfe; 256]),
            2 => rsa(vec![0xff; 8192]),
            3 => rsa(vec![3]),
            4 => PublicParts::Rsa {
                n: vec![0xff; 256],
                e: self.script.bytes(),
            },
            5 => PublicParts::Ec {
                curve: Curve::P256,
                point: [&[4][..], &[5; 64]].concat(),
            },
            6 => PublicParts::Ec {
                curve: Curve::P521,
                point: self.script.bytes(),
            },
            _ => PublicParts::Ed25519(vec![0xff; 32]),
        }
    }

    pub fn atr(&self) -> Vec<u8> {
        self.atr.to_vec()
    }

    /// One call begins.
    pub fn begin_call(&mut self, carries: &[&[u8]]) {
        self.commands = 0;
        self.shown.clear();
        self.resets = 0;
        self.open = false;
        self.forever = None;
        self.carries = carries.iter().map(|pin| pin.to_vec()).collect();
    }

    /// It is pulled and comes back.
    pub fn replug(&mut self) {
        self.changes += 1;
        self.reset();
        self.refused.clear();
    }

    fn reset(&mut self) {
        self.resets += 1;
        self.verified = false;
        self.administrator = false;
        self.chained.clear();
        self.rest.clear();
        self.witness.clear();
    }

    pub fn begin(&mut self) -> Reply {
        if !self.restless {
            return Reply::Bytes(Vec::new());
        }
        match self.script.byte() {
            1 => self.leave(Reply::Removed),
            2 => self.leave(Reply::Reset),
            3 => Reply::Failed,
            _ => Reply::Bytes(Vec::new()),
        }
    }

    fn leave(&mut self, reply: Reply) -> Reply {
        match reply {
            Reply::Removed => self.replug(),
            _ => self.reset(),
        }
        reply
    }

    pub fn transmit(&mut self, command: &[u8]) -> Reply {
        self.commands += 1;
        assert!(self.commands < MOST_COMMANDS, "a call has no end");
        self.watch(command);
        let reply = self.answer(command);
        self.judge(&reply);
        reply
    }

    /// PINs and keys are where they belong, and nowhere else; none is sent again after it was refused.
    fn watch(&mut self, command: &[u8]) {
        let (cla, ins, p1) = (command[0], command[1], command[2]);
        let pins = [PINS.user, PINS.other, PINS.puk];
        let holds = |secret: &[u8]| command.windows(secret.len()).any(|part| same(part, secret));
        if matches!(ins, 0x20 | 0x24 | 0x2c) {
            assert_eq!(cla, 0, "a PIN in pieces");
            assert!(ins != 0x20 || p1 == 0 || command.len() == 4);
        } else {
            assert!(
                !pins.iter().any(|pin| holds(pin)),
                "a PIN where none belongs"
            );
        }
        // It is changed by a command of its own.
        assert!(
            ins == 0xff || !holds(&PINS.key),
            "the administrator's key is sent"
        );
        if !matches!(ins, 0x20 | 0x24 | 0x2c) || command.len() < 5 + 8 {
            return;
        }
        let pin = &command[5..13];
        assert!(
            self.shown.iter().all(|shown| shown.taken),
            "another try after one that was refused"
        );
        assert!(
            !self.refused.iter().any(|refused| same(refused, pin))
                || self.carries.iter().any(|given| same(given, pin)),
            "a PIN that was refused is sent again"
        );
        self.shown.push(Shown {
            pin: pin.to_vec(),
            taken: false,
        });
        self.open = true;
    }

    /// Whether the PIN was taken, as the module sees it.
    fn judge(&mut self, reply: &Reply) {
        if !self.open {
            return;
        }
        let status = match reply {
            Reply::Bytes(bytes) => bytes.last_chunk().copied(),
            _ => None,
        };
        if status.is_some_and(|[sw1, _]| sw1 == 0x61) {
            return;
        }
        self.open = false;
        let taken = status == Some([0x90, 0]);
        if let Some(shown) = self.shown.last_mut() {
            shown.taken = taken;
            self.refused.retain(|refused| !same(refused, &shown.pin));
            // Of a card that has gone nothing is remembered.
            if !taken && *reply != Reply::Removed {
                self.refused.push(shown.pin.clone());
            }
        }
    }

    fn answer(&mut self, command: &[u8]) -> Reply {
        match self.forever {
            Some(Forever::More(len)) => {
                return Reply::Bytes([&vec![7; usize::from(len)][..], &[0x61, 1]].concat());
            }
            Some(Forever::Length) => return Reply::Bytes(vec![0x6c, 0x10]),
            Some(Forever::Status(status)) => {
                return Reply::Bytes(status.to_be_bytes().to_vec());
            }
            None => {}
        }
        let way = self.script.byte() % WAYS;
        self.behaves &= way == 0;
        let with = |data: &[u8], status: u16| Reply::Bytes([data, &status.to_be_bytes()].concat());
        match way {
            0 => Reply::Bytes(self.execute(command)),
            1 => {
                let mut answer = self.execute(command);
                answer.truncate(answer.len() - 2);
                let status = self.script.one_of(&STATUSES);
                with(&answer, status)
            }
            2 => {
                let status = self.script.number() as u16;
                with(&[], status)
            }
            3 => {
                let mut answer = self.execute(command);
                self.script.edit(&mut answer);
                Reply::Bytes(answer)
            }
            4 => {
                let mut answer = self.execute(command);
                let len = self.script.number() % (answer.len() - 1);
                answer.truncate(len);
                with(&answer, 0x9000)
            }
            5 => Reply::Bytes(Vec::new()),
            6 => Reply::Bytes(vec![0x90]),
            7 => {
                self.forever = Some(Forever::More(self.script.byte()));
                with(&[7], 0x6101)
            }
            8 => {
                self.forever = Some(Forever::Length);
                with(&[], 0x6c10)
            }
            9 => with(&vec![7; 70_000], 0x9000),
            10 => with(&tlv(0x53, &content(&BOMB, 1)), 0x9000),
            11 => with(&tlv(0x53, &self.script.bytes()), 0x9000),
            12 => {
                let which = self.script.one_of(&OBJECTS);
                with(&tlv(0x53, &honest(which)), 0x9000)
            }
            13 => self.leave(Reply::Removed),
            14 => self.leave(Reply::Reset),
            15 => Reply::Failed,
            16 => with(&self.script.bytes(), 0x9000),
            17 => {
                let status = self.script.one_of(&STATUSES);
                self.forever = Some(Forever::Status(status));
                with(&[], status)
            }
            18 => {
                let public = self.odd_key();
                with(&public_template(&public), 0x9000)
            }
            // It is done, and the answer is lost.
            _ => {
                self.execute(command);
                self.leave(Reply::Reset)
            }
        }
    }

    /// What the honest card answers.
    fn execute(&mut self, command: &[u8]) -> Vec<u8> {
        let (header, rest) = command.split_at(4);
        if header[1] == 0xc0 {
            return self.more(Vec::new());
        }
        let data = match rest {
            [0, high, low, data @ ..] if rest.len() > 3 => {
                let len = usize::from(*high) << 8 | usize::from(*low);
                data.get(..len).unwrap_or_default()
            }
            [len, data @ ..] if !data.is_empty() => data.get(..usize::from(*len)).unwrap_or(data),
            _ => &[],
        };
        self.chained.extend(data);
        if header[0] & 0x10 != 0 {
            return vec![0x90, 0];
        }
        let data = std::mem::take(&mut self.chained);
        let (answer, status) = match self.carry_out(header, &data) {
            Ok(answer) => (answer, 0x9000u16),
            Err(status) => (Vec::new(), status),
        };
        let is_extended = rest.len() > 1 && rest[0] == 0;
        if is_extended || answer.len() <= 256 {
            return [&answer[..], &status.to_be_bytes()].concat();
        }
        self.more(answer)
    }

    /// The next piece of a long answer.
    fn more(&mut self, answer: Vec<u8>) -> Vec<u8> {
        self.rest.extend(answer);
        let piece: Vec<u8> = self.rest.drain(..self.rest.len().min(256)).collect();
        let left = self.rest.len().min(255) as u8;
        let status = if left == 0 { [0x90, 0] } else { [0x61, left] };
        [&piece[..], &status].concat()
    }

    fn carry_out(&mut self, header: &[u8], data: &[u8]) -> Result<Vec<u8>, u16> {
        let (p1, p2) = (header[2], header[3]);
        match header[1] {
            0xa4 => Ok(tlv(
                0x61,
                &[tlv(0x4f, &[1; 6]), tlv(0x50, b"played card")].concat(),
            )),
            0x20 if p1 == 0xff => {
                self.verified = false;
                Ok(Vec::new())
            }
            0x20 if data.is_empty() && self.verified => Ok(Vec::new()),
            0x20 if data.is_empty() => Err(0x63c0 | u16::from(self.tries)),
            0x20 => {
                let right = self.pin;
                self.verified = false;
                self.spend(data, &right)?;
                self.verified = true;
                Ok(Vec::new())
            }
            0x24 if p2 == 0x81 => self.spend(data.get(..8).unwrap_or_default(), &PINS.puk),
            0x24 => {
                let right = self.pin;
                self.spend(data.get(..8).unwrap_or_default(), &right)?;
                self.set_pin(data)
            }
            0x2c => {
                if !same(data.get(..8).unwrap_or_default(), &PINS.puk) {
                    return Err(0x63c2);
                }
                self.tries = 3;
                self.set_pin(data)
            }
            0xcb => self.get(data),
            0xdb => self.put(data),
            0x47 => self.generate(p2, data),
            0x87 if p2 == 0x9b => self.administer(data),
            0x87 => self.operate(p2, data),
            0xfd if self.yubikey => Ok(vec![5, 7, 1]),
            0xf7 if self.yubikey => self.metadata(p2),
            0xf6 if self.yubikey => {
                self.keys.remove(&p2);
                self.made.remove(&p2);
                Ok(Vec::new())
            }
            _ => Err(0x6d00),
        }
    }

    fn spend(&mut self, pin: &[u8], right: &[u8]) -> Result<Vec<u8>, u16> {
        if self.tries == 0 {
            return Err(0x6983);
        }
        if same(pin, right) {
            self.tries = 3;
            return Ok(Vec::new());
        }
        self.tries -= 1;
        Err(0x63c0 | u16::from(self.tries))
    }

    fn set_pin(&mut self, data: &[u8]) -> Result<Vec<u8>, u16> {
        match data.get(8..).and_then(<[u8]>::first_chunk) {
            Some(pin) => {
                self.pin = *pin;
                Ok(Vec::new())
            }
            None => Err(0x6700),
        }
    }

    fn get(&self, data: &[u8]) -> Result<Vec<u8>, u16> {
        let (_, name, _) = first(data).ok_or(0x6a80u16)?;
        let tag = name.iter().fold(0, |tag, byte| tag << 8 | u32::from(*byte));
        if tag == 0x5fc109 && !self.verified {
            return Err(0x6982);
        }
        let value = self.data.get(&tag).ok_or(0x6a82u16)?;
        Ok(tlv(if tag > 0xffff { 0x53 } else { tag }, value))
    }

    fn put(&mut self, data: &[u8]) -> Result<Vec<u8>, u16> {
        if !self.administrator {
            return Err(0x6982);
        }
        let (_, name, rest) = first(data).ok_or(0x6a80u16)?;
        let tag = name.iter().fold(0, |tag, byte| tag << 8 | u32::from(*byte));
        let (_, value, _) = first(rest).ok_or(0x6a80u16)?;
        match value.is_empty() {
            true => drop(self.data.remove(&tag)),
            false => drop(self.data.insert(tag, value.to_vec())),
        }
        Ok(Vec::new())
    }

    fn generate(&mut self, reference: u8, data: &[u8]) -> Result<Vec<u8>, u16> {
        if !self.administrator {
            return Err(0x6982);
        }
        let which = match data.last() {
            Some(0x11) => 0,
            Some(0x07) => 1,
            _ => return Err(0x6a80),
        };
        self.made.insert(reference, which);
        Ok(public_template(&NEW[which].public))
    }

    fn parts(&self, reference: u8) -> Result<&'static PrivateParts, u16> {
        let made = self.made.get(&reference).map(|at| &NEW[*at]);
        let first = || self.keys.get(&reference).map(|at| &PAIRS[*at].parts);
        made.or_else(first).ok_or(0x6a88)
    }

    fn metadata(&self, reference: u8) -> Result<Vec<u8>, u16> {
        let parts = self.parts(reference)?;
        let (algorithm, public) = match &parts.public {
            PublicParts::Rsa { .. } => (0x07, public_template(&parts.public)),
            PublicParts::Ec {
                curve: Curve::P256, ..
            } => (0x11, public_template(&parts.public)),
            PublicParts::Ec { .. } => (0x14, public_template(&parts.public)),
            PublicParts::Ed25519(_) => (0xe0, public_template(&parts.public)),
            _ => return Err(0x6a80),
        };
        // Without the template's own head.
        let skip = if public[2] == 0x82 {
            5
        } else {
            3 + usize::from(public[2] == 0x81)
        };
        Ok([
            tlv(1, &[algorithm]),
            tlv(2, &[1, 1]),
            tlv(4, &public[skip..]),
        ]
        .concat())
    }

    fn administer(&mut self, data: &[u8]) -> Result<Vec<u8>, u16> {
        let (_, inner, _) = first(data).ok_or(0x6a80u16)?;
        let (tag, value, rest) = first(inner).ok_or(0x6a80u16)?;
        if tag == 0x80 && value.is_empty() {
            self.witness = vec![0x31; 8];
            let hidden = tdes(Direction::Encrypt, &self.witness);
            return Ok(tlv(0x7c, &tlv(0x80, &hidden)));
        }
        let (_, challenge, _) = first(rest).ok_or(0x6a80u16)?;
        if self.witness.is_empty() || value != self.witness || challenge.len() != 8 {
            return Err(0x6982);
        }
        self.witness.clear();
        self.administrator = true;
        Ok(tlv(0x7c, &tlv(0x82, &tdes(Direction::Encrypt, challenge))))
    }

    fn operate(&mut self, reference: u8, data: &[u8]) -> Result<Vec<u8>, u16> {
        if !self.verified && reference != 0x9e {
            return Err(0x6982);
        }
        let parts = self.parts(reference)?;
        let (_, inner, _) = first(data).ok_or(0x6a80u16)?;
        let (_, _, rest) = first(inner).ok_or(0x6a80u16)?;
        let (_, challenge, _) = first(rest).ok_or(0x6a80u16)?;
        let key = private(parts);
        let answer = match &parts.public {
            PublicParts::Rsa { .. } => key
                .decrypt(&CryptScheme::RsaRaw, challenge)
                .map(|block| block.to_vec()),
            PublicParts::Ec { .. } => key
                .sign(&SignScheme::Ecdsa, challenge)
                .map(|both| signature_der(&both)),
            PublicParts::Ed25519(_) => key.sign(
                &SignScheme::EdDsa {
                    prehash: false,
                    context: None,
                },
                challenge,
            ),
            _ => return Err(0x6a80),
        };
        let answer = answer.map_err(|_| 0x6a80u16)?;
        Ok(tlv(0x7c, &tlv(0x82, &answer)))
    }
}

/// One block with the administrator's key.
fn tdes(direction: Direction, block: &[u8]) -> Vec<u8> {
    let mut block: [u8; 8] = block.try_into().expect("a block");
    engine::tdes_block(direction, &PINS.key, &mut block).expect("a cipher");
    block.to_vec()
}

/// INTEGER.
fn integer(bytes: &[u8]) -> Vec<u8> {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    let bytes = &bytes[zeros..];
    match bytes.first() {
        Some(0..0x80) => tlv(2, bytes),
        _ => tlv(2, &[&[0], bytes].concat()),
    }
}

/// Ecdsa-Sig-Value.
fn signature_der(both: &[u8]) -> Vec<u8> {
    let (r, s) = both.split_at(both.len() / 2);
    tlv(0x30, &[integer(r), integer(s)].concat())
}

/// A public key as cards send it.
fn public_template(public: &PublicParts) -> Vec<u8> {
    let inner = match public {
        PublicParts::Rsa { n, e } => [tlv(0x81, n), tlv(0x82, e)].concat(),
        PublicParts::Ec { point, .. } => tlv(0x86, point),
        PublicParts::Ed25519(key) => tlv(0x86, key),
        _ => panic!("a key that no card has"),
    };
    tlv(0x7f49, &inner)
}
