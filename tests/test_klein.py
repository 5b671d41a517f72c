"""The adapter for FLUX.2-klein-base-4B: its configuration against the real architecture."""

import json
import re

import pytest
import tiny_components
import torch
from conftest import ROOT, run_script
from diffusers import Flux2KleinPipeline
from peft import LoraConfig, PeftConfig, PeftModel, get_peft_model

from pulse_plantain.adapter import describe_adapter, write_adapter
from pulse_plantain.flux2 import token_size
from pulse_plantain.lab import klein
from pulse_plantain.lab.adapter_settings import read_settings
from pulse_plantain.lab.training import WINDOWS
from pulse_plantain.pipeline import PulsePipeline
from pulse_plantain.sheet import SheetGeometry

CONFIG = ROOT / "adapter_config.json"


@pytest.fixture(scope="module")
def settings():
    return json.loads(CONFIG.read_text())


@pytest.fixture(scope="module")
def lora(settings):
    return LoraConfig(
        r=settings["r"],
        lora_alpha=settings["lora_alpha"],
        target_modules=settings["target_modules"],
        init_lora_weights="gaussian",
    )


def test_the_architecture_is_the_real_one():
    count = sum(p.numel() for p in klein.make_transformer().parameters())
    assert count == 3_875_544_576
    assert sum(p.numel() for p in klein.make_vae().parameters()) == 84_046_115


def test_the_adapter_names_every_linear_of_the_blocks_and_no_other(settings, lora):
    base = klein.make_transformer()
    linears = {name for name, m in base.named_modules() if isinstance(m, torch.nn.Linear)}
    inside = {name for name in linears if re.match(r"(single_)?transformer_blocks\.", name)}
    model = get_peft_model(base, lora)
    pulse = settings["auto_mapping"]["pulse_config"]
    ours = describe_adapter(model, pulse, klein.BASE)
    assert {k: v for k, v in settings.items() if k != "peft_version"} == {
        k: v for k, v in ours.items() if k != "peft_version"
    }
    wrapped = {
        name.removeprefix("base_model.model.").removesuffix(".lora_A.default")
        for name, _ in model.named_modules()
        if name.endswith(".lora_A.default")
    }
    assert wrapped == inside and len(inside) == 5 * 12 + 20 * 2
    assert model.get_nb_trainable_parameters()[0] == 48_168_960


def test_peft_reads_the_configuration(settings):
    config = PeftConfig.from_pretrained(ROOT)
    assert (config.r, config.lora_alpha) == (settings["r"], settings["lora_alpha"])
    assert config.base_model_name_or_path == klein.BASE


def test_the_sheet_fits_the_vae(settings):
    pulse = settings["auto_mapping"]["pulse_config"]
    geometry = SheetGeometry.from_dict(pulse["geometry"])
    token = token_size(klein.make_vae())
    assert token == 16
    for side in (*geometry.size, *pulse["appearance_size"]):
        assert side % token == 0
    band = geometry.size[0] / geometry.bands
    assert geometry.samples == 128 and band / geometry.samples == 2  # px a sample
    assert 60 * band / (8 * WINDOWS[0]) == 240  # bpm at which the VAE's latents are blind


def test_the_trainer_follows_the_configuration(tmp_path, capsys):
    defaults = read_settings(CONFIG)
    assert defaults["base"] == klein.BASE and defaults["sheet"] == (4, 128, 16, 1024, 256)
    other = tmp_path / "adapter_config.json"
    other.write_text("{}")
    assert run_script("train_adapter", "--config", other) == 2
    assert "no adapter_config.json with a pulse_config" in capsys.readouterr().err


def test_an_adapter_of_full_depth_loads_by_both_routes(settings, lora, tmp_path):
    parts = tiny_components.components()
    narrow = klein.NARROW | {"in_channels": 16}
    torch.manual_seed(0)
    parts["transformer"] = klein.make_transformer("cpu", **narrow)
    Flux2KleinPipeline(**parts).save_pretrained(tmp_path / "base")
    trained = get_peft_model(parts["transformer"], lora)
    for name, parameter in trained.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    pulse = settings["auto_mapping"]["pulse_config"]
    write_adapter(tmp_path / "pulse", trained.eval(), pulse, klein.BASE)
    pipe = PulsePipeline.from_pretrained(tmp_path / "base")
    bare = PulsePipeline.from_pretrained(tmp_path / "base").transformer
    pipe.load_lora_weights(tmp_path / "pulse", weight_name="adapter_model.safetensors")
    peft = PeftModel.from_pretrained(bare, tmp_path / "pulse").eval()
    inputs = tiny_components.transformer_inputs(1)
    with torch.no_grad():
        wanted = trained(**inputs)[0]
        assert torch.equal(peft(**inputs)[0], wanted)
        ours = pipe.transformer(**inputs)[0]  # in fewer products: the same up to rounding
        torch.testing.assert_close(ours, wanted, rtol=1e-5, atol=1e-5)
        with peft.disable_adapter():
            assert (peft(**inputs)[0] - wanted).abs().max() > 1e-3
    assert pipe.geometry == SheetGeometry.from_dict(pulse["geometry"])
