// From an audio file to the samples that the recogniser hears, as `ser_nsl.audio.clip` does in Python.

import { Problem } from "./problem.js";
import { Resampler } from "./resampler.js";

const USUAL_RATE = 48_000; // where a file does not tell its own
const LOWEST_RATE = 8_000; // that every browser decodes to
const HIGHEST_RATE = 96_000;
const SILENCE_PEAK = 1e-4; // as in ser_nsl.audio.clip

/**
 * Reads a recording as mono speech.
 *
 * The browser decodes, at the file's own rate where that is known, since its resampler dulls
 * what lies above 6 kHz by some decibels. Channels are averaged.
 *
 * @param {File} file Any audio that the browser can decode.
 * @param {number} sampleRate Of the result, in Hz.
 * @returns {Promise<Float32Array>} Samples, nominally in [-1, 1].
 * @throws {Problem} If the file is no audio, empty or silent.
 */
export async function readRecording(file, sampleRate) {
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
  const waveform = resample(mono(audio), audio.sampleRate, sampleRate);
  if (peak(waveform) < SILENCE_PEAK) {
    throw new Problem(`${file.name} is silent. Choose another recording.`);
  }
  return waveform;
}

/** The sample rate that the header of a WAV or FLAC file tells. */
function storedRate(file) {
  let rate = USUAL_RATE;
  if (tag(file, 0) === "RIFF" && tag(file, 12) === "fmt ") rate = file.getUint32(24, true);
  if (tag(file, 0) === "fLaC") rate = file.getUint32(18) >>> 12; // the first 20 bits
  return LOWEST_RATE <= rate && rate <= HIGHEST_RATE ? rate : USUAL_RATE;
}

function tag(file, at) {
  return String.fromCharCode(...[0, 1, 2, 3].map((i) => file.getUint8(at + i)));
}

function resample(waveform, from, to) {
  const resampler = new Resampler(from, to);
  const followed = new Float32Array(waveform.length + resampler.lag); // by silence
  followed.set(waveform);
  return resampler.push(followed).slice(0, Math.ceil((waveform.length * to) / from));
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
 * Cuts a clip at the end, or repeats it from its beginning, to a number of samples.
 *
 * @param {Float32Array} waveform Not empty.
 * @param {number} samples Length of the result.
 * @returns {Float32Array}
 */
export function fitLength(waveform, samples) {
  return Float32Array.from({ length: samples }, (_, i) => waveform[i % waveform.length]);
}

/**
 * The largest absolute sample; 0 if there is none.
 *
 * @param {Float32Array} waveform
 * @returns {number}
 */
export function peak(waveform) {
  return waveform.reduce((largest, sample) => Math.max(largest, Math.abs(sample)), 0);
}
