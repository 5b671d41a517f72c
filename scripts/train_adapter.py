"""Trains the LoRA that makes a FLUX.2-klein-shaped base draw pulse sheets.

One evaluation at the far end of the flow, from the motion sheet's latents, with a loss on the
latents and, through the frozen VAE decoder and the bijection, on the phasors. Stops at any time;
the same command goes on where it stopped.
"""

import argparse
import json
import os
import sys
import time
from collections import defaultdict
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from accelerate.utils import gather_object, parse_flag_from_env
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file, save_file
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from tqdm import tqdm

from pulse_plantain import bijection
from pulse_plantain.adapter import write_adapter
from pulse_plantain.drawing import Drawing
from pulse_plantain.flux2 import (
    APPEARANCE_T,
    decode_tokens,
    encode_images,
    predict_clean,
    predict_velocity,
    token_ids,
    token_size,
)
from pulse_plantain.lab.datasets.shards import Shards
from pulse_plantain.lab.miniature import without_silent_branches
from pulse_plantain.lab.synthetic import draw_scenes, simulate, simulate_batch, split_seeds
from pulse_plantain.lab.training import (
    WINDOWS,
    Log,
    fast_on,
    learning_rate,
    load_checkpoint,
    peak_gib,
    save_checkpoint,
    set_learning_rate,
)
from pulse_plantain.pipeline import PulsePipeline
from pulse_plantain.reading import average_brightness, decode_field, read_fields
from pulse_plantain.sheet import SheetGeometry, field_to_sheet, motion_sheet
from pulse_plantain.video import ClipError

TARGETS = (
    r"transformer_blocks\.\d+\.(attn\.(to_q|to_k|to_v|to_out\.0|add_q_proj|add_k_proj|add_v_proj"
    r"|to_add_out)|(ff|ff_context)\.(linear_in|linear_out))"
    r"|single_transformer_blocks\.\d+\.attn\.(to_qkv_mlp_proj|to_out)"
)
"""Every Linear inside the blocks, the only ones that both loaders take."""

REPORT_EVERY, SAVE_EVERY = 25, 200
SAVE_AFTER = 600
"""s after which a checkpoint is due in any case: a step can take minutes where there is no GPU."""
PHASOR_WEIGHT, TRACE_WEIGHT = 4.0, 0.4
PHASOR_SHARE = 0.25  # of a batch is decoded: the decoder costs as much as the transformer
NOISY_SHARE = 0.25  # of the batches start from noise, as ensembles do


def pulse_field(phase, amplitude, phase_lag):
    """Phasors [B, samples, rows, bands] to draw.

    Args:
        phase: [B, samples] rad; amplitude, phase_lag: [B, rows, bands], AC/DC and rad.
    """
    local = phase[:, :, None, None] - phase_lag[:, None]
    return torch.polar(amplitude[:, None].expand_as(local), local)


def to_tokens(vae, pictures):
    """Tokens of channel-last pictures in [0, 1]."""
    with torch.no_grad():
        return encode_images(vae, pictures.movedim(-1, 1) * 2 - 1).float()


def cached_batch(path, make):
    """What ``make()`` returns, kept as half-precision safetensors for the next epochs."""
    if not path.exists():
        batch = make()
        path.parent.mkdir(parents=True, exist_ok=True)
        halves = {name: tensor.to(torch.float16).contiguous() for name, tensor in batch.items()}
        halves |= {name: batch[name].float().contiguous() for name in ("field", "bpm", "seconds")}
        with TemporaryDirectory(dir=path.parent) as own:  # other processes may make the same batch
            new = Path(own) / path.name
            save_file(halves, new)
            new.replace(path)
    return {name: tensor.float() for name, tensor in load_file(path).items()}


def batch_order(batches, epoch, seed):
    """The order in which an epoch visits the cached batches; the first is the natural one."""
    if epoch == 0:
        return np.arange(batches)
    return np.random.default_rng([seed, epoch]).permutation(batches)


