//! Every function with NULL, wild lengths, unknown handles and hostile structures: each answers with
//! a code that the standard names, and the process lives (THREATS.md 1 and 2).
//!
//! The functions are called through one type of twelve words: the C calling conventions of the
//! platforms that we build for let a function ignore arguments that it does not take.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::undocumented_unsafe_blocks, missing_docs)]

mod common;

use common::names::{FUNCTIONS, Function};
use common::*;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::collections::BTreeMap;

/// Values that are no length, no handle and no flag set.
const WILD: [usize; 2] = [1 << 63, usize::MAX];

/// Numbers that are no pointers: nothing is mapped there.
const NUMBERS: [usize; 2] = [1, 8];

/// The arguments of every function, one letter each:
/// `s` session, `S` slot, `k` object, `x` number or flags, `f` flags of a session, `m` mechanism,
/// `D` input followed by its length `l`, `O` output followed by the pointer `n` to its length,
/// `T` template followed by its count `c`, `p` pointer to a result or to an input of fixed size,
/// `v` pointer that may be NULL.
const ARGUMENTS: &[(&str, &str)] = &[
    ("C_Initialize", "v"),
    ("C_Finalize", "v"),
    ("C_GetInfo", "p"),
    ("C_GetFunctionList", "p"),
    ("C_GetSlotList", "xOn"),
    ("C_GetSlotInfo", "Sp"),
    ("C_GetTokenInfo", "Sp"),
    ("C_GetMechanismList", "SOn"),
    ("C_GetMechanismInfo", "Sxp"),
    ("C_InitToken", "SDlp"),
    ("C_InitPIN", "sDl"),
    ("C_SetPIN", "sDlDl"),
    ("C_OpenSession", "Sfvvp"),
    ("C_CloseSession", "s"),
    ("C_CloseAllSessions", "S"),
    ("C_GetSessionInfo", "sp"),
    ("C_GetOperationState", "sOn"),
    ("C_SetOperationState", "sDlxx"),
    ("C_Login", "sxDl"),
    ("C_Logout", "s"),
    ("C_CreateObject", "sTcp"),
    ("C_CopyObject", "skTcp"),
    ("C_DestroyObject", "sk"),
    ("C_GetObjectSize", "skp"),
    ("C_GetAttributeValue", "skTc"),
    ("C_SetAttributeValue", "skTc"),
    ("C_FindObjectsInit", "sTc"),
    ("C_FindObjects", "spxp"),
    ("C_FindObjectsFinal", "s"),
    ("C_EncryptInit", "smk"),
    ("C_Encrypt", "sDlOn"),
    ("C_EncryptUpdate", "sDlOn"),
    ("C_EncryptFinal", "sOn"),
    ("C_DecryptInit", "smk"),
    ("C_Decrypt", "sDlOn"),
    ("C_DecryptUpdate", "sDlOn"),
    ("C_DecryptFinal", "sOn"),
    ("C_DigestInit", "sm"),
    ("C_Digest", "sDlOn"),
    ("C_DigestUpdate", "sDl"),
    ("C_DigestKey", "sk"),
    ("C_DigestFinal", "sOn"),
    ("C_SignInit", "smk"),
    ("C_Sign", "sDlOn"),
    ("C_SignUpdate", "sDl"),
    ("C_SignFinal", "sOn"),
    ("C_SignRecoverInit", "smk"),
    ("C_SignRecover", "sDlOn"),
    ("C_VerifyInit", "smk"),
    ("C_Verify", "sDlDl"),
    ("C_VerifyUpdate", "sDl"),
    ("C_VerifyFinal", "sDl"),
    ("C_VerifyRecoverInit", "smk"),
    ("C_VerifyRecover", "sDlOn"),
    ("C_DigestEncryptUpdate", "sDlOn"),
    ("C_DecryptDigestUpdate", "sDlOn"),
    ("C_SignEncryptUpdate", "sDlOn"),
    ("C_DecryptVerifyUpdate", "sDlOn"),
    ("C_GenerateKey", "smTcp"),
    ("C_GenerateKeyPair", "smTcTcpp"),
    ("C_WrapKey", "smkkOn"),
    ("C_UnwrapKey", "smkDlTcp"),
    ("C_DeriveKey", "smkTcp"),
    ("C_SeedRandom", "sDl"),
    ("C_GenerateRandom", "sDl"),
    ("C_GetFunctionStatus", "s"),
    ("C_CancelFunction", "s"),
    ("C_WaitForSlotEvent", "xpv"),
    ("C_GetInterfaceList", "On"),
    ("C_GetInterface", "vvpx"),
    ("C_LoginUser", "sxDlDl"),
    ("C_SessionCancel", "sx"),
    ("C_MessageEncryptInit", "smk"),
    ("C_EncryptMessage", "sDlDlDlOn"),
    ("C_EncryptMessageBegin", "sDlDl"),
    ("C_EncryptMessageNext", "sDlDlOnx"),
    ("C_MessageEncryptFinal", "s"),
    ("C_MessageDecryptInit", "smk"),
    ("C_DecryptMessage", "sDlDlDlOn"),
    ("C_DecryptMessageBegin", "sDlDl"),
    ("C_DecryptMessageNext", "sDlDlOnx"),
    ("C_MessageDecryptFinal", "s"),
    ("C_MessageSignInit", "smk"),
    ("C_SignMessage", "sDlDlOn"),
    ("C_SignMessageBegin", "sDl"),
    ("C_SignMessageNext", "sDlDlOn"),
    ("C_MessageSignFinal", "s"),
    ("C_MessageVerifyInit", "smk"),
    ("C_VerifyMessage", "sDlDlDl"),
    ("C_VerifyMessageBegin", "sDl"),
    ("C_VerifyMessageNext", "sDlDlDl"),
    ("C_MessageVerifyFinal", "s"),
    ("C_EncapsulateKey", "smkTcOnp"),
    ("C_DecapsulateKey", "smkTcDlp"),
    ("C_VerifySignatureInit", "smkDl"),
    ("C_VerifySignature", "sDl"),
    ("C_VerifySignatureUpdate", "sDl"),
    ("C_VerifySignatureFinal", "s"),
    ("C_GetSessionValidationFlags", "sxp"),
    ("C_AsyncComplete", "spp"),
    ("C_AsyncGetID", "spp"),
    ("C_AsyncJoin", "spxDl"),
    ("C_WrapKeyAuthenticated", "smkkDlOn"),
    ("C_UnwrapKeyAuthenticated", "smkDlTcDlp"),
];

