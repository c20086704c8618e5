"""Checkpoints that are made to fill the memory, or hold what is no weight: refused by name, before memory is spent."""

import subprocess
import sys
import zipfile
from pathlib import Path

import hostile_files
import pytest
import small_flexiast
import torch
from hostile_files import HOSTILE_FILES, HOSTILE_SAFETENSORS, write_safetensors
from safetensors.torch import save_file

from avzoo.conversion import convert_checkpoint
from avzoo.conversion.checkpoints import read_checkpoint
from avzoo.conversion.keymap import KeyMap, ignore, load_weights, rename


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "released.pth"


# --- files that state more than they hold -----------------------------------------------------------------------------


@pytest.mark.parametrize("write", HOSTILE_FILES, ids=lambda write: write.__name__)
def test_a_file_that_states_more_than_it_holds_is_refused_by_name(path, write):
    write(path)
    with pytest.raises((ValueError, OSError), match=r"released\.pth.*" + HOSTILE_FILES[write]):
        read_checkpoint(path)


@pytest.mark.parametrize("kind", HOSTILE_SAFETENSORS)
def test_safetensors_that_state_more_than_they_hold_are_refused_by_name(tmp_path, kind):
    path = tmp_path / "released.safetensors"
    write_safetensors(path, *HOSTILE_SAFETENSORS[kind])
    with pytest.raises(OSError, match=r"released\.safetensors` cannot be read, it is cut short or damaged"):
        read_checkpoint(path)


READS_WITH_LITTLE_MEMORY = """
import resource, sys, time
from pathlib import Path
import avzoo.conversion.checkpoints as checkpoints
checkpoints.read_checkpoint({})
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sorted(Path(sys.argv[1]).iterdir()):
    begin = time.perf_counter()
    try:
        checkpoints.read_checkpoint(path)
    except (ValueError, OSError) as error:
        assert path.name in str(error), error
    else:
        assert path.name == "state_a_huge_memo.pth", path
    assert time.perf_counter() - begin < 5, path
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 30_000, f"{path.name}: {grown} kB"
"""


@pytest.mark.slow
def test_no_hostile_file_takes_more_than_megabytes(tmp_path):
    for write in (*HOSTILE_FILES, hostile_files.state_a_huge_memo):
        write(tmp_path / f"{write.__name__}.pth")
    for number, parts in enumerate(HOSTILE_SAFETENSORS.values()):
        write_safetensors(tmp_path / f"{number}.safetensors", *parts)
    subprocess.run([sys.executable, "-c", READS_WITH_LITTLE_MEMORY, tmp_path], check=True)


def test_one_damaged_byte_of_the_weights_is_noticed(path):
    """torch.load skips the checksums of its files."""
    torch.save({"weight": torch.arange(3000.0)}, path)
    content = bytearray(path.read_bytes())
    content[content.find(torch.tensor([700.0, 701.0]).numpy().tobytes()) + 2] ^= 1
    path.write_bytes(content)
    assert torch.load(path)["weight"][700] != 700
    with pytest.raises(OSError, match=r"released\.pth` cannot be read, it is cut short or damaged: Bad CRC-32.*data/0"):
        read_checkpoint(path)


def test_a_file_without_checksums_is_read(path):
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"weight": torch.arange(3000.0)}, path)
    finally:
        torch.serialization.set_crc32_options(True)
    assert not any(member.CRC for member in zipfile.ZipFile(path).infolist())
    assert torch.equal(read_checkpoint(path).state_dict()["weight"], torch.arange(3000.0))


@pytest.mark.parametrize("as_zip", [True, False])
def test_views_of_one_storage_and_nested_entries_are_read(path, as_zip):
    weight = torch.arange(12.0)
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(3))])
    content = {"whole": weight, "half": weight[:6], "turned": weight.view(3, 4).T, "optimizer": optimizer.state_dict()}
    content |= {"half_precision": weight.half(), "count": torch.tensor(3), "complex": torch.ones(2, dtype=torch.cfloat)}
    torch.save(content, path, _use_new_zipfile_serialization=as_zip)
    read = read_checkpoint(path).content
    assert torch.equal(read["turned"], weight.view(3, 4).T)
    assert torch.equal(read["half_precision"], weight.half())


