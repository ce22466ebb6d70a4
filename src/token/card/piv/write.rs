//! Writing to a PIV card: keys, certificates, data; and making it empty.
//!
//! What belongs to one key lies in one data object and is written at once: a card that is pulled out
//! has the old or the new. A change of several data objects is taken back where one fails.

use super::Piv;
use super::admin::SoPin;
use super::commands;
use super::content::Content;
use super::read::{object_id, on_card};
use super::record::{self, CardRecord};
use super::slots::{self, DATA_OBJECTS, DataObject, KeySlot};
use crate::attribute::Attributes;
use crate::crypto::{Curve, KeySpec, PublicParts, engine, trim};
use crate::error::Error;
use crate::log;
use crate::memory::Secret;
use crate::token::card::apdu::{Failure, Result, Talk, refuse};
use crate::token::card::application::{Login, Made};
use crate::token::card::tlv;
use crate::token::card::transport::Fault;
use crate::token::{CHIP_KEY, Change, FREE_KEY, NewObject, ObjectId, never_leaves};
use cryptoki_sys::*;
use std::collections::{BTreeMap, BTreeSet};

/// What fills a FASC-N that means nothing: no agency, no card of a government (SP 800-73-4 Part 1,
/// 3.1.2; the value that software without one writes).
const NO_FASC_N: [u8; 25] = [
    0xd4, 0xe7, 0x39, 0xda, 0x73, 0x9c, 0xed, 0x39, 0xce, 0x73, 0x9d, 0x83, 0x68, 0x58, 0x21, 0x08,
    0x42, 0x10, 0x84, 0x21, 0xc8, 0x42, 0x10, 0xc3, 0xeb,
];
/// "Never": the expiration date of a CHUID.
const NO_EXPIRATION: &[u8] = b"20991231";
const GUID_LEN: usize = 16;
const NONCE_LEN: usize = 16;

/// What is to be written, not done yet.
#[derive(Default)]
struct Plan {
    /// Certificates' data objects, by key reference.
    contents: BTreeMap<u8, Content>,
    /// Other data objects with their values; empty: to be removed.
    data: Vec<(&'static DataObject, Vec<u8>)>,
    /// Keys to be destroyed.
    keys: Vec<u8>,
}

impl Piv {
    fn planned<'a>(&'a self, plan: &'a Plan, slot: KeySlot) -> Option<&'a Content> {
        let planned = plan.contents.get(&slot.reference);
        planned.or_else(|| self.contents.get(&slot.reference))
    }

