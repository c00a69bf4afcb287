// Draws waveform and log Mel spectrogram in the colours of style.css.

import { BANDS, height, logMel } from "./logmel.js";

const QUIETEST_TOP_DB = -20; // quieter sound is drawn pale, so that noise does not look like speech
const MOST_FRAMES = 2000; // of a picture; those of long recordings leave some out
const RANGE_DB = 70; // from the palest to the strongest colour
const TICKS_HZ = [500, 1000, 2000, 4000];
const SHADES = 256;
const MOST_STEPS = 5; // on the time axis

let shades; // RGBA of each shade, until the colour scheme changes
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  shades = undefined;
});

/**
 * Draws a waveform, always to full scale, so that quiet sound looks quiet.
 *
 * @param {HTMLCanvasElement} canvas
 * @param {Float32Array} waveform
 * @param {number} own Number of samples before they repeat; repetitions are drawn paler.
 */
export function drawWaveform(canvas, waveform, own = waveform.length) {
  const ratio = window.devicePixelRatio;
  const width = Math.round(canvas.clientWidth * ratio);
  const middle = Math.round((canvas.clientHeight * ratio) / 2);
  canvas.width = width; // clears it too
  canvas.height = 2 * middle;
  const context = canvas.getContext("2d");
  for (let x = 0; x < width; x++) {
    const start = Math.floor((x * waveform.length) / width);
    const end = Math.max(start + 1, Math.floor(((x + 1) * waveform.length) / width));
    let low = Infinity;
    let high = -Infinity;
    for (let i = start; i < end; i++) {
      low = Math.min(low, waveform[i]);
      high = Math.max(high, waveform[i]);
    }
    context.fillStyle = color(start < own ? "--accent" : "--muted-bar");
    context.fillRect(x, middle * (1 - high), 1, Math.max(middle * (high - low), ratio));
  }
}

/**
 * Draws a log Mel spectrogram, time to the right and frequency upwards.
 *
 * @param {HTMLCanvasElement} canvas
 * @param {Float32Array} waveform At least 512 samples.
 * @param {number} sampleRate In Hz.
 */
export function drawLogMel(canvas, waveform, sampleRate) {
  shades ??= readShades();
  const levels = logMel(waveform, sampleRate, Math.ceil(waveform.length / MOST_FRAMES));
  const top = levels.reduce((most, level) => Math.max(most, level), QUIETEST_TOP_DB);
  const frames = levels.length / BANDS;
  const image = new ImageData(frames, BANDS);
  levels.forEach((level, i) => {
    const shade = Math.max(0, Math.round((SHADES - 1) * (1 - (top - level) / RANGE_DB)));
    const x = Math.floor(i / BANDS);
    const y = BANDS - 1 - (i % BANDS);
    image.data.set(shades.subarray(4 * shade, 4 * shade + 4), 4 * (y * frames + x));
  });
  canvas.width = frames;
  canvas.height = BANDS;
  canvas.getContext("2d").putImageData(image, 0, 0);
}

/**
 * Labels the frequency axis of the log Mel picture.
 *
 * @param {HTMLElement} axis
 * @param {number} sampleRate In Hz.
 */
export function writeFrequencies(axis, sampleRate) {
  const ticks = TICKS_HZ.filter((hz) => hz < sampleRate / 2);
  axis.replaceChildren(
    ...ticks.map((hz) => {
      const tick = document.createElement("span");
      tick.textContent = hz;
      tick.style.bottom = `${100 * height(hz, sampleRate)}%`;
      return tick;
    }),
  );
}

/**
 * Labels the time axis of the pictures.
 *
 * @param {HTMLElement} axis
 * @param {number} seconds Length of the pictures.
 * @param {number} start Time of their first sample in seconds.
 * @param {boolean} live Whether the pictures end now.
 */
export function writeTimes(axis, seconds, start, live) {
  const steps = Number.isInteger(seconds) && seconds <= MOST_STEPS ? seconds : 2;
  const ticks = Array.from({ length: steps + 1 }, (_, i) => {
    const time = +((seconds * i) / steps + (live ? -seconds : start)).toFixed(2);
    const tick = document.createElement("span");
    tick.textContent = live && time === 0 ? "now" : `${time} s`.replace("-", "−");
    return tick;
  });
  axis.replaceChildren(...ticks);
}

function color(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name);
}

/** The colour gradient of style.css in even steps, as RGBA. */
function readShades() {
  const canvas = document.createElement("canvas");
  canvas.width = SHADES;
  canvas.height = 1;
  const context = canvas.getContext("2d");
  const gradient = context.createLinearGradient(0, 0, SHADES, 0);
  [0, 1, 2, 3].forEach((stop) => gradient.addColorStop(stop / 3, color(`--heat-${stop}`)));
  context.fillStyle = gradient;
  context.fillRect(0, 0, SHADES, 1);
  return context.getImageData(0, 0, SHADES, 1).data;
}
