// Shows the last state of a page while there is no server, tells of what its server pushes, leads from there to the stream.
"use strict";
const KEPT = "livectl-pages";

const PARTS = ["page.js", "live.js", "keys.js", "notify.js", "favicon.svg"].map((name) => `assets/${name}`);

self.addEventListener("install", (event) => {
  self.skipWaiting();
  event.waitUntil(caches.open(KEPT).then((kept) => kept.addAll(PARTS)));
});
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));

self.addEventListener("fetch", (event) => {
  const {request} = event;
  const isPage = request.mode === "navigate" && request.method === "GET";
  const isPart = new URL(request.url).pathname.includes("/assets/");
  if (isPage || isPart) event.respondWith(fresh(request, isPart));
});

// From the server; from what was kept only where no server answers.
async function fresh(request, isPart) {
  const kept = await caches.open(KEPT);
  try {
    const answer = await fetch(request);
    if (isPart && answer.ok) await kept.put(request.url, answer.clone());
    return answer;
  } catch (error) {
    const last = await kept.match(request.url, {ignoreSearch: true}) || !isPart && await kept.match(self.registration.scope);
    if (last) return last;
    throw error;
  }
}

self.addEventListener("push", (event) => {
  const {title, body, tag, url} = event.data ? event.data.json() : {};
  const icon = `${self.registration.scope}assets/icon-192.png`;
  event.waitUntil(self.registration.showNotification(title || "livectl", {body: body || "", tag: tag || "livectl", icon, data: {url}}));
});

self.addEventListener("notificationclick", (event) => {
  event.notification.close();
  const url = event.notification.data && event.notification.data.url;
  if (/^https?:/.test(url || "")) event.waitUntil(self.clients.openWindow(url));
});
