"""The adapter inside a pipeline: taken out, switched off, merged, saved, and given by PEFT."""

import copy
import json
import logging
import shutil
from itertools import pairwise

import numpy as np
import pytest
import tiny_components
import torch
from diffusers import Flux2KleinPipeline
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from stand_ins import GEOMETRY, noise_clip
from torch.utils.flop_counter import FlopCounterMode

from pulse_plantain import lora
from pulse_plantain.adapter import (
    WEIGHTS_FILE,
    read_pulse_config,
    set_pulse_values,
    write_adapter,
)
from pulse_plantain.faces import measure_faces
from pulse_plantain.pipeline import PulsePipeline
from pulse_plantain.posterior import MIN_CONFIDENCE

PULSE_CONFIG = {"geometry": GEOMETRY.to_dict(), "noise_scale": 0.25, "min_confidence": 0.4}
TARGETS = r"(single_)?transformer_blocks\.\d+\.attn\.(to_q|to_v|to_qkv_mlp_proj)"


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny_components.save_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory, base):
    """Folder of an adapter that changes what is drawn; alpha is not the rank."""
    model = PulsePipeline.from_pretrained(base).transformer
    model = get_peft_model(model, LoraConfig(r=4, lora_alpha=7, target_modules=TARGETS))
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    folder = tmp_path_factory.mktemp("adapter")
    write_adapter(folder, model.eval(), PULSE_CONFIG)
    return folder


@pytest.fixture
def pipe(base, trained):
    pipe = PulsePipeline.from_pretrained(base)
    pipe.load_lora_weights(trained)
    return pipe


def draw(pipe):
    """|field| [cells] of a clip of noise."""
    pipe.set_progress_bar_config(disable=True)
    return np.abs(pipe(noise_clip(5), fps=10, crop=(0, 0, 64, 48), window=5).field).ravel()


@pytest.fixture(scope="module")
def expected(base, trained):
    pipe = PulsePipeline.from_pretrained(base)
    pipe.load_lora_weights(trained)
    return draw(pipe)


def count_work(layer, x, learning=False):
    """(what a layer gives, operations that it takes)."""
    with FlopCounterMode(display=False) as counter, torch.set_grad_enabled(learning):
        return layer(x), counter.get_total_flops()


def test_a_loaded_adapter_is_added_to_the_weights_where_that_is_less_work(pipe):
    layers = lora.find_layers(pipe.transformer)
    assert {type(layer).__name__ for layer in layers} == {"_OneProduct"}
    layer = layers[0]
    plain = copy.deepcopy(layer)
    plain.__class__ = lora.LoraLinear
    generator = torch.Generator().manual_seed(0)
    width = layer.base_layer.in_features
    many = torch.randn(500, width, generator=generator)
    (ours, less), (theirs, more) = count_work(layer, many), count_work(plain, many)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
    assert less < more
    few = many[:2]
    assert count_work(layer, few)[1] == count_work(plain, few)[1]
    assert count_work(layer, many, learning=True)[1] == more  # gradients cost more through a sum
    half = copy.deepcopy(layer).to(torch.bfloat16)
    assert count_work(half, many.bfloat16())[1] == more  # rounded once more, it would differ


def test_what_is_done_to_a_loaded_adapter_counts_at_once(pipe):
    layer = lora.find_layers(pipe.transformer)[0]
    plain = copy.deepcopy(layer)
    plain.__class__ = lora.LoraLinear
    many = torch.randn(500, layer.base_layer.in_features)
    name = layer.active_adapters[0]

    def compare():
        ours, theirs = count_work(layer, many)[0], count_work(plain, many)[0]
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
        return ours

    given = [compare()]
    for change in (
        lambda own: own.set_scale(name, 0.5),
        lambda own: own.lora_B[name].weight.data.mul_(-1),
        lambda own: own.base_layer.weight.data.mul_(2),
        lambda own: own.update_layer("more", 2, lora_alpha=2, config=LoraConfig(r=2)),
        lambda own: torch.nn.init.ones_(own.lora_B["more"].weight),
        lambda own: torch.nn.init.ones_(own.lora_A["more"].weight),
        lambda own: own.set_adapter([name, "more"]),
        lambda own: own.enable_adapters(False),
    ):
        change(layer), change(plain)
        given.append(compare())
    unlike = [not torch.allclose(a, b) for a, b in pairwise(given)]
    assert unlike == [True] * 3 + [False] * 3 + [True] * 2


