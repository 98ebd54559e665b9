"""Break the program on purpose, one fault at a time, and see that the named test notices.

Each `<name>.patch` begins with a head of `Key: value` lines, and the rest is for `git apply`:

    Broken: what the program does wrong with this patch
    Noticed by: tests/git/test_x.py::test_y         (one or more lines)
    Equivalent: why no test can notice it           (instead of `Noticed by`)

The patches are applied to a copy of the work tree, which itself stays as it is. C files are compiled one by one, so
that a patch costs the time of the files that it touches. A fault counts as noticed when pytest fails or dies, or takes
LIMIT seconds; before, the same tests have passed without it.
"""

from __future__ import annotations

import argparse
import ast
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PATCHES = Path(__file__).resolve().parent
COPIED = ("csrc", "docs", "gpa_maint", "hooks", "tests", "pyproject.toml", "setup.py", "README.md", "CHANGELOG.md")
LIMIT = 120
"""Seconds for the tests of one mutant."""

FAILED = 1
"""Exit status of pytest: a test failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """A patch and what is said of it."""

    path: Path
    broken: str
    tests: tuple[str, ...]
    equivalent: str

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def files(self) -> list[str]:
        """The files that the patch changes, relative to the work tree."""
        lines = self.path.read_text().splitlines()
        return [line[6:] for line in lines if line.startswith("+++ b/")]


def read_mutant(path: Path) -> Mutant:
    """Raise ValueError when the head of the patch is not as it must be."""
    head = path.read_text().partition("\n--- a/")[0]
    fields = [(key, value.strip()) for key, _, value in (line.partition(":") for line in head.splitlines()) if key]
    unknown = {key for key, _ in fields} - {"Broken", "Noticed by", "Equivalent"}
    broken = [value for key, value in fields if key == "Broken"]
    tests = tuple(value for key, value in fields if key == "Noticed by")
    equivalent = " ".join(value for key, value in fields if key == "Equivalent")
    if unknown or len(broken) != 1 or bool(tests) == bool(equivalent):
        raise ValueError(
            f"'{path.name}': its head must say what is broken, and either which test notices or why none can"
        )
    return Mutant(path=path, broken=broken[0], tests=tests, equivalent=equivalent)


def all_mutants() -> list[Mutant]:
    return [read_mutant(path) for path in sorted(PATCHES.glob("*.patch"))]


class Scratch:
    """A copy of the work tree with an extension module of its own."""

    def __init__(self, folder: Path) -> None:
        self.tree = folder / "tree"
        self._objects = folder / "objects"
        self._objects.mkdir()
        leave = shutil.ignore_patterns("__pycache__", "*.so", "*.patch", "_gpa.c")
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, self.tree / name, ignore=leave, symlinks=True)
            else:
                shutil.copy2(source, self.tree / name)
        self._compile_args, self._link_args, self._sources = self._generate()
        self._module = self.tree / "gpa_maint" / "_core" / "_gpa.abi3.so"

    def _generate(self) -> tuple[list[str], list[str], list[Path]]:
        """Write csrc/_gpa.c, the module's own part; return what the compiler and the linker need, and all sources."""
        program = (
            "import runpy, sys; builder = runpy.run_path('gpa_maint/_core/build.py')['ffibuilder']\n"
            "builder.emit_c_code('csrc/_gpa.c')\n"
            "words = builder._assigned_source[3]\n"
            "print(repr((words['extra_compile_args'], words['extra_link_args'], words['sources'])))\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", program], cwd=self.tree, capture_output=True, text=True, check=True
        )
        compile_args, link_args, sources = ast.literal_eval(done.stdout.splitlines()[-1])
        return compile_args, link_args, [self.tree / name for name in ("csrc/_gpa.c", *sources)]

    def compile(self, names: Iterable[str] | None = None) -> str:
        """Compile these files of csrc/, or all, and link the module. Return what the compiler complained of."""
        sources = self._sources if names is None else [self.tree / name for name in names]
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            errors = "".join(pool.map(self._compile_one, sources))
        return errors or self._run(
            ["gcc", "-shared", "-o", self._module, *sorted(self._objects.glob("*.o")), *self._link_args]
        )

    def _compile_one(self, source: Path) -> str:
        include = ["-Icsrc", f"-I{sysconfig.get_path('include')}"]
        limited = ["-DPy_LIMITED_API=0x030b0000"]
        out = self._objects / f"{source.parent.name}-{source.stem}.o"
        return self._run(
            ["gcc", *self._compile_args, "-O1", "-w", "-fPIC", *limited, *include, "-c", source, "-o", out]
        )

    def _run(self, command: list[str | Path]) -> str:
        done = subprocess.run(command, cwd=self.tree, capture_output=True, text=True, check=False)
        return f"{shlex.join(map(str, command))}\n{done.stderr}" if done.returncode else ""

    def apply(self, mutant: Mutant, *, reverse: bool = False) -> str:
        """Apply the patch, or take it back. Return why that is not possible, "" when it is done."""
        command = ["git", "apply", *(["-R"] if reverse else []), str(mutant.path)]
        # outside of any repository: else `git apply` would leave out what is not below its work tree
        environ = {**os.environ, "GIT_CEILING_DIRECTORIES": str(self.tree.parent)}
        done = subprocess.run(command, cwd=self.tree, env=environ, capture_output=True, text=True, check=False)
        return done.stderr if done.returncode else ""

    def rebuild(self, mutant: Mutant) -> str:
        """Compile what the patch touches."""
        changed = [name for name in mutant.files if name.startswith("csrc/")]
        if not changed:
            return ""
        return self.compile(None if any(name.endswith(".h") for name in changed) else changed)

    def run(self, tests: Iterable[str], *, limit: float) -> tuple[int, str]:
        """The exit status of pytest, below 0 when it died or took too long, and what it printed."""
        command = [sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "-p", "no:cacheprovider", *tests]
        environ = {**os.environ, "PYTHONPATH": str(self.tree), "PYTHONDONTWRITEBYTECODE": "1"}
        process = subprocess.Popen(
            command,
            cwd=self.tree,
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            output, _ = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            return -9, process.communicate()[0]
        return process.returncode, output


def try_mutant(scratch: Scratch, mutant: Mutant, verbose: bool) -> str:
    """ "noticed", "SURVIVED" or "equivalent"; anything else is what is wrong with the patch."""
    problem = scratch.apply(mutant)
    if problem:
        return f"ERROR: the patch does not apply: {problem.strip()}"
    try:
        if mutant.equivalent:
            return "equivalent"
        problem = scratch.rebuild(mutant)
        if problem:
            return f"ERROR: does not compile: {problem.strip()}"
        status, output = scratch.run(mutant.tests, limit=LIMIT)
    finally:
        problem = scratch.apply(mutant, reverse=True)
        if problem:
            raise SystemExit(f"error: could not take back '{mutant.path.name}': {problem}")
        if not mutant.equivalent:
            scratch.rebuild(mutant)
    if verbose:
        print(output)
    if status == FAILED or status < 0:
        return "noticed"
    return "SURVIVED" if status == 0 else f"ERROR: pytest ended with {status}:\n{output}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", help="names of mutants, or beginnings of them; by default all")
    parser.add_argument("-v", "--verbose", action="store_true", help="print what pytest prints")
    options = parser.parse_args()
    mutants = [mutant for mutant in all_mutants() if not options.names or mutant.name.startswith(tuple(options.names))]
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="gpa-mutants-") as folder:
        scratch = Scratch(Path(folder))
        problem = scratch.compile()
        if problem:
            raise SystemExit(f"error: the C core does not compile:\n{problem}")
        tests = list(dict.fromkeys(test for mutant in mutants for test in mutant.tests))
        # One folder at a time: their helpers may have the same names.
        for folder_name in dict.fromkeys(os.path.dirname(test) for test in tests):
            status, output = scratch.run([test for test in tests if os.path.dirname(test) == folder_name], limit=3600)
            if status != 0:
                raise SystemExit(f"error: without any mutant the tests do not pass ({status}):\n{output}")
        print(f"{len(tests)} tests pass without a mutant ({time.monotonic() - begun:.0f} s)", flush=True)
        verdicts = {}
        for mutant in mutants:
            verdicts[mutant.name] = verdict = try_mutant(scratch, mutant, options.verbose)
            print(f"{verdict.partition(chr(10))[0]:<10}  {mutant.name}: {mutant.broken}", flush=True)
            if verdict.startswith("ERROR"):
                print(verdict)
    return report(list(verdicts.values()), time.monotonic() - begun)


def report(verdicts: list[str], seconds: float) -> int:
    noticed, survived, equivalent = (verdicts.count(word) for word in ("noticed", "SURVIVED", "equivalent"))
    errors = len(verdicts) - noticed - survived - equivalent
    share = 100 * noticed / max(1, noticed + survived)
    print(
        f"{len(verdicts)} mutants: {noticed} noticed, {survived} survived, {equivalent} equivalent, {errors} errors; "
        f"{share:.0f} % of those that can be noticed, in {seconds:.0f} s"
    )
    return 1 if survived or errors else 0


if __name__ == "__main__":
    sys.exit(main())
