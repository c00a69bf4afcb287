# Each target sets up .venv from constraints.txt when it is missing or out of date, then works.

PYTHON ?= python3.11
VENV := .venv
RUN := $(VENV)/bin/python
READY := $(VENV)/ready
# A file stays with one process, so that its fixtures are made once.
PYTEST := TF_CPP_MIN_LOG_LEVEL=3 $(RUN) -m pytest -n 2 --dist loadfile --durations 10

.PHONY: demo test test-slow test-all notebooks lint docs clean

demo: $(READY)  ## Run the whole chain on synthetic speech; ends with a .tflite and a report.
	@$(VENV)/bin/ser-nsl run-pipeline --config smoke
	@echo
	@echo "Next, on real speech (40 MB to download, licence shown first):"
	@echo "  $(VENV)/bin/ser-nsl download-corpus emodb --out corpora"
	@echo "  $(VENV)/bin/ser-nsl run-pipeline --config ravdess_to_emodb"

test: $(READY)  ## Run the tests and the examples of docstrings, without a network.
	@$(PYTEST) -m "not slow"

test-slow: $(READY)  ## Run what takes longer: whole chains, notebooks, browsers, clusters.
	@$(PYTEST) -m slow

test-all: test test-slow  ## Run everything.

notebooks: $(READY)  ## Execute all notebooks and renew the outputs they hold.
	@$(RUN) -m pytest --overwrite --durations 10 notebooks

lint: $(READY)  ## Check format, style, types, and who imports whom.
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports

docs: $(READY)  ## Build the site of notebooks, design and API into build/docs, and check its links.
	@TF_CPP_MIN_LOG_LEVEL=3 $(RUN) -m sphinx -q -E -W --keep-going -c docs -d build/doctrees . build/docs
	@$(RUN) docs/check_site.py build/docs
	@echo "build/docs/index.html"

clean:  ## Remove the environment and what runs have made.
	rm -rf $(VENV) ser_nsl/web/node_modules runs build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): constraints.txt setup.cfg tools/set_up.sh ser_nsl/web/package-lock.json
	@PYTHON=$(PYTHON) sh tools/set_up.sh $(VENV)
	@touch $@
