/** The page without a network: a service worker serves its files from the browser's cache, where it has one. */

const PATIENCE = 10_000; // ms
const version = () => JSON.parse(document.getElementById("facts").textContent).version;
const cacheName = () => `mtl_vision ${new URL("./", location.href).href} ${version()}`; // as sw.js names it

/** Keep a large file, which has just been fetched, for the next time: the service worker fetches the small ones. */
export async function keep(name, bytes) {
  if (!navigator.serviceWorker || !globalThis.caches) return;
  try {
    const cache = await caches.open(cacheName());
    if (!(await cache.match(name))) await cache.put(name, new Response(bytes));
  } catch {
    // no room, or not allowed: the page works without
  }
}

/** In words, whether the page will open without a network. */
export async function keepOffline(single) {
  if (single) return "This file is all there is: it needs no network.";
  if (!globalThis.isSecureContext) return "Without a network this page does not open: browsers keep pages from https only.";
  if (!navigator.serviceWorker) return "Without a network this page does not open: this browser keeps no pages.";
  try {
    await navigator.serviceWorker.register("sw.js");
    const ready = await Promise.race([navigator.serviceWorker.ready, after(PATIENCE)]);
    return ready ? "Kept by the browser: it opens without a network, too." : "The browser is still keeping this page.";
  } catch {
    return "Without a network this page does not open: the browser did not keep it.";
  }
}

const after = (ms) => new Promise((resolve) => setTimeout(resolve, ms, null));
