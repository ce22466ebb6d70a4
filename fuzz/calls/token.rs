//! The token that the calls go to: made once in a process, the user logged in, with keys whose secret
//! values must never be seen and with samples of everything that can be made.

use crate::functions::Table;
use cryptoki_sys::*;
use nodetoken::attribute::RULES;
use nodetoken::credential::certificate;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CString;
use std::fs::File;
use std::io::Read;
use std::ptr::null_mut;
use tempfile::TempDir;

const NODE: &[u8] = include_bytes!("../../src/credential/testdata/node.pem");
const P256: &[u8] = b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07";
const ED25519: &[u8] = b"\x06\x03\x2b\x65\x70";
const X25519: &[u8] = b"\x06\x03\x2b\x65\x6e";

/// Attributes in the order of a template.
pub type Sample = Vec<(CK_ATTRIBUTE_TYPE, Vec<u8>)>;

/// A key of the token that is neither changed nor destroyed.
pub struct Key {
    pub handle: CK_OBJECT_HANDLE,
    pub key_type: CK_KEY_TYPE,
}

pub struct Token {
    pub table: Table,
    /// The session that keeps the user logged in.
    pub anchor: CK_SESSION_HANDLE,
    pub keys: Vec<Key>,
    /// Secret values that came from this process's random numbers; no input can hold them.
    pub secrets: Vec<Vec<u8>>,
    pub samples: Vec<Sample>,
    /// C_GetMechanismList and C_GetMechanismInfo.
    pub mechanisms: BTreeMap<CK_MECHANISM_TYPE, CK_FLAGS>,
}

pub fn number(value: CK_ULONG) -> Vec<u8> {
    value.to_ne_bytes().to_vec()
}

/// The array of a template whose values lie elsewhere.
pub fn raw(sample: &[(CK_ATTRIBUTE_TYPE, Vec<u8>)]) -> Vec<CK_ATTRIBUTE> {
    sample
        .iter()
        .map(|(kind, value)| CK_ATTRIBUTE {
            type_: *kind,
            pValue: value.as_ptr().cast_mut().cast(),
            ulValueLen: value.len() as CK_ULONG,
        })
        .collect()
}

fn random(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    let mut source = File::open("/dev/urandom").expect("/dev/urandom");
    source.read_exact(&mut bytes).expect("random bytes");
    bytes
}

const TRUE: &[u8] = &[CK_TRUE];
const FALSE: &[u8] = &[CK_FALSE];

fn sample<const N: usize>(pairs: [(CK_ATTRIBUTE_TYPE, &[u8]); N]) -> Sample {
    pairs.map(|(kind, value)| (kind, value.to_vec())).to_vec()
}

impl Token {
    pub fn new() -> Self {
        let mut token = Self {
            table: Table::get(),
            anchor: 0,
            keys: Vec::new(),
            secrets: Vec::new(),
            samples: Vec::new(),
            mechanisms: BTreeMap::new(),
        };
        token.log_in();
        token.list_mechanisms();
        token.plant();
        token.collect_samples();
        token.clear();
        token
    }

    fn ok(&self, name: &str, arguments: &[usize]) {
        let rv = self.table.named(name, arguments);
        assert_eq!(rv, CKR_OK, "{name}: {}", nodetoken::error::rv_name(rv));
    }

    pub fn open_session(&self, flags: CK_FLAGS) -> CK_SESSION_HANDLE {
        let mut session: CK_SESSION_HANDLE = 0;
        let flags = flags | CKF_SERIAL_SESSION;
        self.ok(
            "C_OpenSession",
            &[0, flags as usize, 0, 0, &raw mut session as usize],
        );
        session
    }

    fn log_in(&mut self) {
        let directory = TempDir::new().expect("a directory").keep();
        let string = format!("store='{}' spare_slot=true log=off", directory.display());
        let string = CString::new(string).expect("a path");
        let mut arguments = CK_C_INITIALIZE_ARGS {
            flags: CKF_OS_LOCKING_OK,
            pReserved: string.as_ptr().cast_mut().cast(),
            ..CK_C_INITIALIZE_ARGS::default()
        };
        self.ok("C_Initialize", &[&raw mut arguments as usize]);
        let pin = random(16);
        let pin = [pin.as_ptr() as usize, pin.len()];
        let label = [b' '; 32];
        self.ok("C_InitToken", &[0, pin[0], pin[1], label.as_ptr() as usize]);
        self.anchor = self.open_session(CKF_RW_SESSION);
        let session = self.anchor as usize;
        self.ok("C_Login", &[session, CKU_SO as usize, pin[0], pin[1]]);
        self.ok("C_InitPIN", &[session, pin[0], pin[1]]);
        self.ok("C_Logout", &[session]);
        self.ok("C_Login", &[session, CKU_USER as usize, pin[0], pin[1]]);
    }

