//! PINs and logins (PKCS#11 3.2, 5.5.7 to 5.5.9, 5.6.8 to 5.6.10), and the counters that guard them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::undocumented_unsafe_blocks, missing_docs)]

mod common;

use common::process::Signal;
use common::*;
use std::time::{Duration, Instant};

/// An object on the token that all see, and one that the user alone sees: a key, where the token keeps
/// no private data.
fn two_objects(user: Session) -> (CK_OBJECT_HANDLE, CK_OBJECT_HANDLE) {
    let named = |label: &str| on(true).set(CKA_LABEL, label);
    let public = data("public").with(&on(true)).set(CKA_PRIVATE, false);
    let public = user.create(&public).unwrap();
    let private = named("private").set(CKA_PRIVATE, true);
    let private = match process::kind().keeps_secrets {
        true => user.create(&data("private").with(&private)).unwrap(),
        false => {
            let params = named("its public key").set(CKA_EC_PARAMS, Curve::P256.params);
            let pair = user.generate_key_pair(CKM_EC_KEY_PAIR_GEN, &params, &private);
            pair.unwrap().1
        }
    };
    (public, private)
}

/// Which of the two objects the session sees.
fn labels(session: Session) -> Vec<&'static str> {
    let seen = |label: &&str| {
        let found = session.find(&Template::new().set(CKA_LABEL, *label));
        !found.unwrap().is_empty()
    };
    ["private", "public"].into_iter().filter(seen).collect()
}

/// How long it takes a process, which is killed then, from one signal to the other.
fn duration(process: process::Process, from: &Signal, to: &Signal) -> Duration {
    from.wait();
    let begin = Instant::now();
    to.wait();
    let duration = begin.elapsed();
    process.kill();
    duration
}

#[test]
fn a_token_without_user_pin() {
    isolated(|world| {
        let token = Token::initialize(world.module(), "test token");
        let session = token.session();
        let login = session.login(CKU_USER, USER_PIN);
        match world.kind.personalized {
            true => login.refused(CKR_PIN_INCORRECT),
            false => login.refused(CKR_USER_PIN_NOT_INITIALIZED),
        }
        session.init_pin(USER_PIN).refused(CKR_USER_NOT_LOGGED_IN);
        session
            .login(CKU_SO, WRONG_SO_PIN)
            .refused(CKR_PIN_INCORRECT);
        session.login(CKU_SO, SO_PIN).unwrap();
        assert_eq!(session.state(), CKS_RW_SO_FUNCTIONS);
        session.init_pin(USER_PIN).unwrap();
        session
            .login(CKU_USER, USER_PIN)
            .refused(CKR_USER_ANOTHER_ALREADY_LOGGED_IN);
        session.logout().unwrap();
        session.login(CKU_USER, USER_PIN).unwrap();
        session.init_pin(USER_PIN).refused(CKR_USER_NOT_LOGGED_IN);
    });
}

#[test]
fn states_of_the_user() {
    isolated(|world| {
        let token = world.token();
        let (reader, writer) = (token.read_only_session(), token.session());
        reader.logout().refused(CKR_USER_NOT_LOGGED_IN);
        reader.login(CKU_USER, USER_PIN).unwrap();
        // A login holds in all sessions of the application (5.6.8).
        assert_eq!(
            (reader.state(), writer.state()),
            (CKS_RO_USER_FUNCTIONS, CKS_RW_USER_FUNCTIONS)
        );
        assert_eq!(token.session().state(), CKS_RW_USER_FUNCTIONS);
        writer
            .login(CKU_USER, USER_PIN)
            .refused(CKR_USER_ALREADY_LOGGED_IN);
        writer
            .login(CKU_USER, WRONG_PIN)
            .refused(CKR_USER_ALREADY_LOGGED_IN);
        writer.login(CKU_SO, SO_PIN).refused_with(&[
            CKR_USER_ANOTHER_ALREADY_LOGGED_IN,
            CKR_SESSION_READ_ONLY_EXISTS,
        ]);
        writer.logout().unwrap();
        assert_eq!(
            (reader.state(), writer.state()),
            (CKS_RO_PUBLIC_SESSION, CKS_RW_PUBLIC_SESSION)
        );
        writer.logout().refused(CKR_USER_NOT_LOGGED_IN);
    });
}

