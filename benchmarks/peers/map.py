"""Maps of MNIST's 70,000 images next to PyMDE and umap-learn, from the same exact neighbours.

Neighbours are searched once, by nearkin. Each tool then lays the graph out in a process of its own, with equal threads;
the tools take turns, A B C, then C B A, and so on. Timed is the way from neighbours to positions. Every map is judged by
the same code: trustworthiness and continuity at k neighbours as seen from every 35th image, 2,000 of them.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

import common

NEARKIN, PYMDE, UMAP = "nearkin", "PyMDE", "umap-learn"
PACKAGES = ["numpy", "pymde", "torch", "umap-learn", "numba", "scipy", "scikit-learn"]
EVERY = 35
GOAL_TIME, GOAL_TRUST = 1.0, 0.02


def parse():
    parser = argparse.ArgumentParser(
        prog="cargo xtask peers map", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=pathlib.Path, help="folder of MNIST (default: $NEARKIN_SHARED/data/mnist, else ../shared/data/mnist)")
    parser.add_argument("--k", type=int, default=15, help="neighbours (default: 15)")
    parser.add_argument("--threads", type=int, default=2, help="threads of every tool (default: 2)")
    parser.add_argument("--rounds", type=int, default=3, help="turns of every tool (default: 3)")
    parser.add_argument("--neighbours", type=pathlib.Path, help="neighbours found before (u32), instead of a search")
    parser.add_argument("--out", type=pathlib.Path, help="folder of the results (default: benchmarks/results)")
    arguments = parser.parse_args()
    if arguments.data is None:
        root = os.environ.get("NEARKIN_SHARED") or common.setting("NEARKIN_ROOT") / ".." / "shared"
        arguments.data = pathlib.Path(root) / "data" / "mnist"
    if not arguments.data.is_dir():
        parser.error(f"{arguments.data} is not there: name MNIST's folder with --data")
    return arguments


def run(command):
    """The last line a program prints, which is JSON, and the processor's seconds for the whole program."""
    process = subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, text=True)
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"{command[0]} ended with code {process.returncode}")
    return json.loads(said.splitlines()[-1]), usage.ru_utime + usage.ru_stime


def lay_out(tool, arguments, neighbours, positions):
    about = ["--neighbours", neighbours, "--out", positions, "--k", arguments.k, "--threads", arguments.threads]
    example = common.setting("NEARKIN_MAP")
    if tool == NEARKIN:
        done, processor = run([example, "layout", *about])
        done["cpu_seconds"] = processor
    else:
        worker = pathlib.Path(__file__).with_name("map_worker.py")
        package = {PYMDE: "pymde", UMAP: "umap"}[tool]
        done, _ = run([sys.executable, "-B", worker, package, "--points", arguments.data, *about])
    judged, _ = run([example, "judge", arguments.data, "--positions", positions, "--k", arguments.k, "--every", EVERY])
    return {"tool": tool, **done, **judged}


def summarise(runs):
    summary = {}
    for tool in (NEARKIN, PYMDE, UMAP):
        own = [run for run in runs if run["tool"] == tool]
        if own:
            measures = ("seconds", "cpu_seconds", "trustworthiness", "continuity")
            summary[tool] = {"runs": len(own), **{m: statistics.median(run[m] for run in own) for m in measures}}
    if NEARKIN in summary and PYMDE in summary:
        ours, peer = summary[NEARKIN], summary[PYMDE]
        best = max(summary[tool]["trustworthiness"] for tool in summary if tool != NEARKIN)
        summary["ratio_to_pymde"] = ours["seconds"] / peer["seconds"]
        summary["cpu_ratio_to_pymde"] = ours["cpu_seconds"] / peer["cpu_seconds"]
        summary["trustworthiness_behind_best"] = best - ours["trustworthiness"]
        near_pymde = peer["trustworthiness"] - ours["trustworthiness"] <= GOAL_TRUST
        summary["goal_met"] = summary["ratio_to_pymde"] <= GOAL_TIME and near_pymde
    return summary


def markdown(report):
    place, summary, settings = report["environment"], report["summary"], report["settings"]
    versions = ", ".join(f"{name} {version}" for name, version in place["versions"].items())
    lines = [
        "# Maps next to the peers",
        "",
        f"{place['processor']}, {place['logical_processors']} logical processors, {place['system']}; "
        f"{settings['threads']} threads for every tool. {place['nearkin']} at revision {place['revision']}; {versions}. "
        f"{place['date']}. Load average before the run: {place['load_average_1min']}.",
        "",
        f"MNIST's 70,000 images, exact Euclidean neighbours, k = {settings['k']}, the same for all. Seconds from "
        "neighbours to positions, medians of interleaved runs; trustworthiness and continuity at "
        f"{settings['k']} neighbours as seen from every {EVERY}th image, by the same code. Made by `cargo xtask peers map`.",
        "",
        "| tool | runs | seconds | processor seconds | trustworthiness | continuity |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for tool in (NEARKIN, PYMDE, UMAP):
        if tool in summary:
            s = summary[tool]
            lines.append(
                f"| {tool} | {s['runs']} | {s['seconds']:.1f} | {s['cpu_seconds']:.1f} | "
                f"{s['trustworthiness']:.4f} | {s['continuity']:.4f} |"
            )
    if "goal_met" in summary:
        lines += [
            "",
            f"nearkin takes {summary['ratio_to_pymde']:.3f} of PyMDE's time ({summary['cpu_ratio_to_pymde']:.3f} by "
            f"processor seconds); its trustworthiness is {summary['trustworthiness_behind_best']:.4f} below the best peer's.",
            f"Goal (at most PyMDE's time, trustworthiness within {GOAL_TRUST} of PyMDE's): "
            + ("met." if summary["goal_met"] else "not met."),
        ]
    return "\n".join(lines) + "\n"


def main():
    arguments = parse()
    out = arguments.out or common.setting("NEARKIN_ROOT") / "benchmarks" / "results"
    work = common.setting("NEARKIN_PEERS_WORK")
    neighbours = arguments.neighbours or work / f"mnist-{arguments.k}.u32"
    if not arguments.neighbours:
        example = common.setting("NEARKIN_MAP")
        done, _ = run([example, "neighbours", arguments.data, "--out", neighbours, "--k", arguments.k])
        print(f"neighbours: {done['seconds']:.1f} s", file=sys.stderr)
    settings = {key: getattr(arguments, key) for key in ("k", "threads", "rounds")}
    report = {"environment": common.environment(PACKAGES), "settings": settings, "summary": {}, "runs": []}
    for turn in range(arguments.rounds):
        tools = [NEARKIN, UMAP, PYMDE]
        for tool in tools if turn % 2 == 0 else reversed(tools):
            started = time.perf_counter()
            report["runs"].append(lay_out(tool, arguments, neighbours, work / f"mnist-{tool}.f32"))
            print(f"{time.perf_counter() - started:.0f} s: {json.dumps(report['runs'][-1])}", file=sys.stderr, flush=True)
            report["summary"] = summarise(report["runs"])
            common.write_json(out / "peers-map.json", report)
            common.write_beside(out / "peers-map.md", markdown(report))
    print(markdown(report), end="")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)  # the runs so far are written