@pytest.mark.parametrize("where", ["", "state_dict", "ema"])
def test_a_meta_tensor_in_a_file_is_named(path, where):
    empty = torch.empty(3, device="meta")
    content = {"": {"a.bias": empty}, "state_dict": {"state_dict": {"a.bias": empty}}, "ema": {"ema": [[empty]]}}[where]
    torch.save({"weight": torch.zeros(2), **content}, path)
    named = {"": "a.bias", "state_dict": "state_dict.a.bias", "ema": "ema.0.0"}[where]
    with pytest.raises(
        ValueError, match=rf"released\.pth`: `{named}` is a meta tensor, which has a shape and no values"
    ):
        read_checkpoint(path)


# --- folders ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_link_out_of_the_folder_is_refused(tmp_path, name):
    folder = tmp_path / "folder"
    folder.mkdir()
    save_file({"weight": torch.zeros(2)}, folder / "model.safetensors")
    (folder / "config.json").write_text("{}")
    (folder / name).rename(tmp_path / name)
    (folder / name).symlink_to(tmp_path / name)
    with pytest.raises(ValueError, match=rf"{name}` is a link out of its folder, to"):
        read_checkpoint(folder)


def test_the_links_of_a_hub_cache_are_followed(tmp_path):
    repository = tmp_path / "models--you--ast"
    (repository / "blobs").mkdir(parents=True)
    snapshot = repository / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    save_file({"weight": torch.ones(2)}, repository / "blobs" / "beef")
    (snapshot / "model.safetensors").symlink_to("../../blobs/beef")
    assert torch.equal(read_checkpoint(snapshot).state_dict()["weight"], torch.ones(2))


