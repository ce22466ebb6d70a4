//! The exported symbols, the three function tables, and how a client finds them
//! (PKCS#11 3.2, 5.4.4 to 5.4.6).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::undocumented_unsafe_blocks, missing_docs)]

mod common;

use common::names::{FUNCTIONS, Function};
use common::*;
use std::collections::BTreeSet;
use std::ffi::{CStr, CString, c_char, c_void};
use std::os::unix::ffi::OsStrExt;
use std::process::Command;

/// The versions of the interface "PKCS 11", the default first, and how many functions each table has.
const VERSIONS: [(u8, u8, usize); 3] = [(3, 2, 104), (3, 0, 92), (2, 40, 68)];

type GetInterface = unsafe extern "C" fn(
    *mut CK_UTF8CHAR,
    *mut CK_VERSION,
    *mut *mut CK_INTERFACE,
    CK_FLAGS,
) -> CK_RV;

/// `C_GetInterface` as a client that found the symbol calls it.
fn get_interface(
    module: Module,
    name: Option<&CStr>,
    version: Option<(u8, u8)>,
    flags: CK_FLAGS,
) -> Result<CK_INTERFACE, Rv> {
    let get = unsafe { module.library.get::<GetInterface>(b"C_GetInterface") }.unwrap();
    let name = name.map_or(null_mut(), |name| name.as_ptr().cast_mut().cast());
    let mut version = version.map(|(major, minor)| CK_VERSION { major, minor });
    let version = version
        .as_mut()
        .map_or(null_mut(), |version| &raw mut *version);
    let mut interface = null_mut();
    Rv(unsafe { get(name, version, &mut interface, flags) }).ok()?;
    Ok(unsafe { *interface })
}

fn version_of(interface: &CK_INTERFACE) -> (u8, u8) {
    let version = unsafe { *interface.pFunctionList.cast::<CK_VERSION>() };
    (version.major, version.minor)
}

fn name_of(interface: &CK_INTERFACE) -> &CStr {
    unsafe { CStr::from_ptr(interface.pInterfaceName.cast::<c_char>()) }
}

/// The entries of a table with `count` functions: it is a version and then pointers.
fn entries(table: *const c_void, count: usize) -> Vec<*const c_void> {
    let pointers = unsafe { table.cast::<*const c_void>().add(1) };
    unsafe { std::slice::from_raw_parts(pointers, count) }.to_vec()
}

#[test]
fn the_table_types_have_the_counts_that_these_tests_use() {
    let words = |bytes: usize| bytes / size_of::<usize>() - 1;
    assert_eq!(words(size_of::<CK_FUNCTION_LIST_3_2>()), VERSIONS[0].2);
    assert_eq!(words(size_of::<CK_FUNCTION_LIST_3_0>()), VERSIONS[1].2);
    assert_eq!(words(size_of::<CK_FUNCTION_LIST>()), VERSIONS[2].2);
    assert_eq!(FUNCTIONS.len(), VERSIONS[0].2);
}

#[test]
fn the_function_list_is_that_of_2_40() {
    isolated(|_| {
        let version = Module::load().list.version;
        assert_eq!((version.major, version.minor), (2, 40));
    });
}

#[test]
fn three_interfaces_are_listed() {
    isolated(|_| {
        let module = Module::load();
        let mut count = 0;
        try_call!(via module.v3(), C_GetInterfaceList(null_mut(), &mut count)).unwrap();
        assert_eq!(count, 3);
        let mut list = [CK_INTERFACE {
            pInterfaceName: null_mut(),
            pFunctionList: null_mut(),
            flags: 0,
        }; 3];
        try_call!(via module.v3(), C_GetInterfaceList(list.as_mut_ptr(), &mut count)).unwrap();
        assert_eq!(count, 3);
        for (interface, (major, minor, _)) in list.iter().zip(VERSIONS) {
            assert_eq!(name_of(interface), c"PKCS 11");
            assert_eq!(version_of(interface), (major, minor));
            // Fork-safe would mean that the child inherits sessions and logins (5.4.5); ours begins anew.
            assert_eq!(interface.flags, 0);
        }
    });
}

#[test]
fn interface_list_arguments() {
    isolated(|_| {
        let module = Module::load();
        let mut list = [CK_INTERFACE {
            pInterfaceName: null_mut(),
            pFunctionList: null_mut(),
            flags: 0,
        }; 3];
        let mut count = 2;
        try_call!(via module.v3(), C_GetInterfaceList(list.as_mut_ptr(), &mut count))
            .refused(CKR_BUFFER_TOO_SMALL);
        assert_eq!(count, 3, "the needed count is written");
        assert!(
            list.iter().all(|entry| entry.pFunctionList.is_null()),
            "and nothing else"
        );
        try_call!(via module.v3(), C_GetInterfaceList(list.as_mut_ptr(), null_mut()))
            .refused(CKR_ARGUMENTS_BAD);
        try_call!(via module.v3(), C_GetInterfaceList(null_mut(), null_mut()))
            .refused(CKR_ARGUMENTS_BAD);
    });
}

