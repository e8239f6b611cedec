//! The HTML report, and the page of a running agent, in a real browser: headless Chromium, from Debian's packages,
//! driven as by a person.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

#[path = "../support/agent.rs"]
mod agent;
mod browser;
mod live;
#[path = "../support/mod.rs"]
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use browser::Browser;
use serde_json::{Value, json};

const CGTRACE: &str = env!("CARGO_BIN_EXE_cgtrace");
const SHIFT: u32 = 8;
const CONTROL: u32 = 2;

fn report(traces: &[PathBuf]) -> String {
    let done = Command::new(CGTRACE).args(["report", "--format", "html"]).args(traces).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let page = String::from_utf8(done.stdout).unwrap();
    assert!(!page.contains("http://") && !page.contains("https://"), "nothing is fetched");
    page
}

/// A page in a browser, and the directory it lies in.
fn opened(page: &str) -> (Browser, tempfile::TempDir, Duration) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("page.html");
    fs::write(&path, page).unwrap();
    let mut browser = Browser::start();
    let took = browser.open(&path);
    browser.assert_silent();
    (browser, directory, took)
}

fn recording(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings").join(name)
}

/// Where a CI job picks up what is to be looked at.
fn artifact(name: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../artifacts");
    fs::create_dir_all(&directory).unwrap();
    directory.join(name)
}

/// What the timeline shows, as shares of the whole.
fn view(browser: &mut Browser) -> (f64, f64) {
    let text = browser.text("document.querySelector('.timeline').dataset.view");
    let length = browser.number("Number(document.querySelector('.timeline').dataset.length)");
    let (from, to) = text.split_once(' ').unwrap();
    (from.parse::<f64>().unwrap() / length, to.parse::<f64>().unwrap() / length)
}

fn near((a, b): (f64, f64), (c, d): (f64, f64)) -> bool {
    (a - c).abs() < 0.01 && (b - d).abs() < 0.01
}

/// The id of the focused element.
fn focused(browser: &mut Browser) -> String {
    browser.text("document.activeElement.id")
}

fn shown(browser: &mut Browser, selector: &str) -> String {
    browser.text(&format!("document.querySelector({selector:?}).textContent"))
}

/// The left edge, the width and the middle height of a row's picture.
fn picture(browser: &mut Browser, row: &str) -> (f64, f64, f64) {
    let (x, y) = browser.middle(&format!("{row} .picture"));
    let width = browser.number(&format!("document.querySelector('{row} .picture').getBoundingClientRect().width"));
    (x - width / 2.0, width, y)
}

fn recordings() -> String {
    report(&[recording("runc-read-only.jsonl"), recording("incident.jsonl"), recording("runc-v1.jsonl")])
}

#[test]
fn the_keyboard_moves_through_rows_events_and_time() {
    let (mut browser, _directory, _) = opened(&recordings());
    browser.evaluate("document.querySelector('.order').focus(), 1");
    // From the toolbar: the keys' summary, then one row, then out of the timeline.
    browser.press("Tab");
    browser.press("Tab");
    assert_eq!(focused(&mut browser), "row-0");
    assert_eq!(browser.number("document.querySelectorAll('.row[tabindex=\"0\"]').length"), 1.0);
    assert_eq!(view(&mut browser), (0.0, 1.0));
    browser.press("ArrowDown");
    assert_eq!(focused(&mut browser), "row-1");
    browser.press("End");
    let last = focused(&mut browser);
    browser.press("ArrowDown");
    assert_eq!(focused(&mut browser), last);
    browser.press("Home");
    assert_eq!(focused(&mut browser), "row-0");
    browser.press("+");
    assert!(near(view(&mut browser), (0.25, 0.75)));
    browser.press("ArrowRight");
    assert!(near(view(&mut browser), (0.375, 0.875)));
    browser.press("ArrowLeft");
    browser.press("-");
    assert!(near(view(&mut browser), (0.0, 1.0)));
    browser.press("f");
    let (from, to) = view(&mut browser);
    assert!(to - from < 0.2, "the row fits the picture: {from} {to}");
    browser.press("n");
    let first = shown(&mut browser, ".now");
    assert!(first.contains("  by "), "when, what, who: {first}");
    browser.press("n");
    assert_ne!(shown(&mut browser, ".now"), first);
    assert_eq!(shown(&mut browser, ".tip"), shown(&mut browser, ".now"), "the tip shows the same");
    browser.press("p");
    assert_eq!(shown(&mut browser, ".now"), first);
    browser.press("0");
    assert_eq!(view(&mut browser), (0.0, 1.0));
    browser.press("?");
    assert_eq!(browser.evaluate("document.querySelector('.keys').open"), true);
    browser.assert_silent();
}

