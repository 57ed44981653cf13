"""Check that a model can be imported: the text compiles to a net that is proved equal, with the same outputs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from netdsl.app.verify.child import Failed
from netdsl.app.verify.model_checks import compared
from netdsl.app.verify.outcome import Outcome, Skip, judged
from netdsl.app.verify.worker import read_arrays, write_arrays
from netdsl.base.shape import elements

if TYPE_CHECKING:
    from netdsl.app.verify.model_checks import Work
    from netdsl.app.verify.subject import Arrays, Subject


def round_trip(subject: Subject) -> Work:
    """Import the model, and compare what the text compiles to with it."""
    trip = _Trip(subject)
    yield "import", "proof", trip.proof
    if subject.net is not None:
        yield "import", "outputs", trip.outputs


class _Trip:
    """The import of a model, which both checks read. `why` says why there is none."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.model = subject.file("imported.onnx")
        self.answer: dict[str, Any] | None = None

    def proof(self) -> Outcome:
        """Judge the difference that the import's own proof found, on its own inputs and also with random weights."""
        net = self.subject.net
        try:
            found = self.subject.child.call("reimport", model=self.subject.model(), out=self.model)
        except Failed as error:
            if "cannot be imported" in str(error):
                raise Skip(str(error)) from None
            raise
        self.answer = found
        if net is not None:
            count = sum(elements(each.shape) for each in net.parameters.values() if not each.buffer)
            if count != found["parameters"]:
                raise Failed(f"the imported net has {found['parameters']:,} parameters, and the net {count:,}")
        if found["failure"]:
            raise Skip(f"not proved: {found['failure']}")
        return judged("import", "proof", found["difference"], found["bound"], f"{found['layers']:,} layers")

    def outputs(self) -> Outcome:
        """Judge the outputs of the imported net."""
        if self.answer is None:
            raise Skip("there is no imported net")
        return compared(self.subject, "import", "outputs", self._run)

    def _run(self, path: str) -> Arrays:
        import onnx

        model = onnx.load(self.model, load_external_data=False)
        arrays, names = read_arrays(path), [x.name for x in model.graph.input]
        if len(names) != len(arrays):
            raise Failed(f"the imported net has {len(names)} inputs, and the model {len(arrays)}")
        feeds = self.subject.file("renamed.npz")
        write_arrays(feeds, dict(zip(names, arrays.values(), strict=True)))
        found = self.subject.run("onnxruntime", feeds, self.model)
        wanted = self.subject.inputs[0].outputs
        return dict(zip(wanted, found.values(), strict=True)) if len(wanted) == len(found) else found
