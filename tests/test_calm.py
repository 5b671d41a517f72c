"""Calm faces of one course: their truth is true, and their figures are those of seated people."""

from dataclasses import fields

import numpy as np
import pytest
import torch

from pulse_plantain import heart_rate
from pulse_plantain.lab import baselines
from pulse_plantain.lab.batches import CALM, TRAIN, Batches
from pulse_plantain.lab.light_measuring import NAMES, SEATED, Window, lock_in, summarize
from pulse_plantain.lab.synthetic import (
    SyntheticBatch,
    calm_some,
    draw_scenes,
    simulate,
    simulate_batch,
    split_seeds,
)
from pulse_plantain.sheet import Layout, SheetGeometry

LAYOUT = Layout(SheetGeometry(bands=4, samples=96, rows=4, size=(768, 32)), (16, 16))
COARSE = Layout(SheetGeometry(bands=2, samples=24, rows=4, size=(48, 16)), (16, 16))
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def calm() -> SyntheticBatch:
    """Calm faces in place of webcam scenes with a pulse, 8 s each."""
    seeds = split_seeds("camera-validation", 64)
    with torch.no_grad():
        scenes = draw_scenes(seeds, webcam=True, kinds=False, light="camera")
        return calm_some(simulate(scenes, LAYOUT, 8.0), scenes, LAYOUT, 8.0, 1.0)


def average_skin(batch: SyntheticBatch, number: int) -> np.ndarray:
    """The mean course [samples, 3] of the cells that show most of the pulse."""
    amplitude = batch.amplitude[number]
    return batch.motion[number][:, amplitude > 0.3 * amplitude.max()].mean(1).double().numpy()


def test_colours_move_as_those_of_seated_people(calm):
    windows = [
        Window(1 + average_skin(calm, i), calm.phase[i].numpy()) for i in range(len(calm.bpm))
    ]
    figures = {name: middle for name, (_, middle, _) in summarize(windows).items()}
    for name in NAMES[:8]:  # pulse and movement of each channel, and their ratios
        assert figures[name] == pytest.approx(SEATED[name], rel=0.35), name
    for name in NAMES[8:11]:
        assert figures[name] == pytest.approx(SEATED[name], abs=0.2), name


def test_pos_reads_them_as_it_reads_seated_people(calm):
    """Of 102 windows of five seated people POS reads 74 %."""
    found = [
        heart_rate.mean_rate(baselines.pos(1 + average_skin(calm, i), 12.0), 12.0)
        for i in range(len(calm.bpm))
    ]
    within = np.abs(np.array(found) - calm.bpm.numpy()) <= 3
    assert 0.6 < within.mean() < 0.9


def test_amplitude_and_phase_are_those_of_the_sheet(calm):
    """Blood takes light: green falls where the phase is 0, by the amplitude, in the mean of all."""
    ratios = []
    for i in range(len(calm.bpm)):
        amplitude = calm.amplitude[i]
        course = (calm.motion[i, ..., 1] * amplitude).sum((1, 2)) / amplitude.square().sum()
        ratios.append(2 * (course * -calm.phase[i].cos()).mean())
    assert np.median(ratios) == pytest.approx(1, abs=0.15)
    strengths = [
        lock_in(average_skin(calm, i), calm.phase[i].double().numpy())[1]
        / float(calm.amplitude[i][calm.amplitude[i] > 0.3 * calm.amplitude[i].max()].mean())
        for i in range(len(calm.bpm))
    ]
    assert np.median(strengths) == pytest.approx(1, abs=0.15)


def test_cells_of_a_face_say_the_same_and_the_ground_does_not(calm):
    whole = (calm.amplitude / calm.amplitude.amax((1, 2), keepdim=True) > 0.98).all(2).all(1)
    assert 4 <= int(whole.sum()) < len(whole)
    bare = calm.amplitude.amin((1, 2)) == 0
    assert bare.any()
    for i in bare.nonzero()[:, 0].tolist():
        cells = calm.motion[i, ..., 1].std(0)
        ground, skin = calm.amplitude[i] == 0, calm.amplitude[i] == calm.amplitude[i].max()
        assert cells[ground].max() < 1.2 * cells[skin].max()


def test_a_clip_without_a_pulse_stays_without():
    seeds = split_seeds("camera-train", 96)
    with torch.no_grad():
        before = simulate_batch(seeds, COARSE, light="camera")
        after = simulate_batch(seeds, COARSE, light="camera", calm=1.0)
    dead = before.amplitude.amax((1, 2)) == 0
    assert dead.any() and torch.equal(dead, after.amplitude.amax((1, 2)) == 0)
    assert (after.motion != before.motion).flatten(1).any(1).all()
    assert torch.equal(after.phase, before.phase)


def test_a_share_of_the_clips_is_calm_and_depends_on_its_seed_alone():
    seeds = list(split_seeds("camera-train", 48))
    before = simulate_batch(seeds, COARSE, light="camera")
    some = simulate_batch(seeds, COARSE, light="camera", calm=0.4)
    changed = (some.motion != before.motion).flatten(1).any(1)
    assert 0.2 < float(changed.float().mean()) < 0.6
    number = int(changed.nonzero()[0, 0])
    alone = simulate_batch(seeds[number : number + 1], COARSE, light="camera", calm=0.4)
    for field in fields(alone):
        one, other = (getattr(b, field.name) for b in (alone, some))
        if field.name != "kind":
            assert torch.allclose(one[0], other[number], atol=5e-5), field.name


def test_a_training_keeps_calm_clips_apart(tmp_path, miniature):
    """Another share is another batch; the calm split is simulated whatever the share."""
    options = {
        "vae": miniature.vae,
        "layout": LAYOUT,
        "device": torch.device("cpu"),
        "cache": tmp_path,
        "size": 4,
        "seed": 0,
        "light": "camera",
    }
    plain, calm = Batches(**options), Batches(**options, calm=1.0)
    one, other = plain.load(TRAIN, 0, 8.0), calm.load(TRAIN, 0, 8.0)
    assert not torch.equal(one["motion"], other["motion"])
    assert torch.equal(one["bpm"], other["bpm"])
    assert calm.load(CALM, 0, 8.0)["field"].abs().amax() > 0
    assert len(list(tmp_path.glob("*.safetensors"))) == 3
