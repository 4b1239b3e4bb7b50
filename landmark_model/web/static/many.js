// The rows come from the server, which alone knows what holds of each: here they are put into the
// table, and what the visitor ticks, chooses or types is told to the server.
const body = () => element.querySelector("tbody");
const numbered = (number) => body()?.querySelector(`tr[data-row="${number}"]`);
const tell = (control, kind, value) => {
  const number = Number(control.closest("tr").dataset.row);
  document.dispatchEvent(new CustomEvent("photo-change", { detail: [number, kind, value] }));
};
const faces = new WeakMap(); // a row as it came, without the picture: what is the same is left alone
const faceOf = (row) => {
  const copy = row.cloneNode(true);
  copy.querySelector("img")?.remove();
  return copy.outerHTML;
};
const put = (fresh) => {
  const old = numbered(fresh.dataset.row);
  if ("gone" in fresh.dataset) return old?.remove();
  const face = faceOf(fresh);
  if (old && faces.get(old) === face) {
    const missing = !old.querySelector("img") && fresh.querySelector("img");
    if (missing) old.querySelector(".photo").prepend(missing);
    return;
  }
  faces.set(fresh, face);
  if (!old) return body()?.append(fresh);
  const picture = old.querySelector("img");
  if (picture && !fresh.querySelector("img")) fresh.querySelector(".photo").prepend(picture);
  fresh.hidden = old.hidden;
  const focused = old.contains(document.activeElement) && document.activeElement;
  old.replaceWith(fresh);
  if (focused) fresh.querySelector(focused.type === "checkbox" ? "input" : ".change")?.focus();
};
document.addEventListener("photo-rows", ({ detail }) => {
  const rows = document.createElement("template");
  rows.innerHTML = `<table><tbody>${detail}</tbody></table>`;
  rows.content.querySelectorAll("tr").forEach(put);
});

const close = (row, back) => {
  row.querySelector(".other")?.remove();
  row.querySelector(".change").setAttribute("aria-expanded", "false");
  if (back) row.querySelector(".change").focus();
};
const open = (row) => {
  const form = element.querySelector("template").content.firstElementChild.cloneNode(true);
  for (const [name, title] of JSON.parse(row.dataset.guesses)) {
    const button = document.createElement("button");
    Object.assign(button, { type: "button", value: name, textContent: title });
    form.firstElementChild.append(button);
  }
  row.querySelector(".name").append(form);
  row.querySelector(".change").setAttribute("aria-expanded", "true");
  (form.querySelector("button[value]") ?? form.querySelector("input")).focus();
};
element.addEventListener("change", ({ target }) => {
  if (target.type === "checkbox") tell(target, "tick", target.checked);
});
element.addEventListener("click", ({ target }) => {
  const row = target.closest("tr[data-row]");
  if (target.closest(".change")) row.querySelector(".other") ? close(row, true) : open(row);
  else if (target.matches(".other button[value]")) {
    tell(target, "guess", target.value);
    close(row, true);
  }
});
element.addEventListener("submit", (event) => {
  event.preventDefault();
  tell(event.target, "name", event.target.querySelector("input").value);
  close(event.target.closest("tr"), true);
});
element.addEventListener("keydown", ({ key, target }) => {
  const row = target.closest("tr:has(.other)");
  if (key === "Escape" && row) close(row, true);
});
