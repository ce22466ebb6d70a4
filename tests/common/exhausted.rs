//! Memory that runs out inside a call.

use super::*;

/// Room for so many copies of an argument makes no difference to any call.
const STEPS: usize = 11;
/// More than the ballast is.
pub const LARGE: usize = 9 << 20;

/// Runs `body` in a forked process, in which the test harness has no thread that could ask for memory.
#[track_caller]
pub fn alone(body: impl Fn(&World)) {
    isolated(|world| world.process(|| body(world)));
}

/// The process has no more memory than it has, and every block that malloc still gives is taken, each
/// leading to the one before.
pub struct Full {
    last: *mut *mut libc::c_void,
    limit: libc::rlimit,
}

impl Full {
    pub fn take() -> Self {
        let mut limit = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_AS, &mut limit) }, 0);
        let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
        let pages: u64 = pages.split(' ').next().unwrap().parse().unwrap();
        limit.rlim_cur = pages * 4096;
        let mut full = Self {
            last: null_mut(),
            limit,
        };
        full.allow(0);
        full.take_more();
        full
    }

    /// Takes what there is now, and what the module has given back since.
    pub fn take_more(&mut self) {
        let sizes = [1 << 20, 1 << 16, 4096].into_iter();
        for size in sizes.chain((16..=1040).rev().step_by(16)) {
            loop {
                let block = unsafe { libc::malloc(size) }.cast::<*mut libc::c_void>();
                if block.is_null() {
                    break;
                }
                unsafe { block.write(self.last.cast()) };
                self.last = block;
            }
        }
    }

    /// Lets the process have so many bytes more.
    pub fn allow(&mut self, room: usize) {
        self.limit.rlim_cur += room as u64;
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &self.limit) }, 0);
    }
}

impl Drop for Full {
    fn drop(&mut self) {
        self.limit.rlim_cur = self.limit.rlim_max;
        self.allow(0);
        while !self.last.is_null() {
            let before = unsafe { *self.last };
            unsafe { libc::free(self.last.cast()) };
            self.last = before.cast();
        }
    }
}

/// Makes a call that finds no more than `room` bytes.
pub fn limited<T>(room: usize, call: impl FnOnce() -> T) -> T {
    let mut full = Full::take();
    full.allow(room);
    call()
}

/// What a call may answer.
#[track_caller]
pub fn is_answer(name: &str, result: Result<(), Rv>) -> bool {
    match result {
        Ok(()) => true,
        Err(Rv(CKR_HOST_MEMORY)) => false,
        other => panic!("{name}: {other:?}"),
    }
}

/// Makes a call with ever more room, in the end with all there is, and has it checked after each that
/// it has done all or nothing. Without any room it must be refused where the ballast is too small.
pub fn sweep<T>(
    name: &str,
    size: usize,
    mut prepare: impl FnMut() -> T,
    mut call: impl FnMut(&mut T) -> Result<(), Rv>,
    mut check: impl FnMut(T, bool),
) {
    for copies in 0..=STEPS {
        let mut prepared = prepare();
        let result = if copies < STEPS {
            limited(copies * size, || call(&mut prepared))
        } else {
            call(&mut prepared)
        };
        let done = is_answer(name, result);
        assert!(
            done || copies < STEPS,
            "{name} of {size} bytes is refused for no reason"
        );
        assert!(
            !done || copies > 0 || size < LARGE,
            "{name} of {size} bytes takes none"
        );
        check(prepared, done);
    }
}
