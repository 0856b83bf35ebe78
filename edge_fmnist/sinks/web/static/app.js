// The browser page. Results arrive as server-sent events. Frames are requested one at a time, each after the previous
// one is displayed, so that a slow viewer sees fewer frames and never outdated ones.

import {
  element, LatencyChart, noFrameFor, NUMBERS_INTERVAL, onSpace, setText, showBars, showModelInput, showNumbers,
  showPrediction, STALLED, whole,
} from "./display.js";

const RETRY = 1000;
const TIMEOUT = 5000;

const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
const view = {
  connection: "connecting", // connecting, open, lost, full
  paused: false,
  received: 0, // time of the last event, in milliseconds of performance.now()
  newest: 0, // time of the last result
  fps: 0, // rate of the results
  updated: 0, // time of the last update of the numbers
  request: new AbortController(), // aborts the current frame request
};
const chart = new LatencyChart();

// ---------------------------------------------------------------- state

// Between two results, in milliseconds: some sources have a frame every few seconds.
const longestGap = () => Math.max(STALLED, view.fps ? 2000 / view.fps : 0);

function state(now) {
  if (view.connection !== "open") return view.connection;
  if (view.paused) return "paused";
  if (!view.newest) return "waiting";
  return now - view.newest > longestGap() ? "stalled" : "live";
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
  return {
    connecting: "Connecting…",
    paused: "Paused",
    waiting: "Waiting for the first frame",
    stalled: noFrameFor(now - view.newest),
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

// ---------------------------------------------------------------- results

function show(result) {
  const now = performance.now();
  const gap = longestGap();
  // The first one after connecting may be old.
  view.newest = now - result.age;
  view.fps = result.fps;
  if (view.paused) return;
  showPrediction(result);
  showBars(result);
  showModelInput(Uint8Array.from(atob(result.image), (character) => character.charCodeAt(0)));
  chart.add(result.milliseconds, now, gap);
  if (now - view.updated > NUMBERS_INTERVAL) {
    view.updated = now;
    showNumbers(result, chart);
    setText(element("dropped"), whole.format(result.dropped));
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
    // A server that was started again may have a new token: the page that asks for it is shown.
    if (await needsToken()) return location.reload();
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

async function needsToken() {
  try {
    const response = await fetch("result.json", { method: "HEAD", signal: AbortSignal.timeout(RETRY) });
    return response.status === 401;
  } catch {
    return false;
  }
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
onSpace(togglePause);
document.addEventListener("visibilitychange", () => wake());
setInterval(showState, 500);
showState();
connect();
showFrames();
