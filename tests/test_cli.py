"""The command line: what is printed, written and refused.

The model is random; where a pulse is needed, a painter stands in for what it would have drawn.
"""

import gc
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import av
import jsonschema
import numpy as np
import pytest
import tiny_components
import torch
from conftest import ROOT
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file
from stand_ins import BPM, noise_clip
from test_loading import PULSE_CONFIG, random_adapter

from pulse_plantain import cli, loading
from pulse_plantain.adapter import PROMPT_FILE, write_adapter
from pulse_plantain.pipeline import PulsePipeline
from pulse_plantain.settings import Settings
from pulse_plantain.video import read_frames

SCHEMA = ROOT / "docs" / "schema" / "pulse.json"


def read_json(path):
    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(path.read_text(), parse_constant=refuse)


def name_outputs(folder):
    return {
        "--json": folder / "a.json",
        "--plot": folder / "a.png",
        "--video": folder / "deeper" / "a.mp4",
        "--sheet": folder / "s.png",
    }


def to_options(files):
    return [str(word) for pair in files.items() for word in pair]


def test_a_pulse_is_printed_and_written(painted, model, clip, tmp_path, capsys):
    files = name_outputs(tmp_path)
    assert cli.main([clip, "--model", model, *to_options(files)]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert float(printed[0].split()[2]) == pytest.approx(BPM, abs=0.5)
    assert printed[0].startswith("heart rate  7") and " bpm ± " in printed[0]
    assert [line.split()[:3] for line in printed[4:]] == [["0.0", "-", "8.0"], ["4.0", "-", "12.0"]]

    written = read_json(files["--json"])
    jsonschema.validate(written, read_json(SCHEMA))
    assert written["bpm"] == pytest.approx(BPM, abs=0.5) and written["reason"] is None
    assert written["confidence"] > 0.8 and written["sampling_rate"] == 12
    assert len(written["bvp"]) == len(written["times"]) == 144
    np.testing.assert_allclose(written["times"], (np.arange(144) + 0.5) / 12, atol=1e-6)
    assert [window["crop"][:2] for window in written["windows"]] == [[0, 0], [0, 0]]
    upright = np.cos(2 * np.pi * BPM / 60 * np.array(written["times"]))
    assert np.corrcoef(upright, written["bvp"])[0, 1] > 0.99

    assert Image.open(files["--sheet"]).size == (384, 128)
    assert Image.open(files["--plot"]).size[0] == 1320
    times, pictures = zip(*read_frames(files["--video"]), strict=True)
    np.testing.assert_allclose(times, np.arange(120) / 10, atol=1e-4)
    coloured = np.ptp(np.stack(pictures)[:, 18:30, 22:42].astype(int), axis=-1).mean()
    grey = np.ptp(np.stack(pictures)[:, 18:30, :6].astype(int), axis=-1).mean()
    assert coloured > 80 and grey < 10
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) == [
        "a.json", "a.mp4", "a.png", "s.png",
    ]  # fmt: skip


def test_a_sheet_is_read_back(painted, model, clip, tmp_path, capsys):
    files = name_outputs(tmp_path)
    cli.main([clip, "--model", model, *to_options(files)])
    direct = read_json(files["--json"])
    again = {"--json": tmp_path / "b.json", "--plot": tmp_path / "b.png"}
    sheet = ["--decode", str(files["--sheet"])]
    assert cli.main([*sheet, "--model", model, *to_options(again)]) == 0
    decoded = read_json(again["--json"])
    assert decoded["bpm"] == pytest.approx(direct["bpm"], abs=0.4)
    np.testing.assert_allclose(decoded["bvp"], direct["bvp"], atol=3e-5)
    assert [w["start"] for w in decoded["windows"]] == [0, 4]
    assert again["--plot"].stat().st_size > 10000

    bare = tmp_path / "bare.png"  # as another tool would save it: no times, so one window each
    Image.open(files["--sheet"]).crop((0, 0, 384, 64)).save(bare)
    assert cli.main(["--decode", str(bare), "--model", model, "--json", str(again["--json"])]) == 0
    (window,) = read_json(again["--json"])["windows"]  # too little, perhaps, to be sure of
    assert window["bpm"] == pytest.approx(BPM, abs=0.5)
    capsys.readouterr()
    Image.new("RGB", (384, 100)).save(bare)
    assert cli.main(["--decode", str(bare), "--model", model]) == 2
    assert "one below the other; the picture is 384 x 100 for 1" in capsys.readouterr().err