def test_an_adapter_that_was_taken_out_leaves_nothing_behind(pipe):
    pipe.unload_lora_weights()
    assert pipe.geometry is None and pipe.config.min_confidence == MIN_CONFIDENCE
    with pytest.raises(ValueError, match=r"^no adapter: load one first, as pipe\.load_lora_w"):
        draw(pipe)


def test_an_adapter_that_is_switched_off_is_named(pipe, expected):
    for switch_off in (
        pipe.disable_lora,
        lambda: pipe.set_adapters(["default_0"], [0.0]),
    ):
        switch_off()
        with pytest.raises(ValueError, match=r"^no adapter: it is switched off; pipe\.enable_lor"):
            draw(pipe)
        pipe.enable_lora()
    pipe.set_adapters(["default_0"], [1.0])
    np.testing.assert_allclose(draw(pipe), expected, atol=1e-6)
    pipe.delete_adapters("default_0")
    with pytest.raises(ValueError, match=r"^no adapter: load one first"):
        draw(pipe)


@pytest.mark.parametrize(
    "ask",
    [
        lambda pipe, clip: list(pipe.watch(clip, fps=10)),
        lambda pipe, clip: measure_faces(pipe, clip, [(0, 0, 64, 48)], fps=10),
    ],
)
def test_nothing_else_draws_without_the_adapter_either(pipe, ask):
    def read_none():
        raise AssertionError("a picture was read")
        yield

    pipe.disable_lora()
    with pytest.raises(ValueError, match=r"^no adapter: it is switched off; pipe\.enable_lora"):
        ask(pipe, read_none())
    pipe.enable_lora()
    pipe.delete_adapters("default_0")
    with pytest.raises(ValueError, match=r"^no adapter: load one first"):
        ask(pipe, read_none())


def test_a_fused_adapter_stays_when_its_layers_are_taken_out(pipe, expected):
    pipe.fuse_lora()
    np.testing.assert_allclose(draw(pipe), expected, rtol=1e-3, atol=1e-6)
    pipe.unload_lora_weights()
    assert lora.find_layers(pipe.transformer) == []
    np.testing.assert_allclose(draw(pipe), expected, rtol=1e-3, atol=1e-6)


def test_what_is_saved_with_an_adapter_reloads_the_same(pipe, trained, expected, tmp_path, caplog):
    pipe.save_pretrained(tmp_path)
    np.testing.assert_allclose(draw(pipe), expected, atol=1e-6)  # the pipeline itself is as it was
    assert pipe.get_active_adapters() == ["default_0"] and pipe.config.merged_adapter is None
    again = PulsePipeline.from_pretrained(tmp_path)
    assert again.geometry == GEOMETRY and again.config.min_confidence == 0.4
    np.testing.assert_allclose(draw(again), expected, rtol=1e-3, atol=1e-6)
    logging.getLogger("diffusers").propagate = True
    again.load_lora_weights(trained)  # it is in the weights, and must not go in twice
    assert "hold this adapter already: nothing is loaded" in caplog.text
    np.testing.assert_allclose(draw(again), expected, rtol=1e-3, atol=1e-6)


def test_another_adapter_over_a_merged_one_is_refused(pipe, trained, tmp_path):
    pipe.save_pretrained(tmp_path / "merged")
    with torch.no_grad():
        for layer in lora.find_layers(pipe.transformer):
            layer.lora_B["default_0"].weight *= 2
    pipe.save_lora_weights(tmp_path / "other")
    again = PulsePipeline.from_pretrained(tmp_path / "merged")
    with pytest.raises(ValueError, match="hold another adapter already"):
        again.load_lora_weights(tmp_path / "other")


