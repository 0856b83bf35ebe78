// Runs in Chromium: the raw outputs of the model, the pipeline on the fixtures, and the page itself, online and offline.

import { readFixtures } from "./fixtures.mjs";
import { measureOutputs, report, reportDone } from "./outputs.mjs";
import { Smoother, Tracker } from "./page/pipeline.js";
import { preprocess } from "./page/preprocess.js";

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

await reportDone(async () => {
  const classifier = await measureOutputs();
  const settings = await (await fetch("page/model.json")).json();
  return { pipeline: await runPipeline(classifier, settings), app: await runApp() };
});
