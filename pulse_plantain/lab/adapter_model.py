"""The model that is trained: a frozen base, the adapter in it, and the adapter's running average.

Here it is built, spread over processes, asked for tokens and asked for a reading.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import parse_flag_from_env
from peft import (
    LoraConfig,
    PeftModel,
    get_peft_model,
    get_peft_model_state_dict,
    set_peft_model_state_dict,
)
from safetensors.torch import load_file
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard

from pulse_plantain.adapter import WEIGHTS_FILE
from pulse_plantain.drawing import Drawing
from pulse_plantain.flux2 import (
    decode_tokens,
    image_ids,
    predict_clean,
    predict_velocity,
    token_size,
)
from pulse_plantain.lab.adapter_settings import AdapterSettings
from pulse_plantain.lab.looks import Look, read_look
from pulse_plantain.lab.training import autocast_where_fast
from pulse_plantain.loading import name_types
from pulse_plantain.pipeline import PulsePipeline
from pulse_plantain.reading import decode_field
from pulse_plantain.video import ClipError

Batch = Mapping[str, torch.Tensor]
"""Pictures of clips as tokens, and the truth, as :class:`pulse_plantain.lab.batches.Batches` gives
them."""


class Lora:
    """The adapter's weights alone as a part of a checkpoint."""

    def __init__(self, model: torch.nn.Module):
        self.model = model

    def state_dict(self) -> dict[str, Any]:
        """The weights by PEFT's names."""
        return get_peft_model_state_dict(self.model)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take weights of :meth:`state_dict` over."""
        set_peft_model_state_dict(self.model, state)


class Average(torch.nn.Module):
    """Exponential moving average of the trainable parameters of a model.

    Args:
        model: whose parameters are followed.
        decay: weight of the past in the long run; less in the beginning.
    """

    def __init__(self, model: torch.nn.Module, decay: float = 0.995):
        super().__init__()
        self.decay = decay
        self.values = torch.nn.ParameterList(
            [p.detach().clone() for p in model.parameters() if p.requires_grad]
        ).requires_grad_(False)

    @torch.no_grad()
    def update(self, model: torch.nn.Module, step: int) -> None:
        """Take the model's parameters in after a step."""
        weight = 1 - min(self.decay, (1 + step) / (10 + step))
        trained = [p for p in model.parameters() if p.requires_grad]
        for mean, p in zip(self.values, trained, strict=True):
            mean.lerp_(p, weight)

    @torch.no_grad()
    def exchange(self, model: torch.nn.Module) -> None:
        """Swap the model's parameters with their averages; a second call undoes the first."""
        trained = [p for p in model.parameters() if p.requires_grad]
        for mean, p in zip(self.values, trained, strict=True):
            kept = p.clone()
            p.copy_(mean)
            mean.copy_(kept)


def shard_frozen(model: PeftModel, mesh: DeviceMesh) -> None:
    """Spread the frozen base of a PeftModel over the processes of a mesh (FSDP2), in place.

    Each block's weights are gathered when it runs. The adapter stays whole in every process: its
    gradients are averaged, its average and its checkpoints are made, as without sharding.
    """
    adapter = {p for p in model.parameters() if p.requires_grad}
    transformer: Any = model.get_base_model()
    blocks = [*transformer.transformer_blocks, *transformer.single_transformer_blocks]
    for part in (*blocks, transformer):
        fully_shard(part, mesh=mesh, ignored_params=adapter)


def average_weights(folders: Sequence[str | Path]) -> dict[str, torch.Tensor]:
    """The mean of the weights in several adapters' folders.

    Stages of one training lie in one valley, and their mean is mostly as good as the best of them
    or better (Wortsman et al., "Model soups", ICML 2022).
    """
    first, *others = [load_file(Path(folder) / WEIGHTS_FILE) for folder in folders]
    sums = {name: sum((stage[name] for stage in others), first[name]) for name in first}
    return {name: total / len(folders) for name, total in sums.items()}


