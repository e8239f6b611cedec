//! `cgtrace serve`: the agent that traces for years.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::builder::PossibleValue;
use clap::{Args, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::arguments::{RecordingArgs, parse_size};
use crate::hierarchy::Header;
use crate::kernel::{BackendChoice, Options, enable_statistics, kernel_version};
use crate::metrics::{Metrics, Sampling};
use crate::process;
use crate::recording::{Destination, History, Recording, default_name, remember};
use crate::sandbox::{Role, confine, needs_bpf_for_maps, say_confined};
use crate::say;
use crate::serve::agent::{Agent, Beat, start_server};
use crate::serve::journal::Journal;
use crate::serve::push::{Collector, Endpoint, Protocol, Pusher, Pushing, Wanted};
use crate::serve::systemd::{Notifier, stderr_is_journal};
use crate::serve::{Access, Address, Board, Listener, Names, Tls, Token, is_loopback};
use crate::stream::Stream;

/// Nobody looks at an agent's every line: it turns four times a second while something happens.
const BEAT: Duration = Duration::from_millis(250);

/// `cgtrace serve`. Every flag but the first two is a key of the configuration file, and a variable of the environment.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Read settings from FILE (TOML); the environment overrides it, and flags override both
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Check the settings, print them and exit
    #[arg(long)]
    pub check_config: bool,
    /// Listen on ADDRESS, such as 127.0.0.1:9464 or unix:/PATH; may be given several times. Sockets that systemd
    /// passes on are used instead
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',', default_value = crate::serve::ADDRESS)]
    pub listen: Vec<Address>,
    /// Also show findings to clients that ask for this host by NAME; addresses and localhost are always allowed. May be
    /// given several times
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub allow_host: Vec<String>,
    /// Call this host NAME in traces, where its own name is that of a container
    #[arg(long, value_name = "NAME")]
    pub host_name: Option<String>,
    /// Answer only clients that show the token in FILE (Authorization: Bearer TOKEN): all but /healthz and /readyz. A
    /// UNIX socket has its mode instead
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Speak TLS over TCP: the certificate, with those between it and one that clients trust, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// The key of the certificate, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Listen on addresses that other hosts reach, without a token and without TLS
    #[arg(long, value_parser = clap::builder::BoolishValueParser::new())]
    pub insecure: bool,
    /// Keep the last of the trace in memory, compressed, for /trace and `cgtrace why`: at least 1M; 0 switches it off
    #[arg(long, value_name = "SIZE", value_parser = parse_history, default_value = "8M")]
    pub history: u64,
    /// Record into trace files in DIR
    #[arg(long, value_name = "DIR")]
    pub record: Option<PathBuf>,
    #[command(flatten)]
    pub recording: RecordingArgs,
    /// Allow a record directory that other users can write to
    #[arg(long, requires = "record", value_parser = clap::builder::BoolishValueParser::new())]
    pub shared_directory: bool,
    /// Write findings to systemd's journal
    #[arg(long, value_name = "WHEN", value_enum, default_value_t)]
    pub journal: ToJournal,
    /// Send findings to a collector of OpenTelemetry: http://HOST:4318, or https://HOST:4317 for gRPC. Variables as
    /// OTEL_EXPORTER_OTLP_ENDPOINT say the same
    #[arg(long, value_name = "ENDPOINT")]
    pub otlp: Option<String>,
    /// How the collector is spoken to; without it, gRPC at port 4317, and http/protobuf elsewhere
    #[arg(long, value_name = "PROTOCOL", value_enum)]
    pub otlp_protocol: Option<Protocol>,
    /// Send the collector the headers in FILE, a `NAME: VALUE` each line, such as one with a token
    #[arg(long, value_name = "FILE")]
    pub otlp_headers_file: Option<PathBuf>,
    /// Trust the certificates in FILE (PEM), and not those that this host trusts
    #[arg(long, value_name = "FILE")]
    pub otlp_ca: Option<PathBuf>,
    /// How to watch failing calls
    #[arg(long, value_enum, default_value_t)]
    pub backend: BackendChoice,
    /// Have the kernel count the time of the kernel programs; needs CAP_SYS_ADMIN, and makes each run of one cost a
    /// little more
    #[arg(long, value_parser = clap::builder::BoolishValueParser::new())]
    pub bpf_stats: bool,
}

