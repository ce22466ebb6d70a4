//! C_Initialize to C_Finalize, slots, tokens, sessions and events (PKCS#11 3.2, 5.4 to 5.6, 5.18).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::undocumented_unsafe_blocks, missing_docs)]

mod common;

use common::*;
use std::collections::BTreeSet;
use std::ffi::{CString, c_void};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;

unsafe extern "C" fn create_mutex(_: *mut *mut c_void) -> CK_RV {
    CKR_OK
}

unsafe extern "C" fn use_mutex(_: *mut c_void) -> CK_RV {
    CKR_OK
}

/// Arguments without a callback.
fn plain(flags: CK_FLAGS) -> CK_C_INITIALIZE_ARGS {
    CK_C_INITIALIZE_ARGS {
        CreateMutex: None,
        DestroyMutex: None,
        LockMutex: None,
        UnlockMutex: None,
        flags,
        pReserved: null_mut(),
    }
}

/// Arguments with all four callbacks.
fn callbacks(flags: CK_FLAGS) -> CK_C_INITIALIZE_ARGS {
    CK_C_INITIALIZE_ARGS {
        CreateMutex: Some(create_mutex),
        DestroyMutex: Some(use_mutex),
        LockMutex: Some(use_mutex),
        UnlockMutex: Some(use_mutex),
        ..plain(flags)
    }
}

/// 5.4.1, and what OpenSSL, NSS and strongSwan pass.
#[test]
fn initialize_arguments() {
    const OS: CK_FLAGS = CKF_OS_LOCKING_OK;
    let cases = [
        ("no lock is needed", plain(0), CKR_OK),
        ("locks of the system", plain(OS), CKR_OK),
        (
            "no threads",
            plain(OS | CKF_LIBRARY_CANT_CREATE_OS_THREADS),
            CKR_OK,
        ),
        ("either lock", callbacks(OS), CKR_OK),
        (
            "as NSS",
            callbacks(OS | CKF_LIBRARY_CANT_CREATE_OS_THREADS),
            CKR_OK,
        ),
        ("the application's locks alone", callbacks(0), CKR_CANT_LOCK),
        (
            "no create",
            CK_C_INITIALIZE_ARGS {
                CreateMutex: None,
                ..callbacks(OS)
            },
            CKR_ARGUMENTS_BAD,
        ),
        (
            "no destroy",
            CK_C_INITIALIZE_ARGS {
                DestroyMutex: None,
                ..callbacks(OS)
            },
            CKR_ARGUMENTS_BAD,
        ),
        (
            "no lock",
            CK_C_INITIALIZE_ARGS {
                LockMutex: None,
                ..callbacks(OS)
            },
            CKR_ARGUMENTS_BAD,
        ),
        (
            "no unlock",
            CK_C_INITIALIZE_ARGS {
                UnlockMutex: None,
                ..callbacks(0)
            },
            CKR_ARGUMENTS_BAD,
        ),
        (
            "create alone",
            CK_C_INITIALIZE_ARGS {
                CreateMutex: Some(create_mutex),
                ..plain(0)
            },
            CKR_ARGUMENTS_BAD,
        ),
    ];
    isolated(|_| {
        let module = Module::load();
        for (what, mut arguments, expected) in cases {
            let result = module.initialize_with(&mut arguments);
            assert_eq!(result, Rv(expected).ok(), "{what}");
            if expected == CKR_OK {
                module.slots().unwrap();
                module.finalize().unwrap();
            }
            module.slots().refused(CKR_CRYPTOKI_NOT_INITIALIZED);
        }
    });
}

/// `key=value` pairs between blanks and semicolons, stronger than the environment. That shows by the
/// place of the store.
#[test]
fn a_string_in_p_reserved_is_configuration() {
    isolated_on(STORED, |world| {
        let module = Module::load();
        for (directory, form) in [("one", "store=PATH"), ("two", " ;\tstore=PATH; ")] {
            let directory = world.path(directory);
            let string = CString::new(form.replace("PATH", directory.to_str().unwrap())).unwrap();
            let mut arguments = plain(CKF_OS_LOCKING_OK);
            arguments.pReserved = string.as_ptr().cast_mut().cast();
            module.initialize_with(&mut arguments).unwrap();
            Token::initialize(module, "elsewhere");
            module.finalize().unwrap();
            assert_ne!(
                std::fs::read_dir(&directory).unwrap().count(),
                0,
                "the token lies in {directory:?}"
            );
        }
        module.initialize().unwrap();
        for slot in module.slots().unwrap() {
            assert_eq!(
                module.token_info(slot).unwrap().flags & CKF_TOKEN_INITIALIZED,
                0
            );
        }
    });
}

