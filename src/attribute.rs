//! The rules of attributes: ONE table ([`RULES`]), and the verbs that obey it.
//!
//! A row says: this attribute, of this kind, belongs to these classes and this key type, under these
//! footnotes of the standard (PKCS#11 3.2 section 4.2, "Common footnotes for object attribute
//! tables"), with this default.

use crate::error::{Error, Result, fail};
use cryptoki_sys::*;

mod date;
pub mod nested;
pub mod roles;
mod values;

pub use date::is_valid_today;
pub use roles::Roles;
pub use values::{Attributes, Template, ulong};

/// What bytes a value must be (PKCS#11 4.1, "Data types").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// CK_BBOOL, CK_TRUE or CK_FALSE.
    Bool,
    /// CK_ULONG and its synonyms.
    Ulong,
    /// Any bytes: byte array, big integer, RFC 2279 string, DER.
    Bytes,
    /// CK_DATE or empty.
    Date,
    /// Array of CK_MECHANISM_TYPE.
    Mechanisms,
    /// A template, as [`nested`] encodes it.
    Template,
}

/// What an attribute is that a template leaves out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Otherwise {
    /// The object does not have it, or it is computed.
    Absent,
    /// CK_FALSE.
    False,
    /// CK_TRUE.
    True,
    /// No bytes.
    Empty,
    /// A CK_ULONG.
    Ulong(CK_ULONG),
    /// CK_TRUE where the key type can be used so ([`can_be_used`]).
    Usage,
}

/// Who makes an object, and under which policy.
#[derive(Debug, Clone, Copy, Default)]
pub struct Author {
    /// The security officer, who alone may set some attributes (footnote 10).
    pub is_so: bool,
    /// What a template that asks to wrap gets besides.
    pub roles: Roles,
}

/// How an object comes to be; the footnotes speak of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Birth {
    /// C_CreateObject.
    Create,
    /// C_GenerateKey, C_GenerateKeyPair.
    Generate,
    /// C_UnwrapKey, C_UnwrapKeyAuthenticated.
    Unwrap,
    /// C_DeriveKey, C_EncapsulateKey, C_DecapsulateKey: the mechanism makes the value, the template
    /// says what else the key is.
    Derive,
}

/// One row of the table.
#[derive(Debug)]
pub struct Rule {
    /// CKA_….
    pub attribute: CK_ATTRIBUTE_TYPE,
    /// Its name, for messages.
    pub name: &'static str,
    /// What bytes it takes.
    pub kind: Kind,
    /// The classes it belongs to, bits of [`class_bit`].
    classes: u16,
    /// The key types it belongs to; empty: every one.
    key_types: &'static [CK_KEY_TYPE],
    /// The standard's footnotes, as bits.
    notes: u16,
    /// What it is when a template leaves it out.
    pub default: Otherwise,
}

const DATA: u16 = 1;
const CERTIFICATE: u16 = 2;
const PUBLIC: u16 = 4;
const PRIVATE: u16 = 8;
const SECRET: u16 = 16;
const PROFILE: u16 = 32;
const MECHANISM: u16 = 64;
const KEY: u16 = PUBLIC | PRIVATE | SECRET;
const STORAGE: u16 = DATA | CERTIFICATE | KEY;
const ANY: u16 = STORAGE | PROFILE | MECHANISM;

const fn class_bit(class: CK_OBJECT_CLASS) -> u16 {
    match class {
        CKO_DATA => DATA,
        CKO_CERTIFICATE => CERTIFICATE,
        CKO_PUBLIC_KEY => PUBLIC,
        CKO_PRIVATE_KEY => PRIVATE,
        CKO_SECRET_KEY => SECRET,
        CKO_PROFILE => PROFILE,
        CKO_MECHANISM => MECHANISM,
        _ => 0,
    }
}

