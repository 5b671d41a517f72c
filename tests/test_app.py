"""app.py in headless Chromium: upload, a rate on the page, download; nothing uploaded is left."""

import csv
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

import av
import numpy as np
import pytest
from conftest import ROOT

pytest.importorskip("gradio", reason="gradio is not installed (requirements-app.txt)")
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
FLAGS += ["--disable-background-networking", "--disable-component-update"]
FLAGS += ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
PATIENCE = 90_000  # ms
DEMO = ROOT / "assets" / "demo.mp4"


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """(address, folder of everything that the server writes)."""
    folder = tmp_path_factory.mktemp("served")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {"GRADIO_SERVER_PORT": str(port), "GRADIO_ANALYTICS_ENABLED": "False"}
    settings |= {"TMPDIR": str(folder), "GRADIO_TEMP_DIR": str(folder / "gradio")}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "app.py")],
            env=os.environ | settings,
            stdout=log,
            stderr=log,
        )
        address = f"http://127.0.0.1:{port}"
        for _ in range(240):
            try:
                urllib.request.urlopen(address, timeout=1).close()
                break
            except OSError:
                assert process.poll() is None, (folder / "log").read_text()
                time.sleep(0.5)
        yield address, folder
        process.terminate()
        process.wait()


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser, served):
    context = browser.new_context(
        viewport={"width": 1280, "height": 900},
        permissions=["camera", "microphone"],
        accept_downloads=True,
    )
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(served[0])
    page.wait_for_selector("#measure")
    yield page
    context.close()


def write_beginning(path, seconds):
    """The first seconds of the bundled clip: the less there is to read, the sooner it is read."""
    with av.open(str(DEMO)) as whole, av.open(str(path), "w") as part:
        stream = whole.streams.video[0]
        copy = part.add_stream_from_template(stream)
        for packet in whole.demux(stream):
            if packet.pts is not None and packet.pts * packet.time_base < seconds:
                packet.stream = copy
                part.mux(packet)


def test_upload_rate_download(page, served, tmp_path):
    clip = tmp_path / "face.mp4"
    write_beginning(clip, 10)
    page.set_input_files("#clip input[type=file]", str(clip))
    page.wait_for_selector("#clip video")
    page.click("#measure")
    page.wait_for_selector("#said h2")
    heading = page.inner_text("#said h2")
    truth = json.loads((ROOT / "assets" / "demo.json").read_text())["bpm"]
    found = re.match(r"([\d.]+).*beats per minute", heading)
    assert found, heading
    assert float(found[1]) == pytest.approx(truth, abs=3)
    page.wait_for_selector("#files a")
    names = {}
    for link in page.query_selector_all("#files a[download]"):
        with page.expect_download() as waiting:
            link.click()
        target = tmp_path / waiting.value.suggested_filename
        waiting.value.save_as(target)
        names[target.suffix] = target
    assert set(names) == {".csv", ".png", ".json"}
    rows = list(csv.reader(names[".csv"].open()))
    assert rows[0] == ["time_s", "bvp"] and len(rows) > 90
    assert float(rows[-1][0]) == pytest.approx(10, abs=0.1)
    assert json.loads(names[".json"].read_text())["bpm"] == pytest.approx(float(found[1]), abs=0.06)
    left = {p.relative_to(served[1]).parts[0] for p in served[1].rglob("*.mp4")}
    assert left == {"gradio"}  # of what was made only Gradio's copies stay a while
    assert not list(served[1].rglob("face.mp4"))  # the upload went with the request


def test_nothing_to_measure_is_said(page, tmp_path):
    page.click("#measure")
    page.wait_for_selector("text=Upload or record a clip first")
    wall = tmp_path / "wall.mp4"
    with av.open(str(wall), "w") as file:
        stream = file.add_stream("libx264", rate=20)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        rng = np.random.default_rng(0)
        for _ in range(110):
            picture = (120 + rng.normal(0, 3, (48, 64, 3))).clip(0, 255).astype(np.uint8)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture)))
        file.mux(stream.encode())
    page.set_input_files("#clip input[type=file]", str(wall))
    page.wait_for_selector("#clip video")
    page.click("#measure")
    page.wait_for_selector("#said h2")
    assert page.inner_text("#said h2") == "No pulse found"


def test_the_bundled_clip_is_one_click_away(page):
    page.click("#example")
    page.wait_for_selector("#said h2")
    assert "beats per minute" in page.inner_text("#said h2")
    page.wait_for_selector("video")


def test_the_webcam_counts_down_stops_by_itself_and_is_measured(page):
    page.click("#clip button[aria-label='Capture from camera']")
    page.click("#clip button:has-text('Access Webcam')")
    page.click("#clip button:has-text('Record')")
    page.wait_for_selector("#countdown:has-text('Keep still: 8 s')")
    page.wait_for_selector("#clip button:has-text('Stop')", state="detached")
    page.wait_for_selector("#clip video[src]")
    page.click("#measure")
    # Chromium's test picture turns about once a second, and a busy machine films little of it:
    # what matters here is that the recording reaches the pipeline and something is said of it.
    words = ["No pulse found", "beats per minute", "at least 7 are needed to see a pulse"]
    script = "words => words.some(word => document.body.innerText.includes(word))"
    page.wait_for_function(script, arg=words, timeout=2 * PATIENCE)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits(browser, served, scheme):
    context = browser.new_context(viewport={"width": 390, "height": 844}, color_scheme=scheme)
    page = context.new_page()
    page.goto(f"{served[0]}/?__theme={scheme}")
    page.wait_for_selector("#measure")
    for width in (390, 1280):
        page.set_viewport_size({"width": width, "height": 844})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.is_visible("#example")
    context.close()
