// The microphone as a window of its latest samples, at the recogniser's rate.

import { Problem } from "./problem.js";

// As in the recordings of training: what browsers do for calls alters a voice.
const UNPROCESSED = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };

const REASONS = {
  NotAllowedError:
    "The microphone was refused. Allow it for this page in the browser's settings, then press " +
    "Listen again.",
  NotFoundError: "No microphone was found. Connect one, or open a recording.",
  NotReadableError:
    "The microphone cannot be used; another program may have it. Close that, then press Listen " +
    "again.",
};

/** A microphone that records until it is closed. */
export class Microphone {
  #stream;
  #context;

  /** The latest samples, oldest first; zeros where none have come yet. */
  window;

  /** Number of samples recorded so far. */
  recorded = 0;

  /**
   * @param {number} samples Length of `window`.
   */
  constructor(samples) {
    this.window = new Float32Array(samples);
  }

  /**
   * Asks for the microphone and starts recording.
   *
   * @param {number} sampleRate Of `window`, in Hz.
   * @param {() => void} onSound Called whenever `window` has new samples.
   * @param {() => void} onEnd Called if the microphone is disconnected.
   * @throws {Problem} If the browser, the user or the device refuses.
   */
  async open(sampleRate, onSound, onEnd) {
    if (!window.isSecureContext) {
      throw new Problem(
        "Browsers give the microphone to pages on https or localhost only. Open this page there, " +
          "or open a recording.",
      );
    }
    if (!navigator.mediaDevices || !window.AudioWorkletNode) {
      throw new Problem("This browser gives pages no microphone. Open a recording.");
    }
    const { create, ConverterType } = globalThis.LibSampleRate; // see index.html
    let resampler;
    try {
      this.#stream = await navigator.mediaDevices.getUserMedia({ audio: UNPROCESSED });
      // At the device's own rate, since Firefox connects no stream to a context of another rate.
      this.#context = new AudioContext();
      await this.#context.audioWorklet.addModule("capture.js");
      await this.#context.resume();
      resampler = await create(1, this.#context.sampleRate, sampleRate, {
        converterType: ConverterType.SRC_SINC_MEDIUM_QUALITY, // a third of the work of the best
      });
    } catch (error) {
      this.close();
      const reason = REASONS[error.name] ?? `The microphone cannot be used (${error.message}).`;
      throw new Problem(reason, error);
    }
    const capture = new AudioWorkletNode(this.#context, "capture", {
      channelCount: 1, // the average of all
      channelCountMode: "explicit",
    });
    capture.port.onmessage = ({ data }) => {
      this.#add(resampler.full(data));
      onSound();
    };
    this.#stream.getAudioTracks()[0].onended = onEnd;
    const source = this.#context.createMediaStreamSource(this.#stream);
    // Its output is silence, but some browsers run only nodes that lead to the loudspeaker.
    source.connect(capture).connect(this.#context.destination);
  }

  #add(samples) {
    this.window.copyWithin(0, samples.length);
    this.window.set(samples, this.window.length - samples.length);
    this.recorded += samples.length;
  }

  /** Stops recording and releases the microphone. */
  close() {
    this.#stream?.getTracks().forEach((track) => track.stop());
    this.#context?.close();
  }
}
