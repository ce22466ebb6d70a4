//! What a hostile look at smart cards found: tries of a PIN that were given back, objects that were
//! overwritten, sessions that stood still.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::undocumented_unsafe_blocks, missing_docs)]

mod common;

use common::card::{MANAGEMENT_KEY, PIN, PUK, Reader};
use common::*;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// Runs `body` in a process with a reader of its own and a card in it.
#[track_caller]
fn on_a_card(body: impl FnOnce(&World, Reader)) {
    isolated_on(&[SOFTWARE], |world| {
        let directory = world.path("");
        let reader = Reader::start(&directory);
        set("NODETOKEN_CARD", "pcsc");
        set("PCSCLITE_CSOCK_NAME", Reader::socket(&directory));
        body(world, reader);
    });
}

/// The card as a token.
#[track_caller]
fn card(module: Module) -> Token {
    let removable = |slot: &CK_SLOT_ID| {
        let mut info = CK_SLOT_INFO::default();
        try_call!(module, C_GetSlotInfo(*slot, &mut info)).unwrap();
        info.flags & CKF_REMOVABLE_DEVICE != 0
    };
    let slot = module.slots().unwrap().into_iter().find(removable).unwrap();
    Token { module, slot }
}

/// The PIN of a security officer who may do everything.
fn so_pin() -> String {
    let key = MANAGEMENT_KEY.map(|byte| format!("{byte:02x}")).concat();
    format!("{PUK}:{key}")
}

/// A session with the security officer logged in.
#[track_caller]
fn officer(token: Token) -> Session {
    let session = token.session();
    session.login(CKU_SO, &so_pin()).unwrap();
    session
}

fn on_token(id: &[u8]) -> Template {
    Template::new().set(CKA_TOKEN, true).set(CKA_ID, id)
}

