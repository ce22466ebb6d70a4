//! Objects as the module holds them, and the index that finds one among a hundred thousand.

use crate::attribute::{Attributes, Template};
use crate::crypto::engine;
use crate::error::{Error, Result};
use crate::handle;
use crate::key::{self, Secrets};
use crate::memory::{self, Secret};
use crate::token::{FREE_KEY, NewObject, ObjectId, PrivateKey, Stored, Token};
use cryptoki_sys::*;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, OnceLock};

/// An object that can be seen now: of the token, or of a session.
pub struct Object {
    /// Its handle, for as long as this process sees it.
    pub handle: CK_OBJECT_HANDLE,
    /// Its name and its readable attributes, CKA_UNIQUE_ID among them.
    pub stored: Stored,
    /// The session that made it and takes it along; `None` for a token object.
    pub session: Option<SessionPart>,
    /// The key, ready to use; wiped with the object when its user logs out.
    private_key: OnceLock<Arc<dyn PrivateKey>>,
    public_key: OnceLock<Arc<engine::PublicKey>>,
    secret_key: OnceLock<Arc<Secret>>,
    size: OnceLock<(usize, usize)>,
}

/// What a session object has that a token object does not.
pub struct SessionPart {
    /// Handle of the session.
    pub owner: CK_SESSION_HANDLE,
    /// Its secret values.
    pub secrets: Secrets,
}

impl Object {
    fn new(handle: CK_OBJECT_HANDLE, mut stored: Stored, session: Option<SessionPart>) -> Self {
        stored.attributes.set(CKA_UNIQUE_ID, unique_id(&stored.id));
        Self {
            handle,
            stored,
            session,
            private_key: OnceLock::new(),
            public_key: OnceLock::new(),
            secret_key: OnceLock::new(),
            size: OnceLock::new(),
        }
    }

    /// An object of a session.
    pub fn of_session(owner: CK_SESSION_HANDLE, id: ObjectId, new: NewObject) -> Self {
        let stored = Stored {
            id,
            attributes: new.attributes,
        };
        let part = SessionPart {
            owner,
            secrets: new.secrets,
        };
        Self::new(handle::next(), stored, Some(part))
    }

    /// This session object with other attributes.
    pub(crate) fn with(&self, attributes: Attributes) -> Result<Self> {
        let stored = Stored {
            id: self.stored.id,
            attributes,
        };
        let part = self.session.as_ref().map(|part| -> Result<_> {
            let copied = |(kind, secret): &(_, Secret)| Ok((*kind, Secret::copy_of(secret)?));
            Ok(SessionPart {
                owner: part.owner,
                secrets: part.secrets.iter().map(copied).collect::<Result<_>>()?,
            })
        });
        Ok(Self::new(self.handle, stored, part.transpose()?))
    }

    /// Its readable attributes.
    pub fn attributes(&self) -> &Attributes {
        &self.stored.attributes
    }

    /// CKA_PRIVATE.
    pub fn is_private(&self) -> bool {
        self.attributes().is(CKA_PRIVATE)
    }

    /// Whether it serves only the user who is logged in: a private object, and a key whose secret
    /// lies in the token, where the PIN guards it.
    pub fn needs_login(&self) -> bool {
        let class = self.attributes().class();
        self.is_private()
            || (self.is_token()
                && matches!(class, Some(CKO_PRIVATE_KEY | CKO_SECRET_KEY))
                && !self.attributes().is(FREE_KEY))
    }

    /// CKA_TOKEN.
    pub fn is_token(&self) -> bool {
        self.session.is_none()
    }

    /// Size of a key as the mechanism table counts it (bits; bytes of a secret key), and length in
    /// bytes of what an operation with it gives.
    pub fn size(&self) -> (usize, usize) {
        *self.size.get_or_init(|| key::size(self.attributes()))
    }

    /// The key of a private key object, parsed once.
    pub fn private_key(&self, token: &dyn Token) -> Result<Arc<dyn PrivateKey>> {
        cached(&self.private_key, || {
            let secrets = self.session.as_ref().map(|part| &part.secrets);
            token.private_key(&self.stored, secrets)
        })
    }

