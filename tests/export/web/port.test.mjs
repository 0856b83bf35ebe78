// Compares the JavaScript port with what Python computed: FIXTURES names the folder of its results, SOURCES the URL of
// the page's modules.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";
import { readFixtures } from "./fixtures.mjs";

const { FIXTURES: folder, SOURCES: sources } = process.env;
const { Smoother, Tracker } = await import(`${sources}/pipeline.js`);
const { preprocess, reduce } = await import(`${sources}/preprocess.js`);
const { outline } = await import(`${sources}/outline.js`);
const { Classifier } = await import(`${sources}/classifier.js`);
const imaging = await import(`${sources}/imaging.js`);

const { settings, frames, stills, reduced } = readFixtures(
  JSON.parse(readFileSync(`${folder}/fixtures.json`)), readFileSync(`${folder}/fixtures.bin`),
);

const largestDifference = (a, b) => a.reduce((largest, value, i) => Math.max(largest, Math.abs(value - b[i])), 0);

function assertSame(garment, expected) {
  assert.equal(garment.found, expected.found, expected.name);
  assert.deepEqual(Uint8Array.from(garment.mask), Uint8Array.from(expected.mask), `${expected.name}: mask`);
  assert.deepEqual(Uint8Array.from(garment.image), Uint8Array.from(expected.image), `${expected.name}: image`);
  assert.equal(Boolean(garment.warning), expected.warning, `${expected.name}: warning`);
}

test("frames that follow each other have the same masks and images", () => {
  const tracker = new Tracker(settings);
  assert.ok(frames.some((frame) => frame.found) && frames.some((frame) => !frame.found));
  for (const frame of frames) assertSame(tracker.preprocess(frame), frame);
});

test("still pictures have the same masks and images", () => {
  for (const still of stills) assertSame(preprocess(still, null, settings.preprocess), still);
});

test("large pictures are reduced alike", () => {
  const { data } = reduce(reduced, settings.stillEdge);
  assert.equal(data.length, reduced.expected.length);
  assert.equal(largestDifference(reduced.expected, data), 0);
});

test("scores over time give the same labels", () => {
  const smoother = new Smoother(settings.model.labels, settings.model.threshold, settings.smoothing);
  const labels = new Set();
  for (const { name, scores, seconds, label, smoothed } of frames) {
    const shown = smoother.update(scores, seconds);
    assert.equal(shown.label, label, name);
    shown.scores.forEach((score, i) => assert.ok(Math.abs(score - smoothed[i]) < 1e-5, name));
    labels.add(label);
  }
  assert.ok(labels.size > 2);
});

test("each part of an outline is a line of its own", () => {
  const steps = [];
  globalThis.Path2D = class {
    moveTo() { steps.push("M"); }
    lineTo() { steps.push("L"); }
    closePath() { steps.push("Z"); }
  };
  // Two squares of 2 x 2 pixels.
  const rows = ["..........", ".##....##.", ".##....##.", ".........."];
  outline(Uint8Array.from(rows.join(""), (pixel) => Number(pixel === "#")), 10, 4, 5);
  assert.match(steps.join(""), /^(ML+Z){2}$/);
});

test("a model that is not that of the settings is refused", async () => {
  const content = readFileSync(new URL(`${sources}/model.tflite`));
  globalThis.self = globalThis;
  const load = (bytes) => {
    globalThis.fetch = async () => new Response(bytes);
    return Classifier.load(settings.model, `${sources}/`);
  };
  await assert.rejects(load(content), /^Error: no runtime$/);
  await assert.rejects(load(content.subarray(1)), /expected \d+ bytes, got \d+ \(HTTP 200\)/);
  const other = content.map((byte, i) => (i === content.length - 1 ? byte ^ 1 : byte));
  await assert.rejects(load(other), /model\.tflite does not belong to model\.json; reload the page/);
});

test("all 256 grey values keep their lightness in Lab", () => {
  const grey = Uint8Array.from({ length: 768 }, (_, i) => Math.floor(i / 3));
  const lab = imaging.rgbToLab(grey);
  for (let i = 0; i < 768; i += 3) assert.deepEqual([lab[i + 1], lab[i + 2]], [128, 128]);
});
