//! What is special to smart cards: slots that fill and empty, events, cards that are pulled out in the
//! middle of a call, and other programs at the same card. What PIV is, `card_piv.rs` tests; the shared
//! suite runs over a card besides.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::undocumented_unsafe_blocks, missing_docs)]

mod common;

use common::card::{When, start_pcscd, stop_pcscd};
use common::piv::*;
use common::*;
use std::process::Command;
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Longer than anything here takes, shorter than the patience of a test's process.
const LONG: Duration = Duration::from_secs(20);

// ---- slots

fn present(module: Module, slot: CK_SLOT_ID) -> bool {
    slot_info(module, slot).flags & CKF_TOKEN_PRESENT != 0
}

#[test]
fn readers_are_slots_and_cards_are_tokens() {
    on_a_card(|world, reader| {
        world.process(|| {
            let module = world.module();
            let ids = [0, 1].map(|number| slot(module, number));
            std::fs::write(world.path("ids"), format!("{ids:?}")).unwrap();
        });
        let module = world.module();
        let ids = [0, 1].map(|number| slot(module, number));
        let other = std::fs::read_to_string(world.path("ids")).unwrap();
        assert_eq!(other, format!("{ids:?}"));
        let [first, second] = ids;

        let readers = all_slots(module)
            .into_iter()
            .filter(|slot| slot_info(module, *slot).flags & CKF_REMOVABLE_DEVICE != 0);
        assert_eq!(readers.count(), 2);
        let always = CKF_REMOVABLE_DEVICE | CKF_HW_SLOT;
        assert_eq!(slot_info(module, first).flags, always | CKF_TOKEN_PRESENT);
        assert_eq!(slot_info(module, second).flags, always);
        let listed = module.slots().unwrap();
        assert!(listed.contains(&first) && !listed.contains(&second));

        let empty = Token {
            module,
            slot: second,
        };
        is_refused(empty, CKR_TOKEN_NOT_PRESENT);
        reader.second_card().insert();
        assert!(present(module, second));
        assert!(module.slots().unwrap().contains(&second));
        let [one, other] = ids.map(|slot| module.token_info(slot).unwrap());
        assert_ne!(one.serialNumber, other.serialNumber);
        assert_eq!(one.flags & CKF_TOKEN_INITIALIZED, CKF_TOKEN_INITIALIZED);

        let card = reader.card();
        card.pull();
        card.await_out();
        assert!(!present(module, first) && present(module, second));
        assert!(!module.slots().unwrap().contains(&first));
        is_refused(
            Token {
                module,
                slot: first,
            },
            CKR_TOKEN_NOT_PRESENT,
        );
        card.insert();
        assert_eq!(
            module.token_info(first).unwrap().serialNumber,
            one.serialNumber
        );
    });
}

/// Every call that needs a token is refused for want of it.
#[track_caller]
fn is_refused(token: Token, code: CK_RV) {
    let Token { module, slot } = token;
    module.token_info(slot).refused(code);
    for flags in [CKF_SERIAL_SESSION, CKF_SERIAL_SESSION | CKF_RW_SESSION] {
        Session::open(module, slot, flags).map(drop).refused(code);
    }
    module.mechanisms(slot).refused(code);
    module.mechanism_info(slot, CKM_ECDSA_SHA256).refused(code);
    module.init_token(slot, SO, "a label").refused(code);
}

/// A card without PIV is in its slot, and all that can be said of it.
#[test]
fn a_card_of_another_kind_is_not_recognized() {
    on_a_card(|world, reader| {
        let card = reader.card();
        card.fail_at(SELECT, 0x6a82, usize::MAX);
        let token = token(world);
        assert!(present(token.module, token.slot));
        assert!(token.module.slots().unwrap().contains(&token.slot));
        is_refused(token, CKR_TOKEN_NOT_RECOGNIZED);
        card.behave();
        token.info();
        token.session();
    });
}

/// Readers, pcscd and its library may be missing: the software token does not care.
#[test]
fn where_no_card_can_be_the_rest_works() {
    on_a_card(|world, _reader| {
        world.process(|| {
            set("NODETOKEN_CARD", "off");
            software_alone(world);
        });
        stop_pcscd(&world.path(""));
        world.process(|| software_alone(world));
        // A library that is none is as good as no library.
        let directory = world.path("lib");
        std::fs::create_dir(&directory).unwrap();
        std::fs::write(directory.join("libpcsclite.so.1"), b"no library").unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_nodetoken"))
            .env("LD_LIBRARY_PATH", directory)
            .args(["status", "--json"])
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
    });
}

fn software_alone(world: &World) {
    let module = world.module();
    let slots = all_slots(module);
    assert_eq!(slots.len(), 1);
    assert_eq!(slot_info(module, slots[0]).flags & CKF_REMOVABLE_DEVICE, 0);
    let mut slot = 0;
    try_call!(
        module,
        C_WaitForSlotEvent(CKF_DONT_BLOCK, &mut slot, null_mut())
    )
    .refused(CKR_NO_EVENT);
    module.mechanisms(slots[0]).unwrap();
}

// ---- C_WaitForSlotEvent

fn event(module: Module, flags: CK_FLAGS) -> Result<CK_SLOT_ID, Rv> {
    let mut slot = 0;
    try_call!(module, C_WaitForSlotEvent(flags, &mut slot, null_mut()))?;
    Ok(slot)
}

/// The event that has happened.
fn poll(module: Module) -> Result<CK_SLOT_ID, Rv> {
    event(module, CKF_DONT_BLOCK)
}

