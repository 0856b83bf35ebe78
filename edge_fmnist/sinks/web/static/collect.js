// The part of the page that collects photographs and teaches; see collect.py for the requests.

import { element, make, percent, setText } from "./display.js";

const REFRESH = 2000;
const WHILE_TEACHING = 500;
// The strip does not move under a finger: milliseconds after a touch in which it stays as it is.
const STILL = 4000;

let state = null;
let touched = -Infinity; // when the strip was last touched, in milliseconds of performance.now()
let selected = null; // id of the picture in the strip that the next class is for

const counted = (count, what) => `${count} ${what}${count === 1 ? "" : "s"}`;

// ---------------------------------------------------------------- requests

async function change(order) {
  try {
    const response = await fetch("collect", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(order),
    });
    // A proxy, or the check of the token, answers without JSON.
    if (!response.headers.get("Content-Type")?.startsWith("application/json")) {
      return say(`Nothing was stored, the server answers ${response.status}`, true);
    }
    const answer = await response.json();
    if (!response.ok) return say(answer.error, true);
    say(answer.said);
    const { children } = element("strip");
    const focused = [...children].findIndex((item) => item.contains(document.activeElement));
    show(answer, true);
    // What had the focus is gone from the strip.
    if (focused >= 0) (children[focused]?.firstChild ?? element("undo")).focus({ preventScroll: true });
  } catch {
    say("No connection: nothing was stored", true);
  }
}

async function refresh() {
  try {
    const response = await fetch("collect.json", { signal: AbortSignal.timeout(10 * REFRESH) });
    if (response.ok) show(await response.json());
  } catch {
    // The header of the page shows that the connection is lost.
  }
}

async function keepFresh() {
  if (!document.hidden) await refresh();
  setTimeout(keepFresh, state?.teach.state === "teaching" ? WHILE_TEACHING : REFRESH);
}

function store(name, id = selected) {
  if (id === null && document.body.dataset.state !== "live") return say("Wait until the video is live", true);
  selected = null;
  return change({ action: "store", name, id });
}

function say(text, failed = false) {
  setText(element("said"), text);
  element("said").classList.toggle("failed", failed);
}

// ---------------------------------------------------------------- state

function show(newest, changed = false) {
  const teaching = state?.teach.state === "teaching";
  if (state && !changed && isStill()) newest.strip = state.strip;
  state = newest;
  if (teaching && state.teach.state === "taught") say(verdict(state.teach.report));
  if (teaching && state.teach.error) say(state.teach.error, true);
  if (!state.strip.some((entry) => entry.id === selected)) selected = null;
  setText(element("collect-title"), selected === null ? "This is a…" : "The selected picture is a…");
  showClasses();
  showStrip();
  showTeaching();
  element("undo").disabled = state.undo === null;
  element("undo").ariaLabel = state.undo === null ? "Undo" : `Undo ${state.undo}`;
  const unsure = state.below === null ? "" : `, and frames with a score below ${percent(state.below)} by themselves`;
  setText(
    element("privacy"),
    `Photographs that you choose are stored in ${state.folder} on the device${unsure}. Nothing leaves it.`,
  );
}

const isStill = () =>
  performance.now() - touched < STILL || element("strip").querySelector(":focus-visible") !== null;

// Reuses the children that are there, so that the focus stays where it is.
function keyed(list, entries, key, create) {
  const known = new Map([...list.children].map((child) => [child.dataset.key, child]));
  const wanted = entries.map((entry) => known.get(key(entry)) ?? create(entry));
  wanted.forEach((child, i) => {
    child.dataset.key = key(entries[i]);
    if (list.children[i] !== child) list.insertBefore(child, list.children[i] ?? null);
  });
  while (list.children.length > wanted.length) list.lastChild.remove();
  return wanted;
}

function showClasses() {
  const create = ({ name }) => {
    const text = name === "none" ? "None of these" : name;
    return make("button", { type: "button", onclick: () => store(name) }, make("span", {}, text), make("b"));
  };
  keyed(element("classes"), state.classes, ({ name }) => name, create).forEach((button, i) => {
    const { count } = state.classes[i];
    setText(button.lastChild, count ? `${count}` : "");
    button.ariaLabel = `${button.firstChild.textContent}, ${counted(count, "photograph")}`;
  });
}

