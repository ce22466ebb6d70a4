//! The three function tables and how a client gets at them (PKCS#11 5.4.4 to 5.4.6).
//!
//! The functions stand here once each: a later table is the earlier one with more behind it.

use super::capsule::*;
use super::crypto::*;
use super::general::*;
use super::keys::*;
use super::message::*;
use super::objects::*;
use super::sessions::*;
use super::version3::*;
use super::{entries, input, output};
use crate::error::{Error, fail};
use cryptoki_sys::*;
use std::ffi::{CStr, c_void};
use std::ptr;

macro_rules! tables {
    (2.40 { $($first:ident)* } 3.0 { $($second:ident)* } 3.2 { $($third:ident)* }) => {
        static VERSION_2_40: CK_FUNCTION_LIST = CK_FUNCTION_LIST {
            version: CK_VERSION { major: 2, minor: 40 },
            $($first: Some($first),)*
        };
        static VERSION_3_0: CK_FUNCTION_LIST_3_0 = CK_FUNCTION_LIST_3_0 {
            version: CK_VERSION { major: 3, minor: 0 },
            $($first: Some($first),)*
            $($second: Some($second),)*
        };
        static VERSION_3_2: CK_FUNCTION_LIST_3_2 = CK_FUNCTION_LIST_3_2 {
            version: CK_VERSION { major: 3, minor: 2 },
            $($first: Some($first),)*
            $($second: Some($second),)*
            $($third: Some($third),)*
        };
    };
}

tables! {
    2.40 {
            C_Initialize C_Finalize C_GetInfo C_GetFunctionList C_GetSlotList C_GetSlotInfo
            C_GetTokenInfo C_GetMechanismList C_GetMechanismInfo C_InitToken C_InitPIN C_SetPIN
            C_OpenSession C_CloseSession C_CloseAllSessions C_GetSessionInfo C_GetOperationState
            C_SetOperationState C_Login C_Logout C_CreateObject C_CopyObject C_DestroyObject
            C_GetObjectSize C_GetAttributeValue C_SetAttributeValue C_FindObjectsInit
            C_FindObjects C_FindObjectsFinal C_EncryptInit C_Encrypt C_EncryptUpdate
            C_EncryptFinal C_DecryptInit C_Decrypt C_DecryptUpdate C_DecryptFinal C_DigestInit
            C_Digest C_DigestUpdate C_DigestKey C_DigestFinal C_SignInit C_Sign C_SignUpdate
            C_SignFinal C_SignRecoverInit C_SignRecover C_VerifyInit C_Verify C_VerifyUpdate
            C_VerifyFinal C_VerifyRecoverInit C_VerifyRecover C_DigestEncryptUpdate
            C_DecryptDigestUpdate C_SignEncryptUpdate C_DecryptVerifyUpdate C_GenerateKey
            C_GenerateKeyPair C_WrapKey C_UnwrapKey C_DeriveKey C_SeedRandom C_GenerateRandom
            C_GetFunctionStatus C_CancelFunction C_WaitForSlotEvent
    }
    3.0 {
            C_GetInterfaceList C_GetInterface C_LoginUser C_SessionCancel C_MessageEncryptInit
            C_EncryptMessage C_EncryptMessageBegin C_EncryptMessageNext C_MessageEncryptFinal
            C_MessageDecryptInit C_DecryptMessage C_DecryptMessageBegin C_DecryptMessageNext
            C_MessageDecryptFinal C_MessageSignInit C_SignMessage C_SignMessageBegin
            C_SignMessageNext C_MessageSignFinal C_MessageVerifyInit C_VerifyMessage
            C_VerifyMessageBegin C_VerifyMessageNext C_MessageVerifyFinal
    }
    3.2 {
            C_EncapsulateKey C_DecapsulateKey C_VerifySignatureInit C_VerifySignature
            C_VerifySignatureUpdate C_VerifySignatureFinal C_GetSessionValidationFlags
            C_AsyncComplete C_AsyncGetID C_AsyncJoin C_WrapKeyAuthenticated
            C_UnwrapKeyAuthenticated
    }
}

const NAME: &CStr = c"PKCS 11";

/// An interface that stands in static memory.
#[repr(transparent)]
#[derive(Clone, Copy)]
struct Interface(CK_INTERFACE);

// SAFETY: its pointers are to static memory that nobody writes.
unsafe impl Sync for Interface {}

const fn interface<T>(table: &'static T) -> Interface {
    Interface(CK_INTERFACE {
        pInterfaceName: NAME.as_ptr().cast_mut().cast(),
        pFunctionList: ptr::from_ref(table).cast_mut().cast::<c_void>(),
        flags: 0,
    })
}

/// The interfaces, the default one first.
static INTERFACES: [Interface; 3] = [
    interface(&VERSION_3_2),
    interface(&VERSION_3_0),
    interface(&VERSION_2_40),
];

impl Interface {
    /// Every table begins with its version.
    fn has_version(&self, version: CK_VERSION) -> bool {
        // SAFETY: the pointer is to one of the static tables above.
        let own = unsafe { *self.0.pFunctionList.cast::<CK_VERSION>() };
        (own.major, own.minor) == (version.major, version.minor)
    }
}

entries! {
    /// 5.4.4: the table of 2.40.
    fn C_GetFunctionList(list: *mut *mut CK_FUNCTION_LIST) {
        output::put(list, ptr::from_ref(&VERSION_2_40).cast_mut())
    }

    /// 5.4.5.
    fn C_GetInterfaceList(list: *mut CK_INTERFACE, count: *mut CK_ULONG) {
        output::list(&INTERFACES.map(|interface| interface.0), list, count)
    }

    /// 5.4.6: by name, version and flags, each of which may be left open.
    fn C_GetInterface(
        name: *mut CK_UTF8CHAR,
        version: *mut CK_VERSION,
        interface: *mut *mut CK_INTERFACE,
        flags: CK_FLAGS,
    ) {
        output::writable(interface)?;
        if !name.is_null() && input::string(name)?.as_bytes() != NAME.to_bytes() {
            return fail!(CKR_FUNCTION_FAILED, "there is no interface of that name");
        }
        let version = match version.is_null() {
            true => None,
            false => Some(input::structure(version)?),
        };
        let found = INTERFACES
            .iter()
            .filter(|known| flags & !known.0.flags == 0)
            .find(|known| version.is_none_or(|version| known.has_version(version)))
            .ok_or_else(|| {
                Error::new(CKR_FUNCTION_FAILED, "no interface of that version and those flags")
            })?;
        output::put(interface, ptr::from_ref(&found.0).cast_mut())
    }
}
