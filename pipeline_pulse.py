"""The diffusers pipeline: a clip goes in, a pulse sheet is drawn, a heart rate comes out.

Here live the FLUX.2 plumbing, the call and its output; no video reading and no signal processing.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from functools import partial
from numbers import Integral
from pathlib import Path

import numpy as np
import PIL.Image
import torch
from diffusers import (
    AutoencoderKLFlux2,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Transformer2DModel,
)
from diffusers.pipelines.flux2.pipeline_flux2_klein import compute_empirical_mu, retrieve_timesteps
from diffusers.utils import BaseOutput, _get_model_file
from diffusers.utils.torch_utils import randn_tensor
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import Qwen2TokenizerFast, Qwen3ForCausalLM

if __package__:
    from .bijection import (
        AMPLITUDE_SCALE,
        decode,
        encode_phasor,
        inverse_power_transform,
        power_transform,
    )
    from .clip_encoder import (
        MAX_SECONDS,
        MIN_SECONDS,
        ClipWindow,
        SheetGeometry,
        crop_window,
        encode_windows,
        field_to_sheet,
        motion_sheet,
        sheet_to_field,
        window_lengths,
    )
    from .heart_rate import BAND, mean_rate, pulse_from_field, spectral_concentration, stitch
else:  # plain import from the repo root
    import bijection as _bijection
    import clip_encoder as _clip_encoder
    import heart_rate as _heart_rate

    AMPLITUDE_SCALE, decode = _bijection.AMPLITUDE_SCALE, _bijection.decode
    encode_phasor, power_transform = _bijection.encode_phasor, _bijection.power_transform
    inverse_power_transform = _bijection.inverse_power_transform
    MIN_SECONDS, MAX_SECONDS = _clip_encoder.MIN_SECONDS, _clip_encoder.MAX_SECONDS
    ClipWindow, SheetGeometry = _clip_encoder.ClipWindow, _clip_encoder.SheetGeometry
    crop_window = _clip_encoder.crop_window
    encode_windows, motion_sheet = _clip_encoder.encode_windows, _clip_encoder.motion_sheet
    field_to_sheet, sheet_to_field = _clip_encoder.field_to_sheet, _clip_encoder.sheet_to_field
    window_lengths = _clip_encoder.window_lengths
    BAND, mean_rate, stitch = _heart_rate.BAND, _heart_rate.mean_rate, _heart_rate.stitch
    pulse_from_field = _heart_rate.pulse_from_field
    spectral_concentration = _heart_rate.spectral_concentration

PROMPT = (
    "Generate a pulse visualization of the skin: hue is phase, red at systole, "
    "brightness is amplitude."
)
"""The one frozen prompt of the task; the adapter is trained with it and with nothing else."""

APPEARANCE_T = 10
"""Position t of the appearance image (FLUX.2 puts reference k at t = 10 k, the drawing at 0)."""

GPU_DTYPES = {"default": torch.bfloat16, "vae": torch.float32}
"""`dtype=` of `from_pretrained` for a GPU. Rounded to bfloat16, the VAE's encoder makes a tenth of
the drawing wrong (results/tried.md); its decoder is run in the transformer's type."""

SEARCH_GRID = 64
"""Cells along each side of the picture that the search for the pulse is made of."""

SMALLEST_BOX = 24
"""Shortest side in pixels of a part that is looked at closer."""

FACE_ASPECT = 0.8
"""Width over height of the boxes that are tried."""

LONGEST_HOLE = 0.5
"""Seconds without a new picture above which no heart rate is given: up to a beat is missing."""

ADAPTER_FILE = "adapter_model.safetensors"

LARGEST_AMPLITUDE = 0.05
"""Pulsatile AC/DC to which a cell is cut down; skin reaches 0.015, a cell of pure red means 12."""

SAME_RATE = 6.0
"""Difference in bpm up to which two readings of a clip may be of one pulse."""

OFF_PALETTE = 0.1
"""Distance from the palette (RGB units) at which a pixel counts half."""

FEWEST_BEATS = 6.0
"""Beats on a sheet below which a pulse is seldom read right."""

SHORTEST_BEAT = 9.6
"""Pixels a beat must have on a sheet: a VAE that shrinks by 8 is blind to stripes of 8 pixels."""

FAINTEST_PULSE = 8e-4
"""Amplitude (AC/DC, rms over the skin) at which a drawn pulse is half believed: what is drawn of
clips without a pulse lies mostly below it (0.0003 to 0.0009 on rendered validation clips)."""


# --------------------------------------------------------------------------------- FLUX.2's tokens


def latent_statistics(vae, device):
    """(mean, standard deviation) [4 C, 1, 1] float32 of the VAE's patchified latents."""
    mean = vae.bn.running_mean.to(device, torch.float32).view(-1, 1, 1)
    variance = vae.bn.running_var.to(device, torch.float32).view(-1, 1, 1)
    return mean, torch.sqrt(variance + vae.config.batch_norm_eps)


def token_size(vae):
    """Side of one token in pixels: the VAE's down-sampling times the 2 x 2 patch; 16 for FLUX.2."""
    return 2 ** len(vae.config.block_out_channels)


def token_ids(height, width, t):
    """Position ids (t, h, w, l) of an image's tokens.

    Args:
        height, width: in tokens.
        t: 0 for the image that is drawn, 10 k for reference k.

    Returns:
        [height * width, 4] int64, row by row.
    """
    return torch.cartesian_prod(
        torch.tensor([t]), torch.arange(height), torch.arange(width), torch.tensor([0])
    )


def text_ids(length):
    """Position ids (0, 0, 0, i) of the prompt's tokens, [length, 4] int64."""
    ids = torch.zeros(length, 4, dtype=torch.int64)
    ids[:, 3] = torch.arange(length)
    return ids


def encode_images(vae, images):
    """Tokens of images, as Flux2KleinPipeline makes its references' but without its 8-bit detour.

    Args:
        vae: AutoencoderKLFlux2.
        images: [B, 3, H, W] floats in [-1, 1], H and W multiples of the token size.

    Returns:
        [B, N, 4 C] mode of the posterior, patchified, normalised by the VAE's batch-norm
        statistics, row by row; dtype of the VAE's output.
    """
    latents = vae.encode(images.to(vae.dtype)).latent_dist.mode()
    patches = torch.nn.functional.pixel_unshuffle(latents, 2)
    mean, deviation = latent_statistics(vae, patches.device)
    tokens = (patches.float() - mean) / deviation
    return tokens.flatten(2).transpose(1, 2).to(latents.dtype)


