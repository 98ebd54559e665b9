# The menu: `make` prints it. On a machine where build tools may be missing, `sh .ci/make <target>` installs them first.
#
# Everything is built into .venv, from the first python3 that is 3.11 or newer, or the one named in PYTHON.
# ARGS goes to pytest: make test ARGS='tests/unit -k repack'

# Debian's Python may come without ensurepip, so pip stays outside the environment and is pointed into it.
# The interpreter itself is looked for, past a version manager's shim or an active environment; .ci/make does the same.
PYTHON ?= $(shell exec 2>/dev/null; \
	for name in python3 python3.14 python3.13 python3.12 python3.11 /usr/bin/python3; do \
	python=$$($$name -c 'import sys; sys.version_info >= (3, 11) or sys.exit(1); print(sys._base_executable)') && \
	$$python -c 'import pip' && echo $$python && break; done)
VENV := $(CURDIR)/.venv
PIP = PIP_DISABLE_PIP_VERSION_CHECK=1 "$(or $(PYTHON),python3)" -m pip --python "$(VENV)/bin/python" -q

# Tests and the demo find `git gpa` as git does, in PATH.
RUN = PATH="$(VENV)/bin:$$PATH" "$(VENV)/bin/python"
PYTEST = $(RUN) -m pytest

# A change of the first asks for pip, a change of the others only for the compiler.
PACKAGING := pyproject.toml setup.py
CORE := $(filter-out csrc/fuzz/% csrc/threads/%,$(wildcard csrc/*/*.c))
HEADERS := $(wildcard csrc/*.h csrc/*/*.h)
SOURCES := $(CORE) $(HEADERS) gpa_maint/_core/build.py
BUILT := .venv/built

# As in gpa_maint/_core/build.py: libdeflate where pkg-config finds it, in a prefix of its own too.
LIBDEFLATE := $(if $(GPA_NO_LIBDEFLATE),,$(shell pkg-config --libs libdeflate 2>/dev/null))
LIBDEFLATE_CFLAGS := $(if $(LIBDEFLATE),-DGPA_LIBDEFLATE $(shell pkg-config --cflags libdeflate))

SANITIZE := -g -O1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all \
	-U_FORTIFY_SOURCE -UNDEBUG
# Reports go to files, since pytest holds back what a dying process prints, and a status of 1 may be what a test
# expects. Leaks are left to the fuzz targets: Python keeps most of its memory until the end.
REPORT := $(CURDIR)/build/asan/report
SANITIZER_OPTIONS := ASAN_OPTIONS="detect_leaks=0:exitcode=99:log_path='$(REPORT)'" \
	UBSAN_OPTIONS="print_stacktrace=1:exitcode=99:log_path='$(REPORT)'"

# One recipe at a time: `make -j check` would mix the tools' words.
.NOTPARALLEL:
.DELETE_ON_ERROR:
.SECONDARY:
.PHONY: menu build check format format-check lint types test gits newest demo asan tsan fuzz bench crash stress hunt mutants man wheel sdist clean FORCE

menu:
	@sed -n 's/^\([a-z-]*\):.*## /\1	/p' Makefile | expand -t 14

build: $(BUILT) ## .venv with the package, editable, and the tools of development

# The fuzz targets replay their files, so that what they once found stays mended, and go on compiling.
check: MUTATE = 200,1
check: format-check lint types fuzz test ## all that a change has to pass: format, lint, types, fuzz corpus, tests

format: $(BUILT) ## put the Python files into their format
	$(RUN) -m ruff format .

format-check: $(BUILT) ## say which Python files are not in their format
	$(RUN) -m ruff format --check .

lint: $(BUILT) ## ruff's rules
	$(RUN) -m ruff check .

types: $(BUILT) ## mypy, strict
	$(RUN) -m mypy

# As pip does with what it installs: most tests start `git gpa`, and compiling takes twice as long as its work.
test: $(BUILT) ## the tests, but for the slow ones
	@.venv/bin/python -m compileall -q gpa_maint
	$(PYTEST) $(ARGS)

gits: ## the newest git of Debian beside the one in PATH, built once and kept; prints their paths
	@sh .ci/gits

# Left out: what limits or measures memory, and v1 archives, of which git reads only the result.
NEWEST_TESTS = tests/git -m 'not slow and not memory' --ignore=tests/git/test_archive_v1.py \
	--ignore=tests/git/test_paged_archive.py

newest: $(BUILT) ## the tests that run git, with the newest git of Debian in PATH
	@.venv/bin/python -m compileall -q gpa_maint
	GPA_TEST_GIT="$$(sh .ci/gits | tail -n 1)" $(PYTEST) $(or $(ARGS),$(NEWEST_TESTS))

demo: $(BUILT) ## watch it at work on a repository made for the purpose
	@$(RUN) -m gpa_maint.cli.demo

# Left out: tests that stop at each step of Python, again and again; tests of git alone and of .ci; tests that limit or
# measure memory.
ASAN_TESTS = tests/unit tests/corrupt tests/property tests/git --ignore=tests/git/test_histories.py \
	--ignore=tests/unit/test_ci_make.py \
	-m 'not slow and not memory'

asan: $(BUILT) ## the tests that reach most of the C code, with the C core under AddressSanitizer and UBSan
	rm -rf build/asan
	mkdir -p build/asan
	cp -R $(wildcard $(PACKAGING) README.md CHANGELOG.md LICENSE csrc docs gpa_maint hooks tests) build/asan/
	rm -f build/asan/gpa_maint/_core/_gpa*.so
	cd build/asan && GPA_CFLAGS='$(SANITIZE)' "$(VENV)/bin/python" setup.py -q build_ext --inplace
	cd build/asan && LD_PRELOAD="$$(gcc -print-file-name=libasan.so)" $(SANITIZER_OPTIONS) PYTHONMALLOC=malloc \
		PYTHONPATH="$$PWD" $(PYTEST) --timeout=1800 $(or $(ARGS),$(ASAN_TESTS)); \
		status=$$?; cat "$(REPORT)".* 2>/dev/null && exit 1; exit $$status

# A program in C, since Python itself is not built for ThreadSanitizer.
tsan: $(BUILT) ## one reader and many threads under ThreadSanitizer, while maintenance runs
	mkdir -p build/tsan
	gcc -std=c11 -D_GNU_SOURCE -Wall -Wextra -g -O1 -fsanitize=thread -Icsrc $(LIBDEFLATE_CFLAGS) \
		-o build/tsan/readers csrc/threads/readers.c $(CORE) $(FUZZ_LIBS) -lpthread
	GPA_TSAN_READERS="$(CURDIR)/build/tsan/readers" TSAN_OPTIONS=halt_on_error=1 $(PYTEST) tests/threads/test_tsan.py $(ARGS)

# The core is compiled once for all the fuzz targets, each of which is linked with a driver that replays files.
FORMATS := $(patsubst csrc/fuzz/fuzz_%.c,%,$(wildcard csrc/fuzz/fuzz_*.c))
FUZZ_CORE := $(patsubst csrc/%.c,build/fuzz/%.o,$(CORE) csrc/fuzz/driver.c)
FUZZ_CC = gcc -std=c11 -D_GNU_SOURCE -Wall -Wextra $(SANITIZE) -Icsrc $(LIBDEFLATE_CFLAGS)
FUZZ_LIBS = $(LIBDEFLATE) $(patsubst -L%,-Wl$(COMMA)-rpath$(COMMA)%,$(filter -L%,$(LIBDEFLATE))) -lcrypto -lz -lpthread -ldl

build/fuzz/%.o: csrc/%.c $(HEADERS) .venv/libdeflate
	@mkdir -p $(@D)
	$(FUZZ_CC) -c -o $@ $<

build/fuzz/fuzz_%: csrc/fuzz/fuzz_%.c $(FUZZ_CORE)
	$(FUZZ_CC) -o $@ $^ $(FUZZ_LIBS)

COMMA := ,

# How many random changes of each file, and their seed: make fuzz MUTATE=100000,7
MUTATE = 2000,1

fuzz: $(FORMATS:%=build/fuzz/fuzz_%) ## run each fuzz target on csrc/fuzz/corpus/<format>/* and on random changes of them
	@for format in $(FORMATS); do \
		echo "fuzz_$$format: $$(ls csrc/fuzz/corpus/$$format | wc -l) files, each with $(MUTATE) changes,seed"; \
		UBSAN_OPTIONS=print_stacktrace=1 build/fuzz/fuzz_$$format -mutate=$(MUTATE) csrc/fuzz/corpus/$$format/* || exit 1; \
	done
	@$(RUN) tests/corrupt/texts.py $(subst $(COMMA), ,$(MUTATE))

bench: $(BUILT) ## time, bytes written and files opened, beside stock git
	@$(RUN) -m tests.bench

# How often real processes are killed, in each of four repositories.
KILLS = 1000

crash: $(BUILT) ## slow: stop at every step that makes a name appear or vanish, and count what was lost
	GPA_TEST_KILLS=$(KILLS) $(PYTEST) -m "slow or not slow" --timeout=7200 tests/crash $(ARGS)

# For how many seconds each of the stress tests goes on, or a hunt.
SECONDS = 300

stress: $(BUILT) ## slow: readers at work while pages are merged and expired
	GPA_TEST_SECONDS=$(SECONDS) $(PYTEST) -s -m "slow or not slow" --timeout=7200 tests/threads $(ARGS)

# Everything in a hunt follows from its seed, but for what the system does meanwhile.
SEED = 1

hunt: $(BUILT) ## random sequences and overlaps of all commands that write or delete, for SECONDS, from SEED
	@$(RUN) -m tests.hunt --seconds=$(SECONDS) --seed=$(SEED) $(ARGS)

mutants: $(BUILT) ## break the program on purpose, and see that a test notices each fault; ARGS names some of them
	@$(RUN) -m tests.mutants $(ARGS)

# man's exit status says nothing about the page: what it prints on stderr does.
man: ## check the manual page, where man is installed
	@if command -v man >/dev/null; then \
		! MANWIDTH=80 MANROFFSEQ= man --warnings -E UTF-8 -l -Tutf8 -Z docs/man/git-gpa.1 2>&1 >/dev/null | grep .; \
	else echo "man is not installed: docs/man/git-gpa.1 is not checked"; fi

sdist: $(BUILT) ## dist/gpa_maint-<version>.tar.gz
	rm -rf dist *.egg-info
	"$(VENV)/bin/python" -c 'from setuptools.build_meta import build_sdist; build_sdist("dist")' >/dev/null

# From the archive, not from here: build/ may still hold modules that are gone, and the archive is proved complete.
wheel: sdist ## the wheel, built from that archive
	$(PIP) wheel --no-deps -w dist dist/*.tar.gz

clean: ## remove all that make made, .venv too
	rm -rf .venv build dist *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache
	rm -f gpa_maint/_core/_gpa.c gpa_maint/_core/_gpa*.so
	find $(wildcard gpa_maint tests) -name __pycache__ -prune -exec rm -rf {} +

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "error: no Python >= 3.11 with pip found; try: sh .ci/make" >&2; exit 1; }
	"$(PYTHON)" -m venv --clear --without-pip .venv

# Changes when libdeflate came or went since the last build. What was compiled with the other variant is compiled again.
.venv/libdeflate: FORCE | .venv/bin/python
	@echo '$(LIBDEFLATE)' | cmp -s - $@ 2>/dev/null || echo '$(LIBDEFLATE)' >$@

FORCE:

# The old module goes first: where the C does not compile, no test may pass with what was compiled before.
# An editable install leaves the manual out: a link takes its place.
$(BUILT): $(PACKAGING) $(SOURCES) .venv/libdeflate | .venv/bin/python
	rm -f gpa_maint/_core/_gpa*.so
	$(if $(filter $(PACKAGING),$?),$(PIP) install --config-settings editable_mode=compat -e '.[dev]',"$(VENV)/bin/python" setup.py -q build_ext --inplace)
	@mkdir -p .venv/share/man/man1
	@ln -sf ../../../../docs/man/git-gpa.1 .venv/share/man/man1
	@touch $@
	@.venv/bin/git-gpa --version
