"""Every way the pipeline and its adapter are loaded, against a small Hub on localhost."""

import copy
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import tiny_components
import torch
from conftest import ROOT
from diffusers import Flux2KleinPipeline
from local_hub import LocalHub, run_fresh
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from stand_ins import GEOMETRY

from pipeline import PulsePipeline
from pulse_plantain.adapter import PROMPT_FILE, write_adapter
from pulse_plantain.loading import find_device, load_pipeline, name_types
from pulse_plantain.posterior import MIN_CONFIDENCE, Weights
from pulse_plantain.sheet import SheetGeometry

PULSE_CONFIG = {
    "geometry": GEOMETRY.to_dict(),
    "default_windows": [8.0, 6.0, 10.0],
    "min_confidence": 0.4,
    "noise_scale": 0.25,
}
TARGETS = (
    r"transformer_blocks\.\d+\.(attn\.(to_q|to_k|to_v|to_out\.0)|ff\.linear_in|ff\.linear_out)"
    r"|single_transformer_blocks\.\d+\.attn\.(to_qkv_mlp_proj|to_out)"
)

ROUTES = """
import json, sys
import numpy as np
from diffusers import DiffusionPipeline, Flux2KleinPipeline
from huggingface_hub import snapshot_download

folder, embeds, routes = sys.argv[1], sys.argv[2], sys.argv[3:]
clip = np.random.default_rng(0).integers(0, 255, (80, 48, 64, 3), dtype=np.uint8)

def measure(base, code, adapter, light=False):
    parts = dict(text_encoder=None, tokenizer=None) if light else {}
    pipe = DiffusionPipeline.from_pretrained(
        base, custom_pipeline=code, trust_remote_code=True, **parts
    )
    pipe.set_progress_bar_config(disable=True)
    assert isinstance(pipe, Flux2KleinPipeline) and pipe.geometry is None
    pipe.load_lora_weights(adapter)
    output = pipe(clip, fps=10, prompt_embeds=embeds if light else None)
    # What diffusers copied must do: this package may be installed here, and not elsewhere.
    assert not [name for name in sys.modules if name.split(".")[0] == "pulse_plantain"]
    return {"module": type(pipe).__module__, "field": np.abs(output.field).ravel().tolist()}

known = {
    "folder": lambda: measure("some/base", folder, folder),
    "file": lambda: measure("some/base", folder + "/pipeline_pulse.py", folder),
    "hub id": lambda: measure("some/base", "user/pulse", "user/pulse"),
    "light": lambda: measure("some/other-base", "user/pulse", "user/pulse", light=True),
    "snapshot": lambda: measure(
        snapshot_download("some/base"),
        snapshot_download("user/pulse"),
        snapshot_download("user/pulse"),
    ),
}
print(json.dumps({route: known[route]() for route in routes}))
"""


def random_adapter(transformer):
    """A PeftModel whose LoRA changes the output; alpha is not the rank."""
    config = LoraConfig(r=4, lora_alpha=7, target_modules=TARGETS)
    model = get_peft_model(transformer, config)
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


