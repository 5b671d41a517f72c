"""The bijection between a pulse phasor and a colour: hue = phase, brightness = amplitude.

Pure functions of NumPy arrays and torch tensors alike (dtype and device kept, torch ones
differentiable). Nothing here knows of clips, sheets or models.

Geometry. An amplitude a (pulsatile AC/DC as a fraction, >= 0, unbounded) is compressed to
f(a) in [0, 1) by Barron's power transform; a phase walks the closed hexagon red -> yellow ->
green -> cyan -> blue -> magenta -> red of the RGB cube. The colour is f(a) * hue(phase), so the
colours used are exactly {rgb : min(rgb) = 0, max(rgb) < 1}: the three faces of the cube that meet
in black. Black is "no pulse here"; phase 0 (red) is the systolic peak. Vision Banana
(arXiv 2604.20329) walks seven edges of the same cube for one unbounded number; a complex number
needs faces.

Eight bits. Rounding a colour to multiples of 1/255 moves each of its (at most two) non-zero
channels by at most d = 1/510. With f = f(a) and g(y) = 3c ((1 - y)^(-1/2) - 1) the inverse of f:

* amplitude: |a' - a| <= max(g(f + d) - a, a - g(f - d)) =: ``amplitude_bound(a)``, because the
  largest channel alone carries f;
* phase: |phase' - phase| <= (pi / 3) * 2 d / (f - d) =: ``phase_bound(a)`` for f > d, because the
  phase within a sixth of the circle is (middle channel) / (largest channel).
"""

from typing import Any, TypeAlias

import numpy as np
import torch

Array: TypeAlias = Any
"""A NumPy array (or a number) or a torch tensor; what comes back is of the same kind."""

AMPLITUDE_SCALE = 0.004
"""Scale c of the power transform for the pulse amplitude: f(0.005) = 0.50 (AC/DC, a fraction)."""

MOTION_SCALE = 0.02
"""Scale c of the signed power transform that compresses (I - mean) / mean in the motion sheet."""

_LARGEST = 1.0 - 2.0**-20  # nearest value below 1 that float32 colours are taken to hold
_SIXTH = np.pi / 3


def _backend(x):
    """(module, x in at least float32, function that casts a result back to x's dtype)."""
    if isinstance(x, torch.Tensor):
        dtype = x.dtype if x.dtype.is_floating_point else torch.get_default_dtype()
        wide = x.to(torch.promote_types(dtype, torch.float32))
        return torch, wide, lambda y: y.to(dtype)
    x = np.asarray(x)
    dtype = x.dtype if np.issubdtype(x.dtype, np.floating) else np.dtype(np.float64)
    wide = x.astype(np.promote_types(dtype, np.float32), copy=False)
    return np, wide, lambda y: y.astype(dtype, copy=False)


def _largest_below_one(x):
    """Largest value below 1 that the type of an array or tensor holds, at most _LARGEST.

    Between it and 1 a half-precision number has no other; a wider value there would round to 1.
    """
    if isinstance(x, torch.Tensor):
        kind = x.dtype if x.dtype.is_floating_point else torch.get_default_dtype()
        return min(_LARGEST, 1 - torch.finfo(kind).eps / 2)
    kind = np.asarray(x).dtype
    return min(_LARGEST, 1 - float(np.finfo(kind).eps) / 2) if kind.kind == "f" else _LARGEST


def power_transform(x: Array, scale: float) -> Array:
    """Barron's power transform with lambda = -3, extended oddly to negative numbers.

    f(x) = sign(x) (1 - (1 + |x| / (3 c))^-2), i.e. 1 - (1 - |x| / (lambda c))^(lambda + 1)
    (Barron, "A Power Transform", 2025; used with the same lambda in arXiv 2604.20329).

    Args:
        x: array or tensor of any shape.
        scale: the scale c > 0, in the unit of x. The slope at 0 is 2 / (3 c).

    Returns:
        Values in [-1, 1], same shape, dtype and device; +-1 only where the type holds nothing
        nearer.
    """
    xp, x, back = _backend(x)
    return back(xp.sign(x) * (1 - (1 + xp.abs(x) / (3 * scale)) ** -2))


def inverse_power_transform(y: Array, scale: float) -> Array:
    """Inverse of :func:`power_transform`; values at or beyond +-1 are taken just below it."""
    xp, y, back = _backend(y)
    inside = xp.clip(xp.abs(y), 0, _LARGEST)
    return back(xp.sign(y) * (3 * scale) * ((1 - inside) ** -0.5 - 1))


