//! Cards that lie, behind a unix socket: each answer of a small honest PIV card is spoiled in every way
//! in turn. What is wrong is told by an exact code, no wrong signature comes out, nothing hangs, and an
//! honest card works in the same process afterwards.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::undocumented_unsafe_blocks, missing_docs)]

mod common;

use common::*;
use flate2::Compression;
use flate2::write::GzEncoder;
use nodetoken::crypto::{
    Curve as EngineCurve, KeySpec, PrivateParts, PublicParts, SignScheme, engine,
};
use nodetoken::key;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

const PIN: &str = "123456";
const DIGEST: [u8; 32] = [7; 32];

/// What a command asks for, as far as the tests tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Select,
    Chuid,
    Certificate,
    History,
    Tries,
    Pin,
    Sign,
    Other,
}

impl Asked {
    /// Those of a login and a signature, in this order.
    const ALL: [Self; 7] = [
        Self::Select,
        Self::Chuid,
        Self::Certificate,
        Self::History,
        Self::Tries,
        Self::Pin,
        Self::Sign,
    ];

    fn of(command: &[u8]) -> Self {
        match (command[1], command.get(5..)) {
            (0xa4, _) => Self::Select,
            (0xcb, Some([0x5c, 3, 0x5f, 0xc1, 0x02, ..])) => Self::Chuid,
            (0xcb, Some([0x5c, 3, 0x5f, 0xc1, 0x05, ..])) => Self::Certificate,
            (0xcb, Some([0x5c, 3, 0x5f, 0xc1, 0x0c, ..])) => Self::History,
            (0x20, None | Some([])) => Self::Tries,
            (0x20, _) => Self::Pin,
            (0x87, _) => Self::Sign,
            _ => Self::Other,
        }
    }
}

/// How an answer is spoiled.
#[derive(Clone, Debug)]
enum Trick {
    /// The whole answer, status word included.
    Answer(Vec<u8>),
    /// This status for ever, with so many bytes before it.
    ForEver(u8, u16),
    /// Its length, as it is announced.
    Length(u16),
    /// The connection ends: before the answer, or amid it.
    Closed,
    Half,
    Silence,
}

#[derive(Default)]
struct Play {
    at: Option<(Asked, Trick)>,
    /// Since the card was last put in.
    commands: usize,
    /// A PIN was not taken, and how many were sent after that.
    refused: bool,
    more_pins: usize,
    for_ever: Option<Trick>,
    streams: Vec<UnixStream>,
}

/// A card and its key.
struct Card {
    key: PrivateParts,
    play: Mutex<Play>,
}

fn tlv(tag: u32, value: &[u8]) -> Vec<u8> {
    let tag = tag.to_be_bytes().into_iter();
    let mut bytes: Vec<u8> = tag.skip_while(|byte| *byte == 0).collect();
    match value.len() {
        len @ 0..=0x7f => bytes.push(len as u8),
        len => {
            bytes.push(0x82);
            bytes.extend((len as u16).to_be_bytes());
        }
    }
    bytes.extend(value);
    bytes
}

/// A certificate that nobody has signed.
fn certificate(public: &PublicParts) -> Vec<u8> {
    let common_name = [&b"\x06\x03\x55\x04\x03"[..], &tlv(0x0c, b"node")].concat();
    let name = tlv(0x30, &tlv(0x31, &tlv(0x30, &common_name)));
    let algorithm = tlv(0x30, b"\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02");
    let validity = [tlv(0x17, b"250101000000Z"), tlv(0x17, b"450101000000Z")].concat();
    let body = [
        b"\xa0\x03\x02\x01\x02\x02\x01\x01".as_slice(),
        &algorithm,
        &name,
        &tlv(0x30, &validity),
        &name,
        &key::public_key_info(public).unwrap(),
    ];
    let signature = tlv(3, b"\0\x30\x06\x02\x01\x01\x02\x01\x01");
    // Lengths of 128 to 255 bytes take their shortest form in DER.
    let der = [tlv_der(&body.concat()), algorithm, signature].concat();
    tlv_der(&der)
}

fn tlv_der(value: &[u8]) -> Vec<u8> {
    match value.len() {
        len @ 0x80..=0xff => [&[0x30, 0x81, len as u8], value].concat(),
        _ => tlv(0x30, value),
    }
}

