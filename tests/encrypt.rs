//! Encryption with AES in its modes, and the life of the operation (PKCS#11 3.2, 5.8, 5.10, 6.13).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::undocumented_unsafe_blocks, missing_docs)]

mod common;

use common::vectors::{self, hex};
use common::*;

const ENDED: CK_RV = CKR_OPERATION_NOT_INITIALIZED;

/// An AES mode with its parameters.
struct Mode {
    name: &'static str,
    mechanism: Mech,
    multiple_of: usize,
    /// Length of the output for an input of this length.
    output: fn(usize) -> usize,
}

fn modes() -> [Mode; 6] {
    let iv = hex(vectors::AES_IV);
    let counter = iv.clone().try_into().unwrap();
    let gcm = |tag| Mech::gcm(&iv[..12], &hex(vectors::AES_AAD), tag);
    [
        Mode {
            name: "ECB",
            mechanism: CKM_AES_ECB.into(),
            multiple_of: 16,
            output: |length| length,
        },
        Mode {
            name: "CBC",
            mechanism: Mech::bytes(CKM_AES_CBC, &iv),
            multiple_of: 16,
            output: |length| length,
        },
        Mode {
            name: "CBC_PAD",
            mechanism: Mech::bytes(CKM_AES_CBC_PAD, &iv),
            multiple_of: 1,
            output: |length| (length / 16 + 1) * 16,
        },
        Mode {
            name: "CTR",
            mechanism: Mech::ctr(counter, 128),
            multiple_of: 1,
            output: |length| length,
        },
        Mode {
            name: "GCM",
            mechanism: gcm(128),
            multiple_of: 1,
            output: |length| length + 16,
        },
        Mode {
            name: "GCM, tag of 96 bits",
            mechanism: gcm(96),
            multiple_of: 1,
            output: |length| length + 12,
        },
    ]
}

/// What decryption answers where a tag or a padding does not hold.
const DAMAGED: [CK_RV; 2] = [CKR_ENCRYPTED_DATA_INVALID, CKR_AEAD_DECRYPT_FAILED];

#[test]
fn known_answers() {
    let text = hex(vectors::AES_TEXT);
    let expected = [
        (&text[..16], vectors::AES_ECB),
        (&text[..16], vectors::AES_CBC),
        (&text, vectors::AES_CBC_PAD),
        (&text, vectors::AES_CTR),
        (&text, vectors::AES_GCM),
    ];
    isolated(|world| {
        let session = world.token().user();
        let key = session
            .create(&aes_template(&hex(vectors::AES_KEY)))
            .unwrap();
        for (mode, (text, expected)) in modes().into_iter().zip(expected) {
            assert_eq!(
                session.encrypt(mode.mechanism.clone(), key, text).unwrap(),
                hex(expected),
                "{}",
                mode.name
            );
            assert_eq!(
                session
                    .decrypt(mode.mechanism, key, &hex(expected))
                    .unwrap(),
                text,
                "{}",
                mode.name
            );
        }
    });
}

#[test]
fn every_length_whole_and_in_parts() {
    isolated(|world| {
        let session = world.token().user();
        for key_length in [16, 24, 32] {
            let key = session.aes(key_length);
            for mode in modes() {
                for length in (0..70).filter(|length| length % mode.multiple_of == 0) {
                    let text: Vec<u8> = (0..length as u8).collect();
                    let what = format!("{} of {length} bytes", mode.name);
                    let whole = session.encrypt(mode.mechanism.clone(), key, &text).unwrap();
                    assert_eq!(whole.len(), (mode.output)(length), "{what}");
                    let chunks: Vec<_> = text.chunks(7).collect();
                    let parts = session
                        .encrypt_parts(mode.mechanism.clone(), key, &chunks)
                        .unwrap();
                    assert_eq!(parts, whole, "{what}");
                    assert_eq!(
                        session
                            .decrypt(mode.mechanism.clone(), key, &whole)
                            .unwrap(),
                        text,
                        "{what}"
                    );
                    let chunks: Vec<_> = whole.chunks(7).collect();
                    assert_eq!(
                        session
                            .decrypt_parts(mode.mechanism.clone(), key, &chunks)
                            .unwrap(),
                        text,
                        "{what}"
                    );
                }
            }
        }
    });
}

