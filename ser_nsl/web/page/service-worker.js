// Answers for the server where it cannot be reached, from what the page has stored.

importScripts("contents.js"); // another version makes the browser install this anew

const PREFIX = "ser_nsl "; // of the names of caches; other pages of this address have others
const CACHE = PREFIX + self.CONTENTS.version;
const PATIENCE_MS = 3000; // to wait for a server that may have gone
const SLOW_MS = 30_000; // how long not to wait again, once it has not answered

let slowUntil = 0;

self.addEventListener("install", (event) => event.waitUntil(install()));
self.addEventListener("activate", (event) => event.waitUntil(activate()));
self.addEventListener("fetch", (event) => {
  if (event.request.method === "GET") event.respondWith(answer(event.request));
});

/** Stores this version of the page, and of what earlier versions have stored. */
async function install() {
  self.skipWaiting();
  const cache = await caches.open(CACHE);
  await cache.addAll(self.CONTENTS.files);
  for (const name of await old()) {
    for (const { url } of await (await caches.open(name)).keys()) {
      if (!(await cache.match(url))) await cache.add(url).catch(() => {}); // it may be gone
    }
  }
}

/** Removes earlier versions. */
async function activate() {
  for (const name of await old()) await caches.delete(name);
  await self.clients.claim();
}

async function old() {
  return (await caches.keys()).filter((name) => name.startsWith(PREFIX) && name !== CACHE);
}

/** Asks the server first: it may have a newer page, or be another at the same address. */
async function answer(request) {
  const fetched = fetch(request);
  const patience = Date.now() < slowUntil ? 0 : PATIENCE_MS;
  const late = new Promise((resolve) => setTimeout(resolve, patience, "late"));
  const first = await Promise.race([fetched.catch(() => null), late]);
  if (first === "late") slowUntil = Date.now() + SLOW_MS;
  if (first instanceof Response) return first;
  return (await (await caches.open(CACHE)).match(request)) ?? fetched;
}