/// Whether findings go to systemd's journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ToJournal {
    /// If the agent's own messages go there, as those of a service do
    #[default]
    Auto,
    /// Always; without a journal, the agent does not start
    On,
    /// Never
    Off,
}

/// In less there is no room for parts of which the oldest can go.
const LEAST_HISTORY: u64 = 1 << 20;

/// `8M`, or `0`.
fn parse_history(text: &str) -> Result<u64, String> {
    match text {
        "0" => Ok(0),
        _ => parse_size(text).and_then(|size| match size {
            LEAST_HISTORY.. => Ok(size),
            _ => Err("less than 1M; 0 switches it off".to_owned()),
        }),
    }
}

/// The command with what differs from others that take the same: whatever can be set for the agent can be set in its
/// environment, and how trace files are written matters only where there are any.
pub(crate) fn defined(serve: clap::Command) -> clap::Command {
    let of_files = RecordingArgs::augment_args(clap::Command::new(""));
    serve.mut_args(|argument| {
        let is_of_files = of_files.get_arguments().any(|other| other.get_id() == argument.get_id());
        let argument = if is_of_files { argument.requires("record") } else { argument };
        let argument = match argument.get_id().as_str() {
            "keep" => argument.help("Keep at most COUNT files, those of earlier runs included; older ones are removed"),
            _ => argument,
        };
        match argument.get_long() {
            Some(long) if long != "help" => {
                let variable = format!("CGTRACE_{}", long.to_uppercase().replace('-', "_"));
                argument.env(variable)
            }
            Some(_) | None => argument,
        }
    })
}

/// Runs the command.
///
/// # Errors
/// When a socket cannot be listened on, the directory cannot be written to, or this host cannot be traced.
pub fn run(args: Serve) -> anyhow::Result<ExitCode> {
    let given = args.listen.iter().filter_map(|address| match address {
        Address::Tcp(tcp) => Some(*tcp),
        Address::Unix(_) => None,
    });
    if args.check_config {
        Endpoint::find(&wanted(&args), &variable)?;
        refuse_exposed(&args, given.filter(|address| !is_loopback(*address)))?;
        writeln!(io::stdout(), "{}", settings(&args))?;
        return Ok(ExitCode::SUCCESS);
    }
    say::wait_for_nobody();
    let collector = Collector::find(&wanted(&args), &variable)?;
    go_first();
    let notifier = Notifier::from_environment();
    let listeners = listen(&args)?;
    refuse_exposed(&args, listeners.iter().filter_map(Listener::exposed))?;
    let access = Access {
        names: Names::new(&args.allow_host),
        token: args.token_file.as_deref().map(Token::of_file).transpose()?,
        tls: args
            .tls_cert
            .as_deref()
            .zip(args.tls_key.as_deref())
            .map(|(cert, key)| Tls::of_files(cert, key))
            .transpose()?,
    };
    let addresses: Vec<String> = listeners.iter().map(|listener| listener.address(&access)).collect();
    let mut session = super::start(args.backend, &Options::default())?;
    session.set_beat(BEAT);
    if let Some(host) = &args.host_name {
        session.set_host(host.as_str().into());
    }
    let statistics = args.bpf_stats.then(enable_statistics).transpose();
    // What it costs to trace is worth knowing, and no reason not to trace.
    let statistics = statistics.unwrap_or_else(|error| {
        say!("warning: {error:#}\nhint: sysctl kernel.bpf_stats_enabled=1 gives the same numbers");
        None
    });
    let journal = journal(args.journal)?;
    let history = (args.history > 0).then(|| History::new(args.history)).transpose();
    let history = history.context("failed to make a history")?;
    let recording =
        args.record.as_deref().map(|directory| start_recording(&args, directory, session.header())).transpose()?;
    let written = recording.as_ref().map(|recording| recording.written().clone());
    let confined = || say_confined(confine(&Role::Remember));
    let small = |why: &str| say!("warning: {why}\nhint: set a larger `history`");
    let remembering = history.as_ref().map(|history| remember(history, small, Box::new(confined))).transpose()?;
    let recordings: Vec<Recording> = recording.into_iter().chain(remembering).map(Recording::beside_others).collect();
    let all_written: Vec<_> = recordings.iter().map(|recording| recording.written().clone()).collect();
    let asking = all_written.clone();
    session.begin_parts_when(move || asking.iter().any(|written| written.wants_part()));
    let metrics = Metrics::default();
    // Every series is there before anybody can ask.
    let clock = session.header().clock;
    let sampling = Sampling::new(metrics.clone(), clock, all_written, history.clone(), session.kernel());
    let pusher = collector.map(|collector| push(collector, session.header(), &metrics)).transpose()?;
    let (pusher, pushing) = pusher.unzip();
    let board = Board::new(metrics.clone(), history);
    let (stop, stopped) = watch::channel(false);
    let server = start_server(listeners, board.clone(), access, stopped)?;
    say!("{}", super::begin_line(&session));
    say!("serving: {}", addresses.join(", "));

    let mut agent = Agent::new(metrics, board.clone(), journal, pushing, recordings);
    let status = super::runtime()?.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).context("failed to listen for signals")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("failed to listen for signals")?;
        let mut hang_up = signal(SignalKind::hangup()).context("failed to listen for signals")?;
        // A kernel that does not tell its version is taken for an old one.
        let version = kernel_version().unwrap_or((0, 0));
        let bpf = needs_bpf_for_maps(version, process::unprivileged_bpf_disabled());
        say_confined(confine(&Role::Trace { bpf }));
        let mut beat = Beat::new(notifier, board.clone(), sampling);
        let stream = Stream::begin(session.header(), &mut agent)?;
        let reopen = written.clone();
        let stop = async {
            loop {
                tokio::select! {
                    _ = terminate.recv() => break,
                    _ = interrupt.recv() => break,
                    _ = hang_up.recv() => if let Some(written) = &reopen { written.reopen() },
                }
            }
            board.stop();
        };
        let counts = session.run(stream, stop, &mut |turn| beat.turn(turn)).await?;
        say!("ended: {}", counts.summary());
        anyhow::Ok(())
    });
    drop(statistics);
    let _ = stop.send(true);
    if let Some(pusher) = pusher {
        pusher.end();
    }
    if server.join().is_err() {
        say!("warning: the thread that serves has died");
    }
    status?;
    drop(agent);
    match written.filter(|written| written.is_incomplete()) {
        None => Ok(ExitCode::SUCCESS),
        Some(written) => {
            say!("{}", super::recording_error(&written));
            Ok(ExitCode::from(2))
        }
    }
}