def drawn(vae, tokens, geometry):
    """Pulse sheets [B, 3, H, W] in [-1, 1] that tokens decode to."""
    width, height = geometry.size
    return decode_tokens(vae, tokens, height, width).float()


def compressed(field):
    """Brightness phasors f(a) exp(i phase) of phasors a exp(i phase)."""
    value = bijection.power_transform(field.abs(), bijection.AMPLITUDE_SCALE)
    return torch.polar(value, field.angle())


def phasor_losses(found, truth):
    """(mean squared phasor error, mean incoherence of the pooled traces where there is a pulse)."""
    error = (found - truth).abs().square().mean()
    trace, wanted = found.mean((2, 3)), truth.mean((2, 3))
    norm = trace.abs().square().sum(1).sqrt() * wanted.abs().square().sum(1).sqrt()
    coherence = (trace * wanted.conj()).sum(1).real / (norm + 1e-3)
    alive = (wanted.abs().mean(1) > 1e-3).float()
    return error, (alive * (1 - coherence)).sum() / alive.sum().clamp_min(1)


def shard_frozen(model, mesh):
    """Spreads the frozen base of a PeftModel over the processes of a mesh (FSDP2), in place.

    Each block's weights are gathered when it runs. The adapter stays whole in every process: its
    gradients are averaged, its average and its checkpoints are made, as without sharding.
    """
    adapter = {p for p in model.parameters() if p.requires_grad}
    transformer = model.get_base_model()
    blocks = [*transformer.transformer_blocks, *transformer.single_transformer_blocks]
    for part in (*blocks, transformer):
        fully_shard(part, mesh=mesh, ignored_params=adapter)


class Average(torch.nn.Module):
    """Exponential moving average of the trainable parameters of a model."""

    def __init__(self, model, decay=0.995):
        super().__init__()
        self.decay = decay
        self.values = torch.nn.ParameterList(
            [p.detach().clone() for p in model.parameters() if p.requires_grad]
        ).requires_grad_(False)

    @torch.no_grad()
    def update(self, model, step):
        weight = 1 - min(self.decay, (1 + step) / (10 + step))
        for mean, p in zip(self.values, (p for p in model.parameters() if p.requires_grad)):
            mean.lerp_(p, weight)

    @torch.no_grad()
    def exchange(self, model):
        """Swaps the model's parameters with their averages; twice is nothing."""
        for mean, p in zip(self.values, (p for p in model.parameters() if p.requires_grad)):
            kept = p.clone()
            p.copy_(mean)
            mean.copy_(kept)


