//! The simple derivations (PKCS#11 6.43): a key of the bytes of another one, with more bytes or without.
//!
//! They bring a sensitive key out piece by piece: of a key of few bits, or of one of which all bits but
//! a few are known, all values are soon tried (Clulow 2003). So they are there only where
//! `[policy] roles` says that PKCS#11 alone decides ([`Mechanism::under`]).

use super::{Offer, wrong_parameter};
use crate::attribute::{self, Attributes, Template};
use crate::error::{Result, fail};
use crate::mechanism::Parameter;
use crate::memory::Secret;
use crate::object::Object;
use cryptoki_sys::*;
use std::sync::Arc;

#[cfg(doc)]
use crate::mechanism::Mechanism;

/// Which of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Simple {
    /// `base ‖ key`.
    BaseAndKey,
    /// `base ‖ data`.
    BaseAndData,
    /// `data ‖ base`.
    DataAndBase,
    /// `base ⊕ data`, as long as the shorter of them.
    Xor,
    /// The bits of the base key from one on, round its end.
    Extract,
}

impl Simple {
    /// How many bytes there are, with what a template may leave out. `others` are the lengths of the
    /// other keys. `CKR_MECHANISM_PARAM_INVALID`.
    pub(super) fn offer(
        self,
        parameter: &Parameter,
        base: usize,
        others: &[usize],
        key: Offer,
    ) -> Result<Offer> {
        let (whole, natural) = match (self, parameter, others) {
            (Self::BaseAndKey, Parameter::Key(_), [other]) => (base.saturating_add(*other), true),
            (Self::BaseAndData | Self::DataAndBase, Parameter::Data { data, .. }, []) => {
                (base.saturating_add(data.len()), true)
            }
            (Self::Xor, Parameter::Data { data, .. }, []) => (base.min(data.len()), true),
            (Self::Extract, Parameter::Bit(bit), []) => {
                if bit / 8 >= base {
                    return fail!(
                        CKR_MECHANISM_PARAM_INVALID,
                        "the base key of {base} bytes has no bit {bit}"
                    );
                }
                (base, false)
            }
            _ => return Err(wrong_parameter()),
        };
        Ok(Offer {
            natural: natural.then_some(whole),
            most: (whole.min(key.most.0), CKR_KEY_SIZE_RANGE),
            ..key
        })
    }

    /// The first `len` bytes, or as many as there are.
    pub(super) fn value(
        self,
        parameter: &Parameter,
        base: &[u8],
        other: Option<&[u8]>,
        len: usize,
    ) -> Result<Secret> {
        match (self, parameter, other) {
            (Self::BaseAndKey, Parameter::Key(_), Some(other)) => {
                taken(base.iter().chain(other).copied(), len)
            }
            (Self::BaseAndData, Parameter::Data { data, .. }, None) => {
                taken(base.iter().chain(data).copied(), len)
            }
            (Self::DataAndBase, Parameter::Data { data, .. }, None) => {
                taken(data.iter().chain(base).copied(), len)
            }
            (Self::Xor, Parameter::Data { data, .. }, None) => {
                taken(base.iter().zip(data).map(|(one, other)| one ^ other), len)
            }
            (Self::Extract, Parameter::Bit(bit), None) => {
                // Bit 0 is the highest of the first byte.
                let bytes = base.iter().cycle().skip(bit / 8);
                let pairs = bytes.clone().zip(bytes.skip(1));
                let byte = |(high, low): (&u8, &u8)| {
                    let [byte, _] = (u16::from_be_bytes([*high, *low]) << (bit % 8)).to_be_bytes();
                    byte
                };
                taken(pairs.map(byte), len)
            }
            _ => Err(wrong_parameter()),
        }
    }
}

fn taken(bytes: impl Iterator<Item = u8>, len: usize) -> Result<Secret> {
    let mut out = Secret::zeroed(len)?;
    for (to, from) in out.iter_mut().zip(bytes) {
        *to = from;
    }
    Ok(out)
}

/// "If either of the two original keys has its CKA_SENSITIVE attribute set to CK_TRUE, so does the
/// derived key"; the same of CKA_EXTRACTABLE, set to CK_FALSE. `CKR_TEMPLATE_INCONSISTENT` for a template
/// that says otherwise.
pub(super) fn pass_on(
    base: &Object,
    others: &[Arc<Object>],
    template: &Template<'_>,
    derived: &mut Attributes,
) -> Result<()> {
    for (attribute, passed_on) in [(CKA_SENSITIVE, true), (CKA_EXTRACTABLE, false)] {
        let mut keys = others.iter().map(|key| &**key).chain([base]);
        if !keys.any(|key| key.attributes().is(attribute) == passed_on) {
            continue;
        }
        if template.bool(attribute) == Some(!passed_on) {
            return fail!(
                CKR_TEMPLATE_INCONSISTENT,
                "{} is {passed_on} for a key that this one is made of",
                attribute::name(attribute)
            );
        }
        derived.set_bool(attribute, passed_on);
    }
    Ok(())
}
