// Tables that sort by the head of a column, and a print with everything unfolded. Without it the page is all there.
"use strict";
(() => {
  // What a cell holds: a number, also of "1,000", "8/255" and ".511 PGD", or null.
  function number(text) {
    const found = /^[×±]?\s*([-−+]?)(\d[\d,]*\.?\d*|\.\d+)(e[-+]?\d+)?(?:\/(\d+))?/i.exec(text);
    if (!found) return null;
    const [, sign, digits, power = "", below = "1"] = found;
    return (sign === "-" || sign === "−" ? -1 : 1) * Number(digits.replaceAll(",", "") + power) / Number(below);
  }

  // Negative, 0 or positive; what holds nothing to compare is last in either direction.
  function compare(one, other, words, direction) {
    const [a, b] = [one, other].map((text) => (words ? (text === "–" || text === "" ? null : text) : number(text)));
    if (a === null || b === null) return (a === null) - (b === null);
    return direction * (words ? a.localeCompare(b, "en", { numeric: true }) : a - b);
  }

  function sortable(table) {
    const body = table.tBodies[0];
    const original = [...body.rows];
    if (original.length < 2) return;
    const heads = [...[...table.tHead.rows].at(-1).cells];
    // A blank first cell stands for the one above, which it no longer is where rows are moved.
    let above = "";
    const firsts = original.map((row) => [row.cells[0].textContent, (above = row.cells[0].textContent || above)]);
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.replaceChildren(button);
      head.setAttribute("aria-sort", "none");
      button.addEventListener("click", () => {
        const next = { none: "ascending", ascending: "descending", descending: "none" }[head.getAttribute("aria-sort")];
        heads.forEach((other) => other.setAttribute("aria-sort", other === head ? next : "none"));
        original.forEach((row, place) => (row.cells[0].textContent = firsts[place][next === "none" ? 0 : 1]));
        const words = head.classList.contains("word");
        const text = (row) => row.cells[column].textContent;
        const direction = next === "descending" ? -1 : 1;
        const order = next === "none"
          ? original
          : original.toSorted((one, other) => compare(text(one), text(other), words, direction));
        body.append(...order);
      });
    });
  }

  document.querySelectorAll("table").forEach(sortable);

  let closed = [];
  addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll("details:not([open])")];
    closed.forEach((fold) => (fold.open = true));
  });
  addEventListener("afterprint", () => closed.forEach((fold) => (fold.open = false)));
})();
