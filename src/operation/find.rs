//! Searching for objects (PKCS#11 5.7.7 to 5.7.9).

use super::objects::is_mark;
use super::{advance, none_active, take};
use crate::attribute::Template;
use crate::error::Result;
use crate::memory;
use crate::session::Session;
use cryptoki_sys::*;

/// A search: the handles that matched when it began.
pub struct Search {
    found: std::vec::IntoIter<CK_OBJECT_HANDLE>,
}

impl Session {
    /// C_FindObjectsInit.
    pub fn find_init(&self, template: &Template<'_>) -> Result<()> {
        let mut operations = self.operations();
        none_active(&operations.find)?;
        let found = match template.iter().any(|(attribute, _)| is_mark(attribute)) {
            true => Vec::new(),
            false => self.find_all(template)?,
        };
        operations.find = Some(Search {
            found: found.into_iter(),
        });
        Ok(())
    }

    /// C_FindObjects: at most `most` more handles; none when there are no more.
    pub fn find(&self, most: usize) -> Result<Vec<CK_OBJECT_HANDLE>> {
        advance(&mut self.operations().find, |search| {
            memory::gather(search.found.by_ref().take(most))
        })
    }

    /// C_FindObjectsFinal.
    pub fn find_final(&self) -> Result<()> {
        take(&mut self.operations().find).map(drop)
    }

    /// Every object that matches, at once.
    pub fn find_all(&self, template: &Template<'_>) -> Result<Vec<CK_OBJECT_HANDLE>> {
        self.slot.token().survey(template.ulong(CKA_CLASS))?;
        let mut found = self.slot.objects()?.find(template)?;
        found.extend(self.slot.built_in(template)?);
        Ok(found)
    }
}
