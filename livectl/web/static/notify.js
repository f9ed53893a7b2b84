// Tells of go-lives by notifications of the browser, once somebody has asked for them here: while no page is open its
// push service does, where there is one; otherwise an open page.
import {watch} from "./live.js";

const WANTED = "livectl-notify", OF = "livectl-notify-of";
let known = null, earliest = "", asking = false, pushed = false;

export function offerNotifications() {
  const button = document.getElementById("notify");
  if (!button || !("Notification" in window) || !window.isSecureContext) return;
  button.hidden = false;
  show(button);
  button.addEventListener("click", () => toggle(button));
  watch(() => {
    show(button);
    if (isOn()) tell(button);
  });
  if (isOn()) start(button);
}

function isOn() {
  return localStorage.getItem(WANTED) === "on" && Notification.permission === "granted";
}

// Whom the address of this page chooses, as a query.
function chosen() {
  const here = new URLSearchParams(location.search);
  return new URLSearchParams(["platform", "tag"].map((name) => [name, here.get(name) || ""]).filter(([, value]) => value));
}

async function toggle(button) {
  if (isOn()) {
    localStorage.removeItem(WANTED);
    show(button);
    return unsubscribe();
  }
  if (await Notification.requestPermission() === "granted") {
    localStorage.setItem(WANTED, "on");
    localStorage.setItem(OF, chosen().toString());
    known = null;
    start(button);
  }
  show(button);
}

async function start(button) {
  tell(button); // at once: until the push service has answered, which may take long, the page tells
  pushed = "push" in button.dataset && await subscribe(button).catch(() => false);
}

function show(button) {
  button.dataset.on ||= button.title;
  const of = isOn() ? new URLSearchParams(localStorage.getItem(OF) || "") : chosen();
  const words = isOn() ? button.dataset.off : Notification.permission === "denied" ? button.dataset.denied : button.dataset.on;
  const whom = [...of.values()].join(", ");
  button.setAttribute("aria-pressed", String(isOn()));
  button.title = whom ? `${words}: ${whom}` : words;
  button.setAttribute("aria-label", button.title);
}

async function registration() {
  if (!navigator.serviceWorker || !("PushManager" in window)) return null;
  return navigator.serviceWorker.getRegistration(document.body.dataset.base);
}

// Asks the browser's push service for an address, and hands it to this server: at each start, for both may forget it.
async function subscribe(button) {
  const worker = await registration() || await navigator.serviceWorker?.ready;
  const answer = worker && await fetch(`${document.body.dataset.base}push`);
  if (!answer || !answer.ok) return false;
  const {key, problem} = await answer.json();
  let wish = await worker.pushManager.getSubscription();
  if (wish && encode(wish.options.applicationServerKey) !== key) {
    await wish.unsubscribe();
    wish = null;
  }
  wish ||= await worker.pushManager.subscribe({userVisibleOnly: true, applicationServerKey: key});
  const {endpoint, keys} = wish.toJSON();
  const of = Object.fromEntries(new URLSearchParams(localStorage.getItem(OF) || ""));
  const sent = await post("push", {endpoint, keys, says: button.dataset.says, ...of});
  return sent.ok && !problem;
}

async function unsubscribe() {
  pushed = false;
  const worker = await registration();
  const wish = worker && await worker.pushManager.getSubscription();
  if (!wish) return;
  await post("push/forget", {endpoint: wish.endpoint}).catch(() => {}); // its push service tells the server then
  await wish.unsubscribe();
}

function post(path, fields) {
  const headers = {"Content-Type": "application/json"};
  return fetch(`${document.body.dataset.base}${path}`, {method: "POST", headers, body: JSON.stringify(fields)});
}

function encode(buffer) {
  const text = btoa(String.fromCharCode(...new Uint8Array(buffer || 0)));
  return text.replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}

// Whoever is live and was not at the last look. The first look tells nobody.
async function tell(button) {
  if (asking || pushed) return;
  asking = true;
  try {
    const answer = await fetch(`${document.body.dataset.base}api/live?${localStorage.getItem(OF) || ""}`);
    if (!answer.ok) return;
    const {live, next} = await answer.json();
    const before = known;
    const since = earliest;
    known = new Set(live.map(key));
    earliest = next && live.length ? live.at(-1).started_at : ""; // of many the newest came: who was behind them is no news
    if (before) {
      for (const one of live) {
        if (!before.has(key(one)) && one.started_at >= since) await notify(one, button.dataset.says);
      }
    }
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