    fn list_mechanisms(&mut self) {
        let mut list = [0 as CK_MECHANISM_TYPE; 256];
        let mut count = list.len() as CK_ULONG;
        let arguments = [0, list.as_mut_ptr() as usize, &raw mut count as usize];
        self.ok("C_GetMechanismList", &arguments);
        for kind in list.into_iter().take(count as usize) {
            let mut info = CK_MECHANISM_INFO::default();
            self.ok(
                "C_GetMechanismInfo",
                &[0, kind as usize, &raw mut info as usize],
            );
            self.mechanisms.insert(kind, info.flags);
        }
    }

    fn create(&self, sample: &Sample) -> CK_OBJECT_HANDLE {
        let template = raw(sample);
        let mut handle: CK_OBJECT_HANDLE = 0;
        let session = self.anchor as usize;
        let at = template.as_ptr() as usize;
        self.ok(
            "C_CreateObject",
            &[session, at, template.len(), &raw mut handle as usize],
        );
        handle
    }

    fn generate_pair(
        &self,
        kind: CK_MECHANISM_TYPE,
        public: &Sample,
        private: &Sample,
    ) -> [CK_OBJECT_HANDLE; 2] {
        let mechanism = CK_MECHANISM {
            mechanism: kind,
            pParameter: null_mut(),
            ulParameterLen: 0,
        };
        let (public, private) = (raw(public), raw(private));
        let mut handles: [CK_OBJECT_HANDLE; 2] = [0; 2];
        self.ok(
            "C_GenerateKeyPair",
            &[
                self.anchor as usize,
                &raw const mechanism as usize,
                public.as_ptr() as usize,
                public.len(),
                private.as_ptr() as usize,
                private.len(),
                &raw mut handles[0] as usize,
                &raw mut handles[1] as usize,
            ],
        );
        handles
    }

    /// Keys on the token: secret for ever, not to be changed, not to be destroyed.
    fn plant(&mut self) {
        let fixed = sample([
            (CKA_TOKEN, TRUE),
            (CKA_MODIFIABLE, FALSE),
            (CKA_DESTROYABLE, FALSE),
        ]);
        let secret = [
            sample([(CKA_SENSITIVE, TRUE), (CKA_EXTRACTABLE, FALSE)]),
            fixed.clone(),
        ]
        .concat();
        for (class, key_type, len, params) in [
            (CKO_SECRET_KEY, CKK_AES, 32, None),
            (CKO_SECRET_KEY, CKK_GENERIC_SECRET, 32, None),
            (CKO_SECRET_KEY, CKK_SHA256_HMAC, 32, None),
            (CKO_PRIVATE_KEY, CKK_EC, 32, Some(P256)),
            (CKO_PRIVATE_KEY, CKK_EC_EDWARDS, 32, Some(ED25519)),
        ] {
            let value = random(len);
            let mut template = secret.clone();
            template.extend(sample([
                (CKA_CLASS, &number(class)),
                (CKA_KEY_TYPE, &number(key_type)),
                (CKA_VALUE, &value),
            ]));
            template.extend(params.map(|params| (CKA_EC_PARAMS, params.to_vec())));
            let handle = self.create(&template);
            self.keys.push(Key { handle, key_type });
            self.secrets.push(value);
        }
        for (kind, key_type, how) in [
            (
                CKM_RSA_PKCS_KEY_PAIR_GEN,
                CKK_RSA,
                (CKA_MODULUS_BITS, number(2048)),
            ),
            (CKM_EC_KEY_PAIR_GEN, CKK_EC, (CKA_EC_PARAMS, P256.to_vec())),
            (
                CKM_EC_EDWARDS_KEY_PAIR_GEN,
                CKK_EC_EDWARDS,
                (CKA_EC_PARAMS, ED25519.to_vec()),
            ),
            (
                CKM_EC_MONTGOMERY_KEY_PAIR_GEN,
                CKK_EC_MONTGOMERY,
                (CKA_EC_PARAMS, X25519.to_vec()),
            ),
            (
                CKM_ML_DSA_KEY_PAIR_GEN,
                CKK_ML_DSA,
                (CKA_PARAMETER_SET, number(CKP_ML_DSA_44)),
            ),
            (
                CKM_ML_KEM_KEY_PAIR_GEN,
                CKK_ML_KEM,
                (CKA_PARAMETER_SET, number(CKP_ML_KEM_512)),
            ),
        ] {
            let public = [vec![how], fixed.clone()].concat();
            for handle in self.generate_pair(kind, &public, &secret) {
                self.keys.push(Key { handle, key_type });
            }
        }
    }

