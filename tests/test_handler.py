"""handler.py, loaded as the toolkit loads it and behind a server that speaks its protocol.

A measurement looks at one box only, except where a test says that the pulse is searched for.
"""

import base64
import io
import json
import shutil
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import av
import huggingface_hub
import numpy as np
import pytest
from conftest import ROOT
from PIL import Image

import handler
from pulse_plantain import cli
from pulse_plantain.contact_sheet import frames_from_contact_sheet
from pulse_plantain.settings import Settings

DEMO = ROOT / "assets" / "demo.mp4"
BPM = json.loads((ROOT / "assets" / "demo.json").read_text())["bpm"]
FACE = {"crop": [90, 74, 178, 186], "window": 8}
"""Where the face of the bundled clip is; read in windows of one length."""
SMALL_FACE = {"crop": [36, 30, 71, 74], "window": 8}
"""The same on its contact sheet."""


@pytest.fixture(scope="module")
def endpoint(miniature):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(handler, "load_served", lambda root: miniature)
        return handler.EndpointHandler(str(ROOT))


@pytest.fixture(scope="module")
def sheet():
    """The contact sheet of the bundled clip."""
    return Image.open(ROOT / "assets" / "contact-sheet.png").convert("RGB")


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


AS_THE_TOOLKIT = """
import importlib.util, json, sys

folder, foreign, installed = sys.argv[1:]
sys.path[:] = [foreign, *(place for place in sys.path if place != installed)]
spec = importlib.util.spec_from_file_location("handler.EndpointHandler", folder + "/handler.py")
sys.path.insert(0, folder)
module = importlib.util.module_from_spec(spec)
sys.modules["handler.EndpointHandler"] = module
spec.loader.exec_module(module)
answer = module.EndpointHandler(folder)(json.load(sys.stdin))
files = [m.__file__ for name, m in sys.modules.items() if name.split(".")[0] == "pulse_plantain"]
print(json.dumps({"answer": answer, "files": files, "foreign": "rppg" in sys.modules}))
"""
"""What check_and_register_custom_pipeline_from_directory of huggingface-inference-toolkit does."""


def test_the_toolkit_loads_it_from_a_folder_and_measures(tmp_path):
    """Nothing of ours is installed; what is has the name of a folder that once was here."""
    folder, foreign, outside = (tmp_path / name for name in ("repository", "foreign", "outside"))
    for place in (folder, foreign / "rppg", outside):
        place.mkdir(parents=True)
    (foreign / "rppg" / "__init__.py").write_text("raise ImportError('another package')\n")
    shutil.copy(ROOT / "handler.py", folder)
    without = shutil.ignore_patterns("lab", "__pycache__")
    shutil.copytree(ROOT / "pulse_plantain", folder / "pulse_plantain", ignore=without)
    (folder / "tiny").symlink_to(ROOT / "tiny")
    data = {"inputs": base64_of(DEMO.read_bytes()), "parameters": {**FACE, "output": "json"}}
    done = subprocess.run(
        [sys.executable, "-I", "-c", AS_THE_TOOLKIT, str(folder), str(foreign), str(ROOT)],
        input=json.dumps(data),
        cwd=outside,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["answer"]["bpm"] == pytest.approx(BPM, abs=3)
    assert len(told["files"]) > 10
    assert all(file.startswith(str(folder)) for file in told["files"])
    assert not told["foreign"]


def test_a_contact_sheet_dropped_into_the_widget(client, sheet, tmp_path):
    """Without parameters, so the pulse is searched for."""
    path = tmp_path / "sheet.png"  # the client guesses the content type from the name
    sheet.save(path)
    page = client.image_to_image(path, model=client.model)
    assert page.size[0] > 1000 and np.asarray(page).std() > 20


def test_parameters_travel_with_a_base64_picture(client, endpoint, sheet):
    drawn = client.image_to_image(png(sheet), output="sheet", model=client.model, **SMALL_FACE)
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


def test_a_video_in_json_is_read_as_the_command_reads_it(endpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(Settings, "load", lambda self: endpoint.pipe)
    out = tmp_path / "demo.json"
    box = [str(side) for side in FACE["crop"]]
    assert cli.main([str(DEMO), "--json", str(out), "--window", "8", "--crop", *box]) == 0
    data = {"inputs": base64_of(DEMO.read_bytes()), "parameters": {**FACE, "output": "json"}}
    answer = json.loads(json.dumps(endpoint(data)))
    assert answer == json.loads(out.read_text())
    assert answer["bpm"] == pytest.approx(BPM, abs=3)


def test_every_parameter_reaches_the_pipeline(endpoint):
    clip = "data:video/mp4;base64," + base64_of(DEMO.read_bytes())
    ignored = {"prompt": "draw a pulse", "grid": None, "seconds": None}
    chosen = {"crop": FACE["crop"], "output": "json", **ignored}
    chosen |= {"fps": 29, "window": 6, "steps": 2, "ensemble": 2, "seed": 3}
    answer = endpoint({"inputs": clip, "parameters": chosen})
    first, last = answer["windows"][0], answer["windows"][-1]
    assert (first["start"], first["end"]) == (0, 6)
    assert last["end"] == pytest.approx(300 / 29, abs=0.1)
    assert endpoint({"inputs": clip, "parameters": chosen}) == answer
    for name, value in {"steps": 1, "ensemble": 1, "seed": 4, "crop": [80, 74, 178, 186]}.items():
        other = endpoint({"inputs": clip, "parameters": {**chosen, name: value}})
        assert other["bvp"] != answer["bvp"], name


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_animations_are_clips(endpoint, sheet, kind):
    frames = frames_from_contact_sheet(sheet)
    file = io.BytesIO()
    options = {"lossless": True} if kind == "WEBP" else {}
    frames[0].save(
        file, kind, save_all=True, append_images=frames[1:], duration=83, loop=0, **options
    )
    parameters = {**SMALL_FACE, "output": "json"}
    answer = endpoint({"inputs": base64_of(file.getvalue()), "parameters": parameters})
    end = max(window["end"] for window in answer["windows"])
    assert end == pytest.approx(8, abs=0.4)  # a GIF counts in 10 ms


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
    parameters = {**FACE, "output": "json"}
    assert endpoint({"inputs": base64_of(DEMO.read_bytes()), "parameters": parameters})["windows"]
    assert list(tmp_path.iterdir()) == []


def test_no_stack_trace_leaves_the_handler(endpoint, sheet, monkeypatch):
    def broken(*of, **its):
        raise KeyError("secret")

    monkeypatch.setattr(endpoint.pipe, "draw", broken)
    with pytest.raises(ValueError, match=r"^the input could not be measured$"):
        endpoint({"inputs": sheet})
