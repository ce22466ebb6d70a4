//! The roles of keys: why no sequence of calls brings a sensitive key out.
//!
//! PKCS#11 lets one key wrap and decrypt, and then whoever may use it reads every key that may be
//! wrapped (Clulow 2003; Bortolozzo and others 2010). Here a **KEK** is a key that wraps or unwraps
//! and does nothing else ([`is_kek`]), and a sensitive key leaves under a KEK only:
//!
//! 1. *What asks to wrap does nothing else*, unless its template says so ([`Roles::leaves_out`]).
//! 2. *Roles are lost, never won* ([`Roles::check_change`]): what is a KEK now has been one since it
//!    was made. So nothing that it has carried was or will be open to one of its other roles.
//! 3. *Nobody outside knows it* ([`is_unknown`]): it was made here, not of a password, and cannot have
//!    left, nor its private half; or the security officer vouches for it (CKA_TRUSTED). What is imported,
//!    unwrapped or derived is CKA_LOCAL false for ever, also where the same bytes came before.
//! 4. *It refuses what was changed* ([`is_sound`]) *and makes its own nonces*: nothing that it has
//!    carried can be cut, shifted or laid over a key that is known ([`Roles::check_kek_use`]).
//! 5. *What it unwraps is sensitive* ([`Roles::demands`]).
//!
//! By 1 to 4 the bytes of a wrapped key are seen by nobody but who unwraps it with that very KEK,
//! which is this token, and by 5 they are a sensitive key again. A key of both roles is no KEK: it
//! carries what anybody may read, and unwraps to anything.

use super::{Attributes, Template};
use crate::error::{Result, fail};
use cryptoki_sys::*;
use serde::Deserialize;
use std::borrow::Cow;

/// `[policy] roles`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Roles {
    /// The rules above.
    #[default]
    Strict,
    /// What PKCS#11 itself demands: CKA_EXTRACTABLE, CKA_WRAP_WITH_TRUSTED, the templates.
    Open,
}

/// Marks a public KEK whose private half is a KEK that never leaves. Not an attribute that a caller
/// can name; only [`Roles::check_pair`] gives it.
pub const KEK_PAIR: CK_ATTRIBUTE_TYPE = CKA_VENDOR_DEFINED | 0x4e54_0004;

/// The roles of a KEK.
const CARRYING: [CK_ATTRIBUTE_TYPE; 2] = [CKA_WRAP, CKA_UNWRAP];
/// The roles that a KEK does not have. Each of them tells of bytes what a wrapped key must not tell.
const OTHER: [CK_ATTRIBUTE_TYPE; 9] = [
    CKA_ENCRYPT,
    CKA_DECRYPT,
    CKA_SIGN,
    CKA_SIGN_RECOVER,
    CKA_VERIFY,
    CKA_VERIFY_RECOVER,
    CKA_DERIVE,
    CKA_ENCAPSULATE,
    CKA_DECAPSULATE,
];

/// Whether the key wraps or unwraps, and does nothing else.
pub fn is_kek(key: &Attributes) -> bool {
    has(key, &CARRYING) && !has(key, &OTHER)
}

/// Whether a template asks to wrap or unwrap.
fn asks_to_carry(template: &Template<'_>) -> bool {
    CARRYING
        .iter()
        .any(|role| template.bool(*role) == Some(true))
}

/// Rule 3.
fn is_unknown(kek: &Attributes) -> bool {
    let never_left = match kek.class() {
        Some(CKO_PUBLIC_KEY) => kek.is(KEK_PAIR),
        _ => kek.is(CKA_NEVER_EXTRACTABLE),
    };
    // It counts as generated, but whoever has the password can make it elsewhere too.
    let of_password = kek.ulong(CKA_KEY_GEN_MECHANISM) == Some(CKM_PKCS5_PBKD2);
    kek.is(CKA_TRUSTED) || (kek.is(CKA_LOCAL) && never_left && !of_password)
}

