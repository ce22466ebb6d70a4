//! Objects as rows: sealed, marked in the token's manifest, and read back only if all are there.

use super::database::{Draft, View};
use super::encoding::{Sealed, decode, decode_attributes, encode, encode_attributes, octets};
use super::seal::{self, Context, Keys};
use super::state::{Manifest, TokenState};
use crate::attribute::Attributes;
use crate::crypto::engine;
use crate::error::{Error, Result, fail};
use crate::memory::{self, Secret};
use crate::token::{Change, Changes, NewObject, ObjectId, Stored};
use cryptoki_sys::*;
use rusqlite::Row;
use std::collections::HashMap;

/// How often a stored value is copied until it is an object's: opened, decoded, taken out, indexed.
const COPIES: usize = 4;
/// How many revisions a removal is remembered.
const MEMORY: u64 = 4096;

/// The token that objects are of, and who asks.
#[derive(Clone, Copy)]
pub(super) struct Owner<'a> {
    /// Its slot.
    pub(super) slot: usize,
    /// Keys of its private objects and of all secret values, while the user is logged in.
    pub(super) private: Option<&'a Keys>,
}

/// What has been reported: every object's mark, so that the next report can be checked without
/// reading all.
#[derive(Default)]
pub(super) struct Reported {
    epoch: u64,
    revision: u64,
    with_private: bool,
    public: Manifest,
    private: Manifest,
    marks: HashMap<ObjectId, Mark>,
}

struct Mark {
    private: bool,
    mark: u128,
}

impl Owner<'_> {
    fn column(self) -> i64 {
        self.slot as i64
    }

    fn keys<'k>(&'k self, store: &'k Keys, private: bool) -> Result<&'k Keys> {
        if private { self.guarded() } else { Ok(store) }
    }

    /// The keys that the PIN opens. Secret values are under no others, also those of keys that all
    /// may see (CKA_PRIVATE false): what opens without a PIN lies in the file.
    fn guarded(&self) -> Result<&Keys> {
        self.private.ok_or_else(|| {
            Error::new(
                CKR_USER_NOT_LOGGED_IN,
                "private objects, and the secrets of any key, need the user to be logged in",
            )
        })
    }
}

/// One row of table `object`, as SQLite lends it.
struct Record<'a> {
    revision: u64,
    id: ObjectId,
    private: bool,
    body: &'a [u8],
    secrets: &'a [u8],
}

const COLUMNS: &str = "SELECT revision, id, private, body, secrets FROM object";

impl<'a> Record<'a> {
    fn of(row: &'a Row<'_>) -> Result<Self> {
        let id = row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?;
        let body = row.get_ref(3)?.as_blob().map_err(rusqlite::Error::from)?;
        let secrets = row.get_ref(4)?.as_blob().map_err(rusqlite::Error::from)?;
        memory::afford(
            body.len()
                .saturating_add(secrets.len())
                .saturating_mul(COPIES),
        )?;
        Ok(Self {
            revision: row.get::<_, i64>(0)?.cast_unsigned(),
            id: id.try_into().map_err(|_| damaged())?,
            private: row.get(2)?,
            body,
            secrets,
        })
    }

    fn mark(&self, keys: &Keys, token: &TokenState) -> Result<u128> {
        keys.mark(&[
            b"row",
            token.serial.as_bytes(),
            &self.id,
            &self.revision.to_be_bytes(),
            &[u8::from(self.private)],
            &seal::fingerprint(self.body)?,
            self.secrets,
        ])
    }

    fn attributes(&self, keys: &Keys, token: &TokenState) -> Result<Attributes> {
        let context = body_context(token, &self.id, self.revision);
        decode_attributes(&seal::open(&keys.body, context, self.body)?)
    }
}

