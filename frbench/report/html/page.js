"use strict";
// What the reader operates: sorting, the choice of a test table, light and dark.

function make(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

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

// Of several test tables, one is shown at a time.
for (const section of document.querySelectorAll(".dataset")) {
  const boards = [...section.querySelectorAll(".board")];
  if (boards.length < 2) continue;
  const names = boards.map((board) => board.dataset.table);
  const options = names.map((value) => make("option", { value, textContent: value.replace("/", " ") }));
  const list = make("select", {}, ...options);
  const show = () => boards.forEach((board, i) => (board.hidden = i !== list.selectedIndex));
  list.addEventListener("change", show);
  section.querySelector(".controls").append(make("label", {}, "Test table ", list));
  show();
}

// Show and hide lines of the cells, everywhere at once.
const toggles = document.getElementById("toggles");
for (const [kind, label] of [["interval", "intervals"], ["versus", document.body.dataset.versus]]) {
  if (!label) continue;
  const box = make("input", { type: "checkbox", checked: true });
  box.addEventListener("change", () => document.body.classList.toggle(`no-${kind}`, !box.checked));
  toggles.append(make("label", {}, box, ` ${label}`));
}
const theme = make("button", { type: "button", id: "theme" });
function paint(scheme) {
  document.documentElement.style.colorScheme = scheme;
  theme.textContent = scheme === "dark" ? "Light page" : "Dark page";
  theme.onclick = () => paint(scheme === "dark" ? "light" : "dark");
}
paint(matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
toggles.append(theme);
