"""Pre-training of the miniature base from scratch on procedural pictures; no picture has a pulse.

First the VAE, then the transformer as an image-to-image flow model with reference pictures. Stops
at any time; the same training goes on where it stopped.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKLFlux2, Flux2Transformer2DModel
from tqdm import tqdm

from pulse_plantain.adapter import PROMPT
from pulse_plantain.flux2 import (
    decode_tokens,
    encode_images,
    image_ids,
    predict_clean,
    predict_velocity,
    token_size,
)
from pulse_plantain.lab import miniature
from pulse_plantain.lab.pictures import TASK_PROMPTS, draw_examples, draw_pictures
from pulse_plantain.lab.training import (
    Log,
    autocast_where_fast,
    learning_rate,
    load_checkpoint,
    save_checkpoint,
    set_learning_rate,
)
from pulse_plantain.pipeline import PulsePipeline
from pulse_plantain.sheet import Layout, SheetGeometry

SIZES = ((32, 768), (32, 768), (64, 384), (128, 192))
"""Heights and widths of the training pictures in pixels: half of them are wide strips."""

THUMBNAIL = (64, 64)
"""Height and width of the reference picture in pixels."""

TEXT_TOKENS = 24
NOISE = 0.25
"""Standard deviation of the noise on half of the starts, in units of the normalised latents."""

REPORT_EVERY, SAVE_EVERY = 50, 200

START, VAE, LATENTS, TRANSFORMER, VALIDATION = range(5)
"""Stages, each with random numbers of its own."""


@dataclass(frozen=True)
class BaseTraining:
    """How a base is trained, and where it goes.

    Attributes:
        out: folder of the finished base.
        checkpoints: folder to resume from.
        log: file of the log.
        seed: of everything that is drawn.
        vae_steps, steps: of the VAE and of the transformer.
        batch: examples of a step of the transformer.
    """

    out: str = "tiny"
    checkpoints: str = "checkpoints/base"
    log: str = "results/train-base.jsonl"
    seed: int = 0
    vae_steps: int = 1200
    steps: int = 700
    batch: int = 16


@dataclass(frozen=True)
class Batch:
    """A batch of picture-to-picture tasks.

    Attributes:
        given, clean: [B, N, C] tokens of the source and of the target.
        context: what the transformer is told besides the latents, by the names of
            :func:`pulse_plantain.flux2.predict_velocity`.
        target: [B, 3, H, W] in [0, 1].
    """

    given: torch.Tensor
    clean: torch.Tensor
    context: dict[str, Any]
    target: torch.Tensor


def seed_step(seed: int, stage: int, step: int) -> torch.Generator:
    """The generator of a step, so that a resumed run sees what an uninterrupted one would."""
    return torch.Generator().manual_seed((seed * 10 + stage) * 10_000_000 + step)


def pick_size(rng: torch.Generator) -> tuple[int, int]:
    """(height, width) of one of :data:`SIZES`."""
    return SIZES[int(torch.randint(0, len(SIZES), (), generator=rng))]


def vae_loss(vae: AutoencoderKLFlux2, picture: torch.Tensor) -> torch.Tensor:
    """Mean absolute and squared error of the restored picture."""
    with torch.no_grad():
        latents: Any = vae.encode(picture, return_dict=False)[0].mode()
    error = vae.decode(latents, return_dict=False)[0] - picture
    return error.abs().mean() + (error**2).mean()


def start_vae(vae: AutoencoderKLFlux2, seed: int) -> None:
    """Set initial values: an encoder that is the patches' principal components, and stays so."""
    batches = (
        draw_pictures(seed_step(seed, START, step), 32, 64, 128) * 2 - 1 for step in range(12)
    )
    miniature.make_encoder_linear(vae, miniature.find_patch_basis(batches))
    miniature.ease_decoder(vae)
    vae.encoder.requires_grad_(False)
    vae.get_submodule("quant_conv").requires_grad_(False)


