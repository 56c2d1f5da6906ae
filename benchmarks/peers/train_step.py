"""One whole training step of nearkin next to PyTorch eager and torch.compile, in one interleaved run.

The step graphs come from nearkin-autodiff (`crates/autodiff/examples/step_graph`), in ONNX's own operators and in the
operators that are quickest on this processor; the same networks in PyTorch stand in train_step_models.py. All start from
the same weights and do forward, loss, backward and optimiser on the same batch; the losses of the first steps must agree.
Every engine lives in a process of its own; after a warm-up they take turns, A B C D, then D C B A. A ratio is the median,
over the rounds, of the ratio of two turns of the same round; nearkin is compared with the faster of PyTorch's two layouts.
"""

import argparse
import json
import math
import pathlib
import shutil
import statistics
import subprocess
import sys
import threading
import time

import common

NETS = {
    "resnet20": "ResNet-20, 32×32, batch 64, SGD",
    "mobilenet": "MobileNetV2-like, 32×32, batch 64, SGD",
    "vit": "small ViT, 32×32, batch 64, AdamW",
    "convnext": "ConvNeXt-like, 32×32, batch 64, AdamW",
    "resnet18": "resnet18, 224×224, batch 8, SGD",
}
NEARKIN, STANDARD = "nearkin", "nearkin, ONNX's own operators"
EAGER, LAST, COMPILE = "torch eager", "torch eager, channels_last", "torch.compile"
GOAL_MEAN, GOAL_CASE, GOAL_PEAK = 1.0, 1.4, 0.8
TURN_LIMIT_S = 1200
# Steps whose losses are compared, and how far they may be apart: rounding grows from step to step.
COMPARED, TOLERANCE = 3, 0.01


def parse():
    parser = argparse.ArgumentParser(
        prog="cargo xtask peers train-step", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nets", default=",".join(NETS), help=f"only these, separated by commas, of {', '.join(NETS)}")
    parser.add_argument("--threads", default="1,2", help="threads of every engine, several in turn (default: 1,2)")
    parser.add_argument("--rounds", type=int, default=8, help="turns of every engine (default: 8)")
    parser.add_argument("--turn", type=float, default=1.0, help="least seconds of a turn (default: 1)")
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out")
    parser.add_argument("--no-standard", action="store_true", help="leave nearkin in ONNX's own operators out")
    parser.add_argument("--python-loop", action="store_true", help="run nearkin's graphs by Python's onnxruntime")
    parser.add_argument("--out", type=pathlib.Path, help="folder of the results (default: benchmarks/results)")
    arguments = parser.parse_args()
    arguments.threads = [int(count) for count in arguments.threads.split(",")]
    arguments.nets = [net for net in arguments.nets.split(",") if net]
    for net in arguments.nets:
        if net not in NETS:
            parser.error(f"no network {net}; there are {', '.join(NETS)}")
    if arguments.rounds < 2 or min(arguments.threads) < 1:
        parser.error("--rounds must be at least 2, --threads at least 1")
    return arguments


def graphs(net):
    """Folder by lowering of the step graph, its slots and a batch."""
    import numpy as np

    folders = {}
    for lowering in ("nchwc", "standard"):
        folder = common.setting("NEARKIN_PEERS_WORK") / lowering
        command = [common.setting("NEARKIN_STEP_GRAPH"), net, lowering, folder]
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"no step graph of {net}: {done.stderr.strip()}")
        about = json.loads((folder / f"{net}.json").read_text(encoding="utf-8"))
        images = np.random.RandomState(0).standard_normal([about["batch"], *about["image"]])
        images.astype(np.float32).tofile(folder / f"{net}.images")
        labels = np.random.RandomState(1).randint(0, about["classes"], about["batch"])
        labels.astype(np.int64).tofile(folder / f"{net}.labels")
        folders[lowering] = folder
    return folders


