"""Many clips: which files are clips, their rows, tables that are gone on with, and workers."""

import csv
import json
import multiprocessing
import os
import time
from dataclasses import replace
from pathlib import Path

import crew
import jsonschema
import pytest
from conftest import ROOT
from PIL import Image
from stand_ins import BPM
from test_output import assemble

from pulse_plantain import batch, cli, parts, tables
from pulse_plantain.batch import find_clips, share_out
from pulse_plantain.settings import Settings
from pulse_plantain.tables import Table
from pulse_plantain.video import Lost


def read_rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def write_pictures(folder, count=3):
    folder.mkdir(parents=True)
    for number in range(count):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(folder / f"{number}.png")


def write_animation(path):
    first, second = Image.new("RGB", (8, 8)), Image.new("RGB", (8, 8), (9, 9, 9))
    first.save(path, save_all=True, append_images=[second], duration=100)


# -------------------------------------------------------------------------------- which are clips


def test_a_folder_of_pictures_is_a_clip_and_a_folder_of_clips_is_all_of_them(tmp_path):
    for name in ("10.mp4", "9.MOV", ".hidden.mp4", "notes.txt", "deeper/a.mkv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    Image.new("RGB", (8, 8)).save(tmp_path / "thumbnail.jpg")  # no clip, beside clips
    write_pictures(tmp_path / "pure" / "01-01")
    write_animation(tmp_path / "wave.gif")
    names = [str(Path(name).relative_to(tmp_path)) for name in find_clips([str(tmp_path)])]
    assert names == ["9.MOV", "10.mp4", "deeper/a.mkv", "pure/01-01", "wave.gif"]

    inside = tmp_path / "pure" / "01-01"
    assert find_clips([str(inside)]) == [str(inside)]
    moving = tmp_path / "moving"
    moving.mkdir()
    for name in ("a.webp", "b.webp"):
        write_animation(moving / name)
    assert find_clips([str(moving)]) == [str(moving / "a.webp"), str(moving / "b.webp")]


def test_a_clip_that_is_named_twice_is_measured_once_and_one_that_is_missing_is_kept(tmp_path):
    (tmp_path / "a.mp4").touch()
    own = str(tmp_path / "a.mp4")
    assert find_clips([own, str(tmp_path), "missing.mp4"]) == [own, "missing.mp4"]
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ValueError, match="empty: the folder holds neither clips nor numbered"):
        find_clips([str(empty)])
    with pytest.raises(ValueError, match="the clip's name is empty"):
        find_clips([own, ""])


# ----------------------------------------------------------------------------------------- tables


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_a_table_is_gone_on_with_in_every_form(suffix, tmp_path):
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    path, odd = tmp_path / f"t{suffix}", 'a "b",\nc \udcff.mp4'
    if suffix == ".parquet":
        odd = odd.replace("\udcff", "ÿ")  # Arrow's strings are UTF-8
    first = Table(path, ["clip", "bpm"])
    first.add([{"clip": odd, "bpm": 72.5}])
    again = Table(path, ["clip", "bpm"])
    assert again.rows[0]["clip"] == odd and float(again.rows[0]["bpm"]) == 72.5
    before = path.read_bytes()
    again.add([{"clip": "b.mp4", "bpm": None}])
    again.write()
    rows = Table(path, ["clip", "bpm"]).rows
    assert [row["clip"] for row in rows] == [odd, "b.mp4"] and rows[1]["bpm"] in (None, "")
    if suffix != ".parquet":
        assert path.read_bytes().startswith(before)
    with pytest.raises(ValueError, match="other columns than this command writes"):
        Table(path, ["clip", "start"])


