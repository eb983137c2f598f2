/** The client against a server that says anything at all, in an order of the test's. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { subscribe } from "../../apps/realtime/static/realtime/notifications.js";
import { ALL, at, HELLO, inAll, listener, Server, settled, Storage, TICKET, update } from "./scripted.mjs";

const subscribed = (position, more = {}) => ({ type: "subscribed", ref: 1, index: 0, ...TICKET, ...position, ...more });

/** A server whose client follows a ticket from offset 5. */
function following(context, callbacks = {}, options = {}) {
  const server = new Server(context, options);
  server.handle = server.connection.subscribe("ticket", "Uk8wZ", { since: at(5), ...callbacks });
  server.greet();
  server.say(subscribed(at(5), { recovered: true, missed: 0 }));
  return server;
}

const states = (server) => server.states.map(([state]) => state);

test("an offset is told once, in order; a repeat is dropped", (t) => {
  const ears = listener();
  const server = following(t, ears);
  server.say(update(6), update(6), update(5), update(7), update(6));
  assert.deepEqual(["Number 6", "Number 7"], ears.told);
  assert.deepEqual(at(7), server.handle.position);
});

test("a gap, or another epoch, is nothing that a server may send: the client comes back and resumes", async (t) => {
  for (const frame of [update(8), update(6, "other", "e2"), { ...update(6), offset: "6" }, { ...update(6), epoch: 1 }]) {
    await t.test(JSON.stringify([frame.offset, frame.epoch]), async (t) => {
      const ears = listener();
      const server = following(t, ears);
      server.say(frame);
      assert.deepEqual(["offline", "nonsense"], [server.connection.state, server.states.at(-1)[1].reason]);
      await server.returned();
      server.greet();
      assert.deepEqual([{ ...TICKET, since: at(5) }], server.asked[0].subscriptions);
      server.say(subscribed(at(5), { ref: 2, recovered: true, missed: 1 }), update(6));
      assert.deepEqual(["Number 6"], ears.told);
    });
  }
});

test("nonsense is not talked to, and never answered by a storm", async (t) => {
  const frames = ["", "{", "null", "[]", "7", '"x"', "{}", '{"type": 7}', '{"type": "pong"}', '{"type": "hello"}'];
  for (const frame of frames) {
    await t.test(`before the greeting: ${frame}`, async (t) => {
      const server = new Server(t);
      server.connection.subscribe("ticket", "Uk8wZ");
      server.say(frame);
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
      const ears = listener({ since: at(5) });
      const server = new Server(t);
      server.connection.subscribe("ticket", "Uk8wZ", ears);
      server.greet();
      if (frame.type !== "subscribed" && frame.ref === undefined) server.say(subscribed(at(5), { recovered: true }));
      server.say(frame);
      assert.equal("offline", server.connection.state);
      assert.deepEqual([], ears.told);
      assert.ok((await server.returned()) >= 490);
    });
  }
});

test("what a later protocol adds is left alone", (t) => {
  const ears = listener();
  const server = following(t, ears);
  server.say({ type: "advice", text: "sit down" }, { type: "unsubscribed", object_type: "ticket", id: "other" });
  server.say({ ...update(1), object_type: "invoice" }, { type: "advice", ...TICKET });
  assert.deepEqual(["live", []], [server.connection.state, ears.told]);
});

test("another protocol, or a server that refuses for good, is not asked again", async (t) => {
  for (const [state, end] of [
    ["refused", (server) => server.greet({ protocol: 2 })],
    ["refused", (server) => server.end(4400)],
    ["refused", (server) => server.end(4403)],
    ["refused", (server) => server.end(4499)],
    ["refused", (server) => server.end(1009)],
    ["signed-out", (server) => server.end(4401)],
    ["signed-out", (server) => server.greet({ user: "somebody else" })],
  ]) {
    await t.test(`${state}: ${end}`, (t) => {
      const server = new Server(t, { user: "kim" });
      const handle = server.connection.subscribe("ticket", "Uk8wZ", listener());
      end(server);
      server.pass(3_600_000);
      assert.deepEqual([state, state, 1], [server.connection.state, handle.state, server.sockets.length]);
      assert.notEqual(null, server.socket.closed ?? "ended by the server");
    });
  }
});

