//! The page of a running agent, with real faults that happen while one looks at it.

use serde_json::{Value, json};

use crate::agent::{Serving, demo};
use crate::browser::Browser;
use crate::support::{Scratch, c_path, fork, mkdir, rmdir, wait_for};
use crate::{CONTRAST, artifact, focused, picture, shown, view};

/// An agent that has had a finding, and a browser on its page.
fn opened() -> (Serving, Browser) {
    let agent = Serving::start(&[]);
    wait_for("readiness", || (agent.get("/readyz").0 == 200).then_some(()));
    demo("duplicate");
    agent.wait_for_finding("duplicate-teardown");
    wait_for("its row", || agent.get("/").1.contains("show in the timeline").then_some(()));
    let mut browser = Browser::start();
    browser.visit(&format!("http://{}", agent.address), "/");
    browser.assert_silent();
    (agent, browser)
}

/// A container's id that no other test on this host has.
fn unique(of: u8) -> String {
    format!("{of:02x}{:06x}", std::process::id()).repeat(8)
}

/// A container's cgroup is removed by one process, and then by another: a real `rmdir` of what does not exist. The
/// agent has found it when this returns.
fn removed_twice(agent: &Serving, scratch: &Scratch, id: &str) {
    let path = c_path(scratch.path.join(format!("libpod-{id}.scope")));
    assert_eq!(fork(|| mkdir(&path)).wait(), 0);
    assert_eq!(fork(|| rmdir(&path)).wait(), 0);
    assert_ne!(fork(|| rmdir(&path)).wait(), 0);
    wait_for("the agent's finding", || {
        (agent.get(&format!("/findings?kind=duplicate-teardown&container={id}")).1 != "[]\n").then_some(())
    });
}

fn count(browser: &mut Browser, selector: &str) -> f64 {
    browser.number(&format!("document.querySelectorAll({selector:?}).length"))
}

/// The finding of a container, as an expression: others may have findings on this host, too.
fn article(id: &str) -> String {
    format!("[...document.querySelectorAll('article')].find(one => one.textContent.includes('{id}'))")
}

/// Waits until the page shows something.
fn until(browser: &mut Browser, what: &str, expression: &str) {
    wait_for(what, || (browser.evaluate(expression) == Value::Bool(true)).then_some(()));
}

#[test]
fn a_finding_appears_while_one_looks_and_nothing_else_moves() {
    let (agent, mut browser) = opened();
    assert!(count(&mut browser, "article") >= 1.0);
    browser.screenshot(&artifact("live-light.png"));
    // Somebody reads the first finding, has typed a search, and has zoomed.
    browser.evaluate("document.querySelector('article').dataset.mine = 'yes', 1");
    let find = browser.middle(".find");
    browser.click(find, 1);
    browser.call("Input.insertText", json!({ "text": "libpod" }));
    browser.evaluate("document.querySelector('.find').value = '', document.querySelector('article').focus(), 1");
    let before = focused(&mut browser);

    let (scratch, id) = (Scratch::new(), unique(0x7c));
    removed_twice(&agent, &scratch, &id);
    until(&mut browser, "the finding", &format!("!!{}", article(&id)));
    until(&mut browser, "its row", &format!("!!document.querySelector('.row .name[title^=\"{id}\"]')"));
    let news = shown(&mut browser, ".news");
    assert!(news.contains("finding") && news.contains("tried to"), "{news}");
    let new = browser.text(&format!("{}.id", article(&id)));
    let order = browser.text("[...document.querySelectorAll('article')].map(one => one.id).join()");
    assert!(order.find(&new) < order.find(&before), "the newest comes first: {order}");
    assert_eq!(focused(&mut browser), before, "whoever read one reads on");
    assert_eq!(browser.text("document.getElementById(document.activeElement.id).dataset.mine"), "yes");
    assert!(shown(&mut browser, "title").contains(" on ") && !shown(&mut browser, "nav a").contains("(1)"));
    until(&mut browser, "its link", &format!("!!{}.querySelector('a.goto')", article(&id)));
    browser.evaluate("scrollTo(0, 0)");
    browser.screenshot(&artifact("live-finding.png"));

    // The new one leads to its row, and back.
    let link = browser.middle(&format!("#{new} a.goto"));
    browser.click(link, 1);
    let row = focused(&mut browser);
    assert!(row.starts_with("row-"), "{row}");
    assert!(browser.text("document.activeElement.querySelector('.name').title").starts_with(&id));
    // What moves away below the pointer is left by it.
    browser.mouse("mouseMoved", (1.0, 1.0), json!({}));
    browser.press("n");
    let now = shown(&mut browser, ".now");
    assert!(now.contains("created"), "{now}");
    browser.screenshot(&artifact("live-timeline.png"));

    // The next one finds the reader in that row, with the same view and the same step, and leaves all that.
    let at = |browser: &mut Browser| {
        let began = browser.number("Number(document.querySelector('.timeline').dataset.began)");
        let view = browser.text("document.querySelector('.timeline').dataset.view");
        began + view.split(' ').next().unwrap().parse::<f64>().unwrap()
    };
    let from = at(&mut browser);
    let another = unique(0x8d);
    removed_twice(&agent, &scratch, &another);
    until(&mut browser, "another finding", &format!("!!{}", article(&another)));
    until(&mut browser, "its row", &format!("!!document.querySelector('.row .name[title^=\"{another}\"]')"));
    browser.settle();
    assert!(browser.text("document.activeElement.querySelector('.name').title").starts_with(&id));
    assert!((at(&mut browser) - from).abs() < 1e6, "the same time is shown");
    assert_eq!(shown(&mut browser, ".now"), now);
    assert!(shown(&mut browser, ".detail .here").contains("created"));
    browser.press("Enter");
    assert_eq!(focused(&mut browser), new);
    browser.assert_silent();
    agent.end();
}

