// Search, filter and order of the overview. Without scripts the form stays hidden and all is shown.
(function () {
  const form = document.querySelector(".filter");
  const list = document.getElementById("cards");
  const [search, tests, order] = ["search", "tests", "order"].map((id) => document.getElementById(id));
  const cards = Array.from(list.children);
  const failed = new Map(cards.map((card) => [card, card.dataset.failed.split("|").filter(Boolean)]));
  function survives(card) {
    if (!tests.value) return true;
    if (tests.value === "passes") return failed.get(card).length === 0;
    return failed.get(card).includes(tests.value);
  }
  function filter() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const has = (card) => words.every((word) => card.dataset.words.includes(word));
    const shown = cards.filter((card) => has(card) && survives(card));
    list.replaceChildren(...shown);  // ten times as fast as hiding them one by one
    document.getElementById("count").textContent = shown.length + " of " + cards.length + " concepts";
    const address = new URLSearchParams();
    for (const one of [search, tests, order]) if (one.value && one.value !== "rank") address.set(one.id, one.value);
    const text = address.toString();
    history.replaceState(null, "", text ? "#" + text : location.pathname + location.search);
  }
  function sort() {
    const down = order.value.startsWith("-");
    const key = down ? order.value.slice(1) : order.value;
    const compare = key === "id"
      ? (a, b) => a.dataset.id.localeCompare(b.dataset.id, "en", { numeric: true })
      : (a, b) => (a.dataset[key] - b.dataset[key]) * (down ? -1 : 1);
    cards.sort((a, b) => compare(a, b) || a.dataset.rank - b.dataset.rank);
  }
  // What was chosen is in the address, so that a link leads to it again.
  const given = new URLSearchParams(location.hash.slice(1));
  for (const one of [search, tests, order]) if (given.get(one.id)) one.value = given.get(one.id);
  form.hidden = false;
  form.addEventListener("submit", (event) => event.preventDefault());
  search.addEventListener("input", filter);
  tests.addEventListener("input", filter);
  order.addEventListener("input", () => { sort(); filter(); });
  sort();
  filter();
})();
