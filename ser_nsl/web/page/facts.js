// What the recogniser is, and how fast it answers.

import { NO_SPEECH } from "./recognizer.js";

const LATENCIES = 20; // the median of so many is shown

const element = (id) => document.getElementById(id);
let latencies = [];

/**
 * Describes a recogniser.
 *
 * @param {Recognizer} recognizer
 * @param {?number} uar Its UAR on speakers who were not in training; null if unknown.
 */
export function describe({ name, version, labels, bytes, sampleRate, clipSamples }, uar) {
  const emotions = labels.filter((label) => label !== NO_SPEECH);
  const inPercent = (share) => `${Math.round(100 * share)} %`;
  element("about").textContent =
    uar === null
      ? `${name}. Nothing is known here about how often it is right.`
      : `${name}. On voices that it had not heard, it was right about ${inPercent(uar)} of each ` +
        `emotion; guessing is right about ${inPercent(1 / emotions.length)}.`;
  element("input").textContent =
    `${+(clipSamples / sampleRate).toFixed(2)} s at ${sampleRate / 1000} kHz`;
  element("file-facts").textContent = `version ${version}, ${(bytes / 1e6).toFixed(1)} MB`;
  element("latency").textContent = "–";
  element("facts").hidden = false;
  latencies = [];
}

/**
 * Shows how long answers take.
 *
 * @param {number} milliseconds What the latest took.
 */
export function showLatency(milliseconds) {
  latencies = [...latencies, milliseconds].slice(-LATENCIES);
  const median = latencies.toSorted((a, b) => a - b)[latencies.length >> 1];
  element("latency").textContent = `${median < 10 ? median.toFixed(1) : median.toFixed(0)} ms`;
}
