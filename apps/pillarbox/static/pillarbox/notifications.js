// @ts-check
/**
 * A client of `ws/notifications/`: any number of subscriptions on one socket, which reconnects and resumes by
 * itself. Each offset reaches a callback once, in order. Described in docs/reference/browser-client.md.
 *
 * @typedef {import("./notifications.js").Position} Position
 * @typedef {import("./notifications.js").Callbacks} Callbacks
 * @typedef {import("./notifications.js").Options} Options
 * @typedef {Record<string, any>} Frame
 */

const PROTOCOL = 1;
/** Defaults until the server's hello: the window to reconnect, the heartbeat, the size of a command. */
const RECONNECT = { min_ms: 500, max_ms: 20_000 };
const HEARTBEAT_MS = 25_000;
const COMMAND_BYTES = 16_384;
/** The longest entry of a command. */
const ENTRY_BYTES = 400;
/** How long a server may take for its hello, and to answer a ping. */
const HELLO_MS = 15_000;
const PROBE_MS = 5_000;
/** After twice this sleep, a page's socket may be dead. Browsers delay a hidden page's timers by a minute. */
const PULSE_MS = 30_000;
/** Upper bound of the server's times: `setTimeout` overflows after 24.8 days and fires at once. */
const HOUR_MS = 3_600_000;

/** Our own close codes, since a script can't use 1006 or 1002. */
const SILENT = 3000;
const INVALID = 3001;
const SIGN_IN = 4401;
const RESTART = 1012;

/** Types of frames that belong to a subscription. Unknown types are ignored. */
const DELIVERED = /^([A-Z]|snapshot$|resynced$|skipped$)/;
/** Events after which the page or its network may have been away. */
const WAKING = ["online", "offline", "pageshow", "visibilitychange"];

/** Returns whether this is a position. A faulty server or a damaged store may give anything. */
const isPosition = (/** @type {any} */ it) =>
  typeof it?.epoch === "string" && Number.isSafeInteger(it.offset) && it.offset >= 0;

const positionIn = (/** @type {Frame} */ { epoch, offset }) => ({ epoch, offset });

const keyOf = (/** @type {string} */ objectType, /** @type {string} */ id) => `${objectType}:${id}`;

/** Returns whether the client must not reconnect after this code. */
const isFinal = (/** @type {number} */ code) =>
  code === 1009 || (code >= 4400 && code < 4500 && code !== 4408 && code !== 4429);

/** Returns the window to reconnect if it is valid, otherwise null. */
function windowIn(/** @type {any} */ it) {
  return it?.min_ms > 0 && it.max_ms >= it.min_ms && it.max_ms < HOUR_MS ? it : null;
}

/** Returns the window in a close's reason, or null. */
function windowOf(/** @type {string} */ reason) {
  try {
    return windowIn(JSON.parse(reason).reconnect);
  } catch {
    return null;
  }
}

const report = (/** @type {unknown} */ error) => (globalThis.reportError ?? console.error)(error);

/** Calls a page's callback. Its errors, rejected promises included, are reported and stop nothing else. */
function call(/** @type {Function | undefined} */ callback, /** @type {any[]} */ ...values) {
  try {
    callback?.(...values)?.catch?.(report);
  } catch (error) {
    report(error);
  }
}

/** The stored position of a subscription, across page loads. Does nothing if storage is full or forbidden. */
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
      // The old position is removed first: if there is no room for the new one, none is better than it.
      this.#storage?.removeItem(this.#key);
      if (position) this.#storage?.setItem(this.#key, JSON.stringify(position));
    } catch {
      // The next page load begins with a snapshot instead.
    }
  }
}

/** One subscription: its position across sockets, and its callbacks or iteration. */
class Subscription {
  #callbacks;
  #store;
  #state = "";
  /** The offset at which it has caught up; null until the server has confirmed it. @type {number | null} */
  #target = null;
  /** The snapshot that is still arriving, and the events since it began. @type {any} */
  #pending = null;
  #wantsSnapshot;
  #isIterated;
  #hasEnded = false;
  /** @type {{ item: Frame, position: Position }[]} */
  #queue = [];
  /** @type {Function[]} */
  #takers = [];
  /** The position of the iteration's last item, stored when the page asks for more. @type {Position | null} */
  #taken = null;
  /** The position of the last delivered item. @type {Position | null} */
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

