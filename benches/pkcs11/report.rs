//! The figures, as a table and as JSON.

use std::fmt::Write as _;
use std::ptr;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Operations a second in one round: by the clock, and by the CPU time spent.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct Sample {
    pub wall: f64,
    pub cpu: Option<f64>,
}

/// One cold start: its steps in milliseconds, its peak memory in KiB.
#[derive(Serialize, Deserialize)]
pub struct Cold {
    pub steps: Vec<(String, f64)>,
    pub peak: u64,
}

/// What one module (or `openssl speed`) did in one case.
#[derive(Default)]
pub struct Figures {
    pub samples: Vec<Sample>,
    pub error: Option<String>,
}

impl Figures {
    /// Takes the result of one more round.
    pub fn add(&mut self, result: Result<Sample, String>) {
        match result {
            Ok(sample) => self.samples.push(sample),
            Err(error) => self.error = Some(error),
        }
    }

    fn of(&self, kind: fn(&Sample) -> Option<f64>) -> Option<Spread> {
        Spread::of(self.samples.iter().filter_map(kind))
    }

    /// The best of the rounds, by the clock and by the CPU time.
    pub fn best(&self) -> Option<(f64, f64)> {
        Some((self.of(wall)?.best, self.of(cpu)?.best))
    }

    pub fn json(&self) -> Value {
        let wall = self.of(wall);
        json!({
            "best": wall.map(|spread| spread.best),
            "median": wall.map(|spread| spread.median),
            "best_by_cpu": self.of(cpu).map(|spread| spread.best),
            "rounds": self.samples,
            "error": self.error,
        })
    }
}

fn wall(sample: &Sample) -> Option<f64> {
    Some(sample.wall)
}

fn cpu(sample: &Sample) -> Option<f64> {
    sample.cpu
}

#[derive(Clone, Copy)]
struct Spread {
    best: f64,
    median: f64,
}

impl Spread {
    fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = values.collect();
        if sorted.is_empty() {
            return None;
        }
        sorted.sort_by(f64::total_cmp);
        Some(Self {
            best: *sorted.last()?,
            median: (sorted.get((sorted.len() - 1) / 2)? + sorted.get(sorted.len() / 2)?) / 2.0,
        })
    }
}

/// A case and its figures.
pub struct Row {
    pub case: String,
    pub openssl: Option<Figures>,
    /// In the order of the modules.
    pub modules: Vec<Figures>,
}

/// What else was seen of one module with one size of store.
pub struct Store {
    pub module: usize,
    pub certificates: u32,
    /// Peak memory of the worker, which filled the store, in KiB.
    pub peak: Option<u64>,
    pub cold: Vec<Cold>,
}

/// Everything that one run found.
pub struct Report {
    pub modules: Vec<String>,
    pub openssl: Option<String>,
    pub rows: Vec<Row>,
    pub stores: Vec<Store>,
}

impl Report {
    /// Whether every case could be measured.
    pub fn is_complete(&self) -> bool {
        let figures = |row: &Row| {
            row.modules
                .iter()
                .chain(&row.openssl)
                .all(|figures| figures.error.is_none())
        };
        self.rows.iter().all(figures)
    }