    /// The key of a public key object, parsed once.
    pub fn public_key(&self) -> Result<Arc<engine::PublicKey>> {
        cached(&self.public_key, || {
            let parts = key::public_parts(self.attributes())?;
            Ok(Arc::new(engine::PublicKey::from_parts(&parts)?))
        })
    }

    /// The bytes of a secret key object.
    pub fn secret_key(&self, token: &dyn Token) -> Result<Arc<Secret>> {
        cached(&self.secret_key, || {
            let value = self.secret(token, CKA_VALUE)?;
            let missing = || Error::new(CKR_DEVICE_ERROR, "the value of this key is missing");
            Ok(Arc::new(value.ok_or_else(missing)?))
        })
    }

    /// A secret value, `None` where the object has none of that type. Whether the caller may read
    /// it is not asked here.
    pub(crate) fn secret(
        &self,
        token: &dyn Token,
        attribute: CK_ATTRIBUTE_TYPE,
    ) -> Result<Option<Secret>> {
        match &self.session {
            None => token.secret(&self.stored.id, attribute),
            Some(part) => key::secret_of(&part.secrets, attribute),
        }
    }

    /// Whether it has every attribute of the template with that very value.
    fn matches(&self, template: &Template<'_>) -> bool {
        template
            .iter()
            .all(|(attribute, value)| self.attributes().get(attribute) == Some(value))
    }
}