def test_a_switched_off_adapter_is_not_saved(pipe, tmp_path):
    pipe.disable_lora()
    with pytest.raises(ValueError, match=r"^no adapter: it is switched off"):
        pipe.save_pretrained(tmp_path / "there")
    assert not (tmp_path / "there").exists()


@pytest.mark.parametrize("given", [False, True])
def test_saved_lora_weights_keep_the_header(pipe, base, expected, tmp_path, given):
    layers = (
        get_peft_model_state_dict(pipe.transformer, adapter_name="default_0") if given else None
    )
    pipe.save_lora_weights(tmp_path, transformer_lora_layers=layers)
    assert [path.name for path in tmp_path.iterdir()] == ["pytorch_lora_weights.safetensors"]
    again = PulsePipeline.from_pretrained(base)
    again.load_lora_weights(tmp_path)
    assert again.geometry == GEOMETRY and again.config.min_confidence == 0.4
    np.testing.assert_allclose(draw(again), expected, atol=1e-6)
    with pytest.raises(ValueError, match=r"^no adapter: load one first"):
        PulsePipeline.from_pretrained(base).save_lora_weights(tmp_path / "none")


def test_a_header_is_written_anew_only_where_it_changes(trained, tmp_path):
    path = shutil.copytree(trained, tmp_path / "adapter") / WEIGHTS_FILE
    set_pulse_values(path, {"min_confidence": 0.5})
    assert read_pulse_config(path.parent)["min_confidence"] == 0.5
    before = path.stat()
    set_pulse_values(path, {"min_confidence": 0.5})
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_without_a_text_encoder_the_prompt_is_saved_beside_the_pipeline(base, pipe, tmp_path):
    embeds = pipe.encode_task_prompt()
    light = PulsePipeline.from_pretrained(base, text_encoder=None, tokenizer=None)
    with pytest.raises(ValueError, match="has no text encoder: pass prompt_embeds="):
        light.encode_task_prompt()
    pipe.save_prompt_embeds(tmp_path / "prompt.safetensors")
    light.load_prompt_embeds(tmp_path / "prompt.safetensors")
    light.save_pretrained(tmp_path / "light")
    again = PulsePipeline.from_pretrained(tmp_path / "light")
    assert again.text_encoder is None and torch.equal(again.encode_task_prompt(), embeds)


def test_peft_gives_the_geometry_in_one_call(base, trained, expected, tmp_path):
    bare = Flux2KleinPipeline.from_pretrained(base)
    model = PeftModel.from_pretrained(copy.deepcopy(bare.transformer), trained).eval()
    assert read_pulse_config(model) == read_pulse_config(trained) == PULSE_CONFIG
    components = {**bare.components, "transformer": model.get_base_model()}
    pipe = PulsePipeline(**components, **read_pulse_config(model))
    np.testing.assert_allclose(draw(pipe), expected, atol=1e-6)
    other = get_peft_model(tiny_components.transformer(), LoraConfig(target_modules=TARGETS))
    assert read_pulse_config(other) == {}


def test_an_adapter_of_another_base_is_one_line(trained, tmp_path):
    pipe = PulsePipeline(**tiny_components.components())
    wider = copy.deepcopy(pipe.transformer)
    wider.transformer_blocks[0].attn.to_q = torch.nn.Linear(24, 16)
    pipe.transformer = wider
    with pytest.raises(ValueError, match=r"does not fit this base: its .*to_q takes 16 .* 24$"):
        pipe.load_lora_weights(trained)
    del wider.transformer_blocks[0], pipe.transformer.single_transformer_blocks[0]
    with pytest.raises(
        ValueError, match=r"is for another model: there is no single_.*to_qkv_mlp_proj$"
    ):
        pipe.load_lora_weights(trained)


def test_the_index_of_a_saved_pipeline_says_what_is_merged(pipe, trained, tmp_path):
    from safetensors.torch import load_file

    pipe.save_pretrained(tmp_path)
    index = json.loads((tmp_path / "model_index.json").read_text())
    weights = load_file(trained / "adapter_model.safetensors")
    assert index["merged_adapter"] == lora.digest_weights(weights)
    assert len(index["merged_adapter"]) == 16
