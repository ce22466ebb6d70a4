//! Deriving keys by SP 800-108 (PKCS#11 3.2, 6.42): the three modes, input of any composition, several
//! keys at once.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::undocumented_unsafe_blocks, missing_docs)]

mod common;

use common::vectors::hex;
use common::*;

const MODES: [CK_MECHANISM_TYPE; 3] = [
    CKM_SP800_108_COUNTER_KDF,
    CKM_SP800_108_FEEDBACK_KDF,
    CKM_SP800_108_DOUBLE_PIPELINE_KDF,
];

/// A part of the input: its type and the bytes that it points to.
type Part = (CK_PRF_DATA_TYPE, Vec<u8>);

fn bytes_of<T>(value: &T) -> Vec<u8> {
    let start = (&raw const *value).cast::<u8>();
    unsafe { std::slice::from_raw_parts(start, size_of::<T>()) }.to_vec()
}

fn counter_format(bits: CK_ULONG, little_endian: bool) -> Vec<u8> {
    let mut format: CK_SP800_108_COUNTER_FORMAT = unsafe { std::mem::zeroed() };
    format.bLittleEndian = CK_BBOOL::from(little_endian);
    format.ulWidthInBits = bits;
    bytes_of(&format)
}

fn length_format(method: CK_ULONG, bits: CK_ULONG) -> Vec<u8> {
    let mut format: CK_SP800_108_DKM_LENGTH_FORMAT = unsafe { std::mem::zeroed() };
    format.dkmLengthMethod = method;
    format.ulWidthInBits = bits;
    bytes_of(&format)
}

fn counter(bits: CK_ULONG) -> Part {
    (CK_SP800_108_ITERATION_VARIABLE, counter_format(bits, false))
}

fn fixed(bytes: &[u8]) -> Part {
    (CK_SP800_108_BYTE_ARRAY, bytes.to_vec())
}

const CHAIN: Part = (CK_SP800_108_ITERATION_VARIABLE, Vec::new());

/// A parameter, with all that it points to.
struct Kdf {
    kind: CK_MECHANISM_TYPE,
    prf: CK_MECHANISM_TYPE,
    parts: Vec<Part>,
    iv: Vec<u8>,
    more: Vec<Template>,
}

impl Kdf {
    fn new(kind: CK_MECHANISM_TYPE, parts: Vec<Part>) -> Self {
        Self {
            kind,
            prf: CKM_SHA256_HMAC,
            parts,
            iv: Vec::new(),
            more: Vec::new(),
        }
    }

    /// C_DeriveKey: the first handle, and those of the other keys, whatever the call says.
    fn call(
        &self,
        session: Session,
        base: CK_OBJECT_HANDLE,
        template: &Template,
    ) -> (Result<CK_OBJECT_HANDLE, Rv>, Vec<CK_OBJECT_HANDLE>) {
        let mut parts: Vec<_> = self
            .parts
            .iter()
            .map(|(kind, value)| CK_PRF_DATA_PARAM {
                type_: *kind,
                pValue: match value.is_empty() {
                    true => null_mut(),
                    false => value.as_ptr().cast_mut().cast(),
                },
                ulValueLen: value.len() as CK_ULONG,
            })
            .collect();
        let mut handles = vec![77; self.more.len()];
        let mut attributes: Vec<_> = self.more.iter().map(Template::attributes).collect();
        let mut more: Vec<_> = attributes
            .iter_mut()
            .zip(&mut handles)
            .map(|(attributes, handle)| CK_DERIVED_KEY {
                pTemplate: attributes.as_mut_ptr(),
                ulAttributeCount: attributes.len() as CK_ULONG,
                phKey: handle,
            })
            .collect();
        let feedback = CK_SP800_108_FEEDBACK_KDF_PARAMS {
            prfType: self.prf,
            ulNumberOfDataParams: parts.len() as CK_ULONG,
            pDataParams: parts.as_mut_ptr(),
            ulIVLen: self.iv.len() as CK_ULONG,
            pIV: self.iv.as_ptr().cast_mut(),
            ulAdditionalDerivedKeys: more.len() as CK_ULONG,
            pAdditionalDerivedKeys: more.as_mut_ptr(),
        };
        let plain = CK_SP800_108_KDF_PARAMS {
            prfType: feedback.prfType,
            ulNumberOfDataParams: feedback.ulNumberOfDataParams,
            pDataParams: feedback.pDataParams,
            ulAdditionalDerivedKeys: feedback.ulAdditionalDerivedKeys,
            pAdditionalDerivedKeys: feedback.pAdditionalDerivedKeys,
        };
        let mechanism = match self.kind {
            CKM_SP800_108_FEEDBACK_KDF => Mech::structure(self.kind, feedback, vec![]),
            _ => Mech::structure(self.kind, plain, vec![]),
        };
        let first = session.derive(mechanism, base, template);
        (first, handles)
    }