def train_vae(vae: AutoencoderKLFlux2, training: BaseTraining, log: Log) -> None:
    """Train the decoder on crops; half of them are short and wide."""
    start_vae(vae, training.seed)
    trained = [p for p in vae.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=2e-3, betas=(0.9, 0.99), weight_decay=0.0)
    checkpoint, steps = Path(training.checkpoints) / "vae.pt", training.vae_steps
    start = load_checkpoint(checkpoint, vae=vae, optimizer=optimizer)
    bar = tqdm(range(start, steps), "VAE", steps, initial=start)
    running = 0.0
    for step in bar:
        rng = seed_step(training.seed, VAE, step)
        size = ((32, 256), (64, 128))[int(torch.randint(0, 2, (), generator=rng))]
        picture = draw_pictures(rng, 16, *size) * 2 - 1
        set_learning_rate([optimizer], learning_rate(step, steps, 1.0))
        with autocast_where_fast("cpu"):
            loss = vae_loss(vae, picture)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        running += loss.item() / REPORT_EVERY
        if (step + 1) % REPORT_EVERY == 0:
            bar.set_postfix(loss=f"{running:.3f}")
            log.write({"stage": "vae", "step": step + 1, "loss": round(running, 4)})
            running = 0.0
        if (step + 1) % SAVE_EVERY == 0 or step + 1 == steps:
            save_checkpoint(checkpoint, step + 1, vae=vae, optimizer=optimizer)


@torch.no_grad()
def measure_latents(vae: AutoencoderKLFlux2, seed: int) -> None:
    """Set the VAE's batch-norm statistics from 512 procedural pictures."""
    sums = torch.zeros((), dtype=torch.float64)
    for step in range(32):
        rng = seed_step(seed, LATENTS, step)
        picture = draw_pictures(rng, 16, *pick_size(rng)) * 2 - 1
        latents = vae.encode(picture, return_dict=False)[0].mode()
        patches = F.pixel_unshuffle(latents, 2).transpose(0, 1).flatten(1).double()
        sums = sums + torch.stack([patches.mean(1), (patches**2).mean(1)]) / 32
    vae.bn.get_buffer("running_mean").copy_(sums[0])
    vae.bn.get_buffer("running_var").copy_(sums[1] - sums[0] ** 2)


def encode_prompts(parts: Mapping[str, Any], prompts: list[str]) -> dict[str, torch.Tensor]:
    """{prompt: [TEXT_TOKENS, joint width]} from the frozen text encoder."""
    with torch.no_grad():
        rows = PulsePipeline._get_qwen3_prompt_embeds(
            parts["text_encoder"], parts["tokenizer"], prompts, max_sequence_length=TEXT_TOKENS
        )
    return dict(zip(prompts, rows, strict=True))


def draw_batch(
    parts: Mapping[str, Any],
    features: Mapping[str, torch.Tensor],
    rng: torch.Generator,
    count: int,
) -> Batch:
    """A batch of tasks on pictures of one size.

    Args:
        parts: the base's components.
        features: of :func:`encode_prompts`.
        rng: draws size, pictures and tasks.
        count: examples of the batch.
    """
    height, width = pick_size(rng)
    prompts, thumbnail, source, target = draw_examples(rng, count, height, width, THUMBNAIL)
    with torch.no_grad(), autocast_where_fast("cpu"):
        given, clean, small = (
            encode_images(parts["vae"], picture * 2 - 1).float()
            for picture in (source, target, thumbnail)
        )
    one_cell = SheetGeometry(1, 1, 1, size=(width, height))
    layout = Layout(one_cell, (THUMBNAIL[1], THUMBNAIL[0]))
    context = {
        "references": small,
        "prompt_embeds": torch.stack([features[prompt] for prompt in prompts]),
        "image_ids": image_ids(layout, token_size(parts["vae"])),
    }
    return Batch(given, clean, context, target)


