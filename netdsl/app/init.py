"""The file that `netdsl init` writes: a small net with its training, which needs no other files."""

from __future__ import annotations

import os
import re

from netdsl.base.files import write_all
from netdsl.base.user_error import USAGE_IS_WRONG, UserError
from netdsl.syntax.words import RESERVED_WORDS

TEMPLATE = """\
# Tells bright circles, squares and triangles on a dark background apart: a small convolutional network.
net NAME {
  input image 1x28x28 resize 28 crop 28  # channels x height x width; the values are bytes, 0 to 255
  scale 1/255                            # to the range from 0 to 1

  conv 5x5 8; relu; maxpool 2x2  # 8 filters of 5x5 pixels, then half the resolution: 8x14x14
  conv 5x5 16; relu; maxpool 2x2
  expect 16x7x7  # a comment that the compiler checks; all shapes are inferred
  dense 32; relu
  dense 3  # one score per class; for MNIST: dense 10
}

# `netdsl train FILE` trains the net as this block specifies. Every number is worth a try: lr, batch, epochs, conv 3x3.
train NAME {
  data shapes n 3000            # generated images; with the files of MNIST: data mnist "FOLDER"
  validate shapes n 600 seed 1  # images that training never sees: validate mnist "FOLDER" split test
  loss cross_entropy            # takes scores: no softmax in the net
  optimizer adam lr 3e-3
  schedule cosine  # the learning rate decreases to 0
  batch 50
  epochs 6  # about 10 seconds
}
"""


NET_NAME = re.compile("[A-Za-z_][A-Za-z0-9_]*")


class CannotInit(UserError, code="E0660", title="a file that `init` cannot create", exit_code=USAGE_IS_WRONG):
    """`netdsl init NAME` writes a new file, NAME.net, and gives its net the same name. It never overwrites a file. The
    name of a net consists of letters, digits and `_`, and is not a reserved word of the language.

    ```sh
    netdsl init
    netdsl init experiments/digits
    ```
    """


def create(name: str) -> str:
    """Write the template as NAME.net, and return the path. Raises CannotInit, CannotWrite."""
    path = name if name.endswith(".net") else f"{name}.net"
    net = net_name(path)
    if not NET_NAME.fullmatch(net) or net in RESERVED_WORDS:
        raise CannotInit(
            f"`{net}` cannot be the name of a net", "use letters, digits and `_`, as in `netdsl init my_net`"
        )
    if os.path.lexists(path):
        raise CannotInit(f"{path} exists", "choose another name: `netdsl init NAME`")
    write_all({path: TEMPLATE.replace("NAME", net).encode()})
    return path


def net_name(path: str) -> str:
    """Return the name of the net in a file, which is that of the file."""
    return os.path.basename(path).removesuffix(".net")
