"""The torch model of a variant, with the weights of an exported file."""

import common


def torch_model(variant, file, **options):
    """timm's model of this name; a plain stack of layers for `fcnn`, which timm does not have."""
    arrays = common.initialisers(file)
    if variant.startswith("fcnn"):
        return common.fill(perceptron(arrays), arrays)
    import timm

    return common.fill(timm.create_model(variant, pretrained=False, **options), arrays)
