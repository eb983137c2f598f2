/** The client against the real server, which `test_client.py` starts. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { connect } from "../../apps/pillarbox/static/pillarbox/notifications.js";

const { API, SOCKETS, TOKEN, PROJECT } = process.env;
const headers = { Authorization: `Token ${TOKEN}` };

async function rest(method, path, body) {
  const answer = await fetch(`${API}/api/${path}`, {
    method,
    headers: { ...headers, "Content-Type": "application/json" },
    body: body && JSON.stringify(body),
  });
  assert.ok(answer.ok, `${method} ${path}: ${answer.status}`);
  return answer.status === 204 ? null : answer.json();
}

const create = (title) => rest("POST", "tickets/", { project: PROJECT, title });
const rename = ({ id }, title) => rest("PATCH", `tickets/${id}/`, { title });

function connected(t, options = {}) {
  const connection = connect({ url: SOCKETS, headers, ...options });
  t.after(() => connection.close());
  return connection;
}

async function until(condition, what) {
  const deadline = performance.now() + 300_000;
  while (!condition()) {
    assert.ok(performance.now() < deadline, `waited in vain until ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

test("a snapshot, then each change once and in order, on one socket for all subscriptions", async (t) => {
  const ticket = await create("Number 0");
  const connection = connected(t, { user: "demo" });
  const titles = [];
  const events = [];
  const one = connection.subscribe("ticket", ticket.id, {
    onSnapshot: ({ reason, payload }) => titles.push(reason, payload.title),
    onEvent: ({ payload }) => titles.push(payload.title),
  });
  const all = connection.subscribe("project.tickets", PROJECT, {
    onSnapshot: ({ items }) => events.push(...items.map(({ title }) => title)),
    onEvent: ({ type, payload }) => events.push(`${type} ${payload.title ?? ""}`),
  });
  await until(() => connection.state === "live", "it is live");
  assert.deepEqual(["live", "live"], [one.state, all.state]);
  const expected = ["start", "Number 0"];
  for (let number = 1; number <= 20; number += 1) {
    await rename(ticket, `Number ${number}`);
    expected.push(`Number ${number}`);
  }
  await until(() => titles.at(-1) === expected.at(-1), "each change has arrived");
  // The row of the creation may be sent after the snapshot that already has the ticket.
  assert.deepEqual(expected, titles.filter((title, place) => place < 2 || title !== "Number 0"));
  await until(() => events.at(-1) === "UPDATE_TICKET Number 20", "the collection, too");
});

test("a client that resumes receives missed changes, and knows when it has caught up", async (t) => {
  const ticket = await create("New");
  const first = connected(t);
  const handle = first.subscribe("ticket", ticket.id, { onEvent() {}, onSnapshot() {} });
  await until(() => handle.position?.offset >= 1, "it has a position");
  const since = handle.position;
  first.close();
  for (let number = 1; number <= 150; number += 1) await rename(ticket, `Number ${number}`);
  const received = [];
  const second = connected(t);
  const again = second.subscribe("ticket", ticket.id, {
    since,
    onEvent: ({ offset }, { catchingUp }) => received.push([offset - since.offset, catchingUp]),
    onSnapshot: () => assert.fail("nothing was lost"),
  });
  await until(() => again.state === "live" && received.length >= 150, "it has caught up");
  assert.deepEqual(Array.from({ length: 150 }, (_, place) => place + 1), received.map(([offset]) => offset));
  await rename(ticket, "After");
  await until(() => received.length === 151, "the new change has arrived, too");
  assert.deepEqual([151, false], received.at(-1));
});

test("a position that can't be resumed from is answered with a snapshot", async (t) => {
  const ticket = await create("Now");
  const received = [];
  for (const since of [{ epoch: "another", offset: 0 }, { epoch: "another", offset: 2 ** 40 }]) {
    const connection = connected(t);
    connection.subscribe("project.tickets", PROJECT, { since, onSnapshot: (snapshot) => received.push(snapshot) });
    await until(() => connection.state === "live", "it is live");
  }
  const { reason, items } = received[1];
  assert.deepEqual([2, "unrecoverable", ticket.id], [received.length, reason, items.at(-1).id]);
});

test("an iteration ends with the deletion of its object", async (t) => {
  const ticket = await create("Short-lived");
  const connection = connected(t);
  const types = [];
  for await (const { type } of connection.subscribe("ticket", ticket.id)) {
    if (type === "snapshot") await rest("DELETE", `tickets/${ticket.id}/`);
    types.push(type);
  }
  // Its creation may be rendered before its deletion, or be skipped.
  const others = types.filter((type) => !["CREATE_TICKET", "skipped"].includes(type));
  assert.deepEqual(["snapshot", "DELETE_TICKET"], others);
});

test("a missing object ends its own subscription, and no other", async (t) => {
  const connection = connected(t);
  const ended = [];
  const gone = await create("Gone");
  await rest("DELETE", `tickets/${gone.id}/`);
  connection.subscribe("ticket", gone.id, { onRevoked: (reason) => ended.push(reason) });
  connection.subscribe("no such type", "x", { onRevoked: (reason) => ended.push(reason) });
  const all = connection.subscribe("project.tickets", PROJECT, { onEvent() {} });
  await until(() => all.state === "live", "it is live");
  assert.deepEqual(["invalid", "not_found"], ended.sort());
});

test("an invalid user is signed out, and the client doesn't try again", async (t) => {
  const connection = connected(t, { headers: { Authorization: "Token of nobody" } });
  connection.subscribe("project.tickets", PROJECT);
  await until(() => connection.state === "signed-out", "it is signed out");
  const another = connected(t, { user: "other" });
  another.subscribe("project.tickets", PROJECT);
  await until(() => another.state === "signed-out", "it notices the other user");
});

test("a one-time token opens a socket, whose subprotocol the server accepts", async (t) => {
  const token = async () => (await rest("POST", "one-time-token/")).token;
  const connection = connected(t, { headers: undefined, token, user: "demo" });
  connection.subscribe("project", PROJECT);
  await until(() => connection.state === "live", "it is live");
});
