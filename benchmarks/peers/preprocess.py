"""Decoding and preparing photographs next to the peers: how fast per processor, and how equal.

Pipelines: nearkin, torchvision on Pillow (timm's own transform), torchvision v2 with decode_jpeg; each in a process of
its own, from bytes in memory to normalised f32 values [3, 224, 224]: shorter side to 256 bicubic with antialias, centre
crop, normalise. After a warm-up they take turns, A B C, then C B A, and so on; a turn prepares every photograph once and
counts the processor time of the process. The ratio of two pipelines is the median, over the rounds, of the ratio of
their turns in the same round.
"""

import argparse
import io
import json
import pathlib
import statistics
import sys
import tempfile
import threading
import time

import common

NEARKIN, PILLOW, V2 = "nearkin", "torchvision on Pillow", "torchvision v2, decode_jpeg"
GOALS = {PILLOW: 2.5, V2: 1.4}
SIDE = 224
SUFFIXES = {".jpeg", ".jpg"}


def parse():
    parser = argparse.ArgumentParser(
        prog="cargo xtask peers preprocess", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--photos", type=pathlib.Path, help="folder of JPEG files (default: imagenet-sample/dev of the shared data)"
    )
    parser.add_argument("--threads", default="1,2", help="numbers of threads (default: 1,2)")
    parser.add_argument("--rounds", type=int, default=9, help="turns of every pipeline (default: 9)")
    parser.add_argument("--out", type=pathlib.Path, help="folder of the results (default: benchmarks/results)")
    parser.add_argument("--worker", choices=[PILLOW, V2], help=argparse.SUPPRESS)
    parser.add_argument("--list", type=pathlib.Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    arguments.threads = [int(count) for count in arguments.threads.split(",")]
    if arguments.rounds < 2 or min(arguments.threads) < 1:
        parser.error("--rounds must be at least 2, --threads at least 1")
    return arguments


def steps(pipeline):
    """Bytes to a decoded image, that to the crop, and that to values."""
    import torch

    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    if pipeline == PILLOW:
        from PIL import Image
        from timm.data import create_transform

        transform = create_transform(
            (3, SIDE, SIDE), is_training=False, interpolation="bicubic", crop_pct=0.875, mean=mean, std=std
        ).transforms
        crop, values = transform[:-2], transform[-2:]
        decode = lambda data: Image.open(io.BytesIO(data)).convert("RGB")
    else:
        from torchvision.io import ImageReadMode, decode_jpeg
        from torchvision.transforms import v2

        crop = [
            v2.Resize(256, interpolation=v2.InterpolationMode.BICUBIC, antialias=True),
            v2.CenterCrop(SIDE),
        ]
        values = [v2.ToDtype(torch.float32, scale=True), v2.Normalize(mean, std)]
        decode = lambda data: decode_jpeg(torch.frombuffer(bytearray(data), dtype=torch.uint8), mode=ImageReadMode.RGB)
    return decode, crop, values


def apply(steps, image):
    for step in steps:
        image = step(image)
    return image


def work(arguments):
    """The worker: answers `go` with processor and wall time, `write PATH` with the levels in that file."""
    import numpy as np
    import torch
    from concurrent.futures import ThreadPoolExecutor

    torch.set_num_threads(1)  # threads are over images
    threads = arguments.threads[0]
    files = [pathlib.Path(path).read_bytes() for path in arguments.list.read_text().splitlines()]
    decode, crop, values = steps(arguments.worker)
    whole = lambda data: apply(values, apply(crop, decode(data)))
    print(json.dumps({"images": len(files)}), flush=True)
    pool = ThreadPoolExecutor(threads)
    for line in sys.stdin:
        if line.startswith("write "):
            with open(line[len("write ") :].rstrip("\n"), "wb") as out:
                for data in files:
                    levels = np.asarray(apply(crop, decode(data)))
                    out.write((levels.transpose(2, 0, 1) if levels.shape[0] != 3 else levels).tobytes())
            print("{}", flush=True)
            continue
        cpu, wall = time.process_time(), time.perf_counter()
        for _ in map(whole, files) if threads == 1 else pool.map(whole, files):
            pass
        print(json.dumps({"cpu_s": time.process_time() - cpu, "wall_s": time.perf_counter() - wall}), flush=True)


class Pipeline:
    """A child process that answers one line of JSON for one line of command."""

    def __init__(self, name, threads, photos):
        import subprocess

        self.name = name
        if name == NEARKIN:
            command = [common.setting("NEARKIN_PREPROCESS"), threads, photos]
        else:
            command = [sys.executable, "-B", __file__, "--worker", name, "--threads", threads, "--list", photos]
        self.process = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.said = []
        self.listener = threading.Thread(target=lambda: self.said.extend(self.process.stderr), daemon=True)
        self.listener.start()
        self.images = self.answer()["images"]

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            self.listener.join(timeout=5)
            said = "".join(self.said).strip()
            raise RuntimeError(f"{self.name} ended with code {self.process.returncode}:\n{said}")
        return json.loads(line)

    def ask(self, command):
        self.process.stdin.write(f"{command}\n")
        self.process.stdin.flush()
        return self.answer()

    def close(self):
        self.process.stdin.close()
        self.process.wait(timeout=60)


def compare(folder, running):
    """Levels after the crop, against timm's own transform: max |Δ|, and the share that differs."""
    import numpy as np

    levels = {}
    for pipeline in running:
        file = folder / "levels.bin"
        pipeline.ask(f"write {file}")
        levels[pipeline.name] = np.fromfile(file, np.uint8).reshape(pipeline.images, 3, SIDE, SIDE).astype(np.int16)
    found = {}
    for name, theirs in levels.items():
        delta = np.abs(theirs - levels[PILLOW])
        found[name] = {
            "max_levels": int(delta.max()),
            "mean_levels": float(delta.mean()),
            "share_of_pixels": float((delta.max(axis=1) > 0).mean()),
            "equal_images": int((delta.reshape(len(delta), -1).max(axis=1) == 0).sum()),
        }
    return found


def measure(arguments, threads, photos, folder, report):
    running = []
    try:
        for name in [NEARKIN, PILLOW, V2]:
            running.append(Pipeline(name, threads, photos))
        if not report["equality"]:
            report["equality"] = compare(folder, running)
        for pipeline in running:
            pipeline.ask("go")
        rounds = []
        for number in range(arguments.rounds):
            order = running if number % 2 == 0 else reversed(running)
            rounds.append({pipeline.name: pipeline.ask("go") for pipeline in order})
    finally:
        for pipeline in running:
            pipeline.close()
    images = running[0].images
    case = {"threads": threads, "images": images, "pipelines": {}, "ratios": {}, "rounds": rounds}
    for name in [NEARKIN, PILLOW, V2]:
        rates = sorted(images / turn[name]["cpu_s"] for turn in rounds)
        walls = [images / turn[name]["wall_s"] for turn in rounds]
        case["pipelines"][name] = {
            "images_per_cpu_second": statistics.median(rates),
            "min": rates[0],
            "max": rates[-1],
            "images_per_second": statistics.median(walls),
        }
    for name in [PILLOW, V2]:
        each = sorted(turn[name]["cpu_s"] / turn[NEARKIN]["cpu_s"] for turn in rounds)
        case["ratios"][name] = {"median": statistics.median(each), "min": each[0], "max": each[-1]}
    return case


def markdown(report):
    place = report["environment"]
    versions = ", ".join(f"{name} {version}" for name, version in place["versions"].items())
    lines = [
        "# Decoding and preparing photographs next to the peers",
        "",
        f"{place['processor']}, {place['logical_processors']} logical processors, {place['system']}; nearkin at revision "
        f"{place['revision']}; {versions}. {place['date']}. Load average before the run: {place['load_average_1min']}.",
        "",
        f"{report['settings']['images']} JPEG photographs from memory to normalised f32 [3, {SIDE}, {SIDE}]: decode, "
        "shorter side to 256 bicubic with antialias, centre crop, normalise. Images per second of processor time, medians "
        f"of {report['settings']['rounds']} interleaved rounds, with the smallest and the largest; × is the median of "
        "nearkin's gain over the peer in the same round. Images per second of the wall depend on what else the machine "
        "did. Made by `cargo xtask peers preprocess`.",
        "",
        "| threads | pipeline | images per CPU-second | nearkin is × | images per second |",
        "|--:|---|--:|--:|--:|",
    ]
    met = True
    for case in report["cases"]:
        for name, found in case["pipelines"].items():
            ratio = case["ratios"].get(name)
            gain = f"{ratio['median']:.2f} ({ratio['min']:.2f}–{ratio['max']:.2f})" if ratio else ""
            rate = f"{found['images_per_cpu_second']:.0f} ({found['min']:.0f}–{found['max']:.0f})"
            lines.append(f"| {case['threads']} | {name} | {rate} | {gain} | {found['images_per_second']:.0f} |")
        met = met and all(case["ratios"][name]["median"] >= goal for name, goal in GOALS.items())
    lines += [
        "",
        "Levels of the crops, against timm's transform on Pillow:",
        "",
        "| pipeline | max difference in levels | mean | pixels that differ | images equal to the last bit |",
        "|---|--:|--:|--:|--:|",
    ]
    for name, found in report["equality"].items():
        if name != PILLOW:
            lines.append(
                f"| {name} | {found['max_levels']} | {found['mean_levels']:.4f} | {found['share_of_pixels']:.2%} | "
                f"{found['equal_images']} of {report['settings']['images']} |"
            )
    goals = " and ".join(f"{goal} × {name}" for name, goal in GOALS.items())
    equal = report["equality"][NEARKIN]["max_levels"] == 0
    lines += [
        "",
        f"Goal (at least {goals} for every number of threads, levels equal): "
        + ("met." if met and equal else "not met."),
    ]
    return "\n".join(lines) + "\n"


def photographs(arguments):
    root = common.setting("NEARKIN_ROOT")
    folder = arguments.photos or common.shared() / "data" / "imagenet-sample" / "dev"
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not found:
        sys.exit(f"error: no JPEG files under {folder}: name a folder of photographs with --photos")
    return root, found


def main():
    arguments = parse()
    if arguments.worker:
        return work(arguments)
    root, found = photographs(arguments)
    out = arguments.out or root / "benchmarks" / "results"
    settings = {"images": len(found), "threads": arguments.threads, "rounds": arguments.rounds}
    environment = common.environment(["numpy", "pillow", "timm", "torch", "torchvision"])
    report = {"environment": environment, "settings": settings, "equality": {}, "cases": []}
    with tempfile.TemporaryDirectory() as folder:
        photos = pathlib.Path(folder) / "photos.txt"
        photos.write_text("".join(f"{path}\n" for path in found))
        for threads in arguments.threads:
            case = measure(arguments, threads, photos, pathlib.Path(folder), report)
            report["cases"].append(case)
            shown = ", ".join(f"{name} {r['median']:.2f} ×" for name, r in case["ratios"].items())
            print(f"{threads} threads: {shown}", file=sys.stderr)
    common.write_json(out / "peers-preprocess.json", report)
    common.write_beside(out / "peers-preprocess.md", markdown(report))
    print(markdown(report), end="")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
