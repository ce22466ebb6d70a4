//! A program that uses the card through the C interface, and looks closely at what it gets.

use crate::card::{self, PINS};
use crate::functions::Table;
use crate::played;
use cryptoki_sys::*;
use nodetoken::attribute::{Attributes, Kind, RULES};
use nodetoken::crypto::{CryptScheme, Curve, KeySpec, PublicParts, SignScheme, engine};
use nodetoken::error::rv_name;
use nodetoken::key;
use std::collections::BTreeSet;
use std::ffi::CString;
use std::ptr::null_mut;
use std::sync::LazyLock;
use tempfile::TempDir;

/// How many kinds of calls there are.
pub const OPERATIONS: u8 = 20;
const P256: &[u8] = b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07";
const PLAIN_EDDSA: SignScheme = SignScheme::EdDsa {
    prehash: false,
    context: None,
};

static TABLE: LazyLock<Table> = LazyLock::new(Table::get);
static STORE: LazyLock<TempDir> = LazyLock::new(|| TempDir::new().expect("a directory"));
/// The security officer's PIN in its three forms.
static SO_PINS: LazyLock<[Vec<u8>; 3]> = LazyLock::new(|| {
    let hex: String = PINS.key.iter().map(|byte| format!("{byte:02x}")).collect();
    let both = [&PINS.puk[..], b":", hex.as_bytes()].concat();
    [both, hex.into_bytes(), PINS.puk.to_vec()]
});
/// A key that is not the card's.
static OTHER: LazyLock<PublicParts> = LazyLock::new(|| {
    let spec = KeySpec::Ec(Curve::P256);
    engine::generate(&spec).expect("a key").public
});

/// What a script came to.
#[derive(Default)]
pub struct Done {
    pub signed: usize,
    pub decrypted: usize,
    pub generated: usize,
    pub changed: usize,
    pub logins: usize,
    pub seen: usize,
    /// Commands that the card was given before C_Finalize.
    pub commands: usize,
}

/// The module, initialized.
pub struct Module {
    slot: CK_SLOT_ID,
    session: CK_SESSION_HANDLE,
    objects: Vec<CK_OBJECT_HANDLE>,
    done: Done,
}

fn number(value: CK_ULONG) -> Vec<u8> {
    value.to_ne_bytes().to_vec()
}

fn raw(sample: &[(CK_ATTRIBUTE_TYPE, Vec<u8>)]) -> Vec<CK_ATTRIBUTE> {
    sample
        .iter()
        .map(|(kind, value)| CK_ATTRIBUTE {
            type_: *kind,
            pValue: value.as_ptr().cast_mut().cast(),
            ulValueLen: value.len() as CK_ULONG,
        })
        .collect()
}

impl Module {
    pub fn start() -> Self {
        let mut module = Self {
            slot: 0,
            session: 0,
            objects: Vec::new(),
            done: Done::default(),
        };
        let string = format!("store='{}' card=fuzzed log=off", STORE.path().display());
        let string = CString::new(string).expect("a path");
        let mut arguments = CK_C_INITIALIZE_ARGS {
            flags: CKF_OS_LOCKING_OK,
            pReserved: string.as_ptr().cast_mut().cast(),
            ..CK_C_INITIALIZE_ARGS::default()
        };
        module.ok("C_Initialize", &[&raw mut arguments as usize]);
        let mut slots = [0 as CK_SLOT_ID; 4];
        let mut count = slots.len() as CK_ULONG;
        module.ok(
            "C_GetSlotList",
            &[0, slots.as_mut_ptr() as usize, &raw mut count as usize],
        );
        module.slot = slots[0];
        module.open();
        module
    }

    pub fn end(self) -> Done {
        played().begin_call(&[]);
        let rv = TABLE.named("C_Finalize", &[0]);
        assert_eq!(rv, CKR_OK);
        assert!(played().shown.is_empty());
        self.done
    }

    fn ok(&self, name: &str, arguments: &[usize]) {
        let rv = TABLE.named(name, arguments);
        assert_eq!(rv, CKR_OK, "{name}: {}", rv_name(rv));
    }

