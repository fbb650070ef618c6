"""Decoders of JPEG files: images per second on one core, and whether they give the pixels that Pillow gives.

    python benchmarks/decoding.py FOLDER...           # .jpg files anywhere below; at most --images of them
    python benchmarks/decoding.py FOLDER... --dataset outputs/dataset   # and what all of loading takes

Each decoder goes from the bytes of a file in memory to (height, width, 3) uint8 RGB, in turns with the others, so that
other work on the machine meets all of them. The second table has copies of the files that are cut short, or with single
bits turned over: what a decoder makes of them, and how many lines it writes to the standard error meanwhile. Decoders
that are not installed are left out; `pip install simplejpeg opencv-python` for all.
"""

from __future__ import annotations

import argparse
import io
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from codetr.data.config import AugmentConfig, LoaderConfig, PreprocessConfig
from codetr.data.dataset.split import Split
from codetr.data.images import parse_image
from codetr.data.loading.loader import TrainLoader

Decode = Callable[[bytes], NDArray[np.uint8]]


def pillow(content: bytes) -> NDArray[np.uint8]:
    """Decode with Pillow, the reference of the comparison."""
    return np.array(Image.open(io.BytesIO(content), formats=("JPEG",)).convert("RGB"))


def codetr(content: bytes) -> NDArray[np.uint8]:
    """Decode as training does, with its checks; nothing is rotated."""
    return parse_image(content, "image", upright=False)


def torchvision(content: bytes) -> NDArray[np.uint8]:
    """Decode with torchvision; (3, height, width) is transposed to the order of the others."""
    from torchvision.io import ImageReadMode, decode_jpeg

    data = torch.frombuffer(bytearray(content), dtype=torch.uint8)
    return np.ascontiguousarray(decode_jpeg(data, ImageReadMode.RGB).numpy().transpose(1, 2, 0))


def simplejpeg(content: bytes) -> NDArray[np.uint8]:
    """Decode with libjpeg-turbo, exactly."""
    from simplejpeg import decode_jpeg

    return decode_jpeg(content, "RGB", fastdct=False, fastupsample=False)


def cv2(content: bytes) -> NDArray[np.uint8]:
    """Decode with OpenCV, whose order of colours is BGR."""
    import cv2 as opencv

    flags = opencv.IMREAD_COLOR_RGB | opencv.IMREAD_IGNORE_ORIENTATION
    return np.asarray(opencv.imdecode(np.frombuffer(content, np.uint8), flags), np.uint8)


def main() -> None:
    """Read the files, decode them by turns, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--images", type=int, default=500, help="how many files at most")
    parser.add_argument("--rounds", type=int, default=5, help="how often each is decoded; the fastest round counts")
    parser.add_argument("--dataset", type=Path, help="a prepared dataset, of which an epoch is loaded")
    options = parser.parse_args()
    torch.set_num_threads(1)
    files = sorted(path for folder in options.folders for path in folder.rglob("*.jp*g"))
    files = files[:: max(1, len(files) // options.images)][: options.images]
    contents = [content for content in map(Path.read_bytes, files) if content.startswith(b"\xff\xd8")]
    known: list[Decode] = [pillow, codetr, torchvision, simplejpeg, cv2]
    decoders: list[Decode] = []
    for decode in known:
        try:
            decode(contents[0])
            decoders.append(decode)
        except ImportError:
            print(f"{name_of(decode)} is not installed")
    references = [pillow(content) for content in contents]
    pixels = sum(image.shape[0] * image.shape[1] for image in references) / len(references)
    print(f"{len(contents)} files, {pixels / 1e6:.2f} megapixels on average")
    fastest = dict.fromkeys(decoders, float("inf"))
    for _ in range(options.rounds):
        for decode in decoders:
            begun = time.process_time()
            for content in contents:
                decode(content)
            fastest[decode] = min(fastest[decode], time.process_time() - begun)
    print(f"{'':14}{'images/s':>10}{'to Pillow':>11}{'other pixels':>14}{'off by at most':>16}")
    for decode in decoders:
        off = [deviation(decode(content), image) for content, image in zip(contents, references, strict=True)]
        speed, ratio = len(contents) / fastest[decode], fastest[pillow] / fastest[decode]
        print(f"{name_of(decode):14}{speed:>10.0f}{ratio:>11.2f}{sum(map(bool, off)):>14}{max(off):>16}")
    print_damaged(decoders, contents)
    if options.dataset:
        loader = TrainLoader(
            Split.open(options.dataset, "train"), AugmentConfig(), PreprocessConfig(), LoaderConfig(workers=0), seed=0
        )
        begun = time.process_time()
        images = sum(len(targets) for _, targets in loader.epoch(0))
        print(f"\nloading an image to train on: {(time.process_time() - begun) / images * 1e3:.1f} ms")


def print_damaged(decoders: list[Decode], contents: list[bytes]) -> None:
    """Compare what every decoder returns for damaged files with what Pillow returns."""
    random = np.random.default_rng(0)
    damaged = [damage(content, random) for content in contents for _ in range(10)]
    expected = [attempt(pillow, content) for content in damaged]
    read = sum(image is not None for image in expected)
    print(f"\n{len(damaged)} damaged copies, of which Pillow reads {read} and refuses {len(damaged) - read}")
    print(f"{'':14}{'as Pillow':>10}{'other pixels':>14}{'reads refused':>15}{'refuses read':>14}{'warnings':>10}")
    for decode in decoders:
        outcomes: Counter[str] = Counter()
        with counted_lines(outcomes):
            for content, image in zip(damaged, expected, strict=True):
                found = attempt(decode, content)
                if found is None or image is None:
                    outcomes["as" if found is image else "refuses" if found is None else "reads"] += 1
                else:
                    outcomes["other" if deviation(found, image) else "as"] += 1
        counts = [outcomes[name] for name in ("as", "other", "reads", "refuses", "lines")]
        print("{:14}{:>10}{:>14}{:>15}{:>14}{:>10}".format(name_of(decode), *counts))


def damage(content: bytes, random: np.random.Generator) -> bytes:
    """Return a copy that is truncated, or in which up to three bits are flipped."""
    if random.random() < 0.5:
        return content[: int(random.integers(2, len(content)))]
    copy = bytearray(content)
    for position in random.integers(2, len(copy), size=int(random.integers(1, 4))):
        copy[position] ^= 1 << int(random.integers(8))
    return bytes(copy)


def attempt(decode: Decode, content: bytes) -> NDArray[np.uint8] | None:
    """Return the image, or None if the decoder refuses the file."""
    try:
        return decode(content)
    except Exception:  # whatever a decoder raises
        return None


@contextmanager
def counted_lines(outcomes: Counter[str]) -> Iterator[None]:
    """Count what libraries write to the standard error, which does not pass through Python."""
    with tempfile.TemporaryFile() as file:
        kept = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
        file.seek(0)
        outcomes["lines"] = len(file.read().splitlines())


def name_of(decode: Decode) -> str:
    """Return the name of the decoder."""
    return getattr(decode, "__name__", "")


def deviation(image: NDArray[np.uint8], reference: NDArray[np.uint8]) -> int:
    """Return the largest difference of two images; 256 if their sizes differ."""
    if image.shape != reference.shape:
        return 256
    return int(np.abs(image.astype(np.int16) - reference).max())


if __name__ == "__main__":
    main()
