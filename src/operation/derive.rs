//! Deriving keys (PKCS#11 5.18.5): what each mechanism makes of a base key, and the objects that come
//! of it. How long a key is and what it may show follows from its template and from the base key.

use super::{Guard, afford_object, check_allowed, check_usage};
use crate::attribute::{self, Attributes, Birth, Built, Template};
use crate::complete::{complete_secret, note_derivation};
use crate::crypto::kdf::{self, EcKdf, Piece};
use crate::crypto::{CipherMode, Direction, engine};
use crate::error::{Error, Result, fail};
use crate::key;
use crate::mechanism::{self, Mechanism, Parameter, Plan, PrfField, Salt};
use crate::memory::{self, Secret};
use crate::object::Object;
use crate::session::Session;
use crate::token::NewObject;
use cryptoki_sys::*;
use std::sync::Arc;

pub mod simple;

/// Longest key that is derived: what HKDF makes at most, of SHA-512.
const LONGEST: usize = 255 * 64;
const BLOCK: usize = 16;

/// What a mechanism offers the templates.
struct Offer {
    /// The class that it makes.
    class: CK_OBJECT_CLASS,
    /// The key type where a template leaves it out; `None`: it must not.
    key_type: Option<CK_KEY_TYPE>,
    /// The length where a template leaves it out; `None`: it must not.
    natural: Option<usize>,
    /// The greatest length, and the code for a greater one.
    most: (usize, CK_RV),
    /// CKA_SENSITIVE and CKA_EXTRACTABLE are those of the base key where a template leaves them out.
    inherits: bool,
}

/// What all keys of one call come from.
struct Origin {
    row: Mechanism,
    base: Arc<Object>,
    /// Other keys that the parameter names, in order.
    others: Vec<Arc<Object>>,
}

impl Origin {
    /// Whether `attribute` holds of the key or keys that count for the history of what is derived: for
    /// SP 800-108 of one of them (6.42.7), for 6.43 of all, else of the base key.
    fn holds(&self, attribute: CK_ATTRIBUTE_TYPE) -> bool {
        let holds = |key: &Arc<Object>| key.attributes().is(attribute);
        let mut others = self.others.iter();
        match self.row.plan {
            Plan::Sp800108(_) => holds(&self.base) || others.any(holds),
            Plan::Simple(_) => holds(&self.base) && others.all(holds),
            _ => holds(&self.base),
        }
    }
}

