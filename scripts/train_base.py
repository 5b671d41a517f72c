"""Pre-trains the miniature base from scratch on procedural pictures; no picture holds a pulse.

First the VAE, then the transformer as an image-to-image flow model with reference pictures. Stops
at any time; the same command goes on where it stopped.
"""

import argparse
import math
from pathlib import Path

import torch
import torch.nn.functional as F
from tqdm import tqdm

from pulse_plantain.adapter import PROMPT
from pulse_plantain.flux2 import (
    APPEARANCE_T,
    decode_tokens,
    encode_images,
    predict_clean,
    predict_velocity,
    token_ids,
    token_size,
)
from pulse_plantain.lab import miniature
from pulse_plantain.lab.pictures import TASKS, examples, pictures
from pulse_plantain.lab.training import (
    Log,
    fast_on,
    learning_rate,
    load_checkpoint,
    save_checkpoint,
    set_learning_rate,
)
from pulse_plantain.pipeline import PulsePipeline

SIZES = ((32, 768), (32, 768), (64, 384), (128, 192))
"""Heights and widths of the training pictures in px: half of them wide strips."""
THUMBNAIL = (64, 64)
TEXT_TOKENS = 24
NOISE = 0.25
"""Standard deviation of the noise on half of the starts, in units of the normalised latents."""
REPORT_EVERY, SAVE_EVERY = 50, 200


def step_rng(seed, stage, step):
    """One generator a step, so that a resumed run sees what an uninterrupted one would."""
    return torch.Generator().manual_seed((seed * 10 + stage) * 10_000_000 + step)


def pick_size(rng):
    return SIZES[int(torch.randint(0, len(SIZES), (), generator=rng))]


def vae_loss(vae, picture):
    """Mean absolute and squared error of the restored picture."""
    with torch.no_grad():
        latents = vae.encode(picture).latent_dist.mode()
    error = vae.decode(latents).sample - picture
    return error.abs().mean() + (error**2).mean()


def start_vae(vae, seed):
    """Initial values: an encoder that is the patches' principal components, and stays so."""
    batches = (pictures(step_rng(seed, 0, step), 32, 64, 128) * 2 - 1 for step in range(12))
    miniature.make_encoder_linear(vae, miniature.patch_basis(batches))
    miniature.ease_decoder(vae)
    vae.encoder.requires_grad_(False)
    vae.quant_conv.requires_grad_(False)


def train_vae(vae, arguments, log, checkpoint):
    """Trains the decoder on crops; half of them short and wide."""
    start_vae(vae, arguments.seed)
    trained = [p for p in vae.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=2e-3, betas=(0.9, 0.99), weight_decay=0.0)
    start = load_checkpoint(checkpoint, vae=vae, optimizer=optimizer)
    bar = tqdm(range(start, arguments.vae_steps), "VAE", arguments.vae_steps, initial=start)
    running = 0.0
    for step in bar:
        rng = step_rng(arguments.seed, 1, step)
        size = ((32, 256), (64, 128))[int(torch.randint(0, 2, (), generator=rng))]
        picture = pictures(rng, 16, *size) * 2 - 1
        set_learning_rate([optimizer], learning_rate(step, arguments.vae_steps, 1.0))
        with fast_on("cpu"):
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
        if (step + 1) % SAVE_EVERY == 0 or step + 1 == arguments.vae_steps:
            save_checkpoint(checkpoint, step + 1, vae=vae, optimizer=optimizer)


@torch.no_grad()
def measure_latents(vae, seed):
    """Sets the VAE's batch-norm statistics from 512 procedural pictures."""
    sums = 0
    for step in range(32):
        rng = step_rng(seed, 2, step)
        picture = pictures(rng, 16, *pick_size(rng)) * 2 - 1
        latents = vae.encode(picture).latent_dist.mode()
        patches = F.pixel_unshuffle(latents, 2).transpose(0, 1).flatten(1).double()
        sums = sums + torch.stack([patches.mean(1), (patches**2).mean(1)]) / 32
    vae.bn.running_mean.copy_(sums[0])
    vae.bn.running_var.copy_(sums[1] - sums[0] ** 2)


def prompt_features(parts, prompts):
    """{prompt: [TEXT_TOKENS, joint width]} from the frozen text encoder."""
    with torch.no_grad():
        rows = PulsePipeline._get_qwen3_prompt_embeds(
            parts["text_encoder"], parts["tokenizer"], prompts, max_sequence_length=TEXT_TOKENS
        )
    return dict(zip(prompts, rows))


