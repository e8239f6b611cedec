//! Whether this kernel preempts tasks while they run kernel code, and so a program while it runs.

use std::fs;

use crate::hierarchy::Preemption;
use crate::process;

/// What this kernel does. `None` if that cannot be told.
pub(super) fn of_this_kernel(release: &str) -> Option<Preemption> {
    let read = |path: &str| fs::read_to_string(path).ok();
    // Mounted or not: what is chosen now is told nowhere else.
    if let Some(chosen) = read("/sys/kernel/debug/sched/preempt").as_deref().and_then(of_debugfs) {
        return Some(chosen);
    }
    let configuration = read(&format!("/boot/config-{release}")).unwrap_or_default();
    decide(&process::kernel_build(), &process::boot_command_line(), &configuration)
}

/// `none voluntary (full) lazy`
fn of_debugfs(text: &str) -> Option<Preemption> {
    let (_, chosen) = text.split_once('(')?;
    named(chosen.split_once(')')?.0)
}

fn named(word: &str) -> Option<Preemption> {
    Preemption::ALL.into_iter().find(|preemption| preemption.as_str() == word)
}

/// From how it was built (`uname -v`), what it was told at boot, and its configuration where that is at hand.
fn decide(version: &str, command_line: &str, configuration: &str) -> Option<Preemption> {
    let words: Vec<&str> = version.split_whitespace().collect();
    if words.contains(&"PREEMPT_RT") {
        return Some(Preemption::Full);
    }
    if words.contains(&"PREEMPT_DYNAMIC") {
        // Of several the last one holds.
        let told = command_line.split_whitespace().rev().find_map(|word| word.strip_prefix("preempt="));
        return told.and_then(named).or_else(|| of_configuration(configuration));
    }
    if words.contains(&"PREEMPT") {
        return Some(Preemption::Full);
    }
    if words.contains(&"PREEMPT_LAZY") {
        return Some(Preemption::Lazy);
    }
    // Neither of the two ever takes it away.
    Some(of_configuration(configuration).unwrap_or(Preemption::Voluntary))
}

fn of_configuration(text: &str) -> Option<Preemption> {
    let has = |option: &str| text.lines().any(|line| line.strip_suffix("=y") == Some(option));
    let options = [
        ("CONFIG_PREEMPT", Preemption::Full),
        ("CONFIG_PREEMPT_LAZY", Preemption::Lazy),
        ("CONFIG_PREEMPT_VOLUNTARY", Preemption::Voluntary),
        ("CONFIG_PREEMPT_NONE", Preemption::None),
    ];
    options.into_iter().find(|(option, _)| has(option)).map(|(_, preemption)| preemption)
}

/// Whether a program may lose its processor to a task for which it is then skipped.
pub(super) fn preempts_programs(preemption: Option<Preemption>) -> bool {
    // What cannot be told is taken for the worst.
    preemption.is_none_or(|preemption| matches!(preemption, Preemption::Lazy | Preemption::Full))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_a_kernel_preempts_is_read_where_it_is_told() {
        use Preemption::{Full, Lazy, None as Never, Voluntary};
        assert_eq!(of_debugfs("none voluntary (full) lazy\n"), Some(Full));
        assert_eq!(of_debugfs("none (voluntary) full\n"), Some(Voluntary));
        assert_eq!(of_debugfs(""), None);
        let check = |version, command_line, configuration, expected| {
            assert_eq!(decide(version, command_line, configuration), expected, "{version} {command_line}");
        };
        let debian = "# CONFIG_PREEMPT is not set\nCONFIG_PREEMPT_VOLUNTARY=y\nCONFIG_PREEMPT_DYNAMIC=y\n";
        check("#1 SMP PREEMPT_DYNAMIC Debian 6.1", "quiet", debian, Some(Voluntary));
        check("#1 SMP PREEMPT_DYNAMIC Debian 6.1", "preempt=none quiet preempt=full", debian, Some(Full));
        check("#1 SMP PREEMPT_DYNAMIC Debian 6.1", "preempt=whatever", "", None);
        check("#1 SMP PREEMPT_DYNAMIC @0", "quiet", "", None);
        check("#1 SMP PREEMPT_DYNAMIC", "", "CONFIG_PREEMPT_LAZY=y", Some(Lazy));
        check("#1 SMP PREEMPT Debian", "", "", Some(Full));
        check("#1 SMP PREEMPT_RT Debian", "preempt=none", "", Some(Full));
        check("#1 SMP Debian 4.19", "", "CONFIG_PREEMPT_NONE=y", Some(Never));
        check("#1 SMP Debian 4.19", "", "", Some(Voluntary));
        assert!(preempts_programs(None) && !preempts_programs(Some(Voluntary)));
    }
}