#[test]
fn keys_mouse_and_search_work_as_in_a_report_after_it_was_renewed() {
    let (agent, mut browser) = opened();
    browser.evaluate("document.querySelector('.lives').dataset.old = 'yes', 1");
    let (scratch, id) = (Scratch::new(), unique(0x9e));
    removed_twice(&agent, &scratch, &id);
    until(&mut browser, "its row", &format!("!!document.querySelector('.row .name[title^=\"{id}\"]')"));
    assert_eq!(count(&mut browser, ".lives[data-old]"), 0.0, "the rows are new");
    assert_eq!(view(&mut browser), (0.0, 1.0), "all of it is shown, as before");
    assert_eq!(count(&mut browser, ".row[tabindex=\"0\"]"), 1.0);

    let find = browser.middle(".find");
    browser.click(find, 1);
    browser.call("Input.insertText", json!({ "text": id[..16].to_uppercase() }));
    browser.settle();
    let found = shown(&mut browser, ".shown");
    assert!(found.starts_with("1 of "), "{found}");
    let row = browser.text("document.querySelector('.life:not([hidden]) .row').id");
    browser.evaluate(&format!("document.getElementById('{row}').focus(), 1"));
    browser.press("f");
    let (from, to) = view(&mut browser);
    assert!(to - from < 0.9, "{from} {to}");
    browser.press("0");
    assert_eq!(view(&mut browser), (0.0, 1.0));
    browser.press("+");
    browser.press("n");
    let (left, width, y) = picture(&mut browser, &format!("#{row}"));
    browser.mouse("mouseMoved", (left + width / 2.0, y), json!({}));
    assert!(!shown(&mut browser, ".tip").is_empty());
    browser.drag((left + width * 0.3, y), (left + width * 0.6, y), 0);
    browser.press("0");
    browser.assert_silent();
    agent.end();
}

#[test]
fn it_can_be_read_on_a_phone_in_the_dark_by_a_screen_reader_and_without_script() {
    let (agent, mut browser) = opened();
    for scheme in ["light", "dark"] {
        browser.scheme(scheme);
        let worst = browser.evaluate(CONTRAST);
        assert!(worst[0].as_f64().unwrap() >= 4.5, "{scheme}: {worst}");
    }
    browser.screenshot(&artifact("live-dark.png"));
    let phone = json!({ "width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": true });
    browser.call("Emulation.setDeviceMetricsOverride", phone);
    browser.settle();
    let overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth";
    assert!(browser.number(overflow) <= 0.0, "nothing is wider than a phone: {}", browser.number(overflow));
    browser.screenshot(&artifact("live-phone.png"));
    browser.middle(".picture");
    let wide = browser.number("document.querySelector('.picture').getBoundingClientRect().width");
    assert!(wide > 300.0, "a row's picture is as wide as the phone: {wide}");
    browser.screenshot(&artifact("live-phone-timeline.png"));
    browser.call("Emulation.clearDeviceMetricsOverride", json!({}));
    browser.scheme("light");

    let document = browser.call("DOM.getDocument", json!({}));
    for (selector, role) in [("main", "main"), ("header", "banner"), ("nav", "navigation"), (".news", "status")] {
        let parameters = json!({ "nodeId": document["root"]["nodeId"], "selector": selector });
        let node = browser.call("DOM.querySelector", parameters);
        let parameters = json!({ "nodeId": node["nodeId"], "fetchRelatives": false });
        let node = browser.call("Accessibility.getPartialAXTree", parameters)["nodes"][0].clone();
        assert_eq!(node["role"]["value"], role, "{selector}: {node}");
    }
    browser.assert_silent();

    browser.call("Emulation.setScriptExecutionDisabled", json!({ "value": true }));
    browser.visit(&format!("http://{}", agent.address), "/");
    for (selector, least) in [("#state dd", 9.0), ("article", 1.0), (".row rect", 1.0), ("a[href=\"/trace\"]", 1.0)] {
        assert!(count(&mut browser, selector) >= least, "{selector}");
    }
    assert_eq!(count(&mut browser, ".bar[hidden]"), 1.0, "no button that does nothing");
    browser.screenshot(&artifact("live-without-script.png"));
    agent.end();
}

#[test]
fn it_says_that_the_agent_has_ended_and_shows_the_next_one() {
    let (agent, mut browser) = opened();
    let address = agent.address;
    browser.evaluate("document.querySelector('article').dataset.mine = 'yes', 1");
    agent.end();
    until(&mut browser, "word of it", "document.querySelector('.contact').textContent.includes('has not answered')");
    assert_eq!(count(&mut browser, "article[data-mine]"), 1.0, "what was known is still there");
    let next = Serving::on(address, &["--history", "0"]);
    until(
        &mut browser,
        "the next one",
        "!document.querySelector('article[data-mine]') && !!document.querySelector('#containers')",
    );
    let text = shown(&mut browser, "#containers");
    assert!(text.contains("this agent keeps no history"), "{text}");
    demo("missing-path");
    until(&mut browser, "its finding", &format!("!!{}", article("missing-path-teardown, ")));
    browser.screenshot(&artifact("live-without-history.png"));
    next.end();
}