    /// One call, which was given these PINs; whether it succeeded.
    fn call(&mut self, name: &str, arguments: &[usize], pins: &[&[u8]]) -> bool {
        played().begin_call(pins);
        let rv = TABLE.named(name, arguments);
        let (commands, shown) = {
            let card = played();
            (card.commands, card.shown.clone())
        };
        self.done.commands += commands;
        // These say "something is broken" instead of what is wrong.
        let exact = match rv {
            CKR_GENERAL_ERROR | CKR_HOST_MEMORY | CKR_FUNCTION_FAILED | CKR_ARGUMENTS_BAD => false,
            code => code <= CKR_PARAMETER_SET_NOT_SUPPORTED,
        };
        assert!(exact, "{name}: {}", rv_name(rv));
        check_code(name, rv);
        if name == "C_Login" {
            // One that was refused is not sent again, which the card watches itself. One that was
            // taken is, where the login for a use begins with that of the session, or where the card
            // was reset before the rest of the login was done.
            let resets = played().resets;
            assert!(
                shown.len() <= 2 * (1 + resets),
                "a PIN is sent more than once"
            );
            if rv == CKR_OK && arguments[1] != CKU_SO as usize {
                let taken = shown.last().is_some_and(|shown| shown.taken);
                assert!(taken, "logged in without the card");
            }
        }
        rv == CKR_OK
    }

    fn open(&mut self) {
        let mut session: CK_SESSION_HANDLE = 0;
        let flags = CKF_SERIAL_SESSION | CKF_RW_SESSION;
        let arguments = [
            self.slot as usize,
            flags as usize,
            0,
            0,
            &raw mut session as usize,
        ];
        self.call("C_OpenSession", &arguments, &[]);
        self.session = session;
    }

    fn login(&mut self, user: CK_USER_TYPE, pin: &[u8], carried: &[u8]) {
        let arguments = [
            self.session as usize,
            user as usize,
            pin.as_ptr() as usize,
            pin.len(),
        ];
        let done = self.call("C_Login", &arguments, &[carried]);
        self.done.logins += usize::from(done);
    }

    pub fn operate(&mut self) {
        let (what, how) = {
            let mut card = played();
            (card.script.byte() % OPERATIONS, card.script.byte())
        };
        let session = self.session as usize;
        match what {
            0 => self.look(),
            1 => self.login(CKU_USER, &PINS.user, &PINS.user),
            2 => self.login(CKU_USER, &PINS.other, &PINS.other),
            3 => {
                let pin = &SO_PINS[usize::from(how) % 3];
                self.login(CKU_SO, pin, &PINS.puk);
            }
            4 => self.login(CKU_CONTEXT_SPECIFIC, &PINS.user, &PINS.user),
            5 => drop(self.call("C_Logout", &[session], &[])),
            6 | 7 => self.sign(how),
            8 => self.decrypt(how),
            9 => self.generate(how),
            10 => self.create(how),
            11 => {
                if let Some(object) = self.object(how) {
                    let done = self.call("C_DestroyObject", &[session, object as usize], &[]);
                    self.done.changed += usize::from(done);
                }
            }
            12 => self.set(how),
            13 => {
                self.call("C_CloseAllSessions", &[self.slot as usize], &[]);
                let pin = &SO_PINS[usize::from(how) % 3];
                let label = [b'x'; 32];
                let arguments = [
                    self.slot as usize,
                    pin.as_ptr() as usize,
                    pin.len(),
                    label.as_ptr() as usize,
                ];
                let done = self.call("C_InitToken", &arguments, &[&PINS.puk]);
                self.done.changed += usize::from(done);
                self.open();
            }
            14 => self.set_pin(how),
            15 => {
                let pin = &PINS.user;
                let arguments = [session, pin.as_ptr() as usize, pin.len()];
                self.call("C_InitPIN", &arguments, &[&PINS.puk, pin]);
            }
            16 => {
                played().replug();
                let mut info = [0u64; 8];
                self.call(
                    "C_GetSessionInfo",
                    &[session, info.as_mut_ptr() as usize],
                    &[],
                );
                self.open();
            }
            17 => self.token_info(),
            18 => {
                self.call("C_CloseSession", &[session], &[]);
                self.open();
            }
            _ => self.open(),
        }
    }

    fn object(&self, how: u8) -> Option<CK_OBJECT_HANDLE> {
        let count = self.objects.len().max(1);
        self.objects.get(usize::from(how) % count).copied()
    }

    fn find(&mut self, class: Option<CK_OBJECT_CLASS>) -> Vec<CK_OBJECT_HANDLE> {
        let session = self.session as usize;
        let sample: Vec<_> = class
            .map(|class| (CKA_CLASS, number(class)))
            .into_iter()
            .collect();
        let template = raw(&sample);
        let arguments = [session, template.as_ptr() as usize, template.len()];
        if !self.call("C_FindObjectsInit", &arguments, &[]) {
            return Vec::new();
        }
        let mut handles = vec![0; 256];
        let mut count: CK_ULONG = 0;
        let list = handles.as_mut_ptr() as usize;
        let arguments = [session, list, handles.len(), &raw mut count as usize];
        self.call("C_FindObjects", &arguments, &[]);
        self.call("C_FindObjectsFinal", &[session], &[]);
        handles.truncate(count as usize);
        handles
    }

