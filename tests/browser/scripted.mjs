/** A server that says what a test has it say, and time that passes when the test says so. */

import { mock } from "node:test";
import { connect } from "../../apps/realtime/static/realtime/notifications.js";

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
export const ALL = { object_type: "project.tickets", id: "b4Tqe" };
export const at = (offset, epoch = "e1") => ({ epoch, offset });
export const update = (offset, title = `Number ${offset}`, epoch = "e1") => ({
  type: "UPDATE_TICKET",
  ...TICKET,
  ...at(offset, epoch),
  event_id: `event ${offset}`,
  at: "2026-11-22T10:00:03.501Z",
  payload: { id: TICKET.id, title },
});
export const inAll = (offset, title) => ({ ...update(offset, title), subscription: ALL });

/** What is done soon has been done. */
export const settled = () => new Promise(setImmediate);

export class Server {
  sockets = [];
  heard = [];

  constructor(context, options = {}) {
    // The clock of the wall is not among them: nothing may depend on it.
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

  /** What the client has sent on this socket but for signs of life. */
  get asked() {
    return this.socket.sent.filter(({ action }) => action !== "pong" && action !== "ping");
  }

  say(...frames) {
    for (const frame of frames) {
      this.socket.onmessage?.({ data: typeof frame === "string" ? frame : JSON.stringify(frame) });
    }
  }

  end(code, reason = "") {
    this.socket.onclose?.({ code, reason });
  }

  greet(changes = {}) {
    this.socket.readyState = 1;
    this.say({ ...HELLO, ...changes });
  }

  /** Pass time until the client is back, at most as long as it may take. Returns how long it took. */
  async returned(most = 20_000) {
    const before = this.sockets.length;
    for (let passed = 0; passed <= most; passed += 10) {
      if (this.sockets.length > before) return passed;
      mock.timers.tick(10);
    }
    throw new Error(`The client did not come back within ${most} ms.`);
  }

  pass(ms) {
    mock.timers.tick(ms);
  }
}

/** What a subscription is told, in order. */
export function listener(more = {}) {
  const told = [];
  return {
    told,
    onEvent: (frame) => told.push(frame.type === "skipped" ? "skipped" : frame.payload.title),
    onSnapshot: ({ reason, payload, items }) => told.push([reason, payload ?? items]),
    onRevoked: (reason) => told.push({ ended: reason }),
    ...more,
  };
}

/** A store of a page's, with room for as much as a test allows. */
export class Storage {
  kept = new Map();
  room = Infinity;

  getItem(key) {
    return this.kept.get(key) ?? null;
  }
  setItem(key, value) {
    if (this.kept.size >= this.room) throw new Error("QuotaExceededError");
    this.kept.set(key, value);
  }
  removeItem(key) {
    this.kept.delete(key);
  }
}