#[test]
fn lengths_that_do_not_fit() {
    isolated(|world| {
        let session = world.token().user();
        let key = session.aes(16);
        for mode in modes() {
            for length in (1..40).filter(|length| length % mode.multiple_of != 0) {
                let text = vec![1; length];
                session
                    .encrypt(mode.mechanism.clone(), key, &text)
                    .refused(CKR_DATA_LEN_RANGE);
                session
                    .encrypt_parts(mode.mechanism.clone(), key, &[&text])
                    .refused(CKR_DATA_LEN_RANGE);
                session.encrypt_final().refused(ENDED);
                session
                    .decrypt(mode.mechanism.clone(), key, &text)
                    .refused(CKR_ENCRYPTED_DATA_LEN_RANGE);
                session
                    .decrypt_parts(mode.mechanism.clone(), key, &[&text])
                    .refused(CKR_ENCRYPTED_DATA_LEN_RANGE);
            }
        }
        let pad = || modes()[2].mechanism.clone();
        for length in [0, 1, 15, 17] {
            session
                .decrypt(pad(), key, &vec![1; length])
                .refused_with(&[CKR_ENCRYPTED_DATA_LEN_RANGE, CKR_ENCRYPTED_DATA_INVALID]);
        }
        let gcm = || modes()[4].mechanism.clone();
        for length in [0, 1, 15] {
            session
                .decrypt(gcm(), key, &vec![1; length])
                .refused_with(&[
                    CKR_ENCRYPTED_DATA_LEN_RANGE,
                    CKR_ENCRYPTED_DATA_INVALID,
                    CKR_AEAD_DECRYPT_FAILED,
                ]);
        }
    });
}

/// No plain text before the tag holds, and none at all when it does not (THREATS.md).
#[test]
fn gcm_gives_nothing_away() {
    isolated(|world| {
        let session = world.token().user();
        let key = session.aes(32);
        let mechanism = || modes()[4].mechanism.clone();
        let text = vec![0x5a; 100];
        let sealed = session.encrypt(mechanism(), key, &text).unwrap();
        for at in [0, 50, 99, 100, 115] {
            let mut damaged = sealed.clone();
            damaged[at] ^= 0x80;
            session.decrypt_init(mechanism(), key).unwrap();
            let (mut out, mut length) = ([0xaa; 116], 116);
            try_call!(
                session.module,
                C_Decrypt(
                    session.handle,
                    damaged.as_mut_ptr(),
                    116,
                    out.as_mut_ptr(),
                    &mut length
                )
            )
            .refused_with(&DAMAGED);
            assert_eq!(out, [0xaa; 116], "plain text of a damaged message");
            session.decrypt_rest(&sealed).refused(ENDED);

            session.decrypt_init(mechanism(), key).unwrap();
            assert_eq!(
                session.decrypt_update(&damaged).unwrap(),
                b"",
                "plain text before the tag"
            );
            session.decrypt_final().refused_with(&DAMAGED);
            session.decrypt_final().refused(ENDED);
        }
        for other in [
            Mech::gcm(&[1; 12], &hex(vectors::AES_AAD), 128),
            Mech::gcm(&hex(vectors::AES_IV)[..12], b"another header", 128),
            Mech::gcm(&hex(vectors::AES_IV)[..12], b"", 128),
            Mech::gcm(&hex(vectors::AES_IV)[..12], &hex(vectors::AES_AAD), 96),
        ] {
            session.decrypt(other, key, &sealed).refused_with(&DAMAGED);
        }
    });
}

