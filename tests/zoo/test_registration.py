"""`import avzoo` in every order beside transformers, each in a Python process of its own."""

import subprocess
import sys
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from contract.tiny import TINY, tiny_model

import avzoo
from avzoo import zoo


def run_python(code: str, *arguments: str) -> None:
    result = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("flexiast")
    row = zoo.find_row("flexiast")
    tiny_model(row).save_pretrained(folder)
    mel_bins = TINY["FlexiASTForAudioClassification"].config["num_mel_bins"]
    row.load(row.processor_class)(num_mel_bins=mel_bins, max_length=48).save_pretrained(folder)
    return str(folder)


SERVER = """
import os, sys, traceback
import huggingface_hub, scipy.optimize, scipy.stats, torch._dynamo

ordered = {'avzoo', 'diffusers', 'transformers'}
assert not ordered & sys.modules.keys()
print('ready', flush=True)
for line in sys.stdin:
    code, path, *sys.argv[1:] = eval(line)
    child = os.fork()
    if child == 0:
        try:
            exec(code, {'__name__': '__main__'})
            os._exit(0)
        except BaseException:
            with open(path, 'w') as file:
                traceback.print_exc(file=file)
            os._exit(1)
    print(os.waitpid(child, 0)[1], flush=True)
"""


@pytest.fixture(scope="module")
def run_forked(tmp_path_factory) -> Iterator[Callable[..., None]]:
    """Runs code as `run_python` does, forked off a process that has imported torch: half of the time is torch's, and
    what is tested is the order of others."""
    path = tmp_path_factory.mktemp("forked") / "traceback"
    server = subprocess.Popen([sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert server.stdout.readline() == "ready\n"

    def run(code: str, *arguments: str) -> None:
        server.stdin.write(repr((code, str(path), *arguments)) + "\n")
        server.stdin.flush()
        assert server.stdout.readline() == "0\n", path.read_text()

    yield run
    server.communicate()


LARGE = "{'torch', 'transformers', 'diffusers', 'huggingface_hub', 'av', 'numpy'}"


@pytest.mark.parametrize(
    "statement",
    [
        "import avzoo",
        "import avzoo; dir(avzoo); avzoo.zoo.find_row('flexiast'); avzoo.toy_checkpoint",
        "from avzoo.cli import build_parser; build_parser().format_help()",
        "from avzoo.cli import main; main(['list']); main(['info', 'flexiast', '--json'])",
    ],
)
def test_what_needs_no_large_package_imports_none(statement):
    run_python(f"{statement}\nimport sys\nfound = {LARGE} & sys.modules.keys()\nassert not found, found")


FIND_EVERYTHING = """
import sys
import avzoo
from transformers import AutoConfig, AutoFeatureExtractor, AutoModel, AutoModelForAudioClassification, pipeline
import transformers.pipelines

folder = sys.argv[1]
assert type(AutoConfig.from_pretrained(folder)) is avzoo.FlexiASTConfig
assert type(AutoModel.from_pretrained(folder)) is avzoo.FlexiASTModel
assert type(AutoModelForAudioClassification.from_pretrained(folder)) is avzoo.FlexiASTForAudioClassification
assert type(AutoFeatureExtractor.from_pretrained(folder)) is avzoo.FlexiASTFeatureExtractor
assert type(pipeline("audio-classification", model=folder)) is avzoo.AudioClassificationPipeline
"""


@pytest.mark.parametrize(
    "first",
    [
        "import avzoo",
        "import transformers; import avzoo",
        "from transformers import pipeline; import avzoo",
        "from avzoo import FlexiASTModel",
        "import avzoo; import transformers.pipelines; avzoo.FlexiASTForAudioClassification",
        "import avzoo.pipelines.audio_classification.pipeline",
        # These begin with modules that our classes need, and import the registries on their way.
        "import avzoo; from transformers import SpeechT5HifiGan",
        "import avzoo; import transformers.modeling_layers",
        "import avzoo; import diffusers.loaders.lora_base",
        "import avzoo; from diffusers import UNet2DConditionModel",
    ],
)
def test_in_every_order_transformers_finds_the_zoo(first, model_folder, run_forked):
    run_forked(first + FIND_EVERYTHING, model_folder)


@pytest.mark.parametrize(
    "first",
    [
        "import avzoo; import diffusers",
        "from diffusers import DiffusionPipeline; import avzoo, diffusers",
        "import avzoo; import diffusers.loaders.lora_base; import diffusers",
        "import avzoo.pipelines.text_to_audio.pipeline, diffusers",
    ],
)
def test_in_every_order_diffusers_finds_the_zoo(first, run_forked):
    run_forked(f"{first}\ndiffusers.DiffusionPipeline\nassert diffusers.VoiceLDMPipeline is avzoo.VoiceLDMPipeline")


def test_other_models_keep_transformers_own_pipeline(tmp_path):
    from transformers import ASTConfig, ASTFeatureExtractor, ASTForAudioClassification, pipeline
    from transformers import AudioClassificationPipeline as Stock

    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    ASTForAudioClassification(ASTConfig(**sizes, num_mel_bins=16, max_length=32)).save_pretrained(tmp_path)
    ASTFeatureExtractor(num_mel_bins=16, max_length=32).save_pretrained(tmp_path)
    tagger = pipeline("audio-classification", model=str(tmp_path))
    assert type(tagger) is Stock
    (answer,) = tagger({"raw": np.zeros(8000, dtype=np.float32), "sampling_rate": 16000}, top_k=1)
    assert set(answer) == {"label", "score"}


def test_every_public_name_of_the_zoo_is_listed_and_found():
    names = {name for row in zoo.ROWS for name in row.public_names} | {"zoo", "toy_checkpoint", "__version__"}
    assert names <= set(dir(avzoo))
    assert names == set(avzoo.__all__)
    for row in zoo.ROWS:
        for name in row.public_names:
            assert getattr(avzoo, name) is row.load(name)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'avzoo' has no attribute 'FlexiAST'"):
        avzoo.FlexiAST  # noqa: B018
    with pytest.raises(ImportError, match="FlexiAST"):
        from avzoo import FlexiAST  # noqa: F401
