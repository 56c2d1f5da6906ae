"""Nearest neighbours next to faiss, kiddo, linfa-nn, pynndescent and NSL's graph builder, in one interleaved run.

Every engine lives in a process of its own with equal threads; within a case the engines take turns, A B C, then C B A,
and so on, and a ratio is the median over the rounds of the ratio within a round. Exact results are compared; of
approximate ones the recall is measured on the same sample, and the peer is run at several settings, so that it is
compared at the cheapest one whose recall is no lower than nearkin's.

Data: MNIST's training images (60,000 × 784) where ../shared/data/mnist or NEARKIN_SHARED has them; all else is made from
fixed seeds: blobs of 2, 8 and 16 columns, a curved sheet of 8 dimensions in 64 columns, and rows of 100 columns around
random directions for the threshold graph. NSL does not import on current TensorFlow: its brute-force builder is
written again here, loop by loop, in numpy.
"""

import argparse
import gzip
import json
import os
import pathlib
import statistics
import sys
import time

import common

PACKAGES = ["numpy", "scipy", "faiss-cpu", "pynndescent", "numba"]


def parse():
    parser = argparse.ArgumentParser(
        prog="cargo xtask peers neighbours", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--cases",
        default="",
        help="only cases whose names contain one of these, separated by semicolons; results of others are kept",
    )
    parser.add_argument("--threads", type=int, default=2, help="threads of every engine (default: 2)")
    parser.add_argument("--rounds", type=int, default=3, help="turns of every engine in the quick cases (default: 3)")
    parser.add_argument("--out", type=pathlib.Path, help="folder of the results (default: benchmarks/results)")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    return parser.parse_args()


# Workers: the Python peers, each in a process of its own.


def worker(name, threads):
    import numpy as np

    points = None
    state = {}
    for line in sys.stdin:
        words = line.split()
        if words[0] == "load":
            points = np.fromfile(words[1], "<f4").reshape(int(words[2]), int(words[3]))
            if name == "pynndescent":
                # Compiled before it is timed.
                import pynndescent

                pynndescent.NNDescent(points[:3000].copy(), n_neighbors=16, random_state=0, n_jobs=threads)
            answer = {"n": len(points)}
        elif words[0] == "run":
            answer = {"faiss": faiss_flat, "pynndescent": descent, "nsl": nsl}[name](points, words[1:], threads, state)
        elif words[0] == "save":
            state["indices"].astype("<u4").tofile(words[1])
            answer = {"saved": int(state["indices"].size)}
        print(json.dumps(answer), flush=True)


def faiss_flat(points, words, threads, state):
    import faiss

    faiss.omp_set_num_threads(threads)
    start = time.perf_counter()
    index = faiss.IndexFlatL2(points.shape[1])
    index.add(points)
    _, indices = index.search(points, int(words[0]) + 1)
    seconds = time.perf_counter() - start
    state["indices"] = without_self(indices)
    return {"seconds": seconds}


def without_self(indices):
    """Drops each row's own index, or the last entry where duplicates pushed it out."""
    import numpy as np

    own = indices == np.arange(len(indices))[:, None]
    own[~own.any(1), -1] = True
    return indices[~own].reshape(len(indices), -1)


def descent(points, words, threads, state):
    import pynndescent

    k, wider, trees, iterations = (int(word) for word in words)
    start = time.perf_counter()
    index = pynndescent.NNDescent(
        points,
        n_neighbors=wider,
        n_trees=trees or None,
        n_iters=iterations or None,
        random_state=0,
        n_jobs=threads,
    )
    indices = index.neighbor_graph[0]
    seconds = time.perf_counter() - start
    state["indices"] = without_self(indices[:, : k + 1])
    return {"seconds": seconds}


def nsl(points, words, threads, state):
    """`build_graph` of neural_structured_learning/tools/build_graph.py (1.4), its brute-force part.

    There: embeddings are normalised, and for i, for j > i, `np.dot(a, b)` is compared with the threshold; an edge is
    kept in both directions. A full pair loop in Python is timed on a share of the rows and scaled up to all pairs;
    `vector` is what a numpy user would write instead, one matrix-vector product a row.
    """
    import numpy as np

    kind, threshold = words[0], float(words[1])
    start = time.perf_counter()
    unit = points / np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-12)
    n, edges, scored = len(unit), 0, 0
    if kind == "loop":
        limit = 1_000_000
        for i in range(n):
            a = unit[i]
            for j in range(i + 1, n):
                edges += np.dot(a, unit[j]) >= threshold
            scored += n - i - 1
            if scored >= limit:
                break
    else:
        for i in range(n - 1):
            edges += int(np.count_nonzero(unit[i + 1 :] @ unit[i] >= threshold))
            scored += n - i - 1
    seconds = (time.perf_counter() - start) * (n * (n - 1) / 2) / scored
    return {"seconds": seconds, "pairs": int(edges), "scored_share": scored / (n * (n - 1) / 2)}


