"""The torch model of a variant, with the weights of an exported file."""

import common


def torch_model(variant, file, **options):
    """timm's model of this name; a plain stack of layers for `fcnn_…`, which timm does not have."""
    arrays = common.initialisers(file)
    if variant.startswith("fcnn_"):
        return common.fill(perceptron(arrays), arrays)
    import timm

    return common.fill(timm.create_model(variant, pretrained=False, **options), arrays)


def perceptron(arrays):
    """Linear layers with ReLU over flattened pixels, then a linear head, of the sizes in `arrays`."""
    import torch

    class Perceptron(torch.nn.Module):
        def __init__(self):
            super().__init__()
            sizes = []
            while f"layers.{len(sizes)}.weight" in arrays:
                sizes.append(arrays[f"layers.{len(sizes)}.weight"].shape)
            self.layers = torch.nn.ModuleList(torch.nn.Linear(inputs, outputs) for outputs, inputs in sizes)
            classes, width = arrays["head.weight"].shape
            self.head = torch.nn.Linear(width, classes)

        def forward(self, images):
            x = images.flatten(1)
            for layer in self.layers:
                x = torch.relu(layer(x))
            return self.head(x)

    return Perceptron()
