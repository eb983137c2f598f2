/** Tests of the client with a scripted server, which sends any frames in any order. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { subscribe } from "../../apps/pillarbox/static/pillarbox/notifications.js";
import { COLLECTION, at, HELLO, inCollection, listener, Server, settled, Storage, TICKET, update } from "./scripted.mjs";

const subscribed = (position, more = {}) => ({ type: "subscribed", ref: 1, index: 0, ...TICKET, ...position, ...more });

/** A server whose client follows a ticket from offset 5. */
function following(context, callbacks = {}, options = {}) {
  const server = new Server(context, options);
  server.handle = server.connection.subscribe("ticket", "Uk8wZ", { since: at(5), ...callbacks });
  server.sendHello();
  server.deliver(subscribed(at(5), { recovered: true, missed: 0 }));
  return server;
}

const states = (server) => server.states.map(([state]) => state);

test("each offset is delivered once, in order; a repetition is dropped", (t) => {
  const recorder = listener();
  const server = following(t, recorder);
  server.deliver(update(6), update(6), update(5), update(7), update(6));
  assert.deepEqual(["Number 6", "Number 7"], recorder.received);
  assert.deepEqual(at(7), server.handle.position);
});

test("after a gap, or another epoch, which a server must not send, the client reconnects and resumes", async (t) => {
  for (const frame of [update(8), update(6, "other", "e2"), { ...update(6), offset: "6" }, { ...update(6), epoch: 1 }]) {
    await t.test(JSON.stringify([frame.offset, frame.epoch]), async (t) => {
      const recorder = listener();
      const server = following(t, recorder);
      server.deliver(frame);
      assert.deepEqual(["offline", "nonsense"], [server.connection.state, server.states.at(-1)[1].reason]);
      await server.reconnected();
      server.sendHello();
      assert.deepEqual([{ ...TICKET, since: at(5) }], server.commands[0].subscriptions);
      server.deliver(subscribed(at(5), { ref: 2, recovered: true, missed: 1 }), update(6));
      assert.deepEqual(["Number 6"], recorder.received);
    });
  }
});

test("nonsense is ignored before hello; later the client reconnects, but not at once", async (t) => {
  const frames = ["", "{", "null", "[]", "7", '"x"', "{}", '{"type": 7}', '{"type": "pong"}', '{"type": "hello"}'];
  for (const frame of frames) {
    await t.test(`before the greeting: ${frame}`, async (t) => {
      const server = new Server(t);
      server.connection.subscribe("ticket", "Uk8wZ");
      server.deliver(frame);
      assert.notEqual("live", server.connection.state);
      assert.equal(1, server.sockets.length);
    });
  }
  const wrong = [
    subscribed({ epoch: "e1", offset: -1 }),
    subscribed(at(4), { recovered: true }),
    subscribed(at(5, "e2"), { recovered: true }),
    subscribed(at(5), { index: 9 }),
    { type: "snapshot", ...TICKET, items: [], done: true },
    { type: "resynced", ...TICKET, reason: "pruned" },
    { type: "unsubscribed", ...TICKET, ref: 1, index: 0 },
  ];
  for (const frame of wrong) {
    await t.test(`as an answer: ${JSON.stringify(frame)}`, async (t) => {
      const recorder = listener({ since: at(5) });
      const server = new Server(t);
      server.connection.subscribe("ticket", "Uk8wZ", recorder);
      server.sendHello();
      if (frame.type !== "subscribed" && frame.ref === undefined) server.deliver(subscribed(at(5), { recovered: true }));
      server.deliver(frame);
      assert.equal("offline", server.connection.state);
      assert.deepEqual([], recorder.received);
      assert.ok((await server.reconnected()) >= 490);
    });
  }
});

test("additions of a later protocol are ignored", (t) => {
  const recorder = listener();
  const server = following(t, recorder);
  server.deliver({ type: "advice", text: "sit down" }, { type: "unsubscribed", object_type: "ticket", id: "other" });
  server.deliver({ ...update(1), object_type: "invoice" }, { type: "advice", ...TICKET });
  assert.deepEqual(["live", []], [server.connection.state, recorder.received]);
});

test("the client doesn't reconnect to another protocol, or after a permanent refusal", async (t) => {
  for (const [state, end] of [
    ["refused", (server) => server.sendHello({ protocol: 2 })],
    ["refused", (server) => server.close(4400)],
    ["refused", (server) => server.close(4403)],
    ["refused", (server) => server.close(4499)],
    ["refused", (server) => server.close(1009)],
    ["signed-out", (server) => server.close(4401)],
    ["signed-out", (server) => server.sendHello({ user: "somebody else" })],
  ]) {
    await t.test(`${state}: ${end}`, (t) => {
      const server = new Server(t, { user: "kim" });
      const handle = server.connection.subscribe("ticket", "Uk8wZ", listener());
      end(server);
      server.advance(3_600_000);
      assert.deepEqual([state, state, 1], [server.connection.state, handle.state, server.sockets.length]);
      assert.notEqual(null, server.socket.closed ?? "ended by the server");
    });
  }
});