#[test]
fn states_of_the_security_officer() {
    isolated(|world| {
        let token = world.token();
        let (reader, writer) = (token.read_only_session(), token.session());
        // The SO works with read-write sessions only (5.6.1, 5.6.8).
        writer
            .login(CKU_SO, SO_PIN)
            .refused(CKR_SESSION_READ_ONLY_EXISTS);
        reader.close().unwrap();
        writer.login(CKU_SO, SO_PIN).unwrap();
        writer
            .login(CKU_SO, SO_PIN)
            .refused(CKR_USER_ALREADY_LOGGED_IN);
        writer
            .login(CKU_USER, USER_PIN)
            .refused(CKR_USER_ANOTHER_ALREADY_LOGGED_IN);
        Session::open(token.module, token.slot, CKF_SERIAL_SESSION)
            .map(drop)
            .refused(CKR_SESSION_READ_WRITE_SO_EXISTS);
        assert_eq!(token.session().state(), CKS_RW_SO_FUNCTIONS);
        writer.logout().unwrap();
        token.read_only_session();
    });
}

#[test]
fn arguments_of_login() {
    isolated(|world| {
        let token = world.token();
        let session = token.session();
        let module = token.module;
        for user in [3, 4, CK_ULONG::MAX] {
            session.login(user, USER_PIN).refused(CKR_USER_TYPE_INVALID);
        }
        session
            .login(CKU_CONTEXT_SPECIFIC, USER_PIN)
            .refused(CKR_OPERATION_NOT_INITIALIZED);
        // There is no protected authentication path, so NULL is no PIN.
        try_call!(module, C_Login(session.handle, CKU_USER, null_mut(), 0))
            .refused(CKR_ARGUMENTS_BAD);
        try_call!(module, C_Login(session.handle, CKU_USER, null_mut(), 8))
            .refused(CKR_ARGUMENTS_BAD);
        session.login(CKU_USER, "").refused(CKR_PIN_INCORRECT);
        Session { module, handle: 0 }
            .login(CKU_USER, USER_PIN)
            .refused(CKR_SESSION_HANDLE_INVALID);
        // Every byte counts, to the last and beyond.
        for near in [
            &USER_PIN[1..],
            &USER_PIN[..USER_PIN.len() - 1],
            &format!("{USER_PIN}\0"),
            &USER_PIN.replace('9', "8"),
        ] {
            session.login(CKU_USER, near).refused(CKR_PIN_INCORRECT);
            session.login(CKU_USER, USER_PIN).unwrap();
            session.logout().unwrap();
        }
    });
}

#[test]
fn pin_lengths() {
    isolated(|world| {
        let token = world.token();
        let session = token.session();
        session.login(CKU_SO, SO_PIN).unwrap();
        let info = token.info();
        let (shortest, longest) = (info.ulMinPinLen as usize, info.ulMaxPinLen as usize);
        assert_eq!(
            shortest, 6,
            "THREATS.md: at least 6 where nothing else is configured"
        );
        let lengths = (info.ulMinPinLen, info.ulMaxPinLen);
        assert_eq!(lengths, world.kind.pin_lengths);
        for wrong in [0, 1, shortest - 1, longest + 1] {
            session
                .init_pin(&"1".repeat(wrong))
                .refused(CKR_PIN_LEN_RANGE);
            // Where the security officer's has parts, other faults than that are in it.
            let allowed = [CKR_PIN_LEN_RANGE, CKR_PIN_INVALID];
            session
                .set_pin(SO_PIN, &"1".repeat(wrong))
                .refused_with(&allowed[..1 + usize::from(world.kind.personalized)]);
        }
        for right in [shortest, longest] {
            session.init_pin(&"1".repeat(right)).unwrap();
        }
        session.logout().unwrap();
        session
            .login(CKU_USER, &"1".repeat(longest - 1))
            .refused(CKR_PIN_INCORRECT);
        session.login(CKU_USER, &"1".repeat(longest)).unwrap();
        session.logout().unwrap();
        session.close().unwrap();
        token
            .module
            .init_token(token.slot, "short", "test token")
            .refused_with(&[CKR_PIN_INCORRECT, CKR_PIN_LEN_RANGE]);
    });
}

