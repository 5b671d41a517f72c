"""Two faces in one picture: told where none is named, and a reading each where they are."""

import numpy as np
import pytest
import torch
from stand_ins import FPS, GEOMETRY, READING, Painter, noise_clip

from pulse_plantain import parts, search
from pulse_plantain.bijection import encode_phasor
from pulse_plantain.drawing import Drawing
from pulse_plantain.faces import measure_faces
from pulse_plantain.lab.synthetic import draw_scenes, simulate, split_seeds
from pulse_plantain.posterior import SIGNS
from pulse_plantain.reading import Glance, divide_picture, read_sheets
from pulse_plantain.sheet import Layout, SheetGeometry, field_to_sheet
from pulse_plantain.video import ClipError
from pulse_plantain.windows import ClipWindow

pytestmark = pytest.mark.usefixtures("one_thread")

LEFT, RIGHT = (4.0, 16.0, 52.0, 80.0), (76.0, 16.0, 124.0, 80.0)
"""Faces in a picture of 128 x 96 pixels."""


class TwoFaces(Painter):
    """Draws a pulse at each of two places.

    Args:
        places: region in pixels -> bpm.
    """

    def __init__(self, pipe, places):
        super().__init__(pipe, 0.0)
        self.places = places

    def field(self, window):
        fields = []
        for region, bpm in self.places.items():
            self.region, self.bpm = region, bpm
            fields.append(super().field(window))
        return np.sum(fields, 0)


@pytest.fixture(scope="module")
def clip():
    return noise_clip(10, (96, 128))


def test_two_parts_with_two_rates_are_told(pipe, clip):
    TwoFaces(pipe, {LEFT: 66.0, RIGHT: 93.0})
    pulse = pipe(clip, fps=FPS)
    left, right = pulse.parts
    assert left.bpm == pytest.approx(66, abs=1) and right.bpm == pytest.approx(93, abs=1)
    assert (
        left.crop[2] <= 76 and right.crop[0] >= 52 and min(left.confidence, right.confidence) > 0.9
    )
    (line,) = [line for line in pulse.to_text().splitlines() if "two rates" in line]
    assert line.startswith(f"two parts of the picture carry two rates: {left.bpm:.1f} bpm at ")
    plain = pulse.to_dict()["parts"]
    assert plain[0] == {
        "start": left.start,
        "end": left.end,
        "bpm": left.bpm,
        "bpm_uncertainty": left.bpm_uncertainty,
        "confidence": left.confidence,
        "crop": list(left.crop),
    }


@pytest.mark.slow
@pytest.mark.parametrize("places", [{LEFT: 66.0}, {LEFT: 66, RIGHT: 68}])
def test_one_rate_is_not_two(pipe, clip, places):
    TwoFaces(pipe, places)
    pulse = pipe(clip, fps=FPS)
    assert pulse.found and pulse.parts == [] and "two rates" not in pulse.to_text()


def test_every_face_has_a_reading_of_its_own(pipe, clip):
    TwoFaces(pipe, {LEFT: 66.0, RIGHT: 93.0})
    frames = iter(clip)  # one pass is all that it allows
    left, right = measure_faces(pipe, frames, [LEFT, RIGHT], fps=FPS)
    assert left.bpm == pytest.approx(66, abs=0.5) and right.bpm == pytest.approx(93, abs=0.5)
    assert [window.crop for window in left.windows] == [LEFT] * len(left.windows)
    assert left.sheet.shape[0] == len(left.windows) and not left.parts


@pytest.mark.parametrize(
    "faces, message",
    [
        ([], "at least one box in pixels, got none"),
        ([(0, 0, 200, 90)], "crop must be .* inside the picture of 128 x 96"),
        ([LEFT, (0, 0, 20, 60)], r"a face must be at least 24 pixels a side, got \(0, 0, 20, 60\)"),
    ],
)
def test_boxes_that_hold_no_face_are_refused(pipe, clip, faces, message):
    with pytest.raises(ClipError, match=message):
        measure_faces(pipe, clip, faces, fps=FPS)


def test_the_shared_area_is_of_the_smaller_box():
    assert parts.share_area((0, 0, 1, 1), (0.5, 0.5, 0.7, 0.7)) == pytest.approx(1)
    assert parts.share_area((0, 0, 0.4, 1), (0.3, 0, 0.7, 1)) == pytest.approx(0.25)
    assert parts.share_area((0, 0, 0.4, 1), (0.4, 0, 0.7, 1)) == 0


