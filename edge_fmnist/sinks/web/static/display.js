// What the live page and the page for phones both show: the prediction, its scores, the model input and the latency.

// In milliseconds.
const HISTORY = 10_000;
export const STALLED = 2000;
export const NUMBERS_INTERVAL = 300;

export const element = (id) => document.getElementById(id);
export const percent = (share) => `${Math.round(100 * share)}\u202f%`;
export const milliseconds = (value) => `${value.toFixed(value < 10 ? 1 : 0)}\u202fms`;
export const noFrameFor = (value) => `No new frame for ${Math.floor(value / 1000)} s`;
export const whole = new Intl.NumberFormat("en", { useGrouping: true });

export function setText(target, text) {
  if (target.textContent !== text) target.textContent = text;
}

export function make(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

export function onSpace(action) {
  document.addEventListener("keydown", (event) => {
    // On a button, on a link or in a text, the space bar already has a meaning.
    if (event.code !== "Space" || event.repeat || event.target.closest("button, a, input")) return;
    event.preventDefault();
    action();
  });
}

// ---------------------------------------------------------------- prediction

// `result` is as in result.json of the live page: label (null: no garment), score and scores by label.
export function showPrediction(result) {
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

export function showBars(result) {
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
  const track = make("div", { className: "track" }, make("div", { className: "fill" }));
  const attributes = { role: "meter", "aria-label": label, "aria-valuemin": 0, "aria-valuemax": 100 };
  Object.entries(attributes).forEach(([name, value]) => track.setAttribute(name, value));
  const item = make("li", {}, make("span", { className: "name" }, label), track, make("span", { className: "value" }));
  item.dataset.label = label;
  return item;
}

// Shows 28 x 28 grey values.
export function showModelInput(image) {
  const context = element("seen").getContext("2d");
  const pixels = context.createImageData(28, 28);
  image.forEach((grey, i) => pixels.data.set([grey, grey, grey, 255], 4 * i));
  context.putImageData(pixels, 0, 0);
}

// ---------------------------------------------------------------- latency

// Latencies of the last 10 s, in milliseconds: processing, age, preprocess, classify, smooth.
export class LatencyChart {
  history = [];

  add({ preprocess, classify, smooth, age }, now, longestGap = STALLED) {
    // A line across a pause or an interruption would suggest measurements that were not made.
    if (this.history.length && now - this.history.at(-1).time > longestGap) this.history = [];
    this.history.push({ time: now, processing: preprocess + classify + smooth, age, preprocess, classify, smooth });
    while (this.history[0].time < now - HISTORY) this.history.shift();
    this.show(now);
  }

  show(now) {
    const top = roundUp(Math.max(...this.history.map((entry) => Math.max(entry.age, entry.processing))));
    const x = (entry) => (1000 * (1 - (now - entry.time) / HISTORY)).toFixed(1);
    const points = (name) => this.history.map((entry) => `${x(entry)},${(100 - (100 * entry[name]) / top).toFixed(1)}`);
    const processing = points("processing");
    element("processing-line").setAttribute("points", processing.join(" "));
    element("age-line").setAttribute("points", points("age").join(" "));
    const [first, last] = [x(this.history[0]), x(this.history.at(-1))];
    element("processing-area").setAttribute("points", `${first},100 ${processing.join(" ")} ${last},100`);
    setText(element("scale-top"), `${top}\u202fms`);
    setText(element("scale-middle"), `${top / 2}`);
  }

  median(name) {
    return this.history.map((entry) => entry[name]).sort((a, b) => a - b)[this.history.length >> 1];
  }
}

// Rounds up to one of a few steps, so that the scale rarely changes.
function roundUp(value) {
  const power = 10 ** Math.floor(Math.log10(Math.max(value, 1)));
  return [1, 2, 4, 6, 8, 10].find((step) => step * power >= value) * power;
}

export function showNumbers(result, chart) {
  setText(element("processing"), milliseconds(chart.median("processing")));
  setText(element("age"), milliseconds(chart.median("age")));
  setText(element("fps"), result.fps.toFixed(1));
  setText(element("frames"), whole.format(result.seen));
  setText(element("size"), result.size.join(" × "));
  setText(element("confidence"), result.found ? percent(result.confidence) : "–");
  const stages = ["preprocess", "classify", "smooth"].map((name) => `${name} ${chart.median(name).toFixed(2)}`);
  setText(element("stages"), `Medians of the last 10 s: ${stages.join(" · ")} ms`);
}
