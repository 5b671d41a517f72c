"""A heart rate from the colours that an image generator draws of a face clip.

``from pulse_plantain.pipeline import PulsePipeline``; nothing is imported here, so that a module of
the package costs no more than itself. diffusers copies the modules one by one and not this file.
"""

__version__ = "0.1.0"