#[test]
fn the_mouse_shows_zooms_and_moves_and_the_wheel_alone_scrolls_the_page() {
    let (mut browser, _directory, _) = opened(&report(&[recording("race.jsonl")]));
    let (left, width, y) = picture(&mut browser, "#row-0");
    browser.mouse("mouseMoved", (left + 3.0, y), json!({}));
    let tip = shown(&mut browser, ".tip");
    assert!(tip.contains("  by demo-runc["), "{tip}");
    browser.mouse("mouseMoved", (left + width - 3.0, y), json!({}));
    assert!(shown(&mut browser, ".tip").contains("released"), "the nearest event, not the row's first");
    assert!(shown(&mut browser, ".detail .here").contains("released"));

    let wheel = |modifiers: u32| json!({ "deltaX": 0, "deltaY": -120, "modifiers": modifiers });
    browser.mouse("mouseWheel", (left + width / 2.0, y), wheel(0));
    assert_eq!(view(&mut browser), (0.0, 1.0), "the wheel alone does not zoom");
    let (_, _, y) = picture(&mut browser, "#row-0");
    browser.mouse("mouseWheel", (left + width / 2.0, y), wheel(CONTROL));
    assert!(near(view(&mut browser), (0.1, 0.9)), "{:?}", view(&mut browser));
    browser.drag((left + width * 0.5, y), (left + width * 0.6, y), 0);
    assert!(near(view(&mut browser), (0.02, 0.82)), "{:?}", view(&mut browser));
    browser.drag((left + width * 0.75, y), (left + width * 0.25, y), SHIFT);
    assert!(near(view(&mut browser), (0.22, 0.62)), "{:?}", view(&mut browser));
    let all = browser.middle(".all");
    browser.click(all, 1);
    assert_eq!(view(&mut browser), (0.0, 1.0));
    let axis = browser.middle(".ticks");
    browser.drag((left + width * 0.5, axis.1), (left + width * 0.75, axis.1), 0);
    assert!(near(view(&mut browser), (0.5, 0.75)), "{:?}", view(&mut browser));
    browser.click(all, 1);
    let (left, width, y) = picture(&mut browser, "#row-0");
    browser.click((left + width / 2.0, y), 2);
    assert!(near(view(&mut browser), (0.375, 0.625)), "{:?}", view(&mut browser));
    browser.assert_silent();
}

#[test]
fn a_finding_leads_to_its_row_and_time_and_the_row_leads_back() {
    let (mut browser, _directory, _) = opened(&recordings());
    browser.screenshot(&artifact("report-light.png"));
    let link = browser.middle("a.goto");
    let article = browser.text("document.querySelector('a.goto').closest('article').id");
    browser.click(link, 1);
    let row = focused(&mut browser);
    assert!(row.starts_with("row-"), "{row}");
    let (from, to) = view(&mut browser);
    assert!(to - from < 0.01, "a few milliseconds of some seconds: {from} {to}");
    assert!(browser.number(&format!("document.querySelectorAll('#{row} use').length")) >= 2.0, "its calls, apart");
    let date = shown(&mut browser, ".axis .date");
    assert!(date.starts_with("2026-11-24 UTC, ") && date.contains(" of "), "{date}");
    assert!(shown(&mut browser, ".ticks text").len() >= "04:14:40.898000".len(), "as fine as the view");
    browser.press("n");
    browser.screenshot(&artifact("report-finding.png"));
    browser.press("Enter");
    assert_eq!(focused(&mut browser), article);
    browser.assert_silent();
}