def sample_flow(
    given: torch.Tensor, clean: torch.Tensor, rng: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(sigma [B], latents, velocity target) on the way from the source's tokens to the target's.

    A rectified flow between pictures (arXiv 2209.03003): latents = (1 - sigma) clean + sigma given.
    Three quarters of the rows are at sigma = 1, where one step is the whole answer; half of all
    start with some noise on the source.
    """
    rows = (len(clean), 1, 1)
    one_step = (torch.rand(rows, generator=rng) < 0.75).float()
    sigma = torch.lerp(torch.rand(rows, generator=rng), torch.ones(rows), one_step)
    noise = NOISE * (torch.rand(rows, generator=rng) < 0.5)
    start = given + noise * torch.randn(clean.shape, generator=rng)
    return sigma.flatten(), (1 - sigma) * clean + sigma * start, start - clean


def choose_optimizers(transformer: Flux2Transformer2DModel) -> dict[str, torch.optim.Optimizer]:
    """Muon for the matrices inside the blocks, AdamW for everything else."""
    blocks = [*transformer.transformer_blocks, *transformer.single_transformer_blocks]
    matrices = [p for block in blocks for p in block.parameters() if p.ndim == 2]
    inside = {id(p) for p in matrices}
    others = [p for p in transformer.parameters() if id(p) not in inside]
    return {
        "muon": torch.optim.Muon(
            matrices, lr=2e-3, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"
        ),
        "adamw": torch.optim.AdamW(others, lr=2e-3, betas=(0.9, 0.99), weight_decay=0.01),
    }


def train_transformer(parts: Mapping[str, Any], training: BaseTraining, log: Log) -> None:
    """Train the transformer on the tasks of lab/pictures.py."""
    transformer = parts["transformer"]
    optimizers = choose_optimizers(transformer)
    checkpoint, steps = Path(training.checkpoints) / "transformer.pt", training.steps
    start = load_checkpoint(checkpoint, transformer=transformer, **optimizers)
    features = encode_prompts(parts, list(TASK_PROMPTS))
    bar = tqdm(range(start, steps), "transformer", steps, initial=start)
    running = 0.0
    for step in bar:
        rng = seed_step(training.seed, TRANSFORMER, step)
        batch = draw_batch(parts, features, rng, training.batch)
        sigma, latents, target = sample_flow(batch.given, batch.clean, rng)
        set_learning_rate(optimizers.values(), learning_rate(step, steps, 1.0))
        with autocast_where_fast("cpu"):
            predicted = predict_velocity(transformer, latents, sigma=sigma, **batch.context)
        loss = F.smooth_l1_loss(predicted.float(), target)
        for optimizer in optimizers.values():
            optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(transformer.parameters(), 1.0)
        for optimizer in optimizers.values():
            optimizer.step()
        running += loss.item() / REPORT_EVERY
        if (step + 1) % REPORT_EVERY == 0:
            bar.set_postfix(loss=f"{running:.3f}")
            log.write({"stage": "transformer", "step": step + 1, "loss": round(running, 4)})
            running = 0.0
        if (step + 1) % SAVE_EVERY == 0 or step + 1 == steps:
            save_checkpoint(checkpoint, step + 1, transformer=transformer, **optimizers)


@torch.no_grad()
def validate(parts: Mapping[str, Any], seed: int) -> dict[str, float]:
    """PSNR in dB over fresh one-step examples: of the VAE, of the whole, and of the source."""
    features = encode_prompts(parts, list(TASK_PROMPTS))
    sums = {"vae": 0.0, "one step": 0.0, "the source itself": 0.0}
    batches = 16
    for step in range(batches):
        batch = draw_batch(parts, features, seed_step(seed, VALIDATION, step), 16)
        found = predict_clean(parts["transformer"], batch.given, **batch.context)
        height, width = batch.target.shape[2:]
        for name, tokens in zip(sums, (batch.clean, found, batch.given), strict=True):
            picture = decode_tokens(parts["vae"], tokens, height, width).clamp(-1, 1) / 2 + 0.5
            sums[name] += F.mse_loss(picture, batch.target).item() / batches
    return {name: round(-10 * math.log10(error), 2) for name, error in sums.items()}


def train_base(training: BaseTraining) -> dict[str, float]:
    """Train a base, write it, and say how well it draws (:func:`validate`)."""
    parts = miniature.make_components([*TASK_PROMPTS, PROMPT], training.seed)
    log = Log(training.log, training.seed, asdict(training))
    train_vae(parts["vae"], training, log)
    parts["vae"].requires_grad_(False).eval()
    measure_latents(parts["vae"], training.seed)
    train_transformer(parts, training, log)
    parts["transformer"].eval()
    scores = validate(parts, training.seed)
    log.write({"stage": "validation", "psnr_db": scores})
    PulsePipeline(**parts).save_pretrained(training.out)
    return scores
