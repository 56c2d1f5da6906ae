"""One engine in a process of its own, answering for its latency line by line.

First prints one JSON object that says what is ready; then reads `go N` on standard input, runs N times, and answers
with the N latencies in milliseconds as one JSON list. It is the protocol of `nearkin latency`, so that every engine is
timed in the same way: around one call that takes a ready input array and returns all outputs.
"""

import argparse
import json
import sys
import time


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("engine", choices=["onnxruntime", "torch"])
    parser.add_argument("--model", required=True, help="ONNX file")
    parser.add_argument("--variant", required=True, help="timm's name of the same model")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--batch", type=int, required=True)
    arguments = parser.parse_args()
    run, version = {"onnxruntime": onnxruntime_engine, "torch": torch_engine}[arguments.engine](arguments)
    ready = {"ready": True, "engine": arguments.engine, "version": version, "threads": arguments.threads}
    print(json.dumps(ready), flush=True)
    for line in sys.stdin:
        word, count = line.split()
        if word != "go":
            sys.exit(f"error: expected `go N`, found {line!r}")
        print(json.dumps([timed(run) for _ in range(int(count))]), flush=True)


def timed(run):
    started = time.perf_counter_ns()
    run()
    return (time.perf_counter_ns() - started) / 1e6


def session(arguments):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = arguments.threads
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(arguments.model, options, providers=["CPUExecutionProvider"])


def images(session, batch):
    """Pseudo-random values, uniform in [-1, 1) as those of `nearkin latency`."""
    import numpy as np

    shape = [batch, *session.get_inputs()[0].shape[1:]]
    return np.random.RandomState(0).uniform(-1, 1, shape).astype(np.float32)


def onnxruntime_engine(arguments):
    import onnxruntime

    ready = session(arguments)
    feed = {ready.get_inputs()[0].name: images(ready, arguments.batch)}
    return lambda: ready.run(None, feed), onnxruntime.__version__


def torch_engine(arguments):
    """timm's model, eager, with the file's own weights; it must give the file's own logits first."""
    import torch

    import common
    import models

    torch.set_num_threads(arguments.threads)
    torch.set_num_interop_threads(1)
    judge = session(arguments)
    pixels = images(judge, arguments.batch)
    model = models.torch_model(arguments.variant, arguments.model)
    batch = torch.from_numpy(pixels)

    def run():
        with torch.inference_mode():
            return model(batch)

    expected = judge.run(["logits"], {judge.get_inputs()[0].name: pixels})[0]
    del judge
    error = common.relative_l2(run().numpy(), expected)
    if not error < 1e-3:
        sys.exit(f"error: torch and the exported file disagree on {arguments.variant}: relative L2 {error:.2e}")
    return run, torch.__version__


if __name__ == "__main__":
    main()
