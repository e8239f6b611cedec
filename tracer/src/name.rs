//! A name that a stranger chose: a path, a comm, an argument. It is bytes, not text.
//!
//! Two encodings exist, for two readers. JSON gets [`Name::to_json_text`], which loses nothing: a byte that is not
//! part of valid UTF-8 is written as the private-use character `U+EF00 + byte` (so U+EF80 to U+EFFF), and the rare name
//! that really holds one of those characters has its three bytes written that way. A terminal gets [`Name::printable`]
//! which cannot move its cursor: control, formatting and undecodable bytes are written as backslash escapes.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::budget::{ALLOCATION, Scale, Weigh};

/// The first of the 128 private-use characters that stand for the bytes 0x80 to 0xff.
const ESCAPE_BASE: u32 = 0xef00;

/// A name is never longer than this in a trace: files are read up to 4 MiB, and everything else that is read is
/// shorter.
const LONGEST: usize = 4 << 20;

/// An immutable byte string, cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<[u8]>);

/// The components of a path: what stands between its slashes.
pub(crate) fn components(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|component| !component.is_empty())
}

impl Name {
    /// Takes the bytes as they are.
    pub fn new(bytes: impl AsRef<[u8]>) -> Self {
        Self(Arc::from(bytes.as_ref()))
    }

    /// The bytes as they are.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// As a path of the file system.
    pub fn to_path(&self) -> PathBuf {
        PathBuf::from(OsStr::from_bytes(&self.0))
    }

    /// What is behind the last `/`; all of it if there is none.
    pub fn base_name(&self) -> &[u8] {
        self.0.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
    }

    /// Whether there is no byte.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The bytes as text, if they are valid UTF-8.
    pub fn to_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }

    /// The text that JSON carries. [`Name::from_json_text`] gives the same bytes back.
    pub fn to_json_text(&self) -> Cow<'_, str> {
        if let Some(text) = self.to_str()
            && !text.chars().any(is_escape)
        {
            return Cow::Borrowed(text);
        }
        let mut out = String::with_capacity(self.0.len() * 2);
        for chunk in self.0.utf8_chunks() {
            for character in chunk.valid().chars() {
                if is_escape(character) {
                    let mut buffer = [0; 4];
                    out.extend(character.encode_utf8(&mut buffer).bytes().map(escape));
                } else {
                    out.push(character);
                }
            }
            out.extend(chunk.invalid().iter().copied().map(escape));
        }
        Cow::Owned(out)
    }

    /// Reads what [`Name::to_json_text`] wrote.
    pub fn from_json_text(text: &str) -> Self {
        // In UTF-8 the characters in question begin with this byte.
        if memchr::memchr(0xee, text.as_bytes()).is_none() {
            return Self::new(text.as_bytes());
        }
        let mut bytes = Vec::with_capacity(text.len());
        for character in text.chars() {
            if is_escape(character) {
                bytes.push((character as u32 & 0xff) as u8);
            } else {
                let mut buffer = [0; 4];
                bytes.extend_from_slice(character.encode_utf8(&mut buffer).as_bytes());
            }
        }
        Self::new(bytes)
    }

    /// Text for a terminal: one line, no control sequence, no invisible or direction-changing character. Everything
    /// escaped starts with a backslash; a backslash itself is left alone, because systemd's names are full of them.
    pub fn printable(&self) -> String {
        let mut out = String::with_capacity(self.0.len());
        for chunk in self.0.utf8_chunks() {
            for character in chunk.valid().chars() {
                match character {
                    '\n' => out.push_str("\\n"),
                    '\r' => out.push_str("\\r"),
                    '\t' => out.push_str("\\t"),
                    c if c.is_ascii_control() => out.push_str(&format!("\\x{:02x}", c as u32)),
                    c if is_unprintable(c) => out.push_str(&format!("\\u{{{:x}}}", c as u32)),
                    c => out.push(c),
                }
            }
            for byte in chunk.invalid() {
                out.push_str(&format!("\\x{byte:02x}"));
            }
        }
        out
    }
}

