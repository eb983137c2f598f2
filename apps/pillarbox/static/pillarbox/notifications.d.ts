/** A place in a stream: an offset, and the epoch that it belongs to. */
export interface Position {
  epoch: string;
  offset: number;
}

/** `ended`: unsubscribed, or ended by the server. Only subscriptions have it; the others are the connection's. */
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

/** A notification, as the server sent it. `skipped`: a change without a payload; `refresh()` shows the result. */
export interface Notification<Payload = any> extends Position {
  /** The event, such as `UPDATE_TICKET`, or `skipped`. */
  type: string;
  object_type: string;
  id: string;
  event_id: string;
  at?: string;
  payload?: Payload;
  /** Only in a collection: the collection. */
  subscription?: { object_type: string; id: string };
}

/** The present state: of an object its `payload`, of a collection all its `items`. */
export interface Snapshot<Payload = any> extends Position {
  type: "snapshot";
  object_type: string;
  id: string;
  /** `start`: requested. Otherwise continuity was lost, and this replaces everything received before. */
  reason: "start" | "unrecoverable" | "pruned" | "epoch" | "moved" | "rights";
  payload?: Payload;
  items?: Payload[];
}

export interface Callbacks<Payload = any> {
  /** Called with each notification once, in order. `catchingUp`: the page missed it and receives it late. */
  onEvent?(notification: Notification<Payload>, about: { catchingUp: boolean }): void;
  /** Called with the present state: at the start, unless it resumes, and after continuity was lost. */
  onSnapshot?(snapshot: Snapshot<Payload>): void;
  /** Called when the server ends it: `revoked`, `deleted`, `not_found`, `limit`, `invalid`, `internal`. */
  onRevoked?(reason: string): void;
  /** Called when the state changes. */
  onState?(state: State): void;
  /** The position to resume from, instead of a stored one. */
  since?: Position;
}

/** A subscription. Without `onEvent` and `onSnapshot` it is iterated; leaving the loop unsubscribes. */
export interface Subscription<Payload = any>
  extends AsyncIterable<Notification<Payload> | Snapshot<Payload>> {
  readonly state: State;
  /** The position of the last delivered item. */
  readonly position: Position | null;
  /** Requests the present state. */
  refresh(): void;
  unsubscribe(): void;
}

/** The close code and reason of a lost socket, and the pause before the next attempt. */
export interface Details {
  code?: number;
  reason?: string;
  retryMs?: number;
}

export interface Options {
  /** The address. Default: `/ws/notifications/` at the page's host. */
  url?: string | URL;
  /** Headers for programs without a cookie: `{ Authorization: "Token …" }`. Browsers don't support them. */
  headers?: Record<string, string>;
  /** Fetches a one-time token for each socket, for pages without a cookie of the server. */
  token?(): Promise<string>;
  /** The user of the page. If the server authenticates another one, the state is `signed-out`. */
  user?: string;
  /** The storage for positions across page loads, such as `sessionStorage`. */
  storage?: Storage;
  /** Called when the state changes, and whenever a socket is lost. */
  onState?(state: State, details: Details): void;
  /** Called with each raw frame, for debugging. */
  onFrame?(frame: Record<string, any>, way: "in" | "out"): void;
  /** The class of the sockets. Default: the global one. */
  WebSocket?: typeof WebSocket;
}

export interface Connection {
  readonly state: State;
  subscribe<Payload = any>(
    objectType: string,
    id: string,
    callbacks?: Callbacks<Payload>,
  ): Subscription<Payload>;
  /** Connects now, for example after signing in. */
  reconnect(): void;
  /** Closes the socket, and ends all subscriptions. */
  close(): void;
}

/** Makes a separate connection, with its own address and options. */
export function connect(options?: Options): Connection;

/** Subscribes on the connection that the whole page shares. */
export function subscribe<Payload = any>(
  objectType: string,
  id: string,
  callbacks?: Callbacks<Payload>,
): Subscription<Payload>;
