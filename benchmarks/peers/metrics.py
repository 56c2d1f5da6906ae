"""Distances and retrieval scores next to scipy, scikit-learn, numpy and pytorch-metric-learning, in one interleaved run.

Every engine lives in a process of its own with equal threads; within a case they take turns, A B, B A, and so on, and a
ratio is the median over the rounds of the ratio within a round. All pairs of 5,000 rows of 128 columns are compared,
uniform in [0, 1), f32 on both sides (scipy computes in f64 whatever it is given; its conversion is not timed). The peer
is the fastest of those a Python user has at hand: scikit-learn for cosine and Euclidean, scipy's C loops elsewhere,
scikit-learn's for χ², a numpy loop over rows for histogram intersection. Retrieval is timed on made data of 10,000 rows
in 100 classes, and its memory measured on 60,502 rows in 11,316 classes, the sizes of Stanford Online Products' test
part. Results are compared each time, or the run ends.
"""

import argparse
import json
import pathlib
import statistics
import sys
import time

import common

PACKAGES = ["numpy", "scipy", "scikit-learn", "torch", "faiss-cpu", "pytorch-metric-learning"]

# (measure, peer, at most so much of its time)
PAIRWISE = [
    ("cosine", "scikit-learn", 0.8),
    ("euclidean", "scikit-learn", 0.8),
    ("manhattan", "scipy", 0.25),
    ("chi-squared", "scikit-learn", 0.25),
    ("histogram-intersection", "numpy", 0.25),
    ("minkowski-3", "scipy", 0.25),
    ("mahalanobis", "scipy", 0.1),
]
RETRIEVAL_GOAL = 0.3
MEMORY_GOAL_MIB = 2048
N, D = 5_000, 128