test("after signing in it comes back when it is told to, and resumes", (t) => {
  const server = following(t);
  server.end(4401);
  server.connection.reconnect();
  server.connection.reconnect();
  server.greet();
  assert.deepEqual([{ ...TICKET, since: at(5) }], server.asked[0].subscriptions);
  assert.equal(2, server.sockets.length);
});

test("any other end is a reason to come back, within the server's window, ever later", async (t) => {
  for (const code of [1000, 1001, 1002, 1006, 1007, 1011, 3000, 4000, 4408, 4429, 4500, 4503, 4599, 4999]) {
    await t.test(String(code), async (t) => {
      const server = following(t);
      for (const top of [1000, 2000, 4000, 8000, 16000, 20000, 20000, 20000]) {
        server.end(code);
        const { retryMs } = server.states.at(-1)[1];
        assert.ok(retryMs >= 500 && retryMs <= top, `${retryMs} of ${top}`);
        assert.ok((await server.returned(top + 20)) >= retryMs - 10);
      }
    });
  }
});

test("a restart is come back from at any moment of the window that it names", async (t) => {
  const waits = [];
  for (let round = 0; round < 40; round += 1) {
    await t.test(`round ${round}`, (t) => {
      const server = following(t);
      server.end(1012, '{"reconnect":{"min_ms":1000,"max_ms":9000}}');
      waits.push(server.states.at(-1)[1].retryMs);
    });
  }
  assert.ok(Math.min(...waits) >= 1000 && Math.max(...waits) <= 9000);
  assert.ok(Math.max(...waits) > 5000 && new Set(waits).size > 20, String(waits));
});

test("a window or a heartbeat that can't be is none", async (t) => {
  const windows = [null, 7, {}, { min_ms: 0, max_ms: 1 }, { min_ms: 9, max_ms: 1 }, { min_ms: "a", max_ms: "b" }];
  for (const reconnect of [...windows, { min_ms: 1e12, max_ms: 1e13 }]) {
    await t.test(JSON.stringify(reconnect), (t) => {
      const server = new Server(t);
      server.connection.subscribe("ticket", "Uk8wZ");
      server.greet({ reconnect, heartbeat_seconds: 1e12, limits: null });
      server.pass(40_000);
      assert.equal(1, server.sockets.length);
      server.end(1012, "nothing that is JSON");
      const { retryMs } = server.states.at(-1)[1];
      assert.ok(retryMs >= 500 && retryMs <= 20_000);
    });
  }
});

test("a heartbeat that no timer can measure is none", (t) => {
  const server = new Server(t);
  server.connection.subscribe("ticket", "Uk8wZ");
  server.greet({ heartbeat_seconds: 1e12 });
  server.pass(49_999);
  assert.equal("catching-up", server.connection.state);
  server.pass(2);
  assert.deepEqual(["offline", "silence"], [server.connection.state, server.states.at(-1)[1].reason]);
});

test("a server away for an hour is asked some hundreds of times, not thousands, and found again", async (t) => {
  const ears = listener();
  const server = following(t, ears);
  for (let passed = 0; passed < 3_600_000; passed += await server.returned()) server.end(1006);
  assert.ok(server.sockets.length > 180 && server.sockets.length < 600, server.sockets.length);
  server.greet();
  server.say(subscribed(at(5), { ref: 2, recovered: true, missed: 2 }), update(6), update(7));
  assert.deepEqual([["Number 6", "Number 7"], "live"], [ears.told, server.connection.state]);
});

test("a server that greets and ends at once is asked ever later; one that stood is not", async (t) => {
  const server = following(t);
  for (let round = 0; round < 6; round += 1) {
    server.end(1006);
    await server.returned();
    server.greet();
  }
  assert.equal("catching-up", server.connection.state);
  server.pass(20_000);
  server.end(1006);
  assert.ok(server.states.at(-1)[1].retryMs <= 1000);
});