#[test]
fn changing_a_pin() {
    isolated(|world| {
        let token = world.token();
        let session = token.session();
        let new = OTHER_USER_PIN;
        token
            .read_only_session()
            .set_pin(USER_PIN, new)
            .refused(CKR_SESSION_READ_ONLY);
        try_call!(token.module, C_CloseAllSessions(token.slot)).unwrap();
        session
            .set_pin(USER_PIN, new)
            .refused(CKR_SESSION_HANDLE_INVALID);

        // In a public session and in the user's it is the user's PIN, in the SO's the SO's (5.5.9).
        let session = token.session();
        session.set_pin(WRONG_PIN, new).refused(CKR_PIN_INCORRECT);
        session.set_pin(USER_PIN, new).unwrap();
        session.login(CKU_USER, USER_PIN).refused(CKR_PIN_INCORRECT);
        session.login(CKU_USER, new).unwrap();
        let (_, private) = two_objects(session);
        session.set_pin(new, USER_PIN).unwrap();
        assert_eq!(
            session.get(private, CKA_LABEL).unwrap(),
            b"private",
            "still logged in"
        );
        session.logout().unwrap();
        session.login(CKU_SO, SO_PIN).unwrap();
        session.set_pin(USER_PIN, new).refused(CKR_PIN_INCORRECT);
        session.set_pin(SO_PIN, OTHER_SO_PIN).unwrap();
        session.logout().unwrap();
        session.login(CKU_SO, SO_PIN).refused(CKR_PIN_INCORRECT);
        session.login(CKU_SO, OTHER_SO_PIN).unwrap();
        session.logout().unwrap();
        session.login(CKU_USER, USER_PIN).unwrap();
        assert_eq!(labels(session), ["private", "public"]);
    });
}

#[test]
fn initializing_a_token_again_empties_it() {
    isolated(|world| {
        let token = world.token();
        let (module, slot) = (token.module, token.slot);
        let user = token.user();
        two_objects(user);
        module
            .init_token(slot, SO_PIN, "test token")
            .refused(CKR_SESSION_EXISTS);
        user.close().unwrap();
        module
            .init_token(slot, WRONG_SO_PIN, "stolen")
            .refused(CKR_PIN_INCORRECT);
        assert_eq!(
            token.has(CKF_SO_PIN_COUNT_LOW),
            world.kind.shows_so_tries,
            "a wrong SO PIN counts here too"
        );
        assert_eq!(
            labels(token.user()),
            ["private", "public"],
            "a refused call changes nothing"
        );
        try_call!(module, C_CloseAllSessions(slot)).unwrap();

        module.init_token(slot, SO_PIN, "empty again").unwrap();
        let token = Token::find(module, "empty again");
        assert_eq!(token.has(CKF_USER_PIN_INITIALIZED), world.kind.personalized);
        let session = token.session();
        let login = session.login(CKU_USER, USER_PIN);
        match world.kind.personalized {
            true => login.unwrap(),
            false => login.refused(CKR_USER_PIN_NOT_INITIALIZED),
        }
        assert_eq!(labels(session), [""; 0]);
        try_call!(module, C_InitToken(token.slot, null_mut(), 0, null_mut()))
            .refused_with(&[CKR_ARGUMENTS_BAD, CKR_SESSION_EXISTS]);
    });
}