/// Footnote N of section 4.2 as bit N.
const fn note(number: u16) -> u16 {
    1 << number
}
/// 1: must be given to C_CreateObject.
const N1: u16 = note(1);
/// 2: must not be given to C_CreateObject.
const N2: u16 = note(2);
/// 3: must be given when generated.
const N3: u16 = note(3);
/// 4: must not be given when generated.
const N4: u16 = note(4);
/// 5: must be given when unwrapped.
const N5: u16 = note(5);
/// 6: must not be given when unwrapped: the wrapped key brings it.
const N6: u16 = note(6);
/// 7: not revealed when CKA_SENSITIVE is true or CKA_EXTRACTABLE is false.
const N7: u16 = note(7);
/// 8: may be changed after creation.
const N8: u16 = note(8);
/// 10: only the security officer can set it to CK_TRUE.
const N10: u16 = note(10);
/// 11: once CK_TRUE, for ever.
const N11: u16 = note(11);
/// 12: once CK_FALSE, for ever.
const N12: u16 = note(12);
/// 2, 4 and 6: computed by the token, never taken from a template.
const COMPUTED: u16 = N2 | N4 | N6;
/// Not a footnote of the table but of the text (4.4): may be given to C_CopyObject only.
const ON_COPY: u16 = note(14);

const RSA: &[CK_KEY_TYPE] = &[CKK_RSA];
const EC: &[CK_KEY_TYPE] = &[CKK_EC, CKK_EC_EDWARDS, CKK_EC_MONTGOMERY];
const LATTICE: &[CK_KEY_TYPE] = &[CKK_ML_DSA, CKK_ML_KEM];
const SYMMETRIC: &[CK_KEY_TYPE] = &[
    CKK_AES,
    CKK_GENERIC_SECRET,
    CKK_HKDF,
    CKK_SHA_1_HMAC,
    CKK_SHA224_HMAC,
    CKK_SHA256_HMAC,
    CKK_SHA384_HMAC,
    CKK_SHA512_HMAC,
    CKK_SHA512_224_HMAC,
    CKK_SHA512_256_HMAC,
    CKK_SHA3_224_HMAC,
    CKK_SHA3_256_HMAC,
    CKK_SHA3_384_HMAC,
    CKK_SHA3_512_HMAC,
    CKK_CHACHA20,
];

macro_rules! rules {
    ($($attribute:ident, $kind:ident, $classes:expr, $key_types:expr, $notes:expr, $default:expr;)*) => {
        /// The table.
        pub static RULES: &[Rule] = &[$(Rule {
            attribute: $attribute,
            name: stringify!($attribute),
            kind: Kind::$kind,
            classes: $classes,
            key_types: $key_types,
            notes: $notes,
            default: $default,
        }),*];
    };
}

use Otherwise::{Absent, Empty, False, True, Ulong, Usage};