    fn plan<'a>(&self, plan: &'a mut Plan, slot: KeySlot) -> &'a mut Content {
        let now = self.contents.get(&slot.reference);
        plan.contents
            .entry(slot.reference)
            .or_insert_with(|| now.cloned().unwrap_or_default())
    }

    /// Whether nothing is known to lie there, nor to come there.
    fn is_free(&self, plan: &Plan, slot: KeySlot) -> bool {
        self.planned(plan, slot).is_none_or(Content::is_empty)
    }

    /// Reads retired places that the key history does not speak of, until so many are known to be
    /// free: other programs write there without counting.
    fn find_room(&mut self, talk: &mut Talk<'_>, wanted: usize) -> Result<()> {
        let mut found = 0;
        for slot in slots::retired() {
            if found >= wanted {
                break;
            }
            self.content(talk, slot)?;
            found += usize::from(self.is_free(&Plan::default(), slot));
        }
        Ok(())
    }

    /// Whether a key may be made there, by what the card tells now. Where this module has made the
    /// card empty, what it has not noted is nothing.
    fn takes_a_key(&mut self, talk: &mut Talk<'_>, slot: KeySlot) -> Result<bool> {
        let free = self.content(talk, slot)?.is_without_objects();
        Ok(free && (self.managed || self.metadata(talk, slot)?.is_empty()))
    }

    /// The first retired place that nothing is known to lie in.
    fn free_place(&self, plan: &Plan) -> Result<KeySlot> {
        let free = slots::retired().find(|slot| self.is_free(plan, *slot));
        free.ok_or_else(|| {
            Failure::from(Error::new(
                CKR_DEVICE_MEMORY,
                "every place of the card is taken: destroy what is not needed any more",
            ))
        })
    }

    /// The places where a new key may go, best first.
    ///
    /// One that the caller names by CKA_ID is taken at its word. Else a card that others have
    /// personalized may hold keys without certificates, which nothing tells: there only the retired
    /// places are used.
    fn places_for_key(&self, private: &Attributes) -> Result<Vec<KeySlot>> {
        let free = |slot: &KeySlot| self.is_free(&Plan::default(), *slot);
        let always = private.is(CKA_ALWAYS_AUTHENTICATE);
        let named = KeySlot::named(private.get(CKA_ID).unwrap_or_default()).filter(free);
        if let Some(named) = named
            && (!always || named.always_asks())
        {
            return Ok(vec![named]);
        }
        let main = slots::main().filter(|slot| self.managed || slot.always_asks() && always);
        let mut places: Vec<_> = main
            .filter(|slot| !slot.never_asks())
            .chain(slots::retired())
            .filter(|slot| slot.always_asks() == always)
            .collect();
        // Where a key was to come and never did is the last resort.
        let content = |slot: &KeySlot| self.contents.get(&slot.reference);
        places.retain(|slot| content(slot).is_none_or(Content::is_without_objects));
        places.sort_by_key(|slot| !free(slot));
        match places.is_empty() {
            false => Ok(places),
            true if always => refuse!(
                CKR_TEMPLATE_INCONSISTENT,
                "only the key for digital signatures (9C) asks for the PIN each time, and it is taken"
            ),
            true => Err(no_place()),
        }
    }

    pub(super) fn make_key(
        &mut self,
        talk: &mut Talk<'_>,
        login: &Login,
        spec: &KeySpec,
        private: &Attributes,
    ) -> Result<Made> {
        never_leaves(private)?;
        if let KeySpec::Rsa { exponent, .. } = spec
            && trim(exponent) != [1, 0, 1]
        {
            return refuse!(
                CKR_TEMPLATE_INCONSISTENT,
                "a PIV card makes RSA keys with the public exponent 65537 only"
            );
        }
        commands::algorithm_of(spec)?;
        let free = private.get(CKA_PRIVATE) == Some(&[CK_FALSE]);
        self.administer(talk, login)?;
        self.read_contents(talk)?;
        self.forget_reading();
        let mut refusal = None;
        if let Some(named) = KeySlot::named(private.get(CKA_ID).unwrap_or_default()) {
            self.content(talk, named)?;
        }
        for slot in self.places_for_key(private)? {
            if free != slot.never_asks() {
                return refuse!(
                    CKR_TEMPLATE_INCONSISTENT,
                    "the card uses the key of 9E (CKA_ID 04) without a PIN, and no other: there, and only \
                     there, CKA_PRIVATE is to be false"
                );
            }
            if !self.takes_a_key(talk, slot)? {
                continue;
            }
            match commands::generate(talk, slot.reference, spec) {
                Ok(public) => {
                    self.reserve(talk, slot, &public)?;
                    let mut said = Attributes::new();
                    said.set_bool(CKA_PRIVATE, !slot.never_asks());
                    said.set_bool(CKA_ALWAYS_AUTHENTICATE, slot.always_asks());
                    if slot.never_asks() {
                        said.set_bool(FREE_KEY, true);
                    }
                    if private.get(CKA_ID).is_none_or(<[u8]>::is_empty) {
                        said.set(CKA_ID, [slot.number]);
                    }
                    return Ok(Made {
                        public,
                        private: said,
                        reference: Secret::copy_of(&[slot.reference])?,
                    });
                }
                // Not every card has every retired key, nor every algorithm in each.
                Err(Failure::Refused { status, what }) if slot.is_retired() => {
                    refusal = Some(Failure::Refused { status, what });
                }
                Err(failure) => return Err(failure),
            }
        }
        Err(refusal.unwrap_or_else(no_place))
    }

    /// Notes whose key is to come to a place, so that no other is made there before its objects are
    /// written: by another thread, or by another program of this module.
    fn reserve(&mut self, talk: &mut Talk<'_>, slot: KeySlot, public: &PublicParts) -> Result<()> {
        let mut content = Content::default();
        content.set_public(public)?;
        commands::put(talk, slot.container, &content.to_value()?)?;
        self.contents.insert(slot.reference, content);
        if slot.is_retired() {
            self.keep_history(talk)?;
        }
        Ok(())
    }

    pub(super) fn write_objects(
        &mut self,
        talk: &mut Talk<'_>,
        login: &Login,
        new: &[NewObject],
        removed: &[ObjectId],
    ) -> Result<Vec<ObjectId>> {
        let done = self.try_to_write(talk, login, new, removed);
        if matches!(&done, Err(Failure::Fault(Fault::Error(_)))) {
            // The places of keys that do not come are free again, if the card is still there.
            for slot in new.iter().filter_map(made_in) {
                let freed = commands::put(talk, slot.container, &[]);
                if freed.is_ok() {
                    self.contents.remove(&slot.reference);
                }
            }
        }
        done
    }

    fn try_to_write(
        &mut self,
        talk: &mut Talk<'_>,
        login: &Login,
        new: &[NewObject],
        removed: &[ObjectId],
    ) -> Result<Vec<ObjectId>> {
        self.read_contents(talk)?;
        // Each may move another one.
        self.find_room(talk, 2 * new.len())?;
        let mut plan = Plan::default();
        for id in removed {
            self.plan_removal(&mut plan, id)?;
        }
        // A key's place is known first; its public half and its certificate follow it.
        let mut ids = vec![ObjectId::default(); new.len()];
        let is_private = |object: &NewObject| object.attributes.class() == Some(CKO_PRIVATE_KEY);
        for keys in [true, false] {
            for (id, object) in ids.iter_mut().zip(new) {
                if is_private(object) == keys {
                    *id = self.plan_object(&mut plan, object)?;
                }
            }
        }
        self.administer(talk, login)?;
        self.carry_out(talk, plan)?;
        Ok(ids)
    }

    pub(super) fn update_objects(
        &mut self,
        talk: &mut Talk<'_>,
        login: &Login,
        ids: &[ObjectId],
        change: &mut Change<'_>,
    ) -> Result<()> {
        self.read_contents(talk)?;
        let mut plan = Plan::default();
        for id in ids {
            if standard_object(id).is_some() {
                return refuse!(
                    CKR_ATTRIBUTE_READ_ONLY,
                    "the data objects of PIV have the attributes of the standard"
                );
            }
            let (slot, class) = self.place_of(id)?;
            let content = self.plan(&mut plan, slot);
            let now = content.attributes(slot, class)?.unwrap_or_default();
            let then = change(id, &now)?;
            content.put(slot, class, &then)?;
        }
        self.administer(talk, login)?;
        self.carry_out(talk, plan)
    }

    /// Where an object lies, and its class.
    fn place_of(&self, id: &ObjectId) -> Result<(KeySlot, CK_OBJECT_CLASS)> {
        let objects = self.objects()?;
        let found = objects.iter().find(|(_, object)| object.id == *id);
        match found.and_then(|(slot, object)| Some((*slot, object.attributes.class()?))) {
            Some(found) => Ok(found),
            None => refuse!(
                CKR_OBJECT_HANDLE_INVALID,
                "the object is not on the card any more"
            ),
        }
    }

    fn plan_removal(&self, plan: &mut Plan, id: &ObjectId) -> Result<()> {
        if let Some(kind) = standard_object(id) {
            plan.data.push((kind, Vec::new()));
            return Ok(());
        }
        let (slot, class) = self.place_of(id)?;
        self.plan(plan, slot).take(class)?;
        if class == CKO_PRIVATE_KEY {
            plan.keys.push(slot.reference);
        }
        Ok(())
    }

    fn plan_object(&self, plan: &mut Plan, object: &NewObject) -> Result<ObjectId> {
        let attributes = &object.attributes;
        let class = attributes.class().unwrap_or(CK_UNAVAILABLE_INFORMATION);
        if class == CKO_DATA
            && let Some(kind) = standard_named(attributes.get(CKA_OBJECT_ID).unwrap_or_default())?
        {
            return plan_standard(plan, kind, attributes);
        }
        let slot = self.place_for(plan, object, class)?;
        if class == CKO_CERTIFICATE {
            self.make_room(plan, slot, attributes.get(CKA_VALUE).unwrap_or_default())?;
        }
        let content = self.plan(plan, slot);
        match class {
            CKO_PRIVATE_KEY => {
                *content = Content::default();
                content.set_public(&crate::key::public_parts(attributes)?)?;
            }
            CKO_PUBLIC_KEY => content.set_public(&crate::key::public_parts(attributes)?)?,
            CKO_CERTIFICATE => {
                content.set_certificate(attributes.get(CKA_VALUE).unwrap_or_default())?;
            }
            _ => {
                let mut nonce = [0; NONCE_LEN];
                engine::random(&mut nonce)?;
                content.set_nonce(&nonce)?;
            }
        }
        content.put(slot, class, attributes)?;
        Ok(content.id(slot, class))
    }

    /// The newest certificate of a key lies with it, where every program looks for it: an older one
    /// moves elsewhere. What a visit that was broken off has done already is not done again.
    fn make_room(&self, plan: &mut Plan, slot: KeySlot, newest: &[u8]) -> Result<()> {
        let lies_in = |plan: &Plan, slot, certificate: &[u8]| {
            let content = self.planned(plan, slot);
            content.is_some_and(|content| content.certificate.as_deref() == Some(certificate))
        };
        let older = self.planned(plan, slot).and_then(|content| {
            let certificate = content.certificate.clone()?;
            Some((certificate, content.attributes(slot, CKO_CERTIFICATE)))
        });
        let Some((certificate, attributes)) = older else {
            return Ok(());
        };
        self.plan(plan, slot).take(CKO_CERTIFICATE)?;
        let moved = slots::retired().any(|place| lies_in(plan, place, &certificate));
        if moved || certificate == newest {
            return Ok(());
        }
        let free = self.free_place(plan)?;
        let content = self.plan(plan, free);
        content.set_certificate(&certificate)?;
        Ok(content.put(free, CKO_CERTIFICATE, &attributes?.unwrap_or_default())?)
    }

    /// Where an object goes: to its key, where it has one here; to the place that its CKA_ID names,
    /// on a card whose keys nothing else tells; else to a free one.
    fn place_for(
        &self,
        plan: &Plan,
        object: &NewObject,
        class: CK_OBJECT_CLASS,
    ) -> Result<KeySlot> {
        let attributes = &object.attributes;
        if attributes.is(CKA_PRIVATE) && class != CKO_PRIVATE_KEY {
            return refuse!(
                CKR_TEMPLATE_INCONSISTENT,
                "what is written to a PIV card can be read by everybody: CKA_PRIVATE cannot be true"
            );
        }
        match class {
            CKO_PRIVATE_KEY => {
                return match made_in(object) {
                    Some(slot) => Ok(slot),
                    None => refuse!(CKR_FUNCTION_NOT_SUPPORTED, "the card did not make this key"),
                };
            }
            CKO_DATA => return self.free_place(plan),
            CKO_PUBLIC_KEY | CKO_CERTIFICATE => {}
            _ => {
                return refuse!(
                    CKR_TEMPLATE_INCONSISTENT,
                    "a PIV card keeps no secret keys: keep it in the session (CKA_TOKEN false)"
                );
            }
        }
        let info = attributes.get(CKA_PUBLIC_KEY_INFO).unwrap_or_default();
        let with_key = slots::all().find(|slot| {
            self.planned(plan, *slot).is_some_and(|content| {
                content.has(CKO_PRIVATE_KEY)
                    && content.public_key_info().as_deref() == Some(info)
                    && (class == CKO_CERTIFICATE || !content.has(class))
            })
        });
        if let Some(slot) = with_key {
            return Ok(slot);
        }
        let named = KeySlot::named(attributes.get(CKA_ID).unwrap_or_default());
        match named.filter(|slot| self.is_free(plan, *slot)) {
            Some(slot) if class == CKO_CERTIFICATE && !self.managed => Ok(slot),
            _ => self.free_place(plan),
        }
    }

    /// Writes what was planned.
    fn carry_out(&mut self, talk: &mut Talk<'_>, plan: Plan) -> Result<()> {
        self.forget_reading();
        let mut values = Vec::new();
        for (reference, content) in &plan.contents {
            if let Some(slot) = KeySlot::of(*reference) {
                values.push((slot.container, content.to_value()?));
            }
        }
        values.extend(
            plan.data
                .iter()
                .map(|(kind, value)| (kind.tag, value.clone())),
        );
        let mut before = Vec::new();
        for (tag, value) in &values {
            // One alone is written or not: nothing has to be taken back.
            if values.len() > 1 {
                let old = commands::get(talk, *tag)?;
                before.push((*tag, old.unwrap_or_default()));
            }
            if let Err(failure) = commands::put(talk, *tag, value) {
                before.pop();
                for (tag, old) in before.iter().rev() {
                    commands::put(talk, *tag, old)?;
                }
                return Err(failure);
            }
        }
        let retired = plan
            .contents
            .keys()
            .filter_map(|reference| KeySlot::of(*reference));
        let retired = retired.filter(|slot| slot.is_retired()).count();
        self.contents.extend(plan.contents);
        if retired > 0 {
            self.keep_history(talk)?;
        }
        for reference in plan.keys {
            self.destroy_key(talk, reference)?;
        }
        Ok(())
    }

    /// The key history says how many retired places have something in them (SP 800-73-4 Part 1,
    /// 3.3.3): by that other programs find it. Some cards count themselves, a YubiKey's programs ask
    /// for each.
    fn keep_history(&mut self, talk: &mut Talk<'_>) -> Result<()> {
        let is_taken = |slot: &KeySlot| {
            let content = self.contents.get(&slot.reference);
            content.is_some_and(|content| !content.is_empty())
        };
        let taken = slots::retired().filter(is_taken).count();
        let history = commands::get(talk, slots::KEY_HISTORY.tag)?;
        let told = history.as_ref().map(|history| on_card(history));
        if told == Some(taken) || (told.is_none() && self.version(talk)?.is_some()) {
            return Ok(());
        }
        let value = counted(history.as_deref().map_or(&[], Vec::as_slice), taken);
        commands::put(talk, slots::KEY_HISTORY.tag, &value)
    }

    /// Deletes a key; where the card cannot do that, another one takes its place and nobody knows it.
    fn destroy_key(&mut self, talk: &mut Talk<'_>, reference: u8) -> Result<()> {
        let can_delete = self.version(talk)?.is_some();
        if can_delete && commands::delete_key(talk, reference)? {
            return Ok(());
        }
        match commands::generate(talk, reference, &KeySpec::Ec(Curve::P256)) {
            Err(Failure::Refused { status, .. }) => {
                let line = format!("the card keeps a key that was destroyed, unused: {status}");
                log::write(log::Level::Error, &line);
                Ok(())
            }
            Err(failure) => Err(failure),
            Ok(_) => self.bury(talk, reference),
        }
    }

    /// A card that tells of keys without certificates would tell of the one that nobody knows: a
    /// record without objects says that there is none.
    fn bury(&mut self, talk: &mut Talk<'_>, reference: u8) -> Result<()> {
        let Some(slot) = KeySlot::of(reference) else {
            return Ok(());
        };
        let empty = self.content(talk, slot)?.is_empty();
        if self.managed || !empty || self.metadata(talk, slot)?.is_empty() {
            return Ok(());
        }
        let mut grave = Content::default();
        grave.take(CKO_PRIVATE_KEY)?;
        commands::put(talk, slot.container, &grave.to_value()?)?;
        self.contents.insert(reference, grave);
        Ok(())
    }

    /// Everything is removed, and the card gets a number of its own. Its keys are overwritten.
    pub(super) fn make_empty(
        &mut self,
        talk: &mut Talk<'_>,
        so_pin: &[u8],
        label: &str,
    ) -> Result<()> {
        let so_pin = SoPin::parse(so_pin)?;
        let Some(key) = so_pin.key else {
            return refuse!(
                CKR_PIN_INCORRECT,
                "a PIV card is made empty with its management key: give it as KEY or PUK:KEY"
            );
        };
        if let Some(puk) = so_pin.puk {
            super::admin::check_puk(talk, puk)?;
        }
        key.authenticate(talk)?;
        self.administrator = true;
        self.read_contents(talk)?;
        let mut plan = Plan::default();
        // Others may have made keys in the main places that nothing tells of.
        let mut keys: BTreeSet<u8> = slots::main().map(|slot| slot.reference).collect();
        for (reference, content) in &self.contents {
            if content.is_empty() || *reference == slots::ATTESTATION.reference {
                continue;
            }
            plan.contents.insert(*reference, Content::default());
            if content.has(CKO_PRIVATE_KEY) || content.is_without_objects() {
                keys.insert(*reference);
            }
        }
        // First, for afterwards nothing tells of them: who begins again finds what is left.
        for reference in keys {
            self.destroy_key(talk, reference)?;
        }
        for kind in DATA_OBJECTS {
            let kept = [slots::DISCOVERY, slots::KEY_HISTORY, slots::CHUID].contains(kind);
            if !kept && !kind.private && commands::get(talk, kind.tag)?.is_some() {
                plan.data.push((kind, Vec::new()));
            }
        }
        self.carry_out(talk, plan)?;
        // What only the user reads cannot be looked for. Not every card has a place for each.
        for kind in DATA_OBJECTS.iter().filter(|kind| kind.private) {
            match commands::put(talk, kind.tag, &[]) {
                Err(Failure::Refused { status, .. }) if status.is_of_no_such_object() => {}
                answer => answer?,
            }
        }
        commands::put(talk, slots::CHUID.tag, &new_chuid(label)?)?;
        self.managed = true;
        Ok(())
    }
}

