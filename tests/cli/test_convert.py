"""`avzoo convert`: a folder for transformers, or a reason and nothing half-written."""

import os
import pickle
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from refusals import refused
from safetensors.torch import save_file

import avzoo
from avzoo.files import write_folder_atomically

NEEDS_NO_ROOT = pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")


def ast_tensors(distilled: bool = True, width: int = 64, mlp: int = 96, classes: int = 5) -> dict[str, torch.Tensor]:
    """An original AST file at a small size: one block, patch 16, stride 16, 8 x 4 positions."""
    shapes = {
        "v.cls_token": (1, 1, width),
        "v.pos_embed": (1, 1 + distilled + 8 * 4, width),
        "v.patch_embed.proj.weight": (width, 1, 16, 16),
        "v.patch_embed.proj.bias": (width,),
        "v.blocks.0.norm1.weight": (width,),
        "v.blocks.0.norm1.bias": (width,),
        "v.blocks.0.attn.qkv.weight": (3 * width, width),
        "v.blocks.0.attn.qkv.bias": (3 * width,),
        "v.blocks.0.attn.proj.weight": (width, width),
        "v.blocks.0.attn.proj.bias": (width,),
        "v.blocks.0.norm2.weight": (width,),
        "v.blocks.0.norm2.bias": (width,),
        "v.blocks.0.mlp.fc1.weight": (mlp, width),
        "v.blocks.0.mlp.fc1.bias": (mlp,),
        "v.blocks.0.mlp.fc2.weight": (width, mlp),
        "v.blocks.0.mlp.fc2.bias": (width,),
        "v.norm.weight": (width,),
        "v.norm.bias": (width,),
        "mlp_head.0.weight": (width,),
        "mlp_head.0.bias": (width,),
        "mlp_head.1.weight": (classes, width),
        "mlp_head.1.bias": (classes,),
    }
    if distilled:
        shapes["v.dist_token"] = (1, 1, width)
    generator = torch.Generator().manual_seed(0)
    return {f"module.{key}": torch.randn(shape, generator=generator) * 0.1 for key, shape in shapes.items()}


def flexiast_tensors() -> dict[str, torch.Tensor]:
    """A FlexiAST file at the same size, leftovers of its AST included."""
    tensors = ast_tensors(distilled=False)
    kernel, positions = tensors["module.v.patch_embed.proj.weight"], tensors["module.v.pos_embed"]
    return tensors | {
        "module.patch_embed.proj.weight": kernel + 1,
        "module.patch_embed.proj.bias": tensors["module.v.patch_embed.proj.bias"],
        "module.pos_embed.pos_embed": positions + 1,
        "module.v.head.weight": torch.zeros(10, 64),
    }


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "files" / "small.pth"
    path.parent.mkdir()
    torch.save(ast_tensors(), path)
    return path


@pytest.fixture
def output(tmp_path):
    """Where to convert to; the folder it is in is empty before."""
    folder = tmp_path / "outputs"
    folder.mkdir()
    yield folder / "converted"
    leftovers = [path.name for path in folder.iterdir() if path.name != "converted"]
    assert not leftovers, leftovers


def test_a_converted_ast_loads_with_transformers(avzoo_command, checkpoint, output):
    import hashlib

    from transformers import AutoFeatureExtractor, AutoModel, AutoModelForAudioClassification

    status, out, _ = avzoo_command("convert", "flexiast", checkpoint, output)
    assert (status, out) == (0, f"{output}\n")
    model = AutoModelForAudioClassification.from_pretrained(output)
    assert isinstance(AutoModel.from_pretrained(output), avzoo.FlexiASTModel)
    assert isinstance(AutoFeatureExtractor.from_pretrained(output), avzoo.FlexiASTFeatureExtractor)
    torch.testing.assert_close(model.classifier.dense.weight, ast_tensors()["module.mlp_head.1.weight"])
    source = model.config.avzoo_source
    assert source["file"] == "small.pth"
    assert source["sha256"] == hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    assert (source["method"], source["variant"], source["avzoo_version"]) == ("flexiast", "ast", avzoo.__version__)
    card = (output / "README.md").read_text(encoding="utf-8")
    assert source["sha256"] in card
    assert "`small.pth`" in card


