//! Cards behind a character device or a unix socket that carries APDUs, framed as on SD cards with an
//! ASSD (SD Advanced Security extension): two bytes with the length of all, big-endian, themselves
//! included, then the APDU; the same back.
//!
//! A device has blocks, which are filled up with zeros, and moves a message in one call. A socket has
//! neither. Nothing here asks the card whether it is there: clients poll that.

use super::transport::{Channel, Fault, Presence, Reader, Readers};
use crate::error::{Error, Result, fail};
use crate::lock::Locked;
use crate::memory;
use crate::token::wire::{self, Patience};
use cryptoki_sys::{CKR_DEVICE_ERROR, CKR_FUNCTION_FAILED};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, Weak};
use std::time::{Duration, SystemTime};
use zeroize::Zeroizing;

/// The length of a message, before it.
const LENGTH: usize = 2;
/// What a device moves at once.
const BLOCK: usize = 512;
/// The longest message, filled up to whole blocks.
const LONGEST: usize = 1 << 16;
/// Length and status word: no response is shorter.
const SHORTEST: usize = LENGTH + 2;
/// How long a card behind a socket may be silent. Its RSA keys take seconds to be made.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks of those who wait for a card.
const PAUSE: Duration = Duration::from_secs(1);

/// The devices that the configuration names.
pub(in crate::token) struct Devices {
    readers: Vec<Arc<Device>>,
    ended: Mutex<bool>,
    end: Condvar,
}

/// A place for one card.
pub(in crate::token) struct Device {
    path: PathBuf,
    name: String,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    /// What was at the path, once somebody has looked.
    last: Option<Option<Identity>>,
    /// The connection that is open, until it is found closed.
    link: Weak<UnixStream>,
    changes: u64,
}

/// What tells a node in the file system from its successor of the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    node: (u64, u64, u64),
    born: Option<SystemTime>,
}

impl Devices {
    /// One reader for each of `paths`: `assd:/dev/assd`, `/dev/assd`, `/run/card.sock`.
    pub(in crate::token) fn open(paths: &[String]) -> Result<Self> {
        let device = |path: &String| Device::parse(path).map(Arc::new);
        Ok(Self {
            readers: paths.iter().map(device).collect::<Result<_>>()?,
            ended: Mutex::default(),
            end: Condvar::new(),
        })
    }
}

impl Readers for Devices {
    fn list(&self) -> Result<Vec<Arc<dyn Reader>>> {
        let reader = |device: &Arc<Device>| -> Arc<dyn Reader> { device.clone() };
        Ok(self.readers.iter().map(reader).collect())
    }

    /// Nothing tells that a node came: those who wait look again.
    fn moment(&self) -> u64 {
        0
    }

    fn wait(&self, _since: u64) {
        let ended = self.ended.locked();
        drop(self.end.wait_timeout_while(ended, PAUSE, |ended| !*ended));
    }

    fn wake(&self) {
        *self.ended.locked() = true;
        self.end.notify_all();
    }
}

impl Device {
    /// `assd:/dev/assd`, `/dev/assd`, `/run/card.sock`.
    pub(in crate::token) fn parse(text: &str) -> Result<Self> {
        let path = text.strip_prefix("assd:").unwrap_or(text);
        if !path.starts_with('/') {
            return fail!(
                CKR_FUNCTION_FAILED,
                "card device {text:?} is none of assd:/dev/assd, /dev/assd, /SOCKET"
            );
        }
        Ok(Self {
            path: path.into(),
            name: path.into(),
            seen: Arc::default(),
        })
    }

    fn open(&self) -> io::Result<Link> {
        let kind = fs::metadata(&self.path)?.file_type();
        if kind.is_socket() {
            let stream = wire::connect(&self.path)?;
            stream.set_write_timeout(Some(PATIENCE))?;
            return Ok(Link::Socket(Arc::new(stream)));
        }
        if kind.is_char_device() {
            return wire::open(&self.path).map(Link::Device);
        }
        Err(io::Error::other("it is neither a device nor a socket"))
    }
}

impl Reader for Device {
    fn name(&self) -> &str {
        &self.name
    }

