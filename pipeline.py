"""The Hub's entry point: hands on PulsePipeline. diffusers copies only the siblings named here."""

if __package__:
    from .bijection import decode_phasor  # noqa: F401
    from .clip_encoder import encode_windows  # noqa: F401
    from .heart_rate import fft_rate  # noqa: F401
    from .pipeline_pulse import PulsePipeline
else:  # plain import from the repo root
    import pipeline_pulse as _pipeline_pulse

    PulsePipeline = _pipeline_pulse.PulsePipeline
