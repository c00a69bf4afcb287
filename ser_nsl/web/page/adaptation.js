// How a speaker usually sounds to a recogniser, as `ser_nsl.edge.Adaptation` learns it.

import { hasSpeech, NO_SPEECH } from "./recognizer.js";

const PRIOR_SECONDS = 30; // of speech that sounds like that of many speakers
const FLOOR = 1e-6; // of a probability, before its logarithm

/** Running statistics of one speaker. */
export class Adaptation {
  #labels;
  #typical;
  #sum;

  /** Seconds of speech heard. */
  seconds = 0;

  /**
   * @param {Recognizer} recognizer One with `typical`.
   * @param {?object} saved What `toJSON` gave for the same recogniser; else it starts anew.
   */
  constructor({ labels, typical }, saved) {
    this.#labels = labels;
    this.#typical = typical;
    this.#sum = typical.map(() => 0);
    if (isStatistics(saved, this.#emotions, typical)) {
      this.seconds = saved.seconds;
      this.#sum = saved.sum;
    }
  }

  /**
   * Learns from a window, unless it is no speech.
   *
   * @param {Float32Array} probabilities In the order of the labels, as the recogniser gave them.
   * @param {number} seconds How much of the window was in no window before.
   */
  learn(probabilities, seconds) {
    if (!hasSpeech(this.#labels, probabilities)) return;
    this.seconds += seconds;
    this.#logarithms(probabilities).forEach((logarithm, i) => {
      this.#sum[i] += seconds * (logarithm - this.#typical[i]);
    });
  }

  /**
   * Adapts an answer to the speaker.
   *
   * @param {Float32Array} probabilities In the order of the labels.
   * @returns {Float32Array} The same, with what is usual for the speaker taken off.
   */
  adapt(probabilities) {
    const shifted = this.#logarithms(probabilities).map((logarithm, i) =>
      Math.exp(logarithm - this.#sum[i] / (this.seconds + PRIOR_SECONDS)),
    );
    const share = (1 - this.#noSpeech(probabilities)) / total(shifted);
    const adapted = shifted.values();
    return probabilities.map((probability, i) =>
      this.#labels[i] === NO_SPEECH ? probability : adapted.next().value * share,
    );
  }

  /** What the next `Adaptation` starts from. */
  toJSON() {
    return {
      labels: this.#emotions,
      typical: this.#typical,
      seconds: this.seconds,
      sum: this.#sum,
    };
  }

  get #emotions() {
    return this.#labels.filter((label) => label !== NO_SPEECH);
  }

  #noSpeech(probabilities) {
    return probabilities[this.#labels.indexOf(NO_SPEECH)] ?? 0;
  }

  /** Logarithms of the emotions' probabilities, as if there were speech for sure. */
  #logarithms(probabilities) {
    const emotions = [...probabilities].filter((_, i) => this.#labels[i] !== NO_SPEECH);
    const sum = total(emotions) || 1; // int8 files can be so sure of no speech that nothing is left
    return emotions.map((probability) => Math.log(Math.max(probability / sum, FLOOR)));
  }
}

function isStatistics(saved, emotions, typical) {
  return (
    saved?.labels?.join("\n") === emotions.join("\n") &&
    saved.typical?.join() === typical.join() &&
    Number.isFinite(saved.seconds) &&
    saved.seconds >= 0 &&
    saved.sum?.length === emotions.length &&
    saved.sum.every(Number.isFinite)
  );
}

function total(numbers) {
  return numbers.reduce((sum, number) => sum + number, 0);
}
