"""What writers leave: files and folders with the modes that the umask gives, whole or not at all."""

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from contract.diffusion import PIPELINES
from contract.tiny import TINY, tiny_model
from safetensors.torch import save_file

from avzoo import zoo
from avzoo.audio import write_wav
from avzoo.feature_cache import FeatureCache
from avzoo.files import fill_folder, give_umask_modes, read_umask, write_atomically, write_folder_atomically
from avzoo.model_cards import render_card
from avzoo.records import Records
from avzoo.toyworld import world
from avzoo.training import checkpoints
from avzoo.training.half_precision import save_in_half
from avzoo.video import FaceTracks, save_tracks, write_video
from avzoo.video.drawing import write_picture

FRAMES = np.zeros((2, 16, 16, 3), np.uint8)


def write_weights(folder: Path) -> None:
    with write_atomically(folder / "weights.safetensors") as unfinished:
        save_file({"weight": torch.zeros(2)}, unfinished)


def write_media(folder: Path) -> None:
    write_wav(folder / "sound.wav", np.zeros(100, np.float32), 16000)
    write_video(folder / "film.mp4", FRAMES, 25)
    write_picture(folder / "picture.png", FRAMES[0])


def write_toyworld(folder: Path) -> None:
    clips = world("sound_events")(1, 0)
    (folder / "clips").mkdir()
    clips.write(clips[0], folder / "clips")


def write_tables(folder: Path) -> None:
    header = dict.fromkeys(("task", "model", "source", "score", "device", "dtype"), "any")
    Records(**header, records=[{"start": 0.0, "end": 1.0, "label": "dog", "score": 0.5}]).save(folder / "labels.json")
    save_tracks(folder / "tracks.json", FaceTracks([], 25.0, 16, 16, 2))
    render_card("flexiast").save(folder / "README.md")


def write_cache(folder: Path) -> None:
    FeatureCache(folder / "cache", 2).write([0], {"mel": np.zeros((1, 3))})


def write_training(folder: Path) -> None:
    row = zoo.find_row("flexiast")
    model, bare = tiny_model(row), torch.nn.Linear(2, 2)
    optimizer = torch.optim.SGD(bare.parameters(), lr=1.0)
    average = checkpoints.ExponentialMovingAverage(bare, 0.9)
    arguments = {"model": bare, "optimizer": optimizer, "ema": average, "state": {}, "keep": 2}
    checkpoints.save_checkpoint(folder, 1, **arguments)
    bins = TINY["FlexiASTForAudioClassification"].config["num_mel_bins"]
    checkpoints.save_best(folder, model, row.load(row.processor_class)(num_mel_bins=bins))
    (folder / "final").mkdir()
    checkpoints.save_trained(folder / "final", bare)


def write_pipeline(folder: Path) -> None:
    save_in_half(PIPELINES["AVDiffuSSPipeline"].assemble(), folder)


@pytest.fixture(params=[0o022, 0o077, 0o002], ids=oct)
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def assert_modes(folder: Path, umask: int) -> None:
    written = sorted(folder.rglob("*"))
    assert written
    for path in written:
        expected = (0o777 if path.is_dir() else 0o666) & ~umask
        assert oct(stat.S_IMODE(path.stat().st_mode)) == oct(expected), path


@pytest.mark.parametrize(
    "write", [write_weights, write_media, write_toyworld, write_tables, write_cache, write_training, write_pipeline]
)
def test_what_is_written_has_the_mode_that_the_umask_gives(write, umask, tmp_path):
    folder = tmp_path / "written"
    folder.mkdir()
    write(folder)
    assert_modes(folder, umask)


def test_a_folder_of_private_files_is_opened_up_but_not_what_its_links_point_to(umask, tmp_path):
    private = tmp_path / "private"
    private.touch(0o600)
    folder = tmp_path / "folder"
    (folder / "unet").mkdir(parents=True, mode=0o700)
    (folder / "unet" / "weights").touch(0o600)
    give_umask_modes(folder)
    assert_modes(folder, umask)
    (folder / "link").symlink_to(private)
    give_umask_modes(folder)
    assert stat.S_IMODE(private.stat().st_mode) == 0o600


