/** Serves the page's files from the browser's cache, so that it opens without a network. */

// Both are written by mtl_vision/export/web/page.py. The large files are none of FILES: the page keeps those it uses.
const VERSION = "{{version}}";
const FILES = "{{files}}".split(" ");

const OWN = `mtl_vision ${self.registration.scope} `, NAME = OWN + VERSION;

self.addEventListener("install", (event) => {
  const kept = caches.open(NAME).then((cache) => cache.addAll(FILES));
  event.waitUntil(kept.then(() => self.skipWaiting()));
});

self.addEventListener("activate", (event) => {
  const old = caches.keys().then((names) => names.filter((name) => name.startsWith(OWN) && name !== NAME));
  const gone = old.then((names) => Promise.all(names.map((name) => caches.delete(name))));
  event.waitUntil(gone.then(() => self.clients.claim()));
});

self.addEventListener("fetch", (event) => {
  const wanted = event.request.mode === "navigate" ? "./" : event.request; // also where index.html is named
  const kept = caches.open(NAME).then((cache) => cache.match(wanted, { ignoreSearch: true }));
  event.respondWith(kept.then((answer) => answer ?? fetch(event.request)));
});