fn no_place() -> Failure {
    let reason = "every place for a key on the card is taken";
    Error::new(CKR_DEVICE_MEMORY, reason).into()
}

/// Where the card made this private key.
fn made_in(object: &NewObject) -> Option<KeySlot> {
    let reference = object.secrets.iter().find(|secret| secret.0 == CHIP_KEY)?;
    KeySlot::of(*reference.1.first()?)
}

/// A card holder unique identifier for a card of nobody (SP 800-73-4 Part 1, 3.1.2), with our label.
fn new_chuid(label: &str) -> Result<Vec<u8>> {
    let mut guid = [0; GUID_LEN];
    engine::random(&mut guid)?;
    // A random UUID (RFC 9562, 5.4).
    for (at, keep, set) in [(6, 0x0f, 0x40), (8, 0x3f, 0x80)] {
        if let Some(byte) = guid.get_mut(at) {
            *byte = *byte & keep | set;
        }
    }
    let record = CardRecord {
        label: label.to_owned(),
    };
    let mut chuid = Vec::new();
    tlv::push(&mut chuid, super::FASC_N, &NO_FASC_N);
    tlv::push(&mut chuid, super::GUID, &guid);
    tlv::push(&mut chuid, 0x35, NO_EXPIRATION);
    tlv::push(&mut chuid, record::TAG, &record::encode(&record)?);
    tlv::push(&mut chuid, 0x3e, &[]);
    tlv::push(&mut chuid, 0xfe, &[]);
    Ok(chuid)
}