/// Functions that answer before C_Initialize (5.4).
const WITHOUT_INITIALIZE: [&str; 4] = [
    "C_Initialize",
    "C_GetFunctionList",
    "C_GetInterfaceList",
    "C_GetInterface",
];

/// Memory that good pointers point to, with room for whatever a function writes.
struct Memory {
    input: Vec<u64>,
    output: Vec<u64>,
    length: CK_ULONG,
    mechanism: CK_MECHANISM,
    label: Template,
}

/// Good arguments for any function.
struct Good {
    memory: Box<Memory>,
    template: Vec<CK_ATTRIBUTE>,
    session: Session,
    slot: CK_SLOT_ID,
    key: CK_OBJECT_HANDLE,
}

impl Good {
    fn new(token: Token, session: Session, key: CK_OBJECT_HANDLE) -> Self {
        let memory = Box::new(Memory {
            input: vec![0x0101_0101_0101_0101; 512],
            output: vec![0; 4096],
            length: 4096,
            mechanism: Mech::from(CKM_AES_ECB).raw(),
            label: Template::new().set(CKA_LABEL, "label"),
        });
        let template = memory.label.attributes();
        Self {
            memory,
            template,
            session,
            slot: token.slot,
            key,
        }
    }

    fn value(&mut self, kind: char) -> usize {
        self.memory.length = 4096;
        match kind {
            's' => self.session.handle as usize,
            'S' => self.slot as usize,
            'k' => self.key as usize,
            // CKF_DONT_BLOCK where it is flags, CKU_USER where it is a user.
            'x' | 'c' => 1,
            'f' => CKF_SERIAL_SESSION as usize,
            'l' => 16,
            'm' => &raw mut self.memory.mechanism as usize,
            'D' => self.memory.input.as_mut_ptr() as usize,
            'O' | 'p' => self.memory.output.as_mut_ptr() as usize,
            'n' => &raw mut self.memory.length as usize,
            'T' => self.template.as_mut_ptr() as usize,
            _ => 0,
        }
    }