    /// The tables that a person reads.
    pub fn table(&self) -> String {
        let mut text = String::new();
        let wide = |names: &mut dyn Iterator<Item = usize>| names.max().unwrap_or(0);
        let case_width = wide(&mut self.rows.iter().map(|row| row.case.len()));
        let name_width = wide(&mut self.modules.iter().map(String::len)).max("openssl".len());
        let mut line = |cells: [&str; 9]| {
            let [
                case,
                name,
                best,
                median,
                cpu,
                each,
                by_best,
                by_median,
                by_cpu,
            ] = cells;
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "{case:case_width$}  {name:name_width$} {best:>12} {median:>12} {cpu:>12} {each:>9} {by_best:>9} {by_median:>9} {by_cpu:>9}"
            );
        };
        line([
            "", "", "best", "median", "best a", "one", "share", "share", "share",
        ]);
        line([
            "case",
            "module",
            "a second",
            "a second",
            "CPU second",
            "takes",
            "of best",
            "of median",
            "by CPU",
        ]);
        for row in &self.rows {
            let openssl = row.openssl.iter().map(|figures| ("openssl", figures));
            let modules = self.modules.iter().map(String::as_str).zip(&row.modules);
            let yardstick = row.openssl.as_ref().or(row.modules.last());
            for (index, (name, figures)) in openssl.chain(modules).enumerate() {
                let case = if index == 0 { row.case.as_str() } else { "" };
                let Some(spread) = figures.of(wall) else {
                    let error = figures.error.as_deref().unwrap_or("not measured");
                    line([case, name, error, "", "", "", "", "", ""]);
                    continue;
                };
                let reference = yardstick.filter(|yardstick| !ptr::eq(*yardstick, figures));
                let share = |kind: fn(&Sample) -> Option<f64>, pick: fn(Spread) -> f64| {
                    let ours = figures.of(kind).map(pick);
                    let theirs = reference.and_then(|figures| figures.of(kind)).map(pick);
                    ours.zip(theirs).map_or(String::new(), |(ours, theirs)| {
                        format!("{:.0} %", 100.0 * ours / theirs)
                    })
                };
                line([
                    case,
                    name,
                    &count(spread.best),
                    &count(spread.median),
                    &figures
                        .of(cpu)
                        .map_or(String::new(), |spread| count(spread.best)),
                    &duration(1.0 / spread.best),
                    &share(wall, |spread| spread.best),
                    &share(wall, |spread| spread.median),
                    &share(cpu, |spread| spread.best),
                ]);
                // Some of the rounds failed: the exit status says so, too.
                if let Some(error) = &figures.error {
                    line(["", name, error, "", "", "", "", "", ""]);
                }
            }
        }
        text.push_str(&self.store_table(name_width));
        text
    }

    fn store_table(&self, name_width: usize) -> String {
        let mut text = String::new();
        for store in &self.stores {
            let name = self.modules.get(store.module).map_or("", String::as_str);
            let mut facts = Vec::new();
            if let Some(peak) = store.peak {
                facts.push(format!("worker {:.1} MiB", peak as f64 / 1024.0));
            }
            if let Some(peak) = store.cold.iter().map(|cold| cold.peak).max() {
                facts.push(format!("cold start {:.1} MiB", peak as f64 / 1024.0));
            }
            facts.extend(
                store
                    .steps()
                    .iter()
                    .map(|(step, time)| format!("{step} {time:.2} ms")),
            );
            let certificates = store.certificates;
            let _ = writeln!(
                text,
                "{name:name_width$} {certificates:>6} certificates: {}",
                facts.join(", ")
            );
        }
        if text.is_empty() {
            return text;
        }
        format!("\nPeak memory, and the shortest time of each step of a cold start:\n{text}")
    }

    /// Everything, for a program to read.
    pub fn json(&self) -> Value {
        let named = |figures: &[Figures]| -> serde_json::Map<String, Value> {
            let names = self.modules.iter().cloned();
            names.zip(figures.iter().map(Figures::json)).collect()
        };
        let rows = self.rows.iter().map(|row| {
            json!({
                "case": row.case,
                "openssl": row.openssl.as_ref().map(Figures::json),
                "modules": named(&row.modules),
            })
        });
        let stores = self.stores.iter().map(|store| {
            json!({
                "module": self.modules.get(store.module),
                "certificates": store.certificates,
                "peak_kib": store.peak,
                "cold_start_peak_kib": store.cold.iter().map(|cold| cold.peak).max(),
                "cold_start_steps_ms": store.steps(),
            })
        });
        json!({
            "openssl": self.openssl,
            "unit": "operations a second",
            "cases": rows.collect::<Vec<_>>(),
            "stores": stores.collect::<Vec<_>>(),
        })
    }
}

impl Store {
    /// The steps of a cold start and all of them together, each with the shortest of its times in milliseconds.
    fn steps(&self) -> Vec<(String, f64)> {
        let Some(first) = self.cold.first() else {
            return Vec::new();
        };
        let names = first.steps.iter().map(|(name, _)| name).enumerate();
        let steps = names.filter_map(|(index, name)| {
            let times = self.cold.iter().filter_map(|cold| cold.steps.get(index));
            let shortest = times.map(|(_, time)| *time).min_by(f64::total_cmp)?;
            Some((name.clone(), shortest))
        });
        let whole = |cold: &Cold| cold.steps.iter().map(|(_, time)| time).sum::<f64>();
        let whole = self.cold.iter().map(whole).min_by(f64::total_cmp);
        steps
            .chain(whole.map(|time| ("all".into(), time)))
            .collect()
    }
}

pub fn count(value: f64) -> String {
    if value < 100.0 {
        return format!("{value:.1}");
    }
    let digits = format!("{value:.0}");
    let mut grouped = String::new();
    for (index, digit) in digits.char_indices() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

pub fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 1e-6 => format!("{:.0} ns", s * 1e9),
        s if s < 1e-3 => format!("{:.1} µs", s * 1e6),
        s if s < 1.0 => format!("{:.2} ms", s * 1e3),
        s => format!("{s:.2} s"),
    }
}
