//! What is a TPM's own: keys that stay in the chip, its lockout, chips that are not the one, chips
//! that come and go, full ones, and what crosses the bus (TPM 2.0 Library, Parts 1 to 3). The shared
//! suite runs over the TPM besides.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::undocumented_unsafe_blocks, missing_docs)]

mod common;

use common::bus::{code, refusal};
use common::vectors::{RSA_PRIME_1, hex};
use common::*;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

const TPM2_CREATE: u32 = 0x153;
const TPM2_UNSEAL: u32 = 0x15e;
const TPM2_SIGN: u32 = 0x15d;
const TPM2_LOAD: u32 = 0x157;
const TPM2_FLUSH_CONTEXT: u32 = 0x165;
const TPM2_START_AUTH_SESSION: u32 = 0x176;

/// Runs `body` in a process that has a TPM of its own, which it may stop and change.
#[track_caller]
fn on_a_tpm(body: impl FnOnce(&World, Swtpm)) {
    isolated_on(&[SOFTWARE], |world| {
        let directory = world.path("");
        set("NODETOKEN_TPM", Swtpm::socket(&directory));
        body(world, Swtpm::start(&directory));
    });
}

/// The same with a tap on the bus.
#[track_caller]
fn on_a_tapped_tpm(body: impl FnOnce(&World, Swtpm, Bus)) {
    on_a_tpm(|world, tpm| {
        let bus = Bus::tap(&world.path(""));
        body(world, tpm, bus);
    });
}

fn on_token() -> Template {
    Template::new().set(CKA_TOKEN, true).set(CKA_ID, b"key")
}

/// The pair on the token; a logout takes the handles of private objects along.
fn find_pair(session: Session) -> Pair {
    let of = |class| session.find_one(&on_token().set(CKA_CLASS, class));
    Pair {
        public: of(CKO_PUBLIC_KEY),
        private: of(CKO_PRIVATE_KEY),
    }
}

fn signs(session: Session, pair: Pair) {
    try_to_sign(session, pair).unwrap();
}

/// A signature that is not refused holds.
fn try_to_sign(session: Session, pair: Pair) -> Result<(), Rv> {
    let signature = session.sign(CKM_ECDSA_SHA256, pair.private, b"data")?;
    session
        .verify(CKM_ECDSA_SHA256, pair.public, b"data", &signature)
        .unwrap();
    Ok(())
}

fn log_of(world: &World) -> impl Fn() -> String {
    let file = world.path("log");
    set("NODETOKEN_LOG", format!("info:{}", file.display()));
    move || std::fs::read_to_string(&file).unwrap_or_default()
}

#[test]
fn the_slot_and_its_mechanisms_tell_what_is_in_hardware() {
    on_a_tpm(|world, _tpm| {
        let token = world.token();
        let mut info = CK_SLOT_INFO::default();
        try_call!(token.module, C_GetSlotInfo(token.slot, &mut info)).unwrap();
        assert_ne!(info.flags & CKF_HW_SLOT, 0);
        assert!(token.slot < 1 << 31);

        let mechanisms = token.module.mechanisms(token.slot).unwrap();
        assert!(!mechanisms.contains(&CKM_EDDSA));
        for (mechanism, hardware, sizes) in [
            (CKM_RSA_PKCS_KEY_PAIR_GEN, true, (2048, 3072)),
            (CKM_RSA_PKCS, true, (2048, 3072)),
            (CKM_RSA_X_509, true, (2048, 3072)),
            (CKM_SHA256_RSA_PKCS_PSS, true, (2048, 3072)),
            (CKM_RSA_PKCS_OAEP, true, (2048, 3072)),
            (CKM_EC_KEY_PAIR_GEN, true, (256, 384)),
            (CKM_ECDSA_SHA384, true, (256, 384)),
            (CKM_AES_GCM, false, (16, 32)),
            (CKM_SHA256, false, (0, 0)),
        ] {
            let info = token.module.mechanism_info(token.slot, mechanism).unwrap();
            assert_eq!(info.flags & CKF_HW != 0, hardware, "{mechanism:#x}");
            assert_eq!((info.ulMinKeySize, info.ulMaxKeySize), sizes);
        }
    });
}

