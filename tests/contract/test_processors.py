"""What every processor and feature extractor of the zoo keeps: names that transformers gives a meaning have it here."""

import inspect

import pytest
from transformers import FeatureExtractionMixin, ProcessorMixin
from transformers.processing_utils import AudioKwargs, ImagesKwargs, TextKwargs, VideosKwargs

from avzoo import zoo

RESERVED = {name for kind in (TextKwargs, ImagesKwargs, VideosKwargs, AudioKwargs) for name in kind.__annotations__}
# With transformers' meaning: the rate of bare samples in Hz, and how features are padded, cut and returned.
SAME_MEANING = {"sampling_rate", "padding", "max_length", "truncation", "return_attention_mask", "return_tensors"}


def find_processors() -> dict[str, type]:
    public = {name: row.load(name) for row in zoo.ROWS for name in (*row.public_names, *row.pipeline_components)}
    kinds = FeatureExtractionMixin | ProcessorMixin
    return {name: value for name, value in public.items() if isinstance(value, type) and issubclass(value, kinds)}


@pytest.fixture(params=find_processors())
def parameters(request):
    """Those of a call."""
    found = inspect.signature(find_processors()[request.param].__call__).parameters
    return {name: parameter for name, parameter in found.items() if name != "self"}


def test_the_rows_have_processors():
    assert len(find_processors()) >= 5


def test_arguments_have_the_meaning_that_transformers_gives_their_names(parameters):
    needed = {"return_tensors", "sampling_rate"} - (
        {"sampling_rate"} if parameters.keys() >= {"videos", "text"} else set()
    )
    assert needed <= parameters.keys() & RESERVED <= SAME_MEANING
    assert parameters["return_tensors"].kind is inspect.Parameter.KEYWORD_ONLY


def test_a_misspelt_argument_is_an_error(parameters):
    kinds = {parameter.kind for parameter in parameters.values()}
    assert not kinds & {inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL}


@pytest.mark.parametrize("name", find_processors())
def test_a_folder_without_its_settings_is_refused(name, tmp_path):
    """The defaults suit other weights."""
    with pytest.raises(OSError, match=r"processor_config\.json"):
        find_processors()[name].from_pretrained(tmp_path)
