"""The adapter on disk: one safetensors file that both diffusers and PEFT load.

Writing only; the pipeline reads the header back when it loads the weights.
"""

import json
from pathlib import Path

from peft import get_peft_model_state_dict
from safetensors.torch import save_file


def _plain(config):
    """LoraConfig as a JSON-able dict with sets in a fixed order."""
    return {
        key: sorted(value) if isinstance(value, (set, frozenset)) else value
        for key, value in config.to_dict().items()
    }


def adapter_config(peft_model, pulse_config, base_model=None):
    """What adapter_config.json says, as a dict; arguments as :func:`write_adapter`."""
    config = _plain(peft_model.peft_config[peft_model.active_adapter])
    config |= {"base_model_name_or_path": base_model, "inference_mode": True}
    config["auto_mapping"] = {
        "base_model_class": type(peft_model.get_base_model()).__name__,
        "parent_library": "diffusers",
        "pulse_config": pulse_config,
    }
    return config


def write_adapter(folder, peft_model, pulse_config, base_model=None):
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
            ``geometry`` (SheetGeometry.to_dict()), ``min_confidence``, ``noise_scale``,
            ``appearance_size``.
        base_model: Hub id of the base, for ``base_model_name_or_path``.

    Returns:
        Path of the safetensors file.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    config = adapter_config(peft_model, pulse_config, base_model)
    header = {
        "format": "pt",
        "lora_adapter_metadata": json.dumps(
            {f"transformer.{key}": value for key, value in config.items()}, sort_keys=True
        ),
        "pulse_config": json.dumps(pulse_config, sort_keys=True),
    }
    weights = {
        name: weight.detach().cpu().contiguous()
        for name, weight in get_peft_model_state_dict(peft_model).items()
    }
    (folder / "adapter_config.json").write_text(
        json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8"
    )
    path = folder / "adapter_model.safetensors"
    save_file(weights, path, metadata=header)
    return path
