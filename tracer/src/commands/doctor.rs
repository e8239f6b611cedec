//! `cgtrace doctor`: what this kernel and this user can trace, probe by probe, and how to fix what is missing.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::arguments::FormArgs;
use crate::cgroupfs;
use crate::hierarchy::{Hierarchy, NotWatched, Preemption, Probe, Setup};
use crate::kernel::{BackendChoice, Feature, Found, Options, PROBES, Plan, Support, Tracefs, Tracer, not_watched};
use crate::output::{ColorChoice, Palette};
use crate::phrases::count;
use crate::process::Capability;
use crate::release::{EmptiedIn, RmdirClass};
use crate::sandbox;

/// Everything the doctor found.
#[derive(Serialize)]
struct Diagnosis {
    checks: Vec<Check>,
    probes: Vec<Probe>,
    /// What the backend does not look at.
    not_watched: Vec<NotWatched>,
    #[serde(skip_serializing_if = "Option::is_none")]
    backend: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rmdir_class: Option<RmdirClass>,
    #[serde(skip_serializing_if = "Option::is_none")]
    emptied_in: Option<EmptiedIn>,
    #[serde(skip_serializing_if = "Option::is_none")]
    preemption: Option<Preemption>,
    #[serde(skip_serializing_if = "Option::is_none")]
    setup: Option<Setup>,
    hierarchies: Vec<Hierarchy>,
    can_trace: bool,
}

/// One thing that was looked at.
#[derive(Serialize)]
struct Check {
    what: &'static str,
    found: String,
    verdict: Verdict,
    /// What its absence costs, and how to fix it.
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Good,
    Worse,
    Bad,
}

/// `cgtrace doctor`
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    #[command(flatten)]
    pub form: FormArgs,
    /// How to watch failing calls
    #[arg(long, value_enum, default_value_t)]
    pub backend: BackendChoice,
}

/// Runs the command. The exit status is 0 if this host can be traced, else 2.
///
/// # Errors
/// When stdout cannot be written, or two forms are asked for.
pub fn run(args: &Doctor) -> anyhow::Result<ExitCode> {
    let json = args.form.is_json()?;
    let report = examine(args);
    let stdout = io::stdout();
    let palette = Palette::new(ColorChoice::of(&stdout));
    let mut out = io::BufWriter::new(stdout.lock());
    if json {
        serde_json::to_writer(&mut out, &report).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        print(&mut out, &report, palette)?;
    }
    out.flush()?;
    Ok(if report.can_trace { ExitCode::SUCCESS } else { ExitCode::from(2) })
}

fn examine(args: &Doctor) -> Diagnosis {
    let tracefs = Tracefs::ensure();
    let support = Support::survey(&tracefs);
    let mut diagnosis = Diagnosis {
        checks: facts(&support),
        probes: Vec::new(),
        not_watched: Vec::new(),
        backend: None,
        rmdir_class: RmdirClass::of(&support.release),
        emptied_in: EmptiedIn::of(&support.release),
        preemption: support.preemption,
        setup: None,
        hierarchies: Vec::new(),
        can_trace: false,
    };
    match cgroupfs::hierarchies() {
        Ok((layout, found)) => {
            let number = count(found.len() as u64, "hierarchy", "hierarchies");
            diagnosis.checks.push(good("cgroups", format!("{layout}, {number}")));
            (diagnosis.setup, diagnosis.hierarchies) = (Some(layout), found);
        }
        Err(error) => {
            diagnosis.checks.push(bad("cgroups", "none", &format!("{error:#}").replace("\nhint: ", "; ")));
        }
    }
    let plan = match Plan::decide(&support, args.backend) {
        Ok(plan) => plan,
        Err(refusal) => {
            diagnosis.checks.push(bad("plan", &refusal.what, &refusal.hint));
            return diagnosis;
        }
    };
    // Nothing less than attaching them for a moment tells whether the probes work.
    match Tracer::start(&plan, &Options::default()) {
        Ok(tracer) => {
            if let Some(why) = tracer.fell_back() {
                diagnosis.checks.push(worse("programs", "not all work", &super::instead_of_trampolines(why)));
            }
            diagnosis.probes = tracer.probes().to_vec();
            diagnosis.not_watched = not_watched(tracer.backend());
            diagnosis.backend = Some(tracer.backend().to_string());
            diagnosis.can_trace = diagnosis.setup.is_some();
        }
        Err(error) => {
            let error = format!("{error:#}");
            let (what, hint) = error.split_once("\nhint: ").unwrap_or((&error, "see the reason above"));
            diagnosis.checks.push(bad("programs", what, hint));
        }
    }
    diagnosis
}