def encode(phase: Array, amplitude: Array) -> Array:
    """Colour of a phase and an amplitude.

    Args:
        phase: [...] in radians, any real number (seamless at multiples of 2 pi).
        amplitude: [...] AC/DC as a fraction, >= 0.

    Returns:
        rgb [..., 3] in [0, 1), min over the channels exactly 0.

    Raises:
        ValueError: if an amplitude is negative or not a number.
    """
    largest = _largest_below_one(amplitude)
    xp, amplitude, back = _backend(amplitude)
    if not bool((amplitude >= 0).all()):
        raise ValueError(
            "amplitude must be >= 0 (AC/DC as a fraction); give the sign as phase + pi"
        )
    _, phase, _ = _backend(phase)
    sixths = xp.remainder(phase / _SIXTH, 6)
    value = xp.clip(1 - (1 + amplitude / (3 * AMPLITUDE_SCALE)) ** -2, 0, largest)
    # Each channel is a trapezoid over the circle: 1 for two sixths, a ramp of one on either side.
    channels = [
        value * xp.clip(2 - xp.abs(xp.remainder(sixths - peak + 3, 6) - 3), 0, 1)
        for peak in (0, 2, 4)
    ]
    return back(xp.stack(channels, -1))


def project(rgb: Array) -> tuple[Array, Array]:
    """Nearest colour on the three faces, and its distance.

    Args:
        rgb: [..., 3], any finite numbers.

    Returns:
        (projected rgb [..., 3] with min = 0 and max < 1, residual [...] = Euclidean distance).

    Raises:
        ValueError: if the last axis is not of length 3.
    """
    largest = _largest_below_one(rgb)
    xp, rgb, back = _backend(rgb)
    if rgb.ndim == 0 or rgb.shape[-1] != 3:
        raise ValueError(f"rgb must have a last axis of length 3, got shape {tuple(rgb.shape)}")
    inside = xp.clip(rgb, 0, largest)
    smallest = rgb.argmin(-1)  # not of the clipped: of several channels above 1 the least goes
    keep = xp.stack([smallest != channel for channel in range(3)], -1)
    face = xp.where(keep, inside, xp.zeros_like(inside))
    squared = ((rgb - face) ** 2).sum(-1)
    # sqrt has no slope at 0; a point on the face has residual 0 and passes no gradient through it.
    off = squared > 0
    residual = xp.where(off, xp.sqrt(xp.where(off, squared, xp.ones_like(squared))), squared)
    return back(face), back(residual)


def decode(rgb: Array) -> tuple[Array, Array, Array]:
    """Phase and amplitude of a colour: exact inverse of :func:`encode` on its image.

    Any other colour is first projected onto the nearest point of the three faces.

    Args:
        rgb: [..., 3].

    Returns:
        (phase [...] in [0, 2 pi), amplitude [...] >= 0, residual [...] in RGB units, 0 on the
        faces). Black has phase 0. Torch gradients are finite everywhere.
    """
    xp, wide, back = _backend(rgb)
    face, residual = project(wide)
    r, g, b = face[..., 0], face[..., 1], face[..., 2]
    value = xp.maximum(xp.maximum(r, g), b)
    lit = value > 0
    inverse = 1 / xp.where(lit, value, xp.ones_like(value))
    first, second = r >= xp.maximum(g, b), g >= b
    sixths = xp.where(
        first, (g - b) * inverse, xp.where(second, 2 + (b - r) * inverse, 4 + (r - g) * inverse)
    )
    sixths = xp.where(lit, xp.remainder(sixths, 6), xp.zeros_like(sixths))
    # remainder(-tiny, 6) rounds to 6 itself, the same phase as 0.
    sixths = xp.where(sixths >= 6, xp.zeros_like(sixths), sixths)
    amplitude = (3 * AMPLITUDE_SCALE) * ((1 - value) ** -0.5 - 1)
    return back(sixths * _SIXTH), back(amplitude), back(residual)


def encode_phasor(z: Array) -> Array:
    """Colour [..., 3] of complex phasors z = a exp(i phase) [...]; float dtype of z's parts."""
    angle = torch.angle(z) if isinstance(z, torch.Tensor) else np.angle(z)
    return encode(angle, abs(z))


def decode_phasor(rgb: Array) -> tuple[Array, Array]:
    """(complex phasors a exp(i phase) [...], residual [...]) of colours [..., 3]."""
    phase, amplitude, residual = decode(rgb)
    if isinstance(phase, torch.Tensor):
        wide = torch.promote_types(phase.dtype, torch.float32)  # no complex bfloat16
        return torch.polar(amplitude.to(wide), phase.to(wide)), residual
    return amplitude * np.exp(1j * phase), residual


def amplitude_bound(amplitude: np.ndarray) -> np.ndarray:
    """Largest amplitude error after rounding the colour to 8 bits (see the module docstring).

    Args:
        amplitude: [...] >= 0 with f(amplitude) <= 254 / 255 (brighter ones do not fit 8 bits).

    Returns:
        [...] the bound, same unit.
    """
    value, half_step = power_transform(amplitude, AMPLITUDE_SCALE), 1 / 510
    above = inverse_power_transform(value + half_step, AMPLITUDE_SCALE) - amplitude
    below = amplitude - inverse_power_transform(value - half_step, AMPLITUDE_SCALE)
    return np.maximum(above, below)


def phase_bound(amplitude: np.ndarray) -> np.ndarray:
    """Largest phase error in radians after rounding to 8 bits; pi where the colour is too dark."""
    value, half_step = power_transform(amplitude, AMPLITUDE_SCALE), 1 / 510
    bound = _SIXTH * 2 * half_step / np.maximum(value - half_step, 1e-12)
    return np.minimum(bound, np.pi)