/// On a host that is overloaded, what is worth seeing happens then: this process goes before those that it sees, if it
/// may (CAP_SYS_NICE; the unit has systemd do it). It needs little.
fn go_first() {
    const NICE: i32 = -10;
    let _ = rustix::process::setpriority_process(None, NICE);
}

/// The settings as a configuration file.
fn settings(args: &Serve) -> String {
    let quoted = |text: String| toml::Value::String(text).to_string();
    let addresses = args.listen.iter().map(|address| match address {
        Address::Tcp(tcp) => quoted(tcp.to_string()),
        Address::Unix(path) => quoted(format!("unix:{}", path.display())),
    });
    let mut lines = vec![format!("listen = [{}]", addresses.collect::<Vec<_>>().join(", "))];
    let mut set = |key: &str, value: Option<String>| lines.extend(value.map(|value| format!("{key} = {value}")));
    let time = |time: Duration| quoted(format!("{:#}", jiff::SignedDuration::try_from(time).unwrap_or_default()));
    let names = args.allow_host.iter().map(|name| quoted(name.clone())).collect::<Vec<_>>();
    set("allow-host", (!names.is_empty()).then(|| format!("[{}]", names.join(", "))));
    set("host-name", args.host_name.clone().map(quoted));
    set("token-file", args.token_file.as_ref().map(|path| quoted(path.display().to_string())));
    set("tls-cert", args.tls_cert.as_ref().map(|path| quoted(path.display().to_string())));
    set("tls-key", args.tls_key.as_ref().map(|path| quoted(path.display().to_string())));
    set("insecure", args.insecure.then(|| "true".to_owned()));
    set("history", Some(args.history.to_string()));
    set("record", args.record.as_ref().map(|path| quoted(path.display().to_string())));
    set("rotate-size", args.recording.rotate_size.map(|size| size.to_string()));
    set("rotate-every", args.recording.rotate_every.map(time));
    set("keep", args.recording.keep.map(|keep| keep.to_string()));
    set("max-total", args.recording.max_total.map(|size| size.to_string()));
    set("shared-directory", args.shared_directory.then(|| "true".to_owned()));
    set("flight", args.recording.flight.map(time));
    let on = args.recording.flight_on.iter().map(|on| quoted(on.as_str().to_owned())).collect::<Vec<_>>();
    set("flight-on", (!on.is_empty()).then(|| format!("[{}]", on.join(", "))));
    let word = |value: Option<PossibleValue>| value.map(|value| quoted(value.get_name().to_owned()));
    set("journal", word(args.journal.to_possible_value()));
    set("otlp", args.otlp.clone().map(quoted));
    set("otlp-protocol", word(args.otlp_protocol.and_then(|protocol| protocol.to_possible_value())));
    set("otlp-headers-file", args.otlp_headers_file.as_ref().map(|path| quoted(path.display().to_string())));
    set("otlp-ca", args.otlp_ca.as_ref().map(|path| quoted(path.display().to_string())));
    set("backend", word(args.backend.to_possible_value()));
    set("bpf-stats", Some(args.bpf_stats.to_string()));
    lines.join("\n")
}

