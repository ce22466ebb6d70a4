//! Processes: one module has one state a process, so every test has a process of its own.

use super::module;
use super::token::{self, Double, Kind};
use super::{Module, Token};
use std::ffi::CString;
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

/// Set in the process that runs the body of a test: its directory and its kind of token.
const DIRECTORY: &str = "NODETOKEN_TEST_DIRECTORY";
const KIND: &str = "NODETOKEN_TEST_KIND";

/// Names the only kinds of token, with commas between them, that tests shall run on now.
const KINDS: &str = "NODETOKEN_TEST_KINDS";

/// Seconds after which a process of a test counts as hung and is killed by `SIGALRM`.
const HUNG_AFTER: u32 = 300;

/// Runs `body` once for each kind of token, each time in a fresh process with a fresh directory.
#[track_caller]
pub fn isolated(body: impl FnOnce(&World)) {
    isolated_on(token::KINDS, body);
}

/// Runs `body` for these kinds of token alone.
///
/// The test binary runs itself again with this test's name alone. That works under `cargo test` and
/// `cargo nextest`, and leaves the body in a process in which nobody has loaded the module and
/// nobody else works, so that it may fork (see [`World::process`]).
#[track_caller]
pub fn isolated_on(kinds: &[Kind], body: impl FnOnce(&World)) {
    if let Some(directory) = std::env::var_os(DIRECTORY) {
        unsafe { libc::alarm(HUNG_AFTER) };
        let world = World {
            directory: directory.into(),
            kind: kind(),
        };
        body(&world);
        std::fs::write(world.path("ran"), b"").unwrap();
        return;
    }
    let thread = std::thread::current();
    let test = thread
        .name()
        .expect("libtest names a test's thread after the test");
    for kind in kinds.iter().filter(|kind| is_wanted(kind)) {
        let directory = tempfile::tempdir().unwrap();
        let _beside = (kind.start)(directory.path());
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture", "--test-threads=1"])
            .env(DIRECTORY, directory.path())
            .env(KIND, kind.name)
            .envs(kind.environment(directory.path()))
            .output()
            .unwrap();
        assert!(
            output.status.success() && directory.path().join("ran").exists(),
            "{test} on {}: {}\n{}{}",
            kind.name,
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
    }
}

/// Whether the tests are to run on a kind; another module has no other than that of its own.
fn is_wanted(kind: &Kind) -> bool {
    if module::is_softhsm() && kind.name != token::SOFTWARE.name {
        return false;
    }
    std::env::var(KINDS).is_ok_and(|names| names.split(',').any(|name| name == kind.name))
        || std::env::var_os(KINDS).is_none()
}

/// The kind of token that this process of a test is about.
pub fn kind() -> &'static Kind {
    token::kind(&std::env::var(KIND).unwrap())
}

/// Sets a variable of this process, before it loads the module.
pub fn set(name: &str, value: impl AsRef<std::ffi::OsStr>) {
    let bytes = |text: &std::ffi::OsStr| CString::new(text.as_encoded_bytes()).unwrap();
    let (name, value) = (bytes(name.as_ref()), bytes(value.as_ref()));
    assert_eq!(unsafe { libc::setenv(name.as_ptr(), value.as_ptr(), 1) }, 0);
}

/// The surroundings of one test: its directory, its kind of token, its processes.
pub struct World {
    directory: PathBuf,
    pub kind: &'static Kind,
}