def test_a_flexiast_file_keeps_its_own_kernel(avzoo_command, checkpoint, output):
    torch.save(flexiast_tensors(), checkpoint)
    assert avzoo_command("convert", "flexiast", checkpoint, output)[0] == 0
    model = avzoo.FlexiASTForAudioClassification.from_pretrained(output)
    kernel = model.flexiast.embeddings.patch_embeddings.weight
    torch.testing.assert_close(kernel, flexiast_tensors()["module.patch_embed.proj.weight"])


def test_config_fields_and_variant_are_taken(avzoo_command, checkpoint, output):
    settings = [
        "--variant",
        "flexify",
        "--config",
        "num_attention_heads=4",
        "layer_norm_eps=1e-12",
        "patch_size=(8,16)",
    ]
    assert avzoo_command("convert", "flexiast", checkpoint, output, *settings)[0] == 0
    config = avzoo.FlexiASTConfig.from_pretrained(output)
    assert config.num_attention_heads == 4
    assert config.layer_norm_eps == 1e-12
    assert config.patch_size == (8, 16)
    assert config.avzoo_source["variant"] == "flexify"


def test_config_fields_may_be_given_one_by_one(avzoo_command, checkpoint, output):
    fields = ["--config", "layer_norm_eps=0.001", "--config", "hidden_dropout_prob=0.25"]
    assert avzoo_command("convert", "flexiast", checkpoint, output, *fields)[0] == 0
    config = avzoo.FlexiASTConfig.from_pretrained(output)
    assert (config.layer_norm_eps, config.hidden_dropout_prob) == (0.001, 0.25)


def test_safetensors_and_an_empty_folder_are_fine(avzoo_command, tmp_path, output):
    save_file(ast_tensors(), tmp_path / "small.safetensors")
    output.mkdir()
    assert avzoo_command("convert", "flexiast", tmp_path / "small.safetensors", output)[0] == 0
    assert {path.name for path in output.iterdir()} == {
        "README.md",
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
    }


class RunsCode:
    def __reduce__(self):
        return os.mkdir, ("this_code_ran",)


def spoil_nothing(path):
    pass


def truncate(path):
    path.write_bytes(path.read_bytes()[:-1000])


def empty(path):
    path.write_bytes(b"")


def write_code(path):
    path.write_bytes(pickle.dumps({"module.v.cls_token": RunsCode()}))


def save_code(path):
    torch.save({"module.v.cls_token": RunsCode()}, path)


def write_text(path):
    path.write_text("<html>quota exceeded</html>")


def save_a_list(path):
    torch.save([torch.zeros(3)], path)


def save_another_method(path):
    torch.save({"encoder.weight": torch.zeros(3)}, path)


def save_one_key_more(path):
    torch.save({**ast_tensors(), "module.lipsync.fc.bias": torch.zeros(3)}, path)


def save_one_key_less(path):
    torch.save({key: value for key, value in ast_tensors().items() if "fc2.bias" not in key}, path)


def wrap(path):
    torch.save({"epoch": 3, "model": ast_tensors()}, path)


BAD_CHECKPOINTS = [
    (Path.unlink, [], "`{path}` does not exist"),
    (truncate, [], "`{path}` cannot be read, it is cut short or damaged"),
    (empty, [], "`{path}`"),
    (write_text, [], "`{path}`"),
    (write_code, [], "could run code"),
    (save_code, [], "could run code"),
    (save_a_list, [], "holds a list, not a dictionary of tensors"),
    (wrap, [], "`epoch` holds a int"),
    (save_another_method, [], "is no FlexiAST or AST checkpoint", "`encoder.weight`"),
    (save_one_key_more, [], "1 key has no rule (`lipsync.fc.bias`)"),
    (save_one_key_less, [], "1 tensor stays empty (`flexiast.layers.0.mlp.fc2.bias`)"),
    (spoil_nothing, ["--variant", "audiosett"], "no variant of flexiast is called 'audiosett'", "vggsound"),
    (spoil_nothing, ["--variant", "vggsound"], "is a plain AST checkpoint", "'vggsound'"),
    (spoil_nothing, ["--config", "num_heads=4"], "`config` has no field 'num_heads'", "num_attention_heads"),
    (spoil_nothing, ["--config", "num_attention_heads=7"], "`hidden_size` (64)", "`num_attention_heads` (7)"),
    (spoil_nothing, ["--config", "num_attention_heads=many"], "num_attention_heads", "many"),
    (spoil_nothing, ["--config", "num_attention_heads"], "expected KEY=VALUE, got 'num_attention_heads'"),
]


