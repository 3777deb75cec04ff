// What the reader says of one answer. The service keeps it; this session does too, so that a reload of the page loses
// nothing: by the hash of the image, without the image or its name.

const STORE = "fracture-reviews";
const MOST = 500; // reviews of a session
const QUIET_MS = 700; // while a box is being moved nothing is sent

export class Review {
  // `send(said)` gives a promise; `onChange()` is called whenever something to be shown has changed.
  constructor(answer, token, { send, onChange }) {
    this.place = `${answer.input.sha256}:${answer.model.sha256}`;
    this.fresh = { answer_id: answer.answer_id, feedback_token: token };
    const kept = read()[this.place];
    this.ids = kept?.ids ?? this.fresh;
    this.said = kept?.said ?? NOTHING;
    this.state = kept ? "kept" : "none"; // none, sending, kept or failed
    this.error = null;
    this.past = [];
    this.send = send;
    this.onChange = onChange;
    this.sending = Promise.resolve();
    this.timer = null;
  }

  get opinion() {
    return this.said.opinion;
  }

  get boxes() {
    return this.said.boxes;
  }

  get canUndo() {
    return this.past.length > 0 || this.opinion !== null;
  }

  // `change` holds what is new: opinion, label, boxes or comments. `later`: more of the same is about to come.
  say(change, { later = false } = {}) {
    this.past.push(this.said);
    this.said = { ...this.said, ...change };
    this.#deliver(later);
  }

  // Back to what was said before; after a reload, to nothing.
  undo() {
    this.said = this.past.pop() ?? NOTHING;
    this.#deliver(false);
  }

  retry() {
    this.#deliver(false);
  }

  #deliver(later) {
    this.state = "sending";
    this.error = null;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => { this.sending = this.sending.then(() => this.#post()); }, later ? QUIET_MS : 0);
    this.onChange();
  }

  async #post() {
    const { said } = this;
    try {
      await this.#sendOnce(said);
      if (said !== this.said) return; // something newer is on its way
      this.state = said.opinion === null ? "none" : "kept";
      keep(this.place, said.opinion === null ? null : { ids: this.ids, said });
    } catch (error) {
      if (said !== this.said) return;
      this.state = "failed";
      this.error = error;
    }
    this.onChange();
  }

  async #sendOnce(said) {
    const body = { ...said, opinion: said.opinion ?? "withdrawn", saw_answer: true };
    try {
      await this.send({ ...this.ids, ...body });
    } catch (error) {
      // What this session remembers may be older than a token lives; the answer of now is as good.
      if (error.code !== "feedback_refused" || this.ids === this.fresh) throw error;
      this.ids = this.fresh;
      await this.send({ ...this.ids, ...body });
    }
  }
}

const NOTHING = Object.freeze({ opinion: null, label: null, boxes: [], comments: [] });

function read() {
  try {
    return JSON.parse(sessionStorage.getItem(STORE)) ?? {};
  } catch {
    return {};
  }
}

function keep(place, review) {
  const { [place]: _, ...others } = read();
  const entries = Object.entries(review ? { ...others, [place]: review } : others).slice(-MOST);
  try {
    sessionStorage.setItem(STORE, JSON.stringify(Object.fromEntries(entries)));
  } catch {
    // A browser without room or permission: the service has it all the same.
  }
}
