// The device in the place of the service: what api.js asks over the network, a worker answers here.

import { ServiceError } from "../api.js";
import { Kept } from "./kept.js";

// The folder of this release, in that of the page.
const HERE = new URL("../../", import.meta.url);
const ROOT = new URL("../../", HERE).href;

export class Service {
  /** No key is ever asked for. */
  constructor() {
    // A page that is measured says how the network runs, as network.js names it (empty: as it likes), and when it loads.
    const run = new URLSearchParams(location.search).get("run");
    this.run = run ?? "";
    this.early = run === null;
    this.release = null;
    this.worker = null;
    this.waiting = new Map();
    this.next = 0;
    this.forgotten = Promise.resolve();
    this.kept = new Kept(ROOT);
  }

  /** Where an image goes, for the page. */
  get words() {
    return {
      privacy: "Images stay on this device: none is sent anywhere, and none is kept unless you want it.",
      formats: "JPEG, PNG, WebP, BMP or DICOM",
      hasApi: false,
    };
  }

  /** What GET /model says. */
  async model() {
    const release = await this.#release();
    const manifest = await (await fetch(new URL("bundle/model.json", HERE))).json();
    return {
      ...manifest,
      run_id: release.model.run_id,
      sha256: release.model.sha256,
      weights: release.weights,
      packaged_at: release.packaged_at,
      signed_by: release.keys.map(({ fingerprint }) => fingerprint.slice(0, 12)).join(" or "),
      samples: Object.keys(manifest.files).filter((name) => name.startsWith("samples/")).sort()
        .map((name) => new URL(`bundle/${name}`, HERE).href),
      limits: release.limits,
    };
  }

  /** One of the sample radiographs, as a file. */
  async sample(path) {
    const response = await fetch(path);
    return new File([await response.blob()], path.split("/").pop(), { type: "image/png" });
  }

  /** Files that another app has shared with this page, as [file, name] pairs; each is given once. */
  async received() {
    const name = `fracture shared ${ROOT}`;
    if (!await caches.has(name)) return [];
    const cache = await caches.open(name);
    const found = await Promise.all((await cache.keys()).map(async (request) => {
      const content = await (await cache.match(request)).blob();
      const title = decodeURIComponent(new URL(request.url).pathname.split("/").pop());
      return [new File([content], title, { type: content.type }), title];
    }));
    await caches.delete(name);
    return found;
  }

  /** The answer for one image, in the form of POST /predict with explanation and preview. */
  async predict(file, { signal }) {
    const [release, content] = await Promise.all([this.#release(), file.arrayBuffer()]);
    signal.throwIfAborted();
    const answer = await this.#ask(content);
    const { name, version, run_id: run, sha256 } = release.model;
    return { ...answer, model: { name, version, run_id: run, sha256 }, schema_version: release.response_schema, request_id: "" };
  }

  /** Gets ready to answer before an image comes. */
  async warm() {
    if (this.early) await this.#worker();
  }

  async #release() {
    this.release ??= fetch(new URL("release.json", HERE)).then((response) => response.json());
    return this.release;
  }

  async #ask(content) {
    const worker = await this.#worker();
    const id = this.next;
    this.next += 1;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject });
      worker.postMessage({ id, content }, [content]);
    });
  }

  async #worker() {
    await this.forgotten;
    const release = await this.#release();
    this.worker ??= this.#start(release);
    return this.worker;
  }

  #start({ model_json: sha256, keys }) {
    const address = new URL("web/device/worker.js", HERE);
    address.search = new URLSearchParams({
      bundle: "../../bundle", runtime: "../../runtime", sha256, keys: JSON.stringify(keys), run: this.run, early: this.early,
    });
    const worker = new Worker(address);
    worker.addEventListener("message", ({ data: { id, answer, error, broken } }) => {
      // What is kept was changed: the next image has it fetched again, and checked.
      if (error?.code === "bundle") this.forgotten = caches.delete(`fracture ${ROOT}`);
      if (broken) {
        this.#end(error);
        return;
      }
      const { resolve, reject } = this.waiting.get(id);
      this.waiting.delete(id);
      if (error) reject(new ServiceError(error.code, error.message));
      else resolve(answer);
    });
    worker.addEventListener("error", ({ message }) => this.#end({ code: "internal", message }));
    return worker;
  }

  // A worker that broke, as one whose memory ran out, is made anew for the next image; those that wait get no answer.
  #end({ code, message }) {
    this.worker?.terminate();
    this.worker = null;
    for (const { reject } of this.waiting.values()) reject(new ServiceError(code, message));
    this.waiting.clear();
  }
}
