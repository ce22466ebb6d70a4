//! The functions of the module's table, and what each argument of them is.

use cryptoki_sys::*;
use std::ptr::null_mut;

/// Every function as one of twelve words: the C calling conventions of the platforms that we build
/// for let a function ignore arguments that it does not take.
#[rustfmt::skip]
type Entry = unsafe extern "C" fn(
    usize, usize, usize, usize, usize, usize, usize, usize, usize, usize, usize, usize,
) -> CK_RV;

/// In the order of the table of 3.2, with a letter for each argument, or for those that belong
/// together:
///
/// | letter | arguments |
/// |---|---|
/// | `s` `z` | a session; one that does not exist |
/// | `S` `Z` `i` | a slot; one that does not exist; one where a session is open |
/// | `k` | an object |
/// | `x` `f` `u` `w` | a number; flags of a session; a user type; flags that do not block |
/// | `m` | a mechanism |
/// | `D` | input and its length |
/// | `P` `N` | the parameter of a message and its length: of an AEAD; none |
/// | `e` | flags of a part of a message |
/// | `B` `E` `L` `R` | output and the pointer to its length; or nothing; a list likewise; output and its length |
/// | `T` `C` `G` `Q` | a template and its count: of an object; of a copy; of a key to be made; asking for values |
/// | `H` | a list for handles, its length, the pointer to their count |
/// | `h` `o` | where the handle of a new object goes; of a new session |
/// | `p` `r` | where a result goes; a pointer that should be null |
/// | `n` `v` `0` | the name of an interface; the version of one; null |
///
/// A logout or another PIN costs the next login Argon2id, and a wrong PIN one of few tries: those
/// have tests of their own.
pub const FUNCTIONS: &[(&str, &str)] = &[
    ("C_Initialize", "0"),
    ("C_Finalize", "r"),
    ("C_GetInfo", "p"),
    ("C_GetFunctionList", "p"),
    ("C_GetSlotList", "xL"),
    ("C_GetSlotInfo", "Sp"),
    ("C_GetTokenInfo", "Sp"),
    ("C_GetMechanismList", "SL"),
    ("C_GetMechanismInfo", "Sxp"),
    ("C_InitToken", "iDp"),
    ("C_InitPIN", "sD"),
    ("C_SetPIN", "zDD"),
    ("C_OpenSession", "Sf00o"),
    ("C_CloseSession", "s"),
    ("C_CloseAllSessions", "Z"),
    ("C_GetSessionInfo", "sp"),
    ("C_GetOperationState", "sB"),
    ("C_SetOperationState", "sDkk"),
    ("C_Login", "suD"),
    ("C_Logout", "z"),
    ("C_CreateObject", "sTh"),
    ("C_CopyObject", "skCh"),
    ("C_DestroyObject", "sk"),
    ("C_GetObjectSize", "skp"),
    ("C_GetAttributeValue", "skQ"),
    ("C_SetAttributeValue", "skT"),
    ("C_FindObjectsInit", "sT"),
    ("C_FindObjects", "sH"),
    ("C_FindObjectsFinal", "s"),
    ("C_EncryptInit", "smk"),
    ("C_Encrypt", "sDB"),
    ("C_EncryptUpdate", "sDB"),
    ("C_EncryptFinal", "sB"),
    ("C_DecryptInit", "smk"),
    ("C_Decrypt", "sDB"),
    ("C_DecryptUpdate", "sDB"),
    ("C_DecryptFinal", "sB"),
    ("C_DigestInit", "sm"),
    ("C_Digest", "sDB"),
    ("C_DigestUpdate", "sD"),
    ("C_DigestKey", "sk"),
    ("C_DigestFinal", "sB"),
    ("C_SignInit", "smk"),
    ("C_Sign", "sDB"),
    ("C_SignUpdate", "sD"),
    ("C_SignFinal", "sB"),
    ("C_SignRecoverInit", "smk"),
    ("C_SignRecover", "sDB"),
    ("C_VerifyInit", "smk"),
    ("C_Verify", "sDD"),
    ("C_VerifyUpdate", "sD"),
    ("C_VerifyFinal", "sD"),
    ("C_VerifyRecoverInit", "smk"),
    ("C_VerifyRecover", "sDB"),
    ("C_DigestEncryptUpdate", "sDB"),
    ("C_DecryptDigestUpdate", "sDB"),
    ("C_SignEncryptUpdate", "sDB"),
    ("C_DecryptVerifyUpdate", "sDB"),
    ("C_GenerateKey", "smGh"),
    ("C_GenerateKeyPair", "smGThh"),
    ("C_WrapKey", "smkkB"),
    ("C_UnwrapKey", "smkDTh"),
    ("C_DeriveKey", "smkTh"),
    ("C_SeedRandom", "sD"),
    ("C_GenerateRandom", "sR"),
    ("C_GetFunctionStatus", "s"),
    ("C_CancelFunction", "s"),
    ("C_WaitForSlotEvent", "wpr"),
    ("C_GetInterfaceList", "L"),
    ("C_GetInterface", "nvpx"),
    ("C_LoginUser", "suDD"),
    ("C_SessionCancel", "sx"),
    ("C_MessageEncryptInit", "smk"),
    ("C_EncryptMessage", "sPDDB"),
    ("C_EncryptMessageBegin", "sPD"),
    ("C_EncryptMessageNext", "sPDBe"),
    ("C_MessageEncryptFinal", "s"),
    ("C_MessageDecryptInit", "smk"),
    ("C_DecryptMessage", "sPDDB"),
    ("C_DecryptMessageBegin", "sPD"),
    ("C_DecryptMessageNext", "sPDBe"),
    ("C_MessageDecryptFinal", "s"),
    ("C_MessageSignInit", "smk"),
    ("C_SignMessage", "sNDB"),
    ("C_SignMessageBegin", "sN"),
    ("C_SignMessageNext", "sNDE"),
    ("C_MessageSignFinal", "s"),
    ("C_MessageVerifyInit", "smk"),
    ("C_VerifyMessage", "sNDD"),
    ("C_VerifyMessageBegin", "sN"),
    ("C_VerifyMessageNext", "sNDD"),
    ("C_MessageVerifyFinal", "s"),
    ("C_EncapsulateKey", "smkTBh"),
    ("C_DecapsulateKey", "smkTDh"),
    ("C_VerifySignatureInit", "smkD"),
    ("C_VerifySignature", "sD"),
    ("C_VerifySignatureUpdate", "sD"),
    ("C_VerifySignatureFinal", "s"),
    ("C_GetSessionValidationFlags", "sxp"),
    ("C_AsyncComplete", "snp"),
    ("C_AsyncGetID", "snp"),
    ("C_AsyncJoin", "snxD"),
    ("C_WrapKeyAuthenticated", "smkkDB"),
    ("C_UnwrapKeyAuthenticated", "smkDTDh"),
];

