"""What examples/README.md says about own data works from the text alone; only sizes are smaller, and models tiny."""

import itertools
import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from contract.tiny.avdiffuss import tiny_separation_parts
from sign_clips import save_sign_model
from transformers import (
    HubertConfig,
    HubertModel,
    Wav2Vec2Config,
    Wav2Vec2CTCTokenizer,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForCTC,
    Wav2Vec2Processor,
)

import avzoo
from avzoo.cli import main
from avzoo.video import write_video

README = Path(__file__).parents[2] / "examples" / "README.md"
FASTER = {
    "train_flexiast.py": "--max_steps 2 --max_length 48 --patch_sizes 16",
    "train_voiceldm.py": "--max_steps 1 --batch_size 1",
    "train_avdiffuss.py": "--max_steps 1 --batch_size 1",
    "train_mtdvocalist.py": "--max_steps 1 --batch_size 1",
    "train_talknce.py": "--max_steps 1",
    "train_ssl_alignment.py": "--max_steps 1 --batch_size 2",
    "train_slowfast_cslr.py": "--max_steps 1",
    "train_ltbs.py": "--max_steps 1 --batch_size 2 --max_frames 10",
    "train_hifigan.py": "--max_steps 1 --batch_size 1 --segment_frames 8 --discriminator_divisor 32",
}
PRINTS_ONLY = {
    "mine_neighbours.py": "",
    "evaluate_slowfast_cslr.py": "",
    "evaluate_ltbs.py": "--max_lag 0",
    "extract_ltbs_targets.py": "--layer 1 --num_units 8",
}
SMALL_LTBS = {  # of a new one; the others begin from it
    "trunk_channels": [4, 4, 6, 8],
    "encoder_layers": 1,
    "decoder_layers": 1,
    "hidden_size": 8,
    "num_attention_heads": 2,
    "intermediate_size": 12,
    "postnet_hidden": 6,
    "postnet_steps": 2,
}


def read_blocks() -> dict[str, list[str]]:
    """Commands under "sh", and files under the first line of their text."""
    section = README.read_text(encoding="utf-8").split("## Train on your own data")[1].split("\n## ")[0]
    blocks: dict[str, list[str]] = {"sh": []}
    for language, text in re.findall(r"^```(\w*)\n(.*?)^```", section, re.DOTALL | re.MULTILINE):
        if language == "sh":
            lines = text.replace("\\\n", " ").splitlines()
            blocks["sh"] += [line for line in lines if line.strip()]
        else:
            blocks[text.splitlines()[0]] = [text]
    return blocks


def write_recordings(folder: Path, *names: str) -> None:
    random = np.random.default_rng(0)
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / name, 0.1 * random.standard_normal(16000), 16000)


def write_videos() -> None:
    """Three videos of drawn people who speak, by the names of the text."""
    assert main(["toyworld", "talkers", "--n", "3", "--out", "drawn"]) == 0
    for path, name in zip(sorted(Path("drawn").glob("*.mp4")), ("talk", "news", "show"), strict=True):
        path.rename(f"{name}.mp4")


def write_clips(*names: str) -> None:
    """Videos with sound, as short as can be."""
    random = np.random.default_rng(0)
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        frames = random.integers(0, 256, (10, 32, 32, 3), np.uint8)
        write_video(name, frames, 25, audio=random.normal(0, 0.1, 6400).astype(np.float32), sampling_rate=16000)


def write_speakers(*names: str) -> None:
    """Clips of the drawn people, by the names of the text."""
    for name, drawn in zip(names, itertools.cycle(("talk.mp4", "news.mp4", "show.mp4"))):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(drawn, name)


SMALL_SPEECH_NETWORK = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "conv_dim": (8,) * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
}


def save_small_hubert(folder: Path) -> Path:
    torch.manual_seed(0)
    config = HubertConfig(do_stable_layer_norm=True, feat_extract_norm="layer", **SMALL_SPEECH_NETWORK)
    HubertModel(config).save_pretrained(folder)
    return folder


def save_small_recognizer(folder: Path) -> Path:
    """Letters at random."""
    folder.mkdir()
    letters = {letter: index for index, letter in enumerate(["<pad>", "<s>", "</s>", "<unk>", "|", *"ABC"])}
    (folder / "vocab.json").write_text(json.dumps(letters))
    tokenizer = Wav2Vec2CTCTokenizer(folder / "vocab.json")
    Wav2Vec2Processor(Wav2Vec2FeatureExtractor(), tokenizer).save_pretrained(folder)
    torch.manual_seed(0)
    Wav2Vec2ForCTC(Wav2Vec2Config(vocab_size=len(tokenizer), **SMALL_SPEECH_NETWORK)).save_pretrained(folder)
    return folder


