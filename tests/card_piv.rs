//! What is special to PIV (NIST SP 800-73-4): its PIN, PUK and management key, its places for keys and
//! certificates, what other programs have put there, and a card that refuses.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::undocumented_unsafe_blocks, missing_docs)]

mod common;

use common::card::{PUK, Reader};
use common::piv::*;
use common::*;
use std::process::Command;
use std::time::{Duration, Instant};

const WRONG: &str = "999999";

fn flags(token: Token) -> CK_FLAGS {
    let pin = CKF_USER_PIN_COUNT_LOW | CKF_USER_PIN_FINAL_TRY | CKF_USER_PIN_LOCKED;
    token.info().flags & pin
}

// ---- PINs

/// What is left of the tries can be asked for as often as one likes.
#[test]
fn a_pin_is_locked_step_by_step_and_unblocked_by_the_puk() {
    on_a_card(|world, _reader| {
        let token = token(world);
        let asked = |expected| (0..20).for_each(|_| assert_eq!(flags(token), expected));
        let session = token.session();
        asked(0);
        session.login(CKU_USER, WRONG).refused(CKR_PIN_INCORRECT);
        asked(CKF_USER_PIN_COUNT_LOW);
        session.login(CKU_USER, WRONG).refused(CKR_PIN_INCORRECT);
        asked(CKF_USER_PIN_COUNT_LOW | CKF_USER_PIN_FINAL_TRY);
        session.login(CKU_USER, WRONG).refused(CKR_PIN_LOCKED);
        asked(CKF_USER_PIN_LOCKED);
        session.login(CKU_USER, USER).refused(CKR_PIN_LOCKED);
        session.login(CKU_SO, SO).unwrap();
        session.init_pin("222222").unwrap();
        session.logout().unwrap();
        asked(0);
        session.login(CKU_USER, "222222").unwrap();
        session.logout().unwrap();
        session.login(CKU_USER, WRONG).refused(CKR_PIN_INCORRECT);
        session.login(CKU_USER, "222222").unwrap();
        session.logout().unwrap();
        asked(0);
    });
}

/// What cannot be right by its length or its form costs nothing.
#[test]
fn what_cannot_be_a_pin_is_not_sent() {
    on_a_card(|world, reader| {
        let token = token(world);
        let session = token.session();
        token.info();
        let card = reader.card();
        card.reset_apdus();
        for pin in ["", "1", "12345", "123456789", KEY] {
            session.login(CKU_USER, pin).refused(CKR_PIN_INCORRECT);
            session.set_pin(pin, "654321").refused(CKR_PIN_INCORRECT);
        }
        let bad = [
            "",
            "12345",
            "123456789",
            "12345678:",
            ":010203040506070801020304050607080102030405060708",
            "12345678:0102",
            "12345678:0x0203040506070801020304050607080102030405060708",
        ];
        for pin in bad {
            session.login(CKU_SO, pin).refused(CKR_PIN_INCORRECT);
        }
        for pin in ["", "12345", "123456789"] {
            session.set_pin(USER, pin).refused(CKR_PIN_LEN_RANGE);
        }
        assert_eq!(sent(&reader, VERIFY), 1);
        assert_eq!(sent(&reader, 0x24), 0);
        session.login(CKU_SO, SO).unwrap();
        for pin in ["", "12345", "123456789"] {
            session.init_pin(pin).refused(CKR_PIN_LEN_RANGE);
        }
        for pin in bad {
            session.set_pin(pin, SO).refused(CKR_PIN_INCORRECT);
        }
        assert_eq!(sent(&reader, 0x2c), 0);
        session.set_pin(SO, PUK).refused(CKR_PIN_INVALID);
        session.set_pin(SO, KEY).refused(CKR_PIN_INVALID);
    });
}

