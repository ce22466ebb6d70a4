//! Two operations fed by one call (PKCS#11 3.2, 5.17).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::undocumented_unsafe_blocks, missing_docs)]

mod common;

use common::*;

const MESSAGE: [u8; 100] = [7; 100];

fn keys(session: Session) -> (CK_OBJECT_HANDLE, CK_OBJECT_HANDLE) {
    let hmac = session.create(&generic_secret_template(&[2; 32])).unwrap();
    (session.aes(32), hmac)
}

fn cbc() -> Mech {
    Mech::bytes(CKM_AES_CBC_PAD, &[3; 16])
}

#[test]
fn digest_and_encrypt_decrypt_and_digest() {
    isolated(|world| {
        let session = world.token().user();
        let (aes, _) = keys(session);
        let digest = session.digest(CKM_SHA256, &MESSAGE).unwrap();
        let sealed = session.encrypt(cbc(), aes, &MESSAGE).unwrap();
        session.digest_init(CKM_SHA256).unwrap();
        session.encrypt_init(cbc(), aes).unwrap();
        let mut output = Vec::new();
        for part in MESSAGE.chunks(33) {
            output.extend(session.digest_encrypt_update(part).unwrap());
        }
        output.extend(session.encrypt_final().unwrap());
        assert_eq!(output, sealed);
        assert_eq!(session.digest_final().unwrap(), digest);

        session.digest_init(CKM_SHA256).unwrap();
        session.decrypt_init(cbc(), aes).unwrap();
        let mut output = Vec::new();
        for part in sealed.chunks(33) {
            output.extend(session.decrypt_digest_update(part).unwrap());
        }
        // The last block comes with C_DecryptFinal, and goes to the digest by the caller (5.17.2).
        let last = session.decrypt_final().unwrap();
        session.digest_update(&last).unwrap();
        output.extend(last);
        assert_eq!(output, MESSAGE);
        assert_eq!(session.digest_final().unwrap(), digest);
    });
}

#[test]
fn sign_and_encrypt_decrypt_and_verify() {
    isolated(|world| {
        let session = world.token().user();
        let (aes, hmac) = keys(session);
        let ecb = CKM_AES_ECB;
        let message = [8; 96];
        session.sign_init(CKM_SHA256_HMAC, hmac).unwrap();
        session.encrypt_init(ecb, aes).unwrap();
        let mut sealed = Vec::new();
        for part in message.chunks(40) {
            sealed.extend(session.sign_encrypt_update(part).unwrap());
        }
        sealed.extend(session.encrypt_final().unwrap());
        let signature = session.sign_final().unwrap();
        assert_eq!(sealed, session.encrypt(ecb, aes, &message).unwrap());
        assert_eq!(
            signature,
            session.sign(CKM_SHA256_HMAC, hmac, &message).unwrap()
        );

        for wrong in [false, true] {
            session.verify_init(CKM_SHA256_HMAC, hmac).unwrap();
            session.decrypt_init(ecb, aes).unwrap();
            let mut sealed = sealed.clone();
            sealed[0] ^= u8::from(wrong);
            let mut output = Vec::new();
            for part in sealed.chunks(40) {
                output.extend(session.decrypt_verify_update(part).unwrap());
            }
            output.extend(session.decrypt_final().unwrap());
            assert_eq!(output != message, wrong);
            match session.verify_final(&signature) {
                Ok(()) => assert!(!wrong),
                refused => refused.refused(CKR_SIGNATURE_INVALID),
            }
        }
    });
}

/// The four functions, each with its two beginnings.
type Beginning = fn(Session, CK_OBJECT_HANDLE, CK_OBJECT_HANDLE);
type Update = fn(Session, &[u8]) -> Result<Vec<u8>, Rv>;
const FOUR: [(&str, [Beginning; 2], Update); 4] = [
    (
        "C_DigestEncryptUpdate",
        [digest, encrypt],
        Session::digest_encrypt_update,
    ),
    (
        "C_DecryptDigestUpdate",
        [decrypt, digest],
        Session::decrypt_digest_update,
    ),
    (
        "C_SignEncryptUpdate",
        [sign, encrypt],
        Session::sign_encrypt_update,
    ),
    (
        "C_DecryptVerifyUpdate",
        [decrypt, verify],
        Session::decrypt_verify_update,
    ),
];

fn digest(session: Session, _: CK_OBJECT_HANDLE, _: CK_OBJECT_HANDLE) {
    session.digest_init(CKM_SHA256).unwrap();
}
fn encrypt(session: Session, aes: CK_OBJECT_HANDLE, _: CK_OBJECT_HANDLE) {
    session.encrypt_init(Mech::ctr([0; 16], 2), aes).unwrap();
}
fn decrypt(session: Session, aes: CK_OBJECT_HANDLE, _: CK_OBJECT_HANDLE) {
    session.decrypt_init(Mech::ctr([0; 16], 2), aes).unwrap();
}
fn sign(session: Session, _: CK_OBJECT_HANDLE, hmac: CK_OBJECT_HANDLE) {
    session.sign_init(CKM_SHA256_HMAC, hmac).unwrap();
}
fn verify(session: Session, _: CK_OBJECT_HANDLE, hmac: CK_OBJECT_HANDLE) {
    session.verify_init(CKM_SHA256_HMAC, hmac).unwrap();
}

/// How far each operation has come: what its Final says.
fn finals(session: Session, signature: &[u8]) -> [Result<Vec<u8>, Rv>; 5] {
    [
        session.digest_final(),
        session.encrypt_final(),
        session.decrypt_final(),
        session.sign_final(),
        session.verify_final(signature).map(|()| Vec::new()),
    ]
}

