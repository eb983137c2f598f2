// @ts-check
/**
 * Follows what `ws/notifications/` announces: any number of subscriptions on one socket, which comes back
 * and resumes by itself. Each offset reaches a callback once, in order. Described in apps/realtime/README.md.
 *
 * @typedef {import("./notifications.js").Position} Position
 * @typedef {import("./notifications.js").Callbacks} Callbacks
 * @typedef {import("./notifications.js").Options} Options
 * @typedef {Record<string, any>} Frame
 */

const PROTOCOL = 1;
/** Until a server says otherwise: when to come back, how often it gives a sign of life, what it takes. */
const RECONNECT = { min_ms: 500, max_ms: 20_000 };
const HEARTBEAT_MS = 25_000;
const COMMAND_BYTES = 16_384;
/** No entry of a command is longer. */
const ENTRY_BYTES = 400;
/** How long a server may take to say hello, and to answer when it is asked whether it is still there. */
const HELLO_MS = 15_000;
const PROBE_MS = 5_000;
/** A page that slept twice as long may have a dead socket. A hidden one has its timers a minute late. */
const PULSE_MS = 30_000;
/** No server means to be waited for longer. Timers of weeks go off at once. */
const HOUR_MS = 3_600_000;

/** Codes of our own, since a browser lets nothing say 1006 or 1002. */
const SILENT = 3000;
const NONSENSE = 3001;
const SIGN_IN = 4401;
const RESTART = 1012;

/** Frames that are for a subscription. What else there will be one day is left alone. */
const TOLD = /^([A-Z]|snapshot$|resynced$|skipped$)/;
/** What tells a page that it, or its network, has been away. */
const WAKING = ["online", "offline", "pageshow", "visibilitychange"];

/** What is no position comes from a server that talks nonsense, or from a damaged store. */
const isPosition = (/** @type {any} */ it) =>
  typeof it?.epoch === "string" && Number.isSafeInteger(it.offset) && it.offset >= 0;

const positionIn = (/** @type {Frame} */ { epoch, offset }) => ({ epoch, offset });

const keyOf = (/** @type {string} */ objectType, /** @type {string} */ id) => `${objectType}:${id}`;

/** Whether a server that closed with this code is not to be asked again. */
const isFinal = (/** @type {number} */ code) =>
  code === 1009 || (code >= 4400 && code < 4500 && code !== 4408 && code !== 4429);

/** Returns a window in which to come back, if it is one. */
function windowIn(/** @type {any} */ it) {
  return it?.min_ms > 0 && it.max_ms >= it.min_ms && it.max_ms < HOUR_MS ? it : null;
}

/** Returns the window in the reason of a close, if there is one. */
function windowOf(/** @type {string} */ reason) {
  try {
    return windowIn(JSON.parse(reason).reconnect);
  } catch {
    return null;
  }
}

const report = (/** @type {unknown} */ error) => (globalThis.reportError ?? console.error)(error);

/** Calls what is not ours: a mistake in it, now or later, is reported, and stops nobody else. */
function call(/** @type {Function | undefined} */ callback, /** @type {any[]} */ ...values) {
  try {
    callback?.(...values)?.catch?.(report);
  } catch (error) {
    report(error);
  }
}

/** Keeps positions across page loads. A store that is full or forbidden is done without. */
class Store {
  #storage;
  #key;

  constructor(/** @type {Storage | undefined} */ storage, /** @type {string} */ key) {
    this.#storage = storage;
    this.#key = `notifications:${key}`;
  }

