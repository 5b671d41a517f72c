"""The renderer: its two paths agree, its ground truth is true, its splits share nobody."""

import json
import math
from dataclasses import fields, replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from conftest import ROOT, run_script
from PIL import Image

from pulse_plantain.heart_rate import mean_rate
from pulse_plantain.lab.baselines import pos
from pulse_plantain.lab.synthetic import (
    KINDS,
    SEEDS,
    Recipe,
    draw_course,
    draw_scenes,
    render_frames,
    render_set,
    simulate,
    simulate_batch,
    simulate_faces,
    simulate_training_faces,
    split_seeds,
    subject_of,
    write_clip,
)
from pulse_plantain.lab.synthetic import fast as fast_path
from pulse_plantain.lab.synthetic.draw import Draw
from pulse_plantain.lab.synthetic.frames import describe_clip, write_video
from pulse_plantain.lab.synthetic.head import draw_head
from pulse_plantain.lab.synthetic.signals import Heart
from pulse_plantain.lab.synthetic.skin import FITZPATRICK_MELANIN, skin_reflectance
from pulse_plantain.sheet import Layout, SheetGeometry
from pulse_plantain.video import Clock, read_frames
from pulse_plantain.windows import encode_windows

GEOMETRY = SheetGeometry(bands=4, samples=96, rows=8, size=(384, 64))
LAYOUT = Layout(GEOMETRY)
COARSE = Layout(SheetGeometry(bands=2, samples=24, rows=4, size=(48, 16)), (16, 16))
SEED = SEEDS["test"]
SMALL = (160, 120)
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def scenes():
    with torch.no_grad():
        return draw_scenes(range(SEED, SEED + 32, 4), webcam=True, kinds=False)


@pytest.fixture(scope="module")
def paths(scenes):
    """(fast motion, full motion, fast appearance, full appearance) of three scenes, no noise."""
    results = []
    with torch.no_grad():
        for seed in scenes.seeds[:3]:
            scene = draw_scenes([seed], webcam=True, kinds=False)
            clock = replace(scene.camera.clock, fps=torch.tensor([20.0]))
            scene = replace(scene, camera=replace(scene.camera, clock=clock)).on_sensor(*SMALL)
            fast = simulate(scene, LAYOUT, clean=True)
            stamps, frames = zip(*render_frames(scene, SMALL, 8.5, noise=False), strict=True)
            clock = Clock(timestamps=stamps)
            full = next(iter(encode_windows(np.stack(frames), LAYOUT, clock=clock)))
            results.append(
                (fast.motion[0].numpy(), full.motion, fast.appearance[0].numpy(), full.appearance)
            )
    return results


def test_fast_path_agrees_with_full_frames(paths):
    """The stated tolerance: motion correlates above 0.97, differs by under 0.4 % of the mean."""
    for fast, full, _, _ in paths:
        assert np.corrcoef(fast.ravel(), full.ravel())[0, 1] > 0.97
        assert np.sqrt(np.mean((fast - full) ** 2)) < 0.004


def test_fast_appearance_agrees_with_full_frames(paths):
    for _, _, fast, full in paths:
        assert np.sqrt(np.mean((fast - full) ** 2)) < 0.02


@torch.no_grad()
def test_faces_are_those_of_the_full_frames(scenes):
    scene = draw_scenes(scenes.seeds[:1], webcam=True, kinds=False)
    still = replace(scene.camera, codec=0 * scene.camera.codec, read_noise=torch.zeros(1))
    still = replace(still, shot_noise=torch.zeros(1))
    faces = simulate_faces(replace(scene, camera=still), 12, 30.0, 2.0, widen=1.5)
    assert faces.frames.shape == (1, 60, 12, 12, 3) and faces.bvp.shape == (1, 60)
    size, height = (320, 240), 240
    sensor = scene.on_sensor(*size)
    x, y = (sensor.view.centre[0] * height).tolist()
    half = 1.5 * float(sensor.view.half_face) * height
    left, top = max(0, round(x - 0.75 * half)), max(0, round(y - half))
    shown = np.stack([p for _, p in render_frames(scene, size, 2.0, noise=False)]) / 255
    cut = shown[:, top : round(y + half), left : round(x + 0.75 * half)].mean(0)
    rows, columns = (np.linspace(0, n, 13).astype(int) for n in cut.shape[:2])
    means = np.add.reduceat(np.add.reduceat(cut, rows[:-1], 0), columns[:-1], 1)
    full = means / np.outer(np.diff(rows), np.diff(columns))[..., None]
    assert np.corrcoef(full.ravel(), faces.frames[0].mean(0).ravel())[0, 1] > 0.97


