//! The message functions (PKCS#11 5.9, 5.11, 5.14, 5.16) and C_VerifySignature… (5.15.7) on a session.

use super::mech::Mech;
use super::module::Rv;
use super::session::{Session, input, output};
use super::try_call;
use cryptoki_sys::*;
use std::ptr::null_mut;

/// What a CK_GCM_MESSAGE_PARAMS says and points to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gcm {
    pub iv: Vec<u8>,
    pub fixed_bits: CK_ULONG,
    pub generator: CK_GENERATOR_FUNCTION,
    pub tag: Vec<u8>,
}

impl Gcm {
    pub fn new(iv: &[u8], fixed_bits: CK_ULONG, generator: CK_GENERATOR_FUNCTION) -> Self {
        Self {
            iv: iv.to_vec(),
            fixed_bits,
            generator,
            tag: vec![0; 16],
        }
    }

    /// As C sees it; it points into `self`.
    pub fn raw(&mut self) -> CK_GCM_MESSAGE_PARAMS {
        CK_GCM_MESSAGE_PARAMS {
            pIv: self.iv.as_mut_ptr(),
            ulIvLen: self.iv.len() as CK_ULONG,
            ulIvFixedBits: self.fixed_bits,
            ivGenerator: self.generator,
            pTag: self.tag.as_mut_ptr(),
            ulTagBits: 8 * self.tag.len() as CK_ULONG,
        }
    }
}

/// Pointer and length of a parameter.
macro_rules! parameter {
    ($given:expr) => {
        (
            (&raw mut $given).cast(),
            size_of::<CK_GCM_MESSAGE_PARAMS>() as CK_ULONG,
        )
    };
}

macro_rules! init {
    ($($method:ident $function:ident)*) => {$(
        pub fn $method(self, mechanism: impl Into<Mech>, key: CK_OBJECT_HANDLE) -> Result<(), Rv> {
            let mechanism = mechanism.into();
            try_call!(via self.module.v3(), $function(self.handle, &mut mechanism.raw(), key))
        }
    )*};
}

macro_rules! end {
    ($($method:ident $function:ident)*) => {$(
        pub fn $method(self) -> Result<(), Rv> {
            try_call!(via self.module.v3(), $function(self.handle))
        }
    )*};
}

macro_rules! crypt {
    ($($whole:ident $whole_function:ident, $begin:ident $begin_function:ident, $next:ident $next_function:ident;)*) => {$(
        pub fn $whole(self, gcm: &mut Gcm, aad: &[u8], data: &[u8]) -> Result<Vec<u8>, Rv> {
            let ((aad, aad_len), (data, data_len)) = (input(aad), input(data));
            let mut given = gcm.raw();
            let (at, len) = parameter!(given);
            output(|out, out_len| try_call!(via self.module.v3(),
                $whole_function(self.handle, at, len, aad, aad_len, data, data_len, out, out_len)))
        }

        pub fn $begin(self, gcm: &mut Gcm, aad: &[u8]) -> Result<(), Rv> {
            let (aad, aad_len) = input(aad);
            let mut given = gcm.raw();
            let (at, len) = parameter!(given);
            try_call!(via self.module.v3(), $begin_function(self.handle, at, len, aad, aad_len))
        }

        pub fn $next(self, gcm: &mut Gcm, data: &[u8], flags: CK_FLAGS) -> Result<Vec<u8>, Rv> {
            let (data, data_len) = input(data);
            let mut given = gcm.raw();
            let (at, len) = parameter!(given);
            output(|out, out_len| try_call!(via self.module.v3(),
                $next_function(self.handle, at, len, data, data_len, out, out_len, flags)))
        }
    )*};
}

impl Session {
    init! {
        message_encrypt_init C_MessageEncryptInit
        message_decrypt_init C_MessageDecryptInit
        message_sign_init C_MessageSignInit
        message_verify_init C_MessageVerifyInit
    }

    end! {
        message_encrypt_final C_MessageEncryptFinal
        message_decrypt_final C_MessageDecryptFinal
        message_sign_final C_MessageSignFinal
        message_verify_final C_MessageVerifyFinal
    }

    crypt! {
        encrypt_message C_EncryptMessage, encrypt_message_begin C_EncryptMessageBegin,
            encrypt_message_next C_EncryptMessageNext;
        decrypt_message C_DecryptMessage, decrypt_message_begin C_DecryptMessageBegin,
            decrypt_message_next C_DecryptMessageNext;
    }

    pub fn sign_message(self, data: &[u8]) -> Result<Vec<u8>, Rv> {
        let (data, len) = input(data);
        output(|out, out_len| {
            try_call!(via self.module.v3(),
                C_SignMessage(self.handle, null_mut(), 0, data, len, out, out_len))
        })
    }

    pub fn sign_message_begin(self) -> Result<(), Rv> {
        try_call!(via self.module.v3(), C_SignMessageBegin(self.handle, null_mut(), 0))
    }

    /// A part after which more follows.
    pub fn sign_message_next(self, data: &[u8]) -> Result<(), Rv> {
        let (data, len) = input(data);
        try_call!(via self.module.v3(),
            C_SignMessageNext(self.handle, null_mut(), 0, data, len, null_mut(), null_mut()))
    }

    /// The last part.
    pub fn sign_message_last(self, data: &[u8]) -> Result<Vec<u8>, Rv> {
        let (data, len) = input(data);
        output(|out, out_len| {
            try_call!(via self.module.v3(),
                C_SignMessageNext(self.handle, null_mut(), 0, data, len, out, out_len))
        })
    }

    pub fn verify_message(self, data: &[u8], signature: &[u8]) -> Result<(), Rv> {
        let ((data, len), (signature, signature_len)) = (input(data), input(signature));
        try_call!(via self.module.v3(),
            C_VerifyMessage(self.handle, null_mut(), 0, data, len, signature, signature_len))
    }

    pub fn verify_message_begin(self) -> Result<(), Rv> {
        try_call!(via self.module.v3(), C_VerifyMessageBegin(self.handle, null_mut(), 0))
    }

    /// With the signature where it is the last part.
    pub fn verify_message_next(self, data: &[u8], signature: Option<&[u8]>) -> Result<(), Rv> {
        let (data, len) = input(data);
        let (signature, signature_len) = signature.map_or((null_mut(), 0), input);
        try_call!(via self.module.v3(),
            C_VerifyMessageNext(self.handle, null_mut(), 0, data, len, signature, signature_len))
    }

    pub fn verify_signature_init(
        self,
        mechanism: impl Into<Mech>,
        key: CK_OBJECT_HANDLE,
        signature: &[u8],
    ) -> Result<(), Rv> {
        let mechanism = mechanism.into();
        let (signature, len) = input(signature);
        try_call!(via self.module.v32(),
            C_VerifySignatureInit(self.handle, &mut mechanism.raw(), key, signature, len))
    }

    pub fn verify_signature(self, data: &[u8]) -> Result<(), Rv> {
        let (data, len) = input(data);
        try_call!(via self.module.v32(), C_VerifySignature(self.handle, data, len))
    }

    pub fn verify_signature_update(self, data: &[u8]) -> Result<(), Rv> {
        let (data, len) = input(data);
        try_call!(via self.module.v32(), C_VerifySignatureUpdate(self.handle, data, len))
    }

    pub fn verify_signature_final(self) -> Result<(), Rv> {
        try_call!(via self.module.v32(), C_VerifySignatureFinal(self.handle))
    }
}
