// A whole recording, window by window, as `ser_nsl.edge.Recognizer.hear` hears it.

import { hasSpeech } from "./recognizer.js";
import { fitLength, makeResampler, peak, SILENCE_PEAK } from "./recording.js";

/**
 * Hears a recording from start to end.
 *
 * @param {Recognizer} recognizer
 * @param {{waveform: Float32Array, rate: number}} recording Not empty.
 * @yields {{start: number, end: number, clip: Float32Array, probabilities: ?Float32Array,
 *   milliseconds: number}} Windows of the recogniser's length that overlap by half or more: their
 *   times in seconds, their samples at the recogniser's rate, the answer (null for silence), and
 *   how long it took.
 */
export async function* hear(recognizer, { waveform, rate }) {
  const { sampleRate, clipSamples } = recognizer;
  const resample = await makeResampler(rate, sampleRate);
  const length = Math.ceil((clipSamples / sampleRate) * rate);
  for (const start of windowStarts(waveform.length, length)) {
    const end = Math.min(start + length, waveform.length);
    const part = waveform.slice(start, end);
    const clip = resample(part);
    const silent = peak(part) < SILENCE_PEAK;
    const answer = silent
      ? { probabilities: null, milliseconds: 0 }
      : await recognizer.predict(fitLength(clip, clipSamples));
    yield { start: start / rate, end: end / rate, clip, ...answer };
  }
}

/**
 * Where the windows begin that cover a recording.
 *
 * @param {number} samples Length of the recording.
 * @param {number} length Length of a window.
 * @returns {number[]} In samples, at even distances of at most half a window.
 */
export function windowStarts(samples, length) {
  const last = Math.max(0, samples - length);
  const steps = Math.ceil(last / (length / 2));
  return Array.from({ length: steps + 1 }, (_, i) => Math.round((last * i) / Math.max(1, steps)));
}

/**
 * The answer for a whole recording, as `ser_nsl.edge.average` has it.
 *
 * @param {string[]} labels
 * @param {?Float32Array[]} answers Those of its windows.
 * @returns {?Float32Array} The mean over the windows with speech; over those without, if none has
 *   any; null for silence alone.
 */
export function average(labels, answers) {
  const spoken = answers.filter((answer) => hasSpeech(labels, answer));
  const heard = spoken.length ? spoken : answers.filter(Boolean);
  if (!heard.length) return null;
  return heard[0].map((_, i) => heard.reduce((sum, answer) => sum + answer[i], 0) / heard.length);
}