test("after signing in the client reconnects on request, and resumes", (t) => {
  const server = following(t);
  server.close(4401);
  server.connection.reconnect();
  server.connection.reconnect();
  server.sendHello();
  assert.deepEqual([{ ...TICKET, since: at(5) }], server.commands[0].subscriptions);
  assert.equal(2, server.sockets.length);
});

test("after any other close code the client reconnects, within the server's window and with backoff", async (t) => {
  for (const code of [1000, 1001, 1002, 1006, 1007, 1011, 3000, 4000, 4408, 4429, 4500, 4503, 4599, 4999]) {
    await t.test(String(code), async (t) => {
      const server = following(t);
      for (const top of [1000, 2000, 4000, 8000, 16000, 20000, 20000, 20000]) {
        server.close(code);
        const { retryMs } = server.states.at(-1)[1];
        assert.ok(retryMs >= 500 && retryMs <= top, `${retryMs} of ${top}`);
        assert.ok((await server.reconnected(top + 20)) >= retryMs - 10);
      }
    });
  }
});

test("after a restart the client reconnects at a random moment of the window in the close reason", async (t) => {
  const waits = [];
  for (let round = 0; round < 40; round += 1) {
    await t.test(`round ${round}`, (t) => {
      const server = following(t);
      server.close(1012, '{"reconnect":{"min_ms":1000,"max_ms":9000}}');
      waits.push(server.states.at(-1)[1].retryMs);
    });
  }
  assert.ok(Math.min(...waits) >= 1000 && Math.max(...waits) <= 9000);
  assert.ok(Math.max(...waits) > 5000 && new Set(waits).size > 20, String(waits));
});

test("an impossible window or heartbeat is ignored", async (t) => {
  const windows = [null, 7, {}, { min_ms: 0, max_ms: 1 }, { min_ms: 9, max_ms: 1 }, { min_ms: "a", max_ms: "b" }];
  for (const reconnect of [...windows, { min_ms: 1e12, max_ms: 1e13 }]) {
    await t.test(JSON.stringify(reconnect), (t) => {
      const server = new Server(t);
      server.connection.subscribe("ticket", "Uk8wZ");
      server.sendHello({ reconnect, heartbeat_seconds: 1e12, limits: null });
      server.advance(40_000);
      assert.equal(1, server.sockets.length);
      server.close(1012, "nothing that is JSON");
      const { retryMs } = server.states.at(-1)[1];
      assert.ok(retryMs >= 500 && retryMs <= 20_000);
    });
  }
});

test("a heartbeat that is too long for a timer is ignored", (t) => {
  const server = new Server(t);
  server.connection.subscribe("ticket", "Uk8wZ");
  server.sendHello({ heartbeat_seconds: 1e12 });
  server.advance(49_999);
  assert.equal("catching-up", server.connection.state);
  server.advance(2);
  assert.deepEqual(["offline", "silence"], [server.connection.state, server.states.at(-1)[1].reason]);
});

test("a server that is down for an hour gets some hundred attempts, not thousands, and the client recovers", async (t) => {
  const recorder = listener();
  const server = following(t, recorder);
  for (let passed = 0; passed < 3_600_000; passed += await server.reconnected()) server.close(1006);
  assert.ok(server.sockets.length > 180 && server.sockets.length < 600, server.sockets.length);
  server.sendHello();
  server.deliver(subscribed(at(5), { ref: 2, recovered: true, missed: 2 }), update(6), update(7));
  assert.deepEqual([["Number 6", "Number 7"], "live"], [recorder.received, server.connection.state]);
});

test("sockets that end soon after hello increase the backoff; one that lasted resets it", async (t) => {
  const server = following(t);
  for (let round = 0; round < 6; round += 1) {
    server.close(1006);
    await server.reconnected();
    server.sendHello();
  }
  assert.equal("catching-up", server.connection.state);
  server.advance(20_000);
  server.close(1006);
  assert.ok(server.states.at(-1)[1].retryMs <= 1000);
});

test("a socket that can't be opened, or receives no hello, is given up", async (t) => {
  const server = new Server(t);
  server.connection.subscribe("ticket", "Uk8wZ");
  server.socket.onerror();
  assert.equal(1006, server.states.at(-1)[1].code);
  await server.reconnected();
  server.advance(15_000);
  assert.equal("silence", server.states.at(-1)[1].reason);
  await server.reconnected();
  server.sendHello();
  server.socket.onerror(); // the close event after it has the code
  assert.equal("catching-up", server.connection.state);
});

