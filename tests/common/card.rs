//! Smart cards: a pcscd of a test's own, with a reader of two slots and a virtual PIV card for each
//! (`conformance/virtual-card`). A [`Reader`] is that all, a [`Card`] is one of the two cards, as any
//! process of the test reaches it.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

pub const PIN: &str = "123456";
pub const PUK: &str = "12345678";
/// The 9B key, 3DES.
pub const MANAGEMENT_KEY: [u8; 24] = [
    1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8,
];

/// What pcscd calls the two slots.
pub const SLOTS: [&str; 2] = ["Virtual Reader 00 00", "Virtual Reader 00 01"];

/// Where the reader of a test keeps its files.
fn home(directory: &Path) -> PathBuf {
    directory.join("reader")
}

/// A running reader with its pcscd; both are ended when it is dropped.
pub struct Reader {
    directory: PathBuf,
    child: Option<Child>,
}

impl Reader {
    /// Starts one with a new card in the first slot; its files are in `directory`.
    pub fn start(directory: &Path) -> Self {
        Self::start_with(directory, &[])
    }

    /// Starts one whose cards understand short APDUs only.
    pub fn start_short(directory: &Path) -> Self {
        Self::start_with(directory, &["--short"])
    }

    /// Starts one that is called `name`: some programs use readers of their maker alone.
    pub fn start_named(directory: &Path, name: &str) -> Self {
        Self::start_with(directory, &["--reader", name])
    }

    fn start_with(directory: &Path, options: &[&str]) -> Self {
        let mut command = Command::new(program());
        // It ends with the test, however that ends.
        unsafe {
            command.pre_exec(|| {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                Ok(())
            })
        };
        let mut child = command
            .arg(home(directory))
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        output.read_line(&mut said).unwrap();
        assert_eq!(said, "ready\n", "virtual-card says why, on standard error");
        let length = Self::socket(directory).as_os_str().len();
        assert!(length < 108, "a path of {length} bytes is no socket's");
        Self {
            directory: directory.to_owned(),
            child: Some(child),
        }
    }

    /// The socket of pcscd, for `PCSCLITE_CSOCK_NAME`.
    pub fn socket(directory: &Path) -> PathBuf {
        home(directory).join("pcscd/pcscd.comm")
    }

    pub fn card(&self) -> Card {
        Card::first(&self.directory)
    }

    pub fn second_card(&self) -> Card {
        Card::second(&self.directory)
    }

    /// Kills all of it: contexts, cards in use, what the cards have not stored.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Kills pcscd; the cards stay where they are.
pub fn stop_pcscd(directory: &Path) {
    command(directory, "pcscd stop");
}

/// Starts pcscd again, and waits until it has seen the cards.
pub fn start_pcscd(directory: &Path) {
    command(directory, "pcscd start");
}

/// When in a command a card is pulled out.
#[derive(Clone, Copy, Debug)]
pub enum When {
    /// It has not been executed.
    Before,
    /// It has been, and nobody has heard the answer.
    After,
}

/// A card, in its slot or not.
#[derive(Clone, Debug)]
pub struct Card {
    directory: PathBuf,
    number: u8,
}

impl Card {
    /// The card of the first slot, which is in it at the start.
    pub fn first(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            number: 1,
        }
    }

    /// The card of the second slot, which is not.
    pub fn second(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            number: 2,
        }
    }

    /// Inserts it, and waits until pcscd has noticed it.
    pub fn insert(&self) {
        self.tell("insert");
    }

    /// Pulls it out; pcscd learns of it by the next command or after a moment.
    pub fn pull(&self) {
        self.tell("pull");
    }

    /// Waits until the card is out and pcscd has noticed it.
    pub fn await_out(&self) {
        self.tell("await-out");
    }

    /// Pulls it out at the next command with this instruction; of a chained command, its last part.
    pub fn pull_at(&self, instruction: u8, when: When) {
        self.pull_at_nth(instruction, when, 1);
    }

    /// Pulls it out at the nth command with this instruction from now on.
    pub fn pull_at_nth(&self, instruction: u8, when: When, nth: usize) {
        let when = match when {
            When::Before => "before",
            When::After => "after",
        };
        self.tell(&format!("pull-at {instruction:x} {when} {nth}"));
    }

    /// Lets the answer to the next command with this instruction come that much later.
    pub fn hang_at(&self, instruction: u8, time: Duration) {
        self.tell(&format!("hang-at {instruction:x} {}", time.as_millis()));
    }

    /// Answers the next `times` commands with this instruction by a status, without executing them.
    pub fn fail_at(&self, instruction: u8, status: u16, times: usize) {
        self.tell(&format!("fail-at {instruction:x} {status:x} {times}"));
    }

    /// Takes back what was to happen.
    pub fn behave(&self) {
        self.tell("behave");
    }

    /// How many command APDUs there were since the start or the last reset of the count.
    pub fn apdus(&self) -> usize {
        self.tell("count").parse().unwrap()
    }

    pub fn reset_apdus(&self) {
        self.tell("reset-count");
    }

    /// Every APDU so far with its response, which is empty where the card was pulled out.
    pub fn log(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let file = home(&self.directory).join(format!("card-{}/log", self.number));
        let text = std::fs::read_to_string(file).unwrap();
        text.lines()
            .map(|line| {
                let (command, response) = line.split_once(' ').unwrap();
                (bytes(command), bytes(response.trim_matches('-')))
            })
            .collect()
    }

    fn tell(&self, what: &str) -> String {
        command(&self.directory, &format!("{} {what}", self.number))
    }
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks(2);
    digits
        .map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

/// Sends a command to the control socket; what it says beside `ok`.
fn command(directory: &Path, line: &str) -> String {
    let mut stream = UnixStream::connect(home(directory).join("control")).unwrap();
    writeln!(stream, "{line}").unwrap();
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).unwrap();
    let ok = answer.strip_prefix("ok");
    ok.unwrap_or_else(|| panic!("{line}: {answer:?}"))
        .trim()
        .to_owned()
}

/// The program, named by `NODETOKEN_VIRTUAL_CARD` or built: cargo lets one build at a time.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        if let Some(program) = std::env::var_os("NODETOKEN_VIRTUAL_CARD") {
            return program.into();
        }
        let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance/virtual-card");
        let target = home.join("target");
        let output = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()))
            .args(["build", "--release", "--locked", "--quiet"])
            .arg("--manifest-path")
            .arg(home.join("Cargo.toml"))
            .arg("--target-dir")
            .arg(&target)
            .env_remove("CARGO_BUILD_TARGET")
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "virtual-card, which needs the Debian packages clang and libclang-dev: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        target.join("release/virtual-card")
    })
}
