//! Through the C interface: the length of an answer (PKCS#11 5.2), and refusals that change nothing.

use super::common::*;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

fn runner(cases: u32) -> TestRunner {
    TestRunner::new(Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    })
}

/// Room that a caller gives; `None` asks for the length.
fn rooms() -> impl Strategy<Value = Vec<Option<usize>>> {
    vec(proptest::option::of(0..80usize), 0..6)
}

/// Asks for an answer with each room in turn, then with enough. Whatever is too small is refused and
/// leaves the operation as it was; the length promised is enough.
fn answer(
    rooms: &[Option<usize>],
    mut call: impl FnMut(*mut CK_BYTE, *mut CK_ULONG) -> Result<(), Rv>,
) -> Vec<u8> {
    for room in rooms.iter().copied().chain([Some(4096)]) {
        let mut buffer = vec![0xc5; room.unwrap_or(0) + 1];
        let mut len = room.unwrap_or(0) as CK_ULONG;
        let at = room.map_or(null_mut(), |_| buffer.as_mut_ptr());
        let result = call(at, &mut len);
        let len = len as usize;
        match (room, result) {
            (None, Ok(())) => assert!(len <= 4096),
            (Some(room), Ok(())) => {
                assert!(len <= room);
                assert_eq!(buffer[room], 0xc5, "written behind the buffer");
                buffer.truncate(len);
                return buffer;
            }
            (Some(room), Err(Rv(CKR_BUFFER_TOO_SMALL))) => {
                assert!(len > room, "{len} fit {room}");
                assert!(buffer.iter().all(|byte| *byte == 0xc5), "part of an answer");
            }
            (_, Err(refusal)) => panic!("{refusal:?}"),
        }
    }
    unreachable!("4096 bytes are enough");
}

#[test]
fn an_answer_waits_until_there_is_room() {
    isolated(|world| {
        let session = world.token().user();
        let aes = session.create(&aes_template(&[1; 16])).unwrap();
        let hmac = session.create(&generic_secret_template(&[2; 32])).unwrap();
        let iv = || Mech::bytes(CKM_AES_CBC_PAD, &[3; 16]);
        let module = session.module;
        let strategy = (vec(any::<u8>(), 0..70), rooms());
        runner(256)
            .run(&strategy, |(data, rooms)| {
                let (at, len) = (data.as_ptr().cast_mut(), data.len() as CK_ULONG);
                let handle = session.handle;

                session.digest_init(CKM_SHA256).unwrap();
                let digest = answer(&rooms, |out, room| {
                    try_call!(module, C_Digest(handle, at, len, out, room))
                });
                prop_assert_eq!(digest, session.digest(CKM_SHA256, &data).unwrap());

                session.sign_init(CKM_SHA256_HMAC, hmac).unwrap();
                session.sign_update(&data).unwrap();
                let mac = answer(&rooms, |out, room| {
                    try_call!(module, C_SignFinal(handle, out, room))
                });
                prop_assert_eq!(mac, session.sign(CKM_SHA256_HMAC, hmac, &data).unwrap());

                session.encrypt_init(iv(), aes).unwrap();
                let whole = answer(&rooms, |out, room| {
                    try_call!(module, C_Encrypt(handle, at, len, out, room))
                });
                session.encrypt_init(iv(), aes).unwrap();
                let mut parts = answer(&rooms, |out, room| {
                    try_call!(module, C_EncryptUpdate(handle, at, len, out, room))
                });
                parts.extend(answer(&rooms, |out, room| {
                    try_call!(module, C_EncryptFinal(handle, out, room))
                }));
                prop_assert_eq!(&whole, &parts);

                session.decrypt_init(iv(), aes).unwrap();
                let (at, len) = (whole.as_ptr().cast_mut(), whole.len() as CK_ULONG);
                let plain = answer(&rooms, |out, room| {
                    try_call!(module, C_Decrypt(handle, at, len, out, room))
                });
                prop_assert_eq!(plain, data);
                Ok(())
            })
            .unwrap();
    });
}

/// Attributes of a secret key with values that they may have, or not.
fn changes() -> impl Strategy<Value = Vec<(CK_ATTRIBUTE_TYPE, Vec<u8>)>> {
    let kinds = [
        CKA_LABEL,
        CKA_ID,
        CKA_SENSITIVE,
        CKA_EXTRACTABLE,
        CKA_ENCRYPT,
        CKA_WRAP,
        CKA_START_DATE,
        CKA_PRIVATE,
        CKA_CLASS,
        CKA_TRUSTED,
        CKA_VALUE_LEN,
    ];
    let value = prop_oneof![
        (0..=1u8).prop_map(|bool| vec![bool]),
        vec(any::<u8>(), 0..9)
    ];
    vec((proptest::sample::select(kinds.to_vec()), value), 1..4)
}

#[test]
fn a_refused_change_changes_nothing() {
    isolated(|world| {
        let session = world.token().user();
        let known: Vec<_> = nodetoken::attribute::RULES
            .iter()
            .map(|rule| rule.attribute)
            .collect();
        let all = |object| -> Vec<_> {
            known
                .iter()
                .map(|kind| session.get(object, *kind).ok())
                .collect()
        };
        for on_token in [false, true] {
            runner(128)
                .run(&changes(), |pairs| {
                    let template = match on_token && !world.kind.keeps_secrets {
                        true => data("kept"),
                        false => aes_template(&[1; 16]),
                    };
                    let object = session.create(&template.set(CKA_TOKEN, on_token)).unwrap();
                    let before = all(object);
                    let changes = pairs
                        .iter()
                        .fold(Template::new(), |template, (kind, value)| {
                            template.and(*kind, value.clone())
                        });
                    match session.set(object, &changes) {
                        Err(_) => prop_assert_eq!(all(object), before),
                        Ok(()) => {
                            for (kind, value) in &pairs {
                                prop_assert_eq!(&session.get(object, *kind).unwrap(), value);
                            }
                        }
                    }
                    session.destroy(object).unwrap();
                    Ok(())
                })
                .unwrap();
        }
    });
}