    #[track_caller]
    fn refused(&self, session: Session, base: CK_OBJECT_HANDLE, rv: CK_RV) {
        self.call(session, base, &of(32)).0.refused(rv);
    }

    #[track_caller]
    fn makes(&self, session: Session, base: CK_OBJECT_HANDLE, len: CK_ULONG) -> Vec<u8> {
        let key = self.call(session, base, &of(len)).0.unwrap();
        session.get(key, CKA_VALUE).unwrap()
    }
}

fn of(len: CK_ULONG) -> Template {
    Template::new()
        .set(CKA_CLASS, CKO_SECRET_KEY)
        .set(CKA_KEY_TYPE, CKK_GENERIC_SECRET)
        .set(CKA_SENSITIVE, false)
        .set(CKA_EXTRACTABLE, true)
        .set(CKA_VALUE_LEN, len)
}

fn base(session: Session, value: &[u8]) -> CK_OBJECT_HANDLE {
    let template = of(0)
        .without(CKA_VALUE_LEN)
        .set(CKA_DERIVE, true)
        .set(CKA_SIGN, true)
        .set(CKA_VALUE, value);
    session.create(&template).unwrap()
}

fn aes(session: Session, value: &[u8]) -> CK_OBJECT_HANDLE {
    let template = of(0)
        .without(CKA_VALUE_LEN)
        .set(CKA_KEY_TYPE, CKK_AES)
        .set(CKA_DERIVE, true)
        .set(CKA_VALUE, value);
    session.create(&template).unwrap()
}

fn hmac(session: Session, key: CK_OBJECT_HANDLE, parts: &[&[u8]]) -> Vec<u8> {
    session.sign(CKM_SHA256_HMAC, key, &parts.concat()).unwrap()
}

#[test]
fn the_vectors_of_nist() {
    isolated(|world| {
        let session = world.token().user();
        let key = hex("dd1d91b7d90b2bd3138533ce92b272fbf8a369316aefe242e659cc0ae238afe0");
        let key = base(session, &key);
        let data = hex(
            "01322b96b30acd197979444e468e1c5c6859bf1b1cf951b7e725303e237e46b864a145fab25e517b08f8683d0315bb2911d80a0e8aba17f3b413faac",
        );
        let kdf = Kdf::new(MODES[0], vec![counter(32), fixed(&data)]);
        let output = hex("10621342bfb0fd40046c0e29f2cfdbf0");
        assert_eq!(kdf.makes(session, key, 16), output);

        let key = hex("93f698e842eed75394d629d957e2e89c6e741f810b623c8b901e38376d068e7b");
        let key = base(session, &key);
        let data = hex(
            "53b89c18690e2057a1d167822e636de50be0018532c431f7f5e37f77139220d5e042599ebe266af5767ee18cd2c5c19a1f0f80",
        );
        let parts = vec![
            CHAIN,
            (CK_SP800_108_COUNTER, counter_format(32, false)),
            fixed(&data),
        ];
        let kdf = Kdf {
            iv: hex("9f575d9059d3e0c0803f08112f8a806de3c3471912cdf42b095388b14b33508e"),
            ..Kdf::new(MODES[1], parts)
        };
        let output = hex(
            "bd1476f43a4e315747cf5918e0ea5bc0d98769457477c3ab18b742def0e079a933b756365afb5541f253fee43c6fd788a44041038509e9eeb68f7d65ffbb5f95",
        );
        assert_eq!(kdf.makes(session, key, 64), output);
    });
}