    fn presence(&self) -> Presence {
        let now = fs::metadata(&self.path).ok().and_then(Identity::of);
        let mut seen = self.seen.locked();
        if seen.last.is_some_and(|last| last != now) {
            seen.changes += 1;
        }
        seen.last = Some(now);
        if seen.link.upgrade().is_some_and(|link| is_closed(&link)) {
            seen.break_link();
        }
        Presence {
            card: now.is_some(),
            reader: true,
            changes: seen.changes,
        }
    }

    fn connect(&self) -> std::result::Result<Box<dyn Channel>, Fault> {
        let link = self.open().map_err(|error| fault(&self.name, &error))?;
        if let Link::Socket(stream) = &link {
            self.seen.locked().link = Arc::downgrade(stream);
        }
        Ok(Box::new(Line {
            name: self.name.clone(),
            seen: self.seen.clone(),
            link,
            spent: false,
        }))
    }
}

impl Seen {
    /// The card at the other end of the connection is gone: told once, by whoever finds it.
    fn break_link(&mut self) {
        self.link = Weak::new();
        self.changes += 1;
    }
}

impl Identity {
    fn of(found: Metadata) -> Option<Self> {
        let kind = found.file_type();
        (kind.is_socket() || kind.is_char_device()).then(|| Self {
            node: (found.dev(), found.ino(), found.rdev()),
            born: found.created().ok(),
        })
    }
}

/// Whether the other side has ended the connection. Takes nothing from what it sent.
fn is_closed(stream: &UnixStream) -> bool {
    let mut byte = [0];
    match recv(stream, &mut byte, RecvFlags::PEEK | RecvFlags::DONTWAIT) {
        Ok((_, len)) => len == 0,
        Err(error) => !matches!(error, Errno::AGAIN | Errno::INTR),
    }
}

/// An open way to a card.
struct Line {
    name: String,
    seen: Arc<Mutex<Seen>>,
    link: Link,
    /// An exchange failed: no late response may be taken for one to the next command.
    spent: bool,
}

enum Link {
    /// Of this process alone, if its driver knows only one.
    Device(File),
    Socket(Arc<UnixStream>),
}

impl Channel for Line {
    fn atr(&self) -> &[u8] {
        &[]
    }

    fn begin(&mut self) -> std::result::Result<(), Fault> {
        match self.spent {
            true => Err(Fault::Removed),
            false => Ok(()),
        }
    }

    fn end(&mut self) {}

    fn transmit(&mut self, command: &[u8]) -> std::result::Result<Vec<u8>, Fault> {
        self.begin()?;
        let message = framed(command, self.link.block())?;
        self.spent = true;
        let patience = Patience::new(PATIENCE);
        let response = match &mut self.link {
            Link::Device(file) => {
                write_whole(file, &message).and_then(|()| receive(file, patience, BLOCK))
            }
            Link::Socket(stream) => send_whole(stream, &message)
                .and_then(|()| receive(&mut stream.as_ref(), patience, 1)),
        };
        let response = response.map_err(|error| self.lost(&error))?;
        self.spent = false;
        Ok(memory::copy(response.get(LENGTH..).unwrap_or_default())?)
    }
}

impl Line {
    fn lost(&self, error: &io::Error) -> Fault {
        let fault = fault(&self.name, error);
        if let (Fault::Removed, Link::Socket(stream)) = (&fault, &self.link) {
            let mut seen = self.seen.locked();
            if Weak::as_ptr(&seen.link) == Arc::as_ptr(stream) {
                seen.break_link();
            }
        }
        fault
    }
}