fn content(certificate: &[u8], info: u8) -> Vec<u8> {
    let parts = [tlv(0x70, certificate), tlv(0x71, &[info]), tlv(0xfe, &[])];
    tlv(0x53, &parts.concat())
}

fn done(data: &[u8]) -> Vec<u8> {
    [data, &[0x90, 0]].concat()
}

fn new_key() -> PrivateParts {
    engine::generate(&KeySpec::Ec(EngineCurve::P256)).unwrap()
}

impl Card {
    /// What an honest card answers.
    fn answer(&self, command: &[u8]) -> Vec<u8> {
        match Asked::of(command) {
            Asked::Select => done(&tlv(0x61, &tlv(0x4f, &[1; 6]))),
            Asked::Chuid => done(&tlv(0x53, &tlv(0x34, &[9; 16]))),
            Asked::Certificate => done(&content(&certificate(&self.key.public), 0)),
            Asked::History => done(&tlv(0x53, &[tlv(0xc1, &[0]), tlv(0xc2, &[0])].concat())),
            Asked::Tries => vec![0x63, 0xc3],
            Asked::Pin if command[3] == 0x80 && command[5..11] == *PIN.as_bytes() => done(&[]),
            Asked::Pin => vec![0x63, 0xc2],
            Asked::Sign => {
                let digest = &command[command.len() - 33..command.len() - 1];
                let key = engine::PrivateKey::from_parts(&self.key).unwrap();
                let both = key.sign(&SignScheme::Ecdsa, digest).unwrap();
                let halves = both.chunks(32).map(|half| tlv(2, &[&[0], half].concat()));
                done(&tlv(
                    0x7c,
                    &tlv(0x82, &der(&halves.collect::<Vec<_>>().concat())),
                ))
            }
            Asked::Other => vec![0x6a, 0x82],
        }
    }

    fn serve(self: &Arc<Self>, path: &Path) {
        let listener = UnixListener::bind(path).unwrap();
        let card = Arc::clone(self);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                card.play
                    .lock()
                    .unwrap()
                    .streams
                    .push(stream.try_clone().unwrap());
                let card = Arc::clone(&card);
                thread::spawn(move || card.talk(stream));
            }
        });
    }

    fn talk(&self, mut stream: UnixStream) {
        let mut length = [0; 2];
        while stream.read_exact(&mut length).is_ok() {
            let mut command = vec![0; usize::from(u16::from_be_bytes(length)) - 2];
            if stream.read_exact(&mut command).is_err() {
                return;
            }
            let trick = {
                let mut play = self.play.lock().unwrap();
                play.commands += 1;
                let asked = Asked::of(&command);
                let is_pin = asked == Asked::Pin;
                play.more_pins += usize::from(is_pin && play.refused);
                match (&play.for_ever, &play.at) {
                    (Some(trick), _) => Some(trick.clone()),
                    (None, Some((at, trick))) if *at == asked => Some(trick.clone()),
                    _ => None,
                }
            };
            let mut answer = self.answer(&command);
            let mut announced = None;
            if Asked::of(&command) == Asked::Pin {
                let taken = match &trick {
                    None => answer == [0x90, 0],
                    Some(Trick::Answer(spoiled)) => spoiled.ends_with(&[0x90, 0]),
                    Some(_) => false,
                };
                self.play.lock().unwrap().refused |= !taken;
            }
            match trick {
                None => {}
                Some(Trick::Answer(spoiled)) => answer = spoiled,
                Some(trick @ Trick::ForEver(len, status)) => {
                    self.play.lock().unwrap().for_ever = Some(trick);
                    answer = [&vec![7; len.into()][..], &status.to_be_bytes()].concat();
                }
                Some(Trick::Length(length)) => announced = Some(length),
                Some(Trick::Closed) => break,
                Some(Trick::Half) => {
                    let head = (answer.len() as u16 + 2).to_be_bytes();
                    let _ = stream.write_all(&[&head[..], &answer[..1]].concat());
                    break;
                }
                Some(Trick::Silence) => continue,
            }
            // More than its length can say is cut there: the rest follows the response.
            let length = announced.unwrap_or((answer.len() + 2).min(0xffff) as u16);
            let message = [&length.to_be_bytes()[..], &answer].concat();
            if stream.write_all(&message).is_err() {
                return;
            }
        }
        let _ = stream.shutdown(Shutdown::Both);
    }

    /// Takes the card out and puts it in again, with what it is to do from now on.
    fn put_in(&self, at: Option<(Asked, Trick)>) {
        let mut play = self.play.lock().unwrap();
        for stream in play.streams.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        *play = Play {
            at,
            ..Play::default()
        };
    }
}

