//! Attributes that are templates themselves (CKA_WRAP_TEMPLATE and its like; most have the bit
//! CKF_ARRAY_ATTRIBUTE, the newest do not).
//!
//! Among an object's attributes such a template is DER: it has no pointers, and the order of its bytes
//! is not the machine's, so that it is stored, compared and moved as any other value.

use super::{Attributes, Kind, Template, any_rule_of, holds_ulongs, kind_of, name};
use crate::error::{Error, Result, fail};
use crate::memory;
use cryptoki_sys::*;
use der::asn1::{OctetString, OctetStringRef};
use der::{Decode, Encode, Sequence};
use std::borrow::Cow;

/// How deep templates stand in templates.
pub const DEEPEST: usize = 3;

/// A CK_ULONG outside of this machine: eight bytes, big-endian.
const ULONG: usize = 8;

/// One attribute of a template.
#[derive(Sequence)]
struct Entry {
    kind: u64,
    value: OctetString,
}

/// Whether an attribute's value is a template.
pub fn is_template(attribute: CK_ATTRIBUTE_TYPE) -> bool {
    kind_of(attribute) == Some(Kind::Template)
}

/// A template as a value. `CKR_ATTRIBUTE_TYPE_INVALID`, `CKR_ATTRIBUTE_VALUE_INVALID` for what no
/// object can have.
pub fn encode(template: &Template<'_>) -> Result<Vec<u8>> {
    memory::afford(template.size().saturating_mul(3))?;
    let mut entries = Vec::new();
    for (attribute, value) in template.iter() {
        let Some(rule) = any_rule_of(attribute) else {
            return fail!(
                CKR_ATTRIBUTE_TYPE_INVALID,
                "a template names {}, which no object has",
                name(attribute)
            );
        };
        rule.check_value(value)?;
        entries.push(Entry {
            kind: attribute,
            value: OctetString::new(portable(attribute, value)).map_err(unfit)?,
        });
    }
    entries.to_der().map_err(unfit)
}

/// The attributes of such a value, in the template's order.
pub fn decode(value: &[u8]) -> Result<Vec<(CK_ATTRIBUTE_TYPE, Vec<u8>)>> {
    #[derive(Sequence)]
    struct Borrowed<'a> {
        kind: u64,
        value: &'a OctetStringRef,
    }
    let entries = Vec::<Borrowed<'_>>::from_der(value).map_err(unfit)?;
    Ok(entries
        .iter()
        .map(|entry| (entry.kind, native(entry.kind, entry.value.as_bytes())))
        .collect())
}

fn unfit(error: der::Error) -> Error {
    Error::new(
        CKR_ATTRIBUTE_VALUE_INVALID,
        format!("this is no template in an attribute: {error}"),
    )
}

/// A value as it is outside of this machine.
pub fn portable(attribute: CK_ATTRIBUTE_TYPE, value: &[u8]) -> Vec<u8> {
    let (numbers, rest) = value.as_chunks::<{ size_of::<CK_ULONG>() }>();
    if !holds_ulongs(attribute) || !rest.is_empty() {
        return value.to_vec();
    }
    numbers
        .iter()
        .flat_map(|number| match CK_ULONG::from_ne_bytes(*number) {
            CK_UNAVAILABLE_INFORMATION => u64::MAX.to_be_bytes(),
            number => (number as u64).to_be_bytes(),
        })
        .collect()
}

/// The same as this machine has it.
pub fn native(attribute: CK_ATTRIBUTE_TYPE, value: &[u8]) -> Vec<u8> {
    let (numbers, rest) = value.as_chunks::<ULONG>();
    if !holds_ulongs(attribute) || !rest.is_empty() {
        return value.to_vec();
    }
    numbers
        .iter()
        .flat_map(|number| (u64::from_be_bytes(*number) as CK_ULONG).to_ne_bytes())
        .collect()
}

/// Whether `target` is as the template in an attribute of `key` has it, by the rules of
/// C_FindObjects (5.18.3, CKA_WRAP_TEMPLATE); a key without the attribute asks for nothing.
pub fn matches(key: &Attributes, template: CK_ATTRIBUTE_TYPE, target: &Attributes) -> Result<bool> {
    let demanded = key.get(template).map(decode).transpose()?;
    let same = |(attribute, value): &(_, Vec<u8>)| target.get(*attribute) == Some(value);
    Ok(demanded.unwrap_or_default().iter().all(same))
}

impl<'a> Template<'a> {
    /// The template of a key that `key` makes, with what an attribute of `key` adds to it (5.18.4,
    /// CKA_UNWRAP_TEMPLATE; 5.18.5, CKA_DERIVE_TEMPLATE; and CKA_DECAPSULATE_TEMPLATE).
    /// `CKR_TEMPLATE_INCONSISTENT` on conflict.
    pub fn under(mut self, key: &Attributes, template: CK_ATTRIBUTE_TYPE) -> Result<Template<'a>> {
        let added = key.get(template).map(decode).transpose()?;
        for (attribute, value) in added.unwrap_or_default() {
            self = self.demand(attribute, Cow::Owned(value))?;
        }
        Ok(self)
    }
}