class AdapterModel:
    """A base with a fresh adapter, on one device of possibly several processes.

    Args:
        settings: of the training.
        accelerator: that knows the device and the processes.

    Attributes:
        device: where everything lies.
        sharded: whether the frozen base is spread over the processes.
        layout: of the two pictures of a window.
        vae: the frozen VAE.
        peft: the PeftModel over the pipeline's transformer.
        average: of its trained parameters.

    Raises:
        ClipError: if every weight shall be trained of a base that is spread over processes.
    """

    def __init__(self, settings: AdapterSettings, accelerator: Accelerator):
        self.device = accelerator.device
        self.layout = settings.layout
        self._whole = settings.dtype == "float32"
        self._blind = settings.blind
        self.pipe = self._load_base(settings)
        self.vae = self.pipe.vae.requires_grad_(False).eval().to(self.device)
        self.prompt_embeds = self.pipe.encode_task_prompt().float().to(self.device)
        self.pipe.text_encoder = None  # 8 GB at full size; its work is done
        if settings.random_base:
            torch.manual_seed(settings.seed)
            transformer = self.pipe.transformer
            self.pipe.transformer = type(transformer).from_config(transformer.config)
        torch.manual_seed(settings.seed)
        self.peft = self._add_adapter(settings)
        ranks = accelerator.num_processes
        self.sharded = ranks > 1 and parse_flag_from_env("ACCELERATE_USE_FSDP")
        if self.sharded and settings.full:
            raise ClipError("--full trains the base that FSDP spreads: launch it without FSDP")
        if self.sharded:
            shard_frozen(self.peft, init_device_mesh(self.device.type, (ranks,)))
        if settings.full:
            self.peft.requires_grad_(True)
        self._transformer: Any = torch.compile(self.peft) if settings.compile else self.peft
        self.average = Average(self.peft)
        self._ids = image_ids(self.layout, token_size(self.vae)).to(self.device)

    def _load_base(self, settings: AdapterSettings) -> PulsePipeline:
        """The pipeline that the adapter will be called through, with its sheets."""
        dtype = settings.dtype or ("float32" if self.device.type == "cpu" else "bfloat16")
        dtypes = {"default": getattr(torch, dtype), "vae": torch.float32}
        pipe = PulsePipeline.from_pretrained(settings.base, **name_types(dtypes))
        pipe.register_to_config(
            geometry=self.layout.geometry.to_dict(),
            appearance_size=list(self.layout.appearance_size),
        )
        pipe.set_progress_bar_config(disable=True)
        return pipe

    def _add_adapter(self, settings: AdapterSettings) -> PeftModel:
        """A PeftModel over the pipeline's transformer, which it changes in place."""
        config = LoraConfig(
            r=settings.rank,
            lora_alpha=settings.alpha,
            target_modules=settings.target_modules,
            init_lora_weights="gaussian",
        )
        if settings.gradient_checkpointing:
            self.pipe.transformer.enable_gradient_checkpointing()
        model: Any = get_peft_model(self.pipe.transformer, config).to(self.device)
        if settings.start:
            set_peft_model_state_dict(model, average_weights(settings.start))
        return model

    @property
    def trained(self) -> list[torch.nn.Parameter]:
        """The parameters that are trained."""
        return [p for p in self.peft.parameters() if p.requires_grad]

    def see_appearance(self, batch: Batch) -> torch.Tensor:
        """Tokens [B, M, 4 C] of the appearance images; zeros where the model is blind to them."""
        tokens = batch["appearance"]
        return torch.zeros_like(tokens) if self._blind else tokens

    def _context(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """What the transformer is told besides the latents."""
        return self.see_appearance(batch), self.prompt_embeds, self._ids

    def autocast(self) -> torch.autocast:
        """Multiply matrices in bfloat16 where that is fast, unless float32 is asked for."""
        if self._whole and self.device.type != "cpu":
            return torch.autocast(self.device.type, enabled=False)
        return autocast_where_fast(self.device.type, self.pipe.transformer.dtype)

    def predict_clean(self, start: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Tokens of the pulse sheets that one step from ``start`` draws."""
        with self.autocast():
            return predict_clean(self._transformer, start, *self._context(batch)).float()

    def predict_velocity(
        self, latents: torch.Tensor, batch: Batch, sigma: torch.Tensor
    ) -> torch.Tensor:
        """Velocity of the flow at ``sigma`` [B] of the way."""
        context = self._context(batch)
        with self.autocast():
            return predict_velocity(self._transformer, latents, *context, sigma).float()

    def decode(self, tokens: torch.Tensor) -> torch.Tensor:
        """Pulse sheets [B, 3, H, W] in [-1, 1] of tokens."""
        width, height = self.layout.geometry.size
        return decode_tokens(self.vae, tokens, height, width).float()

    def read(self, batch: Batch, steps: int) -> list[Look]:
        """Readings of the clips of a batch, drawn in some steps of the pipeline's schedule."""
        drawing = Drawing(
            num_inference_steps=steps,
            batch_size=len(batch["motion"]),
            prompt_embeds=self.prompt_embeds,
        )
        with self.autocast():
            clean = self.pipe.denoise(batch["motion"], self.see_appearance(batch), drawing)
        geometry = self.layout.geometry
        images = self.decode(clean.float())
        fields, weights = (x.cpu().numpy() for x in decode_field(images, geometry))
        rates = geometry.samples / batch["seconds"].cpu().numpy()
        return [
            read_look(field, weight, rate)
            for field, weight, rate in zip(fields, weights, rates, strict=True)
        ]
