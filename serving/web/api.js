// Talking to the service: requests, API key, errors, waiting while it is busy.

const KEY = "fracture-api-key";
const MOST_TRIES = 5;
const FEEDBACK_TRIES = 3;
const LONGEST_WAIT_SECONDS = 15;
const PATIENCE_MS = 120_000; // sending and answering; the service itself gives up earlier

// Codes for answers that hold no problem document, for instance those of a proxy in between.
const CODE_OF_STATUS = {
  401: "unauthorized", 404: "not_found", 405: "method_not_allowed", 408: "request_timeout", 413: "body_too_large",
  415: "unsupported_media_type", 429: "overloaded", 502: "network", 503: "overloaded", 504: "timeout",
};

// Why there is no answer; `code` is a key of messages.js' PROBLEMS.
export class ServiceError extends Error {
  constructor(code, detail = "", { status = 0, requestId = "", retryAfter = null } = {}) {
    super(detail || code);
    Object.assign(this, { code, detail, status, requestId, retryAfter });
  }
}

export class Service {
  // `askForKey(refused)` gives a promise of a key, or of null when the person has none.
  constructor(askForKey) {
    this.askForKey = askForKey;
    this.key = sessionStorage.getItem(KEY) ?? "";
    this.asking = null;
    this.kept = null; // answers are kept on a device only (device/kept.js)
  }

  // Where an image goes and which ones are read, for the page.
  get words() {
    return {
      privacy: "Images go to this service only. It reads them in memory and keeps none.",
      formats: "JPEG, PNG, WebP, BMP, TIFF or DICOM",
      hasApi: true,
    };
  }

  // What the service says of its model: GET /model.
  async model() {
    return (await this.#authorised(() => this.#send("model", {}))).json();
  }

  // One of the sample radiographs that the model's description lists, as a file.
  async sample(path) {
    const response = await this.#send(path.replace(/^\//, ""), {});
    return new File([await response.blob()], path.split("/").pop(), { type: "image/png" });
  }

  // What other apps have shared with this page: only one that is kept on a device receives files.
  async received() {
    return [];
  }

  // The answer for one image, with explanation and preview. While the service is busy, waits and tries again;
  // `onWait(attempt)` is told so.
  async predict(file, { signal, onWait }) {
    const body = new FormData();
    // The file's own name often holds the patient's; the service does not need it.
    body.append("image", file, "image");
    for (let attempt = 1; ; attempt += 1) {
      try {
        const response = await this.#authorised(() =>
          this.#send("predict?explain=true&preview=true", { method: "POST", body, signal }));
        return await readJson(response);
      } catch (error) {
        if (error.status !== 503 || error.retryAfter === null || attempt === MOST_TRIES) throw error;
        onWait(attempt);
        await pause(waitSeconds(error.retryAfter, attempt), signal);
      }
    }
  }

  // Keeps what a reader says of an answer. While the store is away, waits and tries again.
  async feedback(said) {
    const body = JSON.stringify(said);
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await readJson(await this.#authorised(() =>
          this.#send("feedback", { method: "POST", body, headers: { "Content-Type": "application/json" } })));
      } catch (error) {
        if (error.retryAfter === null || attempt === FEEDBACK_TRIES) throw error;
        await pause(waitSeconds(error.retryAfter, attempt));
      }
    }
  }

  async #authorised(send) {
    for (;;) {
      const used = this.key;
      try {
        return await send();
      } catch (error) {
        if (error.code !== "unauthorized") throw error;
        // Another request may have got a new key meanwhile; then this one only has to be sent again.
        if (this.key === used && !(await this.#renewKey())) throw error;
      }
    }
  }

  // Asks once, however many requests wait for the key; gives whether there is one now.
  async #renewKey() {
    this.asking ??= this.askForKey(this.key !== "").finally(() => { this.asking = null; });
    const given = await this.asking;
    if (given === null) return false;
    this.key = given;
    sessionStorage.setItem(KEY, given);
    return true;
  }

  async #send(path, { signal, ...options }) {
    const limit = new AbortController();
    const timer = setTimeout(() => limit.abort(), PATIENCE_MS);
    const cancel = () => limit.abort();
    signal?.addEventListener("abort", cancel);
    const headers = { ...options.headers, ...(this.key ? { Authorization: `Bearer ${this.key}` } : {}) };
    try {
      const response = await fetch(new URL(path, document.baseURI), { ...options, headers, signal: limit.signal });
      if (!response.ok) throw await problemOf(response);
      return response;
    } catch (error) {
      if (error instanceof ServiceError) throw error;
      if (signal?.aborted) throw new ServiceError("cancelled");
      throw new ServiceError(limit.signal.aborted ? "timeout" : "network");
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener("abort", cancel);
    }
  }
}

// Runs at most `limit` tasks at once, in order.
export class Lanes {
  constructor(limit) {
    this.free = limit;
    this.waiting = [];
  }

  async run(task) {
    if (this.free > 0) this.free -= 1;
    else await new Promise((go) => this.waiting.push(go));
    try {
      return await task();
    } finally {
      const next = this.waiting.shift();
      if (next) next();
      else this.free += 1;
    }
  }
}

async function problemOf(response) {
  const document = await response.json().catch(() => ({}));
  const retryAfter = response.headers.get("retry-after");
  return new ServiceError(document.code ?? CODE_OF_STATUS[response.status] ?? "unreadable", document.detail ?? "", {
    status: response.status,
    requestId: document.request_id ?? response.headers.get("x-request-id") ?? "",
    retryAfter: retryAfter === null ? null : Number(retryAfter) || 1,
  });
}

async function readJson(response) {
  try {
    return await response.json();
  } catch {
    throw new ServiceError("unreadable");
  }
}

// Twice as long each time, and not the same for all tabs that were turned away together.
function waitSeconds(retryAfter, attempt) {
  return Math.min(retryAfter * 2 ** (attempt - 1), LONGEST_WAIT_SECONDS) * (1 + Math.random() / 2);
}

function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, seconds * 1000);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(new ServiceError("cancelled"));
    });
  });
}
