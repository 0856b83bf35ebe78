// The page for phones: the camera or a picture is classified in this browser. Nothing is sent anywhere.

import { Classifier } from "./classifier.js";
import {
  element, LatencyChart, noFrameFor, NUMBERS_INTERVAL, onSpace, setText, showBars, showModelInput, showNumbers,
  showPrediction, STALLED,
} from "./display.js";
import { outline } from "./outline.js";
import { Smoother, Tracker } from "./pipeline.js";
import { preprocess, reduce } from "./preprocess.js";

// Larger frames and pictures are scaled down before they are read: phones limit the size of a canvas.
const FRAME_EDGE = 1280;
const PICTURE_EDGE = 4096;
const UNSMOOTHED = { TIME_CONSTANT: 0, MARGIN: 0, BAND: 0, ABSENCE: 0 };

const view = {
  state: "connecting", // connecting (loading), waiting (ready), live, stalled, paused, photo, lost (failed)
  notice: "Loading the model…",
  facing: "environment",
  session: 0, // changes with each start of a camera or picture, so that late results are dropped
  newest: 0, // time of the last frame of the camera
  updated: 0, // time of the last update of the numbers
  size: [], // width and height of the frame or picture
};
const chart = new LatencyChart();
const video = element("video");
const picture = element("picture").getContext("2d", { willReadFrequently: true });
let settings, classifier, unsmoothed;

// ---------------------------------------------------------------- state

const STATUS = {
  connecting: "Loading", waiting: "Ready", live: "Live", stalled: "Stalled", paused: "Paused", photo: "Picture",
  lost: "Failed",
};

function setState(state, notice = "") {
  view.state = state;
  document.body.dataset.state = state;
  const hasCamera = ["live", "stalled", "paused"].includes(state);
  setText(element("status"), STATUS[state]);
  setText(element("notice"), notice);
  element("notice").hidden = !notice;
  setText(element("camera"), hasCamera ? "Stop camera" : "Start camera");
  setText(element("pause"), state === "paused" ? "Resume" : "Pause");
  for (const id of ["switch", "pause"]) element(id).hidden = !hasCamera;
  if (state === "waiting") clearResults();
}

// Without a picture, what was said about the one before would be taken for an answer.
function clearResults() {
  showBars({ label: null, scores: Object.fromEntries(settings.model.labels.map((label) => [label, 0])) });
  showModelInput(new Uint8Array(28 * 28));
  for (const id of ["processing", "age", "fps", "frames", "size", "confidence"]) setText(element(id), "–");
  for (const id of ["processing-line", "age-line", "processing-area"]) element(id).removeAttribute("points");
  setText(element("stages"), "\u00a0");
}

// ---------------------------------------------------------------- results

function scaledSize(width, height, edge) {
  const factor = Math.min(1, edge / Math.max(width, height));
  return [width, height].map((length) => Math.max(1, Math.round(length * factor)));
}

function drawPicture(source, width, height) {
  if (picture.canvas.width !== width || picture.canvas.height !== height) {
    Object.assign(picture.canvas, { width, height });
  }
  picture.setTransform(1, 0, 0, 1, 0, 0);
  picture.clearRect(0, 0, width, height);
  picture.drawImage(source, 0, 0, width, height);
}

// As edge_fmnist/sinks/annotate.py does.
function drawOutline(garment) {
  const { INK, KNOWN, UNKNOWN, LINE, SMOOTHING_POINTS } = settings.outline;
  const { width, height } = picture.canvas;
  const path = outline(garment.mask, garment.width, garment.height, SMOOTHING_POINTS);
  const thickness = Math.max(1, Math.round(LINE * Math.min(height, 0.75 * width)));
  const colour = document.body.dataset.prediction === "known" ? KNOWN : UNKNOWN;
  picture.setTransform(width / garment.width, 0, 0, height / garment.height, 0, 0);
  for (const [bgr, pixels] of [[INK, thickness + Math.min(2, thickness)], [colour, thickness]]) {
    picture.strokeStyle = `rgb(${[...bgr].reverse()})`;
    picture.lineWidth = (pixels * garment.width) / width;
    picture.stroke(path);
  }
}

