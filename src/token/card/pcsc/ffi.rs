//! libpcsclite as it is called: what its functions take and give, in types that cannot be misused.
//!
//! One context is used by one thread at a time (`&mut`): the library would make every other thread
//! that enters it wait for the second one. Only [`Canceller`] may come in between.

use crate::fork;
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use std::ffi::{CStr, CString, c_char, c_long, c_ulong, c_void};
use std::fmt;
use std::mem;
use std::ptr;
use std::time::Duration;

/// The name that its ABI has had since 2004.
const LIBRARY: &str = "libpcsclite.so.1";

/// Types of `wintypes.h`, as they are everywhere but on macOS.
type Long = c_long;
type Dword = c_ulong;

const SCOPE_SYSTEM: Dword = 2;
const SHARE_SHARED: Dword = 2;
const PROTOCOL_T0: Dword = 1;
const PROTOCOL_T1: Dword = 2;
const LEAVE_CARD: Dword = 0;
const RESET_CARD: Dword = 1;
/// MAX_ATR_SIZE.
const ATR: usize = 33;
/// Room for the names of all readers: a build has 16 of them, of 128 bytes each.
const NAMES: usize = 1 << 14;

/// A result of the library that is not SCARD_S_SUCCESS.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Code(u32);

macro_rules! codes {
    ($($name:ident = $value:literal, $words:literal;)*) => {
        impl Code {
            $(pub const $name: Self = Self($value);)*

            fn words(self) -> &'static str {
                match self {
                    $(Self::$name => concat!($words, " (SCARD_", stringify!($name), ")"),)*
                    _ => "PC/SC error",
                }
            }
        }
    };
}

