//! Pairs that are made for one use on the curve of somebody's public key (PKCS#11 6.3.17, 6.3.20 to
//! 6.3.22).

use crate::crypto::engine;
use crate::error::Result;
use crate::key;
use crate::memory::{self, Secret};
use crate::object::Object;

/// The public half of a new pair, as a peer takes it, and what the two agree on. The pair is wiped.
/// `CKR_KEY_TYPE_INCONSISTENT` for a key that agrees on nothing.
pub(super) fn agree(public: &Object) -> Result<(Vec<u8>, Secret)> {
    public.public_key()?; // on its curve
    let theirs = key::public_parts(public.attributes())?;
    let peer = key::agreeing_point(&theirs)?;
    let once = engine::generate(&theirs.spec())?;
    let secret = engine::PrivateKey::from_parts(&once)?.agree(peer)?;
    Ok((memory::copy(key::agreeing_point(&once.public)?)?, secret))
}
