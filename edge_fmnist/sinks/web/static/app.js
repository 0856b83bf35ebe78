// The browser page: results come as server-sent events, pictures are asked for one by one,
// each when the one before is on the screen, so that a slow viewer sees fewer pictures and never old ones.

const RETRY = 1000;
const SILENCE = 5000;
const STALLED = 2000;
const HISTORY = 10_000;
const NUMBERS_EVERY = 300;

const element = (id) => document.getElementById(id);
const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
const percent = (share) => `${Math.round(100 * share)}\u202f%`;
const milliseconds = (value) => `${value.toFixed(value < 10 ? 1 : 0)}\u202fms`;
const whole = new Intl.NumberFormat("en", { useGrouping: true });

const view = {
  connection: "connecting", // connecting, open, lost, full
  paused: false,
  heard: 0, // when anything came last, in milliseconds of performance.now()
  newest: 0, // when a result came last
  counted: 0, // when the numbers were written last
  history: [], // of the latency: {time, processing, age, preprocess, classify, smooth}
  request: new AbortController(), // of the picture that is on its way
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
    lost: "Connection lost. Trying again every second.",
    full: "All viewers’ places are taken. Trying again every second.",
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

// ---------------------------------------------------------------- the answer

function showAnswer(result) {
  const known = Object.hasOwn(result.scores, result.label ?? "");
  const answer = result.label === null ? "none" : known ? "known" : "unknown";
  document.body.dataset.answer = answer;
  setText(element("label"), { none: "No garment", unknown: "Unknown", known: result.label }[answer]);
  setText(element("score"), answerNote(answer, result));
}

function answerNote(answer, result) {
  if (answer === "none") return "nothing found in this picture";
  if (answer === "known") return percent(result.score);
  const [label, score] = Object.entries(result.scores).reduce((best, next) => (next[1] > best[1] ? next : best));
  return `most like ${label}, ${percent(score)}`;
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

function showSeen(result) {
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

function remember(result, now) {
  const { preprocess, classify, smooth, age } = result.milliseconds;
  // A line across a pause or an interruption would show what was not measured.
  if (view.history.length && now - view.history.at(-1).time > STALLED) view.history = [];
  view.history.push({ time: now, processing: preprocess + classify + smooth, age, preprocess, classify, smooth });
  while (view.history[0].time < now - HISTORY) view.history.shift();
}

// To one of few steps, so that the scale seldom changes.
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
  showAnswer(result);
  showBars(result);
  showSeen(result);
  remember(result, now);
  showChart(now);
  if (now - view.counted > NUMBERS_EVERY) {
    view.counted = now;
    showNumbers(result);
    setText(element("source"), result.name);
  }
  showState();
}

function connect() {
  const events = new EventSource("events");
  const heard = () => {
    view.heard = performance.now();
  };
  const watch = setInterval(() => {
    // A network that is gone closes nothing; then only the silence tells.
    if (performance.now() - view.heard > SILENCE) lose();
  }, 500);
  async function lose() {
    clearInterval(watch);
    events.close();
    view.request.abort();
    if (view.connection === "open") view.connection = "lost";
    showState();
    view.connection = (await placesTaken()) ? "full" : "lost";
    showState();
    setTimeout(connect, RETRY);
  }
  heard();
  events.onopen = () => {
    heard();
    view.connection = "open";
    view.newest = 0;
    showState();
    wake();
  };
  events.onmessage = (message) => {
    heard();
    show(JSON.parse(message.data));
  };
  events.addEventListener("heartbeat", heard);
  events.onerror = lose;
}

async function placesTaken() {
  try {
    const response = await fetch("healthz", { signal: AbortSignal.timeout(RETRY) });
    const health = await response.json();
    return health.viewers >= health.viewers_limit;
  } catch {
    return false;
  }
}

// ---------------------------------------------------------------- pictures

let wake = () => {};
const woken = () => new Promise((resolve) => (wake = resolve));

async function showPictures() {
  let serial = 0;
  for (;;) {
    if (view.paused || document.hidden || view.connection !== "open") {
      await woken();
      continue;
    }
    try {
      serial = await showPicture(serial);
    } catch {
      await sleep(RETRY);
    }
  }
}

// Shows the newest picture other than this one, and returns its serial.
async function showPicture(serial) {
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
  // Space on a button or a link already means something.
  if (event.code !== "Space" || event.repeat || event.target.closest("button, a")) return;
  event.preventDefault();
  togglePause();
});
document.addEventListener("visibilitychange", () => wake());
setInterval(showState, 500);
showState();
connect();
showPictures();
