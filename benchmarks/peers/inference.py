"""Latency of nearkin next to its peers, on the same exported files, in one interleaved run.

Engines: nearkin on ONNX Runtime, Python onnxruntime, torch eager (timm's model with the file's weights), nearkin on
tract; each in a process of its own, with equal threads. After a warm-up the engines take turns, in the order A B C D,
then D C B A, and so on; a turn is several runs and counts by its median. The ratio of two engines is the median, over
the rounds, of the ratio of their turns in the same round: what disturbs the machine for a while disturbs both.
"""

import argparse
import itertools
import json
import math
import pathlib
import statistics
import subprocess
import sys
import threading
import time

import common

MODELS = [
    ("fcnn", "fcnn_256"),
    ("vgg", "vgg11"),
    ("resnet", "resnet18"),
    ("resnet", "resnet50"),
    ("vit", "vit_tiny_patch16_224"),
    ("convnext", "convnext_atto"),
    ("convnext", "convnext_tiny"),
]
NEARKIN, PYTHON, TORCH, TRACT = "nearkin (ONNX Runtime)", "onnxruntime (Python)", "torch eager", "nearkin (tract)"
CONTROL = "onnxruntime (Python) again"
TURN_LIMIT_S = 900
GOAL_MEAN, GOAL_FAMILY = 1.00, 1.05


