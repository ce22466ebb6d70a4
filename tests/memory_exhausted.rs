//! Memory that runs out inside a call: CKR_HOST_MEMORY (PKCS#11 5.1.1), nothing changed, and a process
//! that lives. Where Rust's allocator gave up here, this test's process would be gone.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::undocumented_unsafe_blocks, missing_docs)]

mod common;

use common::exhausted::*;
use common::*;
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Barrier, RwLock};
use std::thread;
use std::time::Duration;

const IV: &[u8] = b"0123456789abcdef";
fn large_objects(size: usize) {
    alone(|world| {
        let session = world.token().user();
        let (module, handle) = (session.module, session.handle);
        let value = vec![7; size];
        let count = || session.find(&Template::new()).unwrap().len();
        let fits = world.kind.room.is_none_or(|room| room.bytes >= size);
        for on_token in [false, true].into_iter().filter(|on| !on || fits) {
            let on = Template::new().set(CKA_TOKEN, on_token);
            let large = data("large").with(&on).set(CKA_VALUE, &*value);
            let secret = generic_secret_template(&value).with(&on);
            let label = data("large").with(&on).set(CKA_LABEL, &*value);
            for template in [large.clone(), secret, label] {
                let mut attributes = template.attributes();
                let before = count();
                sweep(
                    "C_CreateObject",
                    size,
                    || 0,
                    |object| {
                        let (list, len) = (attributes.as_mut_ptr(), attributes.len() as CK_ULONG);
                        try_call!(module, C_CreateObject(handle, list, len, object))
                    },
                    |object, made| {
                        assert_eq!(count(), before + usize::from(made));
                        if made {
                            session.destroy(object).unwrap();
                        }
                    },
                );
            }

            let changes = Template::new().set(CKA_LABEL, &*value);
            let mut attributes = changes.attributes();
            sweep(
                "C_SetAttributeValue",
                size,
                || session.create(&data("small").with(&on)).unwrap(),
                |object| {
                    let (list, len) = (attributes.as_mut_ptr(), attributes.len() as CK_ULONG);
                    try_call!(module, C_SetAttributeValue(handle, *object, list, len))
                },
                |object, done| {
                    let now = session.get(object, CKA_LABEL).unwrap();
                    assert_eq!(now == value, done);
                    session.destroy(object).unwrap();
                },
            );

            let object = session.create(&large).unwrap();
            let before = count();
            sweep(
                "C_CopyObject",
                size,
                || 0,
                |copy| try_call!(module, C_CopyObject(handle, object, null_mut(), 0, copy)),
                |copy, made| {
                    assert_eq!(count(), before + usize::from(made));
                    if made {
                        session.destroy(copy).unwrap();
                    }
                },
            );
            let mut room = vec![0; size];
            let mut asked = CK_ATTRIBUTE {
                type_: CKA_VALUE,
                pValue: room.as_mut_ptr().cast(),
                ulValueLen: size as CK_ULONG,
            };
            sweep(
                "C_GetAttributeValue",
                size,
                || (),
                |()| try_call!(module, C_GetAttributeValue(handle, object, &mut asked, 1)),
                |(), _| (),
            );
            if on_token {
                // Found again after a login: everything is loaded anew.
                session.logout().unwrap();
                sweep(
                    "C_FindObjectsInit",
                    size,
                    || session.login(CKU_USER, USER_PIN).unwrap(),
                    |()| try_call!(module, C_FindObjectsInit(handle, null_mut(), 0)),
                    |(), found| {
                        if found {
                            try_call!(module, C_FindObjectsFinal(handle)).unwrap();
                        }
                        session.logout().unwrap();
                    },
                );
                session.login(CKU_USER, USER_PIN).unwrap();
                session.destroy(object).unwrap();
            }
        }
    });
}

#[test]
fn objects_of_many_megabytes() {
    large_objects(LARGE);
}

/// Several of these are the ballast.
#[test]
fn objects_of_a_megabyte() {
    large_objects(1 << 20);
}

