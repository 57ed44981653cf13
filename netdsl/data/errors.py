"""What can be wrong with data."""

from __future__ import annotations

from netdsl.diagnostics.user_error import USAGE_IS_WRONG, UserError

CONVERT = "of a PyTorch model, save the weights with `safetensors.torch.save_file(model.state_dict(), path)`"


class BadData(UserError, code="E0801"):
    """The file is damaged, or of a format that is not read. Pickled objects never are: they run programs."""


class WrongShape(UserError, code="E0802"):
    """The data's examples have another shape than the network's input. Nothing is reshaped or transposed silently."""


class WrongType(UserError, code="E0803"):
    """The data's numbers cannot become the input's without a loss: a fraction an integer, or a value out of range."""


class NoSuchMember(UserError, code="E0804"):
    """An archive holds several arrays, and none is named like the input."""


class BadPicture(UserError, code="E0805"):
    """A picture that is damaged, animated, too large to be opened safely, or of a kind without 8-bit channels."""


class MissingPackage(UserError, code="E0806", exit_code=USAGE_IS_WRONG):
    """An optional package is needed."""