impl World {
    /// A path in the test's own directory.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.directory.join(name)
    }

    /// Gives the module, which must not be loaded yet, this configuration file.
    pub fn configure(&self, text: &str) {
        let file = token::configuration(&self.directory);
        let of_kind = (self.kind.configuration)(&self.directory);
        std::fs::write(&file, format!("{text}{of_kind}")).unwrap();
        set("NODETOKEN_CONF", &file);
    }

    /// Makes the module, which must not be loaded yet, show two new tokens of the kind.
    pub fn make_room_for_two(&self) {
        match self.kind.double {
            Double::Configured(text) => self.configure(text),
            Double::Brought(bring) => bring(&self.directory),
        }
    }

    /// The module, loaded and initialized with `C_Initialize(NULL)`.
    #[track_caller]
    pub fn module(&self) -> Module {
        let module = Module::load();
        module.initialize().unwrap();
        module
    }

    /// An initialized token with both PINs set, in an initialized module.
    #[track_caller]
    pub fn token(&self) -> Token {
        Token::make(self.module(), "test token")
    }

    /// The token that another process of this test has made.
    #[track_caller]
    pub fn existing_token(&self) -> Token {
        Token::find(self.module(), "test token")
    }

    /// Runs `body` in a forked process and demands that it ends well.
    ///
    /// Call it before this process loads the module, unless the fork itself is what is tested.
    #[track_caller]
    pub fn process(&self, body: impl FnOnce()) {
        self.start(body).succeeds();
    }

    /// Starts `body` in a forked process.
    pub fn start(&self, body: impl FnOnce()) -> Process<'_> {
        match unsafe { libc::fork() } {
            0 => {
                unsafe { libc::alarm(HUNG_AFTER) };
                let panicked = catch_unwind(AssertUnwindSafe(body)).is_err();
                // `exit`, not `_exit`: leaving with the module loaded must be harmless too.
                std::process::exit(if panicked { 101 } else { 0 });
            }
            pid => {
                assert!(pid > 0, "fork: {}", std::io::Error::last_os_error());
                Process { pid, world: self }
            }
        }
    }
}

/// A process that a test has forked.
pub struct Process<'a> {
    pub pid: libc::pid_t,
    world: &'a World,
}

impl Process<'_> {
    /// Waits for its end.
    pub fn wait(self) -> ExitStatus {
        use std::os::unix::process::ExitStatusExt;
        let mut status = 0;
        assert_eq!(unsafe { libc::waitpid(self.pid, &mut status, 0) }, self.pid);
        ExitStatus::from_raw(status)
    }

    /// Waits for its end, which must be exit status 0.
    #[track_caller]
    pub fn succeeds(self) {
        let status = self.wait();
        assert!(status.success(), "forked process: {status}");
    }

    /// Kills it at once (`SIGKILL`) and waits for its end.
    pub fn kill(self) -> ExitStatus {
        assert_eq!(unsafe { libc::kill(self.pid, libc::SIGKILL) }, 0);
        let world = self.world;
        let status = self.wait();
        (world.kind.bury)(&world.directory);
        status
    }
}

/// A pipe between two processes of a test, for the order of their steps.
pub struct Signal {
    reader: std::io::PipeReader,
    writer: std::io::PipeWriter,
}

impl Signal {
    pub fn new() -> Self {
        let (reader, writer) = std::io::pipe().unwrap();
        Self { reader, writer }
    }

    /// Lets one [`Signal::wait`] pass.
    pub fn send(&self) {
        self.send_byte(0);
    }

    pub fn send_byte(&self, byte: u8) {
        let sent = unsafe { libc::write(self.writer.as_raw_fd(), (&raw const byte).cast(), 1) };
        assert_eq!(sent, 1);
    }

    /// Waits for one [`Signal::send`] and returns its byte.
    pub fn wait(&self) -> u8 {
        let mut byte = 0u8;
        let read = unsafe { libc::read(self.reader.as_raw_fd(), (&raw mut byte).cast(), 1) };
        assert_eq!(read, 1);
        byte
    }

    /// How many more [`Signal::send`] there have been; takes them.
    pub fn drain(&self) -> usize {
        let mut waiting: libc::c_int = 0;
        assert_eq!(
            unsafe { libc::ioctl(self.reader.as_raw_fd(), libc::FIONREAD, &mut waiting) },
            0
        );
        for _ in 0..waiting {
            self.wait();
        }
        waiting as usize
    }
}
