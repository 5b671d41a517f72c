"""The adapter inside a pipeline: whether it is at work, and how it is merged, saved and taken out.

Functions of a pipeline that is passed in; what lies in files is adapter.py's.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers.utils import logging
from peft import get_peft_model_state_dict
from peft.tuners.lora.layer import Linear as LoraLinear
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import load_file

from . import adapter

logger = logging.get_logger(__name__)

NO_ADAPTER = (
    "no adapter: load one first, as pipe.load_lora_weights(FOLDER OR HUB ID), or with --adapter"
)
"""Said where sheets cannot be drawn, because no adapter has said how."""


def find_layers(model: torch.nn.Module) -> list[BaseTunerLayer]:
    """The layers of a model that a LoRA was put into."""
    return [module for module in model.modules() if isinstance(module, BaseTunerLayer)]


def has_adapter(model: torch.nn.Module) -> bool:
    """Whether adapters are loaded into a model, at work or not."""
    return any(_list_adapters(layer) for layer in find_layers(model))


def is_merged(model: torch.nn.Module) -> bool:
    """Whether adapters are merged into the weights, their layers still in place."""
    return any(layer.merged for layer in find_layers(model))


def check_at_work(model: torch.nn.Module) -> None:
    """Refuse a model whose adapter was loaded, and is gone or switched off.

    Args:
        model: the transformer.

    Raises:
        ValueError: one line that says what to do.
    """
    if not has_adapter(model):
        raise ValueError(NO_ADAPTER)
    if not any(layer.merged or _list_active(layer) for layer in find_layers(model)):
        raise ValueError("no adapter: it is switched off; pipe.enable_lora() switches it on")


def _list_adapters(layer: Any) -> list[str]:
    """Names of the adapters that a layer has."""
    return list(getattr(layer, "lora_A", {}))


def _list_active(layer: Any) -> list[str]:
    """Names of the adapters that change what a layer gives."""
    if layer.disable_adapters:
        return []
    return [
        name
        for name in layer.active_adapters
        if name in _list_adapters(layer) and layer.scaling.get(name, 0) != 0
    ]


class _OneProduct(LoraLinear):
    """A linear layer with a LoRA that adds B A to its weight first where that is less work.

    Three products and two sums of all tokens become one product. Nothing is kept, so whatever is
    done to the adapter counts at once.
    """

    def forward(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        base: Any = self.base_layer
        names = _list_active(self)
        if args or kwargs or self.merged or not names or not self._pays(x, names):
            return super().forward(x, *args, **kwargs)
        weight = base.weight
        for name in names:
            up, down = self.lora_B[name].weight, self.lora_A[name].weight
            weight = torch.addmm(weight, up, down, alpha=self.scaling[name])  # pyright: ignore
        return torch.nn.functional.linear(x, weight, base.bias)

    def _pays(self, x: torch.Tensor, names: list[str]) -> bool:
        """Whether the sum is allowed (plain LoRAs in float32, at inference) and less work."""
        base: Any = self.base_layer
        plain = type(base) is torch.nn.Linear and not any(
            name in self.lora_variant
            or self.lora_bias.get(name)
            or (self.training and getattr(self.lora_dropout[name], "p", 0))
            for name in names
        )
        if not plain or torch.is_grad_enabled() or torch.is_autocast_enabled(x.device.type):
            return False
        parts = [base, *(half[name] for half in (self.lora_A, self.lora_B) for name in names)]
        same = all(p.weight.dtype == torch.float32 and p.weight.device == x.device for p in parts)
        rows, size = x.numel() // x.shape[-1], base.in_features * base.out_features
        return same and x.dtype == torch.float32 and rows * sum(base.weight.shape) > size


def hasten(model: torch.nn.Module) -> None:
    """Let the LoRA layers of a model compute in one product where that is less work.

    What they give stays the same up to rounding.

    Args:
        model: the transformer.
    """
    for layer in find_layers(model):
        if type(layer) is LoraLinear:
            layer.__class__ = _OneProduct


def read_layers(model: torch.nn.Module, name: str | None = None) -> dict[str, torch.Tensor]:
    """Weights of an adapter that is loaded, by PEFT's names without a prefix.

    Args:
        model: the transformer.
        name: of the adapter; the active one where None.

    Raises:
        ValueError: if there is none.
    """
    check_at_work(model)
    own = name or _name_active(model)
    # Embeddings are never part of it; PEFT would ask the Hub whether they are.
    return get_peft_model_state_dict(model, adapter_name=own, save_embedding_layers=False)


def describe_layers(model: torch.nn.Module) -> dict[str, Any]:
    """The LoRA config of the active adapter, as its file's header has it."""
    configs: Any = model.peft_config
    values = configs[_name_active(model)].to_dict()
    return {
        key: sorted(value) if isinstance(value, (set, frozenset)) else value
        for key, value in adapter.shorten_config(values).items()
    }


