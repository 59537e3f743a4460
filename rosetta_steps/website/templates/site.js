// Search, filter and order of the overview, and tables that are ordered by a column. Without scripts
// the form stays hidden, all is shown, and tables are as they were written.
(function () {
  const form = document.querySelector(".filter");
  if (!form) return;
  const list = document.getElementById("cards");
  const names = ["search", "tests", "order", "column", "least", "most"];
  const [search, tests, order, column, least, most] = names.map((id) => document.getElementById(id));
  const cards = Array.from(list.children);
  const failed = new Map(cards.map((card) => [card, card.dataset.failed.split("|").filter(Boolean)]));
  function survives(card) {
    if (!tests.value) return true;
    if (tests.value === "passes") return failed.get(card).length === 0;
    return failed.get(card).includes(tests.value);
  }
  function within(card) {
    if (least.value === "" && most.value === "") return true;
    const value = card.dataset[column.value];
    return value !== "" && (least.value === "" || +value >= +least.value) && (most.value === "" || +value <= +most.value);
  }
  function filter() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const has = (card) => words.every((word) => card.dataset.words.includes(word));
    const shown = cards.filter((card) => has(card) && survives(card) && within(card));
    list.replaceChildren(...shown);  // ten times as fast as hiding them one by one
    document.getElementById("count").textContent = shown.length + " of " + cards.length + " concepts";
    const address = new URLSearchParams();
    const bounded = least.value !== "" || most.value !== "";
    for (const one of [search, tests, order, least, most]) if (one.value && one.value !== "rank") address.set(one.id, one.value);
    if (bounded) address.set("column", column.value);
    const text = address.toString();
    history.replaceState(null, "", text ? "#" + text : location.pathname + location.search);
  }
  function sort() {
    const down = order.value.startsWith("-");
    const key = down ? order.value.slice(1) : order.value;
    // What has no value comes last, either way.
    const number = (card) => card.dataset[key] === "" ? Infinity : card.dataset[key] * (down ? -1 : 1);
    const compare = key === "id"
      ? (a, b) => a.dataset.id.localeCompare(b.dataset.id, "en", { numeric: true })
      : (a, b) => (number(a) > number(b)) - (number(a) < number(b));
    cards.sort((a, b) => compare(a, b) || a.dataset.rank - b.dataset.rank);
  }
  // What was chosen is in the address, so that a link leads to it again.
  const given = new URLSearchParams(location.hash.slice(1));
  for (const id of names) if (given.get(id)) document.getElementById(id).value = given.get(id);
  form.hidden = false;
  form.addEventListener("submit", (event) => event.preventDefault());
  for (const one of [search, tests, column, least, most]) one.addEventListener("input", filter);
  order.addEventListener("input", () => { sort(); filter(); });
  sort();
  filter();
})();
(function () {
  function order(table, place, head) {
    const rows = Array.from(table.tBodies[0].rows);
    const text = (row) => row.cells[place].textContent.trim();
    const up = head.getAttribute("aria-sort") === "descending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const numbers = rows.every((row) => text(row) === "" || !isNaN(text(row)));
    const compare = numbers ? (a, b) => a - b : (a, b) => a.localeCompare(b, "en", { numeric: true });
    const filled = rows.filter((row) => text(row) !== "");
    filled.sort((a, b) => compare(text(a), text(b)) * (up ? 1 : -1));
    table.tBodies[0].append(...filled, ...rows.filter((row) => text(row) === ""));
  }
  for (const table of document.querySelectorAll("table.sortable")) {
    Array.from(table.tHead.rows[0].cells).forEach((head, place) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => order(table, place, head));
    });
  }
})();
