// A recording: heard to its end, and shown whole or window by window.

import { interpret } from "./answers.js";
import { showLatency } from "./facts.js";
import { hasSpeech } from "./recognizer.js";
import { fitLength } from "./recording.js";
import { drawSound } from "./sound.js";
import { Timeline } from "./timeline.js";
import { average, hear } from "./windows.js";

const PAUSE_MS = 50; // after which the browser may draw

/**
 * Hears a recording and shows its answers.
 *
 * @param {{recognizer: Recognizer, answers: Answers, speaker: Speaker}} listener
 * @param {{name: string, waveform: Float32Array, rate: number, learned: Set<string>}} recording
 *   `learned` holds the URLs of the recognisers that have learned its speaker from it.
 * @param {() => boolean} isWanted Whether something else has been started in the meantime.
 */
export async function hearRecording({ recognizer, answers, speaker }, recording, isWanted) {
  const { sampleRate, clipSamples, labels } = recognizer;
  const { name, waveform, rate, learned } = recording;
  const seconds = waveform.length / rate;
  const heard = new Float32Array(Math.ceil(seconds * sampleRate)); // at the recogniser's rate
  const windows = [];
  const timeline = new Timeline((index) => show(index));
  const learns = !learned.has(recognizer.url);
  let end = 0;
  let lastPause = performance.now();
  answers.clear(`Hearing ${name}…`);

  for await (const window of hear(recognizer, recording)) {
    if (!isWanted()) return;
    const fresh = learns ? window.end - end : 0;
    end = window.end;
    const probabilities = window.probabilities && speaker.hear(window.probabilities, fresh);
    windows.push({ ...window, probabilities });
    heard.set(window.clip, Math.min(at(window.start), heard.length - window.clip.length));
    timeline.add(span(window), interpret(recognizer, probabilities));
    if (probabilities) showLatency(window.milliseconds);
    if (performance.now() - lastPause > PAUSE_MS) {
      drawWindow(window);
      await new Promise((resolve) => setTimeout(resolve));
      if (!isWanted()) return;
      lastPause = performance.now();
    }
  }
  if (speaker.adapts) learned.add(recognizer.url);
  const given = windows.map(({ probabilities }) => probabilities);
  const whole = average(labels, given);
  timeline.finish(interpret(recognizer, whole));
  show(-1);

  function show(index) {
    timeline.mark(index);
    if (index < 0) {
      const shown = windows.length > 1 ? heard : fitLength(heard, clipSamples);
      drawSound(shown, sampleRate, { own: heard.length });
      answers.show(whole, (answer) => `${name}: ${inWords(answer)}. ${describeUse()}`);
    } else {
      const window = windows[index];
      drawWindow(window);
      answers.show(
        window.probabilities,
        (answer) => `${name}, ${span(window)}: ${inWords(answer)}.`,
      );
    }
  }

  function drawWindow({ clip, start }) {
    drawSound(fitLength(clip, clipSamples), sampleRate, { own: clip.length, start });
  }

  function describeUse() {
    const length = `${seconds.toFixed(1)} s`;
    const needed = `${(clipSamples / sampleRate).toFixed(1)} s`;
    if (windows.length > 1) {
      const used = given.filter((answer) => hasSpeech(labels, answer)).length;
      if (!used) return `None of its ${windows.length} windows has speech.`;
      return used === windows.length
        ? `The mean of ${used} windows, which cover all ${length}.`
        : `The mean of ${used} of ${windows.length} windows; the others have no speech.`;
    }
    return length === needed
      ? `It listened to all ${length}.`
      : `It listened to ${length}, repeated to ${needed}.`;
  }

  function at(time) {
    return Math.round(time * sampleRate);
  }

  function span({ start, end }) {
    if (seconds < 60) return `${start.toFixed(1)}–${end.toFixed(1)} s`;
    return `${inMinutes(start)}–${inMinutes(end)}`;
  }
}

function inWords({ label, percent }) {
  return percent ? `${label}, ${percent}` : label;
}

function inMinutes(time) {
  const tenths = Math.round(10 * time);
  const minutes = Math.floor(tenths / 600);
  return `${minutes}:${((tenths % 600) / 10).toFixed(1).padStart(4, "0")}`;
}