/// What was found out before anything is decided.
fn facts(support: &Support) -> Vec<Check> {
    let mut checks = vec![good("kernel", format!("{} {}", support.release, std::env::consts::ARCH))];
    checks.push(match RmdirClass::of(&support.release) {
        Some(class) => good("rmdir class", format!("{}: {}", class.as_str(), class.meaning())),
        None => good("rmdir class", "unknown: the release does not tell what rmdir does while tasks exit"),
    });
    checks.push(match EmptiedIn::of(&support.release) {
        Some(task) => good("emptied in", format!("{}: {}", task.as_str(), task.meaning())),
        None => good("emptied in", "unknown: `emptied` events have no actor"),
    });
    for (capability, name, needed, cost) in [
        (Capability::Bpf, "CAP_BPF", true, "run as root, or grant CAP_BPF and CAP_PERFMON"),
        (Capability::Perfmon, "CAP_PERFMON", true, "run as root, or grant CAP_BPF and CAP_PERFMON"),
        (Capability::SysPtrace, "CAP_SYS_PTRACE", false, "other users' mount tables and command lines stay unknown"),
        (
            Capability::DacReadSearch,
            "CAP_DAC_READ_SEARCH",
            false,
            "other users' bundles cannot be read: containers have no names",
        ),
        (
            Capability::Setuid,
            "CAP_SETUID",
            false,
            "nothing is read with other users' rights: their containers have no names",
        ),
        (
            Capability::Setgid,
            "CAP_SETGID",
            false,
            "nothing is read with other users' rights: their containers have no names",
        ),
    ] {
        checks.push(match (support.capabilities.has(capability), needed) {
            (true, _) => good(name, "granted"),
            (false, true) => bad(name, "missing", cost),
            (false, false) => worse(name, "missing", cost),
        });
    }
    checks.push(features(support));
    checks.push(if support.has_btf() {
        let missing = support.missing_offsets();
        match missing.as_slice() {
            [] => good("BTF", "all offsets found"),
            names => worse("BTF", format!("not found: {}", names.join(", ")), "features that need these are missing"),
        }
    } else {
        let hint = "relative paths, command lines, exit statuses and mount namespaces are not known; a kernel with \
                    CONFIG_DEBUG_INFO_BTF has it";
        worse("BTF", "none", hint)
    });
    checks.push(tracefs(support));
    checks.push(match support.lockdown.as_deref() {
        Some("confidentiality") => bad(
            "lockdown",
            "confidentiality",
            "programs may not read names from kernel memory: boot with lockdown=integrity",
        ),
        Some(mode) => good("lockdown", mode),
        None => good("lockdown", "unknown (securityfs is not mounted)"),
    });
    checks.push(match sandbox::landlock_abi() {
        Some(abi) => good("Landlock", format!("version {abi}: `serve` confines the threads that serve and record")),
        None => worse("Landlock", "none", "`serve` confines its threads by capabilities and seccomp only"),
    });
    checks.push(if sandbox::has_seccomp() {
        good("seccomp", "filters: `serve` lets each of its threads make few system calls")
    } else {
        worse("seccomp", "none", "`serve` traces without a filter on its system calls, and says so")
    });
    checks.push(match support.preemption.map(Preemption::as_str) {
        Some(preemption) => good("preemption", preemption),
        None => good("preemption", "unknown: taken for the one that costs most, full"),
    });
    checks.push(match &support.trampolines {
        _ if !support.may_load() => worse("trampolines", "not tried", UNTRIED),
        Ok(()) => good("trampolines", "work: other system calls cost nothing"),
        Err(why) => worse("trampolines", why.clone(), "the tracepoint on all system calls' exit is used instead"),
    });
    checks
}

/// Without these capabilities nothing of BPF can be tried.
const UNTRIED: &str = "it takes CAP_BPF and CAP_PERFMON to see what the kernel has";

