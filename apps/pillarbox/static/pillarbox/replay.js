// Refreshes the progress of a replay each second until it is over. Without scripts the page reloads itself.

const ID = "replay-progress";

async function refresh() {
    const shown = document.getElementById(ID);
    if (!shown?.dataset.refresh) {
        return;
    }
    try {
        const answer = await fetch(location.href, {credentials: "same-origin"});
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        const fresh = page.getElementById(ID);
        if (answer.ok && fresh && fresh.innerHTML !== shown.innerHTML) {
            // The replaced HTML keeps the focus, so that a user about to press a button can do so.
            const focused = shown.querySelector(":focus")?.getAttribute("type");
            shown.replaceWith(fresh);
            if (focused) {
                fresh.querySelector(`[type="${focused}"]`)?.focus();
            }
        } else if (answer.redirected) {
            location.reload(); // logged out
        }
    } catch {
        // The server is away for a moment; the next refresh tries again.
    }
    setTimeout(refresh, Number(shown.dataset.refresh));
}

setTimeout(refresh, 1000);
