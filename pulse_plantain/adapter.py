"""The adapter on disk: one safetensors file that both diffusers and PEFT load, and its prompt.

Here live the file's names, what its header says of the pulse, and the embeddings of the one
prompt; the weights themselves are loaded by diffusers or PEFT.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from diffusers.utils import _get_model_file
from huggingface_hub.errors import HFValidationError
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from . import sheet

if TYPE_CHECKING:
    from peft import PeftModel

PROMPT = (
    "Generate a pulse visualization of the skin: hue is phase, red at systole, "
    "brightness is amplitude."
)
"""The one frozen prompt of the task; the adapter is trained with it and with nothing else."""

WEIGHTS_FILE = "adapter_model.safetensors"
CONFIG_FILE = "adapter_config.json"

PROMPT_FILE = "prompt_embeds.safetensors"
"""Where an adapter's folder keeps the prompt's embeddings, if it does."""

HEADER_KEY = "pulse_config"
"""Key of a file's header under which stands what the pipeline must know of the adapter."""

PLACES = (WEIGHTS_FILE, f"tiny/adapter/{WEIGHTS_FILE}", "pytorch_lora_weights.safetensors")
"""Where an adapter lies in a folder or a repository, the first that is there: PEFT's name, the
miniature's in this project's own repository, and the name that `save_lora_weights` gives."""

PREFIXES = ("base_model.model.", "transformer.")
"""What PEFT and diffusers put before the names of an adapter's weights."""


def find_weights(source: str | Path, weight_name: str | None = None, **kwargs) -> str:
    """Local path of an adapter's weights, downloaded where they are on the Hub.

    Args:
        source: folder, file or Hub id.
        weight_name: name of the file; one of :data:`PLACES` where None.
        kwargs: of `load_lora_weights`; those that say where and how to download are used.

    Raises:
        OSError: if there is no such file.
    """
    hub = ("cache_dir", "force_download", "proxies", "local_files_only", "token", "revision")
    download: dict[str, Any] = {name: kwargs.get(name) for name in hub}
    missing = None
    for name in [weight_name] if weight_name else PLACES:
        try:
            return _get_model_file(
                source,
                weights_name=name,
                subfolder=kwargs.get("subfolder"),
                user_agent={"file_type": "attn_procs_weights", "framework": "pytorch"},
                **download,
            )
        except OSError as error:
            missing = missing or error
    assert missing is not None
    raise missing


def check_header(
    header: dict[str, Any], known: Sequence[str], geometry: sheet.SheetGeometry | None
) -> None:
    """Refuse a header that does not go with a pipeline.

    Args:
        header: of :func:`read_pulse_config`.
        known: names of the values that an adapter may bring.
        geometry: of the pipeline's sheets, None where it takes the adapter's.

    Raises:
        ValueError: for unknown values and for sheets of another geometry.
    """
    unknown = set(header) - set(known)
    if unknown:
        raise ValueError(f"the adapter's header has unknown keys {sorted(unknown)}")
    if header.get("geometry") is None or geometry is None:
        return
    theirs = sheet.SheetGeometry.from_dict(header["geometry"])
    if theirs != geometry:
        raise ValueError(
            f"the adapter was trained for {theirs}, this pipeline draws {geometry}; "
            "load it over a pipeline with geometry=None"
        )


def read_pulse_config(source: Any, **kwargs) -> dict[str, Any]:
    """What an adapter says of the pulse: the values of the pipeline's config that belong to it.

    With them a pipeline is put together over a transformer that PEFT has loaded:
    ``PulsePipeline(**components, **read_pulse_config(peft_model))``.

    Args:
        source: an adapter's file, its folder or Hub id, or a ``PeftModel``.
        kwargs: as :func:`find_weights`.

    Returns:
        ``geometry`` and the other values by name; {} for the adapter of another task.

    Raises:
        OSError: if there is no such adapter.
    """
    configs = getattr(source, "peft_config", None)
    if configs is not None:
        found = [(config.auto_mapping or {}).get(HEADER_KEY) for config in configs.values()]
        return next((config for config in found if config), {})
    path = find_weights(source, **kwargs)
    if Path(path).suffix != ".safetensors":
        return {}
    with safe_open(path, framework="pt") as file:
        return json.loads((file.metadata() or {}).get(HEADER_KEY, "{}"))