#[test]
fn the_user_changes_the_pin() {
    on_a_card(|world, _reader| {
        let token = token(world);
        make_key(token, b"key");
        let session = token.session();
        session.set_pin(WRONG, "111111").refused(CKR_PIN_INCORRECT);
        session.set_pin(USER, "111111").unwrap();
        assert_eq!(session.state(), CKS_RW_PUBLIC_SESSION);
        session.login(CKU_USER, USER).refused(CKR_PIN_INCORRECT);
        session.login(CKU_USER, "111111").unwrap();
        session.set_pin("111111", "22222222").unwrap();
        // The login goes on with the new one, even after others were there.
        run(world, "opensc-tool", &["--reset"]);
        signs(session, pair(session, b"key")).unwrap();
        session.logout().unwrap();
        session.login(CKU_USER, "22222222").unwrap();
    });
}

#[test]
fn the_security_officer_changes_puk_and_key() {
    on_a_card(|world, _reader| {
        let token = token(world);
        let session = token.session();
        let is = |pin: &str| {
            session.login(CKU_SO, pin).unwrap();
            session.logout().unwrap();
        };
        let change = |old: &str, new: &str| {
            session.login(CKU_SO, old).unwrap();
            session.set_pin(old, new).unwrap();
            // The login goes on with it.
            run(world, "opensc-tool", &["--reset"]);
            if new.len() > 8 {
                session.create(&note("a note")).unwrap();
            }
            session.logout().unwrap();
            session.login(CKU_SO, old).refused(CKR_PIN_INCORRECT);
            is(new);
        };
        let key = "0807060504030201080706050403020108070605040302f1";
        // Each half alone, then both.
        change(PUK, "87654321");
        change(KEY, key);
        change(&format!("87654321:{key}"), SO);
        is(PUK);
        is(KEY);
        // AES-256, and by what the card has back to AES-256.
        let aes = "00112233445566778899aabbccddeeff0123456789ABCDEFfedcba9876543210";
        change(KEY, aes);
        change(aes, &aes.replace('0', "1"));
        change(
            &format!("{PUK}:{}", aes.replace('0', "1")),
            &format!("55555555:{aes}"),
        );
        let officer = token.session();
        officer.login(CKU_SO, aes).unwrap();
        officer.ec_with(Curve::P256, &on_token(b"key"));
    });
}

fn note(label: &str) -> Template {
    data(label).set(CKA_TOKEN, true).set(CKA_VALUE, b"value")
}

#[test]
fn half_a_security_officer_does_half() {
    on_a_card(|world, _reader| {
        let token = token(world);
        let session = token.session();
        let ec = Template::new().set(CKA_EC_PARAMS, Curve::P256.params);
        let generate = || {
            let key = on_token(b"key");
            session.generate_key_pair(CKM_EC_KEY_PAIR_GEN, &ec.clone().with(&key), &key)
        };
        session.login(CKU_SO, PUK).unwrap();
        generate().refused(CKR_USER_NOT_LOGGED_IN);
        session.init_pin("333333").unwrap();
        session.logout().unwrap();
        session.login(CKU_SO, KEY).unwrap();
        session.init_pin("444444").refused(CKR_FUNCTION_REJECTED);
        generate().unwrap();
        session.logout().unwrap();
        session.login(CKU_USER, "333333").unwrap();
        // The user writes nothing without the key.
        generate().refused(CKR_USER_NOT_LOGGED_IN);
        let key = pair(session, b"key");
        session.destroy(key.public).refused(CKR_USER_NOT_LOGGED_IN);
        signs(session, key).unwrap();
        session.logout().unwrap();
    });
}

#[test]
fn a_wrong_security_officer_is_none() {
    on_a_card(|world, _reader| {
        let session = token(world).session();
        let other_key = KEY.replace('1', "2");
        for wrong in [
            other_key.clone(),
            format!("{PUK}:{other_key}"),
            format!("87654321:{KEY}"),
            // A right one sets the count of the PUK back: there are three.
            SO.into(),
            "87654321".into(),
            // A key of another algorithm.
            "00112233445566778899aabbccddeeff".into(),
            "00112233445566778899aabbccddeeff".repeat(2),
        ] {
            match session.login(CKU_SO, &wrong) {
                Ok(()) if wrong == SO => session.logout().unwrap(),
                refused => refused.refused(CKR_PIN_INCORRECT),
            }
            assert_eq!(session.state(), CKS_RW_PUBLIC_SESSION);
        }
    });
}

