//! Random numbers (PKCS#11 5.20).

use crate::crypto::{CipherMode, Direction, Hash, engine};
use crate::error::Result;
use crate::lock::Locked;
use crate::memory::Secret;
use crate::session::Session;
use std::sync::{Mutex, OnceLock};
use zeroize::Zeroizing;

/// Longest request that the engine is given at once.
const PIECE: usize = 1 << 16;

/// What callers have given to C_SeedRandom for a token, all of it in 32 bytes.
///
/// The engine's generator seeds itself and takes nothing from outside. So its numbers are encrypted
/// under a key that hangs on the seeds and on numbers of its own: whoever knows all seeds has what
/// the engine gives, no less, and who could foresee the engine must know the seeds besides.
#[derive(Default)]
pub(crate) struct Seeds(OnceLock<Mutex<Secret>>);

impl Seeds {
    fn add(&self, seed: &[u8]) -> Result<()> {
        let pool = match self.0.get() {
            Some(pool) => pool,
            None => {
                let empty = Mutex::new(Secret::zeroed(Hash::Sha256.len())?);
                self.0.get_or_init(|| empty)
            }
        };
        let mut pool = pool.locked();
        *pool = Secret::copy_of(&digest(&pool, seed)?)?;
        Ok(())
    }

    /// Hides what the engine gave under the seeds, where there are any.
    fn stir(&self, random: &mut [u8]) -> Result<()> {
        let Some(pool) = self.0.get() else {
            return Ok(());
        };
        let mut once = Zeroizing::new([0; 32]);
        engine::random(&mut *once)?;
        let key = digest(&pool.locked(), &*once)?;
        engine::Cipher::new(CipherMode::Ctr, Direction::Encrypt, &key, &[0; 16])?.update(random)
    }
}

fn digest(pool: &[u8], more: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
    let mut mac = engine::Hmac::new(Hash::Sha256, pool)?;
    mac.update(more);
    Ok(Zeroizing::new(mac.finish()))
}

impl Session {
    /// C_SeedRandom.
    pub fn seed_random(&self, seed: &[u8]) -> Result<()> {
        self.slot.seeds.add(seed)
    }

    /// C_GenerateRandom.
    pub fn random(&self, len: usize, mut write: impl FnMut(&[u8])) -> Result<()> {
        let mut piece = [0; 256];
        let mut large = Vec::new();
        let piece = if len > piece.len() {
            large.resize(len.min(PIECE), 0);
            large.as_mut_slice()
        } else {
            piece.as_mut_slice()
        };
        let mut left = len;
        while left > 0 {
            let now = left.min(piece.len());
            let (now_piece, _) = piece.split_at_mut(now);
            engine::random(now_piece)?;
            self.slot.seeds.stir(now_piece)?;
            write(now_piece);
            left -= now;
        }
        Ok(())
    }
}