test("a socket that can't be made, or never greets, is given up", async (t) => {
  const server = new Server(t);
  server.connection.subscribe("ticket", "Uk8wZ");
  server.socket.onerror();
  assert.equal(1006, server.states.at(-1)[1].code);
  await server.returned();
  server.pass(15_000);
  assert.equal("silence", server.states.at(-1)[1].reason);
  await server.returned();
  server.greet();
  server.socket.onerror(); // the close behind it has the code
  assert.equal("catching-up", server.connection.state);
});

test("a dead link is noticed by the heartbeat, in twice its time; a sign of life puts that off", async (t) => {
  const server = following(t);
  server.pass(49_000);
  server.say({ type: "ping" });
  assert.deepEqual({ action: "pong" }, server.socket.sent.at(-1));
  server.pass(49_000);
  assert.equal("live", server.connection.state);
  const late = server.socket;
  server.pass(2_000);
  assert.deepEqual(["offline", "silence"], [server.connection.state, server.states.at(-1)[1].reason]);
  assert.equal(1000, late.closed);
  assert.equal(null, late.onmessage, "what comes late is not heard");
});

test("a page that slept asks whether anybody is there, and knows in seconds", async (t) => {
  for (const hours of [5, -5]) {
    await t.test(`the clock jumps by ${hours} hours`, (t) => {
      const server = following(t);
      const before = server.socket.sent.length;
      const { now } = Date;
      Date.now = () => now() + hours * 3_600_000;
      t.after(() => (Date.now = now));
      server.pass(30_000);
      assert.deepEqual([{ action: "ping" }], server.socket.sent.slice(before));
      server.say({ type: "pong" });
      server.pass(6_000);
      assert.equal("live", server.connection.state, "only the clock had jumped");
    });
  }
});

test("a page that slept for longer than two heartbeats asks before it gives its socket up", (t) => {
  const server = following(t);
  const { now } = Date;
  // In steps: all timers of a step see its end.
  const pass = (seconds) => [...Array(seconds)].forEach(() => server.pass(1_000));
  pass(24);
  server.say({ type: "ping" });
  pass(49);
  const before = server.socket.sent.length;
  Date.now = () => now() + 60_000;
  t.after(() => (Date.now = now));
  pass(1);
  assert.deepEqual([{ action: "ping" }], server.socket.sent.slice(before));
  server.say(update(6)); // it came meanwhile
  pass(49);
  assert.equal("live", server.connection.state);
  pass(1);
  assert.deepEqual(["offline", "silence"], [server.connection.state, server.states.at(-1)[1].reason]);
});

test("a page that wakes up looks at once: at its socket, or for a new one", async (t) => {
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
    server.say({ type: "pong" });
    server.pass(6_000);
    assert.equal("live", server.connection.state);
  }
  const asked = server.socket.sent.length;
  document.hidden = true;
  wakes("visibilitychange");
  assert.equal(asked, server.socket.sent.length, "going to sleep is no waking up");
  wakes("online");
  server.pass(5_001);
  assert.equal("offline", server.connection.state, "nobody was there");
  for (let round = 0; round < 8; round += 1) {
    await server.returned();
    server.end(1006);
  }
  wakes("online");
  assert.ok((await server.returned(600)) <= 510);
  server.end(4401);
  wakes("online");
  server.pass(100_000);
  assert.equal("signed-out", server.connection.state);
  server.connection.close();
  wakes("online");
  assert.equal("closed", server.connection.state);
});