/// The key in a file is the right to write.
#[test]
fn the_user_writes_with_the_key_that_a_file_holds() {
    on_a_card(|world, _reader| {
        let file = world.path("key");
        std::fs::write(&file, format!("{KEY}\n")).unwrap();
        world.configure(&format!(
            "[card]\nreaders = \"pcsc\"\nmanagement_key_file = {file:?}\n"
        ));
        let session = user(token(world));
        session.ec_with(Curve::P256, &on_token(b"key"));
        let key = pair(session, b"key");
        signs(session, key).unwrap();
        run(world, "opensc-tool", &["--reset"]);
        session
            .set(key.private, &Template::new().set(CKA_LABEL, "new"))
            .unwrap();
        run(world, "opensc-tool", &["--reset"]);
        for bad in ["0102", &KEY.replace('1', "x"), ""] {
            std::fs::write(&file, bad).unwrap();
            session.create(&note("a note")).refused(CKR_FUNCTION_FAILED);
        }
        std::fs::write(&file, KEY.replace('1', "2")).unwrap();
        session.create(&note("a note")).unwrap_err();
        std::fs::remove_file(&file).unwrap();
        session.create(&note("a note")).refused(CKR_FUNCTION_FAILED);
        assert_eq!(session.state(), CKS_RW_USER_FUNCTIONS);
        signs(session, key).unwrap();
    });
}

// ---- keys and certificates

/// The places of a card as yubico-piv-tool calls them, with the CKA_ID that OpenSC gives each.
const PLACES: [(&str, u8, &str); 6] = [
    ("9a", 1, "PIV Authentication"),
    ("9c", 2, "Digital Signature"),
    ("9d", 3, "Key Management"),
    ("9e", 4, "Card Authentication"),
    ("82", 5, "Retired Key 1"),
    ("95", 24, "Retired Key 20"),
];

fn yubico(world: &World, arguments: &[&str]) {
    run(
        world,
        "yubico-piv-tool",
        &[&["-r", "Virtual"], arguments].concat(),
    );
}

fn openssl(world: &World, arguments: &[&str]) {
    run(world, "openssl", arguments);
}

/// Another program makes a key in a place; an authority gives it a certificate, in `PLACE.der`.
fn foreign_key(world: &World, place: &str) {
    let file = |ending: &str| format!("{place}.{ending}");
    let generate = ["-a", "generate", "-A", "ECCP256", "-s", place, "-o"];
    yubico(world, &[&generate[..], &[&file("pub")]].concat());
    if !world.path("ca.pem").exists() {
        let curve = "ec_paramgen_curve:P-256";
        let new = ["req", "-x509", "-newkey", "ec", "-pkeyopt", curve, "-nodes"];
        let names = ["-subj", "/CN=ca", "-keyout", "ca.key", "-out", "ca.pem"];
        openssl(world, &[&new[..], &names].concat());
    }
    let (key, certificate) = (file("pub"), file("der"));
    let subject = format!("/CN={place}");
    let signed = ["x509", "-new", "-CA", "ca.pem", "-CAkey", "ca.key"];
    let what = ["-force_pubkey", &key, "-subj", &subject];
    let out = ["-outform", "DER", "-out", &certificate];
    openssl(world, &[&signed[..], &what, &out].concat());
}

fn foreign_certificate(world: &World, place: &str, format: &str, file: &str) {
    let import = ["-a", "import-certificate", "-s", place, "-K", format, "-i"];
    yubico(world, &[&import[..], &[file]].concat());
}