def parse():
    parser = argparse.ArgumentParser(
        prog="cargo xtask peers metrics", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", default="", help="only cases whose names contain one of these, separated by commas")
    parser.add_argument("--threads", type=int, default=2, help="threads of every engine (default: 2)")
    parser.add_argument("--rounds", type=int, default=5, help="turns of every engine in the quick cases (default: 5)")
    parser.add_argument("--out", type=pathlib.Path, help="folder of the results (default: benchmarks/results)")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


# The worker: Python's functions, in a process of their own.


def worker(threads):
    import numpy as np

    x, labels, last = None, None, None
    for line in sys.stdin:
        words = line.split()
        if words[0] == "load":
            x = np.fromfile(words[1], "<f4").reshape(int(words[2]), int(words[3]))
            exact = x.astype(np.float64) if len(x) <= N else None
            answer = {"n": len(x)}
        elif words[0] == "labels":
            labels = np.fromfile(words[1], "<u4").astype(np.int64)
            answer = {"labels": len(labels)}
        elif words[0] == "retrieval":
            answer = retrieval(x, labels, threads)
        elif words[0] == "compare":
            ours = np.fromfile(words[1], "<f4").reshape(last.shape)
            scale = np.abs(last).max()
            answer = {"worst": float(np.abs(ours - last).max() / scale)}
        else:
            last = None
            start = time.perf_counter()
            last = pairwise(words[-1], x, exact)
            answer = {"seconds": time.perf_counter() - start}
        print(json.dumps(answer), flush=True)


def pairwise(measure, x, exact):
    import numpy as np
    from scipy.spatial.distance import cdist
    from sklearn.metrics import pairwise as of

    if measure == "cosine":
        return of.cosine_distances(x, x)
    if measure == "euclidean":
        return of.euclidean_distances(x, x)
    if measure == "manhattan":
        return cdist(exact, exact, "cityblock")
    if measure == "chi-squared":
        return -of.additive_chi2_kernel(exact, exact)
    if measure == "histogram-intersection":
        sums = x.sum(1)
        shared = np.stack([np.minimum(row, x).sum(1) for row in x])
        return 1 - shared / np.maximum(sums[:, None], sums[None])
    if measure.startswith("minkowski-"):
        return cdist(exact, exact, "minkowski", p=float(measure.partition("-")[2]))
    if measure == "mahalanobis":
        return cdist(exact, exact, "mahalanobis", VI=np.linalg.inv(np.cov(exact, rowvar=False)))
    raise ValueError(measure)


def retrieval(x, labels, threads):
    import faiss
    import torch
    from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator

    faiss.omp_set_num_threads(threads)
    torch.set_num_threads(threads)
    names = ("precision_at_1", "r_precision", "mean_average_precision_at_r")
    calculator = AccuracyCalculator(include=names, k="max_bin_count", device=torch.device("cpu"))
    points, classes = torch.from_numpy(x), torch.from_numpy(labels)
    start = time.perf_counter()
    scores = calculator.get_accuracy(points, classes)
    return {"seconds": time.perf_counter() - start, "scores": [scores[name] for name in names]}


# The measuring process.


def engine(command, threads):
    return common.Engine(command, OMP_NUM_THREADS=threads, OPENBLAS_NUM_THREADS=threads, MKL_NUM_THREADS=threads)


def ours(threads):
    return engine([common.setting("NEARKIN_METRICS"), threads], threads)


def peer(threads):
    return engine([sys.executable, "-B", __file__, "--worker", "--threads", threads], threads)


def turns(engines, commands, rounds):
    """Answers of each engine in each round; engines take turns, forth and back. One round before is not counted."""
    for name, engine in engines.items():
        engine.ask(*commands[name])
    answers = {name: [] for name in engines}
    for turn in range(rounds):
        names = list(engines)
        for name in names if turn % 2 == 0 else reversed(names):
            answers[name].append(engines[name].ask(*commands[name]))
    return answers


def row_of(case, name, answers, goal, **more):
    seconds = {engine: [answer["seconds"] for answer in all_of] for engine, all_of in answers.items()}
    ratio = statistics.median(a / b for a, b in zip(seconds["nearkin"], seconds[name], strict=True))
    row = {
        "case": case,
        "peer": name,
        "seconds": {engine: statistics.median(times) for engine, times in seconds.items()},
        "rounds": seconds,
        "ratio": ratio,
        "goal": {"at_most": goal, "met": ratio <= goal},
        **more,
    }
    print(f"{case}: {row['seconds']}, ratio {ratio:.3f} (goal {goal}) {more}", file=sys.stderr, flush=True)
    return row


def made(work, n, d, classes):
    """Rows around the centres of classes of nearly equal sizes, and their labels."""
    import numpy as np

    path, labels = work / f"made-{n}.f32", work / f"made-{n}.u32"
    if not labels.exists():
        rng = np.random.default_rng(n)
        of_row = rng.permutation(np.arange(n) * classes // n)
        centres = rng.normal(size=(classes, d)).astype("f4")
        points = 0.7 * centres[of_row] + 3 * rng.normal(size=(n, d)).astype("f4")
        points.astype("<f4").tofile(path)
        of_row.astype("<u4").tofile(labels)
    return path, labels


def all_pairs(work, arguments, wanted):
    import numpy as np

    path = work / "uniform.f32"
    np.random.default_rng(0).random((N, D), dtype=np.float32).astype("<f4").tofile(path)
    engines = {"nearkin": ours(arguments.threads), "python": peer(arguments.threads)}
    for engine in engines.values():
        engine.ask("load", path, N, D)
    rows = []
    for measure, name, goal in PAIRWISE:
        case = f"pairwise, {measure}"
        if not wanted(case):
            continue
        command = ["mahalanobis"] if measure == "mahalanobis" else ["pairwise", measure]
        # What takes Python minutes is asked fewer times.
        rounds = 1 if measure in ("minkowski-3", "mahalanobis") else arguments.rounds
        answers = turns(engines, {name: command for name in engines}, rounds)
        answers[name] = answers.pop("python")
        result = work / "distances.f32"
        engines["nearkin"].ask("save", result)
        worst = engines["python"].ask("compare", result)["worst"]
        # An f32 diagonal that cancels is what scikit-learn leaves there.
        if worst > (2e-3 if name == "scikit-learn" and measure == "euclidean" else 1e-5):
            raise RuntimeError(f"{case}: values differ by {worst} of the largest")
        rows.append(row_of(case, name, answers, goal, worst_difference=worst))
    for engine in engines.values():
        engine.close()
    return rows


def scores(work, arguments, wanted):
    rows = []
    if wanted("retrieval, 10,000 × 512, 100 classes"):
        path, labels = made(work, 10_000, 512, 100)
        name = "pytorch-metric-learning"
        engines = {"nearkin": ours(arguments.threads), name: peer(arguments.threads)}
        for engine in engines.values():
            engine.ask("load", path, 10_000, 512)
            engine.ask("labels", labels)
        answers = turns(engines, {engine: ["retrieval"] for engine in engines}, arguments.rounds)
        found = {engine: of[-1]["scores"] for engine, of in answers.items()}
        # Not to 1e-6 here: faiss ranks in f32, and near-equal rows change places. The fixtures are held to that.
        if any(abs(a - b) > 2e-5 for a, b in zip(found["nearkin"], found[name], strict=True)):
            raise RuntimeError(f"scores differ: {found}")
        rows.append(row_of("retrieval, 10,000 × 512, 100 classes", name, answers, RETRIEVAL_GOAL, scores=found))
        for engine in engines.values():
            engine.close()
    if wanted("retrieval, 60,502 × 512, 11,316 classes"):
        path, labels = made(work, 60_502, 512, 11_316)
        engine = ours(arguments.threads)
        engine.ask("load", path, 60_502, 512)
        engine.ask("labels", labels)
        answer = engine.ask("retrieval")
        peak = engine.ask("memory")["peak_mib"]
        engine.close()
        goal = {"at_most": MEMORY_GOAL_MIB, "met": 0 < peak < MEMORY_GOAL_MIB}
        case = "retrieval, 60,502 × 512, 11,316 classes"
        rows.append({"case": case, "seconds": {"nearkin": answer["seconds"]}, "scores": answer["scores"],
                     "peak_mib": peak, "goal": goal})
        print(f"{case}: {answer['seconds']:.1f} s, {peak} MiB", file=sys.stderr, flush=True)
    return rows


def markdown(environment, rows):
    lines = [
        "# Metrics",
        "",
        f"{environment['date']}, {environment['processor']}, {environment['threads']} threads of "
        f"{environment['logical_processors']}, load {environment['load_average_1min']}, revision {environment['revision']}. "
        "Made by `cargo xtask peers metrics`; every round is in the JSON file beside. Pairwise is 5,000 × 5,000 × 128.",
        "",
        "| case | nearkin, s | peer | its time, s | ratio | goal | |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        met = "met" if row["goal"]["met"] else "**missed**"
        own = f"{row['seconds']['nearkin']:.3g}"
        if "peak_mib" in row:
            lines.append(f"| {row['case']} | {own} | | | {row['peak_mib']} MiB | < {row['goal']['at_most']} MiB | {met} |")
        else:
            name = row["peer"]
            lines.append(
                f"| {row['case']} | {own} | {name} | {row['seconds'][name]:.3g} | {row['ratio']:.3f} | "
                f"≤ {row['goal']['at_most']} | {met} |"
            )
    return "\n".join(lines) + "\n"


def main():
    arguments = parse()
    if arguments.worker:
        worker(arguments.threads)
        return
    words = [word for word in arguments.cases.split(",") if word]
    work = common.setting("NEARKIN_PEERS_WORK")
    environment = common.environment(PACKAGES)
    environment["threads"] = arguments.threads
    start = time.perf_counter()
    wanted = lambda case: not words or any(word in case for word in words)
    rows = all_pairs(work, arguments, wanted) + scores(work, arguments, wanted)
    environment["run_s"] = round(time.perf_counter() - start, 1)
    out = arguments.out or common.setting("NEARKIN_ROOT") / "benchmarks" / "results"
    common.write_json(out / "peers-metrics.json", {"environment": environment, "cases": rows})
    common.write_beside(out / "peers-metrics.md", markdown(environment, rows))
    print(markdown(environment, rows))


if __name__ == "__main__":
    main()
