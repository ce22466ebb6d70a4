//! Making, copying, changing, reading and destroying objects (PKCS#11 5.7).

use super::afford_object;
use crate::attribute::roles::{KEK_PAIR, Roles};
use crate::attribute::{self, Attributes, Author, Birth, Template, nested};
use crate::complete::{complete, note_birth};
use crate::error::{Error, Result, fail};
use crate::key::{self, Secrets};
use crate::memory::{self, Secret};
use crate::object::Object;
use crate::session::Session;
use crate::token::{CHIP_KEY, FREE_KEY, NewObject, User};
use cryptoki_sys::*;
use std::sync::Arc;

/// Marks a public key that the token put beside an imported private key. It goes with that key, and
/// gives way to one that the caller stores.
const COMPANION: CK_ATTRIBUTE_TYPE = CKA_VENDOR_DEFINED | 0x4e54_0001;

/// Whether an attribute is the token's own mark, which no caller sees.
pub(super) fn is_mark(attribute: CK_ATTRIBUTE_TYPE) -> bool {
    matches!(attribute, COMPANION | FREE_KEY | KEK_PAIR)
}

/// What C_GetAttributeValue finds (5.7.5).
#[derive(Debug)]
pub enum Value {
    /// The value.
    Bytes(Vec<u8>),
    /// A value that may be read but is not left lying about.
    Secret(Secret),
    /// A template.
    Template(Vec<(CK_ATTRIBUTE_TYPE, Value)>),
    /// CKR_ATTRIBUTE_SENSITIVE.
    Sensitive,
    /// CKR_ATTRIBUTE_TYPE_INVALID.
    Unknown,
}

impl Value {
    /// The value of an attribute that may be read.
    fn readable(attribute: CK_ATTRIBUTE_TYPE, value: &[u8]) -> Result<Value> {
        if !nested::is_template(attribute) {
            return memory::copy(value).map(Value::Bytes);
        }
        let inner = nested::decode(value)?.into_iter();
        inner
            .map(|(attribute, value)| Ok((attribute, Value::readable(attribute, &value)?)))
            .collect::<Result<_>>()
            .map(Value::Template)
    }
}

impl Session {
    pub(crate) fn by_so(&self) -> bool {
        self.slot.user() == Some(User::SecurityOfficer)
    }

    /// Who makes an object here.
    pub(crate) fn author(&self, is_so: bool) -> Author {
        Author {
            is_so,
            roles: self.roles(),
        }
    }

    /// `[policy] roles`.
    pub(crate) fn roles(&self) -> Roles {
        self.slot.policy.roles
    }

    /// Stores new objects where their CKA_TOKEN says, in the place of `replaced`, all or none.
    /// `era` is from before the caller's login was looked at.
    pub(crate) fn store(
        &self,
        new: Vec<NewObject>,
        replaced: Option<&Object>,
        era: u64,
    ) -> Result<Vec<CK_OBJECT_HANDLE>> {
        let adopted: Vec<_> = new
            .into_iter()
            .map(|object| match object.attributes.class() {
                Some(CKO_PRIVATE_KEY) => self.slot.token().adopt(object),
                _ => Ok(object),
            })
            .collect::<Result<_>>()?;
        let (on_token, of_session): (Vec<_>, Vec<_>) = adopted
            .into_iter()
            .partition(|object| object.attributes.is(CKA_TOKEN));
        // Only a key pair can have one of each (5.18.2).
        let mut handles = Vec::new();
        if !of_session.is_empty() {
            handles = self
                .slot
                .insert_session_objects(self.handle, of_session, era)?;
            self.own(&handles)?;
            if let Some(replaced) = replaced.filter(|object| !object.is_token()) {
                self.slot.forget(&[replaced.handle]);
            }
        }
        if !on_token.is_empty() {
            let replaced = replaced.filter(|object| object.is_token());
            let replaced: Vec<_> = replaced
                .map(|object| object.stored.id)
                .into_iter()
                .collect();
            match self.slot.insert(on_token, &replaced) {
                Ok(stored) => handles.extend(stored),
                Err(refusal) => {
                    self.slot.forget(&handles);
                    return Err(refusal);
                }
            }
        }
        Ok(handles)
    }

    /// Refuses what this session may not write, by the attributes that the object will have.
    pub(crate) fn may_store(&self, attributes: &Attributes) -> Result<()> {
        self.may_write(attributes.is(CKA_TOKEN), attributes.is(CKA_PRIVATE))
    }

