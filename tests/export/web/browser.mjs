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

// The video stops, as when another app takes the camera, until `resume` brings it back.
async function stall(resume) {
  const video = inPage("video");
  video.pause();
  await until("stall", () => state() === "stalled");
  const { filter } = frame.contentWindow.getComputedStyle(frame.contentDocument.querySelector(".prediction"));
  const notice = inPage("notice").textContent;
  resume(video);
  await until("frames", () => state() === "live" && inPage("notice").hidden);
  return [notice, filter];
}

async function useCamera(stalls) {
  await until("ready", () => state() === "waiting" && !inPage("camera").disabled);
  const started = performance.now();
  inPage("camera").click();
  await until("garment", () => state() === "live" && frame.contentDocument.body.dataset.prediction === "known");
  const firstLabel = performance.now() - started;
  const label = inPage("label").textContent;
  for (const resume of stalls ? [wakeUp, unmute] : []) stalls.push(await stall(resume));
  inPage("camera").click();
  return { label, firstLabel };
}

const wakeUp = () => frame.contentDocument.dispatchEvent(new Event("visibilitychange"));
const unmute = (video) => video.srcObject.getVideoTracks()[0].dispatchEvent(new Event("unmute"));

// Drops files onto the page; only a garment is known to be a picture.
async function openPicture(...names) {
  const transfer = new DataTransfer();
  for (const name of names) {
    transfer.items.add(new File([await read(name)], name, { type: name === "garment.png" ? "image/png" : "" }));
  }
  // Until it has a result, for a picture or for none.
  inPage("size").textContent = "";
  frame.contentDocument.dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, cancelable: true }));
  await until(names.join(), () => inPage("size").textContent);
  return inPage("notice").textContent || inPage("label").textContent;
}

async function runApp() {
  frame.src = "page/";
  const stalls = [];
  const online = await useCamera(stalls);
  await until("storage", () => inPage("offline").textContent);
  const pictures = [
    await openPicture("garment.png"), await openPicture("damaged.png"), await openPicture("damaged.png", "garment.png"),
  ];
  await report("stop");
  frame.contentWindow.location.reload();
  await until("reload", () => state() === "connecting");
  return { online, stalls, pictures, offline: await useCamera() };
}

await reportDone(async () => {
  const classifier = await measureOutputs();
  const settings = await (await fetch("page/model.json")).json();
  return { pipeline: await runPipeline(classifier, settings), app: await runApp() };
});
