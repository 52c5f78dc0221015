"""Values with named fields for the public face.

A dataclass would do, but loading `dataclasses` takes longer than a small upload; a NamedTuple would also be a tuple.
"""

from typing import Any, dataclass_transform


@dataclass_transform(frozen_default=True)
class Record:
    """What a class below annotates are its fields, in this order, by position or name, with its values as defaults.

    Equal to those of the same class with the same values; hashable if they are. Raises TypeError for fields that are
    missing, unknown or given twice, and AttributeError for changes.
    """

    __match_args__: Any = ()

    def __init_subclass__(cls) -> None:
        cls.__match_args__ = tuple(cls.__annotations__)  # type: ignore[misc]  # mypy sees a dataclass, which has its own

    def __init__(self, *values: Any, **named: Any) -> None:
        kind = type(self)
        given = {**dict(zip(kind.__match_args__, values, strict=False)), **named}
        if len(given) < len(values) + len(named):
            raise TypeError(f"{kind.__name__}: a field is given twice, or there are too many values")
        for name in kind.__match_args__:
            if name not in given and not hasattr(kind, name):
                raise TypeError(f"{kind.__name__}: {name} is missing")
            vars(self)[name] = given.pop(name) if name in given else getattr(kind, name)
        if given:
            raise TypeError(f"{kind.__name__} has no {', '.join(given)}")

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"{type(self).__name__} can't be changed; make a new one")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} can't be changed; make a new one")

    def __eq__(self, other: object) -> bool:
        return vars(self) == vars(other) if type(other) is type(self) else NotImplemented

    def __hash__(self) -> int:
        return hash(tuple(vars(self).values()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"
