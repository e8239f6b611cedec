//! A reader of the kernel's BTF (Documentation/bpf/btf.rst): where members of structures lie, and the ids of functions.

use std::collections::HashMap;

/// Path of the running kernel's BTF.
pub(super) const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

const MAGIC: u16 = 0xeb9f;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
const KIND_FUNC: u32 = 12;
/// Anonymous structures in anonymous structures: deeper than any in the kernel.
const DEEPEST: u32 = 8;

/// Parsed BTF: the place of each type in the type section.
pub(super) struct Btf<'a> {
    types: &'a [u8],
    strings: &'a [u8],
    /// By type id, from 1.
    places: Vec<usize>,
    structures: HashMap<&'a [u8], u32>,
    functions: HashMap<&'a [u8], u32>,
}

impl<'a> Btf<'a> {
    /// `None` if the bytes are not BTF that this reader understands.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let word = |at: usize| bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes);
        let magic = u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?);
        if magic != MAGIC {
            return None;
        }
        let header = word(4)? as usize;
        let section = |offset: u32, length: u32| {
            let start = header.checked_add(offset as usize)?;
            bytes.get(start..start.checked_add(length as usize)?)
        };
        let mut btf = Self {
            types: section(word(8)?, word(12)?)?,
            strings: section(word(16)?, word(20)?)?,
            places: vec![0],
            structures: HashMap::new(),
            functions: HashMap::new(),
        };
        let mut place = 0;
        while place < btf.types.len() {
            let (name, info) = (btf.word(place)?, btf.word(place + 4)?);
            let id = btf.places.len() as u32;
            btf.places.push(place);
            let (kind, members) = (info >> 24 & 0x1f, (info & 0xffff) as usize);
            match kind {
                KIND_STRUCT => _ = btf.structures.entry(btf.name(name)?).or_insert(id),
                KIND_FUNC => _ = btf.functions.entry(btf.name(name)?).or_insert(id),
                _ => {}
            }
            place += 12
                + match kind {
                    1 | 14 | 17 => 4,
                    3 => 12,
                    KIND_STRUCT | KIND_UNION | 15 | 19 => members * 12,
                    6 | 13 => members * 8,
                    2 | 7..=KIND_FUNC | 16 | 18 => 0,
                    _ => return None,
                };
        }
        Some(btf)
    }

    /// Where a member lies in a structure, in bytes; members of anonymous structures and unions are the outer's.
    pub fn member(&self, structure: &str, member: &str) -> Option<u32> {
        self.member_of(*self.structures.get(structure.as_bytes())?, member.as_bytes(), 0)
    }

    /// A function's type id.
    pub fn function(&self, name: &str) -> Option<u32> {
        self.functions.get(name.as_bytes()).copied()
    }

    fn member_of(&self, id: u32, member: &[u8], depth: u32) -> Option<u32> {
        let place = *self.places.get(id as usize).filter(|_| id != 0 && depth < DEEPEST)?;
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
        self.strings.get(offset as usize..)?.split(|byte| *byte == 0).next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_running_kernels_structures_are_found() {
        let bytes = std::fs::read(VMLINUX).expect("this kernel has BTF");
        let btf = Btf::parse(&bytes).expect("it is BTF");
        assert_eq!(btf.member("path", "mnt"), Some(0));
        assert_eq!(btf.member("path", "dentry"), Some(8));
        assert!(btf.member("qstr", "name").is_some(), "behind an anonymous union");
        assert_eq!(btf.member("path", "nonsense"), None);
        assert!(btf.function("vfs_rmdir").is_some());
        for (structure, member) in tracer_ebpf::offset::TABLE {
            assert!(btf.member(structure, member).is_some(), "{structure}.{member}");
        }
    }

    #[test]
    fn damaged_bytes_are_no_btf_and_no_panic() {
        let whole = std::fs::read(VMLINUX).expect("this kernel has BTF");
        for length in [0, 1, 8, 23, 24, 100, 4_096] {
            let _ = Btf::parse(&whole[..length]);
        }
        assert!(Btf::parse(&[0; 64]).is_none());
        let mut damaged = whole[..].to_vec();
        for place in (24..damaged.len()).step_by(10_007) {
            damaged[place] ^= 0xff;
        }
        if let Some(btf) = Btf::parse(&damaged) {
            let _ = btf.member("task_struct", "mm");
        }
    }
}
