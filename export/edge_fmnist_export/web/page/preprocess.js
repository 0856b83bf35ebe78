// From a picture to the 28x28 image that the model classifies. A port of edge_fmnist/vision/preprocess.py, which
// explains the steps; `settings` are the constants of that module, with those of segmentation as `segmentation`.

import * as imaging from "./imaging.js";
import { segment } from "./segmentation.js";

// Detects the garment. `picture` is {data: RGBA, width, height} as ImageData is; `previous` is the detection in the
// previous frame of the same size, or null. Returns {found, image (28 x 28), mask (0 or 1), width and height (of the
// mask), confidence}, for a picture of 28 x 28 also a warning.
export function preprocess({ data: pixels, width: fullWidth, height: fullHeight }, previous, settings) {
  const { SIZE, WORKING_EDGE, MIN_EDGE } = settings;
  const picture = { data: pixels, width: fullWidth, height: fullHeight, stride: 4 };
  if (picture.width === SIZE && picture.height === SIZE) return asImage(picture, settings);
  if (isTransparent(picture)) {
    const garment = cutOut(picture, settings);
    if (garment) return garment;
    picture.data = onWhite(picture.data);
  }
  const { data, width, height } = shrink(picture, WORKING_EDGE, 3);
  const small = { data, width, height };
  if (Math.min(width, height) < MIN_EDGE) {
    return detection(small, { mask: new Uint8Array(width * height), separation: 0 }, settings);
  }
  const start = previous?.found ? previous.mask : null;
  let result = segment(small, start, settings.segmentation);
  if (start && !isPlausible(result, width, height, settings)) result = segment(small, null, settings.segmentation);
  return detection(small, result, settings);
}

// As Pillow multiplies a colour by its alpha.
function timesAlpha(colour, alpha) {
  const product = colour * alpha + 128;
  return ((product >> 8) + product) >> 8;
}

// A picture reduced by the largest whole factor that keeps its longest edge at `edge` or more, as stills are read.
// Transparent pixels do not count for the colour.
export function reduce(picture, edge) {
  const factor = Math.floor(Math.max(picture.width, picture.height) / edge);
  if (factor < 2) return picture;
  const [width, height] = [Math.ceil(picture.width / factor), Math.ceil(picture.height / factor)];
  const data = new Uint8ClampedArray(width * height * 4);
  const sums = [0, 0, 0, 0];
  for (let i = 0; i < data.length; i += 4) {
    const [left, top] = [((i >> 2) % width) * factor, Math.floor(i / 4 / width) * factor];
    const [right, bottom] = [Math.min(left + factor, picture.width), Math.min(top + factor, picture.height)];
    sums.fill(0);
    for (let y = top; y < bottom; y++) {
      for (let at = (y * picture.width + left) * 4; at < (y * picture.width + right) * 4; at += 4) {
        const alpha = picture.data[at + 3];
        for (let channel = 0; channel < 3; channel++) sums[channel] += timesAlpha(picture.data[at + channel], alpha);
        sums[3] += alpha;
      }
    }
    const area = (right - left) * (bottom - top);
    // Pillow multiplies by the reciprocal, cut to 24 bits.
    const reciprocal = Math.floor(Math.fround(2 ** 24 / area));
    for (let channel = 0; channel < 4; channel++) {
      data[i + channel] = Math.floor(((sums[channel] + (area >> 1)) * reciprocal) / 2 ** 24);
    }
    const alpha = data[i + 3];
    for (let channel = 0; alpha % 255 && channel < 3; channel++) {
      data[i + channel] = Math.floor((255 * data[i + channel]) / alpha);
    }
  }
  return { data, width, height };
}

function asImage({ data, width, height }, settings) {
  const image = new Uint8Array(width * height);
  image.forEach((_, i) => {
    const [red, green, blue] = [0, 1, 2].map((channel) => Math.round((data[4 * i + channel] * data[4 * i + 3]) / 255));
    image[i] = imaging.grey(red, green, blue);
  });
  const mask = image.map((value) => Number(value > 0));
  return { found: true, image, mask, width, height, confidence: 1, warning: conventionWarning(image, settings) };
}

