"""What others load from this repository: its root as a diffusers pipeline, and a Space.

Both are made of the miniature in ``tiny/`` and of the code; nothing is trained or measured here.
"""

import json
import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pulse_plantain.adapter import PLACES, WEIGHTS_FILE, set_pulse_values
from pulse_plantain.pipeline import PulsePipeline

COMPONENTS = ("scheduler", "text_encoder", "tokenizer", "transformer", "vae")
"""Folders of a pipeline, by the names of its components."""

INDEX = "model_index.json"

BASE, ADAPTER = "tiny", "tiny/adapter"
"""Where the miniature's base and its adapter lie in the repository."""

SPACE_FILES = ("app.py", "handler.py", "LICENSE", "tiny", "assets/demo.mp4", "pulse_plantain")
"""What a Space needs of the repository; of the package all but ``lab/``."""

SPACE_CARD = """---
title: pulse-plantain
emoji: 🫀
colorFrom: red
colorTo: green
sdk: gradio
sdk_version: {gradio}
python_version: "3.11"
app_file: app.py
license: apache-2.0
short_description: A heart rate, read off a picture that FLUX.2 draws
---

A heart rate from 5 to 10 s of video of a face. **Not a medical device.**
"""
"""The front matter that the Hub reads of a Space, and what stands below it."""


def write_root(root: Path) -> None:
    """Write the pipeline that ``DiffusionPipeline.from_pretrained`` loads from the root.

    It is the miniature with its adapter merged into the transformer. The index names the class in
    ``pipeline.py``, and leaves out the weights below ``tiny/`` when a pipeline is downloaded. The
    adapter of the miniature is also put under the name that ``load_lora_weights`` prefers to every
    other file of a repository.

    Args:
        root: folder of the repository.
    """
    set_pulse_values(root / ADAPTER / WEIGHTS_FILE, {})  # a header that older PEFTs take, too
    pipe = PulsePipeline.from_pretrained(root / BASE)
    pipe.load_lora_weights(str(root / ADAPTER))
    for name in COMPONENTS:
        shutil.rmtree(root / name, ignore_errors=True)
        shutil.copytree(root / BASE / name, root / name, copy_function=shutil.copyfile)
    with tempfile.TemporaryDirectory() as temporary:
        written = Path(temporary)
        pipe.save_pretrained(written)
        for path in (written / "transformer").glob("*.safetensors"):
            shutil.copyfile(path, root / "transformer" / path.name)
        index = describe_root(json.loads((written / INDEX).read_text()))
    (root / INDEX).write_text(json.dumps(index, indent=2, sort_keys=True) + "\n")
    shutil.copyfile(root / ADAPTER / WEIGHTS_FILE, root / ADAPTER / PLACES[-1])


def describe_root(index: dict[str, Any]) -> dict[str, Any]:
    """The index of the root, from the one that `save_pretrained` wrote."""
    weights = ["text_encoder/model"]
    weights += [f"{name}/diffusion_pytorch_model" for name in ("transformer", "vae")]
    known = {name: value for name, value in index.items() if name != "_name_or_path"}
    return known | {
        "_class_name": ["pipeline", "PulsePipeline"],  # of pipeline.py beside the index
        "_ignore_files": [
            f"{BASE}/{name}.safetensors" for name in (*weights, "text_encoder/model")
        ],
        "tokenizer": ["transformers", "Qwen2TokenizerFast"],  # the name in transformers 4 and 5
    }


def write_space(root: Path, out: Path) -> None:
    """Write the folder of a Space: the page, what it needs, its card and its requirements.

    Args:
        root: folder of the repository.
        out: a new folder.

    Raises:
        FileExistsError: if there is such a folder.
    """
    out.mkdir(parents=True)
    without = shutil.ignore_patterns("lab", "bundled", "__pycache__")
    for name in SPACE_FILES:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        if (root / name).is_dir():
            shutil.copytree(root / name, out / name, ignore=without)
        else:
            shutil.copyfile(root / name, out / name)
    (out / "README.md").write_text(SPACE_CARD.format(gradio=version("gradio")), encoding="utf-8")
    lines = [
        line
        for name in ("requirements.txt", "requirements-app.txt")
        for line in (root / name).read_text().splitlines()
        if line and not line.startswith(("#", "-r"))
    ]
    (out / "requirements.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