#[test]
fn a_damaged_padding_is_refused() {
    isolated(|world| {
        let session = world.token().user();
        let key = session.aes(16);
        let iv = hex(vectors::AES_IV);
        for last in [0u8, 17, 0xff] {
            let mut block = [7; 16];
            block[15] = last;
            let sealed = session
                .encrypt(Mech::bytes(CKM_AES_CBC, &iv), key, &block)
                .unwrap();
            session
                .decrypt(Mech::bytes(CKM_AES_CBC_PAD, &iv), key, &sealed)
                .refused(CKR_ENCRYPTED_DATA_INVALID);
            session
                .decrypt_parts(Mech::bytes(CKM_AES_CBC_PAD, &iv), key, &[&sealed])
                .refused(CKR_ENCRYPTED_DATA_INVALID);
        }
    });
}

/// SP 800-38A B.1: a counter of fewer bits than the block goes on from zero, without a carry into the
/// rest, and no counter block comes twice.
#[test]
fn a_counter_goes_round_once() {
    isolated(|world| {
        let session = world.token().user();
        let key = session.aes(32);
        let mut first = [7; 16];
        first[15] = 0xfd;
        let narrow = Mech::ctr(first, 8);
        // All of the 256 blocks that there are, block for block.
        let mut stream = Vec::new();
        for counter in (0xfd..=0xff).chain(0..0xfd) {
            let mut block = first;
            block[15] = counter;
            stream.extend(session.encrypt(CKM_AES_ECB, key, &block).unwrap());
        }
        let text = [0; 256 * 16];
        assert_eq!(session.encrypt(narrow.clone(), key, &text).unwrap(), stream);
        let parts: Vec<&[u8]> = text.chunks(37).collect();
        let in_parts = session.encrypt_parts(narrow.clone(), key, &parts).unwrap();
        assert_eq!(in_parts, stream);
        assert_eq!(session.decrypt(narrow.clone(), key, &stream).unwrap(), text);

        let too_long = Err(Rv(CKR_DATA_LEN_RANGE));
        let one_more = [&text[..], &[0]].concat();
        assert_eq!(session.encrypt(narrow.clone(), key, &one_more), too_long);
        session
            .decrypt(narrow.clone(), key, &one_more)
            .refused(CKR_ENCRYPTED_DATA_LEN_RANGE);
        assert_eq!(session.encrypt_parts(narrow, key, &[&text, &[5]]), too_long);
        // One bit counts to one.
        let narrowest = Mech::ctr([0xff; 16], 1);
        let two = session.encrypt(narrowest.clone(), key, &[0; 32]).unwrap();
        let mut second = [0xff; 16];
        second[15] = 0xfe;
        let expected = session.encrypt(CKM_AES_ECB, key, &second).unwrap();
        assert_eq!(two[16..], expected);
        assert_eq!(session.encrypt(narrowest, key, &[0; 33]), too_long);
        // The whole block counts on from its end to its beginning.
        session
            .encrypt(Mech::ctr([0xff; 16], 128), key, &[5; 48])
            .unwrap();
    });
}

