"""The page in headless Chromium, against the same recogniser in Python."""

import json
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
import scipy.signal
import soundfile
import tensorflow as tf

from ser_nsl.audio import Description, FrontEndConfig, log_mel, read_audio
from ser_nsl.edge import Adaptation, Recognizer, Window, average
from ser_nsl.export.convert import to_tflite
from ser_nsl.export.metadata import Card, add_metadata
from ser_nsl.networks.blocks import logmel_input
from ser_nsl.web.server import PageServer

pytestmark = pytest.mark.slow

RELEASED = Path(__file__).parents[2] / "models"
RATE = 16_000
LABELS = ("low", "middle", "high")
BANDS = 15
PITCHES = {"low": 200, "middle": 1_000, "high": 5_000}
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP *.local 127.0.0.1",
    "--use-fake-device-for-media-stream",
]


@pytest.fixture(scope="module")
def recogniser(tmp_path_factory, with_settings) -> Path:
    """Recognises whether one second sounds low, middle or high; always sure, as older files are."""
    front_end = FrontEndConfig(mel_bins=BANDS)
    description = Description(front_end, RATE, LABELS, (-40.0,) * BANDS, (15.0,) * BANDS)
    logmel, x = logmel_input(description)
    x = tf.keras.layers.AveragePooling2D((description.logmel_shape[0], 1))(x)
    logits = tf.keras.layers.Dense(len(LABELS), use_bias=False)(tf.keras.layers.Flatten()(x))
    model = tf.keras.Model(logmel, logits)
    thirds = np.repeat(np.eye(len(LABELS)), BANDS // len(LABELS), axis=0)
    model.set_weights([*model.get_weights()[:-1], 0.1 * thirds])
    card = Card("Pitch", "1", LABELS, RATE, RATE)
    folder = tmp_path_factory.mktemp("recogniser")
    (folder / "exported.tflite").write_bytes(add_metadata(to_tflite(model, description), card))
    return with_settings(
        folder / "exported.tflite", folder / "pitch.tflite", LABELS, abstain_below=0
    )


@pytest.fixture(scope="module")
def make_clip(tmp_path_factory) -> Callable[..., Path]:
    """Writes a clip that sounds low, middle or high, by one pitch or several in turn."""
    folder = tmp_path_factory.mktemp("clips")

    def make(*pitches, seconds, rate=RATE, channels=1, suffix="wav") -> Path:
        time = np.arange(round(seconds * rate)) / rate
        part = np.minimum((time * len(pitches) / seconds).astype(int), len(pitches) - 1)
        hertz = np.array([PITCHES[pitch] for pitch in pitches])[part]
        noise = np.random.default_rng(0).normal(0, 0.01, (channels, len(time)))
        samples = 0.4 * np.sin(2 * np.pi * hertz * time) + noise
        path = folder / f"{'_'.join(pitches)}_{seconds}_{rate}_{channels}.{suffix}"
        soundfile.write(path, samples.T, rate)
        return path

    return make


@pytest.fixture(scope="module")
def newer(recogniser, with_settings) -> Path:
    """The same, but high tones are no speech to it, it abstains, and it adapts."""
    labels = ("low", "middle", "no speech")
    copy = recogniser.with_name("newer.tflite")
    return with_settings(recogniser, copy, labels, typical=[-0.5, -1.5], abstain_below=0.43)


@pytest.fixture(scope="module")
def page_server(recogniser, newer, packages, serve_page) -> Iterator[PageServer]:
    with serve_page([recogniser, newer], packages) as server:
        yield server


@pytest.fixture(scope="module")
def spoken(make_clip) -> Path:
    """The clip that the microphone records, again and again."""
    return make_clip("high", seconds=2)


@pytest.fixture(scope="module")
def browser(spoken):
    """Chromium with a microphone, which pages may not use unless their context says so."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if not chromium:
        pytest.skip("Chromium is not installed")
    arguments = [*ARGUMENTS, f"--use-file-for-fake-audio-capture={spoken}"]
    with (
        playwright.sync_playwright() as driver,
        driver.chromium.launch(executable_path=chromium, args=arguments) as browser,
    ):
        yield browser


@pytest.fixture(scope="module")
def page(browser, page_server):
    with browser.new_context(service_workers="block") as context:
        yield opened(context, page_server.address)


@pytest.fixture(scope="module")
def listening_page(browser, page_server):
    with browser.new_context(service_workers="block", permissions=["microphone"]) as context:
        yield opened(context, page_server.address)


def opened(context, address):
    page = context.new_page()
    page.goto(address)
    wait_until_ready(page)
    return page


def wait_until_ready(page):
    page.get_by_role("button", name="Listen").and_(page.locator(":enabled")).wait_for()


def shown(page) -> dict[str, float]:
    meters = page.get_by_role("meter").all()
    return {
        meter.get_attribute("aria-label"): float(meter.get_attribute("aria-valuenow"))
        for meter in meters
    }


def recognise(page, path: Path) -> dict[str, float]:
    """Opens a recording and waits for the answer."""
    page.get_by_label("Recording", exact=True).set_input_files(path)
    page.get_by_role("status").filter(has_text=f"{path.name}: ").wait_for()
    return shown(page)


def recognise_in_python(recogniser: Path, path: Path) -> dict[str, float]:
    return average(hear_in_python(recogniser, path))


def hear_in_python(recogniser: Path, path: Path) -> list[Window]:
    return Recognizer(recogniser).hear(*soundfile.read(path))


@pytest.mark.parametrize(
    "pitches, seconds, use",
    [
        (("low",), 1, "It listened to all 1.0 s."),
        (("middle", "high"), 0.7, "It listened to 0.7 s, repeated to 1.0 s."),
        (("high", "low", "low"), 2.7, "The mean of 5 windows, which cover all 2.7 s."),
    ],
)
def test_a_recording_gets_the_answer_of_python(page, recogniser, make_clip, pitches, seconds, use):
    path = make_clip(*pitches, seconds=seconds)

    answer = recognise(page, path)

    expected = recognise_in_python(recogniser, path)
    top = max(expected, key=expected.get)
    assert list(answer) == list(expected)
    assert answer == pytest.approx(expected, abs=1e-3)
    assert max(expected.values()) < 0.9  # so that a wrong clip would be noticed
    assert page.locator("#answer").inner_text().lower() == top
    status = page.get_by_role("status").inner_text()
    assert status == f"{path.name}: {top}, {expected[top]:.0%}. {use}".replace("%", " %")
    assert page.locator("#latency").inner_text().endswith(" ms")


def test_a_recording_is_heard_window_by_window(page, recogniser, tmp_path):
    tones = [np.sin(2 * np.pi * PITCHES[pitch] * np.arange(RATE) / RATE) for pitch in LABELS]
    path = tmp_path / "turns.flac"
    soundfile.write(path, 0.4 * np.concatenate([*tones, np.zeros(2 * RATE)]), RATE)
    windows = hear_in_python(recogniser, path)

    answer = recognise(page, path)

    assert answer == pytest.approx(average(windows), abs=1e-3)
    whole, *rows = [row.inner_text().split("\n") for row in page.locator("#windows button").all()]
    assert whole[0].lower() == "whole"
    assert [row[0] for row in rows] == [
        f"{w.start_seconds:.1f}–{w.end_seconds:.1f} s" for w in windows
    ]
    named = [
        max(w.probabilities, key=w.probabilities.get) if w.probabilities else "no speech"
        for w in windows
    ]
    assert [row[1].lower() for row in rows] == named
    assert len(set(named)) > 2
    status = page.get_by_role("status")
    assert f"The mean of {len(windows) - 3} of {len(windows)} windows" in status.inner_text()

    page.get_by_role("button", name="2.0–3.0 s").click()
    assert shown(page) == pytest.approx(windows[4].probabilities, abs=1e-3)
    assert status.inner_text().startswith("turns.flac, 2.0–3.0 s: high, ")
    page.get_by_role("button", name="4.0–5.0 s").click()
    assert page.locator("#answer").inner_text() == "No speech"
    assert set(shown(page).values()) == {0.0}
    assert status.inner_text() == "turns.flac, 4.0–5.0 s: no speech."


@pytest.mark.parametrize("suffix, rate", [("wav", 48_000), ("flac", 44_100), ("ogg", 44_100)])
def test_other_rates_and_channels_are_read_as_python_reads_them(page, make_clip, suffix, rate):
    path = make_clip("middle", seconds=1.5, rate=rate, channels=2, suffix=suffix)

    samples, duration = page.evaluate(
        """async (bytes) => {
            const { makeResampler, readRecording } = await import("/recording.js");
            const { waveform, rate } =
                await readRecording(new File([Uint8Array.from(bytes)], "clip"));
            const resample = await makeResampler(rate, 16000);
            return [Array.from(resample(waveform)), waveform.length / rate];
        }""",
        list(path.read_bytes()),
    )

    assert duration == pytest.approx(1.5, abs=1e-3)
    expected = read_audio(path)
    assert len(samples) == pytest.approx(len(expected), abs=1)
    samples, expected = samples[:20_000], expected[:20_000]
    assert spectrum_db(samples) == pytest.approx(spectrum_db(expected), abs=0.5)
    if suffix != "ogg":  # decoders of which may begin at different samples
        rest = 1e-3 if rate == 48_000 else 5e-3  # noise between the edges of the two filters
        assert np.sqrt(np.mean((samples - expected) ** 2)) < rest


def test_the_microphone_gets_the_label_of_python(listening_page, recogniser, spoken):
    expected = recognise_in_python(recogniser, spoken)
    button = listening_page.get_by_role("button", name="Listen")
    button.focus()
    listening_page.keyboard.press("Enter")

    listening_page.get_by_role("status").filter(has_text="Listening: high.").wait_for()
    assert listening_page.locator("#answer").inner_text().lower() == max(expected, key=expected.get)
    assert shown(listening_page) == pytest.approx(expected, abs=0.02)
    assert listening_page.locator("#times").inner_text().split("\n")[-1] == "now"

    listening_page.get_by_role("button", name="Stop").press("Enter")
    listening_page.get_by_text("Stopped. The last answer was: high.").wait_for()
    button.wait_for()


def test_the_microphone_records_what_is_played(listening_page, spoken):
    recorded = listening_page.evaluate("""async () => {
        const { Microphone } = await import("/microphone.js");
        const microphone = new Microphone(16000);
        await new Promise((resolve, reject) => {
            const check = () => microphone.recorded >= 20000 && resolve();
            microphone.open(16000, check, reject).catch(reject);
        });
        microphone.close();
        return Array.from(microphone.window);
    }""")

    played, _ = soundfile.read(spoken)
    assert len(recorded) == RATE
    assert spectrum_db(recorded) == pytest.approx(spectrum_db(played), abs=1)


def spectrum_db(samples) -> np.ndarray:
    """Power in bands of 470 Hz, up to 7 kHz, above which the resampler begins to cut."""
    _, power = scipy.signal.welch(np.float64(samples), RATE, nperseg=512)
    return 10 * np.log10(power[:-32].reshape(-1, 15).mean(axis=1))


def test_headline_and_status_say_the_same_at_any_time(browser, page_server, make_clip):
    with browser.new_context(service_workers="block", permissions=["microphone"]) as context:
        page = opened(context, page_server.address)
        page.evaluate("""
            window.seen = [];
            const look = () => window.seen.push(["answer", "status", "problem"].map((id) =>
                document.getElementById(id).textContent));
            new MutationObserver(look).observe(document.querySelector("main"),
                { subtree: true, childList: true, characterData: true });
        """)
        page.get_by_role("button", name="Listen").click()
        page.get_by_role("status").filter(has_text="Listening: high.").wait_for()
        page.get_by_label("Recogniser").select_option("newer.tflite")
        recognise(page, make_clip("low", seconds=1))
        page.get_by_role("button", name="Listen").click()
        page.get_by_role("status").filter(has_text="Listening: no speech.").wait_for()
        page.get_by_role("button", name="Stop").click()
        seen = page.evaluate("window.seen")

    answers = {"low", "middle", "high", "no speech", "not sure"}
    for headline, *others in seen:
        said = {answer for answer in answers for text in others if f": {answer}" in text}
        assert said == ({headline} & answers)
    assert {"high", "low", "no speech", "nothing yet"} <= {headline for headline, *_ in seen}


def test_no_speech_and_doubt_are_answers(page, newer, make_clip):
    page.get_by_label("Recogniser").select_option("newer.tflite")
    wait_until_ready(page)

    for pitches, answer in ((["high"], "No speech"), (["low", "middle"], "Not sure")):
        path = make_clip(*pitches, seconds=1)
        assert recognise(page, path) == pytest.approx(recognise_in_python(newer, path), abs=1e-3)
        assert page.locator("#answer").inner_text() == answer
        assert page.locator("#share").inner_text() == ""
        assert page.locator(".top").count() == 0

    assert recognise(page, make_clip("low", seconds=1))["low"] > 0.43
    assert page.locator("#answer").inner_text() == "Low"
    page.get_by_label("Recogniser").select_option("pitch.tflite")
    wait_until_ready(page)


@pytest.mark.parametrize("file", ["cnn_tdnn_float16.tflite", "cnn_tdnn_int8.tflite"])
@pytest.mark.parametrize("name", ["everyone", "emodb"])
def test_released_files_answer_as_in_python(
    name, file, browser, packages, serve_page, sounds_and_speech, tmp_path
):
    """On the clips on which tests/export compares them with other runtimes."""
    model = RELEASED / name / file
    with (
        serve_page([model], packages) as server,
        browser.new_context(service_workers="block") as context,
    ):
        page = opened(context, server.address)
        for i, clip in enumerate(clip for clips in sounds_and_speech for clip in clips):
            path = tmp_path / f"{i}.wav"
            soundfile.write(path, clip, RATE, subtype="FLOAT")
            if clip.any():
                expected = recognise_in_python(model, path)
                assert recognise(page, path) == pytest.approx(expected, abs=1e-3)


def test_adaptation_has_the_numbers_of_its_definition_and_of_python(page, newer, tmp_path):
    heard = np.array([[0.7, 0.2, 0.1], [0.1, 0.2, 0.7], [0.6, 0.0, 0.4]])
    seconds = np.array([3.0, 0.5, 0.5])

    adapted, saved, again, silent = page.evaluate(
        """async ([heard, seconds, url]) => {
            const { Adaptation } = await import("/adaptation.js");
            const recognizer = { labels: ["low", "middle", "no speech"], typical: [-0.5, -1.5] };
            const windows = heard.map((window) => Float32Array.from(window));
            const foreign = { labels: ["low"], typical: [-1], seconds: 9, sum: [1] };
            const adaptation = new Adaptation(recognizer, foreign);
            windows.forEach((window, i) => adaptation.learn(window, seconds[i]));
            const saved = JSON.parse(JSON.stringify(adaptation));
            const restored = new Adaptation(recognizer, structuredClone(saved));
            const retrained = new Adaptation(recognizer, { ...saved, typical: [-0.5, -1.25] });
            if (retrained.seconds) throw new Error("learned from another recogniser");
            return [adaptation, restored].map((each) => Array.from(each.adapt(windows[0])))
                .toSpliced(1, 0, saved)
                .concat([Array.from(adaptation.adapt(Float32Array.of(0, 0, 1)))]);
        }""",
        [heard.tolist(), seconds.tolist(), newer.name],
    )

    emotions = heard[:, :2] / heard[:, :2].sum(axis=1, keepdims=True)
    logarithms = np.log(np.maximum(emotions, 1e-6))
    speech = heard[:, 2] <= 0.5
    total = seconds[speech].sum()
    sums = seconds[speech] @ (logarithms - [-0.5, -1.5])[speech]
    shifted = np.exp(logarithms[0] - sums / (total + 30))
    expected = [*(0.9 * shifted / shifted.sum()), 0.1]
    assert adapted == pytest.approx(expected, abs=1e-6)
    assert again == adapted
    assert saved["labels"] == ["low", "middle"]
    assert saved["seconds"] == total == 3.5
    assert saved["sum"] == pytest.approx(sums.tolist(), abs=1e-5)
    assert silent == [0, 0, 1]

    recognizer = Recognizer(newer)
    windows = [dict(zip(recognizer.labels, window, strict=True)) for window in heard.tolist()]
    in_python = Adaptation(recognizer)
    for window, fresh in zip(windows, seconds, strict=True):
        in_python.learn(window, fresh)
    (tmp_path / "kept.json").write_text(json.dumps(saved))
    from_page = Adaptation.load(tmp_path / "kept.json", recognizer)
    in_python.save(tmp_path / "saved.json")
    assert json.loads((tmp_path / "saved.json").read_text()).keys() == saved.keys()
    assert from_page.seconds == in_python.seconds
    for each in (from_page, in_python):
        assert each.sum.tolist() == pytest.approx(sums.tolist(), abs=1e-5)
        assert [*each.adapt(windows[0]).values()] == pytest.approx(adapted, abs=1e-6)


def test_windows_without_speech_are_left_out_of_the_mean(page):
    means = page.evaluate("""async () => {
        const { average } = await import("/windows.js");
        const [speech, more, noise] = [[0.8, 0.1, 0.1], [0.2, 0.4, 0.4], [0.1, 0, 0.9]];
        return [[speech, noise, more, null], [noise, null], [null]].map((answers) =>
            average(["low", "middle", "no speech"], answers));
    }""")

    assert means == [pytest.approx([0.5, 0.25, 0.25]), [0.1, 0, 0.9], None]


def test_the_page_remembers_recogniser_and_speaker(browser, page_server, make_clip):
    path = make_clip("low", seconds=2)
    with browser.new_context(service_workers="block") as context:
        page = opened(context, page_server.address)
        assert page.locator("#speaker").is_hidden()
        page.get_by_label("Recogniser").select_option("newer.tflite")
        wait_until_ready(page)
        recognise(page, path)
        page.get_by_label("Adapt to one speaker").check()
        page.get_by_text("2.0 s of speech heard").wait_for()
        page.get_by_label("Adapt to one speaker").uncheck()
        page.get_by_label("Adapt to one speaker").check()

        page.reload()
        wait_until_ready(page)
        assert page.get_by_label("Recogniser").locator(":checked").inner_text() == "newer.tflite"
        assert page.get_by_label("Adapt to one speaker").is_checked()
        assert page.locator("#heard").inner_text() == "2.0 s of speech heard"  # once, not twice
        page.get_by_role("button", name="Reset").click()
        assert page.locator("#heard").inner_text() == "0.0 s of speech heard"


def test_dropped_and_quiet_recordings(page, make_clip, tmp_path):
    samples, _ = soundfile.read(make_clip("low", seconds=1))
    quiet = tmp_path / "quiet.wav"
    soundfile.write(quiet, samples * 0.02, RATE)
    hint = page.get_by_text("It is quiet: the loudest sample is 41 dB below full scale.")

    recognise(page, quiet)
    assert hint.is_visible()
    assert waveform_height(page) < 0.05
    page.evaluate(
        """(bytes) => {
            const dataTransfer = new DataTransfer();
            dataTransfer.items.add(new File([Uint8Array.from(bytes)], "dropped.wav"));
            document.body.dispatchEvent(
                new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }));
        }""",
        list(make_clip("low", seconds=1).read_bytes()),
    )
    page.get_by_role("status").filter(has_text="dropped.wav: low").wait_for()
    assert hint.is_hidden()
    assert waveform_height(page) == pytest.approx(np.abs(samples).max(), abs=0.05)


def waveform_height(page) -> float:
    """Height of the drawn waveform, as a part of the whole."""
    return page.evaluate("""() => {
        const { width, height } = document.getElementById("waveform");
        const context = document.getElementById("waveform").getContext("2d");
        const { data } = context.getImageData(0, 0, width, height);
        const rows = Array.from({ length: height }, (_, y) => y).filter((y) =>
            data.subarray(4 * width * y, 4 * width * (y + 1)).some((value) => value > 0));
        return rows.length / height;
    }""")


@contextmanager
def served(model: Path, port: int) -> Iterator[str]:
    """Runs the command, which ends with all of its connections; yields the page's address."""
    command = [sys.executable, "-m", "ser_nsl.cli", "serve", "--model", model, "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        yield process.stdout.readline().split()[4]
        process.kill()


def test_the_page_is_installed_works_offline_and_is_replaced(
    browser, recogniser, newer, packages, make_clip
):
    path = make_clip("low", seconds=1)
    expected = recognise_in_python(recogniser, path)
    wait_until_kept = """async () => {
        const cacheName = `ser_nsl ${CONTENTS.version}`;
        const isKept = async (names) => names.join() === cacheName
            && (await caches.match(CONTENTS.recognisers[0].url)) !== undefined
            && (await (await caches.open(cacheName)).keys())
                .some(({ url }) => url.endsWith(".wasm"));
        while (!(await isKept(await caches.keys())))
            await new Promise((resolve) => setTimeout(resolve, 100));
    }"""
    kept = """async () => (await (await caches.open((await caches.keys())[0])).keys())
        .map(({ url }) => new URL(url).pathname)"""
    with browser.new_context() as context:
        with served(recogniser, 0) as address:
            page = opened(context, address)
            page.evaluate(wait_until_kept)
            devtools = context.new_cdp_session(page)
            assert devtools.send("Page.getInstallabilityErrors")["installabilityErrors"] == [
                {"errorId": "in-incognito", "errorArguments": []}  # as all contexts of tests are
            ]
            first = page.evaluate(kept)

        page.reload()  # the server is gone
        wait_until_ready(page)
        assert recognise(page, path) == pytest.approx(expected, abs=1e-3)

        with served(newer, urlsplit(address).port):
            page.reload()
            wait_until_ready(page)
            titles = page.get_by_label("Recogniser").inner_text().split("\n")
            assert titles[0] == "newer.tflite"
            page.evaluate(wait_until_kept)
            second = page.evaluate(kept)

    recognisers = [[n for n in names if n.startswith("/recognisers/")] for names in (first, second)]
    assert [len(names) for names in recognisers] == [1, 1]
    assert recognisers[0] != recognisers[1]


def test_nothing_goes_to_another_origin(browser, page_server, make_clip):
    asked = []

    class Witness(BaseHTTPRequestHandler):
        def do_GET(self):  # noqa: N802
            asked.append(self.path)

    requests = []
    with (
        HTTPServer(("127.0.0.1", 0), Witness) as elsewhere,
        browser.new_context(permissions=["microphone"]) as context,
    ):
        threading.Thread(target=elsewhere.serve_forever, daemon=True).start()
        context.on("request", lambda request: requests.append(request.url))
        context.add_init_script("""
            window.blocked = [];
            document.addEventListener("securitypolicyviolation", ({ effectiveDirective }) =>
                window.blocked.push(effectiveDirective));
        """)
        context.clock.install()
        page = opened(context, page_server.address)
        recognise(page, make_clip("low", seconds=1))
        page.get_by_role("button", name="Listen").click()
        page.get_by_role("status").filter(has_text="Listening: high.").wait_for()
        page.clock.fast_forward("10:00")  # MediaPipe would send statistics after one
        caused, tried = list(requests), page.evaluate("window.blocked")
        blocked = page.evaluate(
            """async (address) => {
                await fetch(address).catch(() => {});
                navigator.sendBeacon(address);
                const image = new Image();
                image.src = address;
                await new Promise((resolve) => (image.onload = image.onerror = resolve));
                return window.blocked;
            }""",
            f"http://127.0.0.1:{elsewhere.server_port}/",
        )
        page.goto("about:blank")
        elsewhere.shutdown()

    own = page_server.address
    assert any(url.endswith(".wasm") for url in caused)
    assert [url for url in caused if not url.startswith(own)] == []
    assert tried == []
    assert blocked == ["connect-src", "connect-src", "img-src"]
    assert asked == []


def test_log_mel_is_that_of_the_front_end(page, make_clip):
    waveform = read_audio(make_clip("low", "high", "middle", seconds=1))

    levels = page.evaluate(
        """async (samples) => {
            const { logMel } = await import("/logmel.js");
            return Array.from(logMel(Float32Array.from(samples), 16000));
        }""",
        waveform.tolist(),
    )

    absolute = FrontEndConfig(level="none")
    expected = log_mel(tf.constant(waveform[np.newaxis]), absolute)[0].numpy()
    assert np.reshape(levels, expected.shape) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("hertz", [60, 1_000, 7_500])
def test_the_axis_names_the_loudest_band(page, hertz):
    band, height = page.evaluate(
        """async (hertz) => {
            const { BANDS, height, logMel } = await import("/logmel.js");
            const tone = Float32Array.from({ length: 512 }, (_, i) =>
                Math.sin((2 * Math.PI * hertz * i) / 16000));
            const levels = logMel(tone, 16000);
            return [levels.indexOf(Math.max(...levels)), BANDS * height(hertz, 16000)];
        }""",
        hertz,
    )

    assert band + 0.5 == pytest.approx(height, abs=1.2)


def test_files_that_cannot_be_used_are_named(page, tmp_path):
    text, empty, nothing = (tmp_path / f"{name}.wav" for name in ("notes", "empty", "nothing"))
    text.write_text("This is no audio.")
    empty.touch()
    soundfile.write(nothing, np.zeros(0), RATE)
    problem = page.get_by_role("alert")

    page.get_by_label("Recording", exact=True).set_input_files(text)
    problem.filter(has_text="notes.wav cannot be read as audio. Choose").wait_for()
    page.get_by_label("Recording", exact=True).set_input_files(empty)
    problem.filter(has_text="empty.wav cannot be read as audio. Choose").wait_for()
    page.get_by_label("Recording", exact=True).set_input_files(nothing)
    problem.filter(has_text="nothing.wav").wait_for()
    assert page.locator("#answer").inner_text() == "Nothing yet"


def test_a_good_file_clears_the_problem(page, tmp_path, make_clip):
    text = tmp_path / "notes.wav"
    text.write_text("This is no audio.")
    page.get_by_label("Recording", exact=True).set_input_files(text)
    page.get_by_role("alert").wait_for()

    recognise(page, make_clip("low", seconds=1))

    assert page.get_by_role("alert").count() == 0


@pytest.mark.parametrize(
    "name, script, problem",
    [
        ("127.0.0.1", "", "The microphone was refused."),
        (
            "127.0.0.1",
            "navigator.mediaDevices.getUserMedia = () =>"
            " Promise.reject(new DOMException('', 'NotFoundError'));",
            "No microphone was found.",
        ),
        (f"{socket.gethostname()}.local", "", "https or localhost only"),
    ],
)
def test_microphones_that_do_not_work_are_explained(browser, page_server, name, script, problem):
    with browser.new_context(service_workers="block") as context:
        context.add_init_script(script)
        page = opened(context, f"http://{name}:{page_server.server_port}/")
        page.get_by_role("button", name="Listen").click()
        page.get_by_role("alert").filter(has_text=problem).wait_for()
        assert page.get_by_role("button", name="Listen").is_enabled()


@pytest.mark.parametrize(
    "route, body, problem",
    [
        ("**/recognisers/*.tflite", b"<!doctype html>", "not a recogniser of ser_nsl"),
        ("**/litert_wasm*.wasm", b"no WebAssembly", "This browser cannot run the recogniser"),
    ],
)
def test_what_cannot_be_loaded_is_explained(browser, page_server, route, body, problem):
    with browser.new_context(service_workers="block") as context:
        page = context.new_page()
        page.route(route, lambda request: request.fulfill(body=body))
        page.goto(page_server.address)
        page.get_by_role("alert").filter(has_text=problem).wait_for()
        assert page.get_by_role("button", name="Listen").is_disabled()


@pytest.mark.parametrize("width", [320, 1280])
def test_the_page_fits_its_window(page, make_clip, width):
    page.set_viewport_size({"width": width, "height": 844})
    recognise(page, make_clip("middle", seconds=1))

    assert page.evaluate("document.documentElement.scrollWidth") == width