test("a dead connection is noticed after two heartbeats without a frame", async (t) => {
  const server = following(t);
  server.advance(49_000);
  server.deliver({ type: "ping" });
  assert.deepEqual({ action: "pong" }, server.socket.sent.at(-1));
  server.advance(49_000);
  assert.equal("live", server.connection.state);
  const late = server.socket;
  server.advance(2_000);
  assert.deepEqual(["offline", "silence"], [server.connection.state, server.states.at(-1)[1].reason]);
  assert.equal(1000, late.closed);
  assert.equal(null, late.onmessage, "a late frame is ignored");
});

test("a page that slept sends a ping, and notices a dead connection in seconds", async (t) => {
  for (const hours of [5, -5]) {
    await t.test(`the clock jumps by ${hours} hours`, (t) => {
      const server = following(t);
      const before = server.socket.sent.length;
      const { now } = Date;
      Date.now = () => now() + hours * 3_600_000;
      t.after(() => (Date.now = now));
      server.advance(30_000);
      assert.deepEqual([{ action: "ping" }], server.socket.sent.slice(before));
      server.deliver({ type: "pong" });
      server.advance(6_000);
      assert.equal("live", server.connection.state, "only the clock had jumped");
    });
  }
});

test("a page that slept for longer than two heartbeats sends a ping before it gives up its socket", (t) => {
  const server = following(t);
  const { now } = Date;
  // In steps, because all timers of one step see the time at its end.
  const pass = (seconds) => [...Array(seconds)].forEach(() => server.advance(1_000));
  pass(24);
  server.deliver({ type: "ping" });
  pass(49);
  const before = server.socket.sent.length;
  Date.now = () => now() + 60_000;
  t.after(() => (Date.now = now));
  pass(1);
  assert.deepEqual([{ action: "ping" }], server.socket.sent.slice(before));
  server.deliver(update(6)); // sent while the page slept
  pass(49);
  assert.equal("live", server.connection.state);
  pass(1);
  assert.deepEqual(["offline", "silence"], [server.connection.state, server.states.at(-1)[1].reason]);
});

test("a page that wakes up checks its socket, or opens a new one, at once", async (t) => {
  const target = new EventTarget();
  Object.assign(globalThis, {
    addEventListener: target.addEventListener.bind(target),
    removeEventListener: target.removeEventListener.bind(target),
    document: { hidden: false },
  });
  t.after(() => {
    for (const name of ["addEventListener", "removeEventListener", "document"]) delete globalThis[name];
  });
  const wakes = (type) => target.dispatchEvent(new Event(type));
  const server = following(t);
  for (const type of ["online", "offline", "pageshow", "visibilitychange"]) {
    wakes(type);
    assert.deepEqual({ action: "ping" }, server.socket.sent.at(-1));
    server.deliver({ type: "pong" });
    server.advance(6_000);
    assert.equal("live", server.connection.state);
  }
  const before = server.socket.sent.length;
  document.hidden = true;
  wakes("visibilitychange");
  assert.equal(before, server.socket.sent.length, "hiding the page sends no ping");
  wakes("online");
  server.advance(5_001);
  assert.equal("offline", server.connection.state, "the ping was not answered");
  for (let round = 0; round < 8; round += 1) {
    await server.reconnected();
    server.close(1006);
  }
  wakes("online");
  assert.ok((await server.reconnected(600)) <= 510);
  server.close(4401);
  wakes("online");
  server.advance(100_000);
  assert.equal("signed-out", server.connection.state);
  server.connection.close();
  wakes("online");
  assert.equal("closed", server.connection.state);
});

test("states of the connection and of each subscription are reported", async (t) => {
  const own = [];
  const server = new Server(t);
  assert.equal("idle", server.connection.state);
  const handle = server.connection.subscribe("ticket", "Uk8wZ", { ...listener(), since: at(5), onState: (s) => own.push(s) });
  server.sendHello();
  server.deliver(subscribed(at(5), { recovered: true, missed: 2 }), update(6));
  assert.equal("catching-up", handle.state);
  server.deliver(update(7));
  server.close(1006);
  await server.reconnected();
  server.sendHello();
  server.deliver(subscribed(at(7), { ref: 2, recovered: true, missed: 0 }));
  handle.unsubscribe();
  const expected = ["connecting", "catching-up", "live", "offline", "catching-up", "live"];
  assert.deepEqual([expected, [...expected, "ended"]], [states(server), own]);
});

