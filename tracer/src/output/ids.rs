//! Container ids in text: sixty-four digits say no more to a person than twelve.

use std::borrow::Cow;

/// Digits of a whole id, which is a hash.
const WHOLE: usize = 64;
/// Digits that are kept, as docker does: its commands, and `--container`, take them for the whole.
const SHORT: usize = 12;

/// The text with every id in it cut short: `/docker/3f2a90c1d4e5…`.
pub(crate) fn shorten(text: &str) -> Cow<'_, str> {
    if text.len() < WHOLE {
        return Cow::Borrowed(text);
    }
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_alphanumeric()) {
        let end = rest[start..].find(|c: char| !c.is_ascii_alphanumeric()).map_or(rest.len(), |length| start + length);
        let word = &rest[start..end];
        if is_id(word) {
            out.push_str(&rest[..start + SHORT]);
            out.push('…');
        } else {
            out.push_str(&rest[..end]);
        }
        rest = &rest[end..];
    }
    out.push_str(rest);
    Cow::Owned(out)
}

fn is_id(word: &str) -> bool {
    word.len() == WHOLE && word.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_ids_are_cut() {
        let id = "0123456789abcdef".repeat(4);
        let check = |text: String, wanted: &str| assert_eq!(shorten(&text), wanted);
        check(id.clone(), "0123456789ab…");
        check(format!("/docker/{id}/x"), "/docker/0123456789ab…/x");
        check(
            format!("/system.slice/docker-{id}.scope/libpod-{id}"),
            "/system.slice/docker-0123456789ab….scope/libpod-0123456789ab…",
        );
        check(format!("é{id}é"), "é0123456789ab…é");
        for whole in [format!("/docker/{id}0"), format!("/docker/z{id}"), id.to_uppercase(), id[1..].to_owned()] {
            check(whole.clone(), &whole);
        }
        check(String::new(), "");
    }
}