rules! {
    // Every object (4.2) and storage objects (4.4).
    CKA_CLASS,             Ulong, ANY,     &[], N1, Absent;
    CKA_UNIQUE_ID,         Bytes, ANY,     &[], COMPUTED, Absent;
    CKA_TOKEN,             Bool,  ANY,     &[], ON_COPY, False;
    CKA_PRIVATE,           Bool,  DATA | CERTIFICATE | PUBLIC | PROFILE | MECHANISM, &[], ON_COPY, False;
    CKA_PRIVATE,           Bool,  PRIVATE | SECRET, &[], ON_COPY, True;
    CKA_MODIFIABLE,        Bool,  ANY,     &[], ON_COPY, True;
    CKA_COPYABLE,          Bool,  ANY,     &[], N8 | N12, True;
    CKA_DESTROYABLE,       Bool,  ANY,     &[], N8, True;
    CKA_LABEL,             Bytes, ANY,     &[], N8, Empty;
    // Data (4.5). What may be changed is not said there any more; 2.01 (10.3) said that owner and value
    // may, and applications do. The type stays: it says where a card keeps the object.
    CKA_APPLICATION,       Bytes, DATA,    &[], N8, Empty;
    CKA_OBJECT_ID,         Bytes, DATA,    &[], 0, Empty;
    CKA_VALUE,             Bytes, DATA,    &[], N8, Empty;
    // X.509 certificates (4.6.3).
    CKA_CERTIFICATE_TYPE,  Ulong, CERTIFICATE, &[], N1, Absent;
    CKA_TRUSTED,           Bool,  CERTIFICATE | PUBLIC | SECRET, &[], N8 | N10, False;
    CKA_CERTIFICATE_CATEGORY, Ulong, CERTIFICATE, &[], 0, Ulong(CK_CERTIFICATE_CATEGORY_UNSPECIFIED);
    CKA_CHECK_VALUE,       Bytes, CERTIFICATE, &[], 0, Absent;
    CKA_SUBJECT,           Bytes, CERTIFICATE, &[], N1, Absent;
    CKA_ISSUER,            Bytes, CERTIFICATE, &[], N8, Empty;
    CKA_SERIAL_NUMBER,     Bytes, CERTIFICATE, &[], N8, Empty;
    CKA_VALUE,             Bytes, CERTIFICATE, &[], N1, Absent;
    CKA_URL,               Bytes, CERTIFICATE, &[], 0, Empty;
    CKA_HASH_OF_SUBJECT_PUBLIC_KEY, Bytes, CERTIFICATE, &[], 0, Empty;
    CKA_HASH_OF_ISSUER_PUBLIC_KEY,  Bytes, CERTIFICATE, &[], 0, Empty;
    CKA_JAVA_MIDP_SECURITY_DOMAIN, Ulong, CERTIFICATE, &[], 0, Ulong(CK_SECURITY_DOMAIN_UNSPECIFIED);
    CKA_NAME_HASH_ALGORITHM, Ulong, CERTIFICATE, &[], 0, Ulong(CKM_SHA_1);
    // Keys (4.8).
    CKA_KEY_TYPE,          Ulong, KEY,     &[], N1 | N5, Absent;
    CKA_ID,                Bytes, KEY | CERTIFICATE, &[], N8, Empty;
    CKA_START_DATE,        Date,  KEY,     &[], N8, Empty;
    CKA_START_DATE,        Date,  CERTIFICATE, &[], 0, Empty;
    CKA_END_DATE,          Date,  KEY,     &[], N8, Empty;
    CKA_END_DATE,          Date,  CERTIFICATE, &[], 0, Empty;
    CKA_DERIVE,            Bool,  PRIVATE | SECRET, &[], N8, Usage;
    CKA_DERIVE,            Bool,  PUBLIC,  &[], N8, False;
    CKA_LOCAL,             Bool,  KEY,     &[], COMPUTED, Absent;
    CKA_KEY_GEN_MECHANISM, Ulong, KEY,     &[], COMPUTED, Absent;
    CKA_ALLOWED_MECHANISMS, Mechanisms, KEY, &[], 0, Absent;
    CKA_SUBJECT,           Bytes, PUBLIC | PRIVATE, &[], N8, Empty;
    CKA_PUBLIC_KEY_INFO,   Bytes, PUBLIC | PRIVATE | CERTIFICATE, &[], N4, Absent;
    // Usage (4.9, 4.10, 4.11).
    CKA_ENCRYPT,           Bool,  PUBLIC | SECRET,  &[], N8, Usage;
    CKA_DECRYPT,           Bool,  PRIVATE | SECRET, &[], N8, Usage;
    CKA_SIGN,              Bool,  PRIVATE | SECRET, &[], N8, Usage;
    CKA_VERIFY,            Bool,  PUBLIC | SECRET,  &[], N8, Usage;
    CKA_SIGN_RECOVER,      Bool,  PRIVATE, &[], N8, Usage;
    CKA_VERIFY_RECOVER,    Bool,  PUBLIC,  &[], N8, Usage;
    CKA_WRAP,              Bool,  PUBLIC | SECRET,  &[], N8, Usage;
    CKA_UNWRAP,            Bool,  PRIVATE | SECRET, &[], N8, Usage;
    CKA_ENCAPSULATE,       Bool,  PUBLIC,  &[], N8, Usage;
    CKA_DECAPSULATE,       Bool,  PRIVATE, &[], N8, Usage;
    // Secrecy (4.10, 4.11).
    CKA_SENSITIVE,         Bool,  PRIVATE, &[], N8 | N11, True;
    CKA_SENSITIVE,         Bool,  SECRET,  &[], N8 | N11, False;
    CKA_EXTRACTABLE,       Bool,  PRIVATE | SECRET, &[], N8 | N12, False;
    CKA_ALWAYS_SENSITIVE,  Bool,  PRIVATE | SECRET, &[], COMPUTED, Absent;
    CKA_NEVER_EXTRACTABLE, Bool,  PRIVATE | SECRET, &[], COMPUTED, Absent;
    CKA_WRAP_WITH_TRUSTED, Bool,  PRIVATE | SECRET, &[], N8 | N11, False;
    CKA_WRAP_TEMPLATE,     Template, PUBLIC | SECRET,  &[], 0, Absent;
    CKA_UNWRAP_TEMPLATE,   Template, PRIVATE | SECRET, &[], 0, Absent;
    CKA_DERIVE_TEMPLATE,   Template, PRIVATE | SECRET, &[], 0, Absent;
    CKA_ENCAPSULATE_TEMPLATE, Template, PUBLIC,  &[], 0, Absent;
    CKA_DECAPSULATE_TEMPLATE, Template, PRIVATE, &[], 0, Absent;
    CKA_ALWAYS_AUTHENTICATE, Bool, PRIVATE, &[], ON_COPY, False;
    CKA_CHECK_VALUE,       Bytes, SECRET,  &[], 0, Absent;
    // RSA keys (6.1.2, 6.1.3).
    CKA_MODULUS,           Bytes, PUBLIC | PRIVATE, RSA, N1 | N4 | N6, Absent;
    CKA_MODULUS_BITS,      Ulong, PUBLIC,  RSA, N2 | N3, Absent;
    CKA_PUBLIC_EXPONENT,   Bytes, PUBLIC,  RSA, N1, Absent;
    CKA_PUBLIC_EXPONENT,   Bytes, PRIVATE, RSA, N1 | N4 | N6, Absent;
    CKA_PRIVATE_EXPONENT,  Bytes, PRIVATE, RSA, N1 | N4 | N6 | N7, Absent;
    CKA_PRIME_1,           Bytes, PRIVATE, RSA, N4 | N6 | N7, Absent;
    CKA_PRIME_2,           Bytes, PRIVATE, RSA, N4 | N6 | N7, Absent;
    CKA_EXPONENT_1,        Bytes, PRIVATE, RSA, N4 | N6 | N7, Absent;
    CKA_EXPONENT_2,        Bytes, PRIVATE, RSA, N4 | N6 | N7, Absent;
    CKA_COEFFICIENT,       Bytes, PRIVATE, RSA, N4 | N6 | N7, Absent;
    // EC, Edwards and Montgomery keys (6.3.3 to 6.3.8). The point of a private key: footnote of
    // 3.2, and what clients look for there.
    CKA_EC_PARAMS,         Bytes, PUBLIC,  EC, N1 | N3, Absent;
    CKA_EC_PARAMS,         Bytes, PRIVATE, EC, N1 | N4 | N6, Absent;
    CKA_EC_POINT,          Bytes, PUBLIC,  EC, N1 | N4, Absent;
    CKA_EC_POINT,          Bytes, PRIVATE, EC, N4 | N6, Absent;
    CKA_VALUE,             Bytes, PRIVATE, EC, N1 | N4 | N6 | N7, Absent;
    // ML-DSA and ML-KEM keys (6.67, 6.68). A private key has a seed, a value or both.
    CKA_PARAMETER_SET,     Ulong, PUBLIC,  LATTICE, N1 | N3, Absent;
    CKA_PARAMETER_SET,     Ulong, PRIVATE, LATTICE, N1 | N4 | N6, Absent;
    CKA_VALUE,             Bytes, PUBLIC,  LATTICE, N1 | N4, Absent;
    CKA_SEED,              Bytes, PRIVATE, LATTICE, N4 | N6 | N7, Absent;
    CKA_VALUE,             Bytes, PRIVATE, LATTICE, N4 | N6 | N7, Absent;
    // Secret keys (6.8, 6.13).
    CKA_VALUE,             Bytes, SECRET,  SYMMETRIC, N1 | N4 | N6 | N7, Absent;
    CKA_VALUE_LEN,         Ulong, SECRET,  SYMMETRIC, N2 | N3, Absent;
    // Profiles (4.14) and mechanisms (4.13).
    CKA_PROFILE_ID,        Ulong, PROFILE, &[], COMPUTED, Absent;
    CKA_MECHANISM_TYPE,    Ulong, MECHANISM, &[], COMPUTED, Absent;
}