#[test]
fn rubbish_in_p_reserved_is_refused() {
    isolated(|_| {
        let module = Module::load();
        let unterminated = vec![b'a'; 1 << 20];
        let wrong = [
            c"no such key = 1".as_ptr(),
            c"store".as_ptr(),
            c"\xff\xfe=1".as_ptr(),
        ]
        .map(|p| p as usize);
        let pointers = [1, 8, usize::MAX, unterminated.as_ptr() as usize]
            .into_iter()
            .chain(wrong);
        for pointer in pointers {
            let mut arguments = plain(CKF_OS_LOCKING_OK);
            arguments.pReserved = pointer as *mut c_void;
            module
                .initialize_with(&mut arguments)
                .refused(CKR_ARGUMENTS_BAD);
        }
        module.initialize().unwrap();
    });
}

#[test]
fn wrong_pointers_to_the_arguments_are_refused() {
    isolated(|_| {
        let module = Module::load();
        for pointer in [1usize, 8, usize::MAX - 7] {
            try_call!(module, C_Initialize(pointer as *mut c_void)).refused(CKR_ARGUMENTS_BAD);
        }
        module.initialize().unwrap();
    });
}

#[test]
fn initialized_once_and_finalized_once() {
    isolated(|_| {
        let module = Module::load();
        module.finalize().refused(CKR_CRYPTOKI_NOT_INITIALIZED);
        for _ in 0..3 {
            module.initialize().unwrap();
            module
                .initialize()
                .refused(CKR_CRYPTOKI_ALREADY_INITIALIZED);
            module
                .initialize_with(&mut plain(CKF_OS_LOCKING_OK))
                .refused(CKR_CRYPTOKI_ALREADY_INITIALIZED);
            try_call!(module, C_Finalize(std::ptr::dangling_mut())).refused(CKR_ARGUMENTS_BAD);
            module.slots().unwrap();
            module.finalize().unwrap();
            module.finalize().refused(CKR_CRYPTOKI_NOT_INITIALIZED);
        }
    });
}

#[test]
fn concurrent_initialize_succeeds_once() {
    isolated(|_| {
        let module = Module::load();
        for _ in 0..20 {
            let start = Barrier::new(8);
            let (done, already) = (AtomicU32::new(0), AtomicU32::new(0));
            thread::scope(|scope| {
                for _ in 0..8 {
                    scope.spawn(|| {
                        start.wait();
                        match module.initialize() {
                            Ok(()) => done.fetch_add(1, Ordering::Relaxed),
                            other => {
                                other.refused(CKR_CRYPTOKI_ALREADY_INITIALIZED);
                                already.fetch_add(1, Ordering::Relaxed)
                            }
                        };
                        module.slots().unwrap();
                    });
                }
            });
            assert_eq!((done.into_inner(), already.into_inner()), (1, 7));
            module.finalize().unwrap();
        }
    });
}

#[test]
fn finalize_while_others_call() {
    isolated(|world| {
        let token = world.token();
        let (module, slot) = (token.module, token.slot);
        for _ in 0..10 {
            let stop = AtomicBool::new(false);
            thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        while !stop.load(Ordering::Relaxed) {
                            match Session::open(module, slot, CKF_SERIAL_SESSION) {
                                Ok(session) => {
                                    let allowed =
                                        [CKR_CRYPTOKI_NOT_INITIALIZED, CKR_SESSION_HANDLE_INVALID];
                                    let random = session.random(16).map(drop);
                                    for result in
                                        [random, session.info().map(drop), session.close()]
                                    {
                                        if result.is_err() {
                                            result.refused_with(&allowed);
                                        }
                                    }
                                }
                                refused => refused.map(drop).refused(CKR_CRYPTOKI_NOT_INITIALIZED),
                            }
                        }
                    });
                }
                for _ in 0..20 {
                    thread::yield_now();
                    module.finalize().unwrap();
                    module.initialize().unwrap();
                }
                stop.store(true, Ordering::Relaxed);
            });
        }
    });
}