test("states are told: of the connection, and of each subscription", async (t) => {
  const own = [];
  const server = new Server(t);
  assert.equal("idle", server.connection.state);
  const handle = server.connection.subscribe("ticket", "Uk8wZ", { ...listener(), since: at(5), onState: (s) => own.push(s) });
  server.greet();
  server.say(subscribed(at(5), { recovered: true, missed: 2 }), update(6));
  assert.equal("catching-up", handle.state);
  server.say(update(7));
  server.end(1006);
  await server.returned();
  server.greet();
  server.say(subscribed(at(7), { ref: 2, recovered: true, missed: 0 }));
  handle.unsubscribe();
  const expected = ["connecting", "catching-up", "live", "offline", "catching-up", "live"];
  assert.deepEqual([expected, [...expected, "ended"]], [states(server), own]);
});

test("what was missed is told apart from what is new", (t) => {
  const late = [];
  const server = new Server(t);
  server.connection.subscribe("ticket", "Uk8wZ", { since: at(5), onEvent: (_, { catchingUp }) => late.push(catchingUp) });
  server.greet();
  server.say(subscribed(at(5), { recovered: true, missed: 2 }), update(6), update(7), update(8));
  assert.deepEqual([true, true, false], late);
});

test("without a position the present is asked for by who wants it, and later resumed from", async (t) => {
  const ears = listener();
  const server = new Server(t);
  server.connection.subscribe("ticket", "Uk8wZ", ears);
  server.connection.subscribe("ticket", "other", { onEvent() {} });
  server.greet();
  const other = { object_type: "ticket", id: "other" };
  assert.deepEqual([{ ...TICKET, snapshot: true }, other], server.asked[0].subscriptions);
  server.say(subscribed(at(5), { payload: { title: "Now" } }), subscribed(at(9), { ...other, index: 1 }), update(6));
  assert.deepEqual([["start", { title: "Now" }], "Number 6"], ears.told);
  server.end(1006);
  await server.returned();
  server.greet();
  assert.deepEqual([{ ...TICKET, since: at(6) }, { ...other, since: at(9) }], server.asked[0].subscriptions);
});

test("where continuity is lost, the present takes the place of what was known", (t) => {
  const ears = listener();
  const server = new Server(t);
  const handle = server.connection.subscribe("ticket", "Uk8wZ", { ...ears, since: at(5) });
  server.greet();
  server.say(subscribed(at(9, "e2"), { recovered: false, payload: { title: "Now" } }), update(10, "New", "e2"));
  server.say({ type: "resynced", ...TICKET, ...at(3, "e3"), reason: "epoch", payload: { title: "Restored" } });
  server.say(update(4, "Newer", "e3"));
  const expected = [["unrecoverable", { title: "Now" }], "New", ["epoch", { title: "Restored" }], "Newer"];
  assert.deepEqual([expected, at(4, "e3")], [ears.told, handle.position]);
});

test("a collection's pages are one snapshot, and what came in between is told behind it", (t) => {
  const ears = listener();
  const server = new Server(t);
  const handle = server.connection.subscribe("project.tickets", "b4Tqe", ears);
  server.greet();
  const page = (items, done) => ({ type: "snapshot", ref: 1, index: 0, ...ALL, items, done });
  server.say(subscribed(at(5), ALL), page([1, 2], false), inAll(6, "six"), page([3], false), inAll(7, "seven"));
  assert.deepEqual([[], "catching-up", null], [ears.told, handle.state, handle.position]);
  server.say(page([], true), inAll(8, "eight"));
  assert.deepEqual([["start", [1, 2, 3]], "six", "seven", "eight"], ears.told);
  server.say({ type: "resynced", ...ALL, ...at(20), reason: "pruned" }, page([9], false), inAll(21, "x"));
  server.say({ type: "resynced", ...ALL, ...at(30), reason: "moved" }, page([4], true), inAll(31, "y"));
  assert.deepEqual([["moved", [4]], "y"], ears.told.slice(4));
});

