//! Attributes with their values: those of an object, and those of a caller's template.

use super::name;
use crate::error::{Result, fail};
use cryptoki_sys::*;
use std::borrow::Cow;

/// The attributes of one object: type and value bytes as C_GetAttributeValue gives them, ordered by
/// type, each type once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attributes(Vec<(CK_ATTRIBUTE_TYPE, Box<[u8]>)>);

impl Attributes {
    /// No attribute.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// The value of an attribute.
    pub fn get(&self, attribute: CK_ATTRIBUTE_TYPE) -> Option<&[u8]> {
        let at = self.0.binary_search_by_key(&attribute, |a| a.0).ok()?;
        self.0.get(at).map(|a| &*a.1)
    }

    /// Sets an attribute, replacing what it was.
    pub fn set(&mut self, attribute: CK_ATTRIBUTE_TYPE, value: impl Into<Box<[u8]>>) {
        match self.0.binary_search_by_key(&attribute, |a| a.0) {
            Ok(at) => {
                if let Some(slot) = self.0.get_mut(at) {
                    slot.1 = value.into();
                }
            }
            Err(at) => self.0.insert(at, (attribute, value.into())),
        }
    }

    /// Takes an attribute away.
    pub fn remove(&mut self, attribute: CK_ATTRIBUTE_TYPE) {
        self.0.retain(|a| a.0 != attribute);
    }

    /// Every attribute, in the order of the types.
    pub fn iter(&self) -> impl Iterator<Item = (CK_ATTRIBUTE_TYPE, &[u8])> {
        self.0
            .iter()
            .map(|(attribute, value)| (*attribute, &**value))
    }

    /// Bytes of the values together.
    pub fn size(&self) -> usize {
        self.0.iter().map(|a| a.1.len()).sum()
    }

    /// A CK_BBOOL attribute; absent is false.
    pub fn is(&self, attribute: CK_ATTRIBUTE_TYPE) -> bool {
        self.get(attribute) == Some(&[CK_TRUE])
    }

    /// A CK_ULONG attribute.
    pub fn ulong(&self, attribute: CK_ATTRIBUTE_TYPE) -> Option<CK_ULONG> {
        ulong(self.get(attribute)?)
    }

    /// CKA_CLASS.
    pub fn class(&self) -> Option<CK_OBJECT_CLASS> {
        self.ulong(CKA_CLASS)
    }

    /// CKA_KEY_TYPE.
    pub fn key_type(&self) -> Option<CK_KEY_TYPE> {
        self.ulong(CKA_KEY_TYPE)
    }

    /// Sets a CK_BBOOL.
    pub fn set_bool(&mut self, attribute: CK_ATTRIBUTE_TYPE, value: bool) {
        self.set(attribute, [CK_BBOOL::from(value)]);
    }

    /// Sets a CK_ULONG.
    pub fn set_ulong(&mut self, attribute: CK_ATTRIBUTE_TYPE, value: CK_ULONG) {
        self.set(attribute, value.to_ne_bytes());
    }

    /// Sets every attribute of `others`.
    pub fn extend(&mut self, others: &Attributes) {
        for (attribute, value) in others.iter() {
            self.set(attribute, value);
        }
    }
}

impl FromIterator<(CK_ATTRIBUTE_TYPE, Box<[u8]>)> for Attributes {
    /// Takes pairs in any order; of equal types the last one stays.
    fn from_iter<I: IntoIterator<Item = (CK_ATTRIBUTE_TYPE, Box<[u8]>)>>(pairs: I) -> Self {
        let mut pairs: Vec<_> = pairs.into_iter().collect();
        // A token hands them over in order; then this costs one pass.
        pairs.sort_by_key(|a| a.0);
        pairs.dedup_by(|later, earlier| {
            let same = later.0 == earlier.0;
            if same {
                std::mem::swap(&mut later.1, &mut earlier.1);
            }
            same
        });
        Self(pairs)
    }
}