@torch.no_grad()
def test_faces_of_training_clips_are_of_the_same_clips():
    seeds = split_seeds("camera-train", 12)
    clips = simulate_batch(seeds, COARSE, window=2.0, light="camera")
    faces = simulate_training_faces(seeds, 8, 15.0, 2.0, 1.5, light="camera")
    assert torch.equal(faces.bpm, clips.bpm)
    beating = torch.tensor([kind == KINDS[0] for kind in clips.kind])
    assert torch.equal(faces.bvp.abs().amax(1) > 0, beating) and 0 < beating.sum() < 12
    middle = (torch.arange(30) + 0.5) / 15
    courses = torch.from_numpy(
        np.stack([np.interp(middle, (np.arange(24) + 0.5) / 12, p) for p in clips.phase])
    ).cos()
    for bvp, course in zip(faces.bvp[beating], courses[beating], strict=True):
        assert np.corrcoef(bvp, course)[0, 1] > 0.6  # the phase is its fundamental's


def test_clips_lie_on_the_device_though_linspace_does_not(monkeypatch):
    monkeypatch.setattr(torch, "linspace", lambda *_: pytest.fail("other libraries change it"))
    for light in ("plain", "camera"):
        simulate_batch([SEED], COARSE, window=2.0, light=light)


def lock_in(trace, phase):
    """Complex amplitude of cos(phase - lag) in traces [T, n], against three harmonics."""
    columns = [torch.ones_like(phase)]
    columns += [f(k * phase) for k in (1, 2, 3) for f in (torch.cos, torch.sin)]
    solution = torch.linalg.lstsq(torch.stack(columns, 1), trace).solution
    return torch.complex(solution[1], solution[2])


def test_amplitude_and_lag_are_those_of_the_sheet(scenes):
    with torch.no_grad():
        pulse = simulate(scenes, LAYOUT, clean=True)
        none = simulate(scenes.without_pulse(), LAYOUT, clean=True)
    for i in range(len(scenes)):
        trace = -(pulse.motion - none.motion)[i, ..., 1].reshape(96, -1).double()
        measured = lock_in(trace, pulse.phase[i].double()).reshape(8, 4)
        angle = math.pi * float(pulse.bpm[i]) / 60 * 8 / 96
        expected = pulse.amplitude[i] * math.sin(angle) / angle  # a sample averages over its time
        skin = pulse.amplitude[i] > 0.3 * pulse.amplitude[i].max()
        ratio = (measured.abs() / expected)[skin]
        assert abs(float(ratio.mean()) - 1) < 0.05
        assert float(ratio.std()) < 0.03
        assert float((measured.angle() - pulse.phase_lag[i])[skin].abs().max()) < 0.06


def test_zero_pulse_is_exactly_none(scenes):
    with torch.no_grad():
        still = scenes.without_pulse()
        faster = replace(still, heart=replace(still.heart, rate=still.heart.rate * 1.3))
        a, b = (simulate(some, LAYOUT, clean=True) for some in (still, faster))
    assert float(a.amplitude.abs().max()) == 0
    moves = scenes.motion.cardiac.abs().amax((1, 2)) > 0
    assert (~moves).any() and torch.equal(a.motion[~moves], b.motion[~moves])