#[test]
fn several_hosts_are_kept_apart_on_one_axis_and_show_when_they_were_traced() {
    let (mut browser, _directory, _) = opened(&recordings());
    assert_eq!(browser.number("document.querySelectorAll('.timeline').length"), 1.0);
    assert_eq!(browser.number("document.querySelectorAll('.row.host').length"), 3.0);
    let edges = browser.evaluate(
        "[...document.querySelectorAll('.covered')]
            .map(one => ['x', 'width'].map(it => parseFloat(one.getAttribute(it))))",
    );
    let edges: Vec<(f64, f64)> = serde_json::from_value(edges).unwrap();
    for pair in edges.windows(2) {
        assert!(pair[0].0 + pair[0].1 < pair[1].0 + 0.2, "one after the other, as they were recorded: {edges:?}");
    }
    assert!((edges[2].0 + edges[2].1 - 100.0).abs() < 0.1, "{edges:?}");
}

#[test]
fn a_screen_reader_finds_names_and_descriptions() {
    let (mut browser, _directory, _) = opened(&report(&[recording("incident.jsonl")]));
    let document = browser.call("DOM.getDocument", json!({}));
    let mut told = |selector: &str| -> Value {
        let parameters = json!({ "nodeId": document["root"]["nodeId"], "selector": selector });
        let node = browser.call("DOM.querySelector", parameters);
        let parameters = json!({ "nodeId": node["nodeId"], "fetchRelatives": false });
        let node = browser.call("Accessibility.getPartialAXTree", parameters)["nodes"][0].clone();
        json!([node["role"]["value"], node["name"]["value"], node["description"]["value"]])
    };
    assert_eq!(told(".lives"), json!(["list", "containers on vm", null]));
    let row = told("#row-0");
    assert_eq!(row[0], "listitem");
    assert_eq!(row[1], "container b05bzm3so1yqejoj60u5ud8fl, runc, 6 failed calls, fault");
    let description = row[2].as_str().unwrap();
    assert!(description.starts_with("from 04:14:40.896 for 1.4"), "{description}");
    assert!(description.ends_with("; failed: open ENOENT ×4, mkdir EROFS, rmdir EROFS"), "{description}");
    assert_eq!(told("#row-0 .picture")[0], "image");
    assert_eq!(told("article")[1], "FAULT missing-path-teardown, read-only-mount");
    assert_eq!(told("table")[1], "Evidence");
    assert_eq!(told("button.in"), json!(["button", "zoom in", null]));
    assert_eq!(told("input.find")[0], "searchbox");
    assert_eq!(told("input.only")[1], "only with failed calls");
    browser.assert_silent();
}

/// The text of the page that is hardest to read, and the ratio of its contrast.
const CONTRAST: &str = r"(() => {
  const channels = text => text.match(/[\d.]+/g).map(Number);
  const light = color => color.slice(0, 3).map(c => c / 255)
    .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  let worst = [99, ''];
  for (const one of document.querySelectorAll('body *')) {
    const isText = node => node.nodeType === 3 && node.data.trim();
    if (![...one.childNodes].some(isText) || one.closest('script, [hidden], .tip')) continue;
    const style = getComputedStyle(one), text = channels(one instanceof SVGElement ? style.fill : style.color);
    let back = one;
    while (back && channels(getComputedStyle(back).backgroundColor)[3] === 0) back = back.parentElement;
    const behind = channels(getComputedStyle(back || document.body).backgroundColor);
    const [a, b] = [light(text), light(behind)].sort((a, b) => b - a);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < worst[0]) worst = [ratio, `${one.className.baseVal ?? one.className} ${one.textContent.slice(0, 30)}`];
  }
  return worst;
})()";

