/** Where a subscription stands: an offset, and the epoch in which it means something. */
export interface Position {
  epoch: string;
  offset: number;
}

/** `ended`: unsubscribed, or ended by the server. The other words are those of the connection. */
export type State =
  | "idle"
  | "connecting"
  | "catching-up"
  | "live"
  | "offline"
  | "signed-out"
  | "refused"
  | "closed"
  | "ended";

/** A notification, as the server sent it. `skipped`: a change that can't be shown; look for yourself. */
export interface Notification<Payload = any> extends Position {
  /** `UPDATE_TICKET`, say, or `skipped`. */
  type: string;
  object_type: string;
  id: string;
  event_id: string;
  at?: string;
  payload?: Payload;
  /** Of a collection. */
  subscription?: { object_type: string; id: string };
}

/** The present state: of an object its `payload`, of a collection all its `items`. */
export interface Snapshot<Payload = any> extends Position {
  type: "snapshot";
  object_type: string;
  id: string;
  /** `start`: it was asked for. Otherwise continuity was lost, and this takes the place of what was known. */
  reason: "start" | "unrecoverable" | "pruned" | "epoch" | "moved";
  payload?: Payload;
  items?: Payload[];
}

export interface Callbacks<Payload = any> {
  /** Each notification once, in order. `catchingUp`: it was missed, and comes late. */
  onEvent?(notification: Notification<Payload>, about: { catchingUp: boolean }): void;
  /** The present state, at the start (unless `since` says where to resume) and where continuity was lost. */
  onSnapshot?(snapshot: Snapshot<Payload>): void;
  /** The server has ended it: `revoked`, `deleted`, `not_found`, `limit`, `invalid`, `internal`. */
  onRevoked?(reason: string): void;
  onState?(state: State): void;
  /** The position to resume from, instead of a kept one. */
  since?: Position;
}

/** With neither `onEvent` nor `onSnapshot` what comes is had by iterating; breaking off unsubscribes. */
export interface Subscription<Payload = any>
  extends AsyncIterable<Notification<Payload> | Snapshot<Payload>> {
  readonly state: State;
  /** The position of what was told last. */
  readonly position: Position | null;
  /** Have the present state sent. */
  refresh(): void;
  unsubscribe(): void;
}

/** Why, and for how long, there is no connection. */
export interface Details {
  code?: number;
  reason?: string;
  retryMs?: number;
}

export interface Options {
  /** Default: `/ws/notifications/` at the page's host. */
  url?: string | URL;
  /** For programs that have no cookie: `{ Authorization: "Token …" }`. No browser takes it. */
  headers?: Record<string, string>;
  /** Who the page was made for: a socket of anybody else's is `signed-out`. */
  user?: string;
  /** Where positions are kept across page loads: `sessionStorage`. */
  storage?: Storage;
  onState?(state: State, details: Details): void;
  /** Each frame, as it is, for the curious. */
  onFrame?(frame: Record<string, any>, way: "in" | "out"): void;
  /** Default: the global one. */
  WebSocket?: typeof WebSocket;
}

export interface Connection {
  readonly state: State;
  subscribe<Payload = any>(
    objectType: string,
    id: string,
    callbacks?: Callbacks<Payload>,
  ): Subscription<Payload>;
  /** Come back now: after signing in, say. */
  reconnect(): void;
  /** End the socket and all subscriptions. */
  close(): void;
}

/** Make a connection of its own: to another address, with other options. */
export function connect(options?: Options): Connection;

/** Follow something by the connection that all of a page share. */
export function subscribe<Payload = any>(
  objectType: string,
  id: string,
  callbacks?: Callbacks<Payload>,
): Subscription<Payload>;