codes! {
    E_CANCELLED = 0x8010_0002, "cancelled";
    E_INVALID_HANDLE = 0x8010_0003, "PC/SC does not know the handle";
    E_INVALID_PARAMETER = 0x8010_0004, "PC/SC does not take that";
    E_INSUFFICIENT_BUFFER = 0x8010_0008, "too long";
    E_UNKNOWN_READER = 0x8010_0009, "no such reader";
    E_TIMEOUT = 0x8010_000a, "timeout";
    E_SHARING_VIOLATION = 0x8010_000b, "another program has the card to itself";
    E_NO_SMARTCARD = 0x8010_000c, "no card in the reader";
    E_PROTO_MISMATCH = 0x8010_000f, "the card speaks neither T=0 nor T=1";
    E_NOT_READY = 0x8010_0010, "the card is not ready";
    E_INVALID_VALUE = 0x8010_0011, "PC/SC does not take that value";
    F_COMM_ERROR = 0x8010_0013, "communication error inside PC/SC";
    E_NOT_TRANSACTED = 0x8010_0016, "the exchange with the card failed";
    E_READER_UNAVAILABLE = 0x8010_0017, "the reader is not there";
    E_NO_SERVICE = 0x8010_001d, "pcscd is not running";
    E_SERVICE_STOPPED = 0x8010_001e, "pcscd was stopped";
    E_NO_READERS_AVAILABLE = 0x8010_002e, "no reader";
    E_COMM_DATA_LOST = 0x8010_002f, "communication error with the card";
    W_UNSUPPORTED_CARD = 0x8010_0065, "the reader cannot speak with this card";
    W_UNRESPONSIVE_CARD = 0x8010_0066, "the card does not answer a reset";
    W_UNPOWERED_CARD = 0x8010_0067, "the card has no power";
    W_RESET_CARD = 0x8010_0068, "the card was reset";
    W_REMOVED_CARD = 0x8010_0069, "the card was removed";
    W_SECURITY_VIOLATION = 0x8010_006a, "pcscd does not let this user in";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {:#010x}", self.words(), self.0)
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

pub type Outcome<T> = Result<T, Code>;

/// LONG has 32 or 64 bits, the codes 32.
fn check(code: Long) -> Outcome<()> {
    match code as u32 {
        0 => Ok(()),
        code => Err(Code(code)),
    }
}

/// SCARD_READERSTATE.
#[repr(C)]
struct ReaderState {
    reader: *const c_char,
    user_data: *mut c_void,
    current: Dword,
    event: Dword,
    atr_len: Dword,
    atr: [u8; ATR],
}

/// SCARD_IO_REQUEST.
#[repr(C)]
struct IoRequest {
    protocol: Dword,
    len: Dword,
}

/// The functions that are used of it.
#[derive(Clone, Copy)]
pub struct Api {
    establish: unsafe extern "C" fn(Dword, *const c_void, *const c_void, *mut Long) -> Long,
    release: unsafe extern "C" fn(Long) -> Long,
    list: unsafe extern "C" fn(Long, *const c_char, *mut c_char, *mut Dword) -> Long,
    status: unsafe extern "C" fn(Long, Dword, *mut ReaderState, Dword) -> Long,
    cancel: unsafe extern "C" fn(Long) -> Long,
    connect: unsafe extern "C" fn(Long, *const c_char, Dword, Dword, *mut Long, *mut Dword) -> Long,
    reconnect: unsafe extern "C" fn(Long, Dword, Dword, Dword, *mut Dword) -> Long,
    disconnect: unsafe extern "C" fn(Long, Dword) -> Long,
    begin: unsafe extern "C" fn(Long) -> Long,
    end: unsafe extern "C" fn(Long, Dword) -> Long,
    transmit: unsafe extern "C" fn(
        Long,
        *const IoRequest,
        *const u8,
        Dword,
        *mut IoRequest,
        *mut u8,
        *mut Dword,
    ) -> Long,
}

impl Api {
    /// Loads the library. It stays in the process: when a run ends, a thread may still be inside.
    pub fn load() -> Result<Self, libloading::Error> {
        // SAFETY: the library's initializers are those of a system library, which a program could
        // be linked with. The types of its functions are those of its winscard.h.
        unsafe {
            let library = Library::open(Some(LIBRARY), RTLD_NOW | RTLD_LOCAL)?;
            let api = Self {
                establish: *library.get(c"SCardEstablishContext")?,
                release: *library.get(c"SCardReleaseContext")?,
                list: *library.get(c"SCardListReaders")?,
                status: *library.get(c"SCardGetStatusChange")?,
                cancel: *library.get(c"SCardCancel")?,
                connect: *library.get(c"SCardConnect")?,
                reconnect: *library.get(c"SCardReconnect")?,
                disconnect: *library.get(c"SCardDisconnect")?,
                begin: *library.get(c"SCardBeginTransaction")?,
                end: *library.get(c"SCardEndTransaction")?,
                transmit: *library.get(c"SCardTransmit")?,
            };
            mem::forget(library);
            Ok(api)
        }
    }

    /// A new context: a connection to pcscd.
    pub fn establish(self) -> Outcome<Context> {
        let _pass = fork::enter_readers();
        let mut handle = 0;
        // SAFETY: the reserved pointers are null, and `handle` is writable.
        check(unsafe {
            (self.establish)(SCOPE_SYSTEM, ptr::null(), ptr::null(), &raw mut handle)
        })?;
        Ok(Context { api: self, handle })
    }
}

/// What is known, or found out, of the state of a reader.
pub struct Watched {
    pub reader: CString,
    /// State as it was last seen, 0 where it was not.
    pub known: State,
    /// As it is now.
    pub found: State,
    /// Answer to reset of the card in it.
    pub atr: Vec<u8>,
}

/// The bits SCARD_STATE_* and, from bit 16 on, the number of events so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct State(u32);

impl State {
    /// No such reader.
    pub const UNKNOWN: Self = Self(0x4);
    const UNAVAILABLE: u32 = 0x8;
    const EMPTY: u32 = 0x10;
    const PRESENT: u32 = 0x20;
    const MUTE: u32 = 0x200;

    /// What of it is about reader and card. Whether other programs use the card comes and goes.
    pub fn essence(self) -> Self {
        let state = Self::UNKNOWN.0 | Self::UNAVAILABLE | Self::EMPTY | Self::PRESENT | Self::MUTE;
        Self(self.0 & (0xffff_0000 | state))
    }

    /// The same without the number of events.
    pub fn uncounted(self) -> Self {
        Self(self.essence().0 & 0xffff)
    }

    /// The number of events alone.
    pub fn events(self) -> Self {
        Self(self.0 & 0xffff_0000)
    }

    /// The reader is there.
    pub fn reader(self) -> bool {
        self.0 & (Self::UNKNOWN.0 | Self::UNAVAILABLE) == 0
    }

    /// A card that answers is in it.
    pub fn card(self) -> bool {
        self.reader() && self.0 & (Self::PRESENT | Self::MUTE) == Self::PRESENT
    }

    #[cfg(test)]
    pub fn new(card: bool, events: u16) -> Self {
        let state = if card { Self::PRESENT } else { Self::EMPTY };
        Self(u32::from(events) << 16 | state)
    }

    /// SCARD_STATE_INUSE.
    #[cfg(test)]
    pub fn used(self) -> Self {
        Self(self.0 | 0x100)
    }
}

impl Watched {
    pub fn new(reader: CString, known: State) -> Self {
        Self {
            reader,
            known,
            found: State::default(),
            atr: Vec::new(),
        }
    }
}

/// A connection to pcscd. Released when dropped.
pub struct Context {
    api: Api,
    handle: Long,
}

impl Context {
    /// The names of the readers.
    pub fn list(&mut self) -> Outcome<Vec<CString>> {
        let _pass = fork::enter_readers();
        let mut names = vec![0_u8; NAMES];
        let mut len = NAMES as Dword;
        // SAFETY: no groups are asked for, and `names` is writable for the `len` bytes that are told.
        let code = unsafe {
            (self.api.list)(
                self.handle,
                ptr::null(),
                names.as_mut_ptr().cast(),
                &raw mut len,
            )
        };
        match check(code) {
            Err(Code::E_NO_READERS_AVAILABLE) => return Ok(Vec::new()),
            done => done?,
        }
        names.truncate(usize::try_from(len).unwrap_or(NAMES));
        let whole = names
            .split(|byte| *byte == 0)
            .filter(|name| !name.is_empty());
        Ok(whole.filter_map(|name| CString::new(name).ok()).collect())
    }

    /// Finds the state of readers that are there, at once where one differs from what is known of
    /// it (0: nothing), else when that comes, or [`Code::E_TIMEOUT`]. What was found is written in
    /// either case.
    pub fn watch(&mut self, readers: &mut [Watched], timeout: Duration) -> Outcome<()> {
        let mut states: Vec<ReaderState> = readers
            .iter()
            .map(|watched| ReaderState {
                reader: watched.reader.as_ptr(),
                user_data: ptr::null_mut(),
                current: Dword::from(watched.known.0),
                event: 0,
                atr_len: ATR as Dword,
                atr: [0; ATR],
            })
            .collect();
        let _pass = timeout.is_zero().then(fork::enter_readers);
        // Below INFINITE, which is 2^32 - 1.
        let timeout = timeout.as_millis().min(1 << 30) as Dword;
        // SAFETY: `states` has as many elements as are told, each with a name that `readers` keeps.
        let code = unsafe {
            (self.api.status)(
                self.handle,
                timeout,
                states.as_mut_ptr(),
                states.len() as Dword,
            )
        };
        for (watched, state) in readers.iter_mut().zip(&states) {
            watched.found = State(state.event as u32);
            let len = usize::try_from(state.atr_len).unwrap_or(ATR);
            watched.atr = state.atr.get(..len).unwrap_or_default().to_vec();
        }
        check(code)
    }

    /// Ends a [`Context::watch`] of this context from another thread.
    pub fn canceller(&self) -> Canceller {
        Canceller {
            api: self.api,
            handle: self.handle,
        }
    }

    /// A connection to the card in a reader, shared with other programs.
    pub fn connect(&mut self, reader: &CStr) -> Outcome<Handle> {
        let (mut card, mut protocol) = (0, 0);
        // SAFETY: `reader` is a string, and both results are writable.
        check(unsafe {
            (self.api.connect)(
                self.handle,
                reader.as_ptr(),
                SHARE_SHARED,
                PROTOCOL_T0 | PROTOCOL_T1,
                &raw mut card,
                &raw mut protocol,
            )
        })?;
        Ok(Handle { card, protocol })
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        let _pass = fork::enter_readers();
        // SAFETY: the context is this value's own; one that pcscd no longer knows is refused.
        unsafe { (self.api.release)(self.handle) };
    }
}

/// A context by its number alone; one that is gone is refused by the library.
pub struct Canceller {
    api: Api,
    handle: Long,
}

impl PartialEq for Canceller {
    fn eq(&self, other: &Self) -> bool {
        self.handle == other.handle
    }
}

impl Canceller {
    pub fn cancel(&self) {
        let _pass = fork::enter_readers();
        // SAFETY: the one function that may be called while another thread is in the context.
        unsafe { (self.api.cancel)(self.handle) };
    }
}

/// A connection by its number, until it is one with its context.
pub struct Handle {
    card: Long,
    protocol: Dword,
}

/// A connection to a card and the context that it came from. Closed when dropped, the card left as
/// it is.
pub struct Connection {
    context: Context,
    handle: Handle,
}

impl Connection {
    /// `handle` is from this `context`.
    pub fn new(context: Context, handle: Handle) -> Self {
        Self { context, handle }
    }

    pub fn is_t0(&self) -> bool {
        self.handle.protocol == PROTOCOL_T0
    }

    pub fn context(&mut self) -> &mut Context {
        &mut self.context
    }

    /// Takes note that the card was reset, or resets it.
    pub fn reconnect(&mut self, reset: bool) -> Outcome<()> {
        let first = if reset { RESET_CARD } else { LEAVE_CARD };
        let mut protocol = 0;
        // SAFETY: the result is writable; a handle that is no longer known is refused.
        check(unsafe {
            (self.context.api.reconnect)(
                self.handle.card,
                SHARE_SHARED,
                PROTOCOL_T0 | PROTOCOL_T1,
                first,
                &raw mut protocol,
            )
        })?;
        self.handle.protocol = protocol;
        Ok(())
    }

    pub fn begin(&mut self) -> Outcome<()> {
        // SAFETY: the call takes a number; one that is no longer known is refused.
        check(unsafe { (self.context.api.begin)(self.handle.card) })
    }

    pub fn end(&mut self) -> Outcome<()> {
        // SAFETY: as in `begin`.
        check(unsafe { (self.context.api.end)(self.handle.card, LEAVE_CARD) })
    }

    /// Sends a command; the length of the response, of which there is no more than `response` has
    /// room for.
    pub fn transmit(&mut self, command: &[u8], response: &mut [u8]) -> Outcome<usize> {
        let sent = IoRequest {
            protocol: self.handle.protocol,
            len: size_of::<IoRequest>() as Dword,
        };
        let mut len = response.len() as Dword;
        // SAFETY: `command` is readable and `response` writable for the lengths that are told; no
        // protocol information is asked for.
        check(unsafe {
            (self.context.api.transmit)(
                self.handle.card,
                &raw const sent,
                command.as_ptr(),
                command.len() as Dword,
                ptr::null_mut(),
                response.as_mut_ptr(),
                &raw mut len,
            )
        })?;
        match usize::try_from(len) {
            Ok(len) if len <= response.len() => Ok(len),
            _ => Err(Code::E_INSUFFICIENT_BUFFER),
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // SAFETY: as in `begin`. Whatever transaction there is ends with it.
        unsafe { (self.context.api.disconnect)(self.handle.card, LEAVE_CARD) };
    }
}