/// Whether an attribute's value is made of CK_ULONGs, whose length and order of bytes are the
/// machine's.
pub fn holds_ulongs(attribute: CK_ATTRIBUTE_TYPE) -> bool {
    matches!(kind_of(attribute), Some(Kind::Ulong | Kind::Mechanisms))
}

/// Usage attributes that are CK_TRUE where a template leaves them out. Clients count on sign,
/// verify, encrypt, decrypt and derive as the type allows; wrap and unwrap must be asked for, so
/// that no key gets both roles of a wrap-then-decrypt unasked, unless the policy is open.
fn can_be_used(key_type: CK_KEY_TYPE, attribute: CK_ATTRIBUTE_TYPE, roles: Roles) -> bool {
    match key_type {
        CKK_RSA | CKK_AES if matches!(attribute, CKA_WRAP | CKA_UNWRAP) => roles.is_open(),
        CKK_RSA => matches!(
            attribute,
            CKA_SIGN
                | CKA_VERIFY
                | CKA_ENCRYPT
                | CKA_DECRYPT
                | CKA_SIGN_RECOVER
                | CKA_VERIFY_RECOVER
        ),
        CKK_EC => matches!(attribute, CKA_SIGN | CKA_VERIFY | CKA_DERIVE),
        CKK_EC_EDWARDS => matches!(attribute, CKA_SIGN | CKA_VERIFY),
        CKK_EC_MONTGOMERY => matches!(attribute, CKA_DERIVE),
        CKK_ML_KEM => matches!(attribute, CKA_ENCAPSULATE | CKA_DECAPSULATE),
        CKK_AES => matches!(attribute, CKA_ENCRYPT | CKA_DECRYPT | CKA_SIGN | CKA_VERIFY),
        CKK_CHACHA20 => matches!(attribute, CKA_ENCRYPT | CKA_DECRYPT),
        CKK_GENERIC_SECRET => matches!(attribute, CKA_SIGN | CKA_VERIFY | CKA_DERIVE),
        CKK_HKDF => matches!(attribute, CKA_DERIVE),
        _ => matches!(attribute, CKA_SIGN | CKA_VERIFY),
    }
}