/// A key history that counts so many certificates on the card. What it says of certificates that are
/// elsewhere is other programs'.
fn counted(history: &[u8], taken: usize) -> Vec<u8> {
    let before = tlv::all(history).unwrap_or_default();
    let elsewhere = tlv::find(&before, 0xc2).unwrap_or(&[0]);
    let mut value = Vec::new();
    tlv::push(&mut value, 0xc1, &[taken as u8]);
    tlv::push(&mut value, 0xc2, elsewhere);
    if let Some(address) = tlv::find(&before, 0xf3) {
        tlv::push(&mut value, 0xf3, address);
    }
    tlv::push(&mut value, 0xfe, &[]);
    value
}

/// The data object of the standard that an object is.
fn standard_object(id: &ObjectId) -> Option<&'static DataObject> {
    DATA_OBJECTS.iter().find(|kind| kind.id() == *id)
}

/// The data object of the standard that CKA_OBJECT_ID names.
fn standard_named(oid: &[u8]) -> Result<Option<&'static DataObject>> {
    for kind in DATA_OBJECTS {
        let der = object_id(kind)?;
        // Some clients give the contents of the DER value alone.
        if der == oid || der.get(2..) == Some(oid) {
            return Ok(Some(kind));
        }
    }
    Ok(None)
}

