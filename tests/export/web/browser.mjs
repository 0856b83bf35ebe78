// Runs in Chromium: the raw outputs of the model, the pipeline on the fixtures, and the page itself, online and
// offline. Results go to the server at the address after the "#".

import { readFixtures } from "./fixtures.mjs";
import { Classifier } from "./page/classifier.js";
import { Smoother, Tracker } from "./page/pipeline.js";
import { preprocess } from "./page/preprocess.js";

const report = (name, body) => fetch(`${location.hash.slice(1)}/${name}`, { method: "POST", body });
const read = async (name) => (await fetch(name)).arrayBuffer();
const frame = document.getElementById("app");
const state = () => frame.contentDocument?.body?.dataset.state;
const inPage = (id) => frame.contentDocument.getElementById(id);

// Waits for a condition that the page reaches on its own.
async function until(what, condition) {
  for (const end = performance.now() + 20000; performance.now() < end; ) {
    const value = condition();
    if (value) return value;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error(`${what}: not reached; ${inPage("status")?.textContent}: ${inPage("notice")?.textContent}`);
}

async function measureOutputs(classifier) {
  const images = new Uint8Array(await read("images.bin"));
  const outputs = [];
  const times = [];
  for (let at = 0; at < images.length; at += 784) {
    const started = performance.now();
    outputs.push(await classifier.outputs(images.subarray(at, at + 784)));
    times.push(performance.now() - started);
  }
  await report("outputs", new Blob(outputs));
  return times.sort((a, b) => a - b)[times.length >> 1];
}

async function runPipeline(classifier, settings) {
  const description = await (await fetch("fixtures.json")).json();
  const { frames, stills } = readFixtures(description, new Uint8Array(await read("fixtures.bin")));
  const { labels, threshold } = settings.model;
  const tracker = new Tracker(settings);
  const smoother = new Smoother(labels, threshold, settings.smoothing);
  const [smoothed, answers, times] = [[], [], []];
  for (const each of frames) {
    const started = performance.now();
    const garment = tracker.preprocess(each);
    const scores = garment.found ? await classifier.scores(garment.image) : null;
    smoothed.push(smoother.update(scores, each.seconds).label);
    times.push(performance.now() - started);
  }
  for (const still of stills) {
    const garment = preprocess(still, null, settings.preprocess);
    const scores = garment.found ? await classifier.scores(garment.image) : [];
    answers.push(Array.from(scores));
  }
  return { smoothed, answers, milliseconds: times.sort((a, b) => a - b)[times.length >> 1] };
}

async function useCamera() {
  await until("ready", () => state() === "waiting" && !inPage("camera").disabled);
  const started = performance.now();
  inPage("camera").click();
  await until("garment", () => state() === "live" && frame.contentDocument.body.dataset.prediction === "known");
  const firstLabel = performance.now() - started;
  inPage("camera").click();
  return { label: inPage("label").textContent, firstLabel };
}

async function openPicture(name) {
  const file = new File([await read(name)], name);
  const transfer = new DataTransfer();
  transfer.items.add(file);
  frame.contentDocument.dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, cancelable: true }));
  // The label of the camera is still shown until the picture's result replaces its frame size.
  const size = inPage("size").textContent;
  await until(name, () => state() === "waiting" || inPage("size").textContent !== size);
  return inPage("notice").textContent || inPage("label").textContent;
}

async function runApp() {
  frame.src = "page/";
  const online = await useCamera();
  await until("storage", () => inPage("offline").textContent);
  const pictures = [await openPicture("garment.png"), await openPicture("damaged.png")];
  await report("stop");
  frame.contentWindow.location.reload();
  await until("reload", () => state() === "connecting");
  return { online, pictures, offline: await useCamera() };
}

const done = { errors: [] };
addEventListener("unhandledrejection", ({ reason }) => done.errors.push(String(reason)));
try {
  const settings = await (await fetch("page/model.json")).json();
  const classifier = await Classifier.load(settings.model, new URL("page/", location));
  done.milliseconds = await measureOutputs(classifier);
  if (!location.search.includes("outputs")) {
    done.pipeline = await runPipeline(classifier, settings);
    done.app = await runApp();
  }
} catch (error) {
  done.errors.push(`${error.message}\n${error.stack}`);
}
await report("done", JSON.stringify(done));