def test_negatives_have_no_pulse_and_their_share():
    batch = simulate_batch(split_seeds("train", 120), COARSE)
    has = batch.amplitude.amax((1, 2)) > 0
    assert all(bool(h) <= (k == "pulse") for h, k in zip(has, batch.kind, strict=True))
    assert set(batch.kind) <= set(KINDS) and 0.1 < 1 - float(has.float().mean()) < 0.35
    for field in ("motion", "appearance", "phase", "amplitude", "phase_lag", "bpm"):
        assert torch.isfinite(getattr(batch, field)).all()
    assert 40 <= float(batch.bpm.min()) * 1.2 and float(batch.bpm.max()) < 215


def test_training_clips_have_fewer_hearts_near_rest(monkeypatch):
    def rates(share):
        return 60 * Heart.draw(Draw(range(2000), stream=2), share).rate

    for share in (0.0, fast_path.RESTING, 0.6):
        above = float((rates(share) > 150).float().mean())
        assert above == pytest.approx((1 - share) * 30 / 140, abs=0.02)
    resting = rates(1.0)
    assert 50 <= float(resting.min()) and float(resting.max()) <= 120

    monkeypatch.setattr(fast_path, "RESTING", 1.0)
    batch = simulate_batch(split_seeds("train", 40), COARSE)
    assert float(batch.bpm.max()) < 140  # 120, and sinus arrhythmia


def test_random_numbers_lie_where_the_clips_are_simulated():
    with torch.device("meta"):
        draw = Draw([3, 4], stream=1)
        assert draw.uniform(0, 1, 3).device.type == draw.noise(2).device.type == "meta"
        assert draw_head(draw, torch.ones(2, 3), torch.ones(2)).device.type == "meta"
    assert Draw([3, 4], stream=1).uniform().device.type == "cpu"


def test_a_clip_depends_on_its_seed_alone():
    together = simulate_batch([3, 70, 71, 500], COARSE)
    alone = simulate_batch([71], COARSE)
    again = simulate_batch([71], COARSE)
    for field in fields(alone):
        one, other = getattr(alone, field.name), getattr(together, field.name)[2:3]
        if field.name == "kind":
            assert one == other
            continue
        assert torch.equal(one, getattr(again, field.name))
        assert torch.allclose(one, other, atol=2e-5, equal_nan=True)


def test_subjects_are_disjoint_and_shared_by_takes():
    ends = {split: (first, first + 9_999_999) for split, first in SEEDS.items()}
    subjects = {split: [subject_of(s) for s in both] for split, both in ends.items()}
    ordered = sorted(subjects.values())
    assert all(low[1] < high[0] for low, high in pairwise(ordered))
    takes = draw_scenes([40, 41, 44], webcam=True, kinds=False)
    assert torch.equal(takes.textures.head[0], takes.textures.head[1])
    assert not torch.equal(takes.textures.head[0], takes.textures.head[2])
    assert takes.heart.rate[0] != takes.heart.rate[1]
    with pytest.raises(ValueError, match="10,000,000"):
        split_seeds("test", 2, 9_999_999)
    with pytest.raises(ValueError, match="'tests'"):
        split_seeds("tests", 2)


def test_true_rate_is_the_highest_peak_of_the_spectrum(scenes):
    for i, seed in enumerate(scenes.seeds):
        scene = draw_scenes([seed], webcam=True, kinds=False)
        truth = describe_clip(scene, Recipe((64, 48), "h264", 20), [], 20.0)
        bvp = np.array(truth["bvp"]) * np.hanning(len(truth["bvp"]))
        frequencies = np.fft.rfftfreq(1 << 16, truth["times"][1]) * 60
        power = np.abs(np.fft.rfft(bvp, 1 << 16))
        power[(frequencies < 38) | (frequencies > 200)] = 0
        peak = frequencies[power.argmax()]
        assert abs(peak - truth["bpm"]) < 0.06 * truth["bpm"]  # the rate varies within the clip
        assert abs(np.mean(truth["rate"]) - truth["bpm"]) < 0.2
        assert abs(float(scenes.heart.bpm(0.0, 20.0)[i]) - truth["bpm"]) < 1e-3


