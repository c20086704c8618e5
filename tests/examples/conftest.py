"""How the examples are run here, and small data sets and models that they are tried on."""

import importlib.util
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers.utils import logging

from avzoo import (
    FlexiASTConfig,
    FlexiASTFeatureExtractor,
    FlexiASTForAudioClassification,
    SSLAlignmentConfig,
    SSLAlignmentForSoundLocalization,
    SSLAlignmentProcessor,
)
from avzoo.audio import write_wav

EXAMPLES = Path(__file__).parents[2] / "examples"
LAUNCH_TWO = "-m accelerate.commands.launch --multi_gpu --num_processes 2 --main_process_port 0 --mixed_precision no"
LAUNCH_TWO = [*LAUNCH_TWO.split(), "--dynamo_backend", "no", "--num_machines", "1"]


@pytest.fixture(scope="session")
def esc50(tmp_path_factory) -> Path:
    """ESC-50's layout with ten short clips of two classes, a low and a high tone."""
    root = tmp_path_factory.mktemp("data") / "ESC-50"
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


@pytest.fixture(scope="session")
def small_ast(tmp_path_factory) -> Path:
    """Folder of an AST with random weights, for inputs of 48 frames, and its feature extractor."""
    folder = tmp_path_factory.mktemp("start")
    torch.manual_seed(0)
    config = FlexiASTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, position_grid=(8, 3)
    )
    FlexiASTForAudioClassification(config).save_pretrained(folder)
    FlexiASTFeatureExtractor(max_length=48).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def small_encoders(tmp_path_factory) -> Path:
    """A folder with a folder for each encoder of pictures or of sound, with random weights."""
    from transformers import (
        ASTConfig,
        ASTFeatureExtractor,
        ASTModel,
        CLIPConfig,
        CLIPModel,
        ResNetConfig,
        ResNetModel,
        ViTConfig,
        ViTForImageClassification,
    )
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    root = tmp_path_factory.mktemp("encoders")
    torch.manual_seed(0)
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text, vision = {"vocab_size": 50, "bos_token_id": 1, "eos_token_id": 2}, {"image_size": 32, "patch_size": 16}
    config = CLIPConfig(text_config=small | text, vision_config=small | vision, projection_dim=8)
    CLIPModel(config).save_pretrained(root / "clip")
    processor = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    sizes = {"embedding_size": 8, "hidden_sizes": [8, 12], "depths": [1, 1]}
    ResNetModel(ResNetConfig(layer_type="basic", **sizes)).save_pretrained(root / "resnet")
    ViTForImageClassification(ViTConfig(**small, **vision)).save_pretrained(root / "vit")
    for name in ("clip", "resnet", "vit"):
        processor.save_pretrained(root / name)
    sizes = {"embedding_size": 64, "hidden_sizes": [64, 128, 256, 512], "depths": [2, 2, 2, 2]}
    ResNetModel(ResNetConfig(layer_type="basic", **sizes)).save_pretrained(root / "resnet18")
    ASTModel(ASTConfig(**small, max_length=64, num_mel_bins=32)).save_pretrained(root / "ast")
    ASTFeatureExtractor(max_length=64, num_mel_bins=32).save_pretrained(root / "ast")
    sizes = {"hidden_sizes": (4, 4, 6, 8), "depths": (1, 1, 1, 1), "projection_dim": 5}
    SSLAlignmentForSoundLocalization(SSLAlignmentConfig(**sizes)).save_pretrained(root / "alignment")
    SSLAlignmentProcessor(image_size=32, clip_seconds=0.2, base_seconds=0.5).save_pretrained(root / "alignment")
    return root


