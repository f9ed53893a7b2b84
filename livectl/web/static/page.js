// Keeps the page as the server has it: asks every few seconds, and changes only what is different.
"use strict";
(() => {
  const SHOWN = 4000, HIDDEN = 30000, PATIENCE = 15000, TYPING = 250; // milliseconds
  let etag = "", timer = 0, asking = null;

  function wait(milliseconds) {
    clearTimeout(timer);
    timer = setTimeout(look, milliseconds);
  }

  async function look() {
    if (asking) asking.abort();
    const mine = asking = new AbortController();
    const alarm = setTimeout(() => mine.abort(), PATIENCE);
    try {
      const answer = await fetch(location.href, {
        headers: etag ? {"If-None-Match": etag} : {}, cache: "no-store", signal: mine.signal,
      });
      if (answer.status === 401) return location.reload();
      if (answer.status !== 304) await take(answer);
      lost(answer.status !== 304 && !answer.ok);
    } catch {
      if (mine === asking) lost(true);
    } finally {
      clearTimeout(alarm);
      if (mine === asking) {
        asking = null;
        wait(document.hidden ? HIDDEN : SHOWN);
      }
    }
  }

  async function take(answer) {
    if (!answer.ok) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    etag = answer.headers.get("ETag") || "";
    if (document.title !== fresh.title) document.title = fresh.title;
    match(document.body, fresh.body);
  }

  function lost(is) {
    const said = document.getElementById("lost");
    if (said && said.hidden === is) said.hidden = !is;
  }

  // Makes one node like another, and leaves alone whatever is alike already.
  function match(old, fresh) {
    if (old.isEqualNode(fresh) || old.id === "lost") return;
    if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName || old.id !== fresh.id) {
      old.replaceWith(document.importNode(fresh, true));
    } else if (old.nodeType !== Node.ELEMENT_NODE) {
      old.data = fresh.data;
    } else if (old !== document.activeElement || !old.matches("input, select")) {
      matchAttributes(old, fresh);
      if ("keyed" in old.dataset) matchKeyed(old, fresh);
      else matchChildren(old, fresh);
    }
  }

  function matchAttributes(old, fresh) {
    for (const {name} of [...old.attributes]) if (!fresh.hasAttribute(name)) old.removeAttribute(name);
    for (const {name, value} of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }

  function matchChildren(old, fresh) {
    if (old.childNodes.length !== fresh.childNodes.length) {
      old.replaceChildren(...[...fresh.childNodes].map((one) => document.importNode(one, true)));
      return;
    }
    const pairs = [...old.childNodes].map((one, at) => [one, fresh.childNodes[at]]);
    for (const [one, other] of pairs) match(one, other);
  }

  // Children that have ids keep their identity when they move: a card that climbs is the same card.
  function matchKeyed(old, fresh) {
    const known = new Map([...old.children].map((one) => [one.id, one]));
    let next = old.firstElementChild;
    for (const other of fresh.children) {
      const one = known.get(other.id);
      known.delete(other.id);
      if (one && one === next) {
        next = next.nextElementSibling;
        match(one, other);
      } else if (one) {
        old.insertBefore(one, next);
        match(one, other);
      } else {
        old.insertBefore(arrived(other), next);
      }
    }
    for (const one of known.values()) one.remove();
  }

  function arrived(other) {
    const one = document.importNode(other, true);
    if (one.classList.contains("card")) {
      one.classList.add("fresh");
      one.addEventListener("animationend", () => one.classList.remove("fresh"), {once: true});
    }
    return one;
  }

  // The filter works as one types; without this script it is a plain form.
  function choose(form) {
    const words = new URLSearchParams([...new FormData(form)].filter(([, value]) => value));
    history.replaceState(null, "", words.size ? `?${words}` : location.pathname);
    etag = "";
    look();
  }

  let typing = 0;
  document.addEventListener("input", (event) => {
    const form = event.target.form;
    if (!form || form.id !== "filter") return;
    clearTimeout(typing);
    typing = setTimeout(choose, TYPING, form);
  });
  document.addEventListener("submit", (event) => {
    if (event.target.id !== "filter") return;
    event.preventDefault();
    choose(event.target);
  });
  document.addEventListener("visibilitychange", () => { if (!document.hidden) look(); });
  document.documentElement.classList.add("scripted");
  wait(SHOWN);
})();
