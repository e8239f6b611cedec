//! A published schema is the program's own, and lines are held against it.
#![allow(dead_code, reason = "each test crate uses its own part")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Validates every line of some files; prints how many, and what is wrong with the first wrong one. Lines that are none
/// must not be valid.
const VALIDATOR: &str = r#"
import json, sys
from jsonschema import Draft202012Validator
schema = json.load(open(sys.argv[1]))
Draft202012Validator.check_schema(schema)
validator, count = Draft202012Validator(schema), 0
for path in sys.argv[3:]:
    for line in open(path):
        error = next(validator.iter_errors(json.loads(line)), None)
        if error:
            context = [str(e.message)[:200] for e in (error.context or [])][:12]
            sys.exit(f"{path}: {error.message[:300]}: {context}: {line[:300]}")
        count += 1
for wrong in json.loads(sys.argv[2]):
    if validator.is_valid(wrong):
        sys.exit(f"{wrong} is valid")
print(count)
"#;

/// Runs a script with the packages that `cargo xtask setup` installs for it. Returns what it prints.
pub fn python(script: &str, arguments: &[impl AsRef<std::ffi::OsStr>]) -> Vec<u8> {
    let python = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../python/bin/python3");
    let done =
        Command::new(python).args(["-c", script]).args(arguments).output().expect("cargo xtask setup installs it");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    done.stdout
}

/// Sees to it that the schema in `docs/` is this one, which the tests of `suite` write anew when they are told to.
/// Holds every line of the files against it, and some that are `wrong`. Returns how many lines there are.
pub fn check(page: &str, suite: &str, schema: &Value, files: &[PathBuf], wrong: &Value) -> u64 {
    let published = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(page);
    let schema = serde_json::to_string_pretty(schema).unwrap() + "\n";
    if std::env::var_os("CGTRACE_BLESS").is_some() {
        fs::write(&published, &schema).unwrap();
    }
    assert!(
        fs::read_to_string(&published).unwrap() == schema,
        "docs/{page} is stale: CGTRACE_BLESS=1 cargo test -p cgtrace --test {suite} schema"
    );
    let mut arguments = vec![published, wrong.to_string().into()];
    arguments.extend_from_slice(files);
    String::from_utf8_lossy(&python(VALIDATOR, &arguments)).trim().parse().unwrap()
}