def test_no_pulse_is_an_answer_not_an_error(model, clip, tmp_path, capsys):
    path = tmp_path / "a.json"
    plot = tmp_path / "a.png"
    argv = [clip, "--model", model, "--json", str(path), "--plot", str(plot)]
    assert cli.main(argv) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("no pulse found: ") and printed.count("no pulse found") == 1
    written = read_json(path)
    assert written["bpm"] is None and written["reason"] and written["confidence"] < 0.5
    assert plot.exists()


def test_seeds_reproduce_and_an_ensemble_runs(model, clip, tmp_path):
    def bvp(*more):
        path = tmp_path / "a.json"
        assert cli.main([clip, "--model", model, "--json", str(path), *more]) == 0
        return read_json(path)["bvp"]

    crop = ("--crop", "8", "8", "56", "40")
    first, again = bvp("--seed", "1", *crop), bvp("--seed", "1", *crop)
    assert first == again != bvp("--seed", "2", *crop)
    assert len(bvp("--ensemble", "2", "--steps", "2", "--window", "6", *crop)) == 192


def test_a_saved_prompt_in_the_adapter_folder_stands_in_for_the_text_encoder(
    model, clip, tmp_path, capsys
):
    adapter, light = tmp_path / "adapter", tmp_path / "light"
    write_adapter(adapter, random_adapter(tiny_components.transformer()), PULSE_CONFIG)
    shutil.copytree(model, light, ignore=shutil.ignore_patterns("text_encoder", "tokenizer"))

    def bvp(folder):
        path = tmp_path / "a.json"
        argv = [clip, "--model", str(folder), "--adapter", str(adapter), "--json", str(path)]
        status = cli.main([*argv, "--window", "8", "--crop", "8", "8", "56", "40"])
        return np.array(read_json(path)["bvp"]) if status == 0 else None

    encoded = bvp(model)
    assert bvp(light) is None  # nothing saved yet, and no text encoder to do without it
    saved = adapter / PROMPT_FILE
    PulsePipeline.from_pretrained(model).save_prompt_embeds(saved)
    np.testing.assert_allclose(bvp(light), encoded, atol=1e-7)

    with safe_open(saved, framework="pt") as file:
        embeds, prompt = file.get_tensor("prompt_embeds"), file.metadata()
    save_file({"prompt_embeds": 5 - embeds}, saved, metadata=prompt)
    assert np.abs(bvp(light) - encoded).max() > 1e-5  # it is the file that is read
    save_file({"prompt_embeds": embeds}, saved, metadata={"prompt": "a banana"})
    capsys.readouterr()
    assert bvp(light) is None
    error = capsys.readouterr().err
    assert "embeddings of another prompt: 'a banana'" in error and error.count("\n") == 1


def bad_clips(tmp_path, clip):
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(Path(clip).read_bytes()[:5000])
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("no film\n" * 50)
    Image.new("RGB", (64, 64)).save(tmp_path / "one.png")
    short = [Image.new("RGB", (64, 64), (i, 0, 0)) for i in range(40)]
    short[0].save(tmp_path / "short.gif", save_all=True, append_images=short[1:], duration=100)
    return {
        tmp_path / "missing.mp4": "no such file",
        cut: "not a video that can be read",
        tmp_path / "empty.mp4": "is empty",
        tmp_path / "text.mp4": "not a video",
        tmp_path / "one.png": "one picture",
        tmp_path / "short.gif": "4.0 s long; at least 5 s",
    }