fn large_operations(size: usize) {
    alone(|world| {
        let session = world.token().user();
        let (module, handle) = (session.module, session.handle);
        let key = session.aes(16);
        // Mechanisms that sign a message as it is, and must keep all of it.
        let mut whole = vec![(CKM_ECDSA, session.ec(Curve::P256).private)];
        if world.kind.has(Curve::ED25519) {
            whole.push((CKM_EDDSA, session.ed25519().private));
        }
        let text = vec![7; size];
        let mut answer = vec![0u8; size + 64];
        let aad = Mech::gcm(&IV[..12], &text, 128);

        let mut raw = aad.raw();
        sweep(
            "C_EncryptInit",
            size,
            || (),
            |()| try_call!(module, C_EncryptInit(handle, &mut raw, key)),
            |(), _| session.cancel(CKF_ENCRYPT),
        );
        let gcm = Mech::gcm(&IV[..12], b"", 128);
        let pad = Mech::bytes(CKM_AES_CBC_PAD, IV);
        let counter = Mech::ctr([0; 16], 128);
        let len = size as CK_ULONG;
        for mechanism in [gcm, pad, counter] {
            let sealed = session.encrypt(mechanism.clone(), key, &text).unwrap();
            let sealed_len = sealed.len() as CK_ULONG;
            let mut encrypt = |name: &str, whole: bool| {
                sweep(
                    name,
                    size,
                    || session.encrypt_init(mechanism.clone(), key).unwrap(),
                    |()| {
                        let (text, out) = (text.as_ptr().cast_mut(), answer.as_mut_ptr());
                        let mut room = answer.len() as CK_ULONG;
                        match whole {
                            true => {
                                try_call!(module, C_Encrypt(handle, text, len, out, &mut room))
                            }
                            false => try_call!(
                                module,
                                C_EncryptUpdate(handle, text, len, out, &mut room)
                            ),
                        }
                    },
                    |(), _| session.cancel(CKF_ENCRYPT),
                );
            };
            encrypt("C_Encrypt", true);
            encrypt("C_EncryptUpdate", false);
            assert_eq!(
                session.encrypt(mechanism.clone(), key, &text).unwrap(),
                sealed
            );
            sweep(
                "C_Decrypt",
                size,
                || session.decrypt_init(mechanism.clone(), key).unwrap(),
                |()| {
                    let (input, out) = (sealed.as_ptr().cast_mut(), answer.as_mut_ptr());
                    let mut room = answer.len() as CK_ULONG;
                    try_call!(module, C_Decrypt(handle, input, sealed_len, out, &mut room))
                },
                |(), _| session.cancel(CKF_DECRYPT),
            );
        }
        for (mechanism, key) in whole {
            sweep(
                "C_SignUpdate",
                size,
                || session.sign_init(mechanism, key).unwrap(),
                |()| try_call!(module, C_SignUpdate(handle, text.as_ptr().cast_mut(), len)),
                |(), _| session.cancel(CKF_SIGN),
            );
        }
    });
}

#[test]
fn operations_on_many_megabytes() {
    large_operations(LARGE);
}

#[test]
fn operations_on_a_megabyte() {
    large_operations(1 << 20);
}

/// None of them is large, together they are more than the ballast.
#[test]
fn many_objects() {
    alone(|world| {
        if world.kind.room.is_some() {
            return;
        }
        let session = world.token().user();
        let (module, handle) = (session.module, session.handle);
        let piece = vec![7; 100 << 10];
        const MANY: usize = 120;
        for _ in 0..MANY {
            session
                .create(
                    &data("one of many")
                        .set(CKA_TOKEN, true)
                        .set(CKA_VALUE, &*piece),
                )
                .unwrap();
        }
        let mut refusals = 0;
        for room in 0..20 {
            session.logout().unwrap();
            session.login(CKU_USER, USER_PIN).unwrap();
            let result = limited(room << 22, || {
                try_call!(module, C_FindObjectsInit(handle, null_mut(), 0))
            });
            if is_answer("C_FindObjectsInit", result) {
                try_call!(module, C_FindObjectsFinal(handle)).unwrap();
                break;
            }
            refusals += 1;
        }
        assert!((1..20).contains(&refusals), "{refusals} refusals");
        assert_eq!(session.find(&data("one of many")).unwrap().len(), MANY);
    });
}

type Call<'a> = (&'a str, &'a mut dyn FnMut() -> Result<(), Rv>);

