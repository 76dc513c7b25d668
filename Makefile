# Two commands do everything: `make demo` and `make test`. Both make the environment first.
PYTHON ?= python3
VENV   := .venv
STAMP  := $(VENV)/.installed

.PHONY: demo test lint types imports docker-lint tests browser xmlsec1 prove clean

demo: $(STAMP)
	$(VENV)/bin/negawatt demo $(ARGS)

test: lint types imports docker-lint tests

lint: $(STAMP)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

types: $(STAMP)
	$(VENV)/bin/mypy

imports: $(STAMP)
	$(VENV)/bin/lint-imports

docker-lint: $(STAMP)
	$(VENV)/bin/hadolint docker/Dockerfile
	$(VENV)/bin/yamllint --strict -d '{extends: default, rules: {document-start: disable, line-length: {max: 120}}}' docker/compose.yaml

# Two at a time, whole files each: the demo waits for its event most of the time.
tests: $(STAMP) browser xmlsec1
	$(VENV)/bin/pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

# The long campaigns, of which `make test` runs a few rounds: one line each.
prove: $(STAMP)
	$(VENV)/bin/python -m tests.campaigns.ven_crash --rounds 200
	$(VENV)/bin/python -m tests.campaigns.ven_crash --mutations
	$(VENV)/bin/python -m tests.campaigns.conformance_mutations
	$(VENV)/bin/python -m tests.campaigns.wire_fuzz

# The console is tested in a real browser; the Python package drives it, Debian has it.
browser:
	@command -v chromium >/dev/null || \
	  if [ "$$(id -u)" = 0 ]; then apt-get update && apt-get install -y --no-install-recommends chromium; \
	  else echo "negawatt: chromium is missing, the console's browser tests skip: run 'sudo apt-get install chromium'" >&2; fi

# What we sign is verified by another implementation too.
xmlsec1:
	@command -v xmlsec1 >/dev/null || \
	  if [ "$$(id -u)" = 0 ]; then apt-get update && apt-get install -y --no-install-recommends xmlsec1; \
	  else echo "negawatt: xmlsec1 is missing, the tests with it skip: run 'sudo apt-get install xmlsec1'" >&2; fi

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "negawatt: $(PYTHON) is older than 3.11: install a newer one and run make PYTHON=python3.X" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  if [ "$$(id -u)" = 0 ]; then apt-get update && apt-get install -y --no-install-recommends python3-venv; \
	  else echo "negawatt: python3-venv is missing: run 'sudo apt-get install python3-venv'" >&2; exit 1; fi
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
