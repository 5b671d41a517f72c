"""What holds for all values: hypothesis draws them, the same ones in every run."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from clips import box_means
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pulse_plantain import bijection, cells, posterior, windows
from pulse_plantain.drawing import Drawing
from pulse_plantain.pipeline import PulsePipeline
from pulse_plantain.posterior import HEARTS, RATES, Posterior, Weights, Witness
from pulse_plantain.sheet import SheetGeometry, field_to_sheet, sheet_to_field
from pulse_plantain.video import ClipError

few = settings(
    max_examples=40,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],  # nothing here is about time
    database=None,
)

# -------------------------------------------------------------------------------------- bijection


@few
@given(
    st.floats(-1e3, 1e3),
    st.floats(0, 1e6, allow_subnormal=False),
    st.sampled_from([np.float64, np.float32]),
)
def test_a_phasor_becomes_a_colour_and_comes_back(phase, amplitude, kind):
    rgb = bijection.encode(kind(phase), kind(amplitude))
    assert rgb.min() == 0 and rgb.max() < 1
    back, size, residual = bijection.decode(rgb)
    fine = kind is np.float64
    assert residual == 0 and 0 <= back < 2 * np.pi
    # Towards white-hot colours ever larger amplitudes share a colour: the last is 12.3.
    largest = bijection.inverse_power_transform(1.0, bijection.AMPLITUDE_SCALE)
    expected = min(amplitude, largest)
    value = bijection.power_transform(expected, bijection.AMPLITUDE_SCALE)
    again = bijection.power_transform(size, bijection.AMPLITUDE_SCALE)
    assert again == pytest.approx(value, abs=1e-12 if fine else 1e-6)
    if value > 1e-3:
        turn = np.angle(np.exp(1j * (float(back) - float(kind(phase)))))
        assert abs(turn) < (1e-9 if fine else 1e-3)


@few
@given(arrays(np.float64, (7, 3), elements=st.floats(-1e6, 1e6)))
def test_any_colour_is_projected_onto_the_faces_once(rgb):
    face, residual = bijection.project(rgb)
    assert (face.min(-1) == 0).all() and (face.max(-1) < 1).all() and (residual >= 0).all()
    np.testing.assert_allclose(residual, np.linalg.norm(rgb - face, axis=-1), rtol=1e-9)
    again, nothing = bijection.project(face)
    assert np.array_equal(again, face) and not nothing.any()
    torch.testing.assert_close(torch.from_numpy(face), bijection.project(torch.from_numpy(rgb))[0])


@few
@given(st.floats(-1e9, 1e9), st.floats(1e-4, 1e2))
def test_the_power_transform_is_odd_rising_and_inverse(x, scale):
    y = bijection.power_transform(x, scale)
    assert -1 <= y <= 1 and y == -bijection.power_transform(-x, scale)
    assert bijection.power_transform(x + abs(x) / 2 + scale, scale) >= y
    if abs(y) < 0.999:
        back = bijection.inverse_power_transform(y, scale)
        assert back == pytest.approx(x, rel=1e-9, abs=1e-12 * scale)


# ----------------------------------------------------------------------------------------- sheets


@st.composite
def geometries(draw):
    bands, samples, rows = draw(st.tuples(*[st.sampled_from([1, 2, 4, 8])] * 3))
    across, down = draw(st.sampled_from([2, 4, 16])), draw(st.sampled_from([2, 8, 16]))
    width, height = bands * samples * across, rows * down
    return (
        bands,
        samples,
        rows,
        (width * 16 // np.gcd(width, 16), height * 16 // np.gcd(height, 16)),
    )


@few
@given(geometries(), st.integers(0, 2**32 - 1))
def test_a_field_becomes_a_sheet_and_comes_back(numbers, seed):
    geometry = SheetGeometry(*numbers)
    assert SheetGeometry.from_dict(geometry.to_dict()) == geometry
    field = np.random.default_rng(seed).normal(size=(*geometry.field_shape, 2))
    sheet = field_to_sheet(field, geometry)
    assert sheet.shape == (geometry.size[1], geometry.size[0], 2)
    np.testing.assert_allclose(sheet_to_field(sheet, geometry), field, atol=1e-14)
    assert np.array_equal(field_to_sheet(torch.from_numpy(field), geometry).numpy(), sheet)


# --------------------------------------------------------------------------- means over the time


@few
@given(
    st.lists(st.floats(1e-3, 2.0), min_size=2, max_size=40),
    st.lists(st.floats(1e-2, 3.0), min_size=1, max_size=20),
    st.floats(-5, 5),
    st.integers(0, 2**32 - 1),
)
def test_box_means_keep_the_area_and_straight_lines(steps, widths, start, seed):
    stamps = np.cumsum(steps)
    edges = start + np.concatenate([[0], np.cumsum(widths)])
    values = np.random.default_rng(seed).uniform(0, 1, (len(stamps), 2))
    means = box_means(stamps, values, edges)
    assert means.shape == (len(widths), 2)
    assert means.min() >= values.min() - 1e-9 and means.max() <= values.max() + 1e-9
    whole = box_means(stamps, values, edges[[0, -1]])
    area = (means * np.diff(edges)[:, None]).sum(0)
    np.testing.assert_allclose(area, whole[0] * (edges[-1] - edges[0]), atol=1e-9)
    inside = (edges[:-1] >= stamps[0]) & (edges[1:] <= stamps[-1])
    lines = box_means(stamps, 3 * stamps - 1, edges)
    middles = (edges[1:] + edges[:-1]) / 2
    np.testing.assert_allclose(lines[inside], 3 * middles[inside] - 1, atol=1e-8)


@few
@given(st.integers(1, 40), st.integers(1, 90), st.floats(0, 0.4), st.floats(0.6, 1))
def test_area_weights_share_every_pixel_out(count, length, lower, upper):
    lower, upper = lower * length, upper * length
    weights = cells.area_weights(lower, upper, count, length).toarray()
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-4)
    covered = np.clip(
        np.minimum(upper, np.arange(length) + 1) - np.maximum(lower, np.arange(length)), 0, 1
    )
    np.testing.assert_allclose(weights.sum(0), covered * count / (upper - lower), atol=1e-4)


# -------------------------------------------------------------------------------------- posterior


@st.composite
def witnesses(draw):
    said = []
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.floats(0, 20))
        rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        lines = rng.dirichlet(np.full(len(RATES), draw(st.sampled_from([0.01, 1.0]))))
        signs = rng.normal(0, draw(st.sampled_from([1.0, 10.0])), len(posterior.SIGNS))
        signs[rng.random(len(signs)) < 0.2] = np.nan
        source = draw(st.sampled_from(["whole", "box"]))
        said.append(Witness(start, start + 8, (source, 8.0), lines, signs))
    return said


@settings(few, max_examples=12)
@given(witnesses())
def test_a_posterior_is_a_probability_whatever_the_witnesses_say(said):
    span = (min(one.start for one in said), max(one.end for one in said))
    read = Posterior(said, Weights(), span)
    estimates = [read.read_clip(), read.read_span(*span), *read.find_instants()]
    for one in estimates:
        assert 0 <= one.confidence <= one.present + 1e-9 <= 1 + 2e-9
        if np.isfinite(one.bpm):
            slowest, fastest = RATES[HEARTS[[0, -1]]]
            assert slowest <= one.low <= one.bpm <= one.high <= fastest
    again = Posterior(said[::-1], Weights(), span).read_clip()
    assert again.bpm == pytest.approx(estimates[0].bpm, abs=0.3, nan_ok=True)
    assert again.confidence == pytest.approx(estimates[0].confidence, abs=0.05)


# ------------------------------------------------------------------------------------ check_inputs

ANYTHING = st.one_of(
    st.none(), st.booleans(), st.floats(), st.integers(), st.text(max_size=9),
    st.binary(max_size=3), st.lists(st.floats(), max_size=5), st.just(object()),
    st.complex_numbers(),
    st.sampled_from([8, 8.0, "8", (6, 8), [8, "x"], (0, 0, 64, 48), 0.5, 1, np.float32(7), 1e-300]),
)  # fmt: skip


@settings(few, max_examples=100)
@given(window=ANYTHING, stride=ANYTHING, crop=ANYTHING, form=ANYTHING)
def test_arguments_are_good_or_refused_in_one_line(window, stride, crop, form):
    pipe = SimpleNamespace()  # the check looks at nothing but its arguments
    try:
        lengths = windows.window_lengths(window)
        PulsePipeline.check_inputs(pipe, lengths, stride, crop, form, False, Drawing())
    except ValueError as error:
        assert str(error) and "\n" not in str(error)
        return
    assert all(5 <= length <= 10 for length in lengths)
    assert stride is None or 0.1 <= float(stride) <= min(lengths)
    assert crop is None or len(windows.check_crop(crop)) == 4
    assert form in ("np", "pt")


@settings(few, max_examples=60)
@given(steps=ANYTHING, ensemble=ANYTHING, batch=ANYTHING)
def test_options_of_drawing_are_good_or_refused_in_one_line(steps, ensemble, batch):
    try:
        drawing = Drawing(num_inference_steps=steps, ensemble_size=ensemble, batch_size=batch)
    except ValueError as error:
        assert "\n" not in str(error)
        return
    assert 1 <= drawing.num_inference_steps <= 1000 and 1 <= drawing.batch_size <= 4096


@few
@given(window=ANYTHING)
def test_windows_are_a_few_numbers_or_refused(window):
    try:
        lengths = windows.window_lengths(window)
    except ClipError as error:
        assert "window must be" in str(error) and "\n" not in str(error)
    else:
        assert len(set(lengths)) == len(lengths) <= 16 or any(map(np.isnan, lengths))
