//! The commands, and which of them was asked for.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::commands;
use crate::serve::with_file;

/// Traces the life of every cgroup on this host, and sees the calls that fail. Says who tore down what, and whether it
/// hurt.
#[derive(Debug, Parser)]
#[command(name = "cgtrace", version, max_term_width = 120, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Trace this host, and print events, failed calls and findings as they happen
    Live(commands::live::Live),
    /// Trace this host into a trace file
    Record(commands::record::Record),
    /// Replay trace files, on any machine: what went wrong, and the lives of the containers
    Report(commands::report::Report),
    /// Tell the story of one cgroup, container, process, or line of a log: what happened, who did it, and why it failed
    Why(commands::why::Why),
    /// Compare two traces of the same job, before and after a change: where they part, and what follows from it
    Diff(commands::diff::Diff),
    /// Turn a finding into a report that a maintainer can use, with a script that makes the same calls again
    Issue(commands::issue::Issue),
    /// Convert trace files for other tools
    Export(commands::export::Export),
    /// Run as an agent: metrics for Prometheus, health, the last findings, and trace files if asked
    Serve(commands::serve::Serve),
    /// Say in one line whether there is a problem, with an exit status for programs that watch hosts
    Check(commands::check::Check),
    /// Show the cgroups that exist now as a tree: whose they are, and what may be wrong with them
    Tree(commands::tree::Tree),
    /// Say what this kernel and this user can trace, and how to fix what is missing
    Doctor(commands::doctor::Doctor),
    /// Explain a kind of finding: claim, evidence, how to confirm it by hand, what to do
    Explain(commands::explain::Explain),
    /// Play real cgroup faults on this host, traced, and print what was found
    Demo(commands::demo::Demo),
    /// Print the script with which a shell completes commands and options
    Completions(commands::completions::Completions),
    /// Write the manual pages
    #[command(hide = true)]
    Man(commands::completions::Man),
}

/// The program: reads its arguments, does as told, and says what went wrong in one message.
pub fn main() -> ExitCode {
    if let Some(status) = crate::demo::play_a_part() {
        return status;
    }
    let cli = match parse(std::env::args_os().collect()) {
        Ok(cli) => cli,
        Err(error) => {
            say!("error: {error:#}");
            return ExitCode::from(2);
        }
    };
    let done = match cli.command {
        Command::Live(args) => commands::live::run(args),
        Command::Record(args) => commands::record::run(args),
        Command::Report(args) => commands::report::run(args),
        Command::Why(args) => commands::why::run(&args),
        Command::Diff(args) => commands::diff::run(args),
        Command::Issue(args) => commands::issue::run(&args),
        Command::Export(args) => commands::export::run(&args),
        Command::Serve(args) => commands::serve::run(args),
        Command::Check(args) => commands::check::run(args),
        Command::Tree(args) => commands::tree::run(args),
        Command::Doctor(args) => commands::doctor::run(&args),
        Command::Explain(args) => commands::explain::run(&args),
        Command::Demo(args) => commands::demo::run(&args),
        Command::Completions(args) => commands::completions::run(&args, definition()),
        Command::Man(args) => commands::completions::man(&args, definition()),
    };
    match done {
        Ok(status) => status,
        Err(error) if commands::is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            say!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// The command line's definition, for documentation and tests.
pub fn definition() -> clap::Command {
    Cli::command().mut_subcommand(SERVE, commands::serve::defined)
}

const SERVE: &str = "serve";

/// Reads the command line, and for the agent the environment and the configuration file. What is mistyped ends the
/// program with clap's own message.
fn parse(arguments: Vec<std::ffi::OsString>) -> anyhow::Result<Cli> {
    let definition = definition();
    // What a flag needs besides may be in the file: that is only known when the file is read.
    let given = definition.clone().ignore_errors(true).try_get_matches_from(&arguments).ok();
    let serve = given.as_ref().and_then(|given| given.subcommand_matches(SERVE));
    let file = serve.and_then(|serve| Some((serve, serve.get_one::<PathBuf>("config")?)));
    let arguments = match (file, definition.find_subcommand(SERVE)) {
        (Some((serve, path)), Some(command)) => with_file(command, serve, &arguments, path)?,
        (Some(_) | None, _) => arguments,
    };
    let mistyped = commands::check::status_of_mistyped(&arguments);
    let matches = definition.try_get_matches_from(arguments).unwrap_or_else(|error| {
        let status = if error.use_stderr() { mistyped } else { 0 };
        let _ = error.print();
        std::process::exit(status)
    });
    Cli::from_arg_matches(&matches).map_err(|error| error.exit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        definition().debug_assert();
    }
}