def render_side_by_side(seeds, seconds):
    """Fine window in which rendered faces stand beside each other, and their rates."""
    bands = search.SEARCH_GRID // len(seeds)
    rows = search.SEARCH_GRID
    geometry = SheetGeometry(bands=bands, samples=96, rows=rows, size=(bands * 96, rows))
    pictures, changes, rates = [], [], []
    for seed in seeds:
        scene = draw_scenes([seed], webcam=True, kinds=False).on_sensor(320 // len(seeds), 240)
        batch = simulate(scene, Layout(geometry, (bands, rows)), window=seconds)
        pictures.append(batch.appearance[0].numpy())
        changes.append(batch.motion[0].numpy())
        rates.append(float(scene.heart.bpm(0.0, seconds)[0]))
    window = ClipWindow.blank(0.0, seconds, GEOMETRY)
    values = vars(window) | {
        "motion": np.concatenate(changes, 2).astype(np.float32),
        "appearance": np.concatenate(pictures, 1).astype(np.float32),
        "crop": (0.0, 0.0, 320.0, 240.0),
        "picture_size": (320, 240),
    }
    return ClipWindow(**values), rates


def test_what_is_beside_a_face_is_compared_with_it(pipe, clip, monkeypatch):
    seen, draw = [], type(pipe).draw
    monkeypatch.setattr(
        type(pipe), "draw", lambda own, *args: seen.extend(found := draw(own, *args)) or found
    )
    measure_faces(pipe, clip, [LEFT, RIGHT], fps=FPS)
    signs = np.array([one.witness.signs for one in seen])
    assert len(seen) >= 2 and np.isfinite(signs).all()
    assert signs[:, SIGNS.index("face")] == pytest.approx(1)  # a box that is given is a face's
    places = {tuple(np.multiply(one.place, (128, 96, 128, 96)).round()) for one in seen}
    assert places == {LEFT, RIGHT}
    each = {box: [one for one in seen if one.window.crop == box] for box in (LEFT, RIGHT)}
    seen.clear()
    pulse = pipe(clip, fps=FPS, crop=LEFT)
    assert len(seen) == len(each[LEFT]) and pulse.windows[0].crop == LEFT
    for alone, beside in zip(seen, each[LEFT], strict=True):  # compared with the same picture
        np.testing.assert_allclose(alone.witness.signs, beside.witness.signs, atol=1.0)
        assert alone.window.whole is None  # which is not kept
        assert alone.witness.signs[SIGNS.index("face")] == pytest.approx(1)


@pytest.mark.slow
@torch.no_grad()
def test_rendered_faces_side_by_side_carry_two_rates(miniature):
    seeds = split_seeds("validation", 16)[8::4]
    glances, rates = [], []
    for seconds in (8.0, 10.0):
        window, rates = render_side_by_side(seeds, seconds)
        for box in ((0.0, 0.2, 0.36, 0.8), (0.64, 0.2, 1.0, 0.8)):
            part = search.cut_part(window, box, miniature.layout)
            glances.append(Glance(part, box, divide_picture(window)))
    drawn = miniature.draw(glances, Drawing(prompt_embeds=miniature.encode_task_prompt()))
    found = parts.find_two_rates(drawn, miniature.reading_weights)
    assert [part.bpm for part in found] == pytest.approx(rates, abs=3)
    assert rates == pytest.approx([90.0, 64.6], abs=0.5)


def draw_parts(*looks):
    """What was drawn of boxes: (box, start in s, bpm) of each, of 8 s."""
    drawn = []
    for box, start, bpm in looks:
        window = ClipWindow.blank(start, start + 8, GEOMETRY)
        turn = np.exp(2j * np.pi * bpm / 60 * window.times)
        field = 0.005 * turn[:, None, None] * np.ones((8, 4))
        sheet = field_to_sheet(encode_phasor(field), GEOMETRY)
        image = torch.from_numpy(sheet).float().movedim(-1, 0)[None] * 2 - 1
        drawn += read_sheets([Glance(window, box)], [image], GEOMETRY)
    return drawn


def test_a_rate_that_changes_with_time_is_one_rate():
    one, other = (0.0, 0.0, 0.4, 1.0), (0.6, 0.0, 1.0, 1.0)
    together = parts.find_two_rates(draw_parts((one, 0, 70), (other, 0, 90)), READING)
    assert [part.bpm for part in together] == pytest.approx([70, 90], abs=0.5)
    assert [(part.start, part.end) for part in together] == [(0, 8), (0, 8)]
    followed = [(one, start, 70 + start / 2) for start in range(0, 44, 4)]  # 70 to 90 bpm
    assert parts.find_two_rates(draw_parts(*followed, (other, 40, 90)), READING) == []
    (left, right) = parts.find_two_rates(draw_parts(*followed, (other, 40, 70)), READING)
    assert (left.bpm, right.bpm) == pytest.approx((90, 70), abs=0.5) and left.start == 40
    assert parts.find_two_rates([], READING) == []
