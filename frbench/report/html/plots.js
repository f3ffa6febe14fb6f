"use strict";
// Charts as SVG. Names are the users' own: every text enters as a text node, never as markup.

const NAMESPACE = "http://www.w3.org/2000/svg";
const COLORS = 7;
const DASHES = ["", "7 3", "2 3", "9 3 2 3"];
// Outlines of radius 1. Eight of them and seven colours: the first 56 pairs differ.
const CROSS = "M-.4-1.15h.8v.75h.75v.8h-.75v.75h-.8v-.75h-.75v-.8h.75z";
const SHAPES = [
  "M-1 0a1 1 0 1 0 2 0a1 1 0 1 0-2 0z",
  "M-.9-.9h1.8v1.8h-1.8z",
  "M0-1.3L1.1 0L0 1.3L-1.1 0z",
  "M0-1.2L1.15 .85H-1.15z",
  "M0 1.2L1.15-.85H-1.15z",
  CROSS,
  CROSS,
  "M0-1.3L.31-.43L1.24-.4L.5 .16L.76 1.05L0 .53L-.76 1.05L-.5 .16L-1.24-.4L-.31-.43z",
];
const LINE = 12; // font size of all texts
const GLYPH = 7; // width of a letter at that size, on the safe side

function node(name, attributes = {}, ...children) {
  const made = document.createElementNS(NAMESPACE, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

const color = (index) => `c${index % COLORS}`;
const words = (name) => name.replaceAll("_", " ");
const number = (value) => value.toFixed(3).replace("-", "−");
const estimate = ([mean, low, high]) =>
  number(mean) + (low === undefined ? "" : ` [${number(low)}, ${number(high)}]`);

function marker(index, x, y, radius, title) {
  const turn = index % SHAPES.length === 6 ? " rotate(45)" : "";
  const transform = `translate(${x} ${y}) scale(${radius})${turn}`;
  const path = node("path", { d: SHAPES[index % SHAPES.length], transform, class: "marker" });
  return node("g", { class: color(index) }, ...(title ? [node("title", {}, title)] : []), path);
}

function ticks(low, high, count) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
  const first = Math.ceil(low / step - 1e-9);
  const last = Math.floor(high / step + 1e-9);
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  return Array.from({ length: last - first + 1 }, (_, i) => {
    const value = (first + i) * step;
    return [value, value.toFixed(digits).replace("-", "−")];
  });
}

// A canvas with axes; ``x`` and ``y`` turn values into pixels. Without ``yRange`` the rows are
// the caller's.
function frame(width, height, { xRange, yRange, xName, yName, left = 62 }) {
  const box = { left, right: width - 14, top: 12, bottom: height - 42 };
  const scale = ([low, high], a, b) => (value) => a + ((value - low) / (high - low)) * (b - a);
  const x = scale(xRange, box.left, box.right);
  const y = yRange && scale(yRange, box.bottom, box.top);
  const svg = node("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img" });
  for (const [value, label] of ticks(...xRange, Math.max(2, (box.right - left) / 80))) {
    const at = x(value);
    svg.append(node("path", { d: `M${at} ${box.top}V${box.bottom}`, class: "grid" }));
    svg.append(node("text", { x: at, y: box.bottom + 16, "text-anchor": "middle" }, label));
  }
  for (const [value, label] of yRange ? ticks(...yRange, 8) : []) {
    const at = y(value);
    svg.append(node("path", { d: `M${box.left} ${at}H${box.right}`, class: "grid" }));
    svg.append(node("text", { x: left - 6, y: at + 4, "text-anchor": "end" }, label));
  }
  const middle = (box.left + box.right) / 2;
  svg.append(node("text", { x: middle, y: height - 6, "text-anchor": "middle" }, xName));
  if (yName) {
    const at = `translate(11 ${(box.top + box.bottom) / 2}) rotate(-90)`;
    svg.append(node("text", { transform: at, "text-anchor": "middle" }, yName));
  }
  svg.setAttribute("aria-label", yName ? `${yName} against ${xName}` : xName);
  return { svg, box, x, y };
}