#[test]
fn a_key_that_was_made_in_the_chip_says_so_and_stays_there() {
    on_a_tpm(|world, _tpm| {
        let session = world.token().user();
        for extra in [on_token(), Template::new()] {
            let key = session.ec_with(Curve::P256, &extra).private;
            for attribute in [
                CKA_LOCAL,
                CKA_SENSITIVE,
                CKA_ALWAYS_SENSITIVE,
                CKA_NEVER_EXTRACTABLE,
            ] {
                assert!(session.get_bool(key, attribute));
            }
            assert!(!session.get_bool(key, CKA_EXTRACTABLE));
            session.get(key, CKA_VALUE).refused(CKR_ATTRIBUTE_SENSITIVE);
        }
        let public = Template::new().set(CKA_EC_PARAMS, Curve::P256.params);
        for lie in [
            Template::new().set(CKA_EXTRACTABLE, true),
            Template::new().set(CKA_SENSITIVE, false),
        ] {
            session
                .generate_key_pair(CKM_EC_KEY_PAIR_GEN, &public, &lie)
                .refused(CKR_TEMPLATE_INCONSISTENT);
            session
                .create(&rsa_private_import().with(&lie))
                .refused(CKR_TEMPLATE_INCONSISTENT);
        }
        // A copy is another name of the same key in the chip, not another key.
        let pair = session.ec_with(Curve::P384, &on_token());
        let copy = session
            .copy(pair.private, &Template::new().set(CKA_TOKEN, false))
            .unwrap();
        let signature = session.sign(CKM_ECDSA_SHA384, copy, b"data").unwrap();
        session
            .verify(CKM_ECDSA_SHA384, pair.public, b"data", &signature)
            .unwrap();
    });
}

#[test]
fn an_imported_key_works_and_does_not_claim_to_be_the_chips_own() {
    on_a_tpm(|world, _tpm| {
        let session = world.token().user();
        let secret = Template::new()
            .set(CKA_SENSITIVE, true)
            .set(CKA_EXTRACTABLE, false);
        for place in [Template::new(), on_token()] {
            let template = rsa_private_import().with(&secret).with(&place);
            let key = session.create(&template).unwrap();
            for attribute in [CKA_LOCAL, CKA_ALWAYS_SENSITIVE, CKA_NEVER_EXTRACTABLE] {
                assert!(!session.get_bool(key, attribute));
            }
            let public = session.create(&rsa_public_import()).unwrap();
            for mechanism in [
                Mech::new(CKM_SHA256_RSA_PKCS),
                Mech::pss(CKM_SHA384_RSA_PKCS_PSS, CKM_SHA384, CKG_MGF1_SHA384, 48),
            ] {
                let signature = session.sign(mechanism.clone(), key, b"data").unwrap();
                session
                    .verify(mechanism, public, b"data", &signature)
                    .unwrap();
            }
            for attribute in [CKA_PRIVATE_EXPONENT, CKA_PRIME_1] {
                session.get(key, attribute).refused(CKR_ATTRIBUTE_SENSITIVE);
            }
        }
        let [p, q] = [CKA_PRIME_1, CKA_PRIME_2];
        let no_primes = rsa_private_import().with(&secret).without(p).without(q);
        let no_primes = [CKA_EXPONENT_1, CKA_EXPONENT_2, CKA_COEFFICIENT]
            .into_iter()
            .fold(no_primes, Template::without);
        session.create(&no_primes).refused(CKR_TEMPLATE_INCOMPLETE);
    });
}

#[test]
fn import_can_be_forbidden() {
    on_a_tpm(|world, _tpm| {
        world.configure("[tpm]\nimport = false\n");
        let session = world.token().user();
        let secret = Template::new()
            .set(CKA_SENSITIVE, true)
            .set(CKA_EXTRACTABLE, false);
        session
            .create(&rsa_private_import().with(&secret))
            .refused(CKR_ACTION_PROHIBITED);
        signs(session, session.ec(Curve::P256));
    });
}

