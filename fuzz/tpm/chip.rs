//! A TPM that is played: what the script says for each command decides whether it answers well, oddly,
//! not at all, or as somebody on the bus would.

use crate::proof::{self, Exchange, name, sized, split};
use crate::script::Script;
use nodetoken::crypto::{Curve, Direction, KeySpec, PublicParts, SecretParts, engine};
use std::collections::BTreeMap;
use std::sync::LazyLock;

pub const CREATE_PRIMARY: u32 = 0x131;
pub const CREATE: u32 = 0x153;
pub const IMPORT: u32 = 0x156;
pub const LOAD: u32 = 0x157;
pub const RSA_DECRYPT: u32 = 0x159;
pub const SIGN: u32 = 0x15d;
pub const UNSEAL: u32 = 0x15e;
const EVICT_CONTROL: u32 = 0x120;
const FLUSH_CONTEXT: u32 = 0x165;
const READ_PUBLIC: u32 = 0x173;
const START_AUTH_SESSION: u32 = 0x176;
const GET_CAPABILITY: u32 = 0x17a;

pub const OWNER: u32 = 0x4000_0001;
pub const LOCKOUT: u32 = 0x4000_000a;
const NULL: u32 = 0x4000_0007;
/// Where the storage root is.
pub const ROOT: u32 = 0x8100_0001;

const CONTINUES: u8 = 0x01;
const ENCRYPTS: u8 = 0x40;

/// Response codes: again, full, no such handle, wrong value, and others with a meaning to the module.
pub const CODES: [u32; 20] = [
    0x922,
    0x908,
    0x90a,
    0x920,
    0x902,
    0x903,
    0x905,
    0x907,
    0x910,
    0x918,
    0x18b,
    0x184,
    0x98e,
    0x9a2,
    0x921,
    0x100,
    0x101,
    0x19c,
    0x18a,
    0x000b_0902,
];
/// How many of these are codes upon which the module tries again, and waits before it.
const WAITING: usize = 8;
/// How many ways there are to answer a command.
pub const WAYS: u8 = 16;
/// More commands than one operation can need, however it is answered.
const MOST_COMMANDS: usize = 2000;

/// The storage root's key pair.
pub struct RootKey {
    d: Vec<u8>,
    point: Vec<u8>,
    pub public: Vec<u8>,
}

pub static ROOT_KEY: LazyLock<RootKey> = LazyLock::new(|| {
    let made = engine::generate(&KeySpec::Ec(Curve::P256)).expect("a key");
    let (PublicParts::Ec { point, .. }, SecretParts::Ec { d }) = (made.public, made.secret) else {
        panic!("another key");
    };
    let public = [
        b"\0\x23\0\x0b\0\x03\x04\x72\0\0\0\x06\0\x80\0\x43\0\x10\0\x03\0\x10".as_slice(),
        &sized(&point[1..33]),
        &sized(&point[33..]),
    ];
    RootKey {
        d: d.to_vec(),
        public: public.concat(),
        point,
    }
});

/// A command, taken apart.
struct Asked {
    code: u32,
    handles: Vec<u32>,
    session: Option<Session>,
    parameters: Vec<u8>,
}

/// Of its authorization area.
#[derive(Clone, Default)]
struct Session {
    handle: u32,
    caller: Vec<u8>,
    attributes: u8,
    /// What makes the HMAC of the answer: the session's key and the authorization value.
    value: Vec<u8>,
}

impl Asked {
    fn parse(command: &[u8]) -> Option<Self> {
        let (header, mut rest) = command.split_at_checked(10)?;
        let code = word(&header[6..])?;
        let count = match code {
            START_AUTH_SESSION | EVICT_CONTROL => 2,
            GET_CAPABILITY | FLUSH_CONTEXT | 0x18a | 0x144 => 0,
            _ => 1,
        };
        let mut handles = Vec::new();
        for _ in 0..count {
            handles.push(word(rest)?);
            rest = &rest[4..];
        }
        let mut session = None;
        if header[1] == 2 {
            let (area, after) = rest.get(4..)?.split_at_checked(word(rest)? as usize)?;
            let (caller, tail) = split(&area[4..])?;
            session = Some(Session {
                handle: word(area)?,
                caller: caller.to_vec(),
                attributes: *tail.first()?,
                value: Vec::new(),
            });
            rest = after;
        }
        Some(Self {
            code,
            handles,
            session,
            parameters: rest.to_vec(),
        })
    }

