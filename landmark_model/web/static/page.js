() => {
  // One door for all fields of photos: the same files everywhere, refused in the visitor's words.
  const door = DOOR; // as theme.py fills it in
  const words = door.words[document.documentElement.lang] ?? door.words.en;
  const ending = ({ name }) => name.slice(name.lastIndexOf(".")).toLowerCase();
  const whyNot = (file) => {
    if (door.raw.includes(ending(file))) return "raw";
    if (!file.type.startsWith("image/") && !door.photos.includes(ending(file))) return "no_photo";
    return file.size > door.most_bytes ? "large_file" : "";
  };
  // Browsers do not know each of the kinds, nor "HEIC" in capitals, and gradio goes by what they say.
  const typed = (file) =>
    file.type.startsWith("image/") ? file : new File([file], file.name, { type: `image/${ending(file).slice(1)}` });
  const admit = (files, field) => {
    const admitted = new DataTransfer();
    const refused = {};
    for (const file of files) {
      const why = whyNot(file);
      if (why) (refused[why] ??= []).push(file.name);
      else admitted.items.add(typed(file));
    }
    for (let old; (old = field.nextElementSibling)?.matches(".refused"); ) old.remove();
    for (const [why, [name, ...others]] of Object.entries(refused)) {
      const line = document.createElement("p");
      line.className = "refused";
      line.setAttribute("role", "alert");
      line.textContent = words[why].replace("{name}", name + (others.length ? ` (+${others.length})` : ""));
      field.after(line);
    }
    return admitted;
  };
  document.addEventListener("change", (event) => {
    if (!event.target.matches("input[type=file]") || event.target.closest("#teach-load")) return;
    const { files } = admit(event.target.files, event.target.closest(".block"));
    if (!files.length) event.stopImmediatePropagation();
    event.target.files = files;
  }, true);
  const passed = new WeakSet();
  document.addEventListener("drop", (event) => {
    const field = event.target.closest(".block:has(input[type=file]):not(#teach-load)");
    if (!field || !event.dataTransfer?.files.length || passed.has(event)) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    const dataTransfer = admit(event.dataTransfer.files, field);
    const again = new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true });
    passed.add(again);
    event.target.dispatchEvent(again);
  }, true);

  // A file that is dropped elsewhere: the browser would open it in place of the page.
  for (const kind of ["dragover", "drop"]) {
    document.addEventListener(kind, (event) => {
      if (!event.dataTransfer?.types.includes("Files")) return;
      if (kind === "dragover" && !event.defaultPrevented) event.dataTransfer.dropEffect = "none";
      event.preventDefault();
    });
  }

  // What a browser cannot show is no picture of a photo: a file that is damaged, or HEIC until its copy is there.
  for (const kind of ["load", "error"]) {
    document.addEventListener(kind, ({ target }) => {
      if (target.matches?.(".image-frame img")) target.style.visibility = kind === "error" ? "hidden" : "";
    }, true);
  }

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

  // A landmark's photos among many: those whose row names it.
  document.addEventListener("click", ({ target }) => {
    const name = target.closest("button.find")?.dataset.name;
    const filter = document.querySelector("#many-table input[type=search]");
    if (!name || !filter) return;
    filter.value = name;
    filter.dispatchEvent(new Event("input", { bubbles: true }));
    document.querySelector("#tabs button[data-tab-id=many]").click();
    filter.scrollIntoView({ block: "center" });
  });

  // Whoever waits reads which place is theirs; gradio says it in English, in a corner.
  const tellPlaces = () => {
    const told = new Map();
    for (const corner of document.querySelectorAll(".progress-text")) {
      const [, place, size] = corner.textContent.match(/queue: (\d+)\/(\d+)/) ?? [];
      const block = corner.closest(".block");
      if (place && block) told.set(block, words.place.replace("{place}", place).replace("{size}", size));
    }
    for (const line of document.querySelectorAll(".block > .place")) {
      if (!told.has(line.parentElement)) line.remove();
    }
    for (const [block, said] of told) {
      const old = block.querySelector(":scope > .place");
      if (old?.textContent === said) continue;
      const line = old ?? Object.assign(document.createElement("p"), { className: "place" });
      line.setAttribute("role", "status");
      line.textContent = said;
      if (!old) block.prepend(line);
    }
  };
  const mend = () => {
    tellPlaces();
    for (const input of document.querySelectorAll(":not(#teach-load *)[type=file]")) input.accept = ["image/*", ...door.photos].join();
    // Heat and shade lie on the photo that they were made of, also where gradio enlarges it.
    const frame = document.querySelector("#photo .image-frame");
    const old = frame?.querySelector(".overlay");
    const made = document.querySelector("#overlay .overlay");
    const fresh = frame?.querySelector("img")?.src.includes(made?.dataset.photo ?? " ") ? made : null;
    if (old?.outerHTML !== fresh?.outerHTML) {
      old?.remove();
      if (fresh) frame.append(fresh.cloneNode(true));
    }
    // Names that gradio does not give its buttons and fields, for those who cannot see them.
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
    for (const button of document.querySelectorAll("button[aria-label]:not(.change)")) {
      if (button.textContent.trim().length > 1) button.removeAttribute("aria-label");
    }
  };
  new MutationObserver(mend).observe(document.body, { childList: true, subtree: true, characterData: true, attributeFilter: ["src"] });
  mend();
}