def test_phase_zero_is_the_maximum_of_the_fundamental(scenes):
    times = torch.arange(0, 30, 0.01).expand(len(scenes), -1)
    phase, (bvp, slope) = scenes.heart.phase(times), scenes.heart.pulse(times)
    assert (phase.diff() > 0).all()
    fundamental = (bvp * torch.exp(-1j * phase)).mean(1) * 2
    assert float((fundamental.abs() - 1).abs().max()) < 0.1
    assert float(fundamental.angle().abs().max()) < 0.1
    inner = (bvp[:, 2:] - bvp[:, :-2]) / 0.02
    assert float((inner - slope[:, 1:-1]).abs().mean() / slope.abs().mean()) < 0.1


def test_motion_moves_textured_pixels():
    """A frame is an earlier one shifted by the head's movement, not a brighter one."""
    with torch.no_grad():
        scene = draw_scenes([SEED + 8], webcam=True, kinds=False).without_pulse()
        view = replace(
            scene.view, centre=torch.tensor([[0.66, 0.5]]), half_face=torch.tensor([0.4])
        )
        light, motion = scene.light, scene.motion
        light = replace(
            light, shares=0 * light.shares, side=0 * light.side, gradient=0 * light.gradient
        )
        motion = replace(
            motion,
            shares=0 * motion.shares,
            cardiac=0 * motion.cardiac,
            talk_size=0 * motion.talk_size,
        )
        scene = replace(scene, view=view, light=light, motion=motion)
        pixels = 10
        pose = motion.rest_pose.clone()
        pose[:, 0] = pixels / (0.4 * 120)
        moved = replace(scene, motion=replace(motion, rest_pose=pose))
        first, second = (
            next(render_frames(some, SMALL, 0.05, noise=False))[1].astype(float)
            for some in (scene, moved)
        )
    face = (slice(40, 80), slice(60, 100))
    shifted = np.roll(second, -pixels, axis=1)
    assert np.abs(first - second)[face].mean() > 5 * np.abs(first - shifted)[face].mean()
    assert np.abs(first - shifted)[face].mean() < 1.0


def test_skin_gets_darker_and_redder_with_melanin():
    colours = skin_reflectance(torch.tensor(FITZPATRICK_MELANIN), torch.tensor(0.012))
    assert (colours.diff(dim=0) < 0).all() and (colours > 0).all() and (colours < 0.7).all()
    assert (colours[:, 0] > colours[:, 1]).all() and (colours[:, 1] > colours[:, 2]).all()
    ratio = colours[:, 0] / colours[:, 2]
    assert (ratio.diff() > 0).all()


@pytest.fixture(scope="module")
def shots():
    """A second of a noisy clip: (time, picture) pairs, and the camera's nominal rate."""
    with torch.no_grad():
        scene = draw_scenes([SEED + 400], webcam=True, kinds=False)
        return list(render_frames(scene, SMALL, 1.0)), float(scene.camera.clock.fps)


@pytest.mark.parametrize(
    "codec, quality, container",
    [("h264", 18, "mp4"), ("mpeg4", 0.5, "mp4"), ("mjpeg", 0, "mp4"), ("ffv1", 0, "matroska")],
)
def test_files_keep_time_stamps_and_colours(tmp_path, shots, codec, quality, container):
    path = tmp_path / "clip"
    frames, fps = shots
    written = write_video(path, frames, Recipe(SMALL, codec, quality), fps, container)
    assert written == [time for time, _ in frames]
    stamps, pictures = zip(*read_frames(path), strict=True)
    assert np.allclose(stamps, written, atol=1.1e-3)
    raw = np.stack([picture for _, picture in frames])
    error = np.abs(np.stack(pictures).astype(float) - raw).mean()
    assert error < (0.01 if codec == "ffv1" else 8)


