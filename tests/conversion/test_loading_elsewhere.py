"""Folders of converted checkpoints and of pipelines load in another process, which computes the same as this one.

One process loads all of them (load_elsewhere.py), for the imports take longer than all that is computed.
"""

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import load_elsewhere
import pytest
import small_avdiffuss
import small_flexiast
import small_mtdvocalist
import small_voiceldm
import torch
from contract.tiny.avdiffuss import tiny_separation_parts

from avzoo import AVDiffuSSPipeline, VocaLiSTProcessor, VoiceLDMPipeline
from avzoo.conversion import convert_checkpoint, save_converted

EXACT = {"rtol": 0.0, "atol": 0.0}
# Loaded weights lie elsewhere in memory; at an address that is no multiple of 64 bytes, CPUs may sum in another order.
NEARLY = {"rtol": 1e-4, "atol": 1e-5}
IN_A_FEW_STEPS = {"rtol": 1e-4, "atol": 1e-4}
OF_A_WIDE_NETWORK = {"rtol": 1e-3, "atol": 1e-4}

Written = tuple[dict[str, Any], dict[str, Any], dict[str, float]]  # what is given, what is expected, how nearly


class RunsCode:
    def __reduce__(self):
        return os.mkdir, ("this_code_ran",)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def check_files(folder: Path, *names: str) -> None:
    assert sorted(path.name for path in folder.iterdir()) == sorted([*names, "README.md"])


def write_flexiast(folder: Path) -> Written:
    model = convert_checkpoint("flexiast", small_flexiast.flexiast_file(309))
    save_converted(model, folder)
    check_files(folder, "config.json", "model.safetensors", "preprocessor_config.json")
    given = {"spectrogram": small_flexiast.spectrogram()}
    expected = {
        "classes": ["FlexiASTForAudioClassification", "FlexiASTModel"],
        "training": False,
        "extractor": [-5.0767093, 4.4533687, 1024],
        **{f"logits at {size}": model(given["spectrogram"], size).logits for size in (16, 24)},
    }
    return given, expected, EXACT


def write_mtdvocalist(folder: Path) -> Written:
    variant = folder.name.split()[-1]
    model = convert_checkpoint("mtdvocalist", small_mtdvocalist.small_file(), variant=variant)
    save_converted(model, folder)
    check_files(folder, "config.json", "model.safetensors", "processor_config.json")
    generator = seeded(1)
    given = {
        "faces": torch.randint(0, 256, (6, 60, 50, 3), dtype=torch.uint8, generator=generator),
        "sound": torch.randn(6 * 640, generator=generator) / 10,
        "windows": small_mtdvocalist.windows(),
    }
    settings = small_mtdvocalist.STUDENT if variant == "student" else small_mtdvocalist.TEACHER
    expected = {
        "class": type(model).__name__,
        "training": False,
        "logits": small_mtdvocalist.logits_of(model),
        "logits of the clip": model(**VocaLiSTProcessor(**settings)(given["faces"], given["sound"], 16000)).logits,
    }
    return given, expected, EXACT


def write_avdiffuss(folder: Path) -> Written:
    file = folder.with_name("avdiffuss-own.ckpt")
    settings = {"spec_factor": 0.15, "n_fft": 126, "hop_length": 64, "frame_multiple": 8}
    torch.save(small_avdiffuss.container(**settings), file)
    pipe = small_avdiffuss.convert(file)
    save_converted(pipe, folder)
    check_files(folder, *small_avdiffuss.NETWORKS, "processor", "scheduler", "model_index.json")
    assert f"`{file.name}`" in (folder / "README.md").read_text()
    return (*separated(pipe, preset="reference", side=112, steps=1), NEARLY)


def write_own_avdiffuss(folder: Path) -> Written:
    pipe = AVDiffuSSPipeline(**tiny_separation_parts(), preset="fast", window_length_in_s=0.08)
    pipe.save_pretrained(folder)
    return (*separated(pipe, preset="fast", side=32, steps=2), IN_A_FEW_STEPS)