#[test]
fn every_text_can_be_read_in_light_and_dark_and_the_whole_is_printed() {
    let (mut browser, _directory, _) = opened(&recordings());
    for scheme in ["light", "dark"] {
        browser.scheme(scheme);
        let worst = browser.evaluate(CONTRAST);
        assert!(worst[0].as_f64().unwrap() >= 4.5, "{scheme}: {worst}");
    }
    let box_of = browser.middle(".timeline");
    browser.mouse("mouseMoved", box_of, json!({}));
    browser.screenshot(&artifact("report-dark.png"));
    // Zoomed on the screen, whole on paper, then zoomed again.
    let link = browser.middle("a.goto");
    browser.click(link, 1);
    let before = view(&mut browser);
    browser.evaluate(
        "addEventListener('beforeprint', () => window.printed = document.querySelector('.timeline').dataset.view), 1",
    );
    let pdf = browser.print();
    assert!(pdf.starts_with(b"%PDF") && pdf.len() > 10_000);
    fs::write(artifact("report.pdf"), pdf).unwrap();
    let printed = browser.text("window.printed");
    assert!(printed.starts_with("0 "), "the whole is printed: {printed}");
    assert_eq!(view(&mut browser), before);
    browser.assert_silent();
}

#[test]
fn without_script_the_picture_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("page.html");
    fs::write(&path, report(&[recording("race.jsonl")])).unwrap();
    let mut browser = Browser::start();
    browser.call("Emulation.setScriptExecutionDisabled", json!({ "value": true }));
    browser.open(&path);
    let count = |selector: &str| format!("document.querySelectorAll('{selector}').length");
    assert_eq!(browser.number(&count(".bar[hidden]")), 1.0, "no button that does nothing");
    for (selector, at_least) in [(".row rect", 3.0), (".row use", 1.0), (".ticks text", 5.0), ("a.goto", 1.0)] {
        assert!(browser.number(&count(selector)) >= at_least, "{selector}");
    }
    browser.evaluate("document.querySelector('.timeline').scrollIntoView()");
    browser.screenshot(&artifact("report-without-script.png"));
}

/// A container's id: twelve digits that look like a hash's, then its number.
fn hash(number: u64) -> String {
    format!("{:012x}{number:052x}", number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16)
}

/// A trace of containers that come and go, one in a hundred of them removed twice.
fn trace(containers: u64, comm: &str, host: &str, path: &dyn Fn(u64) -> String) -> String {
    let header = fs::read_to_string(recording("incident.jsonl")).unwrap().lines().next().unwrap().to_owned();
    let mut header: Value = serde_json::from_str(&header).unwrap();
    header["host"] = json!(host);
    let begun = 4_569_722_890_706u64;
    let mut lines = Vec::new();
    for number in 0..containers {
        let path = path(number);
        let actor = json!({ "pid": 7_000 + number, "tid": 7, "comm": comm, "uid": 0 });
        let changes = ["created", "populated", "emptied", "removed", "released"];
        for (step, change) in changes.into_iter().enumerate() {
            let at = begun + number * 1_000_000 + step as u64 * 50_000_000;
            let cgroup = json!({ "hierarchy": 0, "id": number + 100, "path": path, "level": 2 });
            lines.push(json!({ "type": "event", "at": at, "change": change, "cgroup": cgroup, "actor": actor }));
        }
        if number % 100 == 0 {
            let directory = json!({ "device": "0:38", "id": 1, "path": "/" });
            let at = begun + number * 1_000_000 + 170_000_000;
            lines.push(json!({ "type": "attempt", "at": at, "operation": "rmdir", "syscall": "unlinkat",
                "errno": "ENOENT", "path": &path[1..], "directory": directory, "actor": actor }));
        }
    }
    lines.sort_by_key(|line| line["at"].as_u64());
    let last = lines.last().unwrap()["at"].as_u64().unwrap();
    let mut text = format!("{header}\n");
    for (number, line) in lines.iter_mut().enumerate() {
        line["seq"] = json!(number + 1);
        text.push_str(&format!("{line}\n"));
    }
    text + &format!("{}\n", json!({ "type": "end", "at": last + 1_000_000_000 }))
}

fn page_of(text: &str) -> String {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("trace.jsonl");
    fs::write(&path, text).unwrap();
    report(&[path])
}

