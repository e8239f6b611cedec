//! `action.yml` and the pages on CI: valid by the schemas of GitHub and GitLab, and run as a runner runs them.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use super::schema::python;
use super::{read, root};

const CGTRACE: &str = env!("CARGO_BIN_EXE_cgtrace");
/// A user that is nobody here.
const USER: u32 = 60_606;

/// Holds a file against a schema that comes with check-jsonschema.
const VALIDATOR: &str = "import check_jsonschema, sys; check_jsonschema.main(['--builtin-schema', *sys.argv[1:]])";
const YAML: &str =
    "import json, sys; from ruamel.yaml import YAML; print(json.dumps(YAML(typ='safe').load(open(sys.argv[1]))))";

fn valid(schema: &str, file: &Path) {
    let said = python(VALIDATOR, &[OsStr::new(schema), file.as_os_str()]);
    assert!(String::from_utf8_lossy(&said).contains("validation done"));
}

/// The blocks of YAML on a page that have a word.
fn block(page: &str, word: &str) -> String {
    let text = read(page);
    let blocks = text.split("```").skip(1).step_by(2).filter_map(|block| block.strip_prefix("yaml\n"));
    blocks.filter(|block| block.contains(word)).collect()
}

#[test]
fn the_action_and_the_examples_are_valid() {
    valid("vendor.github-actions", &root().join("action.yml"));
    let directory = tempfile::tempdir().unwrap();
    for (schema, word) in [("vendor.github-workflows", "runs-on:"), ("vendor.gitlab-ci", "after_script:")] {
        let file = directory.path().join(format!("{schema}.yml"));
        fs::write(&file, block("docs/ci.md", word)).unwrap();
        valid(schema, &file);
    }
}

/// A runner's files and variables, as far as the action sees them.
struct Runner {
    directory: tempfile::TempDir,
    steps: Vec<Value>,
    inputs: BTreeMap<String, String>,
    outputs: BTreeMap<String, String>,
    user: Option<u32>,
}

impl Runner {
    /// For an action that is given these inputs, as this user or as root.
    fn new(given: &[(&str, &str)], user: Option<u32>) -> Self {
        let yaml = python(YAML, &[root().join("action.yml")]);
        let action: Value = serde_json::from_slice(&yaml).unwrap();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut inputs: BTreeMap<String, String> = action["inputs"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, input)| (name.clone(), text(&input["default"])))
            .collect();
        let directory = tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o700)).tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::copy(CGTRACE, at("cgtrace")).unwrap();
        inputs.insert("program".into(), at("cgtrace").to_str().unwrap().into());
        for (name, value) in given {
            assert!(inputs.insert((*name).to_owned(), (*value).to_owned()).is_some(), "there is no input {name}");
        }
        for file in ["summary", "output"] {
            fs::write(at(file), "").unwrap();
        }
        fs::write(at("summary"), "# Tests\n\n").unwrap();
        if let Some(user) = user {
            // What `sudo` does where nobody is asked for a password. Only that user can reach it.
            fs::copy("/usr/bin/setpriv", at("become-root")).unwrap();
            fs::set_permissions(at("become-root"), fs::Permissions::from_mode(0o4711)).unwrap();
            let sudo = format!(
                "#!/bin/sh\n[ \"$1\" != --preserve-env ] || shift\n\
                 exec {} --reuid=0 --regid=0 --clear-groups env PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root \"$@\"\n",
                at("become-root").display()
            );
            fs::write(at("sudo"), sudo).unwrap();
            fs::set_permissions(at("sudo"), fs::Permissions::from_mode(0o755)).unwrap();
            for file in [directory.path().to_path_buf(), at("summary"), at("output")] {
                chown(&file, Some(user), Some(user)).unwrap();
            }
        }
        let steps = action["runs"]["steps"].as_array().unwrap().clone();
        Self { directory, steps, inputs, outputs: BTreeMap::new(), user }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Puts values in the place of expressions.
    fn evaluated(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (name, value) in &self.inputs {
            text = text.replace(&format!("${{{{ inputs.{name} }}}}"), value);
        }
        for (name, value) in &self.outputs {
            text = text.replace(&format!("${{{{ steps.trace.outputs.{name} }}}}"), value);
        }
        assert!(!text.contains("${{"), "{text}");
        text
    }

    /// Runs the steps that are shell, those after a failure only if they always run. Returns what each gave.
    fn run(&mut self) -> Vec<Output> {
        let mut done: Vec<Output> = Vec::new();
        for (number, step) in self.steps.clone().iter().enumerate() {
            let Some(script) = step["run"].as_str() else { continue };
            assert!(!script.contains("${{"), "what is given is data, not a part of the script: {script}");
            assert_eq!(step["shell"], "bash");
            let has_failed = done.iter().any(|done| !done.status.success());
            if has_failed && step["if"] != "always()" {
                continue;
            }
            let file = self.path(&format!("step-{number}.sh"));
            fs::write(&file, script).unwrap();
            let mut command = match self.user {
                None => Command::new("bash"),
                Some(user) => {
                    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
                    let mut command = Command::new("setpriv");
                    command.args([&format!("--reuid={user}"), &format!("--regid={user}"), "--clear-groups", "bash"]);
                    command
                }
            };
            command.args(["--noprofile", "--norc", "-e", "-o", "pipefail"]).arg(&file);
            let own = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", self.directory.path().display());
            command.env("PATH", own).env("HOME", self.directory.path()).env("RUNNER_TEMP", self.directory.path());
            command.env("GITHUB_OUTPUT", self.path("output")).env("GITHUB_STEP_SUMMARY", self.path("summary"));
            for (name, value) in step["env"].as_object().unwrap() {
                command.env(name, self.evaluated(value.as_str().unwrap()));
            }
            done.push(command.current_dir(self.directory.path()).stdin(Stdio::null()).output().unwrap());
            if step["id"] == "trace" {
                let output = fs::read_to_string(self.path("output")).unwrap();
                let set = output.lines().map(|line| line.split_once('=').unwrap());
                self.outputs.extend(set.map(|(name, value)| (name.to_owned(), value.to_owned())));
            }
        }
        done
    }

    /// The files that are uploaded.
    fn uploaded(&self) -> Vec<PathBuf> {
        let upload = self.steps.iter().find(|step| step.get("uses").is_some()).unwrap();
        assert_eq!(upload["if"], "always()");
        self.evaluated(upload["with"]["path"].as_str().unwrap()).lines().map(PathBuf::from).collect()
    }
}

