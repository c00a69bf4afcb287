// From an audio file to the input of the recogniser, as `ser_nsl.audio.clip` does it in Python.

import { Problem } from "./problem.js";

const USUAL_RATE = 48_000; // for files whose header is not read here
const LOWEST_RATE = 8_000; // every browser decodes to rates from here
const HIGHEST_RATE = 96_000; // to here
const MARGIN_SECONDS = 0.1; // more than the resampling filter is long
const SILENCE_PEAK = 1e-4; // as in ser_nsl.audio.clip

/**
 * Reads the beginning of a recording as mono speech.
 *
 * The browser decodes it, at the file's own rate where that is known, since the browser's
 * resampler loses some decibels above 6 kHz. Channels are averaged.
 *
 * @param {File} file Any audio that the browser can decode.
 * @param {number} sampleRate Of the result, in Hz.
 * @param {number} samples Maximum length of the result.
 * @returns {Promise<{waveform: Float32Array, duration: number}>} Samples, nominally in [-1, 1],
 *   and the length of the whole recording in seconds.
 * @throws {Problem} If the file is not audio, empty or silent.
 */
export async function readRecording(file, sampleRate, samples) {
  let audio;
  try {
    const bytes = await file.arrayBuffer();
    const context = new OfflineAudioContext(1, 1, storedRate(new DataView(bytes)));
    audio = await context.decodeAudioData(bytes);
  } catch (error) {
    throw new Problem(
      `${file.name} cannot be read as audio. Choose a WAV, MP3, OGG, FLAC or M4A recording.`,
      error,
    );
  }
  const whole = mono(audio);
  const needed = Math.ceil((samples / sampleRate + MARGIN_SECONDS) * audio.sampleRate);
  const start = await resample(whole.slice(0, needed), audio.sampleRate, sampleRate);
  if (start.length === 0 || peak(whole) < SILENCE_PEAK) {
    throw new Problem(`${file.name} is silent. Choose another recording.`);
  }
  return { waveform: start.slice(0, samples), duration: audio.duration };
}

/** The sample rate in the header of a WAV or FLAC file. */
function storedRate(file) {
  let rate = USUAL_RATE;
  if (tag(file, 0) === "RIFF" && tag(file, 12) === "fmt ") rate = file.getUint32(24, true);
  if (tag(file, 0) === "fLaC") rate = file.getUint32(18) >>> 12; // the first 20 bits
  return LOWEST_RATE <= rate && rate <= HIGHEST_RATE ? rate : USUAL_RATE;
}

function tag(file, at) {
  return String.fromCharCode(...[0, 1, 2, 3].map((i) => file.getUint8(at + i)));
}

async function resample(waveform, from, to) {
  const { create, ConverterType } = globalThis.LibSampleRate; // see index.html
  const resampler = await create(1, from, to, {
    converterType: ConverterType.SRC_SINC_BEST_QUALITY,
  });
  const resampled = resampler.simple(waveform);
  resampler.destroy();
  return resampled;
}

function mono(audio) {
  const waveform = new Float32Array(audio.length);
  for (let channel = 0; channel < audio.numberOfChannels; channel++) {
    const samples = audio.getChannelData(channel);
    for (let i = 0; i < samples.length; i++) waveform[i] += samples[i] / audio.numberOfChannels;
  }
  return waveform;
}

/**
 * Cuts a clip at the end, or repeats it from its beginning, to a given number of samples.
 *
 * @param {Float32Array} waveform Not empty.
 * @param {number} samples Length of the result.
 * @returns {Float32Array}
 */
export function fitLength(waveform, samples) {
  return Float32Array.from({ length: samples }, (_, i) => waveform[i % waveform.length]);
}

/**
 * The largest absolute value; 0 if there are no samples.
 *
 * @param {Float32Array} waveform
 * @returns {number}
 */
export function peak(waveform) {
  return waveform.reduce((largest, sample) => Math.max(largest, Math.abs(sample)), 0);
}