#[test]
fn handles_are_never_reused() {
    isolated(|world| {
        let token = world.token();
        let (mut sessions, mut objects) = (BTreeSet::new(), BTreeSet::new());
        for _ in 0..3 {
            for _ in 0..3 {
                let session = token.user();
                assert!(
                    sessions.insert(session.handle),
                    "a session handle came back"
                );
                assert_ne!(session.handle, CK_INVALID_HANDLE);
                let object = session
                    .create(&Template::new().set(CKA_CLASS, CKO_DATA))
                    .unwrap();
                assert!(objects.insert(object), "an object handle came back");
                session.close().unwrap();
                session.info().refused(CKR_SESSION_HANDLE_INVALID);
            }
            token.module.finalize().unwrap();
            token.module.initialize().unwrap();
        }
        for handle in sessions {
            Session {
                module: token.module,
                handle,
            }
            .info()
            .refused(CKR_SESSION_HANDLE_INVALID);
        }
    });
}

#[test]
fn info_of_the_module() {
    isolated(|world| {
        let module = world.module();
        let mut info = CK_INFO::default();
        try_call!(module, C_GetInfo(&mut info)).unwrap();
        assert_eq!(
            (info.cryptokiVersion.major, info.cryptokiVersion.minor),
            (3, 2)
        );
        assert_eq!(info.flags, 0);
        for text in [info.manufacturerID, info.libraryDescription] {
            assert!(is_padded(&text), "{text:?} is not padded with blanks");
        }
        try_call!(module, C_GetInfo(null_mut())).refused(CKR_ARGUMENTS_BAD);
    });
}

/// Text in a fixed field: UTF-8, something in it, blanks after it, no NUL (3.2 "general data types").
fn is_padded(field: &[u8]) -> bool {
    std::str::from_utf8(field).is_ok_and(|text| !text.trim_end().is_empty() && !text.contains('\0'))
}

#[test]
fn slots_and_a_new_token() {
    isolated(|world| {
        let module = world.module();
        let slots = module.slots().unwrap();
        // An empty store shows one slot; what can be taken out comes beside it.
        let removable = CK_ULONG::from(world.kind.removable);
        assert_eq!(slots.len() as CK_ULONG, 1 + removable);
        let slot = Token::new_slot(module);
        assert!(
            slot < 1 << 31,
            "Java reads slot ids as positive 32-bit integers"
        );
        let mut all = 0;
        try_call!(module, C_GetSlotList(CK_FALSE, null_mut(), &mut all)).unwrap();
        // The reader has two places, and one card.
        assert_eq!(all, 1 + 2 * removable);
        let (mut few, mut room) = (0, 7);
        try_call!(module, C_GetSlotList(CK_FALSE, &mut room, &mut few))
            .refused(CKR_BUFFER_TOO_SMALL);
        assert_eq!(
            (few, room),
            (all, 7),
            "the count is written, the buffer is not"
        );
        try_call!(module, C_GetSlotList(CK_FALSE, null_mut(), null_mut()))
            .refused(CKR_ARGUMENTS_BAD);

        let mut info: CK_SLOT_INFO = unsafe { std::mem::zeroed() };
        try_call!(module, C_GetSlotInfo(slot, &mut info)).unwrap();
        assert!(is_padded(&info.slotDescription) && is_padded(&info.manufacturerID));
        assert_ne!(info.flags & CKF_TOKEN_PRESENT, 0);
        let can_be_taken = info.flags & CKF_REMOVABLE_DEVICE != 0;
        assert_eq!(can_be_taken, world.kind.removable);
        try_call!(module, C_GetSlotInfo(slot, null_mut())).refused(CKR_ARGUMENTS_BAD);

        let token = module.token_info(slot).unwrap();
        for flag in [CKF_TOKEN_INITIALIZED, CKF_USER_PIN_INITIALIZED] {
            assert_eq!(token.flags & flag != 0, world.kind.personalized);
        }
        assert!(is_padded(&token.manufacturerID) && is_padded(&token.model));
        assert!(token.label.iter().all(|&byte| byte != 0));
        // python-pkcs11 fails as a whole where a session on such a token is refused.
        Session::open(module, slot, CKF_SERIAL_SESSION)
            .unwrap()
            .close()
            .unwrap();
    });
}

