"""A NamedTuple that is cheap to declare. Type checkers see typing.NamedTuple; behaviour is the same.

typing compiles each annotation and each constructor, and is slow to import. Together that was a third of the start of a
command. Here a constructor is made with the first value, and a command uses few of the classes that it imports.
"""

from __future__ import annotations

from operator import itemgetter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple as NamedTuple
else:

    class _Kind(type):
        """Makes a named tuple of a class that names its fields by annotations, as `size: int = 0`."""

        def __new__(meta, name, bases, body):
            fields = tuple(body.get("__annotations__", ()))
            if not fields:
                return super().__new__(meta, name, bases, {"__slots__": (), **body})
            defaults = {field: body[field] for field in fields if field in body}
            getters = {field: property(itemgetter(place)) for place, field in enumerate(fields)}
            constants = {"__slots__": (), "__match_args__": fields, "_fields": fields, "_field_defaults": defaults}
            return super().__new__(meta, name, bases, body | getters | constants)

    class NamedTuple(tuple, metaclass=_Kind):
        def __new__(cls, *values, **named):
            names = ", ".join(cls._fields)
            constructor = eval(f"lambda cls, {names}: new(cls, ({names},))", {"new": tuple.__new__})
            constructor.__defaults__ = tuple(cls._field_defaults.values())
            cls.__new__ = constructor
            return cls(*values, **named)

        @classmethod
        def _make(cls, values):
            return cls(*values)

        def _replace(self, /, **named):
            return type(self)(**{**self._asdict(), **named})

        def _asdict(self):
            return dict(zip(self._fields, self, strict=True))

        def __repr__(self):
            fields = (f"{field}={value!r}" for field, value in zip(self._fields, self, strict=True))
            return f"{type(self).__qualname__}({', '.join(fields)})"

        def __getnewargs__(self):
            return tuple(self)