def test_what_is_no_table_is_refused_and_left_alone(tmp_path, monkeypatch):
    for name, text in (("t.csv", 'clip,bpm\n"half'), ("t.jsonl", '{"clip": "a", "bp')):
        (tmp_path / name).write_text(text)
        with pytest.raises(ValueError, match=f"{name} is no table that can be gone on with"):
            Table(tmp_path / name, ["clip", "bpm"])
        assert (tmp_path / name).read_text() == text
    with pytest.raises(ValueError, match=r"t.xlsx: a table ends in .csv, .jsonl, .parquet"):
        Table(tmp_path / "t.xlsx", ["clip"])
    monkeypatch.setattr(tables.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="Parquet needs pyarrow"):
        Table(tmp_path / "t.parquet", ["clip"])


def test_the_file_is_whole_whenever_it_is_looked_at(tmp_path, monkeypatch):
    path = tmp_path / "t.csv"
    table = Table(path, ["clip"])
    table.add([{"clip": "a"}])
    monkeypatch.setattr(tables.csv.DictWriter, "writerows", lambda *_: 1 / 0)
    table._next = 0.0
    with pytest.raises(ZeroDivisionError):
        table.add([{"clip": "b"}])
    assert path.read_text() == "clip\na\n" and [p.name for p in tmp_path.iterdir()] == ["t.csv"]


