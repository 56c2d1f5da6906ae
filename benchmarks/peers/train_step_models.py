"""The networks of `crates/autodiff/examples/step_graph/nets.rs` in PyTorch, parameter name by parameter name."""

import torch
from torch import nn
from torch.nn import functional as F


class Basic(nn.Module):
    def __init__(self, inputs, width, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride != 1 or inputs != width:
            conv = nn.Conv2d(inputs, width, 1, stride, bias=False)
            self.downsample = nn.Sequential(conv, nn.BatchNorm2d(width))

    def forward(self, x):
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        short = x if self.downsample is None else self.downsample(x)
        y += short
        return self.relu(y)


class ResNet(nn.Module):
    def __init__(self, stem, widths, depth, classes):
        super().__init__()
        self.conv1, self.pool = stem
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.relu = nn.ReLU(inplace=True)
        inputs = widths[0]
        for stage, width in enumerate(widths):
            blocks = []
            for i in range(depth):
                blocks.append(Basic(inputs, width, 2 if stage > 0 and i == 0 else 1))
                inputs = width
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
        self.stages = len(widths)
        self.head = nn.Linear(inputs, classes)

    def forward(self, x):
        x = self.pool(self.relu(self.bn1(self.conv1(x))))
        for stage in range(self.stages):
            x = getattr(self, f"layer{stage + 1}")(x)
        return self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))


def resnet20(classes):
    stem = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.Identity()
    return ResNet(stem, [16, 32, 64], 3, classes)


def resnet18(classes):
    stem = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.MaxPool2d(3, 2, 1)
    return ResNet(stem, [64, 128, 256, 512], 2, classes)


class Inverted(nn.Module):
    def __init__(self, inputs, expansion, width, stride):
        super().__init__()
        inner = inputs * expansion
        self.expand = nn.Conv2d(inputs, inner, 1, bias=False) if expansion > 1 else None
        if expansion > 1:
            self.bn0 = nn.BatchNorm2d(inner)
        self.depthwise = nn.Conv2d(inner, inner, 3, stride, 1, groups=inner, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.project = nn.Conv2d(inner, width, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.act = nn.ReLU6(inplace=True)
        self.short = stride == 1 and inputs == width

    def forward(self, x):
        y = x
        if self.expand is not None:
            y = self.act(self.bn0(self.expand(y)))
        y = self.act(self.bn1(self.depthwise(y)))
        y = self.bn2(self.project(y))
        return y + x if self.short else y


class MobileNet(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 3, 1, 1, bias=False)
        self.stem_bn = nn.BatchNorm2d(32)
        self.act = nn.ReLU6(inplace=True)
        stages, inputs = [], 32
        for expansion, width, depth, first in [(1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 2, 2), (6, 64, 2, 2), (6, 96, 1, 1)]:
            blocks = []
            for i in range(depth):
                blocks.append(Inverted(inputs, expansion, width, first if i == 0 else 1))
                inputs = width
            stages.append(nn.Sequential(*blocks))
        self.blocks = nn.Sequential(*stages)
        self.last = nn.Conv2d(inputs, 384, 1, bias=False)
        self.last_bn = nn.BatchNorm2d(384)
        self.head = nn.Linear(384, classes)

    def forward(self, x):
        x = self.blocks(self.act(self.stem_bn(self.stem(x))))
        x = self.act(self.last_bn(self.last(x)))
        return self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.qkv, self.proj, self.heads = nn.Linear(width, 3 * width), nn.Linear(width, width), heads

    def forward(self, x):
        images, tokens, width = x.shape
        qkv = self.qkv(x).reshape(images, tokens, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(*qkv.unbind(0))
        return self.proj(y.transpose(1, 2).reshape(images, tokens, width))


class VitBlock(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(width, 1e-6), Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, 1e-6)
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class Vit(nn.Module):
    def __init__(self, classes, width=192, depth=6, heads=3):
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 65, width))
        self.patch_embed = nn.Conv2d(3, width, 4, 4)
        self.blocks = nn.Sequential(*(VitBlock(width, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width, 1e-6)
        self.head = nn.Linear(width, classes)

    def forward(self, x):
        x = self.patch_embed(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1) + self.pos_embed
        return self.head(self.norm(self.blocks(x))[:, 0])


class Norm2d(nn.LayerNorm):
    def forward(self, x):
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ConvNextBlock(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.gamma = nn.Parameter(torch.full((width,), 0.1))
        self.dw = nn.Conv2d(width, width, 7, 1, 3, groups=width)
        self.norm = nn.LayerNorm(width, 1e-6)
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        y = self.norm(self.dw(x).permute(0, 2, 3, 1))
        y = self.fc2(F.gelu(self.fc1(y))) * self.gamma
        return y.permute(0, 3, 1, 2) + x


class ConvNext(nn.Module):
    def __init__(self, classes, widths=(64, 128, 256)):
        super().__init__()
        self.stem, self.stem_norm = nn.Conv2d(3, widths[0], 2, 2), Norm2d(widths[0], 1e-6)
        down, stages = [], []
        for i, width in enumerate(widths):
            if i > 0:
                pair = nn.Module()
                pair.norm, pair.conv = Norm2d(widths[i - 1], 1e-6), nn.Conv2d(widths[i - 1], width, 2, 2)
                down.append(pair)
            stages.append(nn.Sequential(ConvNextBlock(width), ConvNextBlock(width)))
        self.down, self.stages = nn.ModuleList(down), nn.ModuleList(stages)
        self.head_norm, self.head = nn.LayerNorm(widths[-1], 1e-6), nn.Linear(widths[-1], classes)

    def forward(self, x):
        x = self.stem_norm(self.stem(x))
        for i, stage in enumerate(self.stages):
            if i > 0:
                x = self.down[i - 1].conv(self.down[i - 1].norm(x))
            x = stage(x)
        return self.head(self.head_norm(x.mean((2, 3))))


NETS = {"resnet20": resnet20, "mobilenet": MobileNet, "vit": Vit, "convnext": ConvNext, "resnet18": resnet18}
