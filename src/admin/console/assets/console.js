// Adds new events to the list of an endpoint. Everything else works without it.
"use strict";
(() => {
  // Rows beyond this are removed from the end, so that a page that is open for days does not grow.
  const MOST_ROWS = 200;
  const bar = document.querySelector("[data-tail]");
  const template = document.getElementById("event");
  const rows = document.querySelector("main [aria-label='Events'] tbody");
  if (!bar || !template || !rows || !window.EventSource) return;
  const button = bar.querySelector("button");
  const status = bar.querySelector("[role=status]");
  let source = null;
  let newest = null;
  let count = 0;

  const add = (message) => {
    const event = JSON.parse(message.data);
    newest = event.sequence;
    const row = template.content.firstElementChild.cloneNode(true);
    const [time, type, id, size, remote] = row.children;
    const moment = time.firstElementChild;
    if (event.time) {
      moment.dateTime = event.time;
      moment.title = event.time;
      moment.textContent = "just now";
    }
    type.firstElementChild.textContent = event.type;
    const link = id.firstElementChild;
    link.firstElementChild.textContent = event.id;
    if (event.href) link.href = event.href;
    size.textContent = event.size;
    remote.textContent = event.remote;
    row.className = "new";
    rows.prepend(row);
    while (rows.children.length > MOST_ROWS) rows.lastElementChild.remove();
    const none = document.querySelector("p.empty");
    if (none) none.remove();
    count += 1;
    status.textContent = count === 1 ? "1 new event" : count + " new events";
  };

  const begin = () => {
    const address = new URL(bar.dataset.tail, location.href);
    if (newest !== null) address.searchParams.set("after", newest);
    source = new EventSource(address);
    source.onmessage = add;
    source.onerror = () => {
      // A closed connection is opened again by the browser; a response that is an error is not.
      if (source.readyState === EventSource.CLOSED) {
        status.textContent = "New events are not shown: the operator does not answer. Reload the page.";
        button.setAttribute("aria-pressed", "false");
        source = null;
      }
    };
    button.setAttribute("aria-pressed", "true");
  };

  const end = () => {
    if (source) source.close();
    source = null;
    button.setAttribute("aria-pressed", "false");
    status.textContent = "New events are not shown.";
  };

  button.addEventListener("click", () => (source ? end() : begin()));
  bar.hidden = false;
  begin();
})();
