"""The bijection: exact on its 8-bit colours, bounded under rounding, alike in both libraries."""

import numpy as np
import pytest
import torch

from pulse_plantain import bijection as b

LEVELS = np.arange(255)
FACES = np.stack(np.meshgrid(LEVELS, LEVELS, LEVELS, indexing="ij"), -1).reshape(-1, 3)
FACES = FACES[FACES.min(1) == 0]
AMPLITUDES = np.geomspace(1e-5, 0.5, 80)[:, None]
PHASES = np.linspace(0, 2 * np.pi, 721)[None]


def wrapped(difference):
    return np.abs(np.angle(np.exp(1j * np.asarray(difference, np.float64))))


def grid(dtype):
    return np.broadcast_arrays(PHASES.astype(dtype), AMPLITUDES.astype(dtype))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_every_eight_bit_colour_on_the_faces_survives_decode_encode(dtype, kind):
    assert len(FACES) == 194_311
    colours = (FACES / 255).astype(dtype)
    colours = torch.from_numpy(colours) if kind == "torch" else colours
    phase, amplitude, residual = b.decode(colours)
    again = np.asarray(b.encode(phase, amplitude))
    np.testing.assert_array_equal(np.rint(again * 255).astype(int), FACES)
    assert np.asarray(residual).max() == 0


@pytest.mark.parametrize(
    "dtype, phase_error, amplitude_error", [(np.float32, 1e-6, 1.5e-4), (np.float64, 4e-15, 1e-12)]
)
def test_float_round_trip(dtype, phase_error, amplitude_error):
    phases, amplitudes = grid(dtype)
    colours = b.encode(phases, amplitudes)
    assert colours.min(-1).max() == 0 and colours.max() < 1
    phase, amplitude, residual = b.decode(colours)
    assert phase.dtype == amplitude.dtype == residual.dtype == dtype
    assert wrapped(phase - phases).max() < phase_error
    assert np.abs(amplitude / amplitudes - 1).max() < amplitude_error
    assert residual.max() == 0
    assert (phase >= 0).all() and (phase < 2 * np.pi).all()


def test_phasors_are_the_same_map():
    phases, amplitudes = grid(np.float64)
    z = amplitudes * np.exp(1j * phases)
    np.testing.assert_allclose(b.encode_phasor(z), b.encode(phases, amplitudes), atol=1e-14)
    back, _ = b.decode_phasor(b.encode_phasor(z))
    assert np.abs(back / z - 1).max() < 1e-12
    tensor, _ = b.decode_phasor(b.encode_phasor(torch.from_numpy(z).to(torch.complex64)))
    assert tensor.dtype == torch.complex64
    assert np.abs(tensor.numpy() / z - 1).max() < 1.5e-4


def test_named_colours():
    """Red is the systolic peak; sixths of a turn are yellow, green, cyan, blue, magenta."""
    amplitude = b.AMPLITUDE_SCALE * 3  # f = 1 - 2^-2 = 0.75
    colours = b.encode(np.arange(6) * np.pi / 3, np.full(6, amplitude))
    expected = 0.75 * np.array(
        [[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 1, 1], [0, 0, 1], [1, 0, 1]], float
    )
    np.testing.assert_allclose(colours, expected, atol=1e-14)
    np.testing.assert_array_equal(b.encode(1.0, 0.0), [0, 0, 0])


def test_phase_is_seamless():
    for phase in (0.0, 2 * np.pi, -2 * np.pi, 6 * np.pi):
        np.testing.assert_allclose(b.encode(phase, 0.01), b.encode(0.0, 0.01), atol=1e-14)
    before, after = b.encode(2 * np.pi - 1e-7, 0.01), b.encode(1e-7, 0.01)
    assert np.abs(before - after).max() < 2e-7
    just_below = np.array([0.5, 0.0, 1e-20])  # its hue is -tiny: wraps to 0, never to 2 pi
    assert b.decode(just_below)[0] == 0


def test_eight_bit_rounding_stays_inside_the_stated_bounds_and_nearly_reaches_them():
    amplitudes = np.geomspace(1e-5, 0.15, 400)[:, None]
    phases = np.linspace(0, 2 * np.pi, 1441)[None]
    phases, amplitudes = np.broadcast_arrays(phases, amplitudes)
    rounded = np.rint(b.encode(phases, amplitudes) * 255) / 255
    phase, amplitude, _ = b.decode(rounded)
    bound = b.amplitude_bound(amplitudes)
    error = np.abs(amplitude - amplitudes)
    assert (error <= bound * (1 + 1e-9)).all()
    assert (error / bound).max() > 0.95
    bright = b.power_transform(amplitudes, b.AMPLITUDE_SCALE) > 3 / 510
    phase_error, phase_bound = wrapped(phase - phases), b.phase_bound(amplitudes)
    assert (phase_error[bright] <= phase_bound[bright] * (1 + 1e-9)).all()
    assert (phase_error / phase_bound)[bright].max() > 0.8


