element.addEventListener("click", async (event) => {
  const button = event.target.closest("button.copy");
  if (!button) return;
  const { text, link, done } = button.dataset;
  const copied = text ?? new URL(link, location.href.split(/[?#]/)[0]).href;
  try {
    await navigator.clipboard.writeText(copied);
  } catch {
    // Browsers give the clipboard to https and localhost only; elsewhere the old way works.
    const field = document.createElement("textarea");
    field.value = copied;
    button.after(field);
    field.select();
    document.execCommand("copy");
    field.remove();
  }
  button.dataset.title ??= button.textContent;
  button.textContent = done;
  setTimeout(() => (button.textContent = button.dataset.title), 1500);
});