test("missed changes are marked as catching up, new ones are not", (t) => {
  const late = [];
  const server = new Server(t);
  server.connection.subscribe("ticket", "Uk8wZ", { since: at(5), onEvent: (_, { catchingUp }) => late.push(catchingUp) });
  server.sendHello();
  server.deliver(subscribed(at(5), { recovered: true, missed: 2 }), update(6), update(7), update(8));
  assert.deepEqual([true, true, false], late);
});

test("without a position, only a subscription with onSnapshot requests a snapshot; both resume later", async (t) => {
  const recorder = listener();
  const server = new Server(t);
  server.connection.subscribe("ticket", "Uk8wZ", recorder);
  server.connection.subscribe("ticket", "other", { onEvent() {} });
  server.sendHello();
  const other = { object_type: "ticket", id: "other" };
  assert.deepEqual([{ ...TICKET, snapshot: true }, other], server.commands[0].subscriptions);
  server.deliver(subscribed(at(5), { payload: { title: "Now" } }), subscribed(at(9), { ...other, index: 1 }), update(6));
  assert.deepEqual([["start", { title: "Now" }], "Number 6"], recorder.received);
  server.close(1006);
  await server.reconnected();
  server.sendHello();
  assert.deepEqual([{ ...TICKET, since: at(6) }, { ...other, since: at(9) }], server.commands[0].subscriptions);
});

test("after a loss of continuity a snapshot replaces the earlier state", (t) => {
  const recorder = listener();
  const server = new Server(t);
  const handle = server.connection.subscribe("ticket", "Uk8wZ", { ...recorder, since: at(5) });
  server.sendHello();
  server.deliver(subscribed(at(9, "e2"), { recovered: false, payload: { title: "Now" } }), update(10, "New", "e2"));
  server.deliver({ type: "resynced", ...TICKET, ...at(3, "e3"), reason: "epoch", payload: { title: "Restored" } });
  server.deliver(update(4, "Newer", "e3"));
  const expected = [["unrecoverable", { title: "Now" }], "New", ["epoch", { title: "Restored" }], "Newer"];
  assert.deepEqual([expected, at(4, "e3")], [recorder.received, handle.position]);
});

test("a collection's pages are delivered as one snapshot, and changes in between follow it", (t) => {
  const recorder = listener();
  const server = new Server(t);
  const handle = server.connection.subscribe("project.tickets", "b4Tqe", recorder);
  server.sendHello();
  const page = (items, done) => ({ type: "snapshot", ref: 1, index: 0, ...COLLECTION, items, done });
  server.deliver(subscribed(at(5), COLLECTION), page([1, 2], false), inCollection(6, "six"), page([3], false), inCollection(7, "seven"));
  assert.deepEqual([[], "catching-up", null], [recorder.received, handle.state, handle.position]);
  server.deliver(page([], true), inCollection(8, "eight"));
  assert.deepEqual([["start", [1, 2, 3]], "six", "seven", "eight"], recorder.received);
  server.deliver({ type: "resynced", ...COLLECTION, ...at(20), reason: "pruned" }, page([9], false), inCollection(21, "x"));
  server.deliver({ type: "resynced", ...COLLECTION, ...at(30), reason: "moved" }, page([4], true), inCollection(31, "y"));
  assert.deepEqual([["moved", [4]], "y"], recorder.received.slice(4));
});

test("an incomplete snapshot is requested again", async (t) => {
  const recorder = listener();
  const server = new Server(t);
  server.connection.subscribe("project.tickets", "b4Tqe", { ...recorder, since: at(5) });
  server.sendHello();
  server.deliver(subscribed(at(9), { ...COLLECTION, recovered: false }), { type: "snapshot", ...COLLECTION, items: [1], done: false });
  server.deliver(inCollection(10, "ten"));
  server.close(1006);
  await server.reconnected();
  server.sendHello();
  assert.deepEqual([{ ...COLLECTION, since: at(5) }], server.commands[0].subscriptions);
  server.deliver(subscribed(at(10), { ...COLLECTION, ref: 2, recovered: false }));
  server.deliver({ type: "snapshot", ...COLLECTION, items: [1, 2], done: true });
  assert.deepEqual([["unrecoverable", [1, 2]]], recorder.received);
});

test("a refresh requests a snapshot, also after a lost socket", async (t) => {
  const recorder = listener();
  const server = following(t, recorder);
  server.handle.refresh();
  await settled();
  assert.deepEqual([{ ...TICKET, snapshot: true }], server.commands.at(-1).subscriptions);
  server.deliver(update(6));
  server.close(1006);
  await server.reconnected();
  server.sendHello();
  assert.deepEqual([{ ...TICKET, snapshot: true }], server.commands[0].subscriptions);
  server.deliver(subscribed(at(7), { ref: 3, payload: { title: "Now" } }), update(8));
  assert.deepEqual(["Number 6", ["start", { title: "Now" }], "Number 8"], recorder.received);
});