/// Ecdsa-Sig-Value, of integers with a zero too many: cards give them so.
fn der(integers: &[u8]) -> Vec<u8> {
    let mut minimal = Vec::new();
    let mut rest = integers;
    while !rest.is_empty() {
        let (integer, after) = rest.split_at(2 + usize::from(rest[1]));
        let value = &integer[2..];
        let zeros = value.iter().take_while(|byte| **byte == 0).count();
        let value = &value[zeros..];
        let sign: &[u8] = if value[0] & 0x80 != 0 { &[0] } else { &[] };
        minimal.extend(tlv(2, &[sign, value].concat()));
        rest = after;
    }
    tlv(0x30, &minimal)
}

/// How far a use of the card came, and the code that ended it.
#[derive(Debug)]
enum End {
    Session(Rv),
    Login(Rv),
    Search(Rv),
    NoKey,
    Init(Rv),
    Sign(Rv),
    Signature,
}

/// Logs in and signs.
fn use_card(module: Module, slot: CK_SLOT_ID, public: &PublicParts) -> End {
    let session = match Session::open(module, slot, CKF_SERIAL_SESSION | CKF_RW_SESSION) {
        Ok(session) => session,
        Err(refusal) => return End::Session(refusal),
    };
    // What it says of its PIN is asked on the way; nothing depends on it.
    if let Err(refusal) = module.token_info(slot) {
        allowed(refusal, &ANY);
    }
    let end = (|| {
        if let Err(refusal) = session.login(CKU_USER, PIN) {
            return End::Login(refusal);
        }
        let keys = match session.find(&Template::new().set(CKA_CLASS, CKO_PRIVATE_KEY)) {
            Ok(keys) => keys,
            Err(refusal) => return End::Search(refusal),
        };
        let Some(&key) = keys.first() else {
            return End::NoKey;
        };
        let shown = session.get(key, CKA_PUBLIC_KEY_INFO);
        if let Err(refusal) = session.sign_init(CKM_ECDSA, key) {
            return End::Init(refusal);
        }
        match session.sign_rest(&DIGEST) {
            Ok(signature) => {
                assert_eq!(shown.unwrap(), key::public_key_info(public).unwrap());
                let public = engine::PublicKey::from_parts(public).unwrap();
                public
                    .verify(&SignScheme::Ecdsa, &DIGEST, &signature)
                    .unwrap();
                End::Signature
            }
            Err(refusal) => End::Sign(refusal),
        }
    })();
    let _ = try_call!(module, C_CloseAllSessions(slot));
    end
}

/// A card that answers nonsense, refuses in its own words, or goes.
const ANY: [CK_RV; 7] = [
    CKR_DEVICE_ERROR,
    CKR_DEVICE_REMOVED,
    // It was found to be gone by an earlier call.
    CKR_SESSION_HANDLE_INVALID,
    CKR_DEVICE_MEMORY,
    CKR_FUNCTION_NOT_SUPPORTED,
    CKR_USER_NOT_LOGGED_IN,
    CKR_PIN_LOCKED,
];

#[track_caller]
fn allowed(refusal: Rv, codes: &[CK_RV]) {
    assert!(codes.contains(&refusal.0), "{refusal:?}");
}

/// What may come of a trick, by where it is played.
fn check(end: &End, asked: Asked) {
    match end {
        End::Session(refusal) => {
            let codes = [&ANY[..], &[CKR_TOKEN_NOT_RECOGNIZED, CKR_TOKEN_NOT_PRESENT]].concat();
            allowed(*refusal, &codes);
            assert!(matches!(asked, Asked::Select | Asked::Chuid));
        }
        End::Login(refusal) => {
            let codes = [&ANY[..], &[CKR_PIN_INCORRECT, CKR_PIN_INVALID]].concat();
            allowed(*refusal, &codes);
        }
        End::Search(refusal) | End::Init(refusal) => {
            allowed(*refusal, &ANY);
        }
        End::NoKey => assert_eq!(asked, Asked::Certificate),
        End::Sign(refusal) => allowed(*refusal, &ANY),
        End::Signature => {}
    }
}

/// One card for one test.
struct Stage {
    card: Arc<Card>,
    module: Module,
    slot: CK_SLOT_ID,
}

