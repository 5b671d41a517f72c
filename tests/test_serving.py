"""serve.py and its container: HTTP around the handler, many requests at once, the Dockerfile."""

import base64
import io
import json
import re
import shlex
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest
from conftest import ROOT, read_script
from PIL import Image

import serve

DEMO = ROOT / "assets" / "demo.mp4"
LOAD = read_script("load_test")
FACE = LOAD["FACE"]


@pytest.fixture(scope="module")
def url(endpoint):
    server, url = LOAD["start_server"](endpoint)
    yield url
    server.should_exit = True
    del serve.app.state.endpoint


def test_a_clip_travels_as_it_is_or_in_json(url, endpoint):
    clip = DEMO.read_bytes()
    wanted = json.loads(json.dumps(endpoint({"inputs": clip, "parameters": FACE})))
    assert wanted["bpm"] == pytest.approx(89.3, abs=3)
    query = {name: json.dumps(value) for name, value in FACE.items() if name != "output"}
    raw = httpx.post(
        url,
        content=clip,
        params=query | {"output": "json"},
        headers={"Content-Type": "video/mp4"},
        timeout=60,
    )
    body = {"inputs": {"video": base64.b64encode(clip).decode()}, "parameters": FACE}
    assert raw.json() == httpx.post(f"{url}/predict", json=body, timeout=60).json() == wanted


def test_a_picture_comes_back_as_it_is_asked_for(url, endpoint):
    width, height = endpoint.pipe.geometry.size
    file = io.BytesIO()
    Image.new("RGB", (width, height)).save(file, "PNG")
    options = {"params": {"output": "sheet"}, "timeout": 60}
    headers = {"Content-Type": "image/png", "Accept": "image/png"}
    answer = httpx.post(url, content=file.getvalue(), headers=headers, **options)
    assert answer.headers["content-type"] == "image/png"
    assert Image.open(io.BytesIO(answer.content)).size == (width, height)
    del headers["Accept"]
    text = httpx.post(url, content=file.getvalue(), headers=headers, **options).json()
    assert base64.b64decode(text) == answer.content


def test_drawn_sheets_of_several_windows_can_be_sent_back(url):
    query = {"crop": json.dumps(FACE["crop"]), "window": "5", "output": "sheet"}
    headers = {"Content-Type": "video/mp4", "Accept": "image/png"}
    drawn = httpx.post(url, content=DEMO.read_bytes(), params=query, headers=headers, timeout=60)
    headers = {"Content-Type": "image/png"}
    back = httpx.post(url, content=drawn.content, params={"output": "json"}, headers=headers)
    times = [(window["start"], window["end"]) for window in back.json()["windows"]]
    assert times == [(0, 5), (2.5, 7.5), (5, 10)]


def test_what_cannot_be_answered_is_one_line(url, monkeypatch):
    assert httpx.get(f"{url}/health").text == "ok"
    kinds = [
        ({"content": b"{", "headers": {"Content-Type": "application/json"}}, "the body is no JSON"),
        ({"content": b"x", "headers": {"Content-Type": "text/plain"}}, "not 'text/plain'"),
        ({"json": [1]}, "send {"),
        ({"json": {"inputs": {"video": "AAAA"}}}, "can be read"),
    ]
    for sent, said in kinds:
        answer = httpx.post(url, timeout=60, **sent)
        assert answer.status_code == 400 and said in answer.json()["error"]
    monkeypatch.setattr(serve, "BODY_BYTES", 1000)
    answer = httpx.post(url, content=bytes(5000), headers={"Content-Type": "video/mp4"})
    assert answer.status_code == 400 and answer.json() == {"error": "up to 32 MiB are taken"}


def test_requests_at_once_get_their_own_answers_and_leave_no_file(
    url, endpoint, tmp_path, monkeypatch
):
    """A small load; scripts/load_test.py has the large one."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    kinds = LOAD["make_requests"](endpoint.pipe)
    wanted = [kind.ask(url) for kind in kinds]
    assert [kind.is_right(*its) for kind, its in zip(kinds, wanted, strict=True)] == [True] * 4
    order = np.random.default_rng(0).permutation(np.arange(4).repeat(2))
    with ThreadPoolExecutor(len(order)) as pool:
        answers = list(pool.map(lambda which: kinds[which].ask(url), order))
    assert [answers[i] == wanted[which] for i, which in enumerate(order)] == [True] * len(order)
    assert list(tmp_path.iterdir()) == []


def test_a_load_is_judged_by_answers_files_and_memory(url, endpoint, tmp_path):
    run = LOAD["load"](url, LOAD["make_requests"](endpoint.pipe)[2:], 4, 4)
    assert LOAD["find_faults"]([run], 0) == [] and run["memory_settled_mb"] > 100
    most = LOAD["MOST_GROWTH_MB"]
    for change, fault in (
        ({"memory_settled_mb": run["memory_before_mb"] + most + 1}, f"{most + 1} MB did not come"),
        ({"answers_as_alone": 3}, "only 3 answers as alone"),
        ({"kinds": run["kinds"] | {"broken": False}}, "the broken was wrong"),
    ):
        (found,) = LOAD["find_faults"]([run, run | change], 0)
        assert found.startswith("4 requests, 4 at once: ") and fault in found
    assert LOAD["find_faults"]([run | {"memory_after_mb": 10**6}], 2) == ["2 files were left"]
    assert json.loads((ROOT / "results" / "load.json").read_text())["most_growth_mb"] == most


def test_the_container_has_what_it_needs():
    """What the Dockerfile copies is there, and holds what the server imports and loads."""
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    steps = [line.split(maxsplit=1) for line in lines]
    sources = [word for step, rest in steps if step == "COPY" for word in rest.split()[:-1]]
    assert all(any(ROOT.glob(source)) for source in sources)
    assert any(ROOT.joinpath("adapter_config.json") in ROOT.glob(source) for source in sources)
    assert {"handler.py", "serve.py", "pulse_plantain", "tiny"} <= set(sources)
    (install,) = [shlex.split(rest) for step, rest in steps if step == "RUN"]
    assert install[-2:] == ["-r", "requirements-serve.txt"]
    assert {"requirements.txt", "requirements-serve.txt"} <= set(sources)
    (command,) = [json.loads(rest) for step, rest in steps if step == "CMD"]
    assert command[:2] == ["uvicorn", "serve:app"]
    (python,) = [rest for step, rest in steps if step == "FROM"]
    project = (ROOT / "pyproject.toml").read_text()
    assert re.search(r'requires-python = ">=3.11"', project) and python == "python:3.11-slim"
    (port,) = [rest for step, rest in steps if step == "EXPOSE"]
    assert command[command.index("--port") + 1] == port
