//! The daemon: it is started and killed, and asked what it knows of its slots.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const DRIVER: &str = "/usr/lib/pcsc/drivers/serial/libifdvpcd.so";
const DAEMON: &str = "/usr/sbin/pcscd";
/// Directories of its own, in the `/run` of this process.
const READERS: &str = "/run/readers";
const NO_DRIVERS: &str = "/run/no-drivers";
const SOCKET: &str = "pcscd/pcscd.comm";

/// The port of the first slot; the second has the next.
pub const PORT: u16 = 35963;

/// What the reader is called where nobody asks for another name.
pub const NAME: &str = "Virtual Reader";

/// How long the daemon may take for anything.
const LIMIT: Duration = Duration::from_secs(20);

/// The daemon; it is killed when dropped and when the thread that started it ends.
pub struct Pcscd(Child);

impl Pcscd {
    pub fn start(name: &str) -> Result<Self, String> {
        for (file, package) in [(DAEMON, "pcscd"), (DRIVER, "vsmartcard-vpcd")] {
            if !Path::new(file).exists() {
                return Err(format!("{file} is missing: Debian package {package}"));
            }
        }
        Self::run(name)
            .map_err(|error| format!("{DAEMON}: {error}"))
            .and_then(|mut daemon| daemon.await_socket().map(|()| daemon))
    }

    fn run(name: &str) -> io::Result<Self> {
        // What a killed one has left.
        let _ = std::fs::remove_file(SOCKET);
        let _ = std::fs::remove_file("pcscd/pcscd.pid");
        std::fs::create_dir_all(READERS)?;
        std::fs::create_dir_all(NO_DRIVERS)?;
        std::fs::write(
            format!("{READERS}/vpcd"),
            format!(
                "FRIENDLYNAME \"{name}\"\nDEVICENAME /dev/null:{PORT}\nLIBPATH {DRIVER}\nCHANNELID {PORT}\n"
            ),
        )?;
        let log = File::options()
            .create(true)
            .append(true)
            .open("pcscd.log")?;
        let clock = std::env::current_exe()?.with_file_name("libpcscd_clock.so");
        let mut command = Command::new(DAEMON);
        unsafe {
            command.pre_exec(|| {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                Ok(())
            })
        };
        let child = command
            .args(["--foreground", "--info", "--config", READERS])
            // The readers of the machine are none of its business.
            .env("PCSCLITE_HP_DROPDIR", NO_DRIVERS)
            .env("LD_PRELOAD", clock)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        Ok(Self(child))
    }

    fn await_socket(&mut self) -> Result<(), String> {
        await_that("pcscd answers", || {
            if let Ok(Some(status)) = self.0.try_wait() {
                return Err(format!("pcscd has ended, {status}: see pcscd.log"));
            }
            Ok(states().is_ok_and(|states| states.len() >= 2))
        })
    }
}

impl Drop for Pcscd {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until the daemon has noticed that a card is in a slot, or that none is.
pub fn await_presence(slot: usize, present: bool) -> Result<(), String> {
    let what = format!(
        "pcscd notices that the card is {}",
        ["out", "in"][usize::from(present)]
    );
    await_that(&what, || {
        let states = states().map_err(|error| format!("pcscd: {error}"))?;
        Ok(states
            .get(slot)
            .is_some_and(|state| state.present == present))
    })
}

fn await_that(what: &str, mut holds: impl FnMut() -> Result<bool, String>) -> Result<(), String> {
    let start = Instant::now();
    while !holds()? {
        if start.elapsed() > LIMIT {
            return Err(format!("waited in vain until {what}"));
        }
        std::thread::sleep(Duration::from_millis(3));
    }
    Ok(())
}

struct State {
    present: bool,
}

/// What the daemon says of its slots, in the protocol that libpcsclite speaks with it (its
/// `winscard_msg.h`, version 4.4).
fn states() -> io::Result<Vec<State>> {
    const VERSION: u32 = 0x11;
    const READERS_STATE: u32 = 0x12;
    const NAME: usize = 128;
    const PRESENT: u32 = 4;
    let mut stream = UnixStream::connect(SOCKET)?;
    stream.set_read_timeout(Some(LIMIT))?;
    let message =
        |words: &[u32]| -> Vec<u8> { words.iter().flat_map(|word| word.to_ne_bytes()).collect() };
    stream.write_all(&message(&[12, VERSION, 4, 4, 0]))?;
    stream.read_exact(&mut [0; 12])?;
    stream.write_all(&message(&[0, READERS_STATE]))?;
    // Of each of 16: name, count of events, state, sharing, ATR, its length, protocol.
    let mut answer = [[0; NAME + 12 + 36 + 8]; 16];
    stream.read_exact(answer.as_flattened_mut())?;
    let used = answer.iter().filter(|state| state[0] != 0);
    Ok(used
        .map(|state| {
            let word = [0, 1, 2, 3].map(|byte| state[NAME + 4 + byte]);
            State {
                present: u32::from_ne_bytes(word) & PRESENT != 0,
            }
        })
        .collect())
}
