// Asks for the progress of the task with the page's form, whose ticket is in the body, until the task has ended.
"use strict";

(() => {
  const EVERY_MILLISECONDS = 1500;
  const form = document.querySelector("form[data-poll]");
  const open = document.querySelector("[data-while-open]");
  if (!form || open.hidden) return;

  const show = (name, text) => {
    const element = document.querySelector(`[data-show=${name}]`);
    if (element.textContent !== text) element.textContent = text;
  };

  const ask = async () => {
    if (document.hidden) return true;
    const answer = await fetch(form.action, {
      method: "POST",
      body: new URLSearchParams(new FormData(form)),
      headers: { Accept: "application/json" },
      credentials: "same-origin",
      cache: "no-store",
    });
    if (!answer.ok) return false;
    const task = await answer.json();
    show("sentence", task.sentence);
    show("percent", `${task.progress} %`);
    document.querySelector("progress").value = task.progress;
    open.hidden = task.is_over;
    if (task.is_over) document.querySelector("[data-show=sentence]").className = `verdict ${task.verdict}`;
    return !task.is_over;
  };

  const again = () => ask().then((goOn) => goOn && setTimeout(again, EVERY_MILLISECONDS), () => setTimeout(again, 5 * EVERY_MILLISECONDS));
  setTimeout(again, EVERY_MILLISECONDS);
})();
