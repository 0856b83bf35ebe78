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
  const { BINS, EVIDENCE_WEIGHT, FOLLOWING_ROUNDS, MAX_EVIDENCE, NEIGHBOURHOOD, ROUNDS, TINY } = settings;
  const bins = colourBins(colours, BINS);
  const counts = new Float32Array(BINS[0] * BINS[1] * BINS[2]);
  for (let i = 0; i < bins.length; i++) counts[bins[i]] += 1;
  const used = counts.reduce((found, count, bin) => (count && found.push(bin), found), []);
  const { probability, weighted } = previous
    ? followingPrior(previous, width, height, settings)
    : centrePrior(width, height, settings);
  const soft = new Float32Array(probability);
  const evidence = new Float32Array(counts.length);
  const data = new Float32Array(bins.length);
  let separation = 0;
  for (let round = previous ? FOLLOWING_ROUNDS : ROUNDS; round > 0; round--) {
    const sums = new Float64Array(counts.length);
    for (let i = 0; i < bins.length; i++) sums[bins[i]] += soft[i];
    const garment = new Float32Array(sums);
    const ground = new Float32Array(counts.length);
    for (const bin of used) ground[bin] = counts[bin] - garment[bin];
    const garmentModel = model(garment, settings);
    const groundModel = model(ground, settings);
    for (const bin of used) {
      const ratio = fround(fround(garmentModel[bin] + fround(TINY)) / fround(groundModel[bin] + fround(TINY)));
      evidence[bin] = imaging.clamp(Math.log(ratio), -MAX_EVIDENCE, MAX_EVIDENCE);
    }
    for (let i = 0; i < bins.length; i++) data[i] = evidence[bins[i]];
    const spread = imaging.boxBlur({ data, width, height }, NEIGHBOURHOOD);
    for (let i = 0; i < soft.length; i++) {
      const evident = fround(fround(EVIDENCE_WEIGHT * spread[i]) + weighted[i]);
      soft[i] = 1 / fround(1 + fround(Math.exp(-evident)));
    }
    separation = 1;
    for (let bin = 0; bin < counts.length; bin++) {
      if (garmentModel[bin] && groundModel[bin]) separation -= Math.sqrt(garmentModel[bin] * groundModel[bin]);
    }
  }
  const mask = new Uint8Array(soft.map((value) => Number(value > 0.5)));
  return { mask: cleaned(mask, width, height, settings), separation: imaging.clamp(separation, 0, 1) };
}

// White on white, grey on grey: each channel is stretched around the middle of its range.
function contrasted(colours, { STRETCHED, LEAST_RANGE, RANGE }) {
  const result = new Uint8Array(colours.length);
  for (let channel = 0; channel < 3; channel++) {
    const [low, high] = imaging.percentiles(colours.filter((_, i) => i % 3 === channel), RANGE);
    const scale = STRETCHED[channel] / Math.max(high - low, LEAST_RANGE[channel]);
    for (let i = channel; i < colours.length; i += 3) {
      result[i] = imaging.clamp((colours[i] - (low + high) / 2) * scale + 128, 0, 255);
    }
  }
  return result;
}

function colourBins(colours, [lightness, a, b]) {
  const result = new Int32Array(colours.length / 3);
  for (let i = 0, at = 0; i < result.length; i++, at += 3) {
    const bins = ((colours[at] * lightness) >> 8) * a + ((colours[at + 1] * a) >> 8);
    result[i] = bins * b + ((colours[at + 2] * b) >> 8);
  }
  return result;
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
  const mask = { data: new Float32Array(previous), width, height };
  const blurred = imaging.gaussianBlurFloats(mask, Math.max(height, width) / 24);
  const probability = blurred.map((value) => imaging.clamp(value, PRIOR_LOW, PRIOR_HIGH));
  const { weighted: centre } = centrePrior(width, height, settings);
  const weighted = probability.map((value, i) => fround(FOLLOWING_WEIGHT * logit(value)) + centre[i]);
  return { probability, weighted };
}

// A histogram smoothed over neighbouring colours, summing to 1.
function model(histogram, { BINS, TINY }) {
  let smooth = histogram;
  let step = smooth.length;
  for (const size of BINS) {
    const source = smooth;
    smooth = new Float32Array(source.length);
    const block = step;
    step /= size;
    for (let start = 0; start < source.length; start += block) {
      const end = start + block;
      for (let i = start; i < end; i++) {
        const value = source[i];
        const before = i - step < start ? value : source[i - step];
        const after = i + step >= end ? value : source[i + step];
        smooth[i] = fround(0.25 * before + 0.5 * value) + 0.25 * after;
      }
    }
  }
  let total = 0;
  for (let i = 0; i < smooth.length; i++) total += smooth[i];
  total = fround(Math.max(total, TINY));
  for (let i = 0; i < smooth.length; i++) smooth[i] /= total;
  return smooth;
}

// The mask without specks, distant parts and small holes.
function cleaned(mask, width, height, { LEAST_PART, LARGEST_HOLE }) {
  const opened = imaging.open(mask, width, height);
  const { parts, found } = imaging.components(opened, width, height, 1);
  if (!found.length) return opened;
  const weights = found.map(({ area, sumX, sumY }) => {
    const offCentre = Math.abs(sumX / area / width - 0.5) + Math.abs(sumY / area / height - 0.5);
    return area * (1 - offCentre);
  });
  const least = LEAST_PART * Math.max(...weights);
  const isKept = weights.map((weight) => weight >= least);
  const kept = opened.map((value, i) => Number(value && isKept[parts[i]]));
  const holes = imaging.components(kept, width, height, 0);
  const filled = holes.found.map(({ area, left, right, top, bottom }) => {
    const enclosed = left > 0 && top > 0 && right < width - 1 && bottom < height - 1;
    return enclosed && area < LARGEST_HOLE * kept.length;
  });
  return kept.map((value, i) => Number(value || filled[holes.parts[i]]));
}
