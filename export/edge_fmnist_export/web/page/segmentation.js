// Segments the garment: two colour models and a soft mask, updated in turn. A port of
// edge_fmnist/vision/segmentation.py, which explains the method; `settings` are its constants.

import * as imaging from "./imaging.js";

const { fround } = Math;

// Returns {mask: 0 or 1, separation} of a small RGB picture; `previous` is the mask of the previous frame or null.
export function segment({ data, width, height }, previous, settings) {
  const blurred = imaging.gaussianBlurBytes({ data, width, height, stride: 3 }, 1);
  const colours = imaging.rgbToLab(blurred);
  const found = separate(colours, width, height, previous, settings);
  if (previous === null && found.separation < settings.FAINT) {
    const again = separate(contrasted(colours, settings), width, height, null, settings);
    if (again.separation >= settings.CLEAR) return again;
  }
  return found;
}

function separate(colours, width, height, previous, settings) {
  const { EVIDENCE_WEIGHT, FOLLOWING_ROUNDS, MAX_EVIDENCE, NEIGHBOURHOOD, ROUNDS } = settings;
  const tiny = fround(settings.TINY);
  const occupied = occupiedBins(colours, settings.BINS);
  const { indices, size } = occupied;
  const counts = new Float32Array(size);
  for (let i = 0; i < indices.length; i++) counts[indices[i]] += 1;
  const { probability, weighted } = previous
    ? followingPrior(previous, width, height, settings)
    : centrePrior(width, height, settings);
  const inside = new Float32Array(probability);
  const logits = new Float32Array(inside.length);
  const evidence = new Float32Array(size);
  const data = new Float32Array(inside.length);
  const rounds = previous ? FOLLOWING_ROUNDS : ROUNDS;
  let garmentModel, groundModel;
  for (let round = 0; round < rounds; round++) {
    if (round > 0) for (let i = 0; i < inside.length; i++) inside[i] = 1 / fround(1 + fround(Math.exp(-logits[i])));
    const sums = new Float64Array(size);
    for (let i = 0; i < indices.length; i++) sums[indices[i]] += inside[i];
    const garment = new Float32Array(sums);
    const ground = new Float32Array(size);
    for (let bin = 0; bin < size; bin++) ground[bin] = counts[bin] - garment[bin];
    garmentModel = model(garment, occupied, tiny);
    groundModel = model(ground, occupied, tiny);
    for (let bin = 0; bin < size; bin++) {
      if (!counts[bin]) continue;
      const ratio = fround(fround(garmentModel[bin] + tiny) / fround(groundModel[bin] + tiny));
      evidence[bin] = imaging.clamp(Math.log(ratio), -MAX_EVIDENCE, MAX_EVIDENCE);
    }
    for (let i = 0; i < indices.length; i++) data[i] = evidence[indices[i]];
    const spread = imaging.boxBlur({ data, width, height }, NEIGHBOURHOOD);
    for (let i = 0; i < logits.length; i++) logits[i] = fround(EVIDENCE_WEIGHT * spread[i]) + weighted[i];
  }
  let common = 0;
  for (let bin = 0; bin < size; bin++) common += Math.sqrt(garmentModel[bin] * groundModel[bin]);
  const mask = new Uint8Array(logits.length);
  for (let i = 0; i < mask.length; i++) mask[i] = Number(logits[i] > 0);
  return { mask: cleaned(mask, width, height, settings), separation: imaging.clamp(1 - common, 0, 1) };
}

// White on white, grey on grey: each channel is stretched around the middle of its range.
function contrasted(colours, { STRETCHED, MIN_RANGE, RANGE }) {
  const result = new Uint8Array(colours.length);
  const plane = new Float32Array(colours.length / 3);
  for (let channel = 0; channel < 3; channel++) {
    for (let i = 0; i < plane.length; i++) plane[i] = colours[3 * i + channel];
    const [low, high] = imaging.percentiles(plane, RANGE);
    const scale = STRETCHED[channel] / Math.max(high - low, MIN_RANGE[channel]);
    for (let i = channel; i < colours.length; i += 3) {
      result[i] = imaging.clamp((colours[i] - (low + high) / 2) * scale + 128, 0, 255);
    }
  }
  return result;
}

// The bins from the lowest to the highest that are occupied, with a margin of one empty bin: each pixel's bin, the
// number of bins along each axis and of all, and whether the lowest and the highest are those of the whole histogram.
function occupiedBins(colours, bins) {
  const lowest = [...bins];
  const highest = [0, 0, 0];
  for (let i = 0; i < colours.length; i += 3) {
    for (let axis = 0; axis < 3; axis++) {
      const bin = (colours[i + axis] * bins[axis]) >> 8;
      if (bin < lowest[axis]) lowest[axis] = bin;
      if (bin > highest[axis]) highest[axis] = bin;
    }
  }
  const shape = highest.map((high, axis) => high - lowest[axis] + 3);
  const atEnds = bins.map((count, axis) => [lowest[axis] === 0, highest[axis] === count - 1]);
  const indices = new Int32Array(colours.length / 3);
  for (let i = 0, at = 0; at < colours.length; i++) {
    let index = 0;
    for (let axis = 0; axis < 3; axis++, at++) {
      index = index * shape[axis] + ((colours[at] * bins[axis]) >> 8) - lowest[axis] + 1;
    }
    indices[i] = index;
  }
  return { indices, shape, atEnds, size: shape[0] * shape[1] * shape[2] };
}