impl Session {
    /// C_DeriveKey: a key for each template, of which only SP 800-108 takes more than one; all or
    /// none. `faulty` names the template that was to blame.
    pub fn derive_keys(
        &self,
        mechanism: CK_MECHANISM_TYPE,
        parameter: &Parameter,
        base: CK_OBJECT_HANDLE,
        templates: &[Template<'_>],
        faulty: &mut Option<usize>,
    ) -> Result<Vec<CK_OBJECT_HANDLE>> {
        let era = self.slot.era();
        let row = self.slot.mechanism(mechanism, CKF_DERIVE)?;
        let base = self.key(base)?;
        if row.plan == Plan::PublicOfPrivate {
            return self.public_of_private(&row, &base, templates, era);
        }
        self.check_base(&row, &base)?;
        let origin = Origin {
            others: self.others(&row, parameter)?,
            row,
            base,
        };
        let offer = origin.offer(parameter)?;
        let mut blame = |at| *faulty = Some(at);
        let mut built = Vec::with_capacity(templates.len());
        for (at, template) in templates.iter().enumerate() {
            let object = self.built(&origin, &offer, template);
            built.push(object.inspect_err(|_| blame(at))?);
        }
        let lens: Vec<_> = built.iter().map(|(_, len)| *len).collect();
        let values = self.values(&origin, parameter, &lens)?;
        let mut objects = Vec::with_capacity(built.len());
        for (at, ((attributes, _), value)) in built.into_iter().zip(values).enumerate() {
            let object = finished(&origin, attributes, value);
            objects.push(object.inspect_err(|_| blame(at))?);
        }
        self.store_in_order(objects, era)
    }

    /// Stores objects; their handles in the order of the objects. Those of the session come first out
    /// of the store.
    fn store_in_order(&self, objects: Vec<NewObject>, era: u64) -> Result<Vec<CK_OBJECT_HANDLE>> {
        let mut order: Vec<_> = (0..objects.len()).collect();
        let on_token: Vec<_> = objects.iter().map(|o| o.attributes.is(CKA_TOKEN)).collect();
        order.sort_by_key(|at| on_token.get(*at).copied());
        let handles = self.store(objects, None, era)?;
        let mut placed: Vec<_> = order.into_iter().zip(handles).collect();
        placed.sort_unstable();
        Ok(placed.into_iter().map(|(_, handle)| handle).collect())
    }

    /// Refuses a base key that may not be derived from now.
    fn check_base(&self, row: &Mechanism, base: &Arc<Object>) -> Result<()> {
        let unit = match row.plan {
            // "In bits" (6.42).
            Plan::Sp800108(_) => 8,
            _ => 1,
        };
        row.check_key(base.attributes().key_type(), unit * base.size().0)?;
        check_usage(base, CKA_DERIVE, row.kind)?;
        let class = match row.plan {
            Plan::Ecdh => CKO_PRIVATE_KEY,
            _ => CKO_SECRET_KEY,
        };
        if base.attributes().class() != Some(class) {
            return fail!(
                CKR_KEY_TYPE_INCONSISTENT,
                "{} does not derive from this class of key",
                row.name
            );
        }
        if base.attributes().is(CKA_ALWAYS_AUTHENTICATE) {
            // 4.10 asks for the PIN at each signature and decryption, which begin with an Init; nothing
            // of C_DeriveKey comes before it for which C_Login could give one.
            return fail!(
                CKR_USER_NOT_LOGGED_IN,
                "this key asks for the PIN each time, which C_DeriveKey leaves no moment for"
            );
        }
        Guard::new(&self.slot, base).check(&self.slot)
    }

    /// The other keys that a parameter names; each must be one that could be derived from as well.
    fn others(&self, row: &Mechanism, parameter: &Parameter) -> Result<Vec<Arc<Object>>> {
        let handles: Vec<_> = match parameter {
            Parameter::Hkdf {
                extract: Some(Salt::Key(handle)),
                ..
            } => vec![*handle],
            Parameter::Key(handle) => vec![*handle],
            Parameter::Sp800108 { fields, .. } => fields
                .iter()
                .filter_map(|field| match field {
                    PrfField::Key(handle) => Some(*handle),
                    _ => None,
                })
                .collect(),
            _ => Vec::new(),
        };
        handles
            .into_iter()
            .map(|handle| {
                let key = self.key(handle)?;
                self.check_base(row, &key)?;
                Ok(key)
            })
            .collect()
    }

    /// The attributes and the length of what a template asks for.
    fn built(
        &self,
        origin: &Origin,
        offer: &Offer,
        template: &Template<'_>,
    ) -> Result<(Attributes, usize)> {
        afford_object(template.size(), template.bool(CKA_TOKEN) == Some(true))?;
        let is_key = offer.class == CKO_SECRET_KEY;
        let base = origin.base.attributes();
        let template = template.clone().under(base, CKA_DERIVE_TEMPLATE)?;
        // A data object has no such attribute, but its template says by it how much to derive.
        let of_class = match is_key {
            true => template.clone(),
            false => template.clone().without(CKA_VALUE_LEN),
        };
        let key_type = match template.get(CKA_KEY_TYPE) {
            Some(_) => None,
            None => offer.key_type,
        };
        let Built { mut attributes, .. } = attribute::build(
            Birth::Derive,
            &of_class,
            Some(offer.class),
            key_type,
            self.author(false),
        )?;
        if !is_key && template.get(CKA_VALUE).is_some() {
            return fail!(
                CKR_TEMPLATE_INCONSISTENT,
                "CKA_VALUE is derived, not given by the template"
            );
        }
        if is_key && offer.inherits {
            for attribute in [CKA_SENSITIVE, CKA_EXTRACTABLE] {
                if template.get(attribute).is_none() {
                    attributes.set_bool(attribute, base.is(attribute));
                }
            }
        }
        if let Plan::Simple(_) = origin.row.plan {
            simple::pass_on(&origin.base, &origin.others, &template, &mut attributes)?;
        }
        self.may_store(&attributes)?;
        let given = template.get(CKA_VALUE_LEN).map(attribute::ulong);
        let given = match given {
            Some(None) => {
                return fail!(CKR_ATTRIBUTE_VALUE_INVALID, "CKA_VALUE_LEN is a CK_ULONG");
            }
            Some(Some(len)) => Some(usize::try_from(len).unwrap_or(usize::MAX)),
            None => None,
        };
        let len = length(offer.natural, offer.most, attributes.key_type(), given)?;
        Ok((attributes, len))
    }

    /// The values of keys of these lengths.
    fn values(
        &self,
        origin: &Origin,
        parameter: &Parameter,
        lens: &[usize],
    ) -> Result<Vec<Secret>> {
        let [len, ..] = *lens else {
            return Ok(Vec::new());
        };
        let token = self.slot.token();
        let value = match (origin.row.plan, parameter) {
            (Plan::Ecdh, Parameter::Ecdh { kdf, shared, peer }) => {
                let peer = peer_of(origin.base.attributes(), peer)?;
                let secret = origin.base.private_key(token)?.agree(&peer)?;
                kdf::of_agreement(*kdf, &secret, shared, len)
            }
            (
                Plan::Hkdf | Plan::HkdfData,
                Parameter::Hkdf {
                    extract,
                    expand,
                    hash,
                },
            ) => {
                let key = origin.base.secret_key(token)?;
                let key = match extract {
                    None => key,
                    Some(Salt::Bytes(salt)) => Arc::new(engine::hkdf_extract(*hash, salt, &key)?),
                    Some(Salt::Key(_)) => {
                        let salt = origin.others.first().ok_or_else(wrong_parameter)?;
                        let salt = salt.secret_key(token)?;
                        Arc::new(engine::hkdf_extract(*hash, &salt, &key)?)
                    }
                };
                match expand {
                    Some(info) => engine::hkdf_expand(*hash, &key, info, len),
                    None => Secret::copy_of(key.get(..len).unwrap_or_default()),
                }
            }
            (Plan::CipherData(mode), Parameter::Data { iv, data }) => {
                let key = origin.base.secret_key(token)?;
                let mut value = Secret::copy_of(data)?;
                engine::Cipher::new(mode, Direction::Encrypt, &key, iv)?.update(&mut value)?;
                // "The part discarded will be from the trailing end" (6.17).
                Secret::copy_of(value.get(..len).unwrap_or_default())
            }
            (Plan::Simple(simple), parameter) => {
                let key = origin.base.secret_key(token)?;
                let other = origin.others.first();
                let other = other.map(|key| key.secret_key(token)).transpose()?;
                let other = other.as_ref().map(|value| &***value);
                simple.value(parameter, &key, other, len)
            }
            (Plan::Sp800108(mode), Parameter::Sp800108 { prf, fields, iv }) => {
                return self.segments(origin, mode, (*prf, fields, iv), lens);
            }
            _ => Err(wrong_parameter()),
        };
        Ok(vec![value?])
    }

    /// The keys that SP 800-108 makes: each of segments of its own (6.42.6).
    fn segments(
        &self,
        origin: &Origin,
        mode: kdf::Mode,
        (prf, fields, iv): (CK_MECHANISM_TYPE, &[PrfField], &[u8]),
        lens: &[usize],
    ) -> Result<Vec<Secret>> {
        let token = self.slot.token();
        let prf = prf_for(prf, origin)?;
        let segments = |len: &usize| len.div_ceil(prf.len());
        let count: usize = lens.iter().map(segments).sum();
        let mut others = origin.others.iter();
        let pieces = fields
            .iter()
            .map(|field| {
                Ok(match field {
                    PrfField::Iteration(Some(format)) | PrfField::Counter(format) => {
                        Piece::Counter(*format)
                    }
                    PrfField::Iteration(None) => Piece::Chain,
                    PrfField::Bytes(bytes) => Piece::Fixed(Secret::copy_of(bytes)?),
                    PrfField::Key(_) => {
                        let key = others.next().ok_or_else(wrong_parameter)?;
                        if prf == kdf::Prf::Cmac {
                            self.roles().check_reversible_input(key.attributes())?;
                        }
                        Piece::Fixed(Secret::copy_of(&key.secret_key(token)?)?)
                    }
                    PrfField::Length {
                        of_segments,
                        format,
                    } => {
                        let bytes = match of_segments {
                            true => count * prf.len(),
                            false => lens.iter().sum(),
                        };
                        let bits = 8 * bytes as u64;
                        if !format.holds(bits) {
                            return fail!(
                                CKR_MECHANISM_PARAM_INVALID,
                                "the field of the length has no room for {bits}"
                            );
                        }
                        Piece::Fixed(Secret::copy_of(&format.write(bits))?)
                    }
                })
            })
            .collect::<Result<Vec<_>>>()?;
        let key = origin.base.secret_key(token)?;
        let made = kdf::sp800_108(mode, prf, &key, &pieces, iv, count)?;
        let mut rest = &made[..];
        lens.iter()
            .map(|len| {
                let (own, others) = rest
                    .split_at_checked(segments(len) * prf.len())
                    .ok_or_else(wrong_parameter)?;
                rest = others;
                Secret::copy_of(own.get(..*len).unwrap_or_default())
            })
            .collect()
    }

    /// CKM_PUB_KEY_FROM_PRIV_KEY: the public key is no secret, and no use of the private one, so that
    /// CKA_DERIVE is not asked.
    fn public_of_private(
        &self,
        row: &Mechanism,
        base: &Object,
        templates: &[Template<'_>],
        era: u64,
    ) -> Result<Vec<CK_OBJECT_HANDLE>> {
        check_allowed(base, row.kind)?;
        let private = base.attributes();
        row.check_key(private.key_type(), base.size().0)?;
        if private.class() != Some(CKO_PRIVATE_KEY) {
            return fail!(
                CKR_KEY_TYPE_INCONSISTENT,
                "a public key is derived from a private one"
            );
        }
        let [template] = templates else {
            return Err(wrong_parameter());
        };
        afford_object(template.size(), template.bool(CKA_TOKEN) == Some(true))?;
        let Built { mut attributes, .. } = attribute::build(
            Birth::Derive,
            template,
            Some(CKO_PUBLIC_KEY),
            private.key_type(),
            self.author(false),
        )?;
        self.may_store(&attributes)?;
        let parts = key::public_parts(private)?;
        let public = key::pair_of(&parts, Vec::new())?.public;
        for (attribute, value) in public.iter() {
            if template.get(attribute).is_some_and(|given| given != value) {
                return fail!(
                    CKR_TEMPLATE_INCONSISTENT,
                    "{} of the template is not that of the key",
                    attribute::name(attribute)
                );
            }
        }
        attributes.extend(&public);
        note_derivation(&mut attributes, &|_| false);
        let public = NewObject {
            attributes,
            secrets: Vec::new(),
        };
        self.store(vec![public], None, era)
    }
}

impl Origin {
    /// What the mechanism makes of the base key, before a template is looked at.
    fn offer(&self, parameter: &Parameter) -> Result<Offer> {
        let key = Offer {
            class: CKO_SECRET_KEY,
            key_type: Some(CKK_GENERIC_SECRET),
            natural: None,
            most: (LONGEST, CKR_KEY_SIZE_RANGE),
            inherits: true,
        };
        Ok(match (self.row.plan, parameter) {
            (Plan::Ecdh, Parameter::Ecdh { kdf, .. }) => {
                let (natural, most) = agreed_lengths(*kdf, &self.base);
                Offer {
                    // "Attributes required by the key type must be specified" (6.3.17).
                    key_type: None,
                    natural,
                    most,
                    // Clients read the secret where they ask for it: their defaults are a new key's.
                    inherits: false,
                    ..key
                }
            }
            (Plan::Hkdf | Plan::HkdfData, Parameter::Hkdf { hash, expand, .. }) => Offer {
                class: match self.row.plan {
                    Plan::HkdfData => CKO_DATA,
                    _ => CKO_SECRET_KEY,
                },
                natural: Some(hash.len()),
                most: match expand {
                    Some(_) => (255 * hash.len(), CKR_KEY_SIZE_RANGE),
                    None => (hash.len(), CKR_KEY_SIZE_RANGE),
                },
                ..key
            },
            (Plan::CipherData(mode), Parameter::Data { data, .. }) => {
                if data.is_empty() || !data.len().is_multiple_of(BLOCK) {
                    return fail!(
                        CKR_MECHANISM_PARAM_INVALID,
                        "the data of {} has {} bytes, not whole blocks of AES",
                        match mode {
                            CipherMode::Ecb => "CKM_AES_ECB_ENCRYPT_DATA",
                            _ => "CKM_AES_CBC_ENCRYPT_DATA",
                        },
                        data.len()
                    );
                }
                Offer {
                    natural: Some(data.len()),
                    most: (data.len(), CKR_MECHANISM_PARAM_INVALID),
                    ..key
                }
            }
            (Plan::Simple(simple), parameter) => {
                let others: Vec<_> = self.others.iter().map(|key| key.size().0).collect();
                simple.offer(parameter, self.base.size().0, &others, key)?
            }
            (Plan::Sp800108(_), Parameter::Sp800108 { prf, .. }) => {
                prf_for(*prf, self)?;
                Offer {
                    key_type: None,
                    ..key
                }
            }
            _ => return Err(wrong_parameter()),
        })
    }
}

/// The pseudorandom function, where the keys are such as it takes.
fn prf_for(kind: CK_MECHANISM_TYPE, origin: &Origin) -> Result<kdf::Prf> {
    let Some((prf, key_types)) = mechanism::prf_of(kind) else {
        return fail!(CKR_MECHANISM_PARAM_INVALID, "prfType is not known");
    };
    match origin.base.attributes().key_type() {
        Some(key_type) if key_types.contains(&key_type) => Ok(prf),
        _ => fail!(
            CKR_KEY_TYPE_INCONSISTENT,
            "prfType does not work with this type of key"
        ),
    }
}

/// The peer's public key as the base key takes it (6.3.16). `CKR_MECHANISM_PARAM_INVALID`.
fn peer_of(base: &Attributes, given: &[u8]) -> Result<Vec<u8>> {
    key::peer_point(base, given).map_err(|error| match error.rv() {
        CKR_ATTRIBUTE_VALUE_INVALID => Error::new(
            CKR_MECHANISM_PARAM_INVALID,
            "pPublicData is not an uncompressed point of the key's curve",
        ),
        _ => error,
    })
}

/// How long what an EC key agrees on is of itself, and at most, with the code for more (6.3.17).
pub(super) fn agreed_lengths(kdf: EcKdf, key: &Object) -> (Option<usize>, (usize, CK_RV)) {
    let whole = (kdf == EcKdf::Null).then(|| key.size().0.div_ceil(8));
    (whole, (whole.unwrap_or(LONGEST), CKR_KEY_SIZE_RANGE))
}

/// How long a key is: what the template says, within what there is (`most`, and the code for more); what
/// its type always has; or what the mechanism gives of itself, where the type has any length.
pub(super) fn length(
    natural: Option<usize>,
    most: (usize, CK_RV),
    key_type: Option<CK_KEY_TYPE>,
    given: Option<usize>,
) -> Result<usize> {
    let (fixed, lengths): (_, &[usize]) = match key_type {
        Some(CKK_AES) => (None, &[16, 24, 32]),
        Some(CKK_CHACHA20) => (Some(32), &[32]),
        _ => (None, &[]),
    };
    let natural = natural.filter(|_| lengths.is_empty());
    let Some(len) = given.or(fixed).or(natural) else {
        return fail!(
            CKR_TEMPLATE_INCOMPLETE,
            "CKA_VALUE_LEN is missing: neither key type nor mechanism says how long the key is"
        );
    };
    if fixed.is_some_and(|fixed| fixed != len) {
        return fail!(
            CKR_TEMPLATE_INCONSISTENT,
            "a key of this type never has {len} bytes"
        );
    }
    if len == 0 || (!lengths.is_empty() && !lengths.contains(&len)) {
        return fail!(
            CKR_KEY_SIZE_RANGE,
            "a key of {len} bytes does not exist for this key type"
        );
    }
    let (most, refused) = most;
    if len > most {
        return fail!(
            refused,
            "the mechanism gives at most {most} bytes here, not {len}"
        );
    }
    Ok(len)
}

/// The object with its value.
fn finished(origin: &Origin, mut attributes: Attributes, value: Secret) -> Result<NewObject> {
    if attributes.class() == Some(CKO_DATA) {
        attributes.set(CKA_VALUE, memory::copy(&value)?);
        return Ok(NewObject {
            attributes,
            secrets: Vec::new(),
        });
    }
    complete_secret(&mut attributes, &value)?;
    note_derivation(&mut attributes, &|attribute| origin.holds(attribute));
    Ok(NewObject {
        attributes,
        secrets: vec![(CKA_VALUE, value)],
    })
}

fn wrong_parameter() -> Error {
    Error::new(
        CKR_MECHANISM_PARAM_INVALID,
        "the parameter is not that of the mechanism",
    )
}