    /// How many handles the response has.
    fn gives(&self) -> usize {
        usize::from([START_AUTH_SESSION, LOAD, CREATE_PRIMARY].contains(&self.code))
    }
}

fn word(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}

/// What was said in success to a command that a session authorized.
#[derive(Clone)]
pub struct Said {
    pub code: u32,
    /// It came with the right HMAC.
    pub proven: bool,
    pub handle: Option<u32>,
    /// Decrypted.
    pub parameters: Vec<u8>,
}

/// The chip, and what it has said in the operation that runs.
pub struct Chip {
    pub script: Script,
    /// What is answered when the script is over, if not well.
    pub at_the_end: Option<u32>,
    /// Every answer up to now was as it should be.
    pub behaves: bool,
    /// Or it was a refusal, but of taking something out of the chip.
    pub refuses: bool,
    pub said: Vec<Said>,
    /// Every answer, for replay.
    pub answers: Vec<Vec<u8>>,
    commands: usize,
    waits: usize,
    next: u32,
    /// Keys of sessions by their handles.
    sessions: BTreeMap<u32, Vec<u8>>,
    /// Public areas of objects by their handles.
    objects: BTreeMap<u32, Vec<u8>>,
    /// Authorization values by names.
    values: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Chip {
    pub fn new(script: Script) -> Self {
        Self {
            script,
            at_the_end: None,
            behaves: true,
            refuses: true,
            said: Vec::new(),
            answers: Vec::new(),
            commands: 0,
            waits: 0,
            next: 0,
            sessions: BTreeMap::new(),
            objects: BTreeMap::from([(ROOT, ROOT_KEY.public.clone())]),
            values: BTreeMap::new(),
        }
    }

    /// Another operation begins.
    pub fn begin(&mut self) {
        self.said.clear();
        self.commands = 0;
    }

    /// What is loaded is gone.
    pub fn reset(&mut self) {
        self.sessions.clear();
        self.objects.retain(|handle, _| handle >> 24 == ROOT >> 24);
    }

    /// Nothing is loaded.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty() && self.objects.keys().all(|handle| handle >> 24 == ROOT >> 24)
    }

    /// What authorizes the use of an entity.
    pub fn authorize(&mut self, name: Vec<u8>, value: &[u8]) {
        let zeros = value.iter().rev().take_while(|byte| **byte == 0).count();
        let value = value[..value.len() - zeros].to_vec();
        self.values.insert(name, value);
    }

    pub fn answer(&mut self, command: &[u8]) -> Option<Vec<u8>> {
        self.commands += 1;
        assert!(self.commands < MOST_COMMANDS, "it asks without end");
        let mut asked = Asked::parse(command).expect("a command");
        let first = asked.handles.first().map(|handle| self.name_of(*handle));
        if let Some(session) = &mut asked.session {
            for part in [
                self.sessions.get(&session.handle),
                self.values.get(&first.unwrap_or_default()),
            ] {
                session.value.extend(part.into_iter().flatten());
            }
        }
        let answer = self.choose(&asked)?;
        if self.answers.len() < 64 {
            self.answers.push(answer.clone());
        }
        self.note(&asked, &answer);
        Some(answer)
    }

