// The browser page. Results arrive as server-sent events. Frames are requested one at a time, each after the previous
// one is displayed, so that a slow viewer sees fewer frames and never outdated ones.

const RETRY = 1000;
const TIMEOUT = 5000;
const STALLED = 2000;
const HISTORY = 10_000;
const NUMBERS_INTERVAL = 300;

const element = (id) => document.getElementById(id);
const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
const percent = (share) => `${Math.round(100 * share)}\u202f%`;
const milliseconds = (value) => `${value.toFixed(value < 10 ? 1 : 0)}\u202fms`;
const whole = new Intl.NumberFormat("en", { useGrouping: true });

const view = {
  connection: "connecting", // connecting, open, lost, full
  paused: false,
  received: 0, // time of the last event, in milliseconds of performance.now()
  newest: 0, // time of the last result
  updated: 0, // time of the last update of the numbers
  history: [], // latencies: {time, processing, age, preprocess, classify, smooth}
  request: new AbortController(), // aborts the current frame request
};

// ---------------------------------------------------------------- state

function setText(target, text) {
  if (target.textContent !== text) target.textContent = text;
}

function state(now) {
  if (view.connection !== "open") return view.connection;
  if (view.paused) return "paused";
  if (!view.newest) return "waiting";
  return now - view.newest > STALLED ? "stalled" : "live";
}

const STATUS = {
  connecting: "Connecting",
  live: "Live",
  paused: "Paused",
  waiting: "Waiting",
  stalled: "Stalled",
  lost: "Connection lost",
  full: "Too many viewers",
};

function notice(current, now) {
  const seconds = Math.floor((now - view.newest) / 1000);
  return {
    connecting: "Connecting…",
    paused: "Paused",
    waiting: "Waiting for the first frame",
    stalled: `No new frame for ${seconds} s`,
    lost: "Connection lost. Reconnecting…",
    full: "Maximum number of viewers reached. Retrying…",
  }[current] ?? "";
}

function showState() {
  const now = performance.now();
  const current = state(now);
  document.body.dataset.state = current;
  setText(element("status"), STATUS[current]);
  setText(element("notice"), notice(current, now));
  element("notice").hidden = current === "live";
  setText(element("pause"), view.paused ? "Resume" : "Pause");
}

// ---------------------------------------------------------------- prediction

function showPrediction(result) {
  const known = Object.hasOwn(result.scores, result.label ?? "");
  const kind = result.label === null ? "none" : known ? "known" : "unknown";
  document.body.dataset.prediction = kind;
  setText(element("label"), { none: "No garment", unknown: "Unknown", known: result.label }[kind]);
  setText(element("score"), predictionNote(kind, result));
}

function predictionNote(kind, result) {
  if (kind === "none") return "No garment detected";
  if (kind === "known") return percent(result.score);
  const [label, score] = Object.entries(result.scores).reduce((best, next) => (next[1] > best[1] ? next : best));
  return `Best match: ${label}, ${percent(score)}`;
}

function showBars(result) {
  const entries = Object.entries(result.scores);
  const list = element("bars");
  if (list.children.length !== entries.length || entries.some(([label], i) => list.children[i].dataset.label !== label)) {
    list.replaceChildren(...entries.map(([label]) => bar(label)));
  }
  entries.forEach(([label, score], i) => {
    const [, track, value] = list.children[i].children;
    list.children[i].classList.toggle("shown", label === result.label);
    track.setAttribute("aria-valuenow", Math.round(100 * score));
    track.firstChild.style.transform = `translateX(${100 * score - 100}%)`;
    setText(value, percent(score));
  });
}

function bar(label) {
  const make = (tag, name, ...children) => {
    const made = document.createElement(tag);
    made.className = name;
    made.append(...children);
    return made;
  };
  const track = make("div", "track", make("div", "fill"));
  const attributes = { role: "meter", "aria-label": label, "aria-valuemin": 0, "aria-valuemax": 100 };
  Object.entries(attributes).forEach(([name, value]) => track.setAttribute(name, value));
  const item = make("li", "", make("span", "name", label), track, make("span", "value"));
  item.dataset.label = label;
  return item;
}

function showModelInput(result) {
  const context = element("seen").getContext("2d");
  const pixels = context.createImageData(28, 28);
  const grey = atob(result.image);
  for (let i = 0; i < grey.length; i++) {
    pixels.data.fill(grey.charCodeAt(i), 4 * i, 4 * i + 3);
    pixels.data[4 * i + 3] = 255;
  }
  context.putImageData(pixels, 0, 0);
}

// ---------------------------------------------------------------- latency

function addToHistory(result, now) {
  const { preprocess, classify, smooth, age } = result.milliseconds;
  // A line across a pause or an interruption would suggest measurements that were not made.
  if (view.history.length && now - view.history.at(-1).time > STALLED) view.history = [];
  view.history.push({ time: now, processing: preprocess + classify + smooth, age, preprocess, classify, smooth });
  while (view.history[0].time < now - HISTORY) view.history.shift();
}