test("a snapshot that breaks off is asked for again", async (t) => {
  const ears = listener();
  const server = new Server(t);
  server.connection.subscribe("project.tickets", "b4Tqe", { ...ears, since: at(5) });
  server.greet();
  server.say(subscribed(at(9), { ...ALL, recovered: false }), { type: "snapshot", ...ALL, items: [1], done: false });
  server.say(inAll(10, "ten"));
  server.end(1006);
  await server.returned();
  server.greet();
  assert.deepEqual([{ ...ALL, since: at(5) }], server.asked[0].subscriptions);
  server.say(subscribed(at(10), { ...ALL, ref: 2, recovered: false }));
  server.say({ type: "snapshot", ...ALL, items: [1, 2], done: true });
  assert.deepEqual([["unrecoverable", [1, 2]]], ears.told);
});

test("a refresh has the present sent, also across a lost socket", async (t) => {
  const ears = listener();
  const server = following(t, ears);
  server.handle.refresh();
  await settled();
  assert.deepEqual([{ ...TICKET, snapshot: true }], server.asked.at(-1).subscriptions);
  server.say(update(6));
  server.end(1006);
  await server.returned();
  server.greet();
  assert.deepEqual([{ ...TICKET, snapshot: true }], server.asked[0].subscriptions);
  server.say(subscribed(at(7), { ref: 3, payload: { title: "Now" } }), update(8));
  assert.deepEqual(["Number 6", ["start", { title: "Now" }], "Number 8"], ears.told);
});

test("one socket serves many, asked for in few commands that the server takes", (t) => {
  const server = new Server(t);
  const since = at(123456789, "e".repeat(64));
  for (let number = 0; number < 200; number += 1) server.connection.subscribe("ticket", `ticket${number}`, { since });
  server.greet();
  assert.equal(1, server.sockets.length);
  assert.equal(200, server.asked.flatMap(({ subscriptions }) => subscriptions).length);
  assert.ok(server.asked.length <= 5);
  assert.ok(server.asked.every((command) => JSON.stringify(command).length < 16384));
});

test("the same thing is followed once; a position must be one", (t) => {
  const server = new Server(t);
  const handle = server.connection.subscribe("ticket", "Uk8wZ");
  assert.throws(() => server.connection.subscribe("ticket", "Uk8wZ"), /ticket Uk8wZ is followed already/);
  handle.unsubscribe();
  assert.throws(() => server.connection.subscribe("ticket", "Uk8wZ", { since: { offset: 7 } }), /since: expected/);
  server.connection.subscribe("ticket", "Uk8wZ");
});

test("who unsubscribes hears no more, also of what was on its way", async (t) => {
  const ears = listener();
  const server = following(t, ears);
  server.handle.unsubscribe();
  server.handle.unsubscribe();
  server.handle.refresh();
  await settled();
  assert.deepEqual([{ action: "unsubscribe", ref: 2, ...TICKET }], server.asked.slice(1));
  const again = listener();
  const handle = server.connection.subscribe("ticket", "Uk8wZ", { ...again, since: at(2) });
  await settled();
  server.say(update(6), { type: "unsubscribed", ref: 2, ...TICKET, reason: "requested" });
  server.say(subscribed(at(2), { ref: 3, recovered: true, missed: 1 }), update(3));
  assert.deepEqual([[], ["Number 3"], "live"], [ears.told, again.told, handle.state]);
});

test("who may not unsubscribe just now does so later, unless the same is followed again", async (t) => {
  const server = following(t);
  const refused = { type: "error", code: "rate_limited", detail: "", temporary: true, retry_after_ms: 200 };
  server.handle.unsubscribe();
  server.say({ ...refused, ref: 2 });
  server.pass(1_300);
  assert.deepEqual({ action: "unsubscribe", ref: 3, ...TICKET }, server.asked.at(-1));
  server.say({ ...refused, ref: 3 });
  const handle = server.connection.subscribe("ticket", "Uk8wZ", { since: at(5) });
  await settled();
  server.say(subscribed(at(5), { ref: 4, recovered: true, missed: 0 }));
  server.pass(1_300);
  await settled();
  assert.deepEqual(["live", 4], [handle.state, server.asked.length]);
});

