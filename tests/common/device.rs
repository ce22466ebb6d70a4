//! A character device before a simulator, as the kernel's `/dev/tpmrm0` is before a chip: a pseudo
//! terminal in raw mode, behind which commands are passed on over one connection.

use super::bus::message;
use super::swtpm::Swtpm;
use std::ffi::CStr;
use std::fs::File;
use std::io::Write;
use std::os::fd::FromRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::ptr::null_mut;
use std::sync::{Arc, Mutex};

/// The device.
pub struct Device {
    pub path: PathBuf,
    commands: Arc<Mutex<Vec<u32>>>,
    real: Arc<Mutex<Option<UnixStream>>>,
}

impl Device {
    /// Puts one before the simulator of this directory; the module of this process, which must not
    /// be loaded yet, uses it.
    pub fn make(directory: &Path) -> Self {
        let (mut master, mut slave) = (0, 0);
        let mut name = [0; 64];
        let path = unsafe {
            let mut raw: libc::termios = std::mem::zeroed();
            libc::cfmakeraw(&mut raw);
            let made = libc::openpty(&mut master, &mut slave, name.as_mut_ptr(), &raw, null_mut());
            assert_eq!(made, 0);
            CStr::from_ptr(name.as_ptr()).to_str().unwrap()
        };
        let device = Self {
            path: directory.join("tpmrm0"),
            commands: Arc::default(),
            real: Arc::default(),
        };
        std::os::unix::fs::symlink(path, &device.path).unwrap();
        let (commands, real) = (Arc::clone(&device.commands), Arc::clone(&device.real));
        let (mut terminal, socket) = (
            unsafe { File::from_raw_fd(master) },
            Swtpm::socket(directory),
        );
        std::thread::spawn(move || {
            while let Some(command) = message(&mut terminal) {
                commands.lock().unwrap().push(super::bus::code(&command));
                let mut real = real.lock().unwrap();
                let stream = real.get_or_insert_with(|| UnixStream::connect(&socket).unwrap());
                stream.write_all(&command).unwrap();
                let response = message(stream).unwrap();
                terminal.write_all(&response).unwrap();
            }
        });
        // The slave's descriptor stays open, lest the master ends with the first close.
        super::process::set("NODETOKEN_TPM", &device.path);
        device
    }

    /// The codes of the commands since the last time.
    pub fn commands(&self) -> Vec<u32> {
        std::mem::take(&mut self.commands.lock().unwrap())
    }

    /// How many sessions lie in the chip: TPM2_GetCapability of TPM_CAP_HANDLES from 0x02000000 on.
    pub fn loaded_sessions(&self) -> u32 {
        let command = [
            [0x80, 1, 0, 0, 0, 22, 0, 0, 1, 0x7a].as_slice(),
            &[0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 16],
        ]
        .concat();
        let mut real = self.real.lock().unwrap();
        let stream = real.as_mut().unwrap();
        stream.write_all(&command).unwrap();
        let response = message(stream).unwrap();
        u32::from_be_bytes(response[15..19].try_into().unwrap())
    }

    /// Lets the simulator be stopped and started behind the device, as a chip is reset.
    pub fn reset(&self, reset: impl FnOnce()) {
        let mut real = self.real.lock().unwrap();
        *real = None;
        reset();
    }
}
