//! A PKCS#11 module as a C program sees it: loaded by dlopen, called through the function list of version 2.40.

use std::error::Error;
use std::ffi::c_void;
use std::marker::PhantomData;
use std::path::Path;
use std::ptr;

use cryptoki_sys::*;
use libloading::Library;

/// What went wrong, in one line: the function that was called and the CK_RV that it returned.
pub type Result<T> = std::result::Result<T, String>;

const LABEL: &str = "benchmark";
const USER_PIN: &str = "12345678";
const SO_PIN: &str = "87654321";

macro_rules! call {
    ($module:expr, $function:ident $(, $argument:expr)*) => {
        match $module.list.$function {
            Some(function) => {
                // SAFETY: the library that `Module` holds is loaded; every pointer argument points to memory that
                // outlives the call.
                match unsafe { function($($argument),*) } {
                    CKR_OK => Ok(()),
                    rv => Err(format!("{} returned {rv:#x}", stringify!($function))),
                }
            }
            None => Err(format!("{} is NULL in the function list", stringify!($function))),
        }
    };
}

/// An attribute whose value is borrowed.
#[repr(transparent)]
pub struct Attribute<'a>(CK_ATTRIBUTE, PhantomData<&'a ()>);

impl<'a> Attribute<'a> {
    /// The attribute `kind`, its value being the bytes of `value`: a number of the standard's type, CK_BBOOL or bytes.
    pub fn new<T: ?Sized>(kind: CK_ATTRIBUTE_TYPE, value: &'a T) -> Self {
        let attribute = CK_ATTRIBUTE {
            type_: kind,
            pValue: ptr::from_ref(value).cast_mut().cast(),
            ulValueLen: size_of_val(value) as CK_ULONG,
        };
        Self(attribute, PhantomData)
    }

    /// The attribute `kind`, to be read into `buffer`.
    pub fn read(kind: CK_ATTRIBUTE_TYPE, buffer: &'a mut [u8]) -> Self {
        let attribute = CK_ATTRIBUTE {
            type_: kind,
            pValue: buffer.as_mut_ptr().cast(),
            ulValueLen: buffer.len() as CK_ULONG,
        };
        Self(attribute, PhantomData)
    }
}

/// A loaded and initialized module.
pub struct Module {
    list: CK_FUNCTION_LIST,
    _library: Library,
}

impl Module {
    /// Loads the library at `path` and takes its function list.
    pub fn load(path: &Path) -> Result<Self> {
        // SAFETY: whoever runs the benchmark names a library whose initializers they trust.
        let library = unsafe { Library::new(path) }.map_err(reason)?;
        let mut list = ptr::null_mut();
        // SAFETY: the standard fixes the type of the symbol of this name.
        let entry = unsafe {
            library.get::<unsafe extern "C" fn(CK_FUNCTION_LIST_PTR_PTR) -> CK_RV>(
                b"C_GetFunctionList\0",
            )
        };
        let entry = entry.map_err(reason)?;
        // SAFETY: `list` is a valid place for the result.
        match unsafe { entry(&mut list) } {
            CKR_OK if !list.is_null() => Ok(Self {
                // SAFETY: the standard promises a list of this layout.
                list: unsafe { *list },
                _library: library,
            }),
            rv => Err(format!("C_GetFunctionList returned {rv:#x}")),
        }
    }

    /// C_Initialize, for use by several threads with the system's own locks.
    pub fn initialize(&self) -> Result<()> {
        let mut arguments = CK_C_INITIALIZE_ARGS {
            flags: CKF_OS_LOCKING_OK,
            ..Default::default()
        };
        let arguments: *mut CK_C_INITIALIZE_ARGS = &mut arguments;
        call!(self, C_Initialize, arguments.cast::<c_void>())
    }

    /// C_Finalize.
    pub fn finalize(&self) -> Result<()> {
        call!(self, C_Finalize, ptr::null_mut())
    }

