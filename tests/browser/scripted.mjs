/** A server that sends what a test tells it to send, and a clock that the test advances. */

import { mock } from "node:test";
import { connect } from "../../apps/pillarbox/static/pillarbox/notifications.js";

export const HELLO = {
  type: "hello",
  protocol: 1,
  user: "kim",
  server_time: "2026-11-22T10:00:00.123Z",
  limits: { subscriptions: 200, command_bytes: 16384, commands_per_second: 50, retention_seconds: 604800 },
  heartbeat_seconds: 25,
  reconnect: { min_ms: 500, max_ms: 20000 },
};

export const TICKET = { object_type: "ticket", id: "Uk8wZ" };
export const COLLECTION = { object_type: "project.tickets", id: "b4Tqe" };
export const at = (offset, epoch = "e1") => ({ epoch, offset });
export const update = (offset, title = `Number ${offset}`, epoch = "e1") => ({
  type: "UPDATE_TICKET",
  ...TICKET,
  ...at(offset, epoch),
  event_id: `event ${offset}`,
  at: "2026-11-22T10:00:03.501Z",
  payload: { id: TICKET.id, title },
});
export const inCollection = (offset, title) => ({ ...update(offset, title), subscription: COLLECTION });

/** Waits until pending promises are settled. */
export const settled = () => new Promise(setImmediate);

export class Server {
  sockets = [];

  constructor(context, options = {}) {
    // The client measures time with `Date`, which the test advances together with the timers.
    mock.timers.enable({ apis: ["setTimeout", "Date"] });
    const server = this;
    this.states = [];
    this.connection = connect({
      url: "ws://server.example/",
      WebSocket: class {
        readyState = 0;
        sent = [];
        closed = null;
        constructor(url, protocols) {
          Object.assign(this, { url, protocols });
          server.sockets.push(this);
        }
        send(text) {
          this.sent.push(JSON.parse(text));
        }
        close(code) {
          this.closed = code ?? 1000;
          this.readyState = 3;
        }
      },
      onState: (state, details) => this.states.push([state, details]),
      ...options,
    });
    context.after(() => {
      this.connection.close();
      mock.timers.reset();
    });
  }

  get socket() {
    return this.sockets.at(-1);
  }

  /** The client's commands on this socket, without heartbeats. */
  get commands() {
    return this.socket.sent.filter(({ action }) => action !== "pong" && action !== "ping");
  }

  deliver(...frames) {
    for (const frame of frames) {
      this.socket.onmessage?.({ data: typeof frame === "string" ? frame : JSON.stringify(frame) });
    }
  }

  close(code, reason = "") {
    this.socket.onclose?.({ code, reason });
  }

  sendHello(changes = {}) {
    this.socket.readyState = 1;
    this.deliver({ ...HELLO, ...changes });
  }

  /** Advances the clock until the client reconnects, at most by so many ms. Returns how many ms it took. */
  async reconnected(most = 20_000) {
    const before = this.sockets.length;
    for (let passed = 0; passed <= most; passed += 10) {
      if (this.sockets.length > before) return passed;
      mock.timers.tick(10);
    }
    throw new Error(`The client did not reconnect within ${most} ms.`);
  }

  advance(ms) {
    mock.timers.tick(ms);
  }
}

/** Callbacks that record what a subscription receives, in order. */
export function listener(more = {}) {
  const received = [];
  return {
    received,
    onEvent: (frame) => received.push(frame.type === "skipped" ? "skipped" : frame.payload.title),
    onSnapshot: ({ reason, payload, items }) => received.push([reason, payload ?? items]),
    onRevoked: (reason) => received.push({ ended: reason }),
    ...more,
  };
}

/** A page's storage, which holds as many keys as a test allows. */
export class Storage {
  kept = new Map();
  capacity = Infinity;

  getItem(key) {
    return this.kept.get(key) ?? null;
  }
  setItem(key, value) {
    if (this.kept.size >= this.capacity) throw new Error("QuotaExceededError");
    this.kept.set(key, value);
  }
  removeItem(key) {
    this.kept.delete(key);
  }
}
