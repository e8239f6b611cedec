//! By which names the agent is asked.
//!
//! A page of a stranger's in a browser on this host may ask any address, its own name pointed at it (DNS rebinding):
//! the browser takes the answer for the stranger's own. What it asks for carries the stranger's name. An address cannot
//! be pointed elsewhere, and neither can `localhost`.

use std::net::IpAddr;

use hyper::header::HeaderValue;

/// The answer to a client that asks by another name.
pub(super) const REFUSED: &str = "this is shown only to clients that ask by address, as localhost, or by a name that \
                                  was set with --allow-host\n";

/// The names that were set.
#[derive(Clone, Debug, Default)]
pub struct Names(Vec<String>);

impl Names {
    /// These, without regard to case.
    pub fn new(names: &[String]) -> Self {
        Self(names.iter().map(|name| name.to_ascii_lowercase()).collect())
    }

    /// Whether a `Host` header has one of them, or an address. A request without one comes from no browser.
    pub(super) fn have(&self, host: Option<&HeaderValue>) -> bool {
        let Some(host) = host else { return true };
        let Ok(host) = host.to_str() else { return false };
        let name = without_port(host).to_ascii_lowercase();
        let name = name.strip_suffix('.').unwrap_or(&name);
        let address = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
        name == "localhost" || address.parse::<IpAddr>().is_ok() || self.0.iter().any(|known| known == name)
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.ends_with(':') => name,
        Some(_) | None => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_must_be_an_address_or_one_that_was_set() {
        let names = Names::new(&["Node1.example".to_owned()]);
        let check = |host: &'static str, known: bool| {
            assert_eq!(names.have(Some(&HeaderValue::from_static(host))), known, "{host}");
        };
        for known in
            ["127.0.0.1:9464", "10.1.2.3", "[::1]:9464", "[::1]", "localhost:9464", "LOCALHOST", "node1.EXAMPLE:1"]
        {
            check(known, true);
        }
        for stranger in ["evil.example:9464", "localhost.evil.example", "127.0.0.1.evil.example", "", "node1", "a:b"] {
            check(stranger, false);
        }
        assert!(names.have(None));
    }
}