def test_writing_a_large_table_takes_a_twentieth_of_the_time(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(tables.time, "monotonic", lambda: now[0])
    table = Table(tmp_path / "t.csv", ["clip"])

    def write(path):
        now[0] += 2.0
        path.write_text(str(len(table.rows)))

    table._write = write
    table.add([{"clip": "a"}])
    for _ in range(39):
        now[0] += 1.0
        table.add([{"clip": "b"}])
    assert table.path.read_text() == "1"
    now[0] += 1.0
    table.add([{"clip": "c"}])
    assert table.path.read_text() == "41"


# ------------------------------------------------------------------------------------ the command


@pytest.fixture
def many(clip, tmp_path):
    """Folder of two clips, one cut off, and a text."""
    folder = tmp_path / "many"
    folder.mkdir()
    whole = Path(clip).read_bytes()
    for name, content in (("a.mp4", whole), ("b.mp4", whole), ("cut.mp4", whole[:5000])):
        (folder / name).write_bytes(content)
    return folder


def test_a_row_a_clip_and_the_reason_of_a_damaged_one(painted, loaded, many, tmp_path, capsys):
    out = tmp_path / "deeper" / "results.csv"
    argv = ["measure", str(many), "missing.mp4", "--out", str(out)]
    assert cli.main(argv) == 1
    rows = read_rows(out)
    assert tuple(rows[0]) == batch.CLIP_COLUMNS
    assert [Path(row["clip"]).name for row in rows] == ["a.mp4", "b.mp4", "cut.mp4", "missing.mp4"]
    assert [row["status"] for row in rows] == ["rate", "rate", "failed", "failed"]
    assert float(rows[0]["bpm"]) == pytest.approx(BPM, abs=0.5)
    assert float(rows[0]["seconds"]) == 12 and float(rows[0]["confidence"]) > 0.8
    assert float(rows[0]["rmssd"]) < 20 and rows[0]["sdnn"] == ""  # 12 s are too short for SDNN
    assert "not a video that can be read" in rows[2]["reason"] and rows[2]["bpm"] == ""
    assert rows[3]["reason"] == "no such file" and rows[0]["settings"] == ""
    printed = capsys.readouterr()
    assert printed.out == f"4 clips: 2 with a heart rate, 0 without a pulse, 2 failed; {out}\n"
    assert printed.err.count("\n") == 2 and "missing.mp4: no such file" in printed.err


def test_the_same_command_goes_on(painted, loaded, many, tmp_path, monkeypatch, capsys):
    out = tmp_path / "results.jsonl"
    argv = ["measure", str(many), "--out", str(out)]
    measure, asked = Settings.measure, []

    def interrupt(self, pipe, name):
        asked.append(Path(name).name)
        if asked == ["a.mp4", "b.mp4"]:
            raise KeyboardInterrupt
        return measure(self, pipe, name)

    monkeypatch.setattr(Settings, "measure", interrupt)
    assert cli.main(argv) == 130
    assert "interrupted; the same command goes on" in capsys.readouterr().err
    (first,) = map(json.loads, out.read_text().splitlines())
    assert first["clip"].endswith("a.mp4") and first["bpm"] == pytest.approx(BPM, abs=0.5)
    assert cli.main(argv) == 1
    assert asked == ["a.mp4", "b.mp4", "b.mp4"]
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert rows[0] == first and [row["status"] for row in rows] == ["rate", "rate", "failed"]
    assert list(rows[2]) == list(batch.CLIP_COLUMNS) and rows[2]["bpm"] is None
    whole = out.read_bytes()
    assert cli.main(argv) == 1 and out.read_bytes() == whole  # nothing is left to do
    capsys.readouterr()
    assert cli.main([*argv, "--window", "6"]) == 2
    assert capsys.readouterr().err == (
        f"pulse-plantain: {out} was measured with the defaults, this command asks for "
        f"window=6.0: name another file\n"
    )
    assert out.read_bytes() == whole


def test_a_row_a_window(painted, loaded, many, tmp_path):
    out = tmp_path / "windows.csv"
    argv = ["measure", str(many / "a.mp4"), "--windows", "--out", str(out)]
    assert cli.main(argv) == 0
    rows = read_rows(out)
    assert tuple(rows[0]) == batch.WINDOW_COLUMNS
    assert [(row["window"], row["start"], row["end"]) for row in rows] == [
        ("1", "0.0", "8.0"),
        ("2", "4.0", "12.0"),
    ]
    assert all(float(row["bpm"]) == pytest.approx(BPM, abs=0.5) for row in rows)
    assert all(float(row["bpm_uncertainty"]) > 0 and float(row["left"]) >= 0 for row in rows)


def test_many_clips_without_a_table_are_a_line_each(painted, loaded, many, capsys):
    names = [str(many / "a.mp4"), str(many / "b.mp4")]
    assert cli.main(names) == 0
    lines = capsys.readouterr().out.splitlines()
    assert float(lines[0].split()[0]) == pytest.approx(BPM, abs=0.5)
    assert lines[0].endswith(names[0]) and lines[1].endswith(names[1])
    assert lines[2] == "2 clips: 2 with a heart rate, 0 without a pulse, 0 failed"


def test_two_rates_in_a_picture_are_noted():
    part = parts.Part((0, 0, 0.4, 1), (0, 0, 40, 96), 66.04, 1.0, 0.95, 0, 10)
    other = parts.Part((0.6, 0, 1, 1), (60, 0, 100, 96), 93.0, 1.0, 0.96, 0, 10)
    pulse = replace(assemble(), parts=[part, other])
    (row,) = batch.Asked(Settings()).list_rows("a.mp4", pulse)
    assert row["note"] == (
        "two parts of the picture carry two rates: 66.0 bpm at 0, 0, 40, 96 and 93.0 bpm at "
        "60, 0, 100, 96 (left, top, right, bottom)"
    )
    assert batch.Asked(Settings()).list_rows("a.mp4", assemble())[0]["note"] is None
    assert row["note"] in pulse.to_text()
    pulse.lost = Lost(pictures=3)
    (row,) = batch.Asked(Settings()).list_rows("a.mp4", pulse)
    assert row["note"].startswith(
        "the clip lost 3 damaged pictures; two parts of the picture carry"
    )
    schema = json.loads((ROOT / "docs" / "schema" / "pulse.json").read_text())
    jsonschema.validate(json.loads(json.dumps(pulse.to_dict())), schema)


def test_no_pulse_gets_no_number_and_is_no_failure(loaded, many, tmp_path):
    out = tmp_path / "results.csv"
    argv = [str(many / "a.mp4"), "--out", str(out)]
    assert cli.main([*argv, "--crop", "8", "8", "56", "40"]) == 0
    (row,) = read_rows(out)
    assert row["status"] == "no pulse" and row["bpm"] == row["sdnn"] == "" and row["reason"]
    assert row["settings"] == "crop=8.0,8.0,56.0,40.0"


@pytest.mark.parametrize(
    "more, message",
    [
        (["--out", "a.xlsx"], "a.xlsx: a table ends in .csv, .jsonl, .parquet"),
        (["--out", "a.csv", "--json", "a.json"], "--out is for tables"),
        (["--out", "x.mp4/a.csv"], "x.mp4/a.csv: nothing can be written into"),
        (["--windows"], "name one with --out"),
        (["--out", "a.csv", "--workers", "0"], "--workers must be a positive number, got 0"),
        (["--out", "a.csv", "--window", "3"], "window must be 5 to 10 seconds, got 3"),
        (["--out", "a.csv", "--steps", "0"], "num_inference_steps must be a positive integer"),
        (["--out", "a.csv", "--fps", "0"], "fps must be a number above 0"),
        (["--json", "a.json"], "are of one clip, here are 2: name a table with --out"),
    ],
)
def test_what_cannot_be_done_is_refused_before_a_model_is_loaded(
    more, message, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Settings, "load", lambda self: 1 / 0)
    for name in ("x.mp4", "y.mp4"):
        Path(name).touch()
    try:
        status = cli.main(["x.mp4", "y.mp4", *more])
    except SystemExit as leave:
        status = leave.code
    error = capsys.readouterr().err
    assert status == 2 and message in error and error.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.mp4", "y.mp4"]


def test_a_missing_model_stops_the_run(many, tmp_path, capsys):
    out = tmp_path / "results.csv"
    assert cli.main([str(many), "--model", str(tmp_path / "nothing"), "--out", str(out)]) == 2
    assert capsys.readouterr().err.count("\n") == 1 and not out.exists()


# ------------------------------------------------------------------------------------ the workers


def test_a_clip_that_kills_its_process_costs_no_other_one():
    said = dict(share_out(["a", "b", "kill", "c", "d"], crew.answer, 2))
    threads = str(max(1, os.cpu_count() // 2))
    assert said.pop("kill") is None
    assert {name: own[0] for name, own in said.items()} == {n: n for n in "abcd"}
    assert threads in {own[1] for own in said.values()}


def test_what_stops_a_worker_stops_the_run():
    with pytest.raises(ValueError, match="no such model"):
        list(share_out(["a", "refuse", "b"], crew.answer, 2))


def test_an_interrupted_run_waits_for_nobody():
    others, began = set(multiprocessing.active_children()), time.monotonic()
    done = share_out(["a", "sleep", "b"], crew.answer, 2)
    assert next(done)[0] == "a"
    assert len(set(multiprocessing.active_children()) - others) == 2
    done.close()
    assert time.monotonic() - began < 300
    # The pool's own thread may be about to note an end that has already been waited for.
    until = time.monotonic() + 10
    while set(multiprocessing.active_children()) - others and time.monotonic() < until:
        time.sleep(0.05)
    assert set(multiprocessing.active_children()) <= others


@pytest.mark.slow
def test_workers_write_the_rows_of_one_process(tmp_path, capsys):
    names = [str(tmp_path / f"{number}.mp4") for number in range(3)]
    for number, name in enumerate(names[:2]):
        Path(name).write_bytes(b"nothing" * number)
    rows = []
    for workers in ("1", "2"):
        out = tmp_path / f"{workers}.csv"
        assert cli.main([*names, "--out", str(out), "--workers", workers]) == 1
        rows.append(sorted(read_rows(out), key=lambda row: row["clip"]))
    assert rows[0] == rows[1]
    reasons = [row["reason"] for row in rows[0]]
    assert reasons[0] == "the file is empty" and reasons[2] == "no such file"
    assert [row["status"] for row in rows[0]] == ["failed"] * 3
