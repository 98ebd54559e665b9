"""The API as programs meet it: its names, its page, the ids it takes, and what it says of wrong arguments."""

from __future__ import annotations

import importlib
import inspect
import io
import os
import pydoc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import api_page
import pytest
from histories import HistorySpec, pushed_history
from oracle import git_line

import gpa_maint
from gpa_maint import PageStore

PAGE = Path(__file__).parents[2] / "docs" / "python-api.md"


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pushed_history(tmp_path_factory.mktemp("api"), HistorySpec(pushes=3)).server


@pytest.fixture
def store(repo: Path) -> Iterator[PageStore]:
    with PageStore.for_repository(repo) as opened:
        yield opened


# ---- names ----


def test_dir_shows_the_public_names_and_no_others() -> None:
    importlib.import_module("gpa_maint.cli.main")
    importlib.import_module("gpa_maint.commands")
    assert sorted(gpa_maint.__all__) == dir(gpa_maint)
    assert all(hasattr(gpa_maint, name) for name in dir(gpa_maint))


def test_help_shows_every_public_function_with_its_signature() -> None:
    text = pydoc.plain(pydoc.render_doc(gpa_maint))
    for name in set(gpa_maint.__all__) - {"__version__", "GpaError", "PageStore"}:
        first = "target: 'StrPath', " if name == "backup" else ""
        assert f"\n    {name}({first}path: 'StrPath | None' = None, " in text
    for internal in ("_HOMES", "TYPE_CHECKING", "lend_to_libgit2", "cat_file", "import_module"):
        assert internal not in text


def test_the_page_has_the_signatures_of_the_code() -> None:
    assert api_page.page() == PAGE.read_text(), "python tests/api_page.py >docs/python-api.md"


def test_the_page_names_all_that_is_public() -> None:
    headings = [line.removeprefix("### ") for line in PAGE.read_text().splitlines() if line.startswith("### ")]
    assert {name for name in gpa_maint.__all__ if name != "__version__"} <= set(headings)
    assert not [name for name in headings if name.startswith("_")]
    for name in vars(gpa_maint.errors).values():
        if inspect.isclass(name) and issubclass(name, gpa_maint.GpaError):
            assert f"- `{name.__name__}`" in PAGE.read_text()


# ---- ids ----


