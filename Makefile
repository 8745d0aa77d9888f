# The few verbs people type. Each of them first sets up .venv, once (again when the pinned requirements change).
#   make demo                    train a VQGAN and a latent diffusion model, look at what they draw
#   make test                    every test, then every notebook of the book and the labs
#   make lab                     JupyterLab
#   make book                    build the book's site, from stored outputs: build/site/index.html
#   make refresh [CH="07 12"]    execute the book's notebooks again, from their sources
#   make browser                 only the tests that need a real browser (part of `make test` where Chromium is found)
#   make prove-labs              prove the graders of all labs, then grade a class of 60
#   make clean                   remove what set-up and tests left behind (never your runs)
# Variables: PYTHON=python3.12 (which Python), JOBS=1 (test processes), TESTS=tests/vq (which tests `make unit` runs),
# ARGS="..." (options for the demo, the unit tests or JupyterLab), UV_TORCH_BACKEND=cpu (a smaller torch, for machines
# without an Nvidia GPU), REPOSITORY=https://github.com/OWNER/NAME (where the site's badges lead; default: git's
# origin).

PYTHON ?= python3
JOBS ?= 2
PY := .venv/bin/python
STAMP := .venv/.installed
NOTEBOOKS := $(wildcard book/*.ipynb labs/source/*/*.ipynb)

.PHONY: help setup demo test unit notebooks browser lab prove-labs book refresh lock clean
help:
	@sed -n 's/^#   //p' Makefile

demo: setup
	$(PY) -m tinygen demo $(ARGS)

# One thread for each of the JOBS processes: two torch processes that fight for two cores are slower than one.
test unit notebooks browser book refresh: export OMP_NUM_THREADS = 1
PYTEST = $(PY) -m pytest -q -n $(JOBS) --dist loadfile --durations=10
TESTS ?= tests
UNIT = $(PYTEST) $(TESTS) $(ARGS)
NBVAL = $(PYTEST) --nbval --nbval-current-env --nbval-sanitize-with book/nbval.cfg --nbval-cell-timeout=300 $(NOTEBOOKS)
test: setup
	$(UNIT)
	$(if $(NOTEBOOKS),$(NBVAL))
unit: setup
	$(UNIT)
notebooks: setup
	$(if $(NOTEBOOKS),$(NBVAL))

browser: setup
	$(PY) -m pytest -q tests/browser $(ARGS)

lab: setup
	$(PY) -m jupyterlab $(if $(filter 0,$(shell id -u)),--allow-root) $(ARGS)

prove-labs: export OMP_NUM_THREADS = 1
prove-labs: setup
	$(PY) -m tinygen.course.prove
	TINYGEN_CLASS=60 $(PY) -m pytest -q -s tests/course/test_class.py

book: setup
	$(PY) book/site/build.py $(if $(REPOSITORY),--repository $(REPOSITORY))

refresh: setup
	$(PY) book/execute.py $(CH)

lock: setup
	@$(UV); $$uv pip compile --quiet --universal --python-version 3.11 --all-extras --custom-compile-command "make lock" \
	  pyproject.toml requirements.in --output-file requirements.txt

clean:
	rm -rf .venv .pytest_cache build tinygen.egg-info
	find . -name __pycache__ -prune -exec rm -rf {} +

# Set-up. The stamp holds the folder's path: a folder that was moved or copied is set up again.
setup: $(STAMP)
ifneq ("$(shell cat $(STAMP) 2>/dev/null)","$(CURDIR)")
.PHONY: $(STAMP)
endif
UV := if uv --version >/dev/null 2>&1; then uv=uv; else uv="$(PY) -m uv"; fi
RIGHT_VERSION := -c 'import sys; sys.exit(sys.version_info < (3, 11))'

$(STAMP): pyproject.toml requirements.in requirements.txt
	@command -v "$(PYTHON)" >/dev/null || { echo "$(PYTHON) was not found: install Python 3.11 or newer," \
	  "or name yours: make PYTHON=python3.12" >&2; exit 1; }
	@"$(PYTHON)" $(RIGHT_VERSION) || { echo "tinygen needs Python 3.11 or newer; this is $$("$(PYTHON)" --version 2>&1)." \
	  "Install a newer one and name it: make PYTHON=python3.12" >&2; exit 1; }
	@echo "Setting up .venv: once, a few minutes (torch with its CUDA libraries is a download of about 3 GB)"
	@start=$$(date +%s); quiet=; test -t 2 || quiet=--quiet; \
	$(UV); \
	if ! $(PY) $(RIGHT_VERSION) 2>/dev/null; then \
	  rm -rf .venv; \
	  if [ "$$uv" = uv ]; then \
	    uv venv --quiet --python "$$("$(PYTHON)" -c 'import sys; print(sys.executable)')" .venv || exit 1; \
	  else \
	    "$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { echo "this Python cannot make environments: install" \
	      "its venv module (Debian, Ubuntu: sudo apt install python3-venv), or uv" >&2; exit 1; }; \
	    "$(PYTHON)" -m venv .venv || exit 1; \
	  fi; \
	fi; \
	$$uv --version >/dev/null 2>&1 || $(PY) -m pip install --quiet uv || exit 1; \
	$$uv pip install $$quiet --python $(PY) -r pyproject.toml --all-extras -r requirements.in -c requirements.txt \
	  && $$uv pip install $$quiet --python $(PY) --no-deps --no-build-isolation -e . \
	  || { echo "installation failed (see above): check the network and run the same command again" >&2; exit 1; }; \
	echo "Set up in $$(( $$(date +%s) - start )) s"
	@printf '%s\n' "$(CURDIR)" > $(STAMP)
