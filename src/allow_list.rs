//! The allow-list: `[mechanisms]` of the configuration, by which a token offers less than it can do.
//! A client that hands its work to whatever token lists the mechanism is kept from doing so.

use crate::error::Result;
use crate::lock::Shared;
use crate::mechanism::MECHANISMS;
use crate::token::Token;
use cryptoki_sys::CK_MECHANISM_TYPE;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};

/// Every token that has no list of its own.
const OTHERS: &str = "*";

/// `[mechanisms]`: the label of a token, or `*` for all that are not named, and the mechanisms that
/// it offers. A token without a list offers all that it can do.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(from = "BTreeMap<String, Vec<Name>>")]
pub struct AllowLists(Arc<BTreeMap<String, Allowed>>);

type Allowed = Arc<[CK_MECHANISM_TYPE]>;

impl From<BTreeMap<String, Vec<Name>>> for AllowLists {
    fn from(lists: BTreeMap<String, Vec<Name>>) -> Self {
        let kinds = |names: Vec<Name>| names.into_iter().map(|name| name.0).collect();
        let lists = lists
            .into_iter()
            .map(|(label, names)| (label, kinds(names)));
        Self(Arc::new(lists.collect()))
    }
}

/// A mechanism by its name in the standard, of those that the module has.
#[derive(Deserialize)]
#[serde(try_from = "String")]
struct Name(CK_MECHANISM_TYPE);

impl TryFrom<String> for Name {
    type Error = String;

    fn try_from(name: String) -> std::result::Result<Self, String> {
        match MECHANISMS.iter().find(|row| row.name == name) {
            Some(row) => Ok(Self(row.kind)),
            None => Err(format!("the mechanism {name:?} is not known")),
        }
    }
}

/// What a token may offer, of all mechanisms.
#[derive(Debug, Clone, Default)]
pub(crate) struct Permit(Option<Allowed>);

impl Permit {
    pub(crate) fn allows(&self, kind: CK_MECHANISM_TYPE) -> bool {
        self.0
            .as_ref()
            .is_none_or(|allowed| allowed.contains(&kind))
    }
}

/// The permit of the token in one slot.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    lists: AllowLists,
    /// The permit, and which token it was whose label was read, at which of its revisions: who gives
    /// a token another label, perhaps in another process, makes another revision.
    seen: RwLock<Option<((u64, u64), Permit)>>,
}

impl Gate {
    pub(crate) fn new(lists: AllowLists) -> Self {
        Self {
            lists,
            seen: RwLock::default(),
        }
    }

    /// What the token may offer now. Without any list that asks nobody.
    pub(crate) fn permit(&self, token: &dyn Token) -> Result<Permit> {
        let lists = &self.lists.0;
        if lists.is_empty() {
            return Ok(Permit::default());
        }
        let now = (token.removals(), token.revision()?);
        if let Some((at, permit)) = &*self.seen.reading()
            && *at == now
        {
            return Ok(permit.clone());
        }
        let label = token.label()?;
        let permit = Permit(lists.get(&label).or_else(|| lists.get(OTHERS)).cloned());
        *self.seen.writing() = Some((now, permit.clone()));
        Ok(permit)
    }
}