/// Findings and traces hold command lines: other hosts do not read them unless that was said.
fn refuse_exposed(args: &Serve, mut exposed: impl Iterator<Item = SocketAddr>) -> anyhow::Result<()> {
    if args.token_file.is_some() || args.tls_cert.is_some() || args.insecure {
        return Ok(());
    }
    match exposed.next() {
        None => Ok(()),
        Some(address) => bail!(
            "other hosts reach {address}, and would read command lines without a token, and without TLS\n\
             hint: --token-file FILE, --tls-cert FILE with --tls-key FILE, an address of this host such as \
             127.0.0.1:9464, or --insecure"
        ),
    }
}

/// A variable of the environment.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The collector that was asked for.
fn wanted(args: &Serve) -> Wanted {
    Wanted {
        endpoint: args.otlp.clone(),
        protocol: args.otlp_protocol,
        headers: args.otlp_headers_file.clone(),
        ca: args.otlp_ca.clone(),
    }
}

/// Starts to send findings to a collector.
fn push(collector: Collector, header: &Header, metrics: &Metrics) -> anyhow::Result<(Pusher, Pushing)> {
    say!("findings go to {}", collector.endpoint());
    if let Some(caution) = collector.caution(&variable) {
        say!("warning: {caution}");
    }
    Pusher::start(collector, header, metrics.clone())
}

/// The journal, if findings go there.
fn journal(when: ToJournal) -> anyhow::Result<Option<Journal>> {
    let journal = match when {
        ToJournal::Off => None,
        ToJournal::On => Some(Journal::connect()?),
        ToJournal::Auto if stderr_is_journal() => match Journal::connect() {
            Ok(journal) => Some(journal),
            Err(error) => {
                say!("warning: findings do not go to the journal: {error:#}");
                None
            }
        },
        ToJournal::Auto => None,
    };
    if journal.is_some() {
        say!("findings go to the journal: journalctl -x SYSLOG_IDENTIFIER=cgtrace");
    }
    Ok(journal)
}

/// The sockets that systemd has passed on; else those that were asked for.
fn listen(args: &Serve) -> anyhow::Result<Vec<Listener>> {
    let passed = Listener::passed()?;
    if !passed.is_empty() {
        return Ok(passed);
    }
    args.listen.iter().map(Listener::bind).collect()
}

fn start_recording(args: &Serve, directory: &Path, header: &Header) -> anyhow::Result<Recording> {
    if !directory.is_dir() {
        use std::os::unix::fs::DirBuilderExt;
        let made = std::fs::DirBuilder::new().mode(0o700).create(directory);
        made.with_context(|| format!("failed to create {}", directory.display()))?;
    }
    if !args.shared_directory {
        refuse_shared(directory)?;
    }
    let own: PathBuf = directory.to_path_buf();
    let destination = Destination {
        path: directory.join(default_name(&header.host.printable(), header.clock)),
        limits: args.recording.limits(),
        adopts_older: true,
        report: |error| say!("warning: {error}"),
        confine: Box::new(move || say_confined(confine(&Role::Record(own)))),
    };
    args.recording.begin(destination)
}

/// Old files are removed by their names: in a directory that others can write to, those may not be the agent's.
fn refuse_shared(directory: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let metadata = std::fs::metadata(directory);
    let mode = metadata.with_context(|| format!("failed to look at {}", directory.display()))?.permissions().mode();
    anyhow::ensure!(
        mode & 0o022 == 0,
        "{} can be written to by other users (mode {:04o})\nhint: use a separate directory, or add \
         --shared-directory",
        directory.display(),
        mode & 0o7777
    );
    Ok(())
}