/// The slot of the event is told once, and nothing else is.
#[track_caller]
fn told_once(module: Module, slot: CK_SLOT_ID) {
    assert_eq!(poll(module), Ok(slot));
    poll(module).refused(CKR_NO_EVENT);
}

#[test]
fn what_has_happened_is_told_once() {
    on_a_card(|world, reader| {
        let module = world.module();
        let [first, second] = [0, 1].map(|number| slot(module, number));
        // What was there at C_Initialize has not happened since.
        poll(module).refused(CKR_NO_EVENT);
        let (card, other) = (reader.card(), reader.second_card());
        other.insert();
        told_once(module, second);
        card.pull();
        card.await_out();
        told_once(module, first);
        // Nobody has looked in between: it has happened all the same.
        card.insert();
        card.pull();
        card.await_out();
        told_once(module, first);
        card.insert();
        // Others who look do not take it away.
        module.slots().unwrap();
        all_slots(module);
        slot_info(module, first);
        module.token_info(first).unwrap();
        told_once(module, first);
        // Two things in two slots are two events.
        other.pull();
        card.pull();
        other.await_out();
        card.await_out();
        let mut both = [poll(module).unwrap(), poll(module).unwrap()];
        both.sort_unstable();
        let mut expected = [first, second];
        expected.sort_unstable();
        assert_eq!(both, expected);
        poll(module).refused(CKR_NO_EVENT);
    });
}

/// Threads that wait for events, and what comes to them.
fn waiters(module: Module, count: usize) -> mpsc::Receiver<Result<CK_SLOT_ID, Rv>> {
    let (sender, receiver) = mpsc::channel();
    for _ in 0..count {
        let sender = sender.clone();
        std::thread::spawn(move || sender.send(event(module, 0)));
    }
    // They have to be waiting, not about to.
    std::thread::sleep(Duration::from_millis(200));
    receiver
}

#[test]
fn one_who_waits_is_told_of_insertion_removal_and_the_end() {
    on_a_card(|world, reader| {
        let module = world.module();
        let second = slot(module, 1);
        let card = reader.second_card();
        let waiting = waiters(module, 1);
        card.insert();
        assert_eq!(waiting.recv_timeout(LONG).unwrap(), Ok(second));
        let waiting = waiters(module, 1);
        card.pull();
        assert_eq!(waiting.recv_timeout(LONG).unwrap(), Ok(second));
        let waiting = waiters(module, 1);
        let start = Instant::now();
        module.finalize().unwrap();
        let ended = waiting.recv_timeout(LONG).unwrap();
        assert_eq!(ended, Err(Rv(CKR_CRYPTOKI_NOT_INITIALIZED)));
        assert!(start.elapsed() < Duration::from_secs(2));
        // Another run has no memory of it.
        module.initialize().unwrap();
        card.await_out();
        poll(module).refused_with(&[CKR_NO_EVENT]);
    });
}

/// One event is one thread's, whoever waits beside it.
#[test]
fn of_several_who_wait_one_is_told() {
    on_a_card(|world, reader| {
        let module = world.module();
        let (first, second) = (slot(module, 0), slot(module, 1));
        let waiting = waiters(module, 4);
        reader.second_card().insert();
        assert_eq!(waiting.recv_timeout(LONG).unwrap(), Ok(second));
        let quiet = waiting.recv_timeout(Duration::from_millis(1500));
        assert_eq!(quiet, Err(mpsc::RecvTimeoutError::Timeout));
        reader.card().pull();
        assert_eq!(waiting.recv_timeout(LONG).unwrap(), Ok(first));
        // Who polls beside them may be the one who is told.
        let start = Instant::now();
        module.finalize().unwrap();
        for _ in 0..2 {
            let ended = waiting.recv_timeout(LONG).unwrap();
            assert_eq!(ended, Err(Rv(CKR_CRYPTOKI_NOT_INITIALIZED)));
        }
        assert!(start.elapsed() < Duration::from_secs(2));
    });
}

#[test]
fn a_pcscd_that_comes_later_brings_its_slots() {
    on_a_card(|world, _reader| {
        stop_pcscd(&world.path(""));
        let module = world.module();
        assert_eq!(all_slots(module).len(), 1);
        poll(module).refused(CKR_NO_EVENT);
        let waiting = waiters(module, 1);
        start_pcscd(&world.path(""));
        let told = waiting.recv_timeout(LONG).unwrap().unwrap();
        let ids = [0, 1].map(|number| slot(module, number));
        assert!(ids.contains(&told));
        module.token_info(ids[0]).unwrap();
        user(token_in(module, 0));
    });
}

/// A restart of pcscd is not the end of a card that stays: its sessions go on, logged in.
#[test]
fn sessions_outlive_a_restart_of_pcscd() {
    on_a_card(|world, reader| {
        let token = token(world);
        make_key(token, b"key");
        let session = user(token);
        let key = pair(session, b"key");
        signs(session, key).unwrap();
        let directory = world.path("");
        stop_pcscd(&directory);
        start_pcscd(&directory);
        signs(session, key).unwrap();
        assert_eq!(session.state(), CKS_RW_USER_FUNCTIONS);
        poll(token.module).refused(CKR_NO_EVENT);
        // A card that was changed meanwhile is another one.
        stop_pcscd(&directory);
        reader.card().pull();
        start_pcscd(&directory);
        session.info().refused(CKR_SESSION_HANDLE_INVALID);
        assert_eq!(poll(token.module), Ok(token.slot));
    });
}
