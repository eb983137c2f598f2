// @ts-check
/** Keeps the server's page up to date with the database, and shows the state of the connection. */

import { connect } from "../pillarbox/notifications.js";

const $ = (/** @type {string} */ id) => /** @type {HTMLElement} */ (document.getElementById(id));
const live = JSON.parse($("live").textContent ?? "");

const CHANGED_MS = 1500;
const ANNOUNCE_MS = 5000;
const FRAMES = 100;
const STATES = {
  connecting: "Connecting…",
  "catching-up": "Catching up…",
  live: "Live",
  offline: "Offline, trying again",
  "signed-out": "Signed out",
  refused: "The server refuses this page",
};

/** @typedef {Record<string, any>} Payload */

// The state of the connection

function showState(/** @type {string} */ state, /** @type {Payload} */ { reason }) {
  const isAnotherUser = reason === "another user";
  $("state").dataset.state = state;
  setText($("words"), isAnotherUser ? "Signed in as another user" : STATES[/** @type {"live"} */ (state)]);
  const out = /** @type {HTMLAnchorElement} */ ($("way-out"));
  out.hidden = state !== "signed-out" && state !== "refused";
  out.textContent = state === "refused" || isAnotherUser ? "Reload" : "Sign in";
  // Without a fragment, which would only scroll the page instead of loading it.
  out.href = state === "refused" || isAnotherUser ? location.pathname : live.signIn;
}

/** Sets an element's text, unless it is the same: screen readers would read it again. */
function setText(/** @type {Element} */ element, /** @type {string} */ text) {
  if (element.textContent !== text) element.textContent = text;
}

// Announcements for screen readers

/** @type {string[]} */
let pending = [];
/** @type {ReturnType<typeof setTimeout> | undefined} */
let announcing;

/** Announces a sentence. Many changes within a few seconds become one sentence. */
function announce(/** @type {string} */ sentence) {
  pending.push(sentence);
  announcing ??= setTimeout(() => {
    $("news").textContent = pending.length > 2 ? `${pending.length} changes. The last: ${pending.at(-1)}` : pending.join(" ");
    pending = [];
    announcing = undefined;
  }, ANNOUNCE_MS);
}

// The frames on the socket

let frames = 0;

function showFrame(/** @type {Payload} */ frame, /** @type {string} */ way) {
  frames += 1;
  $("frame-count").textContent = `${frames} frame${frames === 1 ? "" : "s"}`;
  const item = document.createElement("li");
  item.dataset.way = way === "in" ? "server" : "page";
  item.textContent = JSON.stringify(frame);
  $("frame-list").prepend(item);
  $("frame-list").children[FRAMES]?.remove();
}

// Fields of a ticket

const moment = (/** @type {string} */ at) => `${at.slice(0, 10)} ${at.slice(11, 19)} UTC`;

function textOf(/** @type {string} */ field, /** @type {any} */ value) {
  if (field === "modified") return moment(value);
  return live.labels[field]?.[value] ?? value ?? "";
}

/** Shows a payload's fields in their places; returns whether anything visible changed. */
function fill(/** @type {Element} */ element, /** @type {Payload} */ payload) {
  let isChanged = false;
  for (const place of element.querySelectorAll("[data-field]")) {
    const { field = "", value } = /** @type {HTMLElement} */ (place).dataset;
    const text = String(textOf(field, payload[field]));
    if (place.textContent === text) continue;
    place.textContent = text;
    if (value !== undefined) /** @type {HTMLElement} */ (place).dataset.value = payload[field];
    isChanged = true;
  }
  return isChanged;
}

const highlights = new WeakMap();

function highlight(/** @type {Element} */ element) {
  element.classList.add("changed");
  clearTimeout(highlights.get(element));
  highlights.set(element, setTimeout(() => element.classList.remove("changed"), CHANGED_MS));
}

// A project's tickets

/** Returns a payload's time as a sortable key. */
const key = (/** @type {string} */ created) => created.slice(0, -1);