def test_a_clip_is_recorded_as_it_is_asked(tmp_path):
    recipe = Recipe(SMALL, "ffv1", 0)
    truth = write_clip(tmp_path / "clip.mkv", SEED + 400, seconds=0.3, recipe=recipe)
    assert json.loads(json.dumps(truth)) == json.loads((tmp_path / "clip.json").read_text())
    assert (truth["codec"], truth["size"]) == ("ffv1", SMALL)
    with torch.no_grad():
        scene = draw_scenes([SEED + 400], webcam=True, kinds=False)
        raw = list(render_frames(scene, SMALL, 0.3))
    stamps, pictures = zip(*read_frames(tmp_path / "clip.mkv"), strict=True)
    assert np.allclose(stamps, [time for time, _ in raw], atol=1.1e-3)
    assert np.abs(np.stack(pictures).astype(float) - [picture for _, picture in raw]).mean() < 0.01


def test_set_on_disk(tmp_path, capsys):
    """Names, ground truth, mask, the null twin, going on after an interruption."""
    start = 3  # two small clips
    options = ["--out", str(tmp_path / "a"), "--seconds", "0.5", "--start", str(start), "--count"]
    assert run_script("synthesize", *options, "2") == 0
    names = sorted(p.name for p in (tmp_path / "a").iterdir())
    stems = [f"test-{subject_of(SEED + 4 * (start + i))}" for i in range(2)]
    assert names == [f"{stem}.{kind}" for stem in stems for kind in ("json", "mp4", "png")]
    truth = json.loads((tmp_path / "a" / names[0]).read_text())
    assert 40 <= truth["bpm"] < 215 and len(truth["bvp"]) == len(truth["times"]) == 32
    stamps = [time for time, _ in read_frames(tmp_path / "a" / names[1])]
    assert np.allclose(stamps, truth["frame_times"], atol=1.1e-3)
    mask = np.asarray(Image.open(tmp_path / "a" / names[2]))
    left, top, right, bottom = (int(v) for v in truth["face_box"])
    assert (mask[top:bottom, left:right] > 127).mean() > 0.25
    assert (mask > 127).sum() < 1.6 * (right - left) * (bottom - top)

    written = (tmp_path / "a" / names[1]).stat().st_mtime_ns
    render_set(tmp_path / "a", "test", 2, seconds=0.5, start=start, progress=False)
    assert (tmp_path / "a" / names[1]).stat().st_mtime_ns == written

    render_set(tmp_path / "b", "test", 1, pulse=False, seconds=0.5, start=start, progress=False)
    null = json.loads((tmp_path / "b" / names[0]).read_text())
    assert null["bpm"] == 0 and not any(null["bvp"])
    assert null["frame_times"] == truth["frame_times"] and null["quality"] == truth["quality"]

    capsys.readouterr()
    assert run_script("synthesize", *options, "0") == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ("--journeys --pulse 0 --light camera", "--journeys does not go with --pulse or --light"),
        ("--photographs DIR --journeys", "--photographs does not go with --journeys"),
        ("--photographs DIR --split train", "--photographs does not go with --split"),
        ("--calm --light camera", "--calm does not go with --light"),
    ],
)
def test_options_that_would_say_nothing_are_refused(options, line, tmp_path, capsys):
    assert run_script("synthesize", "--out", str(tmp_path / "a"), *options.split()) == 2
    assert capsys.readouterr().err == f"synthesize.py: {line}: leave it out\n"
    assert not (tmp_path / "a").exists()


