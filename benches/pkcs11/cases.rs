//! What is measured: the list of cases, and for each the operation that is repeated.

use cryptoki_sys::*;

use crate::certificate;
use crate::module::{Attribute, Module, Result, Session, plain, with_parameter};
use crate::openssl::Reference;

/// The sizes of store, in certificates.
pub const SIZES: [u32; 3] = [10, 1_000, 10_000];

/// The label of the key pairs that the key generation case makes, by which they are removed again.
const THROWAWAY: &[u8] = b"throwaway";

/// The kinds of key pair that the cases use.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum Key {
    P256,
    P384,
    Rsa2048,
    Rsa3072,
}

impl Key {
    fn id(self) -> &'static [u8] {
        match self {
            Self::P256 => b"key P-256",
            Self::P384 => b"key P-384",
            Self::Rsa2048 => b"key RSA-2048",
            Self::Rsa3072 => b"key RSA-3072",
        }
    }
}

/// A way to sign: the name it is listed under, the key, the mechanism and what is signed.
#[derive(Clone, Copy)]
pub struct Scheme {
    pub name: &'static str,
    pub key: Key,
    mechanism: CK_MECHANISM_TYPE,
    pub data: fn() -> Vec<u8>,
    openssl: &'static str,
}

/// Every one that is measured.
pub const SCHEMES: [Scheme; 5] = [
    Scheme {
        name: "P-256",
        key: Key::P256,
        mechanism: CKM_ECDSA,
        data: || vec![0x5a; 32],
        openssl: "ecdsap256",
    },
    Scheme {
        name: "P-384",
        key: Key::P384,
        mechanism: CKM_ECDSA,
        data: || vec![0x5a; 48],
        openssl: "ecdsap384",
    },
    Scheme {
        name: "RSA-2048",
        key: Key::Rsa2048,
        mechanism: CKM_RSA_PKCS,
        data: digest_info,
        openssl: "rsa2048",
    },
    Scheme {
        name: "RSA-2048 PSS",
        key: Key::Rsa2048,
        mechanism: CKM_SHA256_RSA_PKCS_PSS,
        data: || vec![0x5a; 32],
        openssl: "rsa2048",
    },
    Scheme {
        name: "RSA-3072",
        key: Key::Rsa3072,
        mechanism: CKM_RSA_PKCS,
        data: digest_info,
        openssl: "rsa3072",
    },
];

/// What a case repeats.
#[derive(Clone, Copy)]
pub enum Action {
    Sign(Scheme),
    Verify(Scheme),
    Sha256(usize),
    AesGcm(usize),
    Random,
    Session,
    FindKey,
    FindCertificate,
    ReadCertificate,
    GenerateKeyPair,
    /// A process from its start to its end, with one signature: measured from outside.
    ColdStart,
    /// Certificates created in the first and in the last tenth of the store: measured while it is filled.
    CreateFirst,
    CreateLast,
}

/// One line of the result.
#[derive(Clone)]
pub struct Case {
    pub name: String,
    pub action: Action,
    pub threads: u32,
    /// How many certificates the store holds beside the keys.
    pub certificates: u32,
    /// What `openssl speed` measures that compares.
    pub reference: Option<Reference>,
}

impl Case {
    /// Whether it measures a TPM: the chip signs, and nothing else of what is measured here is its work. It does one
    /// thing at a time (and tpm2-pkcs11 1.9 crashes now and then under two threads), so one thread is enough, and so is
    /// one size of store.
    pub fn is_for_tpm(&self) -> bool {
        match self.action {
            Action::Sign(_) => self.threads == 1 && self.reference.is_some(),
            Action::ColdStart => self.certificates == SIZES[0],
            _ => false,
        }
    }
}

