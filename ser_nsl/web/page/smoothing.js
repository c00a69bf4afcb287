/** The mean of the latest answers for a microphone, as `ser_nsl.edge.Stream` has it. */
export class Smoothing {
  #decay;
  #sum = null;
  #weight = 0;

  /**
   * @param {number} hopSeconds Time from one answer to the next.
   * @param {number} seconds Age at which an answer's weight has fallen to 1/e.
   */
  constructor(hopSeconds, seconds) {
    this.#decay = Math.exp(-hopSeconds / seconds);
  }

  /**
   * @param {Float32Array} probabilities The newest answer.
   * @returns {Float32Array} The mean of it and the earlier ones.
   */
  add(probabilities) {
    const before = this.#sum ?? probabilities.map(() => 0);
    this.#sum = probabilities.map((now, i) => now + this.#decay * before[i]);
    this.#weight = 1 + this.#decay * this.#weight;
    return this.#sum.map((sum) => sum / this.#weight);
  }

  /** Forgets the earlier answers, as after silence. */
  reset() {
    this.#sum = null;
    this.#weight = 0;
  }
}
