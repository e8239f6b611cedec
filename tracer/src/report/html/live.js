"use strict";
// Puts in place what is new. Without this script the page is whole, only still.
{
  const $ = (selector, within = document) => within.querySelector(selector);
  const $$ = (selector, within = document) => [...within.querySelectorAll(selector)];
  // The page is asked for anew when there is a finding that it does not have, and every ten seconds for its timeline.
  const TICK = 1e3, EVERY = 1e4, AGAIN = 3e4, MARKED = 6e4;
  const main = $("main"), news = $(".news"), contact = $(".contact");
  // Ids of events: a run of the agent, and a number in it.
  let heard = main.dataset.told;
  let count = 0, latest = null, lost = "", asking = false, asked = Date.now(), took = 0;

  const isBehind = () => {
    const [run, number] = heard.split("."), [ours, last] = main.dataset.told.split(".");
    return run !== ours || Number(number) > Number(last);
  };
  const say = text => { if (contact.textContent !== text) contact.textContent = text; };

  // Only what differs is touched: what is focused, marked or read stays where it is.
  const put = (parent, children) => {
    const kept = new Set(children);
    for (const child of [...parent.children]) if (!kept.has(child)) child.remove();
    let next = parent.firstElementChild;
    for (const child of children) {
      if (child === next) next = next.nextElementSibling;
      else parent.insertBefore(child, next);
    }
  };
  // Where a finding is in the timeline changes as time goes on; the finding itself does not.
  const lead = (ours, theirs) => {
    const [old, link] = [$("span.goto", ours), $("span.goto", theirs)];
    if (!link) old?.remove();
    else if (!old) $(".when", ours).append(link);
    else for (const { name, value } of $("a", link).attributes) $("a", old).setAttribute(name, value);
  };
  const findings = later => {
    const list = $("#findings"), known = new Map($$("article", list).map(article => [article.id, article])), others = [...list.children];
    put(list, [...$("#findings", later).children].map(fresh => {
      if (!fresh.matches("article")) return others.find(one => one.isEqualNode(fresh)) || fresh;
      const old = known.get(fresh.id);
      if (old?.dataset.revision === fresh.dataset.revision) {
        lead(old, fresh);
        return old;
      }
      fresh.classList.add("fresh");
      setTimeout(() => fresh.classList.remove("fresh"), MARKED);
      if (old?.contains(document.activeElement)) queueMicrotask(() => fresh.focus({ preventScroll: true }));
      return fresh;
    }));
  };
  const containers = later => {
    const ours = $("#containers"), theirs = $("#containers", later), old = $(".timeline", ours), fresh = $(".timeline", theirs);
    if (!old || !fresh) {
      if (ours.isEqualNode(theirs)) return;
      ours.replaceChildren(...theirs.children);
      renew = fresh && show(fresh);
    } else if (renew(fresh)) {
      put(ours, [...theirs.children].map(child => child === fresh ? old : child));
    }
  };
  const merge = later => {
    document.title = later.title;
    for (const part of [".verdict", "#state dl"]) if (!$(part).isEqualNode($(part, later))) $(part).replaceChildren(...$(part, later).childNodes);
    const links = $$("nav a", later);
    $$("nav a").forEach((link, index) => { link.textContent = links[index].textContent; });
    findings(later);
    containers(later);
    main.dataset.told = $("main", later).dataset.told;
  };

  // The page as it is now; null if the agent does not answer.
  const fetched = async () => {
    try {
      const answer = await fetch("/", { cache: "no-store" });
      return answer.ok ? new DOMParser().parseFromString(await answer.text(), "text/html") : null;
    } catch {
      return null;
    }
  };
  const ask = async () => {
    const begun = Date.now();
    asking = true;
    const later = await fetched();
    asking = false;
    asked = Date.now();
    took = asked - begun;
    if (!later) {
      lost ||= `${new Date().toISOString().slice(11, 19)} UTC`;
      return say(`The agent has not answered since ${lost}. This page shows what it knew before.`);
    }
    // Another run of the agent may have another page.
    if ($("main", later).dataset.told.split(".")[0] !== main.dataset.told.split(".")[0]) return location.reload();
    merge(later);
    if (lost) say("");
    lost = "";
  };
  // Whoever is in a row, or points at it, is not disturbed by time alone.
  const isAtWork = () => document.hidden || document.activeElement.matches(".row") || $(".tip:not([hidden])");
  setInterval(() => {
    if (count) {
      const link = document.createElement("a"), { id, revision, severity, summary } = latest;
      link.href = `#finding-${id}`;
      link.textContent = `${severity}: ${summary}`;
      news.replaceChildren(count > 1 ? `${count} findings; the last one: ` : revision ? "Revised finding: " : "New finding: ", link);
      count = 0;
    }
    const passed = Date.now() - asked;
    if (!asking && passed > 2 * took && (isBehind() || passed >= EVERY && !isAtWork())) ask();
  }, TICK);

  const listen = () => {
    const events = new EventSource(`/events?after=${heard}`);
    events.addEventListener("finding", event => {
      heard = event.lastEventId;
      latest = JSON.parse(event.data);
      count++;
    });
    events.addEventListener("open", () => { if (!lost) say(""); });
    events.addEventListener("error", () => {
      // The browser connects again by itself, unless it was refused.
      asked = 0;
      if (events.readyState !== EventSource.CLOSED) return;
      say("Findings appear here within ten seconds, not at once: the agent has no room for another listener.");
      setTimeout(listen, AGAIN);
    });
  };
  listen();
}
