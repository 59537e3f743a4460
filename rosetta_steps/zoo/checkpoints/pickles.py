"""Reader of pickles that runs no code: it reads data, and only records calls and classes.

A pickle is a program for a small stack machine, whose opcodes may import any function and call it.
The machine here cannot do that: it reads a global as its name (Global) and replaces the result of a
call or class by a record of it (Inert), unless the caller passes a function of ours for that name.
No other unpickler is involved.

It reads from a memory map, copies no byte string longer than SMALL, compares every length and count
with the rest of the file before use, never recurses, and stops after MOST_STEPS opcodes. So its
memory is bounded for any file.

Format: the opcodes of protocols 0 to 5, as Lib/pickletools.py of Python documents them.
"""

import codecs
import pickle  # for the values of the opcodes
import struct
from collections.abc import Callable
from typing import Any

from rosetta_steps.runtime.errors import UserError

# Over 20 times the opcodes of a StyleGAN-XL snapshot. So many empty sets, the costliest opcode,
# would take 1 GB.
MOST_STEPS = 5_000_000
SMALL = 1 << 16
LONGEST_NAME = 1000
LONGEST_NUMBER = 1000
LONGEST_KEY = 8
PLAIN = (str, bytes, int, float, bool, type(None))


class TruncatedError(UserError):
    """A file ends before its content is complete."""


class Budget:
    """Limits on the cost of reading one file.

    Attributes:
        steps: Remaining number of opcodes and of items copied between containers.
        bytes: Remaining bytes that may be copied out of the file. It begins with twice the size of
            the file, because tensors may share memory in it, but only to a limited extent.
    """

    def __init__(self, file_bytes: int):
        self.steps, self.bytes = MOST_STEPS, 2 * file_bytes

    def spend_steps(self, count: int) -> None:
        """Subtract steps; raise a ValueError if none are left."""
        self.steps -= count
        if self.steps < 0:
            raise UserError(f"it has more than {MOST_STEPS} opcodes, as no checkpoint does")

    def spend_bytes(self, count: int) -> None:
        """Subtract bytes; raise a ValueError if none are left."""
        self.bytes -= count
        if self.bytes < 0:
            raise UserError("it claims more bytes of tensors than the file holds")


class Global:
    """Name of a function or class in a pickle, which is not imported."""

    __slots__ = ("name",)

    def __init__(self, name: str):
        self.name = name

    def __repr__(self) -> str:
        return self.name


class Inert:
    """Record of a call that was not made; it accepts every operation of a pickle on the result.

    Attributes:
        name: Name of the function or class, with its module.
        arguments: Positional arguments.
        keywords: Keyword arguments, or None.
        state: Argument that __setstate__ would have received, or None.
        items: Items appended to it, and pairs (key, value) set in it.
    """

    __slots__ = ("name", "arguments", "keywords", "state", "items")

    def __init__(self, name: str, arguments: tuple = (), keywords=None):
        self.name, self.arguments, self.keywords = name, arguments, keywords
        self.state: Any = None
        self.items: list = []

    def build(self, state) -> None:
        """Record a state, for the BUILD opcode."""
        self.state = state

    def __repr__(self) -> str:
        return f"{self.name}(...)"


def read_pickle(
    data: memoryview,
    start: int,
    budget: Budget,
    known: dict[str, Callable],
    persistent: Callable | None = None,
) -> tuple[Any, int]:
    """Read one pickle as data, without running code.

    Args:
        data: Bytes that contain the pickle.
        start: Offset at which it begins.
        budget: Budget of the file.
        known: Functions of ours that replace calls, by the name of the global, "module.name". They
            are called as function(budget, *arguments) and must check the arguments.
        persistent: Function of ours for persistent identifiers, if the format has them.

    Returns:
        The object, and the offset at which the pickle ends. The object consists of plain values,
        containers, results of the given functions, Global and Inert. Byte strings longer than SMALL
        are memoryviews into data.

    Raises:
        ValueError: It is no pickle, is truncated, claims more than the file holds, or is malformed.
    """
    machine = _Machine(data, start, budget, known, persistent)
    try:
        return machine.run(), machine.position
    except (
        *(ValueError, LookupError, TypeError, AttributeError, OverflowError),
        struct.error,
    ) as error:
        reason = str(error) if isinstance(error, ValueError) else f"not well formed: {error!r}"
        kind = TruncatedError if isinstance(error, TruncatedError) else ValueError
        raise kind(f"{reason[:500]} (pickle, byte {machine.position})") from None