#[test]
fn the_chips_lockout_shows_and_the_security_officer_lifts_it() {
    on_a_tpm(|world, tpm| {
        let token = world.token();
        tpm.limit_wrong_values(3);
        let session = token.session();
        let wrong = || session.login(CKU_USER, "wrong-pin-1");
        wrong().refused(CKR_PIN_INCORRECT);
        assert!(token.has(CKF_USER_PIN_COUNT_LOW) && !token.has(CKF_USER_PIN_FINAL_TRY));
        wrong().refused(CKR_PIN_INCORRECT);
        assert!(token.has(CKF_USER_PIN_FINAL_TRY) && !token.has(CKF_USER_PIN_LOCKED));
        // A right one in between sets the chip's counter back.
        session.login(CKU_USER, USER_PIN).unwrap();
        session.ec_with(Curve::P256, &on_token());
        session.logout().unwrap();
        assert!(!token.has(CKF_USER_PIN_COUNT_LOW));

        // Locked, the chip still signs for who has logged in before.
        let other = world.start(|| {
            let token = world.existing_token();
            let session = token.user();
            let key = session.find_one(&on_token().set(CKA_CLASS, CKO_PRIVATE_KEY));
            std::fs::write(world.path("ready"), b"").unwrap();
            while !world.path("locked").exists() {
                std::thread::yield_now();
            }
            session.sign(CKM_ECDSA_SHA256, key, b"data").unwrap();
        });
        while !world.path("ready").exists() {
            std::thread::yield_now();
        }
        for _ in 0..3 {
            wrong().refused(CKR_PIN_INCORRECT);
        }
        assert!(token.has(CKF_USER_PIN_LOCKED));
        wrong().refused(CKR_PIN_LOCKED);
        session.login(CKU_USER, USER_PIN).refused(CKR_PIN_LOCKED);
        std::fs::write(world.path("locked"), b"").unwrap();
        other.succeeds();

        session.login(CKU_SO, SO_PIN).unwrap();
        session.init_pin("another-pin").unwrap();
        session.logout().unwrap();
        assert!(!token.has(CKF_USER_PIN_LOCKED) && !token.has(CKF_USER_PIN_COUNT_LOW));
        session.login(CKU_USER, "another-pin").unwrap();
        signs(session, find_pair(session));
    });
}

#[test]
fn another_chip_is_refused_and_the_right_one_loses_nothing() {
    on_a_tpm(|world, mut tpm| {
        let log = log_of(world);
        let token = world.token();
        let session = token.user();
        session.ec_with(Curve::P256, &on_token());
        session.logout().unwrap();

        tpm.stop();
        let (mine, aside) = (world.path("tpm-state"), world.path("aside"));
        std::fs::rename(&mine, &aside).unwrap();
        std::fs::create_dir(&mine).unwrap();
        tpm.run();
        // One without a key at the handle, and one with another key there: its own token's.
        for round in 0..2 {
            session.login(CKU_USER, USER_PIN).refused(CKR_DEVICE_ERROR);
            session.login(CKU_SO, SO_PIN).refused(CKR_DEVICE_ERROR);
            assert!(log().contains("token not authentic"), "{}", log());
            if round == 0 {
                world.process(|| {
                    set("NODETOKEN_STORE", world.path("other-store"));
                    let session = world.token().user();
                    signs(session, session.ec(Curve::P256));
                });
            }
        }
        // No try of the PIN was lost over it.
        assert!(!token.has(CKF_USER_PIN_COUNT_LOW));

        tpm.stop();
        std::fs::remove_dir_all(&mine).unwrap();
        std::fs::rename(&aside, &mine).unwrap();
        tpm.run();
        session.login(CKU_USER, USER_PIN).unwrap();
        let pair = find_pair(session);
        signs(session, pair);

        tpm.clear();
        try_to_sign(session, pair).refused(CKR_DEVICE_ERROR);
    });
}

