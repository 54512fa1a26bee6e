// Replaces the tiles by the present ones, while the page is visible and updates are not paused.
"use strict";

(() => {
  const EVERY_MILLISECONDS = 30000;
  const place = document.querySelector("[data-tiles]");
  if (!place) return;
  const pause = document.querySelector("[data-pause]");
  const said = document.querySelector("[data-said]");
  let paused = false;
  let askedAt = Date.now();
  let asking = false;

  const red = () => [...place.querySelectorAll(".tile.bad")].map((tile) => tile.innerText.replace(/\s+/g, " ").trim());
  const keys = () => [...place.querySelectorAll(".tile.bad")].map((tile) => tile.dataset.tile).join();

  const ask = async () => {
    asking = true;
    askedAt = Date.now();
    try {
      const answer = await fetch(place.dataset.tiles, { credentials: "same-origin", cache: "no-store" });
      if (!answer.ok || answer.redirected) {
        // The session ended, for example: what is shown is old.
        place.dataset.old = "";
        return;
      }
      const text = await answer.text();
      // Replacing what has the focus, or a selection, would take it from the reader.
      const focused = place.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
      const before = keys();
      place.innerHTML = text;
      delete place.dataset.old;
      if (focused) [...place.querySelectorAll("a")].find((each) => each.getAttribute("href") === focused)?.focus();
      if (keys() !== before) said.textContent = red().length ? `Must be acted on: ${red().join("; ")}` : "Nothing must be acted on any more.";
    } catch {
      place.dataset.old = "";
    } finally {
      asking = false;
    }
  };

  const isDue = () => !paused && !document.hidden && !asking && Date.now() - askedAt >= EVERY_MILLISECONDS;
  const look = () => isDue() && ask();
  setInterval(look, 1000);
  document.addEventListener("visibilitychange", look);
  pause.hidden = false;
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.textContent = paused ? "Resume updates" : "Pause updates";
    if (!paused) ask();
  });
})();
