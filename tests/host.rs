//! What the module takes from the process that it is in, and does to it: environment, log file,
//! signals (THREATS.md 12, 14).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::undocumented_unsafe_blocks, missing_docs)]

mod common;

use common::*;
use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

/// A group that is not root's.
const NOGROUP: libc::gid_t = 65534;

/// Loads the module, begins a run with the string that it is given, and says who it is.
const HOST: &str = r#"
#include <dlfcn.h>
#include <stdio.h>
#include <sys/auxv.h>

#include "nodetoken.h"

int main(int count, char **words) {
    if (count != 3)
        return 2;
    void *library = dlopen(words[1], RTLD_NOW | RTLD_LOCAL);
    CK_C_GetFunctionList get;
    *(void **)&get = library ? dlsym(library, "C_GetFunctionList") : NULL;
    CK_FUNCTION_LIST *list;
    if (!get || get(&list) != CKR_OK)
        return 3;
    CK_C_INITIALIZE_ARGS arguments = {.flags = CKF_OS_LOCKING_OK, .pReserved = words[2]};
    printf("%lu %#lx\n", getauxval(AT_SECURE), (unsigned long)list->C_Initialize(&arguments));
    return 0;
}
"#;

/// With `HOST` and hostile variables: exit status and output.
fn run(program: &Path, world: &World) -> (std::process::ExitStatus, String) {
    let store = format!("store={}", world.path("store").display());
    let log = format!("debug:{}", world.path("log").display());
    let output = Command::new(program)
        .arg(module::path())
        .arg(store)
        .env("NODETOKEN_LOG", log)
        // AWS-LC ends the process that asks for what its processor has not.
        .env("OPENSSL_ia32cap", "0xffffffffffffffff")
        .output()
        .unwrap();
    (output.status, String::from_utf8(output.stdout).unwrap())
}

/// Neither the module nor its engine reads a variable in a set-gid process; only root can make one.
#[test]
fn a_set_gid_process_has_no_environment() {
    isolated(|world| {
        let (source, program) = (world.path("host.c"), world.path("host"));
        fs::write(&source, HOST).unwrap();
        let compiled = Command::new("cc")
            .arg("-I")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("include"))
            .arg("-o")
            .args([&program, &source])
            .arg("-ldl")
            .status();
        assert!(compiled.unwrap().success());
        // What the variables do elsewhere: without this the test would show nothing.
        let (status, _) = run(&program, world);
        let log = world.path("log");
        assert!(
            !status.success() || log.exists(),
            "the variables do nothing"
        );
        let _ = fs::remove_file(&log);
        if unsafe { libc::getuid() } != 0 {
            eprintln!("not run: it takes root to make a set-gid program");
            return;
        }
        std::os::unix::fs::chown(&program, None, Some(NOGROUP)).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o2755)).unwrap();
        let (status, output) = run(&program, world);
        if output.starts_with('0') || !status.success() && no_privileges_to_gain(&program) {
            eprintln!("not run: set-gid programs gain nothing here (nosuid or no_new_privs)");
            return;
        }
        assert_eq!((status.code(), &*output), (Some(0), "1 0\n"), "{status}");
        assert!(!log.exists(), "NODETOKEN_LOG was read");
    });
}

/// Whether the system ignores the set-gid bit of the program.
fn no_privileges_to_gain(program: &Path) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let path = CString::new(program.as_os_str().as_bytes()).unwrap();
    let mut system: libc::statvfs = unsafe { std::mem::zeroed() };
    assert_eq!(unsafe { libc::statvfs(path.as_ptr(), &mut system) }, 0);
    status.contains("NoNewPrivs:\t1") || system.f_flag & libc::ST_NOSUID != 0
}

/// C_Initialize with a configuration string.
fn initialize(module: Module, string: &str) -> Result<(), Rv> {
    let string = CString::new(string).unwrap();
    let mut arguments = CK_C_INITIALIZE_ARGS {
        CreateMutex: None,
        DestroyMutex: None,
        LockMutex: None,
        UnlockMutex: None,
        flags: CKF_OS_LOCKING_OK,
        pReserved: string.as_ptr().cast_mut().cast(),
    };
    module.initialize_with(&mut arguments)
}

