"""What the scripts of this folder share: the nearkin binary, exports, the environment, results."""

import datetime
import json
import os
import pathlib
import platform
import subprocess
import sys
import tempfile
import tomllib
from importlib import metadata

PACKAGES = ["numpy", "onnx", "onnxruntime", "safetensors", "timm", "torch"]


def setting(name):
    """A path that `cargo xtask peers` hands over."""
    value = os.environ.get(name)
    if not value:
        sys.exit(f"error: {name} is not set: run this through `cargo xtask peers`")
    return pathlib.Path(value)


def nearkin(*arguments):
    """Runs nearkin and returns its standard output; its own message ends the script if it fails."""
    command = [str(setting("NEARKIN")), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        words = " ".join(["nearkin", *map(str, arguments)])
        raise RuntimeError(f"`{words}` ended with code {done.returncode}:\n{done.stderr.strip()}")
    return done.stdout


def export(variant, path, weights="formula", *options):
    """Writes `variant` with these weights to `path` and returns the path."""
    nearkin("zoo", "export", variant, "--weights", weights, *options, "-o", path)
    return path


def relative_l2(found, expected):
    """|found - expected| / |expected|, computed in f64."""
    import numpy as np

    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    if found.shape != expected.shape:
        raise RuntimeError(f"shape {found.shape}, expected {expected.shape}")
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def initialisers(path):
    """Name to array of every initialiser of an ONNX file."""
    import onnx
    from onnx import numpy_helper

    model = onnx.load(path)
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def fill(model, arrays):
    """Fills a torch model from arrays by the names of its state_dict; nothing may be missing."""
    import torch

    state = {}
    for name, tensor in model.state_dict().items():
        if name.endswith("num_batches_tracked"):  # no effect on the output, so not in the file
            state[name] = tensor
        elif name not in arrays:
            raise RuntimeError(f"the exported file has no initialiser {name}")
        else:
            state[name] = torch.from_numpy(arrays[name].copy())
    model.load_state_dict(state, strict=True)
    return model.eval()


def shared():
    """The folder of shared data: $NEARKIN_SHARED, else `../shared` beside the project."""
    return pathlib.Path(os.environ.get("NEARKIN_SHARED") or setting("NEARKIN_ROOT").parent / "shared")


class Engine:
    """A child process that answers each command with a line of JSON."""

    def __init__(self, command, **variables):
        environment = {**os.environ, **{name: str(value) for name, value in variables.items()}}
        self.process = subprocess.Popen(
            [str(word) for word in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def ask(self, *words):
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"an engine ended at: {words}")
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(f"{words}: {answer['error']}")
        return answer

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def environment(packages=PACKAGES):
    """Processor, system, versions and revision: what a reader needs to judge a measurement."""
    versions = {"python": platform.python_version()}
    for package in packages:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            pass
    about = {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": processor(),
        "logical_processors": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "load_average_1min": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "nearkin": version(),
        "revision": revision(),
        "versions": versions,
    }
    return about


def version():
    """`nearkin 0.1.0`: what the binary says, or the workspace where a script does without the binary."""
    if os.environ.get("NEARKIN"):
        return nearkin("--version").strip()
    manifest = tomllib.loads((setting("NEARKIN_ROOT") / "Cargo.toml").read_text(encoding="utf-8"))
    return f"nearkin {manifest['workspace']['package']['version']}"


def processor():
    try:
        for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"


def revision():
    """The git revision, with `-dirty` where files differ from it."""
    command = ["git", "-C", str(setting("NEARKIN_ROOT")), "describe", "--always", "--dirty", "--abbrev=12"]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else "unknown"


def write_beside(path, text):
    """Writes a file under a temporary name and renames it, so that no half of it is ever seen."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(temporary, 0o644)
    os.replace(temporary, path)


def write_json(path, value):
    write_beside(path, json.dumps(value, indent=2) + "\n")


def smallest_of_each_group():
    """(group, variant) with the fewest parameters of every family, from `nearkin zoo list`."""
    rows = json.loads(nearkin("zoo", "list", "--json"))
    smallest = {}
    for row in rows:
        kept = smallest.get(row["group"])
        if kept is None or row["params"] < kept["params"]:
            smallest[row["group"]] = row
    return [(group, row["variant"]) for group, row in sorted(smallest.items())]
