//! `nodetoken`: makes and looks after node credentials in tokens.
//!
//! One file a command; [`token`] is how they all reach a token, [`pin_source`] where PINs come
//! from, [`failure`] how they fail, [`report`] and [`table`] what they print.

mod choice;
mod csr;
mod destroy;
mod failure;
mod init;
mod install;
mod keygen;
mod list;
mod object;
mod pin;
mod pin_source;
mod report;
mod status;
mod table;
mod token;

use clap::{Parser, Subcommand};
use failure::Result;
use report::Report;
use std::process::ExitCode;

/// Makes and looks after node credentials in PKCS#11 tokens.
///
/// The store is the directory in NODETOKEN_STORE, or the one in the configuration file
/// (NODETOKEN_CONF), or the platform's state directory. PINs are asked for on the terminal or read
/// from a file, a file descriptor or an environment variable, never from the command line.
#[derive(Debug, Parser)]
#[command(name = "nodetoken", version, after_help = failure::EXIT_CODES)]
struct Cli {
    /// Token to work on: its label, its serial number, or slot:N. Needed where there are several.
    #[arg(long, global = true, value_name = "TOKEN")]
    token: Option<String>,

    /// Print the result as JSON.
    #[arg(long, global = true)]
    json: bool,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Init(init::Init),
    Keygen(keygen::Keygen),
    Csr(csr::Csr),
    Install(install::Install),
    List(list::List),
    Status(status::Status),
    Destroy(destroy::Destroy),
    #[command(subcommand)]
    Pin(pin::Pin),
}

impl Command {
    /// Does it. `token` is the value of `--token`.
    fn run(&self, token: Option<&str>) -> Result<Report> {
        match self {
            Command::Init(command) => command.run(token),
            Command::Keygen(command) => command.run(token),
            Command::Csr(command) => command.run(token),
            Command::Install(command) => command.run(token),
            Command::List(command) => command.run(token),
            Command::Status(command) => command.run(token),
            Command::Destroy(command) => command.run(token),
            Command::Pin(command) => command.run(token),
        }
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = cli.command.run(cli.token.as_deref()).and_then(|report| {
        report.print(cli.json)?;
        Ok(report.exit)
    });
    match outcome {
        Ok(exit) => exit,
        Err(failure) => {
            report::say(&format!("nodetoken: {failure}\n"));
            failure.code()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
