"""handler.py, loaded as the toolkit loads it and behind a server that speaks its protocol.

A measurement looks at one box only, except where a test says that the pulse is searched for.
"""

import base64
import io
import json
import re
import shutil
import subprocess
import sys
import zlib
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import av
import httpx
import huggingface_hub
import numpy as np
import pytest
from conftest import ROOT
from PIL import Image
from test_containers import trim

import handler
from pulse_plantain import cli
from pulse_plantain.contact_sheet import frames_from_contact_sheet
from pulse_plantain.settings import Settings

DEMO = ROOT / "assets" / "demo.mp4"
BPM = json.loads((ROOT / "assets" / "demo.json").read_text())["bpm"]
FACE = {"crop": [80, 60, 186, 200], "window": 8}
"""The face of the bundled clip with a margin; read in windows of one length."""
SMALL_FACE = {"crop": [32, 24, 74, 80], "window": 8}
"""The same on its contact sheet."""


@pytest.fixture(scope="module")
def sheet():
    """The contact sheet of the bundled clip."""
    return Image.open(ROOT / "assets" / "contact-sheet.png").convert("RGB")


def png(image):
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


class Toolkit(BaseHTTPRequestHandler):
    """The rules of huggingface-inference-toolkit: content types in, Accept out, errors as 400.

    Since August 2026 a text in JSON is made a picture for the task image-to-image.
    """

    def do_POST(self):
        kind = self.headers["Content-Type"] or ""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            if kind.startswith("application/json"):
                data = json.loads(body)
                if self.server.newer and isinstance(data["inputs"], str):
                    data["inputs"] = Image.open(io.BytesIO(base64.b64decode(data["inputs"])))
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


@contextmanager
def serve(endpoint, newer):
    """A client of the endpoint behind a toolkit on this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Toolkit)
    server.endpoint, server.newer = endpoint, newer
    Thread(target=server.serve_forever, daemon=True).start()
    before = huggingface_hub.constants.HF_HUB_OFFLINE
    huggingface_hub.constants.HF_HUB_OFFLINE = False  # the server is on this machine
    yield huggingface_hub.InferenceClient(f"http://127.0.0.1:{server.server_port}", token="none")
    huggingface_hub.constants.HF_HUB_OFFLINE = before
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def client(endpoint):
    with serve(endpoint, newer=False) as client:
        yield client


@pytest.fixture(scope="module")
def newer(endpoint):
    with serve(endpoint, newer=True) as client:
        yield client


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
    assert re.search("can be read|cannot identify", failure.value.response.json()["error"])
    assert "\n" not in failure.value.response.json()["error"]


def test_a_clip_under_a_name_passes_newer_toolkits(newer, client, sheet):
    """They make a picture of a text; one under a name stays what it is."""
    clip = base64_of(DEMO.read_bytes())
    body = {"inputs": clip, "parameters": {**FACE, "output": "json"}}
    assert "cannot identify" in httpx.post(newer.model, json=body, timeout=60).json()["error"]
    body["inputs"] = {"video": clip}
    answer = httpx.post(newer.model, json=body, timeout=60)
    assert answer.status_code == 200 and answer.json()["bpm"] == pytest.approx(BPM, abs=3)
    options = {**SMALL_FACE, "output": "sheet"}
    drawn = newer.image_to_image(png(sheet), model=newer.model, **options)
    plain = client.image_to_image(png(sheet), model=client.model, **options)
    assert np.array_equal(np.asarray(drawn), np.asarray(plain))


def test_arguments_of_image_to_image_clients_are_taken_or_left_out(client, sheet):
    """num_inference_steps is steps; the others mean nothing here, and do no harm."""
    alike = {"num_inference_steps": 1, "guidance_scale": 4.0, "negative_prompt": "a hat"}
    options = {**SMALL_FACE, "output": "sheet", "model": client.model}
    drawn = client.image_to_image(png(sheet), prompt="a pulse", **alike, **options)
    plain = client.image_to_image(png(sheet), **options)
    assert np.array_equal(np.asarray(drawn), np.asarray(plain))
    assert handler.check_parameters({"num_inference_steps": 2}).steps == 2


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


def test_a_clip_that_a_phone_trimmed_is_measured(endpoint, tmp_path):
    """Its first pictures are there, and an edit list hides them."""
    content = trim(DEMO, tmp_path / "cut.mov", 1.5).read_bytes()
    assert b"elst" in content
    answer = endpoint({"inputs": base64_of(content), "parameters": {**FACE, "output": "json"}})
    last = answer["windows"][-1]
    assert last["end"] == pytest.approx(8.5, abs=0.05)
    assert last["bpm"] == pytest.approx(BPM, abs=3)
    assert answer["lost"]["pictures"] == answer["lost"]["end_seconds"] == 0


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
        (
            {"inputs": Image.new("RGB", (1320, 852))},
            "picture of 1320 x 852 pixels is no contact sheet",
        ),
        ({"inputs": {"audio": "AAAA"}}, 'name what you send: {"inputs": {"video"'),
        ({"inputs": Image.new("RGB", (96, 96)), "parameters": {"size": 3}}, "unknown parameter"),
        ({"inputs": Image.new("RGB", (96, 96)), "parameters": {"grid": [0, 5]}}, "grid must be"),
        ({"inputs": Image.new("RGB", (96, 96)), "parameters": {"steps": True}}, "steps must be"),
        (
            {"inputs": Image.new("RGB", (96, 96)), "parameters": {"num_inference_steps": 99}},
            "num_inference_steps must be 1 to 50, got 99",
        ),
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


def test_base64_as_clients_write_it():
    """Line breaks, the alphabet of URLs, and no padding are all the same bytes."""
    content = np.random.default_rng(0).bytes(1000)
    texts = [
        base64_of(content),
        base64.encodebytes(content).decode(),
        base64.urlsafe_b64encode(content).decode().rstrip("="),
        "data:image/png;base64," + base64_of(content),
        "DATA:image/png;base64," + base64_of(content),
        "\n Data:;base64,\n" + base64_of(content),
    ]
    assert [handler.decode_base64(text) for text in texts] == [content] * len(texts)


def test_a_still_webp_is_a_contact_sheet(endpoint, sheet, tmp_path):
    file = io.BytesIO()
    sheet.save(file, "WEBP", lossless=True)
    geometry = endpoint.pipe.geometry
    received = handler.receive(file.getvalue(), handler.Parameters(), tmp_path, geometry)
    assert received.kind == "contact sheet" and received.clock.fps == 12
    for frame, other in zip(received.clip, frames_from_contact_sheet(sheet), strict=True):
        assert np.array_equal(np.asarray(frame), np.asarray(other))


def test_a_mov_without_its_first_box_is_a_clip(endpoint, tmp_path):
    content = small_video(tmp_path / "a.mov", seconds=6, container="mov")
    size = int.from_bytes(content[:4], "big")
    assert content[4:8] == b"ftyp" and content[size + 4 : size + 8] in (b"wide", b"moov", b"mdat")
    old = content[:4] + b"free" + content[8:]  # the box is skipped: offsets in the file stay
    answer = endpoint({"inputs": base64_of(old), "parameters": {"output": "json", "window": 5}})
    assert answer["windows"] and answer["bpm"] is None  # a film of black alone


def sound(path):
    """A WAV file in an AVI's clothes, and an MP4 of sound alone."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 8000
        file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return path.read_bytes()


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
@pytest.mark.parametrize("title", [b"\xff\xfe\xf0\x80\x99\xc3\xa9\xff", b"\xc3\x28Fr\xfchling"])
def test_a_title_in_no_known_alphabet_is_no_reason_to_refuse_a_clip(
    endpoint, tmp_path, name, title
):
    with av.open(str(tmp_path / name), "w") as file:
        file.metadata["title"] = len(title) * "X"
        stream = file.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(60):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8))))
        file.mux(stream.encode())
    content = (tmp_path / name).read_bytes()
    assert content.count(len(title) * b"X") == 1
    content = content.replace(len(title) * b"X", title)
    answer = endpoint({"inputs": base64_of(content), "parameters": {"output": "json", "window": 5}})
    assert answer["windows"] and answer["bpm"] is None  # a film of black alone