/// Runs `yubico-piv-tool` on the card; its output.
fn yubico(arguments: &[&str]) -> String {
    let key = MANAGEMENT_KEY.map(|byte| format!("{byte:02x}")).concat();
    let output = Command::new("yubico-piv-tool")
        .args(["--reader=", &format!("--key={key}")])
        .args(arguments)
        .output()
        .expect("yubico-piv-tool, from the Debian package of that name");
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// A program that is logged in may not try PINs without end: the card counts each of them.
#[test]
fn a_login_gives_no_tries_back() {
    on_a_card(|world, _reader| {
        let token = card(world.module());
        let session = token.session();
        session.login(CKU_USER, PIN).unwrap();
        for _ in 0..2 {
            session
                .set_pin("000000", "111111")
                .refused(CKR_PIN_INCORRECT);
            // What asks for the login is refused or done, but sets nothing back.
            let _ = session.find(&Template::new().set(CKA_CLASS, CKO_DATA));
        }
        session
            .set_pin("000000", "111111")
            .refused_with(&[CKR_PIN_INCORRECT, CKR_PIN_LOCKED]);
        session
            .set_pin(PIN, "111111")
            .refused_with(&[CKR_PIN_INCORRECT, CKR_PIN_LOCKED]);
        // The login may have been found to be lost.
        let _ = session.logout();
        session.login(CKU_USER, PIN).refused(CKR_PIN_LOCKED);
    });
}

/// A wrong PIN in between costs nothing but itself, where the right one follows.
#[test]
fn the_right_pin_after_a_wrong_one_goes_on() {
    on_a_card(|world, _reader| {
        let token = card(world.module());
        let so = officer(token);
        let id = Template::new().set(CKA_TOKEN, true).set(CKA_ID, &[2]);
        so.ec_with(Curve::P256, &id);
        so.logout().unwrap();
        so.login(CKU_USER, PIN).unwrap();
        let key = so.find_one(&id.set(CKA_CLASS, CKO_PRIVATE_KEY));
        so.sign_init(CKM_ECDSA_SHA256, key).unwrap();
        so.login(CKU_CONTEXT_SPECIFIC, "000000")
            .refused(CKR_PIN_INCORRECT);
        so.login(CKU_CONTEXT_SPECIFIC, PIN).unwrap();
        so.sign_rest(b"data").unwrap();
        so.set_pin("000000", "111111").refused(CKR_PIN_INCORRECT);
        so.set_pin(PIN, "111111").unwrap();
        so.sign_init(CKM_ECDSA_SHA256, key).unwrap();
        so.login(CKU_CONTEXT_SPECIFIC, "111111").unwrap();
        so.sign_rest(b"data").unwrap();
    });
}

/// Keys that are made at once are all there: none is made in the place of another.
#[test]
fn keys_made_at_once_are_all_kept() {
    on_a_card(|world, _reader| {
        let token = card(world.module());
        let so = officer(token);
        let ids: Vec<[u8; 3]> = (0..8).map(|number| [b'i', b'd', number]).collect();
        thread::scope(|scope| {
            for id in &ids {
                scope.spawn(move || token.session().ec_with(Curve::P256, &on_token(id)));
            }
        });
        so.logout().unwrap();
        so.login(CKU_USER, PIN).unwrap();
        for id in &ids {
            let of = |class| so.find_one(&on_token(id).set(CKA_CLASS, class));
            let (public, private) = (of(CKO_PUBLIC_KEY), of(CKO_PRIVATE_KEY));
            let signature = so.sign(CKM_ECDSA_SHA256, private, b"data").unwrap();
            so.verify(CKM_ECDSA_SHA256, public, b"data", &signature)
                .unwrap();
        }
    });
}

/// What another program has written and this module cannot read stays.
#[test]
fn what_is_not_understood_is_not_overwritten() {
    on_a_card(|world, _reader| {
        let file = world.path("object");
        let strange = "7005aabb";
        std::fs::write(&file, strange).unwrap();
        let file = file.to_str().unwrap();
        let place = ["--id=0x5fc10d", "--format=hex"];
        let write = ["--action=write-object", "--input", file];
        yubico(&[&write[..], &place].concat());
        let read = || yubico(&[&["--action=read-object"], &place[..]].concat());
        assert_eq!(read(), strange);
        let token = card(world.module());
        let so = officer(token);
        so.create(&data("a note").with(&on_token(b"")).without(CKA_ID))
            .unwrap();
        so.ec_with(Curve::P256, &on_token(b"key"));
        so.ec_with(Curve::P256, &on_token(&[5]));
        assert_eq!(read(), strange);
    });
}

/// Where everybody may write, that is not by the key of a security officer who has gone.
#[test]
fn the_right_to_write_ends_with_the_login() {
    on_a_card(|world, _reader| {
        world.configure("[card]\nreaders = \"pcsc\"\n[policy]\npublic_write = true\n");
        let token = card(world.module());
        let note = data("a note").set(CKA_TOKEN, true);
        let session = officer(token);
        session.create(&note).unwrap();
        session.logout().unwrap();
        session.create(&note).refused(CKR_USER_NOT_LOGGED_IN);
    });
}

/// Sessions with a card that was taken out do not keep its successor from being initialized; and of
/// what was on it before, nothing is left.
#[test]
fn a_card_is_made_empty() {
    on_a_card(|world, reader| {
        let file = world.path("object");
        std::fs::write(&file, "01046e616d65").unwrap();
        let input = ["--format=hex", "--input", file.to_str().unwrap()];
        // Printed Information, which is read after the PIN only.
        yubico(&[&["--action=write-object", "--id=0x5fc109"], &input[..]].concat());
        let module = world.module();
        let token = card(module);
        let printed = Template::new()
            .set(CKA_CLASS, CKO_DATA)
            .set(CKA_LABEL, "Printed Information");
        let session = token.session();
        session.login(CKU_USER, PIN).unwrap();
        session.find_one(&printed);
        reader.card().pull();
        reader.card().insert();
        module
            .init_token(token.slot, &so_pin(), "another one")
            .unwrap();
        let session = token.session();
        session.login(CKU_USER, PIN).unwrap();
        assert_eq!(session.find(&printed).unwrap(), []);
    });
}

/// Who logs out while the card makes a key waits for it; who asks the state of a session does not.
#[test]
fn a_busy_card_does_not_hold_up_who_asks_for_the_state() {
    on_a_card(|world, reader| {
        let module = world.module();
        let token = card(module);
        let so = officer(token);
        const GENERATE: u8 = 0x47;
        const LONG: Duration = Duration::from_secs(4);
        reader.card().hang_at(GENERATE, LONG);
        thread::scope(|scope| {
            scope.spawn(|| {
                let pair = Template::new().set(CKA_EC_PARAMS, Curve::P256.params);
                let pair = pair.with(&on_token(b"key"));
                let private = on_token(b"key");
                // Its maker has been logged out before it is there.
                let _ = token
                    .session()
                    .generate_key_pair(CKM_EC_KEY_PAIR_GEN, &pair, &private);
            });
            thread::sleep(LONG / 4);
            scope.spawn(|| so.logout().unwrap());
            thread::sleep(LONG / 4);
            let begun = Instant::now();
            assert_eq!(so.state(), CKS_RW_PUBLIC_SESSION);
            assert!(module.slots().unwrap().contains(&token.slot));
            assert!(begun.elapsed() < LONG / 4, "{:?}", begun.elapsed());
        });
    });
}

/// A card that does not answer keeps nobody from the other tokens.
#[test]
fn the_command_leaves_out_a_card_that_does_not_answer() {
    on_a_card(|_world, reader| {
        const GET_DATA: u8 = 0xcb;
        let run = |arguments: &[&str]| {
            let output = Command::new(env!("CARGO_BIN_EXE_nodetoken"))
                .args(arguments)
                .env("SO_PIN", "12345678")
                .env("PIN", "123456")
                .output()
                .unwrap();
            assert!(output.status.success(), "{arguments:?}: {output:?}");
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        let init = [
            "init",
            "--label",
            "node",
            "--so-pin-env",
            "SO_PIN",
            "--pin-env",
            "PIN",
        ];
        run(&init);
        reader.card().fail_at(GET_DATA, 0x6f00, 1000);
        assert!(run(&["list"]).contains("node"));
    });
}