#[test]
fn wrong_pins_lock_the_user_and_the_so_unlocks() {
    isolated(|world| {
        let token = world.token();
        let session = token.session();
        let flags = || {
            let flags = token.info().flags;
            [
                CKF_USER_PIN_COUNT_LOW,
                CKF_USER_PIN_FINAL_TRY,
                CKF_USER_PIN_LOCKED,
            ]
            .map(|flag| flags & flag != 0)
        };
        assert_eq!(flags(), [false; 3]);
        for attempt in 1..world.kind.tries {
            session
                .login(CKU_USER, WRONG_PIN)
                .refused(CKR_PIN_INCORRECT);
            assert_eq!(
                flags(),
                [true, attempt == world.kind.tries - 1, false],
                "after wrong try {attempt}"
            );
        }
        // The last try with the right PIN gives all of them back.
        session.login(CKU_USER, USER_PIN).unwrap();
        assert_eq!(flags(), [false; 3]);
        session.logout().unwrap();

        for _ in 1..world.kind.tries {
            session
                .set_pin(WRONG_PIN, OTHER_USER_PIN)
                .refused(CKR_PIN_INCORRECT);
        }
        session
            .login(CKU_USER, WRONG_PIN)
            .refused_with(&[CKR_PIN_INCORRECT, CKR_PIN_LOCKED]);
        assert!(flags()[2], "locked");
        session.login(CKU_USER, USER_PIN).refused(CKR_PIN_LOCKED);
        session
            .set_pin(USER_PIN, OTHER_USER_PIN)
            .refused(CKR_PIN_LOCKED);

        session.login(CKU_SO, SO_PIN).unwrap();
        session.init_pin(OTHER_USER_PIN).unwrap();
        assert_eq!(flags(), [false; 3]);
        session.logout().unwrap();
        session.login(CKU_USER, OTHER_USER_PIN).unwrap();
    });
}

#[test]
fn wrong_pins_lock_the_security_officer() {
    isolated(|world| {
        let token = world.token();
        let module = token.module;
        let session = token.session();
        for _ in 1..world.kind.so_tries - 1 {
            session
                .login(CKU_SO, WRONG_SO_PIN)
                .refused(CKR_PIN_INCORRECT);
        }
        session.close().unwrap();
        module
            .init_token(token.slot, WRONG_SO_PIN, "stolen")
            .refused(CKR_PIN_INCORRECT);
        assert_eq!(token.has(CKF_SO_PIN_FINAL_TRY), world.kind.shows_so_tries);
        module
            .init_token(token.slot, WRONG_SO_PIN, "stolen")
            .refused_with(&[CKR_PIN_INCORRECT, CKR_PIN_LOCKED]);
        assert_eq!(token.has(CKF_SO_PIN_LOCKED), world.kind.shows_so_tries);
        let locked = match world.kind.shows_so_tries {
            true => CKR_PIN_LOCKED,
            false => CKR_PIN_INCORRECT,
        };
        module
            .init_token(token.slot, SO_PIN, "test token")
            .refused(locked);
        let session = token.session();
        session.login(CKU_SO, SO_PIN).refused(locked);
        // The user is another one.
        assert!(!token.has(CKF_USER_PIN_LOCKED));
        session.login(CKU_USER, USER_PIN).unwrap();
    });
}

#[test]
fn the_counter_is_durable() {
    isolated(|world| {
        world.process(|| {
            world.token();
        });
        for attempt in 1..world.kind.tries {
            world.process(|| {
                let token = world.existing_token();
                assert_eq!(token.has(CKF_USER_PIN_COUNT_LOW), attempt > 1);
                token
                    .session()
                    .login(CKU_USER, WRONG_PIN)
                    .refused(CKR_PIN_INCORRECT);
            });
        }
        world.process(|| {
            let token = world.existing_token();
            assert!(token.has(CKF_USER_PIN_FINAL_TRY));
            token
                .session()
                .login(CKU_USER, WRONG_PIN)
                .refused_with(&[CKR_PIN_INCORRECT, CKR_PIN_LOCKED]);
        });
        world.process(|| {
            let token = world.existing_token();
            assert!(token.has(CKF_USER_PIN_LOCKED));
            token
                .session()
                .login(CKU_USER, USER_PIN)
                .refused(CKR_PIN_LOCKED);
        });
    });
}

#[test]
fn racing_processes_share_the_tries() {
    isolated(|world| {
        world.process(|| {
            world.token();
        });
        let (start, wrong) = (Signal::new(), Signal::new());
        let racers: Vec<_> = (0..4)
            .map(|_| {
                world.start(|| {
                    let session = world.existing_token().session();
                    start.wait();
                    let mut tried = 0;
                    let last = loop {
                        match session.login(CKU_USER, WRONG_PIN) {
                            Err(Rv(CKR_PIN_INCORRECT)) if tried < 99 => tried += 1,
                            other => break other,
                        }
                    };
                    last.refused(CKR_PIN_LOCKED);
                    wrong.send_byte(tried);
                })
            })
            .collect();
        (0..4).for_each(|_| start.send());
        let tries: usize = (0..4).map(|_| usize::from(wrong.wait())).sum();
        racers.into_iter().for_each(process::Process::succeeds);
        assert!(tries <= world.kind.tries, "{tries} guesses were answered");
        assert!(
            tries >= world.kind.tries - 1,
            "locked after {tries} guesses"
        );
    });
}