class _Machine:
    """State of the stack machine while one pickle is read: stack, memo and position."""

    def __init__(self, data, start, budget, known, persistent):
        self.data, self.position, self.size = data, start, len(data)
        self.budget, self.known, self.persistent = budget, known, persistent
        self.stack: list = []
        self.below: list[list] = []  # stacks under each mark
        self.memo: dict = {}

    def run(self):
        budget = self.budget
        while True:
            if self.position >= self.size:
                raise TruncatedError("the file ends before the pickle does")
            code = self.data[self.position]
            self.position += 1
            budget.spend_steps(1)
            if code == STOP:
                return self.stack.pop()
            handler = HANDLERS.get(code)
            if handler is None:
                raise UserError(f"it has an opcode that is not read here: {bytes([code])!r}")
            handler(self)

    # Arguments of opcodes

    def take(self, size: int) -> memoryview:
        end = self.position + size
        if size < 0 or end > self.size:
            kind = ValueError if size < 0 else TruncatedError
            raise kind(f"it claims {size} bytes where {self.size - self.position} are left")
        piece = self.data[self.position : end]
        self.position = end
        return piece

    def count(self, width: int) -> int:
        return int.from_bytes(self.take(width), "little")

    def line(self, longest: int) -> bytes:
        piece = bytes(self.data[self.position : self.position + longest + 1])
        length = piece.find(b"\n")
        if length < 0:
            kind = TruncatedError if len(piece) <= longest else ValueError
            raise kind("it has a line without an end, or one of absurd length")
        self.position += length + 1
        return piece[:length]

    def text_line(self) -> bytes:
        length = 1 << 10
        while length < self.size - self.position:
            if b"\n" in bytes(self.data[self.position : self.position + length]):
                break
            length *= 4
        return self.line(length)

    # Values

    def push(self, value) -> None:
        self.stack.append(value)

    def push_bytes(self, size: int) -> None:
        piece = self.take(size)
        self.stack.append(bytes(piece) if size <= SMALL else piece)

    def push_text(self, size: int, encoding: str = "utf-8") -> None:
        self.stack.append(str(self.take(size), encoding, "surrogatepass"))

    def push_integer(self, size: int) -> None:
        self.stack.append(int.from_bytes(self.take(size), "little", signed=True))

    def push_integer_line(self) -> None:
        digits = self.line(LONGEST_NUMBER).rstrip(b"L")
        truth = {b"00": False, b"01": True}.get(digits)
        self.stack.append(int(digits) if truth is None else truth)

    def push_string_line(self) -> None:
        quoted = self.text_line().strip()
        if len(quoted) < 2 or quoted[:1] != quoted[-1:] or quoted[:1] not in (b"'", b'"'):
            raise UserError("it has a string without quotation marks")
        self.stack.append(codecs.escape_decode(quoted[1:-1])[0].decode("latin-1"))

    # Containers

    def mark(self) -> None:
        self.below.append(self.stack)
        self.stack = []

    def since_mark(self) -> list:
        items, self.stack = self.stack, self.below.pop()
        return items

    def pop(self) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self.since_mark()

    def push_tuple(self, length: int) -> None:
        if len(self.stack) < length:
            raise UserError("it takes more from its stack than there is")
        items = tuple(self.stack[-length:])
        del self.stack[-length:]
        self.stack.append(items)

    def extend(self, items: list) -> None:
        target = self.stack[-1]
        if type(target) is list:
            target.extend(items)
        elif isinstance(target, Inert):
            target.items.extend(items)
        else:
            raise UserError(f"it appends to a {type(target).__name__}")

    def update(self, items: list) -> None:
        target = self.stack[-1]
        pairs = zip(items[::2], items[1::2], strict=True)
        if type(target) is dict:
            target.update((plain_key(key), value) for key, value in pairs)
        elif isinstance(target, Inert):
            target.items.extend(pairs)
        else:
            raise UserError(f"it sets items of a {type(target).__name__}")

    def push_dict(self) -> None:
        items = self.since_mark()
        self.stack.append({})
        self.update(items)

    def add(self) -> None:
        items = self.since_mark()
        target = self.stack[-1]
        if type(target) is set:
            target.update(map(plain_key, items))
        else:
            self.extend(items)

    # Globals, calls and states

    def push_global(self, module, name) -> None:
        if type(module) is not str or type(name) is not str:
            raise UserError("it has a global whose name is no text")
        if len(module) + len(name) > LONGEST_NAME:
            raise UserError("it has a global whose name is of absurd length")
        self.stack.append(Global(f"{module}.{name}"))

    def global_lines(self) -> None:
        module, name = self.line(LONGEST_NAME), self.line(LONGEST_NAME)
        self.push_global(module.decode(), name.decode())

    def stack_global(self) -> None:
        name = self.stack.pop()
        self.push_global(self.stack.pop(), name)

    def call(self, function, arguments, keywords=None) -> None:
        if type(arguments) is not tuple or not isinstance(function, Global | Inert):
            raise UserError(f"it calls a {type(function).__name__}")
        own = self.known.get(function.name) if type(function) is Global else None
        if own is not None and not keywords:
            self.stack.append(own(self.budget, *arguments))
        else:
            self.stack.append(Inert(function.name, arguments, keywords))

    def reduce(self) -> None:
        arguments = self.stack.pop()
        self.call(self.stack.pop(), arguments)

    def new_object_with_keywords(self) -> None:
        keywords, arguments = self.stack.pop(), self.stack.pop()
        self.call(self.stack.pop(), arguments, keywords)

    def instance(self) -> None:
        arguments = tuple(self.since_mark())
        self.global_lines()
        self.call(self.stack.pop(), arguments)

    def object(self) -> None:
        function, *arguments = self.since_mark()
        self.call(function, tuple(arguments))

    def build(self) -> None:
        # States of a dict or list, such as the versions of a state dict, are ignored: no tensors.
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, Inert):
            target.build(state)

    def push_persistent(self, identifier) -> None:
        if self.persistent is None:
            self.stack.append(Inert("a persistent identifier"))
        else:
            self.stack.append(self.persistent(identifier))


