"""The miniature FLUX.2: the real classes at a few million parameters, freshly initialised.

Here lives what a base is made of and what its VAE starts from; lab/base_training.py trains it.
"""

import math
from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKLFlux2, FlowMatchEulerDiscreteScheduler, Flux2Transformer2DModel
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import Qwen2Tokenizer, Qwen3Config, Qwen3ForCausalLM

LATENT_CHANNELS = 32
HIDDEN_LAYERS = (9, 18, 27)  # of the text encoder, stacked by Flux2KleinPipeline
TEXT_WIDTH = 64

CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['content'] }}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>{% endif %}"
)


def make_tokenizer(prompts: Iterable[str]) -> Qwen2Tokenizer:
    """Byte-level BPE over sentences: a word that they use is one token."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=2048,
        min_frequency=1,
        special_tokens=specials,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(prompts, trainer)
    words: dict[str, Any] = {
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "unk_token": None,
        "additional_special_tokens": ["<|im_start|>"],
    }
    return Qwen2Tokenizer(tokenizer_object=bpe, chat_template=CHAT_TEMPLATE, **words)


def make_components(prompts: Iterable[str], seed: int) -> dict[str, Any]:
    """A scheduler, VAE, text encoder, tokenizer and transformer of the FLUX.2-klein-base classes.

    The text encoder stays as it is drawn here: a fixed random map from sentences to features is
    all that a handful of fixed prompts needs.

    Args:
        prompts: sentences whose words the tokenizer shall know.
        seed: of the initial weights.

    Returns:
        The five components by their names in the pipeline.
    """
    torch.manual_seed(seed)
    vae, transformer = _make_vae(), _make_transformer()
    tokenizer = make_tokenizer(prompts)
    return {
        "scheduler": FlowMatchEulerDiscreteScheduler(
            shift=3.0, use_dynamic_shifting=True, time_shift_type="exponential"
        ),
        "vae": vae,
        "text_encoder": _make_text_encoder(len(tokenizer)),
        "tokenizer": tokenizer,
        "transformer": transformer,
    }


def _make_vae():
    return AutoencoderKLFlux2(
        block_out_channels=(16, 48, 64, 64),
        decoder_block_out_channels=(8, 16, 32, 64),
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=4,
        sample_size=512,
    )


def _make_transformer():
    return Flux2Transformer2DModel(
        in_channels=4 * LATENT_CHANNELS,
        num_layers=1,
        num_single_layers=5,
        num_attention_heads=6,
        attention_head_dim=32,
        axes_dims_rope=(4, 12, 12, 4),
        rope_theta=30,  # grids of at most 48 tokens: the lowest frequency still turns over them
        joint_attention_dim=len(HIDDEN_LAYERS) * TEXT_WIDTH,
        timestep_guidance_channels=64,
        guidance_embeds=False,
    )


def _make_text_encoder(words):
    """A text encoder for a vocabulary of so many words."""
    config = Qwen3Config(
        vocab_size=words,
        hidden_size=TEXT_WIDTH,
        intermediate_size=2 * TEXT_WIDTH,
        num_hidden_layers=28,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        initializer_range=0.1,  # large enough that sentences differ in every layer
    )
    return Qwen3ForCausalLM(config).eval()


PATCH = 8  # px, the VAE's down-sampling


def find_patch_basis(batches: Iterable[torch.Tensor]) -> torch.Tensor:
    """Principal components of pictures' 8 x 8 patches.

    Every patch is weighed by the inverse of its contrast, so that faint detail counts as much as
    bold.

    Args:
        batches: of pictures [B, 3, H, W] in [-1, 1].

    Returns:
        [LATENT_CHANNELS, 3, 8, 8].
    """
    moments = torch.zeros((), dtype=torch.float64)
    for pictures in batches:
        patches = F.unfold(pictures, PATCH, stride=PATCH).transpose(1, 2).flatten(0, 1).double()
        patches = patches / (patches.std(1, keepdim=True) + 0.3)
        moments = moments + patches.T @ patches
    _, vectors = torch.linalg.eigh(moments)
    basis = vectors.flip(1)[:, :LATENT_CHANNELS].T.float() / math.sqrt(PATCH)
    return basis.unflatten(1, (3, PATCH, PATCH))


def _pass_on(conv, channels):
    """Make a convolution the identity on the first ``channels`` channels."""
    torch.nn.init.zeros_(conv.weight)
    torch.nn.init.zeros_(conv.bias)
    middle = conv.weight.shape[-1] // 2
    for channel in range(channels):
        conv.weight[channel, channel, middle, middle] = 1


def _silence(*modules):
    """Set weight and bias of modules to zero."""
    for module in modules:
        torch.nn.init.zeros_(module.weight)
        torch.nn.init.zeros_(module.bias)


OFFSET = 3.0
"""Of the channels that the linear encoder keeps in pairs."""

SPREAD = 0.36
"""Standard deviation of a patch's coefficient, for the divisor of the group norm."""