/// A CK_ULONG from its bytes.
pub fn ulong(value: &[u8]) -> Option<CK_ULONG> {
    Some(CK_ULONG::from_ne_bytes(value.try_into().ok()?))
}

/// A caller's template: in the caller's order, checked by [`Template::new`]; of its values only byte
/// arrays are borrowed.
#[derive(Debug, Clone, Default)]
pub struct Template<'a>(Vec<(CK_ATTRIBUTE_TYPE, Cow<'a, [u8]>)>);

impl<'a> Template<'a> {
    /// A template in which no attribute stands twice with different values
    /// (CKR_TEMPLATE_INCONSISTENT; the same value twice is harmless).
    pub fn new(pairs: Vec<(CK_ATTRIBUTE_TYPE, &'a [u8])>) -> Result<Self> {
        let borrowed = |(attribute, value)| (attribute, Cow::Borrowed(value));
        Self::of(pairs.into_iter().map(borrowed).collect())
    }

    /// The same of values of which some are the template's own.
    pub fn of(pairs: Vec<(CK_ATTRIBUTE_TYPE, Cow<'a, [u8]>)>) -> Result<Self> {
        for (at, (attribute, value)) in pairs.iter().enumerate() {
            let twin = pairs.iter().take(at).find(|p| p.0 == *attribute);
            if twin.is_some_and(|p| p.1 != *value) {
                return fail!(
                    CKR_TEMPLATE_INCONSISTENT,
                    "{} stands in the template twice with different values",
                    name(*attribute)
                );
            }
        }
        Ok(Self(pairs))
    }

    /// The value that the template gives an attribute.
    pub fn get(&self, attribute: CK_ATTRIBUTE_TYPE) -> Option<&[u8]> {
        self.0.iter().find(|p| p.0 == attribute).map(|p| &*p.1)
    }

    /// A CK_ULONG of the template.
    pub fn ulong(&self, attribute: CK_ATTRIBUTE_TYPE) -> Option<CK_ULONG> {
        ulong(self.get(attribute)?)
    }

    /// A CK_BBOOL of the template.
    pub fn bool(&self, attribute: CK_ATTRIBUTE_TYPE) -> Option<bool> {
        self.get(attribute).map(|v| v == [CK_TRUE])
    }

    /// The template with more attributes, where it says nothing of them.
    pub fn or(
        mut self,
        others: impl IntoIterator<Item = (CK_ATTRIBUTE_TYPE, Cow<'a, [u8]>)>,
    ) -> Self {
        for (attribute, value) in others {
            if self.get(attribute).is_none() {
                self.0.push((attribute, value));
            }
        }
        self
    }

    /// The template without one of its attributes.
    pub fn without(mut self, attribute: CK_ATTRIBUTE_TYPE) -> Self {
        self.0.retain(|pair| pair.0 != attribute);
        self
    }

    /// The template with one attribute more, which it may say nothing else of: its own value, not the
    /// caller's, which may change. `CKR_TEMPLATE_INCONSISTENT`.
    pub fn demand(self, attribute: CK_ATTRIBUTE_TYPE, value: Cow<'a, [u8]>) -> Result<Self> {
        match self.get(attribute) {
            Some(given) if given != &*value => fail!(
                CKR_TEMPLATE_INCONSISTENT,
                "{} is not what the unwrapping or base key demands of such a key",
                name(attribute)
            ),
            _ => Ok(self.without(attribute).or([(attribute, value)])),
        }
    }

    /// Bytes of the values together.
    pub fn size(&self) -> usize {
        self.iter()
            .fold(0, |sum, pair| sum.saturating_add(pair.1.len()))
    }

    /// Every pair.
    pub fn iter(&self) -> impl Iterator<Item = (CK_ATTRIBUTE_TYPE, &[u8])> {
        self.0.iter().map(|pair| (pair.0, &*pair.1))
    }
}
