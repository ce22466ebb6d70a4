//! Keys agreed on by encapsulation (PKCS#11 5.18.8, 5.18.9).

use super::{Answer, Guard, Room, afford_object};
use crate::attribute::{self, Attributes, Birth, Template, nested};
use crate::complete::{complete_secret, note_birth};
use crate::error::{Error, Result, fail};
use crate::memory::Secret;
use crate::session::Session;
use crate::token::NewObject;
use cryptoki_sys::*;

impl Session {
    /// C_EncapsulateKey: the ciphertext, and the handle of the new key where there is room for that.
    pub fn encapsulate(
        &self,
        mechanism: CK_MECHANISM_TYPE,
        public: CK_OBJECT_HANDLE,
        template: &Template<'_>,
        room: Room,
    ) -> Result<(Answer, Option<CK_OBJECT_HANDLE>)> {
        let era = self.slot.era();
        let (_, public) = self.key_for(CKF_ENCAPSULATE, CKA_ENCAPSULATE, mechanism, public)?;
        let attributes = self.agreed_key(template)?;
        if !nested::matches(public.attributes(), CKA_ENCAPSULATE_TEMPLATE, &attributes)? {
            return fail!(
                CKR_TEMPLATE_INCONSISTENT,
                "the new key is not as CKA_ENCAPSULATE_TEMPLATE of the public key has it (4.9)"
            );
        }
        let (_, len) = public.size();
        match room {
            Room::Query => return Ok((Answer::Length(len), None)),
            Room::Bytes(room) if room < len => return Ok((Answer::TooSmall(len), None)),
            Room::Bytes(_) => {}
        }
        let (ciphertext, shared) = public.public_key()?.encapsulate()?;
        let key = self.keep_agreed(attributes, &shared, era)?;
        Ok((Answer::Bytes(ciphertext), Some(key)))
    }

    /// C_DecapsulateKey: the handle of the new key.
    pub fn decapsulate(
        &self,
        mechanism: CK_MECHANISM_TYPE,
        private: CK_OBJECT_HANDLE,
        template: &Template<'_>,
        ciphertext: &[u8],
    ) -> Result<CK_OBJECT_HANDLE> {
        let era = self.slot.era();
        let (_, private) = self
            .key_for(CKF_DECAPSULATE, CKA_DECAPSULATE, mechanism, private)
            .map_err(of_unwrapping)?;
        Guard::new(&self.slot, &private).check(&self.slot)?;
        let template = template
            .clone()
            .under(private.attributes(), CKA_DECAPSULATE_TEMPLATE)?;
        let attributes = self.agreed_key(&template)?;
        let shared = private
            .private_key(self.slot.token())?
            .decapsulate(ciphertext)?;
        self.keep_agreed(attributes, &shared, era)
    }

    /// What the template says of the new key: a secret key, generic where it names no type, and
    /// extractable where it does not say otherwise (5.18.8).
    fn agreed_key(&self, template: &Template<'_>) -> Result<Attributes> {
        afford_object(template.size(), template.bool(CKA_TOKEN) == Some(true))?;
        let generic = match template.get(CKA_KEY_TYPE) {
            Some(_) => None,
            None => Some(CKK_GENERIC_SECRET),
        };
        let class = Some(CKO_SECRET_KEY);
        let mut attributes =
            attribute::build(Birth::Derive, template, class, generic, self.author(false))?
                .attributes;
        if template.get(CKA_EXTRACTABLE).is_none() {
            attributes.set_bool(CKA_EXTRACTABLE, true);
        }
        self.may_store(&attributes)?;
        Ok(attributes)
    }

    /// Keeps what both sides agreed on. A shorter CKA_VALUE_LEN takes bytes from the leading end, as
    /// where a key is derived (6.4.6, 6.3.17).
    fn keep_agreed(
        &self,
        mut attributes: Attributes,
        shared: &Secret,
        era: u64,
    ) -> Result<CK_OBJECT_HANDLE> {
        let len = match attributes.ulong(CKA_VALUE_LEN) {
            Some(len) => usize::try_from(len).unwrap_or(usize::MAX),
            None => shared.len(),
        };
        let Some(value) = shared
            .len()
            .checked_sub(len)
            .and_then(|surplus| shared.get(surplus..))
        else {
            return fail!(
                CKR_TEMPLATE_INCONSISTENT,
                "CKA_VALUE_LEN asks for {len} bytes, and {} are agreed on",
                shared.len()
            );
        };
        complete_secret(&mut attributes, value)?;
        // Neither made here nor always sensitive: the other side knows it (5.18.8).
        note_birth(&mut attributes, None);
        let key = NewObject {
            attributes,
            secrets: vec![(CKA_VALUE, Secret::copy_of(value)?)],
        };
        match self.store(vec![key], None, era)?.as_slice() {
            [key] => Ok(*key),
            _ => fail!(CKR_DEVICE_ERROR, "the new key cannot be found"),
        }
    }
}

/// What is wrong with a key is said in the words of unwrapping (5.18.9).
fn of_unwrapping(error: Error) -> Error {
    let rv = match error.rv() {
        CKR_KEY_HANDLE_INVALID => CKR_UNWRAPPING_KEY_HANDLE_INVALID,
        CKR_KEY_SIZE_RANGE => CKR_UNWRAPPING_KEY_SIZE_RANGE,
        CKR_KEY_TYPE_INCONSISTENT => CKR_UNWRAPPING_KEY_TYPE_INCONSISTENT,
        other => other,
    };
    error.with_rv(rv)
}
