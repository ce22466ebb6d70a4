//! What holds whoever comes between: changes made at the same time, what a logout and a closed session
//! leave behind, and the rules that stay with a key (PKCS#11 3.2, 4 and 5.6; THREATS.md 1).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::undocumented_unsafe_blocks, missing_docs)]

mod common;

use common::process::Signal;
use common::vectors::{self, hex};
use common::*;
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

const ROUNDS: u8 = 30;
const PAST: &str = "20200101";
const FUTURE: &str = "29990101";

fn by_id(class: CK_OBJECT_CLASS, id: &[u8]) -> Template {
    Template::new().set(CKA_CLASS, class).set(CKA_ID, id)
}

/// A secret key that may still be made sensitive; a public key where the token keeps no secrets.
fn open_key(number: u8) -> Template {
    let key = match process::kind().keeps_secrets {
        true => aes_template(&[number; 16])
            .set(CKA_SENSITIVE, false)
            .set(CKA_EXTRACTABLE, true),
        false => rsa_public_import(),
    };
    key.set(CKA_ID, &[number]).set(CKA_LABEL, "old")
}

/// The two changes of one key that are made at the same time, and that neither takes back.
fn changes() -> [Template; 2] {
    let first = Template::new();
    [
        match process::kind().keeps_secrets {
            true => first.set(CKA_SENSITIVE, true),
            false => first.set(CKA_SUBJECT, "new"),
        },
        Template::new().set(CKA_LABEL, "new"),
    ]
}

#[track_caller]
fn has_both_changes(session: Session, key: CK_OBJECT_HANDLE) {
    assert_eq!(session.get(key, CKA_LABEL).unwrap(), b"new");
    if !process::kind().keeps_secrets {
        assert_eq!(session.get(key, CKA_SUBJECT).unwrap(), b"new");
        return;
    }
    assert!(session.get_bool(key, CKA_SENSITIVE), "sensitive no more");
    session.get(key, CKA_VALUE).refused(CKR_ATTRIBUTE_SENSITIVE);
}

/// How many of these keys there is room for.
fn rounds() -> u8 {
    let room = process::kind().room.map(|room| room.objects as u8);
    room.unwrap_or(ROUNDS).min(ROUNDS)
}

#[test]
fn two_processes_change_one_key() {
    isolated(|world| {
        world.process(|| {
            let session = world.token().user();
            for number in 0..rounds() {
                let key = open_key(number).set(CKA_TOKEN, true);
                session.create(&key).unwrap();
            }
        });
        let signals = [Signal::new(), Signal::new()];
        let processes = [0, 1].map(|mine| {
            let signals = &signals;
            world.start(move || {
                let session = world.existing_token().user();
                let meet = || {
                    signals[mine].send();
                    signals[1 - mine].wait();
                };
                let change = &changes()[mine];
                for number in 0..rounds() {
                    let key = session.find_one(&Template::new().set(CKA_ID, &[number]));
                    meet();
                    session.set(key, change).unwrap();
                    meet();
                    has_both_changes(session, key);
                }
            })
        });
        for process in processes {
            process.succeeds();
        }
        world.process(|| {
            let session = world.existing_token().user();
            for number in 0..rounds() {
                let key = session.find_one(&Template::new().set(CKA_ID, &[number]));
                has_both_changes(session, key);
            }
        });
    });
}

#[test]
fn two_threads_change_one_key() {
    isolated(|world| {
        let token = world.token();
        let keeper = token.user();
        for number in 0..rounds() {
            for on_token in [true, false] {
                let key = keeper
                    .create(&open_key(number).set(CKA_TOKEN, on_token))
                    .unwrap();
                let together = Barrier::new(2);
                thread::scope(|scope| {
                    for change in changes() {
                        let together = &together;
                        scope.spawn(move || {
                            let session = token.session();
                            together.wait();
                            session.set(key, &change).unwrap();
                            session.close().unwrap();
                        });
                    }
                });
                has_both_changes(keeper, key);
            }
        }
    });
}