/// Mechanisms that give no key, or none that tells anything, where the wrapped key is not what the
/// mechanism made. The others (ECB, CBC with its padding, CTR, bare RSA) let a key be cut to one
/// byte, or tell of a changed one whether its padding is right.
fn is_sound(mechanism: CK_MECHANISM_TYPE) -> bool {
    matches!(
        mechanism,
        // By implicit rejection: a wrong padding gives another key, always the same one.
        CKM_RSA_PKCS
            | CKM_RSA_PKCS_OAEP
            | CKM_RSA_AES_KEY_WRAP
            | CKM_ECDH_AES_KEY_WRAP
            | CKM_ECDH_COF_AES_KEY_WRAP
            | CKM_ECDH_X_AES_KEY_WRAP
            | CKM_AES_KEY_WRAP
            | CKM_AES_KEY_WRAP_KWP
            | CKM_AES_KEY_WRAP_PKCS7
            | CKM_AES_GCM
            | CKM_AES_CCM
    )
}

/// Whether CKA_ALLOWED_MECHANISMS names this one alone.
fn is_bound_to(kek: &Attributes, mechanism: CK_MECHANISM_TYPE) -> bool {
    kek.get(CKA_ALLOWED_MECHANISMS) == Some(&mechanism.to_ne_bytes())
}

fn has(key: &Attributes, roles: &[CK_ATTRIBUTE_TYPE]) -> bool {
    roles.iter().any(|role| key.is(*role))
}

impl Roles {
    /// What a template leaves out is not narrowed.
    pub(super) fn is_open(self) -> bool {
        self == Roles::Open
    }

    /// Rule 1: whether usage that a template leaves out is CK_FALSE, because it asks to wrap or unwrap.
    pub fn leaves_out(self, template: &Template<'_>, usage: CK_ATTRIBUTE_TYPE) -> bool {
        !self.is_open() && OTHER.contains(&usage) && asks_to_carry(template)
    }

