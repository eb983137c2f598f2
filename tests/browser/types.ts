/** Uses of the client that its types must allow, and uses that they must refuse. */

import { connect, subscribe, type Position, type State } from "../../apps/pillarbox/static/pillarbox/notifications.js";

interface Ticket {
  id: string;
  title: string;
}

const handle = subscribe<Ticket>("ticket", "Uk8wZ", {
  onEvent: ({ type, payload }, { catchingUp }) => [type, payload?.title.length, catchingUp],
  onSnapshot: ({ items, reason }) => [items?.map(({ title }) => title), reason === "pruned"],
});
const position: Position | null = handle.position;
const state: State = handle.state;

const connection = connect({ url: new URL("ws://localhost/"), user: "kim", storage: sessionStorage });
connect({ token: async () => (await fetch("/api/one-time-token/", { method: "POST" })).text() });
connection.subscribe("me", "me", { since: position ?? undefined, onRevoked: (reason) => reason.length });

export async function titles() {
  const found: (string | undefined)[] = [];
  for await (const item of subscribe<Ticket>("ticket", "Uk8wZ")) found.push(item.payload?.title);
  return [found, state];
}

// @ts-expect-error: a position has an epoch
subscribe("ticket", "Uk8wZ", { since: { offset: 7 } });
// @ts-expect-error: ids are text
subscribe("ticket", 7);
// @ts-expect-error: there is no such state
handle.state === "online";
