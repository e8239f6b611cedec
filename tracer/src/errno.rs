//! Error numbers of system calls, by the names the kernel's documentation uses.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A system call's error number, positive (2 is `ENOENT`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Errno(pub u16);

/// Declares the constants and the one table that names are printed and parsed with. The numbers are those of
/// `asm-generic/errno*.h`, shared by x86_64 and arm64.
macro_rules! errnos {
    ($($name:ident = $number:literal, $meaning:literal;)*) => {
        impl JsonSchema for Errno {
    fn schema_name() -> Cow<'static, str> {
        "Errno".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "description": "By name, such as ENOENT; by number where it has none." })
    }
}

impl Errno {
            $(#[doc = $meaning] pub const $name: Errno = Errno($number);)*

            const TABLE: &'static [(u16, &'static str, &'static str)] =
                &[$(($number, stringify!($name), $meaning)),*];
        }
    };
}

errnos! {
    EPERM = 1, "operation not permitted";
    ENOENT = 2, "no such file or directory";
    ESRCH = 3, "no such process";
    EINTR = 4, "interrupted system call";
    EIO = 5, "input/output error";
    ENXIO = 6, "no such device or address";
    E2BIG = 7, "argument list too long";
    EBADF = 9, "bad file descriptor";
    EAGAIN = 11, "resource temporarily unavailable";
    ENOMEM = 12, "cannot allocate memory";
    EACCES = 13, "permission denied";
    EFAULT = 14, "bad address";
    EBUSY = 16, "device or resource busy";
    EEXIST = 17, "file exists";
    EXDEV = 18, "invalid cross-device link";
    ENODEV = 19, "no such device";
    ENOTDIR = 20, "not a directory";
    EISDIR = 21, "is a directory";
    EINVAL = 22, "invalid argument";
    ENFILE = 23, "too many open files in system";
    EMFILE = 24, "too many open files";
    ETXTBSY = 26, "text file busy";
    ENOSPC = 28, "no space left on device";
    EROFS = 30, "read-only file system";
    EMLINK = 31, "too many links";
    ERANGE = 34, "numerical result out of range";
    ENAMETOOLONG = 36, "file name too long";
    ENOSYS = 38, "function not implemented";
    ENOTEMPTY = 39, "directory not empty";
    ELOOP = 40, "too many levels of symbolic links";
    EOVERFLOW = 75, "value too large for defined data type";
    EOPNOTSUPP = 95, "operation not supported";
    ESTALE = 116, "stale file handle";
    EDQUOT = 122, "disk quota exceeded";
}

impl Errno {
    /// The names that the table has.
    pub fn names() -> impl Iterator<Item = &'static str> {
        Self::TABLE.iter().map(|(_, name, _)| *name)
    }

    /// Those that the table has.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::TABLE.iter().map(|(number, ..)| Self(*number))
    }

    /// Its name, if the table has one.
    pub fn known_name(self) -> Option<&'static str> {
        Self::TABLE.iter().find(|(number, ..)| *number == self.0).map(|(_, name, _)| *name)
    }

    /// `ENOENT` and the like; `E77` for a number without a name in the table.
    pub fn name(self) -> Cow<'static, str> {
        match self.known_name() {
            Some(name) => Cow::Borrowed(name),
            None => Cow::Owned(format!("E{}", self.0)),
        }
    }

    /// What `strerror` says, in lower case; `None` for a number without a name in the table.
    pub fn meaning(self) -> Option<&'static str> {
        Self::TABLE.iter().find(|(number, ..)| *number == self.0).map(|(.., meaning)| *meaning)
    }

    /// Reads what [`Errno::name`] wrote.
    pub fn from_name(name: &str) -> Option<Self> {
        match Self::TABLE.iter().find(|(_, known, _)| *known == name) {
            Some((number, ..)) => Some(Self(*number)),
            None => name.strip_prefix('E')?.parse().ok().map(Self),
        }
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.name())
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

impl Serialize for Errno {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.name())
    }
}

impl<'de> Deserialize<'de> for Errno {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = Cow::<'de, str>::deserialize(deserializer)?;
        Self::from_name(&name).ok_or_else(|| D::Error::custom(format!("unknown errno {name:?}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_even_where_the_table_has_none() {
        for number in 1..=4095 {
            assert_eq!(Errno::from_name(&Errno(number).name()), Some(Errno(number)));
        }
        assert_eq!(Errno::ENOENT.name(), "ENOENT");
        assert_eq!(Errno::from_name("ENONSENSE"), None);
    }

    #[test]
    fn numbers_are_those_of_this_system() {
        for (number, _, meaning) in Errno::TABLE {
            let system = std::io::Error::from_raw_os_error(i32::from(*number)).to_string().to_lowercase();
            assert!(system.starts_with(meaning), "{number}: {system} is not {meaning}");
        }
    }
}
