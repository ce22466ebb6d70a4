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

use common::card::{Reader, When, start_pcscd, stop_pcscd};
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
        // It is not asked again, however often clients ask.
        let asked = card.apdus();
        is_refused(token, CKR_TOKEN_NOT_RECOGNIZED);
        assert_eq!(card.apdus(), asked);
        // The next one in the reader is.
        card.behave();
        card.pull();
        card.insert();
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
        let (session, key) = with_key(token);
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

// ---- cards that are pulled out

/// The call was refused because the card went, and with it the session.
#[track_caller]
fn ended_by_removal<T: std::fmt::Debug>(session: Session, result: Result<T, Rv>) {
    result.refused(CKR_DEVICE_REMOVED);
    is_over(session);
}

#[track_caller]
fn is_over(session: Session) {
    session.info().refused(CKR_SESSION_HANDLE_INVALID);
    session
        .find(&Template::new())
        .refused(CKR_SESSION_HANDLE_INVALID);
    session.close().refused(CKR_SESSION_HANDLE_INVALID);
}

const BOTH: [When; 2] = [When::Before, When::After];

#[test]
fn a_card_pulled_out_in_a_signature_ends_its_sessions() {
    on_a_card(|world, reader| {
        let token = token(world);
        make_key(token, b"key");
        let card = reader.card();
        let mut handles = Vec::new();
        for when in BOTH {
            let (session, idle) = (user(token), token.read_only_session());
            let key = pair(session, b"key");
            // No handle comes again for what may be another card's object.
            assert!(!handles.contains(&key.private) && !handles.contains(&key.public));
            for old in handles.drain(..) {
                session
                    .get(old, CKA_CLASS)
                    .refused(CKR_OBJECT_HANDLE_INVALID);
            }
            card.pull_at(AUTHENTICATE, when);
            ended_by_removal(session, signs(session, key));
            is_over(idle);
            is_refused(token, CKR_TOKEN_NOT_PRESENT);
            handles.extend([key.private, key.public]);

            card.insert();
            let session = token.session();
            assert_eq!(session.state(), CKS_RW_PUBLIC_SESSION);
            let private = on_token(b"key").set(CKA_CLASS, CKO_PRIVATE_KEY);
            assert_eq!(session.find(&private), Ok(vec![]));
            session.login(CKU_USER, USER).unwrap();
            signs(session, pair(session, b"key")).unwrap();
            session.close().unwrap();
        }
    });
}

#[test]
fn a_card_pulled_out_in_a_login_or_a_search_ends_the_session() {
    on_a_card(|world, reader| {
        let token = token(world);
        make_key(token, b"key");
        let card = reader.card();
        for when in BOTH {
            let session = token.session();
            card.pull_at(VERIFY, when);
            ended_by_removal(session, session.login(CKU_USER, USER));
            card.insert();
            for nth in [1, 3] {
                let session = user(token);
                card.pull_at_nth(GET_DATA, when, nth);
                ended_by_removal(session, session.find(&Template::new()));
                card.insert();
            }
            let session = user(token);
            signs(session, pair(session, b"key")).unwrap();
            session.close().unwrap();
        }
    });
}