/// What a function does with a mechanism, as CK_MECHANISM_INFO says it; zero where none.
pub fn use_of(name: &str) -> CK_FLAGS {
    match name {
        "C_EncryptInit" => CKF_ENCRYPT,
        "C_DecryptInit" => CKF_DECRYPT,
        "C_DigestInit" => CKF_DIGEST,
        "C_SignInit" => CKF_SIGN,
        "C_VerifyInit" | "C_VerifySignatureInit" => CKF_VERIFY,
        "C_SignRecoverInit" => CKF_SIGN_RECOVER,
        "C_VerifyRecoverInit" => CKF_VERIFY_RECOVER,
        "C_MessageEncryptInit" => CKF_MESSAGE_ENCRYPT,
        "C_MessageDecryptInit" => CKF_MESSAGE_DECRYPT,
        "C_MessageSignInit" => CKF_MESSAGE_SIGN,
        "C_MessageVerifyInit" => CKF_MESSAGE_VERIFY,
        "C_GenerateKey" => CKF_GENERATE,
        "C_GenerateKeyPair" => CKF_GENERATE_KEY_PAIR,
        _ => 0,
    }
}

/// C_Initialize has put the module's own hook in place of the fuzzer's.
fn abort_on_panic() {
    std::panic::set_hook(Box::new(|bug| {
        eprintln!("{bug}");
        std::process::abort();
    }));
}

/// The table of 3.2.
pub struct Table(&'static [Entry]);

impl Table {
    /// Asks the module for it, as a C program does.
    pub fn get() -> Self {
        let mut interface: *mut CK_INTERFACE = null_mut();
        let mut version = CK_VERSION { major: 3, minor: 2 };
        let rv = unsafe {
            nodetoken::abi::tables::C_GetInterface(null_mut(), &mut version, &mut interface, 0)
        };
        assert_eq!(rv, CKR_OK);
        let table = unsafe { (*interface).pFunctionList }.cast::<Entry>();
        // The version takes the first word.
        Self(unsafe { std::slice::from_raw_parts(table.add(1), FUNCTIONS.len()) })
    }

    /// Calls function number `at`. The caller answers for the arguments.
    #[rustfmt::skip]
    pub fn call(&self, at: usize, arguments: &[usize]) -> CK_RV {
        let a = |at: usize| arguments.get(at).copied().unwrap_or(0);
        let rv = unsafe {
            self.0[at](
                a(0), a(1), a(2), a(3), a(4), a(5), a(6), a(7), a(8), a(9), a(10), a(11),
            )
        };
        if FUNCTIONS[at].0 == "C_Initialize" {
            abort_on_panic();
        }
        rv
    }

    /// Calls a function by its name.
    pub fn named(&self, name: &str, arguments: &[usize]) -> CK_RV {
        let at = FUNCTIONS.iter().position(|function| function.0 == name);
        self.call(at.expect("the function exists"), arguments)
    }
}
