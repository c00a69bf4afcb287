// Log Mel spectrogram for display: the default settings of `ser_nsl.audio.front_end`, with
// librosa's Mel filters, whatever settings the recogniser itself has.

export const BANDS = 64;
const WINDOW = 512;
const HOP = 256; // and the shortest one
const POWER_FLOOR = 1e-10; // -100 dB

// Slaney's Mel scale: linear up to 1 kHz, logarithmic above (Auditory Toolbox, 1998).
const HZ_PER_MEL = 200 / 3;
const BREAK_HZ = 1000;
const LOG_STEP = Math.log(6.4) / 27;

const angles = Float64Array.from({ length: WINDOW }, (_, i) => (2 * Math.PI * i) / WINDOW);
const cosines = angles.map(Math.cos);
const sines = angles.map(Math.sin);
const hann = cosines.map((cosine) => 0.5 - 0.5 * cosine);
const filtersByRate = new Map();

/**
 * Computes log Mel frames.
 *
 * @param {Float32Array} waveform At least one window (512 samples) long.
 * @param {number} sampleRate In Hz.
 * @param {number} [hop] Samples from one frame to the next, if more than usual.
 * @returns {Float32Array} Frame after frame, each of `BANDS` values in dB from the lowest band up.
 */
export function logMel(waveform, sampleRate, hop = HOP) {
  if (!filtersByRate.has(sampleRate)) filtersByRate.set(sampleRate, melFilters(sampleRate));
  const filters = filtersByRate.get(sampleRate);
  const step = Math.max(hop, HOP);
  const frames = Math.floor((waveform.length - WINDOW) / step) + 1;
  const result = new Float32Array(frames * BANDS);
  const real = new Float64Array(WINDOW);
  const imaginary = new Float64Array(WINDOW);
  for (let frame = 0; frame < frames; frame++) {
    for (let i = 0; i < WINDOW; i++) real[i] = hann[i] * waveform[frame * step + i];
    imaginary.fill(0);
    fourier(real, imaginary);
    filters.forEach(({ first, weights }, band) => {
      let power = 0;
      weights.forEach((weight, i) => {
        power += weight * (real[first + i] ** 2 + imaginary[first + i] ** 2);
      });
      result[frame * BANDS + band] = 10 * Math.log10(Math.max(power, POWER_FLOOR));
    });
  }
  return result;
}

/**
 * Position of a frequency in a picture whose rows are the bands.
 *
 * @param {number} hz
 * @param {number} sampleRate In Hz.
 * @returns {number} From 0, the bottom, to 1, the top.
 */
export function height(hz, sampleRate) {
  // Band b is centred on the (b + 1)th of BANDS + 1 equal steps, and in the middle of its row.
  const step = (toMel(hz) / toMel(sampleRate / 2)) * (BANDS + 1);
  return (step - 0.5) / BANDS;
}

/** Triangular filters of area 1 over the FFT bins, without the zeros around each triangle. */
function melFilters(sampleRate) {
  const top = toMel(sampleRate / 2);
  const edges = Array.from({ length: BANDS + 2 }, (_, i) => toHz((top * i) / (BANDS + 1)));
  return Array.from({ length: BANDS }, (_, band) => {
    const [low, middle, high] = edges.slice(band, band + 3);
    const weights = Array.from({ length: WINDOW / 2 + 1 }, (_, bin) => {
      const hz = (bin * sampleRate) / WINDOW;
      const slope = Math.min((hz - low) / (middle - low), (high - hz) / (high - middle));
      return (Math.max(0, slope) * 2) / (high - low);
    });
    const first = weights.findIndex((weight) => weight > 0);
    return { first, weights: weights.filter((weight) => weight > 0) };
  });
}

function toMel(hz) {
  if (hz < BREAK_HZ) return hz / HZ_PER_MEL;
  return BREAK_HZ / HZ_PER_MEL + Math.log(hz / BREAK_HZ) / LOG_STEP;
}

function toHz(mel) {
  const logarithmic = mel - BREAK_HZ / HZ_PER_MEL;
  return logarithmic < 0 ? mel * HZ_PER_MEL : BREAK_HZ * Math.exp(LOG_STEP * logarithmic);
}

/** Fast Fourier transform in place (Cooley-Tukey, radix 2) of length `WINDOW`. */
function fourier(real, imaginary) {
  for (let i = 0, j = 0; i < WINDOW; i++) {
    if (i < j) {
      [real[i], real[j]] = [real[j], real[i]];
      [imaginary[i], imaginary[j]] = [imaginary[j], imaginary[i]];
    }
    let bit = WINDOW >> 1;
    for (; j & bit; bit >>= 1) j ^= bit; // j counts up with its bits reversed
    j ^= bit;
  }
  for (let size = 2; size <= WINDOW; size *= 2) {
    const half = size / 2;
    for (let start = 0; start < WINDOW; start += size) {
      for (let k = 0; k < half; k++) {
        const cosine = cosines[(k * WINDOW) / size];
        const sine = sines[(k * WINDOW) / size];
        const a = start + k;
        const b = a + half;
        const x = real[b] * cosine + imaginary[b] * sine;
        const y = imaginary[b] * cosine - real[b] * sine;
        real[b] = real[a] - x;
        imaginary[b] = imaginary[a] - y;
        real[a] += x;
        imaginary[a] += y;
      }
    }
  }
}