    /// Rule 1 for the halves of a pair: what one template asks to wrap or unwrap narrows both.
    pub fn narrow<'a>(
        self,
        public: &Template<'a>,
        private: &Template<'a>,
    ) -> (Template<'a>, Template<'a>) {
        if self.is_open() || !(asks_to_carry(public) || asks_to_carry(private)) {
            return (public.clone(), private.clone());
        }
        let narrowed = |template: &Template<'a>, class| {
            let of_class =
                |usage: &CK_ATTRIBUTE_TYPE| super::rule_of(*usage, class, None).is_some();
            let others = OTHER.into_iter().filter(of_class);
            template
                .clone()
                .or(others.map(|usage| (usage, Cow::Borrowed([CK_FALSE].as_slice()))))
        };
        (
            narrowed(public, CKO_PUBLIC_KEY),
            narrowed(private, CKO_PRIVATE_KEY),
        )
    }

    /// Rules 1 and 3 of a generated pair: the halves are what their templates and the token say. A
    /// public KEK beside a private key that decrypts is refused, `CKR_TEMPLATE_INCONSISTENT`; one
    /// whose private half stays a KEK here for ever is marked.
    pub fn check_pair(self, public: &mut Attributes, private: &mut Attributes) -> Result<()> {
        if self.is_open() || !is_kek(public) {
            return Ok(());
        }
        if has(private, &OTHER) {
            return fail!(
                CKR_TEMPLATE_INCONSISTENT,
                "the public key is to wrap only, but its private half has other roles than CKA_UNWRAP"
            );
        }
        // Rule 4 holds of both halves, or of none.
        match (
            public.get(CKA_ALLOWED_MECHANISMS),
            private.get(CKA_ALLOWED_MECHANISMS),
        ) {
            (ours, theirs) if ours == theirs => {}
            (Some(ours), None) => {
                let ours = ours.to_vec();
                private.set(CKA_ALLOWED_MECHANISMS, ours);
            }
            _ => {
                return fail!(
                    CKR_TEMPLATE_INCONSISTENT,
                    "the halves of a key that wraps have the same CKA_ALLOWED_MECHANISMS"
                );
            }
        }
        if !private.is(CKA_EXTRACTABLE) {
            public.set_bool(KEK_PAIR, true);
        }
        Ok(())
    }

    /// Rule 2, of C_SetAttributeValue and C_CopyObject: `CKR_ATTRIBUTE_READ_ONLY` for a role that is
    /// won, `CKR_TEMPLATE_INCONSISTENT` for a key that would become a KEK. A public key's other
    /// roles are everybody's anyway.
    pub fn check_change(self, before: &Attributes, after: &Attributes) -> Result<()> {
        if self.is_open() || before.key_type().is_none() {
            return Ok(());
        }
        let guarded: &[_] = match before.class() {
            Some(CKO_PUBLIC_KEY) => &[],
            _ => &OTHER,
        };
        let won = CARRYING
            .iter()
            .chain(guarded)
            .find(|role| after.is(**role) && !before.is(**role));
        if let Some(role) = won {
            return fail!(
                CKR_ATTRIBUTE_READ_ONLY,
                "{} cannot become true: a key wins no roles ([policy] roles)",
                super::name(*role)
            );
        }
        if is_kek(after) && !is_kek(before) {
            return fail!(
                CKR_TEMPLATE_INCONSISTENT,
                "a key that had other roles does not become one that only wraps: take CKA_WRAP and \
                 CKA_UNWRAP from it as well, or make a new key ([policy] roles)"
            );
        }
        Ok(())
    }

    /// Rules 1, 2 and 3 of C_WrapKey: `CKR_KEY_NOT_WRAPPABLE` for a sensitive key under a key that
    /// might show it.
    pub fn check_wrap(self, kek: &Attributes, target: &Attributes) -> Result<()> {
        if self.is_open() || !target.is(CKA_SENSITIVE) {
            return Ok(());
        }
        if !is_kek(kek) {
            return fail!(
                CKR_KEY_NOT_WRAPPABLE,
                "the wrapping key has other roles than CKA_WRAP and CKA_UNWRAP, so that it carries no \
                 sensitive keys: make one without ([policy] roles)"
            );
        }
        if !is_unknown(kek) {
            return fail!(
                CKR_KEY_NOT_WRAPPABLE,
                "somebody may know the wrapping key, so that it carries no sensitive keys: generate it \
                 in this token with CKA_EXTRACTABLE false, or let the security officer set CKA_TRUSTED \
                 ([policy] roles)"
            );
        }
        Ok(())
    }

    /// Rule 4, of every use of a KEK. `own_nonce`: the token makes the nonce that the mechanism takes,
    /// or it takes none. `CKR_MECHANISM_INVALID`, `CKR_MECHANISM_PARAM_INVALID`.
    pub fn check_kek_use(
        self,
        kek: &Attributes,
        mechanism: CK_MECHANISM_TYPE,
        own_nonce: bool,
    ) -> Result<()> {
        if self.is_open() || !is_kek(kek) {
            return Ok(());
        }
        if !is_sound(mechanism) {
            return fail!(
                CKR_MECHANISM_INVALID,
                "a key that only wraps works with mechanisms that notice a changed key, such as \
                 CKM_AES_KEY_WRAP_KWP and CKM_RSA_PKCS_OAEP ([policy] roles)"
            );
        }
        // Its first part is a key that CKM_RSA_PKCS_OAEP would unwrap to one that decrypts the second.
        if mechanism == CKM_RSA_AES_KEY_WRAP && !is_bound_to(kek, mechanism) {
            return fail!(
                CKR_MECHANISM_INVALID,
                "CKM_RSA_AES_KEY_WRAP needs a key whose CKA_ALLOWED_MECHANISMS names it alone \
                 ([policy] roles)"
            );
        }
        if !own_nonce {
            return fail!(
                CKR_MECHANISM_PARAM_INVALID,
                "a key that only wraps takes no nonce or initial value of the caller's, nor a tag below 96 \
                 bits: give CKG_GENERATE with no fixed bits, or no parameter ([policy] roles)"
            );
        }
        Ok(())
    }

    /// Of a key that is input of CKM_AES_CMAC, where another key is derived: who decrypts with the key of the
    /// CMAC, or with a copy of it, undoes it. `CKR_KEY_FUNCTION_NOT_PERMITTED` unless the input may be read.
    pub fn check_reversible_input(self, input: &Attributes) -> Result<()> {
        if self.is_open() || super::is_readable(input) {
            return Ok(());
        }
        fail!(
            CKR_KEY_FUNCTION_NOT_PERMITTED,
            "a secret key is no input of CKM_AES_CMAC, which can be undone: derive with an HMAC \
             ([policy] roles)"
        )
    }

    /// Rule 5: what the template of an unwrapped key must not contradict. A trusted key gives back
    /// keys that leave under trusted keys only.
    pub fn demands(self, kek: &Attributes) -> Vec<CK_ATTRIBUTE_TYPE> {
        let mut demands = Vec::new();
        if !self.is_open() && is_kek(kek) {
            demands.push(CKA_SENSITIVE);
            if kek.is(CKA_TRUSTED) {
                demands.push(CKA_WRAP_WITH_TRUSTED);
            }
        }
        demands
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An AES KEK as C_GenerateKey makes it with this mechanism.
    fn kek(made_by: CK_MECHANISM_TYPE) -> Attributes {
        let mut kek = Attributes::new();
        kek.set_ulong(CKA_CLASS, CKO_SECRET_KEY);
        kek.set_ulong(CKA_KEY_TYPE, CKK_AES);
        kek.set_ulong(CKA_KEY_GEN_MECHANISM, made_by);
        for yes in [CKA_WRAP, CKA_LOCAL, CKA_NEVER_EXTRACTABLE] {
            kek.set_bool(yes, true);
        }
        kek
    }

    fn carries(kek: &Attributes) -> bool {
        let mut sensitive = Attributes::new();
        sensitive.set_bool(CKA_SENSITIVE, true);
        Roles::Strict.check_wrap(kek, &sensitive).is_ok()
    }

    #[test]
    fn each_part_of_what_makes_a_kek_counts() {
        let good = kek(CKM_AES_KEY_GEN);
        assert!(carries(&good));
        assert!(!carries(&kek(CKM_PKCS5_PBKD2)));
        for needed in [CKA_WRAP, CKA_LOCAL, CKA_NEVER_EXTRACTABLE] {
            let mut without = good.clone();
            without.set_bool(needed, false);
            assert!(!carries(&without), "{needed:#x}");
        }
        for other in OTHER {
            let mut with = good.clone();
            with.set_bool(other, true);
            assert!(!carries(&with), "{other:#x}");
            with.set_bool(CKA_TRUSTED, true);
            assert!(!carries(&with), "trusted, {other:#x}");
        }
        let mut trusted = kek(CK_UNAVAILABLE_INFORMATION);
        trusted.set_bool(CKA_LOCAL, false);
        trusted.set_bool(CKA_TRUSTED, true);
        assert!(carries(&trusted));
    }

    #[test]
    fn no_change_makes_a_kek_or_gives_a_role() {
        let all: Vec<_> = CARRYING.into_iter().chain(OTHER).collect();
        // Every set of roles of a secret key before, and after: 2^11 squared is too many to be quick,
        // so each changes by two roles at most.
        for before in 0u32..1 << all.len() {
            let key = |set: u32| {
                let mut key = kek(CKM_AES_KEY_GEN);
                for (at, role) in all.iter().enumerate() {
                    key.set_bool(*role, set >> at & 1 == 1);
                }
                key
            };
            for first in 0..all.len() {
                for second in 0..=first {
                    let after = before ^ (1 << first | 1 << second);
                    let change = Roles::Strict.check_change(&key(before), &key(after));
                    let won = after & !before != 0;
                    let made = is_kek(&key(after)) && !is_kek(&key(before));
                    assert_eq!(change.is_err(), won || made, "{before:b} to {after:b}");
                }
            }
        }
    }
}