    /// C_CreateObject (5.7.1).
    pub fn create(&self, template: &Template<'_>) -> Result<CK_OBJECT_HANDLE> {
        let era = self.slot.era();
        afford_object(template.size(), template.bool(CKA_TOKEN) == Some(true))?;
        let built = attribute::build(
            Birth::Create,
            template,
            None,
            None,
            self.author(self.by_so()),
        )?;
        self.may_store(&built.attributes)?;
        let mut object = complete(built)?;
        note_birth(&mut object.attributes, None);
        self.store_with_companion(object, era)
    }

    /// Stores an object. A private key brings its public key; a public key takes the place of one
    /// that a private key has brought.
    pub(crate) fn store_with_companion(
        &self,
        object: NewObject,
        era: u64,
    ) -> Result<CK_OBJECT_HANDLE> {
        let (mut companion, mut replaced) = (None, None);
        match object.attributes.class() {
            Some(CKO_PRIVATE_KEY) => companion = self.companion(&object.attributes)?,
            Some(CKO_PUBLIC_KEY) => replaced = self.companion_of(&object.attributes)?,
            _ => {}
        }
        let new = std::iter::once(object).chain(companion).collect();
        let handles = self.store(new, replaced.as_deref(), era)?;
        handles
            .first()
            .copied()
            .ok_or_else(|| Error::new(CKR_DEVICE_ERROR, "the new object cannot be found"))
    }

    /// The public key to be stored beside a private key, unless there is one that lasts as long.
    pub(crate) fn companion(&self, private: &Attributes) -> Result<Option<NewObject>> {
        let same = |attribute| (attribute, private.get(attribute).unwrap_or_default());
        let class = CKO_PUBLIC_KEY.to_ne_bytes();
        let mut known = vec![
            (CKA_CLASS, class.as_slice()),
            same(CKA_ID),
            same(CKA_PUBLIC_KEY_INFO),
        ];
        if private.is(CKA_TOKEN) {
            known.push((CKA_TOKEN, &[CK_TRUE]));
        }
        if !self.find_all(&Template::new(known)?)?.is_empty() {
            return Ok(None);
        }
        let mut key = key::public_attributes(&key::public_parts(private)?)?;
        key.remove(CKA_PUBLIC_KEY_INFO);
        let mut pairs = vec![(CKA_CLASS, class.as_slice())];
        pairs.extend(
            [CKA_KEY_TYPE, CKA_TOKEN, CKA_ID, CKA_LABEL, CKA_SUBJECT]
                .into_iter()
                .filter_map(|attribute| Some((attribute, private.get(attribute)?)))
                .chain(key.iter()),
        );
        let template = Template::new(pairs)?;
        let mut public = complete(attribute::build(
            Birth::Create,
            &template,
            None,
            None,
            self.author(false),
        )?)?;
        note_birth(&mut public.attributes, None);
        public.attributes.set_bool(COMPANION, true);
        Ok(Some(public))
    }

    /// The companion with this key and CKA_ID, where the token made one.
    fn companion_of(&self, key: &Attributes) -> Result<Option<Arc<Object>>> {
        let class = CKO_PUBLIC_KEY.to_ne_bytes();
        let mut pairs = vec![(CKA_CLASS, class.as_slice()), (COMPANION, &[CK_TRUE])];
        for attribute in [CKA_TOKEN, CKA_ID, CKA_PUBLIC_KEY_INFO] {
            pairs.push((attribute, key.get(attribute).unwrap_or_default()));
        }
        let found = self.find_all(&Template::new(pairs)?)?;
        found.first().map(|handle| self.object(*handle)).transpose()
    }

    /// C_CopyObject (5.7.2).
    pub fn copy(
        &self,
        handle: CK_OBJECT_HANDLE,
        template: &Template<'_>,
    ) -> Result<CK_OBJECT_HANDLE> {
        let era = self.slot.era();
        let object = self.object(handle)?;
        let size = object.attributes().size().saturating_add(template.size());
        let on_token = template.bool(CKA_TOKEN).unwrap_or(object.is_token());
        afford_object(size, on_token)?;
        let mut attributes = attribute::copy(object.attributes(), template, self.by_so())?;
        self.roles()
            .check_change(object.attributes(), &attributes)?;
        self.may_store(&attributes)?;
        attributes.remove(COMPANION);
        attributes.remove(FREE_KEY);
        attributes.remove(CKA_UNIQUE_ID);
        let secrets = self.secrets_of(&object)?;
        let copy = NewObject {
            attributes,
            secrets,
        };
        self.store_with_companion(copy, era)
    }

