# Cadenza: the library, its tests and its packages. `make help` lists the targets.

SHELL      := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := library

VERSION := $(shell sed -n 's/^.define CADENZA_VERSION "\(.*\)"/\1/p' include/cadenza.h)
MAJOR   := $(firstword $(subst ., ,$(VERSION)))
CC      := clang# the Swift toolchain brings it

PREFIX  ?= /usr/local
DESTDIR ?=
SECONDS ?= 600
WORDS   ?=

# ── Library ──────────────────────────────────────────────────────────────────────────────────────────────

OBJECTS := .build/release/cadenza.product/Objects.LinkFileList
LINK    := $(CC) -shared -fuse-ld=lld -Wl,-soname,libcadenza.so.$(MAJOR) -Wl,--version-script=Sources/CadenzaABI/cadenza.map \
           -Wl,--gc-sections -Wl,--icf=all -Wl,-T,Sources/CadenzaABI/unused.ld -Wl,-z,relro,-z,now,-z,noexecstack -Wl,--no-undefined \
           -nostartfiles -Wl,--pack-dyn-relocs=relr,--use-android-relr-tags,-init=cz_relocate# see Sources/CSystem/relocate.c

# Swift decides what is to be compiled; the second make links where that gave new objects.
.PHONY: library
library:
	@swift build --configuration release --product cadenza --omit-frame-pointers
	@$(MAKE) --no-print-directory build/libcadenza.so

build/libcadenza.so: build/libcadenza.so.$(VERSION)
	@ln -sf $(<F) build/libcadenza.so.$(MAJOR)
	@ln -sf libcadenza.so.$(MAJOR) $@

# Kernel objects come last: each object carries weak copies of Swift's runtime functions, compiled for its own
# instruction set, and the linker keeps the first. The whole copy keeps symbols, and a map, for Tests/laws.
build/libcadenza.so.$(VERSION): .build/release/libcadenza.a Sources/CadenzaABI/cadenza.map Sources/CadenzaABI/unused.ld Makefile
	@mkdir -p build
	@(grep -v /Kernels $(OBJECTS); grep /Kernels $(OBJECTS)) > build/objects.list
	@$(LINK) -o build/libcadenza.whole.so @build/objects.list -lm -Wl,-S -Wl,-Map=build/libcadenza.map
	@$(LINK) -o $@.new @build/objects.list -lm -Wl,-s
	@mv $@.new $@

.build/release/libcadenza.a: ;

# ── Python environment ───────────────────────────────────────────────────────────────────────────────────

# The first Python of 3.10 or later that can make a virtual environment.
PYTHON ?= $(firstword $(foreach python,python3 python3.14 python3.13 python3.12 python3.11 python3.10,$(shell \
          $(python) -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))' 2>/dev/null && echo $(python))))

.venv/bin/pip:
	@test -n "$(PYTHON)" || { echo "Python 3.10 or later, with venv and ensurepip, was not found: make PYTHON=…" >&2; exit 1; }
	@$(PYTHON) -m venv .venv

.venv/tested: Tests/requirements.txt | .venv/bin/pip
	@.venv/bin/pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

.PHONY: venv
venv: .venv/tested

# ── Demo, tests ──────────────────────────────────────────────────────────────────────────────────────────

.PHONY: demo
demo: library .venv/bin/pip
	@.venv/bin/pip install --quiet --disable-pip-version-check ./bindings/python
	@$(CC) -O2 -Wall -Iinclude examples/rain/rain.c -o build/rain -Lbuild -lcadenza -Wl,-rpath,'$$ORIGIN' -lm
	@echo; echo "── C: examples/rain/rain.c"; build/rain examples/rain
	@echo; echo "── Python: examples/rain/rain.py"; .venv/bin/python examples/rain/rain.py
	@echo; echo "C and Python both agree with the answers that Keras gave."
	@echo; echo "── A nested generator: examples/nested/nested.py"; .venv/bin/python examples/nested/nested.py
	@echo; echo "── Spelling to sound: examples/spelling/spelling.py"; .venv/bin/python examples/spelling/spelling.py $(WORDS)

.PHONY: test
test: library venv
	@Tests/run.sh

# The library for arm64, in build/arm64. The packages that it needs are named in the script.
.PHONY: arm64
arm64:
	@Tests/arm64/build.sh

.PHONY: fuzz
fuzz:
	@Tests/fuzz/run.sh $(SECONDS)

# ── Benchmarks ───────────────────────────────────────────────────────────────────────────────────────────

BENCH        ?=
BENCH_PYTHON ?= .venv-bench/bin/python

.venv-bench/ready: benchmarks/requirements.txt
	@test -n "$(PYTHON)" || { echo "Python 3.10 or later, with venv and ensurepip, was not found: make PYTHON=…" >&2; exit 1; }
	@$(PYTHON) -m venv .venv-bench
	@for package in $$(grep -v '^#' $<); do \
		.venv-bench/bin/pip install --quiet --disable-pip-version-check "$$package" || echo "$$package is left out" >&2; done
	@touch $@

.PHONY: bench
bench: library $(if $(findstring .venv-bench,$(BENCH_PYTHON)),.venv-bench/ready)
	@CC=$(CC) PYTHONPATH=bindings/python $(BENCH_PYTHON) benchmarks/bench.py $(BENCH)

# ── Packages ─────────────────────────────────────────────────────────────────────────────────────────────

.PHONY: wheel
wheel: library venv
	@.venv/bin/pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir build bindings/python
	@ls build/*.whl

.PHONY: install
install: library
	@install -d $(DESTDIR)$(PREFIX)/lib/pkgconfig $(DESTDIR)$(PREFIX)/include
	@install -m 755 build/libcadenza.so.$(VERSION) $(DESTDIR)$(PREFIX)/lib
	@ln -sf libcadenza.so.$(VERSION) $(DESTDIR)$(PREFIX)/lib/libcadenza.so.$(MAJOR)
	@ln -sf libcadenza.so.$(MAJOR) $(DESTDIR)$(PREFIX)/lib/libcadenza.so
	@install -m 644 include/cadenza.h $(DESTDIR)$(PREFIX)/include
	@sed 's|@PREFIX@|$(PREFIX)|; s|@VERSION@|$(VERSION)|' cadenza.pc.in > $(DESTDIR)$(PREFIX)/lib/pkgconfig/cadenza.pc

.PHONY: clean
clean:
	@rm -rf .build .build-fuzz build .venv .venv-bench

.PHONY: help
help:
	@echo "make library   build/libcadenza.so"
	@echo "make demo      streams Seattle's weather through a trained model, in C and in Python; puts a text into Morse code;"
	@echo "               says how WORDS sound"
	@echo "make test      everything that is tested"
	@echo "make arm64     build/arm64/libcadenza.so, cross-built"
	@echo "make bench     Cadenza beside other libraries and the machine's limits: a table, a plot; BENCH=--quick, BENCH=--record"
	@echo "make fuzz      SECONDS=$(SECONDS) of fuzzing for each kind of file"
	@echo "make wheel     a Python wheel in build/"
	@echo "make install   PREFIX=$(PREFIX): library, header, pkg-config file"
	@echo "make venv      .venv with what the tests need; PYTHON=$(PYTHON)"
	@echo "make clean     removes everything that was built"
