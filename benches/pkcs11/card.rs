//! Smart cards: our module beside OpenSC's and Yubico's on one virtual PIV card (`--card`).
//!
//! All of them see the same card, on which our module has made keys with certificates: of a key without one OpenSC
//! knows nothing. Whatever is measured runs in a process of its own and alone, because programs that share a card end
//! each other's logins; the modules take turns in rounds. Beside the time stands the number of APDUs: the virtual card
//! answers in no time, and with a real one they are what the time goes to. A ratio is our rate divided by theirs.
//!
//! Needs the Debian packages pcscd, vsmartcard-vpcd and opensc-pkcs11, and for the other module ykcs11.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, io};

use cryptoki_sys::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cases::{self, Key, Scheme};
use crate::certificate;
use crate::module::{Attribute, Module, Result, Session};
use crate::report::{self, Figures, Sample};
use crate::virtual_card::{Card, MANAGEMENT_KEY, PIN, Reader};
use crate::{Options, names, own_module, worker};

/// The first argument of a process that does one thing with the card.
pub const TASK: &str = "--card-task";

/// The other modules, where the loader looks for libraries.
const OPENSC: &str = "opensc-pkcs11.so";
const YKCS11: &str = "libykcs11.so";
/// ykcs11 uses readers whose name says so.
const READER: &str = "Yubico YubiKey";

/// Where the keys are, as CKA_ID: 9A, 9D and two retired places. The rest of the card is empty, as on a card for one
/// node; 9C would ask for the PIN each time.
const PLACES: [(Key, u8); 4] = [
    (Key::P256, 1),
    (Key::Rsa2048, 3),
    (Key::P384, 5),
    (Key::Rsa3072, 6),
];

/// What a process does.
#[derive(Clone, Copy)]
enum Work {
    Sign(Scheme),
    /// From C_Initialize to C_Finalize, with one signature.
    ColdStart,
    /// Every object with class, CKA_ID and label, certificates with their value; nobody is logged in.
    List,
    /// What a TLS client does before it signs: the certificates with their values, a login, the private key of one.
    Credential,
}

struct Case {
    name: String,
    work: Work,
}

fn cases() -> Vec<Case> {
    let signatures = cases::SCHEMES.into_iter().map(|scheme| Case {
        name: format!("sign {}", scheme.name),
        work: Work::Sign(scheme),
    });
    let processes = [
        ("cold start", Work::ColdStart),
        ("list all objects", Work::List),
        ("find credential", Work::Credential),
    ];
    let processes = processes.map(|(name, work)| Case {
        name: name.into(),
        work,
    });
    signatures.chain(processes).collect()
}

/// What a process tells.
#[derive(Serialize, Deserialize)]
struct Done {
    sample: Sample,
    /// APDUs of one signature, or of the whole process.
    apdus: f64,
}

/// One module in one case.
#[derive(Default)]
struct Cell {
    figures: Figures,
    apdus: Option<f64>,
}

