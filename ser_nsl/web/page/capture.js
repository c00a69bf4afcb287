// Runs on the browser's audio thread and sends the microphone's samples to the page.

const BLOCK = 1024; // about 20 ms, so that the page is not called for every 128 samples

class Capture extends AudioWorkletProcessor {
  #block = new Float32Array(BLOCK);
  #filled = 0;

  process([[samples]]) {
    // There are no samples while the microphone delivers none, else 128, which divides BLOCK.
    if (samples) {
      this.#block.set(samples, this.#filled);
      this.#filled += samples.length;
      if (this.#filled === BLOCK) {
        this.port.postMessage(this.#block);
        this.#filled = 0;
      }
    }
    return true;
  }
}

registerProcessor("capture", Capture);
