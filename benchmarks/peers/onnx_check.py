"""Checks exported files with the onnx package: one variant of every family.

For each file: `onnx.checker` in full, shape inference in strict mode, the outputs `embedding` [N, D] and `logits`
[N, classes] with a symbolic batch, every shape that the file states against the inferred one, and that Python
onnxruntime runs it. The exit code is 0 only if all pass.
"""

import argparse
import sys

import common


def parse():
    parser = argparse.ArgumentParser(
        prog="cargo xtask peers onnx-check", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("variants", nargs="*", help="variants to check (default: the smallest of every family)")
    return parser.parse_args()


def dimensions(value):
    """Dimensions of a value: numbers, names, or None where unknown."""
    shape = value.type.tensor_type.shape
    return [d.dim_value if d.HasField("dim_value") else d.dim_param or None for d in shape.dim]


def check(path):
    """Raises for the first thing that is wrong; returns what was looked at, in words."""
    import numpy as np
    import onnx
    import onnxruntime

    onnx.checker.check_model(str(path), full_check=True)
    model = onnx.load(path)
    stated = {value.name: dimensions(value) for value in [*model.graph.value_info, *model.graph.output]}
    del model.graph.value_info[:]
    inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    found = {value.name: dimensions(value) for value in [*inferred.graph.value_info, *inferred.graph.output]}
    compared = 0
    for name, shape in stated.items():
        if name not in found:
            continue  # shape inference says nothing of values that depend on data
        expected = found[name]
        if len(shape) != len(expected):
            raise RuntimeError(f"{name}: the file states {shape}, shape inference finds {expected}")
        for ours, theirs in zip(shape, expected):
            if isinstance(ours, int) and isinstance(theirs, int) and ours != theirs:
                raise RuntimeError(f"{name}: the file states {shape}, shape inference finds {expected}")
        compared += 1

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    image = session.get_inputs()[0]
    if isinstance(image.shape[0], int):
        raise RuntimeError(f"the batch of {image.name} is fixed at {image.shape[0]}, expected a symbolic one")
    pixels = np.random.RandomState(0).standard_normal([3, *image.shape[1:]]).astype(np.float32)
    outputs = dict(zip([o.name for o in session.get_outputs()], session.run(None, {image.name: pixels})))
    for name in ("embedding", "logits"):
        if name not in outputs:
            raise RuntimeError(f"there is no output {name}, only {', '.join(outputs)}")
        if outputs[name].ndim != 2 or len(outputs[name]) != 3:
            raise RuntimeError(f"{name} has shape {outputs[name].shape} for 3 images, expected [3, n]")
        if not np.isfinite(outputs[name]).all():
            raise RuntimeError(f"{name} is not finite")
        width = stated.get(name, [None, None])[1]
        if width != outputs[name].shape[1]:
            raise RuntimeError(f"{name}: the file states width {width}, the run gives {outputs[name].shape[1]}")
    opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    return f"opset {opset}, IR {model.ir_version}, {len(model.graph.node)} nodes, {compared} shapes equal"


def main():
    arguments = parse()
    import onnx
    import onnxruntime

    print(f"onnx {onnx.__version__}, onnxruntime {onnxruntime.__version__}")
    variants = arguments.variants or [variant for _, variant in common.smallest_of_each_group()]
    failed = 0
    for variant in variants:
        try:
            said = check(common.export(variant, common.setting("NEARKIN_PEERS_WORK") / f"{variant}.onnx"))
        except Exception as error:  # every library here has errors of its own
            failed += 1
            said = f"FAILED: {type(error).__name__}: {error}"
        print(f"{variant:<24} {said}", flush=True)
    if not variants:
        sys.exit("error: nearkin lists no variant")
    print(f"{len(variants) - failed} of {len(variants)} pass")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