def decode_tokens(vae, tokens, height, width):
    """Images of tokens: inverse of :func:`encode_images` up to the VAE's loss; differentiable.

    Args:
        vae: AutoencoderKLFlux2.
        tokens: [B, N, 4 C].
        height, width: of the image in pixels; N = height * width / token size squared.

    Returns:
        [B, 3, height, width], nominally in [-1, 1], not clipped.
    """
    size = token_size(vae)
    patches = tokens.transpose(1, 2).unflatten(2, (height // size, width // size))
    mean, deviation = latent_statistics(vae, tokens.device)
    latents = torch.nn.functional.pixel_shuffle(patches.float() * deviation + mean, 2)
    return vae.decode(latents.to(vae.dtype), return_dict=False)[0]


def predict_velocity(transformer, latents, references, prompt_embeds, image_ids, sigma):
    """Velocity (start - image) of the flow, sigma of the way back to its start.

    Args:
        transformer: Flux2Transformer2DModel, bare or wrapped by PEFT.
        latents: [B, N, 4 C] tokens on their way from the start to the image to draw.
        references: [B, M, 4 C] tokens of the reference images, one after the other.
        prompt_embeds: [1 or B, L, D].
        image_ids: [N + M, 4] position ids of latents and references.
        sigma: float or tensor [] or [B] in [0, 1], 1 = the start.

    Returns:
        [B, N, 4 C].
    """
    batch, count = latents.shape[:2]
    sigma = torch.as_tensor(sigma, dtype=latents.dtype, device=latents.device).expand(batch)
    velocity = transformer(
        hidden_states=torch.cat([latents, references.to(latents.dtype)], 1),
        timestep=sigma,
        guidance=None,
        encoder_hidden_states=prompt_embeds.to(latents.dtype).expand(batch, -1, -1),
        txt_ids=text_ids(prompt_embeds.shape[1]).to(latents.device),
        img_ids=image_ids.to(latents.device),
        return_dict=False,
    )[0]
    return velocity[:, :count]


def predict_clean(transformer, latents, references, prompt_embeds, image_ids, sigma=1.0):
    """Clean tokens [B, N, 4 C] in a single evaluation: x0 = latents - sigma * velocity.

    At sigma = 1 with the motion sheet's tokens as latents this is the default call of the pipeline.
    Arguments as :func:`predict_velocity`.
    """
    velocity = predict_velocity(transformer, latents, references, prompt_embeds, image_ids, sigma)
    sigma = torch.as_tensor(sigma, dtype=latents.dtype, device=latents.device)
    return latents - sigma.reshape(-1, 1, 1) * velocity


def bright_field(images, geometry):
    """Brightness phasors f(a) exp(i phase) of drawn pulse sheets, cell by cell; differentiable.

    Every pixel is decoded to brightness and phase, and brightness * exp(i phase) is averaged over
    each cell's pixels: brightness is bounded, so no pixel can outshout its cell. Pixels off the
    palette (greyish ones, which no pulse has) count less, by 1 / (1 + (residual / OFF_PALETTE)^2).

    Args:
        images: [B, 3, H, W] in [-1, 1], as the VAE draws them.
        geometry: SheetGeometry.

    Returns:
        (phasors [B, samples, rows, bands] complex64 of modulus 0...1, weights of the same shape in
        0...1: how much of each cell is on the palette).
    """
    phase, amplitude, residual = decode(images.movedim(1, -1).float() / 2 + 0.5)
    weight = 1 / (1 + (residual / OFF_PALETTE) ** 2)
    brightness = weight * power_transform(amplitude, AMPLITUDE_SCALE)
    sums = torch.stack([brightness * phase.cos(), brightness * phase.sin(), weight], -1)
    real, imaginary, weight = sheet_to_field(sums, geometry).unbind(-1)
    return torch.complex(real, imaginary) / weight, weight


def field_of_images(images, geometry):
    """Pulse field of drawn pulse sheets: :func:`bright_field` with brightness made amplitude.

    Args:
        images: [B, 3, H, W] in [-1, 1], as the VAE draws them.
        geometry: SheetGeometry.

    Returns:
        (field [B, samples, rows, bands] complex64 of modulus AC/DC, weights of the same shape).
    """
    mean, weight = bright_field(images, geometry)
    amplitude = inverse_power_transform(mean.abs(), AMPLITUDE_SCALE)
    return torch.polar(amplitude.clamp(max=LARGEST_AMPLITUDE), mean.angle()), weight


# ------------------------------------------------------------------------- from fields to a figure


@dataclass(frozen=True)
class PulseReading:
    """What a run of windows' fields says.

    Attributes:
        bpm: of the joined trace, NaN without a spectral line; not yet judged by its confidence.
        confidence: 0...1, mean of the windows' confidences weighted by themselves, as the trace is.
        times: [N] s.
        trace: [N] complex, the windows' traces joined on one clock.
        window_bpm, window_confidence: [windows].
        shares: [rows, bands], sum 1: how much of the pulse each cell carries over all windows.
    """

    bpm: float
    confidence: float
    times: np.ndarray
    trace: np.ndarray
    window_bpm: list[float]
    window_confidence: list[float]
    shares: np.ndarray


def pulse_confidence(field, trace, shares, sampling_rate):
    """How surely a field is one pulse, from the field alone.

    The share of its trace's power in one spectral line (an even phase ramp has 1, noise about
    0.06), times a^2 / (a^2 + FAINTEST_PULSE^2) with a the rms amplitude of the cells that carry the
    trace: evidence that anything was drawn.

    Args:
        field: [samples, rows, bands] complex, AC/DC as a fraction.
        trace, shares: of :func:`pulse_from_field`.
        sampling_rate: Hz.

    Returns:
        0...1.
    """
    power = float((shares * np.mean(np.abs(field) ** 2, 0)).sum())
    drawn = power / (power + FAINTEST_PULSE**2)
    return spectral_concentration(trace, sampling_rate) * drawn


def read_fields(fields, weights, starts, sampling_rate):
    """Read the heart rate of overlapping windows' fields.

    Args:
        fields: [windows, samples, rows, bands] complex.
        weights: same shape, >= 0.
        starts: [windows] s.
        sampling_rate: Hz.

    Returns:
        :class:`PulseReading`.
    """
    traces, shares = zip(*(pulse_from_field(f, sampling_rate, w) for f, w in zip(fields, weights)))
    confidences = np.array(
        [pulse_confidence(*parts, sampling_rate) for parts in zip(fields, traces, shares)]
    )
    times, joined = stitch(traces, starts, sampling_rate, confidences)
    total = max(confidences.sum(), np.finfo(float).tiny)
    return PulseReading(
        bpm=float(mean_rate(joined, sampling_rate)),
        confidence=float((confidences**2).sum() / total),
        times=times,
        trace=joined,
        window_bpm=[float(mean_rate(trace, sampling_rate)) for trace in traces],
        window_confidence=confidences.tolist(),
        shares=np.average(shares, axis=0, weights=np.maximum(confidences, 1e-6)),
    )


def jackknife_uncertainty(fields, weights, starts, sampling_rate):
    """Standard error (bpm) of the rate by leaving out each band in turn.

    Delete-a-group jackknife, sqrt((g - 1) / g sum (rate_g - mean)^2) over the g bands (Efron,
    "The Jackknife, the Bootstrap and Other Resampling Plans", 1982). Errors that all bands share,
    such as a wrong line drawn over the whole face, stay unseen. NaN with a single band.
    """
    bands = fields.shape[-1]
    if bands < 2:
        return np.nan
    kept = 1 - np.eye(bands)
    rates = [read_fields(fields, weights * k, starts, sampling_rate).bpm for k in kept]
    return float(np.sqrt((bands - 1) * np.var(rates)))


def agreed_rate(rates, confidences, lengths, most_beats=np.inf, spread=SAME_RATE / 3):
    """The rate that most of the readings that could show it agree on.

    A pulse shows at the same rate in every part of the skin and at every length of the window; what
    is drawn of noise does not. But a length shows only some rates: FEWEST_BEATS to ``most_beats``
    on a sheet. So of the modes of the readings' density the one is taken that is highest over the
    share of readings of a length that shows it (at least that of one length): fast hearts, which
    the longer windows cannot show and read as something else, are not outvoted by them, nor slow
    ones by the shorter.

    Args:
        rates: [n] bpm, NaN for a reading without one.
        confidences: [n] >= 0, the weight of each.
        lengths: [n] s of the window of each.
        most_beats: that a sheet can show.
        spread: standard deviation in bpm of the Gaussian that stands for a reading.

    Returns:
        bpm, one of the rates; NaN without a reading of any weight.
    """
    rates, weights, lengths = (np.asarray(x, float) for x in (rates, confidences, lengths))
    valid = np.isfinite(rates)
    rates, weights = rates[valid], weights[valid]
    if not weights.any():
        return np.nan
    apart = np.abs(rates[:, None] - rates)
    density = np.exp(-0.5 * (apart / spread) ** 2) @ weights
    is_mode = density >= np.where(apart <= SAME_RATE, density, 0).max(1)
    beats = rates[:, None] * lengths / 60
    able = np.mean((beats >= FEWEST_BEATS) & (beats <= most_beats), axis=1)
    one_length = np.unique(lengths, return_counts=True)[1].min() / len(lengths)
    return float(rates[(is_mode * density / np.maximum(able, one_length)).argmax()])


def boxes_to_try(picture_size):
    """The whole picture, and boxes of the shape of a face that cover it, a third of each shared.

    Args:
        picture_size: (width, height) in pixels.

    Returns:
        list of (left, top, right, bottom), fractions of the picture; the first is the whole.
    """
    height = 0.6
    width = min(1.0, FACE_ASPECT * height * picture_size[1] / picture_size[0])

    def starts(side):
        return np.linspace(0, 1 - side, 1 + int(np.ceil((1 - side) / (2 / 3 * side)))).tolist()

    boxes = [(x, y, x + width, y + height) for y in starts(height) for x in starts(width)]
    return [(0.0, 0.0, 1.0, 1.0), *boxes]


def boxes_nearby(box):
    """The box moved by a fifth of its sides, made smaller and larger; inside the picture.

    Args:
        box: (left, top, right, bottom), fractions of the picture.

    Returns:
        list of six boxes.
    """
    left, top, right, bottom = box
    width, height = right - left, bottom - top
    moves = [(-0.2, 0, 1), (0.2, 0, 1), (0, -0.2, 1), (0, 0.2, 1), (0, 0, 0.75), (0, 0, 1.25)]
    boxes = []
    for right_by, down_by, scale in moves:
        x, y = left + (0.5 + right_by) * width, top + (0.5 + down_by) * height
        half_width, half_height = scale * width / 2, scale * height / 2
        boxes.append(
            (
                max(0.0, x - half_width),
                max(0.0, y - half_height),
                min(1.0, x + half_width),
                min(1.0, y + half_height),
            )
        )
    return boxes


def frames_from_contact_sheet(image, grid):
    """Frames of a contact sheet, row by row, for ``pipe(frames, fps=len(frames) / seconds)``.

    Args:
        image: PIL image that holds rows x columns frames of one size without gaps.
        grid: (rows, columns).

    Returns:
        list of PIL images.

    Raises:
        ValueError: if the grid does not divide the picture.
    """
    rows, columns = grid
    if rows < 1 or columns < 1 or image.width % columns or image.height % rows:
        raise ValueError(
            f"a grid of {rows} x {columns} frames does not divide a picture of "
            f"{image.width} x {image.height} pixels"
        )
    width, height = image.width // columns, image.height // rows
    return [
        image.crop((x * width, y * height, (x + 1) * width, (y + 1) * height))
        for y in range(rows)
        for x in range(columns)
    ]


# -------------------------------------------------------------------------------------- the output


@dataclass
class PulseWindow(BaseOutput):
    """One window of the clip, read on its own.

    Args:
        start, end (`float`):
            Seconds after the clip's first picture.
        bpm (`float`):
            Heart rate of this window whatever its confidence; NaN without a spectral line.
        confidence (`float`):
            0...1, see [`pulse_confidence`].
        crop (`tuple[float, float, float, float]`):
            (left, top, right, bottom) in pixels that this window was read in.
    """

    start: float
    end: float
    bpm: float
    confidence: float
    crop: tuple[float, float, float, float]


@dataclass
class PulseOutput(BaseOutput):
    """Output of [`PulsePipeline`]; arrays are tensors with `output_type="pt"`.

    Args:
        bpm (`float`):
            Heart rate in beats per minute over the whole clip; NaN where no pulse was found.
        bpm_uncertainty (`float`):
            One standard deviation in bpm. Over the members of an ensemble where there is one, else
            the jackknife over the bands of the field ([`jackknife_uncertainty`]): how far the
            figure depends on which part of the skin is read. Errors that all parts or members
            share are not in it. NaN where `bpm` is NaN.
        confidence (`float`):
            0...1, of the clip; `bpm` is given from `min_confidence` of the config upwards. It is a
            property of the drawn field (concentration in one spectral line, and that anything was
            drawn at all), not a probability.
        reason (`str`, *optional*):
            Why there is no `bpm`, in words; `None` where there is one.
        bvp (`[N]` float):
            Blood volume pulse, the mean over the skin: AC/DC as a fraction, upright (more blood is
            higher), fundamental only. Given even where `bpm` is NaN.
        sampling_rate (`float`):
            Samples a second (Hz) of `bvp` and `field`.
        times (`[N]` float):
            Seconds after the clip's first picture of each sample of `bvp`.
        field (`[windows, samples, rows, bands]` complex):
            Pulse of every cell: its modulus is AC/DC as a fraction of the cell's mean brightness,
            its angle the phase, 0 at the systolic peak, growing with time.
        sheet (`[windows, H, W, 3]` float, *optional*):
            Pulse sheets in 0...1; of the mean field with an ensemble. `None` unless `output_sheet`.
        windows (`list[PulseWindow]`):
            Start, end, heart rate, confidence and crop of each window.
        field_uncertainty (`[windows, samples, rows, bands]` float, *optional*):
            Standard deviation of the phasors over the ensemble, unit of `field`. `None` unless
            `output_uncertainty`.
    """

    bpm: float
    bpm_uncertainty: float
    confidence: float
    reason: str | None
    bvp: np.ndarray | torch.Tensor
    sampling_rate: float
    times: np.ndarray | torch.Tensor
    field: np.ndarray | torch.Tensor
    sheet: np.ndarray | torch.Tensor | None
    windows: list[PulseWindow]
    field_uncertainty: np.ndarray | torch.Tensor | None = None


def seconds(window):
    """Length of a window in seconds, to the microsecond."""
    return round(window.end - window.start, 6)


def by_length(windows):
    """Lists of windows of the same length, in the order of their first."""
    lists = {}
    for window in windows:
        lists.setdefault(seconds(window), []).append(window)
    return list(lists.values())


def surest(looks, rate):
    """The look with the highest confidence, of those that agree with a rate where any does.

    Args:
        looks: list of _Look.
        rate: bpm, or NaN.
    """
    agreeing = [look for look in looks if abs(look.reading.bpm - rate) <= SAME_RATE]
    return max(agreeing or looks, key=lambda look: look.reading.confidence)


@dataclass(frozen=True)
class _Look:
    """One pass over the clip: its windows, what was drawn for them, and the reading.

    ``members`` are the fields [ensemble, windows, samples, rows, bands], ``weights`` [windows,
    samples, rows, bands] how much of each cell is on the palette, ``sheets`` [windows, H, W, 3] in
    0...1 where they are wanted.
    """

    windows: list[ClipWindow]
    members: np.ndarray
    weights: np.ndarray
    sheets: np.ndarray | None
    reading: PulseReading

    @property
    def field(self):
        """Mean phasors over the ensemble, [windows, samples, rows, bands]."""
        return self.members.mean(0)


# ------------------------------------------------------------------------------------ the pipeline


class PulsePipeline(Flux2KleinPipeline):
    """Pipeline that draws the pulse of a clip and reads the heart rate off the drawing.

    The flow runs from the motion sheet to the pulse sheet: it starts from the motion sheet's
    latents where a text-to-image model starts from noise (as GenPercept does, arXiv 2403.06090; a
    rectified flow between two kinds of pictures, arXiv 2209.03003), and has the appearance image
    as its one reference. With the motion sheet as a second reference, looking up the token at the
    same place was not learnt within the miniature's budget (no progress in 200 steps; from the
    motion latents a copy takes 60), and the sequence is 40 % shorter without it.

    It is a [`Flux2KleinPipeline`] of the same components; `geometry`, `appearance_size`,
    `noise_scale` and `min_confidence` belong to the adapter and come with `load_lora_weights`.

    Args:
        scheduler ([`FlowMatchEulerDiscreteScheduler`]):
            Scheduler of the flow.
        vae ([`AutoencoderKLFlux2`]):
            Turns the clip's two pictures into tokens and the drawn tokens into a pulse sheet.
        text_encoder ([`Qwen3ForCausalLM`] or `None`):
            Embeds the one prompt; `None` where `prompt_embeds` is passed to the call.
        tokenizer (`Qwen2TokenizerFast` or `None`):
            Its tokenizer.
        transformer ([`Flux2Transformer2DModel`]):
            Draws; the LoRA adapter goes in here.
        is_distilled (`bool`):
            Of the base, as in the parent. Nothing here uses guidance.
        geometry (`SheetGeometry` or `dict`, *optional*):
            Layout of the sheets. `None` (any FLUX.2-klein base) until an adapter brings its own.
        appearance_size (`tuple[int, int]`):
            (width, height) of the appearance image in pixels.
        default_windows (`tuple[float]`):
            Lengths of a window in seconds, 5 to 10: a clip is read at each, the surest reading
            that agrees with the vote of [`find_pulse`] stands. The longer the window, the faster a
            pulse looks on the sheet: a drawing that fails at one length because the rate is slow or
            fast often succeeds at another.
        default_num_inference_steps (`int`):
            Steps of the flow; the adapter is trained for one.
        noise_scale (`float`):
            Standard deviation of the noise on the start, with a generator or an ensemble.
        min_confidence (`float`):
            Confidence below which no heart rate is given.
    """

    _adapter_values = (
        "geometry",
        "appearance_size",
        "default_windows",
        "default_num_inference_steps",
        "noise_scale",
        "min_confidence",
    )

    def __init__(
        self,
        scheduler: FlowMatchEulerDiscreteScheduler,
        vae: AutoencoderKLFlux2,
        text_encoder: Qwen3ForCausalLM,
        tokenizer: Qwen2TokenizerFast,
        transformer: Flux2Transformer2DModel,
        is_distilled: bool = False,
        geometry: dict | None = None,
        appearance_size=(64, 64),
        default_windows=(8.0,),
        default_num_inference_steps: int = 1,
        noise_scale: float = 1.0,
        min_confidence: float = 0.5,
    ):
        super().__init__(
            scheduler=scheduler,
            vae=vae,
            text_encoder=text_encoder,
            tokenizer=tokenizer,
            transformer=transformer,
            is_distilled=is_distilled,
        )
        if isinstance(geometry, SheetGeometry):
            geometry = geometry.to_dict()
        self.register_to_config(
            geometry=geometry,
            appearance_size=list(appearance_size),
            default_windows=list(default_windows),
            default_num_inference_steps=default_num_inference_steps,
            noise_scale=noise_scale,
            min_confidence=min_confidence,
        )
        self._prompt_embeds = None
        self._interrupt = False

    @property
    def geometry(self) -> SheetGeometry | None:
        """Layout of the sheets, None before an adapter (or the config) has said it."""
        numbers = self.config.geometry
        return None if numbers is None else SheetGeometry.from_dict(numbers)

    # ------------------------------------------------------------------------------- the adapter

    def load_lora_weights(
        self,
        pretrained_model_name_or_path_or_dict,
        adapter_name: str | None = None,
        hotswap: bool = False,
        **kwargs,
    ):
        """Load an adapter and take over what its file's header says (key `pulse_config`).

        As the parent's, with two differences: `weight_name` is `adapter_model.safetensors` where
        there is such a file and no other name is given, and a header with a geometry is compared
        with the pipeline's own, or adopted where the pipeline has none.

        Raises:
            ValueError: if the adapter was trained for sheets of another geometry.
        """
        source, header = pretrained_model_name_or_path_or_dict, {}
        if not isinstance(source, dict):
            try:
                source = self._adapter_file(source, kwargs)
                header = _pulse_config(source)
            except OSError:  # another name or format: the parent knows where else to look
                if kwargs.get("weight_name") is not None:
                    raise
        self._check_adapter(header)
        super().load_lora_weights(source, adapter_name=adapter_name, hotswap=hotswap, **kwargs)
        self.register_to_config(**header)

    @staticmethod
    def _adapter_file(source, kwargs):
        """Local path of the adapter's weights, downloaded where they are on the Hub."""
        hub = ("cache_dir", "force_download", "proxies", "local_files_only", "token", "revision")
        return _get_model_file(
            source,
            weights_name=kwargs.get("weight_name") or ADAPTER_FILE,
            subfolder=kwargs.get("subfolder"),
            user_agent={"file_type": "attn_procs_weights", "framework": "pytorch"},
            **{name: kwargs.get(name) for name in hub},
        )

    def _check_adapter(self, header):
        """ValueError if the adapter's header does not go with this pipeline."""
        unknown = set(header) - set(self._adapter_values)
        if unknown:
            raise ValueError(f"the adapter's header has unknown keys {sorted(unknown)}")
        if header.get("geometry") is None:
            return
        theirs = SheetGeometry.from_dict(header["geometry"])
        if self.geometry is not None and theirs != self.geometry:
            raise ValueError(
                f"the adapter was trained for {theirs}, this pipeline draws {self.geometry}; "
                "load it over a pipeline with geometry=None"
            )

    # -------------------------------------------------------------------------------- the prompt

    @torch.no_grad()
    def encode_task_prompt(self):
        """Embeddings [1, L, D] of :data:`PROMPT`, not padded; computed once.

        Raises:
            ValueError: without a text encoder.
        """
        if self._prompt_embeds is None:
            if self.text_encoder is None or self.tokenizer is None:
                raise ValueError(
                    "this pipeline has no text encoder: pass prompt_embeds=, a tensor or the path "
                    "of a file written by save_prompt_embeds()"
                )
            text = self.tokenizer.apply_chat_template(
                [{"role": "user", "content": PROMPT}],
                tokenize=False,
                add_generation_prompt=True,
                enable_thinking=False,
            )
            length = len(self.tokenizer(text)["input_ids"])
            self._prompt_embeds, _ = self.encode_prompt(PROMPT, max_sequence_length=length)
        return self._prompt_embeds

    def save_prompt_embeds(self, path):
        """Write the prompt's embeddings, so that the text encoder need not be loaded again."""
        embeds = self.encode_task_prompt().cpu().contiguous()
        save_file({"prompt_embeds": embeds}, path, metadata={"prompt": PROMPT})

    def _resolve_prompt_embeds(self, prompt_embeds, device):
        """[1, L, D] on the device, from a tensor, a file, or the text encoder."""
        if prompt_embeds is None:
            prompt_embeds = self.encode_task_prompt()
        elif not isinstance(prompt_embeds, torch.Tensor):
            prompt_embeds = _load_prompt_embeds(prompt_embeds)
        width = self.transformer.config.joint_attention_dim
        if prompt_embeds.ndim != 3 or len(prompt_embeds) != 1 or prompt_embeds.shape[-1] != width:
            raise ValueError(
                f"prompt_embeds must be [1, L, {width}], got {tuple(prompt_embeds.shape)}"
            )
        return prompt_embeds.to(device, self.transformer.dtype)

    # ---------------------------------------------------------------------------------- the call

    def check_inputs(
        self,
        clip,
        window,
        stride,
        crop,
        num_inference_steps,
        ensemble_size,
        batch_size,
        generator,
        output_type,
        output_uncertainty,
        callback_on_step_end_tensor_inputs,
    ):
        """ValueError with the value that is wrong; nothing heavy has run yet."""
        if self.geometry is None:
            raise ValueError(
                "this pipeline has no sheet geometry yet: load an adapter first, "
                'pipe.load_lora_weights(REPO, weight_name="adapter_model.safetensors")'
            )
        if isinstance(clip, PIL.Image.Image) and not getattr(clip, "is_animated", False):
            raise ValueError(
                "one still picture is not a clip: cut a contact sheet with "
                "frames_from_contact_sheet, read a pulse sheet with decode_sheet"
            )
        side = token_size(self.vae)
        if any(pixels % side for pixels in (*self.geometry.size, *self.config.appearance_size)):
            raise ValueError(
                f"sheets of {self.geometry.size} and appearance images of "
                f"{tuple(self.config.appearance_size)} pixels are not whole tokens of {side} pixels"
            )
        lengths = window_lengths(window)
        if not lengths or not all(MIN_SECONDS <= length <= MAX_SECONDS for length in lengths):
            raise ValueError(f"window must be {MIN_SECONDS:g} to {MAX_SECONDS:g} s, got {window}")
        if stride is not None and not 0 < stride <= min(lengths):
            raise ValueError(f"stride must be above 0 and at most the window, got {stride}")
        if crop is not None and len(crop) != 4:
            raise ValueError(f"crop must be (left, top, right, bottom) in pixels, got {crop}")
        counts = {
            "num_inference_steps": num_inference_steps,
            "ensemble_size": ensemble_size,
            "batch_size": batch_size,
        }
        for name, count in counts.items():
            if not isinstance(count, Integral) or count < 1:
                raise ValueError(f"{name} must be a positive integer, got {count!r}")
        if generator is not None and not isinstance(generator, torch.Generator):
            raise ValueError(f"generator must be one torch.Generator, got {type(generator)}")
        if output_type not in ("np", "pt"):
            raise ValueError(f'output_type must be "np" or "pt", got {output_type!r}')
        if output_uncertainty and ensemble_size == 1:
            raise ValueError("output_uncertainty needs an ensemble_size above 1")
        unknown = set(callback_on_step_end_tensor_inputs) - set(self._callback_tensor_inputs)
        if unknown:
            raise ValueError(
                f"callback_on_step_end_tensor_inputs must be in {self._callback_tensor_inputs}, "
                f"got {sorted(unknown)}"
            )

    @torch.no_grad()
    def __call__(
        self,
        clip,
        fps: float | None = None,
        timestamps=None,
        window: float | tuple[float, ...] | None = None,
        stride: float | None = None,
        crop: tuple[float, float, float, float] | None = None,
        num_inference_steps: int | None = None,
        ensemble_size: int = 1,
        batch_size: int = 8,
        generator: torch.Generator | None = None,
        prompt_embeds: torch.Tensor | str | Path | None = None,
        output_type: str = "np",
        output_uncertainty: bool = False,
        output_sheet: bool = False,
        callback_on_step_end: Callable | None = None,
        callback_on_step_end_tensor_inputs: tuple[str, ...] = ("latents",),
        return_dict: bool = True,
    ) -> PulseOutput | tuple:
        """Measure the pulse in a clip.

        Args:
            clip:
                Path of a video, an animated picture or a folder of numbered images; array
                `[T, H, W, 3]`; tensor `[T, 3, H, W]`; list or iterator of pictures.
            fps, timestamps:
                Frames a second, or the time of each picture in seconds, where the clip has none.
            window (`float` or `tuple[float]`, *optional*):
                Seconds read at once, 5 to 10; from the config. With several lengths the clip is
                read at each, and the surest reading stands.
            stride (`float`, *optional*):
                Seconds from one window to the next; half a window.
            crop (`tuple`, *optional*):
                (left, top, right, bottom) in pixels to read. Without it the whole picture is read
                first, and then once more, closer, the part whose drawing is most surely a pulse
                ([`find_pulse`]): one box for the whole clip, kept only if it is read with more
                confidence. An iterator cannot be read again and gets one look.
            num_inference_steps (`int`, *optional*):
                Steps of the flow; from the config, 1.
            ensemble_size (`int`):
                Drawings of every window, from different noise, whose phasors are averaged.
            batch_size (`int`):
                Drawings made at once; the search for the pulse has dozens of them.
            generator (`torch.Generator`, *optional*):
                Source of the noise. Without it a single drawing starts from the motion sheet's
                latents as they are, and is the same each time.
            prompt_embeds (`torch.Tensor` `[1, L, D]` or path, *optional*):
                Embeddings of the prompt, in place of the text encoder ([`save_prompt_embeds`]).
            output_type (`str`):
                `"np"` or `"pt"`.
            output_uncertainty (`bool`):
                Also give the spread of the field over the ensemble.
            output_sheet (`bool`):
                Also give the pulse sheets.
            callback_on_step_end (`Callable`, *optional*):
                Called as `callback(pipe, step, timestep, tensors)` after every step of every batch;
                it may return changed tensors, and may set `pipe._interrupt = True`.
            callback_on_step_end_tensor_inputs (`tuple[str]`):
                Which tensors it gets: `latents`, `prompt_embeds`.
            return_dict (`bool`):
                `False` for a plain tuple in the order of [`PulseOutput`].

        Returns:
            [`PulseOutput`] or `tuple`.

        Raises:
            ClipError: (a ValueError) if nothing can be measured from the clip.
            ValueError: for arguments out of range.
        """
        # 0. Resolve defaults from the config.
        window = self.config.default_windows if window is None else window
        if num_inference_steps is None:
            num_inference_steps = self.config.default_num_inference_steps

        # 1. Check inputs.
        self.check_inputs(
            clip,
            window,
            stride,
            crop,
            num_inference_steps,
            ensemble_size,
            batch_size,
            generator,
            output_type,
            output_uncertainty,
            callback_on_step_end_tensor_inputs,
        )
        self._interrupt = False

        # 2. Encode the clip. No model is needed yet, so a clip that cannot be read fails early.
        encode = partial(
            encode_windows, clip, fps=fps, timestamps=timestamps, window=window, stride=stride
        )
        size = tuple(self.config.appearance_size)
        if crop is None:
            windows, fine = self.encode_finely(encode)
        else:
            windows, fine = encode(self.geometry, crop=crop, appearance_size=size), None
        windows = by_length(windows)

        # 3. Prompt. Model invocation: self.text_encoder, unless embeddings are given or known.
        prompt_embeds = self._resolve_prompt_embeds(prompt_embeds, self._execution_device)

        # 4. Look: draw a sheet for every window and read the sheets.
        # Model invocation: self.vae.encode, self.transformer, self.vae.decode.
        look = partial(
            self.look,
            prompt_embeds=prompt_embeds,
            num_inference_steps=num_inference_steps,
            ensemble_size=ensemble_size,
            batch_size=batch_size,
            generator=generator,
            output_sheet=output_sheet,
            callback_on_step_end=callback_on_step_end,
            callback_on_step_end_tensor_inputs=callback_on_step_end_tensor_inputs,
        )
        looks = [look(some) for some in windows]

        # 5. Look closer, where the pulse is clearest.
        rate = np.nan
        if fine and not isinstance(clip, Iterator) and not self.interrupt:
            box, rate = self.find_pulse(fine, prompt_embeds, num_inference_steps, batch_size)
            if box is not None:
                windows = by_length(encode(self.geometry, crop=box, appearance_size=size))
                looks += [look(some) for some in windows]

        # 6. Offload all models.
        self.maybe_free_model_hooks()

        # 7. Put the output together.
        output = self.make_output(surest(looks, rate), output_type, output_uncertainty)
        return output if return_dict else tuple(getattr(output, f.name) for f in fields(output))

    @torch.no_grad()
    def watch(
        self,
        clip,
        fps: float | None = None,
        timestamps=None,
        window: float | None = None,
        stride: float = 1.0,
        crop: tuple[float, float, float, float] | None = None,
        prompt_embeds: torch.Tensor | str | Path | None = None,
    ):
        """Measure pictures that are still coming in: the last window again and again.

        Memory is that of one window, however long it goes on. Where the pulse is is searched for
        once a window, as `__call__` does.

        Args:
            clip, fps, timestamps, window, crop, prompt_embeds: as for `__call__`; `clip` may be an
                endless iterator of pictures, `timestamps` one that keeps pace with it.
            stride (`float`): seconds from one reading to the next.

        Yields:
            [`PulseOutput`] of one window, as soon as its last picture is there.

        Raises:
            ClipError: as `__call__`.
        """
        window = self.config.default_windows if window is None else window
        lengths = sorted(window_lengths(window), reverse=True)
        if self.geometry is None:
            raise ValueError("this pipeline has no sheet geometry yet: load an adapter first")
        prompt_embeds = self._resolve_prompt_embeds(prompt_embeds, self._execution_device)
        steps = self.config.default_num_inference_steps
        look = partial(
            self.look,
            prompt_embeds=prompt_embeds,
            num_inference_steps=steps,
            ensemble_size=1,
            batch_size=1,
            generator=None,
            output_sheet=True,
            callback_on_step_end=None,
            callback_on_step_end_tensor_inputs=(),
        )
        encode = partial(encode_windows, clip, fps=fps, timestamps=timestamps, crop=crop)
        box, rate, next_search = None, np.nan, 0.0
        self._interrupt = False
        latest = {}  # the last window of each length; of those that end together, longest first
        for fine in self._fine_windows(partial(encode, window=lengths, stride=stride)):
            if self.interrupt:
                return
            latest[seconds(fine)] = fine
            if seconds(fine) > min(lengths):
                continue
            recent = [one for one in latest.values() if one.end > fine.end - stride]
            whole = [look([self._part(one, (0, 0, 1, 1))]) for one in recent]
            if crop is None and fine.end >= next_search:
                next_search = fine.end + max(lengths)
                found, rate = self.find_pulse(recent, prompt_embeds, steps, 1)
                sides = fine.picture_size * 2
                box = found and tuple(side / length for side, length in zip(found, sides))
            closer = [look([self._part(one, box)]) for one in recent] if box else []
            yield self.make_output(surest(whole + closer, rate), "np", False)
        self.maybe_free_model_hooks()

    def look(
        self,
        windows,
        prompt_embeds,
        num_inference_steps,
        ensemble_size,
        batch_size,
        generator,
        output_sheet,
        callback_on_step_end,
        callback_on_step_end_tensor_inputs,
    ) -> _Look:
        """One pass: windows -> tokens of their pictures -> pulse sheets -> reading."""
        motion, references = self.encode_pictures(windows, batch_size)
        latents = self.prepare_latents(motion, ensemble_size, generator)
        latents = self.denoise(
            latents,
            references,
            prompt_embeds,
            num_inference_steps,
            batch_size,
            callback_on_step_end,
            callback_on_step_end_tensor_inputs,
        )
        return self.read_sheets(windows, self.decode_sheets(latents, batch_size), output_sheet)

    def encode_finely(self, encode):
        """One pass over the whole picture.

        Args:
            encode: :func:`encode_windows` with all arguments but the layout.

        Returns:
            (windows of the pipeline's geometry, the first of each length divided into SEARCH_GRID
            x SEARCH_GRID cells for :meth:`find_pulse`).
        """
        windows, first = [], {}
        for fine in self._fine_windows(encode):
            windows.append(self._part(fine, (0, 0, 1, 1)))
            first.setdefault(seconds(fine), fine)
        return windows, list(first.values())

    def _fine_windows(self, encode):
        """Windows divided into SEARCH_GRID x SEARCH_GRID cells, of which parts can be cut."""
        grid, samples = SEARCH_GRID, self.geometry.samples
        layout = SheetGeometry(bands=grid, samples=samples, rows=grid, size=(grid * samples, grid))
        return encode(geometry=layout, appearance_size=(grid, grid))

    def _part(self, fine, box):
        """A window of the pipeline's geometry from a fine one; box in fractions of the picture."""
        cells = [side * SEARCH_GRID for side in box]
        return crop_window(fine, cells, self.geometry, tuple(self.config.appearance_size))

    def find_pulse(self, fine, prompt_embeds, num_inference_steps: int, batch_size: int):
        """The part of the picture whose drawing is most surely one pulse.

        A search by looking: boxes over the whole picture first, then those near the best. Their
        readings, of every length, vote on the rate; a box counts as much as its surest reading
        that agrees with the vote.

        Args:
            fine: windows to read, of :meth:`encode_finely`.

        Returns:
            ((left, top, right, bottom) in pixels, None if nothing beats the whole picture; the
            rate in bpm that the boxes over the whole picture agree on, NaN if none has one).
        """
        width, height = fine[0].picture_size
        sure, boxes, rate = {}, boxes_to_try((width, height)), np.nan
        whole = boxes[0]
        for nearer in (boxes_nearby, None):
            boxes = [box for box in boxes if self._large(box, width, height)]
            if not boxes or self.interrupt:
                break
            windows = [self._part(one, box) for box in boxes for one in fine]
            motion, references = self.encode_pictures(windows, batch_size)
            latents = self.denoise(
                self.prepare_latents(motion, 1),
                references,
                prompt_embeds,
                num_inference_steps,
                batch_size,
            )
            images = torch.cat(list(self.decode_sheets(latents, batch_size)))
            fields, weights = (x.numpy() for x in field_of_images(images, self.geometry))
            readings = [
                read_fields(field[None], weight[None], [part.start], part.sampling_rate)
                for part, field, weight in zip(windows, fields, weights)
            ]
            if nearer:  # those near the best would vote for it
                found = [(r.bpm, r.confidence, seconds(w)) for r, w in zip(readings, windows)]
                rate = agreed_rate(*zip(*found), most_beats=self._most_beats)
            for box, reading in zip([box for box in boxes for _ in fine], readings):
                agrees = np.isnan(rate) or abs(reading.bpm - rate) <= SAME_RATE
                sure[box] = max(reading.confidence if agrees else 0.0, sure.get(box, 0.0))
            best = max(sure, key=sure.get)
            boxes = nearer(best) if nearer and best != whole else []
        if not sure or best == whole:
            return None, rate
        return tuple(x * y for x, y in zip(best, (width, height, width, height))), rate

    @property
    def _most_beats(self):
        """Beats that fit on the sheet."""
        return self.geometry.size[0] / self.geometry.bands / SHORTEST_BEAT

    @staticmethod
    def _large(box, width, height):
        """Whether a box has enough pixels to be worth a look."""
        left, top, right, bottom = box
        return (right - left) * width >= SMALLEST_BOX and (bottom - top) * height >= SMALLEST_BOX

    def encode_pictures(self, windows, batch_size: int):
        """Tokens of the windows' pictures.

        Returns:
            (motion sheets [windows, N, 4 C], appearance images [windows, M, 4 C]).
        """
        device = self._execution_device  # looks at every module: once, not for every picture

        def tokens(pictures):
            images = torch.from_numpy(pictures).movedim(-1, 1) * 2 - 1
            return encode_images(self.vae, images.to(device))

        motion, appearance = [], []
        for start in range(0, len(windows), batch_size):
            batch = windows[start : start + batch_size]
            sheets = motion_sheet(np.stack([window.motion for window in batch]), self.geometry)
            motion.append(tokens(sheets))
            appearance.append(tokens(np.stack([window.appearance for window in batch])))
        return torch.cat(motion), torch.cat(appearance)

    def prepare_latents(self, motion, ensemble_size: int, generator=None):
        """Where the flow starts, [ensemble * windows, N, 4 C], member by member.

        The motion sheets' tokens [windows, N, 4 C], exactly so for one drawing without a generator;
        else with noise of `noise_scale` added, all of it drawn at once so that the batch size does
        not matter.
        """
        latents = motion.repeat(ensemble_size, 1, 1).to(self.transformer.dtype)
        if ensemble_size == 1 and generator is None:
            return latents
        noise = randn_tensor(
            latents.shape, generator=generator, device=latents.device, dtype=torch.float32
        )
        return (latents + self.config.noise_scale * noise).to(latents.dtype)

    def image_ids(self):
        """Position ids [N + M, 4] of the sheet and of the appearance image."""
        side = token_size(self.vae)
        layout = ((self.geometry.size, 0), (self.config.appearance_size, APPEARANCE_T))
        return torch.cat([token_ids(h // side, w // side, t) for (w, h), t in layout])

    def denoise(
        self,
        latents,
        references,
        prompt_embeds,
        num_inference_steps: int,
        batch_size: int,
        callback_on_step_end=None,
        callback_on_step_end_tensor_inputs=("latents",),
    ):
        """Run the flow on all latents [ensemble * windows, N, 4 C], batch by batch."""
        ids, done = self.image_ids(), []
        batches = range(0, len(latents), batch_size)
        with self.progress_bar(total=len(batches) * num_inference_steps) as progress_bar:
            for start in batches:
                batch = latents[start : start + batch_size]
                which = torch.arange(start, start + len(batch)) % len(references)
                context = references[which.to(references.device)]
                timesteps = self._timesteps(num_inference_steps, ids, latents.device)
                for step, t in enumerate(timesteps):
                    if self.interrupt:
                        continue
                    self._current_timestep = t
                    with self.transformer.cache_context("cond"):
                        velocity = predict_velocity(
                            self.transformer, batch, context, prompt_embeds, ids, t / 1000
                        )
                    batch = self.scheduler.step(velocity, t, batch, return_dict=False)[0]
                    if callback_on_step_end is not None:
                        known = {"latents": batch, "prompt_embeds": prompt_embeds}
                        tensors = {key: known[key] for key in callback_on_step_end_tensor_inputs}
                        changed = callback_on_step_end(self, step, t, tensors) or {}
                        batch = changed.get("latents", batch)
                        prompt_embeds = changed.get("prompt_embeds", prompt_embeds)
                    progress_bar.update()
                done.append(batch)
        self._current_timestep = None
        return torch.cat(done)

    def _timesteps(self, num_inference_steps, ids, device):
        """The scheduler, set as the parent sets it for an image of this size."""
        sigmas = np.linspace(1.0, 1 / num_inference_steps, num_inference_steps)
        if getattr(self.scheduler.config, "use_flow_sigmas", False):
            sigmas = None
        drawn = int((ids[:, 0] == 0).sum())
        mu = compute_empirical_mu(image_seq_len=drawn, num_steps=num_inference_steps)
        timesteps, _ = retrieve_timesteps(
            self.scheduler, num_inference_steps, device, sigmas=sigmas, mu=mu
        )
        self._num_timesteps = len(timesteps)
        if hasattr(self.scheduler, "set_begin_index"):
            self.scheduler.set_begin_index(0)
        return timesteps

    def decode_sheets(self, latents, batch_size: int):
        """Pulse sheets [B, 3, H, W] in [-1, 1] of clean tokens, batch by batch."""
        width, height = self.geometry.size
        kind, half = latents.device.type, latents.dtype != torch.float32
        for batch in latents.split(batch_size):
            with torch.autocast(kind, latents.dtype if half else None, enabled=half):
                images = decode_tokens(self.vae, batch, height, width)
            yield images.float().cpu().clamp(-1, 1)

    def read_sheets(self, windows, sheets, output_sheet: bool) -> _Look:
        """Fields and heart rate of the sheets drawn for the windows, which come in batches."""
        kept, members, weights = [], [], []
        for images in sheets:
            member, weight = field_of_images(images, self.geometry)
            members.append(member)
            weights.append(weight)
            kept.extend(images.movedim(1, -1) / 2 + 0.5 if output_sheet else ())
        members = torch.cat(members).unflatten(0, (-1, len(windows))).numpy()
        weights = torch.cat(weights).unflatten(0, (-1, len(windows))).mean(0).numpy()
        field, starts = members.mean(0), [window.start for window in windows]
        if output_sheet and len(members) == 1:
            kept = torch.stack(kept).numpy()
        elif output_sheet:
            kept = field_to_sheet(encode_phasor(field), self.geometry)
        reading = read_fields(field, weights, starts, windows[0].sampling_rate)
        return _Look(windows, members, weights, kept if output_sheet else None, reading)

    def make_output(self, look, output_type: str, output_uncertainty: bool) -> PulseOutput:
        """Judge a look by its confidence and put it into the output's form."""
        reading, members = look.reading, look.members
        reason = self._reason_for_silence(reading, look.windows)
        spread = None
        if output_uncertainty:
            spread = np.sqrt((np.abs(members - look.field) ** 2).sum(0) / (len(members) - 1))
        arrays = {
            "bvp": reading.trace.real,
            "times": reading.times,
            "field": look.field,
            "sheet": look.sheets,
            "field_uncertainty": spread,
        }
        if output_type == "pt":
            arrays = {
                name: None if array is None else torch.from_numpy(np.ascontiguousarray(array))
                for name, array in arrays.items()
            }
        windows = [
            PulseWindow(w.start, w.end, bpm, confidence, tuple(float(side) for side in w.crop))
            for w, bpm, confidence in zip(
                look.windows, reading.window_bpm, reading.window_confidence
            )
        ]
        return PulseOutput(
            bpm=reading.bpm if reason is None else np.nan,
            bpm_uncertainty=self._uncertainty(look) if reason is None else np.nan,
            confidence=reading.confidence,
            reason=reason,
            sampling_rate=look.windows[0].sampling_rate,
            windows=windows,
            **arrays,
        )

    def _reason_for_silence(self, reading, windows):
        """Why no heart rate is given, None where one is."""
        if self.interrupt:
            return "interrupted before every window was drawn"
        holey = max(windows, key=lambda window: window.longest_gap)
        if holey.longest_gap > LONGEST_HOLE:
            return (
                f"no new picture for {holey.longest_gap:.1f} s between {holey.start:.1f} and "
                f"{holey.end:.1f} s; at most {LONGEST_HOLE:g} s can be bridged"
            )
        if np.isnan(reading.bpm):
            return f"no periodic pulse between {60 * BAND[0]:.0f} and {60 * BAND[1]:.0f} bpm"
        if reading.confidence < self.config.min_confidence:
            return (
                f"no pulse found: confidence {reading.confidence:.2f} is below "
                f"{self.config.min_confidence:.2f}"
            )
        return None

    @staticmethod
    def _uncertainty(look):
        """Spread of the rate over the ensemble, or over the bands where there is one drawing."""
        starts = [window.start for window in look.windows]
        rate = look.windows[0].sampling_rate
        if len(look.members) == 1:
            return jackknife_uncertainty(look.members[0], look.weights, starts, rate)
        rates = [read_fields(member, look.weights, starts, rate).bpm for member in look.members]
        return float(np.std(rates, ddof=1))

    # ------------------------------------------------------------------------------ still pictures

    def decode_sheet(self, image, window: float | None = None, output_type: str = "np"):
        """Read a pulse sheet that was drawn and saved before, here or by any FLUX.2 tool.

        Args:
            image: PIL image, or array [H, W, 3] of uint8 or of floats in [0, 1], of the size of
                the geometry.
            window: seconds the sheet covers; the first of the config's lengths.
            output_type: "np" or "pt".

        Returns:
            [`PulseOutput`] of one window; its crop is the sheet itself.

        Raises:
            ValueError: if the picture has another size.
        """
        if self.geometry is None:
            raise ValueError("this pipeline has no sheet geometry yet: load an adapter first")
        window = self.config.default_windows[0] if window is None else window
        if isinstance(image, PIL.Image.Image):
            image = image.convert("RGB")
        pixels = np.asarray(image)
        if pixels.dtype == np.uint8:
            pixels = pixels / 255
        width, height = self.geometry.size
        if pixels.shape != (height, width, 3):
            raise ValueError(
                f"a pulse sheet of this adapter is {width} x {height} pixels in RGB, "
                f"got an array of shape {pixels.shape}"
            )
        samples = self.geometry.samples
        whole = ClipWindow(
            start=0.0,
            end=float(window),
            times=(np.arange(samples) + 0.5) * window / samples,
            motion=np.zeros((*self.geometry.field_shape, 3), np.float32),
            appearance=np.zeros((1, 1, 3), np.float32),
            frames=samples,
            longest_gap=window / samples,
            crop=(0.0, 0.0, float(width), float(height)),
            picture_size=(width, height),
        )
        images = torch.from_numpy(pixels).float().movedim(-1, 0)[None] * 2 - 1
        self._interrupt = False
        return self.make_output(self.read_sheets([whole], [images], True), output_type, False)


def _pulse_config(path):
    """What an adapter file's header says under ``pulse_config``; {} for any other file."""
    if not str(path).endswith(".safetensors"):
        return {}
    with safe_open(path, framework="pt") as file:
        return json.loads((file.metadata() or {}).get("pulse_config", "{}"))


def _load_prompt_embeds(path):
    """Embeddings [1, L, D] from a file of save_prompt_embeds; ValueError for another prompt's."""
    with safe_open(path, framework="pt") as file:
        prompt = (file.metadata() or {}).get("prompt")
        if prompt != PROMPT:
            raise ValueError(f"{path} holds embeddings of another prompt: {prompt!r}")
        return file.get_tensor("prompt_embeds")
