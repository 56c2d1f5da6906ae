"""Compares nearkin's models with timm's own, with weights that go both ways.

Out: the exported file's weights (by formula) are loaded into timm's model by name, strictly; then the logits and the
embedding of both must agree. In: timm's model is given weights of its own, they are saved as safetensors, `nearkin zoo
export --weights FILE` reads them, and the outputs must agree again. Adapted: the same safetensors file is loaded for
images of one channel and another size, by timm's own loader and by `--in-chans 1 --img-size SIDE`. onnxruntime runs the
exported files. The exit code is 0 only if all pass.
"""

import argparse
import sys

import common

PASS = 1e-4


def parse():
    parser = argparse.ArgumentParser(
        prog="cargo xtask peers timm-check", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("variants", nargs="*", help="variants to check (default: the smallest of every family)")
    return parser.parse_args()


def outputs(file, pixels):
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    return session.run(["embedding", "logits"], {session.get_inputs()[0].name: pixels})


def errors(model, file, seed, size=None):
    """Relative L2 of [embedding, logits] between timm's model and the file, on the same images of `size` [C, H, W]."""
    import numpy as np
    import torch

    size = size or model.pretrained_cfg["input_size"]
    pixels = np.random.RandomState(seed).standard_normal([2, *size]).astype(np.float32)
    with torch.inference_mode():
        features = model.forward_features(torch.from_numpy(pixels))
        expected = [model.forward_head(features, pre_logits=True).numpy(), model(torch.from_numpy(pixels)).numpy()]
    return [common.relative_l2(found, truth) for found, truth in zip(outputs(file, pixels), expected)]


def lively(variant):
    """timm's model with weights under which every layer matters.

    Fresh weights prove little: layer scales of 1e-6 and zero gains hide whole branches, and batch norms that saw no
    data let activations grow without bound. So gains are drawn afresh, and the statistics come from a batch.
    """
    import timm
    import torch

    torch.manual_seed(1)
    model = timm.create_model(variant, pretrained=False)
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            leaf = name.rsplit(".", 1)[-1]
            if leaf in ("gamma", "gamma_1", "gamma_2") or name.endswith("grn.weight"):
                tensor.uniform_(0.1, 0.5)
            elif tensor.ndim == 1:
                tensor.add_(0.1 * torch.randn_like(tensor))
        model.train()
        for module in model.modules():
            if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
                module.momentum = None  # the mean over the batches seen
            elif isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        model(torch.randn(8, *model.pretrained_cfg["input_size"]))
    return model.eval()


def check(variant):
    import models
    from safetensors.torch import save_file

    work = common.setting("NEARKIN_PEERS_WORK")
    file = common.export(variant, work / f"{variant}.onnx")
    out = errors(models.torch_model(variant, file), file, seed=2)

    model = lively(variant)
    weights = work / f"{variant}.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, weights)
    back = errors(model, common.export(variant, work / f"{variant}-timm.onnx", weights), seed=3)
    return out + back + adapted(model, variant, weights, work / f"{variant}-adapted.onnx")


def adapted(model, variant, weights, file):
    """Errors for grey images about 5/7 as wide as the variant's own, with the same weights."""
    import timm

    side = 32 * round(model.pretrained_cfg["input_size"][-1] * 5 / 7 / 32)
    # Only models with position embeddings are built for a size; the others take any.
    sized = {"img_size": side} if getattr(model, "pos_embed", None) is not None else {}
    theirs = timm.create_model(
        variant, pretrained=True, pretrained_cfg_overlay={"file": str(weights)}, in_chans=1, **sized
    ).eval()
    common.export(variant, file, weights, "--in-chans", 1, "--img-size", side)
    return errors(theirs, file, seed=4, size=[1, side, side])


def main():
    arguments = parse()
    import timm
    import torch

    print(f"timm {timm.__version__}, torch {torch.__version__}; pass mark {PASS:.0e}")
    columns = [f"{output} {way}" for way in ("out", "in", "adapted") for output in ("embedding", "logits")]
    print(f"{'relative L2':<24} " + "  ".join(f"{column:>17}" for column in columns))
    variants = arguments.variants
    if not variants:
        variants = [variant for _, variant in common.smallest_of_each_group() if timm.is_model(variant)]
    failed = 0
    for variant in variants:
        try:
            found = check(variant)
            said = "  ".join(f"{error:17.2e}" for error in found)
            if not max(found) <= PASS:
                failed += 1
                said += "  FAILED"
        except Exception as error:  # every library here has errors of its own
            failed += 1
            said = f"FAILED: {type(error).__name__}: {error}"
        print(f"{variant:<24} {said}", flush=True)
    if not variants:
        sys.exit("error: nearkin lists no variant that timm has")
    print(f"{len(variants) - failed} of {len(variants)} pass")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
