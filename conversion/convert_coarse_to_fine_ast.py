"""Convert ASTs to [`CoarseToFineASTForAudioClassification`], to start or continue coarse-to-fine training.

No weights of arXiv 2401.08415 were published. Its result is an ordinary AST, so every checkpoint that
`convert_flexiast` reads can be used.
"""

from collections.abc import Mapping
from typing import Any

from avzoo.conversion import convert_flexiast
from avzoo.conversion.checkpoints import Checkpoint
from avzoo.models.coarse_to_fine_ast import CoarseToFineASTForAudioClassification
from avzoo.models.coarse_to_fine_ast.modeling_coarse_to_fine_ast import PHASE_FIELDS
from avzoo.models.flexiast.patch_geometry import PatchGeometry


def convert(
    checkpoint: Checkpoint, variant: str | None = None, config: Mapping[str, Any] | None = None
) -> tuple[CoarseToFineASTForAudioClassification, str, dict[str, Any]]:
    """Return the model, its variant, and the arguments of its feature extractor.

    Args:
        config: fields of [`CoarseToFineASTConfig`] that override values read from the checkpoint. Phase fields state
            the phase of the checkpoint. Default: full resolution, or "patchify" if patches have more frames than mel
            bins.
    """
    fields = dict(config or {})
    phase = {name: fields.pop(name) for name in PHASE_FIELDS if name in fields}
    ast, _, processor = convert_flexiast.convert(checkpoint, None, fields)
    mel_side, time_side = ast.config.patch_size
    if time_side > mel_side and not phase.keys() & {"temporal_compression", "compression_factor"}:
        phase |= {"temporal_compression": "patchify", "compression_factor": time_side / mel_side}
    if phase.get("temporal_compression") == "patchify" and PatchGeometry.of(ast.config).grid(
        ast.config.num_mel_bins, processor["max_length"]
    ) == tuple(ast.config.position_grid):
        phase.setdefault("max_length", processor["max_length"])
    model = CoarseToFineASTForAudioClassification.from_flexiast(ast, **phase)
    config = model.config
    own = {name: getattr(config, name) for name in PHASE_FIELDS}
    return model, "ast", processor | own | {"frame_multiple": config.fine_patch_size[1]}
