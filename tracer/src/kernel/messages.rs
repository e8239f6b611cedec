//! What the kernel programs have to say about themselves, on stderr: for debugging them, never for data.
//!
//! Only programs built with `CGTRACE_BPF_LOG=1` say anything.

use aya::Ebpf;
use aya_log::EbpfLogger;
use log::{Log, Metadata, Record};

/// Messages of the kernel programs.
pub(super) struct Messages(EbpfLogger<Stderr>);

impl Messages {
    /// `None` if the programs were built to say nothing.
    pub fn of(ebpf: &mut Ebpf) -> Option<Self> {
        EbpfLogger::init_with_logger(ebpf, Stderr).ok().map(Self)
    }

    /// Prints what has come.
    pub fn print(&mut self) {
        self.0.flush();
    }
}

struct Stderr;

impl Log for Stderr {
    fn enabled(&self, _: &Metadata) -> bool {
        true
    }

    fn log(&self, record: &Record) {
        say!("bpf: {}", record.args());
    }

    fn flush(&self) {}
}