    /// Makes the benchmark's token in the first slot, with its user PIN set.
    pub fn make_token(&self) -> Result<()> {
        let slot = *self.slots()?.first().ok_or("the module shows no slot")?;
        let mut so_pin = SO_PIN.as_bytes().to_vec();
        let mut label = format!("{LABEL:<32}").into_bytes();
        let length = so_pin.len() as CK_ULONG;
        call!(
            self,
            C_InitToken,
            slot,
            so_pin.as_mut_ptr(),
            length,
            label.as_mut_ptr()
        )?;
        let session = self.open(self.slot()?, CKF_RW_SESSION)?;
        session.login(CKU_SO, SO_PIN)?;
        let mut pin = USER_PIN.as_bytes().to_vec();
        call!(
            self,
            C_InitPIN,
            session.handle,
            pin.as_mut_ptr(),
            pin.len() as CK_ULONG
        )?;
        session.logout()
    }

    /// The slot that holds the benchmark's token (a module may move it when the token is initialized).
    pub fn slot(&self) -> Result<CK_SLOT_ID> {
        for slot in self.slots()? {
            let mut info = CK_TOKEN_INFO::default();
            call!(self, C_GetTokenInfo, slot, &mut info)?;
            if info.label.trim_ascii_end() == LABEL.as_bytes() {
                return Ok(slot);
            }
        }
        Err(format!("no slot holds the token {LABEL}"))
    }

    /// The first slot whose token is on a piece of hardware, and ready.
    pub fn hardware_slot(&self) -> Result<CK_SLOT_ID> {
        for slot in self.slots()? {
            let mut place = CK_SLOT_INFO::default();
            call!(self, C_GetSlotInfo, slot, &mut place)?;
            if place.flags & CKF_HW_SLOT == 0 {
                continue;
            }
            let mut info = CK_TOKEN_INFO::default();
            call!(self, C_GetTokenInfo, slot, &mut info)?;
            if info.flags & CKF_TOKEN_INITIALIZED != 0 {
                return Ok(slot);
            }
        }
        Err("no slot holds a token of hardware".into())
    }

    /// What the module calls itself, with its version.
    pub fn description(&self) -> Result<String> {
        let mut info = CK_INFO::default();
        call!(self, C_GetInfo, &mut info)?;
        let name = String::from_utf8_lossy(info.libraryDescription.trim_ascii_end()).into_owned();
        let CK_VERSION { major, minor } = info.libraryVersion;
        Ok(format!("{name}, library version {major}.{minor}"))
    }

    fn slots(&self) -> Result<Vec<CK_SLOT_ID>> {
        let mut count = 0;
        call!(self, C_GetSlotList, CK_TRUE, ptr::null_mut(), &mut count)?;
        let mut slots = vec![0; count as usize];
        call!(self, C_GetSlotList, CK_TRUE, slots.as_mut_ptr(), &mut count)?;
        slots.truncate(count as usize);
        Ok(slots)
    }

    /// C_OpenSession; `flags` is 0 or CKF_RW_SESSION.
    pub fn open(&self, slot: CK_SLOT_ID, flags: CK_FLAGS) -> Result<Session<'_>> {
        let mut handle = 0;
        let flags = flags | CKF_SERIAL_SESSION;
        call!(
            self,
            C_OpenSession,
            slot,
            flags,
            ptr::null_mut(),
            None,
            &mut handle
        )?;
        Ok(Session {
            module: self,
            handle,
        })
    }
}

/// An open session, closed when dropped.
pub struct Session<'a> {
    module: &'a Module,
    handle: CK_SESSION_HANDLE,
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        // A session that cannot be closed ends with its process.
        let _ = call!(self.module, C_CloseSession, self.handle);
    }
}