/// 5.6.10: "all private session objects are destroyed", those included that are just being made.
#[test]
fn no_private_session_object_outlives_a_logout() {
    isolated(|world| {
        let token = world.token();
        let keeper = token.session();
        let private = Template::new().set(CKA_PRIVATE, true);
        for round in 0..8 {
            keeper.login(CKU_USER, USER_PIN).unwrap();
            // A card has data of its own.
            let of_token = keeper.find(&private).unwrap().len();
            // Each is at work when the logout comes, however long that takes on a busy machine.
            let making = Barrier::new(4);
            let made: Vec<_> = thread::scope(|scope| {
                let makers: Vec<_> = [0, 1, 2]
                    .map(|maker| {
                        let (private, making) = (&private, &making);
                        scope.spawn(move || {
                            let session = token.session();
                            let make = || match maker {
                                0 => session.create(&aes_template(&[1; 16]).with(private)),
                                1 => session.create(&data("data").with(private)),
                                _ => session.generate_key(
                                    CKM_AES_KEY_GEN,
                                    &Template::new()
                                        .set(CKA_VALUE_LEN, 16 as CK_ULONG)
                                        .with(private),
                                ),
                            };
                            let mut made = vec![make().unwrap()];
                            making.wait();
                            loop {
                                match make() {
                                    Ok(object) => made.push(object),
                                    refused => {
                                        refused.refused(CKR_USER_NOT_LOGGED_IN);
                                        return made;
                                    }
                                }
                            }
                        })
                    })
                    .into_iter()
                    .collect();
                making.wait();
                thread::sleep(Duration::from_millis(2 + round));
                keeper.logout().unwrap();
                makers
                    .into_iter()
                    .flat_map(|maker| maker.join().unwrap())
                    .collect()
            });
            assert_eq!(keeper.find(&private).unwrap(), []);
            keeper.login(CKU_USER, USER_PIN).unwrap();
            assert_eq!(keeper.find(&private).unwrap().len(), of_token);
            for object in made {
                keeper
                    .get(object, CKA_CLASS)
                    .refused(CKR_OBJECT_HANDLE_INVALID);
            }
            keeper.logout().unwrap();
        }
    });
}

/// 5.6.10: what a private key was doing in any session of the token ends with the login, and the next
/// login does not take it up again.
#[test]
fn logout_ends_the_operations_of_private_keys() {
    const OVER: [CK_RV; 2] = [CKR_OPERATION_NOT_INITIALIZED, CKR_USER_NOT_LOGGED_IN];
    isolated(|world| {
        let token = world.token();
        let sessions = [token.session(), token.session(), token.session()];
        let [one, other, _] = sessions;
        let private = Template::new().set(CKA_TOKEN, true).set(CKA_PRIVATE, true);
        one.login(CKU_USER, USER_PIN).unwrap();
        one.ec_with(Curve::P256, &on(true).set(CKA_LABEL, "sign"));
        for again in [false, true] {
            // One of the session goes with the first logout.
            let kept = world.kind.keeps_secrets;
            if !(again && kept) {
                let key = aes_template(&[1; 16]).with(&private).with(&on(kept));
                one.create(&key).unwrap();
            }
            let pair = Template::new()
                .set(CKA_CLASS, CKO_PRIVATE_KEY)
                .set(CKA_LABEL, "sign");
            let sign = one.find_one(&pair);
            let aes = one.find_one(&Template::new().set(CKA_CLASS, CKO_SECRET_KEY));
            for session in sessions {
                session.sign_init(CKM_ECDSA_SHA256, sign).unwrap();
                session.encrypt_init(CKM_AES_ECB, aes).unwrap();
                session.decrypt_init(CKM_AES_ECB, aes).unwrap();
            }
            sessions[2].sign_update(b"begun").unwrap();
            other.logout().unwrap();
            if again {
                one.login(CKU_USER, USER_PIN).unwrap();
            }
            for session in [one, other] {
                session.sign_rest(b"data").refused_with(&OVER);
            }
            sessions[2].sign_final().refused_with(&OVER);
            for session in sessions {
                session.encrypt_rest(&[0; 16]).refused_with(&OVER);
                session.decrypt_update(&[0; 16]).refused_with(&OVER);
                session
                    .sign_rest(b"data")
                    .refused(CKR_OPERATION_NOT_INITIALIZED);
            }
            if !again {
                one.login(CKU_USER, USER_PIN).unwrap();
            }
            let sign = one.find_one(&pair);
            for session in sessions {
                session.sign(CKM_ECDSA_SHA256, sign, b"data").unwrap();
            }
        }
    });
}