test("one socket has many subscriptions, requested in few commands within the server's limit", (t) => {
  const server = new Server(t);
  const since = at(123456789, "e".repeat(64));
  for (let number = 0; number < 200; number += 1) server.connection.subscribe("ticket", `ticket${number}`, { since });
  server.sendHello();
  assert.equal(1, server.sockets.length);
  assert.equal(200, server.commands.flatMap(({ subscriptions }) => subscriptions).length);
  assert.ok(server.commands.length <= 5);
  assert.ok(server.commands.every((command) => JSON.stringify(command).length < 16384));
});

test("an object can be followed only once; a malformed position is an error", (t) => {
  const server = new Server(t);
  const handle = server.connection.subscribe("ticket", "Uk8wZ");
  assert.throws(() => server.connection.subscribe("ticket", "Uk8wZ"), /already subscribed to ticket Uk8wZ/);
  handle.unsubscribe();
  assert.throws(() => server.connection.subscribe("ticket", "Uk8wZ", { since: { offset: 7 } }), /since: expected/);
  server.connection.subscribe("ticket", "Uk8wZ");
});

test("an ended subscription receives no more, not even frames in transit", async (t) => {
  const recorder = listener();
  const server = following(t, recorder);
  server.handle.unsubscribe();
  server.handle.unsubscribe();
  server.handle.refresh();
  await settled();
  assert.deepEqual([{ action: "unsubscribe", ref: 2, ...TICKET }], server.commands.slice(1));
  const again = listener();
  const handle = server.connection.subscribe("ticket", "Uk8wZ", { ...again, since: at(2) });
  await settled();
  server.deliver(update(6), { type: "unsubscribed", ref: 2, ...TICKET, reason: "requested" });
  server.deliver(subscribed(at(2), { ref: 3, recovered: true, missed: 1 }), update(3));
  assert.deepEqual([[], ["Number 3"], "live"], [recorder.received, again.received, handle.state]);
});

test("a refused unsubscribe is repeated later, unless the object is followed again", async (t) => {
  const server = following(t);
  const refused = { type: "error", code: "rate_limited", detail: "", temporary: true, retry_after_ms: 200 };
  server.handle.unsubscribe();
  server.deliver({ ...refused, ref: 2 });
  server.advance(1_300);
  assert.deepEqual({ action: "unsubscribe", ref: 3, ...TICKET }, server.commands.at(-1));
  server.deliver({ ...refused, ref: 3 });
  const handle = server.connection.subscribe("ticket", "Uk8wZ", { since: at(5) });
  await settled();
  server.deliver(subscribed(at(5), { ref: 4, recovered: true, missed: 0 }));
  server.advance(1_300);
  await settled();
  assert.deepEqual(["live", 4], [handle.state, server.commands.length]);
});

test("an answer to a withdrawn request is ignored", async (t) => {
  const recorder = listener();
  const server = new Server(t);
  const handle = server.connection.subscribe("ticket", "Uk8wZ", recorder);
  server.sendHello();
  handle.unsubscribe();
  server.deliver(subscribed(at(5), { payload: { title: "Now" } }), update(6));
  assert.deepEqual([[], "live"], [recorder.received, server.connection.state]);
});

test("a subscription ended by the server is reported, and not requested again", async (t) => {
  for (const [reason, frame] of [
    ["revoked", { type: "unsubscribed", ...TICKET, reason: "revoked", resubscribe: false }],
    ["deleted", { type: "unsubscribed", ...TICKET, reason: "deleted", resubscribe: false }],
    ["not_found", { type: "error", ref: 1, index: 0, code: "not_found", detail: "", temporary: false }],
    ["invalid", { type: "error", ref: 1, code: "invalid", detail: "", temporary: false }],
  ]) {
    await t.test(reason, async (t) => {
      const storage = new Storage();
      const recorder = listener({ since: at(5) });
      const server = new Server(t, { storage });
      const handle = server.connection.subscribe("ticket", "Uk8wZ", recorder);
      server.sendHello();
      if (frame.type === "unsubscribed") server.deliver(subscribed(at(5), { recovered: true, missed: 1 }), update(6));
      server.deliver(frame, update(7));
      assert.deepEqual([{ ended: reason }, "ended"], [recorder.received.at(-1), handle.state]);
      assert.equal(0, storage.kept.size);
      server.close(1006);
      await server.reconnected();
      server.sendHello();
      assert.deepEqual([], server.commands);
    });
  }
});

