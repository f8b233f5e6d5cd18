# Each target makes what it needs: the virtual environment first, once.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# Extra arguments, such as `make bench ARGS=--quick`.
ARGS :=

.PHONY: demo test test-pure test-all docs dist lint types cov format sanitize compliance fuzz soak bench clean

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@

demo: $(STAMP)
	$(BIN)/python examples/demo.py

test: $(STAMP)
	$(BIN)/python -m pytest

test-pure: $(STAMP)
	TRIO_WSENDPOINT_PURE=1 $(BIN)/python -m pytest $(ARGS)

# On every Python that there is, of those that the package is for.
test-all: $(STAMP)
	$(BIN)/python -m tests.packaging.pythons --test

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

types: $(STAMP)
	$(BIN)/mypy

cov: $(STAMP)
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -m 'not slow'
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --fail-under=100

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The C extension's own tests, under AddressSanitizer and UBSan.
sanitize: $(STAMP)
	mkdir -p build/sanitize
	$(CC) -shared -fPIC -g -O1 -fsanitize=address,undefined -fno-sanitize-recover=undefined \
		$$($(BIN)/python -c 'import sysconfig; print("-I" + sysconfig.get_path("include"))') \
		trio_wsendpoint/protocol/_speedups.c -o build/sanitize/_speedups.abi3.so
	LD_PRELOAD="$$($(CC) -print-file-name=libasan.so) $$($(CC) -print-file-name=libubsan.so)" \
		ASAN_OPTIONS=detect_leaks=0 SPEEDUPS=build/sanitize/_speedups.abi3.so PYTHONMALLOC=malloc \
		$(BIN)/python -m tests.fuzz.sanitize

# The Autobahn test suite, for which it needs a Python 2.7.
compliance: $(STAMP)
	$(BIN)/python -m tests.compliance.run $(ARGS)

fuzz: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[fuzz]'
	$(BIN)/python -m tests.fuzz.run --seconds 60 $(ARGS)

soak: $(STAMP)
	$(BIN)/python -m tests.soak.run --seconds 120 --connections 2000 $(ARGS)

bench: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[bench]'
	$(BIN)/python -m tests.bench.run $(ARGS)

docs: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[docs]'
	$(BIN)/python -m tests.docs.build $(ARGS)

dist: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dist]'
	$(BIN)/python -m tests.packaging.run $(ARGS)

clean:
	rm -rf $(VENV) $(VENV)-3.* build dist *.egg-info .coverage* .mypy_cache .pytest_cache .ruff_cache
