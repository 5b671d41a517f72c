"""The bijection's door: colours of phasors and back, from pulse_plantain/bijection.py."""

from pulse_plantain.bijection import (
    AMPLITUDE_SCALE,
    MOTION_SCALE,
    amplitude_bound,
    decode,
    decode_phasor,
    encode,
    encode_phasor,
    inverse_power_transform,
    phase_bound,
    power_transform,
    project,
)

__all__ = [
    "AMPLITUDE_SCALE",
    "MOTION_SCALE",
    "amplitude_bound",
    "decode",
    "decode_phasor",
    "encode",
    "encode_phasor",
    "inverse_power_transform",
    "phase_bound",
    "power_transform",
    "project",
]