def flow_batch(parts, features, rng, count):
    """One batch of picture-to-picture tasks, in tokens.

    Returns:
        (given and clean [B, N, C] tokens of the source and the target, the other arguments of
        ``predict_velocity`` by name, target pictures [B, 3, H, W] in [0, 1]).
    """
    height, width = pick_size(rng)
    prompts, thumbnail, source, target = examples(rng, count, height, width, THUMBNAIL)
    with torch.no_grad(), fast_on("cpu"):
        given, clean, small = (
            encode_images(parts["vae"], picture * 2 - 1).float()
            for picture in (source, target, thumbnail)
        )
    size = token_size(parts["vae"])
    ids = [
        token_ids(h // size, w // size, t)
        for (h, w), t in (((height, width), 0), (THUMBNAIL, APPEARANCE_T))
    ]
    inputs = {
        "references": small,
        "prompt_embeds": torch.stack([features[prompt] for prompt in prompts]),
        "image_ids": torch.cat(ids),
    }
    return given, clean, inputs, target


def between(given, clean, rng):
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


def train_transformer(parts, arguments, log, checkpoint):
    transformer = parts["transformer"]
    blocks = [*transformer.transformer_blocks, *transformer.single_transformer_blocks]
    matrices = [p for block in blocks for p in block.parameters() if p.ndim == 2]
    inside = {id(p) for p in matrices}
    others = [p for p in transformer.parameters() if id(p) not in inside]
    optimizers = {
        "muon": torch.optim.Muon(
            matrices, lr=2e-3, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"
        ),
        "adamw": torch.optim.AdamW(others, lr=2e-3, betas=(0.9, 0.99), weight_decay=0.01),
    }
    start = load_checkpoint(checkpoint, transformer=transformer, **optimizers)
    features = prompt_features(parts, list(TASKS))
    bar = tqdm(range(start, arguments.steps), "transformer", arguments.steps, initial=start)
    running = 0.0
    for step in bar:
        rng = step_rng(arguments.seed, 3, step)
        given, clean, inputs, _ = flow_batch(parts, features, rng, arguments.batch)
        sigma, latents, target = between(given, clean, rng)
        set_learning_rate(optimizers.values(), learning_rate(step, arguments.steps, 1.0))
        with fast_on("cpu"):
            predicted = predict_velocity(transformer, latents, sigma=sigma, **inputs)
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
        if (step + 1) % SAVE_EVERY == 0 or step + 1 == arguments.steps:
            save_checkpoint(checkpoint, step + 1, transformer=transformer, **optimizers)


@torch.no_grad()
def validate(parts, seed):
    """PSNR in dB over fresh one-step examples: of the VAE, the whole, and the source."""
    features = prompt_features(parts, list(TASKS))
    sums = {"vae": 0.0, "one step": 0.0, "the source itself": 0.0}
    batches = 16
    for step in range(batches):
        given, clean, inputs, picture = flow_batch(parts, features, step_rng(seed, 4, step), 16)
        drawn_clean = predict_clean(parts["transformer"], given, **inputs)
        height, width = picture.shape[2:]
        for name, tokens in zip(sums, (clean, drawn_clean, given)):
            drawn = decode_tokens(parts["vae"], tokens, height, width)
            sums[name] += F.mse_loss(drawn.clamp(-1, 1) / 2 + 0.5, picture).item() / batches
    return {name: round(-10 * math.log10(error), 2) for name, error in sums.items()}


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", default="tiny", help="folder of the finished base (default: tiny)")
    parser.add_argument("--checkpoints", default="checkpoints/base", help="where to resume from")
    parser.add_argument("--log", default="results/train-base.jsonl")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--vae-steps", type=int, default=1200)
    parser.add_argument("--steps", type=int, default=700, help="steps of the transformer")
    parser.add_argument("--batch", type=int, default=16)
    arguments = parser.parse_args(argv)

    parts = miniature.components([*TASKS, PROMPT], arguments.seed)
    log = Log(arguments.log, arguments.seed, vars(arguments))
    folder = Path(arguments.checkpoints)
    train_vae(parts["vae"], arguments, log, folder / "vae.pt")
    parts["vae"].requires_grad_(False).eval()
    measure_latents(parts["vae"], arguments.seed)
    train_transformer(parts, arguments, log, folder / "transformer.pt")
    parts["transformer"].eval()
    scores = validate(parts, arguments.seed)
    log.write({"stage": "validation", "psnr_db": scores})
    print("PSNR in dB:", scores)
    PulsePipeline(**parts).save_pretrained(arguments.out)


if __name__ == "__main__":
    main()
