//! The simple derivations (PKCS#11 3.2, 6.43): there only under `roles = "open"`; values, what is passed
//! on of the keys, and what is refused.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::undocumented_unsafe_blocks, missing_docs)]

mod common;

use common::*;

const WITH_DATA: [CK_MECHANISM_TYPE; 3] = [
    CKM_CONCATENATE_BASE_AND_DATA,
    CKM_CONCATENATE_DATA_AND_BASE,
    CKM_XOR_BASE_AND_DATA,
];
const BASE: [u8; 4] = [0x32, 0x9f, 0x84, 0xa9];
const DATA: [u8; 3] = [0x01, 0x23, 0x45];

fn open(test: impl Fn(Session)) {
    isolated(|world| {
        world.configure("[policy]\nroles = \"open\"\n");
        test(world.token().user());
    });
}

fn key(sensitive: bool, extractable: bool) -> Template {
    Template::new()
        .set(CKA_CLASS, CKO_SECRET_KEY)
        .set(CKA_KEY_TYPE, CKK_GENERIC_SECRET)
        .set(CKA_SENSITIVE, sensitive)
        .set(CKA_EXTRACTABLE, extractable)
}

fn slot(session: Session) -> CK_SLOT_ID {
    session.info().unwrap().slotID
}

fn base(session: Session, value: &[u8]) -> CK_OBJECT_HANDLE {
    let template = key(false, true).set(CKA_DERIVE, true);
    session.create(&template.set(CKA_VALUE, value)).unwrap()
}

fn with_data(kind: CK_MECHANISM_TYPE, data: &[u8]) -> Mech {
    let data = data.to_vec();
    let parameters = CK_KEY_DERIVATION_STRING_DATA {
        pData: data.as_ptr().cast_mut(),
        ulLen: data.len() as CK_ULONG,
    };
    Mech::structure(kind, parameters, vec![data])
}

fn with_key(other: CK_OBJECT_HANDLE) -> Mech {
    Mech::structure(CKM_CONCATENATE_BASE_AND_KEY, other, vec![])
}

fn from_bit(bit: CK_ULONG) -> Mech {
    Mech::structure(CKM_EXTRACT_KEY_FROM_KEY, bit, vec![])
}

/// The five, in the order of the standard.
fn all(other: CK_OBJECT_HANDLE) -> Vec<Mech> {
    let mut all = vec![with_key(other)];
    all.extend(WITH_DATA.map(|kind| with_data(kind, &DATA)));
    all.push(from_bit(21));
    all
}

#[test]
fn the_standard_policy_has_none_of_them() {
    isolated(|world| {
        let session = world.token().user();
        let (base, other) = (base(session, &BASE), base(session, &DATA));
        let listed = session.module.mechanisms(slot(session)).unwrap();
        for mechanism in all(other) {
            let kind = mechanism.raw().mechanism;
            assert!(!listed.contains(&kind), "{kind:#x}");
            let info = session.module.mechanism_info(slot(session), kind);
            info.refused(CKR_MECHANISM_INVALID);
            let template = key(false, true).set(CKA_VALUE_LEN, 2 as CK_ULONG);
            let derived = session.derive(mechanism, base, &template);
            derived.refused(CKR_MECHANISM_INVALID);
        }
    });
}

#[test]
fn keys_are_made_of_the_bytes_of_others() {
    open(|session| {
        let (base, other) = (base(session, &BASE), base(session, &DATA));
        let listed = session.module.mechanisms(slot(session)).unwrap();
        let readable = key(false, true);
        for (mechanism, len, value) in [
            (with_key(other), None, "329f84a9012345"),
            (with_key(other), Some(5), "329f84a901"),
            (
                with_data(CKM_CONCATENATE_BASE_AND_DATA, &DATA),
                None,
                "329f84a9012345",
            ),
            (
                with_data(CKM_CONCATENATE_BASE_AND_DATA, &[]),
                None,
                "329f84a9",
            ),
            (
                with_data(CKM_CONCATENATE_DATA_AND_BASE, &DATA),
                None,
                "012345329f84a9",
            ),
            (
                with_data(CKM_CONCATENATE_DATA_AND_BASE, &DATA),
                Some(4),
                "01234532",
            ),
            (with_data(CKM_XOR_BASE_AND_DATA, &DATA), None, "33bcc1"),
            (
                with_data(CKM_XOR_BASE_AND_DATA, &[0xff; 9]),
                None,
                "cd607b56",
            ),
            // The example of 6.43.
            (from_bit(21), Some(2), "9526"),
            (from_bit(0), Some(4), "329f84a9"),
            (from_bit(31), Some(4), "994fc254"),
        ] {
            let kind = mechanism.raw().mechanism;
            assert!(listed.contains(&kind), "{kind:#x}");
            let info = session.module.mechanism_info(slot(session), kind).unwrap();
            assert_eq!(info.flags, CKF_DERIVE, "{kind:#x}");
            let template = match len {
                Some(len) => readable.clone().set(CKA_VALUE_LEN, len as CK_ULONG),
                None => readable.clone(),
            };
            let derived = session.derive(mechanism, base, &template).unwrap();
            let made = session.get(derived, CKA_VALUE).unwrap();
            assert_eq!(made, common::vectors::hex(value), "{kind:#x}");
            assert!(!session.get_bool(derived, CKA_LOCAL));
        }
    });
}

