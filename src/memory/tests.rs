//! What is promised of secret memory: wiped, aligned, locked, whole after a fork.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use super::*;
use crate::fork;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// The flags of the mapping that holds `address`, from /proc/self/smaps (proc(5)).
fn vm_flags(address: usize) -> Vec<String> {
    let mut inside = false;
    for line in fs::read_to_string("/proc/self/smaps").unwrap().lines() {
        let range = line.split(' ').next().and_then(|word| word.split_once('-'));
        if let Some((from, to)) = range {
            let bounds = [from, to].map(|n| usize::from_str_radix(n, 16).unwrap());
            inside = (bounds[0]..bounds[1]).contains(&address);
        } else if let Some(flags) = line.strip_prefix("VmFlags:")
            && inside
        {
            return flags.split_whitespace().map(str::to_owned).collect();
        }
    }
    panic!("{address:#x} is in no mapping");
}

#[test]
fn pages_are_undumpable_and_locked_or_said_not_to_be() {
    for len in [32, arena::LARGEST + 1] {
        let secret = Secret::zeroed(len).unwrap();
        let flags = vm_flags(secret.as_ptr() as usize);
        let has = |flag: &str| flags.iter().any(|f| f == flag);
        assert!(has("dd"), "{flags:?}");
        assert!(!has("wf"), "{flags:?}");
        assert!(has("lo") || !locked(), "{flags:?}");
    }
}

#[test]
fn a_child_locks_its_arenas_again() {
    fork::install().unwrap();
    let secret = Secret::zeroed(32).unwrap();
    let was_locked = locked();
    fork::tests::in_child(|| {
        let flags = vm_flags(secret.as_ptr() as usize);
        !was_locked || !locked() || flags.iter().any(|flag| flag == "lo")
    });
}

#[test]
fn a_freed_block_is_wiped() {
    thread::spawn(|| {
        // No other test uses this arena, so that the block is not given out again.
        arena::move_to(arena::ARENAS - 1);
        let _keeps_the_chunk = Secret::zeroed(16).unwrap();
        for len in [100, 5_000, arena::LARGEST] {
            let secret = Secret::copy_of(&vec![0xa5; len]).unwrap();
            let _no_merging_with_what_follows = Secret::zeroed(16).unwrap();
            let block = secret.as_ptr();
            drop(secret);
            // SAFETY: the chunk stays mapped; volatile reads of what the allocator owns now.
            let left = (0..len).filter(|&i| unsafe { block.add(i).read_volatile() } == 0xa5);
            // The free lists' own pointers, in the first bytes, may hold the value by chance.
            assert!(left.filter(|&i| i >= 16).count() == 0, "{len} bytes");
        }
    })
    .join()
    .unwrap();
}

#[test]
fn secrets_hold_what_they_are_given() {
    for len in [0, 1, 15, 16, 17, 32, 4096, arena::LARGEST, 1 << 20] {
        let bytes: Vec<u8> = (0..len).map(|i| i as u8).collect();
        let copy = Secret::copy_of(&bytes).unwrap();
        assert_eq!(&copy[..], &bytes[..]);
        assert_eq!(copy.as_ptr() as usize % 16, 0);
        drop(copy);
        let zeroed = Secret::zeroed(len).unwrap();
        assert!(zeroed.len() == len && zeroed.iter().all(|&b| b == 0));
        assert_eq!(format!("{zeroed:?}"), format!("Secret({len} bytes)"));
    }
}

#[test]
fn too_much_is_refused_and_remembered() {
    assert!(!ran_out());
    for len in [usize::MAX, isize::MAX as usize, 1 << 60] {
        let refusal = Secret::zeroed(len).unwrap_err();
        assert_eq!(refusal.rv(), CKR_HOST_MEMORY);
        assert!(ran_out());
        assert!(!ran_out());
    }
}

#[test]
fn without_memory_other_arenas_serve_and_then_a_refusal() {
    fork::install().unwrap();
    fork::tests::in_child(|| {
        arena::move_to(arena::ARENAS - 1);
        let _maps_a_chunk = Secret::zeroed(16).unwrap();
        arena::move_to(0);
        let mut kept = Vec::with_capacity(100_000);
        let none = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        // SAFETY: limits this child only.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &none) }, 0);
        let refusal = loop {
            match Secret::zeroed(1_000) {
                Ok(secret) => kept.push(secret),
                Err(refusal) => break refusal,
            }
        };
        // Both the first chunks, of 64 KiB each, are used up.
        let used = refusal.rv() == CKR_HOST_MEMORY && kept.len() > 60;
        kept.clear();
        used && ran_out() && Secret::zeroed(1_000).is_ok() && Secret::zeroed(100_000).is_err()
    });
}