/// Every case, in the order of the table.
pub fn all() -> Vec<Case> {
    let case = |name: String, action, reference| Case {
        name,
        action,
        threads: 1,
        certificates: SIZES[0],
        reference,
    };
    let mut cases = Vec::new();
    for scheme in SCHEMES {
        let sign = case(
            format!("sign {}", scheme.name),
            Action::Sign(scheme),
            Some(Reference::Sign(scheme.openssl)),
        );
        if matches!(scheme.name, "P-256" | "RSA-2048") {
            let verify = Some(Reference::Verify(scheme.openssl));
            cases.push(sign.clone());
            cases.push(case(
                format!("verify {}", scheme.name),
                Action::Verify(scheme),
                verify,
            ));
        } else {
            cases.push(sign.clone());
        }
        cases.push(Case {
            name: format!("{}, 2 threads", sign.name),
            threads: 2,
            ..sign
        });
    }
    for (name, bytes) in [("64 B", 64), ("1 MiB", 1 << 20)] {
        cases.push(case(
            format!("SHA-256 of {name}"),
            Action::Sha256(bytes),
            Some(Reference::Bulk("sha256", bytes)),
        ));
    }
    let gcm = Some(Reference::Bulk("aes-256-gcm", 16 << 10));
    cases.push(case(
        "AES-256-GCM of 16 KiB".into(),
        Action::AesGcm(16 << 10),
        gcm,
    ));
    cases.push(case("random 32 B".into(), Action::Random, None));
    cases.push(case("open and close session".into(), Action::Session, None));
    cases.push(case(
        "generate P-256 pair on token".into(),
        Action::GenerateKeyPair,
        None,
    ));
    for (name, action) in [
        ("find private key", Action::FindKey),
        ("find certificate", Action::FindCertificate),
        ("read 3 attributes", Action::ReadCertificate),
        ("sign P-256", Action::Sign(SCHEMES[0])),
        ("cold start", Action::ColdStart),
        ("create, first tenth", Action::CreateFirst),
        ("create, last tenth", Action::CreateLast),
    ] {
        for certificates in SIZES {
            let creates = matches!(action, Action::CreateFirst | Action::CreateLast);
            // Ten certificates have no tenth worth timing.
            if !(creates && certificates == SIZES[0]) {
                let name = format!("{name}, {certificates} certificates");
                cases.push(Case {
                    certificates,
                    ..case(name, action, None)
                });
            }
        }
    }
    cases
}

/// The operation that a case repeats: once a call.
pub type Operation<'a> = Box<dyn FnMut() -> Result<()> + 'a>;

/// Makes ready what `case` needs (keys, handles, buffers), outside of the time that is measured.
pub fn prepare<'a>(
    case: &Case,
    module: &'a Module,
    session: &'a Session<'a>,
) -> Result<Operation<'a>> {
    let certificates = case.certificates;
    Ok(match case.action {
        Action::Sign(scheme) => {
            let key = private_key(session, scheme.key)?;
            let (data, mut signature) = ((scheme.data)(), [0; 512]);
            Box::new(move || sign(session, scheme, key, &data, &mut signature).map(drop))
        }
        Action::Verify(scheme) => {
            let private = private_key(session, scheme.key)?;
            let public = find_key(session, CKO_PUBLIC_KEY, scheme.key)?
                .ok_or("the public key is not there")?;
            let (data, mut signature) = ((scheme.data)(), vec![0; 512]);
            let length = sign(session, scheme, private, &data, &mut signature)?;
            signature.truncate(length);
            Box::new(move || {
                session.verify(&mut plain(scheme.mechanism), public, &data, &signature)
            })
        }
        Action::Sha256(bytes) => {
            let (data, mut digest) = (vec![0x5a; bytes], [0; 32]);
            Box::new(move || session.digest(&mut plain(CKM_SHA256), &data, &mut digest))
        }
        Action::AesGcm(bytes) => aes_gcm(session, bytes)?,
        Action::Random => {
            let mut bytes = [0; 32];
            Box::new(move || session.random(&mut bytes))
        }
        Action::Session => {
            let slot = module.slot()?;
            Box::new(move || module.open(slot, 0).map(drop))
        }
        Action::FindKey => {
            private_key(session, Key::P256)?;
            Box::new(move || {
                let found = find_key(session, CKO_PRIVATE_KEY, Key::P256)?;
                found
                    .map(drop)
                    .ok_or_else(|| "the private key was not found".into())
            })
        }
        Action::FindCertificate => {
            let mut number = 0;
            Box::new(move || {
                number = next(number, certificates);
                find_certificate(session, number).map(drop)
            })
        }
        Action::ReadCertificate => read_certificate(session, certificates)?,
        Action::GenerateKeyPair => {
            Box::new(move || generate_pair(session, Key::P256, THROWAWAY).map(drop))
        }
        Action::ColdStart | Action::CreateFirst | Action::CreateLast => {
            return Err(format!("{} is not measured by repetition", case.name));
        }
    })
}

