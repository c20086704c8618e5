"""What the processors of several methods share."""

import os
from typing import Any

from transformers import ProcessorMixin


class SavedProcessorMixin(ProcessorMixin):
    """A processor whose settings belong to weights, so that a folder without them is refused.

    transformers' own takes the defaults there, which suit other weights: nothing would say so.
    """

    @classmethod
    def get_processor_dict(
        cls, pretrained_model_name_or_path: str | os.PathLike, **kwargs: Any
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """The settings of a folder or of a name on the Hub, and the arguments that are left.

        Raises:
            OSError: there is no processor_config.json.
        """
        settings, kwargs = super().get_processor_dict(pretrained_model_name_or_path, **kwargs)
        if not settings:
            raise OSError(
                f"`{pretrained_model_name_or_path}` holds no processor_config.json, which says how inputs are prepared "
                "for its weights; save it there by the processor's `save_pretrained`."
            )
        return settings, kwargs


__all__ = ["SavedProcessorMixin"]
