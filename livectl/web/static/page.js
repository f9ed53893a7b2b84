// Wires the page: what is shown stays as the server has it, the filter works as one types, keys move about.
import {choose, leave, start} from "./live.js";
import {listenToKeys} from "./keys.js";
import {offerNotifications} from "./notify.js";

const TYPING = 250; // milliseconds

let typing = 0;
document.addEventListener("input", (event) => {
  const form = event.target.form;
  if (!form || form.id !== "filter") return;
  clearTimeout(typing);
  typing = setTimeout(choose, TYPING, form);
});
document.addEventListener("submit", (event) => {
  if (event.target.method === "dialog") return;
  if (event.target.id !== "filter") return leave();
  event.preventDefault();
  choose(event.target);
});
document.documentElement.classList.add("scripted");
start();
listenToKeys();
offerNotifications();
if ("serviceWorker" in navigator) {
  navigator.serviceWorker.register(`${document.body.dataset.base}sw.js`).catch(() => {}); // nothing depends on it
}
