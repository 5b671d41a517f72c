"""The base: procedural pictures, the VAE's start, and a training that goes on where it stopped."""

import copy

import pytest
import torch
import torch.nn.functional as F
from conftest import interrupt_at

from pulse_plantain.lab import base_training, miniature, training
from pulse_plantain.lab.base_training import BaseTraining
from pulse_plantain.lab.pictures import (
    KINDS,
    TASK_PROMPTS,
    TASKS,
    draw_examples,
    draw_pictures,
)


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def parts():
    """A base's components with the VAE's initial values; copy what is trained."""
    parts = miniature.make_components(list(TASK_PROMPTS), 0)
    base_training.start_vae(parts["vae"], 0)
    return parts


def test_pictures_are_varied_and_repeatable():
    first, again = (draw_pictures(rng(), 20, 64, 128) for _ in range(2))
    assert torch.equal(first, again)
    assert first.min() >= 0 and first.max() <= 1
    contrast = first.std((1, 2, 3))
    assert contrast.min() < 0.1 and contrast.max() > 0.2
    for kind in KINDS:
        assert kind(rng(), 3, 32, 64).std() > 0.05


def test_tasks_give_pictures_of_the_same_size_and_do_what_they_say():
    prompts, thumbnail, source, target = draw_examples(rng(), 16, 32, 64, (32, 32))
    assert len(prompts) == 16 and thumbnail.shape == (16, 3, 32, 32)
    assert source.shape == target.shape == (16, 3, 32, 64)
    picture = draw_pictures(rng(1), 1, 32, 64)
    assert torch.equal(TASKS["draw the negative"](picture, picture), 1 - picture)
    assert torch.equal(TASKS["mirror it left to right"](picture, picture)[..., 0], picture[..., -1])
    assert TASKS["blur it"](picture, picture).var() < picture.var()


def test_the_encoder_is_the_patches_principal_components_at_any_contrast(parts):
    vae = parts["vae"]
    draws = (base_training.seed_step(0, base_training.START, step) for step in range(12))
    batches = (draw_pictures(draw, 32, 64, 128) * 2 - 1 for draw in draws)
    basis = miniature.find_patch_basis(batches).flatten(1)
    faint = 0.01 * (draw_pictures(rng(3), 4, 32, 64) - 0.5)
    with torch.no_grad():
        latents = vae.encode(faint).latent_dist.mode()
    exact = (F.unfold(faint, 8, stride=8).transpose(1, 2) @ basis.T).mT.unflatten(2, (4, 8))
    error = latents - exact
    error = error - error.mean((2, 3), keepdim=True)  # the norms take a constant off each picture
    assert error.std() < 0.01 * exact.std()


def test_the_base_resumes_to_the_same_weights(parts, tmp_path, monkeypatch):
    monkeypatch.setattr(base_training, "SIZES", ((32, 64),))
    monkeypatch.setattr(base_training, "THUMBNAIL", (32, 32))
    log = training.Log(tmp_path / "log.jsonl", 0, {})

    def train(name):
        own = parts | {"transformer": copy.deepcopy(parts["transformer"])}
        del own["transformer"].single_transformer_blocks[1:]  # one of each kind
        settings = BaseTraining(checkpoints=str(tmp_path / name), steps=2, batch=2)
        base_training.train_transformer(own, settings, log)
        return own["transformer"].state_dict()

    straight = train("a")
    with monkeypatch.context() as patch:
        interrupt_at(patch, base_training, 1)
        with pytest.raises(KeyboardInterrupt):
            train("b")
    resumed = train("b")
    for name, weight in straight.items():
        torch.testing.assert_close(resumed[name], weight, rtol=0, atol=0, msg=name)
