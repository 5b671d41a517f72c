"""The pipeline's door: PulsePipeline, its output, and what is passed to it.

``custom_pipeline=`` takes the path of this file; from a clone the classes are imported from it.
"""

if __package__:  # loaded by diffusers, which copies the modules that are named here and no others
    from .pulse_plantain.adapter import read_pulse_config
    from .pulse_plantain.ahead import read_ahead
    from .pulse_plantain.animations import read_animation
    from .pulse_plantain.bijection import decode
    from .pulse_plantain.calls import RunningCalls
    from .pulse_plantain.cells import CellMeans
    from .pulse_plantain.clock import Clock
    from .pulse_plantain.colours import find_swap
    from .pulse_plantain.contact_sheet import frames_from_contact_sheet
    from .pulse_plantain.containers import read_container
    from .pulse_plantain.drawing import Drawing
    from .pulse_plantain.face_finder import FaceFinder
    from .pulse_plantain.flux2 import encode_images
    from .pulse_plantain.heart_rate import fft_rate
    from .pulse_plantain.lora import find_layers
    from .pulse_plantain.memory import let_go
    from .pulse_plantain.output import PulseOutput, PulseWindow
    from .pulse_plantain.parts import Part
    from .pulse_plantain.pipeline import GPU_DTYPES, PulsePipeline
    from .pulse_plantain.posterior import Posterior
    from .pulse_plantain.reading import read_sheets
    from .pulse_plantain.regions import Regions
    from .pulse_plantain.respiration import Respiration
    from .pulse_plantain.saved_sheet import check_sheets
    from .pulse_plantain.search import Search
    from .pulse_plantain.sheet import SheetGeometry
    from .pulse_plantain.upheaval import find_upheavals
    from .pulse_plantain.video import ClipError, read_frames
    from .pulse_plantain.windows import encode_windows
else:
    import pulse_plantain.adapter as _adapter
    import pulse_plantain.contact_sheet as _contact_sheet
    import pulse_plantain.output as _output
    import pulse_plantain.pipeline as _pipeline
    import pulse_plantain.sheet as _sheet
    import pulse_plantain.video as _video

    read_pulse_config = _adapter.read_pulse_config
    PulseOutput = _output.PulseOutput
    PulseWindow = _output.PulseWindow
    GPU_DTYPES = _pipeline.GPU_DTYPES
    PulsePipeline = _pipeline.PulsePipeline
    SheetGeometry = _sheet.SheetGeometry
    ClipError = _video.ClipError
    frames_from_contact_sheet = _contact_sheet.frames_from_contact_sheet
    read_frames = _video.read_frames

__all__ = [
    "GPU_DTYPES",
    "ClipError",
    "PulseOutput",
    "PulsePipeline",
    "PulseWindow",
    "SheetGeometry",
    "frames_from_contact_sheet",
    "read_frames",
    "read_pulse_config",
]
