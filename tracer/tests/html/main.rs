//! The HTML report in a real browser: headless Chromium, from Debian's packages.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

const CGTRACE: &str = env!("CARGO_BIN_EXE_cgtrace");

fn page(traces: &[PathBuf]) -> String {
    let done = Command::new(CGTRACE).args(["report", "--format", "html"]).args(traces).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

/// Runs Chromium on a page. Returns the document after its scripts have run; what went to its console is an error.
fn browse(directory: &Path, page: &str, screenshot: Option<&Path>) -> String {
    let path = directory.join("page.html");
    fs::write(&path, page).unwrap();
    let chromium = |arguments: &[&str]| {
        let done = Command::new("chromium")
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--enable-logging=stderr",
                "--virtual-time-budget=5000",
            ])
            .arg(format!("--user-data-dir={}", directory.join("profile").display()))
            .args(["--window-size=1250,1800"])
            .args(arguments)
            .arg(format!("file://{}", path.display()))
            .stdin(Stdio::null())
            .output()
            .expect("chromium is installed: apt-get install chromium");
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        let console: Vec<&str> = said.lines().filter(|line| line.contains("CONSOLE")).collect();
        assert!(done.status.success() && console.is_empty(), "{console:?} {said}");
        String::from_utf8(done.stdout).unwrap()
    };
    if let Some(path) = screenshot {
        chromium(&[&format!("--screenshot={}", path.display())]);
        assert!(fs::metadata(path).unwrap().len() > 10_000, "a picture with something on it");
    }
    chromium(&["--dump-dom"])
}

fn recording(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings").join(name)
}

/// What the timeline does when it is touched; the results end up in the document.
const TOUCH: &str = r#"<script>
const timeline = document.querySelectorAll(".timeline")[0], rows = timeline.querySelectorAll(".row");
const key = key => document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
const view = () => timeline.dataset.view.split(" ").map(Number);
const result = { rows: rows.length, all: view() };
rows[0].focus();
result.focused = timeline.querySelector(".detail").textContent;
key("ArrowDown"); result.down = document.activeElement === rows[1];
key("+"); result.zoomed = view();
key("ArrowRight"); result.moved = view();
key("0"); result.back = view();
timeline.querySelector(".in").click(); result.clicked = view();
timeline.querySelector("svg").dispatchEvent(new WheelEvent("wheel", { deltaY: -1, ctrlKey: true, bubbles: true, cancelable: true }));
result.wheeled = view();
rows[1].dispatchEvent(new MouseEvent("mouseenter")); result.hovered = timeline.querySelector(".detail").textContent;
result.picture = timeline.querySelector("svg").getAttribute("viewBox");
document.body.dataset.result = JSON.stringify(result);
</script></body>"#;

fn result(document: &str) -> Value {
    let from = document.split("data-result=\"").nth(1).expect("the script has run");
    let text = from
        .split('"')
        .next()
        .unwrap()
        .replace("&quot;", "\"")
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&amp;", "&");
    serde_json::from_str(&text).unwrap()
}

#[test]
fn the_timeline_answers_to_keyboard_and_mouse_without_a_word_on_the_console() {
    let directory = tempfile::tempdir().unwrap();
    let html = page(&[recording("runc-read-only.jsonl"), recording("incident.jsonl"), recording("runc-v1.jsonl")]);
    assert!(!html.contains("http://") && !html.contains("https://"), "nothing is fetched");
    let artifacts = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../artifacts");
    fs::create_dir_all(&artifacts).unwrap();
    let document = browse(directory.path(), &html.replace("</body>", TOUCH), None);
    let told = result(&document);
    let share = |name: &str| -> (f64, f64) { (told[name][0].as_f64().unwrap(), told[name][1].as_f64().unwrap()) };
    assert_eq!(share("all"), (0.0, 1.0));
    assert!(told["focused"].as_str().unwrap().contains("container "), "{told}");
    assert_eq!(told["down"], true);
    assert_eq!(share("zoomed"), (0.25, 0.75));
    assert_eq!(share("moved"), (0.375, 0.875));
    assert_eq!(share("back"), (0.0, 1.0));
    assert_eq!(share("clicked"), (0.25, 0.75));
    assert!(share("wheeled").1 - share("wheeled").0 < 0.5, "{told}");
    assert!(
        told["hovered"].as_str().unwrap().contains("ENOENT") || told["hovered"].as_str().unwrap().contains("created"),
        "{told}"
    );
    assert_ne!(told["picture"], "0 0 1000 10");
    browse(directory.path(), &html, Some(&artifacts.join("report.png")));
}

#[test]
fn a_thousand_containers_and_hostile_names_are_shown() {
    let directory = tempfile::tempdir().unwrap();
    let header = fs::read_to_string(recording("incident.jsonl")).unwrap().lines().next().unwrap().to_owned();
    let mut lines = vec![header];
    let mut seq = 0;
    let mut event = |change: &str, number: u64, comm: &str, at: u64| {
        seq += 1;
        let actor = json!({ "pid": 7, "tid": 7, "comm": comm, "uid": 0 });
        let cgroup =
            json!({ "hierarchy": 0, "id": number + 100, "path": format!("/docker/{number:064x}"), "level": 2 });
        json!({ "type": "event", "seq": seq, "at": at, "change": change, "cgroup": cgroup, "actor": actor }).to_string()
    };
    for number in 0..1_000 {
        let at = 4_569_722_890_706 + number * 1_000_000;
        for (step, change) in ["created", "populated", "emptied", "removed", "released"].into_iter().enumerate() {
            let comm = if number == 0 { "</div><script>alert(1)</script>\u{1b}[2J" } else { "runc" };
            lines.push(event(change, number, comm, at + step as u64 * 50_000_000));
        }
    }
    lines.push(json!({ "type": "end", "at": 4_571_722_890_706u64 }).to_string());
    let path = directory.path().join("many.jsonl");
    fs::write(&path, lines.join("\n") + "\n").unwrap();
    let html = page(&[path]);
    assert!(!html.contains("<script>alert") && !html.contains('\u{1b}'));
    let document = browse(directory.path(), &html.replace("</body>", TOUCH), None);
    assert_eq!(result(&document)["rows"], 2_000, "a row for each container and each cgroup");
}
