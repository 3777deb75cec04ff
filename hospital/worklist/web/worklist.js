// Keeps the list fresh. A refresh of the page itself is no use of the session: who goes away is logged out.

const seconds = Number(document.body.dataset.refresh);
const freshness = document.getElementById("freshness");
let fresh = new Date();

function tell(stale) {
  const time = fresh.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });
  freshness.textContent = stale ? `Not updated since ${time}. Reload the page.` : `As of ${time}`;
  freshness.classList.toggle("stale", stale);
}

// The list as it is now, or null where it could not be had; without a session, the page that asks for a login.
async function asked() {
  const answer = await fetch(location.href, {
    headers: { "x-refresh": "1" }, redirect: "manual", signal: AbortSignal.timeout(seconds * 1000),
  });
  if (answer.type === "opaqueredirect") {
    location.reload();
    return null;
  }
  if (!answer.ok) throw new Error(answer.status);
  return new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("main");
}

async function refresh() {
  try {
    const next = await asked();
    if (!next) return;
    const main = document.getElementById("main");
    const focused = focusedLink(main);
    main.replaceChildren(...next.childNodes);
    if (focused) main.querySelector(`[data-key="${CSS.escape(focused)}"] .button`)?.focus({ preventScroll: true });
    fresh = new Date();
    tell(false);
  } catch {
    tell(true);
  }
}

function focusedLink(main) {
  return main.contains(document.activeElement) ? document.activeElement.closest("[data-key]")?.dataset.key : null;
}

tell(false);
setInterval(refresh, seconds * 1000);
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) refresh();
});
