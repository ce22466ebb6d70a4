//! A session and the calls on it, each as a `Result` with the module's return code.

use super::mech::Mech;
use super::module::{Module, Rv};
use super::template::Template;
use super::try_call;
use cryptoki_sys::*;
use std::ptr::null_mut;

#[derive(Clone, Copy)]
pub struct Session {
    pub module: Module,
    pub handle: CK_SESSION_HANDLE,
}

/// Pointer and length of an input. The standard's prototypes lack `const`; no input is written to.
pub fn input(data: &[u8]) -> (*mut CK_BYTE, CK_ULONG) {
    (data.as_ptr().cast_mut(), data.len() as CK_ULONG)
}

/// One call with the output convention (PKCS#11 5.2): a size query first, then a buffer of that size.
pub fn output(
    mut call: impl FnMut(*mut CK_BYTE, *mut CK_ULONG) -> Result<(), Rv>,
) -> Result<Vec<u8>, Rv> {
    let mut length = 0;
    call(null_mut(), &mut length)?;
    let mut buffer = vec![0; length as usize];
    // A pointer that is not NULL even for no bytes at all: this call is no size query.
    buffer.reserve(1);
    call(buffer.as_mut_ptr(), &mut length)?;
    assert!(
        length as usize <= buffer.len(),
        "the size query promised less"
    );
    buffer.truncate(length as usize);
    Ok(buffer)
}

/// The calls that begin an operation with a mechanism and a key.
macro_rules! init {
    ($($method:ident $function:ident)*) => {$(
        pub fn $method(self, mechanism: impl Into<Mech>, key: CK_OBJECT_HANDLE) -> Result<(), Rv> {
            let mechanism = mechanism.into();
            try_call!(self.module, $function(self.handle, &mut mechanism.raw(), key))
        }
    )*};
}

/// The calls that take data and give data.
macro_rules! transform {
    ($($method:ident $function:ident)*) => {$(
        pub fn $method(self, data: &[u8]) -> Result<Vec<u8>, Rv> {
            let (data, length) = input(data);
            output(|out, out_length| try_call!(self.module, $function(self.handle, data, length, out, out_length)))
        }
    )*};
}

/// The calls that take data alone.
macro_rules! absorb {
    ($($method:ident $function:ident)*) => {$(
        pub fn $method(self, data: &[u8]) -> Result<(), Rv> {
            let (data, length) = input(data);
            try_call!(self.module, $function(self.handle, data, length))
        }
    )*};
}

/// The calls that give data alone.
macro_rules! finish {
    ($($method:ident $function:ident)*) => {$(
        pub fn $method(self) -> Result<Vec<u8>, Rv> {
            output(|out, length| try_call!(self.module, $function(self.handle, out, length)))
        }
    )*};
}

impl Session {
    pub fn open(module: Module, slot: CK_SLOT_ID, flags: CK_FLAGS) -> Result<Self, Rv> {
        let mut handle = 0;
        try_call!(
            module,
            C_OpenSession(slot, flags, null_mut(), None, &mut handle)
        )?;
        Ok(Self { module, handle })
    }

    pub fn close(self) -> Result<(), Rv> {
        try_call!(self.module, C_CloseSession(self.handle))
    }

    pub fn info(self) -> Result<CK_SESSION_INFO, Rv> {
        let mut info = CK_SESSION_INFO::default();
        try_call!(self.module, C_GetSessionInfo(self.handle, &mut info))?;
        Ok(info)
    }

    #[track_caller]
    pub fn state(self) -> CK_STATE {
        self.info().unwrap().state
    }

    pub fn login(self, user: CK_USER_TYPE, pin: &str) -> Result<(), Rv> {
        let (pin, length) = input(pin.as_bytes());
        try_call!(self.module, C_Login(self.handle, user, pin, length))
    }

    pub fn logout(self) -> Result<(), Rv> {
        try_call!(self.module, C_Logout(self.handle))
    }

    pub fn init_pin(self, pin: &str) -> Result<(), Rv> {
        let (pin, length) = input(pin.as_bytes());
        try_call!(self.module, C_InitPIN(self.handle, pin, length))
    }

    pub fn set_pin(self, old: &str, new: &str) -> Result<(), Rv> {
        let ((old, old_length), (new, new_length)) = (input(old.as_bytes()), input(new.as_bytes()));
        try_call!(
            self.module,
            C_SetPIN(self.handle, old, old_length, new, new_length)
        )
    }

    pub fn create(self, template: &Template) -> Result<CK_OBJECT_HANDLE, Rv> {
        let mut attributes = template.attributes();
        let mut object = 0;
        try_call!(
            self.module,
            C_CreateObject(
                self.handle,
                attributes.as_mut_ptr(),
                attributes.len() as CK_ULONG,
                &mut object
            )
        )?;
        Ok(object)
    }