test("an answer to what is not wanted any more is left alone", async (t) => {
  const ears = listener();
  const server = new Server(t);
  const handle = server.connection.subscribe("ticket", "Uk8wZ", ears);
  server.greet();
  handle.unsubscribe();
  server.say(subscribed(at(5), { payload: { title: "Now" } }), update(6));
  assert.deepEqual([[], "live"], [ears.told, server.connection.state]);
});

test("the server's end of a subscription is told, and not asked about again", async (t) => {
  for (const [reason, frame] of [
    ["revoked", { type: "unsubscribed", ...TICKET, reason: "revoked", resubscribe: false }],
    ["deleted", { type: "unsubscribed", ...TICKET, reason: "deleted", resubscribe: false }],
    ["not_found", { type: "error", ref: 1, index: 0, code: "not_found", detail: "", temporary: false }],
    ["invalid", { type: "error", ref: 1, code: "invalid", detail: "", temporary: false }],
  ]) {
    await t.test(reason, async (t) => {
      const storage = new Storage();
      const ears = listener({ since: at(5) });
      const server = new Server(t, { storage });
      const handle = server.connection.subscribe("ticket", "Uk8wZ", ears);
      server.greet();
      if (frame.type === "unsubscribed") server.say(subscribed(at(5), { recovered: true, missed: 1 }), update(6));
      server.say(frame, update(7));
      assert.deepEqual([{ ended: reason }, "ended"], [ears.told.at(-1), handle.state]);
      assert.equal(0, storage.kept.size);
      server.end(1006);
      await server.returned();
      server.greet();
      assert.deepEqual([], server.asked);
    });
  }
});

test("what is refused for now is asked for again, when the server says so", async (t) => {
  for (const [code, more] of [["unavailable", {}], ["rate_limited", { retry_after_ms: 700 }], ["unavailable", { retry_after_ms: 1e13 }]]) {
    await t.test(code, async (t) => {
      const server = new Server(t);
      const ears = listener({ since: at(5) });
      server.connection.subscribe("ticket", "Uk8wZ", ears);
      server.greet();
      server.say({ type: "error", ref: 1, index: 0, code, detail: "", temporary: true, ...more });
      server.pass(499);
      await settled();
      assert.equal(1, server.asked.length);
      server.pass(1_300);
      await settled();
      assert.equal(2, server.asked.length);
      server.say(subscribed(at(5), { ref: 2, recovered: true, missed: 0 }));
      assert.deepEqual(["live", []], [server.connection.state, ears.told]);
    });
  }
});

test("a mistake of the page's is reported, and loses nobody else anything", (t) => {
  const reported = [];
  const report = (error) => reported.push(error.message);
  t.mock.method(console, "error", report);
  t.after(() => delete globalThis.reportError);
  const ears = listener();
  const server = following(t, {
    onEvent(frame) {
      ears.onEvent(frame);
      throw new Error("mistake");
    },
  });
  server.say(update(6));
  globalThis.reportError = report;
  server.say(update(7));
  assert.deepEqual([["Number 6", "Number 7"], ["mistake", "mistake"]], [ears.told, reported]);
});

test("a page may end it all from within what it is told", (t) => {
  const server = following(t, { onEvent: () => server.connection.close() });
  server.say(update(6), update(7));
  assert.deepEqual(["closed", "ended", at(6)], [server.connection.state, server.handle.state, server.handle.position]);
  server.pass(100_000);
  assert.equal(1, server.sockets.length);
});

test("a mistake that comes later is reported, too", async (t) => {
  const reported = [];
  t.mock.method(console, "error", (error) => reported.push(error.message));
  const server = following(t, { onEvent: async () => Promise.reject(new Error("late")) });
  server.say(update(6));
  await settled();
  assert.deepEqual([["late"], "live"], [reported, server.handle.state]);
});

test("the curious may end it all, too: nothing comes back from the dead", async (t) => {
  for (const last of ["in hello", "out subscribe", "in ping", "out ping"]) {
    await t.test(last, (t) => {
      const onFrame = (frame, way) => last === `${way} ${frame.type ?? frame.action}` && server.connection.close();
      const server = new Server(t, { onFrame });
      server.connection.subscribe("ticket", "Uk8wZ");
      server.greet();
      server.connection.handleEvent({ type: "online" });
      server.say({ type: "ping" });
      server.pass(100_000);
      assert.deepEqual(["closed", 1], [server.connection.state, server.sockets.length]);
    });
  }
});

