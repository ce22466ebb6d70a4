//! Virtual PIV cards as the tests of cards use them: a process with a reader of its own, sessions on
//! its card, and other programs at the same card.

use super::card::{self, Reader, SLOTS};
use super::*;
use std::path::Path;
use std::process::{Command, Output};

/// The user's PIN.
pub const USER: &str = card::PIN;
/// The security officer's: all that there is of it.
pub const SO: &str = "12345678:010203040506070801020304050607080102030405060708";
/// The management key alone.
pub const KEY: &str = "010203040506070801020304050607080102030405060708";

/// Instructions, for what is to happen at them.
pub const SELECT: u8 = 0xa4;
pub const VERIFY: u8 = 0x20;
pub const GENERATE: u8 = 0x47;
pub const AUTHENTICATE: u8 = 0x87;
pub const GET_DATA: u8 = 0xcb;
pub const PUT_DATA: u8 = 0xdb;

/// Runs `body` in a process that has a reader of its own, a new card in its first slot.
#[track_caller]
pub fn on_a_card(body: impl FnOnce(&World, Reader)) {
    with_reader(Reader::start, body);
}

/// The same with cards that understand short APDUs only.
#[track_caller]
pub fn on_a_short_card(body: impl FnOnce(&World, Reader)) {
    with_reader(Reader::start_short, body);
}

#[track_caller]
fn with_reader(start: fn(&Path) -> Reader, body: impl FnOnce(&World, Reader)) {
    isolated_on(&[SOFTWARE], |world| {
        let directory = world.path("");
        set("NODETOKEN_CARD", "pcsc");
        set("PCSCLITE_CSOCK_NAME", Reader::socket(&directory));
        body(world, start(&directory));
    });
}

/// Every slot, whether something is in it or not.
pub fn all_slots(module: Module) -> Vec<CK_SLOT_ID> {
    let mut slots = vec![0; 16];
    let mut count = slots.len() as CK_ULONG;
    try_call!(
        module,
        C_GetSlotList(CK_FALSE, slots.as_mut_ptr(), &mut count)
    )
    .unwrap();
    slots.truncate(count as usize);
    slots
}

pub fn slot_info(module: Module, slot: CK_SLOT_ID) -> CK_SLOT_INFO {
    let mut info = CK_SLOT_INFO::default();
    try_call!(module, C_GetSlotInfo(slot, &mut info)).unwrap();
    info
}

/// The slot of one of the [`SLOTS`].
#[track_caller]
pub fn slot(module: Module, number: usize) -> CK_SLOT_ID {
    let named = |slot: &CK_SLOT_ID| {
        let description = slot_info(module, *slot).slotDescription;
        String::from_utf8_lossy(&description).trim_end() == SLOTS[number]
    };
    let found = all_slots(module).into_iter().find(named);
    found.unwrap_or_else(|| panic!("no slot {}", SLOTS[number]))
}

/// The token of the first card, in an initialized module.
#[track_caller]
pub fn token(world: &World) -> Token {
    token_in(world.module(), 0)
}

#[track_caller]
pub fn token_in(module: Module, number: usize) -> Token {
    let slot = slot(module, number);
    Token { module, slot }
}

/// A read-write session with the user logged in.
#[track_caller]
pub fn user(token: Token) -> Session {
    logged_in(token, CKU_USER, USER)
}

/// A read-write session with the security officer logged in.
#[track_caller]
pub fn officer(token: Token) -> Session {
    logged_in(token, CKU_SO, SO)
}

#[track_caller]
fn logged_in(token: Token, who: CK_USER_TYPE, pin: &str) -> Session {
    let session = token.session();
    session.login(who, pin).unwrap();
    session
}

pub fn on_token(id: &[u8]) -> Template {
    Template::new().set(CKA_TOKEN, true).set(CKA_ID, id)
}

/// A certificate, for whatever key, as an object on the token.
pub fn certificate_on_token() -> Template {
    certificate()
        .set(CKA_TOKEN, true)
        .set(CKA_ID, b"certificate")
}

/// Has the card make a key on P-256 with a CKA_ID; nobody is logged in afterwards.
#[track_caller]
pub fn make_key(token: Token, id: &[u8]) {
    let session = officer(token);
    session.ec_with(Curve::P256, &on_token(id));
    session.logout().unwrap();
    session.close().unwrap();
}

/// The pair with a CKA_ID.
#[track_caller]
pub fn pair(session: Session, id: &[u8]) -> Pair {
    let of = |class| session.find_one(&on_token(id).set(CKA_CLASS, class));
    Pair {
        public: of(CKO_PUBLIC_KEY),
        private: of(CKO_PRIVATE_KEY),
    }
}

/// Has the card make a key, and the user log in: the session and the pair.
#[track_caller]
pub fn with_key(token: Token) -> (Session, Pair) {
    make_key(token, b"key");
    let session = user(token);
    (session, pair(session, b"key"))
}

/// A signature that is not refused holds.
pub fn signs(session: Session, pair: Pair) -> Result<(), Rv> {
    let signature = session.sign(CKM_ECDSA_SHA256, pair.private, b"data")?;
    session
        .verify(CKM_ECDSA_SHA256, pair.public, b"data", &signature)
        .unwrap();
    Ok(())
}

/// Another program at the readers of a test, `opensc-tool`, `piv-tool` or `yubico-piv-tool`.
pub fn program(world: &World, name: &str, arguments: &[&str]) -> Output {
    Command::new(name)
        .env("PCSCLITE_CSOCK_NAME", Reader::socket(&world.path("")))
        .current_dir(world.path(""))
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// A program that has to succeed; what it says.
#[track_caller]
pub fn run(world: &World, name: &str, arguments: &[&str]) -> String {
    let output = program(world, name, arguments);
    assert!(output.status.success(), "{name} {arguments:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Another program sends APDUs to the first card; the statuses of the answers.
#[track_caller]
pub fn send(world: &World, apdus: &[&str]) -> Vec<String> {
    let mut arguments = vec!["--reader", SLOTS[0], "--card-driver", "default"];
    apdus.iter().for_each(|apdu| arguments.extend(["-s", apdu]));
    let text = run(world, "opensc-tool", &arguments);
    let statuses = text.split("(SW1=0x").skip(1);
    statuses
        .map(|rest| format!("{}{}", &rest[..2], &rest[10..12]))
        .collect()
}

/// How many tries the user's PIN has left, as the card tells everybody.
#[track_caller]
pub fn tries_left(world: &World) -> String {
    send(world, &["00a4040005a000000308", "0020008000"])
        .pop()
        .unwrap()
}

/// APDUs with this instruction in the log of the first card.
pub fn sent(reader: &Reader, instruction: u8) -> usize {
    let log = reader.card().log();
    let of_it = |(command, _): &&(Vec<u8>, Vec<u8>)| command[1] == instruction;
    log.iter().filter(of_it).count()
}
