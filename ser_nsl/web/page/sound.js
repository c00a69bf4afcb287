// The pictures of the sound, with their axes, and a hint if it is quiet.

import { drawLogMel, drawWaveform, writeFrequencies, writeTimes } from "./pictures.js";
import { peak } from "./recording.js";

/** Sound with a lower peak is quiet, and looks so: a pixel or two, -30 dB of full scale. */
export const QUIET_PEAK = 0.03;

const element = (id) => document.getElementById(id);
let drawn; // what the pictures show

/**
 * Draws sound.
 *
 * @param {Float32Array} waveform
 * @param {number} sampleRate In Hz.
 * @param {object} [options]
 * @param {number} [options.own] Number of samples before they repeat.
 * @param {number} [options.start] Time of the first sample in seconds.
 * @param {boolean} [options.live] Whether the pictures end now.
 * @param {boolean} [options.judge] Whether to say that it is quiet.
 */
export function drawSound(
  waveform,
  sampleRate,
  { own = waveform.length, start = 0, live = false, judge = true } = {},
) {
  drawn = { waveform, own, sampleRate };
  writeFrequencies(element("frequencies"), sampleRate);
  writeTimes(element("times"), waveform.length / sampleRate, start, live);
  const loudest = peak(waveform);
  element("quiet").hidden = !judge || loudest >= QUIET_PEAK;
  element("quiet").textContent = live
    ? `${loudness(loudest)} Come closer, or turn the microphone up.`
    : `${loudness(loudest)} Answers for quiet sound are less sure.`;
  redraw();
}

function loudness(loudest) {
  if (loudest === 0) return "There is no sound at all.";
  const decibels = Math.round(-20 * Math.log10(loudest));
  return `It is quiet: the loudest sample is ${decibels} dB below full scale.`;
}

function redraw() {
  if (!drawn) return;
  drawWaveform(element("waveform"), drawn.waveform, drawn.own);
  drawLogMel(element("log-mel"), drawn.waveform, drawn.sampleRate);
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
window.addEventListener("resize", redraw);