def strip_prefix(name: str) -> str:
    """The name of a weight without what PEFT or diffusers put before it."""
    for prefix in PREFIXES:
        name = name.removeprefix(prefix)
    return name


def read_widths(path: str | Path) -> dict[str, int]:
    """Width of the input of every Linear that a file has a LoRA matrix for, by its name."""
    widths = {}
    with safe_open(path, framework="pt") as file:
        for key in sorted(file.keys()):
            name, matrix, _ = strip_prefix(key).partition(".lora_A.")
            if matrix:
                widths[name] = file.get_slice(key).get_shape()[-1]
    return widths


ALWAYS = (
    *("peft_type", "r", "lora_alpha", "lora_dropout", "bias", "target_modules"),
    *("rank_pattern", "alpha_pattern"),
)
"""Values of a LoRA config that a file's header always has."""

NEVER = ("auto_mapping", "megatron_core", "peft_version", "qalora_group_size")
"""Values that say nothing of how the weights are used."""


def shorten_config(config: dict[str, Any]) -> dict[str, Any]:
    """A LoRA config without the values that say nothing, for a file's header.

    Every release of PEFT adds a value or two, and an older one refuses the header that has them.
    """
    said = {name: value for name, value in config.items() if value or name in ALWAYS}
    return {name: value for name, value in said.items() if name not in NEVER}


def describe_adapter(
    peft_model: PeftModel, pulse_config: dict[str, Any], base_model: str | None = None
) -> dict[str, Any]:
    """What adapter_config.json says, as a dict; arguments as :func:`write_adapter`."""
    lora = peft_model.peft_config[str(peft_model.active_adapter)].to_dict()
    config = {key: sorted(v) if isinstance(v, set | frozenset) else v for key, v in lora.items()}
    config |= {"base_model_name_or_path": base_model, "inference_mode": True}
    config["auto_mapping"] = {
        "base_model_class": type(peft_model.get_base_model()).__name__,
        "parent_library": "diffusers",
        HEADER_KEY: pulse_config,
    }
    return config


def write_adapter(
    folder: str | Path,
    peft_model: PeftModel,
    pulse_config: dict[str, Any],
    base_model: str | None = None,
) -> Path:
    """Write ``adapter_model.safetensors`` and ``adapter_config.json``.

    The weights carry PEFT's names. The header carries ``lora_adapter_metadata`` (the LoRA
    config, which diffusers reads alpha from) and ``pulse_config`` (what the pipeline must know of
    the adapter; adapter_config.json has it under ``auto_mapping``, the one place where PEFT does
    not prescribe the keys), so that ``pipe.load_lora_weights(folder, weight_name=path.name)``
    and ``PeftModel.from_pretrained(transformer, folder)`` load the same model.

    Args:
        folder: created where missing; nothing else in it is touched.
        peft_model: a PeftModel over the pipeline's transformer with LoRA on Linears in its blocks.
        pulse_config: JSON-able dict with the pipeline's config values that belong to the adapter:
            ``geometry`` (SheetGeometry.to_dict()), ``noise_scale``, ``appearance_size``, and
            ``min_confidence`` and ``reading``, which are fitted.
        base_model: Hub id of the base, for ``base_model_name_or_path``.

    Returns:
        Path of the safetensors file.
    """
    from peft import get_peft_model_state_dict

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    config = describe_adapter(peft_model, pulse_config, base_model)
    header = {
        "format": "pt",
        "lora_adapter_metadata": json.dumps(
            {f"transformer.{key}": value for key, value in shorten_config(config).items()},
            sort_keys=True,
        ),
        HEADER_KEY: json.dumps(pulse_config, sort_keys=True),
    }
    weights = {
        name: weight.detach().cpu().contiguous()
        for name, weight in get_peft_model_state_dict(peft_model).items()
    }
    text = json.dumps(config, indent=2, sort_keys=True) + "\n"
    (folder / CONFIG_FILE).write_text(text, encoding="utf-8")
    path = folder / WEIGHTS_FILE
    save_file(weights, path, metadata=header)
    return path