/// Whether such an object can have an attribute with this value, as something that may be read.
pub fn can_have(object: &Attributes, attribute: CK_ATTRIBUTE_TYPE, value: &[u8]) -> bool {
    object
        .class()
        .and_then(|class| rule_of(attribute, class, object.key_type()))
        .is_some_and(|rule| !rule.has(N7) && rule.check_value(value).is_ok())
}

/// A row of an attribute; its name and kind stand in all of them alike. `None` where no object has it.
fn any_rule_of(attribute: CK_ATTRIBUTE_TYPE) -> Option<&'static Rule> {
    RULES.iter().find(|rule| rule.attribute == attribute)
}

/// The name of an attribute, for messages.
pub fn name(attribute: CK_ATTRIBUTE_TYPE) -> String {
    any_rule_of(attribute).map_or_else(
        || format!("attribute {attribute:#x}"),
        |rule| rule.name.into(),
    )
}

/// What bytes an attribute's value is; `None` where no object has it.
pub fn kind_of(attribute: CK_ATTRIBUTE_TYPE) -> Option<Kind> {
    any_rule_of(attribute).map(|rule| rule.kind)
}

/// The row for an attribute of an object of this class and key type.
fn rule_of(
    attribute: CK_ATTRIBUTE_TYPE,
    class: CK_OBJECT_CLASS,
    key_type: Option<CK_KEY_TYPE>,
) -> Option<&'static Rule> {
    rules_of(class, key_type).find(|rule| rule.attribute == attribute)
}

/// The rows for objects of this class and key type.
fn rules_of(
    class: CK_OBJECT_CLASS,
    key_type: Option<CK_KEY_TYPE>,
) -> impl Iterator<Item = &'static Rule> {
    RULES.iter().filter(move |rule| {
        rule.classes & class_bit(class) != 0
            && (rule.key_types.is_empty()
                || key_type.is_some_and(|key_type| rule.key_types.contains(&key_type)))
    })
}

impl Rule {
    fn has(&self, notes: u16) -> bool {
        self.notes & notes != 0
    }