#[test]
fn get_interface_finds_what_is_asked_for() {
    // name, version, flags, the version that must come
    type Case = (Option<&'static CStr>, Option<(u8, u8)>, CK_FLAGS, (u8, u8));
    let name = Some(c"PKCS 11");
    let cases: [Case; 7] = [
        (None, None, 0, (3, 2)),
        (name, None, 0, (3, 2)),
        (name, Some((3, 2)), 0, (3, 2)),
        (name, Some((3, 0)), 0, (3, 0)),
        (name, Some((2, 40)), 0, (2, 40)),
        (None, Some((3, 0)), 0, (3, 0)),
        (None, Some((2, 40)), 0, (2, 40)),
    ];
    isolated(|_| {
        let module = Module::load();
        for (name, version, flags, expected) in cases {
            let interface = get_interface(module, name, version, flags).unwrap();
            assert_eq!(
                version_of(&interface),
                expected,
                "{name:?} {version:?} {flags}"
            );
            assert_eq!(name_of(&interface), c"PKCS 11");
        }
    });
}

#[test]
fn get_interface_refuses_what_is_not_there() {
    // Never CKR_FUNCTION_NOT_SUPPORTED, which clients take for "this module has no C_GetInterface".
    type Case = (Option<&'static CStr>, Option<(u8, u8)>, CK_FLAGS);
    let cases: [Case; 10] = [
        (Some(c"Vendor NSS FIPS Interface"), None, 0),
        (Some(c"PKCS 1"), None, 0),
        (Some(c"PKCS 111"), None, 0),
        (Some(c""), None, 0),
        (Some(c"PKCS 11"), Some((3, 3)), 0),
        (Some(c"PKCS 11"), Some((2, 20)), 0),
        (None, Some((4, 0)), 0),
        (Some(c"PKCS 11"), None, 1 << 20),
        // NSS asks for this first and then without.
        (Some(c"PKCS 11"), None, CKF_INTERFACE_FORK_SAFE),
        (None, None, CKF_INTERFACE_FORK_SAFE),
    ];
    isolated(|_| {
        let module = Module::load();
        for (name, version, flags) in cases {
            get_interface(module, name, version, flags).refused(CKR_FUNCTION_FAILED);
        }
        let get = unsafe { module.library.get::<GetInterface>(b"C_GetInterface") }.unwrap();
        assert_eq!(
            Rv(unsafe { get(null_mut(), null_mut(), null_mut(), 0) }),
            Rv(CKR_ARGUMENTS_BAD)
        );
        let get_list = unsafe {
            module
                .library
                .get::<CK_C_GetFunctionList>(b"C_GetFunctionList")
        }
        .unwrap();
        assert_eq!(
            Rv(unsafe { get_list.unwrap()(null_mut()) }),
            Rv(CKR_ARGUMENTS_BAD)
        );
    });
}

/// A library loaded before ours that exports every `C_*` for all to see, as libp11-kit and other
/// modules do, must not get into our tables.
#[test]
fn every_entry_is_our_own_function_even_behind_another_library() {
    isolated(|world| {
        let (source, decoy) = (world.path("decoy.c"), world.path("decoy.so"));
        let functions = FUNCTIONS
            .iter()
            .map(|name| format!("unsigned long {name}(void) {{ return 5; }}\n"));
        std::fs::write(&source, functions.collect::<String>()).unwrap();
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-o"])
            .arg(&decoy)
            .arg(&source)
            .status();
        assert!(compiled.unwrap().success());
        let decoy = CString::new(decoy.as_os_str().as_bytes()).unwrap();
        assert!(
            !unsafe { libc::dlopen(decoy.as_ptr(), libc::RTLD_NOW | libc::RTLD_GLOBAL) }.is_null()
        );

        let module = Module::load();
        let library = module::path().canonicalize().unwrap();
        for (major, minor, count) in VERSIONS {
            let interface =
                get_interface(module, Some(c"PKCS 11"), Some((major, minor)), 0).unwrap();
            for (entry, name) in entries(interface.pFunctionList, count)
                .into_iter()
                .zip(FUNCTIONS)
            {
                assert!(!entry.is_null(), "{name} of {major}.{minor} is NULL");
                let mut place: libc::Dl_info = unsafe { std::mem::zeroed() };
                assert_ne!(unsafe { libc::dladdr(entry, &mut place) }, 0);
                let file = unsafe { CStr::from_ptr(place.dli_fname) }.to_str().unwrap();
                assert_eq!(
                    std::path::Path::new(file).canonicalize().unwrap(),
                    library,
                    "{name} of {major}.{minor}"
                );
                let exported =
                    unsafe { module.library.get::<*const c_void>(name.as_bytes()) }.unwrap();
                assert_eq!(
                    *exported, entry,
                    "{name} of {major}.{minor} is another function"
                );
            }
        }
    });
}

#[test]
fn only_the_standards_functions_are_exported() {
    let output = Command::new("nm")
        .args(["-D", "--defined-only", "--format=posix"])
        .arg(module::path())
        .output()
        .unwrap();
    assert!(output.status.success());
    let listing = String::from_utf8(output.stdout).unwrap();
    let exported: BTreeSet<_> = listing
        .lines()
        .map(|line| line.split([' ', '@']).next().unwrap())
        .collect();
    assert_eq!(exported, FUNCTIONS.iter().copied().collect());
}

/// The environment of a process that has gained privileges is somebody else's, and the engine asks for
/// variables as soon as it is loaded: every question goes to secure_getenv(3).
#[test]
fn no_variable_is_asked_for_by_getenv() {
    let output = Command::new("nm")
        .args(["-D", "--undefined-only", "--format=posix"])
        .arg(module::path())
        .output()
        .unwrap();
    assert!(output.status.success());
    let listing = String::from_utf8(output.stdout).unwrap();
    let imported: BTreeSet<_> = listing
        .lines()
        .map(|line| line.split([' ', '@']).next().unwrap())
        .collect();
    assert!(imported.contains("secure_getenv"), "{imported:?}");
    assert!(!imported.contains("getenv"), "{imported:?}");
}

#[test]
fn the_module_binds_its_own_symbols_and_stays_mapped() {
    let output = Command::new("readelf")
        .args(["-dW"])
        .arg(module::path())
        .output()
        .unwrap();
    let dynamic = String::from_utf8(output.stdout).unwrap();
    for flag in ["SYMBOLIC", "NODELETE", "NOW"] {
        assert!(
            dynamic
                .lines()
                .any(|line| line.contains("FLAGS") && line.contains(flag)),
            "{flag} in\n{dynamic}"
        );
    }
    // Nothing runs when the process exits: a forked child, or a call after the host's exit handlers,
    // would wait there for locks that nobody gives back.
    assert!(!dynamic.contains("FINI_ARRAY"), "{dynamic}");
}

/// Programs unload modules while their threads may still be inside, or before their exit handlers run.
#[test]
fn unloading_leaves_the_code_in_place() {
    isolated(|world| {
        let module = world.module();
        let path = CString::new(module::path().as_os_str().as_bytes()).unwrap();
        let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW) };
        for _ in 0..3 {
            unsafe { libc::dlclose(handle) };
        }
        module.slots().unwrap();
        module.finalize().unwrap();
        module.slots().refused(CKR_CRYPTOKI_NOT_INITIALIZED);
    });
}