#[test]
fn an_initialized_token() {
    isolated(|world| {
        let module = world.module();
        let token = Token::initialize(module, "test token");
        let flags = token.info().flags;
        for (flag, expected) in [
            (CKF_TOKEN_INITIALIZED, true),
            (CKF_LOGIN_REQUIRED, true),
            (CKF_RNG, true),
            (CKF_USER_PIN_INITIALIZED, world.kind.personalized),
            (CKF_USER_PIN_LOCKED, false),
            (CKF_SO_PIN_LOCKED, false),
            (CKF_USER_PIN_COUNT_LOW, false),
            (CKF_WRITE_PROTECTED, false),
            (CKF_PROTECTED_AUTHENTICATION_PATH, false),
        ] {
            assert_eq!(flags & flag != 0, expected, "flag {flag:#x}");
        }
        let so = token.session();
        so.login(CKU_SO, SO_PIN).unwrap();
        so.init_pin(USER_PIN).unwrap();
        let info = token.info();
        assert_ne!(info.flags & CKF_USER_PIN_INITIALIZED, 0);
        assert!(is_padded(&info.serialNumber));
        assert!(info.ulMinPinLen >= 4 && info.ulMaxPinLen >= info.ulMinPinLen);
        assert_eq!((info.ulSessionCount, info.ulRwSessionCount), (1, 1));
        so.logout().unwrap();
        let reader = token.read_only_session();
        let info = token.info();
        assert_eq!((info.ulSessionCount, info.ulRwSessionCount), (2, 1));
        reader.close().unwrap();
        so.close().unwrap();
        assert_eq!(token.info().ulSessionCount, 0);
    });
}

#[test]
fn slot_and_serial_are_stable() {
    isolated(|world| {
        let (slots, serials) = (world.path("slot"), world.path("serial"));
        world.process(|| {
            let token = world.token();
            std::fs::write(&slots, token.slot.to_string()).unwrap();
            std::fs::write(&serials, token.info().serialNumber).unwrap();
        });
        world.process(|| {
            let token = world.existing_token();
            assert_eq!(
                std::fs::read_to_string(&slots).unwrap(),
                token.slot.to_string()
            );
            assert_eq!(std::fs::read(&serials).unwrap(), token.info().serialNumber);
        });
    });
}

#[test]
fn unknown_slots_are_refused() {
    isolated(|world| {
        let module = world.module();
        let known = module.slots().unwrap();
        for slot in [0x7fff_fff0, CK_ULONG::MAX, 1 << 63] {
            assert!(!known.contains(&slot));
            module.token_info(slot).refused(CKR_SLOT_ID_INVALID);
            module.mechanisms(slot).refused(CKR_SLOT_ID_INVALID);
            module
                .mechanism_info(slot, CKM_SHA256)
                .refused(CKR_SLOT_ID_INVALID);
            module
                .init_token(slot, SO_PIN, "x")
                .refused(CKR_SLOT_ID_INVALID);
            Session::open(module, slot, CKF_SERIAL_SESSION)
                .map(drop)
                .refused(CKR_SLOT_ID_INVALID);
            try_call!(module, C_CloseAllSessions(slot)).refused(CKR_SLOT_ID_INVALID);
            let mut info: CK_SLOT_INFO = unsafe { std::mem::zeroed() };
            try_call!(module, C_GetSlotInfo(slot, &mut info)).refused(CKR_SLOT_ID_INVALID);
        }
    });
}