def test_the_umask_is_read_without_being_changed(umask):
    assert read_umask() == umask
    with pytest.MonkeyPatch.context() as patch:  # where there is no /proc
        patch.setattr("builtins.open", lambda *arguments, **options: (_ for _ in ()).throw(FileNotFoundError()))
        assert read_umask() == umask
    assert read_umask() == umask


def test_the_umask_is_the_same_in_every_thread(umask):
    seen = []
    threads = [threading.Thread(target=lambda: seen.append(read_umask())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [umask] * 8


# --- folders that are there or not ------------------------------------------------------------------------------------


def write_note(folder: Path, text: str = "whole", name: str = "note") -> None:
    with write_folder_atomically(folder) as unfinished:
        (unfinished / name).write_text(text)


def test_a_folder_comes_with_the_modes_of_the_umask_and_nothing_beside_it(umask, tmp_path):
    (tmp_path / "in").mkdir()
    write_note(tmp_path / "in" / "new" / "folder")
    assert_modes(tmp_path / "in", umask)
    assert [path.name for path in (tmp_path / "in").rglob("*")] == ["new", "folder", "note"]


def test_an_error_leaves_neither_the_folder_nor_the_folders_above_it(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such folder"):
        write_note(tmp_path / "new" / "folder", name="no such folder/note")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["..", "file", "file/inside"])
def test_a_folder_that_can_not_be_is_refused(tmp_path, name):
    (tmp_path / "file").write_text("years of work")
    (tmp_path / "empty").mkdir()
    with pytest.raises(OSError, match=r"file|empty folder"):
        write_note(tmp_path / "empty" / name if name == ".." else tmp_path / name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "file"]


def test_an_empty_folder_is_taken_through_a_link_or_as_the_current_one(tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("empty")
    write_note(tmp_path / "link")
    assert (tmp_path / "empty" / "note").read_text() == "whole"
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    write_note(Path())
    assert (tmp_path / "other" / "note").read_text() == "whole"


KILLED = """
import os, signal, sys
from avzoo.files import write_folder_atomically
with write_folder_atomically(sys.argv[1]) as unfinished:
    (unfinished / "weights").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
HOLDS = """
import sys
from avzoo.files import write_folder_atomically
with write_folder_atomically(sys.argv[1]) as unfinished:
    (unfinished / "note").write_text("first")
    print("writing", flush=True)
    sys.stdin.readline()
"""


def test_what_a_killed_process_left_is_swept_by_the_next(tmp_path):
    folder = tmp_path / "folder"
    subprocess.run([sys.executable, "-c", KILLED, folder], check=False)
    assert any(tmp_path.iterdir())
    assert not folder.exists()
    (tmp_path / ".folder-settings").mkdir()  # another's
    write_note(folder)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".folder-settings", "folder"]
    assert [path.name for path in folder.iterdir()] == ["note"]


def test_of_two_processes_that_write_one_folder_the_second_is_refused(tmp_path):
    folder = tmp_path / "folder"
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdout.readline() == "writing\n"
        with pytest.raises(BlockingIOError, match=f"^another process is writing `{folder}`; wait until it has ended"):
            write_note(folder)
        write_note(tmp_path / "another")
        first.communicate("\n")
    assert first.returncode == 0
    assert (folder / "note").read_text() == "first"
    with pytest.raises(FileExistsError, match="is not an empty folder"):
        write_note(folder)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["another", "folder"]


def test_of_many_threads_that_write_one_folder_one_wins(tmp_path):
    errors = []

    def write(text: str) -> None:
        try:
            write_note(tmp_path / "folder", text)
        except OSError as error:
            errors.append(type(error))

    threads = [threading.Thread(target=write, args=(str(number),)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(errors) == 15
    assert set(errors) <= {BlockingIOError, FileExistsError}
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


# --- folders that are filled file by file -----------------------------------------------------------------------------

KILLED_WHILE_FILLING = """
import os, signal, sys
from avzoo.files import fill_folder, write_atomically
with fill_folder(sys.argv[1]) as folder:
    (folder / "first.wav").write_text("whole")
    with write_atomically(folder / "clip.tar.mp4") as unfinished:
        unfinished.write_text("half")
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_half_written_files_of_a_killed_process_are_swept_by_the_next_and_no_others(tmp_path):
    subprocess.run([sys.executable, "-c", KILLED_WHILE_FILLING, tmp_path], check=False)
    assert len(list(tmp_path.iterdir())) == 3  # a lock, too
    for name in ("notes.part", ".hidden.part.txt", ".mine.0123.part.wav", "clip.0123abcd.part.wav"):
        (tmp_path / name).touch()
    with fill_folder(tmp_path):
        pass
    kept = ["clip.0123abcd.part.wav", "first.wav", "notes.part", ".hidden.part.txt", ".mine.0123.part.wav"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)


def test_of_two_that_fill_one_folder_the_second_is_refused(tmp_path):
    with fill_folder(tmp_path / "new"):
        with pytest.raises(BlockingIOError, match=f"^another process is writing `{tmp_path}/new`; wait until it"):  # noqa: SIM117
            with fill_folder(tmp_path / "new"):
                raise AssertionError
        with fill_folder(tmp_path / "another"):
            pass
    with fill_folder(tmp_path / "new"):
        pass
    assert not any((tmp_path / "new").iterdir())


# --- full disks -------------------------------------------------------------------------------------------------------

NOISE = np.random.default_rng(0)
WRITERS = {
    "a sound": ("sound.wav", lambda path: write_wav(path, np.zeros(48000, np.float32), 16000)),
    "a film": ("film.mp4", lambda path: write_video(path, NOISE.integers(0, 255, (50, 128, 128, 3), np.uint8), 25)),
    "a picture": ("picture.png", lambda path: write_picture(path, NOISE.integers(0, 255, (128, 128, 3), np.uint8))),
    "weights": ("weights.safetensors", lambda path: write_large_weights(path)),
    "text": ("card.md", lambda path: write_long_text(path)),
}


def write_large_weights(path: Path) -> None:
    with write_atomically(path) as unfinished:
        save_file({"weight": torch.zeros(9000)}, unfinished)


def write_long_text(path: Path) -> None:
    with write_atomically(path) as unfinished:
        unfinished.write_text("a" * 9000)


@pytest.mark.parametrize("what", WRITERS)
def test_a_full_disk_names_the_file_and_leaves_what_was_there(full_disk, tmp_path, what):
    name, write = WRITERS[what]
    (tmp_path / name).write_text("earlier")
    with pytest.raises(OSError, match=f"`{tmp_path / name}` cannot be written: File too large"):
        write(tmp_path / name)
    assert (tmp_path / name).read_text() == "earlier"
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_full_disk_leaves_no_folder(full_disk, tmp_path):
    with pytest.raises(OSError, match=f"`{tmp_path / 'new'}` cannot be written: File too large"):
        write_note(tmp_path / "new", "a" * 9000)
    with (
        pytest.raises(OSError, match=f"`{tmp_path / 'new'}` cannot be written: File too large"),
        write_folder_atomically(tmp_path / "new") as unfinished,
    ):
        save_file({"weight": torch.zeros(9000)}, unfinished / "model.safetensors")
    assert not any(tmp_path.iterdir())


def test_a_cache_that_does_not_fit_on_the_disk_is_told_before_it_is_filled(full_disk, tmp_path):
    with pytest.raises(OSError, match=r"values\.f16` cannot be written: File too large"):
        FeatureCache(tmp_path / "cache", 2000).write([0], {"mel": np.zeros((1, 30))})
    FeatureCache(tmp_path / "small", 20).write([0], {"mel": np.zeros((1, 30))})
    allocated = (tmp_path / "small" / "values.f16").stat().st_blocks * 512
    assert allocated >= 20 * 30 * 2


def test_a_device_is_not_replaced_by_a_file(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(OSError, match="is a pipe or a device, in whose place no file is put"), write_atomically(pipe):
        pass
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert list(tmp_path.iterdir()) == [pipe]