def measure(pipe):
    pipe.set_progress_bar_config(disable=True)
    clip = np.random.default_rng(0).integers(0, 255, (80, 48, 64, 3), dtype=np.uint8)
    return pipe(clip, fps=10)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A base folder, a code-and-adapter folder, and saved prompt embeddings."""
    place = tmp_path_factory.mktemp("place")
    tiny_components.save_base(place / "base")
    write_adapter(place / "pulse", random_adapter(tiny_components.transformer()), PULSE_CONFIG)
    for door in ("pipeline.py", "pipeline_pulse.py", "bijection.py"):
        shutil.copy(ROOT / door, place / "pulse")
    rooms = place / "pulse" / "pulse_plantain"
    shutil.copytree(ROOT / "pulse_plantain", rooms, ignore=shutil.ignore_patterns("__pycache__"))
    PulsePipeline.from_pretrained(place / "base").save_prompt_embeds(place / "prompt.safetensors")
    return place


@pytest.fixture(scope="module")
def expected(place):
    """|field| of the same clip, adapter and base by plain import."""
    pipe = PulsePipeline.from_pretrained(place / "base")
    without = pipe.geometry
    pipe.load_lora_weights(place / "pulse")
    assert without is None and pipe.geometry == GEOMETRY
    return np.abs(measure(pipe).field).ravel()


def run_routes(place, routes, **environment):
    """What each route gives in a fresh process that cannot import from the repo root."""
    names = (str(place / "pulse"), str(place / "prompt.safetensors"))
    done = run_fresh(ROUTES, place, *names, *routes, **environment)
    return json.loads(done.stdout.splitlines()[-1]), done.stderr


@pytest.mark.slow
def test_routes_from_the_hub_and_then_offline(place, expected):
    hub = LocalHub(
        {
            "some/base": place / "base",
            "some/other-base": place / "base",
            "user/pulse": place / "pulse",
        }
    )
    with hub as url:
        routes = ["folder", "file", "hub id", "light", "snapshot"]
        online, messages = run_routes(place, routes, HF_ENDPOINT=url, HF_HUB_OFFLINE="0")
    # The Hub is gone; what is cached must do.
    offline, _ = run_routes(place, ["snapshot"], HF_ENDPOINT=url, HF_HUB_OFFLINE="1")
    commit = hub.commit("user/pulse")
    for route, result in {**online, "offline": offline["snapshot"]}.items():
        assert result["module"].startswith("diffusers_modules.local."), route
        np.testing.assert_allclose(result["field"], expected, rtol=1e-3, atol=1e-6, err_msg=route)
    assert commit in online["hub id"]["module"]
    assert "cannot get type annotation" not in messages and "not expected" not in messages
    weights = [request for request in hub.requests if "text_encoder/model" in request]
    assert weights and not any("other-base" in request for request in weights)


CLONE = """
import json, sys
import numpy as np
import bijection
from pipeline_pulse import ClipError, PulseOutput, PulsePipeline, read_frames
import pipeline
assert pipeline.PulsePipeline is PulsePipeline
clip = np.random.default_rng(0).integers(0, 255, (80, 48, 64, 3), dtype=np.uint8)
pipe = PulsePipeline.from_pretrained(sys.argv[1])
pipe.load_lora_weights(".")
output = pipe(clip, fps=10)
assert isinstance(output, PulseOutput) and issubclass(ClipError, ValueError)
file = sys.modules["pulse_plantain.pipeline"].__file__
red = bijection.encode(0.0, 0.005).tolist()
print(json.dumps({"file": file, "red": red, "field": np.abs(output.field).ravel().tolist()}))
"""


def test_plain_import_from_a_clone(place, expected):
    done = subprocess.run(
        [sys.executable, "-c", CLONE, str(place / "base")],
        cwd=place / "pulse",
        env={**os.environ, "PYTHONPATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["file"] == str(place / "pulse" / "pulse_plantain" / "pipeline.py")
    assert result["red"][0] > 0.4 and result["red"][1:] == [0, 0]
    np.testing.assert_allclose(result["field"], expected, rtol=1e-3, atol=1e-6)


def test_adapter_is_the_same_model_for_diffusers_and_peft(place):
    pipe = Flux2KleinPipeline.from_pretrained(place / "base")
    bare = copy.deepcopy(pipe.transformer)
    trained = random_adapter(copy.deepcopy(bare))
    write_adapter(place / "same", trained, PULSE_CONFIG)
    peft = PeftModel.from_pretrained(copy.deepcopy(bare), place / "same").eval()
    pipe.load_lora_weights(place / "same", weight_name="adapter_model.safetensors")
    inputs = tiny_components.transformer_inputs(2)
    with torch.no_grad():
        wanted = trained(**inputs)[0]
        assert torch.equal(peft(**inputs)[0], wanted)
        assert torch.equal(pipe.transformer(**inputs)[0], wanted)
        assert (bare(**inputs)[0] - wanted).abs().max() > 0.01
    assert sorted(path.name for path in (place / "same").iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]


def test_header_is_adopted_and_survives_saving(place, tmp_path):
    pipe = PulsePipeline.from_pretrained(place / "base")
    pipe.load_lora_weights(place / "pulse" / "adapter_model.safetensors")
    assert (pipe.config.min_confidence, pipe.config.noise_scale) == (0.4, 0.25)
    assert pipe.config.default_windows == [8.0, 6.0, 10.0]
    pipe.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "model_index.json").read_text())["geometry"] == (
        GEOMETRY.to_dict()
    )


def test_the_miniature_brings_the_reading_that_others_have_by_default(miniature):
    """An adapter that brings no numbers of the reading is read by those of the miniature."""
    assert miniature.config.reading is not None
    own = miniature.reading_weights.to_dict()
    assert own == json.loads(json.dumps(Weights().to_dict()))


def test_another_geometry_is_a_clear_error_and_changes_nothing(place):
    other = SheetGeometry(4, 64, 8, (256, 64))
    pipe = PulsePipeline.from_pretrained(place / "base", geometry=other)
    with pytest.raises(ValueError, match=r"samples=96.*this pipeline draws .*samples=64"):
        pipe.load_lora_weights(place / "pulse")
    assert pipe.geometry.samples == 64 and pipe.config.min_confidence == MIN_CONFIDENCE
    assert not hasattr(pipe.transformer, "peft_config")


def test_headers_of_other_files(place, tmp_path):
    """A LoRA of anyone's loads as in the parent; a header nobody knows is refused."""
    weights = load_file(place / "pulse" / "adapter_model.safetensors")
    save_file(weights, tmp_path / "pytorch_lora_weights.safetensors", metadata={"format": "pt"})
    pipe = PulsePipeline.from_pretrained(place / "base")
    pipe.load_lora_weights(tmp_path)
    pipe.load_lora_weights(weights, adapter_name="from_memory")
    assert set(pipe.transformer.peft_config) == {"default_0", "from_memory"}
    assert pipe.geometry is None
    header = {"pulse_config": json.dumps({"wavelength": 540})}
    save_file(weights, tmp_path / "adapter_model.safetensors", metadata=header)
    with pytest.raises(ValueError, match="wavelength"):
        pipe.load_lora_weights(tmp_path)
    with pytest.raises(OSError, match=r"missing\.safetensors"):
        pipe.load_lora_weights(tmp_path, weight_name="missing.safetensors")


