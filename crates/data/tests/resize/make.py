"""Writes the golden images of the resizing test with Pillow: `python3 make.py`.

Needs Pillow and NumPy, the versions of `versions.txt` beside this file. Every case is the same made
image, resized; `cases.bin` holds them one after another:
  u8 interpolation (0 nearest, 1 bilinear, 2 bicubic), u16 H, W, H', W' (little endian),
  H·W levels in, H'·W' levels out.
`grey.bin` holds RGB levels and what `convert("L")` makes of them, four bytes each.
"""
import pathlib
import platform
import struct

import numpy
import PIL
from PIL import Image

here = pathlib.Path(__file__).parent
kinds = [Image.Resampling.NEAREST, Image.Resampling.BILINEAR, Image.Resampling.BICUBIC]
sizes = [
    ((8, 8), (32, 32)),
    ((8, 8), (64, 64)),
    ((8, 8), (8, 19)),
    ((8, 8), (19, 8)),
    ((28, 28), (32, 32)),
    ((28, 28), (96, 96)),
    ((28, 28), (7, 7)),
    ((28, 28), (5, 61)),
    ((13, 47), (29, 11)),
    ((61, 37), (17, 23)),
    ((1, 9), (6, 4)),
    ((33, 1), (4, 5)),
    ((50, 50), (1, 1)),
    ((53, 22), (43, 24)),
    ((40, 38), (20, 28)),
    ((40, 38), (19, 28)),
    ((48, 14), (5, 3)),
]
random = numpy.random.default_rng(0)
with open(here / "cases.bin", "wb") as out:
    for (h, w), (to_h, to_w) in sizes:
        # Half noise, half hard edges: overshoot and clipping both occur.
        image = random.integers(0, 256, (h, w), dtype=numpy.uint8)
        image[: h // 2] = numpy.where(image[: h // 2] < 128, 0, 255)
        for code, kind in enumerate(kinds):
            resized = numpy.asarray(Image.fromarray(image).resize((to_w, to_h), kind))
            out.write(struct.pack("<BHHHH", code, h, w, to_h, to_w) + image.tobytes() + resized.tobytes())

rgb = random.integers(0, 256, (1, 500, 3), dtype=numpy.uint8)
rgb[0, :8] = [[r, g, b] for r in (0, 255) for g in (0, 255) for b in (0, 255)]
grey = numpy.asarray(Image.fromarray(rgb).convert("L"))
(here / "grey.bin").write_bytes(numpy.concatenate([rgb, grey[..., None]], axis=2).tobytes())

(here / "versions.txt").write_text(
    f"Python {platform.python_version()}\nPillow {PIL.__version__}\nNumPy {numpy.__version__}\n"
)
