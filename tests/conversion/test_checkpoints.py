"""Reading checkpoint files: every layout they come in, and nothing in them is ever run."""

import hashlib
import json
import os
import pickle
import random
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from avzoo.conversion.checkpoints import Checkpoint, compute_sha256, read_checkpoint


def weights() -> dict[str, torch.Tensor]:
    return {"layer.weight": torch.arange(3000.0).view(30, 100), "layer.bias": torch.ones(30)}


def assert_are_the_weights(checkpoint: Checkpoint):
    read = checkpoint.state_dict()
    assert set(read) == set(weights())
    for key, tensor in weights().items():
        assert torch.equal(read[key], tensor)


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "released.pth"


# --- what a checkpoint may be -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["released.pth", "released.pt", "released.ckpt", "released.bin", "released"])
@pytest.mark.parametrize("as_zip", [True, False])
def test_what_torch_save_wrote_is_read(tmp_path, name, as_zip):
    path = tmp_path / name
    torch.save(weights(), path, _use_new_zipfile_serialization=as_zip)
    for source in (path, str(path)):
        checkpoint = read_checkpoint(source)
        assert_are_the_weights(checkpoint)
        assert checkpoint.file == name
        assert checkpoint.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        assert name in checkpoint.name


def test_safetensors_are_read(tmp_path):
    path = tmp_path / "released.safetensors"
    save_file(weights(), path)
    checkpoint = read_checkpoint(path)
    assert_are_the_weights(checkpoint)
    assert checkpoint.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_mapping_is_taken_as_it_is():
    content = weights()
    checkpoint = read_checkpoint(content)
    assert checkpoint.content is content
    assert (checkpoint.file, checkpoint.sha256, dict(checkpoint.sidecar)) == (None, None, {})
    assert_are_the_weights(checkpoint)


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_a_folder_is_read_with_its_configs(tmp_path, name):
    (save_file if name.endswith("safetensors") else torch.save)(weights(), tmp_path / name)
    (tmp_path / "config.json").write_text('{"hidden_size": 30}')
    (tmp_path / "preprocessor_config.json").write_text('{"mean": -4.5}')
    (tmp_path / "tokens.json").write_text("[")  # none of our business
    checkpoint = read_checkpoint(tmp_path)
    assert_are_the_weights(checkpoint)
    assert checkpoint.sidecar == {"config.json": {"hidden_size": 30}, "preprocessor_config.json": {"mean": -4.5}}
    assert checkpoint.file == tmp_path.name
    assert checkpoint.sha256 == compute_sha256([tmp_path / name])


def test_a_folder_of_both_kinds_is_read_from_safetensors(tmp_path):
    save_file(weights(), tmp_path / "model.safetensors")
    (tmp_path / "pytorch_model.bin").write_bytes(b"never opened")
    assert_are_the_weights(read_checkpoint(tmp_path))


@pytest.mark.parametrize(("stem", "ending"), [("model", "safetensors"), ("pytorch_model", "bin")])
def test_a_folder_of_shards_is_read_by_its_index(tmp_path, stem, ending):
    weight_map = {key: f"{stem}-0000{index}-of-00002.{ending}" for index, key in enumerate(weights(), start=1)}
    for key, name in weight_map.items():
        (save_file if ending == "safetensors" else torch.save)({key: weights()[key]}, tmp_path / name)
    (tmp_path / f"{stem}.{ending}.index.json").write_text(json.dumps({"weight_map": weight_map}))
    checkpoint = read_checkpoint(tmp_path)
    assert_are_the_weights(checkpoint)
    digest = hashlib.sha256(b"".join((tmp_path / name).read_bytes() for name in sorted(weight_map.values())))
    assert checkpoint.sha256 == digest.hexdigest()


def test_the_prefix_of_parallel_training_is_taken_off():
    keys = read_checkpoint({f"module.{key}": tensor for key, tensor in weights().items()}).state_dict()
    assert set(keys) == set(weights())


def test_a_prefix_that_only_some_keys_have_is_a_name():
    content = {"module.weight": torch.zeros(1), "bias": torch.zeros(1)}
    assert set(read_checkpoint(content).state_dict()) == {"module.weight", "bias"}


def test_the_prefix_is_taken_off_once():
    assert set(read_checkpoint({"module.module.weight": torch.zeros(1)}).state_dict()) == {"module.weight"}


# --- files that are damaged or something else -------------------------------------------------------------------------


@pytest.mark.parametrize("as_zip", [True, False])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.9, 0.999])
def test_a_truncated_file_is_an_os_error_with_its_path(path, as_zip, share):
    torch.save(weights(), path, _use_new_zipfile_serialization=as_zip)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(OSError, match=r"released\.pth` cannot be read, it is cut short or damaged"):
        read_checkpoint(path)


