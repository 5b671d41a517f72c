"""Small fixtures in the real formats, byte by byte as the data sets have them."""

import json

import av
import h5py
import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from pulse_plantain.lab.datasets import (
    Folds,
    deal_folds,
    open_dataset,
    split_subjects,
    write_splits,
)
from pulse_plantain.video import ClipError

BPM, SECONDS, SIZE = 75.0, 8, 32


def pulse(times):
    """A pulse with a dicrotic wave; heart rate BPM."""
    angle = 2 * np.pi * BPM / 60 * np.asarray(times)
    return np.cos(angle) + 0.3 * np.cos(2 * angle - 1)


def picture(time):
    """Grey [SIZE, SIZE, 3] that beats strongly."""
    level = 120 - 10 * np.cos(2 * np.pi * BPM / 60 * time)
    return np.full((SIZE, SIZE, 3), level).round().astype(np.uint8)


def write_avi(path, times, codec="ffv1", rate=30):
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width = stream.height = SIZE
        stream.pix_fmt = "bgr0" if codec == "ffv1" else "yuv420p"
        for time in times:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(time), format="rgb24")))
        container.mux(stream.encode())


def measured_rate(recording):
    """bpm of the pictures' mean, on the recording's own clock."""
    times, levels = zip(*((time, float(p.mean())) for time, p in recording.frames()), strict=True)
    grid = np.arange(0, times[-1], 1 / 64)
    wave = np.interp(grid, times, levels)
    rates = np.arange(40, 180, 0.1)
    turning = np.exp(-2j * np.pi * rates[:, None] / 60 * grid)
    return rates[np.abs(turning @ (wave - wave.mean())).argmax()]


def write_ubfc1(root, number=5, video_times=None):
    folder = root / f"{number}-gt"
    write_avi(
        folder / "vid.avi", np.arange(30 * SECONDS) / 30 if video_times is None else video_times
    )
    times = np.arange(0, SECONDS, 0.016)
    rows = [
        f"{1000 * t:.0f},{75},{98},{60 + 20 * p:.0f}"
        for t, p in zip(times, pulse(times), strict=True)
    ]
    (folder / "gtdump.xmp").write_text("\n".join(rows) + "\n")


def test_ubfc1(tmp_path):
    write_ubfc1(tmp_path)
    write_ubfc1(tmp_path, 12)
    recordings, damaged = open_dataset("ubfc1", tmp_path)
    assert [r.name for r in recordings] == ["5-gt", "12-gt"] and not damaged
    first, second = recordings
    assert first.subject == "5" and first.bpm == pytest.approx(BPM, abs=0.3)
    assert measured_rate(first) == pytest.approx(BPM, abs=0.5)
    assert first.problems == ()
    assert second.problems == ("the same video as 5-gt",)


def write_ubfc2(root, number, times, device_bpm=75.0, labels=None):
    """Three lines in the data set's own notation: numbers with e and many blanks."""
    folder = root / f"subject{number}"
    write_avi(folder / "vid.avi", times)
    stamps = np.asarray(times if labels is None else labels)
    rows = (pulse(stamps), np.full(len(stamps), device_bpm), stamps)
    text = "\n".join("   ".join(f"{value: .7e}" for value in row) for row in rows)
    (folder / "ground_truth.txt").write_text(text + "\n")


def test_ubfc2_takes_the_label_s_clock(tmp_path):
    slow = np.arange(180) / 23.3  # as subjects 25 to 27; the header says 30
    write_ubfc2(tmp_path, 25, slow)
    write_ubfc2(tmp_path, 3, np.arange(240) / 30)
    recordings, damaged = open_dataset("ubfc2", tmp_path)
    assert [r.name for r in recordings] == ["subject3", "subject25"] and not damaged
    good, late = recordings
    assert good.problems == () and good.bpm == pytest.approx(BPM, abs=0.3)
    assert len(late.problems) == 1
    assert "30.0 pictures a second, the label's clock 23.3" in late.problems[0]
    assert measured_rate(late) == pytest.approx(BPM, abs=0.5)  # 97 by the header
    times = [time for time, _ in late.frames()]
    assert times == pytest.approx(slow, abs=1e-6)