    fn values(&mut self, kinds: &str) -> Vec<usize> {
        kinds.chars().map(|kind| self.value(kind)).collect()
    }
}

fn functions(module: Module) -> BTreeMap<&'static str, Function> {
    let table: *const CK_FUNCTION_LIST_3_2 = module.v32();
    let entries = unsafe { table.cast::<Function>().add(1) };
    FUNCTIONS
        .iter()
        .enumerate()
        .map(|(at, &name)| (name, unsafe { *entries.add(at) }))
        .collect()
}

fn call(function: Function, arguments: &[usize]) -> Rv {
    let mut words = [0; 12];
    words[..arguments.len()].copy_from_slice(arguments);
    let [a, b, c, d, e, f, g, h, i, j, k, l] = words;
    Rv(unsafe { function(a, b, c, d, e, f, g, h, i, j, k, l) })
}

/// Whether the answer says what is wrong. The codes here say "something is broken" instead;
/// C_GetInterface has no other one for an interface that is not there (5.4.6).
fn is_exact(name: &str, rv: Rv) -> bool {
    match rv.0 {
        CKR_FUNCTION_FAILED => name == "C_GetInterface",
        CKR_GENERAL_ERROR | CKR_DEVICE_ERROR | CKR_DEVICE_MEMORY => false,
        // The last code of 3.2.
        code => code <= CKR_PARAMETER_SET_NOT_SUPPORTED,
    }
}

/// Opens a session with every kind of operation begun, so that Update and Final have something to end.
fn busy_session(token: Token, aes: CK_OBJECT_HANDLE, secret: CK_OBJECT_HANDLE) -> Session {
    let session = token.session();
    session.encrypt_init(CKM_AES_ECB, aes).unwrap();
    session.decrypt_init(CKM_AES_ECB, aes).unwrap();
    session.sign_init(CKM_SHA256_HMAC, secret).unwrap();
    session.verify_init(CKM_SHA256_HMAC, secret).unwrap();
    session.digest_init(CKM_SHA256).unwrap();
    try_call!(
        session.module,
        C_FindObjectsInit(session.handle, null_mut(), 0)
    )
    .unwrap();
    session
}

/// The user logged in, an AES key and a secret for HMAC, on the token where it keeps such keys.
fn with_keys(token: Token) -> (Session, CK_OBJECT_HANDLE, CK_OBJECT_HANDLE) {
    let user = token.user();
    let on_token = on(process::kind().keeps_secrets);
    let aes = user
        .create(&aes_template(&[1; 16]).with(&on_token))
        .unwrap();
    let secret = user
        .create(&generic_secret_template(&[2; 32]).with(&on_token))
        .unwrap();
    (user, aes, secret)
}

#[test]
fn the_table_above_is_complete() {
    let names: Vec<_> = ARGUMENTS.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, FUNCTIONS);
}

#[test]
fn nothing_works_before_initialize_and_after_finalize() {
    isolated(|world| {
        let module = Module::load();
        let functions = functions(module);
        let mut good = Good::new(Token { module, slot: 0 }, Session { module, handle: 1 }, 1);
        for after in [false, true] {
            if after {
                world.token();
                module.finalize().unwrap();
            }
            for (name, kinds) in ARGUMENTS
                .iter()
                .filter(|(name, _)| !WITHOUT_INITIALIZE.contains(name))
            {
                eprintln!("{name}");
                let zeros = vec![0; kinds.len()];
                for arguments in [good.values(kinds), zeros] {
                    let rv = call(functions[name], &arguments);
                    // The two legacy functions have one answer for everything (5.19).
                    let legacy = kinds == &"s" && rv == Rv(CKR_FUNCTION_NOT_PARALLEL);
                    assert!(
                        legacy || rv == Rv(CKR_CRYPTOKI_NOT_INITIALIZED),
                        "{name}: {rv:?}"
                    );
                }
            }
        }
    });
}

