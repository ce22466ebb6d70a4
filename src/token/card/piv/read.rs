//! Reading a PIV card: which data objects there are, and what they stand for.

use super::content::Content;
use super::slots::{self, DataObject, KeySlot};
use super::{MANUFACTURER, Piv, commands};
use crate::attribute::Attributes;
use crate::log;
use crate::token::card::apdu::{Failure, Result, Talk, refuse};
use crate::token::card::tlv;
use crate::token::card::transport::Fault;
use crate::token::{ObjectId, Stored};
use cryptoki_sys::*;
use der::Encode;
use der::asn1::ObjectIdentifier;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

/// How long a reading serves another look: a client finds a certificate, logs in, and finds its key.
/// What others write is seen that much later, which the token takes into account.
const LATELY: Duration = Duration::from_secs(5);
/// The oldest YubiKey that says what keys it has.
const METADATA_SINCE: [u8; 3] = [5, 3, 0];

/// A reading of the certificates' data objects.
pub(super) struct Reading {
    since: Instant,
    history: Option<Zeroizing<Vec<u8>>>,
}

impl Reading {
    /// It serves again, for a search right after a login.
    pub(super) fn is_fresh(&self) -> bool {
        self.since.elapsed() < LATELY
    }
}

impl Piv {
    pub(super) fn version(&mut self, talk: &mut Talk<'_>) -> Result<Option<[u8; 3]>> {
        match self.version {
            Some(known) => Ok(known),
            None => Ok(*self.version.insert(commands::version(talk)?)),
        }
    }

    /// Reads one certificate's data object. What cannot be understood is left out, and said.
    pub(super) fn read_content(&self, talk: &mut Talk<'_>, slot: KeySlot) -> Result<Content> {
        let Some(value) = commands::get(talk, slot.container)? else {
            return Ok(Content::default());
        };
        match Content::parse(&value) {
            Ok(content) => Ok(content),
            Err(Failure::Fault(Fault::Error(error))) => {
                let line = format!("{} of the card is left out: {error}", slot.label());
                log::write(log::Level::Error, &line);
                Ok(Content {
                    strange: true,
                    ..Content::default()
                })
            }
            Err(failure) => Err(failure),
        }
    }

    /// Reads the certificates' data objects: those that every card has, and as many retired ones as
    /// the key history says. A YubiKey keeps no history: there each is asked for.
    pub(super) fn read_contents(&mut self, talk: &mut Talk<'_>) -> Result<()> {
        let since = Instant::now();
        let mut contents = BTreeMap::new();
        for slot in slots::main() {
            contents.insert(slot.reference, self.read_content(talk, slot)?);
        }
        let history = commands::get(talk, slots::KEY_HISTORY.tag)?;
        let mut expected = match &history {
            Some(history) => on_card(history),
            None if self.version(talk)?.is_some() => usize::from(slots::RETIRED_COUNT),
            None => 0,
        };
        for slot in slots::retired() {
            if expected == 0 {
                break;
            }
            let content = self.read_content(talk, slot)?;
            if !content.is_empty() || history.is_none() {
                expected -= 1;
            }
            contents.insert(slot.reference, content);
        }
        // Where this module has made the card empty, what it has not noted is nothing.
        let managed = self.managed;
        for slot in slots::main().filter(|_| !managed) {
            let known = contents.get(&slot.reference).is_some_and(|c| !c.is_empty());
            if !known && let Some(content) = self.content_by_metadata(talk, slot)? {
                contents.insert(slot.reference, content);
            }
        }
        if self.version(talk)?.is_some() {
            let maker = self.read_content(talk, slots::ATTESTATION)?;
            if let Some(certificate) = &maker.certificate {
                let content = Content::of_maker(slots::ATTESTATION, certificate)?;
                contents.insert(slots::ATTESTATION.reference, content);
            }
        }
        self.contents = contents;
        self.algorithms.clear();
        self.reading = Some(Reading { since, history });
        Ok(())
    }

    /// What is in the certificates' data objects is not known any more.
    pub(super) fn forget_reading(&mut self) {
        self.reading = None;
        self.algorithms.clear();
    }

    /// The value of a data object; that of the key history has been read with the certificates.
    pub(super) fn value(
        &self,
        talk: &mut Talk<'_>,
        kind: &DataObject,
    ) -> Result<Option<Zeroizing<Vec<u8>>>> {
        match &self.reading {
            Some(reading) if kind.tag == slots::KEY_HISTORY.tag => Ok(reading.history.clone()),
            _ => commands::get(talk, kind.tag),
        }
    }

    /// The algorithm by which a key is used.
    pub(super) fn algorithm(
        &mut self,
        talk: &mut Talk<'_>,
        slot: KeySlot,
        id: &ObjectId,
    ) -> Result<u8> {
        if let Some(known) = self.algorithms.get(id) {
            return Ok(*known);
        }
        let content = self.content(talk, slot)?;
        let is_there = content.has(CKO_PRIVATE_KEY) && content.id(slot, CKO_PRIVATE_KEY) == *id;
        let Some(public) = content.public().filter(|_| is_there) else {
            return refuse!(
                CKR_KEY_HANDLE_INVALID,
                "the key, or its certificate, is not on the card any more"
            );
        };
        let algorithm = commands::algorithm_of(&public.spec())?;
        self.algorithms.insert(*id, algorithm);
        Ok(algorithm)
    }

