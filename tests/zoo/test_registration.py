"""`import avzoo` needs no large package, and works in every order beside transformers and diffusers."""

import subprocess
import sys

import numpy as np
import pytest
from contract.tiny import TINY, tiny_model

import avzoo
from avzoo import zoo


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("flexiast")
    row = zoo.find_row("flexiast")
    tiny_model(row).save_pretrained(folder)
    mel_bins = TINY["FlexiASTForAudioClassification"].config["num_mel_bins"]
    row.load(row.processor_class)(num_mel_bins=mel_bins, max_length=48).save_pretrained(folder)
    return str(folder)


# In one process, one after the other.
LIGHT = [
    "import avzoo",
    "dir(avzoo); [avzoo.zoo.find_row(row.name) for row in avzoo.zoo.ROWS]; avzoo.toy_checkpoint",
    "from avzoo.cli import build_parser; build_parser().format_help()",
    "from avzoo.cli import main; main(['list']); main(['info', 'flexiast', '--json'])",
]
LARGE = {"torch", "transformers", "diffusers", "huggingface_hub", "av", "numpy"}


def test_what_needs_no_large_package_imports_none():
    code = f"""
import sys
for statement in {LIGHT}:
    exec(statement)
    found = {LARGE} & sys.modules.keys()
    assert not found, (statement, found)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


FIND_IN_TRANSFORMERS = """
from transformers import AutoConfig, AutoFeatureExtractor, AutoModel, AutoModelForAudioClassification, pipeline
import avzoo, transformers.pipelines

assert type(AutoConfig.from_pretrained(folder)) is avzoo.FlexiASTConfig
assert type(AutoModel.from_pretrained(folder)) is avzoo.FlexiASTModel
assert type(AutoModelForAudioClassification.from_pretrained(folder)) is avzoo.FlexiASTForAudioClassification
assert type(AutoFeatureExtractor.from_pretrained(folder)) is avzoo.FlexiASTFeatureExtractor
assert type(pipeline("audio-classification", model=folder)) is avzoo.AudioClassificationPipeline
"""
FIND_IN_DIFFUSERS = """
assert diffusers.DiffusionPipeline
assert diffusers.VoiceLDMPipeline is avzoo.VoiceLDMPipeline
"""
# Written so that many begin alike and share a process: `import package.module` imports the package first anyway.
ORDERS = {
    "transformers": (
        FIND_IN_TRANSFORMERS,
        [
            "import avzoo; import transformers",
            "import transformers; import avzoo",
            "import transformers; from transformers import pipeline; import avzoo",
            "from avzoo import FlexiASTModel",
            "import avzoo; import transformers; import transformers.pipelines; avzoo.FlexiASTForAudioClassification",
            "import avzoo.pipelines.audio_classification.pipeline",
            # These begin with modules that our classes need, and import the registries on their way.
            "import avzoo; import transformers; from transformers import SpeechT5HifiGan",
            "import avzoo; import transformers; import transformers.modeling_layers",
            "import avzoo; import diffusers; import diffusers.loaders.lora_base",
            "import avzoo; import diffusers; from diffusers import UNet2DConditionModel",
        ],
    ),
    "diffusers": (
        FIND_IN_DIFFUSERS,
        [
            "import avzoo; import diffusers",
            "import diffusers; from diffusers import DiffusionPipeline; import avzoo",
            "import avzoo; import diffusers; import diffusers.loaders.lora_base",
            "import avzoo.pipelines.text_to_audio.pipeline, diffusers",
        ],
    ),
}


@pytest.mark.parametrize("number", [1, pytest.param(None, marks=pytest.mark.slow)], ids=["first", "all"])
def test_in_every_order_transformers_and_diffusers_find_the_zoo(model_folder, run_forked, number):
    start = f"folder = {model_folder!r}"
    run_forked(
        {
            f"{order}; {package} finds it": [start, *order.split("; "), check]
            for package, (check, orders) in ORDERS.items()
            for order in orders[:number]
        }
    )


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