# The measuring process.


class Run:
    def __init__(self, arguments):
        self.arguments = arguments
        self.data = common.setting("NEARKIN_PEERS_WORK")
        self.rows = []

    def nearkin(self, simd=""):
        return common.Engine([common.setting("NEARKIN_NEIGHBOURS"), self.arguments.threads], NEARKIN_SIMD=simd)

    def kiddo(self):
        return common.Engine([common.setting("NEARKIN_KIDDO"), self.arguments.threads])

    def peer(self, name, **variables):
        threads = self.arguments.threads
        for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS", "MKL_NUM_THREADS"):
            variables.setdefault(variable, threads)
        command = [sys.executable, "-B", __file__, "--worker", name, "--threads", threads]
        return common.Engine(command, **variables)

    def wanted(self, case):
        words = [word for word in self.arguments.cases.split(";") if word]
        return not words or any(word in case for word in words)

    def turns(self, engines, commands, rounds):
        """Seconds of each engine in each round; engines take turns, forth and back."""
        seconds = {name: [] for name in engines}
        for turn in range(rounds):
            names = list(engines)
            for name in names if turn % 2 == 0 else reversed(names):
                seconds[name].append(engines[name].ask(*commands[name])["seconds"])
        return seconds

    def add(self, case, seconds, own, goals, **more):
        """Prints and keeps a row: medians, and the ratios of `own` to every other engine."""
        ratios = {
            name: statistics.median(a / b for a, b in zip(seconds[own], times, strict=True))
            for name, times in seconds.items()
            if name != own
        }
        row = {
            "case": case,
            "own": own,
            "seconds": {name: statistics.median(times) for name, times in seconds.items()},
            "rounds": seconds,
            "ratios": ratios,
            "goals": {name: {"at_most": goal, "met": ratios[name] <= goal} for name, goal in goals.items()},
            **more,
        }
        self.rows.append(row)
        shown = ", ".join(f"{name} {value:.3g} s" for name, value in row["seconds"].items())
        ratios = ", ".join(f"/ {name} {value:.3f}" for name, value in ratios.items())
        print(f"{case}: {shown}; {own} {ratios} {more}", file=sys.stderr, flush=True)


def blobs(run, d):
    import numpy as np

    path = run.data / f"blobs-{d}.f32"
    if not path.exists():
        rng = np.random.default_rng(d)
        centres = 3 * rng.normal(size=(16, d))
        (centres[rng.integers(0, 16, 50_000)] + rng.normal(size=(50_000, d))).astype("<f4").tofile(path)
    return path, 50_000, d


def curved(run, n, d=64, latent=8):
    import numpy as np

    path = run.data / f"curved-{n}.f32"
    if not path.exists():
        rng = np.random.default_rng(64)
        basis, phase = rng.normal(size=(latent, d)).astype("f4"), rng.normal(size=d).astype("f4")
        np.sin(2 * (rng.random((n, latent), dtype="f4") @ basis) + phase).astype("<f4").tofile(path)
    return path, n, d


