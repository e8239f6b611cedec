//! The three ways of telling metrics, and which one a scraper asks for.

use prometheus_client::encoding::{prometheus_protobuf, text};
use prometheus_client::registry::Registry;

/// A way of telling metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exposition {
    /// OpenMetrics text, with exemplars.
    OpenMetrics,
    /// The plain text format.
    Plain,
    /// Prometheus's protobuf, with native histograms.
    Protobuf,
}

impl Exposition {
    /// In the order of preference where a scraper has none.
    const ALL: [Self; 3] = [Self::Plain, Self::OpenMetrics, Self::Protobuf];

    /// The `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Plain => "text/plain; version=0.0.4; charset=utf-8",
            Self::Protobuf => {
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
            }
        }
    }

    /// Whether a media type of an `Accept` header takes it.
    fn is_taken_by(self, range: &str) -> bool {
        let mut parts = range.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default();
        match self {
            Self::OpenMetrics => media.eq_ignore_ascii_case("application/openmetrics-text"),
            Self::Plain => ["text/plain", "text/*", "*/*"].iter().any(|taken| media.eq_ignore_ascii_case(taken)),
            Self::Protobuf => {
                media.eq_ignore_ascii_case("application/vnd.google.protobuf")
                    && parts.clone().any(|part| part.eq_ignore_ascii_case("proto=io.prometheus.client.MetricFamily"))
                    && parts.any(|part| part.eq_ignore_ascii_case("encoding=delimited"))
            }
        }
    }

    /// What an `Accept` header asks for: the way it weighs highest. Plain text if it asks for nothing that there is.
    pub fn wanted(accept: &str) -> Self {
        let weight = |range: &str| {
            let quality = range.split(';').find_map(|part| part.trim().strip_prefix("q="));
            // Thousandths: that is all that there are.
            quality.map_or(1_000, |q| (q.parse::<f32>().unwrap_or(0.0).clamp(0.0, 1.0) * 1_000.0) as u32)
        };
        let weighed = |format: Self| {
            let ranges = accept.split(',').map(str::trim).filter(|range| format.is_taken_by(range));
            ranges.map(weight).max().unwrap_or(0)
        };
        // The first of those that weigh the same.
        Self::ALL.into_iter().rev().max_by_key(|format| weighed(*format)).unwrap_or(Self::Plain)
    }

    pub(super) fn encode(self, registry: &Registry, native: &Registry) -> Vec<u8> {
        let mut out = String::new();
        // Only what is written to could fail, and memory does not.
        match self {
            Self::OpenMetrics => text::encode(&mut out, registry).map_or_else(|_| Vec::new(), |()| out.into_bytes()),
            Self::Plain => text::encode(&mut out, registry).map_or_else(|_| Vec::new(), |()| plain(&out).into_bytes()),
            Self::Protobuf => prometheus_protobuf::encode_to_vec(native).unwrap_or_default(),
        }
    }
}

/// OpenMetrics text as plain text: there a counter's family is called as its samples are, and there are no exemplars.
fn plain(open_metrics: &str) -> String {
    let mut out = String::with_capacity(open_metrics.len());
    let mut help = None;
    for line in open_metrics.lines() {
        if let Some(of) = line.strip_prefix("# HELP ") {
            help = of.split_once(' ');
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|of| of.split_once(' ')) {
            let suffix = if kind == "counter" { "_total" } else { "" };
            if let Some((_, text)) = help.take().filter(|(of, _)| *of == name) {
                out.push_str(&format!("# HELP {name}{suffix} {text}\n"));
            }
            out.push_str(&format!("# TYPE {name}{suffix} {kind}\n"));
        } else if !line.starts_with('#') {
            out.push_str(line.split(" # {").next().unwrap_or(line));
            out.push('\n');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_accept_header_decides() {
        let check = |accept: &str, wanted: Exposition| assert_eq!(Exposition::wanted(accept), wanted, "{accept}");
        check("", Exposition::Plain);
        check("*/*", Exposition::Plain);
        check("text/html,application/xhtml+xml,*/*;q=0.8", Exposition::Plain);
        check("application/openmetrics-text", Exposition::OpenMetrics);
        // What Prometheus 2.42 sends, without and with native histograms.
        check(
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            Exposition::OpenMetrics,
        );
        check(
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited,application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            Exposition::Protobuf,
        );
        check("application/vnd.google.protobuf", Exposition::Plain);
        check("application/openmetrics-text;q=0.2,text/plain;q=0.9", Exposition::Plain);
        check("application/openmetrics-text;q=nonsense,;;,,text/plain;q=0.1", Exposition::Plain);
    }

    #[test]
    fn plain_text_has_neither_exemplars_nor_an_end() {
        let open_metrics = "# HELP a Some.\n# TYPE a counter\na_total{x=\"y\"} 1 # {container_id=\"z\"} 1.0\n\
                            # HELP b Others.\n# TYPE b gauge\nb 2\n# EOF\n";
        assert_eq!(
            plain(open_metrics),
            "# HELP a_total Some.\n# TYPE a_total counter\na_total{x=\"y\"} 1\n# HELP b Others.\n# TYPE b gauge\nb 2\n"
        );
    }
}
