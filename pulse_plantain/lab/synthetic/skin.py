"""Colour of skin from melanin and blood, in linear light: the optics behind the face textures.

Two layers: an epidermis that only absorbs, over a dermis that scatters and holds blood.
"""

import torch
from torch import Tensor

# Molar extinction of oxygenated and deoxygenated haemoglobin, cm^-1 M^-1 (compiled by S. Prahl,
# omlc.org/spectra/hemoglobin), at four wavelengths (nm) of a camera's red, green and blue.
_BANDS = (
    ((590, 14401, 28324), (600, 3200, 14677), (620, 942, 6510), (650, 368, 3750)),
    ((510, 20035, 25774), (530, 39957, 39036), (550, 43016, 53412), (570, 44496, 45072)),
    ((440, 102580, 413280), (450, 62816, 103292), (470, 33209, 16156), (490, 23684, 16684)),
)
_TABLE = torch.tensor(_BANDS, dtype=torch.float32)  # [3 channels, 4 wavelengths, 3 columns]

FITZPATRICK_MELANIN = (0.010, 0.025, 0.05, 0.10, 0.16, 0.27, 0.43)
"""Borders of types I to VI in melanosome volume fraction of the epidermis (after S. Jacques, "Skin
optics" (1998): light 1.3-6.3 %, moderate 11-16 %, dark 18-43 %)."""

PULSE_COLOUR = (0.33, 0.77, 0.53)
"""Relative pulsatile amplitude of red, green and blue under white light: the signature of blood (de
Haan and van Leest, "Improved motion robustness of remote-PPG by using the blood volume pulse
signature", Physiological Measurement 35, 2014)."""


def skin_reflectance(melanin: Tensor, blood: Tensor, oxygenation: float = 0.75) -> Tensor:
    """Diffuse reflectance of skin in red, green and blue.

    Absorption and scattering as in S. Jacques, "Skin optics" (1998); the dermis reflects
    R = exp(-A / sqrt(3 (1 + mu_s' / mu_a))) with A = 7 (S. Jacques, "Diffuse reflectance from a
    semi-infinite medium", 1999); light crosses an epidermis of 60 um twice.

    Args:
        melanin: [...] melanosome volume fraction of the epidermis, 0.01 to 0.43.
        blood: [...] blood volume fraction of the dermis, about 0.005 to 0.05.
        oxygenation: fraction of oxygenated haemoglobin.

    Returns:
        [..., 3] linear reflectance in 0..1.
    """
    wavelength, oxygenated, deoxygenated = _TABLE.to(melanin.device).unbind(-1)
    melanin, blood = melanin[..., None, None], blood[..., None, None]
    base = 0.244 + 85.3 * torch.exp(-(wavelength - 154) / 66.2)  # bloodless tissue, 1/cm
    melanosome = 6.6e11 * wavelength**-3.33
    extinction = oxygenation * oxygenated + (1 - oxygenation) * deoxygenated
    whole_blood = 2.303 * extinction * 150 / 64500  # 150 g/l
    scattering = 2e5 * wavelength**-1.5 + 2e12 * wavelength**-4
    dermis = blood * whole_blood + (1 - blood) * base
    dermal = torch.exp(-7 / torch.sqrt(3 * (1 + scattering / dermis)))
    epidermis = melanin * melanosome + (1 - melanin) * base
    return (dermal * torch.exp(-2 * 0.006 * epidermis)).mean(-1)