/// Whatever is cut off, the objects afterwards are those before the call or those after it.
#[test]
fn a_card_pulled_out_in_a_change_has_the_old_objects_or_the_new() {
    on_a_card(|world, reader| {
        let token = token(world);
        let card = reader.card();
        let objects = |session: Session| {
            let found = session.find(&Template::new().set(CKA_TOKEN, true)).unwrap();
            let mut classes: Vec<_> = found
                .iter()
                .map(|object| session.get_ulong(*object, CKA_CLASS))
                .collect();
            classes.sort_unstable();
            classes.retain(|class| *class != CKO_DATA);
            classes
        };
        let [certificate, public, private] = [CKO_CERTIFICATE, CKO_PUBLIC_KEY, CKO_PRIVATE_KEY];
        let ec = Template::new().set(CKA_EC_PARAMS, Curve::P256.params);
        // The key is made and its place reserved before its objects are written: they are there or not.
        for (instruction, when, nth, after) in [
            (GENERATE, When::Before, 1, vec![]),
            (GENERATE, When::After, 1, vec![]),
            (PUT_DATA, When::Before, 1, vec![]),
            (PUT_DATA, When::After, 1, vec![]),
            (PUT_DATA, When::Before, 2, vec![]),
            (PUT_DATA, When::After, 2, vec![public, private]),
        ] {
            let session = officer(token);
            card.pull_at_nth(instruction, when, nth);
            let key = on_token(b"key");
            let made = session.generate_key_pair(CKM_EC_KEY_PAIR_GEN, &ec.clone().with(&key), &key);
            ended_by_removal(session, made);
            card.insert();
            let session = user(token);
            assert_eq!(objects(session), after, "{instruction:x} {when:?}");
            session.close().unwrap();
        }
        let session = user(token);
        signs(session, pair(session, b"key")).unwrap();
        session.close().unwrap();
        for (when, after) in [
            (When::Before, vec![public, private]),
            (When::After, vec![certificate, public, private]),
        ] {
            let session = officer(token);
            card.pull_at(PUT_DATA, when);
            ended_by_removal(session, session.create(&certificate_on_token()));
            card.insert();
            let session = user(token);
            assert_eq!(objects(session), after, "certificate {when:?}");
            session.close().unwrap();
        }
        for (when, after) in [
            (When::Before, vec![certificate, public, private]),
            (When::After, vec![public, private]),
        ] {
            let session = officer(token);
            let object = session.find_one(&certificate_on_token());
            card.pull_at(PUT_DATA, when);
            ended_by_removal(session, session.destroy(object));
            card.insert();
            let session = user(token);
            assert_eq!(objects(session), after, "destruction {when:?}");
            signs(session, pair(session, b"key")).unwrap();
            session.close().unwrap();
        }
    });
}

#[test]
fn a_session_whose_card_was_pulled_out_idle_is_over() {
    on_a_card(|world, reader| {
        let token = token(world);
        make_key(token, b"key");
        let card = reader.card();
        // With a moment for pcscd to notice and without, and put back before anybody looks.
        for back in [false, true] {
            let (session, other) = (user(token), token.session());
            card.pull();
            card.await_out();
            if back {
                card.insert();
            }
            is_over(session);
            is_over(other);
            if !back {
                card.insert();
            }
            let session = token.session();
            assert_eq!(session.state(), CKS_RW_PUBLIC_SESSION);
            session.login(CKU_USER, USER).unwrap();
            signs(session, pair(session, b"key")).unwrap();
            session.close().unwrap();
        }
    });
}

#[test]
fn two_cards_are_two() {
    on_a_card(|world, reader| {
        reader.second_card().insert();
        let module = world.module();
        let [one, other] = [0, 1].map(|number| token_in(module, number));
        let [first, second] = [one, other].map(with_key);
        let point = |(session, key): (Session, Pair)| session.get(key.public, CKA_EC_POINT);
        assert_ne!(point(first).unwrap(), point(second).unwrap());
        for (at, key) in [(first, second), (second, first)] {
            at.0.get(key.1.public, CKA_CLASS)
                .refused(CKR_OBJECT_HANDLE_INVALID);
            at.0.sign(CKM_ECDSA_SHA256, key.1.private, b"data")
                .refused(CKR_KEY_HANDLE_INVALID);
            signs(at.0, at.1).unwrap();
        }
        reader.card().pull_at(AUTHENTICATE, When::Before);
        ended_by_removal(first.0, signs(first.0, first.1));
        signs(second.0, second.1).unwrap();
        assert_eq!(second.0.state(), CKS_RW_USER_FUNCTIONS);
    });
}

