"""Small data sets and models that the training examples are tried on."""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from avzoo import FlexiASTConfig, FlexiASTFeatureExtractor, FlexiASTForAudioClassification
from avzoo.audio import write_wav


@pytest.fixture
def esc50(tmp_path) -> Path:
    """ESC-50's layout with ten short clips of two classes, a low and a high tone."""
    root = tmp_path / "ESC-50"
    (root / "meta").mkdir(parents=True)
    (root / "audio").mkdir()
    rows = ["filename,fold,target,category,esc10,src_file,take"]
    for index in range(10):
        fold, target = index // 2 + 1, index % 2
        name = f"{fold}-{index}-A-{target}.wav"
        time = np.arange(8000) / 16000
        tone = 0.3 * np.sin(2 * np.pi * (300 + 2500 * target + 10 * index) * time)
        write_wav(root / "audio" / name, tone.astype(np.float32), 16000)
        rows.append(f"{name},{fold},{target},{('low', 'high')[target]},False,{index},A")
    (root / "meta" / "esc50.csv").write_text("\n".join(rows) + "\n")
    return root


@pytest.fixture
def small_ast(tmp_path) -> Path:
    """Folder of an AST with random weights, for inputs of 48 frames, and its feature extractor."""
    folder = tmp_path / "start"
    torch.manual_seed(0)
    config = FlexiASTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, position_grid=(8, 3)
    )
    FlexiASTForAudioClassification(config).save_pretrained(folder)
    FlexiASTFeatureExtractor(max_length=48).save_pretrained(folder)
    return folder


@pytest.fixture
def run_main(monkeypatch, capsys, fresh_accelerate_state) -> Callable[..., tuple[int, str, str]]:
    """Runs an example in this process, which spares a new one's imports: (exit status, stdout, stderr)."""
    examples = Path(__file__).parents[2] / "examples"
    monkeypatch.syspath_prepend(examples)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")

    def run(script: str, *options: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", [str(examples / script), *map(str, options)])
        spec = importlib.util.spec_from_file_location(f"example_{Path(script).stem}", examples / script)
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
        capsys.readouterr()
        try:
            module.main()
            status = 0
        except SystemExit as stop:
            status = stop.code
            if isinstance(status, str):  # Python itself would print it
                print(status, file=sys.stderr)
                status = 1
        return status, *capsys.readouterr()

    return run
