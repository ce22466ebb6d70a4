//! The way to a TPM: a character device, or the socket of a simulator.
//!
//! One command goes out whole, one response comes back whole (TPM 2.0 Part 1, 18); nothing is known
//! here of what they mean. Every wait for a socket has an end; for a device the driver sees to that.

use crate::error::{Error, Result, fail};
use crate::token::wire::{self, CONNECT, Patience};
use cryptoki_sys::{CKR_DEVICE_REMOVED, CKR_FUNCTION_FAILED};
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

/// No response is longer (TPM_PT_MAX_RESPONSE_SIZE of every TPM is 4096 or less).
const LONGEST: usize = 4096;
/// Tag, length, response code.
const HEADER: usize = 10;

/// Where a TPM is, as the configuration names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Device {
    /// A character device (`/dev/tpmrm0`) or a unix socket.
    Path(PathBuf),
    /// `host:port` of a simulator.
    Tcp(String),
    /// A chip that a fuzzer plays.
    #[cfg(fuzzing)]
    Fuzzed(super::fuzzing::Played),
}

/// An open way to it.
pub(super) enum Link {
    /// A device that one program can open at a time, as it is.
    Device(File),
    /// A device behind which the kernel keeps the objects of each program apart, as long as that has
    /// it open (Linux, tpm2-space.c).
    Managed(File),
    /// A simulator, which serves one connection at a time.
    Unix(UnixStream),
    /// The same over TCP.
    Tcp(TcpStream),
    /// To a chip that a fuzzer plays.
    #[cfg(fuzzing)]
    Fuzzed(super::fuzzing::Link),
}

impl Device {
    /// `/dev/tpmrm0`, `swtpm:127.0.0.1:2321`, `swtpm:/run/swtpm.sock`, `/run/swtpm.sock`.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let address = text.strip_prefix("swtpm:").unwrap_or(text);
        if address.starts_with('/') {
            return Ok(Self::Path(address.into()));
        }
        match address.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => {
                Ok(Self::Tcp(address.into()))
            }
            _ => fail!(
                CKR_FUNCTION_FAILED,
                "tpm.device {text:?} is none of /dev/tpmrm0, swtpm:HOST:PORT, swtpm:/SOCKET"
            ),
        }
    }

    /// Opens it. `CKR_DEVICE_REMOVED` where there is nothing, or nothing that this process may open.
    pub(super) fn connect(&self) -> Result<Link> {
        self.open().map_err(|error| {
            let advice = match error.kind() {
                ErrorKind::PermissionDenied => ": add this user to its group (tss)",
                ErrorKind::ResourceBusy => ": another program has it, use /dev/tpmrm0",
                _ => "",
            };
            Error::new(
                CKR_DEVICE_REMOVED,
                format!("no TPM at {self}: {error}{advice}"),
            )
        })
    }

    fn open(&self) -> io::Result<Link> {
        match self {
            Self::Path(path) => {
                let kind = std::fs::metadata(path)?.file_type();
                if kind.is_socket() {
                    return wire::connect(path).map(Link::Unix);
                }
                if !kind.is_char_device() {
                    return Err(io::Error::other("it is neither a device nor a socket"));
                }
                let file = wire::open(path)?;
                let name = path.file_name().unwrap_or_default().as_encoded_bytes();
                Ok(match name.starts_with(b"tpmrm") {
                    true => Link::Managed(file),
                    false => Link::Device(file),
                })
            }
            Self::Tcp(address) => {
                let mut last = io::Error::from(ErrorKind::AddrNotAvailable);
                for address in address.to_socket_addrs()? {
                    match TcpStream::connect_timeout(&address, CONNECT) {
                        Ok(stream) => {
                            stream.set_nodelay(true)?;
                            return Ok(Link::Tcp(stream));
                        }
                        Err(error) => last = error,
                    }
                }
                Err(last)
            }
            #[cfg(fuzzing)]
            Self::Fuzzed(played) => played.connect().map(Link::Fuzzed),
        }
    }
}

impl std::fmt::Display for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Path(path) => path.display().fmt(f),
            Self::Tcp(address) => address.fmt(f),
            #[cfg(fuzzing)]
            Self::Fuzzed(_) => f.write_str("a fuzzer"),
        }
    }
}

impl Link {
    /// Whether it may stay open between two operations.
    pub(super) fn stays(&self) -> bool {
        match self {
            Self::Managed(_) => true,
            Self::Device(_) | Self::Unix(_) | Self::Tcp(_) => false,
            #[cfg(fuzzing)]
            Self::Fuzzed(link) => link.stays(),
        }
    }