def test_ubfc2_reports_damage(tmp_path):
    stamps = np.arange(240) / 30
    stamps[100:] += 0.2
    stamps[51] = stamps[50]
    write_ubfc2(tmp_path, 11, stamps, device_bpm=2.0)
    write_ubfc2(tmp_path, 12, np.arange(240) / 30, labels=np.arange(200) / 30)
    write_ubfc2(tmp_path, 13, np.arange(60) / 30)
    (tmp_path / "subject13" / "ground_truth.txt").write_text("1 2 3\n4 5\n")
    (tmp_path / "subject14").mkdir()
    recordings, damaged = open_dataset("ubfc2", tmp_path)
    eleven, twelve = (" | ".join(r.problems) for r in recordings)
    assert "1 time stamps of the label are repeated" in eleven
    assert "1 gaps in the label, up to 0.23 s" in eleven
    assert "the device displays 2 to 2 bpm in 100% of the label (not used)" in eleven
    assert recordings[0].bpm == pytest.approx(BPM, abs=1)
    assert "240 pictures, but 200 labels" in twelve
    assert "the video lasts 8.0 s, the label 6.6 s" in twelve
    assert set(damaged) == {"subject13", "subject14"}


def write_pure(root, name="01-03", nested=True, start=1_392_643_993_642_815_000):
    folder = root / name if nested else root
    (folder / name).mkdir(parents=True)
    rng = np.random.default_rng(0)
    times = np.arange(30 * SECONDS) / 30 + rng.uniform(-0.004, 0.004, 30 * SECONDS)
    stamps = start + np.round(1e9 * (times - times[0])).astype(np.int64)
    for stamp, time in zip(stamps, times - times[0], strict=True):
        Image.fromarray(picture(time)).save(folder / name / f"Image{stamp}.png")
    clock = np.arange(-0.5, SECONDS, 1 / 60)
    packages = [
        {
            "Timestamp": int(start + round(1e9 * t)),
            "Value": {
                "artifact": False,
                "o2saturation": 98,
                "pulseRate": 75,
                "signalStrength": 6,
                "waveform": round(50 + 30 * p),
            },
        }
        for t, p in zip(clock, pulse(clock), strict=True)
    ]
    images = [{"Timestamp": int(stamp), "Value": {}} for stamp in stamps]
    (folder / f"{name}.json").write_text(json.dumps({"/FullPackage": packages, "/Image": images}))
    return folder, stamps


def test_pure_runs_on_its_nanoseconds(tmp_path):
    folder, stamps = write_pure(tmp_path)
    (recording,), damaged = open_dataset("pure", tmp_path)
    assert not damaged and recording.problems == ()
    assert (recording.subject, recording.task) == ("01", "slow translation")
    assert recording.bvp_times[0] == pytest.approx(-0.5, abs=1e-6)
    assert recording.bpm == pytest.approx(BPM, abs=0.3)
    assert measured_rate(recording) == pytest.approx(BPM, abs=0.5)
    times = [time for time, _ in recording.frames()]
    assert times == pytest.approx((stamps - stamps[0]) * 1e-9, abs=1e-6)
    (folder / "01-03" / f"Image{stamps[7]}.png").unlink()
    (recording,), _ = open_dataset("pure", tmp_path)
    assert recording.problems == ("1 of 240 pictures that the label lists are missing",)


def write_cohface(root, person=7, session=2, with_time=False):
    folder = root / str(person) / str(session)
    write_avi(folder / "data.avi", np.arange(20 * SECONDS) / 20, codec="mpeg4", rate=20)
    times = np.arange(256 * SECONDS) / 256
    with h5py.File(folder / "data.hdf5", "w") as file:
        file["pulse"] = pulse(times)
        if with_time:
            file["time"] = times


@pytest.mark.parametrize("with_time", [True, False])
def test_cohface(tmp_path, with_time):
    write_cohface(tmp_path, with_time=with_time)
    write_cohface(tmp_path, 10, 0)
    (tmp_path / "10" / "1").mkdir()
    (tmp_path / "10" / "1" / "data.hdf5").write_bytes(b"no HDF5")
    recordings, damaged = open_dataset("cohface", tmp_path)
    assert [(r.name, r.subject, r.strata["light"]) for r in recordings] == [
        ("7-2", "7", "natural"),
        ("10-0", "10", "spot"),
    ]
    assert recordings[0].bpm == pytest.approx(BPM, abs=0.3)
    assert measured_rate(recordings[0]) == pytest.approx(BPM, abs=0.5)
    assert list(damaged) == ["10-1"]


