//! Generating keys (PKCS#11 5.18.1, 5.18.2).

use super::afford_object;
use crate::attribute::{self, Attributes, Birth, Template};
use crate::complete::{complete_secret, note_birth};
use crate::crypto::{KeySpec, engine};
use crate::error::{Result, fail};
use crate::key;
use crate::mechanism::{Mechanism, Parameter, Plan};
use crate::memory::Secret;
use crate::session::Session;
use crate::token::{KeyPair, NewObject};
use cryptoki_sys::*;

impl Session {
    /// C_GenerateKey.
    pub fn generate_key(
        &self,
        mechanism: CK_MECHANISM_TYPE,
        parameter: &Parameter,
        template: &Template<'_>,
    ) -> Result<CK_OBJECT_HANDLE> {
        let era = self.slot.era();
        let row = self.slot.mechanism(mechanism, CKF_GENERATE)?;
        let key_type = row.key_types.first().copied();
        afford_object(template.size(), template.bool(CKA_TOKEN) == Some(true))?;
        let built = attribute::build(
            Birth::Generate,
            template,
            Some(CKO_SECRET_KEY),
            key_type,
            self.author(false),
        )?;
        let mut attributes = built.attributes;
        self.may_store(&attributes)?;
        let len = attributes.ulong(CKA_VALUE_LEN).unwrap_or(0);
        if len < row.sizes.0 || len > row.sizes.1 {
            return fail!(
                CKR_KEY_SIZE_RANGE,
                "{} makes keys of {} to {} bytes, not {len}",
                row.name,
                row.sizes.0,
                row.sizes.1
            );
        }
        let value = match parameter {
            Parameter::Pbkdf2 {
                hash,
                password,
                salt,
                iterations,
            } => engine::pbkdf2(*hash, &password.0, salt, *iterations, len as usize)?,
            _ => {
                let mut value = Secret::zeroed(len as usize)?;
                engine::random(&mut value)?;
                value
            }
        };
        complete_secret(&mut attributes, &value)?;
        note_birth(&mut attributes, Some(mechanism));
        let key = NewObject {
            attributes,
            secrets: vec![(CKA_VALUE, value)],
        };
        let handles = self.store(vec![key], None, era)?;
        match handles.as_slice() {
            [key] => Ok(*key),
            _ => fail!(CKR_DEVICE_ERROR, "the new key cannot be found"),
        }
    }

    /// C_GenerateKeyPair: handles of the public and of the private key.
    pub fn generate_key_pair(
        &self,
        mechanism: CK_MECHANISM_TYPE,
        public: &Template<'_>,
        private: &Template<'_>,
    ) -> Result<(CK_OBJECT_HANDLE, CK_OBJECT_HANDLE)> {
        let era = self.slot.era();
        let row = self.slot.mechanism(mechanism, CKF_GENERATE_KEY_PAIR)?;
        let key_type = row.key_types.first().copied();
        let on_token = [public, private].map(|half| half.bool(CKA_TOKEN) == Some(true));
        // What one template leaves out is taken from the other.
        let size = public.size().saturating_add(private.size());
        afford_object(size.saturating_mul(2), on_token.contains(&true))?;
        // What one half is to be for, the other is not made for besides.
        let (public, mut private) = self.roles().narrow(public, private);
        for attribute in KIND_OF_PAIR {
            if private.get(attribute) == public.get(attribute) {
                private = private.without(attribute);
            }
        }
        let half = |template, class| {
            let author = self.author(false);
            attribute::build(Birth::Generate, template, Some(class), key_type, author)
                .map(|built| built.attributes)
        };
        let mut public = half(&public, CKO_PUBLIC_KEY)?;
        let mut private = half(&private, CKO_PRIVATE_KEY)?;
        self.roles().check_pair(&mut public, &mut private)?;
        self.may_store(&public)?;
        self.may_store(&private)?;
        let spec = spec(&row, &public)?;
        share(&mut public, &mut private);

        let KeyPair {
            public: public_part,
            private: private_part,
            secrets,
        } = self.slot.token().generate(&spec, &private)?;
        public.extend(&public_part);
        private.extend(&private_part);
        // The token may have named the key.
        share(&mut public, &mut private);
        note_birth(&mut public, Some(mechanism));
        note_birth(&mut private, Some(mechanism));
        let public_first = public.is(CKA_TOKEN) == private.is(CKA_TOKEN) || private.is(CKA_TOKEN);
        // One that the caller keeps in the session only is no use to who finds the private key.
        let companion = if private.is(CKA_TOKEN) && !public.is(CKA_TOKEN) {
            self.companion(&private)?
        } else {
            None
        };
        let mut objects = vec![
            NewObject {
                attributes: public,
                secrets: Vec::new(),
            },
            NewObject {
                attributes: private,
                secrets,
            },
        ];
        objects.extend(companion);
        let handles = self.store(objects, None, era)?;
        match (handles.as_slice(), public_first) {
            ([public, private, ..], true) | ([private, public], false) => Ok((*public, *private)),
            _ => fail!(CKR_DEVICE_ERROR, "the new key pair cannot be found"),
        }
    }
}

