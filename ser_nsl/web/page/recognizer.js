// Runs an exported recogniser with LiteRT.js, as `ser_nsl.edge` does in Python.

import { strFromU8, unzipSync } from "fflate";

import { Problem } from "./problem.js";

/** The label, and the answer, for sound without speech. */
export const NO_SPEECH = "no speech";

const SPEECH = 0.5; // the most probability of "no speech" that a window of speech has
const NEWEST_FORMAT = 1; // FORMAT_VERSION of ser_nsl.edge
let runtime = null; // LiteRT.js, once it is loaded

/**
 * An exported recogniser: its name, version, labels, rate and length of its input, size and URL;
 * the least probability of an answer to show; and what is typical of many speakers, or null.
 */
export class Recognizer {
  #model;

  /**
   * Opens a recogniser.
   *
   * LiteRT.js runs on the page's main thread: a worker has no import map, and ResNet-9 needs only
   * about 10 ms of every half second.
   *
   * @param {string} url Of the .tflite file.
   * @returns {Promise<Recognizer>}
   * @throws {Problem} If the file is missing or not a recogniser, or the browser cannot run it.
   */
  static async open(url) {
    const bytes = await download(url);
    const recognizer = new Recognizer();
    Object.assign(recognizer, readSettings(bytes), { bytes: bytes.length, url });
    try {
      runtime ??= await loadRuntime();
      recognizer.#model = await runtime.loadAndCompile(bytes, { accelerator: "wasm" });
      // The first prediction is slow, since memory is allocated for it.
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
   *   order of `labels`, and how long the prediction took.
   */
  async predict(waveform) {
    const start = performance.now();
    const input = new runtime.Tensor(waveform, [1, waveform.length]);
    const [output] = await this.#model.run(input);
    const probabilities = Float32Array.from(output.toTypedArray());
    input.delete();
    output.delete();
    return { probabilities, milliseconds: performance.now() - start };
  }
}

/**
 * Whether speech is at least as probable as none.
 *
 * @param {string[]} labels
 * @param {?Float32Array} probabilities In the order of the labels; null for silence.
 * @returns {boolean}
 */
export function hasSpeech(labels, probabilities) {
  return probabilities !== null && !(probabilities[labels.indexOf(NO_SPEECH)] > SPEECH);
}

async function loadRuntime() {
  const module = await import("@litertjs/core");
  await module.loadLiteRt("node_modules/@litertjs/core/wasm/");
  return module;
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

/** Reads the settings and labels, which are in a zip archive after the model. */
function readSettings(bytes) {
  let settings, labels;
  try {
    const files = unzipSync(bytes);
    settings = JSON.parse(strFromU8(files["recogniser.json"]));
    labels = strFromU8(files["labels.txt"]).trimEnd().split("\n");
  } catch (error) {
    throw new Problem("The served file is cut off, or not a recogniser of ser_nsl.", error);
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
    abstainBelow: settings.abstain_below ?? 0,
    typical: settings.typical ?? null,
  };
}