/// A card of the same kind in the place of the one that was there, while nobody could see it: it is
/// not taken for that, and does not get its PIN.
#[test]
fn another_card_in_the_same_place_is_another() {
    on_a_card(|world, mut reader| {
        let token = token(world);
        let (session, key) = with_key(token);
        signs(session, key).unwrap();
        reader.stop();
        let card = |number: u8| world.path(format!("reader/card-{number}"));
        std::fs::rename(card(1), world.path("aside")).unwrap();
        std::fs::rename(card(2), card(1)).unwrap();
        std::fs::rename(world.path("aside"), card(2)).unwrap();
        let reader = Reader::start(&world.path(""));
        ended_by_removal(session, signs(session, key));
        assert_eq!(sent(&reader, VERIFY), 0);
        let session = token.session();
        assert_eq!(session.find(&on_token(b"key")), Ok(vec![]));
        session.login(CKU_USER, USER).unwrap();
    });
}

// ---- polling, and what a signature costs

#[test]
fn polling_does_not_disturb_the_card() {
    on_a_card(|world, reader| {
        let token = token(world);
        make_key(token, b"key");
        let card = reader.card();
        let session = token.session();
        let polled = || {
            token.info();
            card.reset_apdus();
            for _ in 0..1000 {
                session.info().unwrap();
                slot_info(token.module, token.slot);
                token.module.slots().unwrap();
            }
            assert_eq!(card.apdus(), 0);
            for _ in 0..10 {
                token.info();
            }
            card.apdus()
        };
        // How many tries the PIN has is asked of the card; who is logged in has a right one.
        assert_eq!(polled(), 10);
        session.login(CKU_USER, USER).unwrap();
        assert_eq!(polled(), 0);
        let key = pair(session, b"key");
        card.reset_apdus();
        for _ in 0..10 {
            session
                .sign(CKM_ECDSA_SHA256, key.private, b"data")
                .unwrap();
        }
        assert_eq!(card.apdus(), 10);
    });
}

#[test]
fn a_signature_is_one_command() {
    on_a_card(|world, reader| assert_eq!(rsa_signature(world, &reader), 1));
}

/// 266 bytes there are two commands, 264 bytes back are two answers.
#[test]
fn a_signature_of_a_short_card_is_three() {
    on_a_short_card(|world, reader| assert_eq!(rsa_signature(world, &reader), 3));
}

/// How many APDUs a signature with RSA 2048 costs.
fn rsa_signature(world: &World, reader: &Reader) -> usize {
    let token = token(world);
    let session = officer(token);
    session.pair(
        CKM_RSA_PKCS_KEY_PAIR_GEN,
        &rsa_public(2048),
        &on_token(b"key"),
    );
    session.close().unwrap();
    let session = user(token);
    let key = pair(session, b"key");
    let card = reader.card();
    let mut costs = [0; 3];
    for cost in &mut costs {
        card.reset_apdus();
        let signature = session
            .sign(CKM_SHA256_RSA_PKCS, key.private, b"data")
            .unwrap();
        *cost = card.apdus();
        session
            .verify(CKM_SHA256_RSA_PKCS, key.public, b"data", &signature)
            .unwrap();
    }
    assert_eq!(costs, [costs[0]; 3]);
    costs[0]
}

// ---- others at the card

const LOGOUT: &str = "0020ff80";
const SELECTION: &str = "00a4040005a000000308";

#[test]
fn what_others_do_between_two_signatures_costs_no_login() {
    on_a_card(|world, reader| {
        let token = token(world);
        let (session, key) = with_key(token);
        signs(session, key).unwrap();
        let card = reader.card();
        for others in [
            // They select, log out, ask, log in with a wrong PIN, select nothing that there is.
            &[SELECTION][..],
            &[LOGOUT],
            &[SELECTION, LOGOUT],
            &["00a4040005a000000397"],
            &[SELECTION, "0020008008393939393939ffff", LOGOUT],
        ] {
            send(world, others);
            signs(session, key).unwrap();
            assert_eq!(session.state(), CKS_RW_USER_FUNCTIONS);
        }
        run(world, "opensc-tool", &["--reset"]);
        card.reset_apdus();
        signs(session, key).unwrap();
        // Selection, who are you, PIN, signature.
        assert!(card.apdus() <= 5, "{}", card.apdus());
        run(world, "opensc-tool", &["--reset"]);
        // A search, a change of the PIN and a login are as robust.
        session.set_pin(USER, "111111").unwrap();
        run(world, "opensc-tool", &["--reset"]);
        signs(session, key).unwrap();
        session.logout().unwrap();
        run(world, "opensc-tool", &["--reset"]);
        session.login(CKU_USER, "111111").unwrap();
        send(world, &[SELECTION, LOGOUT]);
        assert_eq!(tries_left(world), "63C3");
    });
}

