//! `openssl speed` as the yardstick, in its machine readable form (`-mr`).

use std::process::{Command, Stdio};

use crate::module::Result;
use crate::report::Sample;

/// What `openssl speed` is asked for, and which of its figures is meant.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Reference {
    /// Signatures of this algorithm.
    Sign(&'static str),
    /// Verifications of this algorithm, measured in the same run as the signatures.
    Verify(&'static str),
    /// A digest or cipher over so many bytes.
    Bulk(&'static str, usize),
}

impl Reference {
    fn arguments(self) -> Vec<String> {
        match self {
            Self::Sign(algorithm) | Self::Verify(algorithm) => vec![algorithm.into()],
            Self::Bulk(algorithm, bytes) => {
                let bytes = bytes.to_string();
                ["-bytes", &bytes, "-evp", algorithm]
                    .map(String::from)
                    .to_vec()
            }
        }
    }

    /// The line that counts its operations, by OpenSSL's own numbering: `+R1` RSA private, `+R2` RSA public, `+R5`
    /// ECDSA sign, `+R6` ECDSA verify, `+R` digests and ciphers.
    fn count_line(self) -> &'static str {
        match self {
            Self::Sign(name) if name.starts_with("rsa") => "+R1",
            Self::Verify(name) if name.starts_with("rsa") => "+R2",
            Self::Sign(_) => "+R5",
            Self::Verify(_) => "+R6",
            Self::Bulk(..) => "+R",
        }
    }

    /// The line of results by CPU time, and which of its fields after the key size or the name.
    fn result_line(self) -> (&'static str, usize) {
        match self {
            Self::Sign(name) if name.starts_with("rsa") => ("+F2", 3),
            Self::Verify(name) if name.starts_with("rsa") => ("+F2", 4),
            Self::Sign(_) => ("+F4", 3),
            Self::Verify(_) => ("+F4", 4),
            Self::Bulk(..) => ("+F", 3),
        }
    }
}

/// The runs of one round: a verification is read from the run of its signatures.
#[derive(Default)]
pub struct Round(Vec<(Vec<String>, u32, std::result::Result<Output, String>)>);

struct Output {
    results: String,
    counts: String,
}

impl Round {
    /// Runs `openssl speed` for `reference` with `threads` processes of `seconds` whole seconds, unless this round has.
    pub fn sample(&mut self, reference: Reference, threads: u32, seconds: u64) -> Result<Sample> {
        let arguments = reference.arguments();
        let ran = self
            .0
            .iter()
            .position(|(of, by, _)| *of == arguments && *by == threads);
        let at = ran.unwrap_or_else(|| {
            let output = speed(&arguments, threads, seconds);
            self.0.push((arguments, threads, output));
            self.0.len() - 1
        });
        match self.0.get(at) {
            Some((_, _, Ok(output))) => read(output, reference, seconds)
                .map(|sample| Sample {
                    // With -multi, `openssl speed` divides by the clock instead.
                    cpu: sample.cpu.filter(|_| threads == 1),
                    ..sample
                })
                .ok_or_else(|| "openssl speed printed something else than expected".into()),
            Some((_, _, Err(error))) => Err(error.clone()),
            None => Err("openssl speed did not run".into()),
        }
    }
}

/// The version of the `openssl` command, as it prints it.
pub fn version() -> Result<String> {
    let output = Command::new("openssl")
        .arg("version")
        .output()
        .map_err(|error| format!("openssl: {error}"))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().into())
}

fn speed(arguments: &[String], threads: u32, seconds: u64) -> std::result::Result<Output, String> {
    let mut command = Command::new("openssl");
    command
        .args(["speed", "-mr", "-seconds"])
        .arg(seconds.to_string());
    if threads > 1 {
        command.arg("-multi").arg(threads.to_string());
    }
    let output = command
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("openssl: {error}"))?;
    if !output.status.success() {
        return Err(format!("openssl speed: {}", output.status));
    }
    Ok(Output {
        results: String::from_utf8_lossy(&output.stdout).into(),
        counts: String::from_utf8_lossy(&output.stderr).into(),
    })
}

/// `+R` lines count operations within the seconds asked for, so they give the rate by the clock; `+F` lines give
/// the rate by CPU time, which is what `openssl speed` shows its users.
fn read(output: &Output, reference: Reference, seconds: u64) -> Option<Sample> {
    let count = |line: &str| {
        let mut fields = line.split(':');
        (fields.next()? == reference.count_line()).then(|| fields.next()?.parse::<f64>().ok())?
    };
    let (name, field) = reference.result_line();
    let result = |line: &str| {
        let fields: Vec<&str> = line.split(':').collect();
        (*fields.first()? == name).then(|| fields.get(field)?.parse::<f64>().ok())?
    };
    let operations: f64 = output.counts.lines().filter_map(count).sum();
    let by_cpu = output.results.lines().find_map(result)?;
    let by_cpu = match reference {
        Reference::Bulk(_, bytes) => by_cpu / bytes as f64,
        _ => by_cpu,
    };
    (operations > 0.0).then_some(Sample {
        wall: operations / seconds as f64,
        cpu: Some(by_cpu),
    })
}