// `draw` shows a picture and returns the pixels to classify.
async function show(draw, detect, smoother, captured, session) {
  try {
    await classify(draw(), detect, smoother, captured, session);
  } catch (error) {
    if (session !== view.session) return;
    stopCamera();
    setState("lost", `Classification failed: ${error.message}`);
  }
}

// Classifies the pixels of a frame or picture and shows the result.
async function classify(pixels, detect, smoother, captured, session) {
  const started = performance.now();
  const garment = detect(pixels);
  const preprocessed = performance.now();
  const scores = garment.found ? await classifier.scores(garment.image) : null;
  if (session !== view.session) return;
  const classified = performance.now();
  const smoothed = smoother.update(scores, captured / 1000);
  const finished = performance.now();
  const labelled = Object.fromEntries(settings.model.labels.map((label, i) => [label, smoothed.scores[i]]));
  const { found, confidence } = garment;
  const result = { label: smoothed.label, score: smoothed.score, scores: labelled, found, confidence };
  showPrediction(result);
  showBars(result);
  showModelInput(garment.image);
  if (garment.found) drawOutline(garment);
  if (garment.warning) setState(view.state, garment.warning);
  const now = performance.now();
  chart.add({
    preprocess: preprocessed - started,
    classify: classified - preprocessed,
    smooth: finished - classified,
    age: Math.max(now - captured, finished - started),
  }, now);
  if (now - view.updated > NUMBERS_INTERVAL || view.state === "photo") {
    view.updated = now;
    const { history } = chart;
    const fps = history.length > 1 ? (1000 * (history.length - 1)) / (now - history[0].time) : 0;
    showNumbers({ ...result, fps, seen: view.frames, size: view.size }, chart);
  }
}

// ---------------------------------------------------------------- camera

function stopCamera() {
  view.session += 1;
  video.srcObject?.getTracks().forEach((track) => track.stop());
  video.srcObject = null;
  picture.canvas.classList.remove("mirrored");
  chart.history = [];
}

async function startCamera() {
  stopCamera();
  const { session } = view;
  setState("waiting", "Starting the camera…");
  try {
    if (!navigator.mediaDevices) throw new Error("the page must be opened over https or from localhost");
    const size = { width: { ideal: 640 }, height: { ideal: 480 } };
    const stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: view.facing, ...size } });
    if (session !== view.session) {
      stream.getTracks().forEach((track) => track.stop());
      return;
    }
    const [track] = stream.getVideoTracks();
    track.addEventListener("ended", () => session === view.session && endCamera("The camera has stopped"));
    track.addEventListener("unmute", play);
    // A view of oneself is expected to be a mirror image.
    picture.canvas.classList.toggle("mirrored", track.getSettings().facingMode === "user");
    video.srcObject = stream;
    await video.play();
  } catch (error) {
    if (session === view.session) endCamera(cameraProblem(error));
    return;
  }
  view.frames = 0;
  view.newest = performance.now();
  setState("live");
  // Otherwise the space bar would press the button that has just been clicked.
  element("pause").focus();
  const tracker = new Tracker(settings);
  const smoother = new Smoother(settings.model.labels, settings.model.threshold, settings.smoothing);
  const next = (callback) =>
    video.requestVideoFrameCallback?.(callback) ?? requestAnimationFrame((now) => callback(now, {}));
  const onFrame = async (now, { captureTime, presentedFrames }) => {
    if (session !== view.session) return;
    view.frames = presentedFrames ?? view.frames + 1;
    view.newest = performance.now();
    checkStall();
    if (view.state === "live" && video.videoWidth) {
      const draw = () => {
        const [width, height] = scaledSize(video.videoWidth, video.videoHeight, FRAME_EDGE);
        drawPicture(video, width, height);
        view.size = [video.videoWidth, video.videoHeight];
        return picture.getImageData(0, 0, width, height);
      };
      await show(draw, (frame) => tracker.preprocess(frame), smoother, captureTime ?? now, session);
      // The time of the classification, long on a slow phone, is no stall.
      view.newest = performance.now();
    }
    next(onFrame);
  };
  next(onFrame);
}

// The browser tells nothing when another app takes the camera or the system pauses the video: frames stay away.
function checkStall() {
  const gap = performance.now() - view.newest;
  if (gap > STALLED && ["live", "stalled"].includes(view.state)) setState("stalled", noFrameFor(gap));
  else if (view.state === "stalled") setState("live");
}