/// What the public template says of both halves, so that the private one need not (footnote 4 of the
/// private keys' tables in 6.1, 6.3 and those of ML-DSA and ML-KEM). Clients say it in both; a private
/// template that says the same asks for nothing else.
const KIND_OF_PAIR: [CK_ATTRIBUTE_TYPE; 3] =
    [CKA_PUBLIC_EXPONENT, CKA_EC_PARAMS, CKA_PARAMETER_SET];

/// What key pair a mechanism and the public template ask for.
fn spec(row: &Mechanism, public: &Attributes) -> Result<KeySpec> {
    let spec = match row.plan {
        Plan::RsaPair => KeySpec::Rsa {
            bits: public.ulong(CKA_MODULUS_BITS).unwrap_or(0) as usize,
            exponent: match public.get(CKA_PUBLIC_EXPONENT) {
                Some(exponent) if !exponent.is_empty() => exponent.to_vec(),
                _ => vec![1, 0, 1],
            },
        },
        Plan::MlDsaPair | Plan::MlKemPair => key::spec_of_set(public)?,
        _ => key::spec_of_params(
            public.key_type().unwrap_or(CK_UNAVAILABLE_INFORMATION),
            public.get(CKA_EC_PARAMS).unwrap_or_default(),
        )?,
    };
    let sizes = row.sizes.0..=row.sizes.1;
    match &spec {
        KeySpec::Rsa { bits, .. }
            if !bits.is_multiple_of(8) || !sizes.contains(&(*bits as CK_ULONG)) =>
        {
            fail!(
                CKR_KEY_SIZE_RANGE,
                "{} makes keys of {} to {} bits in whole bytes, not {bits}",
                row.name,
                row.sizes.0,
                row.sizes.1
            )
        }
        KeySpec::Ec(curve) if !sizes.contains(&(curve.bits() as CK_ULONG)) => fail!(
            CKR_CURVE_NOT_SUPPORTED,
            "this token makes no keys on curves of {} bits",
            curve.bits()
        ),
        _ => Ok(spec),
    }
}

/// Clients find a key's other half by CKA_ID and CKA_LABEL: what one template leaves out, it takes
/// from the other.
fn share(public: &mut Attributes, private: &mut Attributes) {
    for attribute in [CKA_ID, CKA_LABEL, CKA_SUBJECT] {
        let of = |object: &Attributes| object.get(attribute).unwrap_or_default().to_vec();
        match (of(public), of(private)) {
            (empty, given) if empty.is_empty() => public.set(attribute, given),
            (given, empty) if empty.is_empty() => private.set(attribute, given),
            _ => {}
        }
    }
}