    /// Finds everything, and looks at it.
    fn look(&mut self) {
        self.objects = self.find(None);
        let unique: BTreeSet<_> = self.objects.iter().collect();
        assert_eq!(unique.len(), self.objects.len(), "an object is found twice");
        let mut names = BTreeSet::new();
        for object in self.objects.clone() {
            if let Some(name) = self.value(object, CKA_UNIQUE_ID) {
                assert!(names.insert(name), "two objects have one name");
            }
            if let Some(whole) = self.read(object) {
                check_object(&whole);
                self.done.seen += 1;
            }
        }
    }

    /// All of an object; `None` where it is not to be seen any more.
    fn read(&mut self, object: CK_OBJECT_HANDLE) -> Option<Attributes> {
        let mut whole = Attributes::new();
        let kinds: BTreeSet<_> = RULES.iter().map(|rule| rule.attribute).collect();
        for kind in kinds {
            if let Some(value) = self.value(object, kind) {
                whole.set(kind, value);
            }
        }
        // It may go while it is read.
        whole.get(CKA_CLASS)?;
        self.value(object, CKA_CLASS)?;
        Some(whole)
    }

    fn value(&mut self, object: CK_OBJECT_HANDLE, kind: CK_ATTRIBUTE_TYPE) -> Option<Vec<u8>> {
        let mut asked = CK_ATTRIBUTE {
            type_: kind,
            pValue: null_mut(),
            ulValueLen: 0,
        };
        let arguments = [
            self.session as usize,
            object as usize,
            &raw mut asked as usize,
            1,
        ];
        if !self.call("C_GetAttributeValue", &arguments, &[]) {
            return None;
        }
        let mut value = vec![0; asked.ulValueLen as usize];
        asked.pValue = value.as_mut_ptr().cast();
        if !self.call("C_GetAttributeValue", &arguments, &[]) {
            return None;
        }
        value.truncate(asked.ulValueLen as usize);
        Some(value)
    }

    /// A private key with its public half, as it is seen.
    fn key(&mut self, how: u8) -> Option<(CK_OBJECT_HANDLE, PublicParts, bool)> {
        let keys = self.find(Some(CKO_PRIVATE_KEY));
        let object = *keys.get(usize::from(how) % keys.len().max(1))?;
        let whole = self.read(object)?;
        let parts = key::public_parts(&whole).expect("the public half of a private key");
        Some((object, parts, whole.is(CKA_ALWAYS_AUTHENTICATE)))
    }

    fn begin(&mut self, name: &str, kind: CK_MECHANISM_TYPE, object: CK_OBJECT_HANDLE) -> bool {
        let mechanism = CK_MECHANISM {
            mechanism: kind,
            pParameter: null_mut(),
            ulParameterLen: 0,
        };
        let session = self.session as usize;
        let arguments = [session, &raw const mechanism as usize, object as usize];
        self.call(name, &arguments, &[])
    }

    /// What comes of data in one call.
    fn finish(&mut self, name: &str, data: &[u8]) -> Option<Vec<u8>> {
        let mut out = vec![0; 1024];
        let mut len = out.len() as CK_ULONG;
        let arguments = [
            self.session as usize,
            data.as_ptr() as usize,
            data.len(),
            out.as_mut_ptr() as usize,
            &raw mut len as usize,
        ];
        let done = self.call(name, &arguments, &[]);
        out.truncate(len as usize);
        done.then_some(out)
    }

    fn sign(&mut self, how: u8) {
        let Some((object, parts, asks)) = self.key(how) else {
            return;
        };
        let (kind, scheme) = match &parts {
            PublicParts::Rsa { .. } if how & 0x80 != 0 => (CKM_RSA_X_509, SignScheme::RsaRaw),
            PublicParts::Rsa { .. } => (CKM_RSA_PKCS, SignScheme::RsaPkcs1),
            PublicParts::Ec { .. } => (CKM_ECDSA, SignScheme::Ecdsa),
            PublicParts::Ed25519(_) => (CKM_EDDSA, PLAIN_EDDSA),
            _ => panic!("a key that no card has"),
        };
        let data = [how; 32];
        if !self.begin("C_SignInit", kind, object) {
            return;
        }
        if asks && how & 0x40 == 0 {
            self.login(CKU_CONTEXT_SPECIFIC, &PINS.user, &PINS.user);
        }
        let Some(signature) = self.finish("C_Sign", &data) else {
            return;
        };
        let public = engine::PublicKey::from_parts(&parts).expect("a key that signed");
        // The bare operation is over an integer, which the module fills up.
        let mut input = data.to_vec();
        if scheme == SignScheme::RsaRaw {
            let zeros = parts.output_len().saturating_sub(input.len());
            input.splice(..0, vec![0; zeros]);
        }
        let checked = public.verify(&scheme, &input, &signature);
        assert!(checked.is_ok(), "a signature that is none");
        self.done.signed += 1;
    }