/// NIST CAVP, CounterMode: CMAC_AES128 with a counter of 16 bits before the fixed data, counts 0, 10
/// and 20.
#[test]
fn the_vectors_of_nist_for_cmac() {
    isolated(|world| {
        let session = world.token().user();
        for (key, data, output) in [
            (
                "30ec5f6fa1def33cff008178c4454211",
                "c95e7b1d4f2570259abfc05bb00730f0284c3bb9a61d07259848a1cb57c81d8a6c3382c500bf801dfc8f70726b082cf4c3fa34386c1e7bf0e5471438",
                "00018fff9574994f5c4457f461c7a67e",
            ),
            (
                "145c9e9365041f075ebde8ce26aa2149",
                "0d39b1c9c34d95b5b521971828c81d9f2dbdbc4af2ddd14f628721117e5c39faa030522b93cc07beb8f142fe36f674942453ec5518ca46c3e6842a73",
                "8a204ce7eab882fae3e2b8317fe431dba16dabb8fe5235525e7b61135e1b3c16",
            ),
            (
                "6f3f8cbf40d2a694274cfa2eb2f265a3",
                "e7b88baa4a2c22b3d78f41d509996c95468c8cb834b035dd5e09e0a455da254b8b5687a1433861751d2dd603f69b2d4ba4ae47776335d37c98b44b4b",
                "d147f1c78121c583cbcb9d4b0d3767a357bd7232",
            ),
        ] {
            let key = aes(session, &hex(key));
            let kdf = Kdf {
                prf: CKM_AES_CMAC,
                ..Kdf::new(MODES[0], vec![counter(16), fixed(&hex(data))])
            };
            let output = hex(output);
            assert_eq!(kdf.makes(session, key, output.len() as CK_ULONG), output);
        }
        let kdf = Kdf {
            prf: CKM_AES_CMAC,
            ..Kdf::new(MODES[0], vec![counter(16)])
        };
        kdf.refused(session, base(session, &[3; 16]), CKR_KEY_TYPE_INCONSISTENT);
    });
}

/// Twice an element of GF(2^128) (SP 800-38B 6.1).
fn doubled(block: &[u8]) -> Vec<u8> {
    let number = u128::from_be_bytes(block.try_into().unwrap());
    let carry = if number >> 127 == 1 { 0x87 } else { 0 };
    ((number << 1) ^ carry).to_be_bytes().to_vec()
}