def test_what_is_no_clip_is_refused_in_one_line(model, clip, tmp_path, capsys):
    files = name_outputs(tmp_path / "out")
    for path, message in bad_clips(tmp_path, clip).items():
        assert cli.main([str(path), "--model", model, *to_options(files)]) == 2
        printed = capsys.readouterr()
        assert message in printed.err and printed.err.count("\n") == 1
        assert printed.err.startswith("pulse-plantain: ") and printed.out == ""
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "more, message",
    [
        (["--window", "3"], "window must be 5 to 10"),
        (["--crop", "0", "0", "900", "40"], "crop must be"),
        (["--crop", "1", "2"], "expected 4 arguments"),
        (["--steps", "0"], "num_inference_steps"),
        (["--decode", "a.png"], "takes no clip"),
        (["--json", "same", "--plot", "same"], "same name"),
        (["--bananas"], "bananas"),
    ],
)
def test_wrong_options_are_one_line(more, message, model, clip, capsys):
    try:
        status = cli.main([clip, "--model", model, *more])
    except SystemExit as leave:
        status = leave.code
    error = capsys.readouterr().err
    assert status == 2 and message in error and error.count("\n") == 1


def test_the_input_is_never_overwritten(model, clip, capsys):
    with pytest.raises(SystemExit):
        cli.main([clip, "--model", model, "--video", clip])
    assert "is a folder or the input" in capsys.readouterr().err


def test_a_missing_model_is_one_line(clip, tmp_path, capsys):
    assert cli.main([clip, "--model", str(tmp_path / "nothing")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_garbage_is_collected_but_while_modules_are_loaded(model, clip, tmp_path, monkeypatch):
    seen = []

    def note(owner, name):
        real = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *a: seen.append(gc.isenabled()) or real(*a))

    note(loading, "load_pipeline")
    note(Settings, "measure")
    assert cli.main([clip, "--model", model, "--crop", "8", "8", "56", "40"]) == 0
    assert seen == [False, True] and gc.isenabled()
    for missing in ([clip, "--model", str(tmp_path / "nothing")], [str(tmp_path / "nothing.mp4")]):
        assert cli.main(missing) == 2 and gc.isenabled()
    with pytest.raises((OSError, ValueError), match="nothing"):
        Settings(model=str(tmp_path / "nothing")).load()
    assert gc.isenabled()


def test_a_failure_while_writing_leaves_what_was_there(model, clip, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(cli, "film", fail)
    (tmp_path / "a.json").write_text("old")
    files = name_outputs(tmp_path)
    assert cli.main([clip, "--model", model, *to_options(files)]) == 2
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["a.json"]
    assert (tmp_path / "a.json").read_text() == "old"


def matroska(clip, path):
    """The clip's pictures as a stream that can be read from a pipe."""
    with av.open(clip) as source, av.open(str(path), "w", format="matroska") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    return path


@pytest.fixture
def threads():
    """torch's threads, as they were before a command set them for its own process."""
    count = torch.get_num_threads()
    yield
    torch.set_num_threads(count)


def test_a_stream_is_watched(model, clip, tmp_path, capsys, monkeypatch, threads):
    stream = matroska(clip, tmp_path / "stream.mkv")
    torch.set_num_threads(2)
    assert cli.main(["--stream", str(stream), "--model", model, "--stride", "2"]) == 0
    assert torch.get_num_threads() == 1
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in printed[1:]] == ["8.0", "10.0", "12.0"]
    assert all(float(line.split()[3]) < 60 for line in printed[1:])
    with stream.open("rb") as pipe:
        monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=pipe))
        assert cli.main(["--stream", "-", "--model", model, "--window", "6"]) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[0] == "6.0"


