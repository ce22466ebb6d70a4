//! The laws of attributes: what a template makes, and what no sequence of changes and copies undoes.

use cryptoki_sys::*;
use nodetoken::attribute::{
    Attributes, Author, Birth, Kind, RULES, Template, build, change, copy, is_readable, is_secret,
    secrets_of,
};
use proptest::collection::vec;
use proptest::prelude::*;

type Pairs = Vec<(CK_ATTRIBUTE_TYPE, Vec<u8>)>;

fn template(pairs: &Pairs) -> nodetoken::error::Result<Template<'_>> {
    Template::new(
        pairs
            .iter()
            .map(|(kind, value)| (*kind, &**value))
            .collect(),
    )
}

fn ulong(value: CK_ULONG) -> Vec<u8> {
    value.to_ne_bytes().to_vec()
}

/// A value of the attribute's kind, mostly.
fn value(kind: Kind) -> BoxedStrategy<Vec<u8>> {
    let good = match kind {
        Kind::Bool => (0..=1u8).prop_map(|bool| vec![bool]).boxed(),
        Kind::Ulong => (0..6 as CK_ULONG).prop_map(ulong).boxed(),
        Kind::Date => Just(b"20260101".to_vec()).boxed(),
        Kind::Mechanisms => Just(ulong(CKM_AES_GCM)).boxed(),
        Kind::Bytes => vec(any::<u8>(), 0..8).boxed(),
        // An empty one (see the tests of attribute/nested.rs).
        Kind::Template => Just(Vec::new()).boxed(),
    };
    prop_oneof![9 => good, 1 => vec(any::<u8>(), 0..9)].boxed()
}

/// Attributes that exist, and now and then one that does not.
fn pair() -> impl Strategy<Value = (CK_ATTRIBUTE_TYPE, Vec<u8>)> {
    let known = (0..RULES.len()).prop_flat_map(|at| {
        let rule = &RULES[at];
        value(rule.kind).prop_map(|value| (rule.attribute, value))
    });
    // What these laws are about comes often.
    let ways: Vec<_> = FOR_EVER
        .iter()
        .map(|(kind, _)| *kind)
        .chain([CKA_TRUSTED])
        .collect();
    let one_way = (proptest::sample::select(ways), value(Kind::Bool));
    let other = (any::<CK_ATTRIBUTE_TYPE>(), vec(any::<u8>(), 0..9));
    prop_oneof![20 => known, 10 => one_way, 1 => other]
}

fn pairs(most: usize) -> impl Strategy<Value = Pairs> {
    vec(pair(), 0..=most)
}

/// The attributes that each sort of object must be given.
fn complete() -> impl Strategy<Value = Pairs> {
    let of = |class, key_type: Option<CK_KEY_TYPE>, others: &[CK_ATTRIBUTE_TYPE]| {
        let mut pairs = vec![(CKA_CLASS, ulong(class))];
        pairs.extend(key_type.map(|key_type| (CKA_KEY_TYPE, ulong(key_type))));
        pairs.extend(others.iter().map(|kind| (*kind, vec![1; 8])));
        pairs
    };
    let rsa = [CKA_MODULUS, CKA_PUBLIC_EXPONENT];
    let rsa_private = [
        CKA_MODULUS,
        CKA_PUBLIC_EXPONENT,
        CKA_PRIVATE_EXPONENT,
        CKA_PRIME_1,
    ];
    proptest::sample::select(vec![
        Vec::new(),
        of(CKO_DATA, None, &[]),
        of(
            CKO_CERTIFICATE,
            None,
            &[CKA_CERTIFICATE_TYPE, CKA_SUBJECT, CKA_VALUE],
        ),
        of(CKO_SECRET_KEY, Some(CKK_AES), &[CKA_VALUE]),
        of(CKO_SECRET_KEY, Some(CKK_GENERIC_SECRET), &[CKA_VALUE]),
        of(CKO_PRIVATE_KEY, Some(CKK_EC), &[CKA_EC_PARAMS, CKA_VALUE]),
        of(CKO_PRIVATE_KEY, Some(CKK_RSA), &rsa_private),
        of(CKO_PUBLIC_KEY, Some(CKK_RSA), &rsa),
        of(
            CKO_PUBLIC_KEY,
            Some(CKK_EC_EDWARDS),
            &[CKA_EC_PARAMS, CKA_EC_POINT],
        ),
    ])
}

