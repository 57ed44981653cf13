"""The result of an evaluation: figures, and confusion matrices of classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdsl.base.user_error import escape

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from netdsl.base.dtypes import Array
    from netdsl.data.dataset import Dataset
    from netdsl.report.canvas import Canvas
    from netdsl.report.class_figures import ClassFigures


class EvalResult:
    """Figures by name, and by output confusion matrices and the names of classes."""

    __slots__ = ("classes", "confusions", "examples", "figures", "name", "on")

    def __init__(self, name: str, data: str, dataset: Dataset, classes: Mapping[str, Sequence[str]]) -> None:
        self.name = name
        self.on = data
        self.examples = len(dataset)
        self.classes = classes
        self.figures: dict[str, float] = {}
        self.confusions: dict[str, Array] = {}

    def data(self) -> dict[str, object]:
        """Return the data that `eval --json` prints."""
        from netdsl.report.class_figures import confusions

        record: dict[str, object] = {"net": self.name, "data": self.on, "examples": self.examples, **self.figures}
        if self.confusions:
            names = {name: list(self.classes.get(name, ())) for name in self.confusions}
            record["classes"] = names if len(names) > 1 else next(iter(names.values()))
            record["confusion"] = {name: counts.tolist() for name, counts in self.confusions.items()}
            record["per_class"] = {
                name: [_class_record(each, labelled=bool(self.classes.get(name))) for each in self.class_figures(name)]
                for name in self.confusions
            }
            record["confused"] = {
                name: [each._asdict() for each in confusions(counts)] for name, counts in self.confusions.items()
            }
        return record

    def class_figures(self, output: str) -> list[ClassFigures]:
        """Return precision, recall and support of each class of an output that has a confusion matrix."""
        from netdsl.report.class_figures import class_figures

        counts = self.confusions[output]
        return class_figures(counts, self._names(output, len(counts)))

    def text(self) -> str:
        from netdsl.report.class_figures import class_lines, confusion_pairs, confusions
        from netdsl.report.confusion import confusion_lines

        width = max(map(len, self.figures))
        lines = [f"{escape(self.name)} on {escape(self.on)}, {self.examples:,} examples"]
        lines += [f"{name:<{width}}  {value:.6g}" for name, value in self.figures.items()]
        for name, counts in self.confusions.items():
            lines += ["", *([f"output {escape(name)}"] if len(self.confusions) > 1 else [])]
            names = self._names(name, len(counts))
            lines += class_lines(self.class_figures(name))
            for part in (confusion_lines(counts, names), confusion_pairs(confusions(counts), names)):
                lines += ["", *shown] if (shown := list(part)) else []
        return "\n".join(lines)

    def picture(self) -> Canvas:
        """Draw the confusion matrix of the first output that has one."""
        from netdsl.report.confusion import draw_confusion

        output, counts = next(iter(self.confusions.items()))
        names = [escape(name) for name in self._names(output, len(counts))]
        return draw_confusion(escape(f"{self.name} on {self.on}"), counts, names)

    def _names(self, output: str, count: int) -> Sequence[str]:
        classes = self.classes.get(output, ())
        return classes if len(classes) == count else [str(number) for number in range(count)]


def _class_record(figures: ClassFigures, *, labelled: bool) -> dict[str, object]:
    """Return the figures of a class as JSON data, with its label if the classes have names."""
    label = {"label": figures.name} if labelled else {}
    known = {"precision": figures.precision, "recall": figures.recall, "support": figures.support}
    return {"class": figures.number, **label, **known}
