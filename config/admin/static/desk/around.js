// On a narrow screen the links to the pages are one line: scroll it to the link of the current page.
"use strict";

const around = document.querySelector(".around");
const here = around?.querySelector("[aria-current]");
if (here) around.scrollLeft = here.offsetLeft - (around.clientWidth - here.offsetWidth) / 2;