function rowOf(/** @type {Element} */ list, /** @type {string} */ id) {
  return [...list.children].find((row) => row.id === `ticket-${id}`);
}

function createRow(/** @type {Payload} */ { id, created }) {
  const template = /** @type {HTMLTemplateElement} */ ($("row"));
  const row = /** @type {HTMLElement} */ (template.content.firstElementChild?.cloneNode(true));
  row.id = `ticket-${id}`;
  row.dataset.created = created;
  /** @type {HTMLAnchorElement} */ (row.querySelector("a")).href = `/tickets/${id}/`;
  return row;
}

/** Inserts a ticket's row, in the order of creation. */
function insertRow(/** @type {Element} */ list, /** @type {Payload} */ payload) {
  const row = createRow(payload);
  const rows = /** @type {HTMLElement[]} */ ([...list.children]);
  const next = rows.find(({ dataset }) => key(dataset.created ?? "") > key(payload.created));
  list.insertBefore(row, next ?? null);
  return row;
}

function showCount(/** @type {Element} */ section) {
  const count = section.querySelectorAll(".ticket").length;
  const place = /** @type {Element} */ (section.querySelector(".count"));
  setText(place, `${count} ticket${count === 1 ? "" : "s"}`);
}

function showTicket(/** @type {Element} */ list, /** @type {Payload} */ payload) {
  const known = rowOf(list, payload.id);
  const row = known ?? insertRow(list, payload);
  // A notification that came before, or changed only hidden fields, isn't announced.
  if (!fill(row, payload) && known) return;
  highlight(row);
  announce(`${payload.title}: ${textOf("status", payload.status)}.`);
}

function hideTicket(/** @type {Element} */ list, /** @type {string} */ id) {
  const row = rowOf(list, id);
  if (!row) return;
  announce(`${row.querySelector("a")?.textContent} was removed.`);
  removeKeepingFocus(row);
}

/** Removes an element. If it had the focus, the neighbour in the list gets it, or the content. */
function removeKeepingFocus(/** @type {Element} */ gone, /** @type {Element[]} */ ...instead) {
  const isThere = gone.contains(document.activeElement);
  const neighbour = (gone.nextElementSibling ?? gone.previousElementSibling)?.querySelector("a");
  gone.replaceWith(...instead);
  if (isThere) (neighbour ?? $("content")).focus();
}

/** Replaces an element by the reason for its removal. */
function replaceByNotice(/** @type {Element} */ gone, /** @type {string} */ words) {
  const notice = document.createElement("p");
  notice.className = "notice";
  notice.textContent = words;
  removeKeepingFocus(gone, notice);
  announce(words);
}

/** The reasons for the end of a subscription that concern its object; others concern the server. */
const OBJECT_REASONS = ["deleted", "revoked", "not_found"];

/** Returns a sentence about a subscription's end; ``beginning`` is the name at its start. */
function endText(/** @type {string} */ reason, /** @type {string} */ name, beginning = name) {
  if (reason === "deleted") return `${beginning} was deleted.`;
  if (OBJECT_REASONS.includes(reason)) return `You can't see ${name} any more.`;
  return `${beginning} can't be followed (${reason}). Reload the page to see its current state.`;
}

/** Shows exactly these tickets, and leaves unchanged rows alone. */
function showAll(/** @type {Element} */ list, /** @type {Payload[]} */ items) {
  const ids = new Set(items.map(({ id }) => `ticket-${id}`));
  for (const { id } of [...list.children]) if (!ids.has(id)) hideTicket(list, id.replace("ticket-", ""));
  for (const item of items) showTicket(list, item);
}

// Subscriptions: the callbacks for each object type