    /// What a YubiKey says of a key; nothing where there is none, or no YubiKey.
    pub(super) fn metadata(
        &mut self,
        talk: &mut Talk<'_>,
        slot: KeySlot,
    ) -> Result<Zeroizing<Vec<u8>>> {
        let version = self.version(talk)?;
        if self.silent || version.is_none_or(|version| version < METADATA_SINCE) {
            return Ok(Zeroizing::default());
        }
        let metadata = commands::metadata(talk, slot.reference)?;
        // A card that says yes and nothing more has no metadata.
        self.silent = metadata.as_ref().is_some_and(|said| said.is_empty());
        Ok(metadata.unwrap_or_default())
    }

    /// What a YubiKey knows of a key that has no certificate yet.
    pub(super) fn content_by_metadata(
        &mut self,
        talk: &mut Talk<'_>,
        slot: KeySlot,
    ) -> Result<Option<Content>> {
        let metadata = self.metadata(talk, slot)?;
        let Ok(objects) = tlv::all(&metadata) else {
            return Ok(None);
        };
        let (Some([algorithm]), Some(public)) = (tlv::find(&objects, 1), tlv::find(&objects, 4))
        else {
            return Ok(None);
        };
        let specs = commands::specs();
        let Some(spec) = specs
            .into_iter()
            .find(|spec| commands::algorithm_of(spec).is_ok_and(|known| known == *algorithm))
        else {
            return Ok(None);
        };
        let public = commands::public_of(public, &spec)?;
        let mut content = Content::default();
        content.set_public(&public)?;
        for class in [CKO_PRIVATE_KEY, CKO_PUBLIC_KEY] {
            content.put_derived(slot, class)?;
        }
        Ok(Some(content))
    }

    /// What lies in the place of a key; read now where it has not been.
    pub(super) fn content(&mut self, talk: &mut Talk<'_>, slot: KeySlot) -> Result<&Content> {
        if !self.contents.contains_key(&slot.reference) {
            let content = self.read_content(talk, slot)?;
            self.contents.insert(slot.reference, content);
        }
        Ok(self.contents.entry(slot.reference).or_default())
    }

    /// Every key, certificate and data object with its place.
    pub(super) fn objects(&self) -> Result<Vec<(KeySlot, Stored)>> {
        let mut all: Vec<(KeySlot, Stored)> = Vec::new();
        for (reference, content) in &self.contents {
            let Some(slot) = KeySlot::of(*reference) else {
                continue;
            };
            for mut object in content.objects(slot)? {
                // The same certificate may lie in two places.
                while all.iter().any(|(_, other)| other.id == object.id) {
                    let [.., last] = &mut object.id;
                    *last = last.wrapping_add(1);
                }
                all.push((slot, object));
            }
        }
        Ok(all)
    }

    pub(super) fn data_object(
        &self,
        talk: &mut Talk<'_>,
        kind: &DataObject,
    ) -> Result<Option<Stored>> {
        let Some(value) = self.value(talk, kind)? else {
            return Ok(None);
        };
        let mut attributes = Attributes::new();
        attributes.set_ulong(CKA_CLASS, CKO_DATA);
        for (attribute, is) in [
            (CKA_TOKEN, true),
            (CKA_PRIVATE, kind.private),
            (CKA_MODIFIABLE, false),
            (CKA_COPYABLE, true),
            (CKA_DESTROYABLE, true),
        ] {
            attributes.set_bool(attribute, is);
        }
        attributes.set(CKA_LABEL, kind.name.as_bytes());
        attributes.set(CKA_APPLICATION, MANUFACTURER.as_bytes());
        attributes.set(CKA_OBJECT_ID, object_id(kind)?);
        attributes.set(CKA_VALUE, value.as_slice());
        Ok(Some(Stored {
            id: kind.id(),
            attributes,
        }))
    }
}

/// The object identifier of a data object, DER.
pub(super) fn object_id(kind: &DataObject) -> Result<Vec<u8>> {
    let arcs = [2, 16, 840, 1, 101, 3, 7].iter().chain(kind.oid).copied();
    let der = ObjectIdentifier::from_arcs(arcs)
        .ok()
        .and_then(|oid| oid.to_der().ok());
    match der {
        Some(der) => Ok(der),
        None => refuse!(CKR_GENERAL_ERROR, "a data object has no identifier"),
    }
}

/// keysWithOnCardCerts of the key history (Part 1, 3.3.3).
pub(super) fn on_card(history: &[u8]) -> usize {
    let objects = tlv::all(history).unwrap_or_default();
    let count = match tlv::find(&objects, 0xc1) {
        Some([count]) => *count,
        _ => 0,
    };
    usize::from(count.min(slots::RETIRED_COUNT))
}
