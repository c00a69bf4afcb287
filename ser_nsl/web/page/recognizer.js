// Runs an exported recogniser with LiteRT.js, as `ser_nsl.edge` does in Python.

import { readArchive } from "./archive.js";
import { Problem } from "./problem.js";

const NEWEST_FORMAT = 1; // FORMAT_VERSION of ser_nsl.edge

/** An exported recogniser, ready to hear clips. */
export class Recognizer {
  #model;
  #Tensor;

  /**
   * Opens a recogniser.
   *
   * LiteRT.js runs on the page's own thread: a worker has no import map, and ResNet-9 takes
   * about 10 ms of every half second.
   *
   * @param {string} url Of the .tflite file.
   * @returns {Promise<Recognizer>}
   * @throws {Problem} If the file is missing or no recogniser, or the browser cannot run it.
   */
  static async open(url) {
    const bytes = await download(url);
    const recognizer = new Recognizer();
    Object.assign(recognizer, readSettings(bytes), { bytes: bytes.length });
    try {
      const { loadLiteRt, loadAndCompile, Tensor } = await import("@litertjs/core");
      await loadLiteRt("@litertjs/core/wasm/");
      recognizer.#model = await loadAndCompile(bytes, { accelerator: "wasm" });
      recognizer.#Tensor = Tensor;
      // The first answer is slow, since memory is laid out for it.
      await recognizer.predict(new Float32Array(recognizer.clipSamples));
    } catch (error) {
      throw new Problem(
        `This browser cannot run the recogniser (${error.message}). ` +
          "Try a current Chrome, Edge, Firefox or Safari.",
        error,
      );
    }
    return recognizer;
  }

  /**
   * Recognises the emotion of one clip.
   *
   * @param {Float32Array} waveform `clipSamples` long, in [-1, 1], at `sampleRate`.
   * @returns {Promise<{probabilities: Float32Array, milliseconds: number}>} Probabilities in the
   *   order of `labels`, and how long the answer took.
   */
  async predict(waveform) {
    const began = performance.now();
    const input = new this.#Tensor(waveform, [1, waveform.length]);
    const [output] = await this.#model.run(input);
    const probabilities = Float32Array.from(output.toTypedArray());
    input.delete();
    output.delete();
    return { probabilities, milliseconds: performance.now() - began };
  }
}

async function download(url) {
  const response = await fetch(url).catch((error) => {
    throw new Problem("The recogniser cannot be loaded: its server does not answer.", error);
  });
  if (!response.ok) {
    throw new Problem(`The recogniser cannot be loaded: its server answers ${response.status}.`);
  }
  return new Uint8Array(await response.arrayBuffer());
}

function readSettings(bytes) {
  let settings, labels;
  try {
    const entries = readArchive(bytes);
    settings = JSON.parse(entries.get("recogniser.json"));
    labels = entries.get("labels.txt").trimEnd().split("\n");
  } catch (error) {
    throw new Problem("The file that was served is cut off, or no recogniser of ser_nsl.", error);
  }
  if (settings.format_version > NEWEST_FORMAT) {
    throw new Problem("The recogniser was made by a newer ser_nsl than this page.");
  }
  return {
    name: settings.name,
    version: settings.version,
    labels,
    sampleRate: settings.sample_rate_hz,
    clipSamples: settings.clip_samples,
  };
}