def write_with_hole(path, missing):
    """12 s of noise in Matroska, 10 pictures a second, without those of some numbers."""
    with av.open(str(path), "w", format="matroska") as container:
        stream = container.add_stream("mjpeg", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        for number, picture in enumerate(noise_clip(12)):
            packets = stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24"))
            container.mux([] if number in missing else packets)
        container.mux(stream.encode())
    return str(path)


def test_what_was_lost_is_said_of_one_clip_of_several_and_of_a_stream(
    model, tmp_path, capsys, threads
):
    holed = write_with_hole(tmp_path / "a.mkv", {50, 51})
    other = write_with_hole(tmp_path / "b.mkv", {30, 90, 91})
    whole = write_with_hole(tmp_path / "c.mkv", ())
    words = {holed: "lost 0.20 s in 1 gap", other: "lost 0.30 s in 2 gaps"}
    settings = ["--model", model, "--crop", "0", "0", "64", "48"]
    for clip, said in words.items():
        assert cli.main([clip, *settings]) == 0
        assert f"the clip {said}" in capsys.readouterr().out.splitlines()
        assert cli.main(["watch", clip, *settings, "--stride", "4"]) == 0
        assert capsys.readouterr().out.splitlines()[-1] == f"the stream {said}"
    assert cli.main([holed, other, whole, *settings]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith(f"{holed}  (the clip {words[holed]})")
    assert lines[1].endswith(f"{other}  (the clip {words[other]})") and lines[2].endswith(whole)
    assert cli.main([holed, other, whole, *settings, "--out", str(tmp_path / "t.jsonl")]) == 0
    rows = [json.loads(line) for line in (tmp_path / "t.jsonl").read_text().splitlines()]
    assert [row["note"] for row in rows] == [*(f"the clip {said}" for said in words.values()), None]
    capsys.readouterr()
    assert cli.main(["watch", whole, *settings, "--stride", "4"]) == 0
    assert "lost" not in capsys.readouterr().out


def test_a_bare_stream_of_a_camera_is_watched(model, tmp_path, capsys, monkeypatch, threads):
    for name, codec in (("a.h264", "libx264"), ("a.mjpeg", "mjpeg")):
        with av.open(str(tmp_path / name), "w", format=name[2:]) as container:
            stream = container.add_stream(codec, rate=10)
            stream.width, stream.height = 64, 48
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            for picture in noise_clip(9):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode())
        with (tmp_path / name).open("rb") as pipe:
            monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=pipe))
            status = cli.main(["--stream", "-", "--model", model, "--stride", "3"])
        printed = capsys.readouterr()
        if codec == "libx264":
            assert status == 0 and printed.out.splitlines()[1].split()[0] == "8.0"
            continue
        assert status == 2 and "has no time stamps: give fps" in printed.err
        argv = ["watch", str(tmp_path / name), "--fps", "10", "--model", model, "--stride", "3"]
        assert cli.main(argv) == 0
        assert capsys.readouterr().out.splitlines()[1].split()[0] == "8.0"


def test_only_no_argument_at_all_measures_the_bundled_clip(capsys):
    assert cli.main([""]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err == "pulse-plantain: the clip's name is empty\n"
    assert cli.main(["--stream", ""]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err == "pulse-plantain: the stream's name is empty\n"


def test_what_cannot_be_watched_is_refused(model, clip, tmp_path, capsys):
    assert cli.main(["--webcam", str(tmp_path / "none"), "--model", model]) == 2
    assert "not a camera that can be read" in capsys.readouterr().err
    broken = tmp_path / "broken.mkv"
    broken.write_bytes(b"nothing")
    assert cli.main(["--stream", str(broken), "--model", model]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    with pytest.raises(SystemExit):
        cli.main(["--webcam", "--json", str(tmp_path / "a.json")])
    assert "--webcam and --stream only print" in capsys.readouterr().err


def test_a_gif_of_the_overlay(painted, model, clip, tmp_path):
    path = tmp_path / "a.gif"
    assert cli.main([clip, "--model", model, "--video", str(path)]) == 0
    with Image.open(path) as image:
        assert image.n_frames == 120 and image.info["duration"] == 100 and image.size == (320, 240)
        image.seek(60)
        pixels = np.asarray(image.convert("RGB")).astype(int)
    colourful = np.ptp(pixels, 2)
    assert colourful[40:200, 90:230].mean() > 3 * colourful[:, :60].mean()