    /// Refuses bytes that are no value of this kind.
    fn check_value(&self, value: &[u8]) -> Result<()> {
        let good = match self.kind {
            Kind::Bool => matches!(value, [CK_TRUE] | [CK_FALSE]),
            Kind::Ulong => value.len() == size_of::<CK_ULONG>(),
            Kind::Bytes => true,
            Kind::Date => value.is_empty() || date::is_date(value),
            Kind::Template => nested::decode(value).is_ok(),
            Kind::Mechanisms => value.len().is_multiple_of(size_of::<CK_MECHANISM_TYPE>()),
        };
        if good {
            Ok(())
        } else {
            fail!(
                CKR_ATTRIBUTE_VALUE_INVALID,
                "{} cannot have this value of {} bytes",
                self.name,
                value.len()
            )
        }
    }

    /// The default as bytes, `None` where the object does not get the attribute.
    fn default_value(&self, key_type: Option<CK_KEY_TYPE>, roles: Roles) -> Option<Box<[u8]>> {
        match self.default {
            Absent => None,
            False => Some(Box::new([CK_FALSE])),
            True => Some(Box::new([CK_TRUE])),
            Empty => Some(Box::default()),
            Ulong(value) => Some(Box::new(value.to_ne_bytes())),
            Usage => {
                let usable = key_type.is_some_and(|t| can_be_used(t, self.attribute, roles));
                Some(Box::new([CK_BBOOL::from(usable)]))
            }
        }
    }
}

/// Whether the attribute is one whose value must stay inside (footnote 7) for such an object.
pub fn is_secret(attribute: CK_ATTRIBUTE_TYPE, attributes: &Attributes) -> bool {
    attributes
        .class()
        .and_then(|class| rule_of(attribute, class, attributes.key_type()))
        .is_some_and(|rule| rule.has(N7))
}

/// The attributes of such an object that hold secret values (footnote 7).
pub fn secrets_of(attributes: &Attributes) -> impl Iterator<Item = CK_ATTRIBUTE_TYPE> {
    let class = attributes.class().unwrap_or(CK_UNAVAILABLE_INFORMATION);
    rules_of(class, attributes.key_type())
        .filter(|rule| rule.has(N7))
        .map(|rule| rule.attribute)
}

/// Whether the secret values of such an object may be read (footnote 7).
pub fn is_readable(attributes: &Attributes) -> bool {
    !attributes.is(CKA_SENSITIVE) && attributes.is(CKA_EXTRACTABLE)
}

/// What a template makes: the attributes that may be read, and the secret values, still borrowed.
#[derive(Debug)]
pub struct Built<'a> {
    /// Everything but footnote 7, defaults included.
    pub attributes: Attributes,
    /// Footnote 7.
    pub secrets: Vec<(CK_ATTRIBUTE_TYPE, &'a [u8])>,
}

