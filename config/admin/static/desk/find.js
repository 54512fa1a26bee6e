// "/" puts the cursor into the search of the header, unless a field has it.
"use strict";

document.addEventListener("keydown", (event) => {
  const field = document.querySelector("[data-find]");
  const at = event.target;
  const isTyping = at instanceof HTMLElement && (at.isContentEditable || at.matches("input, textarea, select"));
  if (field && event.key === "/" && !isTyping && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault();
    field.focus();
    field.select();
  }
});
