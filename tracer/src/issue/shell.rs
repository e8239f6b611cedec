//! Bytes as a POSIX shell takes them: nothing of a stranger's becomes a part of a script but letters, digits and
//! escapes.

/// No name of a script's own is longer.
const LONGEST: usize = 64;

/// Whether a name can stand in a script as it is: it is no option, no pattern, and needs no quotes.
pub(super) fn is_plain(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let is_word = (1..=LONGEST).contains(&name.len()) && name.bytes().all(is_plain) && !name.starts_with('-');
    is_word && name != "." && name != ".."
}

/// The argument of `printf %b` that gives these bytes.
pub(super) fn printf(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() + 2);
    text.push('\'');
    for byte in bytes {
        match byte {
            b'\n' => text.push_str("\\n"),
            byte if byte.is_ascii_alphanumeric() || b" +-_.,:/=".contains(byte) => text.push(char::from(*byte)),
            byte => text.push_str(&format!("\\0{byte:03o}")),
        }
    }
    text.push('\'');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn plain_names_need_no_quotes() {
        for plain in ["web", "docker-1.scope", "cgroup.procs", "a_b"] {
            assert!(is_plain(plain), "{plain}");
        }
        for not in ["", ".", "..", "-rf", "a b", "a/b", "$(reboot)", "`x`", "a'b", "a\nb", "*", "ä", &"a".repeat(65)] {
            assert!(!is_plain(not), "{not:?}");
        }
    }

    #[test]
    fn a_shell_prints_the_very_bytes() {
        let all: Vec<u8> = (1..=255).chain(b"$(exit 9)`exit 9`'\"\\c\\0%s%%\n\n".iter().copied()).collect();
        let script = format!("printf %b {}", printf(&all));
        let done = Command::new("sh").args(["-c", &script]).output().expect("a shell");
        assert!(done.status.success());
        assert_eq!(done.stdout, all);
    }
}