/// Everything that malloc has is the caller's, again and again.
#[test]
fn a_heap_without_a_byte() {
    alone(|world| {
        let session = world.token().user();
        let (module, handle, slot) = (
            session.module,
            session.handle,
            session.info().unwrap().slotID,
        );
        let pair = session.rsa(2048);
        let aes = session.aes(16);
        for number in 0..20 {
            session.create(&data(&format!("object {number}"))).unwrap();
        }
        let (mut buffer, mut len) = ([0u8; 512], 512);
        let (other, object) = (Cell::new(0), Cell::new(0));
        let mut sign = Mech::new(CKM_SHA256_RSA_PKCS).raw();
        let mut ecb = Mech::new(CKM_AES_ECB).raw();
        let template = data("new").set(CKA_TOKEN, true);
        let mut template = template.attributes();
        let count = template.len() as CK_ULONG;
        let out = buffer.as_mut_ptr();
        let mut asked = CK_ATTRIBUTE {
            type_: CKA_LABEL,
            pValue: out.cast(),
            ulValueLen: 500,
        };
        let flags = CKF_SERIAL_SESSION;
        let mut calls: [Call<'_>; 14] = [
            ("C_OpenSession", &mut || {
                try_call!(
                    module,
                    C_OpenSession(slot, flags, null_mut(), None, other.as_ptr())
                )
            }),
            ("C_CloseSession", &mut || {
                try_call!(module, C_CloseSession(other.get()))
            }),
            ("C_SignInit", &mut || {
                try_call!(module, C_SignInit(handle, &mut sign, pair.private))
            }),
            ("C_Sign", &mut || {
                len = 512;
                try_call!(module, C_Sign(handle, out, 5, out, &mut len))
            }),
            ("C_EncryptInit", &mut || {
                try_call!(module, C_EncryptInit(handle, &mut ecb, aes))
            }),
            ("C_Encrypt", &mut || {
                let mut len = 512;
                try_call!(module, C_Encrypt(handle, out, 32, out, &mut len))
            }),
            ("C_FindObjectsInit", &mut || {
                try_call!(module, C_FindObjectsInit(handle, null_mut(), 0))
            }),
            ("C_FindObjectsFinal", &mut || {
                try_call!(module, C_FindObjectsFinal(handle))
            }),
            ("C_GetAttributeValue", &mut || {
                try_call!(
                    module,
                    C_GetAttributeValue(handle, pair.public, &mut asked, 1)
                )
            }),
            ("C_CreateObject", &mut || {
                try_call!(
                    module,
                    C_CreateObject(handle, template.as_mut_ptr(), count, object.as_ptr())
                )
            }),
            ("C_DestroyObject", &mut || {
                try_call!(module, C_DestroyObject(handle, object.get()))
            }),
            ("C_GenerateRandom", &mut || {
                try_call!(module, C_GenerateRandom(handle, out, 400))
            }),
            ("C_DigestInit", &mut || {
                try_call!(
                    module,
                    C_DigestInit(
                        handle,
                        &mut CK_MECHANISM {
                            mechanism: CKM_SHA256,
                            pParameter: null_mut(),
                            ulParameterLen: 0
                        }
                    )
                )
            }),
            ("C_DigestFinal", &mut || {
                let mut len = 512;
                try_call!(module, C_DigestFinal(handle, out, &mut len))
            }),
        ];
        // Each with what the ones before left, and each alone.
        let mut first = [Ok(()); 14];
        let mut later = [[Ok(()); 14]; 3];
        for (result, (_, call)) in first.iter_mut().zip(&mut calls) {
            // With a whole ballast.
            session.info().unwrap();
            let _full = Full::take();
            *result = call();
        }
        {
            let mut full = Full::take();
            for round in &mut later {
                for (result, (_, call)) in round.iter_mut().zip(&mut calls) {
                    full.take_more();
                    *result = call();
                }
            }
        }
        // What could not begin cannot end: then it says so.
        let without_beginning = [
            CKR_OPERATION_NOT_INITIALIZED,
            CKR_SESSION_HANDLE_INVALID,
            CKR_OBJECT_HANDLE_INVALID,
        ];
        let refusals = |results: &[Result<(), Rv>]| {
            let mut refusals = 0;
            for (result, (name, _)) in results.iter().zip(calls.iter().cycle()) {
                match result {
                    Err(Rv(code)) if without_beginning.contains(code) => {}
                    result => refusals += usize::from(!is_answer(name, *result)),
                }
            }
            refusals
        };
        // SQLite has no ballast; what does not ask it does its work.
        assert!(refusals(&first) < 7, "{first:?}");
        let refused = refusals(later.as_flattened());
        assert!(refused > 20, "{refused} refusals: {later:?}");

        // With memory, all is as before.
        session.cancel(CKF_SIGN | CKF_ENCRYPT | CKF_DIGEST | CKF_FIND_OBJECTS);
        let signature = session
            .sign(CKM_SHA256_RSA_PKCS, pair.private, b"data")
            .unwrap();
        session
            .verify(CKM_SHA256_RSA_PKCS, pair.public, b"data", &signature)
            .unwrap();
        session.create(&data("new")).unwrap();
        session.close().unwrap();
        module.finalize().unwrap();
    });
}