const logit = (probability) => fround(Math.log(fround(probability / fround(1 - probability))));

const priors = new Map();

// The probability of garment by position alone, and its weighted logit.
function centrePrior(width, height, { PRIOR_EDGE, PRIOR_SOFTNESS, PRIOR_LOW, PRIOR_HIGH, PRIOR_WEIGHT }) {
  const key = `${width} ${height}`;
  if (!priors.has(key)) {
    const probability = new Float32Array(width * height);
    for (let i = 0; i < probability.length; i++) {
      const across = Math.abs((i % width) - (width - 1) / 2) / (width / 2);
      const down = Math.abs(Math.floor(i / width) - (height - 1) / 2) / (height / 2);
      const share = 1 / (1 + Math.exp((Math.max(across, down) - PRIOR_EDGE) / PRIOR_SOFTNESS));
      probability[i] = PRIOR_LOW + (PRIOR_HIGH - PRIOR_LOW) * share;
    }
    priors.set(key, { probability, weighted: probability.map((value) => PRIOR_WEIGHT * logit(value)) });
  }
  return priors.get(key);
}

// The same from the mask of the previous frame, softened for movement.
function followingPrior(previous, width, height, settings) {
  const { FOLLOWING_WEIGHT, PRIOR_LOW, PRIOR_HIGH } = settings;
  const mask = { data: previous, width, height };
  const probability = imaging.gaussianBlurFloats(mask, Math.max(height, width) / 24);
  const { weighted: centre } = centrePrior(width, height, settings);
  const weighted = new Float32Array(probability.length);
  for (let i = 0; i < probability.length; i++) {
    probability[i] = imaging.clamp(probability[i], PRIOR_LOW, PRIOR_HIGH);
    weighted[i] = fround(FOLLOWING_WEIGHT * logit(probability[i])) + centre[i];
  }
  return { probability, weighted };
}

// Smooths a histogram over neighbouring colours, in place, to a sum of 1. The margin of empty bins lets each axis be
// smoothed along the flat array: nothing reaches the next line of bins.
function model(histogram, { shape, atEnds }, tiny) {
  const { length } = histogram;
  let total = 0;
  for (let i = 0; i < length; i++) total += histogram[i];
  const quarter = new Float32Array(length);
  let step = length;
  for (let axis = 0; axis < 3; axis++) {
    const line = step;
    step /= shape[axis];
    for (let i = 0; i < length; i++) quarter[i] = 0.25 * histogram[i];
    for (let i = 0; i < length; i++) histogram[i] *= 0.5;
    for (let i = step; i < length; i++) histogram[i] += quarter[i - step];
    for (let i = step; i < length; i++) histogram[i - step] += quarter[i];
    const [isFirst, isLast] = atEnds[axis];
    if (isFirst) moveMargin(histogram, line, step, 0, step);
    if (isLast) moveMargin(histogram, line, step, line - step, line - 2 * step);
  }
  total = fround(Math.max(total, tiny));
  for (let i = 0; i < length; i++) histogram[i] /= total;
  return histogram;
}

// Beyond the ends of the histogram there are no colours: adds the bins of the margin to the last ones.
function moveMargin(histogram, line, step, margin, last) {
  for (let start = 0; start < histogram.length; start += line) {
    for (let i = start; i < start + step; i++) {
      histogram[i + last] += histogram[i + margin];
      histogram[i + margin] = 0;
    }
  }
}

// The mask without specks, distant parts and small holes.
function cleaned(mask, width, height, { MIN_PART, MAX_HOLE }) {
  const opened = imaging.open(mask, width, height);
  const { parts, found } = imaging.components(opened, width, height, 1);
  if (!found.length) return opened;
  const weights = found.map(({ area, sumX, sumY }) => {
    const offCentre = Math.abs(sumX / area / width - 0.5) + Math.abs(sumY / area / height - 0.5);
    return area * (1 - offCentre);
  });
  const least = MIN_PART * Math.max(...weights);
  const isKept = weights.map((weight) => weight >= least);
  for (let i = 0; i < opened.length; i++) if (parts[i] >= 0 && !isKept[parts[i]]) opened[i] = 0;
  const holes = imaging.components(opened, width, height, 0);
  const isFilled = holes.found.map(({ area, left, right, top, bottom }) => {
    const enclosed = left > 0 && top > 0 && right < width - 1 && bottom < height - 1;
    return enclosed && area < MAX_HOLE * opened.length;
  });
  for (let i = 0; i < opened.length; i++) if (holes.parts[i] >= 0 && isFilled[holes.parts[i]]) opened[i] = 1;
  return opened;
}