/// What changed since `reported`, which is brought up to date; everything where it is of another
/// time, or not to be trusted.
pub(super) fn changes(
    view: &View<'_>,
    owner: Owner<'_>,
    since: Option<u64>,
    reported: &mut Reported,
) -> Result<Changes> {
    let token = token(view.state.tokens.get(owner.slot))?;
    let continues = reported.epoch == token.epoch
        && since == Some(reported.revision)
        && reported.with_private == owner.private.is_some()
        && token.revision - reported.revision.min(token.revision) < MEMORY;
    if continues && let Some(changes) = recent(view, owner, token, reported)? {
        return Ok(changes);
    }
    everything(view, owner, token, reported)
}

fn recent(
    view: &View<'_>,
    owner: Owner<'_>,
    token: &TokenState,
    reported: &mut Reported,
) -> Result<Option<Changes>> {
    let since = reported.revision;
    let removed = removed_since(view, owner, since)?;
    for id in &removed {
        reported.forget(id);
    }
    let stored = load(view, owner, token, since, reported)?;
    reported.revision = token.revision;
    Ok(reported.agrees(token).then_some(Changes {
        revision: token.revision,
        complete: false,
        stored,
        removed,
    }))
}

fn everything(
    view: &View<'_>,
    owner: Owner<'_>,
    token: &TokenState,
    reported: &mut Reported,
) -> Result<Changes> {
    if let Some(keys) = owner.private {
        token.check_private(keys)?;
    }
    *reported = Reported {
        epoch: token.epoch,
        revision: token.revision,
        with_private: owner.private.is_some(),
        ..Reported::default()
    };
    let stored = load(view, owner, token, 0, reported)?;
    if !reported.agrees(token) {
        *reported = Reported::default();
        return Err(damaged());
    }
    Ok(Changes {
        revision: token.revision,
        complete: true,
        stored,
        removed: Vec::new(),
    })
}

fn load(
    view: &View<'_>,
    owner: Owner<'_>,
    token: &TokenState,
    since: u64,
    reported: &mut Reported,
) -> Result<Vec<Stored>> {
    let mut query = view.sqlite.prepare_cached(&format!(
        "{COLUMNS} WHERE revision > ?1 AND slot = ?2 AND private <= ?3"
    ))?;
    let mut rows = query.query((since.cast_signed(), owner.column(), owner.private.is_some()))?;
    let mut stored = Vec::new();
    while let Some(row) = rows.next()? {
        let record = Record::of(row)?;
        let keys = owner.keys(view.keys, record.private)?;
        let attributes = record.attributes(keys, token)?;
        reported.take(&record, record.mark(keys, token)?)?;
        stored.try_reserve(1).map_err(memory::short)?;
        stored.push(Stored {
            id: record.id,
            attributes,
        });
    }
    Ok(stored)
}

fn removed_since(view: &View<'_>, owner: Owner<'_>, since: u64) -> Result<Vec<ObjectId>> {
    let mut query = view
        .sqlite
        .prepare_cached("SELECT id FROM removed WHERE revision > ?1 AND slot = ?2")?;
    let ids = query.query_map((since.cast_signed(), owner.column()), |row| row.get(0))?;
    Ok(ids.collect::<rusqlite::Result<_>>()?)
}

impl Reported {
    fn take(&mut self, record: &Record<'_>, mark: u128) -> Result<()> {
        self.marks.try_reserve(1).map_err(memory::short)?;
        self.forget(&record.id);
        let private = record.private;
        self.manifest(private).add(mark);
        self.marks.insert(record.id, Mark { private, mark });
        Ok(())
    }

    fn forget(&mut self, id: &ObjectId) {
        if let Some(Mark { private, mark }) = self.marks.remove(id) {
            self.manifest(private).remove(mark);
        }
    }

    fn manifest(&mut self, private: bool) -> &mut Manifest {
        if private {
            &mut self.private
        } else {
            &mut self.public
        }
    }

    fn agrees(&self, token: &TokenState) -> bool {
        self.public == token.public && (!self.with_private || self.private == token.private)
    }
}