    /// As the script wants it.
    fn choose(&mut self, asked: &Asked) -> Option<Vec<u8>> {
        if let (true, Some(code)) = (self.script.is_over(), self.at_the_end) {
            return Some(self.refuse(asked, code));
        }
        let way = self.script.byte() % WAYS;
        if way < 2 {
            return Some(self.behave(asked, way));
        }
        let mut good = self.good(asked);
        (self.behaves, self.refuses) = (false, false);
        match way {
            // A chip that is the right one, and odd.
            2 => self.script.edit(&mut good.parameters),
            3 => good.parameters = self.script.bytes(),
            4 => self.script.edit(&mut good.handles),
            5 => self.script.edit(&mut good.nonce),
            6 => {
                let session = good.session.get_or_insert_default();
                session.attributes ^= self.script.byte();
                self.script.edit(&mut good.parameters);
            }
            // A chip that does not know what proves it, or proves something else.
            7 => {
                let session = good.session.get_or_insert_default();
                match self.script.byte() % 5 {
                    0 => session.value.clear(),
                    1 => session.value = self.script.bytes(),
                    2 => self.script.edit(&mut session.value),
                    3 => session.caller = self.script.bytes(),
                    _ => session.attributes ^= self.script.byte(),
                }
            }
            8 => good.session = None,
            // Somebody on the bus, or a broken one.
            9 => {
                let mut bytes = good.bytes();
                self.script.edit(&mut bytes);
                return Some(self.mended(bytes));
            }
            10 => {
                let mut bytes = good.bytes();
                bytes.truncate(self.script.number());
                return Some(self.mended(bytes));
            }
            11 => {
                let bytes = [good.bytes(), self.script.bytes()].concat();
                return Some(self.mended(bytes));
            }
            12 => return self.said_before(),
            13 => return Some(self.script.bytes()),
            14 => {
                let code = self.script.number() as u32;
                return Some(refusal(code));
            }
            _ => return None,
        }
        Some(good.bytes())
    }

    /// As it should, or with a code that it may have a reason for.
    fn behave(&mut self, asked: &Asked, way: u8) -> Vec<u8> {
        if way == 0 {
            return self.good(asked).bytes();
        }
        let code = self.script.one_of(&CODES);
        self.waits += usize::from(CODES[..WAITING].contains(&code));
        // Waiting costs time: a few times in a script are enough.
        let code = if self.waits < 6 { code } else { CODES[WAITING] };
        self.refuse(asked, code)
    }

    /// A refusal: the command has no effect.
    fn refuse(&mut self, asked: &Asked, code: u32) -> Vec<u8> {
        self.behaves = false;
        self.refuses &= asked.code != FLUSH_CONTEXT;
        refusal(code)
    }

    /// With the right length in it, most times.
    fn mended(&mut self, bytes: Vec<u8>) -> Vec<u8> {
        match self.script.byte() % 4 {
            3 => bytes,
            _ => with_its_length(bytes),
        }
    }

    fn said_before(&mut self) -> Option<Vec<u8>> {
        let back = usize::from(self.script.byte()) % self.answers.len().max(1);
        self.answers.iter().rev().nth(back).cloned()
    }

    /// The right answer.
    fn good(&mut self, asked: &Asked) -> Good {
        let mut handles = Vec::new();
        let session = asked.session.as_ref();
        let done = match session {
            Some(session) if !self.sessions.contains_key(&session.handle) => Err(0x918),
            _ => self.parameters(asked, &mut handles),
        };
        if let (Some(session), true) = (session, done.is_ok())
            && session.attributes & CONTINUES == 0
        {
            self.sessions.remove(&session.handle);
        }
        self.next += 1;
        let (code, parameters) = match done {
            Ok(parameters) => (0, parameters),
            Err(code) => (code, Vec::new()),
        };
        Good {
            asked: asked.code,
            code,
            handles,
            parameters,
            session: session.cloned(),
            nonce: [self.next.to_be_bytes().as_slice(), &[11; 28]].concat(),
        }
    }

    fn name_of(&self, handle: u32) -> Vec<u8> {
        match self.objects.get(&handle) {
            Some(public) => name(public),
            None => handle.to_be_bytes().to_vec(),
        }
    }

    fn handle(&mut self, kind: u32, handles: &mut Vec<u8>) -> u32 {
        self.next += 1;
        let handle = kind << 24 | self.next;
        handles.extend(handle.to_be_bytes());
        handle
    }