def _name_active(model: torch.nn.Module) -> str:
    """Name of the first adapter that is at work."""
    for layer in find_layers(model):
        for name in _list_active(layer) or list(layer.merged_adapters):
            return name
    raise ValueError(NO_ADAPTER)


@contextmanager
def merge_for_saving(pipe: Any) -> Iterator[None]:
    """While the context lasts, the pipeline's transformer is a copy with the adapter merged in.

    What `save_pretrained` of diffusers writes of a transformer with LoRA layers reloads without an
    error as another model, because the names of its weights have changed.

    Args:
        pipe: the pipeline; its config says under ``merged_adapter`` which adapter it is.

    Raises:
        ValueError: if the adapter is switched off.
    """
    if not find_layers(pipe.transformer):
        yield
        return
    own, before = pipe.transformer, pipe.config.merged_adapter
    digest = digest_weights(read_layers(own))
    merged = copy.deepcopy(own)
    if not is_merged(merged):
        merged.fuse_lora()
    merged.unload_lora()
    try:
        pipe.transformer = merged
        pipe.register_to_config(merged_adapter=digest)
        yield
    finally:
        pipe.transformer = own
        pipe.register_to_config(merged_adapter=before)


def digest_weights(weights: Mapping[str, torch.Tensor]) -> str:
    """A name of an adapter by its weights: 16 hex digits, the same under any prefix."""
    digest = hashlib.sha256()
    plain = {adapter.strip_prefix(name): weight for name, weight in weights.items()}
    for name in sorted(plain):
        digest.update(name.encode())
        digest.update(plain[name].detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def find_adapter(source: Any, **kwargs) -> tuple[Any, dict[str, Any]]:
    """Where an adapter's weights lie, and what their header says of the pulse.

    Args:
        source: of `load_lora_weights`: folder, file or Hub id, or a dict of weights.
        kwargs: of `load_lora_weights`.

    Returns:
        (path of the file, or the source itself where the parent knows where else to look,
        :func:`adapter.read_pulse_config`).

    Raises:
        OSError: if a ``weight_name`` is given and there is no such file.
    """
    if isinstance(source, dict):
        return source, {}
    try:
        path = adapter.find_weights(source, **kwargs)
    except OSError:  # another name or format
        if kwargs.get("weight_name") is not None:
            raise
        return source, {}
    return path, adapter.read_pulse_config(path)


def holds_already(pipe: Any, source: Any) -> bool:
    """Whether an adapter is in the weights of a pipeline's transformer already; says so.

    Raises:
        ValueError: if it is another one than that, or does not fit the transformer.
    """
    file = isinstance(source, str) and source.endswith(".safetensors") and Path(source).is_file()
    if not file:
        return False
    check_fit(Path(source), pipe.transformer)
    held = pipe.config.merged_adapter
    if held is None:
        return False
    if digest_weights(load_file(source)) != held:
        raise ValueError(
            "the weights of this pipeline hold another adapter already: load this one over its base"
        )
    logger.warning("the weights of this pipeline hold this adapter already: nothing is loaded")
    return True


def digest_merged(model: torch.nn.Module) -> str | None:
    """:func:`digest_weights` of an adapter that is fused into the weights; None where none is."""
    return digest_weights(read_layers(model)) if is_merged(model) else None


def describe_for_saving(
    model: torch.nn.Module, layers: Any, options: Mapping[str, Any]
) -> dict[str, Any]:
    """Keywords of diffusers' `save_lora_weights`: weights and LoRA config of the adapter at work.

    Args:
        model: the transformer.
        layers: the weights to write; those of the adapter at work where None.
        options: other keywords, which stand as they are.

    Raises:
        ValueError: without an adapter.
    """
    layers, known = layers or read_layers(model), {}
    if has_adapter(model):
        known = {"transformer_lora_adapter_metadata": describe_layers(model)}
    return known | {"transformer_lora_layers": layers} | dict(options)


def write_header(folder: str | Path, header: dict[str, Any], weight_name: str | None) -> None:
    """Put what the pipeline must know of an adapter into the file that diffusers wrote of it."""
    path = Path(folder) / (weight_name or adapter.PLACES[-1])
    if path.suffix == ".safetensors" and path.is_file():
        adapter.set_pulse_values(path, header)


def check_fit(weights: Path, model: torch.nn.Module) -> None:
    """Refuse an adapter that was trained for another base.

    Args:
        weights: its file.
        model: the transformer.

    Raises:
        ValueError: if one of its matrices does not go with the transformer's Linear of that name.
    """
    for name, width in adapter.read_widths(weights).items():
        try:
            own = int(model.get_submodule(name).in_features)  # pyright: ignore
        except AttributeError:
            raise ValueError(f"{weights.name} is for another model: there is no {name}") from None
        if own != width:
            raise ValueError(
                f"{weights.name} does not fit this base: its {name} takes {width} values, and the "
                f"transformer's {own}"
            )