def separated(pipe: AVDiffuSSPipeline, preset: str, side: int, steps: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """What is given, and the voice in it."""
    pipe.set_progress_bar_config(disable=True)
    given = {
        "audio": torch.randn(2000, generator=seeded(1)) / 10,
        "face": torch.randint(256, (4, side, side), dtype=torch.uint8, generator=seeded(2)),
        "steps": steps,
    }
    options = {"num_inference_steps": steps, "generator": seeded(0), "output_type": "pt"}
    expected = {
        "class": "AVDiffuSSPipeline",
        "preset": preset,
        "spec_factor": pipe.processor.spec_factor,
        "source": dict(pipe.config.get("avzoo_source") or {}),
        "voice": pipe(given["audio"], given["face"], **options).audios[0],
    }
    return given, expected


def write_voiceldm(folder: Path) -> Written:
    file = folder.with_name("voiceldm-own.ckpt")
    torch.save(small_voiceldm.small_file(), file)
    sources = small_voiceldm.write_sources(folder.with_name("sources"))
    pipe = convert_checkpoint("voiceldm", {"checkpoint": file, **sources})
    save_converted(pipe, folder)
    check_files(folder, *small_voiceldm.PARTS, "unet", "content_encoder", "scheduler", "model_index.json")
    assert f"`{file.name}`" in (folder / "README.md").read_text()
    assert pipe.config.avzoo_source["file"] == file.name
    described = load_elsewhere.spoken(pipe, description="a fox")
    assert described.abs().max() == pytest.approx(1.0, abs=1e-3)
    source = dict(pipe.config.avzoo_source)
    expected = {"class": "VoiceLDMPipeline", "settings": ["fast", "_"], "source": source, "described": described}
    return {}, expected, OF_A_WIDE_NETWORK


def write_own_voiceldm(folder: Path) -> Written:
    pipe = VoiceLDMPipeline.from_pretrained(folder.with_name("voiceldm"), null_content="hm")  # converted above
    pipe.use_preset("fast").save_pretrained(folder)
    recording = torch.linspace(-1, 1, 9000).sin()
    prompt = {"array": recording.numpy(), "sampling_rate": 16000}
    expected = {"settings": ["fast", "hm"], "prompted": load_elsewhere.spoken(pipe, audio_prompt=prompt)}
    return {"recording": recording}, expected, OF_A_WIDE_NETWORK


def write_bare_voiceldm(folder: Path) -> Written:
    pipe = small_voiceldm.convert(small_voiceldm.small_file())
    VoiceLDMPipeline(pipe.unet, pipe.content_encoder, pipe.scheduler).save_pretrained(folder)
    return {}, {"class": "VoiceLDMPipeline", "left out": [True, True]}, EXACT


WRITES: dict[str, Callable[[Path], Written]] = {
    "flexiast": write_flexiast,
    "mtdvocalist student": write_mtdvocalist,
    "mtdvocalist teacher": write_mtdvocalist,
    "avdiffuss": write_avdiffuss,
    "avdiffuss with settings of its own": write_own_avdiffuss,
    "voiceldm": write_voiceldm,
    "voiceldm with settings of its own": write_own_voiceldm,
    "voiceldm without parts": write_bare_voiceldm,
}


@torch.no_grad()
def test_what_is_written_loads_in_another_process_and_computes_the_same(tmp_path):
    """There the installed command runs, too: it says one line, and torch nothing beside it."""
    assert WRITES.keys() == load_elsewhere.LOADS.keys()
    written = {name: write(tmp_path / name) for name, write in WRITES.items()}
    torch.save({name: given for name, (given, _, _) in written.items()}, tmp_path / "given.pt")
    (tmp_path / "code.pth").write_bytes(pickle.dumps({"module.v.cls_token": RunsCode()}))
    answer = subprocess.run(
        [sys.executable, load_elsewhere.__file__, tmp_path],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())},
    )
    assert answer.returncode == 0, answer.stderr
    wrong, answers = [], torch.load(tmp_path / "answers.pt")
    for name, (_, expected, nearly) in written.items():
        if isinstance(answers[name], str):
            wrong.append(f"{name}: {answers[name]}")  # its traceback
            continue
        assert answers[name].keys() == expected.keys()
        for key, value in expected.items():
            try:
                if isinstance(value, torch.Tensor):
                    assert value.isfinite().all()
                    torch.testing.assert_close(answers[name][key], value, **nearly)
                else:
                    assert answers[name][key] == value
            except AssertionError as error:
                wrong.append(f"{name}, {key}: {error}")
    assert not wrong, "\n".join(wrong)
    printed, said = (text.partition(load_elsewhere.END_OF_COMMAND)[0] for text in (answer.stdout, answer.stderr))
    assert printed == "1 "  # the status, and nothing before it
    assert said.startswith("avzoo: ")
    assert "could run code" in said
    assert said.count("\n") == 1, said
    assert not (tmp_path / "this_code_ran").exists()
