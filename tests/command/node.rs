//! A directory with a store, PIN files, and the command run in it.

use serde_json::Value;
use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// Files with a PIN each, which no output may show.
const PINS: [(&str, &str); 6] = [
    ("so", "so-pin-31415926"),
    ("user", "user-pin-27182818"),
    ("new", "new-pin-16180339"),
    ("new-so", "new-so-pin-14142135"),
    ("bad", "bad-pin-17320508"),
    ("short", "p-73"),
];

pub struct Node {
    directory: TempDir,
}

/// How a command ended.
pub struct Outcome {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Node {
    /// PIN files and no token.
    pub fn new() -> Self {
        let node = Self {
            directory: tempfile::tempdir().unwrap(),
        };
        for (name, pin) in PINS {
            node.write(name, format!("{pin}\n"));
            node.set_mode(name, 0o600);
        }
        node
    }

    /// A token called `token` whose PINs are in the files `so` and `user`.
    pub fn with_token() -> Self {
        let node = Self::new();
        node.done("init --label token --so-pin-file so --pin-file user");
        node
    }

    /// Runs the command with these words as arguments, `input` as its standard input and one more
    /// environment variable.
    pub fn run_with(&self, words: &str, input: &str, variable: Option<(&str, &str)>) -> Outcome {
        let mut child = Command::new(env!("CARGO_BIN_EXE_nodetoken"))
            .args(words.split_whitespace())
            .current_dir(self.directory.path())
            .env_remove("NODETOKEN_CONF")
            .env_remove("NODETOKEN_LOG")
            .env("NODETOKEN_STORE", self.directory.path().join("store"))
            .envs(variable)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A command that does not read its input may have ended already.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let output = child.wait_with_output().unwrap();
        let outcome = Outcome {
            code: output.status.code().expect("an exit code, not a signal"),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        };
        for (_, pin) in PINS {
            let shown = outcome.stdout.contains(pin) || outcome.stderr.contains(pin);
            assert!(!shown, "a PIN is shown by: {words}");
        }
        outcome
    }

    /// The command succeeds; what it printed.
    #[track_caller]
    pub fn done(&self, words: &str) -> String {
        let outcome = self.run_with(words, "", None);
        assert_eq!(outcome.code, 0, "{words}: {}", outcome.stderr);
        outcome.stdout
    }

    /// The command succeeds with `--json`; the value that it printed.
    #[track_caller]
    pub fn json(&self, words: &str) -> Value {
        let text = self.done(&format!("--json {words}"));
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{words}: {error}: {text}"))
    }

    /// The command ends with the exit code `code`; what it said on standard error.
    #[track_caller]
    pub fn fails(&self, code: i32, words: &str) -> String {
        let outcome = self.run_with(words, "", None);
        assert_eq!(outcome.code, code, "{words}: {}", outcome.stderr);
        let finding = code == 9;
        assert_eq!(
            outcome.stdout.is_empty(),
            !finding,
            "{words}: {}",
            outcome.stdout
        );
        assert_eq!(
            outcome.stderr.is_empty(),
            finding,
            "{words} fails without a word"
        );
        outcome.stderr
    }

    /// The kinds of the objects that a `list` command lists.
    #[track_caller]
    pub fn kinds(&self, list: &str) -> Vec<String> {
        self.json(list)["objects"]
            .as_array()
            .unwrap()
            .iter()
            .map(|object| object["kind"].as_str().unwrap().to_owned())
            .collect()
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::write(self.directory.path().join(name), text).unwrap();
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.directory.path().join(name)).unwrap()
    }

    /// Lets every user of the machine read a file.
    pub fn open_to_others(&self, name: &str) {
        self.set_mode(name, 0o644);
    }

    fn set_mode(&self, name: &str, mode: u32) {
        let path = self.directory.path().join(name);
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    /// The database of the store.
    pub fn store_file(&self) -> PathBuf {
        self.directory.path().join("store/nodetoken.sqlite")
    }
}
