// Stores the files of the page, so that it works offline. VERSION and FILES are written above by `edge-fmnist export`.

const CACHE = `${self.registration.scope} ${VERSION}`;

self.addEventListener("install", (event) => {
  const fill = async () => {
    const cache = await caches.open(CACHE);
    // Asks the server whether the browser's copies are current, instead of downloading them again.
    await cache.addAll(FILES.map((file) => new Request(file, { cache: "no-cache" })));
    await self.skipWaiting();
  };
  event.waitUntil(fill());
});

self.addEventListener("activate", (event) => {
  const tidy = async () => {
    const stored = (await caches.keys()).filter((key) => key.startsWith(`${self.registration.scope} `));
    await Promise.all(stored.filter((key) => key !== CACHE).map((key) => caches.delete(key)));
    await self.clients.claim();
  };
  event.waitUntil(tidy());
});

self.addEventListener("fetch", (event) => {
  const answer = async () => {
    const cache = await caches.open(CACHE);
    return (await cache.match(event.request, { ignoreSearch: true })) ?? fetch(event.request);
  };
  if (event.request.method === "GET") event.respondWith(answer());
});