#[test]
fn init_refuses_wrong_parameters() {
    let iv = hex(vectors::AES_IV);
    let missing = CK_GCM_PARAMS {
        pIv: null_mut(),
        ulIvLen: 12,
        ulIvBits: 96,
        pAAD: null_mut(),
        ulAADLen: 0,
        ulTagBits: 128,
    };
    let mut nonce = [1; 12];
    let no_aad = CK_GCM_PARAMS {
        pIv: nonce.as_mut_ptr(),
        ulAADLen: 5,
        ..missing
    };
    let cases = [
        ("ECB with one", Mech::bytes(CKM_AES_ECB, &iv)),
        ("CBC without", CKM_AES_CBC.into()),
        ("CBC of 15 bytes", Mech::bytes(CKM_AES_CBC, &iv[1..])),
        ("CBC of 17 bytes", Mech::bytes(CKM_AES_CBC, &[1; 17])),
        ("CBC_PAD without", CKM_AES_CBC_PAD.into()),
        ("CTR without", CKM_AES_CTR.into()),
        ("CTR of 0 bits", Mech::ctr([1; 16], 0)),
        ("CTR of 129 bits", Mech::ctr([1; 16], 129)),
        ("GCM without", CKM_AES_GCM.into()),
        ("GCM cut", Mech::bytes(CKM_AES_GCM, &[1; 47])),
        ("GCM, no IV", Mech::gcm(b"", b"", 128)),
        (
            "GCM, IV NULL",
            Mech::structure(CKM_AES_GCM, missing, vec![]),
        ),
        (
            "GCM, AAD NULL",
            Mech::structure(CKM_AES_GCM, no_aad, vec![]),
        ),
        ("GCM, no tag", Mech::gcm(&[1; 12], b"", 0)),
        ("GCM, tag of 64 bits", Mech::gcm(&[1; 12], b"", 64)),
        ("GCM, tag of 95 bits", Mech::gcm(&[1; 12], b"", 95)),
        ("GCM, tag of 100 bits", Mech::gcm(&[1; 12], b"", 100)),
        ("GCM, tag of 136 bits", Mech::gcm(&[1; 12], b"", 136)),
        (
            "GCM, tag of -1 bits",
            Mech::gcm(&[1; 12], b"", CK_ULONG::MAX),
        ),
    ];
    isolated(|world| {
        let session = world.token().user();
        let key = session.aes(16);
        for (what, mechanism) in cases {
            let invalid = Err(Rv(CKR_MECHANISM_PARAM_INVALID));
            assert_eq!(
                session.encrypt_init(mechanism.clone(), key),
                invalid,
                "{what}"
            );
            assert_eq!(session.decrypt_init(mechanism, key), invalid, "{what}");
        }
    });
}

#[test]
fn init_refuses_wrong_keys() {
    isolated(|world| {
        let session = world.token().user();
        let (rsa, ec, aes) = (session.rsa(2048), session.ec(Curve::P256), session.aes(16));
        let wrong_class = [CKR_KEY_TYPE_INCONSISTENT, CKR_KEY_FUNCTION_NOT_PERMITTED];
        session
            .encrypt_init(CKM_AES_ECB, rsa.public)
            .refused(CKR_KEY_TYPE_INCONSISTENT);
        session
            .encrypt_init(CKM_RSA_PKCS, aes)
            .refused(CKR_KEY_TYPE_INCONSISTENT);
        // Neither of the type nor permitted: the type comes first (5.1.6).
        session
            .encrypt_init(CKM_RSA_PKCS, ec.public)
            .refused(CKR_KEY_TYPE_INCONSISTENT);
        session
            .encrypt_init(CKM_RSA_PKCS, rsa.private)
            .refused_with(&wrong_class);
        session
            .decrypt_init(CKM_RSA_PKCS, rsa.public)
            .refused_with(&wrong_class);
        for handle in [0, CK_ULONG::MAX] {
            session
                .encrypt_init(CKM_AES_ECB, handle)
                .refused(CKR_KEY_HANDLE_INVALID);
            session
                .decrypt_init(CKM_AES_ECB, handle)
                .refused(CKR_KEY_HANDLE_INVALID);
        }
        session
            .encrypt_init(CKM_SHA256, aes)
            .refused(CKR_MECHANISM_INVALID);
        session
            .decrypt_init(CKM_ECDSA, ec.private)
            .refused(CKR_MECHANISM_INVALID);
    });
}