/// 5.6.2: "all session objects created by the session are destroyed", those included that are just
/// being made.
#[test]
fn no_object_outlives_its_session() {
    isolated(|world| {
        let token = world.token();
        let mine = Template::new()
            .set(CKA_LABEL, "mine")
            .set(CKA_PRIVATE, false);
        for round in 0..ROUNDS {
            let session = token.session();
            let all = round % 3 == 0;
            let keeper = (!all).then(|| token.session());
            thread::scope(|scope| {
                for maker in 0..3 {
                    let mine = &mine;
                    scope.spawn(move || {
                        loop {
                            let made = match maker {
                                0 => session.create(&data("mine").with(mine)),
                                1 => session.create(&aes_template(&[1; 16]).with(mine)),
                                _ => session
                                    .generate_key_pair(
                                        CKM_EC_KEY_PAIR_GEN,
                                        &Template::new()
                                            .set(CKA_EC_PARAMS, Curve::P256.params)
                                            .with(mine),
                                        mine,
                                    )
                                    .map(|(public, _)| public),
                            };
                            if made.is_err() {
                                made.refused_with(&[
                                    CKR_SESSION_HANDLE_INVALID,
                                    CKR_SESSION_CLOSED,
                                ]);
                                return;
                            }
                        }
                    });
                }
                thread::sleep(Duration::from_micros(500 * u64::from(round % 7)));
                match all {
                    true => try_call!(token.module, C_CloseAllSessions(token.slot)).unwrap(),
                    false => session.close().unwrap(),
                }
            });
            let after = keeper.unwrap_or_else(|| token.session());
            assert_eq!(after.find(&mine).unwrap(), []);
            after.close().unwrap();
        }
    });
}

/// 4.8.2, CKA_START_DATE and CKA_END_DATE: outside them a key makes nothing new, but what it once made
/// is still read and checked.
#[test]
fn dates_of_keys() {
    isolated(|world| {
        let session = world.token().user();
        let refused = CKR_KEY_FUNCTION_NOT_PERMITTED;
        let aes = session.create(&aes_template(&[1; 16])).unwrap();
        let secret = session.create(&generic_secret_template(&[2; 32])).unwrap();
        let sealed = session.encrypt(CKM_AES_ECB, aes, &[3; 16]).unwrap();
        let mac = session.sign(CKM_SHA256_HMAC, secret, b"data").unwrap();
        for dates in [
            Template::new().set(CKA_END_DATE, PAST),
            Template::new().set(CKA_START_DATE, FUTURE),
        ] {
            let key = |template: Template| session.create(&template.with(&dates)).unwrap();
            let aes = key(aes_template(&[1; 16]));
            session.encrypt_init(CKM_AES_ECB, aes).refused(refused);
            assert_eq!(session.decrypt(CKM_AES_ECB, aes, &sealed).unwrap(), [3; 16]);
            let secret = key(generic_secret_template(&[2; 32]));
            session.sign_init(CKM_SHA256_HMAC, secret).refused(refused);
            session
                .verify(CKM_SHA256_HMAC, secret, b"data", &mac)
                .unwrap();
            let (private, public) = (key(rsa_private_import()), key(rsa_public_import()));
            session
                .sign_init(CKM_SHA256_RSA_PKCS, private)
                .refused(refused);
            session.encrypt_init(CKM_RSA_PKCS, public).refused(refused);
            session.decrypt_init(CKM_RSA_PKCS, private).unwrap();
            session.cancel(CKF_DECRYPT);
            let signature = hex(vectors::RSA_PKCS_SHA256);
            session
                .verify(CKM_SHA256_RSA_PKCS, public, vectors::MESSAGE, &signature)
                .unwrap();
        }
        // Within its dates a key does everything, until they are changed.
        let dates = Template::new()
            .set(CKA_START_DATE, PAST)
            .set(CKA_END_DATE, FUTURE);
        session.set(secret, &dates).unwrap();
        session.sign(CKM_SHA256_HMAC, secret, b"data").unwrap();
        let over = Template::new().set(CKA_END_DATE, PAST);
        session.set(secret, &over).unwrap();
        session.sign_init(CKM_SHA256_HMAC, secret).refused(refused);
    });
}