test("a temporarily refused subscription is requested again after the server's delay", async (t) => {
  for (const [code, more] of [["unavailable", {}], ["rate_limited", { retry_after_ms: 700 }], ["unavailable", { retry_after_ms: 1e13 }]]) {
    await t.test(code, async (t) => {
      const server = new Server(t);
      const recorder = listener({ since: at(5) });
      server.connection.subscribe("ticket", "Uk8wZ", recorder);
      server.sendHello();
      server.deliver({ type: "error", ref: 1, index: 0, code, detail: "", temporary: true, ...more });
      server.advance(499);
      await settled();
      assert.equal(1, server.commands.length);
      server.advance(1_300);
      await settled();
      assert.equal(2, server.commands.length);
      server.deliver(subscribed(at(5), { ref: 2, recovered: true, missed: 0 }));
      assert.deepEqual(["live", []], [server.connection.state, recorder.received]);
    });
  }
});

test("an error in a callback is reported, and later changes are still delivered", (t) => {
  const reported = [];
  const report = (error) => reported.push(error.message);
  t.mock.method(console, "error", report);
  t.after(() => delete globalThis.reportError);
  const recorder = listener();
  const server = following(t, {
    onEvent(frame) {
      recorder.onEvent(frame);
      throw new Error("mistake");
    },
  });
  server.deliver(update(6));
  globalThis.reportError = report;
  server.deliver(update(7));
  assert.deepEqual([["Number 6", "Number 7"], ["mistake", "mistake"]], [recorder.received, reported]);
});

test("a callback may close the connection", (t) => {
  const server = following(t, { onEvent: () => server.connection.close() });
  server.deliver(update(6), update(7));
  assert.deepEqual(["closed", "ended", at(6)], [server.connection.state, server.handle.state, server.handle.position]);
  server.advance(100_000);
  assert.equal(1, server.sockets.length);
});

test("a rejected promise of a callback is reported, too", async (t) => {
  const reported = [];
  t.mock.method(console, "error", (error) => reported.push(error.message));
  const server = following(t, { onEvent: async () => Promise.reject(new Error("late")) });
  server.deliver(update(6));
  await settled();
  assert.deepEqual([["late"], "live"], [reported, server.handle.state]);
});

test("onFrame may close the connection, and the client doesn't reconnect", async (t) => {
  for (const last of ["in hello", "out subscribe", "in ping", "out ping"]) {
    await t.test(last, (t) => {
      const onFrame = (frame, way) => last === `${way} ${frame.type ?? frame.action}` && server.connection.close();
      const server = new Server(t, { onFrame });
      server.connection.subscribe("ticket", "Uk8wZ");
      server.sendHello();
      server.connection.handleEvent({ type: "online" });
      server.deliver({ type: "ping" });
      server.advance(100_000);
      assert.deepEqual(["closed", 1], [server.connection.state, server.sockets.length]);
    });
  }
});

test("a subscription that another one's callback ends receives nothing more", (t) => {
  const states = [];
  const server = new Server(t);
  server.connection.subscribe("ticket", "first", { onState: (state) => state === "offline" && other.unsubscribe() });
  const other = server.connection.subscribe("ticket", "other", { onState: (state) => states.push(state) });
  server.close(1006);
  assert.deepEqual(["connecting", "ended"], states);
});

test("an iteration yields the same items, in order, and ends with its subscription", async (t) => {
  const server = new Server(t);
  const handle = server.connection.subscribe("ticket", "Uk8wZ");
  server.sendHello();
  const received = [];
  const all = (async () => {
    for await (const item of handle) received.push(item.type === "snapshot" ? item.payload.title : item.offset);
  })();
  server.deliver(subscribed(at(5), { payload: { title: "Now" } }), update(6), update(7));
  await settled();
  server.deliver(update(8));
  await settled();
  server.deliver({ type: "unsubscribed", ...TICKET, reason: "deleted", resubscribe: false });
  await all;
  assert.deepEqual(["Now", 6, 7, 8], received);
});

test("leaving an iteration unsubscribes; two calls of next at once get two items", async (t) => {
  const server = new Server(t);
  const handle = server.connection.subscribe("ticket", "Uk8wZ", { since: at(5) });
  server.sendHello();
  server.deliver(subscribed(at(5), { recovered: true, missed: 0 }));
  const iterator = handle[Symbol.asyncIterator]();
  const two = Promise.all([iterator.next(), iterator.next()]);
  server.deliver(update(6), update(7));
  assert.deepEqual([6, 7], (await two).map(({ value }) => value.offset));
  server.deliver(update(8));
  for await (const { offset } of handle) {
    assert.equal(8, offset);
    break;
  }
  assert.deepEqual(["ended", "unsubscribe"], [handle.state, server.commands.at(-1).action]);
  assert.deepEqual({ done: true, value: undefined }, await iterator.next());
});

