"""Records: classes whose annotations are the keyword arguments of their constructor."""

from __future__ import annotations

from typing import Any, ClassVar, dataclass_transform


@dataclass_transform(kw_only_default=True)
class Record:
    """Turns the annotations of a subclass into keyword arguments, without the import cost of dataclasses.

    A class attribute is the default of the field of its name.
    """

    fields: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls) -> None:
        own = cls.__dict__.get("__annotations__", {})
        cls.fields = (*cls.fields, *(name for name, kind in own.items() if not str(kind).startswith("ClassVar")))

    def __init__(self, **data: Any) -> None:
        for name in self.fields:
            if name in data or not hasattr(type(self), name):
                setattr(self, name, data.pop(name))
        assert not data, f"{type(self).__name__} has no {', '.join(data)}"