    /// Sends a command and waits for its response: header and all that the header announces.
    pub(super) fn exchange(&mut self, command: &[u8], patience: Duration) -> io::Result<Vec<u8>> {
        let patience = Patience::new(patience);
        match self {
            // A device takes and gives a whole message in one call (Linux, tpm-dev-common.c).
            Self::Device(file) | Self::Managed(file) => {
                file.write_all(command)?;
                receive(file, patience)
            }
            Self::Unix(stream) => {
                stream.write_all(command)?;
                receive(stream, patience)
            }
            Self::Tcp(stream) => {
                stream.write_all(command)?;
                receive(stream, patience)
            }
            #[cfg(fuzzing)]
            Self::Fuzzed(link) => link.exchange(command),
        }
    }
}

impl Drop for Link {
    /// A process that was forked meanwhile has the socket too: closing it here would leave the
    /// simulator waiting for that process.
    fn drop(&mut self) {
        let _ = match self {
            Self::Device(_) | Self::Managed(_) => Ok(()),
            Self::Unix(stream) => stream.shutdown(Shutdown::Both),
            Self::Tcp(stream) => stream.shutdown(Shutdown::Both),
            #[cfg(fuzzing)]
            Self::Fuzzed(_) => Ok(()),
        };
    }
}

/// One response, which begins where the last one ended.
pub(super) fn receive(from: &mut (impl Read + AsFd), patience: Patience) -> io::Result<Vec<u8>> {
    let mut response = vec![0; LONGEST];
    let mut have = 0;
    loop {
        let (got, room) = response.split_at_mut(have);
        match announced(got)? {
            Some(whole) if have > whole => {
                return Err(io::Error::other("bytes follow the response"));
            }
            Some(whole) if have == whole => {
                response.truncate(whole);
                return Ok(response);
            }
            _ => {}
        }
        patience.await_readable(from)?;
        match from.read(room) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(more) => have += more,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The length that the header announces, `None` while it is not all there.
fn announced(got: &[u8]) -> io::Result<Option<usize>> {
    let Some(header) = got.first_chunk::<HEADER>() else {
        return Ok(None);
    };
    let [_, _, a, b, c, d, ..] = *header;
    let len = u32::from_be_bytes([a, b, c, d]) as usize;
    if (HEADER..=LONGEST).contains(&len) {
        Ok(Some(len))
    } else {
        Err(io::Error::other(format!(
            "a response of {len} bytes is announced"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_by_their_names() {
        let path = |text: &str| Device::Path(text.into());
        assert_eq!(Device::parse("/dev/tpmrm0").unwrap(), path("/dev/tpmrm0"));
        assert_eq!(Device::parse("swtpm:/run/x").unwrap(), path("/run/x"));
        let tcp = Device::parse("swtpm:127.0.0.1:2321").unwrap();
        assert_eq!(tcp, Device::Tcp("127.0.0.1:2321".into()));
        for wrong in ["", "tpm", "swtpm:", "swtpm:host", "host:x", ":2321"] {
            assert!(Device::parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_response_that_is_there_is_taken_when_the_time_is_over() {
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        let response = [0x80, 1, 0, 0, 0, 10, 0, 0, 0, 0];
        theirs.write_all(&response).unwrap();
        let over = Patience::new(Duration::ZERO);
        assert_eq!(receive(&mut ours, over).unwrap(), response);
        let error = receive(&mut ours, over).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    }

    #[test]
    fn a_response_is_taken_in_pieces_and_never_beyond_its_length() {
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        let short = || Patience::new(Duration::from_millis(50));
        let response = [0x80, 1, 0, 0, 0, 12, 0, 0, 0, 0, 7, 8];
        let (first, second) = response.split_at(5);
        theirs.write_all(first).unwrap();
        theirs.write_all(second).unwrap();
        assert_eq!(receive(&mut ours, short()).unwrap(), response);
        theirs.write_all(first).unwrap();
        let error = receive(&mut ours, short()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        for announced in [[0, 0, 0, 9], [0, 0, 16, 1], [255; 4]] {
            let (mut ours, mut theirs) = UnixStream::pair().unwrap();
            theirs
                .write_all(&[&[0x80, 1], announced.as_slice(), &[0; 4]].concat())
                .unwrap();
            assert!(receive(&mut ours, short()).is_err());
        }
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        theirs
            .write_all(&[response.as_slice(), &[0]].concat())
            .unwrap();
        assert!(receive(&mut ours, short()).is_err());
        drop(theirs);
    }
}
