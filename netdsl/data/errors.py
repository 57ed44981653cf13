"""Errors of data."""

from __future__ import annotations

from netdsl.base.user_error import USAGE_IS_WRONG, UserError

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


class NoExamples(UserError, code="E0830"):
    """A data set without a single example: nothing can be learnt from it, and no metric is defined."""


class CountsDiffer(UserError, code="E0831"):
    """The parts of a data set have different lengths, such as 60,000 images and 10,000 labels."""


class BadLabel(UserError, code="E0832"):
    """A label that names no class: not a whole number, negative, or not less than the number of classes."""


class NotFinite(UserError, code="E0833"):
    """An input or a target holds NaN or an infinity, which would spread to every weight in the first step."""


class BadTable(UserError, code="E0834"):
    """A table that cannot be read: a row with more or fewer cells than the header, a cell that is no number."""


class BatchTooLarge(UserError, code="E0835"):
    """A batch of more examples than there are, where incomplete batches are dropped: there would be none."""


class ClassesDiffer(UserError, code="E0836"):
    """The data has other classes than the net: another number of them, or names that training has not seen. Classes are
    matched by name; where a net's classes have no names, they are called by their numbers, from 0."""


class Incomplete(UserError, code="E0837"):
    """A data set lacks a part: an array for an input, a column, a file of a pair, a folder for each class."""


class BadAugment(UserError, code="E0838"):
    """An augmentation that does not fit the pictures: a crop that is too large, or no picture at all."""


class BadStream(UserError, code="E0839"):
    """What a program iterates over is no pair of arrays, or ended where a run that goes on has to skip batches."""


class ColumnsDiffer(UserError, code="E0873"):
    """The columns of a table are not those that the net was trained on. They are matched by name, in any order, and
    none may be missing or new."""


class OutsideData(UserError, code="E0874"):
    """The data of a `train` block lead out of the folder that `--root` names, links followed. Without `--root` they may
    lie anywhere."""
