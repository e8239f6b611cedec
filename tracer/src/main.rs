//! Entry point of `cgtrace`.

use std::process::ExitCode;

fn main() -> ExitCode {
    cgtrace::cli::main()
}
