// Reads an audio file and resamples parts of it, as `ser_nsl.audio.clip` does it in Python.

import { Problem } from "./problem.js";

const USUAL_RATE = 48_000; // for files whose header is not read here
const LOWEST_RATE = 8_000; // every browser decodes to rates from here
const HIGHEST_RATE = 96_000; // to here
const MARGIN_SECONDS = 0.1; // more than the resampling filter is long

/** Audio with a lower peak is silent, as in `ser_nsl.audio.clip`. */
export const SILENCE_PEAK = 1e-4;

/**
 * Reads a recording as mono speech.
 *
 * The browser decodes it, at the file's own rate where that is known, since the browser's
 * resampler loses some decibels above 6 kHz. Channels are averaged.
 *
 * @param {File} file Any audio that the browser can decode.
 * @returns {Promise<{name: string, waveform: Float32Array, rate: number}>} The file's name, its
 *   samples, nominally in [-1, 1], and their rate in Hz.
 * @throws {Problem} If the file is not audio, or empty.
 */
export async function readRecording(file) {
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
  if (!audio.length) throw new Problem(`${file.name} holds no sound. Choose another recording.`);
  return { name: file.name, waveform: mono(audio), rate: audio.sampleRate };
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

function mono(audio) {
  const waveform = new Float32Array(audio.length);
  for (let channel = 0; channel < audio.numberOfChannels; channel++) {
    const samples = audio.getChannelData(channel);
    for (let i = 0; i < samples.length; i++) waveform[i] += samples[i] / audio.numberOfChannels;
  }
  return waveform;
}

/**
 * Makes a function that resamples one part of a recording after another.
 *
 * @param {number} from Sample rate of the recording, in Hz.
 * @param {number} to Sample rate of the results.
 * @returns {Promise<(part: Float32Array) => Float32Array>}
 */
export async function makeResampler(from, to) {
  const { create, ConverterType } = globalThis.LibSampleRate; // see index.html
  const resampler = await create(1, from, to, {
    converterType: ConverterType.SRC_SINC_BEST_QUALITY,
  });
  return (part) => {
    const padded = new Float32Array(part.length + Math.ceil(MARGIN_SECONDS * from));
    padded.set(part); // zeros follow, as behind the end of a file
    return resampler.simple(padded).slice(0, Math.ceil((part.length * to) / from));
  };
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