    /// One object of each sort that shows all of itself, as the template that makes it again.
    fn collect_samples(&mut self) {
        let open = sample([(CKA_SENSITIVE, FALSE), (CKA_EXTRACTABLE, TRUE)]);
        let mut handles = Vec::new();
        for (kind, how) in [
            (CKM_RSA_PKCS_KEY_PAIR_GEN, (CKA_MODULUS_BITS, number(2048))),
            (CKM_EC_KEY_PAIR_GEN, (CKA_EC_PARAMS, P256.to_vec())),
            (
                CKM_EC_EDWARDS_KEY_PAIR_GEN,
                (CKA_EC_PARAMS, ED25519.to_vec()),
            ),
            (
                CKM_EC_MONTGOMERY_KEY_PAIR_GEN,
                (CKA_EC_PARAMS, X25519.to_vec()),
            ),
            (
                CKM_ML_DSA_KEY_PAIR_GEN,
                (CKA_PARAMETER_SET, number(CKP_ML_DSA_44)),
            ),
            (
                CKM_ML_KEM_KEY_PAIR_GEN,
                (CKA_PARAMETER_SET, number(CKP_ML_KEM_512)),
            ),
        ] {
            handles.extend(self.generate_pair(kind, &vec![how], &open));
        }
        for key_type in [CKK_AES, CKK_GENERIC_SECRET] {
            let mut template = open.clone();
            template.extend(sample([
                (CKA_CLASS, &number(CKO_SECRET_KEY)),
                (CKA_KEY_TYPE, &number(key_type)),
                (CKA_VALUE, &[7; 32]),
            ]));
            handles.push(self.create(&template));
        }
        let node = certificate::parse(NODE).expect("a certificate").remove(0);
        handles.push(self.create(&sample([
            (CKA_CLASS, &number(CKO_CERTIFICATE)),
            (CKA_CERTIFICATE_TYPE, &number(CKC_X_509)),
            (CKA_SUBJECT, node.subject_der()),
            (CKA_VALUE, node.der()),
        ])));
        handles.push(self.create(&sample([
            (CKA_CLASS, &number(CKO_DATA)),
            (CKA_VALUE, b"data"),
        ])));
        self.samples = handles.iter().map(|handle| self.read(*handle)).collect();
        for handle in handles {
            self.ok("C_DestroyObject", &[self.anchor as usize, handle as usize]);
        }
    }

    fn read(&self, object: CK_OBJECT_HANDLE) -> Sample {
        let computed = [
            CKA_UNIQUE_ID,
            CKA_LOCAL,
            CKA_KEY_GEN_MECHANISM,
            CKA_ALWAYS_SENSITIVE,
            CKA_NEVER_EXTRACTABLE,
            CKA_VALUE_LEN,
            CKA_MODULUS_BITS,
        ];
        let kinds: BTreeSet<_> = RULES.iter().map(|rule| rule.attribute).collect();
        kinds
            .into_iter()
            .filter(|kind| !computed.contains(kind))
            .filter_map(|kind| Some((kind, self.value(object, kind).ok()?)))
            .collect()
    }

    /// One attribute of an object.
    pub fn value(
        &self,
        object: CK_OBJECT_HANDLE,
        kind: CK_ATTRIBUTE_TYPE,
    ) -> Result<Vec<u8>, CK_RV> {
        let mut value = vec![0; 8192];
        let mut asked = CK_ATTRIBUTE {
            type_: kind,
            pValue: value.as_mut_ptr().cast(),
            ulValueLen: value.len() as CK_ULONG,
        };
        let arguments = [
            self.anchor as usize,
            object as usize,
            &raw mut asked as usize,
            1,
        ];
        match self.table.named("C_GetAttributeValue", &arguments) {
            CKR_OK => {
                value.truncate(asked.ulValueLen as usize);
                Ok(value)
            }
            refusal => Err(refusal),
        }
    }

    /// Destroys whatever is not one of the keys.
    pub fn clear(&self) {
        let session = self.anchor as usize;
        for object in self.objects() {
            if !self.keys.iter().any(|key| key.handle == object) {
                let rv = self
                    .table
                    .named("C_DestroyObject", &[session, object as usize]);
                // The public key that was put beside a private one goes with it.
                assert!([CKR_OK, CKR_OBJECT_HANDLE_INVALID].contains(&rv), "{rv:#x}");
            }
        }
        assert_eq!(
            self.objects().len(),
            self.keys.len(),
            "a key of the token is gone"
        );
    }

    /// Every object that the user sees.
    pub fn objects(&self) -> Vec<CK_OBJECT_HANDLE> {
        let session = self.anchor as usize;
        let mut handles = vec![0; 4096];
        let mut count: CK_ULONG = 0;
        self.ok("C_FindObjectsInit", &[session, 0, 0]);
        let list = handles.as_mut_ptr() as usize;
        self.ok(
            "C_FindObjects",
            &[session, list, handles.len(), &raw mut count as usize],
        );
        self.ok("C_FindObjectsFinal", &[session]);
        handles.truncate(count as usize);
        handles
    }
}
