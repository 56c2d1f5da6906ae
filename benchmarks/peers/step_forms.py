"""The forms that a training step's lowering chooses from, timed one against the other on this processor.

Run by hand with the environment of requirements-onnx.txt: `python benchmarks/peers/step_forms.py --out FOLDER`. Every form
is a graph of its own for ONNX Runtime, on one thread, with its inputs where it would find them in a step: images in blocks
or as ONNX has them. Milliseconds of processor time, medians of interleaved rounds. `crates/autodiff/src/lower/choose.rs`
cites the table.
"""

import argparse
import pathlib
import statistics
import time

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

NCHWC = "com.microsoft.nchwc"
RANDOM = np.random.default_rng(0)


class Graph:
    """Appends nodes; inputs are random."""

    def __init__(self):
        self.nodes, self.inputs, self.constants, self.feeds = [], [], [], {}

    def input(self, *dims):
        name = f"x{len(self.inputs)}"
        self.inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, dims))
        self.feeds[name] = RANDOM.standard_normal(dims).astype(np.float32)
        return name

    def constant(self, values, dtype=np.int64):
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.array(values, dtype), name))
        return name

    def op(self, op, *inputs, domain="", outputs=1, **attributes):
        names = [f"v{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(op, inputs, names, domain=domain, **attributes))
        return names[0] if outputs == 1 else names

    def nchwc(self, op, *inputs, **attributes):
        return self.op(op, *inputs, domain=NCHWC, **attributes)

    def reshape(self, x, *dims):
        return self.op("Reshape", x, self.constant(dims))

    def turn(self, x, *order):
        return self.op("Transpose", x, perm=order)

    def sum_first(self, x):
        return self.op("ReduceSum", x, self.constant([0]), keepdims=0)

    def runner(self, output):
        graph = helper.make_graph(
            self.nodes, "form", self.inputs, [helper.make_empty_tensor_value_info(output)], self.constants
        )
        opsets = [helper.make_opsetid("", 18), helper.make_opsetid(NCHWC, 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
        binding = session.io_binding()
        for name, value in self.feeds.items():
            binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(value))
        binding.bind_output(output, "cpu")
        return lambda: session.run_with_iobinding(binding)


def form(build, *sizes):
    graph = Graph()
    return graph.runner(build(graph, *sizes))


# ∂w of a 1×1 convolution from C to K ≥ C channels; x and g lie in blocks.


def pixels_meet(g, block, n, c, k, side):
    pixels, few, many = side * side, c // block, k // block
    x = g.reshape(g.input(n, c, side, side), n, few, pixels, block)
    x = g.turn(x, 1, 0, 2, 3) if few > 1 else x
    x = g.nchwc("ReorderInput", g.reshape(x, few * n, pixels, 1, block))
    filter = g.reshape(g.input(n, k, side, side), n * k, pixels, 1, 1)
    y = g.nchwc("Conv", g.reshape(x, few, n * pixels, 1, block), filter, kernel_shape=[1, 1], group=n)
    return g.op("ReduceSum", g.reshape(y, few, n, many * block * block), g.constant([1]), keepdims=0)


def product(g, block, n, c, k, side):
    pixels = side * side
    x = g.nchwc("ReorderOutput", g.input(n, c, side, side), channels=c)
    columns = g.reshape(g.input(n, k, side, side), n, k // block, pixels, block)
    return g.sum_first(g.op("MatMul", g.reshape(x, n, 1, c, pixels), columns))


# ∂w of a depthwise convolution, same padding, stride 1.


def depthwise(g, block, n, c, kernel, side, pads_before):
    pad = kernel // 2
    x, pads, wide = g.input(n, c, side, side), [pad] * 4, side
    if pads_before:
        x = g.reshape(x, n, c // block, side, side * block)
        x = g.op("Pad", x, g.constant([0, 0, 0, pad * block, 0, 0, 0, pad * block]))
        pads, wide = [pad, 0, pad, 0], side + 2 * pad
    filter = g.reshape(g.input(n, c, side, side), n * c, 1, side, side)
    x = g.reshape(x, 1, n * c, side, wide)
    y = g.nchwc("Conv", x, filter, kernel_shape=[side, side], pads=pads, group=n * c)
    return g.sum_first(g.reshape(y, n, c, kernel, kernel))


# ∂w of a dense 3×3 convolution, same padding, stride 1.


def by_parts(g, block, n, c, k, side):
    at_once = max(d for d in range(1, block) if n % d == 0)
    parts, few, many, wide = n // at_once, c // block, k // block, side + 2
    x = g.reshape(g.input(n, c, side, side), n, few, side, side * block)
    x = g.op("Pad", x, g.constant([0, 0, 0, block, 0, 0, 0, block]))
    x = g.turn(g.reshape(x, parts, at_once, few, side * wide * block), 0, 2, 1, 3)
    f = g.turn(g.reshape(g.input(n, k, side, side), parts, at_once, many, side * side * block), 0, 2, 1, 3)
    split = lambda x: g.op("Split", x, outputs=parts, axis=0, num_outputs=parts) if parts > 1 else [x]
    total = []
    for image, filter in zip(split(x), split(f)):
        image, filter = g.reshape(image, few, at_once, side, wide * block), g.reshape(filter, k, at_once, side, side)
        more = ["", *total] if total else []
        total = [g.nchwc("Conv", image, filter, *more, kernel_shape=[side, side], dilations=[1, block], pads=[1, 0, 1, 0])]
    return total[0]


def by_taps(g, block, n, c, k, side):
    x = g.op("Pad", g.input(n, c, side, side), g.constant([0, 0, 1, 1, 0, 0, 1, 1]))
    rows, taps = g.reshape(g.input(n, k, side, side), n, k, side * side), []
    for i in range(9):
        start = [i // 3, i % 3]
        end = [start[0] + side, start[1] + side]
        seen = g.op("Slice", x, g.constant(start), g.constant(end), g.constant([2, 3]))
        seen = g.turn(g.reshape(seen, n, c, side * side), 0, 2, 1)
        taps.append(g.reshape(g.sum_first(g.op("MatMul", rows, seen)), k, c, 1))
    return g.op("Concat", *taps, axis=2)


# A linear layer from D to K over T tokens as ONNX has them.


def gemm(g, block, t, d, k):
    return g.op("Gemm", g.input(t, d), g.input(d, k))


def pointwise(g, block, t, d, k):
    filter = g.nchwc("ReorderInput", g.reshape(g.input(d, k), 1, 1, d, k), channels_last=1)
    x = g.nchwc("ReorderInput", g.reshape(g.input(t, d), 1, 1, t, d), channels_last=1)
    return g.nchwc("Conv", x, g.reshape(filter, k, d, 1, 1), kernel_shape=[1, 1])


CASES = [
    ("∂w of 1×1 (images, C, K, side)", {"convolution over pixels": pixels_meet, "product": product},
     [(64, 16, 96, 32), (64, 32, 192, 16), (64, 64, 64, 32), (64, 64, 256, 8), (64, 128, 128, 16), (64, 256, 256, 8)]),
    ("∂w of depthwise (images, C, kernel, side)",
     {"padded beforehand": lambda *a: depthwise(*a, True), "padded on the way": lambda *a: depthwise(*a, False)},
     [(64, 32, 3, 32), (64, 96, 3, 32), (64, 192, 3, 16), (64, 64, 5, 16), (64, 64, 7, 8), (64, 128, 7, 16)]),
    ("∂w of 3×3 (images, C, K, side)", {"in blocks, by parts": by_parts, "ONNX's operators, by taps": by_taps},
     [(64, 16, 16, 32), (64, 32, 32, 16), (64, 64, 64, 8), (8, 64, 64, 56), (8, 128, 128, 28), (8, 256, 256, 14)]),
    ("linear (tokens, D, K)", {"pointwise convolution, image brought into blocks": pointwise, "Gemm": gemm},
     [(64, 192, 768), (256, 64, 64), (256, 192, 768), (1024, 32, 32), (4096, 192, 192), (4096, 192, 768), (4096, 768, 192)]),
]


def medians(runs, rounds, least_s):
    counts, found = {}, {name: [] for name in runs}
    for name, run in runs.items():
        run()
        started = time.process_time()
        run()
        counts[name] = max(1, int(least_s / max(time.process_time() - started, 1e-5)))
    for _ in range(rounds):
        for name, run in runs.items():
            started = time.process_time()
            for _ in range(counts[name]):
                run()
            found[name].append(1e3 * (time.process_time() - started) / counts[name])
    return {name: statistics.median(times) for name, times in found.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--block", type=int, choices=[8, 16], default=16, help="channels in a block (16 with AVX-512)")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("benchmarks/results"))
    arguments = parser.parse_args()
    lines = [
        "# Forms of a training step's operators",
        "",
        f"ONNX Runtime {onnxruntime.__version__} on one thread, blocks of {arguments.block} channels; milliseconds of "
        f"processor time, medians of {arguments.rounds} interleaved rounds. Made by `benchmarks/peers/step_forms.py`.",
    ]
    for title, forms, sizes in CASES:
        lines += ["", f"| {title} | " + " | ".join(forms) + " | ratio |", "|---|" + "--:|" * (len(forms) + 1)]
        for size in sizes:
            found = medians({name: form(build, arguments.block, *size) for name, build in forms.items()}, arguments.rounds, 0.1)
            first, second = found.values()
            cells = " | ".join(f"{value:.2f}" for value in found.values())
            lines.append(f"| {', '.join(map(str, size))} | {cells} | {first / second:.2f} |")
    text = "\n".join(lines) + "\n"
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "step-forms.md").write_text(text, encoding="utf-8")
    print(text, end="")


if __name__ == "__main__":
    main()