/// A private key that is closed in some ways and open in others.
fn half_open() -> impl Strategy<Value = Pairs> {
    vec(any::<bool>(), FOR_EVER.len()).prop_map(|closed| {
        let mut pairs = vec![
            (CKA_CLASS, ulong(CKO_PRIVATE_KEY)),
            (CKA_KEY_TYPE, ulong(CKK_EC)),
            (CKA_EC_PARAMS, vec![1; 8]),
            (CKA_VALUE, vec![1; 8]),
        ];
        let ways = FOR_EVER.into_iter().zip(closed);
        pairs.extend(ways.map(|((kind, value), closed)| (kind, vec![value ^ u8::from(!closed)])));
        pairs
    })
}

fn births() -> impl Strategy<Value = Birth> {
    proptest::sample::select(vec![Birth::Create, Birth::Generate])
}

/// Only the token knows these.
const COMPUTED: [CK_ATTRIBUTE_TYPE; 5] = [
    CKA_UNIQUE_ID,
    CKA_LOCAL,
    CKA_KEY_GEN_MECHANISM,
    CKA_ALWAYS_SENSITIVE,
    CKA_NEVER_EXTRACTABLE,
];

/// Once so, for ever, on the object and on its copies: attribute and value.
const FOR_EVER: [(CK_ATTRIBUTE_TYPE, CK_BBOOL); 6] = [
    (CKA_SENSITIVE, CK_TRUE),
    (CKA_EXTRACTABLE, CK_FALSE),
    (CKA_WRAP_WITH_TRUSTED, CK_TRUE),
    (CKA_COPYABLE, CK_FALSE),
    (CKA_PRIVATE, CK_TRUE),
    (CKA_ALWAYS_AUTHENTICATE, CK_TRUE),
];

/// Never another, on the object or on a copy.
const IDENTITY: [CK_ATTRIBUTE_TYPE; 9] = [
    CKA_CLASS,
    CKA_KEY_TYPE,
    CKA_LOCAL,
    CKA_KEY_GEN_MECHANISM,
    CKA_ALWAYS_SENSITIVE,
    CKA_NEVER_EXTRACTABLE,
    CKA_MODULUS,
    CKA_EC_PARAMS,
    CKA_EC_POINT,
];