#[test]
fn sessions() {
    isolated(|world| {
        let token = world.token();
        let (module, slot) = (token.module, token.slot);
        // 5.6.1: the flag must be set, for what was once another kind of session.
        for flags in [0, CKF_RW_SESSION] {
            Session::open(module, slot, flags)
                .map(drop)
                .refused(CKR_SESSION_PARALLEL_NOT_SUPPORTED);
        }
        let (reader, writer) = (token.read_only_session(), token.session());
        let info = reader.info().unwrap();
        assert_eq!(
            (info.slotID, info.state, info.flags),
            (slot, CKS_RO_PUBLIC_SESSION, CKF_SERIAL_SESSION)
        );
        assert_eq!(writer.state(), CKS_RW_PUBLIC_SESSION);
        try_call!(module, C_GetSessionInfo(reader.handle, null_mut())).refused(CKR_ARGUMENTS_BAD);
        try_call!(
            module,
            C_OpenSession(slot, CKF_SERIAL_SESSION, null_mut(), None, null_mut())
        )
        .refused(CKR_ARGUMENTS_BAD);
        // The last session takes the login with it (5.6.2, 5.6.3).
        writer.login(CKU_USER, USER_PIN).unwrap();
        assert_eq!(reader.state(), CKS_RO_USER_FUNCTIONS);
        try_call!(module, C_CloseAllSessions(slot)).unwrap();
        reader.info().refused(CKR_SESSION_HANDLE_INVALID);
        writer.close().refused(CKR_SESSION_HANDLE_INVALID);
        assert_eq!(token.session().state(), CKS_RW_PUBLIC_SESSION);
    });
}

#[test]
fn session_objects_die_with_their_session() {
    isolated(|world| {
        let token = world.token();
        let (one, two) = (token.user(), token.session());
        let object = one
            .create(
                &Template::new()
                    .set(CKA_CLASS, CKO_DATA)
                    .set(CKA_LABEL, "mine"),
            )
            .unwrap();
        assert_eq!(
            two.get(object, CKA_LABEL).unwrap(),
            b"mine",
            "every session sees it"
        );
        one.close().unwrap();
        two.get(object, CKA_LABEL)
            .refused(CKR_OBJECT_HANDLE_INVALID);
        assert_eq!(
            two.find(&Template::new().set(CKA_LABEL, "mine")).unwrap(),
            []
        );
    });
}

/// 5.19.1 and 5.19.2: legacy functions that always answer the same.
#[test]
fn parallel_functions() {
    isolated(|world| {
        let token = world.token();
        let module = token.module;
        for handle in [0, token.session().handle, CK_ULONG::MAX] {
            try_call!(module, C_GetFunctionStatus(handle)).refused(CKR_FUNCTION_NOT_PARALLEL);
            try_call!(module, C_CancelFunction(handle)).refused(CKR_FUNCTION_NOT_PARALLEL);
        }
    });
}

#[test]
fn wait_for_slot_event() {
    isolated(|world| {
        let module = world.module();
        let mut slot = 0;
        try_call!(
            module,
            C_WaitForSlotEvent(CKF_DONT_BLOCK, &mut slot, null_mut())
        )
        .refused(CKR_NO_EVENT);
        try_call!(
            module,
            C_WaitForSlotEvent(CKF_DONT_BLOCK, null_mut(), null_mut())
        )
        .refused(CKR_ARGUMENTS_BAD);
        try_call!(
            module,
            C_WaitForSlotEvent(CKF_DONT_BLOCK, &mut slot, std::ptr::dangling_mut())
        )
        .refused(CKR_ARGUMENTS_BAD);
        // C_Finalize wakes those who wait (5.4.2). Whoever comes late finds the same answer.
        let waiting = AtomicU32::new(0);
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let mut slot = 0;
                    waiting.fetch_add(1, Ordering::Release);
                    try_call!(module, C_WaitForSlotEvent(0, &mut slot, null_mut()))
                        .refused(CKR_CRYPTOKI_NOT_INITIALIZED);
                });
            }
            while waiting.load(Ordering::Acquire) < 3 {
                thread::yield_now();
            }
            thread::sleep(std::time::Duration::from_millis(50));
            module.finalize().unwrap();
        });
        module.initialize().unwrap();
        try_call!(
            module,
            C_WaitForSlotEvent(CKF_DONT_BLOCK, &mut slot, null_mut())
        )
        .refused(CKR_NO_EVENT);
    });
}