// What is unusual about a 28x28 picture, or nothing.
function conventionWarning(image, { SIZE, BRIGHT_BORDER, MIN_BRIGHT, MIN_FILLED }) {
  const isBorder = (i) => i < SIZE || i >= image.length - SIZE || i % SIZE === 0 || i % SIZE === SIZE - 1;
  const border = image.filter((_, i) => isBorder(i));
  if (border.reduce((sum, value) => sum + value, 0) > BRIGHT_BORDER * border.length) {
    return "Bright border; a 28x28 image should show the garment bright on black, so this one may need inverting";
  }
  if (image.filter((value) => value > MIN_BRIGHT).length < MIN_FILLED * image.length) {
    return "Nearly empty; a 28x28 image should show the garment bright on black";
  }
  return "";
}

function isTransparent({ data, width, height }) {
  const pixels = new Int32Array(data.buffer, data.byteOffset, width * height);
  let common = -1;
  for (let i = 0; i < pixels.length; i++) common &= pixels[i];
  return common >>> 24 < 255;
}

function onWhite(data) {
  return data.map((value, i) => {
    const alpha = data[i | 3];
    return (i & 3) === 3 ? 255 : Math.floor((value * alpha + 255 * (255 - alpha) + 127) / 255);
  });
}

const scaled = (edge, factor) => Math.max(1, imaging.roundHalfEven(edge * factor));

function shrunkSize({ width, height }, longest) {
  const factor = Math.min(1, longest / Math.max(width, height));
  return [scaled(width, factor), scaled(height, factor)];
}

function shrink(picture, longest, channels) {
  const [width, height] = shrunkSize(picture, longest);
  if (width === picture.width && height === picture.height) {
    const { data, stride } = picture;
    return { data: channels === stride ? data : data.filter((_, i) => i % stride < channels), width, height };
  }
  return { data: imaging.resizeArea(picture, width, height, channels), width, height };
}

// The garment of a photograph whose alpha channel is its mask; null if it shows no outline.
function cutOut(picture, settings) {
  const { WORKING_EDGE, MIN_EDGE, MIN_AREA, MAX_AREA } = settings;
  const alpha = picture.data.filter((_, i) => (i & 3) === 3);
  const place = boundingBox(alpha.map((value) => Number(value > 127)), picture.width);
  if (Math.min(place.width, place.height) < MIN_EDGE) return null;
  const { small, mask } = coloursAndMask(crop(picture, place), settings);
  const box = boundingBox(mask, small.width);
  const size = count(mask);
  if (size < MIN_AREA * mask.length || size > MAX_AREA * box.width * box.height) return null;
  const { data, width, height } = shrink({ ...picture, data: alpha, stride: 1 }, WORKING_EDGE, 1);
  const whole = Uint8Array.from(data, (value) => Number(value > 127));
  return { found: true, image: garmentImage(small, mask, settings), mask: whole, width, height, confidence: 1 };
}

function crop(picture, { left, top, width, height }) {
  const data = new Uint8ClampedArray(4 * width * height);
  for (let y = 0; y < height; y++) {
    const start = 4 * ((top + y) * picture.width + left);
    data.set(picture.data.subarray(start, start + 4 * width), 4 * y * width);
  }
  return { data, width, height, stride: 4 };
}

// The mask in the alpha channel of a photograph, and its colours, weighted by alpha.
function coloursAndMask(picture, { WORKING_EDGE }) {
  const larger = { ...shrink(picture, 4 * WORKING_EDGE, 4), stride: 4 };
  const [width, height] = shrunkSize(larger, WORKING_EDGE);
  larger.data = Float64Array.from(larger.data, (value, i) => ((i & 3) < 3 ? value * larger.data[i | 3] : value));
  const { sums, area } = imaging.areaSums(larger, width, height);
  const mask = new Uint8Array(width * height);
  const data = new Uint8Array(3 * width * height);
  mask.forEach((_, i) => {
    const alpha = sums[4 * i + 3];
    mask[i] = Number(alpha > 127 * area);
    for (let channel = 0; channel < 3; channel++) {
      data[3 * i + channel] = Math.floor(sums[4 * i + channel] / Math.max(alpha, 1) + 0.5);
    }
  });
  return { small: { data, width, height }, mask };
}