#[test]
fn a_chip_that_vanishes_and_comes_back_is_used_again() {
    on_a_tpm(|world, mut tpm| {
        let token = world.token();
        let session = token.user();
        let pair = session.ec_with(Curve::P256, &on_token());
        for _ in 0..3 {
            signs(session, pair);
            tpm.stop();
            try_to_sign(session, pair).refused(CKR_DEVICE_REMOVED);
            token
                .module
                .token_info(token.slot)
                .map(drop)
                .refused(CKR_TOKEN_NOT_PRESENT);
            // What does not need the chip goes on.
            session.get(pair.public, CKA_EC_POINT).unwrap();
            let kept = data("written without the chip").set(CKA_TOKEN, true);
            session.destroy(session.create(&kept).unwrap()).unwrap();
            tpm.run();
            signs(session, pair);
        }
        assert_eq!(session.find(&on_token()).unwrap().len(), 2);
    });
}

#[test]
fn without_a_chip_there_is_no_slot_and_one_line_and_the_rest_works() {
    isolated_on(&[SOFTWARE], |world| {
        let log = log_of(world);
        for device in ["/dev/no-such-tpm", "swtpm:127.0.0.1:1", "/dev/null"] {
            set("NODETOKEN_TPM", device);
            world.process(|| {
                let module = world.module();
                let [slot] = module.slots().unwrap().try_into().unwrap();
                let mut info = CK_SLOT_INFO::default();
                try_call!(module, C_GetSlotInfo(slot, &mut info)).unwrap();
                assert_eq!(info.flags & CKF_HW_SLOT, 0);
                module.slots().unwrap();
            });
            let lines = log();
            let told = lines
                .lines()
                .filter(|line| line.contains(device.trim_start_matches("swtpm:")));
            assert_eq!(told.count(), 1, "{lines}");
        }
        set("NODETOKEN_TPM", "/dev/no-such-tpm");
        let session = world.token().user();
        signs(session, session.ec(Curve::P256));
    });
}

#[test]
fn a_device_that_is_none_is_a_configuration_error() {
    isolated_on(&[SOFTWARE], |_world| {
        set("NODETOKEN_TPM", "tpm");
        Module::load().initialize().refused(CKR_FUNCTION_FAILED);
    });
}

#[test]
fn processes_and_threads_share_the_chip() {
    on_a_tpm(|world, _tpm| {
        world.process(|| {
            world.token().user().ec_with(Curve::P256, &on_token());
        });
        let work = || {
            let token = world.existing_token();
            let pair = find_pair(token.user());
            std::thread::scope(|scope| {
                for _ in 0..3 {
                    scope.spawn(|| {
                        let session = token.session();
                        for _ in 0..20 {
                            signs(session, pair);
                        }
                        signs(session, session.ec(Curve::P384));
                    });
                }
            });
        };
        let all: Vec<_> = (0..4).map(|_| world.start(work)).collect();
        for one in all {
            one.succeeds();
        }
    });
}

/// TPM2_CreatePrimary of a P-256 storage key under the null hierarchy, by a client that leaves it.
fn leave_an_object(directory: &Path) {
    let command = concat!(
        "80020000004300000131",
        "40000007",
        "00000009",
        "400000090000000000",
        "000400000000",
        "001a",
        "0023000b00030472000000060080004300100003001000000000",
        "0000",
        "00000000",
    );
    let mut command = hex(command);
    let len = (command.len() as u32).to_be_bytes();
    command[2..6].copy_from_slice(&len);
    let response = swtpm::exchange(directory, &command);
    assert_eq!(response[6..10], [0; 4], "{response:02x?}");
}

/// TPM2_StartAuthSession, by a client that leaves the session.
fn leave_a_session(directory: &Path) {
    let mut command = hex(concat!(
        "800100000000",
        "00000176",
        "40000007",
        "40000007",
        "0010",
        "00000000000000000000000000000000",
        "0000",
        "00",
        "0010",
        "000b",
    ));
    let len = (command.len() as u32).to_be_bytes();
    command[2..6].copy_from_slice(&len);
    let response = swtpm::exchange(directory, &command);
    assert_eq!(response[6..10], [0; 4], "{response:02x?}");
}

