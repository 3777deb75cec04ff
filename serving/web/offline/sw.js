// The page without a network. `RELEASE`, which the packaging writes before this, lists every file with its hash.
//
// A release is installed whole or not at all: each file is unpacked, checked against its sha256 and kept under its own
// hash; only when all are there does the release begin to answer, and a page keeps the release that it began with. So a
// tab that is killed, or an update while the page is open, leaves the old release or the new one, never half of each.
// A release that names trusted keys is installed only if one of them signed it; so is every one that follows it, with a key
// that the release before knew. `checkSignature` is that of device/signature.js.

/* global RELEASE, SIGNATURE, checkSignature */

const AT_ONCE = 4;
const ROOT = new URL("./", self.location).href;
const CACHE = `fracture ${ROOT}`; // pages in other folders of the server keep their own
const SHARED = `fracture shared ${ROOT}`;
const TRUSTED = `fracture trusted ${ROOT}`;
const MANIFEST = "model.json";
const PLACE = `signed${SIGNATURE.SUFFIX}`;
const SIGNED = `${RELEASE.version}${SIGNATURE.SUFFIX}`; // of another release, other keys are asked for
// A module of WebAssembly with one of the instructions (i8x16.relaxed_swizzle), as LiteRT.js asks for them.
const RELAXED = [
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 15, 1, 13, 0, 65, 1, 253, 15, 65, 2, 253, 15, 253, 128, 2, 11,
];
const FOLDER = `v/${RELEASE.version}/`;
const NO_ROOM = "there is not enough free room; remove something from this device and try again";
const HEADERS = {
  "content-security-policy": RELEASE.policy,
  // Together they allow threads, whatever the server sends.
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-embedder-policy": "require-corp",
  "cross-origin-resource-policy": "same-origin",
  "x-content-type-options": "nosniff",
  "referrer-policy": "no-referrer",
  "cache-control": "no-store",
};
// What is asked for by these needs no headers but its type. It is given as it is kept: only then does a browser keep the
// code that it made of it, too.
const AS_KEPT = new Set(["script", "style", "image", ""]);

self.addEventListener("install", (event) => event.waitUntil(install()));
self.addEventListener("activate", (event) => event.waitUntil(activate()));
self.addEventListener("message", (event) => {
  if (event.data?.kind === "activate") self.skipWaiting();
  if (event.data?.kind === "complete") event.waitUntil(complete().then(() => event.source?.postMessage({ kind: "completed" })));
});
self.addEventListener("fetch", (event) => {
  const response = event.request.method === "POST" ? received(event.request) : answerTo(event.request);
  if (response) event.respondWith(response);
});

async function install() {
  const waiting = Object.values(RELEASE.files).filter((file) => !file.later && isFor(file));
  const total = waiting.reduce((sum, { transferred }) => sum + transferred, 0);
  let done = 0;
  const lane = async () => {
    for (let file = waiting.pop(); file; file = waiting.pop()) {
      await kept(file);
      done += file.transferred;
      await tell({ kind: "progress", done, total });
    }
  };
  try {
    const trusted = await keysBefore();
    if (RELEASE.keys.length || trusted) await signature(trusted);
    await Promise.all(Array.from({ length: AT_ONCE }, lane));
  } catch (error) {
    waiting.length = 0;
    await tell({ kind: "failed", message: error.name === "QuotaExceededError" ? NO_ROOM : error.message });
    throw error;
  }
}

// What most people never need comes once the page stands; where it fails, it is fetched when it is asked for.
async function complete() {
  const waiting = Object.values(RELEASE.files).filter((file) => file.later && isFor(file));
  waiting.sort((one, other) => one.transferred - other.transferred); // what reads DICOM before the runtime with threads
  for (const file of waiting) await kept(file).catch(() => null);
}

// Some files are for browsers with, some for those without vectors of relaxed precision in WebAssembly.
function isFor({ relaxed }) {
  return relaxed === null || relaxed === WebAssembly.validate(Uint8Array.from(RELAXED));
}

async function activate() {
  const wanted = new Set(Object.values(RELEASE.files).map(({ sha256 }) => addressOf(sha256)));
  wanted.add(addressOf(SIGNED));
  if (RELEASE.keys.length) await (await caches.open(TRUSTED)).put(ROOT, new Response(JSON.stringify(RELEASE.keys)));
  const cache = await caches.open(CACHE);
  for (const { url } of await cache.keys()) {
    if (!wanted.has(url)) await cache.delete(url);
  }
  await self.clients.claim();
}

async function tell(message) {
  for (const client of await self.clients.matchAll({ includeUncontrolled: true })) client.postMessage(message);
}

