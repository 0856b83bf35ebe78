// What pages that run in headless Chromium have in common. Reports go to the server whose address follows the "#".

import { Classifier } from "./page/classifier.js";

export const report = (name, body) => fetch(`${location.hash.slice(1)}/${name}`, { method: "POST", body });

// Runs a task and reports its result, with the errors that it ended with.
export async function reportDone(task) {
  const errors = [];
  addEventListener("unhandledrejection", ({ reason }) => errors.push(String(reason)));
  const result = await task().catch((error) => void errors.push(`${error.message} ${error.stack}`));
  await report("done", JSON.stringify({ result, errors }));
}

// Reports the raw outputs for images.bin and the time of each call; returns the classifier.
export async function measureOutputs() {
  const { model } = await (await fetch("page/model.json")).json();
  const classifier = await Classifier.load(model, new URL("page/", location));
  const images = new Uint8Array(await (await fetch("images.bin")).arrayBuffer());
  const times = new Float64Array(images.length / 784);
  const outputs = [];
  for (let i = 0; i < times.length; i++) {
    const started = performance.now();
    outputs.push(await classifier.outputs(images.subarray(784 * i, 784 * (i + 1))));
    times[i] = performance.now() - started;
  }
  await report("outputs", new Blob(outputs));
  await report("milliseconds", times);
  return classifier;
}