    pub fn copy(
        self,
        object: CK_OBJECT_HANDLE,
        changes: &Template,
    ) -> Result<CK_OBJECT_HANDLE, Rv> {
        let mut attributes = changes.attributes();
        let mut copy = 0;
        try_call!(
            self.module,
            C_CopyObject(
                self.handle,
                object,
                attributes.as_mut_ptr(),
                attributes.len() as CK_ULONG,
                &mut copy
            )
        )?;
        Ok(copy)
    }

    pub fn destroy(self, object: CK_OBJECT_HANDLE) -> Result<(), Rv> {
        try_call!(self.module, C_DestroyObject(self.handle, object))
    }

    pub fn size(self, object: CK_OBJECT_HANDLE) -> Result<CK_ULONG, Rv> {
        let mut size = 0;
        try_call!(self.module, C_GetObjectSize(self.handle, object, &mut size))?;
        Ok(size)
    }

    /// The value of one attribute.
    pub fn get(self, object: CK_OBJECT_HANDLE, kind: CK_ATTRIBUTE_TYPE) -> Result<Vec<u8>, Rv> {
        output(|out, length| {
            let mut attribute = CK_ATTRIBUTE {
                type_: kind,
                pValue: out.cast(),
                ulValueLen: unsafe { *length },
            };
            let result = self.get_raw(object, std::slice::from_mut(&mut attribute));
            unsafe { *length = attribute.ulValueLen };
            result
        })
    }

    /// `C_GetAttributeValue` as it is.
    pub fn get_raw(
        self,
        object: CK_OBJECT_HANDLE,
        attributes: &mut [CK_ATTRIBUTE],
    ) -> Result<(), Rv> {
        let count = attributes.len() as CK_ULONG;
        try_call!(
            self.module,
            C_GetAttributeValue(self.handle, object, attributes.as_mut_ptr(), count)
        )
    }

    #[track_caller]
    pub fn get_bool(self, object: CK_OBJECT_HANDLE, kind: CK_ATTRIBUTE_TYPE) -> bool {
        match self.get(object, kind).unwrap()[..] {
            [CK_TRUE] => true,
            [CK_FALSE] => false,
            ref other => panic!("attribute {kind:#x} is no CK_BBOOL: {other:?}"),
        }
    }

    #[track_caller]
    pub fn get_ulong(self, object: CK_OBJECT_HANDLE, kind: CK_ATTRIBUTE_TYPE) -> CK_ULONG {
        CK_ULONG::from_ne_bytes(self.get(object, kind).unwrap().try_into().unwrap())
    }

    pub fn set(self, object: CK_OBJECT_HANDLE, changes: &Template) -> Result<(), Rv> {
        let mut attributes = changes.attributes();
        let count = attributes.len() as CK_ULONG;
        try_call!(
            self.module,
            C_SetAttributeValue(self.handle, object, attributes.as_mut_ptr(), count)
        )
    }

    /// All objects that match, asked for three at a time.
    pub fn find(self, template: &Template) -> Result<Vec<CK_OBJECT_HANDLE>, Rv> {
        let mut attributes = template.attributes();
        let count = attributes.len() as CK_ULONG;
        try_call!(
            self.module,
            C_FindObjectsInit(self.handle, attributes.as_mut_ptr(), count)
        )?;
        let mut found = Vec::new();
        loop {
            let (mut batch, mut count) = ([0; 3], 0);
            try_call!(
                self.module,
                C_FindObjects(self.handle, batch.as_mut_ptr(), 3, &mut count)
            )?;
            if count == 0 {
                break;
            }
            found.extend_from_slice(&batch[..count as usize]);
        }
        try_call!(self.module, C_FindObjectsFinal(self.handle))?;
        Ok(found)
    }

    /// The only object that matches.
    #[track_caller]
    pub fn find_one(self, template: &Template) -> CK_OBJECT_HANDLE {
        match self.find(template).unwrap()[..] {
            [object] => object,
            ref other => panic!("{} objects match {template:?}", other.len()),
        }
    }

    pub fn generate_key(
        self,
        mechanism: impl Into<Mech>,
        template: &Template,
    ) -> Result<CK_OBJECT_HANDLE, Rv> {
        let mechanism = mechanism.into();
        let mut attributes = template.attributes();
        let mut key = 0;
        try_call!(
            self.module,
            C_GenerateKey(
                self.handle,
                &mut mechanism.raw(),
                attributes.as_mut_ptr(),
                attributes.len() as CK_ULONG,
                &mut key
            )
        )?;
        Ok(key)
    }

