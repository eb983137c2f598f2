// @ts-check
/** Keeps what the server has rendered as the database has it, and says how well that goes. */

import { connect } from "../realtime/notifications.js";

const $ = (/** @type {string} */ id) => /** @type {HTMLElement} */ (document.getElementById(id));
const live = JSON.parse($("live").textContent ?? "");

const CHANGED_MS = 1500;
const NEWS_MS = 5000;
const FRAMES = 100;
const WORDS = {
  connecting: "Connecting…",
  "catching-up": "Catching up…",
  live: "Live",
  offline: "Offline, trying again",
  "signed-out": "Signed out",
  refused: "The server refuses this page",
};

/** @typedef {Record<string, any>} Payload */

// How the connection stands

function showState(/** @type {string} */ state, /** @type {Payload} */ { reason }) {
  const isSomebodyElse = reason === "another user";
  $("state").dataset.state = state;
  say($("words"), isSomebodyElse ? "Signed in as somebody else" : WORDS[/** @type {"live"} */ (state)]);
  const out = /** @type {HTMLAnchorElement} */ ($("way-out"));
  out.hidden = state !== "signed-out" && state !== "refused";
  out.textContent = state === "refused" || isSomebodyElse ? "Load again" : "Sign in";
  // Without a fragment, which would lead to a place in the page instead.
  out.href = state === "refused" || isSomebodyElse ? location.pathname : live.signIn;
}

/** What says the same again is not read out again. */
function say(/** @type {Element} */ element, /** @type {string} */ text) {
  if (element.textContent !== text) element.textContent = text;
}

// What is told to who doesn't see the rows

/** @type {string[]} */
let news = [];
/** @type {ReturnType<typeof setTimeout> | undefined} */
let telling;

/** Many changes are one sentence: nobody can listen to each of them. */
function tell(/** @type {string} */ sentence) {
  news.push(sentence);
  telling ??= setTimeout(() => {
    $("news").textContent = news.length > 2 ? `${news.length} changes. The last: ${news.at(-1)}` : news.join(" ");
    news = [];
    telling = undefined;
  }, NEWS_MS);
}

// What the socket says

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

/** Shows a payload's fields where they are shown; returns whether that changed anything to be seen. */
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

const glows = new WeakMap();

function glow(/** @type {Element} */ element) {
  element.classList.add("changed");
  clearTimeout(glows.get(element));
  glows.set(element, setTimeout(() => element.classList.remove("changed"), CHANGED_MS));
}

// A project's tickets

/** Times as they are in payloads, so that the earlier one is the lesser. */
const key = (/** @type {string} */ created) => created.slice(0, -1);

function rowOf(/** @type {Element} */ list, /** @type {string} */ id) {
  return [...list.children].find((row) => row.id === `ticket-${id}`);
}

function made(/** @type {Payload} */ { id, created }) {
  const template = /** @type {HTMLTemplateElement} */ ($("row"));
  const row = /** @type {HTMLElement} */ (template.content.firstElementChild?.cloneNode(true));
  row.id = `ticket-${id}`;
  row.dataset.created = created;
  /** @type {HTMLAnchorElement} */ (row.querySelector("a")).href = `/tickets/${id}/`;
  return row;
}

/** Shows a ticket at its place, the order being that of their creation. */
function place(/** @type {Element} */ list, /** @type {Payload} */ payload) {
  const row = made(payload);
  const rows = /** @type {HTMLElement[]} */ ([...list.children]);
  const next = rows.find(({ dataset }) => key(dataset.created ?? "") > key(payload.created));
  list.insertBefore(row, next ?? null);
  return row;
}

function showCount(/** @type {Element} */ section) {
  const count = section.querySelectorAll(".ticket").length;
  const place = /** @type {Element} */ (section.querySelector(".count"));
  say(place, `${count} ticket${count === 1 ? "" : "s"}`);
}

function showTicket(/** @type {Element} */ list, /** @type {Payload} */ payload) {
  const known = rowOf(list, payload.id);
  const row = known ?? place(list, payload);
  // What is told once more, or has changed where it isn't shown, is no news.
  if (!fill(row, payload) && known) return;
  glow(row);
  tell(`${payload.title}: ${textOf("status", payload.status)}.`);
}

function hideTicket(/** @type {Element} */ list, /** @type {string} */ id) {
  const row = rowOf(list, id);
  if (!row) return;
  tell(`${row.querySelector("a")?.textContent} is gone.`);
  takeAway(row);
}

/** Who stood at what goes, with the keyboard, stands at the list's neighbour; or where the page begins. */
function takeAway(/** @type {Element} */ gone, /** @type {Element[]} */ ...instead) {
  const isThere = gone.contains(document.activeElement);
  const neighbour = (gone.nextElementSibling ?? gone.previousElementSibling)?.querySelector("a");
  gone.replaceWith(...instead);
  if (isThere) (neighbour ?? $("content")).focus();
}

