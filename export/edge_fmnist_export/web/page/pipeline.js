// What happens to every frame: preprocess and smooth. A port of edge_fmnist/pipeline/pipeline.py and smoothing.py;
// `settings` are the constants of those modules.

import { preprocess } from "./preprocess.js";

// Detects the garment in frames that follow each other: segmentation starts from the mask of the frame before.
export class Tracker {
  constructor(settings) {
    this.settings = settings;
    this.previous = null;
    this.size = "";
    this.frames = 0;
  }

  preprocess(picture) {
    const size = `${picture.width} ${picture.height}`;
    const previous = size === this.size ? this.previous : null;
    this.size = size;
    this.frames += 1;
    let garment = preprocess(picture, previous, this.settings.preprocess);
    if (previous && this.frames % this.settings.refreshInterval === 0) {
      // Tracking cannot notice that it follows the wrong thing.
      const fresh = preprocess(picture, null, this.settings.preprocess);
      if (fresh.found && fresh.confidence >= garment.confidence) garment = fresh;
    }
    this.previous = garment.found ? garment : null;
    return garment;
  }
}

// Averages scores over time and keeps the label until another one is clearly better.
export class Smoother {
  constructor(labels, threshold, settings) {
    Object.assign(this, { labels, threshold, settings });
    // At most halfway to certainty, or a high threshold could not be left.
    this.leave = Math.min(threshold + settings.BAND, (threshold + 1) / 2);
    this.clear();
  }

  // Takes the scores of one frame, null without a garment; `now` in seconds. Returns {label, score, scores}.
  update(scores, now) {
    const { ABSENCE, TIME_CONSTANT } = this.settings;
    if (scores === null) {
      if (this.seenAt === null || now - this.seenAt >= ABSENCE) this.clear();
      return this.shown;
    }
    let average = Float32Array.from(scores);
    if (this.seenAt !== null && TIME_CONSTANT > 0) {
      const share = Math.fround(-Math.expm1(-Math.max(0, now - this.seenAt) / TIME_CONSTANT));
      average = this.shown.scores.map((score, i) => score + share * Math.fround(scores[i] - score));
    }
    this.seenAt = now;
    this.shown = { label: this.choose(average), score: Math.max(...average), scores: average };
    return this.shown;
  }

  clear() {
    this.seenAt = null;
    this.shown = { label: null, score: 0, scores: new Float32Array(this.labels.length) };
  }

  // The label to show; the class "none" is shown as unknown.
  choose(scores) {
    const { NONE, UNKNOWN } = this.settings;
    const label = this.leading(scores);
    return label === NONE ? UNKNOWN : label;
  }

  // The shown label, unless there is a reason to change.
  leading(scores) {
    const { MARGIN, UNKNOWN } = this.settings;
    const best = scores.indexOf(Math.max(...scores));
    if (scores[best] < (this.shown.label === UNKNOWN ? this.leave : this.threshold)) return UNKNOWN;
    const shown = this.labels.indexOf(this.shown.label);
    return this.labels[shown < 0 || scores[best] - scores[shown] >= MARGIN ? best : shown];
  }
}
