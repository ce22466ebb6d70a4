//! Blocks of secret memory: a few arenas, each a lock over chunks of pages that TLSF divides.
//!
//! A thread allocates from the arena that it was given at its first allocation, so that two
//! threads seldom meet at a lock; a block goes back to the arena that it came from.

use super::pages;
use crate::fork::Held;
use rlsf::Tlsf;
use std::alloc::Layout;
use std::cell::Cell;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How many arenas there are.
pub(super) const ARENAS: usize = 8;
/// How many of them are dealt out to threads; tests keep two to themselves.
const DEALT: usize = if cfg!(test) { ARENAS - 2 } else { ARENAS };
/// Bytes of an arena's first chunk; small, as `RLIMIT_MEMLOCK` often is.
const FIRST_CHUNK: usize = 64 << 10;
/// Bytes of every further chunk.
const CHUNK: usize = 256 << 10;
/// The largest block that is cut from a chunk, in bytes; a larger one is a mapping of its own.
pub(super) const LARGEST: usize = 64 << 10;
/// What C expects of malloc: room for any type, in bytes.
const ALIGN: usize = 16;

/// Classes of `32 << 13` bytes at the most, that is up to a whole [`CHUNK`].
type Pool = Tlsf<'static, u16, u16, 13, 16>;

/// What precedes every block.
#[repr(C, align(16))]
struct Header {
    /// The chunk that the block was cut from, null for a mapping of its own.
    chunk: *mut Chunk,
    /// Bytes of the block, without this header.
    size: usize,
}

/// The beginning of a chunk; the rest of its pages is in `pool`.
struct Chunk {
    /// The arena. Never written again, so that it may be read without the arena's lock.
    home: usize,
    /// Bytes of the whole chunk.
    len: usize,
    /// Blocks in use.
    live: usize,
    pool: Pool,
}

struct Arena {
    /// The one that served last comes first.
    chunks: Vec<NonNull<Chunk>>,
    /// How many of them hold no block: one at the most, kept against mapping it over and over.
    empty: usize,
}

// SAFETY: the chunks belong to the arena alone and are reached under its lock.
unsafe impl Send for Arena {}

/// On a cache line pair of its own, as neighbours are locked by other threads.
#[repr(align(128))]
struct Slot(Mutex<Arena>);

static SLOTS: [Slot; ARENAS] = [const {
    Slot(Mutex::new(Arena {
        chunks: Vec::new(),
        empty: 0,
    }))
}; ARENAS];

/// The arenas' locks over a fork.
static HELD: Held<[MutexGuard<'static, Arena>; ARENAS]> = Held::new();

static THREADS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    // Neither has a destructor, so that nothing of this library runs when a thread ends.
    static HOME: Cell<Option<usize>> = const { Cell::new(None) };
    static RAN_OUT: Cell<bool> = const { Cell::new(false) };
}

/// A block of `size` bytes, aligned to 16, of unknown content. `None` when there is no memory.
pub(super) fn allocate(size: usize) -> Option<NonNull<u8>> {
    let block = if size > LARGEST {
        map_alone(size)
    } else {
        let home = home();
        // A statement of its own, so that this arena's lock is free again before the next is taken.
        let block = lock(home).allocate(home, size);
        block.or_else(|| (0..ARENAS).find_map(|other| lock(other).cut(size)))
    };
    if block.is_none() {
        RAN_OUT.set(true);
    }
    block
}

/// Wipes a block and takes it back.
///
/// # Safety
/// `block` came from [`allocate`], was not freed since, and is not used any more.
pub(super) unsafe fn free(block: NonNull<u8>) {
    let header = header_of(block);
    // SAFETY: a block that is in use has its header before it, and the header's size is its own.
    let (chunk, size) = unsafe {
        let Header { chunk, size } = header.read();
        wipe(block, size);
        (chunk, size)
    };
    match NonNull::new(chunk) {
        // SAFETY: the chunk stays while the block is in use, and `home` is never written again.
        Some(chunk) => unsafe {
            let home = (&raw const (*chunk.as_ptr()).home).read();
            lock(home).release(chunk, header.cast());
        },
        // SAFETY: `map_alone` made this mapping, of this length, for this block alone.
        None => unsafe { pages::unmap(header.cast(), alone_len(size)) },
    }
}

