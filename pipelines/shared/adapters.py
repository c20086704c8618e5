"""Adapters (LoRA) of a diffusion pipeline's networks, under diffusers' names."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import ModelMixin
from diffusers.loaders import StableDiffusionLoraLoaderMixin
from diffusers.loaders.lora_base import LoraBaseMixin


class AdapterMixin(LoraBaseMixin):
    """`load_lora_weights`, `save_lora_weights` and what diffusers builds on them, for `_lora_loadable_modules`.

        pipe.unet.add_adapter(LoraConfig(r=8, target_modules=["to_q", "to_v"]))
        ...  # train
        layers, config = get_peft_model_state_dict(pipe.unet), pipe.unet.peft_config["default"]
        pipe.save_lora_weights(folder, unet_lora_layers=layers, unet_lora_adapter_metadata=config.to_dict())
        other.load_lora_weights(folder, adapter_name="hall")  # then set_adapters, disable_lora, unload_lora_weights

    In a file, each weight has the name of its network before its own.
    """

    def load_lora_weights(
        self,
        pretrained_model_name_or_path_or_dict: str | Path | Mapping[str, torch.Tensor],
        adapter_name: str | None = None,
        hotswap: bool = False,
        **kwargs: Any,
    ) -> None:
        """Load adapters of every network that the file has some for.

        Args:
            pretrained_model_name_or_path_or_dict: a folder, a repository of the Hub, or the weights.
            adapter_name: None: "default_0", "default_1", ...
            hotswap: put the weights in place of those of the adapter of this name.
            kwargs: `low_cpu_mem_usage`; and `weight_name`, `subfolder`, `revision`, ... of
                [`StableDiffusionLoraLoaderMixin.lora_state_dict`]. Files other than .safetensors are not opened.

        Raises:
            ValueError: weights of none of the networks, or of a network that this pipeline lacks.
        """
        source = pretrained_model_name_or_path_or_dict
        source = dict(source) if isinstance(source, Mapping) else source
        options = {"hotswap": hotswap, "_pipeline": self, "adapter_name": adapter_name}
        if "low_cpu_mem_usage" in kwargs:
            options["low_cpu_mem_usage"] = kwargs.pop("low_cpu_mem_usage")
        kwargs = {"use_safetensors": True, **kwargs, "return_lora_metadata": True}
        state_dict, alphas, metadata = StableDiffusionLoraLoaderMixin.lora_state_dict(source, **kwargs)
        for name in self._name_adapted_networks(state_dict):
            network = getattr(self, name)
            settings = {key: value for key, value in (metadata or {}).items() if key.startswith(f"{name}.")} or None
            if isinstance(network, ModelMixin):
                network.load_lora_adapter(state_dict, name, network_alphas=alphas, metadata=settings, **options)
            else:
                parts = take_part(state_dict, name), take_part(settings or {}, name)
                load_transformers_adapter(network, *parts, adapter_name, hotswap)

    def save_pretrained(self, save_directory: str | Path, *args: Any, **kwargs: Any) -> None:
        """Write the pipeline, as diffusers does.

        Raises:
            ValueError: a network holds adapters; diffusers would write a folder that can't be loaded.
        """
        adapted = list(self.get_list_adapters())
        if adapted:
            raise ValueError(
                f"`{adapted[0]}` holds adapters, which no folder of a pipeline can. Write them with "
                f"`save_lora_weights`, or fuse them: `fuse_lora(components={adapted})`, then `unload_lora_weights()`."
            )
        super().save_pretrained(save_directory, *args, **kwargs)

    @classmethod
    def save_lora_weights(
        cls, save_directory: str | Path, *, weight_name: str | None = None, **layers_and_metadata: Any
    ) -> None:
        """Write adapters of one or more networks to one .safetensors file.

        Args:
            weight_name: of the file. None: "pytorch_lora_weights.safetensors".
            layers_and_metadata: for a network NAME, NAME_lora_layers: its adapter's weights, as
                `peft.get_peft_model_state_dict` gives them; and NAME_lora_adapter_metadata: `to_dict()` of its
                configuration, without which rank and scale are guessed on loading.

        Raises:
            TypeError: another argument.
            ValueError: no weights.
        """
        state_dict, metadata = {}, {}
        for name in cls._lora_loadable_modules:
            layers = layers_and_metadata.pop(f"{name}_lora_layers", None)
            settings = layers_and_metadata.pop(f"{name}_lora_adapter_metadata", None)
            if layers:
                state_dict |= cls.pack_weights(layers, name)
                metadata |= {f"{name}.{key}": value for key, value in (settings or {}).items()}
        possible = ", ".join(f"`{name}_lora_layers`" for name in cls._lora_loadable_modules)
        if layers_and_metadata:
            raise TypeError(f"unknown argument `{next(iter(layers_and_metadata))}`; adapters are passed as {possible}.")
        if not state_dict:
            raise ValueError(f"pass at least one of {possible}.")
        cls.write_lora_layers(state_dict, str(save_directory), True, weight_name, None, True, metadata)

    def _name_adapted_networks(self, state_dict: Mapping[str, torch.Tensor]) -> list[str]:
        """Names of the networks that these weights adapt.

        Raises:
            ValueError: see [`AdapterMixin.load_lora_weights`].
        """
        known = self._lora_loadable_modules
        found = dict.fromkeys(key.split(".")[0] for key in state_dict)
        for name in found or [""]:
            if name not in known:
                first = next(iter(state_dict), "no weight")
                raise ValueError(
                    f"the file must name a network, {' or '.join(known)}, before each weight; got `{first}`."
                    " Load what a network's `save_lora_adapter` wrote with its `load_lora_adapter(folder, prefix=None, "
                    "use_safetensors=True)`, and what PEFT wrote with `PeftModel.from_pretrained`."
                )
            if getattr(self, name) is None:
                raise ValueError(f"the weights hold an adapter of `{name}`, which this pipeline was loaded without.")
        return list(found)


def take_part(values: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the entries of one network, without its name."""
    prefix = f"{name}."
    return {key.removeprefix(prefix): value for key, value in values.items() if key.startswith(prefix)}


def load_transformers_adapter(
    network: Any,
    weights: Mapping[str, torch.Tensor],
    settings: Mapping[str, Any],
    adapter_name: str | None,
    hotswap: bool = False,
) -> None:
    """Load an adapter into a network of transformers.

    Raises:
        ValueError: the file does not tell the adapter's configuration, or there is no adapter to put it in place of.
    """
    from peft import LoraConfig, set_peft_model_state_dict

    present = getattr(network, "peft_config", {})
    if hotswap and adapter_name not in present:
        raise ValueError(
            f"`adapter_name` must be that of an adapter to replace, {list(present)}, got {adapter_name!r}."
        )
    if not settings:
        raise ValueError(
            f"the file has no configuration of the adapter of {type(network).__name__}; save it with "
            "`..._lora_adapter_metadata=config.to_dict()`."
        )
    name = adapter_name or f"default_{len(present)}"
    if not hotswap:
        network.add_adapter(LoraConfig(**settings), name)
    report = set_peft_model_state_dict(network, dict(weights), name)
    if report.unexpected_keys:
        raise ValueError(f"{type(network).__name__} has no layer for the adapter's `{report.unexpected_keys[0]}`.")


__all__ = ["AdapterMixin"]