    fn decrypt(&mut self, how: u8) {
        let Some((object, parts, asks)) = self.key(how) else {
            return;
        };
        let PublicParts::Rsa { .. } = parts else {
            return;
        };
        let public = engine::PublicKey::from_parts(&parts).expect("a key that is shown");
        let Ok(hidden) = public.encrypt(&CryptScheme::RsaPkcs1, b"hidden") else {
            return;
        };
        if !self.begin("C_DecryptInit", CKM_RSA_PKCS, object) {
            return;
        }
        if asks {
            self.login(CKU_CONTEXT_SPECIFIC, &PINS.user, &PINS.user);
        }
        if let Some(plain) = self.finish("C_Decrypt", &hidden) {
            assert_eq!(plain, b"hidden");
            self.done.decrypted += 1;
        }
    }

    fn generate(&mut self, how: u8) {
        let (kind, spec) = match how % 4 {
            0 => (CKM_RSA_PKCS_KEY_PAIR_GEN, (CKA_MODULUS_BITS, number(2048))),
            _ => (CKM_EC_KEY_PAIR_GEN, (CKA_EC_PARAMS, P256.to_vec())),
        };
        let on_card = (CKA_TOKEN, vec![CK_TRUE]);
        let public = [spec, on_card.clone()];
        let mut private = vec![on_card, (CKA_LABEL, b"made".to_vec())];
        if how & 0x10 != 0 {
            private.push((CKA_ID, vec![how & 0xf]));
        }
        let (public, private) = (raw(&public), raw(&private));
        let mechanism = CK_MECHANISM {
            mechanism: kind,
            pParameter: null_mut(),
            ulParameterLen: 0,
        };
        let mut handles: [CK_OBJECT_HANDLE; 2] = [0; 2];
        let arguments = [
            self.session as usize,
            &raw const mechanism as usize,
            public.as_ptr() as usize,
            public.len(),
            private.as_ptr() as usize,
            private.len(),
            &raw mut handles[0] as usize,
            &raw mut handles[1] as usize,
        ];
        if !self.call("C_GenerateKeyPair", &arguments, &[]) {
            return;
        }
        self.done.generated += 1;
        for handle in handles {
            if let Some(whole) = self.read(handle) {
                check_object(&whole);
            }
        }
    }

    /// A certificate, or data.
    fn create(&mut self, how: u8) {
        let mut sample = vec![(CKA_TOKEN, vec![CK_TRUE])];
        match how % 4 {
            0 => sample.extend([
                (CKA_CLASS, number(CKO_DATA)),
                (CKA_LABEL, b"note".to_vec()),
                (CKA_VALUE, vec![how; 300]),
            ]),
            which => {
                let known = self.key(how >> 2).map(|(_, parts, _)| parts);
                let parts = known.filter(|_| which > 1).unwrap_or_else(|| OTHER.clone());
                let certificate = card::certificate(&parts);
                sample.extend([
                    (CKA_CLASS, number(CKO_CERTIFICATE)),
                    (CKA_CERTIFICATE_TYPE, number(CKC_X_509)),
                    (CKA_SUBJECT, b"\x30\0".to_vec()),
                    (CKA_ID, vec![how >> 2]),
                    (CKA_VALUE, certificate),
                ]);
            }
        }
        let template = raw(&sample);
        let mut handle: CK_OBJECT_HANDLE = 0;
        let arguments = [
            self.session as usize,
            template.as_ptr() as usize,
            template.len(),
            &raw mut handle as usize,
        ];
        let done = self.call("C_CreateObject", &arguments, &[]);
        self.done.changed += usize::from(done);
        if done {
            self.objects.push(handle);
        }
    }

    fn set(&mut self, how: u8) {
        let Some(object) = self.object(how) else {
            return;
        };
        let template = raw(&[(CKA_LABEL, b"renamed".to_vec())]);
        let sample = [(CKA_LABEL, b"renamed".to_vec())];
        let template = match how % 2 {
            0 => raw(&sample),
            _ => template[..0].to_vec(),
        };
        let arguments = [
            self.session as usize,
            object as usize,
            template.as_ptr() as usize,
            template.len(),
        ];
        let done = self.call("C_SetAttributeValue", &arguments, &[]);
        self.done.changed += usize::from(done);
    }

