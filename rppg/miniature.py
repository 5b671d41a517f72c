"""The miniature FLUX.2: the real classes at a few million parameters, freshly initialised.

What a base is made of lives here; how it is trained is scripts/train_base.py.
"""

import torch
from diffusers import AutoencoderKLFlux2, FlowMatchEulerDiscreteScheduler, Flux2Transformer2DModel
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import Qwen2TokenizerFast, Qwen3Config, Qwen3ForCausalLM

LATENT_CHANNELS = 32
HIDDEN_LAYERS = (9, 18, 27)  # of the text encoder, stacked by Flux2KleinPipeline
TEXT_WIDTH = 64

CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['content'] }}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>{% endif %}"
)


def tokenizer(prompts):
    """Byte-level BPE over ``prompts`` (a list of str): a word they use is one token."""
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
    return Qwen2TokenizerFast(
        tokenizer_object=bpe,
        chat_template=CHAT_TEMPLATE,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        unk_token=None,
        additional_special_tokens=["<|im_start|>"],
    )


def components(prompts, seed):
    """A scheduler, VAE, text encoder, tokenizer and transformer of the FLUX.2-klein-base classes.

    Args:
        prompts: list of str, the sentences whose words the tokenizer shall know.
        seed: of the initial weights.

    Returns:
        dict of the five components. The text encoder stays as it is drawn here: a fixed random
        map from sentences to features, which a handful of fixed prompts needs no more than.
    """
    torch.manual_seed(seed)
    vae = AutoencoderKLFlux2(
        block_out_channels=(16, 32, 48, 64),
        decoder_block_out_channels=(8, 16, 32, 64),
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=4,
        sample_size=512,
    )
    transformer = Flux2Transformer2DModel(
        in_channels=4 * LATENT_CHANNELS,
        num_layers=1,
        num_single_layers=5,
        num_attention_heads=6,
        attention_head_dim=32,
        axes_dims_rope=(8, 8, 8, 8),
        joint_attention_dim=len(HIDDEN_LAYERS) * TEXT_WIDTH,
        timestep_guidance_channels=64,
        guidance_embeds=False,
    )
    words = tokenizer(prompts)
    text_encoder = Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=len(words),
            hidden_size=TEXT_WIDTH,
            intermediate_size=2 * TEXT_WIDTH,
            num_hidden_layers=28,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=16,
            max_position_embeddings=1024,
            tie_word_embeddings=True,
            initializer_range=0.2,  # large enough that sentences differ in every layer
        )
    )
    scheduler = FlowMatchEulerDiscreteScheduler(
        shift=3.0, use_dynamic_shifting=True, time_shift_type="exponential"
    )
    return {
        "scheduler": scheduler,
        "vae": vae,
        "text_encoder": text_encoder.eval(),
        "tokenizer": words,
        "transformer": transformer,
    }
