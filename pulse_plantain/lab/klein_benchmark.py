"""What the 4B architecture takes, with random weights: time, memory and arithmetic.

Counts are taken of the architecture alone; times, of drawing and of training steps.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKLFlux2, Flux2Transformer2DModel
from peft import LoraConfig, PeftModel, get_peft_model
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm
from transformers import Qwen3Config, Qwen3ForCausalLM

from pulse_plantain.drawing import Drawing
from pulse_plantain.flux2 import (
    decode_tokens,
    encode_images,
    image_ids,
    predict_clean,
    token_size,
)
from pulse_plantain.lab import klein
from pulse_plantain.lab.benchmarking import gauge_memory, time_runs
from pulse_plantain.lab.losses import count_decoded
from pulse_plantain.lab.training import autocast_where_fast
from pulse_plantain.pipeline import PulsePipeline
from pulse_plantain.video import Clock
from pulse_plantain.windows import ClipWindow, encode_windows

NARROW_SHEET = {
    "geometry": {"bands": 4, "samples": 96, "rows": 4, "size": [768, 32]},
    "appearance_size": [64, 64],
}
"""The sheet of the narrow transformer, which runs anywhere and measures nothing."""


@dataclass(frozen=True)
class Klein:
    """The 4B architecture with an adapter's configuration.

    Attributes:
        config: adapter_config.json of the 4B adapter.
        tiny_vae: folder of a small VAE, for the narrow transformer.
        narrow: whether the transformer has its depth and hardly any width.
    """

    config: Path
    tiny_vae: Path
    narrow: bool = False

    def read_config(self) -> dict[str, Any]:
        """What the adapter's configuration says."""
        return json.loads(self.config.read_text())

    @property
    def sheet(self) -> dict[str, Any]:
        """The pipeline's values that belong to the adapter."""
        pulse = self.read_config()["auto_mapping"]["pulse_config"]
        sheet = {name: pulse[name] for name in ("geometry", "appearance_size", "noise_scale")}
        return sheet | (NARROW_SHEET if self.narrow else {})

    def make_vae(self, device: str) -> tuple[Any, dict[str, Any]]:
        """The VAE, and what its channels and ``narrow`` change of the transformer."""
        if not self.narrow:
            return klein.make_vae(device), {}
        vae: Any = AutoencoderKLFlux2.from_pretrained(self.tiny_vae)
        return vae.to(device), klein.NARROW | {"in_channels": 4 * vae.config.latent_channels}

    def make_pipeline(self, device: str, dtype: torch.dtype) -> PulsePipeline:
        """The pipeline with random weights, without a text encoder."""
        torch.manual_seed(0)
        vae, changes = self.make_vae(device)
        parts: dict[str, Any] = {
            "scheduler": klein.make_scheduler(),
            "vae": vae.eval(),
            "text_encoder": None,
            "tokenizer": None,
            "transformer": klein.make_transformer(device, dtype, **changes),
        }
        return PulsePipeline(**parts, **self.sheet)

    def add_adapter(self, transformer: Flux2Transformer2DModel) -> PeftModel:
        """The transformer with the adapter's LoRA, on its device."""
        config = self.read_config()
        names = ("r", "lora_alpha", "target_modules")
        model = get_peft_model(transformer, LoraConfig(**{name: config[name] for name in names}))
        return model.to(transformer.device)

    def write_base(self, folder: Path) -> None:
        """Write a base with random weights, to try the trainer at full size: 8 GB."""
        torch.manual_seed(0)
        vae, changes = self.make_vae(find_device())
        klein.write_base(folder, vae, **changes)

    def count_sizes(self) -> dict[str, Any]:
        """What the adapter and its training hold, counted on the architecture without weights."""
        base, vae = klein.make_transformer(), klein.make_vae()
        frozen = sum(p.numel() for p in base.parameters())
        model = self.add_adapter(base)
        adapted = sum(name.endswith(".lora_A.default") for name, _ in model.named_modules())
        trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
        decoder = sum(p.numel() for p in vae.parameters())
        sizes = (self.sheet["geometry"]["size"], self.sheet["appearance_size"])
        tokens = [width * height // token_size(vae) ** 2 for width, height in sizes]
        return {
            "transformer_parameters": frozen,
            "vae_parameters": decoder,
            "adapted_linears": adapted,
            "adapter_parameters": trained,
            "sheet_tokens": tokens[0],
            "appearance_tokens": tokens[1],
            "transformer_bf16_gb": 2 * frozen / 1e9,
            "vae_fp32_gb": 4 * decoder / 1e9,
            # weights, two moments of AdamW and the running average
            "adapter_fp32_gb": 4 * 4 * trained / 1e9,
        }


def find_device() -> str:
    """Where everything is measured: "cuda" where there is a GPU, else "cpu"."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def measure_matrix_rate(device: str, dtype: torch.dtype, side: int) -> float:
    """FLOP/s of a square matrix product: what the device reaches at its best."""
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    return 2 * side**3 / time_runs(lambda: a @ b, device, 10)


@dataclass(frozen=True)
class Stand:
    """A pipeline that is being timed.

    Attributes:
        pipe: with random weights.
        prompt: embeddings [1, L, D] that stand for the prompt's.
        rate: FLOP/s of :func:`measure_matrix_rate`.
        device: "cuda" or "cpu".
        repeat: runs that count.
    """

    pipe: PulsePipeline
    prompt: torch.Tensor
    rate: float
    device: str
    repeat: int

    def time(self, run: Callable[[], object]) -> float:
        """Median seconds of a function's runs."""
        return time_runs(run, self.device, self.repeat)

    def measure_drawing(self, windows: Sequence[ClipWindow]) -> dict[str, float]:
        """Times of drawing windows at once, windows a second and peak memory."""
        batch = len(windows)
        once = Drawing(batch_size=batch, prompt_embeds=self.prompt)
        motion, references = self.pipe.encode_pictures(windows, once)

        def draw(steps: int) -> torch.Tensor:
            start = self.pipe.prepare_latents(motion, 1)
            return self.pipe.denoise(start, references, replace(once, num_inference_steps=steps))

        def decode(latents: torch.Tensor) -> list[torch.Tensor]:
            return list(self.pipe.decode_sheets(latents, batch))

        with FlopCounterMode(display=False) as counter:
            latents = draw(1)
        flops = counter.get_total_flops()
        parts = {
            "encode": self.time(lambda: self.pipe.encode_pictures(windows, once)),
            "transformer_1_step": self.time(lambda: draw(1)),
            "transformer_4_steps": self.time(lambda: draw(4)),
            "decode": self.time(lambda: decode(latents)),
        }
        whole = sum(parts[name] for name in ("encode", "transformer_1_step", "decode"))
        return parts | {
            "transformer_flops_a_step": flops,
            "share_of_matrix_rate_4_steps": 4 * flops / parts["transformer_4_steps"] / self.rate,
            "windows_per_s_1_step": batch / whole,
            "peak_gib": gauge_memory(lambda: decode(draw(1)), self.device),
        }

    def measure_offload(self, clip: np.ndarray) -> dict[str, float]:
        """Peak GiB with the 8 GB text encoder on the GPU, and with everything offloaded in turn."""
        config = Qwen3Config(
            hidden_size=2560,
            num_hidden_layers=36,
            num_attention_heads=32,
            num_key_value_heads=8,
            intermediate_size=9728,
            head_dim=128,
            tie_word_embeddings=True,
        )
        with torch.device("cuda"):
            text_encoder: Any = Qwen3ForCausalLM(config)
        self.pipe.text_encoder = text_encoder.to(torch.bfloat16)

        def call() -> None:
            self.pipe(clip, fps=30, crop=(0, 0, 128, 128), prompt_embeds=self.prompt)

        together = gauge_memory(call, "cuda")
        self.pipe.enable_model_cpu_offload()
        return {
            "peak_gib_with_text_encoder": together,
            "peak_gib_cpu_offload": gauge_memory(call, "cuda"),
        }

    def measure_training(self, model: PeftModel, batch: int) -> dict[str, float]:
        """Samples a second, peak GiB and share of the matrix rate of a step of the training.

        Args:
            model: the adapter over the pipeline's transformer.
            batch: samples of a step.
        """
        step = self._make_training_step(model, batch)
        with FlopCounterMode(display=False) as counter:
            step()
        flops, seconds = counter.get_total_flops(), self.time(step)
        return {
            "batch": batch,
            "flops_a_step": flops,
            "samples_per_s": batch / seconds,
            "share_of_matrix_rate": flops / seconds / self.rate,
            "peak_gib": gauge_memory(step, self.device),
        }

    def _make_training_step(self, model: PeftModel, batch: int) -> Callable[[], None]:
        """A step like the trainer's, on random pictures."""
        vae, layout = self.pipe.vae.requires_grad_(False), self.pipe.layout
        optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)
        (width, height), (across, down) = layout.geometry.size, layout.appearance_size
        ids = image_ids(layout, token_size(vae)).to(self.device)
        sheets = torch.rand(2 * batch, 3, height, width, device=self.device) * 2 - 1
        faces = torch.rand(batch, 3, down, across, device=self.device) * 2 - 1
        decoded = count_decoded(batch)

        def step() -> None:
            with torch.no_grad():  # in every step, for recorded clips are cut anew
                motion, target = encode_images(vae, sheets).chunk(2)
                look = encode_images(vae, faces)
            with autocast_where_fast(self.device, self.prompt.dtype):
                clean = predict_clean(model, motion, look, self.prompt.float(), ids)
                images = decode_tokens(vae, clean[:decoded], height, width)
            loss = (clean.float() - target).square().mean() + images.float().square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

        return step