#[test]
fn a_pin_that_others_have_changed_costs_one_try() {
    on_a_card(|world, _reader| {
        let token = token(world);
        let (session, key) = with_key(token);
        signs(session, key).unwrap();
        let change = [
            "-r",
            "Virtual",
            "-a",
            "change-pin",
            "-P",
            USER,
            "-N",
            "654321",
        ];
        run(world, "yubico-piv-tool", &change);
        run(world, "opensc-tool", &["--reset"]);
        signs(session, key).refused(CKR_USER_NOT_LOGGED_IN);
        assert_eq!(session.state(), CKS_RW_PUBLIC_SESSION);
        for _ in 0..5 {
            signs(session, key).refused(CKR_KEY_HANDLE_INVALID);
        }
        assert_eq!(tries_left(world), "63C2");
        session.logout().refused(CKR_USER_NOT_LOGGED_IN);
        // The user logs in again, and goes on.
        session.login(CKU_USER, "654321").unwrap();
        signs(session, pair(session, b"key")).unwrap();
        session.logout().unwrap();
        assert_eq!(tries_left(world), "63C3");
    });
}

#[test]
fn processes_and_threads_sign_at_once() {
    on_a_card(|world, _reader| {
        world.process(|| make_key(token(world), b"key"));
        let sign = || {
            let session = user(token(world));
            let key = pair(session, b"key");
            let sign = |_| {
                std::thread::spawn(move || {
                    let session = Token {
                        module: session.module,
                        slot: slot(session.module, 0),
                    }
                    .session();
                    for _ in 0..10 {
                        signs(session, key).unwrap();
                    }
                })
            };
            let threads: Vec<_> = (0..4).map(sign).collect();
            threads
                .into_iter()
                .for_each(|thread| thread.join().unwrap());
        };
        for process in [world.start(sign), world.start(sign)] {
            process.succeeds();
        }
        // Nobody has spent a try of the PIN.
        send(world, &[SELECTION, LOGOUT]);
        assert_eq!(tries_left(world), "63C3");
    });
}

#[test]
fn a_forked_child_signs_beside_its_parent() {
    on_a_card(|world, _reader| {
        let token = token(world);
        let (session, key) = with_key(token);
        signs(session, key).unwrap();
        world.process(|| {
            session.info().refused(CKR_CRYPTOKI_NOT_INITIALIZED);
            token.module.initialize().unwrap();
            let session = user(token_in(token.module, 0));
            signs(session, pair(session, b"key")).unwrap();
            token.module.finalize().unwrap();
        });
        signs(session, key).unwrap();
        world.process(|| {
            // It never looks at the module, and its end is not its parent's.
        });
        signs(session, key).unwrap();
    });
}

/// However a login ends here, it ends in the card: the next program has to know the PIN.
#[test]
fn the_end_of_a_login_is_one_in_the_card() {
    on_a_card(|world, _reader| {
        let token = token(world);
        let session = user(token);
        assert_eq!(tries_left(world), "9000");
        session.logout().unwrap();
        assert_eq!(tries_left(world), "63C3");
        session.login(CKU_USER, USER).unwrap();
        session.close().unwrap();
        assert_eq!(tries_left(world), "63C3");
        user(token);
        token.module.finalize().unwrap();
        assert_eq!(tries_left(world), "63C3");
    });
}
