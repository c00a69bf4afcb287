// Keeps what the page has used, so that it works without its server; see service-worker.js.

/** Stores the page, the runtime and the recognisers used so far, where the browser can. */
export async function keepForOffline() {
  if (!navigator.serviceWorker) return; // without https, or in some private windows
  const { version } = self.CONTENTS;
  try {
    await navigator.serviceWorker.register("service-worker.js", { updateViaCache: "none" });
    await navigator.serviceWorker.ready;
    const cache = await caches.open(`ser_nsl ${version}`);
    const used = performance.getEntriesByType("resource").map(({ name }) => name);
    for (const url of new Set(used.filter((name) => name.startsWith(location.origin)))) {
      if (!(await cache.match(url))) await cache.add(url);
    }
  } catch (error) {
    console.warn("The page is not kept for use without its server:", error);
  }
}