#[test]
fn a_full_chip_is_an_exact_error_and_no_others_object_is_taken_out() {
    on_a_tpm(|world, _tpm| {
        let session = world.token().user();
        let pair = session.ec_with(Curve::P256, &on_token());
        for _ in 0..3 {
            leave_an_object(&world.path(""));
        }
        try_to_sign(session, pair).refused(CKR_DEVICE_MEMORY);
        assert_eq!(swtpm::loaded_objects(&world.path("")), 3);
        // Two places are needed: the chip takes the storage root into one while it loads a key.
        swtpm::flush(&world.path(""), 0x8000_0000);
        swtpm::flush(&world.path(""), 0x8000_0001);
        signs(session, pair);
        assert_eq!(swtpm::loaded_objects(&world.path("")), 1);
        // Whose a session is nobody can tell: those that are not used for a while give way.
        for _ in 0..3 {
            leave_a_session(&world.path(""));
        }
        signs(session, pair);
    });
}

#[test]
fn killed_processes_do_not_fill_the_chip() {
    on_a_tpm(|world, _tpm| {
        world.process(|| {
            world.token().user().ec_with(Curve::P256, &on_token());
        });
        for round in 0..12 {
            let killed = world.start(|| {
                let session = world.existing_token().user();
                let key = session.find_one(&on_token().set(CKA_CLASS, CKO_PRIVATE_KEY));
                std::fs::write(world.path(format!("ready-{round}")), b"").unwrap();
                loop {
                    session.sign(CKM_ECDSA_SHA256, key, b"data").unwrap();
                }
            });
            while !world.path(format!("ready-{round}")).exists() {
                std::thread::yield_now();
            }
            std::thread::sleep(std::time::Duration::from_micros(500 * round));
            killed.kill();
        }
        let session = world.existing_token().user();
        signs(session, find_pair(session));
    });
}

/// Whether `needle` is in what crossed the bus.
fn crossed(heard: &[u8], needle: &[u8]) -> bool {
    heard.windows(needle.len()).any(|window| window == needle)
}

#[test]
fn nothing_secret_crosses_the_bus_in_the_clear() {
    on_a_tapped_tpm(|world, _tpm, bus| {
        let session = world.token().user();
        let secret = Template::new()
            .set(CKA_SENSITIVE, true)
            .set(CKA_EXTRACTABLE, false);
        let key = session
            .create(&rsa_private_import().with(&secret).with(&on_token()))
            .unwrap();
        let public = session.create(&rsa_public_import()).unwrap();
        let message = b"the session key of a patient's record";
        let ciphertext = session.encrypt(CKM_RSA_PKCS, public, message).unwrap();
        let ec = session.ec(Curve::P256);
        let digest = session.digest(CKM_SHA256, b"to be signed").unwrap();
        session.sign(CKM_ECDSA, ec.private, &digest).unwrap();
        assert_eq!(
            session.decrypt(CKM_RSA_PKCS, key, &ciphertext).unwrap(),
            message
        );
        session.set_pin(USER_PIN, "another-pin").unwrap();

        let heard = bus.heard();
        assert!(heard.len() > 4096);
        let prime = hex(RSA_PRIME_1);
        for secret in [
            USER_PIN.as_bytes(),
            SO_PIN.as_bytes(),
            b"another-pin",
            &prime[..16],
            &prime[prime.len() - 16..],
            &message[..],
            &digest,
        ] {
            assert!(!crossed(&heard, secret), "{secret:02x?}");
        }
        // The test can see what does cross: the public point of a key is no secret.
        let point = session.get(ec.public, CKA_EC_POINT).unwrap();
        assert!(crossed(&heard, &point[3..35]));
    });
}

#[test]
fn a_chip_that_says_again_is_asked_again() {
    on_a_tapped_tpm(|world, _tpm, bus| {
        let session = world.token().user();
        let pair = session.ec_with(Curve::P256, &on_token());
        for again in [0x922, 0x908, 0x90a] {
            let times = Arc::new(AtomicU32::new(0));
            // The command is lost on its way, so that it really has had no effect.
            let count = Arc::clone(&times);
            bus.refuse_first(again, move || count.fetch_add(1, Ordering::SeqCst) < 4);
            signs(session, pair);
            assert!(times.load(Ordering::SeqCst) > 4, "{again:#x}");
        }
        // One that says it for ever is given up.
        bus.refuse_first(0x922, || true);
        try_to_sign(session, pair).refused(CKR_FUNCTION_FAILED);
        bus.behave();
        signs(session, pair);
    });
}

