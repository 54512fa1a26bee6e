// Polls the progress of running tasks and updates their bars and cells, while the page is visible.
"use strict";

(() => {
  const EVERY_MILLISECONDS = 2000;
  const place = document.querySelector("[data-live]");
  if (!place) return;

  const rows = new Map();
  document.querySelectorAll("[data-task]").forEach((row) => rows.set(row.dataset.task, row));
  const address = () => {
    const query = new URLSearchParams();
    rows.forEach((row, id) => "open" in row.dataset && query.append("task", id));
    return `${place.dataset.live}?${query}`;
  };
  let etag = "";

  const show = (row, task) => {
    row.dataset.state = task.state;
    if (!task.open) delete row.dataset.open;
    const bar = row.querySelector("progress");
    if (bar) bar.value = task.progress;
    const texts = { percent: `${task.progress} %`, step: task.step, state: task.state, message: task.message };
    for (const [name, text] of Object.entries(texts)) {
      const element = row.querySelector(`[data-show=${name}]`);
      if (element && element.textContent !== text) element.textContent = text;
    }
    const cells = row.querySelectorAll("[data-cells] .cell");
    task.cells.forEach(([css, mark, title], number) => {
      const cell = cells[number];
      if (!cell || cell.title === title) return;
      cell.className = `cell ${css}`;
      cell.title = title;
      cell.querySelector(".mark").textContent = mark;
      cell.querySelector(".said").textContent = title;
    });
    const done = row.querySelector("[data-when-done]");
    if (task.state === "running") return;
    // A task that has ended has no progress: "92 %" beside "error" would be neither.
    const meanwhile = row.querySelector("[data-while-running]");
    if (meanwhile) meanwhile.hidden = true;
    if (done) done.hidden = false;
  };

  const ask = async () => {
    if (document.hidden) return true;
    const answer = await fetch(address(), {
      credentials: "same-origin",
      cache: "no-store",
      headers: etag ? { "If-None-Match": etag } : {},
    });
    if (answer.status === 304) {
      // Read the body, even an empty one, or the browser aborts the response.
      await answer.text();
      return true;
    }
    if (!answer.ok || answer.redirected) return false;
    etag = answer.headers.get("ETag") || "";
    const told = await answer.json();
    told.tasks.forEach((task) => rows.has(task.id) && show(rows.get(task.id), task));
    return told.running;
  };

  const again = () => ask().then((goOn) => goOn && setTimeout(again, EVERY_MILLISECONDS), () => setTimeout(again, 5 * EVERY_MILLISECONDS));
  if ([...rows.values()].some((row) => "open" in row.dataset)) setTimeout(again, EVERY_MILLISECONDS);
})();