function range(values, margin) {
  const low = Math.min(...values);
  const high = Math.max(...values);
  const more = (high - low) * margin || 0.05;
  return [low - more, high + more];
}

const ends = ([mean, low = mean, high = mean]) => [low, high];

function betterName(name, sign) {
  return words(name) + { 1: " → higher is better", "-1": " → lower is better", 0: "" }[sign];
}

// The points that no other dominates, from left to right.
function paretoFront(points, [signX, signY]) {
  const beats = (a, b) => {
    const [x, y] = [signX * (a.x[0] - b.x[0]), signY * (a.y[0] - b.y[0])];
    return x >= 0 && y >= 0 && x + y > 0;
  };
  const free = points.filter((point) => !points.some((other) => beats(other, point)));
  return free.sort((a, b) => a.x[0] - b.x[0]);
}

// points: [{name, index, x: [mean, low, high], y: the same}]; signs: direction of each metric.
function scatter(width, { points, xName, yName, signs }) {
  const height = Math.round(Math.min(420, Math.max(300, width * 0.72)));
  const { svg, box, x, y } = frame(width, height, {
    xRange: range(points.flatMap((point) => ends(point.x)), 0.1),
    yRange: range(points.flatMap((point) => ends(point.y)), 0.1),
    xName: betterName(xName, signs[0]),
    yName: betterName(yName, signs[1]),
  });
  if (signs[0] && signs[1]) {
    const front = paretoFront(points, signs).map((point) => [x(point.x[0]), y(point.y[0])]);
    svg.append(node("path", { d: `M${front.map((at) => at.join(" ")).join("L")}`, class: "front" }));
    for (const [cx, cy] of front) svg.append(node("circle", { cx, cy, r: 11, class: "front" }));
  }
  const centres = points.map((point) => [x(point.x[0]), y(point.y[0])]);
  points.forEach((point, i) => {
    const [[left, right], [low, high]] = [ends(point.x).map(x), ends(point.y).map(y)];
    const d = `M${left} ${centres[i][1]}H${right}M${centres[i][0]} ${low}V${high}`;
    svg.append(node("path", { d, class: `whisker ${color(point.index)}` }));
  });
  points.forEach((point, i) => {
    const title = `${point.name}\n${words(xName)} ${estimate(point.x)}\n${words(yName)} ${estimate(point.y)}`;
    svg.append(marker(point.index, ...centres[i], 5.5, title));
  });
  const taken = centres.map(([cx, cy]) => [cx - 12, cy - 12, cx + 12, cy + 12]);
  points.forEach((point, i) => {
    const place = free(centres[i], point.name.length * GLYPH, taken, box);
    taken.push(place);
    const at = { x: place[0], y: place[3] - 4, class: `name ${color(point.index)}` };
    svg.append(node("text", at, point.name));
  });
  return svg;
}

// The box for a label that covers least of what is there, near its point.
function free([cx, cy], width, taken, frameBox) {
  let best;
  let least = Infinity;
  for (const distance of [15, 24, 40]) {
    for (let turn = 0; turn < 12; turn++) {
      const angle = (turn * Math.PI) / 6;
      const x = cx + Math.cos(angle) * (distance + width / 2) - width / 2;
      const y = cy + Math.sin(angle) * (distance + LINE / 2) - LINE / 2;
      const box = [x, y, x + width, y + LINE + 3];
      const outside =
        Math.max(0, frameBox.left - box[0]) + Math.max(0, box[2] - frameBox.right) +
        Math.max(0, frameBox.top - box[1]) + Math.max(0, box[3] - frameBox.bottom);
      const cost = distance + 40 * outside + taken.reduce((sum, other) => sum + shared(box, other), 0);
      if (cost < least) [best, least] = [box, cost];
    }
  }
  return best;
}

