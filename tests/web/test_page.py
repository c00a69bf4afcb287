"""The page in headless Chromium, against the same recogniser in Python."""

import shutil
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest
import scipy.signal
import soundfile
import soxr
import tensorflow as tf

from ser_nsl.audio.clip import read_audio
from ser_nsl.audio.front_end import log_mel
from ser_nsl.audio.settings import FrontEndConfig
from ser_nsl.edge import Recognizer

RATE = 16_000
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP elsewhere.test 127.0.0.1",
]
MICROPHONE = "--use-fake-device-for-media-stream"
ALLOWED = "--use-fake-ui-for-media-stream"


@pytest.fixture(scope="module")
def launch() -> Iterator[Callable]:
    """Starts Chromium; without a microphone, unless arguments say otherwise."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if not chromium:
        pytest.skip("Chromium is not installed")
    with playwright.sync_playwright() as driver:

        def start(*arguments: str):
            arguments = [*ARGUMENTS, *arguments]
            return driver.chromium.launch(executable_path=chromium, args=arguments)

        yield start


@pytest.fixture(scope="module")
def browser(launch):
    with launch() as browser:
        yield browser


@pytest.fixture(scope="module")
def page(browser, page_server):
    with browser.new_context() as context:
        yield opened(context, page_server.address)


@pytest.fixture(scope="module")
def spoken(make_clip) -> Path:
    """What the microphone plays, over and over."""
    return make_clip("high", seconds=2)


@pytest.fixture(scope="module")
def listening_page(launch, page_server, spoken):
    with launch(*playing(spoken)) as browser:
        yield opened(browser.new_context(), page_server.address)


def playing(path: Path) -> tuple[str, ...]:
    return MICROPHONE, ALLOWED, f"--use-file-for-fake-audio-capture={path}"


def opened(context, address):
    page = context.new_page()
    page.goto(address)
    page.get_by_role("button", name="Listen").and_(page.locator(":enabled")).wait_for()
    return page


def shown(page) -> dict[str, float]:
    meters = page.get_by_role("meter").all()
    return {
        meter.get_attribute("aria-label"): float(meter.get_attribute("aria-valuenow"))
        for meter in meters
    }


def hears(page, path: Path) -> dict[str, float]:
    """Opens a recording, and waits for the answer."""
    page.get_by_label("Recording", exact=True).set_input_files(path)
    page.get_by_role("status").filter(has_text=f"{path.name}: ").wait_for()
    return shown(page)


def python_hears(recogniser: Path, path: Path) -> dict[str, float]:
    return Recognizer(recogniser).predict(read_audio(path), RATE)


@pytest.mark.parametrize(
    "pitches, seconds, extent",
    [
        (("low",), 1, "It heard all 1.0 s."),
        (("middle", "high"), 0.7, "It heard 0.7 s, repeated to 1.0 s."),
        (("high", "low"), 2, "It heard the first 1.0 s of 2.0 s."),
    ],
)
def test_a_recording_gets_the_answer_of_python(
    page, recogniser, make_clip, pitches, seconds, extent
):
    path = make_clip(*pitches, seconds=seconds)

    answer = hears(page, path)

    expected = python_hears(recogniser, path)
    top = max(expected, key=expected.get)
    assert list(answer) == list(expected)
    assert answer == pytest.approx(expected, abs=1e-3)
    assert max(expected.values()) < 0.9  # so that a wrong clip would have shown
    assert page.locator("#answer").inner_text().lower() == top
    status = page.get_by_role("status").inner_text()
    assert status == f"{path.name}: {top}, {expected[top]:.0%}. {extent}".replace("%", " %")
    assert page.locator("#latency").inner_text().endswith(" ms")


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg"])
def test_other_rates_and_channels_are_read_as_python_reads_them(page, make_clip, suffix):
    path = make_clip("middle", seconds=1.5, rate=44_100, channels=2, suffix=suffix)

    samples = page.evaluate(
        """async (bytes) => {
            const { readRecording } = await import("/recording.js");
            const file = new File([Uint8Array.from(bytes)], "clip");
            return Array.from(await readRecording(file, 16000));
        }""",
        list(path.read_bytes()),
    )

    expected = read_audio(path)
    assert len(samples) == pytest.approx(len(expected), abs=1)
    assert spectrum_db(samples) == pytest.approx(spectrum_db(expected), abs=1)


def test_the_microphone_gets_the_label_of_python(listening_page, recogniser, spoken):
    expected = python_hears(recogniser, spoken)
    button = listening_page.get_by_role("button", name="Listen")
    button.focus()
    listening_page.keyboard.press("Enter")

    listening_page.get_by_role("status").filter(has_text="It hears").wait_for()
    assert listening_page.locator("#answer").inner_text().lower() == max(expected, key=expected.get)
    assert shown(listening_page) == pytest.approx(expected, abs=0.02)
    assert listening_page.locator("#times").inner_text().split("\n")[-1] == "now"

    listening_page.get_by_role("button", name="Stop").press("Enter")
    listening_page.get_by_role("status").filter(has_text="Stopped.").wait_for()
    button.wait_for()


def test_the_microphone_hears_what_is_played(listening_page, spoken):
    heard = listening_page.evaluate("""async () => {
        const { Microphone } = await import("/microphone.js");
        const microphone = new Microphone(16000);
        await new Promise((resolve, reject) => {
            const check = () => microphone.heard >= 20000 && resolve();
            microphone.open(16000, check, reject).catch(reject);
        });
        microphone.close();
        return Array.from(microphone.window);
    }""")

    played, _ = soundfile.read(spoken)
    assert len(heard) == RATE
    assert spectrum_db(heard) == pytest.approx(spectrum_db(played), abs=1)


def spectrum_db(samples) -> np.ndarray:
    """Power in bands of 470 Hz, up to 7 kHz, above which the resampler begins to cut."""
    _, power = scipy.signal.welch(np.float64(samples), RATE, nperseg=512)
    return 10 * np.log10(power[:-32].reshape(-1, 15).mean(axis=1))


def test_nothing_goes_to_another_origin(launch, page_server, spoken, make_clip):
    asked = []

    class Witness(BaseHTTPRequestHandler):
        def do_GET(self):  # noqa: N802
            asked.append(self.path)

    requests = []
    with HTTPServer(("127.0.0.1", 0), Witness) as elsewhere, launch(*playing(spoken)) as browser:
        threading.Thread(target=elsewhere.serve_forever, daemon=True).start()
        context = browser.new_context()
        context.on("request", lambda request: requests.append(request.url))
        context.add_init_script("""
            window.blocked = [];
            document.addEventListener("securitypolicyviolation", ({ effectiveDirective }) =>
                window.blocked.push(effectiveDirective));
        """)
        context.clock.install()
        page = opened(context, page_server.address)
        hears(page, make_clip("low", seconds=1))
        page.get_by_role("button", name="Listen").click()
        page.get_by_role("status").filter(has_text="It hears").wait_for()
        page.clock.fast_forward("10:00")  # MediaPipe would write home after one
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

    expected = log_mel(tf.constant(waveform[np.newaxis]), FrontEndConfig())[0].numpy()
    assert np.reshape(levels, expected.shape) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("hertz", [60, 500, 1_000, 3_000, 7_500])
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


@pytest.mark.parametrize("rate", [44_100, 48_000, 8_000, 16_000])
def test_the_resampler_is_like_soxr(page, rate):
    random = np.random.default_rng(0)
    time = np.arange(rate) / rate
    hertz = 100 + 0.4 * min(rate, RATE) * time / 2  # below what either filter cuts
    samples = np.float32(0.5 * np.sin(2 * np.pi * np.cumsum(hertz) / rate))
    samples += np.float32(0.1 * np.sin(2 * np.pi * 0.49 * rate * time) if rate > RATE else 0)
    cuts = np.sort(random.integers(0, len(samples), 40)).tolist()

    resampled = page.evaluate(
        """async ([samples, cuts, rate]) => {
            const { Resampler } = await import("/resampler.js");
            const resampler = new Resampler(rate, 16000);
            const bounds = [0, ...cuts, samples.length];
            return bounds.slice(1).flatMap((end, i) =>
                Array.from(resampler.push(Float32Array.from(samples.slice(bounds[i], end)))));
        }""",
        [samples.tolist(), cuts, rate],
    )

    expected = soxr.resample(samples, rate, RATE)
    assert 0 <= len(expected) - len(resampled) < 100  # the last wait for what follows
    middle = slice(200, len(resampled) - 200)  # soxr hears silence before and after
    assert np.float32(resampled)[middle] == pytest.approx(expected[middle], abs=1e-3)


def test_files_that_cannot_be_heard_are_told_of(page, tmp_path):
    text, empty, silence = (tmp_path / f"{name}.wav" for name in ("notes", "empty", "silence"))
    text.write_text("This is no audio.")
    empty.touch()
    soundfile.write(silence, np.zeros(RATE), RATE)
    problem = page.get_by_role("alert")

    page.get_by_label("Recording", exact=True).set_input_files(text)
    problem.filter(has_text="notes.wav cannot be read as audio. Choose").wait_for()
    page.get_by_label("Recording", exact=True).set_input_files(empty)
    problem.filter(has_text="empty.wav cannot be read as audio. Choose").wait_for()
    page.get_by_label("Recording", exact=True).set_input_files(silence)
    problem.filter(has_text="silence.wav is silent.").wait_for()
    assert page.locator("#answer").inner_text() == "Nothing yet"


def test_a_file_clears_what_was_wrong(page, tmp_path, make_clip):
    text = tmp_path / "notes.wav"
    text.write_text("This is no audio.")
    page.get_by_label("Recording", exact=True).set_input_files(text)
    page.get_by_role("alert").wait_for()

    hears(page, make_clip("low", seconds=1))

    assert page.get_by_role("alert").count() == 0


@pytest.mark.parametrize(
    "arguments, name, problem",
    [
        ([ALLOWED], "127.0.0.1", "No microphone was found."),
        ([MICROPHONE], "127.0.0.1", "The microphone was refused."),
        ([MICROPHONE, ALLOWED], "elsewhere.test", "https or localhost only"),
    ],
)
def test_microphones_that_do_not_work_are_told_of(launch, page_server, arguments, name, problem):
    with launch(*arguments) as browser:
        page = opened(browser.new_context(), f"http://{name}:{page_server.server_port}/")
        page.get_by_role("button", name="Listen").click()
        page.get_by_role("alert").filter(has_text=problem).wait_for()
        assert page.get_by_role("button", name="Listen").is_enabled()


@pytest.mark.parametrize(
    "route, body, problem",
    [
        ("**/recogniser.tflite", b"<!doctype html>", "no recogniser of ser_nsl"),
        ("**/litert_wasm*.wasm", b"no WebAssembly", "This browser cannot run the recogniser"),
    ],
)
def test_what_cannot_be_loaded_is_told_of(browser, page_server, route, body, problem):
    with browser.new_context() as context:
        page = context.new_page()
        page.route(route, lambda each: each.fulfill(body=body))
        page.goto(page_server.address)
        page.get_by_role("alert").filter(has_text=problem).wait_for()
        assert page.get_by_role("button", name="Listen").is_disabled()


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_the_page_fits_its_window(page, make_clip, width):
    page.set_viewport_size({"width": width, "height": 844})
    hears(page, make_clip("middle", seconds=1))

    assert page.evaluate("document.documentElement.scrollWidth") == width