  /** @returns {Position | null} */
  get() {
    try {
      const found = JSON.parse(this.#storage?.getItem(this.#key) ?? "0");
      return isPosition(found) ? positionIn(found) : null;
    } catch {
      return null;
    }
  }

  set(/** @type {Position | null} */ position) {
    try {
      // First away with the old one: where there is no room, none is better than one that was passed.
      this.#storage?.removeItem(this.#key);
      if (position) this.#storage?.setItem(this.#key, JSON.stringify(position));
    } catch {
      // The page loads with the present state instead.
    }
  }
}

/** One subscription: where it stands, and who is told. */
class Subscription {
  #callbacks;
  #store;
  #state = "";
  /** The offset at which it has caught up; null until the server has answered. @type {number | null} */
  #target = null;
  /** A snapshot whose pages are coming, and what came behind it. @type {any} */
  #pending = null;
  #wantsSnapshot;
  #isIterated;
  #hasEnded = false;
  /** @type {{ item: Frame, position: Position }[]} */
  #queue = [];
  /** @type {Function[]} */
  #takers = [];
  /** What an iteration has been given, and is done with when it asks for more. @type {Position | null} */
  #taken = null;
  /** The last offset that was told. @type {Position | null} */
  position;

  constructor(
    /** @type {Storage | undefined} */ storage,
    /** @type {string} */ objectType,
    /** @type {string} */ id,
    /** @type {Callbacks} */ callbacks,
  ) {
    const { since, onEvent, onSnapshot } = callbacks;
    if (since && !isPosition(since)) {
      throw new TypeError("since: expected { epoch, offset }");
    }
    this.subject = { object_type: objectType, id };
    this.key = keyOf(objectType, id);
    this.#store = new Store(storage, this.key);
    this.position = since ? positionIn(since) : this.#store.get();
    this.#callbacks = callbacks;
    this.#isIterated = !onEvent && !onSnapshot;
    this.#wantsSnapshot = !this.position && !(onEvent && !onSnapshot);
  }

  get state() {
    return this.#state;
  }

  get isLive() {
    const offset = this.position?.offset ?? -1;
    return this.#hasEnded || (this.#target !== null && !this.#pending && offset >= this.#target);
  }