#[test]
fn unknown_handles() {
    isolated(|world| {
        let token = world.token();
        let (session, key, _) = with_keys(token);
        let functions = functions(token.module);
        let mut good = Good::new(token, session, key);
        for (name, kinds) in ARGUMENTS {
            eprintln!("{name}");
            for (at, kind) in kinds.char_indices() {
                let code = match kind {
                    's' => CKR_SESSION_HANDLE_INVALID,
                    'S' => CKR_SLOT_ID_INVALID,
                    _ => continue,
                };
                for handle in WILD
                    .into_iter()
                    .chain([0x7fff_fff0])
                    .chain((kind == 's').then_some(0))
                {
                    let mut arguments = good.values(kinds);
                    arguments[at] = handle;
                    let rv = call(functions[name], &arguments);
                    let allowed = [code, CKR_FUNCTION_NOT_SUPPORTED, CKR_FUNCTION_NOT_PARALLEL];
                    assert!(
                        allowed.contains(&rv.0),
                        "{name} with {kind} = {handle:#x}: {rv:?}"
                    );
                }
            }
        }
    });
}

#[test]
fn null_pointers_wild_lengths_and_unknown_objects() {
    isolated(|world| {
        let token = world.token();
        let module = token.module;
        let functions = functions(module);
        let (user, aes, secret) = with_keys(token);
        let untouched = [
            "C_Initialize",
            "C_Finalize",
            "C_Logout",
            "C_CloseAllSessions",
        ];
        for (name, kinds) in ARGUMENTS
            .iter()
            .filter(|(name, _)| !untouched.contains(name))
        {
            eprintln!("{name}");
            // What is done to the good arguments, and whether the call may still succeed.
            let mut changes: Vec<(Vec<(usize, usize)>, bool)> = Vec::new();
            for (at, kind) in kinds.char_indices() {
                if "DTOnpm".contains(kind) {
                    changes.extend(NUMBERS.map(|number| (vec![(at, number)], false)));
                }
                match kind {
                    'D' | 'T' => {
                        changes.push((vec![(at, 0)], false));
                        changes.extend(WILD.map(|length| (vec![(at, 0), (at + 1, length)], false)));
                        changes.extend(WILD.map(|length| (vec![(at + 1, length)], false)));
                        changes.push((vec![(at, 0), (at + 1, 0)], true));
                    }
                    'n' | 'p' => changes.push((vec![(at, 0)], false)),
                    'O' => changes.push((vec![(at, 0)], true)),
                    // A NULL mechanism ends the operation that is under way.
                    'm' => changes.push((vec![(at, 0)], true)),
                    'k' => changes
                        .extend([0, WILD[0], WILD[1]].map(|handle| (vec![(at, handle)], false))),
                    'x' => changes
                        .extend([0, WILD[0], WILD[1]].map(|number| (vec![(at, number)], true))),
                    _ => {}
                }
            }
            // A blocking wait would wait.
            changes.retain(|(change, _)| *name != "C_WaitForSlotEvent" || change[0].0 != 0);
            for (change, may_succeed) in changes {
                let session = busy_session(token, aes, secret);
                let mut good = Good::new(token, session, aes);
                let mut arguments = good.values(kinds);
                for (at, value) in &change {
                    arguments[*at] = *value;
                }
                let rv = call(functions[name], &arguments);
                assert!(
                    is_exact(name, rv),
                    "{name} ({kinds}) with {change:x?}: {rv:?}"
                );
                assert!(
                    may_succeed || rv != Rv(CKR_OK),
                    "{name} ({kinds}) with {change:x?}: {rv:?}"
                );
                session.close().unwrap();
            }
        }
        // Still in order after all that.
        user.sign(CKM_SHA256_HMAC, secret, b"data").unwrap();
    });
}

