//! Pairs that are made for one use on the curve of somebody's public key (PKCS#11 6.3.17, 6.3.20 to
//! 6.3.22).

use crate::crypto::{KeySpec, PublicParts, engine};
use crate::error::{Result, fail};
use crate::key;
use crate::memory::{self, Secret};
use crate::object::Object;
use cryptoki_sys::CKR_KEY_TYPE_INCONSISTENT;

/// The public half of a new pair, as a peer takes it, and what the two agree on. The pair is wiped.
/// `CKR_KEY_TYPE_INCONSISTENT` for a key that agrees on nothing.
pub(super) fn agree(public: &Object) -> Result<(Vec<u8>, Secret)> {
    public.public_key()?; // on its curve
    let theirs = key::public_parts(public.attributes())?;
    let (spec, peer) = curve_and_point(&theirs)?;
    let once = engine::generate(&spec)?;
    let (_, ours) = curve_and_point(&once.public)?;
    let secret = engine::PrivateKey::from_parts(&once)?.agree(peer)?;
    Ok((memory::copy(ours)?, secret))
}

/// The curve of a public key, and the key itself as a peer takes it. `CKR_KEY_TYPE_INCONSISTENT`.
pub(super) fn curve_and_point(public: &PublicParts) -> Result<(KeySpec, &[u8])> {
    match public {
        PublicParts::Ec { curve, point } => Ok((KeySpec::Ec(*curve), point)),
        PublicParts::X25519(point) => Ok((KeySpec::X25519, point)),
        _ => fail!(
            CKR_KEY_TYPE_INCONSISTENT,
            "this type of key agrees on no secrets"
        ),
    }
}
