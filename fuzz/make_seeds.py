"""Writes the seeds of the fuzz targets `cifar`, `manifest` and `tar`; those of the others are fixtures.

Usage: make_seeds.py FOLDER    (pyarrow, for Parquet)
"""

import gzip
import io
import random
import sys
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


def cifar(folder: Path) -> None:
    random.seed(1)
    levels = bytes(random.randrange(256) for _ in range(3072))
    (folder / "one").write_bytes(b"\x03" + levels)
    (folder / "two").write_bytes((b"\x09" + levels) * 2)
    (folder / "fine").write_bytes(b"\x02\x50" + levels)
    (folder / "cut").write_bytes(b"\x03" + levels[:100])


def manifest(folder: Path) -> None:
    rows = [("a.jpg", "cat", "train"), ("b.jpg", "dog", "val"), ("c d.jpg", "cat;dog", "test")]
    for name, comma in [("comma.csv", ","), ("tab.tsv", "\t")]:
        lines = [comma.join(row) for row in [("path", "label", "split"), *rows]]
        (folder / name).write_text("\n".join(lines) + "\n")
    (folder / "quoted.csv").write_text('\ufefffilename,class\n"a, ""b"".jpg",1\nb.jpg,0\n')
    (folder / "paths.csv").write_text("image\na.jpg\n../b.jpg\n")
    columns = {
        "path": [row[0] for row in rows],
        "label": [row[1] for row in rows],
        "split": [row[2] for row in rows],
    }
    table = pa.table(columns)
    for codec in ["none", "snappy", "gzip"]:
        pq.write_table(table, folder / f"{codec}.parquet", compression=codec)
    numbers = pa.table({"path": columns["path"], "label": pa.array([0, 1, None], pa.int64())})
    pq.write_table(numbers, folder / "numbers.parquet", use_dictionary=False)
    lists = pa.table({"path": columns["path"], "labels": [["cat"], [], ["cat", "dog"]]})
    pq.write_table(lists, folder / "lists.parquet", data_page_version="2.0")


def tar(folder: Path) -> None:
    members = [
        ("000.jpg", b"\xff\xd8\xff image"),
        ("000.cls", b"3"),
        ("001.png", b"\x89PNG image"),
        ("001.json", b'{"label": "cat"}'),
        ("sub/002.jpg", b""),
        ("sub/002.txt", b"dog\n"),
        ("x" * 120 + ".jpg", b"long name"),
    ]
    for name, layout in [("ustar", tarfile.USTAR_FORMAT), ("gnu", tarfile.GNU_FORMAT), ("pax", tarfile.PAX_FORMAT)]:
        with tarfile.open(folder / f"{name}.tar", "w", format=layout) as archive:
            for path, content in members if layout != tarfile.USTAR_FORMAT else members[:-1]:
                info = tarfile.TarInfo(path)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    link = tarfile.TarInfo("link.jpg")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
    with tarfile.open(folder / "link.tar", "w") as archive:
        archive.addfile(link)
    whole = (folder / "gnu.tar").read_bytes()
    (folder / "cut.tar").write_bytes(whole[:1300])
    (folder / "gzip.tar.gz").write_bytes(gzip.compress(whole, mtime=0))


def main() -> None:
    for make in [cifar, manifest, tar]:
        folder = Path(sys.argv[1]) / make.__name__
        folder.mkdir(parents=True, exist_ok=True)
        make(folder)


if __name__ == "__main__":
    main()
