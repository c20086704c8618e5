"""A tokenizer of CLIP's kind, small."""

import json
from pathlib import Path

from transformers import CLIPTokenizer

START, END, DOG = 54, 55, 53
A, OF = 26, (14, 31)  # "a</w>"; "o" and "f</w>"


def make_tokenizer(folder: Path) -> CLIPTokenizer:
    """Of letters and two merges: "dog" is one token, other words split into their letters; 56 tokens."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = [*letters, *(f"{letter}</w>" for letter in letters), "do", "dog</w>", "<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({word: index for index, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\nd o\ndo g</w>\n")
    return CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"))
