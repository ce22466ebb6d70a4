//! Threads: sessions side by side, one session shared, and everything pulled away under running
//! operations (THREATS.md 1; PKCS#11 3.2, 5.6.1 lets several threads use one session).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::undocumented_unsafe_blocks, missing_docs)]

mod common;

use common::*;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// What a call may answer whose session, key, login or module goes away meanwhile.
const PULLED_AWAY: [CK_RV; 8] = [
    CKR_SESSION_HANDLE_INVALID,
    CKR_SESSION_CLOSED,
    CKR_KEY_HANDLE_INVALID,
    CKR_OBJECT_HANDLE_INVALID,
    CKR_USER_NOT_LOGGED_IN,
    CKR_OPERATION_NOT_INITIALIZED,
    CKR_OPERATION_ACTIVE,
    CKR_CRYPTOKI_NOT_INITIALIZED,
];

/// `Ok`, or one of these refusals.
#[track_caller]
fn tolerate<T: std::fmt::Debug>(result: Result<T, Rv>, codes: &[CK_RV]) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        refused => {
            refused.refused_with(codes);
            None
        }
    }
}

#[test]
fn a_session_each() {
    isolated(|world| {
        let token = world.token();
        let pair = token.user().ec(Curve::P256);
        thread::scope(|scope| {
            for number in 0..8u8 {
                scope.spawn(move || {
                    let session = token.session();
                    let own = session.ec(Curve::P384);
                    for round in 0..50u8 {
                        let message = [number, round];
                        for pair in [pair, own] {
                            let signature = session
                                .sign(CKM_ECDSA_SHA256, pair.private, &message)
                                .unwrap();
                            session
                                .verify(CKM_ECDSA_SHA256, pair.public, &message, &signature)
                                .unwrap();
                        }
                        let object = session
                            .create(&data("mine").set(CKA_VALUE, &message))
                            .unwrap();
                        assert_eq!(
                            session.find_one(&Template::new().set(CKA_VALUE, &message)),
                            object
                        );
                        session.destroy(object).unwrap();
                        assert_eq!(session.digest(CKM_SHA256, &message).unwrap().len(), 32);
                    }
                    session.close().unwrap();
                });
            }
        });
    });
}

/// An Init and its use are two calls, so threads on one session get in each other's way; each answer
/// is still a whole signature of one of the messages or a refusal.
#[test]
fn one_session_for_all() {
    isolated(|world| {
        let token = world.token();
        let session = token.user();
        let pair = session.ec(Curve::P256);
        let states = [CKR_OPERATION_ACTIVE, CKR_OPERATION_NOT_INITIALIZED];
        let made: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = (0..6u8)
                .map(|number| {
                    scope.spawn(move || {
                        let mut made = Vec::new();
                        for _ in 0..200 {
                            tolerate(session.sign_init(CKM_ECDSA_SHA256, pair.private), &states);
                            made.extend(
                                tolerate(session.sign_rest(&[number]), &states)
                                    .map(|signature| (number, signature)),
                            );
                            tolerate(session.digest(CKM_SHA256, &[number]), &states);
                            session.random(8).unwrap();
                            session.info().unwrap();
                        }
                        made
                    })
                })
                .collect();
            threads
                .into_iter()
                .flat_map(|thread| thread.join().unwrap())
                .collect()
        });
        assert!(!made.is_empty());
        let checker = token.session();
        for (number, signature) in made {
            checker
                .verify(CKM_ECDSA_SHA256, pair.public, &[number], &signature)
                .unwrap();
        }
    });
}