def write_tables(blocks: dict[str, list[str]]) -> None:
    Path("recordings/list.csv").write_text(*blocks["path,label,split"])
    Path("speech.csv").write_text(*blocks["file_path,text,data"])
    Path("videos.csv").write_text(*blocks["path,split,speaker,boxes,speaking"])
    Path("signs").mkdir()
    Path("signs/glosses.csv").write_text(*blocks["path,glosses,split"])
    write_clips(*(f"signs/{name}.mp4" for name in ("morning", "noon", "night", "old")))


def name_tracks_and_speech(blocks: dict[str, list[str]]) -> None:
    """What the text says to write once `avzoo tracks` has numbered the faces: the same for all three videos here."""
    for name in ("talk", "news", "show"):
        assert main(["tracks", f"{name}.mp4", "-o", f"{name}.json"]) == 0
        Path(f"{name}.csv").write_text("track_id,start,end\n0,0.0,1.0\n")
    assert blocks["track_id,start,end"][0].startswith("track_id,start,end\n0,0.0,3.2\n")
    text = Path("videos.csv").read_text()
    Path("videos.csv").write_text(re.sub(r"(\w+)\.mp4,(\w+),(\w+),,", r"\1.mp4,\2,\3,\1.json,\1.csv", text))


@pytest.mark.slow
def test_the_commands_for_own_data_run_as_they_stand(run_main, monkeypatch, tmp_path, small_ast, small_encoders):
    monkeypatch.chdir(tmp_path)
    blocks = read_blocks()
    listed = blocks["recordings/dog/1.wav"][0].split()
    write_recordings(Path(), *listed, *(f"recordings/{name}.wav" for name in (1, 2)))
    write_tables(blocks)
    write_videos()
    write_clips(*blocks["videos/street/1.mp4"][0].split())
    write_speakers(*blocks["speakers/anna/1.mp4"][0].split())
    write_speakers("test-speakers/anna/1.mp4", "test-speakers/ben/1.mp4")
    Path("texts.csv").write_text("id,text\nanna/1,one two\nben/1,three\n")
    Path("small.json").write_text(json.dumps(SMALL_LTBS))
    avzoo.AVDiffuSSPipeline(**tiny_separation_parts()).save_pretrained("avdiffuss_start")
    models = {"MIT/ast-finetuned-audioset-10-10-0.4593": small_ast, "AST_FOLDER": small_ast}
    models |= {"AVDIFFUSS_FOLDER": "avdiffuss_start", "LOCONET_FOLDER": avzoo.toy_checkpoint("talknce")}
    models |= {f"{name.upper()}_FOLDER": avzoo.toy_checkpoint(name) for name in ("voiceldm", "mtdvocalist")}
    models |= {
        "openai/clip-vit-base-patch32": small_encoders / "clip",
        "laion/clap-htsat-unfused": small_encoders / "ast",
    }
    models |= {"microsoft/resnet-18": small_encoders / "resnet18"}
    models |= {"SLOWFAST_FOLDER": save_sign_model(tmp_path / "slowfast")}
    models |= {"facebook/hubert-large-ll60k": save_small_hubert(tmp_path / "hubert")}
    models |= {"openai/whisper-small.en": save_small_recognizer(tmp_path / "recognizer")}
    done = []
    for command in blocks["sh"]:
        words = [str(models.get(word, word)) for word in shlex.split(command)]
        if words[0] == "avzoo":
            assert main(words[1:]) == 0
            name_tracks_and_speech(blocks)
            continue
        script = next(word for word in words if word.startswith("examples/"))
        name, options = Path(script).name, words[words.index(script) + 1 :]
        if name in PRINTS_ONLY:
            status, _, stderr = run_main(name, *options, *PRINTS_ONLY[name].split())
            assert status == 0, (command, stderr[-2000:])
            continue
        if name == "train_ltbs.py" and "--model" not in options:
            options += ["--config", "small.json"]
        output = Path(options[options.index("--output_dir") + 1])
        if output.name == "tagger":
            output = options[options.index("--output_dir") + 1] = f"tagger{len(done)}"
        status, _, stderr = run_main(name, *options, *FASTER.get(name, "").split())
        assert status == 0, (command, stderr[-2000:])
        if name != "cut_faces.py":
            assert {"README.md", "metrics.jsonl", "training_arguments.json"} <= {x.name for x in Path(output).iterdir()}
        done.append(name)
    assert sorted(set(done)) == sorted([*FASTER, "cut_faces.py"])
    assert len(done) == 15
