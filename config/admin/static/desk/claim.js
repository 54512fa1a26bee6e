// A link has its code in the fragment, which browsers do not send. Put it into the form, and send that.
const form = document.querySelector("form[data-code]");
const code = window.location.hash.slice(1);
if (form && code) {
  form.elements[form.dataset.code].value = code;
  // The address bar and the history keep no code.
  window.history.replaceState(null, "", window.location.pathname);
  form.requestSubmit();
}
