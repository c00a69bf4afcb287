// Shows how probable each emotion is.

/** The bars and the answer above them, smoothed over time. */
export class Answers {
  #labels;
  #rows;
  #shown = null; // probabilities, in the order of the labels

  /**
   * @param {string[]} labels Emotions in the order of the recogniser's probabilities.
   */
  constructor(labels) {
    this.#labels = labels;
    this.#rows = labels.map(makeRow);
    document.getElementById("bars").replaceChildren(...this.#rows);
    this.clear();
  }

  /** The most probable emotion and its probability, as text; null before the first answer. */
  get summary() {
    if (!this.#shown) return null;
    const top = this.#top();
    return { label: this.#labels[top], percent: percent(this.#shown[top]) };
  }

  /** Shows that there is no answer. */
  clear() {
    this.#shown = null;
    this.#write();
  }

  /**
   * Shows an answer.
   *
   * @param {Float32Array} probabilities In the order of the labels.
   * @param {number} weight Weight of this answer against the previous ones; 1 ignores those.
   */
  show(probabilities, weight) {
    const before = this.#shown ?? probabilities;
    this.#shown = probabilities.map((now, i) => weight * now + (1 - weight) * before[i]);
    this.#write();
  }

  #top() {
    return this.#shown.indexOf(Math.max(...this.#shown));
  }

  #write() {
    const { summary } = this;
    document.getElementById("answer").textContent = summary?.label ?? "Nothing yet";
    document.getElementById("share").textContent = summary?.percent ?? "";
    document.getElementById("answer").parentElement.classList.toggle("none", !summary);
    this.#rows.forEach((row, i) => {
      const probability = this.#shown?.[i] ?? 0;
      row.classList.toggle("top", summary !== null && i === this.#top());
      const bar = row.querySelector(".bar");
      bar.setAttribute("aria-valuenow", probability.toFixed(4));
      bar.setAttribute("aria-valuetext", percent(probability));
      bar.firstElementChild.style.transform = `scaleX(${probability})`;
      row.querySelector(".percent").textContent = summary ? percent(probability) : "";
    });
  }
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

function percent(probability) {
  return `${Math.round(100 * probability)} %`;
}