// Goes on with a video that the system has paused.
function play() {
  if (video.srcObject && !document.hidden) video.play().catch(() => {});
}

function endCamera(notice) {
  stopCamera();
  setState("waiting", notice);
}

function cameraProblem(error) {
  const problems = {
    NotAllowedError: "access was denied; allow it in the settings of the browser",
    NotFoundError: "none was found",
    NotReadableError: "it is used by another program",
  };
  return `Camera: ${problems[error.name] ?? error.message}. A picture works too.`;
}

// ---------------------------------------------------------------- pictures

const firstPicture = (files) => files.find((file) => file.type.startsWith("image/"));

// `count` is how many files were given, of which one is shown.
async function showFile(file, count = 1) {
  if (!file || !classifier) return;
  stopCamera();
  const { session } = view;
  setState("photo", "Reading the picture…");
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  } catch {
    if (session !== view.session) return;
    setState("waiting", `${file.name || "Clipboard"}: not a picture that this browser can read`);
    return;
  }
  if (session !== view.session) return;
  const started = performance.now();
  const draw = () => {
    const [width, height] = scaledSize(bitmap.width, bitmap.height, PICTURE_EDGE);
    const canvas = Object.assign(document.createElement("canvas"), { width, height });
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(bitmap, 0, 0, width, height);
    const pixels = reduce(context.getImageData(0, 0, width, height), settings.stillEdge);
    drawPicture(bitmap, ...scaledSize(bitmap.width, bitmap.height, FRAME_EDGE));
    view.size = [bitmap.width, bitmap.height];
    bitmap.close();
    view.frames = 1;
    setState("photo", count > 1 ? `${file.name}: 1 of ${count} files` : "");
    return pixels;
  };
  await show(draw, (still) => preprocess(still, null, settings.preprocess), unsmoothed, started, session);
}

// ---------------------------------------------------------------- start

function togglePause() {
  if (view.state === "live" || view.state === "stalled") setState("paused");
  else if (view.state === "paused") setState("live");
}

function listen() {
  element("camera").addEventListener("click", () => (video.srcObject ? endCamera("") : startCamera()));
  element("switch").addEventListener("click", () => {
    view.facing = view.facing === "user" ? "environment" : "user";
    startCamera();
  });
  element("pause").addEventListener("click", togglePause);
  element("choose").addEventListener("click", () => element("file").click());
  element("file").addEventListener("change", ({ target }) => {
    showFile(target.files[0]);
    // Choosing the same file again is a change too.
    target.value = "";
  });
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    const files = [...event.dataTransfer.files];
    // A browser may not know the type of a picture, and the first file says why it cannot be shown.
    showFile(firstPicture(files) ?? files[0], files.length);
  });
  document.addEventListener("paste", (event) => {
    showFile(firstPicture([...event.clipboardData.files]));
  });
  document.addEventListener("visibilitychange", play);
  setInterval(checkStall, 500);
  onSpace(togglePause);
}

async function workOffline() {
  if (!("serviceWorker" in navigator)) return;
  if (navigator.serviceWorker.controller) {
    // A newer version of the page has been stored.
    navigator.serviceWorker.addEventListener("controllerchange", () => view.state === "waiting" && location.reload());
  }
  await navigator.serviceWorker.register("sw.js");
  await navigator.serviceWorker.ready;
  setText(element("offline"), "This page is stored: it also works offline.");
}

async function start() {
  setState("connecting", "Loading the model…");
  try {
    settings = await (await fetch("model.json")).json();
    const { model } = settings;
    clearResults();
    classifier = await Classifier.load(model, document.baseURI);
    unsmoothed = new Smoother(model.labels, model.threshold, { ...settings.smoothing, ...UNSMOOTHED });
    setText(element("source"), `Model: ${model.name}, ${Math.round(model.bytes / 1000)}\u202fkB`);
    for (const id of ["camera", "choose"]) element(id).disabled = false;
    setState("waiting", "Start the camera, or choose, drop or paste a picture");
  } catch (error) {
    setState("lost", `The model could not be loaded: ${error.message}`);
    return;
  }
  // After the model, so that both do not compete for the network. Without storage, the page works all the same.
  workOffline().catch(() => {});
}

listen();
start();