fn plan_standard(
    plan: &mut Plan,
    kind: &'static DataObject,
    attributes: &Attributes,
) -> Result<ObjectId> {
    let label = attributes.get(CKA_LABEL).unwrap_or_default();
    if !label.is_empty() && label != kind.name.as_bytes() {
        return refuse!(
            CKR_ATTRIBUTE_VALUE_INVALID,
            "the label of this data object is {:?} on every PIV card",
            kind.name
        );
    }
    if attributes.is(CKA_PRIVATE) != kind.private {
        return refuse!(
            CKR_TEMPLATE_INCONSISTENT,
            "CKA_PRIVATE of {:?} is {} on every PIV card",
            kind.name,
            kind.private
        );
    }
    let value = attributes.get(CKA_VALUE).unwrap_or_default();
    if value.is_empty() {
        return refuse!(CKR_TEMPLATE_INCOMPLETE, "a data object needs a CKA_VALUE");
    }
    plan.data.push((kind, value.to_vec()));
    Ok(kind.id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_history_keeps_what_it_says_of_other_places() {
        let none = [0xc1, 1, 2, 0xc2, 1, 0, 0xfe, 0];
        assert_eq!(counted(&[], 2), none);
        assert_eq!(counted(&none, 2), none);
        let elsewhere = [0xc1, 1, 2, 0xc2, 1, 3, 0xf3, 2, b'h', b't', 0xfe, 0];
        let more = counted(&elsewhere, 4);
        assert_eq!((more[2], &more[3..]), (4, &elsewhere[3..]));
    }
}
