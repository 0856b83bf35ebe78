// The model in LiteRT for the web, and its scores. A port of edge_fmnist/model/classifier.py; `model` is the part of
// model.json of that name.

import { loadAndCompile, loadLiteRt, Tensor } from "./litert/index.js";

const { fround } = Math;

async function sha256(content) {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", content));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export class Classifier {
  // Loads the runtime and the model; `folder` is the URL of the page's files.
  static async load(model, folder) {
    const response = await fetch(new URL(model.file, folder));
    const content = response.ok ? new Uint8Array(await response.arrayBuffer()) : new Uint8Array();
    if (content.length !== model.bytes) {
      throw new Error(`${model.file}: expected ${model.bytes} bytes, got ${content.length} (HTTP ${response.status})`);
    }
    // After an update, one of the files may come from a cache. Browsers compute hashes in secure contexts only.
    if (crypto.subtle && (await sha256(content)) !== model.sha256) {
      throw new Error(`${model.file} does not belong to model.json; reload the page`);
    }
    // LiteRT for the web takes no variable batch size: set the sizes of -1 to 1. The file itself stays as it is.
    const view = new DataView(content.buffer);
    for (const offset of model.batchOffsets) view.setInt32(offset, 1, true);
    // The runtime logs to the console unless told otherwise.
    self.Module = { printErr: () => {} };
    // The build without relaxed SIMD runs in all browsers, and is as fast.
    await loadLiteRt(new URL("litert/litert_wasm_compat_internal.js", folder).href);
    const classifier = new Classifier(model, await loadAndCompile(content, { accelerator: "wasm" }));
    await classifier.outputs(classifier.input.map(() => 0));
    return classifier;
  }

  constructor(model, compiled) {
    this.model = model;
    this.compiled = compiled;
    const { type, shape } = model.input;
    this.input = new (type === "uint8" ? Uint8Array : Float32Array)(shape.reduce((size, edge) => size * edge));
  }

  // The raw output tensor for a 28x28 image, uint8 or float32.
  async outputs(image) {
    const { table, shape } = this.model.input;
    image.forEach((pixel, i) => (this.input[i] = table ? table[pixel] : pixel));
    const tensor = new Tensor(this.input, shape);
    const [output] = await this.compiled.run(tensor);
    const values = (await output.data()).slice();
    // Memory of WebAssembly is not garbage-collected.
    tensor.delete();
    output.delete();
    return values;
  }

  // The probabilities of all labels for a 28x28 image, float32.
  async scores(image) {
    const values = this.dequantize(await this.outputs(image));
    const scores = this.probabilities(values);
    if (Math.max(...scores) >= fround(this.model.flipLimit)) return scores;
    const mirrored = this.dequantize(await this.outputs(image.map((_, i) => image[i - (i % 28) + 27 - (i % 28)])));
    return this.probabilities(values.map((value, i) => fround(value + mirrored[i]) / 2));
  }

  // The probabilities of all labels for the model's outputs as real numbers, float32.
  probabilities(outputs) {
    const { labels, output, temperature } = this.model;
    let values = outputs.slice(0, labels.length);
    if (output.kind === "logits") {
      const logits = values.map((value) => value / fround(temperature));
      const largest = Math.max(...logits);
      values = logits.map((value) => Math.exp(fround(value - largest)));
    }
    const total = fround(values.reduce((sum, value) => sum + value, 0));
    return values.map((value) => (total > 0 ? value / total : 1 / labels.length));
  }

  dequantize(values) {
    const { scale, zeroPoint, type } = this.model.output;
    return Float32Array.from(values, (value) => (type === "float32" ? value : (value - zeroPoint) * fround(scale)));
  }
}