/// Stores new objects and gives them names.
pub(super) fn insert(
    draft: &mut Draft<'_>,
    owner: Owner<'_>,
    objects: &[NewObject],
) -> Result<Vec<ObjectId>> {
    objects
        .iter()
        .map(|object| {
            let token = token(draft.state.tokens.get(owner.slot))?;
            let mut id = ObjectId::default();
            engine::random(&mut id)?;
            let sealed: Vec<Sealed> = object
                .secrets
                .iter()
                .map(|(kind, value)| {
                    let context = secret_context(token, &id, *kind);
                    let value = seal::seal(&owner.guarded()?.secret, context, value)?;
                    Ok(Sealed {
                        kind: *kind,
                        value: octets(value)?,
                    })
                })
                .collect::<Result<_>>()?;
            let secrets = encode(&sealed)?;
            put(draft, owner, id, &object.attributes, &secrets)?;
            Ok(id)
        })
        .collect()
}

/// Gives an object the attributes that `change` makes of those it has. What is private stays so.
pub(super) fn update(
    draft: &mut Draft<'_>,
    owner: Owner<'_>,
    id: &ObjectId,
    change: &mut Change<'_>,
) -> Result<()> {
    let taken = take_out(draft, owner, id)?;
    let attributes = change(id, &taken.attributes)?;
    if taken.private != attributes.is(CKA_PRIVATE) {
        return fail!(
            CKR_ATTRIBUTE_READ_ONLY,
            "CKA_PRIVATE of a stored object does not change: copy the object"
        );
    }
    put(draft, owner, *id, &attributes, &taken.secrets)
}

/// Removes objects.
pub(super) fn remove(draft: &mut Draft<'_>, owner: Owner<'_>, ids: &[ObjectId]) -> Result<()> {
    for id in ids {
        take_out(draft, owner, id)?;
        let revision = next_revision(draft, owner)?;
        draft.sqlite.execute(
            "INSERT INTO removed (revision, slot, id) VALUES (?1, ?2, ?3)",
            (revision.cast_signed(), owner.column(), id),
        )?;
        draft.sqlite.execute(
            "DELETE FROM removed WHERE revision <= ?1",
            [revision.saturating_sub(MEMORY).cast_signed()],
        )?;
    }
    Ok(())
}

/// Removes all objects of a slot, whose token starts anew.
pub(super) fn wipe(draft: &Draft<'_>, slot: usize) -> Result<()> {
    for table in ["object", "removed"] {
        draft.sqlite.execute(
            &format!("DELETE FROM {table} WHERE slot = ?1"),
            [slot as i64],
        )?;
    }
    Ok(())
}

fn put(
    draft: &mut Draft<'_>,
    owner: Owner<'_>,
    id: ObjectId,
    attributes: &Attributes,
    secrets: &[u8],
) -> Result<()> {
    let private = attributes.is(CKA_PRIVATE);
    let revision = next_revision(draft, owner)?;
    let keys = owner.keys(draft.keys, private)?;
    let token = token_mut(draft.state.tokens.get_mut(owner.slot))?;
    let context = body_context(token, &id, revision);
    let body = seal::seal(&keys.body, context, &encode_attributes(attributes)?)?;
    let record = Record {
        revision,
        id,
        private,
        body: &body,
        secrets,
    };
    let mark = record.mark(keys, token)?;
    if private {
        token.check_private(keys)?;
        token.private.add(mark);
        token.mark_private(keys)?;
    } else {
        token.public.add(mark);
    }
    draft
        .sqlite
        .prepare_cached(
            "INSERT INTO object (revision, slot, id, private, body, secrets) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute((
            revision.cast_signed(),
            owner.column(),
            id,
            private,
            &body,
            secrets,
        ))?;
    Ok(())
}

/// An object whose row has been deleted.
struct Taken {
    private: bool,
    attributes: Attributes,
    secrets: Vec<u8>,
}