/// The threads fail at the same moment, and one of them has the ballast in hand.
#[test]
fn threads_run_out_together() {
    const THREADS: usize = 4;
    const ROUNDS: usize = 10;
    alone(|world| {
        // The threads share the heap that is taken.
        assert_eq!(unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) }, 1);
        let token = world.token();
        let keeper = token.user();
        let pair = keeper.ec(Curve::P256);
        let (together, done) = (Barrier::new(THREADS + 1), AtomicBool::new(false));
        let (calls, odd) = (AtomicU64::new(0), AtomicU64::new(CKR_OK));
        // Held by each call, and by who takes the memory: one that took what the calls inside were
        // just giving back from the ballast would leave them nothing to end on.
        let gate = RwLock::new(());
        thread::scope(|scope| {
            for _ in 0..THREADS {
                let (together, done, calls, odd, gate) = (&together, &done, &calls, &odd, &gate);
                scope.spawn(move || {
                    let session = token.session();
                    let (module, handle) = (session.module, session.handle);
                    let mut mechanism = Mech::new(CKM_ECDSA_SHA256).raw();
                    let call = |call: &mut dyn FnMut() -> Result<(), Rv>| {
                        let result = {
                            let _inside = gate.read();
                            call()
                        };
                        calls.fetch_add(1, Ordering::Relaxed);
                        if let Err(Rv(code)) = result
                            && code != CKR_HOST_MEMORY
                        {
                            odd.store(code, Ordering::Relaxed);
                        }
                        result.is_ok()
                    };
                    session
                        .sign(CKM_ECDSA_SHA256, pair.private, b"data")
                        .unwrap();
                    together.wait();
                    let (mut out, mut text) = ([0u8; 64], [0u8; 4]);
                    while !done.load(Ordering::Relaxed) {
                        let mut len = 64;
                        if call(&mut || {
                            try_call!(module, C_SignInit(handle, &mut mechanism, pair.private))
                        }) {
                            let (out, text) = (out.as_mut_ptr(), text.as_mut_ptr());
                            // Refused before it began, it goes on.
                            while !call(&mut || {
                                try_call!(module, C_Sign(handle, text, 4, out, &mut len))
                            }) && !done.load(Ordering::Relaxed)
                            {
                                thread::yield_now();
                            }
                        }
                        let flags = CKF_SERIAL_SESSION;
                        let mut other = 0;
                        if call(&mut || {
                            try_call!(
                                module,
                                C_OpenSession(token.slot, flags, null_mut(), None, &mut other)
                            )
                        }) {
                            while !call(&mut || try_call!(module, C_CloseSession(other)))
                                && !done.load(Ordering::Relaxed)
                            {
                                thread::yield_now();
                            }
                        }
                    }
                });
            }
            together.wait();
            // However slow the machine or the chip is, calls are made.
            let let_them_call = |milliseconds| {
                let enough = calls.load(Ordering::Relaxed) + 6;
                thread::sleep(Duration::from_millis(milliseconds));
                while calls.load(Ordering::Relaxed) < enough {
                    thread::sleep(Duration::from_millis(1));
                }
            };
            for _ in 0..ROUNDS {
                let full = {
                    let _outside = gate.write();
                    Full::take()
                };
                let_them_call(5);
                drop(full);
                let_them_call(2);
            }
            done.store(true, Ordering::Relaxed);
        });
        assert_eq!(Rv(odd.into_inner()), Rv(CKR_OK));
        let signature = keeper
            .sign(CKM_ECDSA_SHA256, pair.private, b"data")
            .unwrap();
        keeper
            .verify(CKM_ECDSA_SHA256, pair.public, b"data", &signature)
            .unwrap();
    });
}

/// A child has its own ballast, whatever became of its parent's.
#[test]
fn a_forked_child_runs_out() {
    alone(|world| {
        let token = world.token();
        let session = token.user();
        let opens = |session: Session| {
            let (module, slot, flags) = (session.module, token.slot, CKF_SERIAL_SESSION);
            let mut other = 0;
            let result = {
                let _full = Full::take();
                try_call!(
                    module,
                    C_OpenSession(slot, flags, null_mut(), None, &mut other)
                )
            };
            assert_eq!(result, Ok(()));
        };
        world.process(|| {
            token.module.initialize().unwrap();
            opens(token.user());
        });
        opens(session);
        world.process(|| {
            token.module.initialize().unwrap();
            opens(token.user());
        });
        session.close().unwrap();
    });
}

/// C_Initialize itself, in a process that has nothing to spare.
#[test]
fn no_room_to_begin() {
    alone(|_| {
        let module = Module::load();
        for room in 0..16 {
            let result = limited(room << 19, || module.initialize());
            if is_answer("C_Initialize", result) {
                module.finalize().unwrap();
            }
        }
        module.initialize().unwrap();
        module.finalize().unwrap();
    });
}
