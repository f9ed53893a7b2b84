// Tells of go-lives by notifications of the browser, once somebody has asked for them here.
import {watch} from "./live.js";

const WANTED = "livectl-notify";
let known = null, asking = false;

export function offerNotifications() {
  const button = document.getElementById("notify");
  if (!button || !("Notification" in window) || !window.isSecureContext) return;
  button.hidden = false;
  show(button);
  button.addEventListener("click", () => toggle(button));
  watch(() => isOn() && tell(button));
  if (isOn()) tell(button);
}

function isOn() {
  return localStorage.getItem(WANTED) === "on" && Notification.permission === "granted";
}

async function toggle(button) {
  if (isOn()) {
    localStorage.removeItem(WANTED);
  } else if (await Notification.requestPermission() === "granted") {
    localStorage.setItem(WANTED, "on");
    known = null;
    tell(button);
  }
  show(button);
}

function show(button) {
  const words = isOn() ? button.dataset.off : Notification.permission === "denied" ? button.dataset.denied : button.dataset.on ||= button.title;
  button.dataset.on ||= button.title;
  button.setAttribute("aria-pressed", String(isOn()));
  button.title = words;
  button.setAttribute("aria-label", words);
}

// Whoever is live and was not at the last look. The first look tells nobody.
async function tell(button) {
  if (asking) return;
  asking = true;
  try {
    const answer = await fetch(`${document.body.dataset.base}api/live`);
    if (!answer.ok) return;
    const live = (await answer.json()).live;
    const before = known;
    known = new Set(live.map(key));
    if (before) for (const one of live) if (!before.has(key(one))) await notify(one, button.dataset.says);
  } catch { // the server is away: the page says so itself
  } finally {
    asking = false;
  }
}

function key(one) {
  return `${one.platform}/${one.id}/${one.session}`;
}

async function notify(one, says) {
  const title = says.replace("{name}", one.name || one.id);
  const base = document.body.dataset.base;
  const options = {body: one.title || "", tag: key(one), icon: `${base}assets/icon-192.png`, data: {url: one.url}};
  const worker = navigator.serviceWorker && await navigator.serviceWorker.getRegistration(base);
  if (worker && worker.active) return worker.showNotification(title, options);
  const shown = new Notification(title, options);
  shown.onclick = () => window.open(one.url, "_blank", "noopener");
}
