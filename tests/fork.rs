//! Fork (PKCS#11 3.2, 2.5; CLIENTS.md 2.3, 5): the child starts anew and cannot spoil its parent.

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

fn signs(session: Session, pair: Pair) {
    let signature = session
        .sign(CKM_ECDSA_SHA256, pair.private, b"data")
        .unwrap();
    session
        .verify(CKM_ECDSA_SHA256, pair.public, b"data", &signature)
        .unwrap();
}

/// A pair on the token, to be found by any process.
fn token_pair(session: Session) -> Pair {
    session.ec_with(
        Curve::P256,
        &Template::new().set(CKA_TOKEN, true).set(CKA_LABEL, "pair"),
    )
}

fn find_pair(session: Session) -> Pair {
    let of =
        |class| session.find_one(&Template::new().set(CKA_LABEL, "pair").set(CKA_CLASS, class));
    Pair {
        public: of(CKO_PUBLIC_KEY),
        private: of(CKO_PRIVATE_KEY),
    }
}

#[test]
fn the_child_begins_uninitialized() {
    isolated(|world| {
        let token = world.token();
        let session = token.user();
        let pair = token_pair(session);
        session.sign_init(CKM_ECDSA_SHA256, pair.private).unwrap();
        session.sign_update(b"da").unwrap();
        world.process(|| {
            let module = token.module;
            let gone = CKR_CRYPTOKI_NOT_INITIALIZED;
            module.slots().refused(gone);
            session.info().refused(gone);
            session.sign_update(b"ta").refused(gone);
            session.random(8).refused(gone);
            session.logout().refused(gone);
            session.close().refused(gone);
            module.initialize().unwrap();
            // Handles of the parent are nothing here, and the login is not inherited.
            session.info().refused(CKR_SESSION_HANDLE_INVALID);
            assert_eq!(token.session().state(), CKS_RW_PUBLIC_SESSION);
            let own = token.user();
            signs(own, find_pair(own));
            own.logout().unwrap();
            module.finalize().unwrap();
        });
        // The parent's operation went on as if nothing had been.
        session.sign_update(b"ta").unwrap();
        let signature = session.sign_final().unwrap();
        session
            .verify(CKM_ECDSA_SHA256, pair.public, b"data", &signature)
            .unwrap();
    });
}

/// libp11 calls C_Initialize alone, pkcs11-provider C_Finalize and then C_Initialize, p11-kit's users neither.
#[test]
fn finalize_in_the_child_is_harmless() {
    isolated(|world| {
        let token = world.token();
        let session = token.user();
        let pair = token_pair(session);
        for initialize in [false, true] {
            world.process(|| {
                let result = token.module.finalize();
                if result.is_err() {
                    result.refused(CKR_CRYPTOKI_NOT_INITIALIZED);
                }
                if initialize {
                    token.module.initialize().unwrap();
                    let own = token.user();
                    signs(own, find_pair(own));
                }
            });
            signs(session, pair);
        }
    });
}

#[test]
fn grandchildren() {
    isolated(|world| {
        let token = world.token();
        token_pair(token.user());
        world.process(|| {
            world.process(|| {
                token.module.slots().refused(CKR_CRYPTOKI_NOT_INITIALIZED);
                token.module.initialize().unwrap();
                let own = token.user();
                signs(own, find_pair(own));
            });
            token.module.initialize().unwrap();
            let own = token.user();
            world.process(|| own.info().refused(CKR_CRYPTOKI_NOT_INITIALIZED));
            signs(own, find_pair(own));
        });
        signs(token.session(), find_pair(token.session()));
    });
}

#[test]
fn a_child_of_an_uninitialized_parent() {
    isolated(|world| {
        let module = Module::load();
        world.process(|| {
            module.slots().refused(CKR_CRYPTOKI_NOT_INITIALIZED);
            let token = world.token();
            token_pair(token.user());
        });
        module.initialize().unwrap();
        let session = Token::find(module, "test token").user();
        signs(session, find_pair(session));
    });
}

/// Two processes never share a random stream (THREATS.md 15).
#[test]
fn parent_and_child_draw_different_numbers() {
    isolated(|world| {
        let session = world.token().session();
        session.random(32).unwrap();
        let files = ["one", "two"].map(|name| world.path(name));
        for file in &files {
            world.process(|| {
                session.module.initialize().unwrap();
                let token = Token::find(session.module, "test token");
                std::fs::write(file, token.session().random(32).unwrap()).unwrap();
            });
        }
        let [one, two] = files.map(|file| std::fs::read(file).unwrap());
        let own = session.random(32).unwrap();
        assert!(one != two && one != own && two != own);
    });
}

/// Threads are inside the module at each fork, so each child finds locks that nobody will release.
#[test]
fn forks_under_load() {
    isolated(|world| {
        let token = world.token();
        token_pair(token.user());
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for number in 0..4 {
                let (stop, token) = (&stop, &token);
                scope.spawn(move || {
                    let session = token.session();
                    let pair = find_pair(session);
                    while !stop.load(Ordering::Relaxed) {
                        signs(session, pair);
                        if number == 0 {
                            let kept = data("made under load").set(CKA_TOKEN, true);
                            session.destroy(session.create(&kept).unwrap()).unwrap();
                        }
                        session
                            .find(&Template::new().set(CKA_CLASS, CKO_DATA))
                            .unwrap();
                        token.session().close().unwrap();
                    }
                });
            }
            // The virtual card keeps something of each operation in its memory until a reset.
            let rounds = if world.kind.removable { 20 } else { 100 };
            for round in 0..rounds {
                let child = world.start(|| {
                    token.module.slots().refused(CKR_CRYPTOKI_NOT_INITIALIZED);
                    token.module.initialize().unwrap();
                    let session = token.session();
                    session.random(8).unwrap();
                    // A login is 64 MiB and 80 ms: not each time.
                    if round % 10 == 0 {
                        session.login(CKU_USER, USER_PIN).unwrap();
                        signs(session, find_pair(session));
                    }
                    token.module.finalize().unwrap();
                });
                child.succeeds();
            }
            stop.store(true, Ordering::Relaxed);
        });
    });
}

/// Random numbers are what every signature draws: a fork amid one leaves the child a generator that
/// it can use.
#[test]
fn forks_amid_random_numbers() {
    isolated(|world| {
        let token = world.token();
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let session = token.session();
                    while !stop.load(Ordering::Relaxed) {
                        session.random(8).unwrap();
                    }
                });
            }
            for _ in 0..50 {
                let child = world.start(|| {
                    token.module.initialize().unwrap();
                    token.session().random(8).unwrap();
                });
                child.succeeds();
            }
            stop.store(true, Ordering::Relaxed);
        });
    });
}
