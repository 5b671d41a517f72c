"""A random pipeline of the FLUX.2-klein classes, 0.4 MB: every code path, no knowledge."""

import json

import torch
from diffusers import AutoencoderKLFlux2, FlowMatchEulerDiscreteScheduler, Flux2Transformer2DModel
from tokenizers.pre_tokenizers import ByteLevel
from transformers import Qwen2TokenizerFast, Qwen3Config, Qwen3ForCausalLM

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def tokenizer():
    """One token a byte and three specials."""
    words = [*sorted(ByteLevel.alphabet()), "<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    return Qwen2TokenizerFast(
        vocab={word: index for index, word in enumerate(words)},
        merges=[],
        chat_template=CHAT_TEMPLATE,
        pad_token="<|endoftext|>",
        eos_token="<|im_end|>",
        unk_token="<|endoftext|>",
    )


def text_encoder():
    """28 layers, because the hidden states 9, 18 and 27 are read."""
    return Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=259,
            hidden_size=8,
            intermediate_size=16,
            num_hidden_layers=28,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=4,
            max_position_embeddings=512,
        )
    )


def vae():
    """Four blocks keep the 8x geometry; random batch-norm statistics, or a slip stays invisible."""
    model = AutoencoderKLFlux2(
        block_out_channels=(4, 4, 8, 8),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=64,
    )
    model.bn.running_mean.normal_()
    model.bn.running_var.uniform_(0.5, 2.0)
    return model


def transformer():
    """One double and one single block of width 16."""
    return Flux2Transformer2DModel(
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=24,
        timestep_guidance_channels=16,
        axes_dims_rope=(2, 2, 2, 2),
        guidance_embeds=False,
    )


def transformer_inputs(batch):
    """Keywords of a call of the transformer: 24 picture tokens, 5 text tokens."""
    torch.manual_seed(0)
    return {
        "hidden_states": torch.randn(batch, 24, 16),
        "encoder_hidden_states": torch.randn(batch, 5, 24),
        "timestep": torch.linspace(1, 0.5, batch),
        "img_ids": torch.cartesian_prod(*map(torch.arange, (1, 4, 6, 1))),
        "txt_ids": torch.cartesian_prod(*map(torch.arange, (1, 1, 1, 5))),
        "return_dict": False,
    }


def components(seed=0):
    """All five, seeded, in eval mode."""
    torch.manual_seed(seed)
    return {
        "scheduler": FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
        "vae": vae().eval(),
        "text_encoder": text_encoder().eval(),
        "tokenizer": tokenizer(),
        "transformer": transformer().eval(),
    }


def save_base(folder, seed=0):
    """A base folder as the Hub has it: model_index.json says Flux2KleinPipeline."""
    from diffusers import Flux2KleinPipeline

    Flux2KleinPipeline(**components(seed)).save_pretrained(folder)
    assert json.loads((folder / "model_index.json").read_text())["_class_name"] == (
        "Flux2KleinPipeline"
    )
    return folder