    /// The parameters of the right answer, or its code.
    fn parameters(&mut self, asked: &Asked, handles: &mut Vec<u8>) -> Result<Vec<u8>, u32> {
        for handle in &asked.handles {
            let persistent = asked.code == EVICT_CONTROL || asked.code == READ_PUBLIC;
            if handle >> 24 >= 0x80 && !self.objects.contains_key(handle) {
                return Err(if persistent { 0x18b } else { 0x910 });
            }
        }
        let first = asked.handles.first().copied().unwrap_or_default();
        let given = |at: usize| {
            let mut rest = asked.parameters.as_slice();
            for _ in 0..at {
                rest = split(rest).expect("a parameter").1;
            }
            split(rest).expect("a parameter").0
        };
        let creation = [
            sized(b"\0\0\0\0\0\0\x01\0\x0b\0\0\0\0\0\0"),
            sized(&[3; 32]),
            b"\x80\x21\x40\0\0\x01".to_vec(),
            sized(&[4; 32]),
        ]
        .concat();
        Ok(match asked.code {
            START_AUTH_SESSION => {
                self.handle(0x02, handles);
                sized(&[self.next as u8; 32])
            }
            LOAD => {
                let handle = self.handle(0x80, handles);
                let public = given(1).to_vec();
                let name = sized(&name(&public));
                self.objects.insert(handle, public);
                name
            }
            CREATE => {
                let public = filled(given(1));
                [sized(&[5; 100]), sized(&public), creation].concat()
            }
            CREATE_PRIMARY => {
                let handle = self.handle(0x80, handles);
                let public = ROOT_KEY.public.clone();
                let name = sized(&name(&public));
                self.objects.insert(handle, public.clone());
                [sized(&public), creation, name].concat()
            }
            EVICT_CONTROL => {
                let public = self.objects.get(&asked.handles[1]).cloned();
                let at = word(&asked.parameters).expect("a handle");
                self.objects.extend(public.map(|public| (at, public)));
                Vec::new()
            }
            FLUSH_CONTEXT => {
                let handle = word(&asked.parameters).expect("a handle");
                if self.sessions.remove(&handle).is_none() && self.objects.remove(&handle).is_none()
                {
                    return Err(0x18b);
                }
                Vec::new()
            }
            READ_PUBLIC => {
                let name = self.name_of(first);
                let root = proof::name(&[&OWNER.to_be_bytes(), &*self.name_of(ROOT)].concat());
                let qualified = match first == ROOT {
                    true => root,
                    false => proof::name(&[root, name.clone()].concat()),
                };
                let public = self.objects.get(&first).ok_or(0x18b_u32)?;
                [public, &name, &qualified].map(|part| sized(part)).concat()
            }
            IMPORT => sized(&[6; 100]),
            UNSEAL => sized(&[7; 32]),
            RSA_DECRYPT => sized(&[8; 256]),
            SIGN => [vec![0, 0x18, 0, 0x0b], sized(&[9; 32]), sized(&[10; 32])].concat(),
            GET_CAPABILITY => self.capability(asked),
            _ => Vec::new(),
        })
    }

    /// One property, or the handles from one on.
    fn capability(&self, asked: &Asked) -> Vec<u8> {
        let (what, first) = (&asked.parameters[..4], &asked.parameters[4..8]);
        let list = if what == [0, 0, 0, 1] {
            let from = word(first).expect("a handle");
            let all = self.sessions.keys().chain(self.objects.keys());
            all.filter(|handle| **handle >= from && **handle >> 24 == from >> 24)
                .take(64)
                .map(|handle| handle.to_be_bytes().to_vec())
                .collect()
        } else {
            vec![[first, &[0, 0, 0, 5]].concat()]
        };
        let count = (list.len() as u32).to_be_bytes();
        [&[0], what, &count, &list.concat()].concat()
    }

    /// Takes to heart what has really been said: a session is what its user hears of it, and an HMAC
    /// is right or not whoever made it.
    fn note(&mut self, asked: &Asked, answer: &[u8]) {
        let success = answer.len() >= 10
            && word(&answer[2..]) == Some(answer.len() as u32)
            && answer[6..10] == [0; 4];
        if !success {
            return;
        }
        if asked.code == START_AUTH_SESSION {
            self.note_session(asked, answer);
        }
        let Some(session) = &asked.session else {
            return;
        };
        let said = self.heard(asked, session, answer);
        self.said.push(said.unwrap_or(Said {
            code: asked.code,
            proven: false,
            handle: None,
            parameters: Vec::new(),
        }));
    }