def test_numpy_and_torch_agree_and_keep_dtype():
    rng = np.random.default_rng(0)
    colours = rng.uniform(-0.2, 1.2, (5000, 3))
    for dtype, name in ((torch.float32, np.float32), (torch.float64, np.float64)):
        here, there = b.decode(colours.astype(name)), b.decode(torch.from_numpy(colours).to(dtype))
        for one, other in zip(here, there, strict=True):
            assert other.dtype == dtype and one.dtype == name
            ulps = 16 * np.finfo(name).eps  # of 1 for colours, so of the scale for amplitudes
            np.testing.assert_allclose(one, other.numpy(), rtol=ulps, atol=ulps * b.AMPLITUDE_SCALE)
        again = b.encode(here[0], here[1]), b.encode(there[0], there[1]).numpy()
        np.testing.assert_allclose(*again, atol=8 * np.finfo(name).eps)
    for dtype in (torch.bfloat16, torch.float16):
        phase, amplitude, residual = b.decode(torch.rand(10, 3).to(dtype))
        assert phase.dtype == amplitude.dtype == residual.dtype == dtype
        assert amplitude.isfinite().all()
    assert b.encode(np.float32([0.5]), np.float32([0.01])).dtype == np.float32


def test_arbitrary_colours_decode_with_their_distance_to_the_faces():
    rng = np.random.default_rng(1)
    colours = np.concatenate([rng.uniform(0, 0.99, (3000, 3)), rng.normal(0, 5, (3000, 3))])
    phase, amplitude, residual = b.decode(colours)
    assert np.isfinite([phase, amplitude, residual]).all()
    np.testing.assert_allclose(residual[:3000], colours[:3000].min(1), atol=1e-12)
    # Outside the cube: no point of a fine sampling of the faces is nearer than the residual says.
    u, v = np.meshgrid(np.linspace(0, 1, 101), np.linspace(0, 1, 101))
    face = np.stack([u.ravel(), v.ravel(), 0 * u.ravel()], -1)
    faces = np.concatenate([np.roll(face, shift, 1) for shift in range(3)])
    some = colours[3000:3200]
    nearest = np.sqrt(((some[:, None] - faces[None]) ** 2).sum(-1).min(1))
    np.testing.assert_allclose(residual[3000:3200], nearest, rtol=2e-3, atol=1e-2)


def test_gradients_are_finite_everywhere():
    special = torch.tensor(
        [[0, 0, 0], [1, 1, 1], [0.5, 0.5, 0.5], [1, 0, 0], [0, 0.5, 0.5], [-1, 2, 0.3], [2, 2, 2.0]]
    )
    colours = torch.cat([special, torch.rand(500, 3)]).requires_grad_()
    z, residual = b.decode_phasor(colours)
    (z.real.sum() + z.imag.sum() + residual.sum()).backward()
    assert colours.grad.isfinite().all()
    assert (colours.grad[len(special) :].abs().sum(-1) > 0).all()
    z = torch.polar(torch.rand(100) * 0.02, torch.rand(100) * 6).requires_grad_()
    b.encode_phasor(z).sum().backward()
    assert z.grad.isfinite().all()


def test_power_transform():
    x = np.concatenate([-np.geomspace(1e-6, 10, 50), [0], np.geomspace(1e-6, 10, 50)])
    y = b.power_transform(x, 0.02)
    np.testing.assert_allclose(b.inverse_power_transform(y, 0.02), x, rtol=1e-8)
    np.testing.assert_array_equal(y, -b.power_transform(-x, 0.02))
    assert b.power_transform(0.06, 0.02) == 0.75
    slope = b.power_transform(1e-9, 0.02) / 1e-9
    assert slope == pytest.approx(2 / (3 * 0.02), rel=1e-5)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="amplitude must be >= 0"):
        b.encode(0.0, -0.1)
    with pytest.raises(ValueError, match="amplitude must be >= 0"):
        b.encode(0.0, np.nan)
    with pytest.raises(ValueError, match=r"last axis of length 3, got shape \(4, 2\)"):
        b.decode(np.zeros((4, 2)))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_no_colour_reaches_one_in_any_type(dtype):
    amplitude = torch.tensor([0.5, 1.0, 100.0, 6e4, torch.inf], dtype=dtype)
    for phase in torch.linspace(0, 6.28, 25, dtype=dtype):
        rgb = b.encode(phase.expand(5), amplitude)
        assert rgb.dtype == dtype and rgb.min() == 0
        assert rgb.max() < 1 and torch.isfinite(b.decode(rgb)[1]).all()
    face, _ = b.project(torch.tensor([[0.0, 2.0, 1.0], [1.0, 1.0, 1.0]], dtype=dtype))
    assert face.max() < 1
    half = b.encode(np.zeros(3, np.float16), np.full(3, 60000, np.float16))
    assert half.dtype == np.float16 and half.max() < 1