#[test]
fn threads_of_one_process_share_the_tries() {
    isolated(|world| {
        let token = world.token();
        let session = token.session();
        let tries = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while session.login(CKU_USER, WRONG_PIN) == Err(Rv(CKR_PIN_INCORRECT)) {
                        tries.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    }
                });
            }
        });
        let tries = tries.into_inner();
        assert!(
            (world.kind.tries - 1..=world.kind.tries).contains(&tries),
            "{tries} guesses were answered"
        );
        session.login(CKU_USER, USER_PIN).refused(CKR_PIN_LOCKED);
    });
}

/// A guess counts before it is answered: killing the guesser gives no try back.
#[test]
fn a_killed_guess_counts() {
    isolated(|world| {
        world.process(|| {
            world.token();
        });
        let answered = Signal::new();
        for _ in 0..world.kind.tries {
            let guesser = world.start(|| {
                let session = world.existing_token().session();
                session
                    .login(CKU_USER, WRONG_PIN)
                    .refused_with(&[CKR_PIN_INCORRECT, CKR_PIN_LOCKED]);
                answered.send();
                loop {
                    std::thread::park();
                }
            });
            answered.wait();
            guesser.kill();
        }
        world.process(|| {
            let token = world.existing_token();
            token
                .session()
                .login(CKU_USER, USER_PIN)
                .refused(CKR_PIN_LOCKED);
        });
    });
}

/// The kernel knows which guesser lives: those that were killed weigh until the next right PIN, and
/// no longer.
#[test]
fn killed_logins_do_not_lock_who_knows_the_pin() {
    isolated(|world| {
        world.process(|| {
            world.token();
        });
        let (ready, done) = (Signal::new(), Signal::new());
        let owner = || {
            world.start(|| {
                let session = world.existing_token().session();
                ready.send();
                session.login(CKU_USER, USER_PIN).unwrap();
                done.send();
            })
        };
        let login = duration(owner(), &ready, &done);
        let rounds = 2 * world.kind.tries as u32;
        let mut counted = 0;
        for round in 0..rounds {
            let owner = owner();
            ready.wait();
            std::thread::sleep(login * round / rounds);
            owner.kill();
            world.process(|| {
                let token = world.existing_token();
                ready.send_byte(u8::from(token.has(CKF_USER_PIN_COUNT_LOW)));
                token.session().login(CKU_USER, USER_PIN).unwrap();
                assert!(!token.has(CKF_USER_PIN_COUNT_LOW));
            });
            counted += ready.wait();
        }
        let counts_first = world.kind.counts_first;
        assert_eq!(counted > 0, counts_first, "{counted} kills hit a login");
    });
}

/// A PIN that was not compared was not tried.
#[test]
fn a_login_without_memory_takes_no_try() {
    isolated(|world| {
        let token = world.token();
        let session = token.session();
        let limit = |bytes| {
            let limits = libc::rlimit {
                rlim_cur: bytes,
                rlim_max: libc::RLIM_INFINITY,
            };
            assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &limits) }, 0);
        };
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
        let pages: u64 = statm.split(' ').next().unwrap().parse().unwrap();
        for (user, pin, low) in [
            (CKU_USER, USER_PIN, CKF_USER_PIN_COUNT_LOW),
            (CKU_SO, SO_PIN, CKF_SO_PIN_COUNT_LOW),
        ] {
            limit(pages * 4096 + (16 << 20));
            for _ in 0..=world.kind.tries {
                // A PIN that is not stretched needs no memory.
                if world.kind.stretched.contains(&user) {
                    session.login(user, pin).refused(CKR_HOST_MEMORY);
                } else {
                    session.login(user, pin).unwrap();
                    session.logout().unwrap();
                }
                assert!(!token.has(low));
            }
            limit(libc::RLIM_INFINITY);
            session.login(user, pin).unwrap();
            session.logout().unwrap();
        }
    });
}

