"""The pages on the command line and on the output: every snippet of theirs is run here."""

import re
import shlex
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import ROOT
from matplotlib.figure import Figure
from stand_ins import BPM, Painter, noise_clip
from test_cli import matroska

from pulse_plantain import cli, loading


def find_blocks(page, language):
    """The fenced blocks of a language on a page."""
    text = (ROOT / "docs" / page).read_text()
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.M | re.S)


@pytest.fixture
def desk(clip, tmp_path, monkeypatch):
    """A folder with what the commands of the page name; the current one."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    for name in ("a.mp4", "b.mov", "folder/c.mp4"):
        shutil.copy(clip, tmp_path / name)
    matroska(clip, tmp_path / "stream.mkv")
    return tmp_path


def list_commands():
    """Lines of the page that are run here; a camera and a network are at nobody's hand."""
    lines = "".join(find_blocks("command-line.md", "bash")).splitlines()
    words = [shlex.split(line.split("|")[-1]) for line in lines]
    assert all(line[0] == "pulse-plantain" for line in words)
    return [line[1:] for line in words if line[1:] != ["watch"]]


def test_the_commands_of_the_page_run(painted, loaded, desk, monkeypatch, capsys):
    import av

    with av.open("stream.mjpeg", "w", format="mjpeg") as container:
        stream = container.add_stream("mjpeg", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        for picture in noise_clip(9):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    commands = list_commands()
    assert len(commands) == 9
    box = ["--crop", "8", "8", "56", "40"]  # spares the search
    for words in commands:
        more = [] if words[0] == "decode" else box
        with (desk / "stream.mkv").open("rb") as pipe:
            monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=pipe))
            assert cli.main([*words, *more]) == 0, words
    made = {path.name for path in desk.iterdir() if path.is_file()}
    assert {"results.csv", "windows.jsonl", "a.json", "a.png", "film.mp4", "sheet.png"} <= made
    assert len((desk / "results.csv").read_text().splitlines()) == 4
    assert "again.json" in made


def test_the_lines_on_the_output_run(pipe, monkeypatch, capsys):
    saved = []
    Painter(pipe, BPM)
    monkeypatch.setattr(loading, "load_pipeline", lambda: pipe)
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(Figure, "savefig", lambda self, path: saved.append(path))
    known = {
        "pipe": pipe,
        "frames": noise_clip(8, (96, 128)),
        "bgr": [np.zeros((2, 2, 3), np.uint8) + np.uint8([1, 2, 3])],
    }
    blocks = find_blocks("output.md", "python")
    assert len(blocks) == 10
    for code in blocks:
        exec(code, known)
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("PulseOutput: 7") and printed[1].startswith(
        "  2 windows of 0.0 to 10.0 s"
    )
    assert float(printed[3].split()[2]) == pytest.approx(BPM, abs=1)
    assert "RMSSD needs 10 s, SDNN needs 30 s, PNN50 needs 60 s" in printed[5]
    assert "a respiratory rate needs 60 s" in printed[6] and printed[7] == "nan"
    assert [float(word) for word in printed[8].split()] == pytest.approx([BPM, BPM], abs=1)
    assert [line.split(" (")[0] for line in printed[10:]] == [
        "forehead",
        "left cheek",
        "right cheek",
    ]
    assert saved == ["regions.png"]
    assert known["rgb"][0][0, 0].tolist() == [3, 2, 1]


def test_the_page_names_the_columns_that_are_written():
    from pulse_plantain import batch

    text = (ROOT / "docs" / "command-line.md").read_text()
    table = text.split("| column | meaning |")[1].split("\n\n")[0]
    named = [
        word
        for line in table.splitlines()
        for word in re.findall(r"`(\w+)`", line[1:].split("|")[0])
    ]
    assert tuple(named) == batch.CLIP_COLUMNS
    windows = text.split("Its columns are ")[1].split("A window's")[0]
    assert tuple(re.findall(r"`(\w+)`", windows)) == batch.WINDOW_COLUMNS