#[test]
fn what_other_programs_wrote_is_three_objects_with_their_ids() {
    on_a_card(|world, _reader| {
        for (place, ..) in PLACES {
            foreign_key(world, place);
            foreign_certificate(world, place, "DER", &format!("{place}.der"));
        }
        let token = token(world);
        let session = user(token);
        for (place, id, label) in PLACES {
            let all = session.find(&on_token(&[id])).unwrap();
            assert_eq!(all.len(), 3, "{place}");
            let certificate = session.find_one(&on_token(&[id]).set(CKA_CLASS, CKO_CERTIFICATE));
            let der = std::fs::read(world.path(format!("{place}.der"))).unwrap();
            assert_eq!(session.get(certificate, CKA_VALUE), Ok(der));
            let pair = pair(session, &[id]);
            for object in [certificate, pair.public, pair.private] {
                assert_eq!(session.get(object, CKA_LABEL), Ok(label.into()));
                let subject = session.get(object, CKA_SUBJECT).unwrap();
                assert!(subject.ends_with(place.as_bytes()), "{place}");
            }
            let asks = place == "9c";
            assert_eq!(
                session.get_bool(pair.private, CKA_ALWAYS_AUTHENTICATE),
                asks
            );
            assert_eq!(session.get_bool(pair.private, CKA_PRIVATE), place != "9e");
            if asks {
                signs(session, pair).refused(CKR_USER_NOT_LOGGED_IN);
            } else {
                signs(session, pair).unwrap();
            }
        }
        // 9E alone is there without a login, and is used without one.
        session.logout().unwrap();
        let private = Template::new().set(CKA_CLASS, CKO_PRIVATE_KEY);
        assert_eq!(session.find(&private).unwrap().len(), 1);
        send(world, &["00a4040005a000000308", "0020ff80"]);
        signs(session, pair(session, &[4])).unwrap();
        assert_eq!(tries_left(world), "63C3");
    });
}

#[test]
fn a_compressed_certificate_is_read() {
    on_a_card(|world, _reader| {
        foreign_key(world, "9a");
        let der = std::fs::read(world.path("9a.der")).unwrap();
        let gzip = |name: &str| {
            let file = world.path(name);
            let status = Command::new("gzip")
                .args(["-9", "-n", "-k"])
                .arg(&file)
                .status()
                .unwrap();
            assert!(status.success());
        };
        gzip("9a.der");
        foreign_certificate(world, "9a", "GZIP", "9a.der.gz");
        // What cannot be inflated, or becomes too much, hides itself alone.
        std::fs::write(world.path("bomb"), vec![0; 1 << 20]).unwrap();
        gzip("bomb");
        let mut broken = std::fs::read(world.path("9a.der.gz")).unwrap();
        broken.truncate(broken.len() / 2);
        std::fs::write(world.path("broken.gz"), broken).unwrap();
        let written = |place: &str, file: &str| {
            let import = ["-a", "import-certificate", "-s", place, "-K", "GZIP"];
            program(
                world,
                "yubico-piv-tool",
                &[&["-r", "Virtual"], &import[..], &["-i", file]].concat(),
            )
            .status
            .success()
        };
        let _ = (written("9c", "bomb.gz"), written("9d", "broken.gz"));
        let session = user(token(world));
        let certificate = session.find_one(&Template::new().set(CKA_CLASS, CKO_CERTIFICATE));
        assert_eq!(session.get(certificate, CKA_VALUE), Ok(der));
        assert_eq!(session.get(certificate, CKA_ID), Ok(vec![1]));
        signs(session, pair(session, &[1])).unwrap();
    });
}