@pytest.mark.parametrize("share", [0.001, 0.3, 0.999])
def test_truncated_safetensors_are_an_os_error_with_their_path(tmp_path, share):
    path = tmp_path / "released.safetensors"
    save_file(weights(), path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(OSError, match=r"released\.safetensors` cannot be read, it is cut short or damaged"):
        read_checkpoint(path)


@pytest.mark.parametrize("name", ["released.pth", "released.safetensors"])
def test_an_empty_file_is_an_os_error(tmp_path, name):
    (tmp_path / name).touch()
    with pytest.raises(OSError, match=f"{name}` cannot be read, it is cut short or damaged"):
        read_checkpoint(tmp_path / name)


@pytest.mark.filterwarnings("ignore")  # what torch says of a pickle it then refuses
@pytest.mark.parametrize("name", ["released.pth", "released.safetensors"])
@pytest.mark.parametrize("start", [b"", b"\x80\x02", b"PK\x03\x04", b"\x80\x05\x95"])
def test_random_bytes_are_refused_with_their_name(tmp_path, name, start):
    generator = random.Random(0)
    for length in (1, 7, 30, 100, 5000):
        for _ in range(5):
            (tmp_path / name).write_bytes(start + generator.randbytes(length))
            with pytest.raises((OSError, ValueError), match=name) as caught:
                read_checkpoint(tmp_path / name)
            assert type(caught.value) in (OSError, ValueError)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("as_zip", [True, False])
def test_a_damaged_byte_is_refused_with_the_name_or_harmless(path, as_zip):
    """Old files have no checksum, so a flipped byte may change a value; no other exception may escape."""
    torch.save(weights(), path, _use_new_zipfile_serialization=as_zip)
    content = path.read_bytes()
    generator = random.Random(0)
    errors = []
    for _ in range(100):
        damaged = bytearray(content)
        damaged[generator.randrange(400)] = generator.randrange(256)
        path.write_bytes(damaged)
        try:
            read_checkpoint(path)
        except Exception as error:
            errors.append(error)
    assert len(errors) > 20
    assert {type(error) for error in errors} <= {OSError, ValueError}
    assert all(path.name in str(error) for error in errors)


def test_a_web_page_in_place_of_the_file_is_told(path):
    path.write_text("<!DOCTYPE html><html>Quota exceeded</html>" * 10)
    with pytest.raises(ValueError, match=r"released\.pth` is not a checkpoint that torch\.save or safetensors wrote"):
        read_checkpoint(path)


def test_a_zip_archive_without_a_pickle_is_refused(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("photos/cat.jpg", b"meow")
    with pytest.raises(OSError, match=r"released\.pth` cannot be read"):
        read_checkpoint(path)


def test_a_missing_file_is_named(path):
    with pytest.raises(FileNotFoundError, match=r"released\.pth` does not exist"):
        read_checkpoint(path)


class RunsCode:
    """Unpickled, it makes a folder."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("how", ["zip", "legacy", "pickle"])
@pytest.mark.filterwarnings("ignore::UserWarning:torch.*")
def test_a_pickle_that_runs_code_is_refused_and_does_not_run(path, how):
    mark = path.with_name("this code ran")
    content = {**weights(), "layer.scale": RunsCode(mark)}
    if how == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=how == "zip")
    with pytest.raises(ValueError, match=r"released\.pth` needs arbitrary Python objects.*could run code.*not opened"):
        read_checkpoint(path)
    assert not mark.exists()
    torch.load(path, weights_only=False) if how != "pickle" else pickle.loads(path.read_bytes())
    assert mark.exists()  # so the file was dangerous indeed


def test_a_whole_pickled_model_is_refused(path):
    torch.save(torch.nn.Linear(2, 2), path)
    with pytest.raises(ValueError, match="could run code"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ("content", "kind"), [([torch.zeros(1)], "list"), (torch.zeros(1), "Tensor"), (7, "int"), ("best", "str")]
)
def test_what_is_no_dictionary_is_named(path, content, kind):
    torch.save(content, path)
    with pytest.raises(ValueError, match=rf"released\.pth` holds a {kind}, not a dictionary of tensors"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ({}, "it is empty"),
        ({"epoch": 3, "model": weights()}, "`epoch` holds a int"),
        ({"state_dict": weights()}, "`state_dict` holds a dict"),
        ({**weights(), "arch": "ast"}, "`arch` holds a str"),
        ({**weights(), "layers": [torch.zeros(1)]}, "`layers` holds a list"),
        ({0: torch.zeros(1)}, "its key 0 is no name"),
    ],
)
def test_what_is_no_flat_dictionary_of_tensors_is_named(path, content, what):
    torch.save(content, path)
    for source in (path, content):
        with pytest.raises(ValueError, match="expected a flat dictionary of tensors, but " + what):
            read_checkpoint(source).state_dict()


# --- folders ----------------------------------------------------------------------------------------------------------


def test_a_folder_without_weights_lists_what_was_looked_for(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(FileNotFoundError, match=r"holds no weights; looked for model\.safetensors, pytorch_model\.bin"):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize("shard", ["../secret.bin", "/etc/passwd", "..", "", "sub/shard.bin"])
def test_an_index_that_points_outside_its_folder_is_refused(tmp_path, shard):
    torch.save(weights(), tmp_path / "secret.bin")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": {"layer.weight": shard}}))
    with pytest.raises(ValueError, match=r"index\.json` points outside its folder"):
        read_checkpoint(folder)


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ("{", "is not valid JSON"),
        ("[]", "holds a JSON list, expected an object"),
        ("{}", "has no `weight_map`"),
        ('{"weight_map": ["a"]}', "has no `weight_map`"),
        ('{"weight_map": {"a": 3}}', "has no `weight_map`"),
    ],
)
def test_a_broken_index_is_named(tmp_path, index, message):
    (tmp_path / "model.safetensors.index.json").write_text(index)
    with pytest.raises(ValueError, match=r"model\.safetensors\.index\.json` " + message):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize("ending", ["bin", "safetensors"])
def test_a_missing_shard_is_named(tmp_path, ending):
    index = {"weight_map": {"layer.weight": f"shard-2.{ending}"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(FileNotFoundError, match=rf"shard-2\.{ending}"):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"[1]"])
def test_a_broken_config_beside_the_weights_is_named(tmp_path, content):
    save_file(weights(), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"config\.json` (is not valid JSON|holds a JSON list)"):
        read_checkpoint(tmp_path)
