// Keys for those who have their hands there: / searches, j and k go from streamer to streamer, ? tells the keys.
const STREAMERS = ".card, .row, .line, .bars > li";

export function listenToKeys() {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    const typing = event.target.closest("input, select, textarea, [contenteditable]");
    if (typing) {
      if (event.key === "Escape") typing.blur();
      return;
    }
    const act = {"/": search, j: () => move(1), k: () => move(-1), "?": help}[event.key];
    if (act && act() !== false) event.preventDefault();
  });
  document.addEventListener("click", (event) => {
    if (event.target.closest("#keys-go")) help();
  });
}

function search() {
  const field = document.getElementById("f-q");
  if (!field) return false;
  field.focus();
  field.select();
}

function move(by) {
  const all = [...document.querySelectorAll(STREAMERS)];
  if (!all.length) return false;
  const here = document.activeElement.closest(STREAMERS);
  const at = here ? all.indexOf(here) + by : by > 0 ? 0 : all.length - 1;
  const next = all[Math.max(0, Math.min(all.length - 1, at))];
  const link = next.querySelector("a.name, a");
  if (link) link.focus();
  next.scrollIntoView({block: "nearest"});
}

function help() {
  const dialog = document.getElementById("keys");
  if (!dialog || !dialog.showModal || dialog.open) return false;
  dialog.showModal();
}