  /** Returns the entry of a command that asks for it. */
  wish() {
    if (this.#wantsSnapshot) return { ...this.subject, snapshot: true };
    return this.position ? { ...this.subject, since: this.position } : this.subject;
  }

  /** The present state is wanted, wherever it stands. */
  refresh() {
    this.#wantsSnapshot = true;
  }

  /** Called when the socket is gone. */
  detach() {
    this.#target = this.#pending = null;
  }

  /** Called with the answer to the wish. Returns false if it makes no sense. */
  join(/** @type {Frame} */ frame) {
    if (!isPosition(frame)) return false;
    this.#target = frame.offset + (frame.missed ?? 0);
    if (frame.recovered) {
      return frame.epoch === this.position?.epoch && frame.offset === this.position?.offset;
    }
    if (frame.recovered === false) return this.#begin(frame, "unrecoverable");
    if (this.#wantsSnapshot) return this.#begin(frame, "start");
    this.position = positionIn(frame);
    this.#store.set(this.position);
    return true;
  }

  /** Called with each frame about it. Returns false if it makes no sense. */
  hear(/** @type {Frame} */ frame) {
    if (this.#target === null) return true; // left over from an earlier subscription to the same
    if (frame.type === "snapshot") return this.#page(frame);
    if (!isPosition(frame)) return false;
    if (frame.type === "resynced") {
      this.#target = frame.offset;
      return this.#begin(frame, frame.reason);
    }
    if (!this.#pending) return this.#follow(frame);
    this.#pending.events.push(frame);
    return true;
  }

  /** Called when the server ends it. */
  end(/** @type {string} */ reason) {
    this.stop();
    this.#store.set(null);
    call(this.#callbacks.onRevoked, reason);
  }

  /** Nobody is told anything any more. */
  stop() {
    this.#hasEnded = true;
    this.tell("ended");
    for (const taker of this.#takers.splice(0)) taker({ done: true, value: undefined });
  }

  tell(/** @type {string} */ state) {
    // Who hears it may have ended others; the end is their last word.
    if (state === this.#state || this.#state === "ended") return;
    this.#state = state;
    call(this.#callbacks.onState, state);
  }

  /** Returns what comes next, once it is there, to who has done with what came before. */
  next() {
    if (this.#taken) this.#store.set(this.#taken);
    this.#taken = null;
    return new Promise((resolve) => {
      this.#takers.push(resolve);
      this.#serve();
    });
  }

  /** Begins a snapshot: complete if it has its payload; a collection's objects come in pages. */
  #begin(/** @type {Frame} */ frame, /** @type {string} */ reason) {
    const snapshot = { type: "snapshot", ...this.subject, reason, ...positionIn(frame) };
    this.#pending = { snapshot, items: [], events: [] };
    return !("payload" in frame) || this.#finish({ payload: frame.payload });
  }

  #page(/** @type {Frame} */ { items, done }) {
    if (!this.#pending || !Array.isArray(items)) return false;
    for (const item of items) this.#pending.items.push(item);
    return !done || this.#finish({ items: this.#pending.items });
  }

  /** The position is older than what is shown: what came meanwhile is told behind it. */
  #finish(/** @type {Frame} */ content) {
    const { snapshot, events } = this.#pending;
    this.#pending = null;
    this.#wantsSnapshot = false;
    this.position = positionIn(snapshot);
    this.#hand({ ...snapshot, ...content }, this.#callbacks.onSnapshot);
    return events.every((/** @type {Frame} */ frame) => this.#hasEnded || this.#follow(frame));
  }

  /** Tells the next offset, drops an earlier one; anything else is none that the server may send. */
  #follow(/** @type {Frame} */ frame) {
    const { epoch, offset } = /** @type {Position} */ (this.position);
    if (frame.epoch !== epoch || frame.offset > offset + 1) return false;
    if (frame.offset <= offset) return true;
    this.position = positionIn(frame);
    this.#hand(frame, this.#callbacks.onEvent, { catchingUp: frame.offset <= /** @type {number} */ (this.#target) });
    return true;
  }

  #hand(/** @type {Frame} */ item, /** @type {any} */ callback, /** @type {any[]} */ ...more) {
    const position = /** @type {Position} */ (this.position);
    if (this.#isIterated) {
      this.#queue.push({ item, position });
      this.#serve();
      return;
    }
    call(callback, item, ...more);
    this.#store.set(position);
  }

  /** Gives what there is to who waits for it. */
  #serve() {
    while (this.#takers.length && (this.#queue.length || this.#hasEnded)) {
      const given = this.#queue.shift();
      this.#taken = given?.position ?? null;
      this.#takers.shift()?.({ done: !given, value: given?.item });
    }
  }
}

/** One socket after the other, and what it is asked for. */
class Connection {
  #options;
  /** @type {Map<string, Subscription>} */
  #subscriptions = new Map();
  /** What waits to be asked for. @type {Set<Subscription>} */
  #wishes = new Set();
  /** What each command asked for, until it is answered. @type {Map<number, Subscription[]>} */
  #asked = new Map();
  #ref = 0;
  /** @type {WebSocket | null} */
  #socket = null;
  #isGreeted = false;
  #failures = 0;
  #window = RECONNECT;
  #heartbeatMs = HEARTBEAT_MS;
  #batch = COMMAND_BYTES / ENTRY_BYTES;
  /** @type {Record<string, ReturnType<typeof setTimeout>>} */
  #timers = {};
  /** The state without a socket that was greeted. */
  #link = "idle";
  #state = "";

  constructor(/** @type {Options} */ options) {
    this.#options = options;
    // What happens to the document reaches the window, too.
    for (const name of WAKING) globalThis.addEventListener?.(name, this);
  }

  get state() {
    return this.#state || this.#link;
  }

  /** Follow an object, a collection, or `me`. Throws if that is followed already. */
  subscribe(
    /** @type {string} */ objectType,
    /** @type {string} */ id,
    /** @type {Callbacks} */ callbacks = {},
  ) {
    if (this.#subscriptions.has(keyOf(objectType, id))) {
      throw new Error(`${objectType} ${id} is followed already`);
    }
    const subscription = new Subscription(this.#options.storage, objectType, id, callbacks);
    this.#subscriptions.set(subscription.key, subscription);
    this.#ask(subscription);
    if (this.#link === "idle") this.#open("connecting");
    this.#tell();
    return this.#handle(subscription);
  }

  /** Come back now: after signing in, say. */
  reconnect() {
    if (this.#socket) return;
    this.#failures = 0;
    this.#open("connecting");
  }

  /** End the socket, and all that is followed by it. */
  close() {
    for (const name of WAKING) globalThis.removeEventListener?.(name, this);
    this.#drop();
    this.#link = "closed";
    for (const subscription of this.#subscriptions.values()) subscription.stop();
    this.#subscriptions.clear();
    this.#tell();
  }

  /** Called when the page or its network wakes up: what was there before may be no more. */
  handleEvent(/** @type {{ type: string }} */ { type }) {
    if (type === "visibilitychange" && document.hidden) return;
    if (this.#isGreeted) this.#probe();
    else if (this.#link === "offline" && !this.#socket) {
      this.#failures = 0;
      this.#later("retry", Math.random() * this.#window.min_ms, () => this.#open("offline"));
    }
  }

  // The socket

  #open(/** @type {string} */ link) {
    this.#drop();
    this.#link = link;
    const { url, headers, WebSocket = globalThis.WebSocket } = this.#options;
    // No protocols are asked for; where it isn't a browser, headers may stand in their place.
    const socket = new WebSocket(addressOf(url), headers ? /** @type {any} */ ({ headers }) : []);
    this.#socket = socket;
    this.#watch(HELLO_MS);
    socket.onmessage = ({ data }) => this.#receive(data);
    socket.onclose = ({ code, reason }) => this.#lose(code, reason);
    socket.onerror = () => this.#isGreeted || this.#lose(1006, "");
    this.#tell();
  }

  /** Called when the socket is gone, or not worth keeping. Its code says whether and when to come back. */
  #lose(/** @type {number} */ code, /** @type {string} */ reason) {
    this.#drop();
    if (isFinal(code)) {
      this.#link = code === SIGN_IN ? "signed-out" : "refused";
      this.#tell({ code, reason });
      return;
    }
    this.#window = windowOf(reason) ?? this.#window;
    const wait = this.#wait(code);
    this.#link = "offline";
    this.#later("retry", wait, () => this.#open("offline"));
    this.#tell({ code, reason, retryMs: Math.round(wait) });
  }

  /** Returns a random moment in the server's window: all of it after a restart, else ever more of it. */
  #wait(/** @type {number} */ code) {
    const { min_ms, max_ms } = this.#window;
    this.#failures += 1;
    const end = code === RESTART ? max_ms : Math.min(max_ms, min_ms * 2 ** this.#failures);
    return min_ms + Math.random() * (end - min_ms);
  }

  #drop() {
    for (const timer of Object.values(this.#timers)) clearTimeout(timer);
    this.#timers = {};
    const socket = this.#socket;
    this.#socket = null;
    this.#isGreeted = false;
    this.#asked.clear();
    this.#wishes = new Set(this.#subscriptions.values());
    for (const subscription of this.#wishes) subscription.detach();
    if (!socket) return;
    socket.onmessage = socket.onclose = socket.onerror = null;
    // What may be dead isn't waited for; a browser lets go of it in its own time.
    socket.close();
  }

  /** Act after a time. It is told by how much it comes late, or early: clocks jump, and pages sleep. */
  #later(
    /** @type {string} */ name,
    /** @type {number} */ ms,
    /** @type {(late: number) => void} */ act,
  ) {
    const due = Date.now() + ms;
    clearTimeout(this.#timers[name]);
    this.#timers[name] = setTimeout(() => act(Date.now() - due), ms);
  }

  /**
   * Give the socket up if nothing comes in this time. A page that slept meanwhile asks the server first: what
   * came may wait to be read.
   */
  #watch(/** @type {number} */ ms) {
    this.#later("silence", ms, (late) =>
      this.#isGreeted && late > PROBE_MS ? this.#probe() : this.#lose(SILENT, "silence"),
    );
  }

  #probe() {
    this.#watch(PROBE_MS);
    this.#send({ action: "ping" });
  }

  /** Find out, at each pulse, whether the page has slept. */
  #pulse() {
    this.#later("pulse", PULSE_MS, (late) => {
      this.#pulse();
      if (Math.abs(late) > 2 * PULSE_MS) this.#probe();
    });
  }

  // Frames

  #send(/** @type {Frame} */ frame) {
    call(this.#options.onFrame, frame, "out");
    this.#socket?.send(JSON.stringify(frame));
  }

  #receive(/** @type {any} */ data) {
    const socket = this.#socket;
    const isSense = this.#isSense(data);
    // Who is told something may have ended it all.
    if (!isSense && socket === this.#socket) this.#lose(NONSENSE, "nonsense");
    else this.#tell();
  }

  /** Returns whether a frame is one that the protocol has here, and does what it asks for. */
  #isSense(/** @type {any} */ data) {
    let frame;
    try {
      frame = JSON.parse(data);
    } catch {
      return false;
    }
    if (typeof frame?.type !== "string") return false;
    const socket = this.#socket;
    call(this.#options.onFrame, frame, "in");
    if (socket !== this.#socket) return true;
    if (!this.#isGreeted) return frame.type === "hello" && this.#greet(frame);
    this.#watch(2 * this.#heartbeatMs);
    if (frame.type === "ping") this.#send({ action: "pong" });
    if (this.#asked.has(frame.ref) && frame.type !== "snapshot") return this.#answer(frame);
    return this.#hear(frame);
  }

  #greet(/** @type {Frame} */ { protocol, user, heartbeat_seconds: seconds, reconnect, limits }) {
    const { user: expected } = this.#options;
    if (protocol !== PROTOCOL) this.#lose(4400, "protocol");
    else if (expected !== undefined && expected !== user) this.#lose(SIGN_IN, "another user");
    else {
      this.#isGreeted = true;
      this.#window = windowIn(reconnect) ?? RECONNECT;
      this.#heartbeatMs = seconds > 0 && seconds < 1800 ? seconds * 1000 : HEARTBEAT_MS;
      this.#batch = Math.max(1, (limits?.command_bytes || COMMAND_BYTES) / ENTRY_BYTES);
      this.#watch(2 * this.#heartbeatMs);
      // A server that greets and ends, again and again, must not be asked ever more often.
      this.#later("calm", this.#window.max_ms, () => (this.#failures = 0));
      this.#pulse();
      this.#flush();
    }
    return true;
  }

  /** An answer is about one entry of a command; without an index, about all of them. */
  #answer(/** @type {Frame} */ frame) {
    const asked = /** @type {Subscription[]} */ (this.#asked.get(frame.ref));
    const isLast = frame.index === undefined || frame.index === asked.length - 1;
    if (isLast) this.#asked.delete(frame.ref);
    const about = frame.index === undefined ? asked : [asked[frame.index]];
    return about.every((subscription) => {
      if (!subscription) return false;
      if (frame.type !== "error") {
        return !this.#isFollowed(subscription) || (frame.type === "subscribed" && subscription.join(frame));
      }
      this.#refuse(subscription, frame);
      return true;
    });
  }

  /** What is refused for now is asked for again: to follow, or not to follow any more. */
  #refuse(/** @type {Subscription} */ subscription, /** @type {Frame} */ { code, temporary, retry_after_ms: ms }) {
    if (temporary) {
      const wait = (ms > 0 && ms < HOUR_MS ? ms : 0) + (Math.random() + 1) * this.#window.min_ms;
      this.#later(`ask ${subscription.key}`, wait, () =>
        this.#subscriptions.has(subscription.key) ? this.#ask(subscription) : this.#leave(subscription),
      );
    } else if (this.#isFollowed(subscription)) this.#end(subscription, String(code));
  }

  #hear(/** @type {Frame} */ frame) {
    const { object_type: objectType, id } = frame.subscription ?? frame;
    const subscription = this.#subscriptions.get(keyOf(objectType, id));
    if (!subscription) return true;
    if (frame.type === "unsubscribed") {
      this.#end(subscription, String(frame.reason));
      return true;
    }
    return !TOLD.test(frame.type) || subscription.hear(frame);
  }

  // Subscriptions

  #isFollowed(/** @type {Subscription} */ subscription) {
    return this.#subscriptions.get(subscription.key) === subscription;
  }

  #ask(/** @type {Subscription} */ subscription) {
    if (!this.#isFollowed(subscription)) return;
    this.#wishes.add(subscription);
    // What is asked for at once goes out together.
    queueMicrotask(() => this.#flush());
  }

  #flush() {
    if (!this.#isGreeted) return;
    const wishes = [...this.#wishes];
    this.#wishes.clear();
    while (wishes.length) {
      const some = wishes.splice(0, this.#batch);
      this.#asked.set(++this.#ref, some);
      const subscriptions = some.map((subscription) => subscription.wish());
      this.#send({ action: "subscribe", ref: this.#ref, subscriptions });
    }
  }

  #end(/** @type {Subscription} */ subscription, /** @type {string} */ reason) {
    this.#forget(subscription);
    subscription.end(reason);
  }

  #forget(/** @type {Subscription} */ subscription) {
    this.#subscriptions.delete(subscription.key);
    this.#wishes.delete(subscription);
  }

  #unsubscribe(/** @type {Subscription} */ subscription) {
    if (!this.#isFollowed(subscription)) return;
    this.#forget(subscription);
    subscription.stop();
    if (this.#isGreeted) this.#leave(subscription);
    this.#tell();
  }

  #leave(/** @type {Subscription} */ subscription) {
    this.#asked.set(++this.#ref, [subscription]);
    this.#send({ action: "unsubscribe", ref: this.#ref, ...subscription.subject });
  }

  #handle(/** @type {Subscription} */ subscription) {
    const unsubscribe = () => this.#unsubscribe(subscription);
    return {
      get state() {
        return subscription.state;
      },
      get position() {
        return subscription.position;
      },
      unsubscribe,
      refresh: () => {
        subscription.refresh();
        this.#ask(subscription);
      },
      [Symbol.asyncIterator]: () => ({
        next: () => subscription.next(),
        return: async () => (unsubscribe(), { done: true, value: undefined }),
      }),
    };
  }

  /** Tells what is new about how things stand. */
  #tell(/** @type {Frame} */ details = {}) {
    const stateIf = (/** @type {boolean} */ isLive) =>
      this.#isGreeted ? (isLive ? "live" : "catching-up") : this.#link;
    const all = [...this.#subscriptions.values()];
    for (const it of all) it.tell(stateIf(it.isLive));
    const state = stateIf(all.every((it) => it.isLive));
    if (state === this.#state && details.code === undefined) return;
    this.#state = state;
    call(this.#options.onState, state, details);
  }
}

/** Returns the address of the sockets: by default at the page's own host. */
function addressOf(/** @type {string | URL} */ url = "/ws/notifications/") {
  const address = new URL(url, globalThis.location?.href);
  address.protocol = address.protocol.replace("http", "ws");
  return address.href;
}

/** Make a connection of its own: to another address, with other options. */
export function connect(/** @type {Options} */ options = {}) {
  return new Connection(options);
}

/** @type {Connection | undefined} */
let shared;

/** Follow something by the connection that all of a page share. */
export function subscribe(
  /** @type {string} */ objectType,
  /** @type {string} */ id,
  /** @type {Callbacks} */ callbacks = {},
) {
  shared ??= connect();
  return shared.subscribe(objectType, id, callbacks);
}
