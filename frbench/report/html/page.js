// What the reader operates: sorting, choice of tables and metrics, legends, light and dark.

const page = JSON.parse(document.getElementById("payload").textContent);

function make(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

// A labelled choice; options: [[value, text]].
function choice(label, options, chosen, onChange) {
  const list = options.map(([value, text]) => make("option", { value, textContent: text }));
  const select = make("select", { disabled: options.length < 2 }, ...list);
  select.value = chosen;
  select.addEventListener("change", () => onChange(select.value));
  return make("label", {}, `${label} `, select);
}

// A key to colours and shapes whose entries show and hide what they name.
function legend(entries, hidden, redraw) {
  const buttons = entries.map(([index, name]) => {
    const key = node("svg", { viewBox: "-8 -8 16 16", width: 16, height: 16, "aria-hidden": true });
    key.append(marker(index, 0, 0, 5));
    const button = make("button", { type: "button" }, key, name);
    button.setAttribute("aria-pressed", !hidden.has(index));
    button.addEventListener("click", () => {
      if (!hidden.delete(index)) hidden.add(index);
      button.setAttribute("aria-pressed", !hidden.has(index));
      redraw();
    });
    return button;
  });
  const box = make("div", { className: "legend" }, ...buttons);
  box.setAttribute("role", "group");
  box.setAttribute("aria-label", "shown");
  return box;
}

// ---- tables ------------------------------------------------------------------------------------
function sortBy(header) {
  const table = header.closest("table");
  const first = header.dataset.first;
  const other = first === "descending" ? "ascending" : "descending";
  const order = header.getAttribute("aria-sort") === first ? other : first;
  for (const cell of table.tHead.rows[0].cells) {
    if (cell.dataset.first) cell.setAttribute("aria-sort", cell === header ? order : "none");
  }
  const value = (row) => {
    const given = row.cells[header.cellIndex].dataset.value;
    return header.dataset.kind === "text" ? given : Number.parseFloat(given);
  };
  const sign = order === "ascending" ? 1 : -1;
  const compare = (a, b) => {
    const [left, right] = [value(a), value(b)];
    if (header.dataset.kind === "text") return sign * left.localeCompare(right);
    if (Number.isNaN(left) || Number.isNaN(right)) return Number.isNaN(left) - Number.isNaN(right);
    return sign * (left - right);
  };
  const body = table.tBodies[0];
  body.append(...[...body.rows].sort(compare));
}

for (const header of document.querySelectorAll("th[data-first]")) {
  header.querySelector("button").addEventListener("click", () => sortBy(header));
}
for (const cell of document.querySelectorAll("[data-method]")) {
  const key = node("svg", { viewBox: "-8 -8 16 16", width: 14, height: 14, "aria-hidden": true });
  key.append(marker(Number(cell.dataset.method), 0, 0, 5));
  cell.prepend(key);
}

// Show and hide lines of the cells, everywhere at once.
const toggles = document.getElementById("toggles");
for (const [kind, label] of [["interval", "intervals"], ["versus", page.versus]]) {
  if (!label) continue;
  const box = make("input", { type: "checkbox", checked: true });
  box.addEventListener("change", () => document.body.classList.toggle(`no-${kind}`, !box.checked));
  toggles.append(make("label", {}, box, ` ${label}`));
}
const dark = matchMedia("(prefers-color-scheme: dark)");
const theme = make("button", { type: "button", id: "theme" });
function paint(scheme) {
  document.documentElement.style.colorScheme = scheme;
  theme.textContent = scheme === "dark" ? "Light page" : "Dark page";
  theme.onclick = () => paint(scheme === "dark" ? "light" : "dark");
}
paint(dark.matches ? "dark" : "light");
toggles.append(theme);

// ---- a data set --------------------------------------------------------------------------------
function figure(parent, caption) {
  const controls = make("div", { className: "controls" });
  const canvas = make("div", { className: "canvas" });
  const title = make("figcaption", {}, caption);
  parent.append(make("figure", {}, title, controls, canvas));
  return { controls, canvas, title };
}

// Replace a chart; ``draw`` gets the width that there is.
function show(canvas, draw, otherwise) {
  const width = Math.max(260, canvas.clientWidth);
  canvas.replaceChildren(draw ? draw(width) : make("p", { className: "none" }, otherwise));
}

function comparison(section, data) {
  const hidden = new Set();
  const rows = () => data.rows.filter((row) => !hidden.has(row.method));
  const state = { table: data.tables[0], x: page.x, y: page.y, metric: "group_accuracy" };
  const boards = [...section.querySelectorAll(".board")];
  const plots = section.querySelector(".plots");
  const points = figure(plots, "Methods in the plane of two metrics");
  const groups = figure(plots, "Groups, by name");
  points.controls.title = "Bars: 95 % intervals of the mean. Dashed line, rings: Pareto front.";

  function drawPoints() {
    const names = data.metrics[state.table];
    const [i, j] = [names.indexOf(state.x), names.indexOf(state.y)];
    const found = rows().flatMap((row) => {
      const [x, y] = [row.values[state.table][i], row.values[state.table][j]];
      return x && y ? [{ name: page.methods[row.method], index: row.method, x, y }] : [];
    });
    const signs = [page.directions[state.x], page.directions[state.y]];
    const chart = { points: found, xName: state.x, yName: state.y, signs };
    show(points.canvas, found.length && ((w) => scatter(w, chart)), "No method has both metrics.");
  }

  function drawGroups() {
    const known = data.grouped[state.table][state.metric] ?? [];
    const series = rows().map((row) => ({
      name: page.methods[row.method],
      index: row.method,
      values: row.grouped[state.table][state.metric] ?? [],
    })).filter((one) => one.values.some(Boolean));
    const chart = { groups: known, series, metric: state.metric };
    show(groups.canvas, series.length && ((w) => bars(w, chart)), "No metric by group here.");
  }

  function chooseTable(table) {
    state.table = table;
    for (const board of boards) board.hidden = board.dataset.table !== table;
    const names = data.metrics[table];
    const grouped = Object.keys(data.grouped[table]);
    const usual = (name, known) => (known.includes(name) ? name : known[0]);
    [state.x, state.y] = [usual(state.x, names), usual(state.y, names)];
    state.metric = usual(state.metric, grouped);
    const pairs = (list) => list.map((name) => [name, words(name)]);
    const set = (key, draw) => (value) => {
      state[key] = value;
      draw();
    };
    points.controls.replaceChildren(
      choice("x", pairs(names), state.x, set("x", drawPoints)),
      choice("y", pairs(names), state.y, set("y", drawPoints)),
    );
    groups.controls.replaceChildren(
      ...(grouped.length ? [choice("metric", pairs(grouped), state.metric, set("metric", drawGroups))] : []),
    );
    draw();
  }

  function draw() {
    drawPoints();
    drawGroups();
  }
  const tables = data.tables.map((table) => [table, table.replace("/", " ")]);
  const controls = section.querySelector(".controls");
  controls.append(choice("Test table", tables, state.table, chooseTable));
  plots.before(legend(data.rows.map((row) => [row.method, page.methods[row.method]]), hidden, draw));
  chooseTable(state.table);
  return draw;
}

function training(section, data) {
  const parent = section.querySelector(".training");
  const methods = [...new Set(data.curves.map((run) => run.method))];
  if (!methods.length) return () => {};
  const hidden = new Set();
  const state = { method: methods[0], run: null, dark: "val", extra: "q" };
  const choices = make("div", { className: "controls" });
  const keys = make("div");
  const panels = make("div", { className: "plots" });
  parent.append(choices, keys, panels);
  const left = figure(panels, "Accuracy of each group: evaluation dark, training faint");
  const right = figure(panels, "");
  const groups = () => [...new Set(state.run.lines.flatMap((line) => Object.keys(line.groups)))];

  function lines(metric, tables) {
    const order = groups();
    return state.run.lines.filter((line) => line.metric === metric && tables.includes(line.table))
      .flatMap((line) => Object.entries(line.groups).map(([group, values]) => ({
        name: `${group}, ${line.table}`,
        index: order.indexOf(group),
        steps: line.steps,
        values,
        faint: metric === "group_accuracy" && line.table === "train",
      }))).filter((line) => !hidden.has(line.index));
  }

  function draw() {
    const accuracy = lines("group_accuracy", ["train", state.dark]);
    const chart = { lines: accuracy, yName: `accuracy (${state.dark}, train)`, unit: true };
    show(left.canvas, accuracy.length && ((w) => curves(w, chart)), "Nothing logged.");
    const isQ = state.extra === "q";
    right.title.textContent = isQ ? "Group weights q" : "Training loss of each group";
    const other = { lines: lines(state.extra, ["train"]), yName: isQ ? "q" : "mean loss", unit: isQ };
    show(right.canvas, other.lines.length && ((w) => curves(w, other)), "Nothing logged.");
  }

  function chooseRun(run) {
    state.run = run;
    const has = (metric) => run.lines.some((line) => line.metric === metric);
    const extras = [["q", "group weights q"], ["group_loss", "training loss"]].filter(([m]) => has(m));
    state.extra = extras.some(([m]) => m === state.extra) ? state.extra : extras[0]?.[0];
    const evaluated = [...new Set(run.lines.map((line) => line.table))].filter((t) => t !== "train");
    state.dark = evaluated.includes(state.dark) ? state.dark : evaluated[0];
    left.controls.replaceChildren(choice("dark", evaluated.map((t) => [t, t]), state.dark, (table) => {
      state.dark = table;
      draw();
    }));
    right.controls.replaceChildren(choice("metric", extras, state.extra, (metric) => {
      state.extra = metric;
      draw();
    }));
    keys.replaceChildren(legend(groups().map((name, i) => [i, name]), hidden, draw));
    draw();
  }

  function chooseMethod(method) {
    state.method = Number(method);
    const runs = data.curves.filter((run) => run.method === state.method);
    choices.replaceChildren(
      choice("Method", methods.map((m) => [m, page.methods[m]]), state.method, chooseMethod),
      choice("Run", runs.map((run, i) => [i, run.name]), 0, (i) => chooseRun(runs[i])),
    );
    chooseRun(runs[0]);
  }
  chooseMethod(methods[0]);
  return draw;
}

page.data.forEach((data, i) => {
  const section = document.getElementById(`data-${i}`);
  const draws = [comparison(section, data), training(section, data)];
  let width = section.clientWidth;
  new ResizeObserver(() => {
    if (section.clientWidth === width) return;
    width = section.clientWidth;
    for (const draw of draws) draw();
  }).observe(section);
});
