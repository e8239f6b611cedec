//! Why the kernel refuses a program, in a line.

use std::fs::OpenOptions;
use std::io::Write;

use aya::programs::ProgramError;

/// Names the file that the verifier's whole messages go to: each has thousands of lines.
const LOG: &str = "CGTRACE_VERIFIER_LOG";

/// The reason of an error of ours or of aya's.
pub(super) fn told(error: anyhow::Error) -> String {
    let Some(ProgramError::LoadError { io_error, verifier_log }) = error.downcast_ref() else {
        return plain(&format!("{error:#}"));
    };
    let log = verifier_log.to_string();
    let kept = std::env::var_os(LOG).map(|path| {
        let file = OpenOptions::new().create(true).append(true).open(&path);
        file.and_then(|mut file| writeln!(file, "{log}")).map_err(|error| (path, error))
    });
    let mut told = plain(&io_error.to_string());
    if let Some(reason) = reason(&log) {
        told = format!("{told}: {reason}");
        match kept {
            None => told.push_str(&format!(" (set {LOG}=FILE to keep the verifier's whole message)")),
            Some(Ok(())) => {}
            Some(Err((path, error))) => told.push_str(&format!(" (failed to write {}: {error})", path.display())),
        }
    }
    told
}

/// The verifier gives its reason last, before what it counted; since 7.3 below a heading, over several lines.
fn reason(log: &str) -> Option<String> {
    if let Some((_, below)) = log.rsplit_once("Reason:") {
        let words = below.lines().skip(1).take_while(|line| line.starts_with(' ')).flat_map(str::split_whitespace);
        return Some(words.collect::<Vec<_>>().join(" ")).filter(|reason| !reason.is_empty());
    }
    const COUNTED: [&str; 3] = ["processed ", "verification time ", "stack depth "];
    let is_counted = |line: &&str| COUNTED.iter().any(|counted| line.starts_with(counted));
    log.lines().rev().map(str::trim).find(|line| !line.is_empty() && !is_counted(line)).map(str::to_owned)
}

/// The C library does not know the kernel's own errors.
pub(super) fn plain(error: &str) -> String {
    error.replace("Unknown error 524 (os error 524)", "not supported by this kernel (ENOTSUPP)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_the_last_thing_that_the_verifier_says() {
        let log = "0: R1=ctx() R10=fp0\n5: (85) call bpf_probe_read_kernel#113\n\
                   program of this type cannot use helper bpf_probe_read_kernel#113\n\
                   verification time 142 usec\nstack depth 40+0+32\n\
                   processed 6 insns (limit 1000000) max_states_per_insn 0 total_states 0\n\n";
        let told = |log| reason(log).unwrap_or_default();
        assert_eq!(told(log), "program of this type cannot use helper bpf_probe_read_kernel#113");
        let log = "4: (85) call bpf_probe_read_kernel#113\n\
                   Reason:\n  The helper bpf_probe_read_kernel#113 is not allowed: this program type\n  \
                   does not allow the helper.\nAt:\n  insn 4\n\n\
                   Suggestion:\n  Use a helper allowed for this program type.\n\
                   processed 5 insns (limit 1000000)\n";
        assert_eq!(
            told(log),
            "The helper bpf_probe_read_kernel#113 is not allowed: this program type does not allow the helper."
        );
        assert_eq!(reason(""), None);
        assert_eq!(reason("processed 6 insns\n"), None);
        assert_eq!(
            plain("fexit cannot be attached: Unknown error 524 (os error 524)"),
            "fexit cannot be attached: not supported by this kernel (ENOTSUPP)"
        );
    }
}