class Trainer:
    """The model, its data and the loop."""

    def __init__(self, arguments):
        self.arguments = arguments
        self.accelerator = Accelerator(cpu=not torch.accelerator.is_available())
        self.device = self.accelerator.device
        dtype = arguments.dtype or ("float32" if self.device.type == "cpu" else "bfloat16")
        dtypes = {"default": getattr(torch, dtype), "vae": torch.float32}
        pipe = PulsePipeline.from_pretrained(arguments.base, dtype=dtypes)
        self.geometry = SheetGeometry(*arguments.sheet[:3], size=tuple(arguments.sheet[3:]))
        self.appearance_size = tuple(arguments.appearance)
        self.vae = pipe.vae.requires_grad_(False).eval().to(self.device)
        self.vae = without_silent_branches(self.vae)
        self.prompt_embeds = pipe.encode_task_prompt().float().to(self.device)
        pipe.text_encoder = None  # 8 GB at full size; its work is done
        pipe.register_to_config(
            geometry=self.geometry.to_dict(), appearance_size=list(self.appearance_size)
        )
        pipe.set_progress_bar_config(disable=True)
        self.pipe = pipe
        if arguments.random_base:
            torch.manual_seed(arguments.seed)
            pipe.transformer = type(pipe.transformer).from_config(pipe.transformer.config)
        torch.manual_seed(arguments.seed)
        config = LoraConfig(
            r=arguments.rank,
            lora_alpha=arguments.alpha,
            target_modules=arguments.target_modules,
            init_lora_weights="gaussian",
        )
        if arguments.gradient_checkpointing:
            pipe.transformer.enable_gradient_checkpointing()
        self.model = get_peft_model(pipe.transformer, config).to(self.device)
        if arguments.start:
            set_peft_model_state_dict(self.model, mean_weights(arguments.start))
        ranks = self.accelerator.num_processes
        self.sharded = ranks > 1 and parse_flag_from_env("ACCELERATE_USE_FSDP")
        if self.sharded and arguments.full:
            raise ClipError("--full trains the base that FSDP spreads: launch it without FSDP")
        if self.sharded:
            shard_frozen(self.model, init_device_mesh(self.device.type, (ranks,)))
        if arguments.full:
            self.model.requires_grad_(True)
        self.transformer = torch.compile(self.model) if arguments.compile else self.model
        self.average = Average(self.model)
        trained = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = optimizer_class(arguments.optimizer)(
            trained, lr=arguments.lr, betas=(0.9, 0.99), weight_decay=0.0
        )
        size = token_size(self.vae)
        width, height = self.geometry.size
        sheet = (height // size, width // size)
        appearance = tuple(side // size for side in reversed(self.appearance_size))
        self.ids = torch.cat(
            [
                token_ids(*sheet, 0),
                token_ids(*appearance, APPEARANCE_T),
            ]
        ).to(self.device)
        self.cache = Path(arguments.cache or Path(arguments.checkpoints) / "cache")
        self.recorded, self.validated = None, None
        if arguments.data:
            self.recorded = Shards.open(arguments.data, "train")
            self.validated = Shards.open(arguments.data, "validation")
            if self.recorded.samples != self.geometry.samples:
                raise ClipError(
                    f"the data were prepared with {self.recorded.samples} samples a window, "
                    f"the sheet has {self.geometry.samples}"
                )

    def batch(self, split, number, window):
        """Tensors of a batch.

        Args:
            split: "train", "webcam" or "webcam-null".
            number: which batch.
            window: s that simulated clips last; recorded ones are as long as they were prepared.
        """
        count = self.arguments.batch
        if self.recorded and split != "webcam-null":
            shards = self.recorded if split == "train" else self.validated
            layout = (self.geometry, self.appearance_size, self.arguments.seed)
            return self.encoded(shards.batch(int(number), count, *layout, split == "train"))
        own, first = ("train", self.arguments.skip) if split == "train" else ("validation", 0)
        seeds = split_seeds(own, count, first + int(number) * count)
        path = self.cache / f"{split}-{number:06d}-{window:g}s.safetensors"
        batch = cached_batch(path, lambda: self.make_batch(split, seeds, window))
        return {name: tensor.to(self.device) for name, tensor in batch.items()}

    def make_batch(self, split, seeds, window):
        """Simulated clips as tensors: three pictures in tokens, and the truth about the pulse."""
        options = {"window": window, "appearance_size": self.appearance_size}
        if split == "train":
            clips = simulate_batch(seeds, self.geometry, **options)
        else:
            scenes = draw_scenes(seeds, webcam=True, kinds=False)
            scenes = scenes.without_pulse() if split == "webcam-null" else scenes
            clips = simulate(scenes, self.geometry, **options)
        field = pulse_field(clips.phase, clips.amplitude, clips.phase_lag)
        seconds = torch.full_like(clips.bpm, window)
        return self.encoded(vars(clips) | {"field": field, "seconds": seconds})

    def encoded(self, clips):
        """Pictures of clips as tokens, and the truth.

        Args:
            clips: dict of appearance, motion, field, bpm and seconds.
        """
        wanted = ("appearance", "motion", "field", "bpm", "seconds")
        clips = {name: torch.as_tensor(clips[name]).to(self.device) for name in wanted}
        sheet = field_to_sheet(bijection.encode_phasor(clips["field"]), self.geometry)
        return {
            "appearance": to_tokens(self.vae, clips["appearance"]),
            "motion": to_tokens(self.vae, motion_sheet(clips["motion"], self.geometry)),
            "target": to_tokens(self.vae, sheet),
            "field": torch.view_as_real(clips["field"].to(torch.complex64)),
            "bpm": clips["bpm"],
            "seconds": clips["seconds"],
        }

    def context(self, batch):
        """What the transformer is told besides the latents."""
        return batch["appearance"], self.prompt_embeds, self.ids

    def loss(self, batch, rng):
        """Total loss and its parts as a dict of floats."""
        start = batch["motion"]
        if torch.rand((), generator=rng) < NOISY_SHARE:
            noise = torch.randn(start.shape, generator=rng).to(self.device)
            start = start + self.arguments.noise_scale * noise
        if self.arguments.objective == "flow":
            return self.flow_loss(batch, start, rng)
        with fast_on(self.device.type):
            clean = predict_clean(self.transformer, start, *self.context(batch)).float()
        latent = F.smooth_l1_loss(clean, batch["target"])
        if self.arguments.objective == "latent":
            return latent, {"loss": float(latent.detach())}
        rows = max(1, round(PHASOR_SHARE * len(clean)))
        with fast_on(self.device.type):
            images = drawn(self.vae, clean[:rows], self.geometry)
        found, _ = average_brightness(images, self.geometry)
        truth = compressed(torch.view_as_complex(batch["field"][:rows]))
        phasor, trace = phasor_losses(found, truth)
        total = latent + PHASOR_WEIGHT * phasor + TRACE_WEIGHT * trace
        parts = {"loss": total, "latent": latent, "phasor": phasor, "trace": trace}
        return total, {name: float(value.detach()) for name, value in parts.items()}

    def flow_loss(self, batch, start, rng):
        """Plain flow matching: the velocity at a logit-normal time between sheet and start."""
        sigma = torch.randn(len(start), generator=rng).sigmoid().to(self.device)
        latents = torch.lerp(batch["target"], start, sigma[:, None, None])
        with fast_on(self.device.type):
            velocity = predict_velocity(
                self.transformer, latents, *self.context(batch), sigma
            ).float()
        total = F.mse_loss(velocity, start - batch["target"])
        return total, {"loss": float(total.detach())}

    @torch.no_grad()
    def readings(self, split, steps):
        """(PulseReading of every clip of a validation split, the true bpm [n] while it was read).

        Simulated clips are read at every length of :data:`pulse_plantain.lab.training.WINDOWS`, and the surest
        reading is kept, as the pipeline does. The processes share the batches out.
        """
        batches, windows = self.arguments.validation_batches, WINDOWS
        if self.recorded and split != "webcam-null":
            batches = min(batches, max(1, len(self.validated) // self.arguments.batch))
            windows = (None,)
        rank, ranks = self.accelerator.process_index, self.accelerator.num_processes
        self.average.exchange(self.model)
        self.model.eval()
        found = {}
        for turn in range(0, batches, ranks):  # as many forward passes in every process
            number = min(turn + rank, batches - 1)
            looks = []
            for window in windows:
                batch = self.batch(split, number, window)
                looks.append(zip(self.read(batch, steps), batch["bpm"].tolist()))
            found[number] = [max(some, key=lambda one: one[0].confidence) for some in zip(*looks)]
        self.model.train()
        self.average.exchange(self.model)
        found = dict(gather_object(list(found.items())))
        readings, bpm = zip(*sum((found[number] for number in range(batches)), []))
        return readings, np.array(bpm)

    def read(self, batch, steps):
        """PulseReading of every clip of a batch, drawn in some steps of the pipeline's schedule."""
        with fast_on(self.device.type):
            clean = self.pipe.denoise(
                batch["motion"],
                batch["appearance"],
                Drawing(
                    num_inference_steps=steps,
                    batch_size=len(batch["motion"]),
                    prompt_embeds=self.prompt_embeds,
                ),
            )
        images = drawn(self.vae, clean.float(), self.geometry)
        fields, weights = (x.cpu().numpy() for x in decode_field(images, self.geometry))
        rates = self.geometry.samples / batch["seconds"].cpu().numpy()
        return [
            read_fields(field[None], weight[None], [0.0], rate)
            for field, weight, rate in zip(fields, weights, rates)
        ]

    def validate(self, steps=1):
        """Figures on clips with a pulse, nothing withheld, and on clips without.

        The first are simulated webcam scenes or, with ``--data``, windows of its validation
        subjects; those without a pulse are always simulated.

        ``min_confidence`` is the confidence that 97 % of those without a pulse stay below; the
        pipeline keeps the better of two looks, which doubles the false alarms.
        """
        readings, bpm = self.readings("webcam", steps)
        none, _ = self.readings("webcam-null", steps)
        found = np.array([reading.bpm for reading in readings])
        error = np.where(np.isfinite(found), np.abs(found - bpm), bpm)
        sure, unsure = (np.array([r.confidence for r in some]) for some in (readings, none))
        threshold = np.quantile(unsure, 0.97)
        answered = sure >= threshold
        figures = {
            "mae_bpm": error.mean(),
            "median_bpm": np.median(error),
            "within_3_bpm": (error <= 3).mean(),
            "auc_pulse_against_none": (sure[:, None] > unsure).mean(),
            "min_confidence": threshold,
            "answered": answered.mean(),
            "answered_within_3_bpm": (answered & (error <= 3)).mean(),
            "mae_bpm_of_answers": (error * answered).sum() / max(answered.sum(), 1),
        }
        return {"clips": len(error)} | {k: round(float(v), 4) for k, v in figures.items()}

    def average_gradients(self, parameters):
        """The mean of all processes' gradients, as one flat sum: an adapter's are few."""
        if self.accelerator.num_processes == 1:
            return
        flat = torch.cat([p.grad.reshape(-1) for p in parameters])
        flat = self.accelerator.reduce(flat, "mean")
        for p, part in zip(parameters, flat.split([p.numel() for p in parameters])):
            p.grad.copy_(part.view_as(p))

    def run(self):
        arguments = self.arguments
        checkpoint = Path(arguments.checkpoints) / "adapter.pt"
        model = self.model if arguments.full else Lora(self.model)
        state = {"model": model, "average": self.average, "optimizer": self.optimizer}
        start, scores = load_checkpoint(checkpoint, **state), None
        trained = [p for p in self.model.parameters() if p.requires_grad]
        rank, ranks = self.accelerator.process_index, self.accelerator.num_processes
        first = self.accelerator.is_main_process
        settings = {"processes": ranks, "sharded": self.sharded, "windows": WINDOWS}
        settings = vars(arguments) | settings
        log = Log(arguments.log, arguments.seed, settings) if first else None
        parts_a_step = ranks * arguments.accumulate
        epoch = arguments.clips // (arguments.batch * parts_a_step)  # steps
        bar = tqdm(range(start, arguments.steps), "adapter", arguments.steps, initial=start)
        bar.disable = not first
        running, saved = defaultdict(list), time.monotonic()  # losses to be reported
        for step in bar:
            order = batch_order(epoch * parts_a_step, step // epoch, arguments.seed)
            set_learning_rate([self.optimizer], learning_rate(step, arguments.steps, 1.0))
            self.optimizer.zero_grad()
            for part in range(rank, parts_a_step, ranks):  # no two ranks see the same
                number = step * parts_a_step + part
                rng = torch.Generator().manual_seed(arguments.seed * 10_000_000 + number)
                if not self.recorded:
                    number = order[step % epoch * parts_a_step + part]
                window = WINDOWS[number % len(WINDOWS)]  # a batch has one
                total, parts = self.loss(self.batch("train", number, window), rng)
                (total / arguments.accumulate).backward()
                for name, value in parts.items():
                    running[name].append(value)
            self.average_gradients(trained)
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            self.optimizer.step()
            self.average.update(self.model, step)
            done = step + 1
            if done % REPORT_EVERY == 0:
                row = {name: round(fmean(values), 4) for name, values in running.items()}
                running.clear()
                bar.set_postfix(row)
                row["peak_gib"] = round(peak_gib(self.device.type), 3)
                if first:
                    log.write({"step": done, "clips": done * parts_a_step * arguments.batch} | row)
            due = done % SAVE_EVERY == 0 or time.monotonic() - saved > SAVE_AFTER
            if first and (due or done == arguments.steps):
                save_checkpoint(checkpoint, done, **state)
                saved = time.monotonic()
            if done % arguments.validate_every == 0 or done == arguments.steps:
                scores = self.validate()
                if first:
                    tqdm.write(f"step {done}: {json.dumps(scores)}")
                    log.write({"step": done, "validation": scores})
        if scores is None:  # nothing was left to train
            scores = self.validate()
            if first:
                log.write({"step": arguments.steps, "validation": scores})
        for steps in arguments.also_steps:
            more = self.validate(steps)
            if first:
                log.write({"step": arguments.steps, "inference_steps": steps, "validation": more})
        if not first or arguments.full:
            return
        self.average.exchange(self.model)
        write_adapter(
            arguments.out,
            self.model,
            {
                "geometry": self.geometry.to_dict(),
                "appearance_size": list(self.appearance_size),
                "default_windows": list(WINDOWS),
                "noise_scale": arguments.noise_scale,
                "min_confidence": scores["min_confidence"],
            },
            base_model=arguments.base,
        )


def optimizer_class(name):
    """AdamW of torch, or of bitsandbytes with 8-bit moments.

    Raises:
        ClipError: if bitsandbytes is not installed.
    """
    if name == "adamw":
        return torch.optim.AdamW
    try:
        from bitsandbytes.optim import AdamW8bit
    except ImportError as error:
        raise ClipError("--optimizer adamw8bit needs `pip install bitsandbytes`") from error
    return AdamW8bit


def from_config(path):
    """Defaults of the command line that an adapter_config.json sets, and its base's name.

    Raises:
        ClipError: if it is no adapter_config.json of this repository.
    """
    try:
        config = json.loads(Path(path).read_text())
        pulse = config["auto_mapping"]["pulse_config"]
        sheet = SheetGeometry.from_dict(pulse["geometry"])
        return {
            "base": config["base_model_name_or_path"],
            "rank": config["r"],
            "alpha": config["lora_alpha"],
            "target_modules": config["target_modules"],
            "sheet": (sheet.bands, sheet.samples, sheet.rows, *sheet.size),
            "appearance": tuple(pulse["appearance_size"]),
            "noise_scale": pulse["noise_scale"],
        }
    except (ValueError, KeyError, TypeError) as error:
        raise ClipError(f"{path}: no adapter_config.json with a pulse_config") from error


def adapter_weights(folder):
    """The weights file in an adapter's folder."""
    return Path(folder) / "adapter_model.safetensors"


def mean_weights(folders):
    """The adapter's weights, averaged over several folders.

    Stages of one training lie in one valley, and their mean is mostly as good as the best of them
    or better (Wortsman et al., "Model soups", ICML 2022).
    """
    stages = [load_file(adapter_weights(folder)) for folder in folders]
    return {name: sum(stage[name] for stage in stages) / len(stages) for name in stages[0]}


class Lora:
    """The adapter's weights alone as a part of a checkpoint."""

    def __init__(self, model):
        self.model = model

    def state_dict(self):
        return get_peft_model_state_dict(self.model)

    def load_state_dict(self, state):
        set_peft_model_state_dict(self.model, state)


def leave():
    """Ends a sharded process at once, its work done, without taking the interpreter down.

    torch caches the placements of sharded tensors and with them the mesh: the process group then
    outlives its destruction, and so do its threads. One of them that wants the interpreter while
    it goes down aborts the process (seen with Gloo; without shards the threads are joined).
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--config",
        metavar="FILE",
        help="adapter_config.json to follow: base, rank, alpha, modules, sheet "
        "(default: those of the miniature)",
    )
    parser.add_argument("--base", default="tiny", help="folder or Hub id of the base")
    parser.add_argument(
        "--dtype",
        choices=("float32", "bfloat16"),
        help="of the frozen base; the adapter is float32 (default: bfloat16 on GPUs)",
    )
    parser.add_argument("--out", default="tiny/adapter", help="folder of the finished adapter")
    parser.add_argument("--checkpoints", default="checkpoints/adapter", help="where to resume from")
    parser.add_argument("--cache", help="simulated clips (default: cache/ in --checkpoints)")
    parser.add_argument("--log", default="results/train-adapter.jsonl")
    parser.add_argument(
        "--data",
        nargs="+",
        metavar="DIR",
        help="folders of prepare.py: train on their train subjects instead of simulated clips",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--start",
        nargs="+",
        metavar="ADAPTER",
        help="folder of an adapter to begin with; of several, stages of one training, the mean "
        "(with --steps 0 it is validated and written as it is)",
    )
    parser.add_argument("--steps", type=int, default=2600)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--clips", type=int, default=16384, help="different clips simulated")
    parser.add_argument("--skip", type=int, default=0, help="clips an earlier run has seen")
    parser.add_argument("--accumulate", type=int, default=1, help="batches a step and process")
    parser.add_argument("--gradient-checkpointing", action="store_true", help="less memory")
    parser.add_argument("--optimizer", choices=("adamw", "adamw8bit"), default="adamw")
    parser.add_argument("--compile", action="store_true", help="torch.compile the transformer")
    parser.add_argument("--rank", type=int, default=32)
    parser.add_argument("--alpha", type=int, default=64)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--noise-scale", type=float, default=0.25, help="of an ensemble's starts")
    parser.add_argument("--validate-every", type=int, default=400)
    parser.add_argument("--validation-batches", type=int, default=8, help="of webcam scenes")
    parser.add_argument(
        "--sheet",
        type=int,
        nargs=5,
        metavar=("BANDS", "SAMPLES", "ROWS", "WIDTH", "HEIGHT"),
        default=(4, 96, 4, 768, 32),
    )
    parser.add_argument(
        "--appearance", type=int, nargs=2, metavar=("WIDTH", "HEIGHT"), default=(64, 64)
    )
    parser.add_argument(
        "--random-base", action="store_true", help="ablation: untrained transformer"
    )
    parser.add_argument(
        "--full",
        action="store_true",
        help="ablation: train every weight of the transformer; no adapter is written",
    )
    parser.add_argument(
        "--objective",
        choices=("phasor", "latent", "flow"),
        default="phasor",
        help="ablation: one step with losses on latents and phasors (default), one step with a "
        "loss on latents, or plain flow matching",
    )
    parser.add_argument(
        "--also-steps",
        type=int,
        nargs="+",
        metavar="N",
        default=(),
        help="ablation: validate the finished model at these numbers of steps, too",
    )
    parser.set_defaults(target_modules=TARGETS)
    try:
        config = parser.parse_args(argv).config
        if config:
            parser.set_defaults(**from_config(config))
        trainer = Trainer(parser.parse_args(argv))
        trainer.run()
    except (ClipError, OSError) as error:
        print(f"train_adapter.py: {error}", file=sys.stderr)
        return 2
    trainer.accelerator.end_training()
    if trainer.sharded:
        leave()
    return 0


if __name__ == "__main__":
    sys.exit(main())