def test_a_tensor_in_two_shards_is_named(tmp_path):
    for name in ("one.safetensors", "two.safetensors"):
        save_file({"layer.weight": torch.zeros(2)}, tmp_path / name)
    (tmp_path / "model.safetensors.index.json").write_text(
        '{"weight_map": {"layer.weight": "one.safetensors", "layer.bias": "two.safetensors"}}'
    )
    with pytest.raises(ValueError, match=r"`layer\.weight` is in several shards, `two\.safetensors` among them"):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 200_000, "nested too deeply"),
        ('{"a":' * 200_000, "nested too deeply"),
        ('{"mean": NaN}', "it holds NaN, which is no number"),
        ('{"mean": -Infinity}', "it holds -Infinity, which is no number"),
        ('{"size": 1' + "0" * 5000 + "}", "is not valid JSON"),
        (" " * (1 << 24) + "{}", r"has 16777218 bytes of JSON, expected at most 16777216"),
    ],
    ids=["lists", "dictionaries", "NaN", "infinite", "a number of 5000 digits", "16 MB"],
)
def test_a_hostile_config_beside_the_weights_is_named(tmp_path, text, message):
    save_file({"weight": torch.zeros(2)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ValueError, match=rf"config\.json` .*{message}"):
        read_checkpoint(tmp_path)


# --- tensors that are no weights --------------------------------------------------------------------------------------

TABLE = KeyMap(rename("old.{leaf}", "{leaf}"), ignore("unused", why="nothing reads it"))
SPOILED = {
    "it is sparse": lambda good: good.to_sparse(),
    "it is quantized (qint8)": lambda good: torch.quantize_per_tensor(good, 0.1, 0, torch.qint8),
    "it is complex (complex64)": lambda good: good.to(torch.complex64),
    "it is a meta tensor, which has a shape and no values": lambda good: good.to("meta"),
    "it has values of int64, expected floating point of 16, 32 or 64 bits": lambda good: good.long(),
    "it has values of bool, expected floating point of 16, 32 or 64 bits": lambda good: good.bool(),
    "it has values of float8_e4m3fn, expected": lambda good: good.to(torch.float8_e4m3fn),
    "it is a MaskedTensor": lambda good: torch.masked.as_masked_tensor(good, good > 0),
    "its shape (3, 4) takes 48 bytes, 4 are stored": lambda good: good[:1, :1].clone().expand(3, 4),
    "its shape (1000000, 1000000) takes 4000000000000 bytes, 4 are stored": (
        lambda good: torch.zeros(1).expand(10**6, 10**6)
    ),
}


@pytest.mark.filterwarnings("ignore::UserWarning:torch.*")
@pytest.mark.parametrize("flaw", SPOILED)
def test_a_tensor_that_is_no_weight_is_named(flaw):
    spoiled = SPOILED[flaw](torch.ones(3, 4))
    source = {"old.weight": spoiled, "old.bias": torch.zeros(3)}
    with pytest.raises(ValueError, match="1 tensor can't be used") as caught:
        TABLE.apply(source, {"weight": tuple(spoiled.shape), "bias": (3,)}, "released.pth")
    assert f"released.pth does not fit: 1 tensor can't be used (`old.weight: {flaw}" in str(caught.value)
    source = {"old.weight": torch.ones(3, 4), "old.bias": torch.zeros(3), "unused": spoiled}
    assert torch.equal(TABLE.apply(source, {"weight": (3, 4), "bias": (3,)})["weight"], torch.ones(3, 4))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_values_that_are_not_finite_are_counted_by_key(value):
    weight = torch.ones(3, 4)
    weight[1, :2] = value
    source = {"old.weight": weight, "old.bias": torch.zeros(3)}
    with pytest.raises(
        ValueError, match=r"^released\.pth is damaged: 1 tensor has NaN or infinite .*`old\.weight: 2 of 12`"
    ):
        TABLE.apply(source, {"weight": (3, 4), "bias": (3,)}, "released.pth")


def test_a_double_too_large_for_a_float_is_not_finite():
    with pytest.raises(ValueError, match=r"`old\.weight: 1 of 2`"):
        TABLE.apply({"old.weight": torch.tensor([1e300, 1.0], dtype=torch.float64)}, {"weight": (2,)})


def test_the_same_bytes_under_many_keys_are_refused():
    one = torch.zeros(1000)
    table = KeyMap(rename("{key}", "{key}"))
    shapes = {f"layer{number}": (1000,) for number in range(1000)}
    with pytest.raises(ValueError, match=r"^released\.pth: its tensors take 4000000 bytes, 4000 are stored"):
        table.apply(dict.fromkeys(shapes, one), shapes, "released.pth")
    tied = {"embedding": one, "head": one}
    assert table.apply(tied, {"embedding": (1000,), "head": (1000,)}).keys() == tied.keys()


def test_a_weight_of_too_few_axes_for_its_operation_is_named():
    table = KeyMap(rename("kernel", "weight", lambda kernel: kernel[:, :, 0, 0]))
    with pytest.raises(
        ValueError, match=r"1 tensor can't be used \(`kernel: its shape \(3,\) is that of no such weight"
    ):
        table.apply({"kernel": torch.zeros(3)}, {"weight": (3, 3)})


def test_a_network_of_more_layers_than_are_stored_is_not_built():
    file = small_flexiast.flexiast_file()
    with pytest.raises(ValueError, match=r"checkpoint holds 41 tensors, the network of its config more than 264 param"):
        convert_checkpoint("flexiast", file, config={"num_hidden_layers": 10**9})


def test_loaded_weights_are_copies():
    weight = torch.ones(2, 2)
    model = load_weights(torch.nn.Linear(2, 2, bias=False, device="meta"), TABLE, {"old.weight": weight}, "released")
    weight.zero_()
    assert torch.equal(model.weight, torch.ones(2, 2))