/// A sensitive key goes through a CMAC into one that may be read. With the key of the CMAC, which does not
/// leave the token either, the attacker undoes that: `E(E(secret) ^ last block)`.
fn undo_cmac(session: Session) -> Result<(), Rv> {
    let value = *b"attack at dawn!!";
    let secret = aes_template(&value)
        .set(CKA_DERIVE, true)
        .set(CKA_SENSITIVE, true);
    let secret = session.create(&secret).unwrap();
    let both = Template::new()
        .set(CKA_VALUE_LEN, 16 as CK_ULONG)
        .set(CKA_SENSITIVE, true)
        .set(CKA_EXTRACTABLE, false)
        .set(CKA_DERIVE, true)
        .set(CKA_ENCRYPT, true)
        .set(CKA_DECRYPT, true);
    let key = session.generate_key(CKM_AES_KEY_GEN, &both).unwrap();
    let parts = vec![
        (CK_SP800_108_KEY_HANDLE, secret.to_ne_bytes().to_vec()),
        counter(8),
    ];
    let kdf = Kdf {
        prf: CKM_AES_CMAC,
        ..Kdf::new(MODES[0], parts)
    };
    let made = session.get(kdf.call(session, key, &of(16)).0?, CKA_VALUE)?;
    let zero = session.encrypt(CKM_AES_ECB, key, &[0; 16])?;
    let mut last = doubled(&doubled(&zero));
    last[0] ^= 1;
    last[1] ^= 0x80;
    let inner: Vec<_> = session
        .decrypt(CKM_AES_ECB, key, &made)?
        .iter()
        .zip(last)
        .map(|(one, other)| one ^ other)
        .collect();
    assert_eq!(session.decrypt(CKM_AES_ECB, key, &inner)?, value);
    Ok(())
}

#[test]
fn cmac_gives_no_key_away() {
    isolated(|world| {
        let session = world.token().user();
        undo_cmac(session).refused(CKR_KEY_FUNCTION_NOT_PERMITTED);
        // What may be read anyway is input as any other.
        let known = aes(session, &[3; 16]);
        let parts = vec![
            counter(8),
            (CK_SP800_108_KEY_HANDLE, known.to_ne_bytes().to_vec()),
        ];
        let kdf = Kdf {
            prf: CKM_AES_CMAC,
            ..Kdf::new(MODES[0], parts)
        };
        kdf.makes(session, known, 16);
    });
}

#[test]
fn the_standard_lets_a_cmac_be_undone() {
    isolated_on(&[SOFTWARE], |world| {
        world.configure("[policy]\nroles = \"open\"\n");
        undo_cmac(world.token().user()).unwrap();
    });
}

/// What the standard says, by the token's own HMAC.
#[test]
fn input_is_composed_as_it_is_asked() {
    isolated(|world| {
        let session = world.token().user();
        let key = base(session, &[3; 32]);
        let other = base(session, b"another key");
        let of_keys = CK_SP800_108_DKM_LENGTH_SUM_OF_KEYS;
        let of_segments = CK_SP800_108_DKM_LENGTH_SUM_OF_SEGMENTS;
        let handle = (CK_SP800_108_KEY_HANDLE, other.to_ne_bytes().to_vec());
        let parts = vec![
            fixed(b"label"),
            (CK_SP800_108_ITERATION_VARIABLE, counter_format(16, true)),
            handle,
            (CK_SP800_108_DKM_LENGTH, length_format(of_segments, 24)),
        ];
        let [one, two] = [1, 2].map(|i| {
            hmac(
                session,
                key,
                &[b"label", &[i, 0], b"another key", &[0, 2, 0]],
            )
        });
        let kdf = Kdf::new(MODES[0], parts.clone());
        let output = kdf.makes(session, key, 40);
        assert_eq!(output, [one, two].concat()[..40]);
        let mut parts = parts;
        parts[3].1 = length_format(of_keys, 16);
        let one = hmac(session, key, &[b"label", &[1, 0], b"another key", &[1, 64]]);
        let output = Kdf::new(MODES[0], parts).makes(session, key, 40);
        assert_eq!(output[..32], one);

        // The pipeline's A(0) is the input without its variables.
        let parts = vec![
            CHAIN,
            (CK_SP800_108_COUNTER, counter_format(8, false)),
            fixed(b"fixed"),
        ];
        let a1 = hmac(session, key, &[b"fixed"]);
        let a2 = hmac(session, key, &[&a1]);
        let output = [
            hmac(session, key, &[&a1, &[1], b"fixed"]),
            hmac(session, key, &[&a2, &[2], b"fixed"]),
        ];
        let kdf = Kdf::new(MODES[2], parts);
        assert_eq!(kdf.makes(session, key, 64), output.concat());
    });
}

