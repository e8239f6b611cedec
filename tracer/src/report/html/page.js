"use strict";
// The timeline answers to pointer and keyboard. Without this script the page is whole, only still.
// Returns how the timeline is given new rows: false while it is being dragged.
const show = timeline => {
  const $ = (selector, within = timeline) => within.querySelector(selector);
  const $$ = (selector, within = timeline) => [...within.querySelectorAll(selector)];
  const grid = $(".grid"), ticks = $(".ticks"), detail = $(".detail"), now = $(".now"), tip = $(".tip");
  const seen = new Set(), models = new WeakMap(), drawnAt = new WeakMap();
  let began, length, words, lives, hosts, facts;
  // What is shown, in nanoseconds since the beginning.
  let from = 0, to = 0, version = 0, width = 1000, pending = false, current = null, step = -1;

  const absolute = at => began + BigInt(Math.round(at));
  // As many digits below the second as the smallest difference of interest needs.
  const clock = (at, apart = 1e3) => {
    const ns = absolute(at), text = new Date(Number(ns / 1000000n)).toISOString();
    const digits = apart >= 1e9 ? 0 : apart >= 1e6 ? 3 : apart >= 1e3 ? 6 : 9;
    return { date: text.slice(0, 10), time: text.slice(11, 19) + (digits ? "." + String(ns % 1000000000n).padStart(9, "0").slice(0, digits) : "") };
  };
  const human = ns => {
    for (const [unit, name] of [[864e11, "d"], [36e11, "h"], [6e10, "min"], [1e9, "s"], [1e6, "ms"], [1e3, "µs"]])
      if (ns >= unit) return `${Number((ns / unit).toPrecision(3))} ${name}`;
    return `${Math.round(ns)} ns`;
  };
  const share = at => (at - from) / (to - from) * 100;

  // A row's spans and steps, read when they are first needed.
  const model = row => {
    let known = models.get(row);
    if (!known) {
      const spans = [], steps = [], told = (row.dataset.spans || "").split(" "), numbers = (row.dataset.steps || "").split(" ").map(Number);
      for (let i = 0; i + 2 < told.length; i += 3) spans.push({ state: told[i], from: Number(told[i + 1]), to: Number(told[i + 2]) });
      for (let i = 0, at = 0; i + 2 < numbers.length; i += 3) {
        const [after, what, who] = numbers.slice(i, i + 3);
        at += after;
        steps.push({ at, failed: what < 0, what: words[what < 0 ? -1 - what : what], who: words[who] });
      }
      models.set(row, known = { spans, steps });
    }
    return known;
  };

  const layers = { covered: [9, 2], dying: [13, 5], empty: [6, 8], populated: [2, 16] };
  const marks = { created: ["mark", 19], removed: ["mark", 19], released: ["mark", 19], populated: null, emptied: null };
  const draw = row => {
    const picture = $(".picture", row);
    if (!picture || (drawnAt.get(row) || 0) === version) return;
    drawnAt.set(row, version);
    const { spans, steps } = model(row), pixel = 100 / width, x = value => value.toFixed(3);
    let shapes = "";
    for (const state in layers) {
      const [y, height] = layers[state];
      let open = null;
      const close = () => { if (open) shapes += `<rect class="${state}" x="${x(open[0])}%" width="${x(Math.max(pixel, open[1] - open[0]))}%" y="${y}" height="${height}"/>`; };
      for (const span of spans) {
        if (span.state !== state || span.to < from || span.from > to) continue;
        const a = Math.max(0, share(span.from)), b = Math.min(100, share(span.to));
        if (open && a - open[1] < pixel) open[1] = Math.max(open[1], b);
        else { close(); open = [a, b]; }
      }
      close();
    }
    const before = {};
    let crowd = null, failures = "";
    const strike = () => { if (crowd) failures += `<use href="#failure" x="${x(crowd[0])}%"/>` + (crowd[1] > 1 ? `<text class="count" x="${x(crowd[0])}%" dx="9" y="14">${crowd[1]}</text>` : ""); };
    for (const { at, failed, what } of steps) {
      if (at < from || at > to) continue;
      const place = share(at), mark = what in marks ? marks[what] : ["note", 5];
      if (failed) {
        if (crowd && place - crowd[0] < 16 * pixel) crowd[1]++;
        else { strike(); crowd = [place, 1]; }
      } else if (mark && !(place - before[mark[0]] < pixel)) {
        before[mark[0]] = place;
        shapes += `<line class="${mark[0]}" x1="${x(place)}%" x2="${x(place)}%" y1="1" y2="${mark[1]}"/>`;
      }
    }
    strike();
    // A life that is out of sight is pointed at.
    if (steps.length && !shapes && !failures) {
      const left = steps[0].at < from;
      failures = `<path class="off" d="${left ? "M0 10l6-4v8z" : "M0 10l-6-4v8z"}"/>`;
      if (!left) failures = `<svg x="100%">${failures}</svg>`;
    }
    // Numbers and words of this script alone: nothing of the trace is markup here.
    picture.innerHTML = shapes + failures;
  };

  const nice = [1, 1e3, 1e6].flatMap(unit => [1, 2, 5, 10, 20, 50, 100, 200, 500].map(n => n * unit))
    .concat([1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400].map(n => n * 1e9));
  const axis = () => {
    const range = to - from, least = range / Math.max(1, width / 130), days = 864e11;
    const apart = nice.find(n => n >= least) || Math.ceil(least / days) * days, every = BigInt(apart);
    let text = "", lines = "", date = clock(from).date;
    $(".date").textContent = `${date} UTC, ${human(range)}${range < length ? " of " + human(length) : ""}`;
    for (let at = (absolute(from) + every - 1n) / every * every; at <= absolute(to); at += every) {
      const since = Number(at - began), place = share(since), told = clock(since, apart);
      const label = apart >= days ? told.date : told.date === date ? told.time : `${told.date.slice(5)} ${told.time.slice(0, 8)}`;
      date = told.date;
      lines += `<i data-at="${place}"></i>`;
      text += `<text x="${place}%" y="14" text-anchor="${place < 4 ? "start" : place > 96 ? "end" : "middle"}">${label}</text>`;
    }
    ticks.innerHTML = text;
    grid.innerHTML = lines + `<i class="cursor" hidden></i><i class="chosen" hidden></i>`;
    for (const line of $$("[data-at]", grid)) line.style.left = `${line.dataset.at}%`;
  };

  const render = paper => {
    pending = false;
    // Paper is not measured yet when it is drawn for: it is taken to be narrow.
    width = paper === true ? 400 : ticks.clientWidth || 1000;
    axis();
    hosts.forEach(draw);
    for (const life of seen) $$(".row", life).forEach(draw);
    point(false);
  };
  const later = () => { if (!pending) { pending = true; requestAnimationFrame(render); } };
  const view = (a, b) => {
    const range = Math.min(length, Math.max(100, b - a));
    from = Math.min(length - range, Math.max(0, a + (b - a - range) / 2));
    to = from + range;
    version++;
    timeline.dataset.view = `${from} ${to}`;
    later();
  };
  const zoom = (factor, around = 0.5) => {
    const range = Math.min(length, Math.max(100, (to - from) * factor)), at = from + (to - from) * around;
    view(at - range * around, at + range * (1 - around));
    now.textContent = `${human(to - from)} from ${clock(from).time}`;
  };
  const move = by => {
    const range = to - from, start = Math.min(length - range, Math.max(0, from + range * by));
    view(start, start + range);
    now.textContent = `${human(to - from)} from ${clock(from).time}`;
  };
  // A part of the timeline with some room around it.
  const fit = (a, b) => { const room = Math.max(1000, (b - a) * 0.15); view(a - room, b + room); };

  // The detail: whose life it is and every step of it. Its room is taken from the start: nothing moves under the pointer.
  const sentence = ({ at, what, who }) => `${clock(at).time}  ${what}${who ? `  by ${who}` : ""}`;
  const tell = row => {
    if (row === current) return;
    current = row;
    step = -1;
    list(row);
    now.textContent = "";
  };
  const list = row => {
    $(".whose").textContent = $(".name", row).title;
    let before = null;
    $("ol").replaceChildren(...model(row).steps.map(one => {
      const item = document.createElement("li"), gap = before === null ? "" : `+${human(one.at - before)}`;
      item.textContent = `${clock(one.at).time} ${gap.padStart(9)}  ${one.what.padEnd(14)}${one.who || ""}`;
      if (one.failed) item.className = "failed";
      before = one.at;
      return item;
    }));
  };
  // The cursor and the tip, at the current step.
  const point = (shown, note = "") => {
    const cursor = $(".cursor", grid), one = current && model(current).steps[step];
    $$("li.here", detail).forEach(item => item.classList.remove("here"));
    tip.hidden = !shown || !one;
    if (!cursor) return;
    cursor.hidden = tip.hidden;
    if (tip.hidden) return;
    cursor.style.left = `${share(one.at)}%`;
    const item = $$("li", detail)[step];
    item.classList.add("here");
    detail.scrollTop = item.offsetTop - detail.clientHeight / 2;
    tip.textContent = sentence(one) + note;
    const box = $(".picture", current).getBoundingClientRect(), x = box.left + box.width * share(one.at) / 100;
    tip.style.left = `${Math.max(4, Math.min(innerWidth - tip.offsetWidth - 4, x + 10))}px`;
    const above = box.top - tip.offsetHeight - 6;
    tip.style.top = `${above > $(".head").getBoundingClientRect().bottom ? above : box.bottom + 6}px`;
  };
  const nearest = (steps, at) => steps.reduce((best, one, index) => Math.abs(one.at - at) < Math.abs(steps[best].at - at) ? index : best, 0);
  const hover = event => {
    const row = event.target.closest(".row:not(.host)");
    if (!row) return point(false);
    tell(row);
    const box = $(".picture", row)?.getBoundingClientRect(), { spans, steps } = model(row);
    if (!box || event.clientX < box.left - 8 || !steps.length) return point(false);
    const at = from + (event.clientX - box.left) / box.width * (to - from);
    step = nearest(steps, at);
    const span = spans.filter(one => one.from <= at && at <= one.to).pop();
    point(true, span ? `\n${span.state} for ${human(span.to - span.from)}` : "");
  };
  const go = by => {
    const steps = current ? model(current).steps : [];
    if (!steps.length) return;
    step = Math.min(steps.length - 1, Math.max(0, step + by));
    const { at } = steps[step], range = to - from;
    if (at < from || at > to) view(at - range / 2, at + range / 2);
    now.textContent = sentence(steps[step]);
    requestAnimationFrame(() => point(true));
  };

  // One row at a time is a stop for the Tab key.
  const rows = () => $$(".life:not([hidden]) .row");
  let stop = null;
  const halt = row => { if (stop) stop.tabIndex = -1; stop = row; if (row) row.tabIndex = 0; };
  const focus = by => { const all = rows(), at = all.indexOf(stop); all[Math.min(all.length - 1, Math.max(0, at + by))]?.focus(); };
  // By the keyboard it is zoomed about the current event, if that is in sight.
  const about = () => { const one = current && model(current).steps[step]; return one && one.at >= from && one.at <= to ? share(one.at) / 100 : 0.5; };
  const keys = {
    ArrowDown: () => focus(1), ArrowUp: () => focus(-1), PageDown: () => focus(10), PageUp: () => focus(-10), Home: () => focus(-Infinity), End: () => focus(Infinity),
    ArrowLeft: () => move(-0.25), ArrowRight: () => move(0.25), "+": () => zoom(0.5, about()), "=": () => zoom(0.5, about()), "-": () => zoom(2, about()), 0: () => zoom(Infinity),
    n: () => go(1), p: () => go(-1), Enter: () => $("a", stop.closest(".life"))?.click(), "?": () => { $(".keys").open = !$(".keys").open; }, Escape: () => { $(".keys").open = false; point(false); },
    f: () => { const { steps } = model(stop); if (steps.length) fit(steps[0].at, steps.at(-1).at); },
  };
  timeline.addEventListener("focusin", event => { if (event.target.matches(".row")) { halt(event.target); tell(event.target); point(false); } });
  timeline.addEventListener("keydown", event => {
    if (event.ctrlKey || event.altKey || event.metaKey || !event.target.matches(".row") || !(event.key in keys)) return;
    event.preventDefault();
    keys[event.key]();
  });
  $(".in").addEventListener("click", () => zoom(0.5));
  $(".out").addEventListener("click", () => zoom(2));
  $(".all").addEventListener("click", () => zoom(Infinity));

  // The wheel alone scrolls the page.
  const along = event => { const box = ticks.getBoundingClientRect(); return (event.clientX - box.left) / box.width; };
  const pictured = event => event.target.closest(".picture, .ticks");
  timeline.addEventListener("wheel", event => {
    const sideways = event.shiftKey ? event.deltaY || event.deltaX : Math.abs(event.deltaX) > Math.abs(event.deltaY) && to - from < length ? event.deltaX : 0;
    if (!pictured(event) || !event.ctrlKey && !sideways) return;
    event.preventDefault();
    if (event.ctrlKey) zoom(event.deltaY > 0 ? 1.25 : 0.8, along(event));
    else move(sideways / width);
  }, { passive: false });
  let drag = null;
  timeline.addEventListener("pointerdown", event => {
    if (event.button || !pictured(event)) return;
    drag = { at: along(event), from, to, choose: event.shiftKey || !!event.target.closest(".ticks"), moved: false };
  });
  timeline.addEventListener("pointermove", event => {
    if (!drag) return hover(event);
    const by = along(event) - drag.at, range = drag.to - drag.from;
    if (!drag.moved && Math.abs(by) * width < 4) return;
    if (!drag.moved) timeline.setPointerCapture(event.pointerId);
    drag.moved = true;
    point(false);
    if (drag.choose) {
      const box = $(".chosen", grid);
      box.hidden = false;
      box.style.left = `${Math.min(drag.at, drag.at + by) * 100}%`;
      box.style.width = `${Math.abs(by) * 100}%`;
    } else {
      const start = Math.min(length - range, Math.max(0, drag.from - by * range));
      view(start, start + range);
    }
  });
  const drop = event => {
    const { at, choose, moved } = drag || {};
    drag = null;
    if (!moved || !choose || event.type === "pointercancel") return;
    const ends = [at, along(event)].map(one => from + Math.min(1, Math.max(0, one)) * (to - from)).sort((a, b) => a - b);
    view(...ends);
  };
  timeline.addEventListener("pointerup", drop);
  timeline.addEventListener("pointercancel", drop);
  timeline.addEventListener("pointerleave", () => point(false));
  timeline.addEventListener("dblclick", event => { if (pictured(event)) zoom(event.shiftKey ? 4 : 0.25, along(event)); });

  // Which containers are shown, and in what order.
  const find = $(".find"), only = $(".only"), order = $(".order");
  const sift = () => {
    const wanted = find.value.trim().toLowerCase();
    let count = 0;
    for (const { life, troubled, text } of facts) count += !(life.hidden = only.checked && !troubled || !text.includes(wanted));
    $(".shown").textContent = count < lives.length ? `${count} of ${lives.length} containers` : `${count} container${count === 1 ? "" : "s"}`;
    if (!stop || stop.closest("[hidden]")) halt(rows()[0]);
  };
  const sort = () => {
    const by = { trouble: (a, b) => a.index - b.index, time: (a, b) => a.first - b.first, name: (a, b) => a.text < b.text ? -1 : 1 }[order.value];
    const sorted = [...facts].sort(by);
    for (const list of new Set(facts.map(fact => fact.list))) list.replaceChildren(...sorted.filter(fact => fact.list === list).map(fact => fact.life));
  };
  find.addEventListener("input", sift);
  only.addEventListener("change", sift);
  order.addEventListener("change", sort);

  // A finding leads to its row and its time; the browser follows the link itself.
  document.addEventListener("click", event => {
    const link = event.target.closest("a.goto"), row = link && document.querySelector(link.getAttribute("href"));
    if (!row) return;
    if (row.closest("[hidden]")) { find.value = ""; only.checked = false; sift(); }
    fit(Number(link.dataset.from), Number(link.dataset.to));
  });

  // On paper the whole of it, drawn at once.
  let screen = null;
  addEventListener("beforeprint", () => { screen = [from, to]; view(0, length); render(true); lives.forEach(life => $$(".row", life).forEach(row => drawnAt.has(row) && draw(row))); });
  addEventListener("afterprint", () => { if (screen) view(...screen); });
  addEventListener("resize", later);
  const watch = new IntersectionObserver(changes => {
    for (const { target, isIntersecting } of changes) {
      if (isIntersecting) { seen.add(target); $$(".row", target).forEach(draw); } else seen.delete(target);
    }
  }, { rootMargin: "200px" });
  const read = () => {
    began = BigInt(timeline.dataset.began);
    length = Number(timeline.dataset.length);
    words = JSON.parse(timeline.dataset.words);
    [lives, hosts] = [$$(".life"), $$(".host")];
    facts = lives.map((life, index) => ({
      life, index, list: life.parentElement, troubled: !!$(".failed", life), first: Number(($("[data-steps]", life)?.dataset.steps || "0").split(" ", 1)[0]),
      text: $$(".name", life).map(name => name.title).join("\n").toLowerCase(),
    }));
    lives.forEach(life => watch.observe(life));
    for (const link of $$(".trouble a")) link.tabIndex = -1;
  };
  // The rows of a later page take the place of these. What is chosen, pointed at and zoomed into stays so.
  const renew = fresh => {
    if (drag) return false;
    const title = row => row ? $(".name", row).title : null, one = current && model(current).steps[step];
    const was = { began, whole: to - from >= length, stop: title(stop), focused: stop === document.activeElement, current: title(current), at: one ? absolute(one.at) : null, scroll: detail.scrollTop };
    const note = tip.hidden ? null : tip.textContent.split("\n").slice(1).map(line => `\n${line}`).join("");
    watch.disconnect();
    seen.clear();
    Object.assign(timeline.dataset, fresh.dataset);
    timeline.classList.toggle("large", fresh.classList.contains("large"));
    $(".rows").replaceChildren(grid, ...[...fresh.querySelector(".rows").children].filter(child => !child.matches(".grid")));
    read();
    const all = new Map($$(".row").map(row => [title(row), row])), past = Number(was.began - began);
    if (was.whole) view(0, length);
    else view(from + past, to + past);
    stop = null;
    halt(all.get(was.stop) || null);
    current = all.get(was.current) || null;
    // The host's clock may have been put right a little meanwhile.
    const steps = current ? model(current).steps : [], at = was.at === null ? NaN : Number(was.at - began), near = nearest(steps, at);
    step = Math.abs(steps[near]?.at - at) < 1e6 ? near : -1;
    if (current) list(current);
    detail.scrollTop = was.scroll;
    sort();
    sift();
    if (!was.whole) lives.forEach(life => $$(".row", life).forEach(draw));
    if (was.focused) stop?.focus({ preventScroll: true });
    if (note !== null) requestAnimationFrame(() => point(true, note));
    return true;
  };
  $(".bar").hidden = detail.hidden = false;
  read();
  view(0, length);
  sift();
  render();
  return renew;
};
const timeline = document.querySelector(".timeline");
let renew = timeline && show(timeline);