#[test]
fn empty_chunks_are_given_back() {
    thread::spawn(|| {
        // No other test uses this arena.
        arena::move_to(arena::ARENAS - 2);
        let many: Vec<_> = (0..2_000).map(|_| Secret::zeroed(1_000).unwrap()).collect();
        let most = arena::chunks(arena::ARENAS - 2);
        assert!(most >= 8, "{most} chunks");
        drop(many);
        assert_eq!(arena::chunks(arena::ARENAS - 2), 1);
        let kept = Secret::zeroed(arena::LARGEST).unwrap();
        let place = kept.as_ptr();
        drop(kept);
        assert_eq!(arena::chunks(arena::ARENAS - 2), 1);
        let next = Secret::zeroed(arena::LARGEST).unwrap();
        assert_eq!(next.as_ptr(), place, "the chunk that was used last is kept");
    })
    .join()
    .unwrap();
}

/// Secrets of many sizes come and go, some in other threads than they were made in.
#[test]
fn four_threads_share_the_arenas() {
    let (send, receive) = std::sync::mpsc::sync_channel::<Secret>(64);
    thread::scope(|scope| {
        for seed in 1..=4_u32 {
            let send = send.clone();
            scope.spawn(move || {
                let mut kept: Vec<Secret> = Vec::new();
                let mut random = seed;
                for round in 0..20_000 {
                    random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    let len = (random >> 8) as usize % if round % 50 == 0 { 90_000 } else { 600 };
                    let mark = random as u8;
                    let mut secret = Secret::zeroed(len).unwrap();
                    assert!(secret.iter().all(|&b| b == 0));
                    secret.fill(mark);
                    kept.push(secret);
                    if kept.len() > 40 {
                        let secret = kept.swap_remove(random as usize % 40);
                        let first = secret.first().copied();
                        assert!(secret.iter().all(|&b| Some(b) == first));
                        if round % 3 == 0 {
                            send.send(secret).unwrap();
                        }
                    }
                }
            });
        }
        drop(send);
        for secret in receive {
            let first = secret.first().copied();
            assert!(secret.iter().all(|&b| Some(b) == first));
        }
    });
}

#[test]
fn a_child_of_a_busy_process_can_allocate() {
    fork::install().unwrap();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for home in 0..3 {
            let stop = &stop;
            scope.spawn(move || {
                arena::move_to(home);
                while !stop.load(Ordering::Relaxed) {
                    drop((0..60).map(|i| Secret::zeroed(i * 100)).collect::<Vec<_>>());
                }
            });
        }
        for _ in 0..200 {
            fork::tests::in_child(|| {
                (0..arena::ARENAS).all(|home| {
                    arena::move_to(home);
                    (0..20).all(|i| Secret::copy_of(&[7; 500][..i * 20]).is_ok())
                })
            });
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[cfg(feature = "aws-lc")]
#[test]
fn the_engine_allocates_here() {
    assert!(adopt_engine());
    assert!(adopt_engine());
    // SAFETY: AWS-LC's allocator, used by its rules; the blocks are in use while they are read.
    unsafe {
        let block = NonNull::new(aws_lc_sys::OPENSSL_malloc(40).cast::<u8>()).unwrap();
        assert_eq!(arena::len_of(block), 40);
        assert!(vm_flags(block.as_ptr() as usize).contains(&"dd".to_owned()));
        block.write_bytes(9, 40);
        let block = aws_lc_sys::OPENSSL_realloc(block.as_ptr().cast(), 70_000).cast::<u8>();
        assert!(slice::from_raw_parts(block, 40).iter().all(|&b| b == 9));
        let same = aws_lc_sys::OPENSSL_realloc(block.cast(), 10).cast::<u8>();
        assert_eq!(same, block);
        aws_lc_sys::OPENSSL_free(same.cast());
        let none = NonNull::new(aws_lc_sys::OPENSSL_malloc(0)).unwrap();
        aws_lc_sys::OPENSSL_free(none.as_ptr());
        assert!(aws_lc_sys::OPENSSL_malloc(usize::MAX).is_null());
        assert!(ran_out());
    }
}

#[test]
fn what_there_is_not_is_refused() {
    let too_much = isize::MAX as usize - (1 << 20);
    for refusal in [
        afford(too_much).err(),
        afford(usize::MAX).err(),
        buffer(too_much).err(),
    ] {
        assert_eq!(refusal.map(|refusal| refusal.rv()), Some(CKR_HOST_MEMORY));
    }
    afford(64 << 20).unwrap();
    let copied = copy(b"some bytes").unwrap();
    assert_eq!((&*copied, copied.capacity()), (&b"some bytes"[..], 10));
    assert_eq!(gather(0..1000).unwrap(), (0..1000).collect::<Vec<_>>());
}

#[test]
fn the_ballast_is_taken_once() {
    assert!(ballast());
    let whole = pieces();
    assert!(ballast() && whole > 0);
    assert_eq!(pieces(), whole);
}

/// In an arena that has nothing yet, as in one that has.
#[test]
fn the_first_block_of_a_thread_may_be_the_largest() {
    thread::scope(|scope| {
        for less in 0..16 {
            scope.spawn(move || {
                let len = arena::LARGEST - 64 * less;
                assert_eq!(Secret::zeroed(len).unwrap().len(), len);
            });
        }
    });
}
