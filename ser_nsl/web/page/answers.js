// What the page answers: headline, bars and status, which are written together and so agree.

import { NO_SPEECH } from "./recognizer.js";

const NOTHING = { label: "nothing yet", percent: "", probability: 0, top: -1 };
const element = (id) => document.getElementById(id);

/** The headline, the bars, and the status or problem above them. */
export class Answers {
  #recognizer;
  #rows;
  #label = null; // of the answer that is shown

  /**
   * @param {Recognizer} recognizer Whose labels and whose limit of certainty count.
   */
  constructor(recognizer) {
    this.#recognizer = recognizer;
    this.#rows = recognizer.labels.map(makeRow);
    element("bars").replaceChildren(...this.#rows);
  }

  /**
   * Shows an answer.
   *
   * @param {?Float32Array} probabilities In the order of the labels; null for silence.
   * @param {(answer: {label: string, percent: string}) => string} tell Makes the status.
   */
  show(probabilities, tell) {
    const answer = interpret(this.#recognizer, probabilities);
    this.#write(probabilities, answer);
    this.#label = answer.label;
    say(tell(answer));
  }

  /**
   * Shows that there is no answer yet.
   *
   * @param {string} status
   */
  clear(status) {
    this.#write(null, NOTHING);
    this.#label = null;
    say(status);
  }

  /** What the headline says; null before the first answer. */
  get label() {
    return this.#label;
  }

  #write(probabilities, { label, percent, top }) {
    element("answer").textContent = label;
    element("share").textContent = percent;
    element("answer").parentElement.classList.toggle("none", !percent);
    this.#rows.forEach((row, i) => {
      const probability = probabilities?.[i] ?? 0;
      row.classList.toggle("top", i === top);
      const bar = row.querySelector(".bar");
      bar.setAttribute("aria-valuenow", probability.toFixed(4));
      bar.setAttribute("aria-valuetext", inPercent(probability));
      bar.firstElementChild.style.transform = `scaleX(${probability})`;
      row.querySelector(".percent").textContent = probabilities ? inPercent(probability) : "";
    });
  }
}

/**
 * Says what probabilities mean.
 *
 * @param {Recognizer} recognizer
 * @param {?Float32Array} probabilities In the order of the labels; null for silence.
 * @returns {{label: string, percent: string, probability: number, top: number}} The most probable
 *   emotion, its probability and its place among the labels; or "no speech" or "not sure".
 */
export function interpret({ labels, abstainBelow }, probabilities) {
  const top = probabilities ? probabilities.indexOf(Math.max(...probabilities)) : -1;
  if (top < 0 || labels[top] === NO_SPEECH) return { ...NOTHING, label: NO_SPEECH };
  const probability = probabilities[top];
  if (probability < abstainBelow) return { ...NOTHING, label: "not sure" };
  return { label: labels[top], percent: inPercent(probability), probability, top };
}

/**
 * Writes the status, in place of a problem.
 *
 * @param {string} status
 */
export function say(status) {
  element("problem").hidden = true;
  element("status").textContent = status;
}

/**
 * Writes a problem, in place of the status.
 *
 * @param {string} problem
 */
export function warn(problem) {
  element("status").textContent = "";
  element("problem").textContent = problem;
  element("problem").hidden = false;
}

function makeRow(label) {
  const row = document.createElement("li");
  const [name, bar, share] = ["name", "bar", "percent"].map((className) => {
    const part = document.createElement("span");
    part.className = className;
    return part;
  });
  name.textContent = label;
  bar.setAttribute("role", "meter");
  bar.setAttribute("aria-label", label);
  bar.setAttribute("aria-valuemin", "0");
  bar.setAttribute("aria-valuemax", "1");
  bar.append(document.createElement("i"));
  share.setAttribute("aria-hidden", "true"); // the bar has the same value
  row.append(name, bar, share);
  return row;
}

function inPercent(probability) {
  return `${Math.round(100 * probability)} %`;
}
