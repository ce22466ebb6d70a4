//! Mechanisms with their parameters.

use cryptoki_sys::*;
use std::ptr::null_mut;

/// A mechanism and everything that its parameter points to.
#[derive(Clone, Debug)]
pub struct Mech {
    pub kind: CK_MECHANISM_TYPE,
    /// The parameter, in words so that a structure in it is aligned.
    words: Vec<u64>,
    length: usize,
    _pointed_to: Vec<Vec<u8>>,
}

impl Mech {
    /// Without a parameter.
    pub fn new(kind: CK_MECHANISM_TYPE) -> Self {
        Self {
            kind,
            words: Vec::new(),
            length: 0,
            _pointed_to: Vec::new(),
        }
    }

    /// With plain bytes (an IV) as the parameter.
    pub fn bytes(kind: CK_MECHANISM_TYPE, parameter: &[u8]) -> Self {
        let mut words = vec![0u64; parameter.len().div_ceil(8)];
        unsafe {
            std::ptr::copy_nonoverlapping(
                parameter.as_ptr(),
                words.as_mut_ptr().cast(),
                parameter.len(),
            );
        }
        Self {
            kind,
            words,
            length: parameter.len(),
            _pointed_to: Vec::new(),
        }
    }

    /// With a structure as the parameter; `pointed_to` is what it points into.
    pub fn structure<T: Copy>(
        kind: CK_MECHANISM_TYPE,
        parameter: T,
        pointed_to: Vec<Vec<u8>>,
    ) -> Self {
        let bytes = unsafe {
            std::slice::from_raw_parts((&raw const parameter).cast::<u8>(), size_of::<T>())
        };
        Self {
            _pointed_to: pointed_to,
            ..Self::bytes(kind, bytes)
        }
    }

    pub fn pss(
        kind: CK_MECHANISM_TYPE,
        hash: CK_MECHANISM_TYPE,
        mgf: CK_ULONG,
        salt: CK_ULONG,
    ) -> Self {
        Self::structure(
            kind,
            CK_RSA_PKCS_PSS_PARAMS {
                hashAlg: hash,
                mgf,
                sLen: salt,
            },
            vec![],
        )
    }

    pub fn oaep(hash: CK_MECHANISM_TYPE, mgf: CK_ULONG, label: &[u8]) -> Self {
        let label = label.to_vec();
        let parameters = CK_RSA_PKCS_OAEP_PARAMS {
            hashAlg: hash,
            mgf,
            source: CKZ_DATA_SPECIFIED,
            pSourceData: pointer(&label).cast(),
            ulSourceDataLen: label.len() as CK_ULONG,
        };
        Self::structure(CKM_RSA_PKCS_OAEP, parameters, vec![label])
    }

    pub fn eddsa(prehash: bool, context: &[u8]) -> Self {
        let context = context.to_vec();
        let parameters = CK_EDDSA_PARAMS {
            phFlag: CK_BBOOL::from(prehash),
            ulContextDataLen: context.len() as CK_ULONG,
            pContextData: pointer(&context),
        };
        Self::structure(CKM_EDDSA, parameters, vec![context])
    }

    pub fn gcm(iv: &[u8], aad: &[u8], tag_bits: CK_ULONG) -> Self {
        let (iv, aad) = (iv.to_vec(), aad.to_vec());
        let parameters = CK_GCM_PARAMS {
            pIv: pointer(&iv),
            ulIvLen: iv.len() as CK_ULONG,
            ulIvBits: iv.len() as CK_ULONG * 8,
            pAAD: pointer(&aad),
            ulAADLen: aad.len() as CK_ULONG,
            ulTagBits: tag_bits,
        };
        Self::structure(CKM_AES_GCM, parameters, vec![iv, aad])
    }

    /// For C_WrapKey. A nonce that the token makes is written into this mechanism ([`Mech::pointed_to`]).
    pub fn gcm_wrap(
        iv: &[u8],
        fixed_bits: CK_ULONG,
        generator: CK_ULONG,
        aad: &[u8],
        tag_bits: CK_ULONG,
    ) -> Self {
        let (iv, aad) = (iv.to_vec(), aad.to_vec());
        let parameters = CK_GCM_WRAP_PARAMS {
            pIv: pointer(&iv),
            ulIvLen: iv.len() as CK_ULONG,
            ulIvFixedBits: fixed_bits,
            ivGenerator: generator,
            pAAD: pointer(&aad),
            ulAADLen: aad.len() as CK_ULONG,
            ulTagBits: tag_bits,
        };
        Self::structure(CKM_AES_GCM, parameters, vec![iv, aad])
    }

