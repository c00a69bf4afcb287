// The page: opens a recogniser, then recognises the microphone or a recording.

import { Answers, say, warn } from "./answers.js";
import { describe } from "./facts.js";
import { hearRecording } from "./heard.js";
import { keep, recall } from "./kept.js";
import { listen } from "./live.js";
import { keepForOffline } from "./offline.js";
import { Problem } from "./problem.js";
import { Recognizer } from "./recognizer.js";
import { readRecording } from "./recording.js";
import { drawSound } from "./sound.js";
import { Speaker } from "./speaker.js";
import { Timeline } from "./timeline.js";

const { recognisers } = self.CONTENTS; // see contents.js
const CHOICE = `recogniser instead of ${recognisers[0].url}`; // name of what is kept
const READY = "Ready. Press Listen and speak, or open a recording.";

const element = (id) => document.getElementById(id);
const opened = new Map(); // recognisers by URL
let listener = null; // the chosen recogniser, with its answers and the speaker's adaptation
let recording = null; // the one that was heard last
let microphone = null; // while it listens
let task = 0; // number of what was started last; what was started before gives way

function start() {
  element("recognisers").replaceChildren(
    ...recognisers.map(({ title, url }) => new Option(title, url)),
  );
  const kept = recall(CHOICE);
  if (recognisers.some(({ url }) => url === kept)) element("recognisers").value = kept;
  element("recognisers").onchange = guarded(async () => {
    keep(CHOICE, element("recognisers").value);
    await choose();
  });
  element("listen").onclick = guarded(() => (microphone ? stop() : startListening()));
  element("open").onclick = () => element("file").click();
  element("file").onchange = guarded(async () => {
    const [file] = element("file").files;
    element("file").value = ""; // so that the same file can be opened again
    await open(file);
  });
  document.ondragover = (event) => event.preventDefault(); // else the browser leaves the page
  document.ondrop = guarded(async (event) => {
    event.preventDefault();
    if (listener) await open(event.dataTransfer.files[0]);
  });
  return choose();
}

/** Opens the recogniser that is chosen, and hears an open recording again. */
async function choose() {
  const isWanted = begin();
  enable(false);
  listener?.answers.clear("");
  listener = null;
  say("Loading the recogniser…");
  const url = element("recognisers").value;
  if (!opened.has(url)) opened.set(url, await Recognizer.open(url));
  if (!isWanted()) return;
  const recognizer = opened.get(url);
  listener = { recognizer, answers: new Answers(recognizer), speaker: null };
  listener.speaker = new Speaker(recognizer, guarded(hearAgain));
  describe(recognizer, recognisers.find((offer) => offer.url === url).uar);
  enable(true);
  if (recording) {
    await hearRecording(listener, recording, isWanted);
  } else {
    drawSound(new Float32Array(recognizer.clipSamples), recognizer.sampleRate, { judge: false });
    listener.answers.clear(READY);
  }
  await keepForOffline();
}

async function hearAgain() {
  if (recording) await hearRecording(listener, recording, begin());
}

async function open(file) {
  if (!file) return;
  const isWanted = begin();
  recording = null;
  listener.answers.clear(`Reading ${file.name}…`);
  const read = await readRecording(file);
  if (!isWanted()) return;
  recording = { ...read, learned: new Set() };
  await hearRecording(listener, recording, isWanted);
}

async function startListening() {
  const isWanted = begin();
  recording = null;
  listener.answers.clear("Waiting for the microphone…");
  element("listen").disabled = true; // until the user has allowed or refused it
  const end = () => {
    if (isWanted()) fail(new Problem("The microphone was disconnected."));
  };
  try {
    const listening = await listen(listener, isWanted, guarded, end);
    if (!isWanted()) return listening.close();
    microphone = listening;
  } finally {
    element("listen").disabled = false;
  }
  showListening();
}

function stop() {
  begin();
  const { label } = listener.answers;
  say(label ? `Stopped. The last answer was: ${label}.` : "Stopped.");
}

/** Ends what goes on; returns whether nothing has been started since. */
function begin() {
  const mine = ++task;
  microphone?.close();
  microphone = null;
  showListening();
  new Timeline(() => {});
  return () => mine === task;
}

function showListening() {
  element("listen").classList.toggle("listening", microphone !== null);
  element("listen-text").textContent = microphone ? "Stop" : "Listen";
}

function enable(enabled) {
  element("listen").disabled = element("open").disabled = !enabled;
}

/** Wraps an action so that its errors are shown to the user, unless another took its place. */
function guarded(action) {
  return async (event) => {
    const running = action(event);
    const mine = task;
    try {
      await running;
    } catch (error) {
      if (mine === task) fail(error);
    }
  };
}

function fail(error) {
  console.error(error);
  begin();
  listener?.answers.clear("");
  warn(
    error instanceof Problem ? error.message : `Something unexpected went wrong: ${error.message}`,
  );
}

guarded(start)();
