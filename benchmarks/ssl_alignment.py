"""The trunks of cross-modal alignment on a CPU: norms folded and channels last, against the plain form.

Released size, one thread, process time; both forms alternate, outputs are compared first. Then what a new sound costs
on a picture that is encoded already, and a pair whose two sides are.
"""

import contextlib
import statistics
import time
from collections.abc import Callable, Iterator
from unittest import mock

import torch

from avzoo import SSLAlignmentConfig, SSLAlignmentForSoundLocalization
from avzoo.models.layers import normed_convolution
from avzoo.models.ssl_alignment import residual_trunk

ROUNDS = 15


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = SSLAlignmentForSoundLocalization(SSLAlignmentConfig(use_objectness=True)).eval()
    print("| what | plain / folded, median | quartiles | greatest difference |")
    print("|---|---|---|---|")
    for batch_size in (1, 4):
        pixels, sounds = torch.randn(batch_size, 3, 224, 224), torch.randn(batch_size, 1, 257, 299)
        sides: dict[str, Callable[[], torch.Tensor]] = {
            "picture": lambda pixels=pixels: model.get_image_features(pixels).last_hidden_state,
            "sound": lambda sounds=sounds: model.get_audio_features(sounds).last_hidden_state,
            "pair": lambda pixels=pixels, sounds=sounds: model(pixels, sounds).similarity_map,
        }
        for name, call in sides.items():
            with torch.no_grad():
                report(f"{name}, batch {batch_size}", call)
    with torch.no_grad():
        compare_costs(model)


@contextlib.contextmanager
def in_plain_form() -> Iterator[None]:
    """Norms apart from their convolutions, and channels as they come."""
    with contextlib.ExitStack() as stack:
        for module in (normed_convolution, residual_trunk):
            stack.enter_context(mock.patch.object(module, "can_fold", return_value=False))
        yield


def report(name: str, call: Callable[[], torch.Tensor]) -> None:
    with in_plain_form():
        plain = call()
    difference = (call() - plain).abs().max()
    assert difference < 1e-5, difference
    ratios = []
    for _ in range(ROUNDS):
        with in_plain_form():
            seconds = measure(call)
        ratios.append(seconds / measure(call))
    low, median, high = statistics.quantiles(ratios, n=4)
    print(f"| {name} | {median:.2f} | {low:.2f} - {high:.2f} | {difference:.1e} |")


def compare_costs(model: SSLAlignmentForSoundLocalization) -> None:
    pixels, sounds = torch.randn(1, 3, 224, 224), torch.randn(1, 1, 257, 299)
    image, audio = model.get_image_features(pixels), model.get_audio_features(sounds)

    def run_pair() -> None:
        model(pixels, sounds)
        model.get_objectness(pixels)

    def run_new_sound() -> None:
        model.compute_similarity_maps(image, model.get_audio_features(sounds))

    def run_cached_pair() -> None:
        model.compute_similarity_maps(image, audio)

    times = {call.__name__: [] for call in (run_pair, run_new_sound, run_cached_pair)}
    for _ in range(ROUNDS):
        for call in (run_pair, run_new_sound, run_cached_pair):
            times[call.__name__].append(measure(call))
    pair = statistics.median(times["run_pair"])
    print()
    for name in ("run_new_sound", "run_cached_pair"):
        print(f"{name} / run_pair with the objectness map: {statistics.median(times[name]) / pair:.4f}")


def measure(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


if __name__ == "__main__":
    main()
