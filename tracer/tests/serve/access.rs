//! The token, and addresses that other hosts reach.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Command, Output, Stdio};

use crate::agent::{Serving, refused};
use crate::support::{CGTRACE, wait_for};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

fn asking(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(CGTRACE);
    command.env_remove("CGTRACE_TOKEN").env_remove("CGTRACE_TOKEN_FILE");
    command.args(arguments).envs(variables.iter().copied()).stdin(Stdio::null()).output().unwrap()
}

#[test]
fn only_clients_that_show_the_token_are_told_more_than_health() {
    let directory = tempfile::tempdir().unwrap();
    let (file, socket) = (directory.path().join("token"), directory.path().join("http.sock"));
    fs::write(&file, format!("{TOKEN}\n")).unwrap();
    let (file, unix) = (file.to_str().unwrap(), format!("unix:{}", socket.display()));
    let agent = Serving::start(&["--token-file", file, "--listen", &unix]);
    wait_for("readiness", || (agent.get("/readyz").0 == 200).then_some(()));
    assert_eq!(agent.get("/healthz").0, 200);
    let with = |path: &str, sent: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{sent}Connection: close\r\n\r\n");
        agent.request(&request).0
    };
    for path in ["/", "/metrics", "/findings", "/trace", "/nothing"] {
        assert_eq!(agent.get(path), (401, "this agent wants a token: Authorization: Bearer TOKEN\n".into()), "{path}");
        assert_eq!(with(path, "Authorization: Bearer 0123456789abcdef\r\n"), 401, "{path}");
    }
    for path in ["/", "/metrics", "/findings"] {
        assert_eq!(with(path, &format!("Authorization: Bearer {TOKEN}\r\n")), 200, "{path}");
    }
    // A stranger's page in a browser has no token, and a token makes no name of it.
    let by_name = format!("GET / HTTP/1.0\r\nHost: evil.example\r\nAuthorization: Bearer {TOKEN}\r\n\r\n");
    assert_eq!(agent.request(&by_name).0, 403);
    let mut stream = UnixStream::connect(&socket).unwrap();
    stream.write_all(b"GET /findings HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.0 200 OK\r\n"), "{answer}");

    let http = format!("http://{}", agent.address);
    for variables in [("CGTRACE_TOKEN", TOKEN), ("CGTRACE_TOKEN_FILE", file)] {
        // On a busy host, an agent is not ready at every moment.
        wait_for("a check", || {
            let done = asking(&["check", "--fail-on", "lingering-cgroup", &http], &[variables]);
            (done.status.code() == Some(0)).then_some(())
        });
        let done = asking(&["report", &http], &[variables]);
        assert!(done.status.success(), "{done:?}");
    }
    let done = asking(&["report", &http], &[]);
    let said = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(2), "{said}");
    for part in ["answers 401 Unauthorized: this agent wants a token: ", "\nhint: CGTRACE_TOKEN_FILE=FILE"] {
        assert!(said.contains(part), "{said}");
    }
    let done = asking(&["report", &http], &[("CGTRACE_TOKEN", "short")]);
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(said.starts_with("error: CGTRACE_TOKEN is no token: a token has 16 to "), "{said}");
    agent.end();
}

#[test]
fn an_address_that_other_hosts_reach_needs_a_token_or_a_word() {
    let wanted = ", and would read command lines without a token, and without TLS\nhint: --token-file FILE, ";
    for address in ["0.0.0.0:0", "[::]:0"] {
        let said = refused(&["--listen", address]);
        assert!(said.starts_with("error: other hosts reach ") && said.contains(wanted), "{said}");
    }
    let said = refused(&["--check-config", "--listen", "10.0.0.7:9464"]);
    assert!(said.starts_with("error: other hosts reach 10.0.0.7:9464") && said.contains(wanted), "{said}");
    let token = tempfile::NamedTempFile::new().unwrap();
    let named = token.path().to_str().unwrap();
    let said = refused(&["--listen", "0.0.0.0:0", "--token-file", named]);
    assert!(said.contains(&format!("error: {named} holds no token: a token has 16 to ")), "{said}");
    let said = refused(&["--listen", "127.0.0.1:0", "--token-file", "/no/such/file"]);
    assert!(said.contains("error: failed to read /no/such/file: No such file"), "{said}");
    Serving::start(&["--listen", "0.0.0.0:0", "--insecure"]).end();
}