/// Sensitive as soon as one of the keys is, extractable only if all are; and so for ever only if all
/// were for ever.
#[test]
fn a_derived_key_is_no_more_open_than_the_keys_it_is_made_of() {
    open(|session| {
        let generate = |sensitive: bool, extractable: bool| {
            let template = key(sensitive, extractable)
                .set(CKA_DERIVE, true)
                .set(CKA_VALUE_LEN, 16 as CK_ULONG);
            let made = session.generate_key(CKM_GENERIC_SECRET_KEY_GEN, &template);
            made.unwrap()
        };
        let (open, sensitive) = (generate(false, true), generate(true, true));
        let (fixed, closed) = (generate(false, false), generate(true, false));
        let silent = Template::new()
            .set(CKA_CLASS, CKO_SECRET_KEY)
            .set(CKA_VALUE_LEN, 16 as CK_ULONG);
        let history = |mechanism: Mech, base: CK_OBJECT_HANDLE| {
            let derived = session.derive(mechanism, base, &silent).unwrap();
            [
                CKA_SENSITIVE,
                CKA_ALWAYS_SENSITIVE,
                CKA_EXTRACTABLE,
                CKA_NEVER_EXTRACTABLE,
            ]
            .map(|attribute| session.get_bool(derived, attribute))
        };
        for (base, other, expected) in [
            (open, open, [false, false, true, false]),
            (open, closed, [true, false, false, false]),
            (closed, open, [true, false, false, false]),
            (sensitive, closed, [true, true, false, false]),
            (fixed, closed, [true, false, false, true]),
            (closed, closed, [true, true, false, true]),
        ] {
            assert_eq!(history(with_key(other), base), expected);
        }
        for mechanism in all(open).into_iter().skip(1) {
            let mechanism = match mechanism.raw().mechanism {
                CKM_EXTRACT_KEY_FROM_KEY => mechanism,
                kind => with_data(kind, &[7; 16]),
            };
            let expected = [true, true, false, true];
            assert_eq!(history(mechanism.clone(), closed), expected);
            for (base, refused) in [(sensitive, key(false, true)), (fixed, key(false, true))] {
                let refused = refused.set(CKA_VALUE_LEN, 16 as CK_ULONG);
                let derived = session.derive(mechanism.clone(), base, &refused);
                derived.refused(CKR_TEMPLATE_INCONSISTENT);
            }
        }
        let derived = session.derive(with_key(sensitive), open, &key(false, true));
        derived.refused(CKR_TEMPLATE_INCONSISTENT);
    });
}

#[test]
fn what_does_not_fit_is_refused() {
    open(|session| {
        let (base, other) = (base(session, &BASE), base(session, &DATA));
        let of = |len: CK_ULONG| key(false, true).set(CKA_VALUE_LEN, len);
        let refuse = |mechanism: Mech, template: &Template, rv: CK_RV| {
            session.derive(mechanism, base, template).refused(rv);
        };
        for mechanism in all(other) {
            let most = match mechanism.raw().mechanism {
                CKM_XOR_BASE_AND_DATA => 3,
                CKM_EXTRACT_KEY_FROM_KEY => 4,
                _ => 7,
            };
            session.derive(mechanism.clone(), base, &of(most)).unwrap();
            refuse(mechanism.clone(), &of(most + 1), CKR_KEY_SIZE_RANGE);
            refuse(mechanism.clone(), &of(CK_ULONG::MAX), CKR_KEY_SIZE_RANGE);
            let aes = key(false, true).set(CKA_KEY_TYPE, CKK_AES);
            refuse(mechanism.clone(), &aes, CKR_TEMPLATE_INCOMPLETE);
            // A parameter that is none of this mechanism's.
            let kind = mechanism.raw().mechanism;
            let short = Mech::structure(kind, 0u8, vec![]);
            refuse(short, &of(1), CKR_MECHANISM_PARAM_INVALID);
            refuse(kind.into(), &of(1), CKR_MECHANISM_PARAM_INVALID);
        }
        refuse(from_bit(21), &key(false, true), CKR_TEMPLATE_INCOMPLETE);
        for bit in [32, CK_ULONG::MAX] {
            refuse(from_bit(bit), &of(1), CKR_MECHANISM_PARAM_INVALID);
        }
        refuse(with_key(CK_INVALID_HANDLE), &of(1), CKR_KEY_HANDLE_INVALID);
        for kind in WITH_DATA {
            let nowhere = CK_KEY_DERIVATION_STRING_DATA {
                pData: null_mut(),
                ulLen: 8,
            };
            let mechanism = Mech::structure(kind, nowhere, vec![]);
            refuse(mechanism, &of(1), CKR_MECHANISM_PARAM_INVALID);
        }
        let unasked = key(false, true).set(CKA_VALUE, &DATA[..]);
        let unasked = session.create(&unasked.set(CKA_DERIVE, false)).unwrap();
        refuse(with_key(unasked), &of(1), CKR_KEY_FUNCTION_NOT_PERMITTED);
    });
}