    /// For C_WrapKey, with a nonce of the caller's.
    pub fn ccm_wrap(nonce: &[u8], generator: CK_ULONG, aad: &[u8], tag: CK_ULONG) -> Self {
        let (nonce, aad) = (nonce.to_vec(), aad.to_vec());
        let parameters = CK_CCM_WRAP_PARAMS {
            ulDataLen: 0,
            pNonce: pointer(&nonce),
            ulNonceLen: nonce.len() as CK_ULONG,
            ulNonceFixedBits: 0,
            nonceGenerator: generator,
            pAAD: pointer(&aad),
            ulAADLen: aad.len() as CK_ULONG,
            ulMACLen: tag,
        };
        Self::structure(CKM_AES_CCM, parameters, vec![nonce, aad])
    }

    /// CKM_RSA_AES_KEY_WRAP with OAEP of SHA-256.
    pub fn rsa_aes(bits: CK_ULONG) -> Self {
        let oaep = CK_RSA_PKCS_OAEP_PARAMS {
            hashAlg: CKM_SHA256,
            mgf: CKG_MGF1_SHA256,
            source: CKZ_DATA_SPECIFIED,
            pSourceData: null_mut(),
            ulSourceDataLen: 0,
        };
        let bytes = unsafe {
            std::slice::from_raw_parts(
                (&raw const oaep).cast::<u8>(),
                size_of::<CK_RSA_PKCS_OAEP_PARAMS>(),
            )
        };
        let bytes = bytes.to_vec();
        let parameters = CK_RSA_AES_KEY_WRAP_PARAMS {
            ulAESKeyBits: bits,
            pOAEPParams: bytes.as_ptr().cast_mut().cast(),
        };
        Self::structure(CKM_RSA_AES_KEY_WRAP, parameters, vec![bytes])
    }

    /// For C_WrapKeyAuthenticated. Nonce and tag are written into this mechanism.
    pub fn gcm_message(iv: &[u8], generator: CK_ULONG, tag: &[u8]) -> Self {
        let (iv, tag) = (iv.to_vec(), tag.to_vec());
        let parameters = CK_GCM_MESSAGE_PARAMS {
            pIv: pointer(&iv),
            ulIvLen: iv.len() as CK_ULONG,
            ulIvFixedBits: 0,
            ivGenerator: generator,
            pTag: pointer(&tag),
            ulTagBits: tag.len() as CK_ULONG * 8,
        };
        Self::structure(CKM_AES_GCM, parameters, vec![iv, tag])
    }

    /// What the parameter points to, as it is now.
    pub fn pointed_to(&self, at: usize) -> Vec<u8> {
        let bytes = &self._pointed_to[at];
        // The module has written through the pointer that the parameter holds.
        (0..bytes.len())
            .map(|at| unsafe { bytes.as_ptr().add(at).read_volatile() })
            .collect()
    }

    pub fn ccm(length: usize, nonce: &[u8], aad: &[u8], tag: CK_ULONG) -> Self {
        let (nonce, aad) = (nonce.to_vec(), aad.to_vec());
        let parameters = CK_CCM_PARAMS {
            ulDataLen: length as CK_ULONG,
            pNonce: pointer(&nonce),
            ulNonceLen: nonce.len() as CK_ULONG,
            pAAD: pointer(&aad),
            ulAADLen: aad.len() as CK_ULONG,
            ulMACLen: tag,
        };
        Self::structure(CKM_AES_CCM, parameters, vec![nonce, aad])
    }

    /// The nonce's length is in bits, as the standard has it.
    pub fn chacha20_poly1305(nonce: &[u8], aad: &[u8]) -> Self {
        let (nonce, aad) = (nonce.to_vec(), aad.to_vec());
        let parameters = CK_SALSA20_CHACHA20_POLY1305_PARAMS {
            pNonce: pointer(&nonce),
            ulNonceLen: 8 * nonce.len() as CK_ULONG,
            pAAD: pointer(&aad),
            ulAADLen: aad.len() as CK_ULONG,
        };
        Self::structure(CKM_CHACHA20_POLY1305, parameters, vec![nonce, aad])
    }

    pub fn ctr(counter: [u8; 16], counter_bits: CK_ULONG) -> Self {
        Self::structure(
            CKM_AES_CTR,
            CK_AES_CTR_PARAMS {
                ulCounterBits: counter_bits,
                cb: counter,
            },
            vec![],
        )
    }