/// `conformance/FUNCTIONS.md` names these functions and no others, and says of none that it is done that
/// answers CKR_FUNCTION_NOT_SUPPORTED, or the other way round.
#[test]
fn the_list_of_functions_is_true() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let list = std::fs::read_to_string(root.join("conformance/FUNCTIONS.md")).unwrap();
    let rows: Vec<Vec<&str>> = list
        .lines()
        .filter(|line| line.starts_with("| C_"))
        .map(|line| line.trim_matches(['|', ' ']).split(" | ").collect())
        .collect();
    let names: Vec<_> = rows.iter().map(|row| row[0]).collect();
    assert_eq!(names, FUNCTIONS);
    for row in &rows {
        assert!(root.join("tests").join(row[2]).is_file(), "{row:?}");
    }
    isolated_on(&[SOFTWARE], |world| {
        let token = world.token();
        let table: *const c_void = std::ptr::from_ref(token.module.v32()).cast();
        for (entry, row) in entries(table, FUNCTIONS.len()).into_iter().zip(&rows) {
            let session = token.session().handle as usize;
            let function = unsafe { std::mem::transmute::<*const c_void, Function>(entry) };
            let rv = Rv(unsafe { function(session, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0) });
            let missing = row[1].starts_with("CKR_FUNCTION_NOT_SUPPORTED");
            assert_eq!(
                rv == Rv(CKR_FUNCTION_NOT_SUPPORTED),
                missing,
                "{row:?}: {rv:?}"
            );
        }
    });
}