/// Measures and reports; false if the first module could not do a case.
pub fn measure(options: &Options) -> Result<bool> {
    let chosen = |case: &Case| {
        let asked = |text: &String| case.name.to_lowercase().contains(&text.to_lowercase());
        options.only.is_empty() || options.only.iter().any(asked)
    };
    let cases: Vec<_> = cases().into_iter().filter(chosen).collect();
    if options.list {
        cases.iter().for_each(|case| println!("{}", case.name));
        return Ok(true);
    }
    let modules = match options.module.as_slice() {
        [] => {
            let others = [OPENSC, YKCS11].map(PathBuf::from);
            let there = others.into_iter().filter(|path| Module::load(path).is_ok());
            std::iter::once(own_module()?).chain(there).collect()
        }
        named => named.to_vec(),
    };
    let desk = Desk::new(&options.stores).map_err(|error| format!("the card: {error}"))?;
    eprintln!("making keys and certificates on the card");
    desk.run(&own_module()?, "prepare", 0.0)?;
    let mut versions = Vec::new();
    for module in &modules {
        versions.push(desk.run(module, "version", 0.0)?);
    }
    let mut rows: Vec<Vec<Cell>> = cases
        .iter()
        .map(|_| modules.iter().map(|_| Cell::default()).collect())
        .collect();
    for round in 0..options.rounds as usize {
        for (case, cells) in cases.iter().zip(&mut rows) {
            eprintln!("round {}: {}", round + 1, case.name);
            for turn in 0..modules.len() {
                let index = (turn + round) % modules.len();
                let (Some(module), Some(cell)) = (modules.get(index), cells.get_mut(index)) else {
                    continue;
                };
                let done = desk.measure(module, case, options.seconds);
                if let Ok(done) = &done {
                    cell.apdus = Some(done.apdus);
                }
                cell.figures.add(done.map(|done| done.sample));
            }
        }
    }
    let names = names(&modules);
    print!("{}", table(&cases, &rows, &names, &versions));
    if let Some(path) = &options.json {
        let text = format!("{:#}\n", json(&cases, &rows, &names, &versions));
        fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    // What another module cannot do stands in the table and is no failure.
    let ours = |cells: &Vec<Cell>| {
        cells
            .first()
            .is_some_and(|ours| ours.figures.error.is_none())
    };
    Ok(rows.iter().all(ours))
}

/// A card in its reader, and where the modules keep their things.
struct Desk {
    _reader: Reader,
    home: TempDir,
}

impl Desk {
    fn new(base: &Path) -> io::Result<Self> {
        let home = tempfile::Builder::new()
            .prefix("pkcs11-bench-")
            .tempdir_in(base)?;
        let at = home.path();
        fs::create_dir(at.join("nodetoken"))?;
        let key: String = MANAGEMENT_KEY
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        fs::write(at.join("management-key"), key)?;
        let file = at.join("management-key");
        fs::write(
            at.join("nodetoken.toml"),
            format!("[card]\nmanagement_key_file = {file:?}\n"),
        )?;
        // What is read from a file instead of the card would not be counted.
        fs::write(
            at.join("opensc.conf"),
            "app default {\n framework pkcs15 {\n  use_file_caching = no;\n }\n}\n",
        )?;
        Ok(Self {
            _reader: Reader::start_named(at, READER),
            home,
        })
    }

    fn card(&self) -> Card {
        Card::first(self.home.path())
    }

    /// A process with the module; what it says.
    fn run(&self, module: &Path, task: &str, seconds: f64) -> Result<String> {
        let at = self.home.path();
        let failed = |error: io::Error| format!("{task}: {error}");
        let output = Command::new(env::current_exe().map_err(failed)?)
            .args([TASK, task])
            .arg(seconds.to_string())
            .args([module, at])
            .env("PCSCLITE_CSOCK_NAME", Reader::socket(at))
            .env("NODETOKEN_CONF", at.join("nodetoken.toml"))
            .env("NODETOKEN_STORE", at.join("nodetoken"))
            .env_remove("NODETOKEN_TPM")
            .env_remove("NODETOKEN_CARD")
            .env("OPENSC_CONF", at.join("opensc.conf"))
            .env("HOME", at)
            .env("XDG_CACHE_HOME", at.join("cache"))
            .stderr(Stdio::piped())
            .output()
            .map_err(failed)?;
        let text = |bytes| String::from_utf8_lossy(bytes).trim().to_owned();
        match output.status.success() {
            true => Ok(text(&output.stdout)),
            false => Err(text(&output.stderr)
                .lines()
                .last()
                .map_or_else(|| output.status.to_string(), str::to_owned)),
        }
    }

    fn measure(&self, module: &Path, case: &Case, seconds: f64) -> Result<Done> {
        if let Work::Sign(_) = case.work {
            let said = self.run(module, &case.name, seconds)?;
            return serde_json::from_str(&said).map_err(|error| format!("{said:?}: {error}"));
        }
        let (mut count, mut spent, mut best) = (0, Duration::ZERO, Duration::MAX);
        let cpu = worker::ended_children_cpu_seconds();
        let mut apdus = 0;
        while count < 3 || spent.as_secs_f64() < seconds {
            self.card().reset_apdus();
            let begin = Instant::now();
            self.run(module, &case.name, 0.0)?;
            let time = begin.elapsed();
            apdus = self.card().apdus();
            (count, spent, best) = (count + 1, spent + time, best.min(time));
        }
        let cpu = (worker::ended_children_cpu_seconds() - cpu) / f64::from(count);
        Ok(Done {
            sample: Sample {
                wall: 1.0 / best.as_secs_f64(),
                cpu: Some(1.0 / cpu.max(1e-9)),
            },
            apdus: apdus as f64,
        })
    }
}

/// What a process does that was started with [`TASK`].
pub fn perform(task: &str, seconds: &str, module: &Path, home: &Path) -> Result<()> {
    let module = Module::load(module)?;
    module.initialize()?;
    let done = match task {
        "version" => module.description().map(|text| println!("{text}")),
        "prepare" => prepare(&module),
        _ => {
            let case = cases().into_iter().find(|case| case.name == task);
            let seconds = seconds.parse().map_err(|_| "not a time")?;
            work(&module, case.ok_or("no such case")?.work, seconds, home)
        }
    };
    // A client that ends well finalizes, and what the module then says to the card counts.
    done.and(module.finalize())
}

fn prepare(module: &Module) -> Result<()> {
    let session = module.open(module.hardware_slot()?, CKF_RW_SESSION)?;
    session.login(CKU_USER, PIN)?;
    for (number, (key, id)) in PLACES.into_iter().enumerate() {
        let public = cases::generate_pair_named(&session, key, b"benchmark", &[id])?.0;
        let mut info = [0; 1024];
        let length = session.value(public, CKA_PUBLIC_KEY_INFO, &mut info)?;
        let info = info.get(..length).unwrap_or_default();
        certificate::create_for(&session, number as u32, &[id], info)?;
    }
    Ok(())
}

fn work(module: &Module, work: Work, seconds: f64, home: &Path) -> Result<()> {
    let session = module.open(module.hardware_slot()?, 0)?;
    match work {
        Work::Sign(scheme) => {
            let done = sign(&session, scheme, seconds, home)?;
            let line = serde_json::to_string(&done).map_err(|error| error.to_string())?;
            println!("{line}");
            Ok(())
        }
        Work::ColdStart => {
            session.login(CKU_USER, PIN)?;
            let key = private_key(&session, Key::P256)?;
            cases::sign_once(&session, key)
        }
        Work::List => read_all(&session, &[]).and_then(|found| match found {
            0 => Err("nothing was found".into()),
            _ => Ok(()),
        }),
        Work::Credential => {
            if read_all(&session, &[Attribute::new(CKA_CLASS, &CKO_CERTIFICATE)])? < PLACES.len() {
                return Err("a certificate was not found".into());
            }
            session.login(CKU_USER, PIN)?;
            private_key(&session, Key::P256).map(drop)
        }
    }
}

fn sign(session: &Session, scheme: Scheme, seconds: f64, home: &Path) -> Result<Done> {
    session.login(CKU_USER, PIN)?;
    let key = private_key(session, scheme.key)?;
    let (data, mut signature) = ((scheme.data)(), [0; 512]);
    let mut once = || cases::sign(session, scheme, key, &data, &mut signature).map(drop);
    // Not the first one, in which a module may read what it needs of the card.
    once()?;
    let card = Card::first(home);
    card.reset_apdus();
    let mut count = 0;
    let end = Instant::now() + Duration::from_secs_f64(seconds);
    let sample = worker::measure(|| {
        once()?;
        count += 1;
        Ok(Instant::now() < end)
    })?;
    Ok(Done {
        sample,
        apdus: card.apdus() as f64 / f64::from(count.max(1)),
    })
}

fn private_key(session: &Session, key: Key) -> Result<CK_OBJECT_HANDLE> {
    let place = PLACES.iter().find(|place| place.0 == key);
    let id = place.map(|place| place.1).ok_or("no place for the key")?;
    let found = session.find_one(&[
        Attribute::new(CKA_CLASS, &CKO_PRIVATE_KEY),
        Attribute::new(CKA_ID, &id),
    ])?;
    found.ok_or_else(|| "the private key was not found".into())
}

/// Reads what a client shows of objects; how many were found.
fn read_all(session: &Session, template: &[Attribute]) -> Result<usize> {
    let mut found = [0; 128];
    let count = session.find(template, &mut found)?;
    let mut buffer = [0; 4096];
    for object in found.into_iter().take(count) {
        let mut class = [0; size_of::<CK_ULONG>()];
        session.value(object, CKA_CLASS, &mut class)?;
        // Of data objects some modules know no CKA_ID.
        for attribute in [CKA_ID, CKA_LABEL] {
            let _ = session.value(object, attribute, &mut buffer);
        }
        if CK_OBJECT_CLASS::from_ne_bytes(class) == CKO_CERTIFICATE {
            session.value(object, CKA_VALUE, &mut buffer)?;
        }
    }
    Ok(count)
}

/// Whether an error says that a module does not have a mechanism, which is no failure.
fn is_not_offered(error: &str) -> bool {
    error.contains(&format!(" {CKR_MECHANISM_INVALID:#x}"))
}

fn table(cases: &[Case], rows: &[Vec<Cell>], names: &[String], versions: &[String]) -> String {
    let mut text = String::new();
    let width = names.iter().map(String::len).max().unwrap_or(0);
    for (name, version) in names.iter().zip(versions) {
        let _ = writeln!(text, "{name:width$}  {version}");
    }
    for (newline, [case, name, best, one, apdus, clock, cpu]) in [
        ("\n", ["", "", "best", "one", "", "ratio", "ratio"]),
        (
            "",
            [
                "case", "module", "a second", "takes", "APDUs", "by clock", "by CPU",
            ],
        ),
    ] {
        let _ = writeln!(
            text,
            "{newline}{case:18} {name:width$} {best:>10} {one:>10} {apdus:>6} {clock:>8} {cpu:>8}"
        );
    }
    for (case, cells) in cases.iter().zip(rows) {
        for (index, (name, cell)) in names.iter().zip(cells).enumerate() {
            let case = if index == 0 { case.name.as_str() } else { "" };
            let Some((wall, cpu)) = cell.figures.best() else {
                let error = cell.figures.error.as_deref().unwrap_or("not measured");
                let error = match is_not_offered(error) {
                    true => "not offered",
                    false => error,
                };
                let _ = writeln!(text, "{case:18} {name:width$} {error}");
                continue;
            };
            let ours = cells.first().filter(|_| index > 0);
            let ours = ours.and_then(|ours| ours.figures.best());
            let share = |ours: Option<f64>, theirs| {
                ours.map_or(String::new(), |ours| format!("{:.2} x", ours / theirs))
            };
            let _ = writeln!(
                text,
                "{case:18} {name:width$} {:>10} {:>10} {:>6} {:>8} {:>8}",
                report::count(wall),
                report::duration(1.0 / wall),
                cell.apdus.map_or(String::new(), apdus),
                share(ours.map(|ours| ours.0), wall),
                share(ours.map(|ours| ours.1), cpu),
            );
            if let Some(error) = &cell.figures.error {
                let _ = writeln!(text, "{:18} {name:width$} {error}", "");
            }
        }
    }
    text
}

/// A whole number, where each signature had as many.
fn apdus(count: f64) -> String {
    match count.fract() < 0.005 {
        true => format!("{count:.0}"),
        false => format!("{count:.2}"),
    }
}

fn json(cases: &[Case], rows: &[Vec<Cell>], names: &[String], versions: &[String]) -> Value {
    let cells = |cells: &[Cell]| -> serde_json::Map<String, Value> {
        let figures = cells
            .iter()
            .map(|cell| json!({ "figures": cell.figures.json(), "apdus": cell.apdus }));
        names.iter().cloned().zip(figures).collect()
    };
    let rows = cases
        .iter()
        .zip(rows)
        .map(|(case, row)| json!({ "case": case.name, "modules": cells(row) }));
    json!({
        "unit": "operations a second",
        "versions": versions,
        "cases": rows.collect::<Vec<_>>(),
    })
}