test("who is unsubscribed by what another one is told hears nothing behind its end", (t) => {
  const states = [];
  const server = new Server(t);
  server.connection.subscribe("ticket", "first", { onState: (state) => state === "offline" && other.unsubscribe() });
  const other = server.connection.subscribe("ticket", "other", { onState: (state) => states.push(state) });
  server.end(1006);
  assert.deepEqual(["connecting", "ended"], states);
});

test("iterating gives the same, in order, and ends where the subscription does", async (t) => {
  const server = new Server(t);
  const handle = server.connection.subscribe("ticket", "Uk8wZ");
  server.greet();
  const told = [];
  const all = (async () => {
    for await (const item of handle) told.push(item.type === "snapshot" ? item.payload.title : item.offset);
  })();
  server.say(subscribed(at(5), { payload: { title: "Now" } }), update(6), update(7));
  await settled();
  server.say(update(8));
  await settled();
  server.say({ type: "unsubscribed", ...TICKET, reason: "deleted", resubscribe: false });
  await all;
  assert.deepEqual(["Now", 6, 7, 8], told);
});

test("breaking off an iteration unsubscribes; who asks twice at once is served twice", async (t) => {
  const server = new Server(t);
  const handle = server.connection.subscribe("ticket", "Uk8wZ", { since: at(5) });
  server.greet();
  server.say(subscribed(at(5), { recovered: true, missed: 0 }));
  const iterator = handle[Symbol.asyncIterator]();
  const two = Promise.all([iterator.next(), iterator.next()]);
  server.say(update(6), update(7));
  assert.deepEqual([6, 7], (await two).map(({ value }) => value.offset));
  server.say(update(8));
  for await (const { offset } of handle) {
    assert.equal(8, offset);
    break;
  }
  assert.deepEqual(["ended", "unsubscribe"], [handle.state, server.asked.at(-1).action]);
  assert.deepEqual({ done: true, value: undefined }, await iterator.next());
});

test("positions are kept across page loads, when asked", async (t) => {
  const storage = new Storage();
  await t.test("one page", (t) => {
    const server = following(t, listener(), { storage });
    server.say(update(6));
  });
  await t.test("the next one", (t) => {
    const server = new Server(t, { storage });
    server.connection.subscribe("ticket", "Uk8wZ", listener());
    server.greet();
    assert.deepEqual([{ ...TICKET, since: at(6) }], server.asked[0].subscriptions);
  });
  await t.test("what the server rendered is nearer", (t) => {
    const server = new Server(t, { storage });
    server.connection.subscribe("ticket", "Uk8wZ", listener({ since: at(9) }));
    server.greet();
    assert.deepEqual([{ ...TICKET, since: at(9) }], server.asked[0].subscriptions);
  });
  for (const damaged of ["{", "7", "null", '{"epoch": "e1"}', '{"epoch": "e1", "offset": -1}']) {
    await t.test(`what is damaged is none: ${damaged}`, (t) => {
      storage.setItem("notifications:ticket:Uk8wZ", damaged);
      const server = new Server(t, { storage });
      server.connection.subscribe("ticket", "Uk8wZ", listener());
      server.greet();
      assert.deepEqual([{ ...TICKET, snapshot: true }], server.asked[0].subscriptions);
    });
  }
});

test("of an iteration, what was taken and done with counts", async (t) => {
  const storage = new Storage();
  const server = new Server(t, { storage });
  const handle = server.connection.subscribe("ticket", "Uk8wZ", { since: at(5) });
  server.greet();
  server.say(subscribed(at(5), { recovered: true, missed: 0 }), update(6), update(7));
  const iterator = handle[Symbol.asyncIterator]();
  await iterator.next();
  assert.equal(0, storage.kept.size);
  await iterator.next();
  assert.deepEqual(['{"epoch":"e1","offset":6}'], [...storage.kept.values()]);
});