    pub fn derive(
        self,
        mechanism: impl Into<Mech>,
        base: CK_OBJECT_HANDLE,
        template: &Template,
    ) -> Result<CK_OBJECT_HANDLE, Rv> {
        let mechanism = mechanism.into();
        let mut attributes = template.attributes();
        let mut key = 0;
        try_call!(
            self.module,
            C_DeriveKey(
                self.handle,
                &mut mechanism.raw(),
                base,
                attributes.as_mut_ptr(),
                attributes.len() as CK_ULONG,
                &mut key
            )
        )?;
        Ok(key)
    }

    /// The handles of the public and of the private key.
    pub fn generate_key_pair(
        self,
        mechanism: impl Into<Mech>,
        public: &Template,
        private: &Template,
    ) -> Result<(CK_OBJECT_HANDLE, CK_OBJECT_HANDLE), Rv> {
        let mechanism = mechanism.into();
        let (mut public, mut private) = (public.attributes(), private.attributes());
        let mut handles = (0, 0);
        try_call!(
            self.module,
            C_GenerateKeyPair(
                self.handle,
                &mut mechanism.raw(),
                public.as_mut_ptr(),
                public.len() as CK_ULONG,
                private.as_mut_ptr(),
                private.len() as CK_ULONG,
                &mut handles.0,
                &mut handles.1
            )
        )?;
        Ok(handles)
    }

    pub fn wrap(
        self,
        mechanism: impl Into<Mech>,
        kek: CK_OBJECT_HANDLE,
        key: CK_OBJECT_HANDLE,
    ) -> Result<Vec<u8>, Rv> {
        let mechanism = mechanism.into();
        output(|out, length| {
            try_call!(
                self.module,
                C_WrapKey(self.handle, &mut mechanism.raw(), kek, key, out, length)
            )
        })
    }

    pub fn unwrap(
        self,
        mechanism: impl Into<Mech>,
        kek: CK_OBJECT_HANDLE,
        wrapped: &[u8],
        template: &Template,
    ) -> Result<CK_OBJECT_HANDLE, Rv> {
        let mechanism = mechanism.into();
        let (wrapped, length) = input(wrapped);
        let mut attributes = template.attributes();
        let mut key = 0;
        try_call!(
            self.module,
            C_UnwrapKey(
                self.handle,
                &mut mechanism.raw(),
                kek,
                wrapped,
                length,
                attributes.as_mut_ptr(),
                attributes.len() as CK_ULONG,
                &mut key
            )
        )?;
        Ok(key)
    }

    pub fn wrap_authenticated(
        self,
        mechanism: impl Into<Mech>,
        kek: CK_OBJECT_HANDLE,
        key: CK_OBJECT_HANDLE,
        associated: &[u8],
    ) -> Result<Vec<u8>, Rv> {
        let mechanism = mechanism.into();
        let (data, data_length) = input(associated);
        output(|out, length| {
            try_call!(via self.module.v32(), C_WrapKeyAuthenticated(
                self.handle, &mut mechanism.raw(), kek, key, data, data_length, out, length))
        })
    }

    pub fn unwrap_authenticated(
        self,
        mechanism: impl Into<Mech>,
        kek: CK_OBJECT_HANDLE,
        wrapped: &[u8],
        associated: &[u8],
        template: &Template,
    ) -> Result<CK_OBJECT_HANDLE, Rv> {
        let mechanism = mechanism.into();
        let ((wrapped, length), (data, data_length)) = (input(wrapped), input(associated));
        let mut attributes = template.attributes();
        let count = attributes.len() as CK_ULONG;
        let mut key = 0;
        try_call!(via self.module.v32(), C_UnwrapKeyAuthenticated(
            self.handle, &mut mechanism.raw(), kek, wrapped, length,
            attributes.as_mut_ptr(), count, data, data_length, &mut key))?;
        Ok(key)
    }

    init! {
        sign_init C_SignInit
        verify_init C_VerifyInit
        encrypt_init C_EncryptInit
        decrypt_init C_DecryptInit
        sign_recover_init C_SignRecoverInit
        verify_recover_init C_VerifyRecoverInit
    }

    transform! {
        sign_rest C_Sign
        encrypt_rest C_Encrypt
        encrypt_update C_EncryptUpdate
        decrypt_rest C_Decrypt
        decrypt_update C_DecryptUpdate
        digest_rest C_Digest
        sign_recover_rest C_SignRecover
        verify_recover_rest C_VerifyRecover
        digest_encrypt_update C_DigestEncryptUpdate
        decrypt_digest_update C_DecryptDigestUpdate
        sign_encrypt_update C_SignEncryptUpdate
        decrypt_verify_update C_DecryptVerifyUpdate
    }

