"""handler.py behind a server that speaks the toolkit's protocol; contact sheets."""

import base64
import io
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import av
import huggingface_hub
import numpy as np
import pytest
from conftest import ROOT
from PIL import Image

import handler
from pulse_plantain.contact_sheet import GRID, frames_from_contact_sheet, make_contact_sheet
from pulse_plantain.video import Clock
from scripts import contact_sheet, measure

DEMO = ROOT / "assets" / "demo.mp4"


@pytest.fixture(scope="module")
def endpoint():
    return handler.EndpointHandler(str(ROOT))


@pytest.fixture(scope="module")
def sheet():
    return make_contact_sheet(DEMO)


def png(image):
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


class Toolkit(BaseHTTPRequestHandler):
    """The rules of huggingface-inference-toolkit: content types in, Accept out, errors as 400."""

    def do_POST(self):
        kind = self.headers["Content-Type"] or ""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            if kind.startswith("application/json"):
                data = json.loads(body)
            elif kind.startswith("image/"):
                data = {"inputs": Image.open(io.BytesIO(body)).convert("RGB")}
            else:
                raise ValueError(f"Content type {kind!r} is not supported")
            answer = self.server.endpoint(data)
            if isinstance(answer, Image.Image) and "image/" in (self.headers["Accept"] or ""):
                return self.send(200, "image/png", png(answer))
            if isinstance(answer, Image.Image):
                answer = base64.b64encode(png(answer)).decode()
            self.send(200, "application/json", json.dumps(answer).encode())
        except Exception as error:  # as the toolkit does
            self.send(400, "application/json", json.dumps({"error": str(error)}).encode())

    def send(self, status, kind, body):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words):
        pass


@pytest.fixture(scope="module")
def client(endpoint):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Toolkit)
    server.endpoint = endpoint
    Thread(target=server.serve_forever, daemon=True).start()
    before = huggingface_hub.constants.HF_HUB_OFFLINE
    huggingface_hub.constants.HF_HUB_OFFLINE = False  # the server is on this machine
    yield huggingface_hub.InferenceClient(f"http://127.0.0.1:{server.server_port}", token="none")
    huggingface_hub.constants.HF_HUB_OFFLINE = before
    server.shutdown()


def test_a_contact_sheet_dropped_into_the_widget(client, sheet, tmp_path):
    path = tmp_path / "sheet.png"  # the client guesses the content type from the name
    sheet.save(path)
    page = client.image_to_image(path, model=client.model)
    assert page.size[0] > 1000 and np.asarray(page).std() > 20


def test_parameters_travel_with_a_base64_picture(client, endpoint, sheet):
    drawn = client.image_to_image(png(sheet), output="sheet", model=client.model)
    assert drawn.size == endpoint.pipe.geometry.size
    again = client.image_to_image(png(drawn), output="sheet", model=client.model)
    off = np.abs(np.asarray(again, int) - np.asarray(drawn, int))
    assert off.max() <= 1  # a pulse sheet sent back is read as one


def test_a_bad_request_is_answered_in_one_line(client):
    with pytest.raises(huggingface_hub.errors.HfHubHTTPError) as failure:
        client.image_to_image(b"no picture", model=client.model, output="json")
    assert failure.value.response.status_code == 400
    assert "can be read" in failure.value.response.json()["error"]


def base64_of(content):
    return base64.b64encode(content).decode()


def test_a_video_in_json_is_read_as_measure_reads_it(endpoint, tmp_path):
    out = tmp_path / "demo.json"
    assert measure.main(["--json", str(out)]) == 0
    wanted = json.loads(out.read_text())
    data = {"inputs": base64_of(DEMO.read_bytes()), "parameters": {"output": "json"}}
    answer = json.loads(json.dumps(endpoint(data)))
    assert answer.keys() == wanted.keys()
    assert answer["bpm"] == pytest.approx(wanted["bpm"], abs=0.01)
    data["inputs"] = "data:video/mp4;base64," + data["inputs"]
    data["parameters"] |= {
        "seed": 3,
        "ensemble": 2,
        "steps": 1,
        "window": 6,
        "prompt": "draw a pulse",
        "crop": None,
    }
    assert len(endpoint(data)["windows"]) > len(answer["windows"]) - 1


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_animations_are_clips(endpoint, sheet, kind):
    frames = handler_frames(sheet)
    file = io.BytesIO()
    options = {"lossless": True} if kind == "WEBP" else {}
    frames[0].save(
        file, kind, save_all=True, append_images=frames[1:], duration=83, loop=0, **options
    )
    answer = endpoint({"inputs": base64_of(file.getvalue()), "parameters": {"output": "json"}})
    end = max(window["end"] for window in answer["windows"])
    assert end == pytest.approx(8, abs=0.4)  # a GIF counts in 10 ms


def handler_frames(sheet):
    return frames_from_contact_sheet(sheet)


