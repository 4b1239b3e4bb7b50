() => {
  // A picture that is pasted anywhere is the next photo.
  document.addEventListener("paste", (event) => {
    const picture = [...(event.clipboardData?.files ?? [])].find(({ type }) => type.startsWith("image/"));
    const field = document.querySelector("#photo input[type=file]");
    if (!picture || !field) return;
    const files = new DataTransfer();
    files.items.add(picture);
    field.files = files.files;
    field.dispatchEvent(new Event("change", { bubbles: true }));
    document.querySelector("#tabs button[data-tab-id=photo]")?.click();
  });

  // Names that gradio does not give its buttons and fields, for those who cannot see them.
  const mend = () => {
    for (const button of document.querySelectorAll("#examples .gallery-item:not([aria-label])")) {
      const file = decodeURIComponent(button.querySelector("img")?.src.split("/").pop() ?? "");
      if (file) button.setAttribute("aria-label", file.replace(/\.\w+$/, "").replaceAll("-", " "));
    }
    // A button around a button: only the inner one does anything.
    for (const button of document.querySelectorAll("button:has(button):not([role])")) {
      button.setAttribute("role", "group");
      button.tabIndex = -1;
    }
    // Where something is written on a button, that says more, and in the visitor's language.
    for (const button of document.querySelectorAll("button[aria-label]")) {
      if (button.textContent.trim().length > 1) button.removeAttribute("aria-label");
    }
  };
  new MutationObserver(mend).observe(document.body, { childList: true, subtree: true, attributeFilter: ["src"] });
  mend();
}
