"""What the training of an adapter is told, and how an adapter_config.json says it.

The defaults are those of the miniature.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pulse_plantain.sheet import Layout, SheetGeometry
from pulse_plantain.video import ClipError

TARGETS = (
    r"transformer_blocks\.\d+\.(attn\.(to_q|to_k|to_v|to_out\.0|add_q_proj|add_k_proj|add_v_proj"
    r"|to_add_out)|(ff|ff_context)\.(linear_in|linear_out))"
    r"|single_transformer_blocks\.\d+\.attn\.(to_qkv_mlp_proj|to_out)"
)
"""Every Linear inside the blocks, the only ones that both loaders take."""

OBJECTIVES = ("phasor", "latent", "flow")
"""Losses in one step on latents and phasors, in one step on latents, and plain flow matching."""


@dataclass(frozen=True)
class AdapterSettings:
    """Settings of a training.

    Attributes:
        config: adapter_config.json that some of the others came from.
        base: folder or Hub id of the base.
        dtype: of the frozen base, "float32" or "bfloat16"; by the device where None.
        out: folder of the finished adapter.
        checkpoints: folder to resume from.
        cache: folder where all simulated clips are kept; where None, ``cache`` in ``checkpoints``
            holds those that this training sees again.
        log: file of the log.
        data: folders of scripts/prepare.py to learn from, in place of simulated clips.
        seed: of everything that is drawn.
        start: folders of adapters to begin with; of several, their mean.
        steps, batch, lr: of the training.
        clips: different clips that are simulated.
        skip: clips that an earlier run has seen.
        light: of the simulated clips, one of lab.synthetic.LIGHTS.
        calm: share of the simulated clips that are calm faces of one course.
        workers: processes that simulate clips ahead, on the GPU where there is one; 0 for none.
        accumulate: batches of a step in each process.
        gradient_checkpointing: whether to save memory.
        optimizer: "adamw" or "adamw8bit".
        compile: whether to compile the transformer.
        rank, alpha, target_modules: of the LoRA.
        noise_scale: standard deviation of the noise on an ensemble's starts.
        validate_every: steps between validations.
        validation_batches: batches of each.
        sheet: bands, samples, rows, width and height of the sheets.
        appearance: (width, height) of the appearance image in pixels.
        random_base: whether the transformer is drawn anew (an ablation).
        blind: whether the tokens of the appearance image are set to zero (an ablation).
        full: whether every weight of the transformer is trained; no adapter is written (an
            ablation).
        objective: one of :data:`OBJECTIVES`.
        also_steps: numbers of steps that the finished model is also validated at.
    """

    config: str | None = None
    base: str = "tiny"
    dtype: str | None = None
    out: str = "tiny/adapter"
    checkpoints: str = "checkpoints/adapter"
    cache: str | None = None
    log: str = "results/train-adapter.jsonl"
    data: Sequence[str] | None = None
    seed: int = 0
    start: Sequence[str] | None = None
    steps: int = 2600
    batch: int = 16
    clips: int = 16384
    skip: int = 0
    light: str = "plain"
    calm: float = 0.0
    workers: int = 0
    accumulate: int = 1
    gradient_checkpointing: bool = False
    optimizer: str = "adamw"
    compile: bool = False
    rank: int = 32
    alpha: int = 64
    lr: float = 2e-3
    noise_scale: float = 0.25
    validate_every: int = 400
    validation_batches: int = 8
    sheet: Sequence[int] = (4, 96, 4, 768, 32)
    appearance: Sequence[int] = (64, 64)
    random_base: bool = False
    blind: bool = False
    full: bool = False
    objective: str = "phasor"
    also_steps: Sequence[int] = ()
    target_modules: str = TARGETS

    @property
    def layout(self) -> Layout:
        """Of the two pictures that the model sees of a window."""
        bands, samples, rows, *size = self.sheet
        geometry = SheetGeometry(bands, samples, rows, size=(size[0], size[1]))
        return Layout(geometry, (self.appearance[0], self.appearance[1]))

    @property
    def cache_folder(self) -> Path:
        """Where simulated clips are kept."""
        return Path(self.cache or Path(self.checkpoints) / "cache")

    @property
    def checkpoint(self) -> Path:
        """The file to resume from."""
        return Path(self.checkpoints) / "adapter.pt"


def read_settings(path: str | Path) -> dict[str, Any]:
    """Settings that an adapter_config.json of this project makes, by name.

    Raises:
        ClipError: if it is none.
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