class FakeOid:
    """As pygit2.Oid: it has its bytes in `raw`."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw


ID_FORMS: dict[str, Callable[[bytes], object]] = {
    "raw bytes": lambda raw: raw,
    "hexadecimal text": bytes.hex,
    "upper case": lambda raw: raw.hex().upper(),
    "hexadecimal ASCII": lambda raw: raw.hex().encode(),
    "bytearray": bytearray,
    "an Oid": FakeOid,
}


@pytest.mark.parametrize("form", ID_FORMS.values(), ids=ID_FORMS.keys())
@pytest.mark.parametrize("object_format", ["sha1", "sha256"])
def test_every_form_of_an_id_is_taken_by_every_method(
    form: Callable[[bytes], Any], object_format: str, tmp_path: Path
) -> None:
    os.makedirs(tmp_path / "objects")
    with PageStore.open(tmp_path / "objects", object_format=object_format) as store:
        raw = store.writer().add("blob", b"content")
        other = form(bytes(len(raw)))
        oid = form(raw)
        assert ("blob", b"content") == store.read(oid)
        assert ("blob", 7) == store.info(oid)
        assert oid in store and other not in store
        with store.stream(oid) as file:
            assert b"content" == file.read()
        store.seal()
        assert store.locate(oid) is not None
        assert [("blob", b"content")] * 2 == store.read_many([oid, raw])
        assert [("blob", 7), None] == store.info_many([oid, other])
        assert [bytes(len(raw))] == store.missing([oid, other])
        assert store.writer().freshen(oid)


def test_an_oid_of_pygit2_is_taken(store: PageStore) -> None:
    pygit2 = pytest.importorskip("pygit2")
    first = next(iter(store))
    assert store.read(first) == store.read(pygit2.Oid(raw=first))


def test_a_prefix_may_be_text_or_ascii(store: PageStore) -> None:
    first = next(iter(store))
    assert first == store.expand_prefix(first.hex()[:12]) == store.expand_prefix(first.hex()[:12].encode())


WRONG_IDS = [5, None, 1.5, object(), [1], "abc", "x" * 40, b"abc", b"x" * 40, "é" * 40, b"\xff" * 40, "ab" * 32]


@pytest.mark.parametrize("wrong", WRONG_IDS, ids=map(repr, WRONG_IDS))
def test_what_is_no_id_is_refused_with_what_one_is(store: PageStore, wrong: Any) -> None:
    calls: list[Callable[[], object]] = [
        lambda: store.read(wrong),
        lambda: store.info(wrong),
        lambda: wrong in store,
        lambda: store.stream(wrong),
        lambda: store.locate(wrong),
        lambda: store.read_many([wrong]),
        lambda: store.info_many([wrong]),
        lambda: store.missing([wrong]),
        lambda: store.writer().freshen(wrong),
    ]
    for call in calls:
        with pytest.raises((TypeError, ValueError), match=r"^the id of an object .*not "):
            call()


# ---- paths ----


@pytest.mark.parametrize("form", [os.fspath, Path], ids=["str", "Path"])
def test_paths_are_text_or_paths_everywhere(repo: Path, form: Callable[[Path], Any], tmp_path: Path) -> None:
    assert gpa_maint.survey(form(repo)) == gpa_maint.survey(form(repo), object_dir=form(repo / "objects"))
    assert gpa_maint.status(form(repo)).repository == os.path.realpath(repo)
    assert gpa_maint.verify(form(repo)).findings == ()
    gpa_maint.write(form(repo))
    gpa_maint.maintain(form(repo))
    gpa_maint.repack(form(repo))
    gpa_maint.expire(form(repo))
    gpa_maint.repair(form(repo))
    assert gpa_maint.install(form(repo), program=form(tmp_path / "git-gpa"), dry_run=True).changes
    assert not gpa_maint.uninstall(form(repo)).changes
    PageStore.open(form(repo / "objects"), alternates=[form(repo / "objects")]).close()


@pytest.mark.parametrize("form", [os.fspath, Path], ids=["str", "Path"])
@pytest.mark.parametrize("options", [{}, {"mode": "add"}, {"new_objects": "loose"}], ids=str)
def test_open_repository_takes_what_attach_takes(
    repo: Path, form: Callable[[Path], Any], options: dict[str, Any]
) -> None:
    pytest.importorskip("pygit2")
    from gpa_maint.integrations import libgit2

    head = git_line(repo, "rev-parse", "refs/heads/main")
    with PageStore.for_repository(form(repo)) as store:
        for given in (store, None):
            assert libgit2.open_repository(form(repo), given, **options)[head].type_str == "commit"


# ---- wrong arguments ----

UNCHECKED = {"check", "seal", "options", "args", "alternates_file"}
"""Taken as true or false whatever they are, or handed on."""


def public_functions() -> Iterator[tuple[str, Any, list[str]]]:
    """Each with the parameters that can be wrong."""
    for module in api_page.MODULES:
        if module == "gpa_maint.paged_archive":  # as the original library has it
            continue
        for name in api_page.public_names(module):
            thing = getattr(importlib.import_module(module), name)
            if inspect.isfunction(thing):
                yield f"{module}.{name}", thing, [*inspect.signature(thing).parameters]


FUNCTIONS = [
    pytest.param(function, name, id=f"{where}({name})")
    for where, function, names in public_functions()
    for name in names
]


@pytest.mark.parametrize(("function", "name"), FUNCTIONS)
def test_a_wrong_argument_of_a_function_is_told_with_what_is_expected(function: Any, name: str, repo: Path) -> None:
    needed: dict[str, Any] = {"stream": io.BytesIO(), "path": repo, "directory": repo}
    signature = inspect.signature(function)
    if "repo" in signature.parameters:  # of pygit2
        needed["repo"] = pytest.importorskip("pygit2").Repository(os.fspath(repo))
        needed["store"] = PageStore.for_repository(repo)
    given = {key: value for key, value in needed.items() if key in signature.parameters}
    for wrong in (object(), 1.5 if name == "max_seconds" else -1.5):
        if name == "max_seconds" and wrong == 1.5:
            continue
        with pytest.raises((TypeError, ValueError), match=r"(\bis\b|expected|has) .*not|is not (none|'|a)"):
            function(**{**given, name: wrong})


METHODS = [
    pytest.param(cls, method, parameter, id=f"{cls}.{method}({parameter})")
    for cls, thing in (("PageStore", PageStore), ("Writer", importlib.import_module("gpa_maint.journal").Writer))
    for method, function, _drops in api_page.methods(thing)
    for parameter in [*inspect.signature(function).parameters][1:]
    if parameter not in UNCHECKED and method not in ("end", "lend", "move")
]


@pytest.mark.parametrize(("cls", "method", "parameter"), METHODS)
def test_a_wrong_argument_of_a_method_is_told_with_what_is_expected(
    store: PageStore, cls: str, method: str, parameter: str
) -> None:
    target = store if cls == "PageStore" else store.writer()
    needed = {"oid": bytes(20), "oids": [], "kind": "blob", "data": b"", "size": 0, "file": io.BytesIO(), "objects": []}
    function = getattr(target, method)
    given: dict[str, Any] = {
        key: value for key, value in needed.items() if key in inspect.signature(function).parameters
    }
    given[parameter] = object()
    with pytest.raises((TypeError, ValueError), match=r"\bis\b.* not |is not none"):
        if "__" in method:
            function(*given.values())
        else:
            function(**given)


@pytest.mark.parametrize("name", [*inspect.signature(PageStore).parameters])
def test_a_wrong_option_of_a_store_is_told_with_what_is_expected(repo: Path, name: str) -> None:
    given: dict[str, Any] = {"objects_dir": repo / "objects", name: object()}
    with pytest.raises(TypeError, match=rf"^{name} is .*, not object$"):
        PageStore(**given)


WRONG_VALUES: list[tuple[str, dict[str, Any]]] = [
    ("repack", {"batch_bytes": -1}),
    ("repack", {"page_objects": 0}),
    ("repack", {"page_objects": 1 << 31}),
    ("repack", {"path": "a\0b"}),
    ("expire", {"grace_seconds": -5}),
    ("maintain", {"max_seconds": -0.5}),
    ("verify", {"threads": -1}),
    ("verify", {"deep": "yes"}),
    ("write", {"packs": "pack-1234.idx"}),
    ("install", {"way": "link"}),
]


@pytest.mark.parametrize(("name", "given"), WRONG_VALUES, ids=str)
def test_a_wrong_value_is_told_with_what_is_expected(repo: Path, name: str, given: dict[str, Any]) -> None:
    (parameter,) = given
    with pytest.raises((TypeError, ValueError), match=f"^{parameter} is .*, not "):
        getattr(gpa_maint, name)(**{"path": repo, **given})