/** Says why what was shown is shown no more. */
function takeLeave(/** @type {Element} */ gone, /** @type {string} */ words) {
  const notice = document.createElement("p");
  notice.className = "notice";
  notice.textContent = words;
  takeAway(gone, notice);
  tell(words);
}

/** The ends of a subscription that are about what is followed; others are about the server. */
const ENDS = ["deleted", "revoked", "not_found"];

/** What can be said of a subscription's end. A sentence may begin otherwise than with the name. */
function wordsFor(/** @type {string} */ reason, /** @type {string} */ name, beginning = name) {
  if (reason === "deleted") return `${beginning} was deleted.`;
  if (ENDS.includes(reason)) return `You can't see ${name} any more.`;
  return `${beginning} can't be followed (${reason}). Load the page again to see how it is now.`;
}

/** Shows exactly these tickets; rows that are right already stay as they are. */
function showAll(/** @type {Element} */ list, /** @type {Payload[]} */ items) {
  const ids = new Set(items.map(({ id }) => `ticket-${id}`));
  for (const { id } of [...list.children]) if (!ids.has(id)) hideTicket(list, id.replace("ticket-", ""));
  for (const item of items) showTicket(list, item);
}

// What is followed: for each kind, what is done with what comes

/** @type {Record<string, (handle: () => any, id: string) => import("../realtime/notifications.js").Callbacks>} */
const FOLLOWERS = {
  project(_, id) {
    const section = $(`project-${id}`);
    const show = (/** @type {Payload} */ { payload }) => payload?.name && fill(/** @type {Element} */ (section.querySelector("header")), payload);
    const name = () => section.querySelector("h2")?.textContent ?? "";
    return { onEvent: show, onSnapshot: show, onRevoked: (reason) => takeLeave(section, wordsFor(reason, name())) };
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
        // Of these the project's own end says more.
        if (ENDS.includes(reason)) takeAway(list);
        else takeLeave(list, wordsFor(reason, "this list", "This list"));
      },
    };
  },

  ticket(handle, id) {
    const sheet = $(`ticket-${id}`);
    const isEditing = "editing" in sheet.dataset;
    const show = (/** @type {Payload} */ { type, payload }) => {
      if (type === "skipped") handle().refresh();
      else if (payload?.title !== undefined && isEditing) warn(payload);
      else if (payload?.title !== undefined) showSheet(sheet, payload);
    };
    const onRevoked = (/** @type {string} */ reason) => takeLeave(sheet, wordsFor(reason, "this ticket", "This ticket"));
    return { onEvent: show, onSnapshot: show, onRevoked };
  },
};

function showSheet(/** @type {HTMLElement} */ sheet, /** @type {Payload} */ payload) {
  // The page doesn't know other projects' names.
  if (payload.project !== sheet.dataset.project) location.reload();
  document.title = `${payload.title} · Tickets`;
  if (!fill(sheet, payload)) return;
  glow(sheet);
  tell(`${payload.title}: ${textOf("status", payload.status)}.`);
}

function isAsRendered(/** @type {string} */ field, /** @type {any} */ value) {
  const input = /** @type {any} */ ($(field));
  const options = /** @type {HTMLOptionElement[]} */ ([...(input.options ?? [])]);
  const rendered = input.options ? options.find((option) => option.defaultSelected)?.value : input.defaultValue;
  return String(value ?? "").replaceAll("\r\n", "\n") === (rendered ?? "");
}

/** Says what somebody else has made of the ticket that is being edited here. */
function warn(/** @type {Payload} */ payload) {
  if (["title", "description", "status", "priority", "assignee"].every((field) => isAsRendered(field, payload[field]))) return;
  const { title, status, priority, assignee } = payload;
  const facts = [textOf("status", status), `priority ${textOf("priority", priority)}`, assignee ?? "nobody"];
  const place = $("meanwhile");
  place.hidden = false;
  say(place, `Changed meanwhile: ${title} (${facts.join(", ")}). Saving here overwrites that.`);
}

const connection = connect({ url: live.url, user: live.user, onState: showState, onFrame: showFrame });

for (const { object_type: objectType, id, since } of live.follow) {
  const callbacks = FOLLOWERS[objectType](() => handle, id);
  const handle = connection.subscribe(objectType, id, { ...callbacks, since });
}

// Also where nothing is followed it is to be seen how the connection stands.
if (!live.follow.length) connection.reconnect();

// Who has signed in again has a new token; for that, nothing that was typed is lost. Somebody else isn't live here.
document.addEventListener("submit", ({ target }) => {
  const token = document.cookie.match(/(?:^|; )csrftoken=(\w+)/)?.[1];
  const place = /** @type {HTMLFormElement} */ (target).elements.namedItem("csrfmiddlewaretoken");
  if (token && connection.state === "live") /** @type {HTMLInputElement} */ (place).value = token;
});

// Who has signed in elsewhere, and comes back to this page, needn't load it again.
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && connection.state === "signed-out") connection.reconnect();
});
