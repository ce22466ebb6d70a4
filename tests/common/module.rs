//! The module as a C program loads it, and the return codes it answers with.

use cryptoki_sys::*;
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use std::fmt;
use std::path::PathBuf;
use std::ptr::null_mut;

/// A return code, printed by its name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rv(pub CK_RV);

impl fmt::Debug for Rv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&nodetoken::error::rv_name(self.0))
    }
}

impl Rv {
    pub fn ok(self) -> Result<(), Rv> {
        if self.0 == CKR_OK { Ok(()) } else { Err(self) }
    }
}

/// Checks of a call that must be refused.
pub trait Refused {
    /// The call was refused with exactly `code`.
    #[track_caller]
    fn refused(self, code: CK_RV);

    /// The call was refused with one of `codes`, between which the standard leaves the choice.
    #[track_caller]
    fn refused_with(self, codes: &[CK_RV]);
}

impl<T: fmt::Debug> Refused for Result<T, Rv> {
    #[track_caller]
    fn refused(self, code: CK_RV) {
        assert_eq!(self.map(drop), Err(Rv(code)));
    }

    #[track_caller]
    fn refused_with(self, codes: &[CK_RV]) {
        match self {
            Err(Rv(code)) if codes.contains(&code) => {}
            other => panic!(
                "{other:?}, expected one of {:?}",
                codes.iter().map(|&c| Rv(c)).collect::<Vec<_>>()
            ),
        }
    }
}

/// `try_call!(module, C_Sign(a, b, …))`: one call through the 2.40 table as `Result<(), Rv>`;
/// `try_call!(via module.v3(), …)` and `try_call!(via module.v32(), …)`: through the later tables.
macro_rules! try_call {
    (via $table:expr, $function:ident ( $($argument:expr),* $(,)? )) => {
        $crate::common::Rv(unsafe { $table.$function.expect("no entry is NULL")($($argument),*) }).ok()
    };
    ($module:expr, $function:ident ( $($argument:expr),* $(,)? )) => {
        $crate::common::try_call!(via $module.list, $function($($argument),*))
    };
}
pub(crate) use try_call;

/// The loaded module. It stays loaded: tests end with it in use, as programs do.
#[derive(Clone, Copy)]
pub struct Module {
    pub library: &'static Library,
    pub list: &'static CK_FUNCTION_LIST,
    v3: Option<&'static CK_FUNCTION_LIST_3_0>,
    v32: Option<&'static CK_FUNCTION_LIST_3_2>,
}

/// Where the shared library is: `NODETOKEN_TEST_MODULE`, else beside the test itself.
pub fn path() -> PathBuf {
    std::env::var_os("NODETOKEN_TEST_MODULE").map_or_else(
        // Cargo builds it beside the tests, with their features; the copy one directory up is of the
        // last `cargo build`.
        || {
            std::env::current_exe()
                .unwrap()
                .with_file_name("libnodetoken.so")
        },
        PathBuf::from,
    )
}

/// The tests are themselves tested on SoftHSM.
pub fn is_softhsm() -> bool {
    path().to_string_lossy().contains("softhsm")
}

impl Module {
    /// Loads the library and takes its tables; calls nothing else.
    #[track_caller]
    pub fn load() -> Self {
        let path = path();
        let library = unsafe { Library::open(Some(&path), RTLD_NOW | RTLD_LOCAL) }
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let library: &'static Library = Box::leak(Box::new(library));
        let mut list = null_mut();
        let get_list =
            unsafe { library.get::<CK_C_GetFunctionList>(b"C_GetFunctionList") }.unwrap();
        assert_eq!(unsafe { get_list.unwrap()(&mut list) }, CKR_OK);
        Self {
            library,
            list: unsafe { &*list },
            v3: interface(library, 3, 0).map(|table| unsafe { &*table.cast() }),
            v32: interface(library, 3, 2).map(|table| unsafe { &*table.cast() }),
        }
    }

    /// The table of version 3.0.
    #[track_caller]
    pub fn v3(self) -> &'static CK_FUNCTION_LIST_3_0 {
        self.v3
            .expect("the module has the interface \"PKCS 11\" 3.0")
    }

    /// The table of version 3.2.
    #[track_caller]
    pub fn v32(self) -> &'static CK_FUNCTION_LIST_3_2 {
        self.v32
            .expect("the module has the interface \"PKCS 11\" 3.2")
    }

    pub fn initialize(self) -> Result<(), Rv> {
        try_call!(self, C_Initialize(null_mut()))
    }

    pub fn initialize_with(self, arguments: &mut CK_C_INITIALIZE_ARGS) -> Result<(), Rv> {
        try_call!(self, C_Initialize((&raw mut *arguments).cast()))
    }

    pub fn finalize(self) -> Result<(), Rv> {
        try_call!(self, C_Finalize(null_mut()))
    }

    pub fn slots(self) -> Result<Vec<CK_SLOT_ID>, Rv> {
        let mut count = 0;
        try_call!(self, C_GetSlotList(CK_TRUE, null_mut(), &mut count))?;
        let mut slots = vec![0; count as usize];
        try_call!(self, C_GetSlotList(CK_TRUE, slots.as_mut_ptr(), &mut count))?;
        slots.truncate(count as usize);
        Ok(slots)
    }

    pub fn token_info(self, slot: CK_SLOT_ID) -> Result<CK_TOKEN_INFO, Rv> {
        let mut info = CK_TOKEN_INFO::default();
        try_call!(self, C_GetTokenInfo(slot, &mut info))?;
        Ok(info)
    }

    pub fn init_token(self, slot: CK_SLOT_ID, so_pin: &str, label: &str) -> Result<(), Rv> {
        let mut label = format!("{label:32}").into_bytes();
        let pin = so_pin.as_bytes();
        try_call!(
            self,
            C_InitToken(
                slot,
                pin.as_ptr().cast_mut(),
                pin.len() as CK_ULONG,
                label.as_mut_ptr()
            )
        )
    }

    pub fn mechanisms(self, slot: CK_SLOT_ID) -> Result<Vec<CK_MECHANISM_TYPE>, Rv> {
        let mut count = 0;
        try_call!(self, C_GetMechanismList(slot, null_mut(), &mut count))?;
        // Never empty: the address of no element is none.
        let mut list = vec![0; count.max(1) as usize];
        try_call!(
            self,
            C_GetMechanismList(slot, list.as_mut_ptr(), &mut count)
        )?;
        list.truncate(count as usize);
        Ok(list)
    }

    pub fn mechanism_info(
        self,
        slot: CK_SLOT_ID,
        kind: CK_MECHANISM_TYPE,
    ) -> Result<CK_MECHANISM_INFO, Rv> {
        let mut info = CK_MECHANISM_INFO::default();
        try_call!(self, C_GetMechanismInfo(slot, kind, &mut info))?;
        Ok(info)
    }
}

/// The table of "PKCS 11" of this version, or `None` where the module has no such interface.
fn interface(library: &Library, major: u8, minor: u8) -> Option<*mut std::ffi::c_void> {
    let get = unsafe { library.get::<CK_C_GetInterface>(b"C_GetInterface") }.ok()?;
    let mut version = CK_VERSION { major, minor };
    let mut interface: *mut CK_INTERFACE = null_mut();
    let name = c"PKCS 11".as_ptr().cast_mut().cast();
    let rv = unsafe { get.unwrap()(name, &mut version, &mut interface, 0) };
    (rv == CKR_OK).then(|| unsafe { (*interface).pFunctionList })
}