@pytest.fixture
def _quiet_logging() -> Iterator[None]:
    """The toys silence transformers, as a script may; here others come after them."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    yield
    logging.set_verbosity(verbosity)
    if bars:
        logging.enable_progress_bar()


@pytest.fixture
def run_main(monkeypatch, capsys, fresh_accelerate_state, _quiet_logging) -> Callable[..., tuple[int, str, str]]:
    """Runs an example in this process, which spares a new one's imports: (exit status, stdout, stderr)."""
    monkeypatch.syspath_prepend(EXAMPLES)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")

    def run(script: str, *options: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", [str(EXAMPLES / script), *map(str, options)])
        spec = importlib.util.spec_from_file_location(f"example_{Path(script).stem}", EXAMPLES / script)
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


@pytest.fixture
def kill_main() -> Iterator[Callable[..., None]]:
    """Runs an example in a process of its own until an optimizer step, where it is gone as by SIGKILL.

    It isn't a fork of this one: locks and threads of what came before would be copied, too.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # here, too, since several threads may add in another order
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "ACCELERATE_USE_CPU": "true"}

    def run(step: int, script: str, *options: object) -> None:
        command = [sys.executable, Path(__file__).with_name("killed_at.py"), step, EXAMPLES / script, *options]
        result = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=environment, timeout=280)
        assert result.returncode == -signal.SIGKILL, f"it was not killed: {result.stderr[-3000:]}"

    yield run
    torch.set_num_threads(threads)


@pytest.fixture
def check_resumed_run(run_main, kill_main, tmp_path) -> Callable[..., Path]:
    """Runs an example whole, and killed and called again: both leave the same files. Returns the folder of the latter.

    The example is killed at `step`, between two checkpoints. What the runs differ in are the places that the card and
    the arguments name.
    """

    def run(script: str, *options: object, step: int = 3, every: int = 2) -> Path:
        options = [*options, "--checkpoint_every_steps", every, "--no_progress_bar"]
        whole, resumed = tmp_path / "whole", tmp_path / "resumed"
        status, _, stderr = run_main(script, *options, "--output_dir", whole)
        assert status == 0, stderr
        kill_main(step, script, *options, "--output_dir", resumed)
        status, _, stderr = run_main(script, *options, "--output_dir", resumed)
        assert status == 0, stderr
        files = {path.relative_to(whole) for path in whole.rglob("*") if path.is_file()}
        assert files == {path.relative_to(resumed) for path in resumed.rglob("*") if path.is_file()}
        named = ("README.md", "training_arguments.json", "state.json", "finished.json")
        different = [name for name in files if (whole / name).read_bytes() != (resumed / name).read_bytes()]
        assert [name for name in different if name.name not in named] == []
        card = (resumed / "README.md").read_text()
        assert card.replace(str(resumed), str(whole)) == (whole / "README.md").read_text()
        return resumed

    return run


@pytest.fixture
def run_toy(run_main, monkeypatch) -> Callable[..., str]:
    """Runs an example's `--toy` in this process, its workers' jobs, too: stdout."""
    from toy import runs

    monkeypatch.setattr(runs, "ProcessPoolExecutor", Here)

    def run(script: str, output: Path, options: str) -> str:
        status, stdout, stderr = run_main(script, "--toy", *options.split(), "--output_dir", output)
        assert status == 0, stderr
        assert not list(output.glob(".*"))  # nothing intermediate is left
        assert "synthetic data" in (output / "README.md").read_text()
        return stdout

    return run


class Here(Executor):
    """A pool whose jobs run where they are submitted; jobs and results are pickled, as they are on their way."""

    def __init__(self, *_):
        pass

    def submit(self, function: Callable, *arguments: object) -> Future:
        function, arguments = pickle.loads(pickle.dumps((function, arguments)))
        future = Future()
        future.set_result(pickle.loads(pickle.dumps(function(*arguments))))
        return future


@pytest.fixture(scope="session")
def run_script() -> Callable[..., str]:
    """Runs an example in processes of its own, as its docstring says: stdout.

    With `ranks`, by "accelerate" on two of them, or the same "forked", which spares two imports of everything.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "ACCELERATE_USE_CPU": "true"}
    launchers = {None: [], "accelerate": LAUNCH_TWO, "forked": [Path(__file__).with_name("two_ranks.py")]}

    def run(script: str, *options: object, ranks: str | None = None) -> str:
        # The launcher says --multi_gpu, so that two processes are started; `--cpu` makes them one run without a GPU.
        command = [*launchers[ranks], EXAMPLES / script, *options, *(["--cpu"] if ranks else [])]
        command = [sys.executable, *map(str, command)]
        result = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=280)
        assert result.returncode == 0, result.stderr[-3000:]
        return result.stdout

    return run
