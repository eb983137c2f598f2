// Refreshes the parts of the dashboard without reloading the page.

const TIMEOUT_MS = 10_000;
const stale = document.querySelector("[data-pillarbox-stale]");
const statusText = document.querySelector("[data-pillarbox-status-text]");
let answeredAt = new Date();

/** Fetch the present HTML of a part. Throws for any other answer, such as a login page or an error. */
async function read(part) {
    const answer = await fetch(part.dataset.pillarboxPart, {
        redirect: "error",
        cache: "no-store",
        signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    if (!answer.ok) throw new Error(`${answer.status}`);
    return answer.text();
}

/** Replace the HTML of a part. Open details stay open, and the focus stays where it was. */
function show(part, text) {
    const open = [...part.querySelectorAll("details[open]")].map((each) => each.id);
    const focused = part.contains(document.activeElement) ? document.activeElement : null;
    const index = focused ? [...part.querySelectorAll("a, summary")].indexOf(focused) : -1;
    const state = part.querySelector("[data-pillarbox-state]")?.dataset.pillarboxState;
    part.innerHTML = text;
    for (const id of open) part.querySelector(`#${id}`)?.setAttribute("open", "");
    if (focused) {
        const same = focused.id && part.querySelector(`#${focused.id}`);
        (same || part.querySelectorAll("a, summary")[index])?.focus({ preventScroll: true });
    }
    const status = part.querySelector("[data-pillarbox-state]");
    if (status && status.dataset.pillarboxState !== state) statusText.textContent = status.textContent;
}

async function refresh(part) {
    if (document.hidden || part.dataset.isRead) return;
    part.dataset.isRead = "yes";
    try {
        show(part, await read(part));
        answeredAt = new Date();
        stale.hidden = true;
    } catch (error) {
        const time = answeredAt.toLocaleTimeString();
        stale.textContent = `No answer since ${time} (${error.message}): the figures below are from then. Is the site up, and are you still logged in?`;
        stale.hidden = false;
    } finally {
        delete part.dataset.isRead;
    }
}

for (const part of document.querySelectorAll("[data-pillarbox-part]")) {
    setInterval(refresh, 1000 * part.dataset.seconds, part);
    document.addEventListener("visibilitychange", () => refresh(part));
}