impl Session<'_> {
    /// C_Login as the user.
    pub fn login_user(&self) -> Result<()> {
        self.login(CKU_USER, USER_PIN)
    }

    /// C_Login.
    pub fn login(&self, user: CK_USER_TYPE, pin: &str) -> Result<()> {
        let mut pin = pin.as_bytes().to_vec();
        call!(
            self.module,
            C_Login,
            self.handle,
            user,
            pin.as_mut_ptr(),
            pin.len() as CK_ULONG
        )
    }

    /// C_Logout.
    pub fn logout(&self) -> Result<()> {
        call!(self.module, C_Logout, self.handle)
    }

    /// C_SignInit and C_Sign; gives the length of the signature in `signature`.
    pub fn sign(
        &self,
        mechanism: &mut CK_MECHANISM,
        key: CK_OBJECT_HANDLE,
        data: &[u8],
        signature: &mut [u8],
    ) -> Result<usize> {
        call!(self.module, C_SignInit, self.handle, mechanism, key)?;
        let mut length = signature.len() as CK_ULONG;
        call!(
            self.module,
            C_Sign,
            self.handle,
            data.as_ptr().cast_mut(),
            data.len() as CK_ULONG,
            signature.as_mut_ptr(),
            &mut length
        )?;
        Ok(length as usize)
    }

    /// C_VerifyInit and C_Verify.
    pub fn verify(
        &self,
        mechanism: &mut CK_MECHANISM,
        key: CK_OBJECT_HANDLE,
        data: &[u8],
        signature: &[u8],
    ) -> Result<()> {
        call!(self.module, C_VerifyInit, self.handle, mechanism, key)?;
        call!(
            self.module,
            C_Verify,
            self.handle,
            data.as_ptr().cast_mut(),
            data.len() as CK_ULONG,
            signature.as_ptr().cast_mut(),
            signature.len() as CK_ULONG
        )
    }

    /// C_DigestInit and C_Digest.
    pub fn digest(
        &self,
        mechanism: &mut CK_MECHANISM,
        data: &[u8],
        digest: &mut [u8],
    ) -> Result<()> {
        call!(self.module, C_DigestInit, self.handle, mechanism)?;
        let mut length = digest.len() as CK_ULONG;
        call!(
            self.module,
            C_Digest,
            self.handle,
            data.as_ptr().cast_mut(),
            data.len() as CK_ULONG,
            digest.as_mut_ptr(),
            &mut length
        )
    }

    /// C_EncryptInit and C_Encrypt.
    pub fn encrypt(
        &self,
        mechanism: &mut CK_MECHANISM,
        key: CK_OBJECT_HANDLE,
        data: &[u8],
        encrypted: &mut [u8],
    ) -> Result<()> {
        call!(self.module, C_EncryptInit, self.handle, mechanism, key)?;
        let mut length = encrypted.len() as CK_ULONG;
        call!(
            self.module,
            C_Encrypt,
            self.handle,
            data.as_ptr().cast_mut(),
            data.len() as CK_ULONG,
            encrypted.as_mut_ptr(),
            &mut length
        )
    }

    /// C_GenerateRandom.
    pub fn random(&self, bytes: &mut [u8]) -> Result<()> {
        let length = bytes.len() as CK_ULONG;
        call!(
            self.module,
            C_GenerateRandom,
            self.handle,
            bytes.as_mut_ptr(),
            length
        )
    }

    /// One search with one C_FindObjects: the objects that match, as many as `found` has room for.
    pub fn find(&self, template: &[Attribute], found: &mut [CK_OBJECT_HANDLE]) -> Result<usize> {
        let (attributes, count) = raw(template);
        call!(
            self.module,
            C_FindObjectsInit,
            self.handle,
            attributes,
            count
        )?;
        let (room, mut length) = (found.len() as CK_ULONG, 0);
        call!(
            self.module,
            C_FindObjects,
            self.handle,
            found.as_mut_ptr(),
            room,
            &mut length
        )?;
        call!(self.module, C_FindObjectsFinal, self.handle)?;
        Ok(length as usize)
    }

    /// The first object that matches, if there is one.
    pub fn find_one(&self, template: &[Attribute]) -> Result<Option<CK_OBJECT_HANDLE>> {
        let mut found = [0];
        Ok((self.find(template, &mut found)? == 1).then_some(found[0]))
    }

    /// C_GetAttributeValue into the buffers of `template`.
    pub fn read(&self, object: CK_OBJECT_HANDLE, template: &mut [Attribute]) -> Result<()> {
        let (attributes, count) = raw(template);
        call!(
            self.module,
            C_GetAttributeValue,
            self.handle,
            object,
            attributes,
            count
        )
    }

    /// One attribute's value into `buffer`, its length asked for before, as clients do.
    pub fn value(
        &self,
        object: CK_OBJECT_HANDLE,
        kind: CK_ATTRIBUTE_TYPE,
        buffer: &mut [u8],
    ) -> Result<usize> {
        let mut attribute = CK_ATTRIBUTE {
            type_: kind,
            pValue: ptr::null_mut(),
            ulValueLen: 0,
        };
        let handle = self.handle;
        let ask = |attribute: &mut CK_ATTRIBUTE| -> Result<()> {
            call!(
                self.module,
                C_GetAttributeValue,
                handle,
                object,
                attribute,
                1
            )
        };
        ask(&mut attribute)?;
        let length = attribute.ulValueLen as usize;
        let room = buffer.get_mut(..length).ok_or("a value is too long")?;
        attribute.pValue = room.as_mut_ptr().cast();
        ask(&mut attribute)?;
        Ok(length)
    }

    /// C_CreateObject.
    pub fn create(&self, template: &[Attribute]) -> Result<CK_OBJECT_HANDLE> {
        let (attributes, count) = raw(template);
        let mut object = 0;
        call!(
            self.module,
            C_CreateObject,
            self.handle,
            attributes,
            count,
            &mut object
        )?;
        Ok(object)
    }

    /// C_DestroyObject.
    pub fn destroy(&self, object: CK_OBJECT_HANDLE) -> Result<()> {
        call!(self.module, C_DestroyObject, self.handle, object)
    }

    /// C_GenerateKey.
    pub fn generate(
        &self,
        mechanism: CK_MECHANISM_TYPE,
        template: &[Attribute],
    ) -> Result<CK_OBJECT_HANDLE> {
        let (attributes, count) = raw(template);
        let mut key = 0;
        call!(
            self.module,
            C_GenerateKey,
            self.handle,
            &mut plain(mechanism),
            attributes,
            count,
            &mut key
        )?;
        Ok(key)
    }

    /// C_GenerateKeyPair; gives the public and the private key.
    pub fn generate_pair(
        &self,
        mechanism: CK_MECHANISM_TYPE,
        public: &[Attribute],
        private: &[Attribute],
    ) -> Result<(CK_OBJECT_HANDLE, CK_OBJECT_HANDLE)> {
        let (public, public_count) = raw(public);
        let (private, private_count) = raw(private);
        let mut pair = (0, 0);
        call!(
            self.module,
            C_GenerateKeyPair,
            self.handle,
            &mut plain(mechanism),
            public,
            public_count,
            private,
            private_count,
            &mut pair.0,
            &mut pair.1
        )?;
        Ok(pair)
    }
}

/// The loader's own words, which libloading keeps one level down.
fn reason(error: libloading::Error) -> String {
    match error.source() {
        Some(source) => source.to_string(),
        None => error.to_string(),
    }
}

/// A mechanism without a parameter.
pub fn plain(mechanism: CK_MECHANISM_TYPE) -> CK_MECHANISM {
    CK_MECHANISM {
        mechanism,
        pParameter: ptr::null_mut(),
        ulParameterLen: 0,
    }
}

/// A mechanism with its parameter, which must outlive the call that it is given to.
pub fn with_parameter<T>(mechanism: CK_MECHANISM_TYPE, parameter: &mut T) -> CK_MECHANISM {
    CK_MECHANISM {
        mechanism,
        pParameter: ptr::from_mut(parameter).cast(),
        ulParameterLen: size_of::<T>() as CK_ULONG,
    }
}

fn raw(template: &[Attribute]) -> (*mut CK_ATTRIBUTE, CK_ULONG) {
    // `Attribute` is transparent; a template of the standard is not const even where it is only read.
    (
        template.as_ptr().cast_mut().cast(),
        template.len() as CK_ULONG,
    )
}