#[test]
fn response_codes_have_the_standards_codes() {
    on_a_tapped_tpm(|world, _tpm, bus| {
        let session = world.token().user();
        let pair = session.ec_with(Curve::P256, &on_token());
        for (tpm, rv) in [
            (0x101, CKR_DEVICE_ERROR),
            (0x143, CKR_DEVICE_ERROR),
            (0x9a2, CKR_DEVICE_ERROR),
            (0x2c4, CKR_DEVICE_ERROR),
            (0xffff_ffff, CKR_DEVICE_ERROR),
            (0x000b_0143, CKR_DEVICE_ERROR),
            (0x921, CKR_DEVICE_ERROR),
        ] {
            bus.tamper(move |command, response| {
                let hit = code(command) == TPM2_SIGN;
                Some(if hit { refusal(tpm) } else { response })
            });
            try_to_sign(session, pair).refused(rv);
        }
        bus.tamper(|command, response| (code(command) != TPM2_SIGN).then_some(response));
        try_to_sign(session, pair).refused(CKR_DEVICE_REMOVED);
        bus.behave();
        signs(session, pair);
        assert!(!world.path("core").exists());
    });
}

/// A response that ends early and says so; too short for that, the connection breaks.
fn cut_to(mut response: Vec<u8>, len: usize) -> Option<Vec<u8>> {
    response.truncate(len);
    let field = response.get_mut(2..6)?;
    field.copy_from_slice(&(len as u32).to_be_bytes());
    (len >= 10).then_some(response)
}

fn flip(mut response: Vec<u8>, bit: usize) -> Vec<u8> {
    if let Some(byte) = response.get_mut(bit / 8) {
        *byte ^= 1 << (bit % 8);
    }
    response
}

/// Every response of a login and a signature is cut at every length and has bits flipped: an exact
/// error or the right answer, never a wrong signature, and afterwards all is well.
#[test]
fn no_malformed_response_does_harm() {
    on_a_tapped_tpm(|world, _tpm, bus| {
        let token = world.token();
        let session = token.user();
        let pair = session.ec_with(Curve::P256, &on_token());
        let answers = [
            Ok(()),
            Err(Rv(CKR_DEVICE_ERROR)),
            Err(Rv(CKR_DEVICE_REMOVED)),
            Err(Rv(CKR_DEVICE_MEMORY)),
            Err(Rv(CKR_FUNCTION_FAILED)),
            Err(Rv(CKR_PIN_LOCKED)),
        ];
        for (asked, cuts, bits) in [
            (TPM2_SIGN, 1, 3),
            (TPM2_LOAD, 9, 53),
            (TPM2_START_AUTH_SESSION, 9, 97),
            (TPM2_FLUSH_CONTEXT, 3, 7),
        ] {
            for cut in (0..200).step_by(cuts) {
                bus.tamper(move |command, response| {
                    let hit = code(command) == asked && cut < response.len();
                    if hit {
                        cut_to(response, cut)
                    } else {
                        Some(response)
                    }
                });
                let answer = try_to_sign(session, pair);
                assert!(answers.contains(&answer), "cut at {cut}: {answer:?}");
            }
            for bit in (48..1600).step_by(bits) {
                bus.tamper(move |command, response| {
                    let hit = code(command) == asked;
                    Some(if hit { flip(response, bit) } else { response })
                });
                let answer = try_to_sign(session, pair);
                assert!(answers.contains(&answer), "bit {bit}: {answer:?}");
            }
        }
        session.logout().unwrap();
        for bit in (80..2000).step_by(29) {
            bus.tamper(move |command, response| {
                let hit = code(command) == TPM2_UNSEAL;
                Some(if hit { flip(response, bit) } else { response })
            });
            match session.login(CKU_USER, USER_PIN) {
                Ok(()) => session.logout().unwrap(),
                refused => refused.refused(CKR_DEVICE_ERROR),
            }
        }
        bus.behave();
        session.login(CKU_USER, USER_PIN).unwrap();
        signs(session, find_pair(session));
    });
}