def test_calm_faces_are_painted_with_and_without_a_pulse(tmp_path):
    """POS finds the pulse of most, and what is written says which rate that is."""
    options = ("--calm", "--split", "validation", "--seconds", "8", "--count")
    folder = tmp_path / "calm"
    assert run_script("synthesize", "--out", str(folder), *options, "6", "--start", "4006") == 0
    paths = sorted(folder.glob("*.json"))
    found = []
    for path in paths:
        truth = json.loads(path.read_text())
        pictures = [picture for _, picture in read_frames(path.with_suffix(".mp4"))]
        assert len(pictures) == 240 and pictures[0].shape == (192, 192, 3)
        assert abs(np.mean(truth["rate"]) - truth["bpm"]) < 1
        colours = np.stack([picture[40:140, 60:130].mean((0, 1)) for picture in pictures])
        found.append(abs(mean_rate(pos(colours, 30), 30) - truth["bpm"]) < 3)
    assert np.sum(found) >= 4, found

    written = paths[0].stat().st_mtime_ns
    assert run_script("synthesize", "--out", str(folder), *options, "1", "--start", "4006") == 0
    assert paths[0].stat().st_mtime_ns == written
    null = tmp_path / "null"
    still = (*options, "1", "--start", "4006", "--pulse", "0")
    assert run_script("synthesize", "--out", str(null), *still) == 0
    assert [json.loads(path.read_text())["bpm"] for path in null.glob("*.json")] == [0.0]
    beating, none = (
        np.array([picture[40:140, 60:130, 1].mean() for _, picture in read_frames(path)])
        for path in (paths[0].with_suffix(".mp4"), next(null.glob("*.mp4")))
    )
    truth = json.loads(paths[0].read_text())
    assert abs(mean_rate(beating - none, 30) - truth["bpm"]) < 1  # they differ by the pulse alone


def test_a_calm_pulse_is_greenest_and_a_lamp_is_in_the_ground_too():
    with torch.no_grad():
        scene = draw_scenes(split_seeds("camera-validation", 256)[::4], webcam=True, kinds=False)
        beating, still = (
            draw_course(Draw(scene.seeds, stream=8), scene, torch.full((64,), value), 300, 10.0)
            for value in (1.0, 0.0)
        )
        again = draw_course(Draw(scene.seeds, stream=8), scene, torch.ones(64), 300, 10.0)
        times = (torch.arange(300) + 0.5).expand(64, -1) / 30
        pulse, _ = scene.heart.pulse(times)
    assert torch.equal(beating.skin, again.skin)
    pulse = pulse - pulse.mean(1, keepdim=True)
    strength = -(pulse[..., None] * beating.skin).sum(1) / pulse.square().sum(1, keepdim=True)
    red, green, blue = strength.median(0).values.tolist()
    assert 0.001 < green < 0.0025 and 0 < red < 0.4 * green and red < blue < 0.8 * green
    spectrum = torch.fft.rfft(still.skin[..., 1] * torch.hann_window(300)).abs()[:, 7:30]
    lit = spectrum.amax(1) > 8 * spectrum.median(1).values
    assert 0.05 < lit.float().mean() < 0.5  # the strongest of the lamps, which are in 40 %
    assert (still.ground[lit].square().mean((1, 2)) > 0).float().mean() > 0.5


def test_bundled_clip_is_the_renderers():
    """assets/demo.mp4: the test split's clip 322 at 320x240, H.264, rate factor 17."""
    truth = json.loads((ROOT / "assets" / "demo.json").read_text())
    path = ROOT / "assets" / "demo.mp4"
    assert truth["seed"] == SEED + 322 * 4 and path.stat().st_size < 1_500_000
    stamps, pictures = zip(*read_frames(path), strict=True)
    assert np.allclose(stamps, truth["frame_times"], atol=1e-3) and stamps[-1] > 9.9
    with torch.no_grad():
        scene = draw_scenes([truth["seed"]], webcam=True, kinds=False)
        first = next(render_frames(scene, truth["size"], 10.0))[1]
    assert np.abs(pictures[0].astype(float) - first).mean() < 4
    assert abs(float(scene.heart.bpm(0.0, 10.0)) - truth["bpm"]) < 1e-3
