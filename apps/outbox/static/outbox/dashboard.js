// Keeps the parts of the dashboard fresh, without a reload. Without it they are as fresh as the page.

const PATIENCE_MS = 10_000;
const stale = document.querySelector("[data-outbox-stale]");
const said = document.querySelector("[data-outbox-said]");
let heardAt = new Date();

/** Return a part as the server has it now. Whatever is no part (a login page, an error) is refused. */
async function read(part) {
    const answer = await fetch(part.dataset.outboxPart, {
        redirect: "error",
        cache: "no-store",
        signal: AbortSignal.timeout(PATIENCE_MS),
    });
    if (!answer.ok) throw new Error(`${answer.status}`);
    return answer.text();
}

/** Put the new in the place of the old; what was open stays open, and what had the focus keeps it. */
function show(part, text) {
    const open = [...part.querySelectorAll("details[open]")].map((each) => each.id);
    const focused = part.contains(document.activeElement) ? document.activeElement : null;
    const index = focused ? [...part.querySelectorAll("a, summary")].indexOf(focused) : -1;
    const state = part.querySelector("[data-outbox-state]")?.dataset.outboxState;
    part.innerHTML = text;
    for (const id of open) part.querySelector(`#${id}`)?.setAttribute("open", "");
    if (focused) {
        const same = focused.id && part.querySelector(`#${focused.id}`);
        (same || part.querySelectorAll("a, summary")[index])?.focus({ preventScroll: true });
    }
    const verdict = part.querySelector("[data-outbox-state]");
    if (verdict && verdict.dataset.outboxState !== state) said.textContent = verdict.textContent;
}

async function refresh(part) {
    if (document.hidden || part.dataset.isRead) return;
    part.dataset.isRead = "yes";
    try {
        show(part, await read(part));
        heardAt = new Date();
        stale.hidden = true;
    } catch (error) {
        const time = heardAt.toLocaleTimeString();
        stale.textContent = `No answer since ${time} (${error.message}): what is below is as old as that. Is the site up, and are you still logged in?`;
        stale.hidden = false;
    } finally {
        delete part.dataset.isRead;
    }
}

for (const part of document.querySelectorAll("[data-outbox-part]")) {
    setInterval(refresh, 1000 * part.dataset.seconds, part);
    document.addEventListener("visibilitychange", () => refresh(part));
}