#[test]
fn keys_are_made_together_or_not_at_all() {
    isolated(|world| {
        let session = world.token().user();
        let key = base(session, &[3; 32]);
        let mut kdf = Kdf::new(MODES[0], vec![counter(8), fixed(b"many")]);
        kdf.more = vec![
            of(16).set(CKA_KEY_TYPE, CKK_AES),
            of(33),
            of(1).set(CKA_LABEL, "last"),
        ];
        let segments: Vec<_> = (1..=6)
            .map(|i| hmac(session, key, &[&[i], b"many"]))
            .collect();
        let (first, others) = kdf.call(session, key, &of(48));
        let value = |key| session.get(key, CKA_VALUE).unwrap();
        // Each of segments of its own (6.42.6).
        assert_eq!(value(first.unwrap()), segments[..2].concat()[..48]);
        assert_eq!(value(others[0]), segments[2][..16]);
        assert_eq!(value(others[1]), segments[3..5].concat()[..33]);
        assert_eq!(value(others[2]), segments[5][..1]);
        assert_eq!(session.get_ulong(others[0], CKA_KEY_TYPE), CKK_AES);

        let secrets = Template::new().set(CKA_CLASS, CKO_SECRET_KEY);
        let before = session.find(&secrets).unwrap();
        for (bad, template, rv) in [
            (0, of(17).set(CKA_KEY_TYPE, CKK_AES), CKR_KEY_SIZE_RANGE),
            (1, of(16).without(CKA_VALUE_LEN), CKR_TEMPLATE_INCOMPLETE),
            (
                2,
                of(16).set(CKA_CLASS, CKO_PRIVATE_KEY),
                CKR_TEMPLATE_INCONSISTENT,
            ),
            (2, of(16).set(CKA_LOCAL, true), CKR_ATTRIBUTE_READ_ONLY),
        ] {
            kdf.more = vec![of(16), of(16), of(16)];
            kdf.more[bad] = template;
            let (first, others) = kdf.call(session, key, &of(48));
            first.refused(rv);
            let mut expected = vec![77; 3];
            expected[bad] = CK_INVALID_HANDLE;
            assert_eq!(others, expected, "the template to blame is told");
            assert_eq!(session.find(&secrets).unwrap(), before);
        }
        // A session key and a key on the token, each by its own handle.
        if world.kind.name != "card" {
            kdf.more = vec![of(32).set(CKA_TOKEN, false), of(32).set(CKA_TOKEN, true)];
            let (first, others) = kdf.call(session, key, &of(32).set(CKA_TOKEN, true));
            let made = [first.unwrap(), others[0], others[1]];
            for (at, key) in made.into_iter().enumerate() {
                assert_eq!(value(key), segments[at]);
                assert_eq!(session.get_bool(key, CKA_TOKEN), at != 1);
            }
        }
    });
}

