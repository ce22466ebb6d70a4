//! Measures PKCS#11 modules through their C interface, beside `openssl speed`.
//!
//! ```text
//! cargo bench --bench pkcs11 -- [--module PATH]... [--openssl | --tpm | --card] [--seconds S] [--rounds N] [--only CASE]...
//! ```
//!
//! Every module is loaded by dlopen in a process of its own with a store of its own, so the same program measures any
//! of them. The keys are token keys, private and sensitive; every operation begins with its C_*Init. In each round each
//! case is run by OpenSSL and by every module, one after the other and in turns, so that the drift of a shared machine
//! hits all alike. The table shows the best and the median of the rounds; a share is ours divided by OpenSSL's, or by
//! that of the module named last where OpenSSL is not measured. `openssl speed` itself divides by the CPU time of its
//! process: "share by CPU" compares with that, the other two go by the clock.
//!
//! With `--tpm` the tokens lie on a TPM 2.0: each module has a simulator (swtpm) of its own, and the signatures and the
//! cold start are measured, beside tpm2-pkcs11. This needs the Debian packages swtpm and libtpm2-pkcs11-1.
//!
//! With `--card` the token is a virtual smart card (PIV over PC/SC), the same for all modules, and APDUs are counted:
//! see `card.rs`.
//!
//! Of the times nothing is asserted. The exit status is 1 if a case could not be measured.

mod card;
mod cases;
mod certificate;
mod module;
mod openssl;
mod report;
mod swtpm;
/// What the tests start, who may panic.
#[path = "../../tests/common/card.rs"]
#[allow(
    dead_code,
    clippy::panic,
    clippy::undocumented_unsafe_blocks,
    clippy::unwrap_used
)]
mod virtual_card;
mod worker;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs};

use clap::Parser;

use cases::{Action, Case};
use module::Result;
use report::{Cold, Figures, Report, Row, Store};
use worker::Worker;

/// The other module for a TPM, where the loader looks for libraries.
const TPM2_PKCS11: &str = "libtpm2_pkcs11.so.1";