/// 5.2: a size query or a short buffer neither encrypts nor ends the operation.
#[test]
fn size_queries_and_short_buffers() {
    isolated(|world| {
        let session = world.token().user();
        let module = session.module;
        let key = session.aes(16);
        for mode in modes() {
            let mut text = [0x33; 32];
            let expected = session.encrypt(mode.mechanism.clone(), key, &text).unwrap();
            session.encrypt_init(mode.mechanism.clone(), key).unwrap();
            let mut encrypt = |out: *mut u8, length: &mut CK_ULONG| {
                try_call!(
                    module,
                    C_Encrypt(session.handle, text.as_mut_ptr(), 32, out, length)
                )
            };
            let (mut buffer, mut length) = ([0xaa; 64], 0);
            encrypt(null_mut(), &mut length).unwrap();
            assert_eq!(length as usize, expected.len(), "{}", mode.name);
            length -= 1;
            encrypt(buffer.as_mut_ptr(), &mut length).refused(CKR_BUFFER_TOO_SMALL);
            assert_eq!(
                (length as usize, buffer),
                (expected.len(), [0xaa; 64]),
                "{}",
                mode.name
            );
            encrypt(buffer.as_mut_ptr(), &mut length).unwrap();
            assert_eq!(buffer[..length as usize], expected, "{}", mode.name);

            // In parts: the short call is repeated with the same part.
            session.encrypt_init(mode.mechanism.clone(), key).unwrap();
            let mut sealed = Vec::new();
            for last in [false, true] {
                let mut call = |out: *mut u8, length: &mut CK_ULONG| {
                    if last {
                        try_call!(module, C_EncryptFinal(session.handle, out, length))
                    } else {
                        try_call!(
                            module,
                            C_EncryptUpdate(session.handle, text.as_mut_ptr(), 32, out, length)
                        )
                    }
                };
                let mut length = 0;
                call(null_mut(), &mut length).unwrap();
                // Data never gets 0: who holds a null pointer for an empty buffer would ask again.
                assert!(last || length > 0, "{}", mode.name);
                let needed = std::mem::take(&mut length);
                if let Err(refused) = call(buffer.as_mut_ptr(), &mut length) {
                    assert_eq!(refused, Rv(CKR_BUFFER_TOO_SMALL), "{}", mode.name);
                    assert!(length > 0 && length <= needed, "{}", mode.name);
                    call(buffer.as_mut_ptr(), &mut length).unwrap();
                }
                sealed.extend_from_slice(&buffer[..length as usize]);
            }
            assert_eq!(sealed, expected, "{}", mode.name);

            let mut sealed = expected;
            session.decrypt_init(mode.mechanism.clone(), key).unwrap();
            let mut length = 31;
            let (place, size) = (sealed.as_mut_ptr(), sealed.len() as CK_ULONG);
            try_call!(
                module,
                C_Decrypt(
                    session.handle,
                    place,
                    size,
                    buffer.as_mut_ptr(),
                    &mut length
                )
            )
            .refused(CKR_BUFFER_TOO_SMALL);
            assert!((32..=48).contains(&length), "{}: {length}", mode.name);
            assert_eq!(
                session.decrypt_rest(&sealed).unwrap(),
                text,
                "{}",
                mode.name
            );
        }
    });
}

/// The standard lets input and output be the same memory.
#[test]
fn in_place() {
    isolated(|world| {
        let session = world.token().user();
        let module = session.module;
        let key = session.aes(16);
        for mode in modes() {
            let text = [0x44; 48];
            let expected = session.encrypt(mode.mechanism.clone(), key, &text).unwrap();
            let mut buffer = [0; 80];
            let place = buffer.as_mut_ptr();
            buffer[..48].copy_from_slice(&text);
            let mut length = 80;
            session.encrypt_init(mode.mechanism.clone(), key).unwrap();
            try_call!(
                module,
                C_Encrypt(session.handle, place, 48, place, &mut length)
            )
            .unwrap();
            assert_eq!(buffer[..length as usize], expected, "{}", mode.name);
            let sealed = length;
            length = 80;
            session.decrypt_init(mode.mechanism.clone(), key).unwrap();
            try_call!(
                module,
                C_Decrypt(session.handle, place, sealed, place, &mut length)
            )
            .unwrap();
            assert_eq!(buffer[..length as usize], text, "{}", mode.name);

            session.encrypt_init(mode.mechanism.clone(), key).unwrap();
            let mut length = 48;
            try_call!(
                module,
                C_EncryptUpdate(session.handle, place, 48, place, &mut length)
            )
            .unwrap();
            let sealed = [
                &buffer[..length as usize],
                &session.encrypt_final().unwrap(),
            ]
            .concat();
            assert_eq!(sealed, expected, "{} in parts", mode.name);
        }
    });
}

