//! A TPM 2.0 simulator (swtpm) of a test's own, on a unix socket in the test's directory.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running simulator; it is ended when dropped.
pub struct Swtpm {
    directory: PathBuf,
    child: Option<Child>,
}

impl Swtpm {
    /// Starts a factory-new one, with its state and its socket in `directory`.
    ///
    /// A real TPM allows some thirty wrong values before it locks itself; swtpm allows three, which
    /// would hide the token's own count of ten.
    pub fn start(directory: &Path) -> Self {
        let mut tpm = Self {
            directory: directory.to_owned(),
            child: None,
        };
        std::fs::create_dir_all(directory.join("tpm-state")).unwrap();
        tpm.run();
        tpm.limit_wrong_values(32);
        tpm
    }

    /// The socket that it answers on.
    pub fn socket(directory: &Path) -> PathBuf {
        directory.join("tpm.sock")
    }

    /// Starts it again, with the state that it has.
    pub fn run(&mut self) {
        let socket = Self::socket(&self.directory);
        let _ = std::fs::remove_file(&socket);
        let at = |what: &str| self.directory.join(what).display().to_string();
        let mut command = Command::new("swtpm");
        // It ends with the test, however that ends.
        unsafe {
            command.pre_exec(|| {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                Ok(())
            })
        };
        let child = command
            .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear"])
            .args(["--tpmstate", &format!("dir={},mode=0600", at("tpm-state"))])
            // For all who reach the directory: tests become other users.
            .args([
                "--server",
                &format!("type=unixio,path={},mode=0666", at("tpm.sock")),
            ])
            .args(["--ctrl", &format!("type=unixio,path={}", at("tpm.ctrl"))])
            .args(["--log", &format!("file={},level=1", at("tpm.log"))])
            .stdin(Stdio::null())
            .spawn()
            .expect("swtpm, from the Debian package of that name");
        self.child = Some(child);
        let start = Instant::now();
        while UnixStream::connect(&socket).is_err() {
            assert!(
                start.elapsed() < Duration::from_secs(20),
                "swtpm has no socket"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Kills it, as a power cut would.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Throws its state away: the next run is another TPM.
    pub fn forget(&mut self) {
        self.stop();
        std::fs::remove_dir_all(self.directory.join("tpm-state")).unwrap();
        std::fs::create_dir(self.directory.join("tpm-state")).unwrap();
    }

    /// TPM2_DictionaryAttackParameters: so many wrong values, each forgotten after 1,000 s.
    pub fn limit_wrong_values(&self, limit: u32) {
        let parameters = [limit, 1000, 1000].map(u32::to_be_bytes).concat();
        let code = answer(&self.directory, 0x13a, 0x4000_000a, &parameters);
        assert_eq!(code, 0, "TPM2_DictionaryAttackParameters");
    }

    /// TPM2_HierarchyChangeAuth of the owner.
    pub fn authorize_owner(&self, auth: &[u8]) {
        let parameter = [&(auth.len() as u16).to_be_bytes(), auth].concat();
        let code = answer(&self.directory, 0x129, 0x4000_0001, &parameter);
        assert_eq!(code, 0, "TPM2_HierarchyChangeAuth");
    }

    /// TPM2_Clear: the owner's keys are gone.
    pub fn clear(&self) {
        assert_eq!(
            answer(&self.directory, 0x126, 0x4000_000a, &[]),
            0,
            "TPM2_Clear"
        );
    }
}

impl Drop for Swtpm {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The response code to a command with one handle, authorized by an empty password.
fn answer(directory: &Path, code: u32, handle: u32, parameters: &[u8]) -> u32 {
    let password = [0x40, 0, 0, 9, 0, 0, 0, 0, 0];
    let len = 10 + 4 + 4 + password.len() + parameters.len();
    let mut command = vec![0x80, 2];
    command.extend((len as u32).to_be_bytes());
    command.extend(code.to_be_bytes());
    command.extend(handle.to_be_bytes());
    command.extend((password.len() as u32).to_be_bytes());
    command.extend(password);
    command.extend(parameters);
    let response = exchange(directory, &command);
    u32::from_be_bytes(response[6..10].try_into().unwrap())
}

/// Sends one command on a connection of its own.
pub fn exchange(directory: &Path, command: &[u8]) -> Vec<u8> {
    let mut stream = UnixStream::connect(Swtpm::socket(directory)).unwrap();
    stream.write_all(command).unwrap();
    let mut response = vec![0; 4096];
    let len = stream.read(&mut response).unwrap();
    response.truncate(len);
    response
}

/// Where the handles of loaded objects and of loaded sessions begin.
const OBJECTS: u32 = 0x8000_0000;
const SESSIONS: u32 = 0x0200_0000;

/// The handles in use from `first` on: TPM2_GetCapability of TPM_CAP_HANDLES.
fn handles(directory: &Path, first: u32) -> Vec<u32> {
    let mut command = vec![0x80, 1, 0, 0, 0, 22, 0, 0, 1, 0x7a, 0, 0, 0, 1];
    command.extend(first.to_be_bytes());
    command.extend([0, 0, 0, 16]);
    let response = exchange(directory, &command);
    let handles = response[19..].chunks(4);
    handles
        .map(|handle| u32::from_be_bytes(handle.try_into().unwrap()))
        .collect()
}

/// How many transient objects are loaded.
pub fn loaded_objects(directory: &Path) -> usize {
    handles(directory, OBJECTS).len()
}

/// Takes out all that is loaded, as the driver of a device does for a process that has ended.
pub fn release(directory: &Path) {
    for first in [OBJECTS, SESSIONS] {
        for handle in handles(directory, first) {
            flush(directory, handle);
        }
    }
}

/// TPM2_FlushContext.
pub fn flush(directory: &Path, handle: u32) {
    let mut command = vec![0x80, 1, 0, 0, 0, 14, 0, 0, 1, 0x65];
    command.extend(handle.to_be_bytes());
    assert_eq!(exchange(directory, &command)[6..10], [0; 4]);
}

/// Whether there is an object at a handle: TPM2_ReadPublic.
pub fn is_there(directory: &Path, handle: u32) -> bool {
    let mut command = vec![0x80, 1, 0, 0, 0, 14, 0, 0, 1, 0x73];
    command.extend(handle.to_be_bytes());
    exchange(directory, &command)[6..10] == [0; 4]
}