def test_over_another_pipelines_components(place, expected):
    base = Flux2KleinPipeline.from_pretrained(place / "base")
    for pipe in (PulsePipeline(**base.components), PulsePipeline.from_pipe(base)):
        pipe.load_lora_weights(place / "pulse")
        np.testing.assert_allclose(np.abs(measure(pipe).field).ravel(), expected, atol=1e-6)
        pipe.unload_lora_weights()
        with pytest.raises(ValueError, match="no adapter: load one first"):
            measure(pipe)


def test_a_pipeline_without_a_text_encoder_keeps_the_embeddings_wherever_it_goes(
    pipe, tmp_path, monkeypatch
):
    pipe.save_prompt_embeds(tmp_path / "prompt.safetensors")
    light = PulsePipeline(**{**pipe.components, "text_encoder": None, "tokenizer": None})
    light.load_prompt_embeds(tmp_path / "prompt.safetensors")
    light.save_pretrained(tmp_path / "first")
    again = PulsePipeline.from_pretrained(tmp_path / "first")
    pushed = []
    for place in ("create_repo", "load_or_create_model_card", "populate_model_card"):
        monkeypatch.setattr(f"diffusers.pipelines.pipeline_utils.{place}", mock.MagicMock())

    def push(pipe, folder, *_, **__):
        pushed.extend(path.name for path in Path(folder).iterdir())

    monkeypatch.setattr(PulsePipeline, "_upload_folder", push)
    again.save_pretrained(str(tmp_path / "second"), push_to_hub=True, repo_id="a/b")
    assert PROMPT_FILE in pushed and "model_index.json" in pushed
    last = PulsePipeline.from_pretrained(tmp_path / "second")
    assert torch.equal(last.encode_task_prompt(), pipe.encode_task_prompt())
    bare = PulsePipeline(**{**pipe.components, "text_encoder": None, "tokenizer": None})
    bare.save_pretrained(tmp_path / "bare")
    assert not (tmp_path / "bare" / PROMPT_FILE).exists()


def test_a_device_that_is_not_there_is_named():
    assert find_device("cpu") == torch.device("cpu")
    for name in ("foo", "mps" if not torch.backends.mps.is_available() else "cuda:99"):
        with pytest.raises(ValueError, match=f"^no device '{name}' here") as caught:
            find_device(name)
        assert "\n" not in str(caught.value)


def test_a_repository_with_code_of_its_own_is_no_model_of_the_loader():
    with pytest.raises(ValueError, match=r"^/.* brings code of its own.*trust_remote_code=True"):
        load_pipeline(ROOT)


def test_types_are_asked_for_by_the_name_that_this_diffusers_knows():
    assert name_types(1, "0.39.0") == {"torch_dtype": 1} and name_types(1, "0.40.0") == {"dtype": 1}
    types = name_types({"default": torch.float16, "vae": torch.float32})
    pipe = PulsePipeline.from_pretrained(ROOT / "tiny", **types)
    assert (pipe.transformer.dtype, pipe.vae.dtype) == (torch.float16, torch.float32)