/// Makes the attributes of a new object from a template (4.1.1 to 4.1.3), of the class and key type
/// that the mechanism implies where it implies one.
///
/// Errors: `CKR_TEMPLATE_INCOMPLETE` for a missing attribute, `CKR_ATTRIBUTE_READ_ONLY` for one that
/// only the token sets, `CKR_ATTRIBUTE_TYPE_INVALID` for one that the class does not have,
/// `CKR_ATTRIBUTE_VALUE_INVALID`, `CKR_TEMPLATE_INCONSISTENT` for a class or type other than implied.
pub fn build<'a>(
    birth: Birth,
    template: &'a Template<'_>,
    implied_class: Option<CK_OBJECT_CLASS>,
    implied_type: Option<CK_KEY_TYPE>,
    author: Author,
) -> Result<Built<'a>> {
    let class = settle(template, CKA_CLASS, implied_class)?.ok_or_else(|| missing("CKA_CLASS"))?;
    if class_bit(class) & STORAGE == 0 {
        return fail!(
            CKR_ATTRIBUTE_VALUE_INVALID,
            "objects of class {class:#x} cannot be made here"
        );
    }
    let key_type = if class_bit(class) & KEY == 0 {
        None
    } else {
        let key_type = settle(template, CKA_KEY_TYPE, implied_type)?;
        Some(key_type.ok_or_else(|| missing("CKA_KEY_TYPE"))?)
    };
    if let Some(key_type) = key_type {
        check_key_type(class, key_type)?;
    }

    let (must, must_not) = match birth {
        Birth::Create => (N1, N2),
        Birth::Generate => (N3, N4),
        Birth::Unwrap => (N5, N6),
        // What a generated key may not be given, a derived one may not either (5.18.5).
        Birth::Derive => (0, N4),
    };
    let mut built = Built {
        attributes: Attributes::new(),
        secrets: Vec::new(),
    };
    for (attribute, value) in template.iter() {
        let rule = rule_of(attribute, class, key_type).ok_or_else(|| foreign(attribute))?;
        if rule.has(must_not) {
            return fail!(
                CKR_ATTRIBUTE_READ_ONLY,
                "{} is set by the token, not by a template",
                rule.name
            );
        }
        rule.check_value(value)?;
        if rule.has(N10) && value == [CK_TRUE] && !author.is_so {
            return so_only(rule);
        }
        if rule.has(N7) {
            built.secrets.push((attribute, value));
        } else {
            built.attributes.set(attribute, value);
        }
    }
    built.attributes.set_ulong(CKA_CLASS, class);
    if let Some(key_type) = key_type {
        built.attributes.set_ulong(CKA_KEY_TYPE, key_type);
    }
    for rule in rules_of(class, key_type) {
        if built.attributes.get(rule.attribute).is_some()
            || built.secrets.iter().any(|s| s.0 == rule.attribute)
        {
            continue;
        }
        if rule.has(must) {
            return Err(missing(rule.name));
        }
        if author.roles.leaves_out(template, rule.attribute) {
            built.attributes.set_bool(rule.attribute, false);
        } else if let Some(value) = rule.default_value(key_type, author.roles) {
            built.attributes.set(rule.attribute, value);
        }
    }
    check_whole(&built.attributes)?;
    Ok(built)
}

/// What must hold between the attributes of one object.
fn check_whole(attributes: &Attributes) -> Result<()> {
    if attributes.is(CKA_ALWAYS_AUTHENTICATE) && !attributes.is(CKA_PRIVATE) {
        return fail!(
            CKR_TEMPLATE_INCONSISTENT,
            "CKA_ALWAYS_AUTHENTICATE needs CKA_PRIVATE (4.10)"
        );
    }
    date::check_order(attributes)
}

/// The template's value of an attribute that the mechanism may imply; both must agree.
fn settle(
    template: &Template<'_>,
    attribute: CK_ATTRIBUTE_TYPE,
    implied: Option<CK_ULONG>,
) -> Result<Option<CK_ULONG>> {
    let Some(value) = template.get(attribute) else {
        return Ok(implied);
    };
    let Some(given) = ulong(value) else {
        return fail!(
            CKR_ATTRIBUTE_VALUE_INVALID,
            "{} must be a CK_ULONG",
            name(attribute)
        );
    };
    match implied {
        Some(implied) if implied != given => fail!(
            CKR_TEMPLATE_INCONSISTENT,
            "{} is {given:#x} in the template, the mechanism makes {implied:#x}",
            name(attribute)
        ),
        _ => Ok(Some(given)),
    }
}

/// Key types that exist here, by class.
fn check_key_type(class: CK_OBJECT_CLASS, key_type: CK_KEY_TYPE) -> Result<()> {
    let known = match class {
        CKO_SECRET_KEY => SYMMETRIC.contains(&key_type),
        _ => [RSA, EC, LATTICE]
            .iter()
            .any(|types| types.contains(&key_type)),
    };
    if known {
        Ok(())
    } else {
        fail!(
            CKR_ATTRIBUTE_VALUE_INVALID,
            "key type {key_type:#x} is not known for class {class:#x}"
        )
    }
}

/// Changes an object's attributes as C_SetAttributeValue asks (4.1.2). Nothing is changed unless
/// everything may be.
///
/// Errors: `CKR_ACTION_PROHIBITED` where CKA_MODIFIABLE is false, `CKR_ATTRIBUTE_READ_ONLY`,
/// `CKR_ATTRIBUTE_TYPE_INVALID`, `CKR_ATTRIBUTE_VALUE_INVALID`.
pub fn change(object: &Attributes, template: &Template<'_>, by_so: bool) -> Result<Attributes> {
    if !object.is(CKA_MODIFIABLE) {
        return fail!(CKR_ACTION_PROHIBITED, "the object is not modifiable");
    }
    let changed = apply(object, template, N8, by_so)?;
    check_whole(&changed)?;
    Ok(changed)
}