@torch.no_grad()
def make_encoder_linear(vae: AutoencoderKLFlux2, basis: torch.Tensor) -> None:
    """Set the encoder's weights so that its latents are the patches' coefficients.

    A small convolutional encoder learns slowly, and its group norms wash out the faint contrasts
    that a motion sheet is made of. Here the strided convolutions regroup 8 x 8 pixels into channels
    and project them onto ``basis``, twice, with opposite signs around a constant offset: the
    group norm then divides by a number that hardly depends on the picture, and
    silu(x) - silu(-x) = x undoes the activation. What the norm takes off is one constant a picture
    and group of eight coefficients, their mean.

    Args:
        vae: with at least 12, 48 and 2 LATENT_CHANNELS channels in its first three blocks.
        basis: [LATENT_CHANNELS, 3, 8, 8].
    """
    encoder: Any = vae.encoder
    blocks = encoder.down_blocks
    resnets = [r for block in blocks for r in block.resnets] + list(encoder.mid_block.resnets)
    _silence(*(r.conv2 for r in resnets), *(a.to_out[0] for a in encoder.mid_block.attentions))
    _pass_on(encoder.conv_in, 3)
    for block, channels in zip(blocks, (3, 12, 48, 2 * LATENT_CHANNELS), strict=True):
        for resnet in block.resnets:
            if resnet.conv_shortcut is not None:
                _pass_on(resnet.conv_shortcut, channels)
    regroup, regroup_again, project = (block.downsamplers[0].conv for block in blocks[:3])
    _regroup(regroup, 3)
    _regroup(regroup_again, 12)
    _project(project, basis)
    _read_pairs(encoder.conv_out)
    _pass_on(vae.quant_conv, 2 * LATENT_CHANNELS)


def _regroup(conv, channels):
    """Make a strided convolution put the four pixels of a square into four channels."""
    _silence(conv)
    for channel in range(channels):
        for place in range(4):
            conv.weight[4 * channel + place, channel, place // 2, place % 2] = 1


def _project(conv, basis):
    """Make a strided convolution project regrouped patches onto the basis, in pairs of channels.

    Channel (colour, y0, x0, y1, x1) at pixel (y2, x2) of the quarter picture holds the pixel
    (4 y2 + 2 y1 + y0, 4 x2 + 2 x1 + x0) of the patch.
    """
    _silence(conv)
    weight = basis.reshape(-1, 3, 2, 2, 2, 2, 2, 2).permute(0, 1, 4, 7, 3, 6, 2, 5).flatten(1, 5)
    conv.weight[0::2, :48, :2, :2] = weight
    conv.weight[1::2, :48, :2, :2] = -weight
    conv.bias[0::2], conv.bias[1::2] = OFFSET, -OFFSET


def _read_pairs(conv):
    """Make a convolution undo norm and activation: each pair of channels is a coefficient."""
    _silence(conv)
    divisor = math.sqrt(OFFSET**2 + SPREAD**2)
    for k in range(LATENT_CHANNELS):
        conv.weight[k, 2 * k, 1, 1] = divisor
        conv.weight[k, 2 * k + 1, 1, 1] = -divisor
    conv.bias[:LATENT_CHANNELS] = -OFFSET
    conv.bias[LATENT_CHANNELS:] = -12  # log variance: all but no noise


@torch.no_grad()
def ease_decoder(vae: AutoencoderKLFlux2) -> None:
    """Make the decoder's start easy: silent residual branches, and offsets that keep contrast.

    The constant offsets carry the contrast through the group norms.
    """
    decoder: Any = vae.decoder
    resnets = [r for block in decoder.up_blocks for r in block.resnets]
    resnets += list(decoder.mid_block.resnets)
    _silence(*(r.conv2 for r in resnets), *(a.to_out[0] for a in decoder.mid_block.attentions))
    for resnet in resnets:
        resnet.conv2.bias[0::2], resnet.conv2.bias[1::2] = 0.5, -0.5
    _pass_on(vae.post_quant_conv, LATENT_CHANNELS)