    absorb! {
        sign_update C_SignUpdate
        verify_update C_VerifyUpdate
        verify_final C_VerifyFinal
        digest_update C_DigestUpdate
        seed_random C_SeedRandom
    }

    finish! {
        sign_final C_SignFinal
        encrypt_final C_EncryptFinal
        decrypt_final C_DecryptFinal
        digest_final C_DigestFinal
        operation_state C_GetOperationState
    }

    pub fn digest_init(self, mechanism: impl Into<Mech>) -> Result<(), Rv> {
        try_call!(
            self.module,
            C_DigestInit(self.handle, &mut mechanism.into().raw())
        )
    }

    /// Ends the operations of these CKF_ flags (5.6.12).
    #[track_caller]
    pub fn cancel(self, operations: CK_FLAGS) {
        try_call!(via self.module.v3(), C_SessionCancel(self.handle, operations)).unwrap();
    }

    pub fn verify_rest(self, data: &[u8], signature: &[u8]) -> Result<(), Rv> {
        let ((data, data_length), (signature, length)) = (input(data), input(signature));
        try_call!(
            self.module,
            C_Verify(self.handle, data, data_length, signature, length)
        )
    }

    pub fn random(self, length: usize) -> Result<Vec<u8>, Rv> {
        let mut bytes = vec![0; length];
        try_call!(
            self.module,
            C_GenerateRandom(self.handle, bytes.as_mut_ptr(), length as CK_ULONG)
        )?;
        Ok(bytes)
    }

    pub fn sign(
        self,
        mechanism: impl Into<Mech>,
        key: CK_OBJECT_HANDLE,
        data: &[u8],
    ) -> Result<Vec<u8>, Rv> {
        self.sign_init(mechanism, key)?;
        self.sign_rest(data)
    }

    pub fn sign_parts(
        self,
        mechanism: impl Into<Mech>,
        key: CK_OBJECT_HANDLE,
        parts: &[&[u8]],
    ) -> Result<Vec<u8>, Rv> {
        self.sign_init(mechanism, key)?;
        parts.iter().try_for_each(|part| self.sign_update(part))?;
        self.sign_final()
    }

    pub fn verify(
        self,
        mechanism: impl Into<Mech>,
        key: CK_OBJECT_HANDLE,
        data: &[u8],
        signature: &[u8],
    ) -> Result<(), Rv> {
        self.verify_init(mechanism, key)?;
        self.verify_rest(data, signature)
    }

    pub fn verify_parts(
        self,
        mechanism: impl Into<Mech>,
        key: CK_OBJECT_HANDLE,
        parts: &[&[u8]],
        signature: &[u8],
    ) -> Result<(), Rv> {
        self.verify_init(mechanism, key)?;
        parts.iter().try_for_each(|part| self.verify_update(part))?;
        self.verify_final(signature)
    }

    pub fn encrypt(
        self,
        mechanism: impl Into<Mech>,
        key: CK_OBJECT_HANDLE,
        data: &[u8],
    ) -> Result<Vec<u8>, Rv> {
        self.encrypt_init(mechanism, key)?;
        self.encrypt_rest(data)
    }

    pub fn encrypt_parts(
        self,
        mechanism: impl Into<Mech>,
        key: CK_OBJECT_HANDLE,
        parts: &[&[u8]],
    ) -> Result<Vec<u8>, Rv> {
        self.encrypt_init(mechanism, key)?;
        let mut all = Vec::new();
        for part in parts {
            all.extend(self.encrypt_update(part)?);
        }
        all.extend(self.encrypt_final()?);
        Ok(all)
    }

    pub fn decrypt(
        self,
        mechanism: impl Into<Mech>,
        key: CK_OBJECT_HANDLE,
        data: &[u8],
    ) -> Result<Vec<u8>, Rv> {
        self.decrypt_init(mechanism, key)?;
        self.decrypt_rest(data)
    }

    pub fn decrypt_parts(
        self,
        mechanism: impl Into<Mech>,
        key: CK_OBJECT_HANDLE,
        parts: &[&[u8]],
    ) -> Result<Vec<u8>, Rv> {
        self.decrypt_init(mechanism, key)?;
        let mut all = Vec::new();
        for part in parts {
            all.extend(self.decrypt_update(part)?);
        }
        all.extend(self.decrypt_final()?);
        Ok(all)
    }

    pub fn digest(self, mechanism: impl Into<Mech>, data: &[u8]) -> Result<Vec<u8>, Rv> {
        self.digest_init(mechanism)?;
        self.digest_rest(data)
    }
}