/// What BPF has that the programs cannot do without.
fn features(support: &Support) -> Check {
    if !support.may_load() {
        return worse("BPF", "not tried", UNTRIED);
    }
    let missing = |feature: &Feature| Some(format!("{}: {}", feature.need.as_str(), feature.found.clone().err()?));
    let missing: Vec<String> = support.features.iter().filter_map(missing).collect();
    match missing.as_slice() {
        [] => {
            let names: Vec<_> = support.features.iter().map(|feature| feature.need.as_str()).collect();
            good("BPF", format!("has what is needed: {}", names.join(", ")))
        }
        missing => bad("BPF", &missing.join("; "), "without these there is no tracing"),
    }
}

/// It is needed only where raw tracepoints cannot do instead.
fn tracefs(support: &Support) -> Check {
    let found = match support.tracefs {
        Found::Mounted => return good("tracefs", "mounted"),
        Found::Private => return good("tracefs", "not mounted; mounted privately while attaching"),
        Found::Denied => "mounted, and this user may not read it",
        Found::Empty => "mounted, and has no cgroup events",
        Found::Missing => "not mounted, and cannot be mounted",
    };
    if support.has_raw_lifecycle() {
        return good("tracefs", format!("{found}; not needed, because this kernel has BTF"));
    }
    match support.tracefs {
        Found::Denied => bad("tracefs", found, "run as root, or grant CAP_DAC_READ_SEARCH"),
        Found::Empty => bad("tracefs", found, "lockdown or the kernel's configuration leaves it empty"),
        Found::Mounted | Found::Private | Found::Missing => {
            bad("tracefs", found, "mount -t tracefs tracefs /sys/kernel/tracing")
        }
    }
}

fn good(what: &'static str, found: impl Into<String>) -> Check {
    Check { what, found: found.into(), verdict: Verdict::Good, hint: None }
}

fn worse(what: &'static str, found: impl Into<String>, hint: &str) -> Check {
    Check { what, found: found.into(), verdict: Verdict::Worse, hint: Some(hint.to_owned()) }
}

fn bad(what: &'static str, found: &str, hint: &str) -> Check {
    Check { what, found: found.to_owned(), verdict: Verdict::Bad, hint: Some(hint.to_owned()) }
}

