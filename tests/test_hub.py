"""The Hub's own ways: docs/hub.md from top to bottom, the root, its file list, and the Space."""

import json
import re
import shutil

import pytest
import torch
import yaml
from conftest import ROOT, run_script
from diffusers.loaders.lora_base import _best_guess_weight_name
from local_hub import LocalHub, run_fresh
from safetensors.torch import load_file
from test_publishing import repository  # noqa: F401 - a fixture

from pulse_plantain.adapter import PLACES
from pulse_plantain.lab import publishing
from pulse_plantain.pipeline import PulsePipeline

PAGE = ROOT / "docs" / "hub.md"
REPO = "user/pulse-plantain"
FACE = "crop=(80, 60, 186, 200), window=8"
NEEDS = ("scheduler", "text_encoder", "tokenizer", "transformer", "vae")


@pytest.fixture
def place(tmp_path):
    """A folder with the clip and the contact sheet that the page's code names."""
    for name in ("demo.mp4", "contact-sheet.png"):
        shutil.copy(ROOT / "assets" / name, tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def hub(repository):  # noqa: F811
    return LocalHub({REPO: repository})


def test_the_page_runs_from_top_to_bottom(hub, place):
    """Looked at is one box of the clip only; test_publishing.py runs the card's line as it is."""
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.M | re.S)
    assert len(blocks) == 8
    blocks = [block.replace('("demo.mp4")', f'("demo.mp4", {FACE})') for block in blocks]
    right = "\nassert abs(pulse.bpm - 89.3) < 3, pulse.bpm\n"
    code = blocks[0] + right + blocks[1] + right + blocks[2] + blocks[3] + blocks[4]
    code += f'pulse = again("demo.mp4", {FACE})' + right + blocks[5] + right
    code += blocks[6] + right + blocks[7] + "assert pipe.config.merged_adapter\n"
    with hub as url:
        done = run_fresh(code, place, HF_ENDPOINT=url, PYTHONPATH=str(ROOT))
    assert "ignored: prompt; the adapter has one prompt" in done.stderr
    assert done.stdout.splitlines()[1:] == ["(768, 32)"]
    saved = json.loads((place / "saved" / "model_index.json").read_text())
    assert saved["merged_adapter"] and saved["geometry"]["samples"] == 96
    assert [path.name for path in (place / "adapter").iterdir()] == [PLACES[-1]]


def test_the_root_is_the_miniature_with_its_adapter_merged():
    """`make hub` writes it; this fails where the miniature has been trained since."""
    pipe = PulsePipeline.from_pretrained(ROOT / "tiny")
    pipe.load_lora_weights(ROOT / "tiny" / "adapter")
    pipe.fuse_lora()
    pipe.unload_lora_weights()
    weights = load_file(ROOT / "transformer" / "diffusion_pytorch_model.safetensors")
    own = pipe.transformer.state_dict()
    assert own.keys() == weights.keys()
    assert max((own[name] - weights[name]).abs().max().item() for name in own) < 1e-5
    index = json.loads((ROOT / "model_index.json").read_text())
    for name in (*pipe._adapter_values, "merged_adapter"):
        assert index[name] == json.loads(json.dumps(pipe.config[name])), name
    assert index["_class_name"] == ["pipeline", "PulsePipeline"]
    assert not any("/" in str(value) for value in index.values() if isinstance(value, str))
    for name in set(NEEDS) - {"transformer"}:
        for path in (ROOT / "tiny" / name).iterdir():
            assert (ROOT / name / path.name).read_bytes() == path.read_bytes(), path
    folder = ROOT / "tiny" / "adapter"
    assert (folder / PLACES[0]).read_bytes() == (folder / PLACES[-1]).read_bytes()


def test_diffusers_takes_no_other_file_for_the_adapter(hub, monkeypatch):
    """By its own choice, in a pipeline that is not ours: load_lora_weights("user/…")."""
    listed = [type("File", (), {"rfilename": name}) for name in hub.files(REPO)]
    info = type("Info", (), {"siblings": listed})
    monkeypatch.setattr("diffusers.loaders.lora_base.model_info", lambda repo: info)
    monkeypatch.setattr("diffusers.loaders.lora_base.HF_HUB_OFFLINE", False)
    chosen = _best_guess_weight_name(REPO)
    assert chosen == f"tiny/adapter/{PLACES[-1]}"
    assert any(".lora_A." in name for name in load_file(ROOT / chosen))


def test_headers_are_read_by_older_peft_and_tokenizers_by_transformers_4():
    from safetensors import safe_open

    with safe_open(ROOT / "tiny" / "adapter" / PLACES[0], "pt") as file:
        known = json.loads(file.metadata()["lora_adapter_metadata"])
    assert {name.removeprefix("transformer.") for name in known} == {
        *("alpha_pattern", "base_model_name_or_path", "bias", "inference_mode"),
        *("init_lora_weights", "lora_alpha", "lora_dropout", "peft_type", "r"),
        *("rank_pattern", "target_modules"),
    }
    config = json.loads((ROOT / "tokenizer" / "tokenizer_config.json").read_text())
    assert "extra_special_tokens" not in config  # a dict in 4, a list in 5


def test_the_space_has_its_page_its_card_and_its_requirements(tmp_path):
    out = tmp_path / "space"
    assert run_script("publish", "--space", out) == 0
    front = yaml.safe_load((out / "README.md").read_text().split("---")[1])
    assert (front["sdk"], front["app_file"]) == ("gradio", "app.py")
    lines = (out / "requirements.txt").read_text().splitlines()
    names = {re.split("[>=]", line)[0] for line in lines}
    assert {"torch", "diffusers", "peft", "gradio"} <= names and not any("-r" in x for x in lines)
    assert not (out / "pulse_plantain" / "lab").exists()
    texts = [path.read_text() for path in (out / "app.py", out / "handler.py")]
    texts += [path.read_text() for path in (out / "pulse_plantain").glob("*.py")]
    rooms = {name for text in texts for name in re.findall(r"from pulse_plantain\.(\w+)", text)}
    assert {f"{room}.py" for room in rooms} <= {p.name for p in (out / "pulse_plantain").iterdir()}
    assert (out / "tiny" / "adapter" / PLACES[0]).is_file() and (out / "assets/demo.mp4").is_file()
    assert run_script("publish", "--space", out) == 2


def test_large_and_binary_files_are_kept_apart(repository):  # noqa: F811
    """The Hub refuses a push that has them in git itself."""
    patterns = [line.split()[0] for line in (ROOT / ".gitattributes").read_text().splitlines()]
    patterns = [pattern.removeprefix("*") for pattern in patterns if pattern != "#"]
    for path in repository.rglob("*"):
        if path.is_file() and b"\0" in path.read_bytes()[:8000]:
            assert path.suffix in patterns, path


def test_digest_is_of_the_weights_alone():
    from pulse_plantain.lora import digest_weights

    weights = {"transformer.a.lora_A.weight": torch.ones(2, 3)}
    other = {"base_model.model.a.lora_A.weight": torch.ones(2, 3)}
    assert digest_weights(weights) == digest_weights(other) != digest_weights({})
    assert publishing.BASE == "tiny"
