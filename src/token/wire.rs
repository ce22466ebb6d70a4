//! What the ways to a chip have in common: a device or a socket that is opened, and waited for with
//! an end.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a socket may take to be connected.
pub(super) const CONNECT: Duration = Duration::from_secs(30);
/// How long another program may have a device that only one can open.
const TURN: Duration = Duration::from_secs(5);
/// How long it sleeps when too many others wait already.
const PAUSE: Duration = Duration::from_millis(2);

/// How long a whole exchange may take.
#[derive(Clone, Copy)]
pub(super) struct Patience {
    length: Duration,
    end: Instant,
}

impl Patience {
    /// From now on.
    pub(super) fn new(length: Duration) -> Self {
        let end = Instant::now() + length;
        Self { length, end }
    }

    fn left(self) -> io::Result<Duration> {
        match self.end.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(self.over()),
            left => Ok(left),
        }
    }

    fn over(self) -> io::Error {
        let length = self.length.as_secs();
        let reason = format!("no answer for {length} s; does another program hold it?");
        io::Error::new(ErrorKind::TimedOut, reason)
    }

    /// What is there already is taken even when the time is over: this process may have slept.
    pub(super) fn await_readable(self, from: &impl AsFd) -> io::Result<()> {
        loop {
            let left = self.end.saturating_duration_since(Instant::now());
            let wait = Timespec::try_from(left).map_err(|_| ErrorKind::InvalidInput)?;
            match poll(&mut [PollFd::new(from, PollFlags::IN)], Some(&wait)) {
                Ok(0) if left.is_zero() => return Err(self.over()),
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// A character device. A bare one serves one program at a time: another may be done soon.
pub(super) fn open(path: &Path) -> io::Result<File> {
    let patience = Patience::new(TURN);
    loop {
        let opened = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NOCTTY)
            .open(path);
        match opened {
            Err(error) if error.kind() == ErrorKind::ResourceBusy => match patience.left() {
                Ok(left) => std::thread::sleep(PAUSE.min(left)),
                Err(_) => return Err(error),
            },
            opened => return opened,
        }
    }
}

/// A connection to a unix socket. Where many wait for a simulator, the next can wait no longer than
/// a while, as connect(2) would.
pub(super) fn connect(path: &Path) -> io::Result<UnixStream> {
    let patience = Patience::new(CONNECT);
    let address = SocketAddrUnix::new(path)?;
    loop {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        match net::connect(&socket, &address) {
            Ok(()) => {
                let stream = UnixStream::from(socket);
                stream.set_nonblocking(false)?;
                return Ok(stream);
            }
            Err(Errno::AGAIN) => std::thread::sleep(PAUSE.min(patience.left()?)),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