  /** Returns its entry in a subscribe command. */
  entry() {
    if (this.#wantsSnapshot) return { ...this.subject, snapshot: true };
    return this.position ? { ...this.subject, since: this.position } : this.subject;
  }

  /** Has the next request ask for a snapshot. */
  refresh() {
    this.#wantsSnapshot = true;
  }

  /** Called when the socket is lost. */
  detach() {
    this.#target = this.#pending = null;
  }

  /** Called with the server's confirmation. Returns false if it is invalid. */
  confirm(/** @type {Frame} */ frame) {
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

  /** Called with each of its frames. Returns false if the frame is invalid. */
  receive(/** @type {Frame} */ frame) {
    if (this.#target === null) return true; // belongs to an earlier subscription to the same object
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

  /** Called when the server ends the subscription. */
  end(/** @type {string} */ reason) {
    this.stop();
    this.#store.set(null);
    call(this.#callbacks.onRevoked, reason);
  }

  /** Ends the callbacks and the iteration. */
  stop() {
    this.#hasEnded = true;
    this.state = "ended";
    for (const taker of this.#takers.splice(0)) taker({ done: true, value: undefined });
  }

  set state(/** @type {string} */ state) {
    // A callback may end other subscriptions. Nothing follows their `ended`.
    if (state === this.#state || this.#state === "ended") return;
    this.#state = state;
    call(this.#callbacks.onState, state);
  }

  /** Returns a promise of the iteration's next item. The page has finished with the previous one. */
  next() {
    if (this.#taken) this.#store.set(this.#taken);
    this.#taken = null;
    return new Promise((resolve) => {
      this.#takers.push(resolve);
      this.#serve();
    });
  }

  /** Begins a snapshot. With a payload it is complete; a collection's objects follow in pages. */
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

  /** Delivers the snapshot. Its position is older than its content, so the events since then follow it. */
  #finish(/** @type {Frame} */ content) {
    const { snapshot, events } = this.#pending;
    this.#pending = null;
    this.#wantsSnapshot = false;
    this.position = positionIn(snapshot);
    this.#deliver({ ...snapshot, ...content }, this.#callbacks.onSnapshot);
    return events.every((/** @type {Frame} */ frame) => this.#hasEnded || this.#follow(frame));
  }

  /** Delivers the next offset and drops an earlier one. Returns false for any other: the server is wrong. */
  #follow(/** @type {Frame} */ frame) {
    const { epoch, offset } = /** @type {Position} */ (this.position);
    if (frame.epoch !== epoch || frame.offset > offset + 1) return false;
    if (frame.offset <= offset) return true;
    this.position = positionIn(frame);
    this.#deliver(frame, this.#callbacks.onEvent, { catchingUp: frame.offset <= /** @type {number} */ (this.#target) });
    return true;
  }

  #deliver(/** @type {Frame} */ item, /** @type {any} */ callback, /** @type {any[]} */ ...more) {
    const position = /** @type {Position} */ (this.position);
    if (this.#isIterated) {
      this.#queue.push({ item, position });
      this.#serve();
      return;
    }
    call(callback, item, ...more);
    this.#store.set(position);
  }

  /** Gives queued items to waiting iterations. */
  #serve() {
    while (this.#takers.length && (this.#queue.length || this.#hasEnded)) {
      const given = this.#queue.shift();
      this.#taken = given?.position ?? null;
      this.#takers.shift()?.({ done: !given, value: given?.item });
    }
  }
}

/** A connection, from socket to socket, and its subscriptions. */
class Connection {
  #options;
  /** @type {Map<string, Subscription>} */
  #subscriptions = new Map();
  /** Subscriptions that are not requested yet. @type {Set<Subscription>} */
  #unsent = new Set();
  /** The subscriptions of each command, until it is answered. @type {Map<number, Subscription[]>} */
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
  /** The state while there is no socket with a hello. */
  #link = "idle";
  #state = "";

  constructor(/** @type {Options} */ options) {
    this.#options = options;
    // Events of the document bubble up to the window.
    for (const name of WAKING) globalThis.addEventListener?.(name, this);
  }

  get state() {
    return this.#state || this.#link;
  }

  /** Subscribes to an object, a collection, or `me`. Throws if there is such a subscription already. */
  subscribe(
    /** @type {string} */ objectType,
    /** @type {string} */ id,
    /** @type {Callbacks} */ callbacks = {},
  ) {
    if (this.#subscriptions.has(keyOf(objectType, id))) {
      throw new Error(`already subscribed to ${objectType} ${id}`);
    }
    const subscription = new Subscription(this.#options.storage, objectType, id, callbacks);
    this.#subscriptions.set(subscription.key, subscription);
    this.#ask(subscription);
    if (this.#link === "idle") this.#open("connecting");
    this.#update();
    return this.#handle(subscription);
  }

  /** Connects now, for example after signing in. */
  reconnect() {
    if (this.#socket) return;
    this.#failures = 0;
    this.#open("connecting");
  }

  /** Closes the socket, and ends all subscriptions. */
  close() {
    for (const name of WAKING) globalThis.removeEventListener?.(name, this);
    this.#drop();
    this.#link = "closed";
    for (const subscription of this.#subscriptions.values()) subscription.stop();
    this.#subscriptions.clear();
    this.#update();
  }

  /** Called when the page or its network wakes up: the socket may be dead, or possible again. */
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
    const { headers, token } = this.#options;
    this.#watch(HELLO_MS);
    if (token) this.#fetch(token);
    // Outside browsers the second argument may be options with headers, instead of subprotocols.
    else this.#connect(headers ? { headers } : []);
    this.#update();
  }

  async #fetch(/** @type {() => Promise<string>} */ token) {
    let isWanted = true;
    // It stands for the socket until there is a token.
    this.#socket = /** @type {any} */ ({ close: () => (isWanted = false) });
    try {
      const value = await token();
      if (isWanted) this.#connect([`pillarbox.token.${value}`]);
    } catch {
      if (isWanted) this.#lose(1006, "token");
    }
  }

  #connect(/** @type {any} */ protocols) {
    const { url, WebSocket = globalThis.WebSocket } = this.#options;
    const socket = new WebSocket(addressOf(url), protocols);
    this.#socket = socket;
    socket.onmessage = ({ data }) => this.#receive(data);
    socket.onclose = ({ code, reason }) => this.#lose(code, reason);
    socket.onerror = () => this.#isGreeted || this.#lose(1006, "");
  }

  /** Called when the socket is lost or given up. The code decides whether and when to reconnect. */
  #lose(/** @type {number} */ code, /** @type {string} */ reason) {
    this.#drop();
    if (isFinal(code)) {
      this.#link = code === SIGN_IN ? "signed-out" : "refused";
      this.#update({ code, reason });
      return;
    }
    this.#window = windowOf(reason) ?? this.#window;
    const wait = this.#wait(code);
    this.#link = "offline";
    this.#later("retry", wait, () => this.#open("offline"));
    this.#update({ code, reason, retryMs: Math.round(wait) });
  }

  /** Returns a random time in the server's window: in all of it after a restart, else in a growing part. */
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
    this.#unsent = new Set(this.#subscriptions.values());
    for (const subscription of this.#unsent) subscription.detach();
    if (!socket) return;
    socket.onmessage = socket.onclose = socket.onerror = null;
    // The socket may be dead, so its close isn't awaited; the browser releases it eventually.
    socket.close();
  }

  /** Calls a function after a time, with its delay: clocks jump, and pages sleep, so it may be negative. */
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
   * Gives up the socket if no frame arrives in this time. A page that slept meanwhile pings the server first:
   * frames may still wait to be read.
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

  /** Checks at intervals whether the page has slept, and then pings the server. */
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
    const isValid = this.#isValid(data);
    // A callback may have closed the connection.
    if (!isValid && socket === this.#socket) this.#lose(INVALID, "nonsense");
    else this.#update();
  }

  /** Handles a frame. Returns false if the protocol doesn't allow it here. */
  #isValid(/** @type {any} */ data) {
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
    return this.#deliver(frame);
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
      // Not at once: a server that closes after each hello must not be asked again at the shortest pause.
      this.#later("calm", this.#window.max_ms, () => (this.#failures = 0));
      this.#pulse();
      this.#flush();
    }
    return true;
  }

  /** Handles an answer to one entry of a command; without an index, to all of them. */
  #answer(/** @type {Frame} */ frame) {
    const asked = /** @type {Subscription[]} */ (this.#asked.get(frame.ref));
    const isLast = frame.index === undefined || frame.index === asked.length - 1;
    if (isLast) this.#asked.delete(frame.ref);
    const about = frame.index === undefined ? asked : [asked[frame.index]];
    return about.every((subscription) => {
      if (!subscription) return false;
      if (frame.type !== "error") {
        return !this.#isCurrent(subscription) || (frame.type === "subscribed" && subscription.confirm(frame));
      }
      this.#refuse(subscription, frame);
      return true;
    });
  }

  /** Sends a temporarily refused command again: a subscribe, or an unsubscribe. Otherwise ends it. */
  #refuse(/** @type {Subscription} */ subscription, /** @type {Frame} */ { code, temporary, retry_after_ms: ms }) {
    if (temporary) {
      const wait = (ms > 0 && ms < HOUR_MS ? ms : 0) + (Math.random() + 1) * this.#window.min_ms;
      this.#later(`ask ${subscription.key}`, wait, () =>
        this.#subscriptions.has(subscription.key) ? this.#ask(subscription) : this.#leave(subscription),
      );
    } else if (this.#isCurrent(subscription)) this.#end(subscription, String(code));
  }

  #deliver(/** @type {Frame} */ frame) {
    const { object_type: objectType, id } = frame.subscription ?? frame;
    const subscription = this.#subscriptions.get(keyOf(objectType, id));
    if (!subscription) return true;
    if (frame.type === "unsubscribed") {
      this.#end(subscription, String(frame.reason));
      return true;
    }
    return !DELIVERED.test(frame.type) || subscription.receive(frame);
  }

  // Subscriptions

  #isCurrent(/** @type {Subscription} */ subscription) {
    return this.#subscriptions.get(subscription.key) === subscription;
  }

  #ask(/** @type {Subscription} */ subscription) {
    if (!this.#isCurrent(subscription)) return;
    this.#unsent.add(subscription);
    // Requests of the same turn are sent together.
    queueMicrotask(() => this.#flush());
  }

  #flush() {
    if (!this.#isGreeted) return;
    const unsent = [...this.#unsent];
    this.#unsent.clear();
    while (unsent.length) {
      const some = unsent.splice(0, this.#batch);
      this.#asked.set(++this.#ref, some);
      const subscriptions = some.map((subscription) => subscription.entry());
      this.#send({ action: "subscribe", ref: this.#ref, subscriptions });
    }
  }

  #end(/** @type {Subscription} */ subscription, /** @type {string} */ reason) {
    this.#forget(subscription);
    subscription.end(reason);
  }

  #forget(/** @type {Subscription} */ subscription) {
    this.#subscriptions.delete(subscription.key);
    this.#unsent.delete(subscription);
  }

  #unsubscribe(/** @type {Subscription} */ subscription) {
    if (!this.#isCurrent(subscription)) return;
    this.#forget(subscription);
    subscription.stop();
    if (this.#isGreeted) this.#leave(subscription);
    this.#update();
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

  /** Updates all states, and calls `onState` for those that have changed. */
  #update(/** @type {Frame} */ details = {}) {
    const stateIf = (/** @type {boolean} */ isLive) =>
      this.#isGreeted ? (isLive ? "live" : "catching-up") : this.#link;
    const all = [...this.#subscriptions.values()];
    for (const it of all) it.state = stateIf(it.isLive);
    const state = stateIf(all.every((it) => it.isLive));
    if (state === this.#state && details.code === undefined) return;
    this.#state = state;
    call(this.#options.onState, state, details);
  }
}

/** Returns the WebSocket address, by default at the page's own host. */
function addressOf(/** @type {string | URL} */ url = "/ws/notifications/") {
  const address = new URL(url, globalThis.location?.href);
  address.protocol = address.protocol.replace("http", "ws");
  return address.href;
}

/** Makes a separate connection, with its own address and options. */
export function connect(/** @type {Options} */ options = {}) {
  return new Connection(options);
}

/** @type {Connection | undefined} */
let shared;

/** Subscribes on the connection that the whole page shares. */
export function subscribe(
  /** @type {string} */ objectType,
  /** @type {string} */ id,
  /** @type {Callbacks} */ callbacks = {},
) {
  shared ??= connect();
  return shared.subscribe(objectType, id, callbacks);
}