#[test]
fn numbers_for_result_pointers() {
    let structures =
        "C_GetInfo C_GetSlotInfo C_GetTokenInfo C_GetSessionInfo C_GetMechanismInfo".split(' ');
    let others = "C_OpenSession C_CreateObject C_FindObjects C_GetSlotList C_Sign C_Digest \
                  C_GetInterface"
        .split(' ');
    let cases = structures
        .map(|name| (name, &[1, 8, 0x10_0000][..]))
        .chain(others.map(|name| (name, &NUMBERS[..])));
    isolated(|world| {
        let token = world.token();
        let functions = functions(token.module);
        let (user, aes, secret) = with_keys(token);
        for (name, numbers) in cases {
            let kinds = ARGUMENTS.iter().find(|known| known.0 == name).unwrap().1;
            // Name and version of an interface are read.
            let places = kinds.char_indices().filter(|(_, kind)| {
                "pO".contains(*kind) || (*kind == 'v' && name == "C_GetInterface")
            });
            for (at, _) in places {
                for &number in numbers {
                    eprintln!("{name} {at} {number:#x}");
                    let session = busy_session(token, aes, secret);
                    let mut good = Good::new(token, session, aes);
                    let mut arguments = good.values(kinds);
                    arguments[at] = number;
                    let rv = call(functions[name], &arguments);
                    assert_eq!(rv, Rv(CKR_ARGUMENTS_BAD), "{name} {at} {number:#x}");
                    session.close().unwrap();
                }
            }
        }
        assert_eq!(
            token.info().ulSessionCount,
            1,
            "a session that nobody knows"
        );
        for number in [1, 8, 0x10_0000] {
            let mut value = CK_ATTRIBUTE {
                type_: CKA_CLASS,
                pValue: number as *mut _,
                ulValueLen: 8,
            };
            user.get_raw(aes, std::slice::from_mut(&mut value))
                .refused(CKR_ARGUMENTS_BAD);
        }
    });
}

