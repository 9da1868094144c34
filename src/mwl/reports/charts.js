"use strict";
// Draws each figure of class `chart` from the data within it: hover tells values, a frame zooms, a name hides its curve.
const SIZE = { width: 680, height: 380, left: 70, right: 24, top: 12, bottom: 46 };
const INNER = { width: SIZE.width - SIZE.left - SIZE.right, height: SIZE.height - SIZE.top - SIZE.bottom };

function ticks([low, high]) {
  const rough = (high - low) / 6, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough * 0.999);
  const count = Math.floor(high / step) - Math.ceil(low / step) + 1;
  return Array.from({ length: count }, (_, i) => (Math.ceil(low / step) + i) * step);
}

function short(value) {
  const size = Math.abs(value);
  if (size >= 1e6) return `${+(value / 1e6).toPrecision(4)}M`;
  return size >= 1e4 ? `${+(value / 1e3).toPrecision(4)}k` : String(+value.toPrecision(4));
}

function range(values) {
  const low = Math.min(...values), high = Math.max(...values);
  return high > low ? [low, high] : [low - 0.5, high + 0.5];
}

function chart(figure, number) {
  const views = JSON.parse(figure.querySelector("script").textContent);
  const svg = figure.querySelector("svg"), said = figure.querySelector(".said"), names = figure.querySelector(".names");
  const hidden = new Set();
  let view = views[0], shown, frame = null;

  const visible = () => view.series.filter((series) => !hidden.has(series.name));
  const x = (value) => SIZE.left + (value - shown.x[0]) / (shown.x[1] - shown.x[0]) * INNER.width;
  const y = (value) => SIZE.top + (shown.y[1] - value) / (shown.y[1] - shown.y[0]) * INNER.height;
  const within = (series, across) => series.x.map((at, i) => i).filter((i) => series.x[i] >= across[0] && series.x[i] <= across[1]);

  function add(name, attributes, text) {
    const made = document.createElementNS(svg.namespaceURI, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== undefined) made.textContent = text;
    return svg.appendChild(made);
  }

  function show(across) { // an interval of x, with all that lies in it
    const inside = visible().flatMap((s) => within(s, across).flatMap((i) => [s.low ? s.low[i] : s.y[i], s.high ? s.high[i] : s.y[i]]));
    const [low, high] = range(inside.length ? inside : [0, 1]);
    shown = { x: across, y: [low - 0.04 * (high - low), high + 0.04 * (high - low)] };
    draw();
  }

  function begin(all) {
    const own = view.series.filter((series) => !series.dashed);
    const [low, high] = range((all || !own.length ? view.series : own).flatMap((series) => series.x));
    show([low, all || view.until === null ? high : Math.max(high, view.until)]);
  }

  function draw() {
    svg.replaceChildren();
    const right = SIZE.left + INNER.width, bottom = SIZE.top + INNER.height;
    add("clipPath", { id: `clip${number}` }).append(add("rect", { x: SIZE.left, y: SIZE.top, width: INNER.width, height: INNER.height }));
    for (const at of ticks(shown.x)) {
      add("line", { x1: x(at), x2: x(at), y1: SIZE.top, y2: bottom, stroke: "#8883" });
      add("text", { x: x(at), y: bottom + 16, "text-anchor": "middle", "font-size": 12, fill: "currentColor" }, short(at));
    }
    for (const at of ticks(shown.y)) {
      add("line", { x1: SIZE.left, x2: right, y1: y(at), y2: y(at), stroke: "#8883" });
      add("text", { x: SIZE.left - 6, y: y(at) + 4, "text-anchor": "end", "font-size": 12, fill: "currentColor" }, short(at));
    }
    add("text", { x: (SIZE.left + right) / 2, y: SIZE.height - 8, "text-anchor": "middle", "font-size": 13, fill: "currentColor" }, view.x);
    add("text", { x: 0, y: 0, transform: `translate(14 ${(SIZE.top + bottom) / 2}) rotate(-90)`, "text-anchor": "middle", "font-size": 13, fill: "currentColor" }, view.y);
    for (const series of visible()) {
      const point = (at, i) => `${x(series.x[i]).toFixed(1)},${y(at).toFixed(1)}`;
      const clip = { "clip-path": `url(#clip${number})` };
      if (series.dashed) {
        series.x.forEach((at, i) => add("line", { x1: x(at), x2: x(at), y1: y(series.low[i]), y2: y(series.high[i]), stroke: series.colour, ...clip }));
      } else if (series.low) {
        const edge = [...series.high.map(point), ...series.low.map(point).reverse()];
        add("polygon", { points: edge.join(" "), fill: series.colour, "fill-opacity": 0.18, ...clip });
      }
      const look = series.dashed ? { "stroke-dasharray": "5 4", "stroke-width": 1.2 } : { "stroke-width": 2 };
      add("polyline", { points: series.y.map(point).join(" "), fill: "none", stroke: series.colour, ...look, ...clip });
    }
  }

  function place(event) {
    const box = svg.getBoundingClientRect();
    return { x: (event.clientX - box.left) / box.width * SIZE.width, y: (event.clientY - box.top) / box.height * SIZE.height };
  }

  const value = (at) => shown.x[0] + (Math.min(Math.max(at, SIZE.left), SIZE.width - SIZE.right) - SIZE.left) / INNER.width * (shown.x[1] - shown.x[0]);
  const height = (at) => shown.y[1] - (Math.min(Math.max(at, SIZE.top), SIZE.height - SIZE.bottom) - SIZE.top) / INNER.height * (shown.y[1] - shown.y[0]);

  function tell(event) {
    const at = place(event), wanted = value(at.x);
    const lines = visible().filter((s) => s.x.length && (s.dashed || (wanted >= s.x[0] && wanted <= s.x[s.x.length - 1]))).map((s) => {
      const i = s.x.reduce((best, here, j) => Math.abs(here - wanted) < Math.abs(s.x[best] - wanted) ? j : best, 0);
      const ends = s.low && s.high[i] > s.low[i] ? ` (${short(s.low[i])} to ${short(s.high[i])})` : "";
      return `${s.name}: ${short(s.y[i])}${ends} at ${short(s.x[i])}`;
    });
    said.replaceChildren(...lines.map((line) => Object.assign(document.createElement("div"), { textContent: line })));
    said.hidden = !lines.length;
    const box = figure.getBoundingClientRect(), left = event.clientX - box.left;
    said.style.left = left > box.width / 2 ? "auto" : `${left + 14}px`;
    said.style.right = left > box.width / 2 ? `${box.width - left + 14}px` : "auto";
    said.style.top = `${event.clientY - box.top + 10}px`;
  }

  svg.addEventListener("pointerdown", (event) => {
    const from = place(event);
    frame = { from, mark: add("rect", { fill: "#8883", stroke: "#888", x: from.x, y: from.y, width: 0, height: 0 }) };
    svg.setPointerCapture(event.pointerId);
  });
  svg.addEventListener("pointermove", (event) => {
    tell(event);
    if (!frame) return;
    const to = place(event), { from, mark } = frame;
    const sides = { x: Math.min(from.x, to.x), y: Math.min(from.y, to.y), width: Math.abs(to.x - from.x), height: Math.abs(to.y - from.y) };
    for (const [key, side] of Object.entries(sides)) mark.setAttribute(key, side);
  });
  svg.addEventListener("pointerup", (event) => {
    if (!frame) return;
    const to = place(event), { from, mark } = frame;
    frame = null;
    mark.remove();
    if (Math.abs(to.x - from.x) < 8) return;
    const across = [value(from.x), value(to.x)].sort((a, b) => a - b);
    const up = [height(from.y), height(to.y)].sort((a, b) => a - b);
    if (Math.abs(to.y - from.y) < 20) show(across);
    else { shown = { x: across, y: up }; draw(); }
  });
  svg.addEventListener("pointerleave", () => { said.hidden = true; });
  svg.addEventListener("dblclick", () => begin(false));
  figure.querySelector(".begin").addEventListener("click", () => begin(false));
  figure.querySelector(".all").addEventListener("click", () => begin(true));
  const choice = figure.querySelector("select");
  choice.hidden = views.length < 2;

  function list() {
    names.replaceChildren(...view.series.map((series) => {
      const button = Object.assign(document.createElement("button"), { type: "button", className: hidden.has(series.name) ? "off" : "" });
      const mark = Object.assign(document.createElement("span"), { textContent: series.dashed ? "┅ " : "━ " });
      mark.style.color = series.colour;
      button.append(mark, series.name);
      button.addEventListener("click", () => {
        if (!hidden.delete(series.name)) hidden.add(series.name);
        list();
        draw();
      });
      return button;
    }));
  }

  choice.addEventListener("change", () => { view = views[choice.selectedIndex]; list(); begin(false); });
  list();
  begin(false);
}

document.querySelectorAll("figure.chart").forEach(chart);