#[test]
fn rules_of_the_input() {
    isolated(|world| {
        let session = world.token().user();
        let key = base(session, &[3; 32]);
        let [count, feed, pipe] = MODES;
        let counting = (CK_SP800_108_COUNTER, counter_format(32, false));
        let length = |bits| {
            let method = CK_SP800_108_DKM_LENGTH_SUM_OF_KEYS;
            (CK_SP800_108_DKM_LENGTH, length_format(method, bits))
        };
        let refused = [
            (count, vec![]),
            (count, vec![fixed(b"no variable")]),
            (count, vec![counter(32), counter(32)]),
            (count, vec![counter(32), counting.clone()]),
            (count, vec![CHAIN]),
            (count, vec![counter(0)]),
            (count, vec![counter(12)]),
            (count, vec![counter(40)]),
            (count, vec![counter(32), fixed(b"")]),
            (count, vec![counter(32), length(8)]),
            (count, vec![counter(32), length(72)]),
            (count, vec![counter(32), length(32), length(32)]),
            (count, vec![counter(32), (99, vec![1])]),
            // Longer together than is worked on for each segment.
            (
                count,
                vec![counter(32), fixed(&[1; 40_000]), fixed(&[1; 40_000])],
            ),
            (feed, vec![counter(32)]),
            (feed, vec![CHAIN, counting.clone(), counting.clone()]),
            (pipe, vec![CHAIN, CHAIN]),
        ];
        for (kind, parts) in refused {
            let text = format!("{kind} {parts:?}");
            let refused = Kdf::new(kind, parts).call(session, key, &of(32)).0;
            assert_eq!(refused, Err(Rv(CKR_MECHANISM_PARAM_INVALID)), "{text}");
        }
        let mut kdf = Kdf::new(count, vec![counter(8)]);
        assert_eq!(kdf.makes(session, key, 255 * 32).len(), 255 * 32);
        for len in [255 * 32 + 1, 0, 1 << 40, CK_ULONG::MAX] {
            kdf.call(session, key, &of(len))
                .0
                .refused(CKR_KEY_SIZE_RANGE);
        }
        kdf.prf = CKM_SHA256;
        kdf.refused(session, key, CKR_MECHANISM_PARAM_INVALID);
        kdf.prf = CKM_SHA256_HMAC_GENERAL;
        kdf.refused(session, key, CKR_MECHANISM_PARAM_INVALID);
        kdf.prf = CKM_SHA256_HMAC;
        let typed = of(32).without(CKA_VALUE_LEN);
        let typed = typed.set(CKA_DERIVE, true).set(CKA_VALUE, &[3; 32]);
        for (key_type, rv) in [
            (CKK_SHA256_HMAC, None),
            (CKK_SHA384_HMAC, Some(CKR_KEY_TYPE_INCONSISTENT)),
            (CKK_AES, Some(CKR_KEY_TYPE_INCONSISTENT)),
            (CKK_HKDF, Some(CKR_KEY_TYPE_INCONSISTENT)),
        ] {
            let typed = session.create(&typed.clone().set(CKA_KEY_TYPE, key_type));
            let made = kdf.call(session, typed.unwrap(), &of(32)).0;
            assert_eq!(made.err().map(|rv| rv.0), rv);
        }
        let untyped = of(32).without(CKA_KEY_TYPE);
        kdf.call(session, key, &untyped)
            .0
            .refused(CKR_TEMPLATE_INCOMPLETE);
        // Another key that is no base key.
        let hidden = session.create(&typed.set(CKA_DERIVE, false)).unwrap();
        let handle = |key: CK_OBJECT_HANDLE| (CK_SP800_108_KEY_HANDLE, key.to_ne_bytes().to_vec());
        kdf.parts.push(handle(hidden));
        kdf.refused(session, key, CKR_KEY_FUNCTION_NOT_PERMITTED);
        kdf.parts[1] = handle(999_999);
        kdf.refused(session, key, CKR_KEY_HANDLE_INVALID);
    });
}