/// The attributes of a copy as C_CopyObject asks (4.1.3, 5.7.2): what may be changed on an object,
/// and CKA_TOKEN, CKA_PRIVATE, CKA_MODIFIABLE besides. A copy is no way around CKA_MODIFIABLE: where
/// that is false, it says where the copy is and what it is called.
pub fn copy(object: &Attributes, template: &Template<'_>, by_so: bool) -> Result<Attributes> {
    if !object.is(CKA_COPYABLE) {
        return fail!(CKR_ACTION_PROHIBITED, "the object is not copyable");
    }
    let copied = apply(object, template, N8 | ON_COPY, by_so)?;
    if !object.is(CKA_MODIFIABLE) {
        let free = [CKA_TOKEN, CKA_PRIVATE, CKA_LABEL, CKA_ID];
        let other = |(attribute, value): &(CK_ATTRIBUTE_TYPE, &[u8])| {
            !free.contains(attribute) && object.get(*attribute) != Some(value)
        };
        if let Some((attribute, _)) = copied.iter().find(other) {
            return fail!(
                CKR_ATTRIBUTE_READ_ONLY,
                "the object is not modifiable, so that a copy keeps its {}",
                name(attribute)
            );
        }
    }
    // A copy is no way to make a private object public (5.7.2, "weaker attributes").
    if object.is(CKA_PRIVATE) && !copied.is(CKA_PRIVATE) {
        return fail!(
            CKR_TEMPLATE_INCONSISTENT,
            "a copy of a private object stays private"
        );
    }
    if object.is(CKA_ALWAYS_AUTHENTICATE) && !copied.is(CKA_ALWAYS_AUTHENTICATE) {
        return fail!(
            CKR_TEMPLATE_INCONSISTENT,
            "a copy of a key that asks for the PIN each time asks for it too"
        );
    }
    check_whole(&copied)?;
    Ok(copied)
}

fn apply(
    object: &Attributes,
    template: &Template<'_>,
    changeable: u16,
    by_so: bool,
) -> Result<Attributes> {
    let class = object.class().unwrap_or(CK_UNAVAILABLE_INFORMATION);
    let mut changed = object.clone();
    for (attribute, value) in template.iter() {
        let rule =
            rule_of(attribute, class, object.key_type()).ok_or_else(|| foreign(attribute))?;
        rule.check_value(value)?;
        let now = object.get(attribute);
        let frozen = (rule.has(N11) && now == Some(&[CK_TRUE]))
            || (rule.has(N12) && now == Some(&[CK_FALSE]));
        // Frozen is read-only, also for the value that it has (notes 11 and 12); a copy has it anyway.
        let kept = changeable & ON_COPY != 0 && now == Some(value);
        if !rule.has(changeable) || (frozen && !kept) {
            return fail!(
                CKR_ATTRIBUTE_READ_ONLY,
                "{} of this object cannot be changed any more",
                rule.name
            );
        }
        if rule.has(N10) && value == [CK_TRUE] && now != Some(value) && !by_so {
            return so_only(rule);
        }
        changed.set(attribute, value);
    }
    Ok(changed)
}

fn missing(name: &str) -> Error {
    Error::new(
        CKR_TEMPLATE_INCOMPLETE,
        format!("{name} is missing from the template"),
    )
}

fn foreign(attribute: CK_ATTRIBUTE_TYPE) -> Error {
    Error::new(
        CKR_ATTRIBUTE_TYPE_INVALID,
        format!("an object of this class has no {}", name(attribute)),
    )
}

fn so_only<T>(rule: &Rule) -> Result<T> {
    fail!(
        CKR_ATTRIBUTE_READ_ONLY,
        "{} can be set to true by the security officer only",
        rule.name
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attribute_has_one_kind() {
        for rule in RULES {
            assert_eq!(kind_of(rule.attribute), Some(rule.kind), "{}", rule.name);
        }
    }
}
