//! What follows from a template: checked values, computed attributes, the history of a key.

use crate::attribute::{Attributes, Built};
use crate::crypto::{CipherMode, Direction, Hash, PrivateParts, engine};
use crate::error::{Result, fail};
use crate::key;
use crate::memory::Secret;
use crate::token::NewObject;
use cryptoki_sys::*;
use der::{Decode, Encode};
use x509_cert::Certificate;

/// The attributes that tell how a key came to be (4.8.2 ff.); never taken from a template.
/// `mechanism` made it here; `None`: it came from outside.
pub(crate) fn note_birth(attributes: &mut Attributes, mechanism: Option<CK_MECHANISM_TYPE>) {
    if attributes.key_type().is_none() {
        return;
    }
    let local = mechanism.is_some();
    attributes.set_bool(CKA_LOCAL, local);
    attributes.set_ulong(
        CKA_KEY_GEN_MECHANISM,
        mechanism.unwrap_or(CK_UNAVAILABLE_INFORMATION),
    );
    if attributes.class() != Some(CKO_PUBLIC_KEY) {
        let always_sensitive = local && attributes.is(CKA_SENSITIVE);
        let never_extractable = local && !attributes.is(CKA_EXTRACTABLE);
        attributes.set_bool(CKA_ALWAYS_SENSITIVE, always_sensitive);
        attributes.set_bool(CKA_NEVER_EXTRACTABLE, never_extractable);
    }
}

/// The same of a key that was derived (4.8.2, and the section of each mechanism): it has always been
/// sensitive, and never extractable, if that holds of `one` of the keys that it comes from.
pub(crate) fn note_derivation(key: &mut Attributes, one: &dyn Fn(CK_ATTRIBUTE_TYPE) -> bool) {
    note_birth(key, None);
    if key.class() == Some(CKO_SECRET_KEY) {
        let always_sensitive = one(CKA_ALWAYS_SENSITIVE) && key.is(CKA_SENSITIVE);
        let never_extractable = one(CKA_NEVER_EXTRACTABLE) && !key.is(CKA_EXTRACTABLE);
        key.set_bool(CKA_ALWAYS_SENSITIVE, always_sensitive);
        key.set_bool(CKA_NEVER_EXTRACTABLE, never_extractable);
    }
}

/// Checks what a template for C_CreateObject describes, and adds what follows from it.
pub(crate) fn complete(built: Built<'_>) -> Result<NewObject> {
    let Built {
        mut attributes,
        secrets,
    } = built;
    match attributes.class() {
        Some(CKO_CERTIFICATE) => complete_certificate(&mut attributes)?,
        Some(CKO_PUBLIC_KEY) => complete_public(&mut attributes)?,
        Some(CKO_PRIVATE_KEY) => {
            let given = |attribute| {
                let value = secrets.iter().find(|secret| secret.0 == attribute);
                value.map(|value| Secret::copy_of(value.1)).transpose()
            };
            let parts = key::private_parts(&attributes, &given)?;
            return complete_private(attributes, parts);
        }
        Some(CKO_SECRET_KEY) => {
            let value = secrets.iter().find(|secret| secret.0 == CKA_VALUE);
            let value = value.map(|secret| secret.1).unwrap_or_default();
            complete_secret(&mut attributes, value)?;
        }
        _ => {}
    }
    let secrets = secrets
        .into_iter()
        .map(|(attribute, value)| Ok((attribute, Secret::copy_of(value)?)))
        .collect::<Result<_>>()?;
    Ok(NewObject {
        attributes,
        secrets,
    })
}

/// Checks the numbers of a private key that comes from outside, and adds them to what its template
/// says.
pub(crate) fn complete_private(
    mut attributes: Attributes,
    parts: PrivateParts,
) -> Result<NewObject> {
    engine::PrivateKey::from_parts(&parts)?;
    let pair = key::pair_attributes(parts)?;
    refuse_other_info(&attributes, &pair.private)?;
    attributes.extend(&pair.private);
    Ok(NewObject {
        attributes,
        secrets: pair.secrets,
    })
}