#[test]
fn neither_moves_without_the_other() {
    isolated(|world| {
        let session = world.token().user();
        let (aes, hmac) = keys(session);
        let of_nothing = session.sign(CKM_SHA256_HMAC, hmac, b"").unwrap();
        let digest_of_nothing = session.digest(CKM_SHA256, b"").unwrap();
        for (name, beginnings, update) in FOUR {
            eprintln!("{name}");
            update(session, b"x").refused(CKR_OPERATION_NOT_INITIALIZED);
            for begin in beginnings {
                begin(session, aes, hmac);
                update(session, b"x").refused(CKR_OPERATION_NOT_INITIALIZED);
                // The one that is there stays, and has not moved.
                let ended: Vec<_> = finals(session, &of_nothing).into_iter().flatten().collect();
                let [end] = &ended[..] else {
                    panic!("{ended:x?}");
                };
                assert!(end.is_empty() || *end == of_nothing || *end == digest_of_nothing);
            }
        }
    });
}

#[test]
fn queries_and_short_buffers_change_neither_and_an_error_ends_both() {
    isolated(|world| {
        let session = world.token().user();
        let (aes, hmac) = keys(session);
        let module = session.module;
        let data = [5; 20];
        let signature = session.sign(CKM_SHA256_HMAC, hmac, &data).unwrap();
        let functions = [
            module.list.C_DigestEncryptUpdate,
            module.list.C_DecryptDigestUpdate,
            module.list.C_SignEncryptUpdate,
            module.list.C_DecryptVerifyUpdate,
        ]
        .map(Option::unwrap);
        for ((name, beginnings, update), function) in FOUR.into_iter().zip(functions) {
            eprintln!("{name}");
            let call = |data: *mut u8, len, out: *mut u8, room: &mut CK_ULONG| {
                Rv(unsafe { function(session.handle, data, len, out, room) }).ok()
            };
            let begin = || {
                beginnings
                    .iter()
                    .for_each(|begin| begin(session, aes, hmac))
            };
            begin();
            let (at, mut out) = (data.as_ptr().cast_mut(), [0xaa; 20]);
            for _ in 0..2 {
                let mut len = 0;
                call(at, 20, null_mut(), &mut len).unwrap();
                assert_eq!(len, 20);
                len = 19;
                call(at, 20, out.as_mut_ptr(), &mut len).refused(CKR_BUFFER_TOO_SMALL);
                assert_eq!((len, out), (20, [0xaa; 20]));
            }
            let output = update(session, &data).unwrap();
            let plain = if name.starts_with("C_Decrypt") {
                &output[..]
            } else {
                &data
            };
            let signature = match name {
                "C_DecryptVerifyUpdate" => session.sign(CKM_SHA256_HMAC, hmac, plain).unwrap(),
                _ => signature.clone(),
            };
            let expected = match name {
                "C_DigestEncryptUpdate" | "C_DecryptDigestUpdate" => session_digest(session, plain),
                "C_SignEncryptUpdate" => signature.clone(),
                _ => Vec::new(),
            };
            let ended: Vec<_> = finals(session, &signature).into_iter().flatten().collect();
            assert!(ended.contains(&expected) && ended.len() == 2, "{ended:x?}");

            let nothing_left = || {
                let all = finals(session, &signature);
                assert!(
                    all.iter()
                        .all(|one| *one == Err(Rv(CKR_OPERATION_NOT_INITIALIZED))),
                    "{all:?}"
                );
            };
            // Two bits of counter: four blocks.
            begin();
            update(session, &[0; 64]).unwrap();
            update(session, &[0; 1])
                .refused_with(&[CKR_DATA_LEN_RANGE, CKR_ENCRYPTED_DATA_LEN_RANGE]);
            nothing_left();
            for (data, len) in [
                (null_mut(), 1),
                (8 as *mut u8, 1),
                (at, 1 << 63),
                (at, CK_ULONG::MAX),
            ] {
                begin();
                call(data, len, out.as_mut_ptr(), &mut 20).refused(CKR_ARGUMENTS_BAD);
                nothing_left();
            }
        }
    });
}

/// A digest beside whatever else the session does.
fn session_digest(session: Session, data: &[u8]) -> Vec<u8> {
    let module = session.module;
    let slot = session.info().unwrap().slotID;
    let beside = Session::open(module, slot, CKF_SERIAL_SESSION).unwrap();
    let digest = beside.digest(CKM_SHA256, data).unwrap();
    beside.close().unwrap();
    digest
}

#[test]
fn a_logout_ends_both() {
    isolated(|world| {
        let token = world.token();
        let session = token.user();
        for (name, beginnings, update) in FOUR {
            eprintln!("{name}");
            let private =
                |template: Template| session.create(&template.set(CKA_PRIVATE, true)).unwrap();
            let aes = private(aes_template(&[1; 16]));
            let hmac = private(generic_secret_template(&[2; 32]));
            beginnings
                .iter()
                .for_each(|begin| begin(session, aes, hmac));
            session.logout().unwrap();
            update(session, b"x")
                .refused_with(&[CKR_USER_NOT_LOGGED_IN, CKR_OPERATION_NOT_INITIALIZED]);
            let left = finals(session, &[0; 32])
                .iter()
                .filter(|one| one.is_ok())
                .count();
            // A digest needs no login.
            assert_eq!(left, usize::from(name.contains("Digest")));
            session.login(CKU_USER, USER_PIN).unwrap();
        }
    });
}
