// The answers for a recording over time, of which one is chosen to be shown.

const element = (id) => document.getElementById(id);

/** A list of answers: the whole recording first, then its windows. */
export class Timeline {
  #choose;
  #rows = [];

  /**
   * Shows an empty list.
   *
   * @param {(index: number) => void} choose Called with the number of a window that was chosen;
   *   -1 for the whole recording.
   */
  constructor(choose) {
    this.#choose = choose;
    element("windows").replaceChildren();
    element("timeline").hidden = true;
    this.add("whole", { label: "…", percent: "", probability: 0 });
    this.#rows[0].disabled = true; // until it is known
  }

  /**
   * Adds the next window; the list is seen from the second one on.
   *
   * @param {string} time
   * @param {{label: string, percent: string, probability: number}} answer
   */
  add(time, answer) {
    const index = this.#rows.length - 1;
    const button = document.createElement("button");
    button.type = "button";
    button.append(
      ...["time", "label", "percent", "bar"].map((className) => {
        const part = document.createElement("span");
        part.className = className;
        return part;
      }),
    );
    button.querySelector(".time").textContent = time;
    button.onclick = () => this.#choose(index);
    this.#rows.push(button);
    write(button, answer);
    const item = document.createElement("li");
    item.append(button);
    element("windows").append(item);
    element("timeline").hidden = index < 1;
  }

  /**
   * Writes the answer for the whole recording.
   *
   * @param {{label: string, percent: string, probability: number}} answer
   */
  finish(answer) {
    write(this.#rows[0], answer);
    this.#rows[0].disabled = false;
  }

  /**
   * Marks the answer that is shown.
   *
   * @param {number} index -1 for the whole recording.
   */
  mark(index) {
    this.#rows.forEach((row, i) => row.setAttribute("aria-pressed", i === index + 1));
  }
}

function write(button, { label, percent, probability }) {
  button.querySelector(".label").textContent = label;
  button.querySelector(".percent").textContent = percent;
  button.querySelector(".bar").style.transform = `scaleX(${probability})`;
}