/// Each piece of plaintext gives as much ciphertext; the tag comes at the end (6.13.3).
#[test]
fn gcm_gives_its_ciphertext_piece_by_piece() {
    isolated(|world| {
        let token = world.token();
        let session = token.user();
        let key = session.aes(32);
        let text: Vec<u8> = (0..=255).cycle().take(1000).collect();
        for (iv, aad, tag) in [(12, 0, 128), (12, 20, 96), (60, 16, 120), (1, 3, 128)] {
            let mechanism = || Mech::gcm(&vec![7; iv], &vec![9; aad], tag);
            let whole = session.encrypt(mechanism(), key, &text).unwrap();
            for pieces in [
                &[1000][..],
                &[1, 15, 16, 17, 0, 951],
                &[333, 333, 334],
                &[5; 200],
            ] {
                session.encrypt_init(mechanism(), key).unwrap();
                let (mut sealed, mut rest) = (Vec::new(), &text[..]);
                for len in pieces {
                    let (piece, more) = rest.split_at(*len);
                    let output = session.encrypt_update(piece).unwrap();
                    assert_eq!(output.len(), *len);
                    sealed.extend(output);
                    rest = more;
                }
                let end = session.encrypt_final().unwrap();
                assert_eq!(end.len(), tag as usize / 8);
                sealed.extend(end);
                assert_eq!(sealed, whole, "{pieces:?}");
            }
            assert_eq!(session.decrypt(mechanism(), key, &whole).unwrap(), text);
        }
        // Two at once, one of them given up.
        let mechanism = || Mech::gcm(&[1; 12], b"", 128);
        let other = token.session();
        session.encrypt_init(mechanism(), key).unwrap();
        other.encrypt_init(mechanism(), key).unwrap();
        let one = session.encrypt_update(b"one message").unwrap();
        assert_eq!(other.encrypt_update(b"one").unwrap(), one[..3]);
        other
            .encrypt_init(mechanism(), key)
            .refused(CKR_OPERATION_ACTIVE);
        session.cancel(CKF_ENCRYPT);
        session.encrypt_final().refused(ENDED);
        other
            .encrypt_rest(b" message")
            .refused(CKR_OPERATION_ACTIVE);
    });
}

#[test]
fn the_operation() {
    isolated(|world| {
        let session = world.token().user();
        let module = session.module;
        let key = session.aes(16);
        let ecb = CKM_AES_ECB;
        for result in [
            session.encrypt_rest(b"x"),
            session.encrypt_update(b"x"),
            session.encrypt_final(),
        ] {
            result.refused(ENDED);
        }
        for result in [
            session.decrypt_rest(b"x"),
            session.decrypt_update(b"x"),
            session.decrypt_final(),
        ] {
            result.refused(ENDED);
        }
        session.encrypt_init(ecb, key).unwrap();
        session.encrypt_init(ecb, key).refused(CKR_OPERATION_ACTIVE);
        session.encrypt_update(&[1; 16]).unwrap();
        session.encrypt_rest(&[1; 16]).refused(CKR_OPERATION_ACTIVE);
        session.cancel(CKF_ENCRYPT);
        session.decrypt_init(ecb, key).unwrap();
        session.decrypt_init(ecb, key).refused(CKR_OPERATION_ACTIVE);
        session.decrypt_update(&[1; 16]).unwrap();
        session.decrypt_rest(&[1; 16]).refused(CKR_OPERATION_ACTIVE);
        session.cancel(CKF_DECRYPT);
        session.decrypt_final().refused(ENDED);

        session.encrypt_init(ecb, key).unwrap();
        try_call!(module, C_EncryptInit(session.handle, null_mut(), key)).unwrap();
        session.encrypt_rest(&[1; 16]).refused(ENDED);
        session.decrypt_init(ecb, key).unwrap();
        try_call!(module, C_DecryptInit(session.handle, null_mut(), 0)).unwrap();
        session.decrypt_rest(&[1; 16]).refused(ENDED);

        session.encrypt_init(ecb, key).unwrap();
        try_call!(
            module,
            C_Encrypt(session.handle, null_mut(), 16, null_mut(), null_mut())
        )
        .refused(CKR_ARGUMENTS_BAD);
        session.encrypt_rest(&[1; 16]).refused(ENDED);
    });
}
