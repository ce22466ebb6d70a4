//! The keeper of a TPM's tokens: PINs are authorization values of sealed secrets, private keys are
//! objects under the storage root.

use super::chip::{Abilities, Chip};
use super::fault::Fault;
use super::key::Key;
use super::object::{self, AUTH_LEN, Wrapped};
use super::root::{self, Root};
use crate::attribute::Attributes;
use crate::config::Tpm;
use crate::crypto::{Curve, KeySpec, PublicParts, SecretParts, engine, trim};
use crate::error::{Error, Result, fail};
use crate::key::{self, Secrets};
use crate::mechanism::{Mechanism, Plan};
use crate::memory::Secret;
use crate::token::store::{Cost, Keeper, SecretOf};
use crate::token::{CHIP_KEY, KeyPair, NewObject, PrivateKey, User, never_leaves};
use cryptoki_sys::*;
use std::io::{ErrorKind, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use zeroize::Zeroizing;

/// Handles that are tried for the storage root, beginning with the configured one.
const HANDLES: u32 = 16;
/// Every chip has RSA keys of this length; shorter ones are not asked for.
const SMALLEST_RSA_BITS: usize = 2048;
/// Length of the key that a PIN gives back.
const KEK_LEN: usize = 32;
/// Longest authorization value that is read from a file: that of the longest digest.
const LONGEST_AUTH: usize = 64;

/// The keeper of the tokens on one chip.
pub(super) struct TpmKeeper {
    /// The chip.
    pub(super) chip: Arc<Chip>,
    /// `[tpm]`.
    pub(super) rules: Tpm,
    /// The chip did not take the authorization of the lockout. Another try would lock the reset
    /// itself, for a day on many TPMs.
    pub(super) lockout_refused: AtomicBool,
}

impl TpmKeeper {
    fn abilities(&self) -> Abilities {
        // Every TPM of the PC Client profile has these; a chip that is gone will say so when used.
        self.chip.abilities().unwrap_or(Abilities {
            rsa_bits: 2048,
            p384: false,
        })
    }

    /// Finds the storage root, or makes it: at the configured handle, or at one of the next where
    /// that holds another kind of key, or one that asks for an authorization of its own.
    fn root(&self) -> Result<Root> {
        let first = self.rules.storage_root;
        for handle in first..first.saturating_add(HANDLES) {
            root::check_handle(handle)?;
            let found = self.chip.visit(|visit| visit.root_at(handle))?;
            let made = found.is_none();
            if made {
                self.make_root(handle)?;
            }
            let found = match found {
                Some(found) => found,
                None => self.chip.visit(|visit| visit.root_at(handle))?.flatten(),
            };
            let Some(root) = found else {
                continue;
            };
            let usable = self.chip.visit(|visit| {
                match visit.create(&root, object::sealed(false), &[], &[0]) {
                    Ok(_) => Ok(true),
                    Err(Fault::Code(code)) if code.says_wrong_auth() && !made => Ok(false),
                    Err(fault) => Err(root.judge(fault)),
                }
            })?;
            if usable {
                return Ok(root);
            }
        }
        fail!(
            CKR_DEVICE_ERROR,
            "no storage root can be had at {first:#x} and the {HANDLES} handles from there: another \
             program has them; set tpm.storage_root"
        )
    }

    fn make_root(&self, handle: u32) -> Result<()> {
        let owner_auth = auth_file(self.rules.owner_auth_file.as_deref())?;
        self.chip
            .visit(|visit| visit.make_root(handle, &owner_auth))
            .map_err(|error| {
                let reason = format!(
                    "the storage root cannot be made at {handle:#x}: {} (where the owner's \
                     authorization is set, name the file that holds it in tpm.owner_auth_file)",
                    error.reason()
                );
                Error::new(error.rv(), reason)
            })
    }
}

/// An authorization value of the owner or of the lockout; empty where none is set. A newline at the
/// end, as an editor leaves it, is no part of it.
fn auth_file(path: Option<&Path>) -> Result<Secret> {
    let Some(path) = path else {
        return Secret::zeroed(0);
    };
    let read = || {
        if !std::fs::metadata(path)?.is_file() {
            return Err(std::io::Error::other("it is no regular file"));
        }
        let mut bytes = Zeroizing::new(Vec::with_capacity(LONGEST_AUTH + 2));
        let file = std::fs::File::open(path)?;
        file.take(LONGEST_AUTH as u64 + 2).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read()
        .map_err(|error| Error::new(CKR_FUNCTION_FAILED, format!("{}: {error}", path.display())))?;
    match bytes.strip_suffix(b"\n").unwrap_or(&bytes) {
        auth if auth.len() <= LONGEST_AUTH => Secret::copy_of(auth),
        _ => fail!(
            CKR_FUNCTION_FAILED,
            "{} is longer than the {LONGEST_AUTH} bytes that an authorization can have",
            path.display()
        ),
    }
}

impl Keeper for TpmKeeper {
    fn model(&self) -> &str {
        "TPM 2.0"
    }

    /// What needs a private key is done in the chip; the rest is done here, and says so.
    fn offer(&self, row: &Mechanism) -> Option<Mechanism> {
        let abilities = self.abilities();
        let (smallest, largest) = row.sizes;
        let in_chip = |least: usize, limit: usize| {
            Some(Mechanism {
                sizes: (
                    smallest.max(least as CK_ULONG),
                    largest.min(limit as CK_ULONG),
                ),
                functions: row.functions | CKF_HW,
                ..*row
            })
        };
        match row.plan {
            Plan::RsaPair
            | Plan::RsaPkcs1(_)
            | Plan::RsaPss(_)
            | Plan::RsaOaep
            | Plan::RsaAesKeyWrap
            | Plan::RsaRaw => in_chip(SMALLEST_RSA_BITS, abilities.rsa_bits),
            // Of X25519.
            Plan::EcdhAesKeyWrap { .. } if !row.key_types.contains(&CKK_EC) => None,
            Plan::EcPair | Plan::Ecdsa(_) | Plan::Ecdh | Plan::EcdhAesKeyWrap { .. } => {
                let largest = if abilities.p384 {
                    Curve::P384
                } else {
                    Curve::P256
                };
                in_chip(Curve::P256.bits(), largest.bits())
            }
            Plan::EdwardsPair
            | Plan::EdDsa
            | Plan::MontgomeryPair
            | Plan::MlDsaPair
            | Plan::MlDsa
            | Plan::HashMlDsa(_)
            | Plan::MlKemPair
            | Plan::MlKem => None,
            Plan::SecretKey
            | Plan::Digest(_)
            | Plan::Hmac(_)
            | Plan::Cipher { .. }
            | Plan::Gcm
            | Plan::Cmac
            | Plan::Ccm
            | Plan::ChaCha20Poly1305
            | Plan::KeyWrap { .. }
            | Plan::KeyWrapPkcs7
            | Plan::Hkdf
            | Plan::HkdfData
            | Plan::Sp800108(_)
            | Plan::CipherData(_)
            | Plan::Simple(_)
            | Plan::PublicOfPrivate
            | Plan::Pbkdf2 => Some(*row),
        }
    }

    fn bind(&self) -> Result<Option<Vec<u8>>> {
        Ok(Some(self.root()?.to_bytes()))
    }

    /// The chip counts wrong values of the user's PIN. It cannot do that for the security officer's,
    /// who must get in when it is locked: that PIN is stretched.
    fn cost(&self, user: User) -> Cost {
        match user {
            User::User => Cost::NONE,
            User::SecurityOfficer => Cost::FULL,
        }
    }

    fn guard(
        &self,
        binding: &[u8],
        user: User,
        pin_key: &[u8],
    ) -> Result<(Secret, Option<Vec<u8>>)> {
        let root = Root::from_bytes(binding)?;
        let mut kek = Secret::zeroed(KEK_LEN)?;
        engine::random(&mut kek)?;
        let template = object::sealed(user == User::User);
        let sealed = self
            .chip
            .visit(|visit| visit.create(&root, template.clone(), pin_key, &kek))?;
        let stored = Wrapped {
            auth: Secret::zeroed(0)?,
            ..sealed
        };
        Ok((kek, Some(stored.to_bytes()?.to_vec())))
    }

    fn release(
        &self,
        binding: &[u8],
        _user: User,
        pin_key: &[u8],
        guarded: Option<&[u8]>,
    ) -> Result<Secret> {
        let root = Root::from_bytes(binding)?;
        let sealed = Wrapped::from_bytes(guarded.unwrap_or_default())?;
        let mut asked = false;
        let released = self.chip.visit(|visit| {
            visit.load(&root, &sealed)?;
            // The chip may have counted a wrong one although its answer was lost.
            if std::mem::replace(&mut asked, true) {
                return Err(Fault::Link(ErrorKind::ConnectionReset.into()));
            }
            visit
                .unseal(&root, &sealed, pin_key)
                .map_err(|fault| match fault {
                    Fault::Code(code) if code.says_wrong_auth() => {
                        Fault::Error(Error::new(CKR_PIN_INCORRECT, "the PIN is wrong"))
                    }
                    Fault::Code(code) if code.says_locked() => {
                        Fault::Error(Error::from(fault).with_rv(CKR_PIN_LOCKED))
                    }
                    other => other,
                })
        });
        if released.is_err() {
            self.chip.forget_lockout();
        }
        released
    }

    /// The chip's own limit comes on top of the store's. A right PIN does not set its counter back,
    /// so that only what is near the limit shows (CKF_USER_PIN_COUNT_LOW: since the last right one).
    fn flags(&self, _binding: &[u8]) -> Result<CK_FLAGS> {
        let lockout = self.chip.lockout()?;
        Ok(match lockout.limit.saturating_sub(lockout.counter) {
            _ if lockout.locked => CKF_USER_PIN_LOCKED | CKF_USER_PIN_COUNT_LOW,
            0 => CKF_USER_PIN_LOCKED | CKF_USER_PIN_COUNT_LOW,
            1 => CKF_USER_PIN_FINAL_TRY | CKF_USER_PIN_COUNT_LOW,
            _ => 0,
        })
    }

    fn unblock(&self, binding: &[u8]) -> Result<()> {
        let root = Root::from_bytes(binding)?;
        let auth = auth_file(self.rules.lockout_auth_file.as_deref())?;
        let done = self.chip.visit(|visit| {
            let lockout = visit.lockout()?;
            let nothing = lockout.counter == 0 && !lockout.locked;
            let refused = self.lockout_refused.load(Ordering::Relaxed);
            let not_ours = lockout.guarded && (auth.is_empty() || refused);
            if nothing || (not_ours && !lockout.locked) {
                return Ok(());
            }
            if not_ours {
                return Err(Error::new(
                    CKR_FUNCTION_REJECTED,
                    "the TPM is locked, and its lockout has an authorization that tpm.lockout_auth_file \
                     does not hold: name the file that does, or wait",
                )
                .into());
            }
            let reset = visit.reset_lockout(&root, &auth);
            let refused = matches!(&reset, Err(Fault::Code(code)) if code.says_wrong_auth());
            self.lockout_refused.fetch_or(refused, Ordering::Relaxed);
            reset
        });
        self.chip.forget_lockout();
        done
    }

    fn generate(&self, binding: &[u8], spec: &KeySpec, private: &Attributes) -> Result<KeyPair> {
        never_leaves(private)?;
        if let KeySpec::Rsa { bits, .. } = spec
            && !self.has_rsa(*bits)
        {
            return fail!(
                CKR_KEY_SIZE_RANGE,
                "this TPM makes RSA keys of 2048 to {} bits in steps of 1024, not {bits}",
                self.abilities().rsa_bits
            );
        }
        let root = Root::from_bytes(binding)?;
        let template = object::new_key(spec)?;
        let mut auth = Secret::zeroed(AUTH_LEN)?;
        engine::random(&mut auth)?;
        let made = self
            .chip
            .visit(|visit| visit.create(&root, template.clone(), &auth, &[]))?;
        let public = object::public_parts(&object::public_of(&made.public)?)?;
        // A key that is not on its curve, or no product of two primes' length, is no key.
        engine::PublicKey::from_parts(&public)?;
        key::pair_of(&public, vec![(CHIP_KEY, made.to_bytes()?)])
    }

    fn adopt(&self, binding: &[u8], key: NewObject) -> Result<NewObject> {
        never_leaves(&key.attributes)?;
        if key.secrets.iter().any(|(kind, _)| *kind == CHIP_KEY) {
            return Ok(key);
        }
        if !self.rules.import {
            return fail!(
                CKR_ACTION_PROHIBITED,
                "tpm.import is false: keys are made in the TPM only"
            );
        }
        let root = Root::from_bytes(binding)?;
        let given = |attribute| {
            let value = key.secrets.iter().find(|secret| secret.0 == attribute);
            value.map(|value| Secret::copy_of(&value.1)).transpose()
        };
        let parts = key::private_parts(&key.attributes, &given)?;
        self.check_size(&parts.public)?;
        let sensitive = match &parts.secret {
            SecretParts::Rsa { crt: Some(crt), .. } => {
                let (p, q) = (trim(&crt.p), trim(&crt.q));
                if p.len() != q.len() {
                    return fail!(
                        CKR_ATTRIBUTE_VALUE_INVALID,
                        "a TPM takes an RSA key with primes of one length"
                    );
                }
                p
            }
            SecretParts::Ec { d } => d,
            SecretParts::Rsa { crt: None, .. } => {
                return fail!(
                    CKR_TEMPLATE_INCOMPLETE,
                    "a TPM takes an RSA key by its primes: give CKA_PRIME_1 to CKA_COEFFICIENT"
                );
            }
            _ => return Err(object::no_such_key()),
        };
        let wrapped = self
            .chip
            .visit(|visit| visit.import(&root, &parts.public, sensitive))?;
        let secrets: Secrets = vec![(CHIP_KEY, wrapped.to_bytes()?)];
        Ok(NewObject {
            attributes: key.attributes,
            secrets,
        })
    }

    fn private_key(
        &self,
        binding: &[u8],
        _attributes: &Attributes,
        secret: &SecretOf<'_>,
    ) -> Result<Arc<dyn PrivateKey>> {
        let Some(bytes) = secret(CHIP_KEY)? else {
            return fail!(
                CKR_DEVICE_ERROR,
                "this key has no part in the TPM: restore a backup"
            );
        };
        let root = Root::from_bytes(binding)?;
        let wrapped = Wrapped::from_bytes(&bytes)?;
        Ok(Arc::new(Key::new(Arc::clone(&self.chip), root, wrapped)?))
    }
}

impl TpmKeeper {
    fn has_rsa(&self, bits: usize) -> bool {
        (SMALLEST_RSA_BITS..=self.abilities().rsa_bits).contains(&bits) && bits.is_multiple_of(1024)
    }

    fn check_size(&self, public: &PublicParts) -> Result<()> {
        let abilities = self.abilities();
        let fits = match public {
            PublicParts::Rsa { .. } => self.has_rsa(public.bits()),
            PublicParts::Ec { curve, .. } => match curve {
                Curve::P256 => true,
                Curve::P384 => abilities.p384,
                Curve::P521 => false,
            },
            _ => false,
        };
        match (fits, public) {
            (true, _) => Ok(()),
            (false, PublicParts::Rsa { .. }) => fail!(
                CKR_ATTRIBUTE_VALUE_INVALID,
                "this TPM takes RSA keys of 2048 to {} bits, not {}",
                abilities.rsa_bits,
                public.bits()
            ),
            (false, _) => fail!(
                CKR_CURVE_NOT_SUPPORTED,
                "this TPM does not have the key's curve"
            ),
        }
    }
}
