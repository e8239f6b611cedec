//! What of BPF the programs cannot do without: tried, for a distribution's kernel has more than its version says.

use std::io;

use super::bpf::{Attribute, Command, Instruction, create_map, open};
use super::refused::plain;

/// Something that the programs cannot do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Ring buffers (Linux 5.8).
    RingBuffer,
    /// The boot-time clock, in a program of a raw tracepoint (Linux 5.8).
    BootClock,
    /// That a program may read the kernel's memory, which lockdown can forbid.
    KernelMemory,
}

/// Whether this kernel has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feature {
    /// What.
    pub need: Need,
    /// What the kernel answered. Without CAP_BPF and CAP_PERFMON it refuses everything.
    pub found: Result<(), String>,
}

impl Need {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::RingBuffer, Self::BootClock, Self::KernelMemory];

    /// For people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RingBuffer => "ring buffers",
            Self::BootClock => "the boot-time clock",
            Self::KernelMemory => "reading kernel memory",
        }
    }

    fn try_out(self) -> io::Result<()> {
        const BPF_MAP_TYPE_RINGBUF: u32 = 27;
        const BPF_FUNC_PROBE_READ_KERNEL: u32 = 113;
        const BPF_FUNC_KTIME_GET_BOOT_NS: u32 = 125;
        match self {
            Self::RingBuffer => create_map(BPF_MAP_TYPE_RINGBUF, [0, 0, rustix::param::page_size() as u32]).map(drop),
            Self::BootClock => {
                load(&[Instruction::call(BPF_FUNC_KTIME_GET_BOOT_NS), Instruction::ZERO, Instruction::EXIT])
            }
            Self::KernelMemory => {
                let [to, eight_bytes] = Instruction::INTO_STACK;
                let call = Instruction::call(BPF_FUNC_PROBE_READ_KERNEL);
                let length = Instruction::SECOND_IS_EIGHT;
                load(&[to, eight_bytes, length, Instruction::THIRD_IS_ZERO, call, Instruction::ZERO, Instruction::EXIT])
            }
        }
    }
}

/// Tries all.
pub(super) fn try_out() -> Vec<Feature> {
    let found = |need: Need| need.try_out().map_err(|error| plain(&error.to_string()));
    Need::ALL.map(|need| Feature { need, found: found(need) }).into()
}

/// Loads a program of a raw tracepoint.
fn load(program: &[Instruction]) -> io::Result<()> {
    const BPF_PROG_TYPE_RAW_TRACEPOINT: u32 = 17;
    open(Command::ProgramLoad, &Attribute::of_program(BPF_PROG_TYPE_RAW_TRACEPOINT, program)).map(drop)
}