#[test]
fn mechanism_list_and_info_agree() {
    isolated(|world| {
        let token = world.token();
        let (module, slot) = (token.module, token.slot);
        let list = module.mechanisms(slot).unwrap();
        assert_eq!(
            list.iter().collect::<BTreeSet<_>>().len(),
            list.len(),
            "a mechanism is listed twice"
        );
        for &kind in &list {
            let info = module.mechanism_info(slot, kind).unwrap();
            assert_ne!(info.flags, 0, "{kind:#x} does nothing");
            assert!(info.ulMinKeySize <= info.ulMaxKeySize);
        }
        for kind in [CKM_RC2_KEY_GEN, CKM_VENDOR_DEFINED, CK_ULONG::MAX] {
            assert!(!list.contains(&kind));
            module
                .mechanism_info(slot, kind)
                .refused(CKR_MECHANISM_INVALID);
        }
        let (mut one, mut buffer) = (1, CK_ULONG::MAX);
        try_call!(module, C_GetMechanismList(slot, &mut buffer, &mut one))
            .refused(CKR_BUFFER_TOO_SMALL);
        assert_eq!((one, buffer), (list.len() as CK_ULONG, CK_ULONG::MAX));
        try_call!(module, C_GetMechanismList(slot, null_mut(), null_mut()))
            .refused(CKR_ARGUMENTS_BAD);
        try_call!(module, C_GetMechanismInfo(slot, CKM_SHA256, null_mut()))
            .refused(CKR_ARGUMENTS_BAD);
    });
}

/// Every mechanism that is listed for a function is accepted by that function's Init, or refused for
/// its key or its parameter; every other one is CKR_MECHANISM_INVALID.
#[test]
fn mechanism_list_and_init_agree() {
    isolated(|world| {
        let token = world.token();
        let session = token.user();
        let key = session.aes(16);
        let list = token.module.mechanisms(token.slot).unwrap();
        let probes: BTreeSet<_> = list
            .iter()
            .copied()
            .chain(0..0x1200)
            .chain(0x2100..0x2120)
            .collect();
        for kind in probes {
            let flags = token
                .module
                .mechanism_info(token.slot, kind)
                .map_or(0, |info| info.flags);
            assert_eq!(flags != 0, list.contains(&kind), "mechanism {kind:#x}");
            let tries = [
                (CKF_SIGN, session.sign_init(kind, key)),
                (CKF_VERIFY, session.verify_init(kind, key)),
                (CKF_ENCRYPT, session.encrypt_init(kind, key)),
                (CKF_DECRYPT, session.decrypt_init(kind, key)),
                (CKF_DIGEST, session.digest_init(kind)),
            ];
            for (flag, result) in tries {
                let serves = flags & flag != 0;
                // A mechanism of another function or token, its parameter missing too: two faults, one code.
                let refused = match result {
                    Err(Rv(CKR_MECHANISM_INVALID)) => true,
                    Err(Rv(CKR_MECHANISM_PARAM_INVALID)) => !serves,
                    _ => false,
                };
                assert_eq!(
                    refused, !serves,
                    "mechanism {kind:#x}, flag {flag:#x}: {result:?}"
                );
                if result.is_ok() {
                    session.cancel(flag);
                }
            }
        }
    });
}

#[test]
fn random_numbers() {
    isolated(|world| {
        let session = world.token().session();
        let drawn: BTreeSet<_> = (0..100).map(|_| session.random(16).unwrap()).collect();
        assert_eq!(drawn.len(), 100);
        assert!(
            session
                .random(1 << 20)
                .unwrap()
                .chunks(64)
                .all(|chunk| chunk.iter().any(|&byte| byte != 0))
        );
        session.random(0).unwrap();
        // A seed is taken, and makes no number foreseeable.
        let seeded = |seed: &[u8]| {
            session.seed_random(seed).unwrap();
            session.random(100_000).unwrap()
        };
        assert_ne!(seeded(b"seed"), seeded(b"seed"));
        assert_ne!(seeded(b""), seeded(&[7; 100_000]));
        assert_ne!(session.random(16).unwrap(), session.random(16).unwrap());
        try_call!(
            session.module,
            C_GenerateRandom(session.handle, null_mut(), 8)
        )
        .refused(CKR_ARGUMENTS_BAD);
        Session {
            module: session.module,
            handle: 0,
        }
        .random(8)
        .refused(CKR_SESSION_HANDLE_INVALID);
    });
}