/// 4.10: CKA_ALWAYS_AUTHENTICATE "can only be set to CK_TRUE when CKA_PRIVATE is also CK_TRUE".
#[test]
fn a_key_that_asks_for_the_pin_is_private() {
    isolated(|world| {
        let session = world.token().user();
        let asks = Template::new()
            .set(CKA_ALWAYS_AUTHENTICATE, true)
            .set(CKA_PRIVATE, false);
        let params = Template::new().set(CKA_EC_PARAMS, Curve::P256.params);
        session
            .generate_key_pair(CKM_EC_KEY_PAIR_GEN, &params, &asks)
            .refused(CKR_TEMPLATE_INCONSISTENT);
        let import = ec_private_import(Curve::P256, vectors::P256_SCALAR);
        session
            .create(&import.clone().with(&asks))
            .refused(CKR_TEMPLATE_INCONSISTENT);
        let asks_nothing = session.create(&import.set(CKA_PRIVATE, false)).unwrap();
        session
            .copy(asks_nothing, &asks)
            .refused(CKR_TEMPLATE_INCONSISTENT);
        let mine = Template::new().set(CKA_ALWAYS_AUTHENTICATE, true);
        assert_eq!(session.find(&mine).unwrap(), []);
        session
            .generate_key_pair(CKM_EC_KEY_PAIR_GEN, &params, &mine)
            .unwrap();
    });
}

/// The public key that the token puts beside an imported private key goes with it.
#[test]
fn the_public_key_of_an_imported_private_key() {
    isolated(|world| {
        let session = world.token().user();
        let rsa = (rsa_private_import(), rsa_public_import());
        let ec = (
            ec_private_import(Curve::P256, vectors::P256_SCALAR),
            ec_public_import(Curve::P256, vectors::P256_POINT),
        );
        let public = |id: &str| by_id(CKO_PUBLIC_KEY, id.as_bytes());
        let cases = [
            (rsa.clone(), true),
            (rsa, false),
            (ec.clone(), true),
            (ec, false),
        ];
        let comes = |case: &(_, bool)| world.kind.keys(case.1).imported;
        for ((private, given), on_token) in cases.into_iter().filter(comes) {
            let named = Template::new()
                .set(CKA_TOKEN, on_token)
                .set(CKA_ID, "first")
                .set(CKA_LABEL, "first");
            let (private, given) = (private.with(&named), given.with(&named));

            let key = session.create(&private).unwrap();
            session.find_one(&public("first"));
            let renamed = Template::new()
                .set(CKA_ID, "second")
                .set(CKA_LABEL, "second");
            session.set(key, &renamed).unwrap();
            assert_eq!(session.find(&public("first")).unwrap(), []);
            let companion = session.find_one(&public("second"));
            assert_eq!(session.get(companion, CKA_LABEL).unwrap(), b"second");
            let label = Template::new().set(CKA_LABEL, "third");
            session.set(key, &label).unwrap();
            let companion = session.find_one(&public("second"));
            assert_eq!(session.get(companion, CKA_LABEL).unwrap(), b"third");
            session.destroy(key).unwrap();
            assert_eq!(session.find(&public("second")).unwrap(), []);

            // One that the caller stores takes its place, and is the caller's.
            let key = session.create(&private).unwrap();
            let explicit = session
                .create(&given.clone().set(CKA_LABEL, "given"))
                .unwrap();
            assert_eq!(session.find_one(&public("first")), explicit);
            session.set(key, &renamed).unwrap();
            session.destroy(key).unwrap();
            assert_eq!(session.find_one(&public("first")), explicit);
            assert_eq!(session.get(explicit, CKA_LABEL).unwrap(), b"given");

            // Where the caller's is there first, no other one comes.
            let key = session.create(&private).unwrap();
            assert_eq!(session.find_one(&public("first")), explicit);
            session.destroy(key).unwrap();
            session.destroy(explicit).unwrap();
            let all = Template::new().set(CKA_CLASS, CKO_PUBLIC_KEY);
            assert_eq!(session.find(&all).unwrap(), []);
        }
    });
}

/// A MAC of so few bytes is guessed.
#[test]
fn short_macs() {
    isolated(|world| {
        let session = world.token().user();
        let secret = session.create(&generic_secret_template(&[9; 40])).unwrap();
        for length in 0..4 as CK_ULONG {
            let short = Mech::bytes(CKM_SHA256_HMAC_GENERAL, &length.to_ne_bytes());
            session
                .sign_init(short.clone(), secret)
                .refused(CKR_MECHANISM_PARAM_INVALID);
            session
                .verify_init(short, secret)
                .refused(CKR_MECHANISM_PARAM_INVALID);
        }
        let four = Mech::bytes(CKM_SHA256_HMAC_GENERAL, &(4 as CK_ULONG).to_ne_bytes());
        assert_eq!(session.sign(four, secret, b"data").unwrap().len(), 4);
    });
}