/// Removes what a case left on the token.
pub fn clean(case: &Case, session: &Session) -> Result<()> {
    if matches!(case.action, Action::GenerateKeyPair) {
        let mut found = [0; 64];
        loop {
            let count = session.find(&[Attribute::new(CKA_LABEL, THROWAWAY)], &mut found)?;
            if count == 0 {
                break;
            }
            for object in found.iter().take(count) {
                session.destroy(*object)?;
            }
        }
    }
    Ok(())
}

/// The handle of the private key of this kind; generates the pair if the token has none.
pub fn private_key(session: &Session, key: Key) -> Result<CK_OBJECT_HANDLE> {
    match find_key(session, CKO_PRIVATE_KEY, key)? {
        Some(handle) => Ok(handle),
        None => generate_pair(session, key, b"benchmark"),
    }
}

/// One P-256 signature with the token's key: the last step of a cold start.
pub fn sign_once(session: &Session, key: CK_OBJECT_HANDLE) -> Result<()> {
    let scheme = SCHEMES[0];
    sign(session, scheme, key, &(scheme.data)(), &mut [0; 512]).map(drop)
}

/// The handle of a key of this kind and class, by its CKA_ID.
pub fn find_key(
    session: &Session,
    class: CK_OBJECT_CLASS,
    key: Key,
) -> Result<Option<CK_OBJECT_HANDLE>> {
    session.find_one(&[
        Attribute::new(CKA_CLASS, &class),
        Attribute::new(CKA_ID, key.id()),
    ])
}

fn find_certificate(session: &Session, number: u32) -> Result<CK_OBJECT_HANDLE> {
    let found = session.find_one(&[
        Attribute::new(CKA_CLASS, &CKO_CERTIFICATE),
        Attribute::new(CKA_ID, &certificate::id(number)),
    ])?;
    found.ok_or_else(|| format!("certificate {number} was not found"))
}

/// The number after `number` in an order in which neighbours are far apart.
fn next(number: u32, count: u32) -> u32 {
    (number + 7_919) % count
}

/// One signature; its length.
pub fn sign(
    session: &Session,
    scheme: Scheme,
    key: CK_OBJECT_HANDLE,
    data: &[u8],
    signature: &mut [u8],
) -> Result<usize> {
    let mut pss = CK_RSA_PKCS_PSS_PARAMS {
        hashAlg: CKM_SHA256,
        mgf: CKG_MGF1_SHA256,
        sLen: 32,
    };
    let mut mechanism = match scheme.mechanism {
        CKM_SHA256_RSA_PKCS_PSS => with_parameter(scheme.mechanism, &mut pss),
        simple => plain(simple),
    };
    session.sign(&mut mechanism, key, data, signature)
}

fn aes_gcm<'a>(session: &'a Session, bytes: usize) -> Result<Operation<'a>> {
    let length: CK_ULONG = 32;
    let key = session.generate(
        CKM_AES_KEY_GEN,
        &[
            Attribute::new(CKA_TOKEN, &CK_FALSE),
            Attribute::new(CKA_ENCRYPT, &CK_TRUE),
            Attribute::new(CKA_VALUE_LEN, &length),
        ],
    )?;
    let (data, mut encrypted) = (vec![0x5a; bytes], vec![0; bytes + 16]);
    let mut counter = 0_u64;
    Ok(Box::new(move || {
        counter += 1;
        let mut iv = [0; 12];
        iv[4..].copy_from_slice(&counter.to_be_bytes());
        let mut gcm = CK_GCM_PARAMS {
            pIv: iv.as_mut_ptr(),
            ulIvLen: 12,
            ulIvBits: 96,
            pAAD: std::ptr::null_mut(),
            ulAADLen: 0,
            ulTagBits: 128,
        };
        session.encrypt(
            &mut with_parameter(CKM_AES_GCM, &mut gcm),
            key,
            &data,
            &mut encrypted,
        )
    }))
}