def small_video(path, size=(64, 48), seconds=2, container="mp4"):
    with av.open(str(path), "w", format=container) as file:
        stream = file.add_stream("mpeg4", rate=10)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        for _ in range(10 * seconds):
            picture = np.zeros((size[1], size[0], 3), np.uint8)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture)))
        file.mux(stream.encode())
    return path.read_bytes()


PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:8\n#EXTINF:8,\n/etc/passwd\n#EXT-X-ENDLIST\n"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({}, "send {"),
        ([], "send {"),
        ({"inputs": 5}, "inputs must be a picture"),
        ({"inputs": "http://example.com/face.mp4"}, "no URL or path is opened"),
        ({"inputs": "../passwd"}, "no URL or path is opened"),
        ({"inputs": base64_of(PLAYLIST)}, "can be read"),
        ({"inputs": base64_of(b"ffconcat version 1.0\nfile /etc/passwd")}, "can be read"),
        ({"inputs": base64_of(b"\0\0\0\x18ftypmp42" + bytes(99))}, "not a video"),
        ({"inputs": Image.new("RGB", (100, 101))}, "does not divide"),
        ({"inputs": Image.new("RGB", (96, 96)), "parameters": {"size": 3}}, "unknown parameter"),
        ({"inputs": Image.new("RGB", (96, 96)), "parameters": {"grid": [0, 5]}}, "grid must be"),
        ({"inputs": Image.new("RGB", (96, 96)), "parameters": {"steps": True}}, "steps must be"),
        ({"inputs": Image.new("RGB", (96, 96)), "parameters": {"output": "x"}}, "output must be"),
        ({"inputs": Image.new("RGB", (96, 96)), "parameters": [1]}, "parameters must be"),
    ],
)
def test_what_cannot_be_measured_is_refused(endpoint, data, said):
    with pytest.raises(ValueError) as failure:
        endpoint(data)
    message = str(failure.value)
    assert said in message and "\n" not in message and str(ROOT) not in message
    assert failure.value.__cause__ is None and failure.value.__suppress_context__


def test_limits(endpoint, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="5 s are needed"):
        endpoint({"inputs": base64_of(small_video(tmp_path / "a.mp4"))})
    monkeypatch.setattr(handler, "MOST_SECONDS", 1.0)
    with pytest.raises(ValueError, match="clips of up to 1 s are taken"):
        endpoint({"inputs": base64_of(small_video(tmp_path / "b.mp4"))})
    monkeypatch.setattr(handler, "MOST_PIXELS", 2000)
    with pytest.raises(ValueError, match="up to 2000 pixels are taken, got 64 x 48"):
        endpoint({"inputs": base64_of(small_video(tmp_path / "c.mp4"))})
    monkeypatch.setattr(handler, "MOST_BYTES", 1000)
    with pytest.raises(ValueError, match="MiB are taken"):
        endpoint({"inputs": "A" * 2000})


def test_nothing_is_left_behind(endpoint, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    endpoint({"inputs": base64_of(DEMO.read_bytes()), "parameters": {"output": "json"}})
    assert list(tmp_path.iterdir()) == []


def test_no_stack_trace_leaves_the_handler(endpoint, sheet, monkeypatch):
    def broken(*of, **its):
        raise KeyError("secret")

    monkeypatch.setattr(endpoint.pipe, "look", broken)
    with pytest.raises(ValueError, match="^the input could not be measured$"):
        endpoint({"inputs": sheet})


def test_a_sheet_keeps_fractions_of_a_grey_level(tmp_path):
    times = np.arange(0, 9, 1 / 30)
    levels = 100 + 0.2 * np.sin(2 * np.pi * 1.1 * times)
    clip = np.broadcast_to((levels / 255)[:, None, None, None], (len(times), 96, 128, 3))
    np.testing.assert_allclose(clip[0, 0, 0], levels[0] / 255)

    image = make_contact_sheet(clip.astype(np.float32), clock=Clock(30))
    means = np.array([np.asarray(frame).mean() for frame in handler_frames(image)])
    middle = (np.arange(96) + 0.5) / 12
    wanted = 100 + 0.2 * np.sin(2 * np.pi * 1.1 * middle)
    assert image.size == (12 * 128, 8 * 96)
    assert np.abs(means - wanted).max() < 0.03


def test_contact_sheet_script(tmp_path, capsys):
    out = tmp_path / "sheet.png"
    assert contact_sheet.main([str(DEMO), str(out)]) == 0
    assert Image.open(out).size[0] % GRID[1] == 0
    assert contact_sheet.main([str(DEMO), str(tmp_path / "b.png"), "--start", "60"]) == 2
    assert "no 8 s from 60 s on" in capsys.readouterr().err
    assert not (tmp_path / "b.png").exists()
    assert contact_sheet.main([]) == 2
