//! A reader of the kernel's BTF (Documentation/bpf/btf.rst): where members of structures lie, and the ids of the types
//! that programs are attached to.
//!
//! It has some hundred thousand types. All are passed over once, and those alone are looked at whose names are wanted:
//! to take in all of them would be most of what a start costs, in time and in memory.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::sync::OnceLock;

use aya::{BtfError, Endianness};
use tracer_ebpf::{FUNCTIONS_IN_FLIGHT, offset};

use crate::input::Syscall;

const VMLINUX: &str = "/sys/kernel/btf/vmlinux";
const MAGIC: u16 = 0xeb9f;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
const KIND_FORWARD: u32 = 7;
const KIND_TYPEDEF: u32 = 8;
const KIND_FUNC: u32 = 12;
/// Anonymous structures in anonymous structures: deeper than any in the kernel.
const DEEPEST: u32 = 8;

/// What the programs need of the running kernel's BTF.
pub(super) struct Excerpt {
    /// Offsets in the order of [`offset::TABLE`].
    pub offsets: Vec<Option<u32>>,
    hooks: Hooks,
}

/// The types that programs are attached to, by kind and name.
type Hooks = HashMap<(u32, String), u32, foldhash::fast::RandomState>;

impl Excerpt {
    /// Of the running kernel, read once. `None` if it has no BTF, or one that is not understood.
    pub fn of_this_kernel() -> Option<&'static Self> {
        static EXCERPT: OnceLock<Option<Excerpt>> = OnceLock::new();
        EXCERPT.get_or_init(|| Self::of(&fs::read(VMLINUX).ok()?)).as_ref()
    }

    fn of(bytes: &[u8]) -> Option<Self> {
        let in_flight = FUNCTIONS_IN_FLIGHT.map(str::to_owned);
        let functions: Vec<String> = Syscall::ALL.map(function_of).into_iter().chain(in_flight).collect();
        let structures = offset::TABLE.iter().map(|(structure, _)| (KIND_STRUCT, *structure));
        let hooks = functions.iter().map(|function| (KIND_FUNC, function.as_str()));
        let wanted = structures.chain(hooks).chain([(KIND_TYPEDEF, "btf_trace_sys_exit")]);
        let btf = Btf::parse(bytes, wanted)?;
        let offsets = offset::TABLE.iter().map(|(structure, member)| btf.member(structure, member)).collect();
        let is_hook = |kind: u32| matches!(kind, KIND_FUNC | KIND_TYPEDEF);
        let hooks = btf.found.iter().filter(|((kind, _), _)| is_hook(*kind));
        let hooks = hooks.map(|((kind, name), id)| ((*kind, String::from_utf8_lossy(name).into_owned()), *id));
        Some(Self { offsets, hooks: hooks.collect() })
    }

    /// The type id of a function.
    pub fn function(&self, name: &str) -> Option<u32> {
        self.hooks.get(&(KIND_FUNC, name.to_owned())).copied()
    }

    /// The same ids for aya, which asks for one by kind and name.
    ///
    /// # Errors
    /// When aya does not understand it, which would be a bug.
    pub fn for_aya(&self) -> Result<aya::Btf, BtfError> {
        aya::Btf::parse(&self.bytes(), Endianness::default())
    }

    /// BTF in which all types but the hooks are blank.
    fn bytes(&self) -> Vec<u8> {
        const HEADER: u32 = 24;
        const TYPE: usize = 12;
        let last = self.hooks.values().copied().max().unwrap_or(0) as usize;
        let mut types = [0, KIND_FORWARD << 24, 0].map(u32::to_ne_bytes).as_flattened().repeat(last);
        let mut strings = vec![0];
        for ((kind, name), id) in &self.hooks {
            let place = (*id as usize - 1) * TYPE;
            let words = [strings.len() as u32, *kind << 24, 0].map(u32::to_ne_bytes);
            types[place..place + TYPE].copy_from_slice(words.as_flattened());
            strings.extend(name.bytes().chain([0]));
        }
        let (length, behind) = (types.len() as u32, strings.len() as u32);
        let header = [HEADER, 0, length, length, behind].map(u32::to_ne_bytes);
        // Behind the magic number the version, and no flags.
        [&MAGIC.to_ne_bytes()[..], &[1, 0], header.as_flattened(), &types, &strings].concat()
    }
}

/// The name of a system call's function in the kernel.
pub(super) fn function_of(syscall: Syscall) -> String {
    let name = syscall.as_str();
    let prefix = if cfg!(target_arch = "aarch64") { "__arm64_sys_" } else { "__x64_sys_" };
    if syscall.row().is_function { name.to_owned() } else { format!("{prefix}{name}") }
}

/// Parsed BTF: the place of each type in the type section, and the wanted ones by kind and name.
struct Btf<'a> {
    types: &'a [u8],
    strings: &'a [u8],
    /// By type id, from 1.
    places: Vec<u32>,
    found: HashMap<(u32, &'a [u8]), u32, foldhash::fast::RandomState>,
}