def huge_png(side):
    """The PNG of one colour that says it has side x side pixels."""

    def chunk(name, data):
        check = zlib.crc32(name + data).to_bytes(4, "big")
        return len(data).to_bytes(4, "big") + name + data + check

    head = side.to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])
    data = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + data


def test_messages_name_the_limit_and_no_path_of_the_server(endpoint, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "server"))
    (tmp_path / "server").mkdir()
    said = []
    for content in (sound(tmp_path / "a.mp4"), huge_png(50_000), huge_png(9_000), b"RIFF1234WAVE"):
        with pytest.raises(ValueError) as failure:
            endpoint({"inputs": base64_of(content)})
        said.append(str(failure.value))
    assert said[0].startswith("the clip: no pictures in the file")
    assert said[1] == "pictures of up to 67108864 pixels are taken"
    assert said[2] == "pictures of up to 67108864 pixels are taken, got 9000 x 9000"
    assert said[3].startswith("inputs is no picture")
    assert not any(str(tmp_path) in message for message in said)


def test_the_size_of_an_opened_picture_is_checked_before_it_is_decoded(endpoint, monkeypatch):
    """Toolkits make pictures of what is sent, and have limits of their own, or none."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    for side in (50_000, 9_000):
        picture = Image.open(io.BytesIO(huge_png(side)))
        monkeypatch.setattr(picture, "load", lambda: pytest.fail("its pixels were asked for"))
        with pytest.raises(ValueError, match=f"67108864 pixels are taken, got {side} x {side}$"):
            endpoint({"inputs": picture})


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_picture_that_is_cut_short_is_named(endpoint, sheet, kind):
    file = io.BytesIO()
    sheet.save(file, kind)
    content = file.getvalue()[: len(file.getvalue()) // 2]
    for inputs in (Image.open(io.BytesIO(content)), base64_of(content), {"image": content}):
        with pytest.raises(ValueError, match=r"^inputs: a picture that is cut short or damaged \("):
            endpoint({"inputs": inputs})


def test_numbers_of_a_query_string_are_numbers():
    chosen = handler.check_parameters({"fps": "29.5", "grid": "[4, 6]", "output": "json"})
    assert (chosen.fps, chosen.grid, chosen.output) == (29.5, (4, 6), "json")
    with pytest.raises(ValueError, match="fps must be 1 to 1000, got 'thirty'"):
        handler.check_parameters({"fps": "thirty"})
    with pytest.raises(ValueError, match=r"seed must be a whole number from 0, got '9+\.\.\.$"):
        handler.check_parameters({"seed": 5000 * "9"})


def test_no_stack_trace_leaves_the_handler_but_the_keeper_sees_it(
    endpoint, sheet, monkeypatch, caplog
):
    def broken(*of, **its):
        raise KeyError("secret")

    monkeypatch.setattr(endpoint.pipe, "draw", broken)
    with pytest.raises(ValueError, match=r"^the input could not be measured$"):
        endpoint({"inputs": sheet})
    assert "secret" in caplog.text and "Traceback" in caplog.text
