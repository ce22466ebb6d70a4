//! A tap on the bus between the module and its simulator: it can listen, and change what is said.

use super::swtpm::Swtpm;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// What becomes of a response: `(command, response)` gives what the module hears, nothing for a
/// connection that breaks.
pub type Tamper = dyn FnMut(&[u8], Vec<u8>) -> Option<Vec<u8>> + Send;

/// Whether the next command is lost, and this response code given for it.
type Loses = Box<dyn FnMut() -> Option<u32> + Send>;

/// A tap; it lives in a thread of the test's process.
#[derive(Clone)]
pub struct Bus {
    heard: Arc<Mutex<Vec<u8>>>,
    tamper: Arc<Mutex<Box<Tamper>>>,
    loses: Arc<Mutex<Loses>>,
}

impl Bus {
    /// Puts the tap between: the module of this process, which must not be loaded yet, talks
    /// to it.
    pub fn tap(directory: &Path) -> Self {
        let path: PathBuf = directory.join("bus.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let bus = Self {
            heard: Arc::default(),
            tamper: Arc::new(Mutex::new(Box::new(|_, response| Some(response)))),
            loses: Arc::new(Mutex::new(Box::new(|| None))),
        };
        let (tap, real) = (bus.clone(), Swtpm::socket(directory));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                tap.pass(stream.unwrap(), &real);
            }
        });
        super::process::set("NODETOKEN_TPM", &path);
        bus
    }

    /// From here on responses go through `tamper`.
    pub fn tamper(&self, tamper: impl FnMut(&[u8], Vec<u8>) -> Option<Vec<u8>> + Send + 'static) {
        *self.tamper.lock().unwrap() = Box::new(tamper);
    }

    /// From here on commands do not reach the TPM as long as `refuses` says so: they are answered
    /// with this response code.
    pub fn refuse_first(&self, code: u32, mut refuses: impl FnMut() -> bool + Send + 'static) {
        *self.loses.lock().unwrap() = Box::new(move || refuses().then_some(code));
    }

    /// Everything goes through as it is.
    pub fn behave(&self) {
        *self.loses.lock().unwrap() = Box::new(|| None);
        self.tamper(|_, response| Some(response));
    }

    /// Every byte that went over the bus since the last time.
    pub fn heard(&self) -> Vec<u8> {
        std::mem::take(&mut self.heard.lock().unwrap())
    }

    fn pass(&self, mut module: UnixStream, real: &Path) {
        let Ok(mut tpm) = UnixStream::connect(real) else {
            return;
        };
        while let Some(command) = message(&mut module) {
            self.heard.lock().unwrap().extend(&command);
            let lost = (self.loses.lock().unwrap())();
            if let Some(code) = lost {
                if module.write_all(&refusal(code)).is_err() {
                    return;
                }
                continue;
            }
            tpm.write_all(&command).unwrap();
            let Some(response) = message(&mut tpm) else {
                return;
            };
            self.heard.lock().unwrap().extend(&response);
            let changed = (self.tamper.lock().unwrap())(&command, response);
            let Some(changed) = changed else {
                return;
            };
            if module.write_all(&changed).is_err() {
                return;
            }
        }
    }
}

/// The command code of a command.
pub fn code(command: &[u8]) -> u32 {
    u32::from_be_bytes(command[6..10].try_into().unwrap())
}

/// A response that is nothing but a code.
pub fn refusal(code: u32) -> Vec<u8> {
    let mut response = vec![0x80, 1, 0, 0, 0, 10];
    response.extend(code.to_be_bytes());
    response
}

/// One command or response.
pub fn message(stream: &mut impl Read) -> Option<Vec<u8>> {
    let mut message = vec![0; 10];
    stream.read_exact(&mut message).ok()?;
    let len = u32::from_be_bytes(message[2..6].try_into().unwrap());
    message.resize(len as usize, 0);
    stream.read_exact(&mut message[10..]).ok()?;
    Some(message)
}
