//! What the token asks of its TPM, each a command or a few (TPM 2.0 Part 3).

use super::chip::{Abilities, Lockout};
use super::fault::{Fault, malformed};
use super::frame::{Command, Response, split_2b};
use super::object::{self, AUTH_LEN, Wrapped};
use super::root::Root;
use super::session::Asks;
use super::visit::{Outcome, PATIENCE, Visit};
use crate::crypto::{Curve, KeySpec, PublicParts, engine};
use crate::error::fail;
use crate::memory::Secret;
use cryptoki_sys::CKR_DEVICE_ERROR;
use std::time::Duration;
use tpm2_protocol::basic::{TpmHandle, TpmUint32};
use tpm2_protocol::data::*;
use tpm2_protocol::frame::*;

/// How long making a key may take.
const KEY_PATIENCE: Duration = Duration::from_secs(180);

impl Visit<'_> {
    /// Makes an object under the root. `data` is what is sealed in it, empty for a key.
    pub(super) fn create(
        &mut self,
        root: &Root,
        template: TpmtPublic,
        auth: &[u8],
        data: &[u8],
    ) -> Outcome<Wrapped> {
        // TPMS_SENSITIVE_CREATE (Part 2, 11.1.15).
        let sensitive = object::sized(&[], &[auth, data])?;
        let command = Command::new(&TpmCreateCommand {
            handles: [TpmHandle::from(root.handle)],
            in_sensitive: Tpm2bSensitiveCreate::default(),
            in_public: Tpm2bPublic {
                inner: template.clone(),
            },
            outside_info: Tpm2bData::default(),
            creation_pcr: TpmlPcrSelection::default(),
        })?
        .with_first(&sensitive)?;
        let made: TpmCreateResponse = self
            .under_root(root, command, true, (0, KEY_PATIENCE))?
            .read()?;
        let public = &made.out_public.inner;
        let asked = TpmtPublic {
            unique: public.unique.clone(),
            ..template
        };
        if *public != asked {
            return Err(malformed("it made another object than was asked for").into());
        }
        Ok(Wrapped {
            public: object::to_bytes(public)?,
            private: made.out_private.to_vec(),
            auth: Secret::copy_of(auth)?,
        })
    }

    /// Puts a key from outside under the root (TPM2_Import). `sensitive` is what TPMT_SENSITIVE has
    /// behind its seed: a prime of RSA, a private value of EC.
    pub(super) fn import(
        &mut self,
        root: &Root,
        public: &PublicParts,
        sensitive: &[u8],
    ) -> Outcome<Wrapped> {
        let template = object::key(public, false)?;
        let mut auth = Secret::zeroed(AUTH_LEN)?;
        engine::random(&mut auth)?;
        // TPMT_SENSITIVE with no seed, as an asymmetric key that is no parent has none.
        let kind = template.object_type.value().to_be_bytes();
        let sensitive = object::sized(&kind, &[&auth, &[], sensitive])?;
        let whole = object::sized(&[], &[&sensitive])?;
        let bytes = object::to_bytes(&template)?;
        let (duplicate, in_sym_seed) = root.wrap(&whole, &object::name(&bytes))?;
        let command = Command::new(&TpmImportCommand {
            handles: [TpmHandle::from(root.handle)],
            encryption_key: Tpm2bData::default(),
            object_public: Tpm2bPublic { inner: template },
            duplicate,
            in_sym_seed,
            symmetric_alg: TpmtSymDef::default(),
        })?;
        let imported: TpmImportResponse = self
            .under_root(root, command, false, (0, PATIENCE))?
            .read()?;
        let wrapped = Wrapped {
            public: bytes,
            private: imported.out_private.to_vec(),
            auth,
        };
        // The chip looks at the key itself only when it is loaded.
        self.load(root, &wrapped)?;
        Ok(wrapped)
    }

    /// Loads an object and uses it by a command that `auth` authorizes. `hides`: the first parameter
    /// of the command is secret, that of the response is.
    fn using(
        &mut self,
        root: &Root,
        object: &Wrapped,
        auth: &[u8],
        (hides_command, hides_response): (bool, bool),
        command: impl FnOnce(TpmHandle) -> Outcome<Command>,
    ) -> Outcome<Response> {
        let handle = self.load(root, object)?;
        let command = command(TpmHandle::from(handle))?;
        let asks = Asks {
            auth,
            hides_command,
            hides_response,
            ends: true,
        };
        let waits = (0, PATIENCE);
        self.authorized(Some(root), command, &[&object.name()], asks, waits)
    }

    /// What a sealed object holds.
    pub(super) fn unseal(&mut self, root: &Root, sealed: &Wrapped, auth: &[u8]) -> Outcome<Secret> {
        let response = self.using(root, sealed, auth, (false, true), |handle| {
            Command::new(&TpmUnsealCommand { handles: [handle] })
        })?;
        self.unload()?;
        Ok(response.secret()?)
    }

    /// ECDSA over a digest that has the length of `hash`: r and s.
    pub(super) fn sign(
        &mut self,
        root: &Root,
        key: &Wrapped,
        hash: TpmAlgId,
        digest: &[u8],
    ) -> Outcome<TpmsSignatureEcc> {
        let response = self.using(root, key, &key.auth, (true, false), |handle| {
            Command::new(&TpmSignCommand {
                handles: [handle],
                digest: Tpm2bDigest::try_from(digest)?,
                in_scheme: TpmtSigScheme {
                    scheme: TpmAlgId::Ecdsa,
                    details: TpmuSigScheme::Hash(TpmsSchemeHash { hash_alg: hash }),
                },
                validation: TpmtTkHashcheck {
                    tag: TpmSt::HashCheck,
                    hierarchy: TpmRh::Null,
                    digest: Tpm2bDigest::default(),
                },
            })
        })?;
        match response.read::<TpmSignResponse>()?.signature.signature {
            TpmuSignature::Ecdsa(signature) => Ok(signature),
            _ => Err(malformed("it signed by another scheme").into()),
        }
    }

    /// The RSA private operation without padding, on an integer as long as the modulus.
    pub(super) fn rsa(&mut self, root: &Root, key: &Wrapped, block: &[u8]) -> Outcome<Secret> {
        let response = self.using(root, key, &key.auth, (true, true), |handle| {
            Command::new(&TpmRsaDecryptCommand {
                handles: [handle],
                cipher_text: Tpm2bPublicKeyRsa::try_from(block)?,
                in_scheme: TpmtRsaDecrypt::default(),
                label: Tpm2bData::default(),
            })
        })?;
        Ok(response.secret()?)
    }

    /// Key agreement (TPM2_ECDH_ZGen): the coordinates of the product of the private key and a point.
    pub(super) fn ecdh(
        &mut self,
        root: &Root,
        key: &Wrapped,
        (x, y): (&[u8], &[u8]),
    ) -> Outcome<(Secret, Secret)> {
        let response = self.using(root, key, &key.auth, (false, true), |handle| {
            Command::new(&TpmEcdhZGenCommand {
                handles: [handle],
                in_point: Tpm2bEccPoint {
                    inner: TpmsEccPoint {
                        x: Tpm2bEccParameter::try_from(x)?,
                        y: Tpm2bEccParameter::try_from(y)?,
                    },
                },
            })
        })?;
        // A secret never lies in a structure of the library.
        let point = response.secret()?;
        let coordinates = split_2b(&point).and_then(|(x, rest)| match split_2b(rest) {
            Some((y, [])) => Some((x, y)),
            _ => None,
        });
        match coordinates {
            Some((x, y)) => Ok((Secret::copy_of(x)?, Secret::copy_of(y)?)),
            None => Err(malformed("it is no point").into()),
        }
    }

    /// The storage root at a handle, `None` where the handle is free. Another kind of key there is
    /// `Some(None)`.
    pub(super) fn root_at(&mut self, handle: u32) -> Outcome<Option<Option<Root>>> {
        let read: Outcome<TpmReadPublicResponse> = self.plain(&TpmReadPublicCommand {
            handles: [TpmHandle::from(handle)],
        });
        match read {
            Ok(read) => Root::of(handle, &read.out_public.inner).map(Some),
            Err(Fault::Code(code)) if code.says_no_such_handle() => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    /// Makes the storage root of the owner and keeps it in the chip at a handle.
    pub(super) fn make_root(&mut self, handle: u32, owner_auth: &[u8]) -> Outcome<()> {
        let owner = TpmRh::Owner as u32;
        let owner_name = owner.to_be_bytes();
        let asks = Asks {
            auth: owner_auth,
            ..Asks::default()
        };
        let command = Command::new(&TpmCreatePrimaryCommand {
            handles: [TpmHandle::from(owner)],
            in_sensitive: Tpm2bSensitiveCreate::default(),
            in_public: Tpm2bPublic {
                inner: object::storage_root()?,
            },
            outside_info: Tpm2bData::default(),
            creation_pcr: TpmlPcrSelection::default(),
        })?;
        let made: TpmCreatePrimaryResponse = self
            .authorized(None, command, &[&owner_name], asks, (1, KEY_PATIENCE))?
            .read()?;
        let [primary] = made.handles.map(u32::from);
        let name = object::name(&object::to_bytes(&made.out_public.inner)?);
        self.owns(name.clone(), primary);
        let command = Command::new(&TpmEvictControlCommand {
            handles: [TpmHandle::from(owner), TpmHandle::from(primary)],
            persistent_handle: TpmHandle::from(handle),
        })?;
        let names: [&[u8]; 2] = [&owner_name, &name];
        self.authorized(None, command, &names, asks, (0, PATIENCE))?;
        Ok(())
    }

    /// The state of the protection against guessing.
    pub(super) fn lockout(&mut self) -> Outcome<Lockout> {
        const IN_LOCKOUT: u32 = 1 << 9;
        const LOCKOUT_AUTH_SET: u32 = 1 << 2;
        let permanent = self.property(TpmPt::Permanent)?;
        Ok(Lockout {
            counter: self.property(TpmPt::LockoutCounter)?,
            limit: self.property(TpmPt::MaxAuthFail)?,
            locked: permanent & IN_LOCKOUT != 0,
            guarded: permanent & LOCKOUT_AUTH_SET != 0,
        })
    }

    /// Sets the counter of wrong values to nought (TPM2_DictionaryAttackLockReset).
    pub(super) fn reset_lockout(&mut self, root: &Root, auth: &[u8]) -> Outcome<()> {
        let lockout = TpmRh::Lockout as u32;
        let command = Command::new(&TpmDictionaryAttackLockResetCommand {
            handles: [TpmHandle::from(lockout)],
        })?;
        let asks = Asks {
            auth,
            ..Asks::default()
        };
        let name = lockout.to_be_bytes();
        self.authorized(Some(root), command, &[&name], asks, (0, PATIENCE))?;
        Ok(())
    }

    fn property(&mut self, property: TpmPt) -> Outcome<u32> {
        let answer: TpmGetCapabilityResponse = self.plain(&TpmGetCapabilityCommand {
            handles: [],
            cap: TpmCap::TpmProperties,
            property: TpmUint32::from(property as u32),
            property_count: TpmUint32::from(1),
        })?;
        match answer.capability_data.data {
            TpmuCapabilities::TpmProperties(list) => list
                .iter()
                .find(|tagged| tagged.property == property)
                .map(|tagged| tagged.value.into())
                .ok_or_else(|| malformed("it does not tell a property of every TPM").into()),
            _ => Err(malformed("it tells something else than was asked").into()),
        }
    }

    /// What the chip can hold.
    pub(super) fn abilities(&mut self) -> Outcome<Abilities> {
        let mut rsa_bits = 0;
        for bits in [2048, 3072, 4096] {
            let exponent = vec![1, 0, 1];
            if self.can_hold(&KeySpec::Rsa { bits, exponent })? {
                rsa_bits = bits;
            }
        }
        if !self.can_hold(&KeySpec::Ec(Curve::P256))? {
            return fail!(
                CKR_DEVICE_ERROR,
                "this TPM has no P-256, which its storage root needs"
            )
            .map_err(Fault::Error);
        }
        Ok(Abilities {
            rsa_bits,
            p384: self.can_hold(&KeySpec::Ec(Curve::P384))?,
        })
    }

    fn can_hold(&mut self, spec: &KeySpec) -> Outcome<bool> {
        let object_type = match spec {
            KeySpec::Rsa { .. } => TpmAlgId::Rsa,
            _ => TpmAlgId::Ecc,
        };
        let tested: Outcome<TpmTestParmsResponse> = self.plain(&TpmTestParmsCommand {
            handles: [],
            parameters: TpmtPublicParms {
                object_type,
                parameters: object::parameters(spec)?,
            },
        });
        match tested {
            Ok(_) => Ok(true),
            Err(Fault::Code(code)) if code.says_impossible() => Ok(false),
            Err(fault) => Err(fault),
        }
    }
}
