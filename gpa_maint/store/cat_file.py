"""`git cat-file --batch` over a PageStore: lines with names of objects in, answers out, byte for byte as git's.

Whole ids are answered by the C core. Any other name is resolved by git: a process that is started for the first one.
"""

from __future__ import annotations

import os
import re
import select
from collections.abc import Callable, Iterator
from functools import partial

from .._core.lend import FIELDS, Batch
from ..errors import Corrupt, GpaError
from ..repo.discover import alternates_here, find_object_dir
from ..repo.names import NameResolver, replaced_objects
from .page_store import PageStore

DEFAULT_FORMAT = "%(objectname) %(objecttype) %(objectsize)"
BLOCK = 1 << 16  # bytes of input at a time: a pipe's
OBJECTS = 4096  # answered between two looks at signals

Field = tuple[str, bytes]


class CatFileOptions:
    """How `git cat-file` is asked to answer.

    `text`: the format of an answer's line. `with_content`: the content follows. `buffered`: many answers are written at
    a time. `unordered`: all objects come in the order in which they are stored. `delimiter`: a newline or a NUL byte,
    which ends a line of input.
    """

    def __init__(
        self,
        *,
        text: str = DEFAULT_FORMAT,
        with_content: bool = False,
        buffered: bool = False,
        unordered: bool = False,
        delimiter: bytes = b"\n",
    ) -> None:
        self.text = text
        self.with_content = with_content
        self.buffered = buffered
        self.unordered = unordered
        self.delimiter = delimiter


def cat_file(
    source: int | None,
    out: int,
    options: CatFileOptions,
    *,
    object_dir: str | None = None,
    complain: Callable[[str], None],
) -> None:
    """Answer on the descriptor `out` for each name that comes from `source`, or for all objects when that is None.

    All objects come in the order of their ids, unless the options say otherwise. `complain` is called with a line about
    each damaged object that is answered as missing. Raises GitFailed without words when git, asked for a name, has died
    of it and said so.
    """
    fields = parse_format(options.text)
    found = find_object_dir(object_dir=object_dir)
    with PageStore.open(found.objects, object_format=found.object_format, alternates=alternates_here()) as store:
        server = _Server(store, fields, options, out, complain)
        if source is None:
            server.answer_all(unordered=options.unordered)
        else:
            server.answer_input(source)


def parse_format(text: str) -> list[Field]:
    """Return the parts of a format: (name, b"") for a field, ("", text) for literal text.

    Raises GpaError for an unknown field.
    """
    fields: list[Field] = []
    for literal, element in re.findall(r"(%%|%(?!\()|[^%]+)|%\(([^)]*\)?)", text):
        if not element and literal:
            fields.append(("", os.fsencode("%" if literal == "%%" else literal)))
        elif not element.endswith(")"):
            raise GpaError(f"bad cat-file format: element '({element}' does not end in ')'")
        elif element[:-1] not in FIELDS:
            raise GpaError(f"bad cat-file format: %({element}")
        else:
            fields.append((element[:-1], b""))
    return fields


def _read(source: int) -> bytes:
    """Return the next bytes, also from a descriptor that does not block."""
    while True:
        try:
            return os.read(source, BLOCK)
        except BlockingIOError:
            select.select([source], [], [])


class _Server:
    """Answers for the objects of a store."""

    def __init__(
        self,
        store: PageStore,
        fields: list[Field],
        options: CatFileOptions,
        out: int,
        complain: Callable[[str], None],
    ) -> None:
        self._store = store
        self._delimiter = options.delimiter
        self._with_content = options.with_content
        self._with_rest = any(name == "rest" for name, _ in fields)
        self._complain = complain
        self._names = NameResolver(delimiter=options.delimiter)
        self._options = {
            "fd": out,
            "fields": fields,
            "with_content": options.with_content,
            "buffered": options.buffered,
            "threads": len(os.sched_getaffinity(0)),
            "delimiter": options.delimiter,
        }

    def answer_input(self, source: int) -> None:
        """Answer each line that comes from a descriptor, until it ends."""
        batch = self._store._cat_file(**self._options, replaced=replaced_objects())
        try:
            left = b""
            while block := _read(source):
                left = self._answer_lines(batch, left + block)
            if left:
                self._answer_lines(batch, left + self._delimiter)
        finally:
            batch.flush()
            self._names.close()

    def answer_all(self, *, unordered: bool) -> None:
        """Answer for each object there is, in the order of their ids, or in that in which they are stored."""
        batch = self._store._cat_file(**self._options, are_known=True)
        blocks: Callable[[int], Iterator[bytes]] = self._store.oid_blocks
        if unordered:
            blocks = partial(self._store._stored_blocks, threads=len(os.sched_getaffinity(0)))
        try:
            for oids in blocks(OBJECTS):
                batch.answer_objects(oids)
        finally:
            batch.flush()

    def _answer_lines(self, batch: Batch, data: bytes) -> bytes:
        """Answer the complete lines, and return the rest."""
        while True:
            try:
                used, is_named = batch.answer_lines(data)
            except Corrupt as error:
                data = self._pass_over(batch, data[batch.used :], error)
                continue
            data = data[used:]
            if not is_named:
                return data
            line, _, data = data.partition(self._delimiter)
            self._answer_name(batch, line)

    def _pass_over(self, batch: Batch, data: bytes, error: Corrupt) -> bytes:
        """Return the answer about an object.

        As in git, an unreadable object ends the program, and one without a readable header is missing.
        """
        if self._with_content:
            raise error
        self._complain(str(error))
        line, _, rest = data.partition(self._delimiter)
        batch.say(self._split(line)[0] + b" missing\n")
        return rest

    def _answer_name(self, batch: Batch, line: bytes) -> None:
        name, rest = self._split(line)
        answer = self._names.resolve(name)
        if answer.endswith(b"\n"):
            batch.say(answer)
        else:
            batch.answer_objects(bytes.fromhex(answer.decode()), name=name, rest=rest)

    def _split(self, line: bytes) -> tuple[bytes, bytes]:
        """Return the name and the rest of a line, split as git does."""
        if self._delimiter == b"\n":
            line = line.removesuffix(b"\r").partition(b"\0")[0]
        if not self._with_rest:
            return line, b""
        name, _, rest = re.match(rb"([^ \t]*)([ \t]*)(.*)", line, re.DOTALL).groups()  # type: ignore[union-attr]
        return name, rest