#[test]
fn the_owners_authorization_is_needed_and_taken_from_its_file() {
    on_a_tpm(|world, tpm| {
        tpm.authorize_owner(b"owner secret");
        let log = log_of(world);
        let module = world.module();
        let [slot] = module.slots().unwrap().try_into().unwrap();
        module
            .init_token(slot, SO_PIN, "test token")
            .refused(CKR_DEVICE_ERROR);
        assert!(log().contains("owner_auth_file"), "{}", log());
        module.finalize().unwrap();
        let file = world.path("owner-auth");
        std::fs::write(&file, b"owner secret").unwrap();
        world.configure(&format!("[tpm]\nowner_auth_file = {file:?}\n"));
        let session = world.token().user();
        signs(session, session.ec(Curve::P256));
        // It is needed to make the storage root only.
        module.finalize().unwrap();
        std::fs::remove_file(&file).unwrap();
        world.configure("");
        let session = world.existing_token().user();
        signs(session, session.ec(Curve::P256));
    });
}

/// Behind the kernel's resource manager the key stays in the chip, so that a signature is two commands;
/// no session does, for one that rests stops all others in the end.
#[test]
fn a_managed_device_keeps_the_key() {
    on_a_tpm(|world, mut tpm| {
        let device = Device::make(&world.path(""));
        let session = world.token().user();
        let pairs = [Curve::P256, Curve::P384].map(|curve| session.ec(curve));
        signs(session, pairs[0]);
        device.commands();
        for _ in 0..10 {
            signs(session, pairs[0]);
        }
        let signature = [TPM2_START_AUTH_SESSION, TPM2_SIGN];
        assert_eq!(device.commands(), signature.repeat(10));
        assert_eq!(device.loaded_sessions(), 0);
        // What makes a key, and what opens the token, leaves no session either.
        session.ec(Curve::P256);
        assert_eq!(device.loaded_sessions(), 0);

        // Nothing of that is in the chip any more after a reset.
        device.reset(|| {
            tpm.stop();
            tpm.run();
        });
        for pair in pairs {
            signs(session, pair);
        }
        session.logout().unwrap();
        session
            .login(CKU_USER, "wrong-pin-1")
            .refused(CKR_PIN_INCORRECT);
        session.login(CKU_USER, USER_PIN).unwrap();

        // A forked process has the open device too, and leaves it alone.
        let pair = session.ec_with(Curve::P256, &on_token());
        world.process(|| {
            let token = world.existing_token();
            signs(token.user(), find_pair(token.session()));
        });
        signs(session, pair);
        session.module.finalize().unwrap();
    });
}

/// What fails after the PIN was found right takes no try, of the user or of the security officer, who
/// would be locked for ever.
#[test]
fn a_right_pin_takes_no_try_whatever_then_fails() {
    on_a_tapped_tpm(|world, _tpm, bus| {
        let token = world.token();
        let session = token.session();
        bus.tamper(|command, response| {
            let hit = code(command) == TPM2_CREATE;
            Some(if hit { refusal(0x143) } else { response })
        });
        for _ in 0..12 {
            session
                .set_pin(USER_PIN, "another-pin")
                .refused(CKR_DEVICE_ERROR);
        }
        session.close().unwrap();
        for _ in 0..12 {
            let again = token.module.init_token(token.slot, SO_PIN, "again");
            again.refused(CKR_DEVICE_ERROR);
        }
        bus.behave();
        let session = token.user();
        signs(session, session.ec(Curve::P256));
        session.logout().unwrap();
        session.login(CKU_SO, SO_PIN).unwrap();
    });
}

#[test]
fn a_chip_that_refuses_is_not_filled_with_storage_roots() {
    on_a_tapped_tpm(|world, _tpm, bus| {
        bus.tamper(|command, response| {
            let hit = code(command) == TPM2_CREATE;
            Some(if hit { refusal(0x143) } else { response })
        });
        let module = world.module();
        let [slot] = module.slots().unwrap().try_into().unwrap();
        module
            .init_token(slot, SO_PIN, "test token")
            .refused(CKR_DEVICE_ERROR);
        let directory = world.path("");
        assert!(swtpm::is_there(&directory, 0x8100_0001));
        assert!(!swtpm::is_there(&directory, 0x8100_0002));
        bus.behave();
        let session = Token::make(module, "test token").user();
        signs(session, session.ec(Curve::P256));
    });
}