// A promise of the response, or null for what is left to the network.
function answerTo({ url, method, mode, cache, destination }) {
  if (method !== "GET" || !url.startsWith(ROOT)) return null;
  const path = new URL(url).pathname.slice(new URL(ROOT).pathname.length);
  // Everything else below this folder is the server's: release.json, or another site.
  if (mode === "navigate") return ["", "index.html"].includes(path) ? respond("index.html") : null;
  if (!path.startsWith("v/")) return null;
  if (!path.startsWith(FOLDER)) return gone();
  return respond(path.slice(FOLDER.length), { onlyKept: cache === "only-if-cached", asKept: AS_KEPT.has(destination) });
}

// Files that another app shares with this one wait here until the page opens, which takes them away (device/service.js).
function received(request) {
  return request.url === new URL("share", ROOT).href ? keepShared(request) : null;
}

async function keepShared(request) {
  const files = (await request.formData()).getAll("images").filter((file) => file instanceof File);
  const cache = await caches.open(SHARED);
  await Promise.all(files.map((file, index) => cache.put(
    new URL(`shared/${Date.now()}-${index}/${encodeURIComponent(file.name)}`, ROOT),
    new Response(file, { headers: { "content-type": file.type } }),
  )));
  return Response.redirect(ROOT, 303);
}

function gone() {
  return Promise.resolve(new Response("This file belongs to another release; reload the page.", { status: 404 }));
}

async function respond(path, { onlyKept = false, asKept = false } = {}) {
  if (path === `bundle/${MANIFEST}${SIGNATURE.SUFFIX}`) return new Response(await signature());
  const file = RELEASE.files[decodeURIComponent(path)];
  if (!file) return gone();
  if (onlyKept && !await found(file.sha256)) return new Response("", { status: 504 });
  const content = await kept(file);
  return asKept ? content : new Response(content.body, { headers: { ...HEADERS, "content-type": file.type } });
}

// The file, as it was checked and kept; from the server where it is not, or not any more.
async function kept(file) {
  const before = await found(file.sha256);
  if (before) return before;
  const response = await asked(file.file);
  if (!response.ok) throw new Error(`${file.file}: the server answers ${response.status}`);
  const content = await unpacked(new Uint8Array(await response.arrayBuffer()), file).catch(() => new Uint8Array(0));
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", content));
  const sha256 = Array.from(digest, (value) => value.toString(16).padStart(2, "0")).join("");
  if (sha256 !== file.sha256) throw new Error(`${file.file}: is damaged or was changed (its sha256 is another)`);
  const checked = () => new Response(content, { headers: { "content-type": file.type } });
  await (await caches.open(CACHE)).put(addressOf(sha256), checked());
  return checked();
}

// What browsers say themselves of a network that is gone tells nobody what to do.
function asked(place) {
  return fetch(new URL(place, ROOT), { cache: "no-cache" }).catch(() => {
    throw new Error("the connection broke off; what has arrived stays here, so try again when there is a network");
  });
}

function found(sha256) {
  return caches.match(addressOf(sha256), { cacheName: CACHE });
}

// The keys that the release before trusted, null where there is none or it trusted any.
async function keysBefore() {
  const found = await caches.match(ROOT, { cacheName: TRUSTED }); // opening it would make it
  return found ? found.json() : null;
}

// The text of the signature, as it was checked and kept; `others` are further keys of which one has to be the signer.
async function signature(others = null) {
  const cache = await caches.open(CACHE);
  const found = await cache.match(addressOf(SIGNED));
  if (found) return found.text();
  const response = await asked(PLACE);
  if (!response.ok) throw new Error(`${PLACE}: the server answers ${response.status}; this release has to be signed`);
  const text = await response.text();
  for (const keys of [RELEASE.keys, others ?? RELEASE.keys]) {
    await checkSignature(text, keys, MANIFEST, RELEASE.model_json).catch(({ message }) => { throw new Error(`${PLACE}: ${message}`); });
  }
  await cache.put(addressOf(SIGNED), new Response(text));
  return text;
}

async function unpacked(content, { packed, planes }) {
  const plain = packed ? await inflated(content) : content;
  return planes ? joined(plain) : plain;
}

// Some servers declare the packing, and then the browser has undone it already.
async function inflated(content) {
  if (content[0] !== 0x1f || content[1] !== 0x8b) return content;
  const stream = new Blob([content]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// First come the first bytes of every four, then the second ones, and so on: they pack better beside their like.
function joined(content) {
  const many = content.length >> 2;
  const found = content.slice();
  for (let plane = 0; plane < 4; plane += 1) {
    for (let at = 0; at < many; at += 1) found[4 * at + plane] = content[plane * many + at];
  }
  return found;
}

function addressOf(sha256) {
  return new URL(`kept/${sha256}`, ROOT).href;
}