/** @type {Record<string, (handle: () => any, id: string) => import("../pillarbox/notifications.js").Callbacks>} */
const SUBSCRIBERS = {
  project(_, id) {
    const section = $(`project-${id}`);
    const show = (/** @type {Payload} */ { payload }) => payload?.name && fill(/** @type {Element} */ (section.querySelector("header")), payload);
    const name = () => section.querySelector("h2")?.textContent ?? "";
    return { onEvent: show, onSnapshot: show, onRevoked: (reason) => replaceByNotice(section, endText(reason, name())) };
  },

  "project.tickets"(handle, id) {
    const section = $(`project-${id}`);
    const list = /** @type {Element} */ (section.querySelector(".tickets"));
    return {
      onEvent({ type, payload }) {
        if (type === "skipped") handle().refresh();
        else if (type === "DELETE_TICKET") hideTicket(list, payload.id);
        else if (payload?.title !== undefined) showTicket(list, payload);
        showCount(section);
      },
      onSnapshot({ items = [] }) {
        showAll(list, items);
        showCount(section);
      },
      onRevoked(reason) {
        // The end of the project's own subscription gives the reason.
        if (OBJECT_REASONS.includes(reason)) removeKeepingFocus(list);
        else replaceByNotice(list, endText(reason, "this list", "This list"));
      },
    };
  },

  ticket(handle, id) {
    const sheet = $(`ticket-${id}`);
    const isEditing = "editing" in sheet.dataset;
    const show = (/** @type {Payload} */ { type, payload }) => {
      if (type === "skipped") handle().refresh();
      else if (payload?.title !== undefined && isEditing) warnOfChange(payload);
      else if (payload?.title !== undefined) showSheet(sheet, payload);
    };
    const onRevoked = (/** @type {string} */ reason) => replaceByNotice(sheet, endText(reason, "this ticket", "This ticket"));
    return { onEvent: show, onSnapshot: show, onRevoked };
  },
};

function showSheet(/** @type {HTMLElement} */ sheet, /** @type {Payload} */ payload) {
  // The page doesn't know the other project's name.
  if (payload.project !== sheet.dataset.project) location.reload();
  document.title = `${payload.title} · Tickets`;
  if (!fill(sheet, payload)) return;
  highlight(sheet);
  announce(`${payload.title}: ${textOf("status", payload.status)}.`);
}

function isAsRendered(/** @type {string} */ field, /** @type {any} */ value) {
  const input = /** @type {any} */ ($(field));
  const options = /** @type {HTMLOptionElement[]} */ ([...(input.options ?? [])]);
  const rendered = input.options ? options.find((option) => option.defaultSelected)?.value : input.defaultValue;
  return String(value ?? "").replaceAll("\r\n", "\n") === (rendered ?? "");
}

/** Warns that another user has changed the ticket that is being edited. */
function warnOfChange(/** @type {Payload} */ payload) {
  if (["title", "description", "status", "priority", "assignee"].every((field) => isAsRendered(field, payload[field]))) return;
  const { title, status, priority, assignee } = payload;
  const facts = [textOf("status", status), `priority ${textOf("priority", priority)}`, assignee ?? "nobody"];
  const place = $("meanwhile");
  place.hidden = false;
  setText(place, `Changed meanwhile: ${title} (${facts.join(", ")}). Saving here overwrites that.`);
}

const connection = connect({ url: live.url, user: live.user, onState: showState, onFrame: showFrame });

for (const { object_type: objectType, id, since } of live.follow) {
  const callbacks = SUBSCRIBERS[objectType](() => handle, id);
  const handle = connection.subscribe(objectType, id, { ...callbacks, since });
}

// A page without subscriptions shows the connection's state, too.
if (!live.follow.length) connection.reconnect();

// A new sign-in changes the CSRF token; with the new one, an open form can still be sent. A sign-in of another
// user never makes this page live.
document.addEventListener("submit", ({ target }) => {
  const token = document.cookie.match(/(?:^|; )csrftoken=(\w+)/)?.[1];
  const place = /** @type {HTMLFormElement} */ (target).elements.namedItem("csrfmiddlewaretoken");
  if (token && connection.state === "live") /** @type {HTMLInputElement} */ (place).value = token;
});

// After a sign-in in another tab, this page reconnects without a reload.
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && connection.state === "signed-out") connection.reconnect();
});