/// What the open descriptors of this process lead to.
fn open_files() -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir("/proc/self/fd").unwrap();
    entries
        .filter_map(|entry| fs::read_link(entry.unwrap().path()).ok())
        .collect()
}

/// The log goes into a file or a terminal, never through a link, and never waits for a reader.
#[test]
fn what_is_no_log_file_is_refused() {
    isolated(|world| {
        let module = Module::load();
        let target = world.path("target");
        fs::write(&target, "kept").unwrap();
        symlink(&target, world.path("link")).unwrap();
        symlink(world.path("nowhere"), world.path("dangling")).unwrap();
        let fifo = CString::new(world.path("fifo").as_os_str().as_bytes()).unwrap();
        assert_eq!(unsafe { libc::mkfifo(fifo.as_ptr(), 0o600) }, 0);
        let _socket = std::os::unix::net::UnixListener::bind(world.path("socket")).unwrap();
        fs::create_dir(world.path("directory")).unwrap();
        let refused = |name: &str| {
            let string = format!("log=debug:{}", world.path(name).display());
            assert_eq!(
                initialize(module, &string),
                Err(Rv(CKR_FUNCTION_FAILED)),
                "{name}"
            );
        };
        for name in ["link", "dangling", "fifo", "socket", "directory"] {
            refused(name);
        }
        assert_eq!(fs::read(&target).unwrap(), b"kept");
        assert!(!world.path("nowhere").exists());
        // Nor does one help that somebody reads.
        let reader = unsafe { libc::open(fifo.as_ptr(), libc::O_RDONLY | libc::O_NONBLOCK) };
        assert!(reader >= 0);
        refused("fifo");
        let mut byte = 0u8;
        let read = unsafe { libc::read(reader, (&raw mut byte).cast(), 1) };
        assert_eq!(read, 0, "nothing was written");
        initialize(module, "log=debug:/dev/null").unwrap();
        module.finalize().unwrap();
    });
}

/// The log file belongs to a run: C_Finalize gives it back, and writes to nothing else after that.
#[test]
fn the_log_file_is_closed_at_the_end() {
    isolated(|world| {
        let module = Module::load();
        let log = world.path("log");
        for run in 1..=2 {
            initialize(module, &format!("log=debug:{}", log.display())).unwrap();
            module.slots().unwrap();
            assert!(open_files().contains(&log));
            module.finalize().unwrap();
            assert!(!open_files().contains(&log));
            let text = fs::read_to_string(&log).unwrap();
            for function in ["C_Initialize", "C_GetSlotList", "C_Finalize"] {
                let lines = text.matches(&format!(" {function}: CKR_OK\n")).count();
                let calls = if function == "C_GetSlotList" { 2 } else { 1 };
                assert_eq!(lines, run * calls, "{function} in\n{text}");
            }
        }
        assert_eq!(fs::metadata(&log).unwrap().mode() & 0o7777, 0o600);
        let before = fs::read(&log).unwrap();
        module.slots().refused(CKR_CRYPTOKI_NOT_INITIALIZED);
        assert_eq!(fs::read(&log).unwrap(), before);
    });
}

/// No file of this process may be longer.
fn limit_files(length: u64) {
    let limit = libc::rlimit {
        rlim_cur: length,
        rlim_max: libc::RLIM_INFINITY,
    };
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &limit) }, 0);
}

/// Which of the signals that a write can raise this thread blocks, and which wait for it.
fn signals() -> [[bool; 2]; 2] {
    let (mut blocked, mut pending): (libc::sigset_t, libc::sigset_t) =
        unsafe { std::mem::zeroed() };
    unsafe {
        libc::pthread_sigmask(libc::SIG_BLOCK, null(), &mut blocked);
        libc::sigpending(&mut pending);
    }
    [blocked, pending].map(|set| {
        [libc::SIGXFSZ, libc::SIGPIPE].map(|n| unsafe { libc::sigismember(&set, n) } == 1)
    })
}

fn on_token(label: &str) -> Template {
    data("value").set(CKA_LABEL, label).set(CKA_TOKEN, true)
}

/// A token with a key pair, made by a process that has ended.
fn make_token(world: &World) {
    world.process(|| {
        let session = world.token().user();
        session.ec_with(Curve::P256, &Template::new().set(CKA_TOKEN, true));
        session.module.finalize().unwrap();
    });
}

