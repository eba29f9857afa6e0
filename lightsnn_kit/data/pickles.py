"""Pickles of numbers, texts and arrays, read without handing control to the file.

Unpickling runs what a file asks for, and NumPy's own ``__setstate__`` trusts what it is given. Here nothing is called:
names and calls become notes of what was asked, of which arrays are then made by ``numpy.frombuffer``, after a check.
"""

from __future__ import annotations

import io
import math
import pickle
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

_NAMES = {f"{core}.multiarray.{name}" for core in ("numpy.core", "numpy._core") for name in ("_reconstruct", "scalar")}
_NAMES |= {"numpy.core.numeric._frombuffer", "numpy._core.numeric._frombuffer"}  # of protocol 5
_NAMES |= {"numpy.ndarray", "numpy.dtype", "_codecs.encode"}  # the last: bytes, where a protocol has none
_LONGEST = 1_000_000  # operations; the published files have 300,000 at most
# Instructions that such files need. Sets and other keys than texts are left out: hashing deep tuples ends the process.
_INSTRUCTIONS = """PROTO FRAME STOP MARK NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1 BINFLOAT STRING
    BINSTRING SHORT_BINSTRING BINBYTES SHORT_BINBYTES BINBYTES8 UNICODE BINUNICODE SHORT_BINUNICODE EMPTY_LIST APPEND
    APPENDS EMPTY_DICT EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 GLOBAL STACK_GLOBAL PUT BINPUT LONG_BINPUT MEMOIZE GET
    BINGET LONG_BINGET"""


class _Name(str):
    """A name that the file asked for, inert."""


@dataclass(eq=False)
class _Call:
    """A call that the file asked for, inert; ``state`` is what was to be set on its result."""

    name: str
    arguments: tuple
    state: object = None


class _Steps(dict):
    """The instructions, of which only so many are carried out."""

    left = _LONGEST

    def __getitem__(self, code: int) -> object:
        self.left -= 1
        if self.left < 0 or code not in self:
            raise pickle.UnpicklingError(
                f"it has the instruction {code}, which no CIFAR file needs" if self.left >= 0 else "it is too long"
            )
        return super().__getitem__(code)


class _Unpickler(pickle._Unpickler):
    """Python's own in Python, with few instructions and no calls."""

    def __init__(self, content: bytes) -> None:
        super().__init__(io.BytesIO(content), encoding="latin1")  # texts of Python 2 are bytes
        known = {code: step for code, step in pickle._Unpickler.dispatch.items()}
        self.dispatch = _Steps({code: known[code] for name in _INSTRUCTIONS.split() for code in getattr(pickle, name)})
        own = {"BYTEARRAY8": "bytes8", "REDUCE": "reduce", "BUILD": "build", "SETITEM": "item", "SETITEMS": "items"}
        self.dispatch |= {getattr(pickle, name)[0]: getattr(_Unpickler, f"read_{step}") for name, step in own.items()}

    def find_class(self, module: str, name: str) -> _Name:
        if (asked := f"{module}.{name}") not in _NAMES:
            raise pickle.UnpicklingError(f"it asks for {asked[:80]}, which no CIFAR file needs")
        return _Name(asked)

    def read_bytes8(self) -> None:
        pickle._Unpickler.dispatch[pickle.BINBYTES8[0]](self)  # Python's takes the memory before it reads

    def read_reduce(self) -> None:
        arguments = self.stack.pop()
        name = self.stack.pop()
        if not isinstance(name, _Name) or not isinstance(arguments, tuple):
            raise pickle.UnpicklingError("it calls what is no name")
        self.append(_Call(name, arguments))

    def read_build(self) -> None:
        state = self.stack.pop()
        if not isinstance(self.stack[-1], _Call):
            raise pickle.UnpicklingError("it sets the state of what is no call")
        self.stack[-1].state = state

    def read_item(self) -> None:
        value = self.stack.pop()
        self.set_items([self.stack.pop(), value])

    def read_items(self) -> None:
        self.set_items(self.pop_mark())

    def set_items(self, items: list) -> None:
        if not isinstance(self.stack[-1], dict):
            raise pickle.UnpicklingError("it sets items of what is no dictionary")
        for key, value in zip(items[::2], items[1::2], strict=True):
            self.stack[-1][_text(key)] = value


def read_pickle(path: Path, keys: Iterable[str]) -> dict[str, object]:
    """The values under some keys of a pickled dictionary: None if absent, lists, arrays, texts and numbers.

    Texts and keys may be bytes. ``ValueError`` for a file that cannot be read so.
    """
    try:
        content = _Unpickler(path.read_bytes()).load()
    except Exception as error:  # a damaged pickle can fail in any way
        raise ValueError(
            f"{path} cannot be read: {type(error).__name__}: {str(error)[:200]}; restore the file."
        ) from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold a dictionary, got {type(content).__name__}.")
    try:
        return {key: _value(content.get(key)) for key in keys}
    except (ValueError, TypeError, IndexError, KeyError, UnicodeError, OverflowError) as error:
        raise ValueError(f"{path} holds what cannot be read: {error}; restore the file.") from error


def _value(value: object) -> object:
    """What a note means: of a list its items."""
    if isinstance(value, list):
        return [_item(item) for item in value]
    kind = value.name.rpartition(".")[2] if isinstance(value, _Call) else ""
    if kind == "_frombuffer":
        buffer, dtype, shape, order = value.arguments
        return _array(dtype, shape, buffer, fortran=order == "F")
    if kind == "_reconstruct":
        _, shape, dtype, fortran, buffer = value.state
        return _array(dtype, shape, buffer, fortran=fortran is True)
    return _item(value)


def _item(value: object) -> object:
    """A number or text of a list, or what is neither as it is; short ones, since a file may name one thing often."""
    if isinstance(value, _Call) and value.name.endswith(".scalar"):
        return _array(value.arguments[0], (1,), value.arguments[1]).tolist()[0]
    return _text(value) if isinstance(value, bytes | _Call) else value


def _array(dtype: object, shape: object, buffer: object, *, fortran: bool = False) -> np.ndarray:
    """An array of integers from its bytes, each fact of it checked."""
    code = dtype.arguments[0] if isinstance(dtype, _Call) and dtype.name == "numpy.dtype" else None
    if not isinstance(code, str) or not re.fullmatch("[iu][1248]", code):
        raise ValueError("its numbers are no integers")
    order = dtype.state[1] if isinstance(dtype.state, tuple) and dtype.state[1] in ("<", ">") else "="
    if not isinstance(shape, tuple) or len(shape) > 4 or not all(type(n) is int and 0 < n < 2**40 for n in shape):
        raise ValueError("its shape is none")
    data = buffer.arguments[0] if isinstance(buffer, _Call) and buffer.name == "_codecs.encode" else buffer
    if not isinstance(data, str | bytes) or len(data) != math.prod(shape) * int(code[1]):
        raise ValueError("its bytes do not fill its shape")
    data = data.encode("latin1") if isinstance(data, str) else data
    return np.frombuffer(data, order + code).reshape(shape, order="F" if fortran else "C")


def _text(value: object) -> str:
    """Texts, and bytes that stand for them, up to 1,000 signs."""
    if isinstance(value, _Call) and value.name == "_codecs.encode":
        value = value.arguments[0]
    if not isinstance(value, str | bytes) or len(value) > 1000:
        raise ValueError(f"it has {type(value).__name__} where a short text should be")
    return value.decode("latin1") if isinstance(value, bytes) else value