function count(mask) {
  let sum = 0;
  for (let i = 0; i < mask.length; i++) sum += mask[i];
  return sum;
}

function boundingBox(mask, width) {
  let [left, right, top, bottom] = [width, -1, -1, -1];
  for (let i = 0; i < mask.length; i++) {
    if (!mask[i]) continue;
    bottom = Math.floor(i / width);
    if (top < 0) top = bottom;
    left = Math.min(left, i % width);
    right = Math.max(right, i % width);
  }
  if (right < 0) return { left: 0, top: 0, width: 0, height: 0 };
  return { left, top, width: right - left + 1, height: bottom - top + 1 };
}

function isPlausible({ mask, separation }, width, height, settings) {
  const { MIN_SEPARATION, MIN_AREA, MAX_AREA, MAX_BORDER } = settings;
  const share = count(mask) / mask.length;
  let covered = 0;
  for (let x = 0; x < width; x++) covered += mask[x] + mask[mask.length - 1 - x];
  for (let y = 1; y < height - 1; y++) covered += mask[y * width] + mask[y * width + width - 1];
  const border = 2 * (width + height - 2);
  const isGarment = share >= MIN_AREA && share <= MAX_AREA;
  return separation >= MIN_SEPARATION && isGarment && covered / border <= MAX_BORDER;
}

function detection(small, { mask, separation }, settings) {
  const { width, height } = small;
  if (!isPlausible({ mask, separation }, width, height, settings)) {
    const image = new Uint8Array(settings.SIZE ** 2);
    return { found: false, image, mask: new Uint8Array(mask.length), width, height, confidence: separation };
  }
  return { found: true, image: garmentImage(small, mask, settings), mask, width, height, confidence: separation };
}

// The 28x28 image of the masked garment, negated; weighted by the mask while downscaling.
function garmentImage(small, mask, settings) {
  const box = boundingBox(mask, small.width);
  // The garment, and where it is.
  const data = new Uint8Array(2 * box.width * box.height);
  for (let i = 0; i < data.length / 2; i++) {
    const place = (box.top + Math.floor(i / box.width)) * small.width + box.left + (i % box.width);
    if (!mask[place]) continue;
    data[2 * i] = 255 - imaging.grey(small.data[3 * place], small.data[3 * place + 1], small.data[3 * place + 2]);
    data[2 * i + 1] = 1;
  }
  const { sums, area } = fit({ data, ...box, stride: 2 }, settings.SIZE);
  const values = new Float64Array(settings.SIZE ** 2);
  const cover = new Float64Array(values.length);
  for (let i = 0; i < values.length; i++) {
    values[i] = sums[2 * i] / Math.max(sums[2 * i + 1], 1);
    cover[i] = sums[2 * i + 1] / area;
  }
  return stretch(values, cover, settings);
}

function fit(garment, size) {
  const factor = size / Math.max(garment.width, garment.height);
  const [columns, rows] = [scaled(garment.width, factor), scaled(garment.height, factor)];
  const { sums, area } = (factor < 1 ? imaging.areaSums : imaging.linearSums)(garment, columns, rows);
  const [top, left] = [Math.floor((size - rows) / 2), Math.floor((size - columns) / 2)];
  const image = new Float64Array(2 * size * size);
  for (let row = 0; row < rows; row++) {
    image.set(sums.subarray(2 * row * columns, 2 * (row + 1) * columns), 2 * ((top + row) * size + left));
  }
  return { sums: image, area };
}

function stretch(values, cover, { DARKEST, STRETCH, MIN_RANGE }) {
  const inside = values.filter((_, i) => cover[i] > 0.5).sort();
  const [low, high] = inside.length ? STRETCH.map((percent) => imaging.percentile(inside, percent)) : [0, 255];
  // Rounds halves to even, as NumPy does.
  return Uint8ClampedArray.from(values, (value, i) => {
    const share = imaging.clamp((value - (low + high) / 2) / Math.max(high - low, MIN_RANGE) + 0.5, 0, 1);
    return (DARKEST + (255 - DARKEST) * share) * cover[i];
  });
}
