"""What another process does with the folders of test_loading_elsewhere.py: `python load_elsewhere.py FOLDER`.

First it runs the installed command, which imports what it needs; then it loads each folder and computes with it.
"""

import runpy
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

END_OF_COMMAND = "--- the command has ended ---"


def run_command(root: Path) -> None:
    script = Path(sys.executable).with_name("avzoo")
    sys.argv = [str(script), "convert", "flexiast", str(root / "code.pth"), str(root / "never")]
    status: Any = 0
    try:
        runpy.run_path(str(script), run_name="__main__")
    except SystemExit as end:
        status = end.code
    print(status, END_OF_COMMAND, flush=True)
    print(END_OF_COMMAND, file=sys.stderr, flush=True)


def flexiast(folder: Path, given: dict[str, Any]) -> dict[str, Any]:
    from transformers import AutoFeatureExtractor, AutoModel, AutoModelForAudioClassification

    model = AutoModelForAudioClassification.from_pretrained(folder)
    extractor = AutoFeatureExtractor.from_pretrained(folder)
    return {
        "classes": [type(model).__name__, type(AutoModel.from_pretrained(folder)).__name__],
        "training": model.training,
        "extractor": [extractor.mean, extractor.std, extractor.max_length],
        **{f"logits at {size}": model(given["spectrogram"], size).logits for size in (16, 24)},
    }


def mtdvocalist(folder: Path, given: dict[str, Any]) -> dict[str, Any]:
    from transformers import AutoModelForSequenceClassification, AutoProcessor

    model = AutoModelForSequenceClassification.from_pretrained(folder)
    made = AutoProcessor.from_pretrained(folder)(given["faces"], given["sound"], 16000)
    return {
        "class": type(model).__name__,
        "training": model.training,
        "logits": model(**given["windows"]).logits,
        "logits of the clip": model(**made).logits,
    }


def avdiffuss(folder: Path, given: dict[str, Any]) -> dict[str, Any]:
    import torch
    from diffusers import DiffusionPipeline

    pipe = DiffusionPipeline.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    options = {"generator": torch.Generator().manual_seed(0), "output_type": "pt"}
    return {
        "class": type(pipe).__name__,
        "preset": pipe.config.preset,
        "spec_factor": pipe.processor.spec_factor,
        "source": dict(pipe.config.get("avzoo_source") or {}),
        "voice": pipe(given["audio"], given["face"], num_inference_steps=given["steps"], **options).audios[0],
    }


def voiceldm(folder: Path, given: dict[str, Any]) -> dict[str, Any]:
    from diffusers import DiffusionPipeline

    pipe = DiffusionPipeline.from_pretrained(folder)
    return {
        "class": type(pipe).__name__,
        "settings": [pipe.preset, pipe.config.null_content],
        "source": dict(pipe.config.avzoo_source),
        "described": spoken(pipe, description="a fox"),
    }


def own_voiceldm(folder: Path, given: dict[str, Any]) -> dict[str, Any]:
    import avzoo

    pipe = avzoo.VoiceLDMPipeline.from_pretrained(folder)
    return {
        "settings": [pipe.preset, pipe.config.null_content],
        "prompted": spoken(pipe, audio_prompt={"array": given["recording"].numpy(), "sampling_rate": 16000}),
    }


def spoken(pipe: Any, **options: Any) -> Any:
    import torch

    pipe.set_progress_bar_config(disable=True)
    options |= {"num_inference_steps": 2, "generator": torch.Generator().manual_seed(0), "output_type": "pt"}
    return pipe(content="hello", audio_length_in_s=0.64, **options).audios


def voiceldm_without_parts(folder: Path, given: dict[str, Any]) -> dict[str, Any]:
    from diffusers import DiffusionPipeline

    pipe = DiffusionPipeline.from_pretrained(folder)
    return {"class": type(pipe).__name__, "left out": [pipe.audio_encoder is None, pipe.vae is None]}


LOADS: dict[str, Callable[[Path, dict[str, Any]], dict[str, Any]]] = {
    "flexiast": flexiast,
    "mtdvocalist student": mtdvocalist,
    "mtdvocalist teacher": mtdvocalist,
    "avdiffuss": avdiffuss,
    "avdiffuss with settings of its own": avdiffuss,
    "voiceldm": voiceldm,
    "voiceldm with settings of its own": own_voiceldm,
    "voiceldm without parts": voiceldm_without_parts,
}


def main(root: Path) -> None:
    import torch

    torch.set_grad_enabled(False)
    given, answers = torch.load(root / "given.pt"), {}
    for name, load in LOADS.items():
        try:
            answers[name] = load(root / name, given[name])
        except Exception:
            answers[name] = traceback.format_exc()
    torch.save(answers, root / "answers.pt")


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    run_command(folder)
    main(folder)