def directions(run, n):
    import numpy as np

    path = run.data / f"directions-{n}.f32"
    if not path.exists():
        rng = np.random.default_rng(100)
        centres = rng.normal(size=(n // 20, 100))
        (centres[rng.integers(0, n // 20, n)] + 0.3 * rng.normal(size=(n, 100))).astype("<f4").tofile(path)
    return path, n, 100


def mnist(run, n):
    """MNIST's first n images, or, where they are not at hand, made data of the same size: the case's name says which."""
    import numpy as np

    shared = pathlib.Path(os.environ.get("NEARKIN_SHARED", common.setting("NEARKIN_ROOT") / ".." / "shared"))
    images = shared / "data" / "mnist" / "train-images-idx3-ubyte.gz"
    if images.exists():
        path = run.data / f"mnist-{n}.f32"
        pixels = np.frombuffer(gzip.decompress(images.read_bytes()), np.uint8, offset=16).reshape(-1, 784)
        pixels[:n].astype("<f4").tofile(path)
        return "MNIST", path, n, 784
    print(f"note: {images} is absent, so made data takes its place", file=sys.stderr)
    path = run.data / f"made-784-{n}.f32"
    rng = np.random.default_rng(784)
    basis = rng.normal(size=(12, 784)).astype("f4")
    np.sin(rng.random((n, 12), dtype="f4") @ basis).astype("<f4").tofile(path)
    return "made", path, n, 784


K = 15


def exact(run, n, rounds):
    """Products against faiss, by AVX-512 and by AVX2: like against like."""
    name, *data = mnist(run, n)
    case = f"exact, {name} {n:,} × 784"
    if not run.wanted(case):
        return
    path, n, d = data
    sets = [("avx512", {}, 0.5)]
    # OpenBLAS and faiss are told to leave AVX-512 alone in the second comparison.
    sets.append(("avx2", {"FAISS_OPT_LEVEL": "avx2", "OPENBLAS_CORETYPE": "Haswell"}, 0.85))
    for simd, limits, goal in sets:
        own, faiss = run.nearkin(simd), run.peer("faiss", **limits)
        ready = own.ask("load", path, n, d)
        if ready["simd"] != simd:
            print(f"{case}: no {simd} here", file=sys.stderr)
            continue
        faiss.ask("load", path, n, d)
        engines = {"nearkin": own, "faiss flat": faiss}
        commands = {"nearkin": ["run", "products", "euclidean", K], "faiss flat": ["run", K]}
        seconds = run.turns(engines, commands, rounds)
        peak = own.ask("peak")["gflops"]
        half = n * n * d / 1e9 / peak / run.arguments.threads
        over = statistics.median(seconds["nearkin"]) / half
        ours, theirs = run.data / "own.u32", run.data / "peer.u32"
        own.ask("save", ours), faiss.ask("save", theirs)
        more = {
            "fma_peak_gflops_per_thread": peak,
            "half_product_at_peak_s": half,
            "over_half_product": over,
            "over_half_product_goal": {"at_most": 1.6, "met": over <= 1.6},
            "entries_unlike_faiss": unlike(ours, theirs, n),
        }
        run.add(f"{case}, {simd}", seconds, "nearkin", {"faiss flat": goal}, **more)
        own.close(), faiss.close()


def unlike(ours, theirs, n):
    """How many of our neighbours faiss does not list; its f32 distances and its ties differ from the exact ones."""
    import numpy as np

    ours = np.fromfile(ours, "<u4").reshape(n, -1)
    theirs = np.fromfile(theirs, "<u4").reshape(n, -1)
    return int((~(ours[:, :, None] == theirs[:, None, :]).any(2)).sum())


def trees(run, d, rounds):
    case = f"exact, blobs 50,000 × {d}"
    if not run.wanted(case):
        return
    path, n, d = blobs(run, d)
    own, kiddo = run.nearkin(), run.kiddo()
    own.ask("load", path, n, d), kiddo.ask("load", path, n, d)
    engines = {"nearkin auto": own, "kiddo": kiddo, "linfa-nn kd-tree": own}
    commands = {
        "nearkin auto": ["run", "auto", "euclidean", K],
        "kiddo": ["run", K],
        "linfa-nn kd-tree": ["run", "linfa-kd-tree", "euclidean", K],
    }
    for engine in ("kd-tree", "products"):
        engines[f"nearkin {engine}"] = own
        commands[f"nearkin {engine}"] = ["run", engine, "euclidean", K]
    if d <= 8:
        engines["linfa-nn ball tree"] = own
        commands["linfa-nn ball tree"] = ["run", "ball-tree", "euclidean", K]
    # linfa-nn takes many times as long in 16 columns: once is enough to see it.
    seconds = run.turns(engines, commands, rounds if d < 16 else 1)
    run.add(case, seconds, "nearkin auto", {"kiddo": 1.1, "linfa-nn kd-tree": 1.0})
    own.close(), kiddo.close()


class Truth:
    """How far the k-th true neighbour of some rows is, by f64 distances."""

    def __init__(self, path, n, d, count):
        import numpy as np

        self.points, self.n = np.fromfile(path, "<f4").reshape(n, d), n
        self.rows = np.random.default_rng(1).choice(n, count, replace=False)
        centre = self.points.mean(0, dtype="f8")
        queries = self.points[self.rows].astype("f8") - centre
        squares = (queries**2).sum(1)[:, None]
        best = np.full((count, K), np.inf)
        for start in range(0, n, 20_000):
            others = self.points[start : start + 20_000].astype("f8") - centre
            distances = squares + (others**2).sum(1)[None] - 2 * queries @ others.T
            own = np.flatnonzero((self.rows >= start) & (self.rows < start + len(others)))
            distances[own, self.rows[own] - start] = np.inf
            # Only the nearest of each part can be among the nearest of all.
            nearest = np.partition(distances, min(K, len(others)) - 1, axis=1)[:, :K]
            best = np.partition(np.concatenate([best, nearest], axis=1), K - 1, axis=1)[:, :K]
        self.limits = best.max(1)

    def recall(self, indices):
        """(share found, its standard error): a row that misses one neighbour is likely to miss more."""
        import numpy as np

        found = np.fromfile(indices, "<u4").reshape(self.n, -1)[self.rows]
        difference = self.points[found].astype("f8") - self.points[self.rows][:, None].astype("f8")
        distances = (difference**2).sum(2)
        hits = (distances <= self.limits[:, None] * (1 + 1e-9)).sum(1) / K
        return float(hits.mean()), float(hits.std(ddof=1) / len(hits) ** 0.5)


def approximate(run, name, data, settings, rounds):
    path, n, d = data
    case = f"approximate, {name} {n:,} × {d}"
    if not run.wanted(case):
        return
    truth = Truth(path, n, d, 2000)
    own, peer = run.nearkin(), run.peer("pynndescent")
    own.ask("load", path, n, d), peer.ask("load", path, n, d)
    indices = run.data / "indices.u32"
    own.ask("run", "descent", "euclidean", K)
    own.ask("save", indices)
    recall, error = truth.recall(indices)
    told = own.ask("recall", "euclidean", 2000, 1)
    print(f"{case}: nearkin's recall {recall:.4f} ± {error:.4f}, by its own measure {told}", file=sys.stderr, flush=True)
    curve = []
    for setting in settings:
        seconds = peer.ask("run", K, *setting)["seconds"]
        peer.ask("save", indices)
        curve.append({"setting": setting, "seconds": seconds, "recall": truth.recall(indices)[0]})
        print(f"{case}: pynndescent {curve[-1]}", file=sys.stderr, flush=True)
    # The cheapest setting that finds no less; if none does, the best.
    good = [point for point in curve if point["recall"] >= recall - 0.002] or [max(curve, key=lambda p: p["recall"])]
    chosen = min(good, key=lambda point: point["seconds"])
    engines = {"nearkin": own, "pynndescent": peer}
    commands = {"nearkin": ["run", "descent", "euclidean", K], "pynndescent": ["run", K, *chosen["setting"]]}
    seconds = run.turns(engines, commands, rounds)
    more = {
        "recall": recall,
        "recall_goal": {"at_least": 0.95, "met": recall >= 0.95},
        "recall_standard_error": error,
        "recall_told": told["recall"],
        "recall_told_standard_error": told["standard_error"],
        "pynndescent_setting": dict(zip(("n_neighbors", "n_trees", "n_iters"), chosen["setting"], strict=True)),
        "pynndescent_recall": chosen["recall"],
        "pynndescent_curve": curve,
    }
    run.add(case, seconds, "nearkin", {"pynndescent": 0.8}, **more)
    own.close(), peer.close()


def threshold(run, n):
    case = f"cosine at least 0.9, {n:,} × 100"
    if not run.wanted(case):
        return
    path, n, d = directions(run, n)
    own, peer = run.nearkin(), run.peer("nsl")
    own.ask("load", path, n, d), peer.ask("load", path, n, d)
    mine = own.ask("within", "cosine", 0.1)
    rows, loop = peer.ask("run", "vector", 0.9), peer.ask("run", "loop", 0.9)
    again = own.ask("within", "cosine", 0.1)
    seconds = {
        "nearkin": [min(mine["seconds"], again["seconds"])],
        "NSL's pair loop (scaled up)": [loop["seconds"]],
        "numpy, a row at a time": [rows["seconds"]],
    }
    more = {"pairs": mine["pairs"], "pairs_of_numpy_f32": rows["pairs"], "loop_scored_share": loop["scored_share"]}
    run.add(case, seconds, "nearkin", {}, **more)
    own.close(), peer.close()


def markdown(environment, rows):
    lines = [
        "# Nearest neighbours",
        "",
        f"{environment['date']}, {environment['processor']}, {environment['threads']} threads of "
        f"{environment['logical_processors']}, load {environment['load_average_1min']}, "
        f"revision {environment['revision']}. k = {K}. Made by `cargo xtask peers neighbours`; every number and round is "
        "in the JSON file beside.",
        "",
        "| case | engine | seconds | ratio to it | goal | |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        for name, seconds in row["seconds"].items():
            ratio, goal = row["ratios"].get(name), row["goals"].get(name)
            met = "" if goal is None else "met" if goal["met"] else "**missed**"
            ratio = "" if ratio is None else f"{ratio:.3g}"
            limit = "" if goal is None else f"≤ {goal['at_most']}"
            lines.append(f"| {row['case']} | {name} | {seconds:.3g} | {ratio} | {limit} | {met} |")
    lines.append("")
    for row in rows:
        told = row.get("measured", {})
        if told and (told["date"], told["revision"]) != (environment["date"], environment["revision"]):
            lines.append(
                f"- {row['case']}: measured {told['date']}, load {told['load_average_1min']}, revision {told['revision']}."
            )
        if "over_half_product" in row:
            goal = row["over_half_product_goal"]
            lines.append(
                f"- {row['case']}: {row['over_half_product']:.2f} × the half product at the measured FMA peak "
                f"({row['fma_peak_gflops_per_thread']:.0f} GF/s a thread), goal ≤ 1.6, "
                f"{'met' if goal['met'] else '**missed**'}; {row['entries_unlike_faiss']} entries are not faiss's, "
                "whose distances are f32 and whose ties go elsewhere."
            )
        if "recall" in row:
            lines.append(
                f"- {row['case']}: recall {give_or_take(row, 'recall')} (told by nearkin's own sample: "
                f"{give_or_take(row, 'recall_told')}), "
                f"pynndescent {row['pynndescent_recall']:.4f} with {row['pynndescent_setting']}."
            )
        if "pairs" in row:
            lines.append(f"- {row['case']}: {row['pairs']} pairs; numpy in f32 counts {row['pairs_of_numpy_f32']}.")
    return "\n".join(lines) + "\n"


def give_or_take(row, name):
    """The number with its standard error, where the row has one."""
    error = row.get(f"{name}_standard_error")
    return f"{row[name]:.4f}" + ("" if error is None else f" ± {error:.4f}")


def measured(environment):
    return {name: environment[name] for name in ("date", "revision", "load_average_1min")}


def merged(path, rows):
    """The rows of an earlier run at `path`, those of this one in their places, and what is new behind them."""
    if not path.exists():
        return rows
    earlier = json.loads(path.read_text(encoding="utf-8"))
    fresh = {row["case"]: row for row in rows}
    kept = []
    for row in earlier["cases"]:
        row.setdefault("measured", measured(earlier["environment"]))
        kept.append(fresh.pop(row["case"], row))
    return kept + list(fresh.values())


def main():
    arguments = parse()
    if arguments.worker:
        worker(arguments.worker, arguments.threads)
        return
    run = Run(arguments)
    start = time.perf_counter()
    environment = common.environment(PACKAGES)
    environment["threads"] = arguments.threads
    for d in (2, 8, 16):
        trees(run, d, arguments.rounds)
    exact(run, 20_000, arguments.rounds)
    exact(run, 60_000, 1)
    threshold(run, 5_000)
    threshold(run, 50_000)
    if run.wanted("approximate, MNIST 60,000 × 784"):
        name, *data = mnist(run, 60_000)
        # (n_neighbors, n_trees, n_iters); 0 is its own choice.
        approximate(run, name, data, [(16, 0, 0), (16, 4, 3), (16, 4, 2), (16, 0, 1)], arguments.rounds)
    approximate(run, "curved", curved(run, 1_000_000), [(16, 0, 0), (16, 8, 3), (16, 4, 3)], 1)
    environment["run_s"] = round(time.perf_counter() - start, 1)
    out = arguments.out or common.setting("NEARKIN_ROOT") / "benchmarks" / "results"
    path = out / "peers-neighbours.json"
    for row in run.rows:
        row["measured"] = measured(environment)
    rows = merged(path, run.rows) if arguments.cases else run.rows
    common.write_json(path, {"environment": environment, "cases": rows})
    common.write_beside(out / "peers-neighbours.md", markdown(environment, rows))
    print(markdown(environment, rows))


if __name__ == "__main__":
    main()
