//! A real Prometheus server that scrapes an agent every second.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::agent::Serving;
use crate::support::wait_for;

/// A running server. It ends with its test.
pub struct Prometheus {
    child: Child,
    port: u16,
    _directory: tempfile::TempDir,
}

impl Prometheus {
    /// With these features switched on.
    pub fn start(agent: &Serving, features: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/prometheus/cgtrace.rules.yml");
        let config = directory.path().join("prometheus.yml");
        let text = format!(
            "global:\n  scrape_interval: 1s\n  evaluation_interval: 1s\nrule_files:\n  - {}\n\
             scrape_configs:\n  - job_name: cgtrace\n    static_configs:\n      - targets: [\"{}\"]\n",
            rules.display(),
            agent.address
        );
        fs::write(&config, text).unwrap();
        // Somebody else could take it meanwhile; then the server does not begin, and the test says so.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", directory.path().join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--log.level=error")
            .args((!features.is_empty()).then(|| format!("--enable-feature={}", features.join(","))))
            .stdin(Stdio::null())
            .spawn()
            .expect("prometheus is installed");
        let prometheus = Self { child, port, _directory: directory };
        wait_for("prometheus", || prometheus.text("/-/ready").filter(|text| text.contains("is Ready")));
        wait_for("the first scrape", || (prometheus.query("up == 1").len() == 1).then_some(()));
        prometheus
    }

    /// The text at a path; `None` if it cannot be asked.
    fn text(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: x\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned())
    }

    /// What a path of its API answers.
    pub fn get(&self, path: &str) -> Value {
        let body = self.text(path).expect("it answers");
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}"))
    }

    /// The result of an expression.
    pub fn query(&self, expression: &str) -> Vec<Value> {
        let encoded: String = expression.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let answer = self.get(&format!("/api/v1/query?query={encoded}"));
        assert_eq!(answer["status"], "success", "{expression}: {answer}");
        answer["data"]["result"].as_array().unwrap().clone()
    }

    /// Its rules, of all groups.
    pub fn rules(&self) -> Vec<Value> {
        let answer = self.get("/api/v1/rules");
        let groups = answer["data"]["groups"].as_array().unwrap();
        groups.iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
    }

    /// The value of an expression that has one; NaN if it has none yet.
    pub fn value(&self, expression: &str) -> f64 {
        let result = self.query(expression);
        let value = result.first().and_then(|sample| sample["value"][1].as_str().map(str::to_owned));
        value.map_or(f64::NAN, |value| value.parse().unwrap())
    }

    /// Waits until an expression has that value.
    pub fn wait_for(&self, expression: &str, wanted: f64) {
        wait_for(&format!("{expression} = {wanted}"), || (self.value(expression) == wanted).then_some(()));
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