/// Deletes an object's row.
fn take_out(draft: &mut Draft<'_>, owner: Owner<'_>, id: &ObjectId) -> Result<Taken> {
    let token = token_mut(draft.state.tokens.get_mut(owner.slot))?;
    let mut query = draft
        .sqlite
        .prepare_cached(&format!("{COLUMNS} WHERE id = ?1 AND slot = ?2"))?;
    let mut rows = query.query((id, owner.column()))?;
    let Some(row) = rows.next()? else {
        return Err(gone());
    };
    let record = Record::of(row)?;
    let keys = owner.keys(draft.keys, record.private)?;
    let mark = record.mark(keys, token)?;
    if record.private {
        token.check_private(keys)?;
        token.private.remove(mark);
        token.mark_private(keys)?;
    } else {
        token.public.remove(mark);
    }
    let revision = record.revision;
    let taken = Taken {
        private: record.private,
        attributes: record.attributes(keys, token)?,
        secrets: record.secrets.to_vec(),
    };
    drop(rows);
    draft.sqlite.execute(
        "DELETE FROM object WHERE revision = ?1",
        [revision.cast_signed()],
    )?;
    Ok(taken)
}

fn next_revision(draft: &mut Draft<'_>, owner: Owner<'_>) -> Result<u64> {
    draft.state.revision += 1;
    let revision = draft.state.revision;
    token_mut(draft.state.tokens.get_mut(owner.slot))?.revision = revision;
    Ok(revision)
}

/// The sealed secret values of one object, and what opens them.
pub(super) struct Secrets {
    sealed: Vec<Sealed>,
    serial: String,
    id: ObjectId,
    key: Secret,
}

impl Secrets {
    /// Of an object; `CKR_USER_NOT_LOGGED_IN` without the token's keys.
    pub(super) fn of(view: &View<'_>, owner: Owner<'_>, id: &ObjectId) -> Result<Self> {
        let token = token(view.state.tokens.get(owner.slot))?;
        let mut query = view
            .sqlite
            .prepare_cached("SELECT secrets FROM object WHERE id = ?1 AND slot = ?2")?;
        let mut rows = query.query((id, owner.column()))?;
        let row = rows.next()?.ok_or_else(gone)?;
        let sealed = row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?;
        memory::afford(sealed.len().saturating_mul(COPIES))?;
        Ok(Self {
            sealed: decode(sealed)?,
            serial: token.serial.clone(),
            id: *id,
            key: Secret::copy_of(&owner.guarded()?.secret)?,
        })
    }

    /// One of them.
    pub(super) fn get(&self, kind: CK_ATTRIBUTE_TYPE) -> Result<Option<Secret>> {
        self.sealed
            .iter()
            .find(|sealed| sealed.kind == kind)
            .map(|sealed| {
                let context = Context {
                    purpose: b"secret",
                    serial: &self.serial,
                    id: &self.id,
                    number: number(kind),
                };
                seal::open(&self.key, context, sealed.value.as_bytes())
            })
            .transpose()
    }
}

fn body_context<'a>(token: &'a TokenState, id: &'a ObjectId, revision: u64) -> Context<'a> {
    Context {
        purpose: b"body",
        serial: &token.serial,
        id,
        number: revision,
    }
}

fn secret_context<'a>(
    token: &'a TokenState,
    id: &'a ObjectId,
    kind: CK_ATTRIBUTE_TYPE,
) -> Context<'a> {
    Context {
        purpose: b"secret",
        serial: &token.serial,
        id,
        number: number(kind),
    }
}

// CK_ULONG has 32 bits on some targets.
#[allow(clippy::unnecessary_cast)]
fn number(kind: CK_ATTRIBUTE_TYPE) -> u64 {
    kind as u64
}

fn token(token: Option<&TokenState>) -> Result<&TokenState> {
    token.ok_or_else(uninitialized)
}

fn token_mut(token: Option<&mut TokenState>) -> Result<&mut TokenState> {
    token.ok_or_else(uninitialized)
}

/// The token of a slot has not been initialized.
pub(super) fn uninitialized() -> Error {
    Error::new(
        CKR_TOKEN_NOT_RECOGNIZED,
        "the token is not initialized: C_InitToken, or `nodetoken init`",
    )
}

fn gone() -> Error {
    Error::new(
        CKR_OBJECT_HANDLE_INVALID,
        "the object is no longer in the token",
    )
}

fn damaged() -> Error {
    Error::new(
        CKR_DEVICE_ERROR,
        "objects were lost, doubled or changed from outside: restore a backup",
    )
}