#[test]
fn sessions_closed_under_running_operations() {
    isolated(|world| {
        let token = world.token();
        let keeper = token.user();
        let pair = keeper.any_rsa();
        for round in 0..20 {
            let session = token.session();
            thread::scope(|scope| {
                for _ in 0..3 {
                    scope.spawn(|| {
                        while session.info().is_ok() {
                            tolerate(
                                session.sign(CKM_SHA256_RSA_PKCS, pair.private, b"data"),
                                &PULLED_AWAY,
                            );
                            tolerate(session.find(&Template::new()), &PULLED_AWAY);
                        }
                    });
                }
                thread::sleep(std::time::Duration::from_millis(round % 5));
                session.close().unwrap();
            });
        }
        keeper
            .sign(CKM_SHA256_RSA_PKCS, pair.private, b"data")
            .unwrap();
    });
}

#[test]
fn keys_destroyed_under_running_operations() {
    isolated(|world| {
        let token = world.token();
        let keeper = token.user();
        for on_token in [false, true].repeat(5) {
            let pair = keeper.ec_with(Curve::P256, &Template::new().set(CKA_TOKEN, on_token));
            thread::scope(|scope| {
                for _ in 0..3 {
                    scope.spawn(|| {
                        let session = token.session();
                        while session.get(pair.private, CKA_CLASS).is_ok() {
                            if let Some(signature) = tolerate(
                                session.sign(CKM_ECDSA_SHA256, pair.private, b"data"),
                                &PULLED_AWAY,
                            ) {
                                verifies(session, pair, &signature);
                            }
                        }
                    });
                }
                thread::sleep(std::time::Duration::from_millis(3));
                keeper.destroy(pair.private).unwrap();
            });
            keeper.destroy(pair.public).unwrap();
        }
    });
}

fn verifies(session: Session, pair: Pair, signature: &[u8]) {
    session
        .verify(CKM_ECDSA_SHA256, pair.public, b"data", signature)
        .unwrap();
}

#[test]
fn logout_under_running_operations() {
    isolated(|world| {
        let token = world.token();
        let keeper = token.session();
        keeper.login(CKU_USER, USER_PIN).unwrap();
        keeper.ec_with(
            Curve::P256,
            &Template::new().set(CKA_TOKEN, true).set(CKA_LABEL, "pair"),
        );
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let session = token.session();
                    let private = Template::new()
                        .set(CKA_LABEL, "pair")
                        .set(CKA_CLASS, CKO_PRIVATE_KEY);
                    while !stop.load(Ordering::Relaxed) {
                        for key in session.find(&private).unwrap() {
                            tolerate(session.sign(CKM_ECDSA_SHA256, key, b"data"), &PULLED_AWAY);
                            session.cancel(CKF_SIGN);
                        }
                    }
                });
            }
            for _ in 0..10 {
                keeper.logout().unwrap();
                keeper.login(CKU_USER, USER_PIN).unwrap();
            }
            stop.store(true, Ordering::Relaxed);
        });
    });
}

#[test]
fn finalize_under_running_operations() {
    isolated(|world| {
        let token = world.token();
        for _ in 0..5 {
            let pair = token.user().any_rsa();
            let sessions = [(); 4].map(|()| token.session());
            thread::scope(|scope| {
                for session in sessions {
                    scope.spawn(move || {
                        let signed = || session.sign(CKM_SHA256_RSA_PKCS, pair.private, b"data");
                        while let Some(signature) = tolerate(signed(), &PULLED_AWAY) {
                            assert_eq!(signature.len(), 256);
                        }
                    });
                }
                thread::sleep(std::time::Duration::from_millis(20));
                token.module.finalize().unwrap();
            });
            token.module.initialize().unwrap();
        }
    });
}

#[test]
fn many_sessions() {
    isolated(|world| {
        let token = world.token();
        let sessions: Vec<_> = (0..2000).map(|_| token.session()).collect();
        assert_eq!(token.info().ulSessionCount, 2000);
        sessions[1999].login(CKU_USER, USER_PIN).unwrap();
        let pair = sessions[0].ec(Curve::P256);
        sessions[1]
            .sign(CKM_ECDSA_SHA256, pair.private, b"data")
            .unwrap();
        try_call!(token.module, C_CloseAllSessions(token.slot)).unwrap();
        assert_eq!(token.info().ulSessionCount, 0);
    });
}
