"""Errors of imports."""

from __future__ import annotations

from netdsl.base.user_error import USAGE_IS_WRONG, UserError


class ImportRefused(UserError, code="E0670", title="a model that cannot be imported"):
    """The model has parts that netdsl has no layers for. All of them are listed, each with its number of occurrences
    and the place of the first. Nothing is written.

    ```sh
    netdsl import model.onnx
    ```
    """


class BadImport(UserError, code="E0671", title="a damaged model file"):
    """The file to be imported is damaged, or contradicts itself: a truncated file, a tensor with another number of
    elements than its shape says, data outside of the model's folder, a cycle.

    ```sh
    netdsl import model.onnx
    ```
    """


class Unproved(UserError, code="E0672", title="an import without a proof"):
    """The text compiles to a net whose outputs differ from those of the model, or nothing can compute the model to
    compare them with. Nothing is written, unless `--allow-unproved` accepts it; the text then begins with a comment
    that says so.

    ```sh
    netdsl import model.onnx --allow-unproved
    ```
    """


class UnknownModel(UserError, code="E0673", title="a model of an unsupported format", exit_code=USAGE_IS_WRONG):
    """The file is in none of the formats that can be imported.

    ```sh
    netdsl import model.onnx
    ```
    """


class NoSuchInput(
    UserError, code="E0679", title="a shape of an input that the model does not have", exit_code=USAGE_IS_WRONG
):
    """`--input` names an input that the model does not have.

    ```sh
    netdsl import model.onnx --input image=3x224x224
    ```
    """
