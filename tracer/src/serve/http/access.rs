//! Who is answered over the network: by which name the agent is asked, with which token, and whether over TLS.
//!
//! A UNIX socket has an owner and a mode instead. Health is told to anyone: those who probe it have no token.

use std::fmt;
use std::io::Read;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, bail};
use base64::prelude::{BASE64_STANDARD, Engine};
use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;

use super::Listener;
use super::host::Names;
use super::tls::Tls;

/// The answer to a client that has not shown the token.
pub(super) const UNAUTHORIZED: &str = "this agent wants a token: Authorization: Bearer TOKEN\n";
/// How it may be shown. A browser asks its user for a name and a password: there the token is the password.
pub(super) const SCHEMES: [&str; 2] = ["Bearer", "Basic realm=\"cgtrace: the token is the password\""];
/// In less there is not enough to guess at.
const SHORTEST: usize = 16;
/// More is a mistake: another file was named.
const LONGEST: usize = 4 << 10;

/// A bearer token (RFC 6750). It is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

impl Token {
    /// The first line of a file.
    ///
    /// # Errors
    /// When it cannot be read, or is no token.
    pub fn of_file(path: &Path) -> anyhow::Result<Self> {
        let read = || -> std::io::Result<String> {
            let mut text = String::new();
            std::fs::File::open(path)?.take(LONGEST as u64 + 2).read_to_string(&mut text)?;
            Ok(text)
        };
        let text = read().with_context(|| format!("failed to read {}", path.display()))?;
        Self::new(text.trim_ascii_end()).with_context(|| format!("{} holds no token", path.display()))
    }

    /// A text that is one.
    ///
    /// # Errors
    /// When it is too short or too long, or has other characters than a token.
    pub fn new(text: &str) -> anyhow::Result<Self> {
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
        if !(SHORTEST..=LONGEST).contains(&text.len()) || !text.bytes().all(is_part) {
            bail!(
                "a token has {SHORTEST} to {LONGEST} letters, digits or characters of -._~+/=\n\
                 hint: openssl rand -hex 32"
            );
        }
        Ok(Self(text.to_owned()))
    }

    /// What a client sends in `Authorization`.
    pub fn header(&self) -> String {
        format!("Bearer {}", self.0)
    }

    /// Whether a client has sent it: alone, or as the password of any user (RFC 7617).
    fn is_in(&self, headers: &HeaderMap) -> bool {
        let sent = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let Some((scheme, sent)) = sent.and_then(|sent| sent.split_once(' ')) else { return false };
        let sent = sent.trim_ascii();
        if scheme.eq_ignore_ascii_case("Bearer") {
            return self.is(sent.as_bytes());
        }
        let decoded = scheme.eq_ignore_ascii_case("Basic").then(|| BASE64_STANDARD.decode(sent).ok()).flatten();
        let decoded = decoded.unwrap_or_default();
        let password = decoded.iter().position(|byte| *byte == b':').and_then(|colon| decoded.get(colon + 1..));
        password.is_some_and(|password| self.is(password))
    }

    /// How long this takes does not tell how much of it was right.
    fn is(&self, sent: &[u8]) -> bool {
        let own = self.0.as_bytes();
        let differs = own.iter().zip(sent).fold(0, |differs, (own, sent)| differs | (own ^ sent));
        own.len() == sent.len() && std::hint::black_box(differs) == 0
    }
}

/// What a client must know.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// The names that it may ask by, besides addresses.
    pub names: Names,
    /// The token that it must show, if there is one.
    pub token: Option<Token>,
    /// What the connection is encrypted with, if it is.
    pub tls: Option<Tls>,
}

impl Access {
    /// Whether a client over the network has shown the token, if one is wanted.
    pub(super) fn admits(&self, headers: &HeaderMap) -> bool {
        self.token.as_ref().is_none_or(|token| token.is_in(headers))
    }
}

impl Listener {
    /// Its address, if it can be reached from other hosts.
    pub fn exposed(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(tcp) => tcp.local_addr().ok().filter(|address| !is_loopback(*address)),
            Self::Unix(_) => None,
        }
    }
}

/// Whether only this host reaches an address.
pub fn is_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    const TOKEN: &str = "0123456789abcdef-._~+/=";

    #[test]
    fn a_client_is_admitted_by_the_whole_token_alone() {
        let access = Access { token: Some(Token::new(TOKEN).expect("a token")), ..Access::default() };
        let admits = |sent: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, HeaderValue::from_str(sent).expect("a header"));
            access.admits(&headers)
        };
        assert!(admits(&format!("Bearer {TOKEN}")) && admits(&format!("bearer  {TOKEN}")));
        let basic = |text: String| format!("Basic {}", BASE64_STANDARD.encode(text));
        assert!(admits(&basic(format!("me:{TOKEN}"))) && admits(&basic(format!(":{TOKEN}"))));
        for wrong in [TOKEN.to_owned(), format!("{TOKEN}:"), format!("me:{TOKEN}:"), "me:".to_owned(), String::new()] {
            assert!(!admits(&basic(wrong.clone())), "{wrong}");
        }
        assert!(!admits(&format!("Basic :{TOKEN}")), "it is not encoded");
        let (shorter, other) = (&TOKEN[..TOKEN.len() - 1], TOKEN.replace('f', "g"));
        for wrong in ["", "Bearer", "Bearer ", TOKEN, &format!("Basic {TOKEN}"), &format!("Bearer {TOKEN}x")] {
            assert!(!admits(wrong), "{wrong}");
        }
        assert!(!admits(&format!("Bearer {shorter}")) && !admits(&format!("Bearer {other}")));
        assert!(!access.admits(&HeaderMap::new()));
        assert!(Access::default().admits(&HeaderMap::new()));
    }

    #[test]
    fn a_token_is_long_enough_and_one_word_and_never_shown() {
        for wrong in ["", "short", "with a space in it", "0123456789abcdef\n0", "ééééééééé"] {
            assert!(Token::new(wrong).is_err(), "{wrong}");
        }
        assert!(Token::new(&"a".repeat(LONGEST + 1)).is_err());
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), format!("{TOKEN}\n")).expect("written");
        let token = Token::of_file(file.path()).expect("a token");
        assert_eq!((token.header(), format!("{token:?}")), (format!("Bearer {TOKEN}"), "Token".into()));
    }

    #[test]
    fn an_address_of_this_host_alone_is_told_apart() {
        for (address, own) in [
            ("127.0.0.1:1", true),
            ("127.9.9.9:1", true),
            ("[::1]:1", true),
            ("[::ffff:127.0.0.1]:1", true),
            ("0.0.0.0:1", false),
            ("[::]:1", false),
            ("10.0.0.7:1", false),
        ] {
            assert_eq!(is_loopback(address.parse().expect("an address")), own, "{address}");
        }
    }
}