impl Stage {
    fn new(world: &World) -> Self {
        let path = world.path("card");
        let card = Arc::new(Card {
            key: new_key(),
            play: Mutex::default(),
        });
        card.serve(&path);
        set("NODETOKEN_CARD", &path);
        let module = world.module();
        let slot = module.slots().unwrap()[0];
        let stage = Self { card, module, slot };
        stage.honest();
        stage
    }

    fn honest(&self) {
        self.card.put_in(None);
        let mut end = use_card(self.module, self.slot, &self.card.key.public);
        if !matches!(end, End::Signature) {
            // That the last card is gone is told once, where nobody could see it before.
            end = use_card(self.module, self.slot, &self.card.key.public);
        }
        assert!(matches!(end, End::Signature), "an honest card: {end:?}");
    }

    #[track_caller]
    fn play(&self, asked: Asked, trick: Trick) -> End {
        let said = format!("{asked:?}: {trick:?}");
        let said = &said[..said.len().min(200)];
        self.card.put_in(Some((asked, trick)));
        let end = use_card(self.module, self.slot, &self.card.key.public);
        let play = self.card.play.lock().unwrap();
        assert_eq!(play.more_pins, 0, "{said}: another try");
        assert!(play.commands < 2000, "{said}: {} commands", play.commands);
        drop(play);
        let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(&end, asked)));
        assert!(checked.is_ok(), "{said}: {end:?}");
        end
    }

    /// The honest answer at some place.
    fn answer(&self, asked: Asked) -> Vec<u8> {
        let command: &[u8] = match asked {
            Asked::Select => &[0, 0xa4, 4, 0],
            Asked::Chuid => &[0, 0xcb, 0x3f, 0xff, 5, 0x5c, 3, 0x5f, 0xc1, 2],
            Asked::Certificate => &[0, 0xcb, 0x3f, 0xff, 5, 0x5c, 3, 0x5f, 0xc1, 5],
            Asked::History => &[0, 0xcb, 0x3f, 0xff, 5, 0x5c, 3, 0x5f, 0xc1, 12],
            Asked::Tries => &[0, 0x20, 0, 0x80],
            Asked::Pin => &[
                0, 0x20, 0, 0x80, 8, b'1', b'2', b'3', b'4', b'5', b'6', 0xff, 0xff,
            ],
            Asked::Sign => &[&[0, 0x87, 0x11, 0x9a, 38][..], &[7; 39]].concat(),
            Asked::Other => &[0; 4],
        };
        self.card.answer(command)
    }
}

#[test]
fn every_truncation_and_every_bit() {
    isolated_on(&[SOFTWARE], |world| {
        let stage = Stage::new(world);
        for asked in Asked::ALL {
            let answer = stage.answer(asked);
            for len in 0..answer.len() {
                stage.play(asked, Trick::Answer(answer[..len].to_vec()));
                // The same with a status that says all is well.
                stage.play(asked, Trick::Answer(done(&answer[..len])));
            }
            for bit in 0..8 * answer.len().min(64) {
                let mut flipped = answer.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                stage.play(asked, Trick::Answer(flipped));
            }
            stage.honest();
        }
    });
}

#[test]
fn every_status() {
    isolated_on(&[SOFTWARE], |world| {
        let stage = Stage::new(world);
        for asked in Asked::ALL {
            for sw1 in 0x61..=0x6f_u8 {
                for sw2 in [0, 1, 0x80, 0x82, 0x83, 0x84, 0xc0, 0xc1, 0xff] {
                    stage.play(asked, Trick::Answer(vec![sw1, sw2]));
                }
            }
            for status in [0x6101, 0x61ff, 0x6100, 0x6c00, 0x6c01, 0x6cff] {
                for len in [0, 1, 255] {
                    stage.play(asked, Trick::ForEver(len, status));
                }
            }
            stage.honest();
        }
    });
}

#[test]
fn a_refused_pin_has_its_code() {
    isolated_on(&[SOFTWARE], |world| {
        let stage = Stage::new(world);
        for (status, code) in [
            (0x63c2, CKR_PIN_INCORRECT),
            (0x6300, CKR_PIN_INCORRECT),
            (0x63c0, CKR_PIN_LOCKED),
            (0x6983, CKR_PIN_LOCKED),
            (0x6700, CKR_DEVICE_ERROR),
            (0x6982, CKR_DEVICE_ERROR),
            (0x6f00, CKR_DEVICE_ERROR),
        ] {
            let answer = Trick::Answer(u16::to_be_bytes(status).to_vec());
            match stage.play(Asked::Pin, answer) {
                End::Login(Rv(refusal)) => assert_eq!(refusal, code, "{status:x}"),
                other => panic!("{status:x}: {other:?}"),
            }
        }
        stage.honest();
    });
}