#[test]
fn a_thousand_containers_are_found_sorted_and_quick() {
    let page = page_of(&trace(1_000, "runc", "node", &|number| format!("/docker/{}", hash(number))));
    assert!(page.len() < 2_000_000, "{} bytes", page.len());
    let (mut browser, _directory, took) = opened(&page);
    println!("a thousand containers: {} bytes, loaded in {took:?}", page.len());
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert_eq!(browser.number("document.querySelectorAll('.life').length"), 1_000.0);
    assert_eq!(browser.number("document.querySelectorAll('[tabindex=\"0\"]').length"), 1.0, "one stop for them all");
    let first = "document.querySelector('.life:not([hidden]) .row .name').title";
    assert!(browser.text(first).starts_with(&hash(0)), "those in trouble come first");
    assert_eq!(shown(&mut browser, ".shown"), "1000 containers");

    let only = browser.middle(".only");
    browser.click(only, 1);
    assert_eq!(shown(&mut browser, ".shown"), "10 of 1000 containers");
    let only = browser.middle(".only");
    browser.click(only, 1);
    let find = browser.middle(".find");
    browser.click(find, 1);
    browser.call("Input.insertText", json!({ "text": &hash(777)[..12].to_uppercase() }));
    browser.settle();
    assert_eq!(shown(&mut browser, ".shown"), "1 of 1000 containers");
    assert!(browser.text(first).starts_with(&hash(777)));
    // A finding whose row is filtered away brings it back.
    let link = browser.middle("a.goto");
    browser.click(link, 1);
    assert_eq!(shown(&mut browser, ".shown"), "1000 containers");
    assert!(focused(&mut browser).starts_with("row-"));

    browser.evaluate("document.querySelector('.order').focus(), 1");
    browser.press("ArrowDown");
    assert_eq!(browser.text("document.querySelector('.order').value"), "time");
    assert!(browser.text(first).starts_with(&hash(0)));
    let second = "document.querySelectorAll('.life .row .name')[1].title";
    assert!(browser.text(second).starts_with(&hash(1)));
    // The axis stays in sight at the end of the list.
    browser.press("Tab");
    browser.press("Tab");
    browser.press("End");
    assert_eq!(browser.evaluate("document.activeElement === [...document.querySelectorAll('.row')].pop()"), true);
    let top = browser.number("document.querySelector('.axis').getBoundingClientRect().top");
    assert!((0.0..300.0).contains(&top), "{top}");
    browser.press("0");
    browser.press("Home");
    browser.screenshot(&artifact("report-thousand.png"));
    browser.assert_silent();
}

#[test]
fn nothing_that_a_stranger_chose_becomes_markup() {
    let evil =
        "</script><script>alert(1)</script>\"><img src=x onerror=alert(2)>' onfocus='alert(3)\u{1b}[2J\u{202e}gpj";
    let mild = "evil-name";
    let hostile = page_of(&trace(101, evil, evil, &|number| {
        format!("/lxc/{}{number}{}", evil.replace('/', "\\"), "x".repeat(150))
    }));
    let harmless = page_of(&trace(101, mild, mild, &|number| format!("/lxc/{mild}{number}")));
    assert!(!hostile.contains("<script>alert") && !hostile.contains("<img"));
    assert!(!hostile.contains('\u{1b}') && !hostile.contains('\u{202e}'));
    // The same elements with the same attributes, whatever the names are.
    let shape = "JSON.stringify([...document.querySelectorAll('*')].reduce((all, one) => { \
                 const key = one.localName + ' ' + one.getAttributeNames().sort(); \
                 all[key] = (all[key] || 0) + 1; return all; }, {}))";
    let mut shapes = Vec::new();
    for page in [&hostile, &harmless] {
        let (mut browser, _directory, _) = opened(page);
        let link = browser.middle("a.goto");
        browser.click(link, 1);
        browser.evaluate("document.querySelector('.row').focus(), 1");
        browser.press("n");
        browser.press("0");
        let (left, width, y) = picture(&mut browser, "#row-0");
        browser.mouse("mouseMoved", (left + width * 0.1, y), json!({}));
        let overflow = browser.number("document.documentElement.scrollWidth - document.documentElement.clientWidth");
        assert!(overflow <= 0.0, "nothing is wider than the window: {overflow}");
        shapes.push(browser.text(shape));
        if page == &hostile {
            browser.screenshot(&artifact("report-hostile.png"));
        }
        browser.assert_silent();
    }
    assert_eq!(shapes[0], shapes[1]);
}