def described(value) -> str:
    """Describe a value of a pickle in a few words, without its content, which may be cyclic."""
    if isinstance(value, Global | Inert) or value is None or type(value) in (bool, float):
        return f"{value!r:.200}"
    if type(value) is str:
        return repr(value[:60])
    if type(value) is int:
        return str(value) if value.bit_length() < 200 else f"a number of {value.bit_length()} bits"
    if isinstance(value, list | tuple | dict | set | frozenset | bytes | memoryview):
        return f"a {type(value).__name__} of {len(value)}"
    return f"a {type(value).__name__}"


def plain_key(key):
    """Return a key or an item of a set if hashing it is fast, else an inert object in its place.

    Hashing takes exponential time for a tuple that contains another one twice, and so on.
    """
    if type(key) is int:
        quick = -(1 << 63) <= key < 1 << 64
    elif type(key) is tuple:
        quick = len(key) <= LONGEST_KEY and all(type(item) in PLAIN for item in key)
    else:
        quick = type(key) in PLAIN
    return key if quick else Inert("a key that is no plain value")


def _recall(machine: _Machine, index: int) -> None:
    machine.stack.append(machine.memo[index])


def _remember(machine: _Machine, index: int) -> None:
    machine.memo[index] = machine.stack[-1]


STOP = pickle.STOP[0]
M = _Machine
HANDLERS: dict[int, Callable[[_Machine], None]] = {
    code[0]: handler
    for code, handler in {
        pickle.PROTO: lambda m: m.take(1),
        pickle.FRAME: lambda m: m.take(8),  # only a hint for buffering
        pickle.MARK: M.mark,
        pickle.POP: M.pop,
        pickle.POP_MARK: M.since_mark,
        pickle.DUP: lambda m: m.push(m.stack[-1]),
        pickle.NONE: lambda m: m.push(None),
        pickle.NEWTRUE: lambda m: m.push(True),
        pickle.NEWFALSE: lambda m: m.push(False),
        pickle.INT: M.push_integer_line,
        pickle.LONG: M.push_integer_line,
        pickle.BININT: lambda m: m.push_integer(4),
        pickle.BININT1: lambda m: m.push(m.count(1)),
        pickle.BININT2: lambda m: m.push(m.count(2)),
        pickle.LONG1: lambda m: m.push_integer(m.count(1)),
        pickle.LONG4: lambda m: m.push_integer(m.count(4)),
        pickle.FLOAT: lambda m: m.push(float(m.line(LONGEST_NUMBER))),
        pickle.BINFLOAT: lambda m: m.push(struct.unpack(">d", m.take(8))[0]),
        pickle.STRING: M.push_string_line,
        pickle.BINSTRING: lambda m: m.push_text(m.count(4), "latin-1"),
        pickle.SHORT_BINSTRING: lambda m: m.push_text(m.count(1), "latin-1"),
        pickle.UNICODE: lambda m: m.push(m.text_line().decode("raw-unicode-escape")),
        pickle.SHORT_BINUNICODE: lambda m: m.push_text(m.count(1)),
        pickle.BINUNICODE: lambda m: m.push_text(m.count(4)),
        pickle.BINUNICODE8: lambda m: m.push_text(m.count(8)),
        pickle.SHORT_BINBYTES: lambda m: m.push_bytes(m.count(1)),
        pickle.BINBYTES: lambda m: m.push_bytes(m.count(4)),
        pickle.BINBYTES8: lambda m: m.push_bytes(m.count(8)),
        pickle.BYTEARRAY8: lambda m: m.push_bytes(m.count(8)),
        pickle.EMPTY_LIST: lambda m: m.push([]),
        pickle.LIST: lambda m: m.push(m.since_mark()),
        pickle.APPEND: lambda m: m.extend([m.stack.pop()]),
        pickle.APPENDS: lambda m: m.extend(m.since_mark()),
        pickle.EMPTY_TUPLE: lambda m: m.push(()),
        pickle.TUPLE: lambda m: m.push(tuple(m.since_mark())),
        pickle.TUPLE1: lambda m: m.push_tuple(1),
        pickle.TUPLE2: lambda m: m.push_tuple(2),
        pickle.TUPLE3: lambda m: m.push_tuple(3),
        pickle.EMPTY_DICT: lambda m: m.push({}),
        pickle.DICT: M.push_dict,
        pickle.SETITEM: lambda m: m.update([m.stack.pop(), m.stack.pop()][::-1]),
        pickle.SETITEMS: lambda m: m.update(m.since_mark()),
        pickle.EMPTY_SET: lambda m: m.push(set()),
        pickle.ADDITEMS: M.add,
        pickle.FROZENSET: lambda m: m.push(frozenset(map(plain_key, m.since_mark()))),
        pickle.GET: lambda m: _recall(m, int(m.line(LONGEST_NUMBER))),
        pickle.BINGET: lambda m: _recall(m, m.count(1)),
        pickle.LONG_BINGET: lambda m: _recall(m, m.count(4)),
        pickle.PUT: lambda m: _remember(m, int(m.line(LONGEST_NUMBER))),
        pickle.BINPUT: lambda m: _remember(m, m.count(1)),
        pickle.LONG_BINPUT: lambda m: _remember(m, m.count(4)),
        pickle.MEMOIZE: lambda m: _remember(m, len(m.memo)),
        pickle.GLOBAL: M.global_lines,
        pickle.STACK_GLOBAL: M.stack_global,
        pickle.REDUCE: M.reduce,
        pickle.BUILD: M.build,
        pickle.INST: M.instance,
        pickle.OBJ: M.object,
        pickle.NEWOBJ: M.reduce,
        pickle.NEWOBJ_EX: M.new_object_with_keywords,
        pickle.PERSID: lambda m: m.push_persistent(m.line(LONGEST_NAME).decode()),
        pickle.BINPERSID: lambda m: m.push_persistent(m.stack.pop()),
    }.items()
}