    pub fn ecdh(kdf: CK_EC_KDF_TYPE, shared: &[u8], peer: &[u8]) -> Self {
        let (shared, peer) = (shared.to_vec(), peer.to_vec());
        let parameters = CK_ECDH1_DERIVE_PARAMS {
            kdf,
            ulSharedDataLen: shared.len() as CK_ULONG,
            pSharedData: pointer(&shared),
            ulPublicDataLen: peer.len() as CK_ULONG,
            pPublicData: pointer(&peer),
        };
        Self::structure(CKM_ECDH1_DERIVE, parameters, vec![shared, peer])
    }

    /// CKM_ECDH_AES_KEY_WRAP, CKM_ECDH_COF_AES_KEY_WRAP, CKM_ECDH_X_AES_KEY_WRAP.
    pub fn ecdh_aes(
        kind: CK_MECHANISM_TYPE,
        bits: CK_ULONG,
        kdf: CK_EC_KDF_TYPE,
        shared: &[u8],
    ) -> Self {
        let shared = shared.to_vec();
        let parameters = CK_ECDH_AES_KEY_WRAP_PARAMS {
            ulAESKeyBits: bits,
            kdf,
            ulSharedDataLen: shared.len() as CK_ULONG,
            pSharedData: pointer(&shared),
        };
        Self::structure(kind, parameters, vec![shared])
    }

    /// HKDF with SHA-256: with a salt where it extracts, with info where it expands.
    pub fn hkdf(kind: CK_MECHANISM_TYPE, salt: Option<&[u8]>, info: Option<&[u8]>) -> Self {
        let [given, other] = [salt, info].map(|part| part.unwrap_or_default().to_vec());
        let parameters = CK_HKDF_PARAMS {
            bExtract: CK_BBOOL::from(salt.is_some()),
            bExpand: CK_BBOOL::from(info.is_some()),
            prfHashMechanism: CKM_SHA256,
            ulSaltType: match given.is_empty() {
                true => CKF_HKDF_SALT_NULL,
                false => CKF_HKDF_SALT_DATA,
            },
            pSalt: pointer(&given),
            ulSaltLen: given.len() as CK_ULONG,
            hSaltKey: 0,
            pInfo: pointer(&other),
            ulInfoLen: other.len() as CK_ULONG,
        };
        Self::structure(kind, parameters, vec![given, other])
    }

    pub fn ecb_data(data: &[u8]) -> Self {
        let data = data.to_vec();
        let parameters = CK_KEY_DERIVATION_STRING_DATA {
            pData: pointer(&data),
            ulLen: data.len() as CK_ULONG,
        };
        Self::structure(CKM_AES_ECB_ENCRYPT_DATA, parameters, vec![data])
    }

    pub fn cbc_data(iv: [u8; 16], data: &[u8]) -> Self {
        let data = data.to_vec();
        let parameters = CK_AES_CBC_ENCRYPT_DATA_PARAMS {
            iv,
            pData: pointer(&data),
            length: data.len() as CK_ULONG,
        };
        Self::structure(CKM_AES_CBC_ENCRYPT_DATA, parameters, vec![data])
    }

    /// PBKDF2 with HMAC-SHA-256.
    pub fn pbkdf2(password: &[u8], salt: &[u8], iterations: CK_ULONG) -> Self {
        let (password, salt) = (password.to_vec(), salt.to_vec());
        let parameters = CK_PKCS5_PBKD2_PARAMS2 {
            saltSource: CKZ_SALT_SPECIFIED,
            pSaltSourceData: pointer(&salt).cast(),
            ulSaltSourceDataLen: salt.len() as CK_ULONG,
            iterations,
            prf: CKP_PKCS5_PBKD2_HMAC_SHA256,
            pPrfData: null_mut(),
            ulPrfDataLen: 0,
            pPassword: pointer(&password),
            ulPasswordLen: password.len() as CK_ULONG,
        };
        Self::structure(CKM_PKCS5_PBKD2, parameters, vec![password, salt])
    }

    /// As C sees it; it points into `self`.
    pub fn raw(&self) -> CK_MECHANISM {
        CK_MECHANISM {
            mechanism: self.kind,
            pParameter: if self.length == 0 {
                null_mut()
            } else {
                self.words.as_ptr().cast_mut().cast()
            },
            ulParameterLen: self.length as CK_ULONG,
        }
    }
}

impl From<CK_MECHANISM_TYPE> for Mech {
    fn from(kind: CK_MECHANISM_TYPE) -> Self {
        Self::new(kind)
    }
}

fn pointer(bytes: &[u8]) -> *mut CK_BYTE {
    if bytes.is_empty() {
        null_mut()
    } else {
        bytes.as_ptr().cast_mut()
    }
}