fn signs(session: Session) {
    let key = session.find_one(&Template::new().set(CKA_CLASS, CKO_PRIVATE_KEY));
    session.sign(CKM_ECDSA_SHA256, key, b"data").unwrap();
}

/// Beyond RLIMIT_FSIZE a write raises SIGXFSZ, which ends a process that does not expect it.
#[test]
fn a_write_beyond_the_limit_fails_and_the_host_lives() {
    isolated_on(STORED, |world| {
        make_token(world);
        for ignored in [false, true] {
            world.process(|| {
                if ignored {
                    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
                }
                let module = Module::load();
                let log = world.path(format!("log {ignored}"));
                initialize(module, &format!("log='error:{}'", log.display())).unwrap();
                let session = Token::find(module, "test token").user();
                let before = signals();
                limit_files(8192);
                session.create(&on_token("new")).refused(CKR_DEVICE_MEMORY);
                assert_eq!(signals(), before);
                let reason = fs::read_to_string(&log).unwrap();
                assert!(reason.contains("RLIMIT_FSIZE"), "{reason}");
                signs(session);
                session.logout().unwrap();
                session.login(CKU_USER, USER_PIN).refused(CKR_DEVICE_MEMORY);
                // The limit stops the log as well, and that is no reason to fail.
                limit_files(1);
                session.login(CKU_USER, USER_PIN).refused(CKR_DEVICE_MEMORY);
                assert_eq!(fs::read_to_string(&log).unwrap().lines().count(), 2);
                module.finalize().unwrap();
                // Opening the store makes the index of its log anew.
                initialize(module, "").refused(CKR_DEVICE_MEMORY);
                assert_eq!(signals(), before);
                limit_files(libc::RLIM_INFINITY);
                initialize(module, "").unwrap();
                let session = Token::find(module, "test token").user();
                session.create(&on_token("new")).unwrap();
                signs(session);
            });
        }
        for length in [0, 100, 5000] {
            world.process(|| {
                let module = Module::load();
                let directory = world.path(format!("other {length}"));
                initialize(module, &format!("store='{}'", directory.display())).unwrap();
                limit_files(length);
                let slot = module.slots().unwrap()[0];
                let made = module.init_token(slot, SO_PIN, "another");
                made.refused(CKR_DEVICE_MEMORY);
                limit_files(libc::RLIM_INFINITY);
                module.init_token(slot, SO_PIN, "another").unwrap();
            });
        }
    });
}

/// What the host itself has blocked, and what waits for it, is the host's.
#[test]
fn a_write_leaves_the_hosts_signals_alone() {
    isolated_on(STORED, |world| {
        make_token(world);
        for waiting in [false, true] {
            world.process(|| {
                let session = world.existing_token().user();
                let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
                unsafe {
                    libc::sigaddset(&mut set, libc::SIGXFSZ);
                    libc::pthread_sigmask(libc::SIG_BLOCK, &set, null_mut());
                    if waiting {
                        libc::raise(libc::SIGXFSZ);
                    }
                }
                let before = signals();
                assert_eq!(before, [[true, false], [waiting, false]]);
                session.create(&on_token("room")).unwrap();
                assert_eq!(signals(), before);
                limit_files(8192);
                // Beside one that waits a second cannot be told, and the reason is less exact.
                let refusals = [CKR_DEVICE_MEMORY, CKR_DEVICE_ERROR];
                session
                    .create(&on_token("no room"))
                    .refused_with(&refusals[..1 + usize::from(waiting)]);
                assert_eq!(signals(), before);
            });
        }
    });
}

/// Nobody reads standard error: the line is lost, and the host goes on.
#[test]
fn a_log_that_nobody_reads_is_lost() {
    isolated(|world| {
        world.process(|| {
            unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
            let (reader, writer) = std::io::pipe().unwrap();
            drop(reader);
            let writer = std::os::fd::AsRawFd::as_raw_fd(&writer);
            assert_eq!(unsafe { libc::dup2(writer, 2) }, 2);
            let module = Module::load();
            let before = signals();
            initialize(module, "log=debug").unwrap();
            module.slots().unwrap();
            assert_eq!(signals(), before);
        });
    });
}