    fn set_pin(&mut self, how: u8) {
        let [old, new]: [&[u8]; 2] = match how % 4 {
            0 => [&PINS.user, &PINS.user],
            1 => [&PINS.other, &PINS.user],
            2 => [&SO_PINS[0], &SO_PINS[0]],
            _ => [&SO_PINS[2], &SO_PINS[2]],
        };
        let arguments = [
            self.session as usize,
            old.as_ptr() as usize,
            old.len(),
            new.as_ptr() as usize,
            new.len(),
        ];
        let pins: &[&[u8]] = &[&PINS.user, &PINS.other, &PINS.puk];
        self.call("C_SetPIN", &arguments, pins);
    }

    fn token_info(&mut self) {
        let mut info = CK_TOKEN_INFO::default();
        let arguments = [self.slot as usize, &raw mut info as usize];
        if self.call("C_GetTokenInfo", &arguments, &[]) {
            for text in [&info.label[..], &info.model, &info.serialNumber] {
                assert!(std::str::from_utf8(text).is_ok(), "no text");
            }
        }
    }
}

/// What is wrong with a card is not told as if it were wrong with what a caller gave.
fn check_code(name: &str, rv: CK_RV) {
    let of_templates = matches!(
        rv,
        CKR_TEMPLATE_INCOMPLETE
            | CKR_TEMPLATE_INCONSISTENT
            | CKR_ATTRIBUTE_VALUE_INVALID
            | CKR_ATTRIBUTE_READ_ONLY
            | CKR_ATTRIBUTE_TYPE_INVALID
    );
    let takes_template = matches!(
        name,
        "C_CreateObject" | "C_SetAttributeValue" | "C_GenerateKeyPair" | "C_GetAttributeValue"
    );
    assert!(!of_templates || takes_template, "{name}: {}", rv_name(rv));
    // Every call that reads the card may find it gone, or out of order; these have codes of their own.
    if matches!(name, "C_FindObjectsInit" | "C_GetTokenInfo") {
        let known = [
            CKR_OK,
            CKR_DEVICE_ERROR,
            CKR_DEVICE_MEMORY,
            CKR_DEVICE_REMOVED,
            CKR_FUNCTION_NOT_SUPPORTED,
            CKR_OPERATION_ACTIVE,
            CKR_PIN_LOCKED,
            CKR_SESSION_HANDLE_INVALID,
            CKR_TOKEN_NOT_PRESENT,
            CKR_TOKEN_NOT_RECOGNIZED,
            CKR_USER_NOT_LOGGED_IN,
        ];
        assert!(known.contains(&rv), "{name}: {}", rv_name(rv));
    }
}

/// What holds of every object.
fn check_object(whole: &Attributes) {
    let class = whole.class().expect("a class");
    assert!([CKO_PRIVATE_KEY, CKO_PUBLIC_KEY, CKO_CERTIFICATE, CKO_DATA].contains(&class));
    assert!(whole.is(CKA_TOKEN));
    for rule in RULES {
        let Some(value) = whole.get(rule.attribute) else {
            continue;
        };
        let good = match rule.kind {
            Kind::Bool => matches!(value, [CK_TRUE] | [CK_FALSE]),
            Kind::Ulong => value.len() == size_of::<CK_ULONG>(),
            Kind::Bytes | Kind::Template => true,
            Kind::Date => matches!(value.len(), 0 | 8),
            Kind::Mechanisms => value.len().is_multiple_of(size_of::<CK_ULONG>()),
        };
        assert!(good, "{} has {} bytes", rule.name, value.len());
    }
    if class == CKO_PRIVATE_KEY {
        assert!(whole.is(CKA_SENSITIVE) && !whole.is(CKA_EXTRACTABLE));
        assert!(whole.is(CKA_PRIVATE) || !whole.is(CKA_ALWAYS_AUTHENTICATE));
        for secret in [CKA_VALUE, CKA_PRIVATE_EXPONENT, CKA_PRIME_1] {
            assert!(
                whole.get(secret).is_none(),
                "a private key has a secret value"
            );
        }
    }
    if class == CKO_PRIVATE_KEY || class == CKO_PUBLIC_KEY {
        let parts = key::public_parts(whole).expect("the public half of a key");
        assert!(
            engine::PublicKey::from_parts(&parts).is_ok(),
            "a key that is none"
        );
        let again = key::public_attributes(&parts).expect("attributes of a key");
        for (kind, value) in again.iter() {
            assert_eq!(whole.get(kind), Some(value), "{kind:#x} is another key's");
        }
    }
}