#[test]
fn history_is_that_of_one_of_the_keys() {
    isolated(|world| {
        let session = world.token().user();
        let template = Template::new()
            .set(CKA_VALUE_LEN, 32 as CK_ULONG)
            .set(CKA_DERIVE, true)
            .set(CKA_SENSITIVE, true)
            .set(CKA_EXTRACTABLE, false);
        let secret = session
            .generate_key(CKM_GENERIC_SECRET_KEY_GEN, &template)
            .unwrap();
        let imported = base(session, &[3; 32]);
        let hidden = of(32).set(CKA_SENSITIVE, true).set(CKA_EXTRACTABLE, false);
        let mut kdf = Kdf::new(MODES[0], vec![counter(8)]);
        let history = |kdf: &Kdf, base, template: &Template| {
            let key = kdf.call(session, base, template).0.unwrap();
            [CKA_ALWAYS_SENSITIVE, CKA_NEVER_EXTRACTABLE].map(|a| session.get_bool(key, a))
        };
        assert_eq!(history(&kdf, imported, &hidden), [false; 2]);
        assert_eq!(history(&kdf, secret, &hidden), [true; 2]);
        assert_eq!(history(&kdf, secret, &of(32)), [false; 2]);
        let bare = hidden.without(CKA_SENSITIVE).without(CKA_EXTRACTABLE);
        assert_eq!(history(&kdf, secret, &bare), [true; 2]);
        let hidden = bare.set(CKA_SENSITIVE, true).set(CKA_EXTRACTABLE, false);
        let handle = secret.to_ne_bytes().to_vec();
        kdf.parts.push((CK_SP800_108_KEY_HANDLE, handle));
        assert_eq!(history(&kdf, imported, &hidden), [true; 2]);
    });
}

#[test]
fn hostile_parts_are_refused() {
    isolated(|world| {
        let session = world.token().user();
        let key = base(session, &[3; 32]);
        let here = [0u64; 8];
        let pointers = [null_mut(), 0x10 as *mut _, here.as_ptr().cast_mut()];
        let refuse = |parameters: CK_SP800_108_KDF_PARAMS| {
            let mechanism = Mech::structure(MODES[0], parameters, vec![]);
            session
                .derive(mechanism, key, &of(32))
                .refused(CKR_MECHANISM_PARAM_INVALID);
        };
        let format = counter_format(32, false);
        for pointer in pointers {
            for len in [1 << 63, CK_ULONG::MAX, 1 << 58, 1 << 24] {
                let whole = CK_SP800_108_KDF_PARAMS {
                    prfType: CKM_SHA256_HMAC,
                    ulNumberOfDataParams: len,
                    pDataParams: pointer.cast(),
                    ulAdditionalDerivedKeys: 0,
                    pAdditionalDerivedKeys: null_mut(),
                };
                refuse(whole);
                let mut part = CK_PRF_DATA_PARAM {
                    type_: CK_SP800_108_ITERATION_VARIABLE,
                    pValue: format.as_ptr().cast_mut().cast(),
                    ulValueLen: format.len() as CK_ULONG,
                };
                let good = part;
                refuse(CK_SP800_108_KDF_PARAMS {
                    ulNumberOfDataParams: 1,
                    pDataParams: &mut part,
                    ulAdditionalDerivedKeys: len,
                    pAdditionalDerivedKeys: pointer.cast(),
                    ..whole
                });
                (part.pValue, part.ulValueLen) = (pointer.cast(), len);
                refuse(CK_SP800_108_KDF_PARAMS {
                    ulNumberOfDataParams: 1,
                    pDataParams: &mut part,
                    ..whole
                });
                part.type_ = CK_SP800_108_BYTE_ARRAY;
                let mut both = [good, part];
                refuse(CK_SP800_108_KDF_PARAMS {
                    ulNumberOfDataParams: 2,
                    pDataParams: both.as_mut_ptr(),
                    ..whole
                });
            }
        }
        // A handle that cannot be written.
        let mut part = CK_PRF_DATA_PARAM {
            type_: CK_SP800_108_ITERATION_VARIABLE,
            pValue: format.as_ptr().cast_mut().cast(),
            ulValueLen: format.len() as CK_ULONG,
        };
        for handle in [null_mut(), 0x10 as *mut _] {
            let mut more = CK_DERIVED_KEY {
                pTemplate: null_mut(),
                ulAttributeCount: 0,
                phKey: handle,
            };
            refuse(CK_SP800_108_KDF_PARAMS {
                prfType: CKM_SHA256_HMAC,
                ulNumberOfDataParams: 1,
                pDataParams: &mut part,
                ulAdditionalDerivedKeys: 1,
                pAdditionalDerivedKeys: &mut more,
            });
        }
    });
}
