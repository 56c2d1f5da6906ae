"""Writes small images of every format and mode that is read, as seeds for the fuzz target `image`.

Usage: make_image_seeds.py FOLDER    (Pillow 13)
"""

import random
import sys
from pathlib import Path

from PIL import Image

SIDES = (17, 11)


def noise(mode: str) -> Image.Image:
    random.seed(7)
    levels = bytes(random.randrange(256) for _ in range(3 * SIDES[0] * SIDES[1]))
    image = Image.frombytes("RGB", SIDES, levels)
    return image.convert("L").convert(mode) if mode == "I;16" else image.convert(mode)


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    save = lambda name, image, **options: image.save(folder / name, **options)
    for mode in ["L", "RGB", "CMYK"]:
        save(f"jpeg-{mode}.jpg", noise(mode), quality=60)
    save("jpeg-progressive.jpg", noise("RGB"), progressive=True)
    save("jpeg-444.jpg", noise("RGB"), subsampling=0)
    save("jpeg-restart.jpg", noise("RGB"), restart_marker_blocks=1)
    exif = Image.Exif()
    exif[0x0112] = 6
    save("jpeg-turned.jpg", noise("RGB"), exif=exif)
    for mode in ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"]:
        save(f"png-{mode.replace(';', '')}.png", noise(mode))
    save("png-transparent.png", noise("P"), transparency=3)
    for mode in ["1", "L", "P", "RGB", "RGBA"]:
        save(f"bmp-{mode}.bmp", noise(mode))
    save("gif.gif", noise("P"))
    save("gif-frames.gif", noise("P"), save_all=True, append_images=[noise("L")])
    save("gif-interlaced.gif", noise("P"), interlace=True)
    save("webp.webp", noise("RGB"), quality=50)
    save("webp-alpha.webp", noise("RGBA"), quality=50)
    save("webp-lossless.webp", noise("RGBA"), lossless=True)
    save("webp-frames.webp", noise("RGB"), save_all=True, append_images=[noise("L")])


if __name__ == "__main__":
    main()
