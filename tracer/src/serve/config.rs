//! The configuration file: TOML whose keys are the names of the command's flags.
//!
//! There is one definition of every setting, the command line's. A key of the file that was given neither as a flag nor
//! in the environment is added to the command line, so that it is checked, and explained when it is wrong, just as a
//! flag is.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};

/// What is wrong with a configuration.
#[derive(Debug)]
pub struct ConfigError {
    path: PathBuf,
    what: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.what)
    }
}

impl std::error::Error for ConfigError {}

/// Flags that are about the file itself.
const NO_KEYS: [&str; 4] = ["config", "check-config", "help", "version"];

/// The arguments of a subcommand, with what a file says where neither they nor the environment (`matches`) do.
///
/// # Errors
/// When the file cannot be read, has a key that is no flag's, or a value that the flag would not take.
pub fn with_file(
    command: &Command,
    matches: &ArgMatches,
    arguments: &[OsString],
    path: &Path,
) -> Result<Vec<OsString>, ConfigError> {
    let wrong = |what: String| ConfigError { path: path.to_path_buf(), what };
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    let table: toml::Table =
        text.parse().map_err(|error: toml::de::Error| wrong(error.to_string().trim_end().to_owned()))?;
    let mut all = arguments.to_vec();
    for (key, value) in &table {
        let Some(argument) = argument(command, key) else { return Err(wrong(unknown(command, key))) };
        let flags = flags(argument, value).map_err(|what| wrong(format!("{key}: {what}")))?;
        // By itself first, so that what is wrong is the file's and not the command line's.
        let alone = [OsString::from(command.get_name())].into_iter().chain(flags.iter().cloned());
        if let Err(error) = command.clone().try_get_matches_from(alone)
            && error.kind() != clap::error::ErrorKind::MissingRequiredArgument
        {
            return Err(wrong(format!("{key}: {}", reason(&error))));
        }
        let given = matches.value_source(argument.get_id().as_str());
        if !matches!(given, Some(ValueSource::CommandLine | ValueSource::EnvVariable)) {
            all.extend(flags);
        }
    }
    Ok(all)
}

fn argument<'a>(command: &'a Command, key: &str) -> Option<&'a Arg> {
    command.get_arguments().find(|argument| argument.get_long() == Some(key) && !NO_KEYS.contains(&key))
}

/// Says which key was meant.
fn unknown(command: &Command, key: &str) -> String {
    let keys = command.get_arguments().filter_map(Arg::get_long).filter(|key| !NO_KEYS.contains(key));
    let nearest = keys.map(|known| (strsim::jaro_winkler(known, key), known)).max_by(|a, b| a.0.total_cmp(&b.0));
    let hint = nearest.map(|(_, known)| format!("\nhint: the nearest key is {known:?}")).unwrap_or_default();
    format!("unknown key {key:?}{hint}")
}

/// A value as the flags that say the same.
fn flags(argument: &Arg, value: &toml::Value) -> Result<Vec<OsString>, String> {
    let name = argument.get_long().unwrap_or_default();
    let one = |value: &toml::Value| match value {
        toml::Value::String(text) => Ok(OsString::from(format!("--{name}={text}"))),
        toml::Value::Integer(number) => Ok(OsString::from(format!("--{name}={number}"))),
        other => Err(format!("{} is not a valid value for this key", other.type_str())),
    };
    let is_switch = matches!(argument.get_action(), ArgAction::SetTrue);
    match value {
        toml::Value::Boolean(on) if is_switch => Ok(if *on { vec![format!("--{name}").into()] } else { Vec::new() }),
        _ if is_switch => Err("expected true or false".to_owned()),
        toml::Value::Array(values) if matches!(argument.get_action(), ArgAction::Append) => {
            values.iter().map(one).collect()
        }
        value => one(value).map(|flag| vec![flag]),
    }
}

/// What clap has against a value, in one line.
fn reason(error: &clap::Error) -> String {
    let text = error.to_string();
    let first = text.lines().next().unwrap_or_default();
    let possible = text.lines().find(|line| line.trim_start().starts_with("[possible")).map(str::trim);
    let first = first.strip_prefix("error: ").unwrap_or(first);
    possible.map_or_else(|| first.to_owned(), |possible| format!("{first} {possible}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command() -> Command {
        Command::new("serve").args([
            Arg::new("config").long("config"),
            Arg::new("listen").long("listen").action(ArgAction::Append),
            Arg::new("keep").long("keep").value_parser(clap::value_parser!(u32)).env("CGTRACE_TEST_KEEP"),
            Arg::new("rotate_size").long("rotate-size"),
            Arg::new("bpf_stats").long("bpf-stats").action(ArgAction::SetTrue),
        ])
    }

    fn read(file: &str, arguments: &[&str]) -> Result<Vec<String>, String> {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("c.toml");
        std::fs::write(&path, file).expect("written");
        let arguments: Vec<OsString> = ["serve"].iter().chain(arguments).map(OsString::from).collect();
        let matches = command().get_matches_from(&arguments);
        match with_file(&command(), &matches, &arguments, &path) {
            Ok(all) => Ok(all.iter().skip(1).map(|argument| argument.to_string_lossy().into_owned()).collect()),
            Err(error) => Err(error.what),
        }
    }

    #[test]
    fn keys_become_flags_unless_they_are_given() {
        let file = "listen = [\"a\", \"b\"]\nkeep = 3\nbpf-stats = true\n";
        assert_eq!(read(file, &[]), Ok(["--bpf-stats", "--keep=3", "--listen=a", "--listen=b"].map(Into::into).into()));
        assert_eq!(
            read(file, &["--listen", "c"]).map(|all| all.join(" ")),
            Ok("--listen c --bpf-stats --keep=3".into())
        );
        assert_eq!(read("bpf-stats = false", &[]), Ok(vec![]));
        assert_eq!(read("", &[]), Ok(vec![]));
    }

    #[test]
    fn what_is_wrong_is_said_with_the_key_and_the_nearest_one() {
        let check = |file: &str, wanted: &str| {
            let said = read(file, &[]).expect_err(file);
            assert!(said.contains(wanted), "{wanted:?} is not in {said:?}");
        };
        check("listn = [\"a\"]", "unknown key \"listn\"\nhint: the nearest key is \"listen\"");
        check("rotate_size = \"1M\"", "the nearest key is \"rotate-size\"");
        check("config = \"x\"", "unknown key \"config\"");
        check("keep = \"many\"", "keep: invalid value 'many'");
        check("keep = -1", "keep: invalid value '-1'");
        check("keep = [1]", "keep: array is not a valid value for this key");
        check("bpf-stats = \"yes\"", "bpf-stats: expected true or false");
        check("keep = 1.5", "keep: float is not a valid value for this key");
        check("keep = ", "TOML parse error at line 1");
        check("[metrics]\nx = 1", "unknown key \"metrics\"");
    }
}
