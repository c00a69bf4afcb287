"""The JavaScript of docs/phones.md, as a page that pastes it, in headless Chromium."""

import functools
import re
import shutil
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from ser_nsl.audio.damage import colored

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
RATE = 16_000
PAGE = """<!doctype html>
<script type="importmap">{"imports": {
  "@litertjs/core": "./node_modules/@litertjs/core/dist/index.js",
  "@litertjs/wasm-utils": "./node_modules/@litertjs/wasm-utils/dist/index.js"
}}</script>
<script type="module">
  import { listen } from "./app.js";
  document.querySelector("button").onclick = () =>
    listen((label) => document.querySelector("output").append(`${label};`));
</script>
<button>Listen</button><output></output>
"""


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_) -> None:
        pass


@pytest.fixture(scope="module")
def address(packages, tmp_path_factory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("app")
    (script,) = re.findall(r"```js\n(.*?)```", (ROOT / "docs/phones.md").read_text(), re.DOTALL)
    (folder / "app.js").write_text(script)
    (folder / "index.html").write_text(PAGE)
    (folder / "node_modules").symlink_to(packages)
    shutil.copy(ROOT / "ser_nsl/models/everyone.tflite", folder)
    handler = functools.partial(Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def say() -> np.ndarray:
    pytest.importorskip("espeakng_loader", reason="needs pip install '.[synthetic]'")
    from ser_nsl.corpora.synthetic import espeak

    speech = espeak.speak("I will not do that again!", espeak.Voice("en", (150, 330), 230, 110))
    return soxr.resample(speech, espeak.SAMPLE_RATE_HZ, RATE)


def blow() -> np.ndarray:
    noise = colored(3 * RATE, -6, np.random.default_rng(0))
    return 0.3 * noise / np.abs(noise).max()


@pytest.mark.parametrize(
    ("make", "usual", "most"),  # of Python, wherever in the repeated sound it starts
    [(say, "anger", {"anger", "not sure"}), (blow, "no speech", {"no speech"})],
)
def test_the_microphone_gets_the_label_of_python(make, usual, most, address, tmp_path):
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if not chromium:
        pytest.skip("Chromium is not installed")
    soundfile.write(tmp_path / "sound.wav", make(), RATE)
    arguments = ["--no-sandbox", "--disable-gpu", "--use-fake-device-for-media-stream"]
    arguments.append(f"--use-file-for-fake-audio-capture={tmp_path / 'sound.wav'}")
    with (
        playwright.sync_playwright() as driver,
        driver.chromium.launch(executable_path=chromium, args=arguments) as browser,
        browser.new_context(permissions=["microphone"]) as context,
    ):
        page = context.new_page()
        errors = []
        page.on("pageerror", lambda error: errors.append(error))
        page.goto(address)
        page.get_by_role("button").click()
        page.get_by_role("status").filter(has_text=re.compile("(;.*){8}")).wait_for(timeout=60_000)
        shown = page.get_by_role("status").inner_text().split(";")[:8]

    assert errors == []
    assert {*shown} <= most
    assert shown.count(usual) > 4
