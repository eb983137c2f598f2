/** The client against the real server, which `test_client.py` starts. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { connect } from "../../apps/realtime/static/realtime/notifications.js";

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
  const deadline = performance.now() + 20_000;
  while (!condition()) {
    assert.ok(performance.now() < deadline, `waited in vain until ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

test("the present, then each change once and in order, on one socket for all", async (t) => {
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
  await until(() => titles.length >= expected.length, "all is there");
  // What was made a moment ago may be told behind the snapshot that shows it.
  assert.deepEqual(expected, titles.filter((title, place) => place < 2 || title !== "Number 0"));
  await until(() => events.at(-1) === "UPDATE_TICKET Number 20", "the collection, too");
});

test("who resumes is told what was missed, and knows when that is all", async (t) => {
  const ticket = await create("New");
  const first = connected(t);
  const handle = first.subscribe("ticket", ticket.id, { onEvent() {}, onSnapshot() {} });
  await until(() => handle.position?.offset >= 1, "it has heard of it");
  const since = handle.position;
  first.close();
  for (let number = 1; number <= 150; number += 1) await rename(ticket, `Number ${number}`);
  const told = [];
  const second = connected(t);
  const again = second.subscribe("ticket", ticket.id, {
    since,
    onEvent: ({ offset }, { catchingUp }) => told.push([offset - since.offset, catchingUp]),
    onSnapshot: () => assert.fail("nothing was lost"),
  });
  await until(() => again.state === "live" && told.length >= 150, "it has caught up");
  assert.deepEqual(Array.from({ length: 150 }, (_, place) => place + 1), told.map(([offset]) => offset));
  await rename(ticket, "After");
  await until(() => told.length === 151, "what is new comes, too");
  assert.deepEqual([151, false], told.at(-1));
});

test("a position that can't be resumed from is answered with the present", async (t) => {
  const ticket = await create("Now");
  const told = [];
  for (const since of [{ epoch: "another", offset: 0 }, { epoch: "another", offset: 2 ** 40 }]) {
    const connection = connected(t);
    connection.subscribe("project.tickets", PROJECT, { since, onSnapshot: (snapshot) => told.push(snapshot) });
    await until(() => connection.state === "live", "it is live");
  }
  const { reason, items } = told[1];
  assert.deepEqual([2, "unrecoverable", ticket.id], [told.length, reason, items.at(-1).id]);
});

test("iterating, until the object is no more", async (t) => {
  const ticket = await create("Short-lived");
  const connection = connected(t);
  const types = [];
  for await (const { type } of connection.subscribe("ticket", ticket.id)) {
    if (type === "snapshot") await rest("DELETE", `tickets/${ticket.id}/`);
    types.push(type);
  }
  assert.deepEqual(["snapshot", "DELETE_TICKET"], types.filter((type) => type !== "CREATE_TICKET"));
});

test("what isn't there ends its subscription, and no other", async (t) => {
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

test("who is nobody is asked to sign in, and doesn't insist", async (t) => {
  const connection = connected(t, { headers: { Authorization: "Token of nobody" } });
  connection.subscribe("project.tickets", PROJECT);
  await until(() => connection.state === "signed-out", "it is told");
  const somebodyElse = connected(t, { user: "other" });
  somebodyElse.subscribe("project.tickets", PROJECT);
  await until(() => somebodyElse.state === "signed-out", "it finds out");
});
