// Pictures and answers that are kept on this device, only while a person wants them: in the browser's own database.

const STORE = "answers";

export class Kept {
  /** `root` is the page's address: pages in other folders of a server keep their own. */
  constructor(root) {
    this.name = `fracture kept ${root}`;
    this.opened = null;
  }

  /** Whether answers are kept. */
  get on() {
    return localStorage.getItem(this.name) !== null;
  }

  turnOn() {
    localStorage.setItem(this.name, "on");
  }

  /** Keeps nothing any more, and erases what was kept. */
  async turnOff() {
    localStorage.removeItem(this.name);
    await this.erase();
  }

  /** Keeps an answer with its pictures; a promise of the number under which it lies. */
  async add(name, answer) {
    return this.#run("readwrite", (store) => store.add({ name, answer }));
  }

  async remove(id) {
    await this.#run("readwrite", (store) => store.delete(id));
  }

  /** All that is kept, the oldest first: { id, name, answer }. */
  async all() {
    return this.on ? this.#run("readonly", (store) => store.getAll()) : [];
  }

  /** Erases all that is kept: the database itself goes. */
  async erase() {
    (await this.opened)?.close();
    this.opened = null;
    await promised(indexedDB.deleteDatabase(this.name));
  }

  async #run(mode, action) {
    this.opened ??= this.#open();
    const transaction = (await this.opened).transaction(STORE, mode);
    return promised(action(transaction.objectStore(STORE)));
  }

  #open() {
    const request = indexedDB.open(this.name, 1);
    const letGo = () => {
      request.result?.close();
      this.opened = null;
    };
    request.addEventListener("upgradeneeded", () => {
      request.result.createObjectStore(STORE, { keyPath: "id", autoIncrement: true });
    });
    request.addEventListener("success", () => {
      // Another tab erases all, or the browser does: the next answer that is kept finds a new database.
      for (const kind of ["versionchange", "close"]) request.result.addEventListener(kind, letGo);
    });
    request.addEventListener("error", () => { this.opened = null; });
    return promised(request);
  }
}

function promised(request) {
  return new Promise((resolve, reject) => {
    request.addEventListener("success", () => resolve(request.result));
    request.addEventListener("error", () => reject(request.error));
    request.addEventListener("blocked", () => reject(new Error("another tab holds it")));
  });
}
