// Runs on the browser's audio thread: hands the microphone's samples to the page.

const BLOCK = 1024; // about 20 ms, so that the page is not called for each 128 samples

class Capture extends AudioWorkletProcessor {
  #block = new Float32Array(BLOCK);
  #filled = 0;

  process([[samples]]) {
    // Without samples, the microphone gives nothing at present; with them, 128 that divide BLOCK.
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
