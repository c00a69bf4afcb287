// Changes the sample rate of sound that comes in blocks.

const ZERO_CROSSINGS = 32; // on each side of the sinc: decides how steep the filter is
const PASS_BAND = 0.95; // of half the lower rate, since the filter needs room to fall
const KAISER_BETA = 9; // 90 dB down beyond

/**
 * A polyphase filter: a sinc in a Kaiser window, sampled once for each place that an output can
 * have between two inputs (Oppenheim and Schafer, Discrete-Time Signal Processing, 4.6 and 7.5).
 */
export class Resampler {
  #up; // outputs in
  #down; // as much time as so many inputs
  #half; // inputs on each side of an output
  #kernels; // by place between two inputs, in 1/up
  #tail; // inputs that further outputs need
  #next = 0; // place of the next output after tail[half - 1], in 1/up of an input

  /**
   * @param {number} from Rate of the inputs, a whole number of Hz.
   * @param {number} to Rate of the outputs, a whole number of Hz.
   */
  constructor(from, to) {
    const divisor = greatestCommonDivisor(from, to);
    this.#up = to / divisor;
    this.#down = from / divisor;
    this.#half = Math.ceil(ZERO_CROSSINGS * Math.max(1, from / to));
    this.#kernels = this.#up === this.#down ? null : kernels(this.#up, this.#half, from, to);
    this.#tail = new Float32Array(this.#half - 1); // silence before the first input
  }

  /** Number of inputs that must follow an output's time before it is complete. */
  get lag() {
    return this.#half;
  }

  /**
   * Takes a block of inputs.
   *
   * @param {Float32Array} block Any length.
   * @returns {Float32Array} The outputs that are complete with it; output `n` of all belongs to
   *   the time of input `n * from / to`.
   */
  push(block) {
    if (!this.#kernels) return block;
    const inputs = new Float32Array(this.#tail.length + block.length);
    inputs.set(this.#tail);
    inputs.set(block, this.#tail.length);
    const width = 2 * this.#half;
    const outputs = [];
    let start = Math.floor(this.#next / this.#up);
    while (start + width <= inputs.length) {
      const kernel = this.#kernels[this.#next % this.#up];
      let sum = 0;
      for (let i = 0; i < width; i++) sum += kernel[i] * inputs[start + i];
      outputs.push(sum);
      this.#next += this.#down;
      start = Math.floor(this.#next / this.#up);
    }
    // When the rate falls by more than a block has samples, the next output may lie ahead.
    const done = Math.min(start, inputs.length);
    this.#tail = inputs.slice(done);
    this.#next -= done * this.#up;
    return Float32Array.from(outputs);
  }
}

function kernels(places, half, from, to) {
  const cutoff = (PASS_BAND * Math.min(from, to)) / from; // of half the inputs' rate
  return Array.from({ length: places }, (_, place) =>
    Float32Array.from({ length: 2 * half }, (_, i) => {
      const distance = i - (half - 1) - place / places; // in inputs
      return cutoff * sinc(cutoff * distance) * kaiser(distance / half);
    }),
  );
}

function sinc(x) {
  return x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x);
}

function kaiser(x) {
  return Math.abs(x) > 1 ? 0 : bessel(KAISER_BETA * Math.sqrt(1 - x * x)) / bessel(KAISER_BETA);
}

/** Modified Bessel function of the first kind and order 0, by its power series. */
function bessel(x) {
  let sum = 1;
  for (let k = 1, term = 1; term > 1e-12 * sum; k++) {
    term *= (x / (2 * k)) ** 2;
    sum += term;
  }
  return sum;
}

function greatestCommonDivisor(a, b) {
  return b === 0 ? a : greatestCommonDivisor(b, a % b);
}