/// C_Login with CKU_CONTEXT_SPECIFIC is good for one signature.
#[test]
fn a_key_that_asks_each_time_does() {
    on_a_card(|world, reader| {
        let token = token(world);
        let session = officer(token);
        let always = on_token(b"key").set(CKA_ALWAYS_AUTHENTICATE, true);
        let ec = Template::new().set(CKA_EC_PARAMS, Curve::P256.params);
        session
            .generate_key_pair(CKM_EC_KEY_PAIR_GEN, &ec.with(&on_token(b"key")), &always)
            .unwrap();
        session.close().unwrap();
        let session = user(token);
        let key = pair(session, b"key");
        assert!(session.get_bool(key.private, CKA_ALWAYS_AUTHENTICATE));
        let in_9c = |reader: &Reader| {
            let log = reader.card().log();
            let uses = log.iter().filter(|(sent, _)| sent[1] == AUTHENTICATE);
            uses.filter(|(sent, _)| sent[3] == 0x9c).count()
        };
        let before = in_9c(&reader);
        let once = |pin: &str| {
            session.sign_init(CKM_ECDSA_SHA256, key.private)?;
            session.login(CKU_CONTEXT_SPECIFIC, pin)?;
            session.sign_rest(b"data")
        };
        for _ in 0..2 {
            signs(session, key).refused(CKR_USER_NOT_LOGGED_IN);
            let signature = once(USER).unwrap();
            session
                .verify(CKM_ECDSA_SHA256, key.public, b"data", &signature)
                .unwrap();
        }
        assert_eq!(in_9c(&reader) - before, 2);
        once(WRONG).refused(CKR_PIN_INCORRECT);
        session.cancel(CKF_SIGN);
        assert_eq!(session.state(), CKS_RW_USER_FUNCTIONS);
        // What others do between the PIN and the use does not matter.
        session.sign_init(CKM_ECDSA_SHA256, key.private).unwrap();
        session.login(CKU_CONTEXT_SPECIFIC, USER).unwrap();
        run(world, "opensc-tool", &["--reset"]);
        session.sign_rest(b"data").unwrap();
        session.logout().unwrap();
        assert_eq!(tries_left(world), "63C3");
    });
}

#[test]
fn a_destroyed_key_is_no_more() {
    on_a_card(|world, reader| {
        for place in ["9a", "82"] {
            foreign_key(world, place);
            foreign_certificate(world, place, "DER", &format!("{place}.der"));
        }
        let token = token(world);
        let session = officer(token);
        let made = sent(&reader, GENERATE);
        for id in [1, 5] {
            let key = on_token(&[id]).set(CKA_CLASS, CKO_PRIVATE_KEY);
            session.destroy(session.find_one(&key)).unwrap();
            assert_eq!(session.find(&key), Ok(vec![]));
            // What is public stays.
            assert_eq!(session.find(&on_token(&[id])).unwrap().len(), 2);
        }
        // This card deletes no keys: others have taken their places.
        assert_eq!(sent(&reader, GENERATE) - made, 2);
        session.close().unwrap();
        for place in ["9a", "82"] {
            foreign_certificate(world, place, "DER", &format!("{place}.der"));
        }
        let token = Token {
            slot: slot(token.module, 0),
            ..token
        };
        token.module.finalize().unwrap();
        token.module.initialize().unwrap();
        let session = user(token_in(token.module, 0));
        for id in [1, 5] {
            signs(session, pair(session, &[id])).refused(CKR_DEVICE_ERROR);
        }
    });
}

/// The key history counts the retired places: by it other programs know how many to look into.
#[test]
fn the_key_history_counts() {
    on_a_card(|world, _reader| {
        let token = token(world);
        let session = officer(token);
        let history = || {
            let object = on_token_data("Key History Object");
            session.get(session.find_one(&object), CKA_VALUE).unwrap()
        };
        assert_eq!(history()[..3], [0xc1, 1, 0]);
        // A card of others: what no certificate tells of may be in use, save the retired places.
        for (number, id) in [b"one", b"two"].into_iter().enumerate() {
            session.ec_with(Curve::P256, &on_token(id));
            assert_eq!(history()[..3], [0xc1, 1, number as u8 + 1]);
        }
        let pair = pair(session, b"one");
        session.destroy(pair.private).unwrap();
        session.destroy(pair.public).unwrap();
        // This card counts what was emptied: the place is not empty in its eyes. It is taken again.
        session.ec_with(Curve::P256, &on_token(b"three"));
        assert_eq!(history()[..3], [0xc1, 1, 2]);
        for (id, objects) in [(&b"one"[..], 0), (b"two", 2), (b"three", 2)] {
            assert_eq!(session.find(&on_token(id)).unwrap().len(), objects);
        }
    });
}

fn on_token_data(label: &str) -> Template {
    Template::new()
        .set(CKA_CLASS, CKO_DATA)
        .set(CKA_TOKEN, true)
        .set(CKA_LABEL, label)
}

