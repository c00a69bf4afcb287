// The microphone: an answer every half second, smoothed.

import { showLatency } from "./facts.js";
import { Microphone } from "./microphone.js";
import { NO_SPEECH } from "./recognizer.js";
import { peak, SILENCE_PEAK } from "./recording.js";
import { Smoothing } from "./smoothing.js";
import { drawSound, QUIET_PEAK } from "./sound.js";

const HOP_SECONDS = 0.5; // from one answer to the next
const SMOOTHING_SECONDS = 1; // the age at which an answer's weight has fallen to 1/e
const DRAWING_SECONDS = 0.1; // from one picture to the next

/**
 * Starts to listen.
 *
 * @param {{recognizer: Recognizer, answers: Answers, speaker: Speaker}} listener
 * @param {() => boolean} isWanted Whether it has not been stopped in the meantime.
 * @param {(action: () => Promise<void>) => () => void} guarded Wraps what may fail later.
 * @param {() => void} onEnd Called if the microphone is disconnected.
 * @returns {Promise<Microphone>} To be closed in the end.
 * @throws {Problem} If there is no microphone, or it may not be used.
 */
export async function listen({ recognizer, answers, speaker }, isWanted, guarded, onEnd) {
  const { sampleRate, clipSamples, labels } = recognizer;
  // A recogniser that cannot answer "no speech" names an emotion for the noise of a room.
  const least = labels.includes(NO_SPEECH) ? SILENCE_PEAK : QUIET_PEAK;
  const smoothing = new Smoothing(HOP_SECONDS, SMOOTHING_SECONDS);
  const microphone = new Microphone(clipSamples);
  let lastDrawing = 0;
  let lastAnswer = 0;
  let answering = false;
  const isDue = (since, interval) => microphone.recorded - since >= interval * sampleRate;
  const isFull = () => microphone.recorded >= clipSamples;
  const show = (probabilities) =>
    answers.show(probabilities, ({ label }) => `Listening: ${label}.`);

  const onSound = async () => {
    if (!isWanted()) return;
    if (isDue(lastDrawing, DRAWING_SECONDS)) {
      lastDrawing = microphone.recorded;
      drawSound(microphone.window.slice(), sampleRate, { live: true, judge: isFull() });
    }
    if (!isFull() || answering || !isDue(lastAnswer, HOP_SECONDS)) return;
    const fresh = Math.min(microphone.recorded - lastAnswer, clipSamples) / sampleRate;
    lastAnswer = microphone.recorded;
    if (peak(microphone.window) < least) {
      smoothing.reset();
      show(null);
      return;
    }
    answering = true;
    const { probabilities, milliseconds } = await recognizer
      .predict(microphone.window.slice())
      .finally(() => (answering = false));
    if (!isWanted()) return;
    show(smoothing.add(speaker.hear(probabilities, fresh)));
    showLatency(milliseconds);
  };

  await microphone.open(sampleRate, guarded(onSound), onEnd);
  const window = clipSamples / sampleRate;
  answers.clear(`Listening. The first answer comes after ${+window.toFixed(1)} s.`);
  return microphone;
}