/// CKA_UNIQUE_ID of a name: lower-case hexadecimal (PKCS#11 4.4.1: a UTF-8 string).
fn unique_id(id: &ObjectId) -> Vec<u8> {
    let digit = |nibble: u8| nibble + if nibble < 10 { b'0' } else { b'a' - 10 };
    id.iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

/// What the cell holds, or what `make` makes of it; two threads may both make it once.
fn cached<T: ?Sized>(
    cell: &OnceLock<Arc<T>>,
    make: impl FnOnce() -> Result<Arc<T>>,
) -> Result<Arc<T>> {
    if let Some(there) = cell.get() {
        return Ok(there.clone());
    }
    let made = make()?;
    Ok(cell.get_or_init(|| made).clone())
}

/// Attributes that clients search by.
const INDEXED: [CK_ATTRIBUTE_TYPE; 4] = [CKA_CLASS, CKA_ID, CKA_LABEL, CKA_UNIQUE_ID];

/// Objects by handle, by name, and by the attributes that clients search by.
#[derive(Default)]
pub struct Index {
    objects: BTreeMap<CK_OBJECT_HANDLE, Arc<Object>>,
    ids: HashMap<ObjectId, CK_OBJECT_HANDLE>,
    values: [ByValue; INDEXED.len()],
}

type ByValue = HashMap<Box<[u8]>, Handles>;

/// Objects with one value of an attribute. Most values are one object's alone.
enum Handles {
    One(CK_OBJECT_HANDLE),
    Many(BTreeSet<CK_OBJECT_HANDLE>),
}

impl Handles {
    fn len(&self) -> usize {
        match self {
            Handles::One(_) => 1,
            Handles::Many(handles) => handles.len(),
        }
    }

    fn iter(&self) -> impl Iterator<Item = CK_OBJECT_HANDLE> {
        let (one, many) = match self {
            Handles::One(handle) => (Some(*handle), None),
            Handles::Many(handles) => (None, Some(handles)),
        };
        one.into_iter().chain(many.into_iter().flatten().copied())
    }

    fn add(&mut self, handle: CK_OBJECT_HANDLE) {
        match self {
            Handles::One(first) => *self = Handles::Many(BTreeSet::from([*first, handle])),
            Handles::Many(handles) => {
                handles.insert(handle);
            }
        }
    }

    /// Whether none is left.
    fn remove(&mut self, handle: CK_OBJECT_HANDLE) -> bool {
        match self {
            Handles::One(only) => *only == handle,
            Handles::Many(handles) => {
                handles.remove(&handle);
                handles.is_empty()
            }
        }
    }
}

impl Index {
    /// The object behind a handle.
    pub fn get(&self, handle: CK_OBJECT_HANDLE) -> Option<&Arc<Object>> {
        self.objects.get(&handle)
    }

    /// The object of that name.
    pub fn by_id(&self, id: &ObjectId) -> Option<&Arc<Object>> {
        self.objects.get(self.ids.get(id)?)
    }

    /// Every object, by handle.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Object>> {
        self.objects.values()
    }

    /// Handles of the objects that match a template, in ascending order.
    ///
    /// Of the attributes that are indexed, the one with the fewest objects says where to look.
    pub fn find(&self, template: &Template<'_>) -> Result<Vec<CK_OBJECT_HANDLE>> {
        let mut fewest: Option<&Handles> = None;
        for (attribute, by_value) in INDEXED.iter().zip(&self.values) {
            let Some(value) = template.get(*attribute) else {
                continue;
            };
            let Some(handles) = by_value.get(value) else {
                return Ok(Vec::new());
            };
            if fewest.is_none_or(|fewest| handles.len() < fewest.len()) {
                fewest = Some(handles);
            }
        }
        match fewest {
            Some(handles) => memory::gather(
                handles
                    .iter()
                    .filter(|handle| self.get(*handle).is_some_and(|o| o.matches(template))),
            ),
            None => memory::gather(
                self.iter()
                    .filter(|object| object.matches(template))
                    .map(|object| object.handle),
            ),
        }
    }

    /// Makes room for so many more objects.
    pub fn reserve(&mut self, more: usize) -> Result<()> {
        self.ids.try_reserve(more).map_err(memory::short)?;
        for by_value in &mut self.values {
            by_value.try_reserve(more).map_err(memory::short)?;
        }
        Ok(())
    }

    /// The handle of the object of that name, also of one that is yet to come in.
    pub fn promise(&mut self, id: &ObjectId) -> CK_OBJECT_HANDLE {
        *self.ids.entry(*id).or_insert_with(handle::next)
    }

    /// Takes in an object of the token as it is now. It keeps the handle that it had; one that has
    /// not changed keeps its parsed key too.
    pub fn put(&mut self, stored: Stored) {
        let before = self.by_id(&stored.id).cloned();
        let handle = self.promise(&stored.id);
        let object = Object::new(handle, stored, None);
        match before {
            Some(before) if before.attributes() == object.attributes() => {}
            Some(_) => {
                self.remove(handle);
                self.add(Arc::new(object));
            }
            None => self.add(Arc::new(object)),
        }
    }

    /// Takes in an object that has its handle.
    pub fn add(&mut self, object: Arc<Object>) {
        for (attribute, by_value) in INDEXED.iter().zip(&mut self.values) {
            let Some(value) = object.attributes().get(*attribute) else {
                continue;
            };
            match by_value.get_mut(value) {
                Some(handles) => handles.add(object.handle),
                None => {
                    by_value.insert(value.into(), Handles::One(object.handle));
                }
            }
        }
        self.ids.insert(object.stored.id, object.handle);
        self.objects.insert(object.handle, object);
    }

    /// Lets an object go.
    pub fn remove(&mut self, handle: CK_OBJECT_HANDLE) {
        if let Some(object) = self.objects.remove(&handle) {
            unlist(&mut self.ids, &mut self.values, &object);
        }
    }

    /// Takes away what a logout ends: private objects, and the parsed keys of others.
    pub fn log_out(&mut self) {
        self.retain(|object| !object.is_private());
        let parsed: Vec<_> = self.iter().filter(|o| o.needs_login()).cloned().collect();
        for object in parsed {
            self.remove(object.handle);
            let fresh = Object::new(object.handle, object.stored.clone(), None);
            self.add(Arc::new(fresh));
        }
    }

    /// Lets go every object of which `stays` says no. That takes no memory: a logout must not fail.
    pub fn retain(&mut self, mut stays: impl FnMut(&Object) -> bool) {
        let gone = self.objects.extract_if(.., |_, object| !stays(object));
        for (_, object) in gone {
            unlist(&mut self.ids, &mut self.values, &object);
        }
    }
}

/// Takes an object that is gone out of the other tables.
fn unlist(
    ids: &mut HashMap<ObjectId, CK_OBJECT_HANDLE>,
    values: &mut [ByValue; INDEXED.len()],
    object: &Object,
) {
    ids.remove(&object.stored.id);
    for (attribute, by_value) in INDEXED.iter().zip(values) {
        let Some(value) = object.attributes().get(*attribute) else {
            continue;
        };
        let last = by_value.get_mut(value);
        if last.is_some_and(|handles| handles.remove(object.handle)) {
            by_value.remove(value);
        }
    }
}
