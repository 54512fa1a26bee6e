// The box in the head of a list selects all rows of the page.
"use strict";

document.querySelectorAll("[data-select-all]").forEach((all) => {
  const boxes = [...document.querySelectorAll("input[name=row]")];
  all.hidden = false;
  all.addEventListener("change", () => boxes.forEach((box) => { box.checked = all.checked; }));
  boxes.forEach((box) => box.addEventListener("change", () => { all.checked = boxes.every((each) => each.checked); }));
});