function shared(a, b) {
  const wide = Math.min(a[2], b[2]) - Math.max(a[0], b[0]);
  const high = Math.min(a[3], b[3]) - Math.max(a[1], b[1]);
  return Math.max(0, wide) * Math.max(0, high);
}

// groups: names; series: [{name, index, values: [[mean, low, high] or null]}], one value per group.
function bars(width, { groups, series, metric }) {
  const thick = Math.max(7, Math.min(15, 300 / (groups.length * series.length)));
  const row = series.length * thick + 10;
  const longest = Math.max(...groups.map((name) => name.length)) * GLYPH + 16;
  const left = Math.round(Math.min(longest, width * 0.4));
  const known = series.flatMap((one) => one.values.filter(Boolean).flatMap(ends));
  const { svg, box, x } = frame(width, Math.round(groups.length * row + 56), {
    xRange: [Math.min(0, ...known), Math.max(...known, 0.05) * 1.02],
    xName: words(metric),
    left,
  });
  groups.forEach((group, i) => {
    const top = box.top + i * row + 5;
    const letters = Math.floor((left - 12) / GLYPH);
    const short = group.length > letters ? `${group.slice(0, letters - 1)}…` : group;
    const at = { x: left - 6, y: top + row / 2 - 1, "text-anchor": "end" };
    svg.append(node("text", at, short, node("title", {}, group)));
    series.forEach((one, j) => {
      const value = one.values[i];
      if (!value) return;
      const [from, to] = [x(0), x(value[0])].sort((a, b) => a - b);
      const y = top + j * thick;
      const shape = { x: from, y, width: to - from, height: thick - 2, class: "bar" };
      const title = node("title", {}, `${one.name}, ${group}: ${estimate(value)}`);
      const [low, high] = ends(value).map(x);
      const middle = y + thick / 2 - 1;
      svg.append(
        node("g", { class: color(one.index) }, title, node("rect", shape)),
        node("path", { d: `M${low} ${middle}H${high}`, class: "whisker ink" }),
        marker(one.index, to, middle, 3.2),
      );
    });
  });
  svg.append(node("path", { d: `M${x(0)} ${box.top}V${box.bottom}`, class: "axis" }));
  return svg;
}

// lines: [{name, index, steps, values, faint}]; missing values are null and break a line.
function curves(width, { lines, yName, unit }) {
  const known = lines.flatMap((line) => line.values.filter((value) => value !== null));
  const steps = lines.flatMap((line) => line.steps);
  const { svg, x, y } = frame(width, 300, {
    xRange: [Math.min(...steps), Math.max(...steps)],
    yRange: unit ? [0, 1] : range([0, ...known], 0.04),
    xName: "optimiser step",
    yName,
  });
  const order = [...lines].sort((a, b) => b.faint - a.faint); // the dark ones on top
  for (const line of order) {
    let d = "";
    let pen = "M";
    line.values.forEach((value, i) => {
      if (value !== null) d += `${pen}${x(line.steps[i]).toFixed(1)} ${y(value).toFixed(1)}`;
      pen = value === null ? "M" : "L";
    });
    const dash = DASHES[Math.floor(line.index / COLORS) % DASHES.length];
    const kind = `curve ${line.faint ? "faint" : "dark"} ${color(line.index)}`;
    const path = node("path", { d, class: kind, "stroke-dasharray": dash });
    svg.append(node("g", {}, node("title", {}, line.name), path));
    if (line.faint) continue;
    const every = Math.ceil(line.steps.length / 8);
    line.steps.forEach((step, i) => {
      if (i % every || line.values[i] === null) return;
      const title = `${line.name}, step ${step}: ${number(line.values[i])}`;
      svg.append(marker(line.index, x(step), y(line.values[i]), 3.4, title));
    });
  }
  return svg;
}
