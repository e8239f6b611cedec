"use strict";
for (const timeline of document.querySelectorAll(".timeline")) {
  const span = Number(timeline.dataset.span);
  const began = Number(timeline.dataset.began);
  let from = 0, to = 1;
  const pictures = timeline.querySelectorAll("svg");
  const axis = timeline.querySelectorAll(".axis span");
  const rows = [...timeline.querySelectorAll(".row")];
  const detail = timeline.querySelector(".detail");
  const show = () => {
    for (const picture of pictures) picture.setAttribute("viewBox", `${from * 1000} 0 ${(to - from) * 1000} 10`);
    axis.forEach((label, index) => {
      const at = began + (from + (to - from) * index / (axis.length - 1)) * span;
      label.textContent = new Date(at).toISOString().slice(11, 23);
    });
    timeline.dataset.view = `${from.toFixed(6)} ${to.toFixed(6)}`;
  };
  const zoom = (factor, around = 0.5) => {
    const center = from + (to - from) * around;
    const width = Math.min(1, Math.max(1e-6, (to - from) * factor));
    from = Math.min(1 - width, Math.max(0, center - width * around));
    to = from + width;
    show();
  };
  const move = share => {
    const width = to - from;
    from = Math.min(1 - width, Math.max(0, from + width * share));
    to = from + width;
    show();
  };
  const tell = row => { detail.textContent = row.dataset.life; };
  timeline.querySelector(".in").addEventListener("click", () => zoom(0.5));
  timeline.querySelector(".out").addEventListener("click", () => zoom(2));
  timeline.querySelector(".all").addEventListener("click", () => { from = 0; to = 1; show(); });
  timeline.addEventListener("keydown", event => {
    const at = rows.indexOf(document.activeElement);
    const actions = {
      "+": () => zoom(0.5), "=": () => zoom(0.5), "-": () => zoom(2), "0": () => { from = 0; to = 1; show(); },
      ArrowLeft: () => move(-0.25), ArrowRight: () => move(0.25),
      ArrowDown: () => rows[Math.min(rows.length - 1, at + 1)].focus(),
      ArrowUp: () => rows[Math.max(0, at - 1)].focus(),
    };
    if (actions[event.key]) { actions[event.key](); event.preventDefault(); }
  });
  timeline.addEventListener("wheel", event => {
    if (!event.ctrlKey && !event.shiftKey) return;
    event.preventDefault();
    const picture = event.target.closest("svg");
    const box = picture && picture.getBoundingClientRect();
    zoom(event.deltaY > 0 ? 1.25 : 0.8, box ? (event.clientX - box.left) / box.width : 0.5);
  }, { passive: false });
  for (const row of rows) {
    row.addEventListener("focus", () => tell(row));
    row.addEventListener("mouseenter", () => tell(row));
  }
  show();
}
