"""Errors of readers and data sets."""

from __future__ import annotations

from netdsl.base.user_error import USAGE_IS_WRONG, UserError

CONVERT = "save the weights of a PyTorch model with `safetensors.torch.save_file(model.state_dict(), path)`"


class BadData(UserError, code="E0801", title="invalid data"):
    """The file is damaged, or its format is not supported. Pickled objects are never read: they can run programs."""


class WrongShape(UserError, code="E0802", title="examples of the wrong shape"):
    """The shape of the examples differs from the shape of the network's input. Data is never reshaped or transposed
    silently.

    ```sh
    netdsl summary net.net
    ```
    """


class WrongType(UserError, code="E0803", title="data of the wrong type"):
    """The data cannot be converted to the type of the input without loss: a fraction to an integer, or a value out of
    range."""


class NoSuchMember(UserError, code="E0804", title="an array that is not in the archive"):
    """An archive contains several arrays, but none with the name of the input.

    ```sh
    python -c "import numpy; print(numpy.load('x.npz').files)"
    netdsl run net.net image=x.npz
    ```
    """


class BadPicture(UserError, code="E0805", title="an unreadable image"):
    """The image is damaged, animated, too large to be opened safely, or of a kind without 8-bit channels."""


class MissingPackage(UserError, code="E0806", title="a missing package", exit_code=USAGE_IS_WRONG):
    """An optional package is required.

    ```sh
    python -m pip install 'netdsl[images]'
    ```
    """


class NoExamples(UserError, code="E0830", title="an empty data set"):
    """The data set contains no examples, so nothing can be learned from it and no metric is defined."""


class CountsDiffer(UserError, code="E0831", title="parts of different lengths"):
    """The parts of a data set have different lengths, such as 60,000 images and 10,000 labels."""


class BadLabel(UserError, code="E0832", title="an invalid label"):
    """A label is not a class: it is not an integer, negative, or not less than the number of classes.

    ```net fixed
    net digits { input image 1x28x28; scale 1/255; dense 10 }
    train digits { data mnist "mnist"; loss cross_entropy }
    ```
    """


class NotFinite(UserError, code="E0833", title="NaN or infinity in the data"):
    """An input or a target contains NaN or infinity, which would spread to all weights in the first step."""


class BadTable(UserError, code="E0834", title="an unreadable table"):
    """The table cannot be read: a row has more or fewer cells than the header, a cell is not a number, or a column of a
    Parquet file has neither numbers nor texts."""


class BatchTooLarge(UserError, code="E0835", title="a batch larger than the data set"):
    """The batch is larger than the data set and incomplete batches are dropped, so there would be no batch.

    ```sh
    netdsl train net.net --set train.batch=16
    ```
    """


class ClassesDiffer(UserError, code="E0836", title="classes that differ from the net's"):
    """The classes of the data differ from those of the net: in number, or there are names that training has not seen.
    Classes are matched by name. If the classes of the net have no names, they are named by their numbers, from 0.

    ```net fixed
    net pets { input image 3x64x64; scale 1/255; dense 3 }
    train pets { data folder "pets"; loss cross_entropy }
    ```
    """


class Incomplete(UserError, code="E0837", title="an incomplete data set"):
    """A part of the data set is missing: an array for an input, a column, one file of a pair, or a folder per class."""


class BadAugment(UserError, code="E0838", title="an augmentation that does not fit the data"):
    """The augmentation does not fit the data: a crop is too large, or the data are not images.

    ```net fixed
    net digits { input image 1x28x28; scale 1/255; dense 10 }
    train digits { data mnist "mnist"; loss cross_entropy; augment { crop pad 2; rotate 10 } }
    ```
    """


class BadStream(UserError, code="E0839", title="an invalid iterable of examples"):
    """An iterable of examples does not yield pairs of arrays, ended while a resumed run skipped batches, or has another
    number of examples than a process needs."""


class NoSuchTarget(UserError, code="E0840", title="a target that no loss reads"):
    """An output with the loss `mean` is a loss itself: its mean over the batch is minimized, without a target. To
    compare it with a target, choose another loss.

    ```net fixed
    net n { input x 8; dense 6; tanh; output code; dense 3; output digit }
    train n { data npz "x.npz"; loss digit cross_entropy; loss code mse weight 0.1 }
    ```
    """


class ColumnsDiffer(UserError, code="E0873", title="columns that differ from training"):
    """The columns of a table differ from those that the net was trained on. Columns are matched by name, in any order;
    none can be missing or added.

    ```net fixed
    net iris { input x 4; dense 3 }
    train iris { data csv "train.csv" target "species"; validate csv "test.csv" target "species"; loss cross_entropy }
    ```
    """


class OutsideData(UserError, code="E0874", title="data outside the root"):
    """The data of a `train` block is outside the folder given by `--root`, after links are resolved. Without `--root`,
    data can be anywhere.

    ```sh
    netdsl train net.net --root ..
    ```
    """
