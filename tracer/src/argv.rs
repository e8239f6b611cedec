//! What is kept of a command line: a process chooses its own, and may have megabytes of it, or a million empty
//! arguments.

use std::fmt;

use serde::Deserializer;
use serde::de::{IgnoredAny, SeqAccess, Visitor};

use crate::name::Name;

/// Bytes of a command line that are kept, the zero behind each argument included. The kernel side hands over one less.
pub const BYTES: usize = 4_096;
/// Arguments that are kept.
pub const ARGUMENTS: usize = 256;

/// Splits what the kernel keeps of a command line, arguments that each end in a zero byte, as far as it is kept. Tells
/// whether there is more.
pub fn split(bytes: &[u8], most: usize) -> (Vec<Name>, bool) {
    let cut = &bytes[..bytes.len().min(most)];
    let is_cut = cut.len() < bytes.len();
    let cut = if is_cut { cut } else { cut.strip_suffix(b"\0").unwrap_or(cut) };
    let mut arguments = cut.split(|byte| *byte == 0);
    let kept: Vec<Name> = arguments.by_ref().take(ARGUMENTS).map(Name::new).collect();
    (kept, is_cut || arguments.next().is_some())
}

/// The value of the first of an option's names that a command line has: `NAME VALUE` or `NAME=VALUE`.
pub fn option(argv: &[Name], names: &[&str]) -> Option<Name> {
    let mut words = argv.iter();
    while let Some(word) = words.next() {
        let bytes = word.as_bytes();
        for name in names {
            match bytes.strip_prefix(name.as_bytes()) {
                Some([]) => return words.next().cloned(),
                Some([b'=', value @ ..]) => return Some(Name::new(value)),
                Some(_) | None => {}
            }
        }
    }
    None
}

/// Reads the arguments of a trace as far as they are kept, and passes over the others.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<Name>>, D::Error> {
    struct Arguments;

    impl<'de> Visitor<'de> for Arguments {
        type Value = Option<Vec<Name>>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of arguments")
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let (mut kept, mut bytes) = (Vec::new(), 0);
            while kept.len() < ARGUMENTS && bytes < BYTES {
                let Some(argument) = list.next_element::<Name>()? else { return Ok(Some(kept)) };
                let room = BYTES - bytes;
                bytes += argument.as_bytes().len() + 1;
                kept.push(if argument.as_bytes().len() > room {
                    Name::new(&argument.as_bytes()[..room])
                } else {
                    argument
                });
            }
            while list.next_element::<IgnoredAny>()?.is_some() {}
            Ok(Some(kept))
        }
    }

    deserializer.deserialize_any(Arguments)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split_text(bytes: &[u8], most: usize) -> (Vec<String>, bool) {
        let (kept, more) = split(bytes, most);
        (kept.iter().map(Name::to_string).collect(), more)
    }

    #[test]
    fn every_argument_ends_in_a_zero() {
        assert_eq!(split_text(b"a\0\0b\0", 100), (vec!["a".into(), String::new(), "b".into()], false));
        assert_eq!(split_text(b"a\0bcd\0", 4), (vec!["a".into(), "bc".into()], true));
        assert_eq!(split_text(b"a", 100), (vec!["a".into()], false));
    }

    #[test]
    fn an_options_value_is_behind_it() {
        let value = |line: &str| {
            let argv: Vec<Name> = line.split(' ').map(Name::from).collect();
            option(&argv, &["--root", "-r"]).map(|value| value.to_string())
        };
        assert_eq!(value("x --rootless --root /a -r /b").as_deref(), Some("/a"));
        assert_eq!(value("x --roots=/a -r=/b=c").as_deref(), Some("/b=c"));
        assert_eq!((value("x --root"), value("x"), value("x --roots /a")), (None, None, None));
    }

    #[test]
    fn no_more_is_kept_than_there_is_room_for() {
        let (kept, more) = split(&[0; 1 << 20], BYTES);
        assert_eq!((kept.len(), more), (ARGUMENTS, true));
        let (kept, more) = split(&vec![b'x'; 1 << 20], BYTES);
        assert_eq!((kept[0].as_bytes().len(), more), (BYTES, true));
        assert_eq!(split(&[0; ARGUMENTS], BYTES).0.len(), ARGUMENTS);
    }

    #[test]
    fn a_trace_may_hold_any_number_of_arguments() {
        let read = |text: &str| deserialize(&mut serde_json::Deserializer::from_str(text)).expect("a list");
        assert_eq!(read("[\"a\",\"\"]").map(|kept| kept.len()), Some(2));
        assert_eq!(read("null"), None);
        let empty = format!("[{}\"\"]", "\"\",".repeat(900_000));
        assert_eq!(read(&empty).map(|kept| kept.len()), Some(ARGUMENTS));
        let long = format!("[\"{}\",\"b\"]", "x".repeat(1 << 20));
        assert_eq!(read(&long).map(|kept| kept.iter().map(|name| name.as_bytes().len()).sum()), Some(BYTES));
    }
}
