//! Handles: numbers that a caller holds, never given out twice in a process.

use crate::error::Result;
use crate::lock::Shared;
use crate::memory;
use cryptoki_sys::CK_ULONG;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};

static LAST: AtomicU64 = AtomicU64::new(0);

/// A handle that no object and no session of this process has had before, also not before the last
/// C_Finalize. Zero is CK_INVALID_HANDLE and never comes.
pub fn next() -> CK_ULONG {
    (LAST.fetch_add(1, Ordering::Relaxed) + 1) as CK_ULONG
}

/// What the handles mean. Locked for the look-up only; the caller works on the `Arc`.
#[derive(Debug)]
pub struct Handles<T> {
    map: RwLock<HashMap<CK_ULONG, Arc<T>>>,
}

impl<T> Default for Handles<T> {
    fn default() -> Self {
        Self {
            map: RwLock::default(),
        }
    }
}

impl<T> Handles<T> {
    /// What a handle means.
    pub fn get(&self, handle: CK_ULONG) -> Option<Arc<T>> {
        self.map.reading().get(&handle).cloned()
    }

    /// Gives `value` its handle. `CKR_HOST_MEMORY`.
    pub fn insert(&self, handle: CK_ULONG, value: Arc<T>) -> Result<()> {
        let mut map = self.map.writing();
        map.try_reserve(1).map_err(memory::short)?;
        map.insert(handle, value);
        Ok(())
    }

    /// Takes a handle out of use.
    pub fn remove(&self, handle: CK_ULONG) -> Option<Arc<T>> {
        self.map.writing().remove(&handle)
    }

    /// Everything that has a handle now.
    pub fn all(&self) -> Vec<Arc<T>> {
        self.map.reading().values().cloned().collect()
    }
}
