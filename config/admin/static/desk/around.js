// On a narrow screen the pages are one line, which is scrolled to the current one.
"use strict";

const around = document.querySelector(".around");
const here = around?.querySelector("[aria-current]");
if (here) around.scrollLeft = here.offsetLeft - (around.clientWidth - here.offsetWidth) / 2;
