//! A TPM 2.0 simulator (swtpm) for one module's worker.

use std::fs;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long it may take to start.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running simulator, ended when dropped.
pub struct Swtpm(Child);

impl Swtpm {
    /// Starts a factory-new one with its state and its sockets in `directory`.
    pub fn start(directory: &Path) -> io::Result<Self> {
        let (state, socket) = (directory.join("tpm"), socket(directory));
        fs::create_dir(&state)?;
        // The libraries of the TSS look for the second socket under this name.
        let control = socket.with_extension("sock.ctrl");
        let child = Command::new("swtpm")
            .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear"])
            .args(["--tpmstate", &format!("dir={}", state.display())])
            .args([
                "--server",
                &format!("type=unixio,path={}", socket.display()),
            ])
            .args(["--ctrl", &format!("type=unixio,path={}", control.display())])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| io::Error::new(error.kind(), format!("swtpm: {error}")))?;
        let mut tpm = Self(child);
        let begin = Instant::now();
        while UnixStream::connect(&socket).is_err() {
            if let Some(status) = tpm.0.try_wait()? {
                return Err(io::Error::other(format!("swtpm: {status}")));
            }
            if begin.elapsed() > PATIENCE {
                return Err(io::Error::other("swtpm does not listen"));
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(tpm)
    }
}

impl Drop for Swtpm {
    fn drop(&mut self) {
        // One that is gone already cannot be killed.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The socket on which the simulator of `directory` takes commands.
pub fn socket(directory: &Path) -> PathBuf {
    directory.join("tpm.sock")
}
