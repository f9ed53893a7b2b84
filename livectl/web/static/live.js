// Keeps the page as the server has it: is told of news, or asks every few seconds, and changes only what is different.
const SHOWN = 4000, TOLD = 8000, HIDDEN = 30000; // milliseconds between two looks: without events, with them, unseen
const PATIENCE = 15000, SPREAD = 600; // ... for an answer; ... over which all who are told of the same news come
const MAX_KEPT = 30; // pages
const KEPT = "livectl-pages"; // what the service worker shows while there is no server

let etag = "", policy = "", timer = 0, due = 0, asking = null, source = null, mayListen = "EventSource" in window;
const watchers = [];

export function start() {
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) return hush();
    look();
    listen();
  });
  listen();
  wait(pause());
}

// Calls back after each change of the page.
export function watch(changed) {
  watchers.push(changed);
}

function wait(milliseconds) {
  clearTimeout(timer);
  due = Date.now() + milliseconds;
  timer = setTimeout(look, milliseconds);
}

// A form is on its way: what it changes is shown by the page that comes next, and this one may be gone by then.
export function leave() {
  const before = asking;
  asking = null;
  if (before) before.abort();
  hush();
  wait(PATIENCE);
}

// Looks no later than this: what comes again and again puts off nothing.
function hasten(milliseconds) {
  if (due - Date.now() > milliseconds) wait(milliseconds);
}

function pause() {
  return document.hidden ? HIDDEN : source && source.readyState === 1 ? TOLD : SHOWN;
}

// A hidden page listens to nothing: a browser has few connections for all the pages of a server.
function listen() {
  const topics = (document.body.dataset.topics || "").split(" ").filter(Boolean);
  if (!mayListen || source || document.hidden || !topics.length) return;
  let broken = false;
  source = new EventSource(`${document.body.dataset.base}events`);
  source.addEventListener("open", () => broken && hasten(0)); // what happened meanwhile, nobody told
  for (const topic of topics) source.addEventListener(topic, ({data}) => data === document.body.dataset[topic] || hasten(Math.random() * SPREAD));
  source.addEventListener("error", () => {
    broken = true;
    if (source && source.readyState === 2) { // this server keeps no connection open
      mayListen = false;
      hush();
    }
    hasten(SHOWN);
  });
}

function hush() {
  if (source) source.close();
  source = null;
}

async function look() {
  if (asking) asking.abort();
  const mine = asking = new AbortController();
  const alarm = setTimeout(() => mine.abort(), PATIENCE);
  try {
    const headers = {"Livectl-Again": "1"};
    if (etag) headers["If-None-Match"] = etag;
    const answer = await fetch(location.href, {headers, cache: "no-store", signal: mine.signal});
    if (answer.status === 401) return forget();
    policy = answer.headers.get("Content-Security-Policy") || policy;
    if (answer.status !== 304) await take(answer);
    lost(answer.status !== 304 && !answer.ok);
  } catch {
    if (mine === asking) lost(true);
  } finally {
    clearTimeout(alarm);
    if (mine === asking) {
      asking = null;
      wait(pause());
    }
  }
}

async function take(answer) {
  if (!answer.ok) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  etag = answer.headers.get("ETag") || "";
  if (document.title !== fresh.title) document.title = fresh.title;
  match(document.body, fresh.body);
  listen();
  for (const changed of watchers) changed();
  keep();
}

function lost(is) {
  const said = document.getElementById("lost");
  if (said && said.hidden === is) said.hidden = !is;
}

// Whoever has no token any more sees nothing that was kept.
async function forget() {
  if ("caches" in window) await caches.delete(KEPT);
  location.reload();
}

// Keeps what is shown now, for when there is no server: one state of each page.
async function keep() {
  if (!("caches" in window) || !policy) return;
  try {
    const text = `<!doctype html>${document.documentElement.outerHTML}`;
    const headers = {"Content-Type": "text/html; charset=utf-8", "Content-Security-Policy": policy};
    const kept = await caches.open(KEPT);
    await kept.put(location.pathname, new Response(text, {headers}));
    const all = (await kept.keys()).filter(({url}) => !url.includes("/assets/"));
    for (const old of all.slice(0, Math.max(0, all.length - MAX_KEPT))) await kept.delete(old);
  } catch {} // no room: then there is nothing to show
}

// The filter as one types; without this script it is a plain form.
export function choose(form) {
  const words = new URLSearchParams([...new FormData(form)].filter(([name, value]) => value && !isUsual(name, value)));
  const query = words.toString();
  history.replaceState(null, "", query ? `?${query}` : location.pathname);
  etag = "";
  look();
}

function isUsual(name, value) {
  return name === "sort" && value === "recent" || name === "group" && value === "state";
}

// Makes one node like another, and leaves alone whatever is alike already, or is this browser's own.
function match(old, fresh) {
  if (old.isEqualNode(fresh)) return;
  if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName || old.id !== fresh.id) {
    old.replaceWith(document.importNode(fresh, true));
  } else if (old.nodeType !== Node.ELEMENT_NODE) {
    old.data = fresh.data;
  } else if (!("own" in old.dataset) && (old !== document.activeElement || !old.matches("input, select"))) {
    matchAttributes(old, fresh);
    if ("keyed" in old.dataset) matchKeyed(old, fresh);
    else matchChildren(old, fresh);
  }
}

// What a visitor has opened, the question whether they are sure above all, stays open.
function matchAttributes(old, fresh) {
  const isTheirs = (name) => name === "open" && old.nodeName === "DETAILS";
  for (const {name} of [...old.attributes]) if (!fresh.hasAttribute(name) && !isTheirs(name)) old.removeAttribute(name);
  for (const {name, value} of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
}

function matchChildren(old, fresh) {
  if (old.childNodes.length !== fresh.childNodes.length) {
    old.replaceChildren(...[...fresh.childNodes].map((one) => document.importNode(one, true)));
    return;
  }
  const pairs = [...old.childNodes].map((one, at) => [one, fresh.childNodes[at]]);
  for (const [one, other] of pairs) match(one, other);
}

// Children that have ids keep their identity when they move: a card that climbs is the same card.
function matchKeyed(old, fresh) {
  const known = new Map([...old.children].filter((one) => !("own" in one.dataset)).map((one) => [one.id, one]));
  const after = (one) => {
    while (one && "own" in one.dataset) one = one.nextElementSibling;
    return one;
  };
  let next = after(old.firstElementChild);
  for (const other of fresh.children) {
    if ("own" in other.dataset) continue;
    const one = known.get(other.id);
    known.delete(other.id);
    if (one && one === next) {
      next = after(next.nextElementSibling);
      match(one, other);
    } else if (one) {
      old.insertBefore(one, next);
      match(one, other);
    } else {
      old.insertBefore(arrived(other), next);
    }
  }
  for (const one of known.values()) one.remove();
}

function arrived(other) {
  const one = document.importNode(other, true);
  if (one.classList.contains("card")) {
    one.classList.add("fresh");
    one.addEventListener("animationend", () => one.classList.remove("fresh"), {once: true});
  }
  return one;
}