def parse():
    parser = argparse.ArgumentParser(
        prog="cargo xtask peers inference", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", default="", help="only these variants, separated by commas")
    parser.add_argument("--batch", default="1,8", help="batch sizes (default: 1,8)")
    parser.add_argument("--threads", type=int, default=2, help="threads of every engine (default: 2)")
    parser.add_argument("--rounds", type=int, default=10, help="turns of every engine (default: 10)")
    parser.add_argument("--turn", type=float, default=0.5, help="least seconds of a turn (default: 0.5)")
    parser.add_argument("--no-torch", action="store_true", help="leave torch out; its columns are then absent")
    parser.add_argument("--control", action="store_true", help="run Python onnxruntime twice: its ratio to itself is noise")
    parser.add_argument("--out", type=pathlib.Path, help="folder of the results (default: benchmarks/results)")
    arguments = parser.parse_args()
    arguments.batch = [int(size) for size in arguments.batch.split(",")]
    wanted = [name for name in arguments.models.split(",") if name]
    known = [variant for _, variant in MODELS]
    for name in wanted:
        if name not in known:
            parser.error(f"{name} is not measured here; the models are {', '.join(known)}")
    arguments.models = [pair for pair in MODELS if not wanted or pair[1] in wanted]
    if arguments.rounds < 2 or arguments.threads < 1 or min(arguments.batch) < 1:
        parser.error("--rounds must be at least 2, --threads and --batch at least 1")
    return arguments


class Engine:
    """A child process that speaks the protocol of `worker.py`."""

    def __init__(self, name, command):
        self.name = name
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
        self.ready = self.answer()

    def answer(self):
        """The next line of the child, which is JSON; a child that is silent for too long is ended."""
        watch = threading.Timer(TURN_LIMIT_S, self.process.kill)
        watch.start()
        line = self.process.stdout.readline()
        watch.cancel()
        if not line:
            self.process.wait()
            self.listener.join(timeout=5)
            raise RuntimeError(f"{self.name} ended with code {self.process.returncode}:\n{''.join(self.said).strip()}")
        return json.loads(line)

    def go(self, count):
        """Runs `count` times; returns the latencies in milliseconds."""
        try:
            self.process.stdin.write(f"go {count}\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # the child has ended, and its answer says why
        latencies = self.answer()
        if len(latencies) != count:
            raise RuntimeError(f"{self.name}: {len(latencies)} latencies for {count} runs")
        return latencies

    def close(self):
        try:
            self.process.stdin.close()
            self.process.wait(timeout=10)
        except BrokenPipeError:
            pass  # it has ended already
        except subprocess.TimeoutExpired:
            self.process.kill()


def engines(arguments, variant, file, batch):
    worker = [sys.executable, "-B", pathlib.Path(__file__).with_name("worker.py")]
    about = ["--model", file, "--threads", arguments.threads, "--batch", batch]
    ours = [common.setting("NEARKIN"), "latency", *about, "--runtime"]
    commands = {
        NEARKIN: [*ours, "ort"],
        PYTHON: [*worker, "onnxruntime", *about, "--variant", variant],
        TORCH: [*worker, "torch", *about, "--variant", variant],
        TRACT: [*ours, "tract"],
    }
    if arguments.no_torch:
        del commands[TORCH]
    if arguments.control:
        commands[CONTROL] = commands[PYTHON]
    running = []
    try:
        for name, command in commands.items():
            running.append(Engine(name, command))
    except RuntimeError:
        for engine in running:
            engine.close()
        raise
    return running


def measure(arguments, group, variant, file, batch):
    """One case: rounds of turns, and what follows from them."""
    running = engines(arguments, variant, file, batch)
    try:
        runs = {}
        for engine in running:
            engine.go(2)  # allocates, and lets the threads start
            typical = statistics.median(engine.go(3))
            runs[engine.name] = max(3, min(20_000, math.ceil(1000 * arguments.turn / typical)))
        rounds = []
        for number in range(arguments.rounds):
            turns = {}
            for engine in running if number % 2 == 0 else reversed(running):
                time.sleep(0.05)  # the threads of the engine before go to sleep
                turns[engine.name] = statistics.median(engine.go(runs[engine.name]))
            rounds.append(turns)
    finally:
        for engine in running:
            engine.close()
    names = [engine.name for engine in running]
    ratios = {}
    for name in names:
        if name != PYTHON:
            each = sorted(turns[name] / turns[PYTHON] for turns in rounds)
            ratios[name] = {"median": statistics.median(each), "min": each[0], "max": each[-1]}
    return {
        "group": group,
        "variant": variant,
        "batch": batch,
        "engines": {engine.name: engine.ready for engine in running},
        "runs_per_turn": runs,
        "median_ms": {name: statistics.median(turns[name] for turns in rounds) for name in names},
        "ratio_to_python_onnxruntime": ratios,
        "rounds_ms": [{name: round(value, 4) for name, value in turns.items()} for turns in rounds],
    }


def geometric_mean(values):
    return math.exp(statistics.fmean(map(math.log, values)))


def summarise(cases):
    """Geometric means of the ratios: over all cases, and of nearkin for every family."""
    if not cases:
        return {}
    ratio = lambda case, name: case["ratio_to_python_onnxruntime"][name]["median"]
    names = list(cases[0]["ratio_to_python_onnxruntime"])
    families = {
        group: geometric_mean([ratio(case, NEARKIN) for case in of_group])
        for group, of_group in itertools.groupby(cases, key=lambda case: case["group"])
    }
    mean = {name: geometric_mean([ratio(case, name) for case in cases]) for name in names}
    met = mean[NEARKIN] <= GOAL_MEAN and max(families.values()) <= GOAL_FAMILY
    return {"geometric_mean": mean, "nearkin_by_family": families, "goal_met": met}


def markdown(report):
    place, cases, failures = report["environment"], report["cases"], report["failures"]
    versions = ", ".join(f"{name} {version}" for name, version in place["versions"].items())
    lines = [
        "# Inference latency next to the peers",
        "",
        f"{place['processor']}, {place['logical_processors']} logical processors, {place['system']}; "
        f"{report['settings']['threads']} threads for every engine, {report['settings']['rounds']} interleaved rounds. "
        f"{place['nearkin']} at revision {place['revision']}; {versions}. {place['date']}. "
        f"Load average before the run: {place['load_average_1min']}. Weights by formula; torch runs the file's weights.",
        "",
        "Milliseconds per batch, medians of the rounds' medians; × is the median over the rounds of the ratio to Python "
        "onnxruntime in the same round, with the smallest and the largest. Made by `cargo xtask peers inference`.",
        "",
    ]
    if cases:
        names = list(cases[0]["median_ms"])
        lines.append("| model | batch | " + " | ".join(f"{n} ms" if n == PYTHON else f"{n} ms | ×" for n in names) + " |")
        lines.append("|---|--:|" + "".join("--:|" if n == PYTHON else "--:|--:|" for n in names))
        for case in cases:
            cells = [case["variant"], str(case["batch"])]
            for name in names:
                cells.append(f"{case['median_ms'][name]:.2f}")
                if name != PYTHON:
                    r = case["ratio_to_python_onnxruntime"][name]
                    cells.append(f"{r['median']:.2f} ({r['min']:.2f}–{r['max']:.2f})")
            lines.append("| " + " | ".join(cells) + " |")
        summary = report["summary"]
        means = "; ".join(f"{name} {value:.3f}" for name, value in summary["geometric_mean"].items())
        families = "; ".join(f"{group} {value:.3f}" for group, value in summary["nearkin_by_family"].items())
        lines += [
            "",
            f"Geometric mean of the ratios to Python onnxruntime: {means}.",
            f"nearkin on ONNX Runtime by family: {families}.",
            f"Goal (mean at most {GOAL_MEAN:.2f}, no family above {GOAL_FAMILY:.2f}): "
            + ("met." if summary["goal_met"] else "not met."),
        ]
    if report["settings"]["no_torch"]:
        lines += ["", "torch was left out of this run (`--no-torch`)."]
    for failure in failures:
        first = failure["error"].splitlines()[0]
        lines += ["", f"Not measured: {failure['variant']} at batch {failure['batch']}: {first}"]
    return "\n".join(lines) + "\n"


def main():
    arguments = parse()
    out = arguments.out or common.setting("NEARKIN_ROOT") / "benchmarks" / "results"
    settings = {key: getattr(arguments, key) for key in ("batch", "threads", "rounds", "turn", "no_torch", "control")}
    report = {"environment": common.environment(), "settings": settings, "summary": {}, "cases": [], "failures": []}
    for group, variant in arguments.models:
        file = common.setting("NEARKIN_PEERS_WORK") / f"{variant}.onnx"
        for batch in arguments.batch:
            print(f"{variant} batch {batch} …", end=" ", file=sys.stderr, flush=True)
            try:
                common.export(variant, file)
                case = measure(arguments, group, variant, file, batch)
            except RuntimeError as error:
                print(f"failed: {error}", file=sys.stderr)
                report["failures"].append({"variant": variant, "batch": batch, "error": str(error)})
            else:
                report["cases"].append(case)
                shown = {name: f"{value:.2f} ms" for name, value in case["median_ms"].items()}
                print(", ".join(f"{name} {value}" for name, value in shown.items()), file=sys.stderr)
            report["summary"] = summarise(report["cases"])
            common.write_json(out / "peers-inference.json", report)
            common.write_beside(out / "peers-inference.md", markdown(report))
    print(markdown(report), end="")
    sys.exit(1 if report["failures"] else 0)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)  # the cases measured so far are written
