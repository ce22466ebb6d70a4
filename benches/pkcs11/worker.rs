//! A module in a process of its own, with a store of its own: the parent asks line by line in JSON, the worker measures.
//! So no module sees another's code, memory or locks, and all can wait while one of them is measured.

use std::io::{BufRead, BufReader, Lines, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Barrier;
use std::time::{Duration, Instant};
use std::{env, fs, io, process, thread};

use cryptoki_sys::{CKF_RW_SESSION, CKO_PRIVATE_KEY};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use crate::cases::{self, Case, Key};
use crate::certificate;
use crate::module::{Module, Result, Session};
use crate::report::{Cold, Sample};
use crate::swtpm::{self, Swtpm};

/// The first argument of a process that is a worker, and of one that is a cold start; the module's path follows.
pub const WORKER: &str = "--worker";
pub const COLD: &str = "--cold";

#[derive(Serialize, Deserialize)]
enum Request {
    /// Create the certificates from `from` up to, not including, `to`.
    Fill {
        from: u32,
        to: u32,
    },
    Run {
        case: String,
        seconds: f64,
    },
    PeakMemory,
}

#[derive(Serialize, Deserialize)]
enum Reply {
    Sample(Sample),
    KiB(u64),
    Failed(String),
}

/// The parent's end of a worker.
pub struct Worker {
    module: PathBuf,
    // Ends before its state goes.
    _tpm: Option<Swtpm>,
    store: TempDir,
    process: Child,
    requests: ChildStdin,
    replies: Lines<BufReader<ChildStdout>>,
}

impl Worker {
    /// Starts a worker for the module, with an empty store in a new directory below `base`, and beside it a TPM.
    pub fn start(module: &Path, base: &Path, tpm: bool) -> Result<Self> {
        let start = || -> io::Result<_> {
            let store = tempfile::Builder::new()
                .prefix("pkcs11-bench-")
                .tempdir_in(base)?;
            make_stores(store.path())?;
            let tpm = tpm.then(|| Swtpm::start(store.path())).transpose()?;
            let mut process = command(WORKER, module, store.path())?
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()?;
            let pipes = process.stdin.take().zip(process.stdout.take());
            Ok((tpm, store, process, pipes))
        };
        let (tpm, store, process, pipes) =
            start().map_err(|error| format!("cannot start a worker: {error}"))?;
        let (requests, replies) = pipes.ok_or("a worker has no pipes")?;
        let replies = BufReader::new(replies).lines();
        Ok(Self {
            module: module.into(),
            _tpm: tpm,
            store,
            process,
            requests,
            replies,
        })
    }

    /// Creates certificates; the rate of creation.
    pub fn fill(&mut self, from: u32, to: u32) -> Result<Sample> {
        self.sample(&Request::Fill { from, to })
    }

    /// Measures a case.
    pub fn run(&mut self, case: &Case, seconds: f64) -> Result<Sample> {
        let case = case.name.clone();
        self.sample(&Request::Run { case, seconds })
    }

    /// The peak memory of the worker so far, in KiB.
    pub fn peak_memory(&mut self) -> Result<u64> {
        match self.ask(&Request::PeakMemory)? {
            Reply::KiB(size) => Ok(size),
            _ => Err("the worker answered another question".into()),
        }
    }

    /// Starts processes that sign once with the worker's store, one after the other, for so many seconds.
    pub fn cold_starts(&self, seconds: f64) -> Result<(Sample, Vec<Cold>)> {
        let failed = |error: io::Error| format!("cold start: {error}");
        let mut starts = Vec::new();
        let mut spent = Duration::ZERO;
        let cpu = ended_children_cpu_seconds();
        while starts.len() < 3 || spent.as_secs_f64() < seconds {
            let mut command = command(COLD, &self.module, self.store.path()).map_err(failed)?;
            let begin = Instant::now();
            let output = command.stderr(Stdio::inherit()).output().map_err(failed)?;
            spent += begin.elapsed();
            if !output.status.success() {
                return Err(format!("cold start: {}", output.status));
            }
            starts.push(
                serde_json::from_slice(&output.stdout)
                    .map_err(|error| format!("cold start: {error}"))?,
            );
        }
        let (count, cpu) = (starts.len() as f64, ended_children_cpu_seconds() - cpu);
        let sample = Sample {
            wall: count / spent.as_secs_f64(),
            cpu: Some(count / cpu.max(1e-9)),
        };
        Ok((sample, starts))
    }

    fn sample(&mut self, request: &Request) -> Result<Sample> {
        match self.ask(request)? {
            Reply::Sample(sample) => Ok(sample),
            _ => Err("the worker answered another question".into()),
        }
    }

    fn ask(&mut self, request: &Request) -> Result<Reply> {
        // A worker that is gone shows by the end of its replies.
        let _ = send(&mut self.requests, request);
        match self.replies.next() {
            Some(Ok(line)) => match serde_json::from_str(&line) {
                Ok(Reply::Failed(error)) => Err(error),
                Ok(reply) => Ok(reply),
                Err(error) => Err(format!("the worker printed {line:?}: {error}")),
            },
            _ => Err(match self.process.wait() {
                Ok(status) => format!("the module's process ended: {status}"),
                Err(error) => format!("the module's process: {error}"),
            }),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // One that is gone already cannot be killed.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// This program again, as a worker or a cold start, with the stores of every module we know below `store`.
fn command(role: &str, module: &Path, store: &Path) -> io::Result<Command> {
    let mut command = Command::new(env::current_exe()?);
    command
        .arg(role)
        .arg(module)
        .env_remove("NODETOKEN_CONF")
        .env("NODETOKEN_STORE", store.join("nodetoken"))
        .env("SOFTHSM2_CONF", store.join("softhsm2.conf"))
        .env("KRYOPTIC_CONF", store.join("kryoptic.toml"));
    let tpm = swtpm::socket(store);
    match tpm.exists() {
        true => command
            .env("NODETOKEN_TPM", format!("swtpm:{}", tpm.display()))
            .env("TPM2_PKCS11_STORE", store.join("tpm2-pkcs11"))
            .env("TPM2_PKCS11_TCTI", format!("swtpm:path={}", tpm.display())),
        false => command.env_remove("NODETOKEN_TPM"),
    };
    Ok(command)
}

fn make_stores(store: &Path) -> io::Result<()> {
    let softhsm = store.join("softhsm");
    fs::create_dir(&softhsm)?;
    fs::create_dir(store.join("nodetoken"))?;
    fs::create_dir(store.join("tpm2-pkcs11"))?;
    fs::write(
        store.join("softhsm2.conf"),
        format!(
            "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n",
            softhsm.display()
        ),
    )?;
    let kryoptic = store.join("kryoptic.sql");
    let kryoptic = format!("dbtype = \"sqlite\"\ndbargs = \"{}\"\n", kryoptic.display());
    fs::write(
        store.join("kryoptic.toml"),
        format!("[[slots]]\nslot = 0\n{kryoptic}"),
    )
}

/// The worker's end: makes the token, then answers until the parent closes the pipe.
pub fn serve(path: &Path) -> Result<()> {
    let loaded = Module::load(path);
    let ready = loaded.as_ref().map_err(Clone::clone).and_then(|module| {
        module.initialize()?;
        module.make_token()?;
        // The login holds as long as one session is open.
        let session = module.open(module.slot()?, CKF_RW_SESSION)?;
        logged_in(&session, || {
            cases::private_key(&session, Key::P256).map(drop)
        })?;
        Ok((module, session))
    });
    let cases = cases::all();
    for line in io::stdin().lines() {
        let request = line.map_err(|error| error.to_string())?;
        let request = serde_json::from_str(&request).map_err(|error| error.to_string())?;
        let reply = match (&ready, request) {
            (Err(error), _) => Err(error.clone()),
            (Ok(_), Request::PeakMemory) => peak_memory().map(Reply::KiB),
            (Ok((_, session)), Request::Fill { from, to }) => {
                let mut numbers = from..to;
                let create = || match numbers.next() {
                    Some(number) => certificate::create(session, number).map(|_| true),
                    None => Ok(false),
                };
                logged_in(session, || measure(create).map(Reply::Sample))
            }
            (Ok((module, session)), Request::Run { case, seconds }) => {
                match cases.iter().find(|known| known.name == case) {
                    Some(case) => logged_in(session, || {
                        let sample = run(module, case, seconds)?;
                        cases::clean(case, session)?;
                        Ok(Reply::Sample(sample))
                    }),
                    None => Err(format!("there is no case {case}")),
                }
            }
        };
        send(&mut io::stdout(), &reply.unwrap_or_else(Reply::Failed))
            .map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Does what a request asks for while the user is logged in, and no longer: a TPM has room for a few keys, some modules
/// leave a key in it until they log out, and a cold start needs room, too.
fn logged_in<T>(session: &Session, work: impl FnOnce() -> Result<T>) -> Result<T> {
    session.login_user()?;
    let done = work();
    session.logout()?;
    done
}

/// Loads the module, opens, logs in, signs once, and prints how long each step took.
pub fn cold_start(path: &Path) -> Result<()> {
    let mut begin = Instant::now();
    let mut steps = Vec::new();
    let mut step = |name: &str| {
        steps.push((name.to_owned(), begin.elapsed().as_secs_f64() * 1e3));
        begin = Instant::now();
    };
    let module = Module::load(path)?;
    step("dlopen");
    module.initialize()?;
    step("C_Initialize");
    let session = module.open(module.slot()?, 0)?;
    step("C_OpenSession");
    session.login_user()?;
    step("C_Login");
    let key = cases::find_key(&session, CKO_PRIVATE_KEY, Key::P256)?
        .ok_or("the private key was not found")?;
    step("find key");
    cases::sign_once(&session, key)?;
    step("first C_Sign");
    let cold = Cold {
        steps,
        peak: peak_memory()?,
    };
    send(&mut io::stdout(), &cold).map_err(|error| error.to_string())?;
    // A client ends without closing what it opened. Only a simulated TPM would keep it: there is no driver to clean up.
    if env::var_os("NODETOKEN_TPM").is_some() {
        module.finalize()?;
    }
    process::exit(0)
}

fn send(out: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    writeln!(out, "{}", serde_json::to_string(message)?)?;
    out.flush()
}

/// Runs a case in as many threads as it asks for, each with a session of its own; the sum of their rates.
fn run(module: &Module, case: &Case, seconds: f64) -> Result<Sample> {
    let slot = module.slot()?;
    let barrier = Barrier::new(case.threads as usize);
    let thread = || {
        let session = module.open(slot, CKF_RW_SESSION)?;
        // Not the first operation: a key is parsed once, a page touched once.
        let ready = cases::prepare(case, module, &session).and_then(|mut operation| {
            operation()?;
            Ok(operation)
        });
        barrier.wait();
        let mut operation = ready?;
        let end = Instant::now() + Duration::from_secs_f64(seconds);
        let mut batch = Batch::default();
        measure(|| {
            operation()?;
            Ok(batch.more(end))
        })
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..case.threads).map(|_| scope.spawn(thread)).collect();
        let mut sum = Sample {
            wall: 0.0,
            cpu: Some(0.0),
        };
        for thread in threads {
            let sample = thread
                .join()
                .map_err(|_| "a thread of the benchmark panicked")??;
            sum.wall += sample.wall;
            sum.cpu = sum.cpu.zip(sample.cpu).map(|(a, b)| a + b);
        }
        Ok(sum)
    })
}

/// Looks at the clock as seldom as the operation is short, so that the clock does not count.
#[derive(Default)]
struct Batch {
    size: u32,
    left: u32,
    last: Option<Instant>,
}

impl Batch {
    fn more(&mut self, end: Instant) -> bool {
        if self.left > 0 {
            self.left -= 1;
            return true;
        }
        let now = Instant::now();
        if let Some(last) = self.last
            && now - last < Duration::from_micros(200)
        {
            self.size = self.size * 2 + 1;
        }
        self.last = Some(now);
        self.left = self.size;
        now < end
    }
}

/// Repeats `step` while it gives true; how often a second, by the clock and by this thread's CPU time.
pub fn measure(mut step: impl FnMut() -> Result<bool>) -> Result<Sample> {
    let (begin, cpu) = (Instant::now(), thread_cpu_seconds());
    let mut count = 0.0;
    while step()? {
        count += 1.0;
    }
    let (wall, cpu) = (begin.elapsed().as_secs_f64(), thread_cpu_seconds() - cpu);
    Ok(Sample {
        wall: count / wall,
        cpu: Some(count / cpu.max(1e-9)),
    })
}

fn thread_cpu_seconds() -> f64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a valid place for the result; the clock exists on every Linux.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

pub fn ended_children_cpu_seconds() -> f64 {
    // SAFETY: the structure is plain numbers, for which zero is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: `usage` is a valid place for the result.
    unsafe { libc::getrusage(libc::RUSAGE_CHILDREN, &mut usage) };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}

fn peak_memory() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")
        .map_err(|error| format!("/proc/self/status: {error}"))?;
    status
        .lines()
        .find_map(|line| {
            line.strip_prefix("VmHWM:")?
                .trim()
                .strip_suffix(" kB")?
                .parse()
                .ok()
        })
        .ok_or_else(|| "/proc/self/status has no VmHWM".into())
}
