// The switch that adapts answers to one speaker, what was heard of them, and its reset.

import { Adaptation } from "./adaptation.js";
import { keep, recall } from "./kept.js";

const element = (id) => document.getElementById(id);

/** The speaker to whom a recogniser's answers are adapted, if the switch is on. */
export class Speaker {
  #recognizer;
  #adaptation;

  /**
   * Shows the switch as it was left for this recogniser; hides it if the recogniser cannot adapt.
   *
   * @param {Recognizer} recognizer
   * @param {() => void} onChange Called when the user has switched or reset it.
   */
  constructor(recognizer, onChange) {
    this.#recognizer = recognizer;
    element("speaker").hidden = !recognizer.typical;
    if (!recognizer.typical) return;
    this.#adaptation = new Adaptation(recognizer, recall(this.#name));
    element("adapt").checked = recall(`${this.#name}, on`) === true;
    element("adapt").onchange = () => {
      keep(`${this.#name}, on`, element("adapt").checked);
      onChange();
    };
    element("forget").onclick = () => {
      this.#adaptation = new Adaptation(recognizer, null);
      this.#write();
      onChange();
    };
    this.#write();
  }

  /** Whether answers are adapted. */
  get adapts() {
    return Boolean(this.#adaptation) && element("adapt").checked;
  }

  /**
   * Learns from a window, then adapts its answer, if the switch is on.
   *
   * @param {Float32Array} probabilities The recogniser's answer for the window.
   * @param {number} newSeconds How much of it was in no window before; 0 learns nothing.
   * @returns {Float32Array} The answer to show.
   */
  hear(probabilities, newSeconds) {
    if (!this.adapts) return probabilities;
    this.#adaptation.learn(probabilities, newSeconds);
    this.#write();
    return this.#adaptation.adapt(probabilities);
  }

  get #name() {
    return `speaker of ${this.#recognizer.url}`;
  }

  #write() {
    const { seconds } = this.#adaptation;
    keep(this.#name, this.#adaptation);
    element("heard").textContent = `${seconds.toFixed(seconds < 10 ? 1 : 0)} s of speech heard`;
    element("forget").disabled = seconds === 0;
  }
}