def mmpd_content():
    times = np.arange(30 * SECONDS) / 30
    video = np.stack([picture(time) for time in times])[:, :, :24] / np.float64(255)
    words = {
        "light": "LED-low",
        "motion": "Watching Videos",
        "exercise": "False",
        "skin_color": 5,
        "gender": "male",
        "glasser": "False",
        "hair_cover": "False",
        "makeup": "False",
    }
    return video, pulse(times)[None], words


def test_mmpd_in_both_versions_of_matlab(tmp_path):
    video, ppg, words = mmpd_content()
    (tmp_path / "subject2").mkdir()
    savemat(tmp_path / "subject2" / "p2_0.mat", {"video": video, "GT_ppg": ppg, **words})
    with h5py.File(tmp_path / "subject2" / "p2_10.mat", "w", userblock_size=512) as file:
        file["video"] = video.transpose(3, 2, 1, 0)
        file["GT_ppg"] = ppg.T
        for name, word in words.items():
            if isinstance(word, str):
                file[name] = np.array([[ord(c)] for c in word], np.uint16)
                file[name].attrs["MATLAB_class"] = np.bytes_("char")
            else:
                file[name] = np.array([[float(word)]])
                file[name].attrs["MATLAB_class"] = np.bytes_("double")
    (tmp_path / "subject2" / "p2_3.mat").write_bytes(b"MATLAB 5.0 MAT-file, cut off")
    (tmp_path / "subject2" / "p2_4.mat").write_bytes(b"cut off")
    recordings, damaged = open_dataset("mmpd", tmp_path)
    assert [r.name for r in recordings] == ["p2_0", "p2_10"] and list(damaged) == ["p2_3", "p2_4"]
    for recording in recordings:
        assert recording.strata["skin_type"] == 5
        assert recording.strata["light"] == "LED-low"
        assert recording.task == "Walking"
        assert recording.bpm == pytest.approx(BPM, abs=0.3)
        assert measured_rate(recording) == pytest.approx(BPM, abs=0.5)
        frames = [p for _, p in recording.frames()]
        assert frames[0].shape == (SIZE, 24, 3) and len(frames) == 30 * SECONDS
        assert np.array_equal(np.stack(frames), video.astype(np.float32))


def test_what_is_no_data_set_is_one_line(tmp_path):
    with pytest.raises(ClipError, match="no such folder"):
        open_dataset("pure", tmp_path / "missing")
    with pytest.raises(ClipError, match="nothing in it is laid out as cohface is"):
        open_dataset("cohface", tmp_path)
    with pytest.raises(ValueError, match="data set must be one of ubfc1, ubfc2, pure"):
        open_dataset("vipl", tmp_path)


def test_splits_are_disjoint_and_do_not_depend_on_order(tmp_path):
    subjects = [str(n) for n in range(42)]
    split = split_subjects(subjects, Folds(5, tested=2, seed=3))
    assert split == split_subjects(reversed(subjects + subjects), Folds(5, tested=2, seed=3))
    counts = {name: sum(s == name for s in split.values()) for name in set(split.values())}
    assert counts["train"] == 42 - counts["test"] - counts["validation"]
    assert {counts["test"], counts["validation"]} <= {8, 9}
    tested = [
        {s for s, name in split_subjects(subjects, Folds(5, fold)).items() if name == "test"}
        for fold in range(5)
    ]
    assert set.union(*tested) == set(subjects) and sum(map(len, tested)) == 42
    assert deal_folds(subjects, 5, 0) != deal_folds(subjects, 5, 1)
    written = write_splits(tmp_path / "splits.json", "pure", subjects, Folds(seed=3))
    assert json.loads((tmp_path / "splits.json").read_text())["subjects"] == written
    with pytest.raises(ValueError, match="fold must be 0 to 4, got 5"):
        Folds(5, tested=5)
    with pytest.raises(ValueError, match="3 subjects cannot be dealt into 5 folds"):
        deal_folds("abc", 5)