#[test]
fn too_much() {
    isolated_on(&[SOFTWARE], |world| {
        let stage = Stage::new(world);
        let mut bomb = GzEncoder::new(Vec::new(), Compression::best());
        bomb.write_all(&vec![0; 40 << 20]).unwrap();
        let bomb = bomb.finish().unwrap();
        let nested = (0..60).fold(Vec::new(), |inner, _| tlv(0x7c, &inner));
        for asked in Asked::ALL {
            for spoiled in [
                vec![7; 70_000],
                done(&vec![0; 65_000]),
                done(&content(&bomb, 1)),
                done(&content(&bomb, 0x80)),
                done(&nested),
                done(&[0x53, 0x80, 0x70, 0x80, 0, 0, 0, 0]),
                done(&[0x7c, 0x80, 0x82, 0x80, 0, 0, 0, 0]),
                done(&[0x53, 0x84, 0xff, 0xff, 0xff, 0xff, 1]),
                done(&[0x53, 0x83, 0xff, 0xff, 0xff, 1]),
                done(&[0x53, 0x88, 0, 0, 0, 0, 0, 0, 0, 1, 1]),
                done(&[0x5f; 64]),
                done(&[0xff; 64]),
            ] {
                stage.play(asked, Trick::Answer(spoiled));
            }
            for length in [0, 1, 2, 3] {
                stage.play(asked, Trick::Length(length));
            }
            stage.honest();
        }
    });
}

#[test]
fn a_key_that_is_not_the_certificates() {
    isolated_on(&[SOFTWARE], |world| {
        let stage = Stage::new(world);
        let other = content(&certificate(&new_key().public), 0);
        match stage.play(Asked::Certificate, Trick::Answer(done(&other))) {
            End::Sign(Rv(CKR_DEVICE_ERROR)) => {}
            wrong => panic!("{wrong:?}"),
        }
        // A point that is on no curve, a modulus that is none: no key is shown.
        let bad_point = PublicParts::Ec {
            curve: EngineCurve::P256,
            point: [&[4][..], &[5; 64]].concat(),
        };
        let rsa = |n: &[u8]| PublicParts::Rsa {
            n: n.to_vec(),
            e: vec![1, 0, 1],
        };
        for public in [bad_point, rsa(&[0]), rsa(&[0xfe; 256]), rsa(&[0xff; 8192])] {
            let answer = done(&content(&certificate(&public), 0));
            match stage.play(Asked::Certificate, Trick::Answer(answer)) {
                End::NoKey => {}
                wrong => panic!("{public:?}: {wrong:?}"),
            }
        }
        stage.honest();
    });
}

#[test]
fn gone_at_each_point() {
    isolated_on(&[SOFTWARE], |world| {
        let stage = Stage::new(world);
        for asked in Asked::ALL {
            for trick in [Trick::Closed, Trick::Half] {
                let end = stage.play(asked, trick);
                let (End::Session(Rv(code))
                | End::Login(Rv(code))
                | End::Search(Rv(code))
                | End::Sign(Rv(code))) = end
                else {
                    panic!("{asked:?}: {end:?}");
                };
                let gone = [CKR_DEVICE_REMOVED, CKR_SESSION_HANDLE_INVALID];
                assert!(gone.contains(&code), "{asked:?}: {end:?}");
            }
            stage.honest();
        }
    });
}

/// A card that says nothing is waited for as long as the slowest key takes to be made, and no longer.
#[test]
fn silence_ends() {
    isolated_on(&[SOFTWARE], |world| {
        let stage = Stage::new(world);
        let begun = Instant::now();
        match stage.play(Asked::Sign, Trick::Silence) {
            End::Sign(Rv(CKR_DEVICE_ERROR)) => {}
            wrong => panic!("{wrong:?}"),
        }
        let waited = begun.elapsed();
        assert!(waited > Duration::from_secs(20) && waited < Duration::from_secs(60));
        stage.honest();
    });
}