fn escape(byte: u8) -> char {
    char::from_u32(ESCAPE_BASE + u32::from(byte)).expect("U+EF00 to U+EFFF are characters")
}

fn is_escape(character: char) -> bool {
    ('\u{ef80}'..='\u{efff}').contains(&character)
}

/// Characters that change how their neighbours are shown, or are not shown at all.
fn is_unprintable(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}'
            | '\u{e000}'..='\u{f8ff}')
}

impl JsonSchema for Name {
    fn schema_name() -> Cow<'static, str> {
        "Name".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "Bytes; one that is not part of valid UTF-8 is written as the character U+EF00 + byte."
        })
    }
}

impl From<&str> for Name {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<&[u8]> for Name {
    fn from(bytes: &[u8]) -> Self {
        Self::new(bytes)
    }
}

impl From<Vec<u8>> for Name {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Arc::from(bytes))
    }
}

impl From<String> for Name {
    fn from(text: String) -> Self {
        Self::from(text.into_bytes())
    }
}

impl AsRef<[u8]> for Name {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Lets a map keyed by `Name` be asked with a plain slice.
impl std::borrow::Borrow<[u8]> for Name {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl PartialEq<str> for Name {
    fn eq(&self, other: &str) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl PartialEq<&str> for Name {
    fn eq(&self, other: &&str) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

/// Shows the printable form, so that a name can stand in any message.
impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.printable())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.printable())
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_json_text())
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl serde::de::Visitor<'_> for Text {
            type Value = Name;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Name, E> {
                if text.len() > LONGEST {
                    return Err(E::custom(format_args!("a name of {} bytes", text.len())));
                }
                Ok(Name::from_json_text(text))
            }
        }

        deserializer.deserialize_str(Text)
    }
}

impl Weigh for Name {
    fn weigh(&self, scale: &mut Scale) {
        scale.add(ALLOCATION + self.as_bytes().len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8], json: &str, printable: &str) {
        let name = Name::new(bytes);
        assert_eq!(name.to_json_text(), json);
        assert_eq!(Name::from_json_text(json), name, "the JSON text must give the bytes back");
        assert_eq!(name.printable(), printable);
        let line = serde_json::to_string(&name).expect("serializes");
        assert_eq!(serde_json::from_str::<Name>(&line).expect("parses"), name);
    }

    #[test]
    fn every_byte_string_survives_json_and_none_reaches_the_terminal_raw() {
        check(b"/docker/web", "/docker/web", "/docker/web");
        check(br"dev-disk\x2dby.mount", r"dev-disk\x2dby.mount", r"dev-disk\x2dby.mount");
        check(b"a\nb\x1b[2J\x07", "a\nb\x1b[2J\x07", r"a\nb\x1b[2J\x07");
        check(b"\xff\xfe", "\u{efff}\u{effe}", r"\xff\xfe");
        check("käse".as_bytes(), "käse", "käse");
        // A cut multi-byte character, then a genuine private-use one that looks like an escape.
        check(b"k\xc3", "k\u{efc3}", r"k\xc3");
        check("\u{efc3}".as_bytes(), "\u{efee}\u{efbf}\u{ef83}", r"\u{efc3}");
        // Right-to-left override: would let `gpj.exe` pose as `exe.jpg`.
        check("\u{202e}x".as_bytes(), "\u{202e}x", r"\u{202e}x");
        check(b"", "", "");
    }

    #[test]
    fn all_two_byte_strings_round_trip() {
        for first in 0..=255u8 {
            for second in 0..=255u8 {
                let name = Name::new([first, second]);
                assert_eq!(Name::from_json_text(&name.to_json_text()), name);
                assert!(!name.printable().bytes().any(|b| b.is_ascii_control()));
            }
        }
    }
}