test("a store that is full, or forbidden, is done without, and keeps nothing that was passed", (t) => {
  const storage = new Storage();
  const ears = listener();
  const server = following(t, ears, { storage });
  server.say(update(6));
  storage.room = 0;
  server.say(update(7));
  assert.equal(0, storage.kept.size);
  storage.removeItem = storage.getItem = () => {
    throw new Error("SecurityError");
  };
  server.say(update(8));
  server.connection.subscribe("ticket", "other", listener());
  assert.deepEqual([["Number 6", "Number 7", "Number 8"], "catching-up"], [ears.told, server.connection.state]);
});

test("whatever is repeated, lost, cut or begun anew: what is told makes the present", async (t) => {
  for (let seed = 1; seed <= 200; seed += 1) {
    await t.test(`seed ${seed}`, (t) => lawHolds(t, seed));
  }
});

/** A server whose stream has offsets and epochs, and a line to it that does everything but tell the truth late. */
async function lawHolds(t, seed) {
  let state = seed;
  const chance = (n) => (state = (state * 48271) % 2147483647) % n;
  const told = [];
  let [epoch, head, ref, where] = ["e1", 5, 0, null];
  const server = new Server(t);
  const now = () => ({ epoch, offset: head });
  const next = () => update(where.offset + 1, "x", epoch);
  const say = (frame) => server.say(frame);
  server.connection.subscribe("ticket", "Uk8wZ", {
    onSnapshot: ({ epoch, offset }) => told.push(["all", epoch, offset]),
    onEvent: ({ epoch, offset }) => told.push(["one", epoch, offset]),
  });
  const enter = () => {
    server.greet();
    const { since } = server.asked[0].subscriptions[0];
    const recovered = since && since.epoch === epoch;
    where = recovered ? { ...since } : now();
    const more = recovered ? { recovered, missed: head - since.offset } : { recovered: since && false, payload: {} };
    say(subscribed(where, { ref: (ref += 1), ...more }));
  };
  const steps = [
    () => (head += 1),
    () => where.epoch === epoch && where.offset < head && (say(next()), (where.offset += 1)),
    () => where.offset > 1 && say(update(1 + chance(where.offset), "x", where.epoch)),
    () => where.epoch === epoch && where.offset < head - 1 && (say(update(head, "x", epoch)), (where = null)),
    () => (server.end([1006, 1012, 4408, 4500, 4503][chance(5)]), (where = null)),
    () => ((epoch = `e${head}${chance(1000)}`), (head = chance(9)), server.end(1006), (where = null)),
    () => (say({ type: "resynced", ...TICKET, ...now(), reason: "pruned", payload: {} }), (where = now())),
  ];
  enter();
  for (let step = 0; step < 120; step += 1) {
    steps[chance(4) ? chance(3) : chance(steps.length)]();
    if (where === null) {
      await server.returned();
      enter();
    }
  }
  while (where.epoch === epoch && where.offset < head) steps[1]();
  assert.deepEqual(["live", epoch, head], [server.connection.state, ...told.at(-1).slice(1)]);
  told.reduce(([, before, last], [kind, epoch, offset]) => {
    assert.ok(kind === "all" || (epoch === before && offset === last + 1), `${last} then ${offset}`);
    return [kind, epoch, offset];
  });
}

test("each frame is shown to the curious", (t) => {
  const frames = [];
  const server = following(t, {}, { onFrame: (frame, way) => frames.push([way, frame.type ?? frame.action]) });
  server.say({ type: "ping" });
  assert.deepEqual([["in", "hello"], ["out", "subscribe"], ["in", "subscribed"], ["in", "ping"], ["out", "pong"]], frames);
  assert.equal(HELLO.type, frames[0][1]);
});

test("an address of the web is one of sockets; headers are for programs", async (t) => {
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

test("the connection of a page is at the page's host, and shared", (t) => {
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
