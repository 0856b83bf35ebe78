// Segments the garment: two colour models and a soft mask, updated in turn. A port of
// edge_fmnist/vision/segmentation.py, which explains the method; `settings` are its constants.

import * as imaging from "./imaging.js";

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
  const { EVIDENCE, FOLLOWING_ROUNDS, LIMIT, NEIGHBOURHOOD, ROUNDS, TINY } = settings;
  const occupied = occupiedBins(colours, settings.BINS);
  const { indices, size } = occupied;
  const prior = previous
    ? followingPrior(previous, width, height, settings)
    : centrePrior(width, height, settings);
  const counts = histogram(occupied, () => settings.WHOLE);
  const total = sumOf(counts);
  const table = sigmoid(settings);
  let weightOf = (i) => prior.weights[i];
  const evidence = new Int16Array(size);
  const data = new Int16Array(indices.length);
  const logits = new Int16Array(indices.length);
  let garment;
  let inside;
  for (let round = previous ? FOLLOWING_ROUNDS : ROUNDS; round > 0; round--) {
    garment = histogram(occupied, weightOf);
    inside = sumOf(garment);
    const [one, other] = [Math.max(inside, 1), Math.max(total - inside, 1)];
    const offset = EVIDENCE * Math.log(other / one);
    for (let bin = 0; bin < size; bin++) {
      const ratio = (garment[bin] + TINY * one) / (counts[bin] - garment[bin] + TINY * other);
      evidence[bin] = imaging.clamp(imaging.roundHalfEven(EVIDENCE * Math.log(ratio) + offset), -LIMIT, LIMIT);
    }
    for (let i = 0; i < data.length; i++) data[i] = evidence[indices[i]];
    const sums = imaging.boxSums({ data, width, height }, NEIGHBOURHOOD[0]);
    for (let i = 0; i < logits.length; i++) logits[i] = imaging.clamp(sums[i] + prior.logits[i], -32768, 32767);
    weightOf = (i) => table[(logits[i] >> 8) & 255];
  }
  let common = 0;
  for (let bin = 0; bin < size; bin++) common += Math.sqrt(garment[bin] * (counts[bin] - garment[bin]));
  common /= Math.sqrt(Math.max(inside * (total - inside), 1));
  const mask = Uint8Array.from(logits, (logit) => Number(logit > 0));
  return { mask: cleaned(mask, width, height, settings), separation: imaging.clamp(1 - common, 0, 1) };
}

const sumOf = (values) => values.reduce((sum, value) => sum + value, 0);

// The probability for each high byte of a logit, in steps of 1 / WHOLE.
function sigmoid({ LOGIT, WHOLE }) {
  return Array.from({ length: 256 }, (_, byte) => {
    const logit = (((byte << 24) >> 24) + 0.5) * (256 / LOGIT);
    return imaging.roundHalfEven(WHOLE / (1 + Math.exp(-logit)));
  });
}

// White on white, grey on grey: each channel is stretched around the middle of its range.
function contrasted(colours, { STRETCHED, MIN_RANGE, RANGE }) {
  const result = new Uint8Array(colours.length);
  for (let channel = 0; channel < 3; channel++) {
    const ordered = colours.filter((_, i) => i % 3 === channel).sort();
    const [low, high] = RANGE.map((percent) => imaging.percentile(ordered, percent));
    const scale = STRETCHED[channel] / Math.max(high - low, MIN_RANGE[channel]);
    for (let i = channel; i < colours.length; i += 3) {
      result[i] = imaging.clamp((colours[i] - (low + high) / 2) * scale + 128, 0, 255);
    }
  }
  return result;
}

// The bins from the lowest to the highest that are occupied, with a margin of one empty bin: each pixel's bin, and the
// number of bins along each axis and of all.
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
  const indices = new Int32Array(colours.length / 3);
  for (let i = 0, at = 0; at < colours.length; i++) {
    let index = 0;
    for (let axis = 0; axis < 3; axis++, at++) {
      index = index * shape[axis] + ((colours[at] * bins[axis]) >> 8) - lowest[axis] + 1;
    }
    indices[i] = index;
  }
  return { indices, shape, size: shape[0] * shape[1] * shape[2] };
}

// What a probability of garment says: its weight in steps of 1 / WHOLE, and its logit in steps of 1 / LOGIT.
function toPrior(probabilities, weight, { LOGIT, WHOLE }) {
  return {
    weights: probabilities.map((value) => imaging.roundHalfEven(WHOLE * value)),
    logits: probabilities.map((value) => imaging.roundHalfEven(LOGIT * weight * Math.log(value / (1 - value)))),
  };
}

const priors = new Map();

// What the position alone says.
function centrePrior(width, height, settings) {
  const { PRIOR_EDGE, PRIOR_SOFTNESS, PRIOR_LOW, PRIOR_HIGH, PRIOR_WEIGHT } = settings;
  const key = `${width} ${height}`;
  if (!priors.has(key)) {
    const probabilities = Array.from({ length: width * height }, (_, i) => {
      const across = Math.abs((i % width) - (width - 1) / 2) / (width / 2);
      const down = Math.abs(Math.floor(i / width) - (height - 1) / 2) / (height / 2);
      const share = 1 / (1 + Math.exp((Math.max(across, down) - PRIOR_EDGE) / PRIOR_SOFTNESS));
      return PRIOR_LOW + (PRIOR_HIGH - PRIOR_LOW) * share;
    });
    priors.set(key, toPrior(probabilities, PRIOR_WEIGHT, settings));
  }
  return priors.get(key);
}

// What the mask of the previous frame says, softened for movement.
function followingPrior(previous, width, height, settings) {
  const { FOLLOWING_WEIGHT, MAX_RADIUS, PRIOR_LOW, PRIOR_HIGH, SOFTENED } = settings;
  const radius = Math.min(MAX_RADIUS, imaging.roundHalfEven(Math.max(width, height) / SOFTENED));
  const size = 2 * radius + 1;
  const once = imaging.boxSums({ data: previous, width, height }, size);
  const sums = imaging.boxSums({ data: once, width, height }, size);
  const shift = Math.max(0, 24 - Math.clz32(size ** 4));
  const shares = Array.from({ length: 256 }, (_, i) => ((i + 0.5) * (1 << shift)) / size ** 4);
  const clipped = shares.map((share) => imaging.clamp(share, PRIOR_LOW, PRIOR_HIGH));
  const { weights, logits } = toPrior(clipped, FOLLOWING_WEIGHT, settings);
  const { logits: centre } = centrePrior(width, height, settings);
  const places = Array.from(sums, (sum) => sum >> shift);
  return {
    weights: places.map((place) => weights[place]),
    logits: places.map((place, i) => logits[place] + centre[i]),
  };
}

// A histogram of the pixels' weights, smoothed over neighbouring colours; whole numbers stay whole. The margin of empty
// bins lets each axis be smoothed along the flat array: nothing reaches the next line of bins.
function histogram({ indices, shape, size }, weightOf) {
  let counts = new Float64Array(size);
  for (let i = 0; i < indices.length; i++) counts[indices[i]] += weightOf(i);
  let step = size;
  for (let axis = 0; axis < 3; axis++) {
    step /= shape[axis];
    const smoothed = new Float64Array(size);
    for (let i = 0; i < size; i++) {
      smoothed[i] = 2 * counts[i] + (i >= step ? counts[i - step] : 0) + (i + step < size ? counts[i + step] : 0);
    }
    counts = smoothed;
  }
  return counts;
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