/// 2.16.840.1.101.3.7.… in DER.
fn piv_oid(last: &[u8]) -> Vec<u8> {
    let content = [&[0x60, 0x86, 0x48, 1, 0x65, 3, 7], last].concat();
    [&[6, content.len() as u8], &content[..]].concat()
}

#[test]
fn data_objects_of_the_standard_are_objects() {
    on_a_card(|world, _reader| {
        let token = token(world);
        let session = officer(token);
        let security = data("Security Object")
            .set(CKA_TOKEN, true)
            .set(CKA_OBJECT_ID, piv_oid(&[2, 0x81, 0x10, 0]))
            .set(CKA_VALUE, b"a public value");
        let object = session.create(&security).unwrap();
        assert_eq!(
            session.get(object, CKA_VALUE),
            Ok(b"a public value".to_vec())
        );
        let printed = data("Printed Information")
            .set(CKA_TOKEN, true)
            .set(CKA_PRIVATE, true)
            .set(CKA_OBJECT_ID, piv_oid(&[2, 0x30, 1]))
            .set(CKA_VALUE, b"a private value");
        session.create(&printed).unwrap();
        session.close().unwrap();

        let session = token.session();
        session.find_one(&on_token_data("Security Object"));
        session.find_one(&on_token_data("Card Holder Unique Identifier"));
        let printed = on_token_data("Printed Information");
        assert_eq!(session.find(&printed), Ok(vec![]));
        session.login(CKU_USER, USER).unwrap();
        let object = session.find_one(&printed);
        assert_eq!(
            session.get(object, CKA_VALUE),
            Ok(b"a private value".to_vec())
        );
        assert!(session.get_bool(object, CKA_PRIVATE));
        session.destroy(object).refused(CKR_USER_NOT_LOGGED_IN);
        session.logout().unwrap();
        assert_eq!(session.find(&printed), Ok(vec![]));
    });
}

// ---- cards that are slow, and cards that refuse

#[test]
fn a_slow_card_is_waited_for() {
    on_a_card(|world, reader| {
        let token = token(world);
        make_key(token, b"key");
        let session = token.session();
        let late = Duration::from_secs(3);
        let card = reader.card();
        let within = |job: &dyn Fn()| {
            let start = Instant::now();
            job();
            let took = start.elapsed();
            assert!(took >= late, "{took:?}, {:x?}", card.log());
        };
        card.hang_at(VERIFY, late);
        within(&|| session.login(CKU_USER, USER).unwrap());
        card.hang_at(AUTHENTICATE, late);
        let key = pair(session, b"key");
        within(&|| signs(session, key).unwrap());
        // Who only looks does not wait with it.
        card.hang_at(AUTHENTICATE, late);
        let signing = std::thread::spawn(move || signs(session, key));
        std::thread::sleep(Duration::from_millis(500));
        let start = Instant::now();
        session.info().unwrap();
        slot_info(token.module, token.slot);
        token.module.slots().unwrap();
        assert!(start.elapsed() < Duration::from_secs(1));
        signing.join().unwrap().unwrap();
    });
}

const STATUSES: [u16; 6] = [0x6f00, 0x6a80, 0x6982, 0x63c0, 0x6983, 0x6a84];