class Engine:
    """A child process that speaks the protocol of train_step_worker.py."""

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
            last = [text.strip() for text in self.said if text.strip()][-3:]
            raise RuntimeError(f"{self.name} ended with code {self.process.returncode}: {' / '.join(last)}")
        return json.loads(line)

    def ask(self, *words):
        try:
            self.process.stdin.write(" ".join(map(str, words)) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # the child has ended, and its answer says why
        return self.answer()

    def close(self):
        try:
            self.process.stdin.close()
            self.process.wait(timeout=20)
        except BrokenPipeError:
            pass  # it has ended already
        except subprocess.TimeoutExpired:
            self.process.kill()


def commands(arguments, net, folders, threads):
    worker = [sys.executable, "-B", pathlib.Path(__file__).with_name("train_step_worker.py")]
    about = lambda lowering: ["--net", net, "--folder", folders[lowering], "--threads", threads]
    ours = [*worker, "onnxruntime"] if arguments.python_loop else [common.setting("NEARKIN_STEP")]
    found = {
        NEARKIN: [*ours, *about("nchwc")],
        STANDARD: [*ours, *about("standard")],
        EAGER: [*worker, "eager", *about("standard")],
        LAST: [*worker, "eager-channels-last", *about("standard")],
        COMPILE: [*worker, "compile", *about("standard")],
    }
    if arguments.no_compile:
        del found[COMPILE]
    if arguments.no_standard:
        del found[STANDARD]
    return found


def start(name, command, running, failed):
    """Starts an engine and lets it do its first steps, whose losses it returns."""
    engine = None
    try:
        engine = Engine(name, command)
        first = engine.ask("go", COMPARED)
        running.append(engine)
        return first["losses"]
    except RuntimeError as error:
        if engine is not None:
            engine.close()
        if name != COMPILE:
            raise
        failed[name] = str(error)
        return None


def compare(losses):
    """The largest relative distance of nearkin's losses from PyTorch's, which must be small."""
    expected = losses[EAGER]
    apart = {name: max(abs(a - b) / abs(b) for a, b in zip(found, expected)) for name, found in losses.items()}
    for name, distance in apart.items():
        if not distance < TOLERANCE:
            raise RuntimeError(f"{name} does other steps than {EAGER}: losses {losses[name]}, expected {expected}")
    return apart


def measure(arguments, net, threads):
    folders = graphs(net)
    running, failed, losses = [], {}, {}
    try:
        for name, command in commands(arguments, net, folders, threads).items():
            found = start(name, command, running, failed)
            if found is not None:
                losses[name] = found
        apart = compare(losses)
        steps = {}
        for engine in running:
            typical = statistics.median(engine.ask("go", 3)["wall_ms"])
            steps[engine.name] = max(3, math.ceil(1000 * arguments.turn / typical))
        rounds = []
        for number in range(arguments.rounds):
            turns = {}
            for engine in running if number % 2 == 0 else reversed(running):
                time.sleep(0.2)  # the threads of the engine before go to sleep
                turn = engine.ask("go", steps[engine.name])
                turns[engine.name] = {
                    "wall_ms": statistics.median(turn["wall_ms"]),
                    "cpu_ms": statistics.fmean(turn["cpu_ms"]),
                }
            rounds.append(turns)
        peaks = {engine.name: engine.ask("peak")["bytes"] for engine in running}
        versions = {engine.name: engine.ready["version"] for engine in running}
    finally:
        for engine in running:
            engine.close()
    return judged(net, threads, rounds, peaks, {"losses": losses, "losses_apart": apart, "failed": failed}, versions)


def judged(net, threads, rounds, peaks, more, versions):
    """What follows from the rounds of one case."""
    names = list(rounds[0])
    median = lambda name, what: statistics.median(turns[name][what] for turns in rounds)
    faster = min((EAGER, LAST), key=lambda name: median(name, "wall_ms"))

    def ratio(name, what):
        each = sorted(turns[name][what] / turns[faster][what] for turns in rounds)
        return {"median": statistics.median(each), "min": each[0], "max": each[-1]}

    return {
        "net": net,
        "threads": threads,
        "faster_eager": faster,
        "wall_ms": {name: median(name, "wall_ms") for name in names},
        "cpu_ms": {name: median(name, "cpu_ms") for name in names},
        "ratio": {name: ratio(name, "wall_ms") for name in names},
        "cpu_ratio": {name: ratio(name, "cpu_ms") for name in names},
        "peak_bytes": peaks,
        "peak_ratio": {name: peaks[name] / peaks[faster] for name in names},
        "versions": versions,
        **more,
        "rounds": [
            {name: {what: round(value, 2) for what, value in turn.items()} for name, turn in turns.items()}
            for turns in rounds
        ],
    }


def geometric_mean(values):
    return math.exp(statistics.fmean(map(math.log, values)))


def summarise(cases):
    """By threads: geometric means, the slowest case, the largest memory, and whether the goals are met."""
    summary = {}
    for threads in sorted({case["threads"] for case in cases}):
        of = [case for case in cases if case["threads"] == threads]
        names = [name for name in of[0]["ratio"] if all(name in case["ratio"] for case in of)]
        mean = {name: geometric_mean([case["ratio"][name]["median"] for case in of]) for name in names}
        cpu = {name: geometric_mean([case["cpu_ratio"][name]["median"] for case in of]) for name in names}
        slowest = max(case["ratio"][NEARKIN]["median"] for case in of)
        peak = max(case["peak_ratio"][NEARKIN] for case in of)
        whole = len(of) == len(NETS)
        met = whole and mean[NEARKIN] <= GOAL_MEAN and slowest <= GOAL_CASE and peak <= GOAL_PEAK
        summary[str(threads)] = {
            "geometric_mean": mean,
            "geometric_mean_cpu": cpu,
            "slowest": slowest,
            "largest_peak_ratio": peak,
            "all_networks": whole,
            "goal_met": met,
        }
    return summary


def markdown(report):
    place, cases = report["environment"], report["cases"]
    versions = ", ".join(f"{name} {version}" for name, version in place["versions"].items())
    loop = "Python's onnxruntime" if report["settings"]["python_loop"] else "nearkin's own loop"
    lines = [
        "# Training steps next to PyTorch",
        "",
        f"{place['processor']}, {place['logical_processors']} logical processors, {place['system']}; "
        f"{report['settings']['rounds']} interleaved rounds. {place['nearkin']} at revision {place['revision']}, its step "
        f"graphs run by {loop}; {versions}. {place['date']}. Load average before the run: {place['load_average_1min']}.",
        "",
        "One whole step: forward, loss, backward, optimiser. Milliseconds are medians of the rounds' medians; × is the "
        "median over the rounds of the ratio to the faster of PyTorch eager's two layouts in the same round, with the "
        "smallest and the largest; CPU × the same of processor time; MB the most memory of the process. All engines start "
        f"from the same weights, and their losses agree over the first {COMPARED} steps. Made by "
        "`cargo xtask peers train-step`.",
    ]
    for threads, summary in report["summary"].items():
        lines += ["", f"## {threads} thread{'s' if threads != '1' else ''}", ""]
        of = [case for case in cases if str(case["threads"]) == threads]
        lines.append("| network | engine | ms | × | CPU × | MB | memory × |")
        lines.append("|---|---|--:|--:|--:|--:|--:|")
        for case in of:
            for name in case["ratio"]:
                ratio = case["ratio"][name]
                lines.append(
                    f"| {NETS[case['net']] if name == NEARKIN else ''} | {name} | {case['wall_ms'][name]:.1f} "
                    f"| {ratio['median']:.2f} ({ratio['min']:.2f}–{ratio['max']:.2f}) "
                    f"| {case['cpu_ratio'][name]['median']:.2f} "
                    f"| {case['peak_bytes'][name] / 1e6:.0f} | {case['peak_ratio'][name]:.2f} |"
                )
        means = "; ".join(f"{name} {value:.3f}" for name, value in summary["geometric_mean"].items())
        lines += [
            "",
            f"Geometric means of the ratios: {means}. nearkin's slowest network: {summary['slowest']:.2f}; its largest "
            f"memory: {summary['largest_peak_ratio']:.2f}.",
            f"Goal (mean at most {GOAL_MEAN:.1f}, no network above {GOAL_CASE:.1f}, memory at most {GOAL_PEAK:.1f}): "
            + ("met." if summary["goal_met"] else "not met." if summary["all_networks"] else "not all networks measured."),
        ]
        for case in of:
            for name, error in case["failed"].items():
                lines += ["", f"{name} did not run on {case['net']}: {error}"]
    for failure in report["failures"]:
        lines += ["", f"Not measured: {failure['net']} with {failure['threads']} threads: {failure['error']}"]
    return "\n".join(lines) + "\n"


def main():
    arguments = parse()
    out = arguments.out or common.setting("NEARKIN_ROOT") / "benchmarks" / "results"
    settings = {key: getattr(arguments, key) for key in ("nets", "threads", "rounds", "turn", "python_loop")}
    settings["cxx_compiler"] = shutil.which("c++") or shutil.which("g++") or "none: torch.compile needs one"
    settings["cxx_compiler"] = pathlib.Path(settings["cxx_compiler"]).name
    about = common.environment(["numpy", "onnxruntime", "torch"])
    report = {"environment": about, "settings": settings, "summary": {}, "cases": [], "failures": []}
    for threads in arguments.threads:
        for net in arguments.nets:
            print(f"{net}, threads {threads} …", end=" ", file=sys.stderr, flush=True)
            try:
                case = measure(arguments, net, threads)
            except RuntimeError as error:
                print(f"failed: {error}", file=sys.stderr)
                report["failures"].append({"net": net, "threads": threads, "error": str(error)})
            else:
                report["cases"].append(case)
                shown = ", ".join(f"{name} {case['wall_ms'][name]:.1f} ms" for name in case["wall_ms"])
                print(f"{shown}; × {case['ratio'][NEARKIN]['median']:.2f}", file=sys.stderr)
            report["summary"] = summarise(report["cases"])
            common.write_json(out / "peers-train-step.json", report)
            common.write_beside(out / "peers-train-step.md", markdown(report))
    print(markdown(report), end="")
    sys.exit(1 if report["failures"] else 0)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)  # the cases measured so far are written
