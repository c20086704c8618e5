"""Saved pipelines: loading them, without some components, in half precision."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentencepiece
import torch
from tiny_voiceldm import ALPHABET, PROMPTS, TEXTS, assembled, seeded, spoken
from transformers import (
    RobertaTokenizer,
    SpeechT5Tokenizer,
)

from avzoo.pipelines.text_to_audio.pipeline import VoiceLDMPipeline


def real_tokenizers(folder: Path) -> dict[str, Any]:
    lines = ["the quick brown fox jumps over the lazy dog", "how are you today?", "hello, world!"]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_prefix=str(folder / "characters"), model_type="char", vocab_size=50,
        hard_vocab_limit=False, bos_id=0, pad_id=1, eos_id=2, unk_id=3, minloglevel=2,
    )  # fmt: skip
    pieces = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "Ġ", *ALPHABET, ",", "."]
    return {
        "content_tokenizer": SpeechT5Tokenizer(str(folder / "characters.model")),
        "description_tokenizer": RobertaTokenizer(vocab={piece: i for i, piece in enumerate(pieces)}, merges=[]),
    }


@pytest.fixture(scope="module")
def whole_pipe(parts, tmp_path_factory) -> VoiceLDMPipeline:
    """With tokenizers of the kind that the real ones are."""
    return assembled(parts, **real_tokenizers(tmp_path_factory.mktemp("tokenizers")), null_content="hm", presets=None)


@pytest.fixture(scope="module")
def folder(whole_pipe, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pipeline")
    assembled(whole_pipe.components, null_content="hm").use_preset("fast").save_pretrained(folder)
    return folder


def test_tokenizers_give_the_ids_of_the_released_ones(whole_pipe):
    content, null = whole_pipe.content_tokenizer(["a fox 7", "_"]).input_ids
    assert (content[0], content[-2:]) == (4, [3, 2])
    assert null == [4, 3, 2]
    assert whole_pipe.description_tokenizer([""]).input_ids == [[0, 2]]


def test_a_batch_by_real_tokenizers_equals_its_items(whole_pipe):
    options, prompts, texts = {"output_type": "latent"}, PROMPTS[1:3], TEXTS[1:3]
    together = spoken(whole_pipe, prompts, texts, generator=[seeded(i) for i in range(2)], **options)
    for index, (description, content) in enumerate(zip(prompts, texts, strict=True)):
        alone = spoken(whole_pipe, description, content, generator=seeded(index), **options)
        torch.testing.assert_close(together[index : index + 1], alone, rtol=1e-4, atol=1e-4)


def test_a_folder_loads_and_computes_the_same(folder, whole_pipe):
    """In another process, too: tests/conversion/test_loading_elsewhere.py."""
    loaded = VoiceLDMPipeline.from_pretrained(folder)
    loaded.set_progress_bar_config(disable=True)
    pipe = assembled(whole_pipe.components, null_content="hm").use_preset("fast")
    assert (loaded.preset, loaded.config.null_content) == ("fast", "hm")
    expected = spoken(pipe)
    assert expected.abs().max() == pytest.approx(1.0, abs=1e-3)
    # Weights lie at other addresses, which the last bits of a product can show.
    torch.testing.assert_close(spoken(loaded), expected, rtol=1e-4, atol=1e-5)
    for name in ("unet", "content_encoder", "vae", "vocoder", "description_encoder", "audio_encoder"):
        written, read = getattr(pipe, name).state_dict(), getattr(loaded, name).state_dict()
        assert written.keys() == read.keys()
        assert all(torch.equal(written[key], read[key]) for key in written)


def test_components_can_be_omitted_when_loading_and_saving(folder, whole_pipe, tmp_path):
    loaded = VoiceLDMPipeline.from_pretrained(folder, audio_encoder=None, feature_extractor=None)
    assert loaded.audio_encoder is None
    loaded.save_pretrained(tmp_path)
    assert not (tmp_path / "audio_encoder").exists()
    again = VoiceLDMPipeline.from_pretrained(tmp_path)
    again.set_progress_bar_config(disable=True)
    pipe = assembled(whole_pipe.components, null_content="hm").use_preset("fast")
    torch.testing.assert_close(spoken(again), spoken(pipe), rtol=1e-4, atol=1e-5)


def test_a_folder_loads_in_half_precision(folder):
    pipe = VoiceLDMPipeline.from_pretrained(folder, torch_dtype=torch.bfloat16)
    pipe.set_progress_bar_config(disable=True)
    assert {part.dtype for part in (pipe.unet, pipe.content_encoder, pipe.vae, pipe.vocoder)} == {torch.bfloat16}
    audio = spoken(pipe, PROMPTS, TEXTS)
    assert audio.dtype == torch.float32
    assert audio.isfinite().all()
    assert audio.abs().amax(1).tolist() == pytest.approx([1.0] * 4, abs=1e-3)
    recording = {"array": torch.linspace(-1, 1, 9000).sin().numpy(), "sampling_rate": 16000}
    assert spoken(pipe, None, audio_prompt=recording, output_type="np").dtype == np.float32