// Rounds up to one of a few steps, so that the scale rarely changes.
function roundUp(value) {
  const power = 10 ** Math.floor(Math.log10(Math.max(value, 1)));
  return [1, 2, 4, 6, 8, 10].find((step) => step * power >= value) * power;
}

function showChart(now) {
  const top = roundUp(Math.max(...view.history.map((entry) => Math.max(entry.age, entry.processing))));
  const x = (entry) => (1000 * (1 - (now - entry.time) / HISTORY)).toFixed(1);
  const points = (name) => view.history.map((entry) => `${x(entry)},${(100 - (100 * entry[name]) / top).toFixed(1)}`);
  const processing = points("processing");
  element("processing-line").setAttribute("points", processing.join(" "));
  element("age-line").setAttribute("points", points("age").join(" "));
  const [first, last] = [x(view.history[0]), x(view.history.at(-1))];
  element("processing-area").setAttribute("points", `${first},100 ${processing.join(" ")} ${last},100`);
  setText(element("scale-top"), `${top}\u202fms`);
  setText(element("scale-middle"), `${top / 2}`);
}

const median = (name) => view.history.map((entry) => entry[name]).sort((a, b) => a - b)[view.history.length >> 1];

function showNumbers(result) {
  setText(element("processing"), milliseconds(median("processing")));
  setText(element("age"), milliseconds(median("age")));
  setText(element("fps"), result.fps.toFixed(1));
  setText(element("frames"), whole.format(result.seen));
  setText(element("dropped"), whole.format(result.dropped));
  setText(element("size"), result.size.join(" × "));
  setText(element("confidence"), result.found ? percent(result.confidence) : "–");
  const stages = ["preprocess", "classify", "smooth"].map((name) => `${name} ${median(name).toFixed(2)}`);
  setText(element("stages"), `Medians of the last 10 s: ${stages.join(" · ")} ms`);
}

// ---------------------------------------------------------------- results

function show(result) {
  const now = performance.now();
  view.newest = now;
  if (view.paused) return;
  showPrediction(result);
  showBars(result);
  showModelInput(result);
  addToHistory(result, now);
  showChart(now);
  if (now - view.updated > NUMBERS_INTERVAL) {
    view.updated = now;
    showNumbers(result);
    setText(element("source"), result.name);
  }
  showState();
}

function connect() {
  const events = new EventSource("events");
  const received = () => {
    view.received = performance.now();
  };
  const watchdog = setInterval(() => {
    // A broken network does not close the connection; only the missing heartbeat shows it.
    if (performance.now() - view.received > TIMEOUT) disconnect();
  }, 500);
  async function disconnect() {
    clearInterval(watchdog);
    events.close();
    view.request.abort();
    if (view.connection === "open") view.connection = "lost";
    showState();
    view.connection = (await tooManyViewers()) ? "full" : "lost";
    showState();
    setTimeout(connect, RETRY);
  }
  received();
  events.onopen = () => {
    received();
    view.connection = "open";
    view.newest = 0;
    showState();
    wake();
  };
  events.onmessage = (message) => {
    received();
    show(JSON.parse(message.data));
  };
  events.addEventListener("heartbeat", received);
  events.onerror = disconnect;
}

async function tooManyViewers() {
  try {
    const response = await fetch("healthz", { signal: AbortSignal.timeout(RETRY) });
    const health = await response.json();
    return health.viewers >= health.viewers_limit;
  } catch {
    return false;
  }
}

// ---------------------------------------------------------------- frames

let wake = () => {};
const woken = () => new Promise((resolve) => (wake = resolve));

async function showFrames() {
  let serial = 0;
  for (;;) {
    if (view.paused || document.hidden || view.connection !== "open") {
      await woken();
      continue;
    }
    try {
      serial = await showFrame(serial);
    } catch {
      await sleep(RETRY);
    }
  }
}

// Shows the latest frame if it is not this one, and returns its serial number.
async function showFrame(serial) {
  view.request = new AbortController();
  const response = await fetch(`frame.jpg?after=${serial}`, { signal: view.request.signal });
  if (response.status === 204) return serial;
  if (!response.ok) throw new Error(response.statusText);
  const picture = await createImageBitmap(await response.blob());
  const canvas = element("picture");
  if (!view.paused) {
    if (canvas.width !== picture.width || canvas.height !== picture.height) {
      [canvas.width, canvas.height] = [picture.width, picture.height];
    }
    canvas.getContext("2d").drawImage(picture, 0, 0);
  }
  picture.close();
  return response.headers.get("X-Serial");
}

// ---------------------------------------------------------------- start

function togglePause() {
  view.paused = !view.paused;
  showState();
  wake();
}

element("pause").addEventListener("click", togglePause);
document.addEventListener("keydown", (event) => {
  // On a button or a link, the space bar already has a meaning.
  if (event.code !== "Space" || event.repeat || event.target.closest("button, a")) return;
  event.preventDefault();
  togglePause();
});
document.addEventListener("visibilitychange", () => wake());
setInterval(showState, 500);
showState();
connect();
showFrames();
