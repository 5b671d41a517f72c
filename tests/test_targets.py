"""The target of a rendered clip against what the renderer knows of it."""

import numpy as np
import pytest
import torch

from pulse_plantain.lab import targets
from pulse_plantain.lab.synthetic import draw_scenes, simulate, split_seeds
from pulse_plantain.sheet import Layout, SheetGeometry
from pulse_plantain.video import ClipError

LAYOUT = Layout(SheetGeometry(bands=8, samples=96, rows=8, size=(768, 16)))
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def clips():
    with torch.no_grad():
        scenes = draw_scenes(split_seeds("validation", 24), webcam=True, kinds=False)
        return scenes, simulate(scenes, LAYOUT, clean=True)


def reference(scenes, index, seconds=12.0, rate=61.7):
    """A reference pulse as a contact sensor would give it, on a clock of its own."""
    times = np.arange(-1.0, seconds, 1 / rate)
    times += 0.002 * np.sin(np.arange(len(times)))
    pulse = scenes.heart.pulse(torch.from_numpy(times)[None].expand(len(scenes), -1))[0]
    return times, pulse[index].numpy()


def test_phase_follows_every_beat_within_a_tenth_of_a_radian(clips):
    scenes, batch = clips
    middle = (np.arange(96) + 0.5) * 8 / 96
    errors = []
    for index in range(len(scenes)):
        times, bvp = reference(scenes, index)
        phase = targets.pulse_phase(bvp, times, middle)
        errors.append(np.angle(np.exp(1j * (phase - batch.phase[index].numpy()))))
    errors = np.abs(errors)
    assert np.median(errors) < 0.05
    assert np.mean(np.sqrt((errors**2).mean(1)) < 0.1) >= 0.9


def test_amplitude_map_is_the_true_one_in_good_light(clips):
    scenes, batch = clips
    matches, strengths = [], []
    for index in range(len(scenes)):
        motion = float(scenes.motion.shares[index, 0].sum())
        light = float(scenes.light.shares[index, [0, 4]].square().sum().sqrt())
        if motion > 0.06 or light > 0.02:
            continue
        truth = batch.amplitude[index].numpy()
        found = targets.keep_significant(
            *targets.local_amplitude(batch.motion[index].numpy(), batch.phase[index].numpy())
        )
        matches.append(np.corrcoef(np.abs(found).ravel(), truth.ravel())[0, 1])
        bright = truth > truth.max() / 2
        strengths.append(np.median(np.abs(found)[bright] / truth[bright]))
    assert len(matches) >= 10
    assert np.median(matches) >= 0.98
    # One still head moves with its own heart, which no lock-in can tell from blood.
    assert np.mean(np.array(matches) >= 0.9) >= 0.8
    # The signature is that of white light on one skin: cameras and tones differ from it.
    assert np.median(strengths) == pytest.approx(1, abs=0.2)


def test_noise_alone_stays_black():
    rng = np.random.default_rng(0)
    phase = 2 * np.pi * 1.2 * (np.arange(96) + 0.5) / 12
    motion = 0.01 * rng.standard_normal((96, 50, 40, 3))
    amplitude, floor = targets.local_amplitude(motion, phase)
    assert np.mean(np.abs(targets.keep_significant(amplitude, floor)) > 0) < 0.08
    # Of white noise of deviation s over n samples the standard error is s sqrt(2 / n), and three
    # equal channels added as the signature p says have s / |p|.
    expected = 0.01 * np.sqrt(2 / 96) / np.linalg.norm(targets.BLOOD)
    assert np.median(floor) == pytest.approx(expected, rel=0.15)


def test_amplitude_is_upright_and_its_angle_is_the_lead():
    phase = 2 * np.pi * 1.2 * (np.arange(96) + 0.5) / 12
    motion = np.zeros((96, 1, 2, 3))
    motion[:, 0, 0] = -0.004 * np.cos(phase)[:, None] * targets.BLOOD
    motion[:, 0, 1] = -0.002 * np.cos(phase + 0.5)[:, None] * targets.BLOOD
    motion += 0.02 * np.sin(1.13 * phase + 1)[:, None, None, None]  # light that beats with it
    amplitude, _ = targets.local_amplitude(motion, phase)
    assert np.abs(amplitude[0]) == pytest.approx([0.004, 0.002], rel=0.02)
    assert np.angle(amplitude[0]) == pytest.approx([0, 0.5], abs=0.02)
    field = targets.target_field(amplitude, phase)
    assert field.real[:, 0, 0] == pytest.approx(0.004 * np.cos(phase), abs=1e-4)


def test_a_reference_that_does_not_cover_the_clip_is_refused():
    times = np.arange(0, 6, 1 / 60)
    with pytest.raises(ClipError, match=r"covers 0\.0 to 6\.0 s, not 1\.0 to 8\.0 s"):
        targets.pulse_phase(np.cos(2 * np.pi * 1.1 * times), times, np.linspace(1, 8, 20))
    with pytest.raises(ClipError, match="pulse"):
        targets.pulse_phase(np.ones(360), times, np.linspace(1, 5, 20))