impl<'a> Btf<'a> {
    /// Looks for types of these kinds and names. `None` if the bytes are not BTF that this reader understands.
    fn parse<'b>(bytes: &'a [u8], wanted: impl Iterator<Item = (u32, &'b str)>) -> Option<Self> {
        let word = |at: usize| bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes);
        let magic = u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?);
        if magic != MAGIC {
            return None;
        }
        let wanted: HashSet<(u32, &[u8]), foldhash::fast::RandomState> =
            wanted.map(|(kind, name)| (kind, name.as_bytes())).collect();
        let header = word(4)? as usize;
        let section = |offset: u32, length: u32| {
            let start = header.checked_add(offset as usize)?;
            bytes.get(start..start.checked_add(length as usize)?)
        };
        let mut btf = Self {
            types: section(word(8)?, word(12)?)?,
            strings: section(word(16)?, word(20)?)?,
            places: vec![0],
            found: HashMap::default(),
        };
        let mut place = 0;
        while place < btf.types.len() {
            let (name, info) = (btf.word(place)?, btf.word(place + 4)?);
            let id = btf.places.len() as u32;
            btf.places.push(place as u32);
            let (kind, members) = (info >> 24 & 0x1f, (info & 0xffff) as usize);
            if matches!(kind, KIND_STRUCT | KIND_FUNC | KIND_TYPEDEF) {
                let name = btf.name(name)?;
                if wanted.contains(&(kind, name)) {
                    btf.found.entry((kind, name)).or_insert(id);
                }
            }
            place += 12
                + match kind {
                    1 | 14 | 17 => 4,
                    3 => 12,
                    KIND_STRUCT | KIND_UNION | 15 | 19 => members * 12,
                    6 | 13 => members * 8,
                    2 | KIND_FORWARD..=KIND_FUNC | 16 | 18 => 0,
                    _ => return None,
                };
        }
        Some(btf)
    }

    /// Where a member lies in a structure, in bytes; members of anonymous structures and unions are the outer's.
    fn member(&self, structure: &str, member: &str) -> Option<u32> {
        self.member_of(*self.found.get(&(KIND_STRUCT, structure.as_bytes()))?, member.as_bytes(), 0)
    }

    fn member_of(&self, id: u32, member: &[u8], depth: u32) -> Option<u32> {
        let place = *self.places.get(id as usize).filter(|_| id != 0 && depth < DEEPEST)? as usize;
        let info = self.word(place + 4)?;
        if !matches!(info >> 24 & 0x1f, KIND_STRUCT | KIND_UNION) {
            return None;
        }
        let has_bitfields = info >> 31 == 1;
        (0..(info & 0xffff) as usize).find_map(|index| {
            let entry = place + 12 + index * 12;
            let (name, kind, offset) = (self.word(entry)?, self.word(entry + 4)?, self.word(entry + 8)?);
            let bytes = if has_bitfields { offset & 0xff_ffff } else { offset } / 8;
            match self.name(name)? {
                b"" => Some(bytes + self.member_of(kind, member, depth + 1)?),
                name => (name == member).then_some(bytes),
            }
        })
    }

    fn word(&self, at: usize) -> Option<u32> {
        self.types.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes)
    }

    fn name(&self, offset: u32) -> Option<&'a [u8]> {
        let rest = self.strings.get(offset as usize..)?;
        rest.get(..memchr::memchr(0, rest)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_running_kernels_structures_are_found() {
        let bytes = fs::read(VMLINUX).expect("this kernel has BTF");
        let wanted = [(KIND_STRUCT, "path"), (KIND_STRUCT, "qstr"), (KIND_FUNC, "vfs_rmdir")];
        let btf = Btf::parse(&bytes, wanted.into_iter()).expect("it is BTF");
        assert_eq!(btf.member("path", "mnt"), Some(0));
        assert_eq!(btf.member("path", "dentry"), Some(8));
        assert!(btf.member("qstr", "name").is_some(), "behind an anonymous union");
        assert_eq!(btf.member("path", "nonsense"), None);
        assert!(btf.found.contains_key(&(KIND_FUNC, &b"vfs_rmdir"[..])));
        let excerpt = Excerpt::of_this_kernel().expect("it is BTF");
        for ((structure, member), offset) in offset::TABLE.iter().zip(&excerpt.offsets) {
            assert!(offset.is_some(), "{structure}.{member}");
        }
    }

    #[test]
    fn what_aya_is_given_has_the_same_ids() {
        let excerpt = Excerpt::of_this_kernel().expect("it is BTF");
        let bytes = excerpt.bytes();
        let btf = Btf::parse(&bytes, excerpt.hooks.keys().map(|(kind, name)| (*kind, name.as_str()))).expect("BTF");
        assert!(excerpt.hooks.len() > 1 && btf.found.len() == excerpt.hooks.len(), "{:?}", excerpt.hooks);
        for ((kind, name), id) in &excerpt.hooks {
            assert_eq!(btf.found.get(&(*kind, name.as_bytes())), Some(id), "{name}");
        }
        assert!(excerpt.for_aya().is_ok());
    }

    #[test]
    fn damaged_bytes_are_no_btf_and_no_panic() {
        let whole = fs::read(VMLINUX).expect("this kernel has BTF");
        for length in [0, 1, 8, 23, 24, 100, 4_096] {
            let _ = Excerpt::of(&whole[..length]);
        }
        assert!(Excerpt::of(&[0; 64]).is_none());
        let mut damaged = whole[..].to_vec();
        for place in (24..damaged.len()).step_by(10_007) {
            damaged[place] ^= 0xff;
        }
        if let Some(excerpt) = Excerpt::of(&damaged) {
            let _ = excerpt.for_aya();
        }
    }
}