impl Drop for Line {
    /// A process that was forked meanwhile has the socket too: closing it here would leave the card
    /// waiting for that process.
    fn drop(&mut self) {
        if let Link::Socket(stream) = &self.link {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Link {
    fn block(&self) -> usize {
        match self {
            Self::Device(_) => BLOCK,
            Self::Socket(_) => 1,
        }
    }
}

/// A command as it goes out. It may hold a PIN.
fn framed(command: &[u8], block: usize) -> Result<Zeroizing<Vec<u8>>> {
    let len = LENGTH + command.len();
    let Ok(announced) = u16::try_from(len) else {
        return fail!(CKR_DEVICE_ERROR, "a command of {len} bytes is too long");
    };
    let mut message = Zeroizing::new(memory::buffer(len.next_multiple_of(block))?);
    message.extend_from_slice(&announced.to_be_bytes());
    message.extend_from_slice(command);
    message.resize(len.next_multiple_of(block), 0);
    Ok(message)
}

/// A device takes a message in one call, or it is none.
fn write_whole(file: &mut impl Write, message: &[u8]) -> io::Result<()> {
    loop {
        match file.write(message) {
            Ok(len) if len == message.len() => return Ok(()),
            Ok(len) => return Err(io::Error::other(format!("it took {len} bytes"))),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Without the signal that a write to a closed socket raises.
fn send_whole(stream: &UnixStream, mut message: &[u8]) -> io::Result<()> {
    while !message.is_empty() {
        match send(stream, message, SendFlags::NOSIGNAL) {
            Ok(len) => message = message.get(len..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Err(ErrorKind::TimedOut.into()),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// One response with its length, from whole blocks of which the last is filled up. It may hold what
/// was decrypted.
fn receive(
    from: &mut (impl Read + AsFd),
    patience: Patience,
    block: usize,
) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut response = Zeroizing::new(vec![0; LONGEST]);
    let mut have = 0;
    loop {
        let (got, room) = response.split_at_mut(have);
        // A device is asked for no more than it has: what its driver keeps of the rest of a
        // message, and whether it takes a longer read at all, is not known before.
        let wanted = match announced(got)? {
            Some(len) if have >= len && have <= len.next_multiple_of(block) => {
                response.truncate(len);
                return Ok(response);
            }
            Some(len) if have > len => return Err(io::Error::other("bytes follow the response")),
            Some(len) => len.next_multiple_of(block) - have,
            None if block > 1 => block,
            None => room.len(),
        };
        let room = room.get_mut(..wanted).unwrap_or_default();
        patience.await_readable(from)?;
        match from.read(room) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(more) => have += more,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The length that a response announces, `None` while it is not all there.
fn announced(got: &[u8]) -> io::Result<Option<usize>> {
    let Some(length) = got.first_chunk() else {
        return Ok(None);
    };
    match usize::from(u16::from_be_bytes(*length)) {
        len if len < SHORTEST => Err(io::Error::other(format!(
            "a response of {len} bytes is announced"
        ))),
        len => Ok(Some(len)),
    }
}

fn fault(name: &str, error: &io::Error) -> Fault {
    let code = error.raw_os_error().map(Errno::from_raw_os_error);
    let gone = match error.kind() {
        ErrorKind::NotFound
        | ErrorKind::ConnectionRefused
        | ErrorKind::ConnectionReset
        | ErrorKind::BrokenPipe
        | ErrorKind::UnexpectedEof => true,
        _ => matches!(code, Some(Errno::NODEV | Errno::NXIO | Errno::NOMEDIUM)),
    };
    if gone {
        return Fault::Removed;
    }
    let advice = match error.kind() {
        ErrorKind::PermissionDenied => ": allow this user to read and write it",
        ErrorKind::ResourceBusy => ": another program has it",
        _ => "",
    };
    Error::new(CKR_DEVICE_ERROR, format!("card at {name}: {error}{advice}")).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;
    use std::thread;

    fn short() -> Patience {
        Patience::new(Duration::from_millis(50))
    }

    fn given(bytes: &[u8], block: usize) -> io::Result<Vec<u8>> {
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(bytes).unwrap();
        receive(&mut ours, short(), block).map(|response| response.to_vec())
    }

    /// Even where a child that another test forked has the connection too.
    fn hang_up(stream: UnixStream) {
        stream.shutdown(Shutdown::Both).unwrap();
    }

    fn device(path: &str) -> Device {
        Device::parse(path).unwrap()
    }

    #[test]
    fn devices_by_their_names() {
        assert_eq!(device("assd:/dev/assd").name(), "/dev/assd");
        assert_eq!(device("/run/card.sock").name(), "/run/card.sock");
        for wrong in ["", "assd:", "assd:x", "card"] {
            assert!(Device::parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_command_is_framed() {
        assert_eq!(framed(&[1, 2, 3, 4], 1).unwrap()[..], [0, 6, 1, 2, 3, 4]);
        let block = framed(&[7; 510], BLOCK).unwrap();
        assert_eq!((block.len(), &block[..3]), (512, &[2, 0, 7][..]));
        let blocks = framed(&[7; 511], BLOCK).unwrap();
        assert_eq!((blocks.len(), &blocks[512..514]), (1024, &[7, 0][..]));
        assert!(framed(&[0; 65533], BLOCK).is_ok());
        assert!(framed(&[0; 65534], 1).is_err());
    }

    #[test]
    fn a_response_is_taken_as_long_as_it_says() {
        assert_eq!(given(&[0, 4, 0x90, 0], 1).unwrap(), [0, 4, 0x90, 0]);
        let mut long = vec![3; 65535];
        long[..2].copy_from_slice(&[255, 255]);
        assert_eq!(given(&long, 1).unwrap(), long);
        assert_eq!(given(&[&long[..], &[0]].concat(), BLOCK).unwrap(), long);
        for wrong in [
            &[0, 0, 0x90, 0][..],
            &[0, 2, 0x90, 0],
            &[0, 3, 0x90],
            &[0, 4, 0x90, 0, 0],
        ] {
            assert!(given(wrong, 1).is_err(), "{wrong:?}");
        }
        for part in [&[][..], &[0], &[0, 5, 0x90, 0], &[255, 255, 1]] {
            let error = given(part, 1).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TimedOut, "{part:?}");
        }
    }

    #[test]
    fn blocks_are_filled_up() {
        for len in [4, 511, 512, 513, 1024] {
            let mut blocks = vec![9; len];
            blocks[..2].copy_from_slice(&(len as u16).to_be_bytes());
            let response = blocks.clone();
            blocks.resize(len.next_multiple_of(BLOCK), 0);
            assert_eq!(given(&blocks, BLOCK).unwrap(), response);
        }
        // A driver may give the message without what fills it up.
        assert_eq!(given(&[0, 4, 0x90, 0], BLOCK).unwrap(), [0, 4, 0x90, 0]);
        struct Half(Vec<u8>);
        impl Write for Half {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.extend_from_slice(&bytes[..bytes.len() / 2]);
                Ok(bytes.len() / 2)
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        assert!(write_whole(&mut Half(Vec::new()), &[0; BLOCK]).is_err());
    }

    #[test]
    fn a_card_behind_a_socket_comes_answers_and_goes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("card");
        let device = device(path.to_str().unwrap());
        let look = || {
            let now = device.presence();
            assert!(now.reader);
            (now.card, now.changes)
        };
        assert_eq!(look(), (false, 0));
        assert!(matches!(device.connect().err(), Some(Fault::Removed)));

        let listener = UnixListener::bind(&path).unwrap();
        assert_eq!(look(), (true, 1));
        let card = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut command = [0; 6];
            stream.read_exact(&mut command).unwrap();
            assert_eq!(command, [0, 6, 0, 0xa4, 4, 0]);
            stream.write_all(&[0, 5, 7, 0x90, 0]).unwrap();
            stream.read_exact(&mut command).unwrap();
            // It is pulled amid its response.
            stream.write_all(&[0, 5, 7]).unwrap();
            hang_up(stream);
            listener
        });
        let mut channel = device.connect().unwrap();
        channel.begin().unwrap();
        let select = &[0, 0xa4, 4, 0];
        assert_eq!(channel.transmit(select).unwrap(), [7, 0x90, 0]);
        assert_eq!(look(), (true, 1));
        assert!(matches!(channel.transmit(select), Err(Fault::Removed)));
        assert!(matches!(channel.begin(), Err(Fault::Removed)));
        assert_eq!(look(), (true, 2));

        let listener = card.join().unwrap();
        let channel = device.connect().unwrap();
        let (stream, _) = listener.accept().unwrap();
        assert_eq!(look(), (true, 2));
        hang_up(stream);
        assert_eq!(look(), (true, 3));
        assert_eq!(look(), (true, 3));
        drop((channel, listener));
        fs::remove_file(&path).unwrap();
        assert_eq!(look(), (false, 4));
    }

    #[test]
    fn who_waits_is_woken() {
        let devices = Devices::open(&["/none".into()]).unwrap();
        let begun = std::time::Instant::now();
        thread::scope(|scope| {
            let waiting = scope.spawn(|| devices.wait(devices.moment()));
            devices.wake();
            waiting.join().unwrap();
            devices.wait(0);
        });
        assert!(begun.elapsed() < PAUSE);
    }
}
