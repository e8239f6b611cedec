//! A browser at the other end of a pipe: headless Chromium, spoken to in the DevTools protocol.
//!
//! Its descriptors 3 and 4 carry JSON, each message ended by a zero byte, so nothing is needed but a pipe.

use std::collections::VecDeque;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// For everything that is waited for.
const DEADLINE: Duration = Duration::from_secs(60);

/// A browser with one page.
pub struct Browser {
    child: Child,
    to: ChildStdin,
    from: Receiver<Value>,
    session: Option<String>,
    last: u64,
    /// Events that nobody has looked at yet.
    events: VecDeque<Value>,
    /// What a page may be asked of, besides files.
    origin: Option<String>,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Starts one, with an empty page.
    pub fn start() -> Self {
        let profile = tempfile::tempdir().unwrap();
        // The shell puts the pipes where the protocol wants them.
        let mut child = Command::new("sh")
            .args(["-c", "exec chromium \"$@\" 3<&0 4>&1 </dev/null >/dev/null 2>&1", "chromium"])
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--remote-debugging-pipe"])
            .args(["--disable-background-networking", "--disable-component-update", "--window-size=1400,1000"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (to, mut out) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let (sender, from) = mpsc::channel();
        std::thread::spawn(move || {
            let mut message = Vec::new();
            while out.read_until(0, &mut message).is_ok_and(|length| length > 0) {
                message.pop();
                let Ok(value) = serde_json::from_slice(&message) else { break };
                if sender.send(value).is_err() {
                    break;
                }
                message.clear();
            }
        });
        let mut browser =
            Self { child, to, from, session: None, last: 0, events: VecDeque::new(), origin: None, _profile: profile };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" }));
        let attached =
            browser.call("Target.attachToTarget", json!({ "targetId": target["targetId"], "flatten": true }));
        browser.session = Some(attached["sessionId"].as_str().unwrap().to_owned());
        for domain in ["Page", "Runtime", "Log", "Network", "DOM", "Accessibility"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        browser
    }

    /// Calls a method of the protocol.
    pub fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.last += 1;
        let id = self.last;
        let mut message = json!({ "id": id, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        self.to.write_all(&bytes).expect("chromium is installed: apt-get install chromium");
        loop {
            let answer = self.receive(method);
            if answer["id"] == id {
                assert!(answer["error"].is_null(), "{method}: {answer}");
                return answer["result"].clone();
            }
            self.events.push_back(answer);
        }
    }

    fn receive(&mut self, why: &str) -> Value {
        self.from.recv_timeout(DEADLINE).unwrap_or_else(|error| panic!("{why}: chromium does not answer: {error}"))
    }

    /// Opens a file and waits until it is loaded. Returns how long that took.
    pub fn open(&mut self, path: &Path) -> Duration {
        self.go(&format!("file://{}", path.display()))
    }

    /// Opens a page of a server, which may ask that server for more.
    pub fn visit(&mut self, origin: &str, path: &str) -> Duration {
        self.origin = Some(format!("{origin}/"));
        self.go(&format!("{origin}{path}"))
    }

    fn go(&mut self, url: &str) -> Duration {
        let begun = Instant::now();
        let loaded = |event: &Value| event["method"] == "Page.loadEventFired";
        self.events.retain(|event| !loaded(event));
        self.call("Page.navigate", json!({ "url": url }));
        while !self.events.iter().any(loaded) {
            let event = self.receive("load");
            self.events.push_back(event);
        }
        begun.elapsed()
    }

    /// Waits for two frames: what was asked for is drawn then.
    pub fn settle(&mut self) {
        self.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(1))))");
    }

    /// What an expression of the page is worth.
    pub fn evaluate(&mut self, expression: &str) -> Value {
        let parameters = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let answer = self.call("Runtime.evaluate", parameters);
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    /// A number on the page.
    pub fn number(&mut self, expression: &str) -> f64 {
        let value = self.evaluate(expression);
        value.as_f64().unwrap_or_else(|| panic!("{expression} is {value}"))
    }

    /// A text on the page.
    pub fn text(&mut self, expression: &str) -> String {
        let value = self.evaluate(expression);
        value.as_str().unwrap_or_else(|| panic!("{expression} is {value}")).to_owned()
    }

    /// Presses a key, as a person would.
    pub fn press(&mut self, key: &str) {
        let text = match key {
            "Enter" => "\r",
            key if key.chars().count() == 1 => key,
            _ => "",
        };
        let code = match key {
            "Tab" => 9,
            "Enter" => 13,
            "ArrowDown" => 40,
            _ => 0,
        };
        let mut parameters = json!({ "type": "keyDown", "key": key, "text": text, "windowsVirtualKeyCode": code });
        self.call("Input.dispatchKeyEvent", parameters.clone());
        parameters["type"] = json!("keyUp");
        self.call("Input.dispatchKeyEvent", parameters);
        self.settle();
    }

    /// One event of the mouse at a place of the window. `more` is merged into it.
    pub fn mouse(&mut self, kind: &str, (x, y): (f64, f64), more: Value) {
        let mut parameters = json!({ "type": kind, "x": x, "y": y });
        for (name, value) in more.as_object().into_iter().flatten() {
            parameters[name] = value.clone();
        }
        self.call("Input.dispatchMouseEvent", parameters);
        self.settle();
    }

    /// Presses, moves, lets go. `modifiers`: 2 is Control, 8 is Shift.
    pub fn drag(&mut self, from: (f64, f64), to: (f64, f64), modifiers: u32) {
        let held = json!({ "button": "left", "buttons": 1, "clickCount": 1, "modifiers": modifiers });
        self.mouse("mousePressed", from, held.clone());
        self.mouse("mouseMoved", ((from.0 + to.0) / 2.0, (from.1 + to.1) / 2.0), held.clone());
        self.mouse("mouseMoved", to, held.clone());
        self.mouse("mouseReleased", to, held);
    }

    /// Clicks `count` times.
    pub fn click(&mut self, at: (f64, f64), count: u32) {
        self.mouse("mouseMoved", at, json!({}));
        for number in 1..=count {
            let button = json!({ "button": "left", "buttons": 1, "clickCount": number });
            self.mouse("mousePressed", at, button.clone());
            self.mouse("mouseReleased", at, button);
        }
    }

    /// The middle of the first element that matches, scrolled into view.
    pub fn middle(&mut self, selector: &str) -> (f64, f64) {
        self.evaluate(&format!("document.querySelector({selector:?}).scrollIntoView({{ block: 'center' }})"));
        // What comes into view gets its real height only then.
        self.settle();
        let corner = self.evaluate(&format!(
            "(() => {{ const box = document.querySelector({selector:?}).getBoundingClientRect(); \
             return [box.left + box.width / 2, box.top + box.height / 2]; }})()"
        ));
        (corner[0].as_f64().unwrap(), corner[1].as_f64().unwrap())
    }

    /// Keeps a picture of the window.
    pub fn screenshot(&mut self, path: &Path) {
        let answer = self.call("Page.captureScreenshot", json!({ "format": "png" }));
        let picture = from_base64(answer["data"].as_str().unwrap());
        assert!(picture.len() > 10_000, "a picture with something on it");
        fs::write(path, picture).unwrap();
    }

    /// Prints the page. Returns the PDF.
    pub fn print(&mut self) -> Vec<u8> {
        let answer = self.call("Page.printToPDF", json!({ "printBackground": false }));
        from_base64(answer["data"].as_str().unwrap())
    }

    /// The light or the dark scheme.
    pub fn scheme(&mut self, scheme: &str) {
        let feature = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.call("Emulation.setEmulatedMedia", json!({ "features": feature }));
        self.settle();
    }

    /// Asserts that the page has said nothing on its console, thrown nothing, and asked for nothing but itself.
    pub fn assert_silent(&mut self) {
        self.settle();
        for event in self.events.drain(..) {
            let method = event["method"].as_str().unwrap_or_default();
            let noise = ["Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"];
            assert!(!noise.contains(&method), "{event}");
            if method == "Network.requestWillBeSent" {
                let url = event["params"]["request"]["url"].as_str().unwrap();
                let own = self.origin.as_ref().is_some_and(|origin| url.starts_with(origin));
                let local = url.starts_with("file:///") || url == "about:blank" || url == "data:,";
                assert!(own || local, "asked for {url}");
            }
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn from_base64(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut held) = (0u32, 0);
    for character in text.bytes() {
        let value = match character {
            b'A'..=b'Z' => character - b'A',
            b'a'..=b'z' => character - b'a' + 26,
            b'0'..=b'9' => character - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => break,
        };
        bits = bits << 6 | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held & 0xff) as u8);
        }
    }
    bytes
}