/// Whatever the card answers, the caller gets an error that is the standard's for that call, and
/// afterwards all is as it was.
#[test]
fn every_refusal_is_an_error_and_no_harm() {
    on_a_card(|world, reader| {
        let token = token(world);
        make_key(token, b"key");
        let card = reader.card();
        let refusals = |instruction: u8, call: &dyn Fn() -> Result<(), Rv>| {
            STATUSES.map(|status| {
                card.fail_at(instruction, status, usize::MAX);
                let result = call();
                card.behave();
                Rv(result.err().map_or(CKR_OK, |rv| rv.0))
            })
        };
        let unharmed = || {
            let session = user(token);
            signs(session, pair(session, b"key")).unwrap();
            session.logout().unwrap();
            assert_eq!(session.find(&on_token(b"key")).unwrap().len(), 1);
            session.close().unwrap();
            assert_eq!(flags(token), 0);
        };
        let broken = CKR_DEVICE_ERROR;

        let session = token.session();
        let login = || session.login(CKU_USER, USER);
        let [wrong, locked] = [CKR_PIN_INCORRECT, CKR_PIN_LOCKED];
        assert_eq!(
            refusals(VERIFY, &login),
            [broken, wrong, broken, locked, locked, CKR_DEVICE_MEMORY].map(Rv)
        );
        session.close().unwrap();
        unharmed();

        let session = user(token);
        let key = pair(session, b"key");
        let sign = || signs(session, key);
        let not_in = CKR_USER_NOT_LOGGED_IN;
        assert_eq!(
            refusals(AUTHENTICATE, &sign),
            [broken, broken, not_in, broken, broken, CKR_DEVICE_MEMORY].map(Rv)
        );
        signs(session, key).unwrap();
        session.close().unwrap();
        unharmed();

        let session = token.session();
        let login = || session.login(CKU_SO, KEY);
        assert_eq!(
            refusals(AUTHENTICATE, &login),
            [broken, wrong, wrong, wrong, locked, wrong].map(Rv)
        );
        session.close().unwrap();
        unharmed();

        let session = officer(token);
        let generate = || {
            let ec = Template::new().set(CKA_EC_PARAMS, Curve::P256.params);
            let template = on_token(b"another");
            let made =
                session.generate_key_pair(CKM_EC_KEY_PAIR_GEN, &ec.with(&template), &template);
            made.map(drop)
        };
        assert_eq!(
            refusals(GENERATE, &generate),
            [
                broken,
                CKR_CURVE_NOT_SUPPORTED,
                not_in,
                broken,
                broken,
                CKR_DEVICE_MEMORY
            ]
            .map(Rv)
        );
        let write = || session.create(&certificate_on_token()).map(drop);
        assert_eq!(
            refusals(PUT_DATA, &write),
            [broken, broken, not_in, broken, broken, CKR_DEVICE_MEMORY].map(Rv)
        );
        assert_eq!(session.find(&certificate_on_token()), Ok(vec![]));
        write().unwrap();
        let certificate = session.find_one(&certificate_on_token());
        let destroy = || session.destroy(certificate);
        assert_eq!(
            refusals(PUT_DATA, &destroy),
            [broken, broken, not_in, broken, broken, CKR_DEVICE_MEMORY].map(Rv)
        );
        destroy().unwrap();
        session.close().unwrap();
        unharmed();

        // What may not be read, or is not there, is not seen; the rest is an error.
        let find = || {
            let session = token.session();
            let found = session.find(&on_token(b"key"));
            session.close().unwrap();
            found.map(drop)
        };
        token.module.finalize().unwrap();
        let found = STATUSES.map(|status| {
            token.module.initialize().unwrap();
            token_in(token.module, 0).info();
            card.fail_at(GET_DATA, status, usize::MAX);
            let result = find();
            card.behave();
            token.module.finalize().unwrap();
            Rv(result.err().map_or(CKR_OK, |rv| rv.0))
        });
        assert_eq!(
            found,
            [broken, CKR_OK, CKR_OK, broken, broken, CKR_DEVICE_MEMORY].map(Rv)
        );
        token.module.initialize().unwrap();
        unharmed();

        // The selection of a card that was another's in between.
        let session = officer(token);
        let refused = refusals(SELECT, &|| {
            run(world, "opensc-tool", &["--reset"]);
            session.create(&note("a note")).map(drop)
        });
        assert_eq!(refused[0], Rv(CKR_DEVICE_REMOVED));
        unharmed();
    });
}

/// One answer that another program's doings explain is asked for again.
#[test]
fn a_single_refusal_is_asked_again() {
    on_a_card(|world, reader| {
        let token = token(world);
        let (session, key) = with_key(token);
        for status in STATUSES {
            reader.card().fail_at(AUTHENTICATE, status, 1);
            signs(session, key).unwrap();
        }
        assert_eq!(session.state(), CKS_RW_USER_FUNCTIONS);
    });
}