test("positions are kept in a storage across page loads", async (t) => {
  const storage = new Storage();
  await t.test("one page", (t) => {
    const server = following(t, listener(), { storage });
    server.deliver(update(6));
  });
  await t.test("the next page", (t) => {
    const server = new Server(t, { storage });
    server.connection.subscribe("ticket", "Uk8wZ", listener());
    server.sendHello();
    assert.deepEqual([{ ...TICKET, since: at(6) }], server.commands[0].subscriptions);
  });
  await t.test("a position rendered by the server has precedence", (t) => {
    const server = new Server(t, { storage });
    server.connection.subscribe("ticket", "Uk8wZ", listener({ since: at(9) }));
    server.sendHello();
    assert.deepEqual([{ ...TICKET, since: at(9) }], server.commands[0].subscriptions);
  });
  for (const damaged of ["{", "7", "null", '{"epoch": "e1"}', '{"epoch": "e1", "offset": -1}']) {
    await t.test(`a damaged position is ignored: ${damaged}`, (t) => {
      storage.setItem("notifications:ticket:Uk8wZ", damaged);
      const server = new Server(t, { storage });
      server.connection.subscribe("ticket", "Uk8wZ", listener());
      server.sendHello();
      assert.deepEqual([{ ...TICKET, snapshot: true }], server.commands[0].subscriptions);
    });
  }
});

test("an iteration's position counts items once the next one is taken", async (t) => {
  const storage = new Storage();
  const server = new Server(t, { storage });
  const handle = server.connection.subscribe("ticket", "Uk8wZ", { since: at(5) });
  server.sendHello();
  server.deliver(subscribed(at(5), { recovered: true, missed: 0 }), update(6), update(7));
  const iterator = handle[Symbol.asyncIterator]();
  await iterator.next();
  assert.equal(0, storage.kept.size);
  await iterator.next();
  assert.deepEqual(['{"epoch":"e1","offset":6}'], [...storage.kept.values()]);
});

test("the client works without a full or forbidden storage, which keeps no outdated position", (t) => {
  const storage = new Storage();
  const recorder = listener();
  const server = following(t, recorder, { storage });
  server.deliver(update(6));
  storage.capacity = 0;
  server.deliver(update(7));
  assert.equal(0, storage.kept.size);
  storage.removeItem = storage.getItem = () => {
    throw new Error("SecurityError");
  };
  server.deliver(update(8));
  server.connection.subscribe("ticket", "other", listener());
  assert.deepEqual([["Number 6", "Number 7", "Number 8"], "catching-up"], [recorder.received, server.connection.state]);
});

test("a law: the delivered items lead to the current state, whatever is repeated, lost, cut or restarted", async (t) => {
  for (let seed = 1; seed <= 200; seed += 1) {
    await t.test(`seed ${seed}`, (t) => lawHolds(t, seed));
  }
});

/** Runs a server with a real stream, whose connection repeats, loses and cuts frames at random. */
async function lawHolds(t, seed) {
  let state = seed;
  const chance = (n) => (state = (state * 48271) % 2147483647) % n;
  const received = [];
  let [epoch, head, ref, where] = ["e1", 5, 0, null];
  const server = new Server(t);
  const now = () => ({ epoch, offset: head });
  const next = () => update(where.offset + 1, "x", epoch);
  const deliver = (frame) => server.deliver(frame);
  server.connection.subscribe("ticket", "Uk8wZ", {
    onSnapshot: ({ epoch, offset }) => received.push(["all", epoch, offset]),
    onEvent: ({ epoch, offset }) => received.push(["one", epoch, offset]),
  });
  const enter = () => {
    server.sendHello();
    const { since } = server.commands[0].subscriptions[0];
    const recovered = since && since.epoch === epoch;
    where = recovered ? { ...since } : now();
    const more = recovered ? { recovered, missed: head - since.offset } : { recovered: since && false, payload: {} };
    deliver(subscribed(where, { ref: (ref += 1), ...more }));
  };
  const steps = [
    () => (head += 1),
    () => where.epoch === epoch && where.offset < head && (deliver(next()), (where.offset += 1)),
    () => where.offset > 1 && deliver(update(1 + chance(where.offset), "x", where.epoch)),
    () => where.epoch === epoch && where.offset < head - 1 && (deliver(update(head, "x", epoch)), (where = null)),
    () => (server.close([1006, 1012, 4408, 4500, 4503][chance(5)]), (where = null)),
    () => ((epoch = `e${head}${chance(1000)}`), (head = chance(9)), server.close(1006), (where = null)),
    () => (deliver({ type: "resynced", ...TICKET, ...now(), reason: "pruned", payload: {} }), (where = now())),
  ];
  enter();
  for (let step = 0; step < 120; step += 1) {
    steps[chance(4) ? chance(3) : chance(steps.length)]();
    if (where === null) {
      await server.reconnected();
      enter();
    }
  }
  while (where.epoch === epoch && where.offset < head) steps[1]();
  assert.deepEqual(["live", epoch, head], [server.connection.state, ...received.at(-1).slice(1)]);
  received.reduce(([, before, last], [kind, epoch, offset]) => {
    assert.ok(kind === "all" || (epoch === before && offset === last + 1), `${last} then ${offset}`);
    return [kind, epoch, offset];
  });
}

