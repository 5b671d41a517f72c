"""What an adapter is trained to make small: errors of latents, of phasors, of the flow.

One evaluation at the far end of the flow, from the motion sheet's latents, with a loss on the
latents and, through the frozen VAE's decoder and the bijection, on the phasors; or, for comparison,
plain flow matching.
"""

import torch
import torch.nn.functional as F

from pulse_plantain import bijection
from pulse_plantain.lab.adapter_model import AdapterModel, Batch
from pulse_plantain.reading import average_brightness

PHASOR_WEIGHT, TRACE_WEIGHT = 4.0, 0.4

PHASOR_SHARE = 0.25
"""Of a batch is decoded: the decoder costs as much as the transformer."""

NOISY_SHARE = 0.25
"""Of the batches start from noise, as ensembles do."""

Loss = tuple[torch.Tensor, dict[str, float]]
"""The total, to be differentiated, and its parts by name, to be reported."""


def count_decoded(batch: int) -> int:
    """How many sheets of a batch are decoded for the loss on phasors."""
    return max(1, round(PHASOR_SHARE * batch))


def compress_field(field: torch.Tensor) -> torch.Tensor:
    """Brightness phasors f(a) exp(i phase) of phasors a exp(i phase)."""
    value = bijection.power_transform(field.abs(), bijection.AMPLITUDE_SCALE)
    return torch.polar(value, field.angle())


def phasor_losses(found: torch.Tensor, truth: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(mean squared phasor error, mean incoherence of the pooled traces where there is a pulse).

    Args:
        found, truth: brightness phasors [B, samples, rows, bands].
    """
    error = (found - truth).abs().square().mean()
    trace, wanted = found.mean((2, 3)), truth.mean((2, 3))
    norm = trace.abs().square().sum(1).sqrt() * wanted.abs().square().sum(1).sqrt()
    coherence = (trace * wanted.conj()).sum(1).real / (norm + 1e-3)
    alive = (wanted.abs().mean(1) > 1e-3).float()
    return error, (alive * (1 - coherence)).sum() / alive.sum().clamp_min(1)


def draw_start(motion: torch.Tensor, noise_scale: float, rng: torch.Generator) -> torch.Tensor:
    """Where the flow of a batch starts: the motion sheets' tokens, now and then with noise."""
    if torch.rand((), generator=rng) < NOISY_SHARE:
        noise = torch.randn(motion.shape, generator=rng).to(motion.device)
        return motion + noise_scale * noise
    return motion


def flow_loss(model: AdapterModel, batch: Batch, start: torch.Tensor, rng: torch.Generator) -> Loss:
    """Plain flow matching: the velocity at a logit-normal time between sheet and start."""
    sigma = torch.randn(len(start), generator=rng).sigmoid().to(start.device)
    latents = torch.lerp(batch["target"], start, sigma[:, None, None])
    velocity = model.predict_velocity(latents, batch, sigma)
    total = F.mse_loss(velocity, start - batch["target"])
    return total, {"loss": float(total.detach())}


def one_step_loss(model: AdapterModel, batch: Batch, start: torch.Tensor, phasors: bool) -> Loss:
    """One step from the start: the error of the latents and, if so asked, of the phasors."""
    clean = model.predict_clean(start, batch)
    latent = F.smooth_l1_loss(clean, batch["target"])
    if not phasors:
        return latent, {"loss": float(latent.detach())}
    rows = count_decoded(len(clean))
    with model.autocast():
        images = model.decode(clean[:rows])
    found, _ = average_brightness(images, model.layout.geometry)
    truth = compress_field(torch.view_as_complex(batch["field"][:rows]))
    phasor, trace = phasor_losses(found, truth)
    total = latent + PHASOR_WEIGHT * phasor + TRACE_WEIGHT * trace
    parts = {"loss": total, "latent": latent, "phasor": phasor, "trace": trace}
    return total, {name: float(value.detach()) for name, value in parts.items()}


def compute_loss(
    objective: str, model: AdapterModel, batch: Batch, noise_scale: float, rng: torch.Generator
) -> Loss:
    """The loss of a batch.

    Args:
        objective: one of :data:`pulse_plantain.lab.adapter_settings.OBJECTIVES`.
        model: that is trained.
        batch: of clips.
        noise_scale: standard deviation of the noise on the starts that have some.
        rng: draws noise and times.
    """
    start = draw_start(batch["motion"], noise_scale, rng)
    if objective == "flow":
        return flow_loss(model, batch, start, rng)
    return one_step_loss(model, batch, start, phasors=objective == "phasor")