#[test]
fn hostile_mechanism_parameters() {
    let buffer = [1u8; 64];
    let good = buffer.as_ptr().cast_mut();
    let bad_pointers = [1usize, 8, 0x10_0000, usize::MAX - 64];
    let mut mechanisms: Vec<Mech> = Vec::new();
    let gcm = |iv, iv_length, aad, aad_length| CK_GCM_PARAMS {
        pIv: iv,
        ulIvLen: iv_length,
        ulIvBits: 96,
        pAAD: aad,
        ulAADLen: aad_length,
        ulTagBits: 128,
    };
    let mut structure = |kind, parameter| mechanisms.push(Mech::structure(kind, parameter, vec![]));
    let wild = [1 << 63, CK_ULONG::MAX, CK_ULONG::MAX / 8];
    for pointer in bad_pointers.map(|pointer| pointer as *mut CK_BYTE) {
        structure(CKM_AES_GCM, gcm(pointer, 12, good, 4));
        structure(CKM_AES_GCM, gcm(good, 12, pointer, 4));
    }
    for length in wild {
        structure(CKM_AES_GCM, gcm(good, length, good, 4));
        structure(CKM_AES_GCM, gcm(good, 12, good, length));
    }
    let ccm = |nonce, nonce_length, aad, aad_length| CK_CCM_PARAMS {
        ulDataLen: 16,
        pNonce: nonce,
        ulNonceLen: nonce_length,
        pAAD: aad,
        ulAADLen: aad_length,
        ulMACLen: 16,
    };
    let chacha = |nonce, nonce_length, aad, aad_length| CK_SALSA20_CHACHA20_POLY1305_PARAMS {
        pNonce: nonce,
        ulNonceLen: nonce_length,
        pAAD: aad,
        ulAADLen: aad_length,
    };
    for pointer in [0, bad_pointers[0], bad_pointers[3]].map(|pointer| pointer as *mut CK_BYTE) {
        let cases = [
            Mech::structure(CKM_AES_CCM, ccm(pointer, 12, good, 4), vec![]),
            Mech::structure(CKM_AES_CCM, ccm(good, 12, pointer, 4), vec![]),
            Mech::structure(CKM_CHACHA20_POLY1305, chacha(pointer, 96, good, 4), vec![]),
            Mech::structure(CKM_CHACHA20_POLY1305, chacha(good, 96, pointer, 4), vec![]),
        ];
        mechanisms.extend(cases);
    }
    for length in wild {
        let cases = [
            Mech::structure(CKM_AES_CCM, ccm(good, length, good, 4), vec![]),
            Mech::structure(CKM_AES_CCM, ccm(good, 12, good, length), vec![]),
            Mech::structure(CKM_CHACHA20_POLY1305, chacha(good, length, good, 4), vec![]),
            Mech::structure(
                CKM_CHACHA20_POLY1305,
                chacha(good, 96, good, length),
                vec![],
            ),
        ];
        mechanisms.extend(cases);
    }
    let oaep = |pointer: *mut CK_BYTE, length| CK_RSA_PKCS_OAEP_PARAMS {
        hashAlg: CKM_SHA256,
        mgf: CKG_MGF1_SHA256,
        source: CKZ_DATA_SPECIFIED,
        pSourceData: pointer.cast(),
        ulSourceDataLen: length,
    };
    let eddsa = |pointer, length| CK_EDDSA_PARAMS {
        phFlag: CK_FALSE,
        ulContextDataLen: length,
        pContextData: pointer,
    };
    let pointers = bad_pointers.map(|pointer| (pointer as *mut CK_BYTE, 16));
    let lengths = wild.map(|length| (good, length));
    for (pointer, length) in pointers.into_iter().chain(lengths) {
        mechanisms.push(Mech::structure(
            CKM_RSA_PKCS_OAEP,
            oaep(pointer, length),
            vec![],
        ));
        mechanisms.push(Mech::structure(CKM_EDDSA, eddsa(pointer, length), vec![]));
    }
    isolated(|world| {
        let token = world.token();
        let (session, aes, secret) = with_keys(token);
        let rsa = session.any_rsa();
        let ed = match world.kind.has(Curve::ED25519) {
            true => session.ed25519(),
            false => session.ec(Curve::P256),
        };
        let of_32_bytes = Template::new().set(CKA_VALUE_LEN, 32 as CK_ULONG);
        let chacha20 = session
            .generate_key(CKM_CHACHA20_KEY_GEN, &of_32_bytes)
            .unwrap();
        let key_of = |kind, private| match (kind, private) {
            (CKM_RSA_PKCS_OAEP, true) => rsa.private,
            (CKM_RSA_PKCS_OAEP, false) => rsa.public,
            (CKM_EDDSA, true) => ed.private,
            (CKM_EDDSA, false) => ed.public,
            (CKM_CHACHA20_POLY1305, _) => chacha20,
            _ => aes,
        };
        for mechanism in &mechanisms {
            let kind = mechanism.kind;
            eprintln!("{mechanism:x?}");
            let mut refused = vec![CKR_MECHANISM_PARAM_INVALID, CKR_ARGUMENTS_BAD];
            if kind == CKM_EDDSA {
                // Two faults, one code.
                if !world.kind.has(Curve::ED25519) {
                    refused.push(CKR_MECHANISM_INVALID);
                }
                session
                    .sign_init(mechanism.clone(), key_of(kind, true))
                    .refused_with(&refused);
                session
                    .verify_init(mechanism.clone(), key_of(kind, false))
                    .refused_with(&refused);
            } else {
                session
                    .encrypt_init(mechanism.clone(), key_of(kind, false))
                    .refused_with(&refused);
                session
                    .decrypt_init(mechanism.clone(), key_of(kind, true))
                    .refused_with(&refused);
            }
        }
        // The parameter itself.
        let parameters = bad_pointers.map(|pointer| (pointer, 16)).into_iter();
        for (pointer, length) in parameters
            .chain(wild.map(|length| (good as usize, length)))
            .chain([(0, 16)])
        {
            for (kind, size) in [
                (CKM_AES_CBC, 16),
                (CKM_AES_CTR, 24),
                (CKM_AES_GCM, 48),
                (CKM_AES_CCM, 48),
                (CKM_AES_KEY_WRAP, 8),
                (CKM_AES_KEY_WRAP_KWP, 4),
                (CKM_CHACHA20_POLY1305, 32),
                (CKM_AES_CMAC_GENERAL, 8),
                (CKM_SHA256_HMAC_GENERAL, 8),
            ] {
                eprintln!("{kind:#x} {pointer:#x} {length:#x}");
                let mut mechanism = CK_MECHANISM {
                    mechanism: kind,
                    pParameter: pointer as *mut _,
                    ulParameterLen: if length == 16 { size } else { length },
                };
                let refused = [CKR_MECHANISM_PARAM_INVALID, CKR_ARGUMENTS_BAD];
                let key = if kind == CKM_CHACHA20_POLY1305 {
                    chacha20
                } else {
                    aes
                };
                if kind == CKM_AES_CMAC_GENERAL {
                    try_call!(
                        session.module,
                        C_SignInit(session.handle, &mut mechanism, aes)
                    )
                    .refused_with(&refused);
                } else if kind == CKM_SHA256_HMAC_GENERAL {
                    try_call!(
                        session.module,
                        C_SignInit(session.handle, &mut mechanism, secret)
                    )
                    .refused_with(&refused);
                } else {
                    try_call!(
                        session.module,
                        C_EncryptInit(session.handle, &mut mechanism, key)
                    )
                    .refused_with(&refused);
                }
            }
        }
        session.encrypt(CKM_AES_ECB, aes, &[0; 16]).unwrap();
    });
}