@pytest.mark.parametrize(
    ("spoil", "options", "reasons"),
    [(spoil, options, reasons) for spoil, options, *reasons in BAD_CHECKPOINTS],
    ids=lambda value: getattr(value, "__name__", None) or (value[-1] if value else "plain"),
)
def test_a_bad_conversion_says_why_and_writes_nothing(
    avzoo_command, checkpoint, output, spoil, options, reasons, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    spoil(checkpoint)
    answer = avzoo_command("convert", "flexiast", checkpoint, output, *options)
    refused(answer, *(reason.format(path=checkpoint) for reason in reasons))
    assert not output.exists()
    assert not Path("this_code_ran").exists()


def test_an_unknown_method_converts_nothing(avzoo_command, checkpoint, output):
    refused(avzoo_command("convert", "flexist", checkpoint, output), "no method is called 'flexist'")
    assert not output.exists()


def test_a_folder_with_something_in_it_is_left_alone(avzoo_command, checkpoint, output):
    output.mkdir()
    (output / "thesis.txt").write_text("years of work")
    refused(avzoo_command("convert", "flexiast", checkpoint, output), f"`{output}` exists and is not an empty folder")
    assert [path.name for path in output.iterdir()] == ["thesis.txt"]


def test_an_output_inside_a_file_is_refused(avzoo_command, checkpoint):
    refused(avzoo_command("convert", "flexiast", checkpoint, checkpoint / "converted"), str(checkpoint))


@NEEDS_NO_ROOT
def test_an_output_that_cannot_be_written_is_refused(avzoo_command, checkpoint, output):
    output.parent.chmod(0o500)
    try:
        refused(avzoo_command("convert", "flexiast", checkpoint, output), str(output.parent))
    finally:
        output.parent.chmod(0o700)


def test_a_conversion_that_breaks_off_leaves_nothing(avzoo_command, checkpoint, output, monkeypatch):
    def break_off(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(avzoo.FlexiASTFeatureExtractor, "save_pretrained", break_off)
    refused(avzoo_command("convert", "flexiast", checkpoint, output), "No space left on device")
    assert not output.exists()


def test_a_conversion_to_a_full_disk_names_the_folder_and_leaves_nothing(avzoo_command, checkpoint, output):
    """safetensors' error of a full disk is no OSError."""
    handler, limits = signal.signal(signal.SIGXFSZ, signal.SIG_IGN), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        answer = avzoo_command("convert", "flexiast", checkpoint, output)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    refused(answer, f"`{output}` cannot be written: File too large")
    assert not output.exists()


def test_a_key_with_control_characters_does_not_reach_the_terminal(avzoo_command, checkpoint, output):
    torch.save({**ast_tensors(), "module.\x1b[2J\x07" + "long" * 10_000: torch.zeros(3)}, checkpoint)
    answer = avzoo_command("convert", "flexiast", checkpoint, output)
    refused(answer, "1 key has no rule", "\N{REPLACEMENT CHARACTER}[2J")
    assert "\x1b" not in answer[2]
    assert len(answer[2]) < 1000


@pytest.mark.parametrize("umask", [0o022, 0o077], ids=oct)
def test_a_converted_folder_has_the_modes_that_the_umask_gives(avzoo_command, checkpoint, output, umask):
    before = os.umask(umask)
    try:
        assert avzoo_command("convert", "flexiast", checkpoint, output)[0] == 0
    finally:
        os.umask(before)
    assert oct(output.stat().st_mode & 0o777) == oct(0o777 & ~umask)
    modes = {path.name: oct(path.stat().st_mode & 0o777) for path in output.iterdir()}
    assert modes == dict.fromkeys(modes, oct(0o666 & ~umask))
    assert "model.safetensors" in modes


def test_a_conversion_says_what_it_took_and_how_it_knew(avzoo_command, checkpoint, output):
    import hashlib

    torch.save(flexiast_tensors(), checkpoint)
    status, out, err = avzoo_command("convert", "flexiast", checkpoint, output)
    assert (status, out) == (0, f"{output}\n")
    assert err.splitlines() == [
        "flexiast, variant flexiast, told by its shapes",
        "22 tensors used, 4 ignored",
        "  ignored v.pos_embed: position grid of the AST it was initialised from; its evaluation skips it",
        "  ignored v.patch_embed.proj.weight, v.patch_embed.proj.bias: kernel of the AST it was initialised from; its "
        "evaluation skips it",
        "  ignored v.head.weight: ImageNet head of the backbone; `forward` never reaches it",
        f"sha256 {hashlib.sha256(checkpoint.read_bytes()).hexdigest()} of small.pth",
    ]
    source = avzoo.FlexiASTConfig.from_pretrained(output).avzoo_source
    assert (source["variant_told"], source["tensors_used"]) == ("by its shapes", 22)
    ignored = source["tensors_ignored"]
    assert ignored["ImageNet head of the backbone; `forward` never reaches it"] == ["v.head.weight"]
    assert source["tensors_used"] + sum(map(len, ignored.values())) == len(flexiast_tensors())


def test_a_variant_that_was_asked_for_is_told_so(avzoo_command, checkpoint, output):
    err = avzoo_command("convert", "flexiast", checkpoint, output, "--variant", "flexify")[2]
    assert err.splitlines()[:2] == ["flexiast, variant flexify, as asked", "23 tensors used, 0 ignored"]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["flexiast", "nofile.pth", "out"], "checkpoint `nofile.pth` does not exist."),
        (["flexiast", "pipe", "out"], "checkpoint `pipe` is neither a file nor a folder."),
        (["flexist", "nofile.pth", "out"], "no method is called 'flexist'"),
        (["flexiast", "nofile.pth", "out", "--variant", "audiosett"], "no variant of flexiast is called 'audiosett'"),
        (["voiceldm", "out", "--part", "checkpoint=nofile.pth"], "checkpoint `nofile.pth` does not exist."),
        (["voiceldm", "nofile.pth", "out", "--part", "clap=none"], "checkpoint `nofile.pth` does not exist."),
    ],
)
def test_what_can_not_be_is_told_before_torch_is_imported(arguments, reason, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    program = "import sys; from avzoo.cli import main; status = main(sys.argv[1:])\n"
    program += "assert 'torch' not in sys.modules and 'transformers' not in sys.modules; sys.exit(status)"
    command = [sys.executable, "-c", program, "convert", *arguments]
    begin = time.perf_counter()
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    seconds = time.perf_counter() - begin
    refused((ended.returncode, ended.stdout, ended.stderr), reason)
    assert seconds < 1
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]


@NEEDS_NO_ROOT
def test_a_checkpoint_that_may_not_be_read_is_refused(avzoo_command, checkpoint, output):
    checkpoint.chmod(0)
    refused(avzoo_command("convert", "flexiast", checkpoint, output), f"`{checkpoint}` can't be read")


def test_a_second_run_into_one_folder_is_told_before_it_converts(avzoo_command, checkpoint, output):
    with write_folder_atomically(output):
        refused(avzoo_command("convert", "flexiast", checkpoint, output), f"another process is writing `{output}`")


KILLED_WHILE_SAVING = """
import os, signal, sys
from avzoo.files import write_folder_atomically
with write_folder_atomically(sys.argv[1]) as unfinished:
    (unfinished / "model.safetensors").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_conversion_is_swept_by_the_next_into_the_same_folder(avzoo_command, checkpoint, output):
    killed = subprocess.run([sys.executable, "-c", KILLED_WHILE_SAVING, output], check=False)
    assert killed.returncode == -9
    assert not output.exists()
    assert list(output.parent.rglob("model.safetensors"))
    assert avzoo_command("convert", "flexiast", checkpoint, output)[0] == 0
    assert (output / "model.safetensors").is_file()