/// Killed anywhere in C_SetPIN, the old PIN or the new one opens the token, and what is in it is there.
#[test]
fn a_killed_change_leaves_one_pin() {
    const PINS: [&str; 2] = [USER_PIN, OTHER_USER_PIN];
    isolated(|world| {
        world.process(|| {
            two_objects(world.token().user());
        });
        let (ready, done) = (Signal::new(), Signal::new());
        let changer = || {
            world.start(|| {
                let session = world.existing_token().session();
                ready.send();
                for turn in 0.. {
                    if session
                        .set_pin(PINS[turn % 2], PINS[(turn + 1) % 2])
                        .is_err()
                    {
                        // This round began with the other one.
                        session
                            .set_pin(PINS[(turn + 1) % 2], PINS[turn % 2])
                            .unwrap();
                    }
                    done.send();
                }
            })
        };
        let change = duration(changer(), &ready, &done);
        for round in 1..=16 {
            let changer = changer();
            ready.wait();
            // Anywhere in the first two.
            std::thread::sleep(change * round / 8);
            changer.kill();
            world.process(|| {
                let session = world.existing_token().session();
                let opened = PINS.iter().filter(|pin| {
                    let opens = session.login(CKU_USER, pin).is_ok();
                    if opens {
                        assert_eq!(labels(session), ["private", "public"]);
                        session.logout().unwrap();
                    }
                    opens
                });
                assert_eq!(opened.count(), 1, "exactly one PIN opens the token");
            });
        }
    });
}

#[test]
fn logout_takes_private_objects_and_operations_away() {
    isolated(|world| {
        let token = world.token();
        let session = token.user();
        let (public, private) = two_objects(session);
        let key = session.ec(Curve::P256).private;
        let secret = session.aes(16);
        session.sign_init(CKM_ECDSA_SHA256, key).unwrap();
        session.encrypt_init(CKM_AES_ECB, secret).unwrap();
        session.logout().unwrap();

        // 5.6.10: handles of private objects become invalid, private session objects are destroyed.
        session
            .get(private, CKA_LABEL)
            .refused(CKR_OBJECT_HANDLE_INVALID);
        session
            .get(key, CKA_LABEL)
            .refused(CKR_OBJECT_HANDLE_INVALID);
        assert_eq!(session.get(public, CKA_LABEL).unwrap(), b"public");
        assert_eq!(labels(session), ["public"]);
        let ended = [CKR_OPERATION_NOT_INITIALIZED, CKR_USER_NOT_LOGGED_IN];
        session.sign_rest(b"after logout").refused_with(&ended);
        session.encrypt_rest(&[0; 16]).refused_with(&ended);
        session
            .sign_init(CKM_ECDSA_SHA256, key)
            .refused_with(&[CKR_KEY_HANDLE_INVALID, CKR_USER_NOT_LOGGED_IN]);
        session
            .create(
                &Template::new()
                    .set(CKA_CLASS, CKO_DATA)
                    .set(CKA_PRIVATE, true),
            )
            .refused(CKR_USER_NOT_LOGGED_IN);

        session.login(CKU_USER, USER_PIN).unwrap();
        session
            .get(key, CKA_LABEL)
            .refused(CKR_OBJECT_HANDLE_INVALID);
        session
            .get(private, CKA_LABEL)
            .refused(CKR_OBJECT_HANDLE_INVALID);
        session
            .sign_rest(b"after login")
            .refused(CKR_OPERATION_NOT_INITIALIZED);
        assert_eq!(labels(session), ["private", "public"]);
    });
}