def set_pulse_values(path: str | Path, values: dict[str, Any]) -> None:
    """Change values in the header of an adapter file and in the settings beside it.

    The weights stay as they are, and so does the whole file where nothing changes.

    Args:
        path: of the file.
        values: of the pipeline's config, by name; a file without any gets them all.
    """
    path = Path(path)
    with safe_open(path, framework="pt") as file:
        old = dict(file.metadata() or {})
    header = dict(old)
    known = json.loads(header.get("lora_adapter_metadata", "{}"))
    short = shorten_config({name.removeprefix("transformer."): known[name] for name in known})
    short = {f"transformer.{name}": value for name, value in short.items()}
    if known:
        header["lora_adapter_metadata"] = json.dumps(short, sort_keys=True)
    config = json.loads(header.get(HEADER_KEY, "{}")) | values
    header[HEADER_KEY] = json.dumps(config, sort_keys=True)
    if header != old:  # the order of a header is not the same twice
        new = path.with_suffix(".new")
        save_file(load_file(path), new, metadata=header)
        new.replace(path)
    settings = path.with_name(CONFIG_FILE)
    written = json.loads(settings.read_text()) if settings.is_file() else {}
    if written.get("auto_mapping"):
        written["auto_mapping"][HEADER_KEY] = config
        settings.write_text(json.dumps(written, indent=2, sort_keys=True) + "\n")


def write_prompt_embeds(path: str | Path, embeds: torch.Tensor) -> None:
    """Write the prompt's embeddings [1, L, D]."""
    save_file({"prompt_embeds": embeds.cpu().contiguous()}, path, metadata={"prompt": PROMPT})


def read_prompt_embeds(path: str | Path) -> torch.Tensor:
    """Embeddings [1, L, D] from a file of :func:`write_prompt_embeds`.

    Raises:
        ValueError: if they are another prompt's.
    """
    with safe_open(path, framework="pt") as file:
        prompt = (file.metadata() or {}).get("prompt")
        if prompt != PROMPT:
            raise ValueError(f"{path} holds embeddings of another prompt: {prompt!r}")
        return file.get_tensor("prompt_embeds")


def find_prompt_embeds(source: str | None) -> torch.Tensor:
    """The prompt's embeddings that lie beside a pipeline's index, in a folder or on the Hub.

    Args:
        source: folder or Hub id that the pipeline was loaded from, None where it was not loaded.

    Raises:
        ValueError: if there are none.
    """
    try:
        return read_prompt_embeds(find_weights(source or "", PROMPT_FILE))
    except (OSError, HFValidationError):
        raise ValueError(
            "this pipeline has no text encoder: pass prompt_embeds=, a tensor or the path of a "
            "file written by save_prompt_embeds()"
        ) from None


def embed_prompt(pipe: Any) -> torch.Tensor:
    """Embeddings [1, L, D] of the one prompt, not padded, by a pipeline's text encoder.

    They are read from the file beside the pipeline's index where it has no text encoder.

    Raises:
        ValueError: without a text encoder and without a file.
    """
    if pipe.text_encoder is None or pipe.tokenizer is None:
        return find_prompt_embeds(pipe.name_or_path)
    text = pipe.tokenizer.apply_chat_template(
        [{"role": "user", "content": PROMPT}],
        tokenize=False,
        add_generation_prompt=True,
        enable_thinking=False,
    )
    length = len(pipe.tokenizer(text)["input_ids"])
    return pipe.encode_prompt(PROMPT, max_sequence_length=length)[0]


def keep_prompt(pipe: Any, folder: Path) -> None:
    """Write the prompt's embeddings into a folder, where a pipeline knows them."""
    try:
        embeds = pipe.encode_task_prompt()
    except ValueError:  # it has neither a text encoder nor their file
        return
    folder.mkdir(parents=True, exist_ok=True)
    write_prompt_embeds(folder / PROMPT_FILE, embeds)


def check_prompt_embeds(embeds: torch.Tensor | str | Path, width: int) -> torch.Tensor:
    """Embeddings [1, L, width] from a tensor or a file.

    Raises:
        ValueError: if they have another shape or are another prompt's.
    """
    if not isinstance(embeds, torch.Tensor):
        embeds = read_prompt_embeds(embeds)
    if embeds.ndim != 3 or len(embeds) != 1 or embeds.shape[-1] != width:
        raise ValueError(f"prompt_embeds must be [1, L, {width}], got {tuple(embeds.shape)}")
    return embeds
