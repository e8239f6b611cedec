//! TLS: what speaks it, and what does not.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::agent::{Serving, refused};
use crate::support::{CGTRACE, wait_for};

/// A certificate of a name, and its key. It vouches for itself.
pub fn certificate(directory: &Path, name: &str) -> (PathBuf, PathBuf) {
    let (cert, key) = (directory.join(format!("{name}.pem")), directory.join(format!("{name}.key")));
    let done = Command::new("openssl")
        .args(["req", "-x509", "-nodes", "-days", "2", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
        .args(["-subj", &format!("/CN={name}"), "-addext", &format!("subjectAltName=DNS:{name}")])
        .args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&cert)
        .stdin(Stdio::null())
        .output()
        .expect("cargo xtask setup installs openssl");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    (cert, key)
}

/// Runs a command of cgtrace that trusts one certificate.
fn asking(arguments: &[&str], trusted: &Path) -> Output {
    let mut command = Command::new(CGTRACE);
    command.env_remove("CGTRACE_TOKEN").env_remove("SSL_CERT_DIR").env("SSL_CERT_FILE", trusted);
    command.env("CGTRACE_TOKEN_FILE", trusted.with_file_name("token"));
    command.args(arguments).stdin(Stdio::null()).output().unwrap()
}

fn said(done: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr))
}

#[test]
fn an_agent_with_a_certificate_is_asked_over_tls_alone() {
    let directory = tempfile::tempdir().unwrap();
    let (cert, key) = certificate(directory.path(), "localhost");
    let (other, other_key) = certificate(directory.path(), "node1.example");
    let token = directory.path().join("token");
    fs::write(&token, "0123456789abcdef0123456789abcdef\n").unwrap();
    let socket = format!("unix:{}", directory.path().join("http.sock").display());
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let arguments = ["--tls-cert", &text(&cert), "--tls-key", &text(&key), "--token-file", &text(&token)];
    let agent = Serving::start(&[&arguments[..], &["--listen", &socket]].concat());
    assert!(agent.said().contains(&format!("https://{}", agent.address)), "{}", agent.said());
    let https = format!("https://localhost:{}", agent.address.port());

    wait_for("readiness", || {
        let done = asking(&["check", "--fail-on", "lingering-cgroup", &https], &cert);
        (done.status.code() == Some(0)).then_some(())
    });
    let report = asking(&["report", &https], &cert);
    assert!(report.status.success(), "{}", said(&report));
    let local = asking(&["report", &socket], &cert);
    assert!(local.status.success(), "{}", said(&local));
    // Another program that speaks TLS, and its word for what it has checked.
    let asked = format!(
        "printf 'GET /healthz HTTP/1.0\\r\\n\\r\\n' | openssl s_client -quiet -verify_return_error \
        -verify_hostname localhost -CAfile {} -connect localhost:{}",
        cert.display(),
        agent.address.port()
    );
    let health = Command::new("sh").args(["-c", &asked]).output().unwrap();
    assert!(said(&health).contains("HTTP/1.0 200 OK\r\n") && said(&health).contains("alive\n"), "{}", said(&health));

    let strange = asking(&["report", &https], &other);
    assert_eq!(strange.status.code(), Some(2));
    assert!(said(&strange).contains(&format!("error: failed to speak TLS with {https}: invalid peer certificate: ")));
    let by_address = asking(&["report", &format!("https://{}", agent.address)], &cert);
    assert!(
        said(&by_address).contains("invalid peer certificate: certificate not valid for name"),
        "{}",
        said(&by_address)
    );
    // In the clear there is no answer, and who says nothing does not keep others out.
    let begun = Instant::now();
    let clear = agent.raw(b"GET /healthz HTTP/1.0\r\n\r\n");
    assert!(!String::from_utf8_lossy(&clear).contains("HTTP/"), "{clear:?}");
    let silent: Vec<_> = (0..200).filter_map(|_| std::net::TcpStream::connect(agent.address).ok()).collect();
    let report = asking(&["report", &https], &cert);
    assert!(report.status.success(), "{}", said(&report));
    assert!(begun.elapsed() < Duration::from_secs(10) * crate::support::patience(), "{:?}", begun.elapsed());
    drop(silent);
    agent.end();

    let wrong = refused(&["--listen", "127.0.0.1:0", "--tls-cert", &text(&cert), "--tls-key", &text(&other_key)]);
    assert!(
        wrong.contains(&format!("error: {} does not go with {}: ", other_key.display(), cert.display())),
        "{wrong}"
    );
    let wrong = refused(&["--listen", "127.0.0.1:0", "--tls-cert", &text(&token), "--tls-key", &text(&key)]);
    assert!(wrong.contains("holds no certificate in PEM"), "{wrong}");
    let wrong = refused(&["--listen", "127.0.0.1:0", "--tls-cert", &text(&cert)]);
    assert!(wrong.contains("--tls-key"), "{wrong}");
    Serving::start(&["--listen", "0.0.0.0:0", "--tls-cert", &text(&cert), "--tls-key", &text(&key)]).end();
}
