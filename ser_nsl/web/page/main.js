// The page: opens the recogniser, then recognises the microphone or a recording.

import { Answers } from "./answers.js";
import { Microphone } from "./microphone.js";
import { drawLogMel, drawWaveform, writeFrequencies, writeTimes } from "./pictures.js";
import { Problem } from "./problem.js";
import { Recognizer } from "./recognizer.js";
import { fitLength, peak, readRecording } from "./recording.js";

const HOP_SECONDS = 0.5; // from one answer for the microphone to the next
const DRAWING_SECONDS = 0.1; // from one picture to the next
const LIVE_WEIGHT = 0.4; // of the newest answer; the bars follow a change within about a second
const QUIET_PEAK = 0.01; // of full scale; quieter sound gets no answer
const LATENCIES = 20; // the median of so many is shown
const ANNOUNCING_SECONDS = 3; // minimum time between announcements to screen readers

const element = (id) => document.getElementById(id);
const latencies = [];
let recognizer;
let answers;
let microphone = null;
let drawn; // the samples in the pictures, and how many of them come before the repetition

async function start() {
  recognizer = await Recognizer.open("recogniser.tflite");
  answers = new Answers(recognizer.labels);
  const { name, version, bytes, sampleRate, clipSamples } = recognizer;
  element("input").textContent =
    `${+seconds(clipSamples).toFixed(2)} s at ${sampleRate / 1000} kHz`;
  element("recognizer").textContent = `${name} ${version ?? ""}, ${(bytes / 1e6).toFixed(1)} MB`;
  element("facts").hidden = false;
  writeFrequencies(element("frequencies"), sampleRate);
  draw(new Float32Array(clipSamples), clipSamples);
  element("listen").onclick = guarded(() => (microphone ? stop() : listen()));
  element("open").onclick = () => element("file").click();
  element("file").onchange = guarded(openRecording);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  window.addEventListener("resize", redraw);
  element("listen").disabled = element("open").disabled = false;
  say("Ready. Press Listen and speak, or open a recording.");
}

async function openRecording() {
  const [file] = element("file").files;
  element("file").value = ""; // so that the same file can be opened again
  if (!file) return;
  if (microphone) stop();
  answers.clear();
  say(`Reading ${file.name}…`);
  const { sampleRate, clipSamples } = recognizer;
  const { waveform, duration } = await readRecording(file, sampleRate, clipSamples);
  const clip = fitLength(waveform, clipSamples);
  draw(clip, waveform.length);
  const { probabilities, milliseconds } = await recognizer.predict(clip);
  answers.show(probabilities, 1);
  showLatency(milliseconds);
  const { label, percent } = answers.summary;
  say(`${file.name}: ${label}, ${percent}. ${describeUse(duration)}`);
}

/** Says how much of a recording the recogniser used. */
function describeUse(duration) {
  const window = seconds(recognizer.clipSamples);
  const [given, used] = [duration, window].map((length) => `${length.toFixed(1)} s`);
  if (given === used) return `It listened to all ${given}.`;
  if (duration > window) return `It listened to the first ${used} of ${given}.`;
  return `It listened to ${given}, repeated to ${used}.`;
}

async function listen() {
  const opened = new Microphone(recognizer.clipSamples);
  element("listen").disabled = true; // until the user has allowed or refused it
  answers.clear();
  say("Waiting for the microphone…");
  try {
    await opened.open(recognizer.sampleRate, guarded(listener(opened)), () => {
      stop();
      show(new Problem("The microphone was disconnected."));
    });
  } finally {
    element("listen").disabled = false;
  }
  microphone = opened;
  showListening(true);
  say(`Listening. The first answer comes after ${seconds(recognizer.clipSamples).toFixed(0)} s.`);
}

function stop() {
  microphone.close();
  microphone = null;
  showListening(false);
  say("Stopped.");
}

function showListening(listening) {
  element("listen").classList.toggle("listening", listening);
  element("listen-text").textContent = listening ? "Stop" : "Listen";
}

/** Returns what is to be done whenever the microphone has new samples. */
function listener(opened) {
  let lastDrawing = 0;
  let lastAnswer = 0;
  let answering = false;
  let announced = null;
  let lastAnnouncement = -Infinity;
  const isDue = (since, interval) => opened.recorded - since >= interval * recognizer.sampleRate;
  const announce = (text) => {
    if (text === announced || !isDue(lastAnnouncement, ANNOUNCING_SECONDS)) return;
    announced = text;
    lastAnnouncement = opened.recorded;
    say(text);
  };

  return async () => {
    if (opened !== microphone) return;
    if (isDue(lastDrawing, DRAWING_SECONDS)) {
      lastDrawing = opened.recorded;
      draw(opened.window.slice(), opened.window.length, true);
    }
    const full = opened.recorded >= opened.window.length;
    if (!full || answering || !isDue(lastAnswer, HOP_SECONDS)) return;
    lastAnswer = opened.recorded;
    if (peak(opened.window) < QUIET_PEAK) {
      answers.clear();
      announce("Listening. It is quiet; speak up, or come closer.");
      return;
    }
    answering = true;
    const { probabilities, milliseconds } = await recognizer
      .predict(opened.window.slice())
      .finally(() => (answering = false));
    if (opened !== microphone) return; // stopped in the meantime
    answers.show(probabilities, LIVE_WEIGHT);
    showLatency(milliseconds);
    announce(`Listening. It sounds like ${answers.summary.label}.`);
  };
}

function draw(waveform, own, live = false) {
  drawn = { waveform, own };
  writeTimes(element("times"), seconds(waveform.length), live);
  redraw();
}

function redraw() {
  drawWaveform(element("waveform"), drawn.waveform, drawn.own);
  drawLogMel(element("log-mel"), drawn.waveform, recognizer.sampleRate);
}

function showLatency(milliseconds) {
  latencies.push(milliseconds);
  if (latencies.length > LATENCIES) latencies.shift();
  const median = latencies.toSorted((a, b) => a - b)[latencies.length >> 1];
  element("latency").textContent = `${median < 10 ? median.toFixed(1) : median.toFixed(0)} ms`;
}

function seconds(samples) {
  return samples / recognizer.sampleRate;
}

function say(text) {
  element("problem").hidden = true;
  element("status").textContent = text;
}

/** Wraps an action so that its errors are shown to the user. */
function guarded(action) {
  return async () => {
    try {
      await action();
    } catch (error) {
      show(error);
    }
  };
}

function show(error) {
  console.error(error);
  say("");
  element("problem").textContent =
    error instanceof Problem ? error.message : `Something unexpected went wrong: ${error.message}`;
  element("problem").hidden = false;
}

guarded(start)();
