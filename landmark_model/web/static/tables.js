const text = (row, column) => row.cells[column].textContent;
element.addEventListener("click", ({ target }) => {
  const head = target.closest("th:has(button)");
  if (!head) return;
  const body = head.closest("table").tBodies[0];
  const order = head.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
  for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", order);
  const column = head.cellIndex;
  const sign = order === "ascending" ? 1 : -1;
  const rows = [...body.rows].sort((one, other) => {
    const [a, b] = [text(one, column), text(other, column)];
    if (!a || !b) return !a - !b; // empty cells stay at the end
    return sign * a.localeCompare(b, document.documentElement.lang, { numeric: true });
  });
  body.append(...rows);
});
element.addEventListener("input", ({ target }) => {
  if (target.type !== "search") return;
  const wanted = target.value.trim().toLocaleLowerCase();
  for (const row of target.closest(".sheet").querySelectorAll("tbody tr")) {
    row.hidden = !row.textContent.toLocaleLowerCase().includes(wanted);
  }
});
