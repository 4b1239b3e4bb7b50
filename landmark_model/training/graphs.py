"""Writes the graphs that ONNX Runtime answers by: the networks without their weights.

Run `python -m landmark_model.training.graphs` after an architecture changes. A graph is that of
the layers below the last one, so it fits any number of classes; weights come from
model.safetensors when it is loaded, which stays the only file that holds them.
"""

from __future__ import annotations

import io
import json
import warnings
from pathlib import Path

import onnx
import timm
import torch
from timm.layers import Conv2dSame
from torch import Tensor, nn

from landmark_model.files import staged
from landmark_model.networks import NETWORKS
from landmark_model.preprocess import STRIDE_PX
from landmark_model.runtime import GRAPHS, TABLE_NAME

PREFIX = "network."
EXTERNAL = onnx.TensorProto.EXTERNAL


class Trunk(nn.Module):
    """Normalised images (N, 3, H, W) -> last maps (N, D, h, w) and features (N, D), their means.

    H and W are multiples of 32 px.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        maps = self.network.forward_features(images)
        return maps, self.network.forward_head(maps, pre_logits=True)


def write_graphs(folder: Path = GRAPHS) -> None:
    """Writes the graph of each network to `folder`, and the table of all their tensors."""
    tables = {}
    with staged(folder) as scratch:
        for name in NETWORKS:
            network = timm.create_model(name).eval()
            # The exporter writes equal tensors once, and untrained ones are equal.
            for tensor in network.state_dict().values():
                if tensor.is_floating_point():
                    tensor.uniform_(0.5, 1.5)
            graph = make_graph(network)
            (scratch / f"{name}.onnx").write_bytes(graph.SerializeToString())
            tables[name] = describe_tensors(network, graph)
        text = json.dumps(tables, separators=(",", ":"))
        (scratch / TABLE_NAME).write_text(text + "\n", encoding="utf-8")


def describe_tensors(network: nn.Module, model: onnx.ModelProto) -> dict[str, object]:
    """What a weights file of `network` holds: each tensor's shape, and which the graph asks for.

    The last layer, `width` features to any number of classes, is left out.
    """
    head = network.get_classifier()
    last = next(name for name, module in network.named_modules() if module is head)
    shapes = {name: list(tensor.shape) for name, tensor in network.state_dict().items()}
    return {
        "last": last,
        "width": head.in_features,
        "shapes": {name: shape for name, shape in shapes.items() if not name.startswith(last)},
        "initializers": [tensor.name for tensor in model.graph.initializer],
    }


def make_graph(network: nn.Module) -> onnx.ModelProto:
    """The ONNX graph of a network in evaluation mode up to its last layer, without weights."""
    buffer, side = io.BytesIO(), 2 * STRIDE_PX
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # Not folded: batch norm keeps its tensors, so that the graph fits whatever was learned.
        torch.onnx.export(
            Trunk(network).eval(),
            (torch.zeros(2, 3, side, side),),
            buffer,
            input_names=["images"],
            output_names=["maps", "features"],
            dynamic_axes={
                "images": {0: "n", 2: "height", 3: "width"},
                "maps": {0: "n", 2: "rows", 3: "columns"},
                "features": {0: "n"},
            },
            opset_version=18,
            dynamo=False,
            training=torch.onnx.TrainingMode.PRESERVE,
            do_constant_folding=False,
        )
    model = onnx.load_from_string(buffer.getvalue())
    _fix_padding(model.graph, network)
    onnx.checker.check_model(model)
    _take_weights_out(model.graph)
    return model


def _fix_padding(graph: onnx.GraphProto, network: nn.Module) -> None:
    """Makes TensorFlow's "same" padding part of the convolutions.

    timm computes it of each image's size. Of sides that are multiples of 32 px it is the same:
    what the kernel is wider than the stride, the odd pixel after the image.
    """
    same = {
        f"{PREFIX}{name}.weight": module.kernel_size[0] - module.stride[0]
        for name, module in network.named_modules()
        if isinstance(module, Conv2dSame)
    }
    makers = {output: node for node in graph.node for output in node.output}
    for node in graph.node:
        if node.op_type == "Conv" and node.input[1] in same:
            total = same[node.input[1]]
            before, after = total // 2, total - total // 2
            pads = next(attribute for attribute in node.attribute if attribute.name == "pads")
            pads.ints[:] = [before, before, after, after]
            node.input[0] = makers[node.input[0]].input[0]
    _drop_unused(graph)


def _drop_unused(graph: onnx.GraphProto) -> None:
    used = {output.name for output in graph.output}
    for node in reversed(list(graph.node)):
        if used & set(node.output):
            used |= set(node.input)
        else:
            graph.node.remove(node)


def _take_weights_out(graph: onnx.GraphProto) -> None:
    """Leaves names and shapes of the initializers, to be filled when a network is loaded."""
    for tensor in graph.initializer:
        tensor.name = tensor.name.removeprefix(PREFIX)
        tensor.ClearField("raw_data")
        tensor.data_location = EXTERNAL
        tensor.external_data.add(key="location", value="model.safetensors")
    for node in graph.node:
        node.input[:] = [name.removeprefix(PREFIX) for name in node.input]


if __name__ == "__main__":
    write_graphs()