fn read_certificate<'a>(session: &'a Session, certificates: u32) -> Result<Operation<'a>> {
    let mut handles = Vec::new();
    let mut number = 0;
    for _ in 0..certificates.min(64) {
        number = next(number, certificates);
        handles.push(find_certificate(session, number)?);
    }
    let (mut value, mut subject, mut id) = ([0; 2048], [0; 256], [0; 64]);
    let mut turn = handles.into_iter().cycle();
    Ok(Box::new(move || {
        let object = turn.next().ok_or("the store holds no certificate")?;
        session.read(
            object,
            &mut [
                Attribute::read(CKA_VALUE, &mut value),
                Attribute::read(CKA_SUBJECT, &mut subject),
                Attribute::read(CKA_ID, &mut id),
            ],
        )
    }))
}

/// A key pair on the token, its private key private and sensitive; gives the private key.
fn generate_pair(session: &Session, key: Key, label: &[u8]) -> Result<CK_OBJECT_HANDLE> {
    // The throwaway pairs must not be what a search by CKA_ID finds.
    let id: &[u8] = match label {
        THROWAWAY => THROWAWAY,
        _ => key.id(),
    };
    Ok(generate_pair_named(session, key, label, id)?.1)
}

/// The same with a CKA_ID; gives the public and the private key.
pub fn generate_pair_named(
    session: &Session,
    key: Key,
    label: &[u8],
    id: &[u8],
) -> Result<(CK_OBJECT_HANDLE, CK_OBJECT_HANDLE)> {
    const P256: &[u8] = &[6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
    const P384: &[u8] = &[6, 5, 0x2b, 0x81, 4, 0, 0x22];
    const BITS_2048: CK_ULONG = 2048;
    const BITS_3072: CK_ULONG = 3072;

    let mut public = vec![
        Attribute::new(CKA_TOKEN, &CK_TRUE),
        Attribute::new(CKA_VERIFY, &CK_TRUE),
        Attribute::new(CKA_LABEL, label),
        Attribute::new(CKA_ID, id),
    ];
    let private = [
        Attribute::new(CKA_TOKEN, &CK_TRUE),
        Attribute::new(CKA_PRIVATE, &CK_TRUE),
        Attribute::new(CKA_SENSITIVE, &CK_TRUE),
        Attribute::new(CKA_EXTRACTABLE, &CK_FALSE),
        Attribute::new(CKA_SIGN, &CK_TRUE),
        Attribute::new(CKA_LABEL, label),
        Attribute::new(CKA_ID, id),
    ];
    let mechanism = match key {
        Key::P256 | Key::P384 => CKM_EC_KEY_PAIR_GEN,
        Key::Rsa2048 | Key::Rsa3072 => CKM_RSA_PKCS_KEY_PAIR_GEN,
    };
    public.extend(match key {
        Key::P256 => vec![Attribute::new(CKA_EC_PARAMS, P256)],
        Key::P384 => vec![Attribute::new(CKA_EC_PARAMS, P384)],
        Key::Rsa2048 | Key::Rsa3072 => {
            let bits = if key == Key::Rsa2048 {
                &BITS_2048
            } else {
                &BITS_3072
            };
            vec![
                Attribute::new(CKA_MODULUS_BITS, bits),
                Attribute::new(CKA_PUBLIC_EXPONENT, &[1_u8, 0, 1]),
            ]
        }
    });
    session.generate_pair(mechanism, &public, &private)
}

/// A SHA-256 digest as RSASSA-PKCS1-v1_5 pads it (RFC 8017 section 9.2, note 1).
fn digest_info() -> Vec<u8> {
    let mut info = vec![
        0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01,
        0x05, 0x00, 0x04, 0x20,
    ];
    info.extend([0x5a; 32]);
    info
}