fn said(done: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr))
}

#[test]
fn a_fault_fails_the_action_and_is_in_the_summary_and_in_the_reports() {
    let play = format!("echo begun; {CGTRACE} demo missing-path --play cgtrace-action-{}", std::process::id());
    let mut runner = Runner::new(&[("run", &play)], None);
    let done = runner.run();
    let [trace, report] = done.as_slice() else { panic!("{done:?}") };
    assert_eq!(trace.status.code(), Some(1), "{}", said(trace));
    assert!(said(trace).starts_with("begun\n"), "{}", said(trace));
    assert!(report.status.success(), "{}", said(report));
    let summary = fs::read_to_string(runner.path("summary")).unwrap();
    assert!(summary.starts_with("# Tests\n\n## cgtrace: 1 fault"), "{summary}");
    assert!(summary.contains("### fault: missing-path-teardown, read-only-mount\n\n```text\n"), "{summary}");
    let files = runner.uploaded();
    let [trace, html, sarif] = files.as_slice() else { panic!("{files:?}") };
    assert!(fs::read(trace).unwrap().len() > 100);
    assert!(fs::read_to_string(html).unwrap().contains("missing-path-teardown"));
    let sarif: Value = serde_json::from_slice(&fs::read(sarif).unwrap()).unwrap();
    let results = sarif["runs"][0]["results"].as_array().unwrap();
    assert!(results.iter().any(|result| result["ruleId"] == "missing-path-teardown"), "{sarif}");
}

#[test]
fn the_commands_keep_their_user_their_environment_and_their_status() {
    let run = "id -u > user\nid -G > groups\necho \"$HOME $PATH\" > variables\nfalse | true\nexit 7";
    for (status, run) in [(1, run), (7, &run.replace("false | ", ""))] {
        let mut runner = Runner::new(&[("run", run), ("fail-on", "")], Some(USER));
        let done = runner.run();
        let [trace, report] = done.as_slice() else { panic!("{done:?}") };
        assert_eq!(trace.status.code(), Some(status), "{}", said(trace));
        assert!(report.status.success(), "{}", said(report));
        let written = |name: &str| fs::read_to_string(runner.path(name)).unwrap();
        assert_eq!((written("user"), written("groups")), (format!("{USER}\n"), format!("{USER}\n")));
        let home = runner.directory.path().display();
        assert_eq!(written("variables"), format!("{home} {home}:/usr/sbin:/usr/bin:/sbin:/bin\n"));
        assert!(written("summary").contains("## cgtrace: "));
        for file in runner.uploaded() {
            assert_eq!(fs::metadata(&file).unwrap().uid(), USER, "{}", file.display());
        }
    }
}

#[test]
fn a_program_that_is_not_there_fails_the_action_with_what_to_do() {
    let mut runner = Runner::new(&[("run", "true"), ("program", "no-such-program")], None);
    let done = runner.run();
    let [trace, report] = done.as_slice() else { panic!("{done:?}") };
    assert_eq!(trace.status.code(), Some(2));
    let wanted = "::error::no-such-program is not there: install cgtrace in a step before this one\n";
    assert_eq!(String::from_utf8_lossy(&trace.stdout), wanted);
    assert!(report.status.success() && said(report).starts_with("::warning::cgtrace has traced nothing\n"));
    assert_eq!(runner.uploaded().len(), 3);
}