function showStrip() {
  element("recent").hidden = state.strip.length === 0;
  const create = ({ id, label, score, best }) => {
    const answer = `${label ?? "No answer"}, ${percent(score)}`;
    const select = () => {
      selected = selected === id ? null : id;
      show(state);
      if (selected !== null) element("classes").scrollIntoView({ block: "nearest" });
    };
    const image = make("img", { src: `collect/${encodeURIComponent(id)}.jpg`, alt: "" });
    const button = (properties, ...children) => make("button", { type: "button", ...properties }, ...children);
    return make(
      "li",
      {},
      button({ className: "picture", ariaLabel: `Select: ${answer}`, onclick: select }, image, make("span", {}, answer)),
      ...best.map((name) => button({ ariaLabel: `This is: ${name}`, onclick: () => store(name, id) }, name)),
    );
  };
  keyed(element("strip"), state.strip, ({ id }) => id, create).forEach((item, i) => {
    item.firstChild.ariaPressed = `${state.strip[i].id === selected}`;
  });
}

// ---------------------------------------------------------------- teaching

function teachNote({ state: doing, seconds, error, model }) {
  if (doing === "teaching") return `Teaching… ${seconds} s. The camera goes on.`;
  if (doing === "taught") return "Nothing has changed yet. Use the new model?";
  if (error) return error;
  const count = photographs();
  if (!count) return "Collect photographs of each class: 3 at least, 20 are better.";
  return `The model in use is ${model}. ${counted(count, "photograph")} to teach from.`;
}

const photographs = () => state.classes.reduce((sum, { count }) => sum + count, 0);

function showTeaching() {
  const { teach } = state;
  const doing = teach.state;
  setText(element("teach-note"), teachNote(teach));
  element("teach-note").classList.toggle("failed", doing === "idle" && teach.error !== null);
  element("teach").hidden = element("add-choice").hidden = doing !== "idle";
  element("teach").disabled = photographs() === 0;
  element("use").hidden = element("report").hidden = doing !== "taught";
  element("cancel").hidden = doing === "idle";
  setText(element("cancel"), doing === "taught" ? "Discard" : "Cancel");
  element("restore").hidden = doing !== "idle" || teach.former === null;
  if (doing === "taught") showReport(teach.report);
}

const verdict = ({ accuracy, photographs: count }) =>
  `${percent(accuracy)} of ${counted(count, "photograph")} right, by cross-validation`;

function showReport(report) {
  const { classes, comparison, warnings } = report;
  setText(element("caution"), report.notice ?? "");
  setText(element("verdict"), verdict(report));
  const { before, after, photographs: count } = comparison ?? {};
  const compared = `Before: ${percent(before)}, now: ${percent(after)} (${counted(count, "photograph")}, not taught before)`;
  setText(element("compared"), comparison === null ? "" : compared);
  const rows = classes.map(({ label, photographs: all, right, wanted }) =>
    make("tr", {}, ...[label, `${right} of ${all}`, wanted ? `${wanted}` : "–"].map((text) => make("td", {}, text))),
  );
  const notes = warnings.map((text) => make("tr", {}, make("td", { colSpan: 3, className: "note" }, text)));
  element("per-class").replaceChildren(...rows, ...notes);
}

// ---------------------------------------------------------------- start

element("new-class").addEventListener("submit", async (event) => {
  event.preventDefault();
  const input = element("new-name");
  await store(input.value);
  if (!element("said").classList.contains("failed")) input.value = "";
});
for (const kind of ["pointerdown", "pointermove", "scroll"]) {
  element("strip").addEventListener(kind, () => (touched = performance.now()), { passive: true });
}
element("teach").addEventListener("click", () => change({ action: "teach", add: element("add").checked }));
for (const action of ["undo", "use", "cancel", "restore"]) {
  element(action).addEventListener("click", () => change({ action }));
}
keepFresh();