#[test]
fn hostile_templates() {
    isolated(|world| {
        let token = world.token();
        let (session, aes, _) = with_keys(token);
        let module = session.module;
        let mut byte = 1u8;
        let label = |pointer: *mut u8, length| CK_ATTRIBUTE {
            type_: CKA_LABEL,
            pValue: pointer.cast(),
            ulValueLen: length,
        };
        let class = CKO_DATA.to_ne_bytes();
        for hostile in [
            label(null_mut(), 5),
            label(null_mut(), CK_ULONG::MAX),
            label(&mut byte, 1 << 63),
            label(&mut byte, CK_ULONG::MAX),
            label(&mut byte, CK_ULONG::MAX / 2),
        ] {
            let class = CK_ATTRIBUTE {
                type_: CKA_CLASS,
                pValue: class.as_ptr().cast_mut().cast(),
                ulValueLen: 8,
            };
            let mut template = [class, hostile];
            let (place, mut object) = (template.as_mut_ptr(), 0);
            let refused = [CKR_ARGUMENTS_BAD, CKR_ATTRIBUTE_VALUE_INVALID];
            try_call!(
                module,
                C_CreateObject(session.handle, place, 2, &mut object)
            )
            .refused_with(&refused);
            try_call!(module, C_FindObjectsInit(session.handle, place, 2)).refused_with(&refused);
            let hostile = &raw mut template[1];
            try_call!(module, C_SetAttributeValue(session.handle, aes, hostile, 1))
                .refused_with(&refused);
            try_call!(
                module,
                C_CopyObject(session.handle, aes, hostile, 1, &mut object)
            )
            .refused_with(&refused);
        }
        assert_eq!(session.get(aes, CKA_LABEL).unwrap(), b"");
    });
}

/// Random functions with arguments that are good, zero or wild, on one process.
#[test]
fn random_calls() {
    // Left out: what would end the run, wait, or spend the PIN's tries and a second each.
    let left_out = [
        "C_Initialize",
        "C_Finalize",
        "C_WaitForSlotEvent",
        "C_InitToken",
        "C_InitPIN",
        "C_SetPIN",
        "C_Login",
        "C_LoginUser",
        "C_Logout",
        "C_CloseAllSessions",
        "C_CloseSession",
        "C_GenerateKeyPair",
        "C_DestroyObject",
    ];
    isolated(|world| {
        let token = world.token();
        let functions = functions(token.module);
        let (session, aes, secret) = with_keys(token);
        let callable: Vec<_> = ARGUMENTS
            .iter()
            .filter(|(name, _)| !left_out.contains(name))
            .collect();
        let calls =
            prop::collection::vec((0..callable.len(), prop::array::uniform12(0u8..8)), 1..40);
        let mut runner = TestRunner::new(Config {
            cases: 300,
            failure_persistence: None,
            ..Config::default()
        });
        let outcome = runner.run(&calls, |calls| {
            let session = busy_session(token, aes, secret);
            let mut good = Good::new(token, session, aes);
            for (at, choices) in calls {
                let (name, kinds) = callable[at];
                let mut arguments = good.values(kinds);
                for (at, kind) in kinds.char_indices() {
                    match choices[at] {
                        0 => arguments[at] = 0,
                        1 if "slxfckS".contains(kind) => arguments[at] = WILD[0],
                        2 if "slxfckS".contains(kind) => arguments[at] = WILD[1],
                        _ => {}
                    }
                }
                let rv = call(functions[name], &arguments);
                prop_assert!(
                    is_exact(name, rv),
                    "{} ({}) with {:x?}: {:?}",
                    name,
                    kinds,
                    arguments,
                    rv
                );
            }
            session.close().unwrap();
            Ok(())
        });
        outcome.unwrap();
        session.info().unwrap();
    });
}