/// The size that a block was asked with, in bytes.
///
/// # Safety
/// `block` came from [`allocate`] and was not freed since.
#[cfg(feature = "aws-lc")]
pub(super) unsafe fn len_of(block: NonNull<u8>) -> usize {
    // SAFETY: a block that is in use has its header before it.
    unsafe { header_of(block).read() }.size
}

/// Whether an allocation failed on this thread since the last call. For callers of an engine
/// that reports only that it failed.
pub fn ran_out() -> bool {
    RAN_OUT.replace(false)
}

/// Runs `f` while no fork can happen, so that no child inherits half of what it does.
#[cfg(feature = "aws-lc")]
pub(super) fn unforked<T>(f: impl FnOnce() -> T) -> T {
    let _arena = lock(0);
    f()
}

/// Locks all arenas: another thread may be in one, and the child would inherit its lock for ever.
/// No arena is held for longer than a call of mmap takes.
pub(crate) fn before_fork() {
    let mut home = 0..ARENAS;
    let guards = [(); ARENAS].map(|()| lock(home.next().unwrap_or(0)));
    // SAFETY: all locks are held, and whoever took them before has emptied the cell first.
    unsafe { HELD.put(guards) };
}

/// Releases what [`before_fork`] locked, in the parent and in the child.
pub(crate) fn after_fork(in_child: bool) {
    // SAFETY: this thread, or the thread that forked it, holds the locks that go with the cell.
    let guards = unsafe { HELD.take() };
    if in_child {
        for chunk in guards.iter().flatten().flat_map(|arena| &arena.chunks) {
            // SAFETY: the chunk is mapped, and its arena's lock is held.
            let len = unsafe { (*chunk.as_ptr()).len };
            pages::relock(chunk.cast(), len);
        }
    }
}

impl Arena {
    /// A block from this arena, which is number `home`, in a new chunk where need be.
    fn allocate(&mut self, home: usize, size: usize) -> Option<NonNull<u8>> {
        self.cut(size).or_else(|| {
            self.grow(home, size)?;
            self.cut(size)
        })
    }

    /// A block from the chunks that are there.
    fn cut(&mut self, size: usize) -> Option<NonNull<u8>> {
        let layout = Layout::from_size_align(size_of::<Header>() + size, ALIGN).ok()?;
        let (at, chunk, header) = self.chunks.iter().enumerate().find_map(|(at, chunk)| {
            // SAFETY: the chunk is mapped and this arena's, whose lock is held.
            let header = unsafe { (*chunk.as_ptr()).pool.allocate(layout) }?;
            Some((at, *chunk, header.cast::<Header>()))
        })?;
        if at != 0 {
            self.chunks.swap(0, at);
        }
        // SAFETY: as above; the new block is larger than a header and aligned for one.
        unsafe {
            let live = &mut (*chunk.as_ptr()).live;
            self.empty -= usize::from(*live == 0);
            *live += 1;
            header.write(Header {
                chunk: chunk.as_ptr(),
                size,
            });
            Some(header.add(1).cast())
        }
    }

    /// Maps one more chunk, with room for a block of `size` bytes. `None` when there is no memory.
    fn grow(&mut self, home: usize, size: usize) -> Option<()> {
        self.chunks.try_reserve(1).ok()?;
        let len = if self.chunks.is_empty() && size <= FIRST_CHUNK / 2 {
            FIRST_CHUNK
        } else {
            CHUNK
        };
        let start = pages::map(len)?;
        let chunk = start.cast::<Chunk>();
        let used = size_of::<Chunk>();
        // SAFETY: the mapping is page-aligned, larger than a Chunk and this function's alone; the
        // pool gets the part after the Chunk, and outlives no page of it: see `release`.
        unsafe {
            chunk.write(Chunk {
                home,
                len,
                live: 0,
                pool: Pool::new(),
            });
            let rest = NonNull::slice_from_raw_parts(start.add(used), len - used);
            (*chunk.as_ptr()).pool.insert_free_block_ptr(rest);
        }
        self.empty += 1;
        self.chunks.push(chunk);
        Some(())
    }