fn print(out: &mut impl Write, report: &Diagnosis, palette: Palette) -> io::Result<()> {
    let mark = |verdict| match verdict {
        Verdict::Good => palette.good("ok  ").to_string(),
        Verdict::Worse => palette.warning("part").to_string(),
        Verdict::Bad => palette.bad("no  ").to_string(),
    };
    for check in &report.checks {
        writeln!(out, "{}  {:<20} {}", mark(check.verdict), check.what, check.found)?;
        if let Some(hint) = &check.hint {
            writeln!(out, "{:<27}{}", "", palette.dim(hint))?;
        }
    }
    for hierarchy in &report.hierarchies {
        let controllers = match (hierarchy.version, hierarchy.controllers.join(",")) {
            (2, _) => "cgroup2".to_owned(),
            (_, controllers) => format!("v1 {controllers}"),
        };
        let mount = hierarchy.mount.as_ref().map_or("mounted nowhere".to_owned(), |mount| mount.printable());
        writeln!(out, "      {:<20} {mount}", format!("{}: {controllers}", hierarchy.id.0))?;
    }
    writeln!(out)?;
    for probe in &report.probes {
        let verdict = if probe.attached { Verdict::Good } else { Verdict::Worse };
        match &probe.reason {
            None => writeln!(out, "{}  {}", mark(verdict), probe.name)?,
            Some(reason) => {
                let cost = PROBES.iter().find(|spec| spec.name == probe.name).map_or("", |spec| spec.cost);
                writeln!(out, "{}  {:<24} {cost}: {reason}", mark(verdict), probe.name)?;
            }
        }
    }
    for NotWatched { names, cost, hint } in &report.not_watched {
        writeln!(out, "{}  {:<24} {cost}", mark(Verdict::Worse), names.join(", "))?;
        writeln!(out, "{:<31}{}", "", palette.dim(hint))?;
    }
    writeln!(out)?;
    match &report.backend {
        Some(backend) => writeln!(out, "backend: {backend}")?,
        None => writeln!(out, "backend: none")?,
    }
    let (argv, path) = (tracer_ebpf::LONGEST_ARGV, tracer_ebpf::LONGEST_PATH - 1);
    writeln!(out, "limits: command lines up to {argv} bytes, paths up to {path} bytes")?;
    let verdict = if report.can_trace {
        palette.good("this host can be traced").to_string()
    } else {
        palette.bad("this host cannot be traced").to_string()
    };
    writeln!(out, "{verdict}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Backend;
    use crate::process::Capabilities;

    /// What is said of one thing on a host that is different: how good it is, and all words.
    fn check(what: &str, change: impl Fn(&mut Support), expected: &str) {
        let mut support = Support::of_a_good_host();
        change(&mut support);
        let checks = facts(&support);
        let check = checks.iter().find(|check| check.what == what).unwrap_or_else(|| panic!("nothing of {what}"));
        let verdict = match check.verdict {
            Verdict::Good => "ok",
            Verdict::Worse => "part",
            Verdict::Bad => "no",
        };
        let hint = check.hint.as_ref().map(|hint| format!(" | {hint}")).unwrap_or_default();
        assert_eq!(format!("{verdict} {}{hint}", check.found), expected, "{what}");
    }

    #[test]
    fn what_is_missing_is_said_once_and_rightly() {
        let whole = "ok has what is needed: ring buffers, the boot-time clock, reading kernel memory";
        check("BPF", |_| {}, whole);
        check("BPF", |host| host.release = "5.10.0-46-cloud-amd64".into(), whole);
        check(
            "BPF",
            |host| host.features[0].found = Err("Invalid argument (os error 22)".into()),
            "no ring buffers: Invalid argument (os error 22) | without these there is no tracing",
        );
        check(
            "BPF",
            |host| (host.capabilities, host.features[0].found) = (Capabilities(0), Err("EPERM".into())),
            "part not tried | it takes CAP_BPF and CAP_PERFMON to see what the kernel has",
        );
        check(
            "trampolines",
            |host| (host.capabilities, host.trampolines) = (Capabilities(0), Err("EPERM".into())),
            "part not tried | it takes CAP_BPF and CAP_PERFMON to see what the kernel has",
        );
        check(
            "lockdown",
            |host| host.lockdown = Some("confidentiality".into()),
            "no confidentiality | programs may not read names from kernel memory: boot with lockdown=integrity",
        );
        check(
            "trampolines",
            |host| host.trampolines = Err("kernel.ftrace_enabled is 0: they would not run".into()),
            "part kernel.ftrace_enabled is 0: they would not run | the tracepoint on all system calls' exit is used \
             instead",
        );
    }

    #[test]
    fn what_a_backend_does_not_look_at_is_said_with_what_that_costs() {
        let said = |backend| {
            let all = not_watched(backend);
            all.iter().map(|one| format!("{}: {}", one.names.join(" "), one.cost)).collect::<Vec<_>>()
        };
        let removed = "write pwrite64 writev: writes to a file of a cgroup that was removed meanwhile (ENODEV) are not \
                       seen";
        let read = "read: failed read calls are not seen";
        assert_eq!(said(Backend::Trampoline)[..2], [removed, read]);
        let function = "cgroup_file_write: writes to control files that succeed are not seen: who overwrote a limit is \
                        not told";
        assert_eq!(said(Backend::TracepointBtf)[2..], [function]);
    }

    #[test]
    fn tracefs_is_asked_for_only_where_nothing_else_does() {
        let without_btf = |host: &mut Support, found| (host.offsets, host.tracefs) = (Vec::new(), found);
        check("tracefs", |_| {}, "ok mounted");
        check(
            "tracefs",
            |host| host.tracefs = Found::Denied,
            "ok mounted, and this user may not read it; not needed, because this kernel has BTF",
        );
        check(
            "tracefs",
            |host| without_btf(host, Found::Denied),
            "no mounted, and this user may not read it | run as root, or grant CAP_DAC_READ_SEARCH",
        );
        check(
            "tracefs",
            |host| without_btf(host, Found::Missing),
            "no not mounted, and cannot be mounted | mount -t tracefs tracefs /sys/kernel/tracing",
        );
        check(
            "tracefs",
            |host| without_btf(host, Found::Empty),
            "no mounted, and has no cgroup events | lockdown or the kernel's configuration leaves it empty",
        );
    }

    #[test]
    fn who_is_current_as_a_cgroup_becomes_empty_is_said() {
        check("emptied in", |_| {}, "ok last-task: the task that leaves last is current, and is the actor");
        check(
            "emptied in",
            |host| host.release = "7.3.4+deb13-cloud-amd64".into(),
            "ok next-task: any task may be current, so `emptied` events have no actor",
        );
        check("emptied in", |host| host.release = "linux".into(), "ok unknown: `emptied` events have no actor");
    }
}