/// Measures PKCS#11 modules through their C interface.
#[derive(Parser)]
#[command(name = "cargo bench --bench pkcs11 --")]
struct Options {
    /// A module to measure (default: the libnodetoken.so that was built with this program)
    #[arg(long, value_name = "PATH")]
    module: Vec<PathBuf>,
    /// Measure `openssl speed` in the same run and give each module's share of it
    #[arg(long)]
    openssl: bool,
    /// Measure tokens on a TPM 2.0, a simulator for each module (default modules: ours and tpm2-pkcs11)
    #[arg(long, conflicts_with = "openssl")]
    tpm: bool,
    /// Measure smart cards on a virtual one (default modules: ours, OpenSC's and ykcs11)
    #[arg(long, conflicts_with_all = ["openssl", "tpm"])]
    card: bool,
    /// Time of one case in one round (OpenSSL: rounded up to whole seconds)
    #[arg(long, value_name = "S", default_value_t = 1.0)]
    seconds: f64,
    /// How often every case is measured
    #[arg(long, value_name = "N", default_value_t = 3)]
    rounds: u32,
    /// Measure only the cases whose name contains this text
    #[arg(long, value_name = "CASE")]
    only: Vec<String>,
    /// Measure no store of more certificates than this (10,000 take some modules minutes to create)
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    largest: u32,
    /// Print the names of the cases and end
    #[arg(long)]
    list: bool,
    /// Where the temporary stores are made (the file system counts for creates)
    #[arg(long, value_name = "DIR", default_value_os_t = env::temp_dir())]
    stores: PathBuf,
    /// Write all figures to this file, too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// What `cargo bench` gives to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let arguments: Vec<_> = env::args_os().skip(1).collect();
    let result = match arguments.as_slice() {
        [role, module] if role == worker::WORKER => worker::serve(Path::new(module)).map(|()| true),
        [role, module] if role == worker::COLD => {
            worker::cold_start(Path::new(module)).map(|()| true)
        }
        [role, task, seconds, module, home] if role == card::TASK => {
            let (task, seconds) = (task.to_string_lossy(), seconds.to_string_lossy());
            card::perform(&task, &seconds, Path::new(module), Path::new(home)).map(|()| true)
        }
        _ => match Options::parse() {
            options if options.card => card::measure(&options),
            options => measure(&options),
        },
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("pkcs11: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Measures and reports; false if a case could not be measured.
fn measure(options: &Options) -> Result<bool> {
    let mut cases = cases::all();
    let only: Vec<_> = options
        .only
        .iter()
        .map(|text| text.to_lowercase())
        .collect();
    cases.retain(|case| {
        let name = case.name.to_lowercase();
        let chosen = only.is_empty() || only.iter().any(|text| name.contains(text));
        chosen && case.certificates <= options.largest && (!options.tpm || case.is_for_tpm())
    });
    if options.list {
        cases.iter().for_each(|case| println!("{}", case.name));
        return Ok(true);
    }
    if cases.is_empty() {
        return Err("no case has such a name; --list shows them all".into());
    }
    let modules = match options.module.as_slice() {
        [] if options.tpm => vec![own_module()?, TPM2_PKCS11.into()],
        [] => vec![own_module()?],
        named => named.to_vec(),
    };
    let version = match options.openssl {
        true => Some(openssl::version()?),
        false => None,
    };
    let mut bench = Bench::new(options, cases, &modules);
    bench.fill(&modules);
    for round in 0..options.rounds {
        bench.round(round);
    }
    let report = bench.finish(&modules, version);
    print!("{}", report.table());
    if let Some(path) = &options.json {
        let text = format!("{:#}\n", report.json());
        fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(report.is_complete())
}

/// The library that cargo built with this program: beside it in target/release/deps.
fn own_module() -> Result<PathBuf> {
    let program = env::current_exe().map_err(|error| error.to_string())?;
    let library = program.with_file_name("libnodetoken.so");
    match library.is_file() {
        true => Ok(library),
        false => Err(format!(
            "{} is not there: name the module with --module PATH",
            library.display()
        )),
    }
}

struct Bench<'a> {
    options: &'a Options,
    cases: Vec<Case>,
    rows: Vec<Row>,
    /// By index of the module and size of the store; a module that cannot be started has the reason.
    workers: HashMap<(usize, u32), Result<Worker>>,
    cold: HashMap<(usize, u32), Vec<Cold>>,
}

impl<'a> Bench<'a> {
    fn new(options: &'a Options, cases: Vec<Case>, modules: &[PathBuf]) -> Self {
        let rows = cases.iter().map(|case| Row {
            case: case.name.clone(),
            openssl: (options.openssl && case.reference.is_some()).then(Figures::default),
            modules: modules.iter().map(|_| Figures::default()).collect(),
        });
        Self {
            options,
            rows: rows.collect(),
            cases,
            workers: HashMap::new(),
            cold: HashMap::new(),
        }
    }

    /// Makes a store of each size that a case needs, in tenths and the modules in turns.
    fn fill(&mut self, modules: &[PathBuf]) {
        for size in cases::SIZES {
            if !self.cases.iter().any(|case| case.certificates == size) {
                continue;
            }
            eprintln!("making stores with {size} certificates");
            for (index, module) in modules.iter().enumerate() {
                let worker = Worker::start(module, &self.options.stores, self.options.tpm);
                self.workers.insert((index, size), worker);
            }
            for tenth in 0..10 {
                for index in 0..modules.len() {
                    let rate = match self.workers.get_mut(&(index, size)) {
                        Some(Ok(worker)) => worker.fill(size / 10 * tenth, size / 10 * (tenth + 1)),
                        Some(Err(error)) => Err(error.clone()),
                        None => continue,
                    };
                    for (case, row) in self.cases.iter().zip(&mut self.rows) {
                        let timed = match case.action {
                            Action::CreateFirst => tenth == 0,
                            Action::CreateLast => tenth == 9,
                            _ => false,
                        };
                        if (timed || rate.is_err())
                            && case.certificates == size
                            && let Some(figures) = row.modules.get_mut(index)
                        {
                            figures.add(rate.clone());
                        }
                    }
                    if let Err(error) = rate {
                        self.workers.insert((index, size), Err(error));
                    }
                }
            }
        }
    }

    /// Every case once; who begins changes from round to round.
    fn round(&mut self, round: u32) {
        let mut openssl = openssl::Round::default();
        let seconds = self.options.seconds;
        for (case, row) in self.cases.iter().zip(&mut self.rows) {
            if matches!(case.action, Action::CreateFirst | Action::CreateLast) {
                continue;
            }
            eprintln!("round {}: {}", round + 1, case.name);
            if let Some((figures, reference)) = row.openssl.as_mut().zip(case.reference) {
                let whole = seconds.ceil().max(1.0) as u64;
                figures.add(openssl.sample(reference, case.threads, whole));
            }
            let count = row.modules.len();
            let turns = (0..count).map(|turn| (turn + round as usize) % count);
            for index in turns {
                let key = (index, case.certificates);
                let Some(Ok(worker)) = self.workers.get_mut(&key) else {
                    continue;
                };
                let result = match case.action {
                    Action::ColdStart => worker.cold_starts(seconds).map(|(sample, starts)| {
                        self.cold.entry(key).or_default().extend(starts);
                        sample
                    }),
                    _ => worker.run(case, seconds),
                };
                if let Some(figures) = row.modules.get_mut(index) {
                    figures.add(result);
                }
            }
        }
    }

    fn finish(mut self, modules: &[PathBuf], openssl: Option<String>) -> Report {
        let mut stores = Vec::new();
        for size in cases::SIZES {
            for module in 0..modules.len() {
                let key = (module, size);
                if let Some(Ok(worker)) = self.workers.get_mut(&key) {
                    stores.push(Store {
                        module,
                        certificates: size,
                        peak: worker.peak_memory().ok(),
                        cold: self.cold.remove(&key).unwrap_or_default(),
                    });
                }
            }
        }
        Report {
            modules: names(modules),
            openssl,
            rows: self.rows,
            stores,
        }
    }
}

/// The file names, short; the whole path where two are the same.
fn names(modules: &[PathBuf]) -> Vec<String> {
    let short = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let stem = name.split_once(".so").map_or(&*name, |(stem, _)| stem);
        stem.strip_prefix("lib").unwrap_or(stem).to_owned()
    };
    let all: Vec<_> = modules.iter().map(short).collect();
    let unique = |name: &String| all.iter().filter(|other| *other == name).count() == 1;
    let whole = |path: &PathBuf| path.display().to_string();
    modules
        .iter()
        .zip(&all)
        .map(|(path, name)| {
            if unique(name) {
                name.clone()
            } else {
                whole(path)
            }
        })
        .collect()
}