    fn note_session(&mut self, asked: &Asked, answer: &[u8]) {
        let Some((handle, (tpm, _))) = word(&answer[10..]).zip(answer.get(14..).and_then(split))
        else {
            return;
        };
        let (caller, rest) = split(&asked.parameters).expect("a nonce");
        let (salt, _) = split(rest).expect("a salt");
        assert_eq!(salt.is_empty(), asked.handles[0] == NULL);
        let root = &*ROOT_KEY;
        let key = proof::session_key(&root.d, &root.point, salt, tpm, caller);
        self.sessions.insert(handle, key);
    }

    /// The answer to an authorized command, if it is one.
    fn heard(&self, asked: &Asked, session: &Session, answer: &[u8]) -> Option<Said> {
        let body = answer.get(10..)?;
        let (handles, rest) = body.split_at_checked(4 * asked.gives())?;
        let (parameters, rest) = rest.get(4..)?.split_at_checked(word(rest)? as usize)?;
        let (tpm, rest) = split(rest)?;
        let (attributes, rest) = rest.split_first()?;
        let (hmac, []) = split(rest)? else {
            return None;
        };
        let exchange = Exchange {
            value: session.value.clone(),
            code: asked.code,
            caller: &session.caller,
            tpm,
            attributes: *attributes,
        };
        let proven = answer[1] == 2 && exchange.hmac(parameters) == hmac;
        let mut parameters = parameters.to_vec();
        if session.attributes & ENCRYPTS != 0 {
            exchange.crypt(Direction::Decrypt, &mut parameters);
        }
        Some(Said {
            code: asked.code,
            proven,
            handle: word(handles),
            parameters,
        })
    }
}

/// A right answer that has not been proven yet.
struct Good {
    asked: u32,
    code: u32,
    handles: Vec<u8>,
    parameters: Vec<u8>,
    session: Option<Session>,
    nonce: Vec<u8>,
}

impl Good {
    fn bytes(mut self) -> Vec<u8> {
        if self.code != 0 {
            return refusal(self.code);
        }
        let header = |tag: u8| vec![0x80, tag, 0, 0, 0, 0, 0, 0, 0, 0];
        let Some(session) = &self.session else {
            return with_its_length([header(1), self.handles, self.parameters].concat());
        };
        let exchange = Exchange {
            value: session.value.clone(),
            code: self.asked,
            caller: &session.caller,
            tpm: &self.nonce,
            attributes: session.attributes,
        };
        if session.attributes & ENCRYPTS != 0 {
            exchange.crypt(Direction::Encrypt, &mut self.parameters);
        }
        let hmac = exchange.hmac(&self.parameters);
        with_its_length(
            [
                header(2),
                self.handles,
                (self.parameters.len() as u32).to_be_bytes().to_vec(),
                self.parameters,
                sized(&self.nonce),
                vec![session.attributes],
                sized(&hmac),
            ]
            .concat(),
        )
    }
}

fn refusal(code: u32) -> Vec<u8> {
    [&[0x80, 1, 0, 0, 0, 10], code.to_be_bytes().as_slice()].concat()
}

fn with_its_length(mut bytes: Vec<u8>) -> Vec<u8> {
    let len = (bytes.len() as u32).to_be_bytes();
    if let Some(field) = bytes.get_mut(2..6) {
        field.copy_from_slice(&len);
    }
    bytes
}

/// A template with something in its last field, as it is when the object has been made.
fn filled(template: &[u8]) -> Vec<u8> {
    let unique = match template[1] {
        0x01 => sized(&[0xc1; 256]),
        0x23 => ROOT_KEY.public[22..].to_vec(),
        _ => sized(&[14; 32]),
    };
    let empty = if template[1] == 0x23 { 4 } else { 2 };
    [&template[..template.len() - empty], &unique].concat()
}