fn no_secret_in(attributes: &Attributes) -> Result<(), TestCaseError> {
    for (kind, _) in attributes.iter() {
        prop_assert!(!is_secret(kind, attributes), "{kind:#x} can be read");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn a_template_says_one_thing_about_an_attribute(pairs in pairs(12)) {
        let twice = pairs.iter().any(|one| {
            pairs.iter().any(|other| one.0 == other.0 && one.1 != other.1)
        });
        match template(&pairs) {
            Ok(template) => {
                prop_assert!(!twice);
                for (kind, value) in &pairs {
                    prop_assert_eq!(template.get(*kind), Some(&**value));
                }
            }
            Err(refusal) => {
                prop_assert!(twice);
                prop_assert_eq!(refusal.rv(), CKR_TEMPLATE_INCONSISTENT);
            }
        }
    }

    #[test]
    fn attributes_are_a_sorted_map(pairs in pairs(12)) {
        let mut set = Attributes::new();
        for (kind, value) in &pairs {
            set.set(*kind, value.clone());
        }
        let collected: Attributes = pairs.iter().map(|(k, v)| (*k, v.clone().into())).collect();
        prop_assert_eq!(&set, &collected);
        let expected: std::collections::BTreeMap<_, _> = pairs.iter().map(|(k, v)| (*k, &**v)).collect();
        prop_assert!(set.iter().eq(expected));
    }

    #[test]
    fn an_object_is_what_its_template_says(
        birth in births(),
        complete in complete(),
        more in pairs(5),
        by_so in any::<bool>(),
    ) {
        let pairs = [complete, more].concat();
        let Ok(template) = template(&pairs) else { return Ok(()) };
        let Ok(built) = build(birth, &template, None, None, Author { is_so: by_so, ..Author::default() }) else { return Ok(()) };
        no_secret_in(&built.attributes)?;
        let secrets: Vec<_> = secrets_of(&built.attributes).collect();
        for (kind, _) in &built.secrets {
            prop_assert!(is_secret(*kind, &built.attributes) && secrets.contains(kind));
        }
        for (kind, value) in &pairs {
            let open = built.attributes.get(*kind) == Some(&**value);
            let secret = built.secrets.contains(&(*kind, &**value));
            prop_assert!(open != secret, "{kind:#x} is lost, or there twice");
        }
        for kind in COMPUTED {
            prop_assert_eq!(built.attributes.get(kind), None, "only the token sets {:#x}", kind);
        }
        prop_assert!(by_so || !built.attributes.is(CKA_TRUSTED));
    }

    #[test]
    fn private_and_secret_keys_are_born_closed(birth in births(), complete in complete()) {
        let Ok(template) = template(&complete) else { return Ok(()) };
        let Ok(built) = build(birth, &template, None, None, Author::default()) else { return Ok(()) };
        if matches!(built.attributes.class(), Some(CKO_PRIVATE_KEY | CKO_SECRET_KEY)) {
            prop_assert!(built.attributes.is(CKA_PRIVATE));
            prop_assert!(!is_readable(&built.attributes));
            prop_assert!(!built.attributes.is(CKA_WRAP) && !built.attributes.is(CKA_UNWRAP));
        }
    }

    #[test]
    fn no_sequence_of_changes_and_copies_opens_an_object(
        complete in prop_oneof![complete(), half_open()],
        more in pairs(3),
        steps in vec((any::<bool>(), any::<bool>(), pairs(3)), 1..16),
    ) {
        let pairs = [complete, more].concat();
        let Ok(first) = template(&pairs) else { return Ok(()) };
        let Ok(built) = build(Birth::Create, &first, None, None, Author::default()) else { return Ok(()) };
        let mut object = built.attributes;
        for (copies, by_so, pairs) in &steps {
            let Ok(template) = template(pairs) else { continue };
            let result = match copies {
                true => copy(&object, &template, *by_so),
                false => change(&object, &template, *by_so),
            };
            let Ok(next) = result else { continue };
            no_secret_in(&next)?;
            for (kind, value) in FOR_EVER {
                if object.get(kind) == Some(&[value]) {
                    prop_assert_eq!(next.get(kind), Some(&[value][..]), "{:#x}", kind);
                }
            }
            for kind in IDENTITY {
                prop_assert_eq!(next.get(kind), object.get(kind), "{:#x}", kind);
            }
            prop_assert!(*by_so || !next.is(CKA_TRUSTED) || object.is(CKA_TRUSTED));
            prop_assert!(is_readable(&object) || !is_readable(&next));
            // What was asked for, and nothing else.
            let mut expected = object.clone();
            for (kind, value) in template.iter() {
                expected.set(kind, value);
            }
            prop_assert_eq!(&next, &expected);
            if !copies {
                prop_assert!(object.is(CKA_MODIFIABLE));
                prop_assert_eq!(next.get(CKA_TOKEN), object.get(CKA_TOKEN));
                prop_assert_eq!(next.get(CKA_PRIVATE), object.get(CKA_PRIVATE));
            }
            object = next;
        }
    }

    /// What may not be set may not be set to what it is either (CKR_ATTRIBUTE_READ_ONLY, 5.1.6).
    #[test]
    fn asking_for_what_is_so_changes_nothing(complete in complete(), more in pairs(3)) {
        let pairs = [complete, more].concat();
        let Ok(first) = template(&pairs) else { return Ok(()) };
        let Ok(built) = build(Birth::Create, &first, None, None, Author::default()) else { return Ok(()) };
        let object = built.attributes;
        for pair in object.iter() {
            let same = Template::new(vec![pair]).unwrap();
            for (allowed, result) in [
                (object.is(CKA_MODIFIABLE), change(&object, &same, false)),
                (object.is(CKA_COPYABLE), copy(&object, &same, false)),
            ] {
                match result {
                    Ok(next) => prop_assert!(allowed && next == object),
                    Err(refusal) if allowed => {
                        prop_assert_eq!(refusal.rv(), CKR_ATTRIBUTE_READ_ONLY);
                        prop_assert!(pair.0 != CKA_LABEL);
                    }
                    Err(refusal) => prop_assert_eq!(refusal.rv(), CKR_ACTION_PROHIBITED),
                }
            }
        }
    }
}