    fn secrets_of(&self, object: &Object) -> Result<Secrets> {
        let class = object.attributes().class();
        let wrapped = (class == Some(CKO_PRIVATE_KEY)).then_some(CHIP_KEY);
        let mut secrets = Secrets::new();
        for attribute in attribute::secrets_of(object.attributes()).chain(wrapped) {
            if let Some(secret) = object.secret(self.slot.token(), attribute)? {
                secrets.push((attribute, secret));
            }
        }
        let is_key = matches!(class, Some(CKO_PRIVATE_KEY | CKO_SECRET_KEY));
        if is_key && secrets.is_empty() {
            return fail!(
                CKR_ACTION_PROHIBITED,
                "the key cannot be copied: it never leaves its chip"
            );
        }
        Ok(secrets)
    }

    /// C_DestroyObject (5.7.3). A public key that went with its private key may be destroyed once
    /// more: a client that clears a token holds the handles of both.
    pub fn destroy(&self, handle: CK_OBJECT_HANDLE) -> Result<()> {
        let object = match self.object(handle) {
            Err(_) if self.slot.take_gone_along(handle) => return Ok(()),
            found => found?,
        };
        if !object.attributes().is(CKA_DESTROYABLE) {
            return fail!(CKR_ACTION_PROHIBITED, "the object is not destroyable");
        }
        self.may_store(object.attributes())?;
        let companion = self.companion_to_follow(&object)?;
        match &companion {
            Some(companion) => {
                self.slot.remove(&[&object, companion])?;
                self.slot.note_gone_along(companion.handle);
                Ok(())
            }
            None => self.slot.remove(&[&object]),
        }
    }

    fn companion_to_follow(&self, object: &Object) -> Result<Option<Arc<Object>>> {
        match object.attributes().class() {
            Some(CKO_PRIVATE_KEY) => self.companion_of(object.attributes()),
            _ => Ok(None),
        }
    }

    /// C_SetAttributeValue (5.7.6): everything that the template asks, or nothing. The rules are
    /// asked of the object as it is at the moment of the change.
    pub fn set(&self, handle: CK_OBJECT_HANDLE, template: &Template<'_>) -> Result<()> {
        let object = self.object(handle)?;
        self.may_store(object.attributes())?;
        let by_so = self.by_so();
        let size = object.attributes().size().saturating_add(template.size());
        afford_object(size, object.is_token())?;
        // Refused here already where it can be: that costs no transaction.
        let roles = self.roles();
        let change = |now: &Attributes| -> Result<Attributes> {
            let changed = attribute::change(now, template, by_so)?;
            roles.check_change(now, &changed)?;
            Ok(changed)
        };
        change(object.attributes())?;
        let companion = self.companion_to_follow(&object)?;
        let both: Vec<&Object> = std::iter::once(&*object)
            .chain(companion.as_deref())
            .collect();
        let mut key = Attributes::new();
        self.slot.update(&both, &mut |id, now| {
            if *id == object.stored.id {
                key = change(now)?;
                return Ok(key.clone());
            }
            let mut follows = now.clone();
            for attribute in [CKA_ID, CKA_LABEL, CKA_SUBJECT] {
                follows.set(attribute, key.get(attribute).unwrap_or_default());
            }
            Ok(follows)
        })
    }

    /// C_GetAttributeValue (5.7.5): one answer for each type, in order.
    pub fn get(&self, handle: CK_OBJECT_HANDLE, types: &[CK_ATTRIBUTE_TYPE]) -> Result<Vec<Value>> {
        let object = self.object(handle)?;
        types
            .iter()
            .map(|attribute| self.value(&object, *attribute))
            .collect()
    }

    fn value(&self, object: &Object, attribute: CK_ATTRIBUTE_TYPE) -> Result<Value> {
        let attributes = object.attributes();
        if is_mark(attribute) {
            return Ok(Value::Unknown);
        }
        if let Some(value) = attributes.get(attribute) {
            return Value::readable(attribute, value);
        }
        if !attribute::is_secret(attribute, attributes) {
            return Ok(Value::Unknown);
        }
        let hidden = object.needs_login() && self.slot.user() != Some(User::User);
        if hidden || !attribute::is_readable(attributes) {
            return Ok(Value::Sensitive);
        }
        Ok(object
            .secret(self.slot.token(), attribute)?
            .map_or(Value::Unknown, Value::Secret))
    }

    /// C_GetObjectSize (5.7.4): bytes of the readable attributes, with their types.
    pub fn size(&self, handle: CK_OBJECT_HANDLE) -> Result<usize> {
        let object = self.object(handle)?;
        Ok(object
            .attributes()
            .iter()
            .map(|(_, value)| value.len() + size_of::<CK_ATTRIBUTE_TYPE>())
            .sum())
    }
}