    /// Takes back a block. If its chunk is the second empty one now, the first is given back: a
    /// size that did not fit there would else map and unmap a chunk each time.
    ///
    /// # Safety
    /// `block` was cut from `chunk`, one of this arena's, and is in use by nobody.
    unsafe fn release(&mut self, chunk: NonNull<Chunk>, block: NonNull<u8>) {
        // SAFETY: by the contract above; the arena's lock is held.
        let emptied = unsafe {
            (*chunk.as_ptr()).pool.deallocate(block, ALIGN);
            (*chunk.as_ptr()).live -= 1;
            (*chunk.as_ptr()).live == 0
        };
        if !emptied {
            return;
        }
        // SAFETY: the chunks are mapped, and the arena's lock is held.
        let is_spare =
            |other: &NonNull<Chunk>| *other != chunk && unsafe { (*other.as_ptr()).live == 0 };
        if self.empty == 0 {
            self.empty = 1;
        } else if let Some(at) = self.chunks.iter().position(is_spare) {
            let spare = self.chunks.swap_remove(at);
            // SAFETY: no block of the chunk is in use, and the arena has just forgotten it.
            unsafe { pages::unmap(spare.cast(), (*spare.as_ptr()).len) };
        }
    }
}

/// The number of this thread's arena.
fn home() -> usize {
    HOME.get().unwrap_or_else(|| {
        let home = THREADS.fetch_add(1, Ordering::Relaxed) % DEALT;
        HOME.set(Some(home));
        home
    })
}

/// An arena's lock. A poisoned one is whole: nothing under the lock panics half-way.
fn lock(home: usize) -> MutexGuard<'static, Arena> {
    let [first, ..] = &SLOTS;
    let slot = SLOTS.get(home).unwrap_or(first);
    slot.0.lock().unwrap_or_else(PoisonError::into_inner)
}

fn header_of(block: NonNull<u8>) -> NonNull<Header> {
    // SAFETY: every block is preceded by a header, in the same chunk or mapping.
    unsafe { block.cast::<Header>().sub(1) }
}

/// A block in a mapping of its own.
fn map_alone(size: usize) -> Option<NonNull<u8>> {
    // No object is larger than isize::MAX; this also keeps `alone_len` from overflowing.
    if size > isize::MAX as usize - CHUNK {
        return None;
    }
    let header = pages::map(alone_len(size))?.cast::<Header>();
    // SAFETY: the mapping is page-aligned and larger than a header.
    unsafe {
        header.write(Header {
            chunk: ptr::null_mut(),
            size,
        });
        Some(header.add(1).cast())
    }
}

/// Bytes of the mapping of a block of `size` bytes; the kernel rounds up to pages.
fn alone_len(size: usize) -> usize {
    size_of::<Header>() + size
}

/// Writes zeros, which the compiler may not leave out although nobody will read them.
///
/// # Safety
/// `block` has `size` bytes and nobody else uses them.
unsafe fn wipe(block: NonNull<u8>, size: usize) {
    // SAFETY: by the contract above.
    unsafe {
        block.write_bytes(0, size);
        zeroize::optimization_barrier(NonNull::slice_from_raw_parts(block, size).as_ref());
    }
}

/// Makes this thread allocate from arena `home`.
#[cfg(test)]
pub(super) fn move_to(home: usize) {
    HOME.set(Some(home));
}

/// The number of chunks of arena `home`.
#[cfg(test)]
pub(super) fn chunks(home: usize) -> usize {
    lock(home).chunks.len()
}
