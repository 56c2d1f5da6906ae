"""One engine doing training steps in a process of its own, line by line.

First prints one JSON object that says what is ready; then reads `go N` on standard input, does N steps on the same
batch, and answers with one JSON object: milliseconds of wall and of processor time of every step, and their losses.
`peak` is answered with the most memory the process has held, in bytes. It is the protocol of nearkin-runtime's example
`step`, so that every engine is measured in the same way: around one whole step whose loss is read.
"""

import argparse
import json
import pathlib
import sys
import time

import numpy as np


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("engine", choices=["onnxruntime", "eager", "eager-channels-last", "compile"])
    parser.add_argument("--net", required=True)
    parser.add_argument("--folder", required=True, type=pathlib.Path, help="where the step graph's files are")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--profile", action="store_true", help="onnxruntime: write a profile beside the graph")
    arguments = parser.parse_args()
    about = json.loads((arguments.folder / f"{arguments.net}.json").read_text(encoding="utf-8"))
    images = np.fromfile(arguments.folder / f"{arguments.net}.images", np.float32)
    batch = {
        "images": images.reshape(about["batch"], *about["image"]),
        "labels": np.fromfile(arguments.folder / f"{arguments.net}.labels", np.int64),
    }
    step, version = (onnxruntime_engine if arguments.engine == "onnxruntime" else torch_engine)(arguments, about, batch)
    print(json.dumps({"ready": True, "engine": arguments.engine, "version": version}), flush=True)
    for line in sys.stdin:
        words = line.split()
        if words[0] == "peak":
            print(json.dumps({"bytes": peak_bytes()}), flush=True)
        else:
            print(json.dumps(timed(step, int(words[1]))), flush=True)


def timed(step, count):
    answer = {"wall_ms": [], "cpu_ms": [], "losses": []}
    for _ in range(count):
        wall, cpu = time.perf_counter(), time.process_time()
        loss = step()
        answer["wall_ms"].append(1e3 * (time.perf_counter() - wall))
        answer["cpu_ms"].append(1e3 * (time.process_time() - cpu))
        answer["losses"].append(loss)
    return answer


def peak_bytes():
    """VmHWM: the most resident memory so far."""
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return 1024 * int(line.split()[1])
    raise RuntimeError("/proc/self/status has no VmHWM")


def slots(arguments, about):
    """Name to starting value of everything that goes from step to step."""
    path = arguments.folder / f"{arguments.net}.bin"
    for slot in about["slots"]:
        count = int(np.prod(slot["dims"]))
        yield slot, np.fromfile(path, np.float32, count, offset=4 * slot["offset"]).reshape(slot["dims"])


def onnxruntime_engine(arguments, about, batch):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = arguments.threads
    options.inter_op_num_threads = 1
    # One block for a whole run would be allocated beside what the first run has left: twice the memory.
    options.enable_mem_pattern = False
    options.enable_profiling = arguments.profile
    path = arguments.folder / f"{arguments.net}.onnx"
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    ortvalue = onnxruntime.OrtValue.ortvalue_from_numpy
    # Two sets of tensors in turns: one is read while the other is written.
    here, there = {}, {}
    for slot, value in slots(arguments, about):
        here[slot["input"]] = ortvalue(np.ascontiguousarray(value))
        there[slot["input"]] = ortvalue(np.empty_like(value))
    outputs = {slot["input"]: slot["output"] for slot in about["slots"]}
    fixed = {about["images"]: ortvalue(batch["images"]), about["labels"]: ortvalue(batch["labels"])}
    loss = ortvalue(np.zeros((), np.float32))

    def bound(read, written):
        binding = session.io_binding()
        for name, value in [*fixed.items(), *read.items()]:
            binding.bind_ortvalue_input(name, value)
        for name, value in written.items():
            binding.bind_ortvalue_output(outputs[name], value)
        binding.bind_ortvalue_output(about["loss"], loss)
        return binding

    turns = [bound(here, there), bound(there, here)]
    steps = 0

    def step():
        nonlocal steps
        binding = turns[steps % 2]
        steps += 1
        for name in about["scalars"]:
            beta = {"first": about["betas"][0], "second": about["betas"][1]}.get(name.split("/")[1].split("_")[0])
            value = about["learning_rate"] if beta is None else 1 - beta**steps
            binding.bind_cpu_input(name, np.array(value, np.float32))
        session.run_with_iobinding(binding)
        return float(loss.numpy())

    return step, onnxruntime.__version__


def torch_engine(arguments, about, batch):
    import torch

    import train_step_models

    torch.set_num_threads(arguments.threads)
    torch.set_num_interop_threads(1)
    model = train_step_models.NETS[about["net"]](about["classes"])
    state = model.state_dict()
    known = {slot["input"]: value for slot, value in slots(arguments, about)}
    for name in state:
        if not name.endswith("num_batches_tracked"):
            state[name] = torch.from_numpy(known[name].copy())
    model.load_state_dict(state)
    model.train()
    images, labels = torch.from_numpy(batch["images"]), torch.from_numpy(batch["labels"])
    if arguments.engine == "eager-channels-last":
        model = model.to(memory_format=torch.channels_last)
        images = images.to(memory_format=torch.channels_last)
    groups = {}
    for name, parameter in model.named_parameters():
        groups.setdefault(about["decay"][name], []).append(parameter)
    groups = [{"params": parameters, "weight_decay": decay} for decay, parameters in groups.items()]
    if about["optimiser"] == "adamw":
        betas = tuple(about["betas"])
        optimiser = torch.optim.AdamW(groups, about["learning_rate"], betas, about["eps"])
    else:
        optimiser = torch.optim.SGD(groups, about["learning_rate"], about["momentum"])
    forward = torch.compile(model) if arguments.engine == "compile" else model

    def step():
        optimiser.zero_grad(set_to_none=True)
        loss = torch.nn.functional.cross_entropy(forward(images), labels)
        loss.backward()
        optimiser.step()
        return float(loss)

    return step, torch.__version__


if __name__ == "__main__":
    main()
