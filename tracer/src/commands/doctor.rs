//! `cgtrace doctor`: what this kernel and this user can trace, probe by probe, and how to fix what is missing.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::arguments::FormArgs;
use crate::cgroupfs;
use crate::hierarchy::{Hierarchy, Preemption, Probe, Setup};
use crate::kernel::{BackendChoice, Options, PROBES, Plan, Support, Tracefs, Tracer};
use crate::output::{ColorChoice, Palette};
use crate::phrases::count;
use crate::process::Capability;
use crate::release::RmdirClass;
use crate::sandbox;

/// Everything the doctor found.
#[derive(Serialize)]
struct Diagnosis {
    checks: Vec<Check>,
    probes: Vec<Probe>,
    #[serde(skip_serializing_if = "Option::is_none")]
    backend: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rmdir_class: Option<RmdirClass>,
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
    let rmdir_class = RmdirClass::of(&support.release);
    let mut checks = facts(&support, rmdir_class);
    let (mut setup, mut hierarchies) = (None, Vec::new());
    match cgroupfs::hierarchies() {
        Ok((layout, found)) => {
            let number = count(found.len() as u64, "hierarchy", "hierarchies");
            checks.push(good("cgroups", format!("{layout}, {number}")));
            (setup, hierarchies) = (Some(layout), found);
        }
        Err(error) => checks.push(bad("cgroups", "none", &format!("{error:#}").replace("\nhint: ", "; "))),
    }
    let plan = match Plan::decide(&support, args.backend) {
        Ok(plan) => plan,
        Err(refusal) => {
            checks.push(bad("plan", &refusal.what, &refusal.hint));
            return Diagnosis {
                checks,
                probes: Vec::new(),
                backend: None,
                rmdir_class,
                setup,
                hierarchies,
                can_trace: false,
            };
        }
    };
    // Nothing less than attaching them for a moment tells whether the probes work.
    match Tracer::start(&plan, &Options::default()) {
        Ok(tracer) => {
            if let Some(why) = tracer.fell_back() {
                checks.push(worse("programs", "not all work", &super::instead_of_trampolines(why)));
            }
            Diagnosis {
                checks,
                probes: tracer.probes().to_vec(),
                backend: Some(tracer.backend().to_string()),
                can_trace: setup.is_some(),
                rmdir_class,
                setup,
                hierarchies,
            }
        }
        Err(error) => {
            checks.push(bad("programs", &format!("{error:#}"), "see the reason above"));
            Diagnosis { checks, probes: Vec::new(), backend: None, rmdir_class, setup, hierarchies, can_trace: false }
        }
    }
}

fn facts(support: &Support, rmdir_class: Option<RmdirClass>) -> Vec<Check> {
    let mut checks = vec![good("kernel", format!("{} {}", support.release, std::env::consts::ARCH))];
    checks.push(match rmdir_class {
        Some(class) => good("rmdir class", format!("{}: {}", class.as_str(), class.meaning())),
        None => good("rmdir class", "unknown: the release does not tell what rmdir does while tasks exit"),
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
    checks.push(if support.has_btf() {
        let missing = support.missing_offsets();
        match missing.as_slice() {
            [] => good("BTF", "all offsets found"),
            names => worse("BTF", format!("not found: {}", names.join(", ")), "features that need these are missing"),
        }
    } else {
        let hint = "relative paths, command lines and mount namespaces are not known; a kernel with \
                    CONFIG_DEBUG_INFO_BTF has it";
        worse("BTF", "none", hint)
    });
    checks.push(match (support.tracefs, support.tracefs_private) {
        (true, false) => good("tracefs", "mounted"),
        (true, true) => good("tracefs", "not mounted; mounted privately while attaching"),
        (false, _) => {
            worse("tracefs", "none", "raw tracepoints are used instead; mount -t tracefs tracefs /sys/kernel/tracing")
        }
    });
    checks.push(match support.lockdown.as_deref() {
        Some("confidentiality") => worse(
            "lockdown",
            "confidentiality",
            "kernel memory cannot be read: only failed calls with absolute paths are seen",
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
        Ok(()) => good("trampolines", "work: other system calls cost nothing"),
        Err(why) => worse("trampolines", why.clone(), "the tracepoint on all system calls' exit is used instead"),
    });
    checks
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