fn complete_public(attributes: &mut Attributes) -> Result<()> {
    let parts = key::public_parts(attributes)?;
    engine::PublicKey::from_parts(&parts)?;
    let computed = key::public_attributes(&parts)?;
    refuse_other_info(attributes, &computed)?;
    attributes.extend(&computed);
    if attributes.key_type() == Some(CKK_RSA) {
        attributes.set_ulong(CKA_MODULUS_BITS, parts.bits() as CK_ULONG);
    }
    Ok(())
}

/// Refuses a CKA_PUBLIC_KEY_INFO that is not that of the key itself.
fn refuse_other_info(given: &Attributes, computed: &Attributes) -> Result<()> {
    match given.get(CKA_PUBLIC_KEY_INFO) {
        Some(info) if !info.is_empty() && computed.get(CKA_PUBLIC_KEY_INFO) != Some(info) => fail!(
            CKR_ATTRIBUTE_VALUE_INVALID,
            "CKA_PUBLIC_KEY_INFO does not belong to this key"
        ),
        _ => Ok(()),
    }
}

/// Adds to a secret key its length and its check value (4.11.2). Refuses a length that its type
/// does not have.
pub(crate) fn complete_secret(attributes: &mut Attributes, value: &[u8]) -> Result<()> {
    let aes = attributes.key_type() == Some(CKK_AES);
    let exists = match attributes.key_type() {
        Some(CKK_AES) => matches!(value.len(), 16 | 24 | 32),
        Some(CKK_CHACHA20) => value.len() == 32,
        _ => !value.is_empty(),
    };
    if !exists {
        return fail!(
            CKR_ATTRIBUTE_VALUE_INVALID,
            "a key of {} bytes does not exist for this key type",
            value.len()
        );
    }
    attributes.set_ulong(CKA_VALUE_LEN, value.len() as CK_ULONG);
    let whole = if aes {
        let mut block = [0; 16];
        engine::Cipher::new(CipherMode::Ecb, Direction::Encrypt, value, &[])?.update(&mut block)?;
        block.to_vec()
    } else {
        // Also for ChaCha20, which has no ECB to encrypt zeros with.
        engine::digest(Hash::Sha1, value)
    };
    set_check_value(attributes, &whole)
}

/// Sets CKA_CHECK_VALUE to the first three bytes of `whole`. A caller may leave it out by an empty
/// value, but not give another (4.11.2).
fn set_check_value(attributes: &mut Attributes, whole: &[u8]) -> Result<()> {
    let computed = whole.get(..3).unwrap_or(whole);
    match attributes.get(CKA_CHECK_VALUE) {
        Some([]) => Ok(()),
        Some(given) if given != computed => fail!(
            CKR_ATTRIBUTE_VALUE_INVALID,
            "CKA_CHECK_VALUE does not belong to this value"
        ),
        _ => {
            attributes.set(CKA_CHECK_VALUE, computed);
            Ok(())
        }
    }
}

/// Adds to an X.509 certificate what clients search by and its template may leave out: issuer,
/// serial number, public key (4.6.3). A value that is no certificate is stored as it is.
fn complete_certificate(attributes: &mut Attributes) -> Result<()> {
    if attributes.ulong(CKA_CERTIFICATE_TYPE) != Some(CKC_X_509) {
        return fail!(
            CKR_ATTRIBUTE_VALUE_INVALID,
            "only X.509 certificates can be stored"
        );
    }
    let value = attributes.get(CKA_VALUE).unwrap_or_default().to_vec();
    if value.is_empty() && attributes.get(CKA_URL).is_none_or(<[u8]>::is_empty) {
        return fail!(
            CKR_TEMPLATE_INCOMPLETE,
            "a certificate has a CKA_VALUE or a CKA_URL"
        );
    }
    let check = engine::digest(Hash::Sha1, &value);
    set_check_value(attributes, &check)?;
    let Ok(certificate) = Certificate::from_der(&value) else {
        return Ok(());
    };
    let certificate = certificate.tbs_certificate();
    let computed = [
        (CKA_ISSUER, certificate.issuer().to_der()),
        (CKA_SERIAL_NUMBER, certificate.serial_number().to_der()),
        (
            CKA_PUBLIC_KEY_INFO,
            certificate.subject_public_key_info().to_der(),
        ),
    ];
    for (attribute, der) in computed {
        if let (Ok(der), None | Some([])) = (der, attributes.get(attribute)) {
            attributes.set(attribute, der);
        }
    }
    Ok(())
}