/// Secrets on the token are under the PIN: a key that all may see is still used by the user alone.
#[test]
fn a_public_key_object_keeps_its_secret_behind_the_pin() {
    isolated(|world| {
        // Others refuse such keys (tests/kinds.rs).
        if !world.kind.keeps_secrets {
            return;
        }
        let token = world.token();
        let user = token.user();
        let open = Template::new().set(CKA_TOKEN, true).set(CKA_PRIVATE, false);
        let pair = user.ec_with(Curve::P256, &open);
        let open = open.set(CKA_SENSITIVE, false).set(CKA_EXTRACTABLE, true);
        let secret = user
            .generate_key(CKM_AES_KEY_GEN, &open.clone().set(CKA_VALUE_LEN, 16))
            .unwrap();
        user.sign(CKM_ECDSA_SHA256, pair.private, b"data").unwrap();
        user.encrypt(CKM_AES_ECB, secret, &[0; 16]).unwrap();
        assert_eq!(user.get(secret, CKA_VALUE).unwrap().len(), 16);
        user.encrypt_init(CKM_AES_ECB, secret).unwrap();
        user.logout().unwrap();
        let refused = |session: Session, private, secret| {
            session
                .sign_init(CKM_ECDSA_SHA256, private)
                .refused(CKR_USER_NOT_LOGGED_IN);
            session
                .encrypt_init(CKM_AES_ECB, secret)
                .refused(CKR_USER_NOT_LOGGED_IN);
            session
                .get(secret, CKA_VALUE)
                .refused(CKR_ATTRIBUTE_SENSITIVE);
            session.get(secret, CKA_LABEL).unwrap();
        };
        user.encrypt_rest(&[0; 16])
            .refused_with(&[CKR_USER_NOT_LOGGED_IN, CKR_OPERATION_NOT_INITIALIZED]);
        refused(user, pair.private, secret);
        world.process(|| {
            let session = world.existing_token().session();
            let find = |class| session.find_one(&Template::new().set(CKA_CLASS, class));
            refused(session, find(CKO_PRIVATE_KEY), find(CKO_SECRET_KEY));
            session.login(CKU_USER, USER_PIN).unwrap();
            session
                .sign(CKM_ECDSA_SHA256, find(CKO_PRIVATE_KEY), b"data")
                .unwrap();
        });
    });
}

#[test]
fn the_security_officer_and_private_objects() {
    isolated(|world| {
        let token = world.token();
        let session = token.user();
        let (_, private) = two_objects(session);
        session.logout().unwrap();
        session.login(CKU_SO, SO_PIN).unwrap();
        session
            .get(private, CKA_LABEL)
            .refused(CKR_OBJECT_HANDLE_INVALID);
        let create = || session.create(&data("data").set(CKA_PRIVATE, true));
        let place = on(world.kind.works_on_token());
        let generate = || {
            let params = place.clone().set(CKA_EC_PARAMS, Curve::P256.params);
            session.generate_key_pair(CKM_EC_KEY_PAIR_GEN, &params, &place)
        };
        if world.kind.so_writes {
            assert_eq!(labels(session), ["private", "public"]);
            create().unwrap();
            generate().unwrap();
        } else {
            assert_eq!(labels(session), ["public"]);
            create().refused(CKR_USER_NOT_LOGGED_IN);
            generate().refused(CKR_USER_NOT_LOGGED_IN);
        }
    });
}

/// 5.6.8: a key that asks for the PIN each time; C_Login(CKU_CONTEXT_SPECIFIC) after Init allows one use.
#[test]
fn context_specific_login() {
    isolated(|world| {
        let token = world.token();
        let session = token.user();
        for on_token in [false, false, true, true] {
            let (public, key) = session
                .generate_key_pair(
                    CKM_EC_KEY_PAIR_GEN,
                    &on(on_token).set(CKA_EC_PARAMS, Curve::P256.params),
                    &on(on_token).set(CKA_ALWAYS_AUTHENTICATE, true),
                )
                .unwrap();
            session
                .sign(CKM_ECDSA_SHA256, key, b"data")
                .refused(CKR_USER_NOT_LOGGED_IN);
            session.cancel(CKF_SIGN);
            session.sign_init(CKM_ECDSA_SHA256, key).unwrap();
            session
                .login(CKU_CONTEXT_SPECIFIC, WRONG_PIN)
                .refused(CKR_PIN_INCORRECT);
            assert!(token.has(CKF_USER_PIN_COUNT_LOW));
            session.login(CKU_CONTEXT_SPECIFIC, USER_PIN).unwrap();
            session.sign_rest(b"data").unwrap();
            session.destroy(key).unwrap();
            session.destroy(public).unwrap();
        }
    });
}
