//! What a card is asked, and not asked twice: on a real one each APDU takes its time.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(missing_docs)]

mod common;

use common::card::{self, Card, Reader};
use common::*;

/// The security officer's PIN: PUK and management key.
const SO: &str = "12345678:010203040506070801020304050607080102030405060708";

const SELECT: u8 = 0xa4;
const VERIFY: u8 = 0x20;
const GET_DATA: u8 = 0xcb;
const AUTHENTICATE: u8 = 0x87;

/// The instructions of what `work` lets the card be asked.
fn asked(card: &Card, work: impl FnOnce()) -> Vec<u8> {
    let before = card.log().len();
    work();
    let log = card.log();
    log[before..].iter().map(|(apdu, _)| apdu[1]).collect()
}

/// Runs `body` with a session on a new card.
#[track_caller]
fn on_a_card(body: impl FnOnce(Session, &Card)) {
    isolated_on(&[SOFTWARE], |world| {
        let directory = world.path("");
        set("NODETOKEN_CARD", "pcsc");
        set("PCSCLITE_CSOCK_NAME", Reader::socket(&directory));
        let reader = Reader::start(&directory);
        let module = world.module();
        let is_card =
            |slot: &CK_SLOT_ID| module.token_info(*slot).unwrap().label.starts_with(b"PIV");
        let slot = module.slots().unwrap().into_iter().find(is_card).unwrap();
        let flags = CKF_SERIAL_SESSION | CKF_RW_SESSION;
        body(Session::open(module, slot, flags).unwrap(), &reader.card());
    });
}

fn of_class(class: CK_OBJECT_CLASS) -> Template {
    Template::new().set(CKA_CLASS, class)
}

/// A certificate, a login, a key: the card is read once. Who has logged out sees what is new.
#[test]
fn a_login_reads_nothing_again() {
    on_a_card(|session, card| {
        let find = |class| {
            session.find(&of_class(class)).unwrap();
        };
        let read = asked(card, || find(CKO_CERTIFICATE));
        assert!(read.contains(&GET_DATA), "{read:x?}");
        let first = asked(card, || {
            session.login(CKU_USER, card::PIN).unwrap();
            find(CKO_PRIVATE_KEY);
        });
        assert_eq!(first, [SELECT, VERIFY]);
        session.logout().unwrap();
        let again = asked(card, || {
            session.login(CKU_USER, card::PIN).unwrap();
            find(CKO_PRIVATE_KEY);
        });
        assert!(again.starts_with(&[SELECT, VERIFY, GET_DATA]), "{again:x?}");
    });
}

/// A signature is one APDU, with a key that asks for the PIN each time one more with the PIN, and the
/// selection before it.
#[test]
fn a_signature_asks_for_nothing_else() {
    on_a_card(|session, card| {
        let of = |place: u8| Template::new().set(CKA_ID, &[place]);
        session.login(CKU_SO, SO).unwrap();
        for place in [1, 2] {
            session.ec_with(Curve::P256, &of(place).set(CKA_TOKEN, true));
        }
        session.logout().unwrap();
        session.login(CKU_USER, card::PIN).unwrap();
        let [usual, confirmed] =
            [1, 2].map(|place| session.find_one(&of(place).set(CKA_CLASS, CKO_PRIVATE_KEY)));
        let alone = asked(card, || {
            session.sign(CKM_ECDSA, usual, &[7; 32]).unwrap();
        });
        assert_eq!(alone, [AUTHENTICATE]);
        let with_pin = asked(card, || {
            session.sign_init(CKM_ECDSA, confirmed).unwrap();
            session.login(CKU_CONTEXT_SPECIFIC, card::PIN).unwrap();
            session.sign_rest(&[7; 32]).unwrap();
        });
        assert_eq!(with_pin, [SELECT, VERIFY, AUTHENTICATE]);
    });
}