def measure_klein(architecture: Klein, repeat: int) -> dict[str, Any]:
    """Times (s), memory (GiB) and rates of drawing and training, on a GPU where there is one.

    Args:
        architecture: to be measured.
        repeat: runs that count.
    """
    device, narrow = find_device(), architecture.narrow
    dtype = torch.float32 if device == "cpu" and narrow else torch.bfloat16
    pipe = architecture.make_pipeline(device, dtype)
    prompt = torch.randn(1, 32, pipe.transformer.config.joint_attention_dim).to(device, dtype)
    clip = np.random.default_rng(0).integers(0, 255, (240, 128, 128, 3), np.uint8)
    window = next(encode_windows(clip, pipe.layout, clock=Clock(30)))
    pipe.set_progress_bar_config(disable=True)
    side = 512 if narrow else 4096 if device == "cpu" else 8192
    rate = measure_matrix_rate(device, dtype, side)
    figures: dict[str, Any] = {
        "device": torch.cuda.get_device_name() if device == "cuda" else "CPU",
        "threads": torch.get_num_threads(),
        "matrix_flops_per_s": rate,
        "windows": {},
    }
    drawing, training = (1, 4, 16), (1, 4, 8, 16)
    if narrow or device == "cpu":
        drawing, training = (1, 2) if narrow else (1,), (1,)
    stand = Stand(pipe, prompt, rate, device, repeat)
    _report("matrix product", figures)
    with torch.no_grad():
        for batch in drawing:
            figures["windows"][str(batch)] = stand.measure_drawing([window] * batch)
            _report(f"drawing {batch} windows at once", figures["windows"][str(batch)])
    pipe.transformer.enable_gradient_checkpointing()
    model, figures["training"] = architecture.add_adapter(pipe.transformer), []
    for batch in training:
        figures["training"].append(stand.measure_training(model, batch))
        _report(f"training on {batch} windows at once", figures["training"][-1])
    if device == "cuda":
        model.unload()
        pipe.transformer.disable_gradient_checkpointing()
        offload = stand.measure_offload(clip)
        _report("a call", offload)
        figures |= offload
    return figures


def _report(what: str, figures: Mapping[str, Any]) -> None:
    """Say what has just been measured, so that a run that is cut off was not for nothing."""
    tqdm.write(f"{what}: {json.dumps(figures)}")