test("onFrame receives each frame", (t) => {
  const frames = [];
  const server = following(t, {}, { onFrame: (frame, way) => frames.push([way, frame.type ?? frame.action]) });
  server.deliver({ type: "ping" });
  assert.deepEqual([["in", "hello"], ["out", "subscribe"], ["in", "subscribed"], ["in", "ping"], ["out", "pong"]], frames);
  assert.equal(HELLO.type, frames[0][1]);
});

test("http addresses become those of sockets; headers are passed on", async (t) => {
  const headers = { Authorization: "Token x" };
  for (const [expected, url] of [
    ["ws://a.example/x", "http://a.example/x"],
    ["wss://a.example/x", new URL("https://a.example/x")],
    ["wss://a.example/x", "wss://a.example/x"],
  ]) {
    await t.test(expected, (t) => {
      const server = new Server(t, { url, headers });
      server.connection.subscribe("ticket", "Uk8wZ");
      assert.deepEqual([expected, { headers }], [server.socket.url, server.socket.protocols]);
    });
  }
});

test("a page has one shared connection, to its own host", (t) => {
  t.mock.timers.enable({ apis: ["setTimeout", "Date"] });
  const addresses = [];
  globalThis.location = { href: "https://shop.example/orders/?x=1" };
  const { WebSocket } = globalThis;
  globalThis.WebSocket = class {
    constructor(url) {
      addresses.push(url);
    }
    close() {}
  };
  t.after(() => {
    globalThis.WebSocket = WebSocket;
    delete globalThis.location;
  });
  const handles = ["Uk8wZ", "other"].map((id) => subscribe("ticket", id));
  assert.deepEqual(["wss://shop.example/ws/notifications/"], addresses);
  for (const handle of handles) assert.equal("connecting", handle.state);
});

test("each socket offers a one-time token of its own", async (t) => {
  let fetched = 0;
  const server = new Server(t, { token: async () => `t${++fetched}` });
  server.connection.subscribe("ticket", "Uk8wZ");
  server.connection.reconnect();
  assert.deepEqual(["connecting", 0], [server.connection.state, server.sockets.length]);
  await settled();
  assert.deepEqual(["pillarbox.token.t1"], server.socket.protocols);
  server.sendHello();
  server.close(1001);
  server.advance(20_000);
  await settled();
  assert.deepEqual([2, ["pillarbox.token.t2"]], [server.sockets.length, server.socket.protocols]);
});

test("a token that never comes, can't be one, or raises at once is fetched again later", async (t) => {
  const answers = [
    () => new Promise(() => {}),
    () => ({ toString: () => assert.fail("no text") }),
    () => assert.fail("at once"),
    () => "t",
  ];
  const server = new Server(t, { token: () => answers.shift()() });
  server.connection.subscribe("ticket", "Uk8wZ");
  for (const reason of ["silence", "token", "token"]) {
    await settled();
    if (reason === "silence") {
      assert.equal("connecting", server.connection.state);
      server.advance(15_000);
    }
    assert.deepEqual(["offline", reason], [server.connection.state, server.states.at(-1)[1].reason]);
    server.advance(20_000);
  }
  await settled();
  assert.deepEqual(["pillarbox.token.t"], server.socket.protocols);
});

test("a token that can't be fetched is fetched again later, unless the connection was closed meanwhile", async (t) => {
  const answers = [null, "t", "t", null];
  const token = async () => answers.shift() ?? assert.fail("away");
  const server = new Server(t, { token });
  server.connection.subscribe("ticket", "Uk8wZ");
  await settled();
  assert.deepEqual(["offline", "token"], [server.connection.state, server.states.at(-1)[1].reason]);
  server.advance(20_000);
  await settled();
  assert.deepEqual(["pillarbox.token.t"], server.socket.protocols);
  for (const left of [1, 0]) {
    server.close(1001);
    server.connection.reconnect();
    server.connection.close();
    await settled();
    assert.deepEqual([left, "closed", 1], [answers.length, server.connection.state, server.sockets.length]);
    server.connection.reconnect();
    server.connection.close();
  }
});
