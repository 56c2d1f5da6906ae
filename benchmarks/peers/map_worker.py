"""Lays out one neighbour graph with one Python package, in a process of its own.

Reads exact neighbours (little-endian u32, k a row), writes positions (f32, two a row), and prints one line of JSON with
the seconds between the two, on the clock and of the processor. Importing, and numba's compilation on a small graph, are
not counted. The packages run with their own defaults: only their search for neighbours is replaced by the given ones.
"""

import argparse
import json
import time


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("package", choices=["pymde", "umap"])
    parser.add_argument("--neighbours", required=True)
    parser.add_argument("--points", required=True, help="IDX folder; umap wants distances as well")
    parser.add_argument("--out", required=True)
    parser.add_argument("--k", type=int, default=15)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, required=True)
    arguments = parser.parse_args()

    import numpy as np

    indices = np.fromfile(arguments.neighbours, "<u4").reshape(-1, arguments.k).astype(np.int64)
    prepare = {"pymde": pymde_layout, "umap": umap_layout}[arguments.package]
    lay_out = prepare(arguments, indices)
    clock, processor = time.perf_counter(), time.process_time()
    positions, about = lay_out()
    done = {"seconds": time.perf_counter() - clock, "cpu_seconds": time.process_time() - processor, **about}
    np.ascontiguousarray(positions, "<f4").tofile(arguments.out)
    print(json.dumps(done))


def pymde_layout(arguments, indices):
    """`preserve_neighbors(...).embed()`; its own neighbour search would return the point itself first."""
    import numpy as np
    import pymde
    import torch
    from pymde import preprocess

    torch.set_num_threads(arguments.threads)
    pymde.seed(arguments.seed)
    n, k = indices.shape

    def given_neighbours(data, k, **_):
        edges = np.stack([np.repeat(np.arange(n), k), indices.ravel()], axis=1)
        edges.sort(axis=1)
        return pymde.Graph.from_edges(torch.tensor(edges), torch.ones(len(edges)))

    preprocess.generic.k_nearest_neighbors = given_neighbours

    def lay_out():
        problem = pymde.preserve_neighbors(np.zeros((n, 1), np.float32), n_neighbors=k)
        positions = problem.embed().numpy()
        return positions, {"average_distortion": float(problem.value), "iterations": problem.solve_stats.iterations}

    return lay_out


def umap_layout(arguments, indices):
    """`UMAP().fit_transform` with `precomputed_knn`, which has the point itself first."""
    import numba
    import numpy as np
    import umap

    numba.set_num_threads(arguments.threads)
    points = images(arguments.points)
    n, k = indices.shape
    distances = np.empty((n, k), np.float32)
    for first in range(0, n, 1000):
        rows = slice(first, first + 1000)
        distances[rows] = np.sqrt(((points[rows, None].astype(np.float32) - points[indices[rows]]) ** 2).sum(axis=2))
    near = (
        np.hstack([np.arange(n)[:, None], indices]).astype(np.int32),
        np.hstack([np.zeros((n, 1), np.float32), distances]),
    )

    def layout(count):
        # Without `random_state`: with it umap uses one thread.
        mapper = umap.UMAP(n_neighbors=k + 1, n_jobs=arguments.threads, precomputed_knn=(near[0][:count], near[1][:count], None))
        return mapper.fit_transform(points[:count])

    umap.UMAP(n_neighbors=k, n_epochs=2, n_jobs=arguments.threads).fit_transform(points[:4200])  # compiles
    return lambda: (layout(n), {})


def images(folder):
    """Levels of the training and then the test images, `[n, pixels]`."""
    import gzip
    import pathlib

    import numpy as np

    parts = []
    for part in ("train", "t10k"):
        data = gzip.decompress((pathlib.Path(folder) / f"{part}-images-idx3-ubyte.gz").read_bytes())
        count = int.from_bytes(data[4:8], "big")
        parts.append(np.frombuffer(data, np.uint8, offset=16).reshape(count, -1))
    return np.concatenate(parts)


if __name__ == "__main__":
    main()
