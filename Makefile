# Everything runs in .venv, which the first target that needs it builds from pyproject.toml.
# It need not be activated.

PYTHON ?= python3
CORES ?= all
GPUS ?= 4
SAMPLE_SET ?=
WHEELS ?=

VENV_READY := .venv/.installed
IN_VENV := PATH="$(CURDIR)/.venv/bin:$$PATH"

.DEFAULT_GOAL := help
.PHONY: help dictionary test bench check-gpu check-slurm docs lint format clean-environment

help: ## List these targets
	@echo "Usage: make TARGET"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

dictionary: $(VENV_READY) ## Mine the dictionary of Rosetta neurons (SAMPLE_SET=name CORES=all GPUS=4)
	$(IN_VENV) snakemake dictionary --cores $(CORES) --resources gpu=$(GPUS) \
		$(if $(SAMPLE_SET),--config sample_set=$(SAMPLE_SET))

test: $(VENV_READY) ## Run the tests
	$(IN_VENV) pytest -q -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

bench: $(VENV_READY) ## Time the correlation engine at every size (needs the results of faces)
	$(IN_VENV) python -m rosetta_steps.benchmarks.suite

# With WHEELS there is no network to build .venv with: PYTHON is one that has torch.
check-gpu: $(if $(WHEELS),,$(VENV_READY)) ## Check all that needs a GPU, in at most 6 minutes (WHEELS=folders without a network)
	$(if $(WHEELS),$(PYTHON),$(IN_VENV) python) -m rosetta_steps.benchmarks.check_gpu $(if $(WHEELS),--wheels $(WHEELS))

check-slurm: $(VENV_READY) ## Try the workflow and its faults on a real Slurm, which is installed for it (root, Debian)
	$(IN_VENV) python -m rosetta_steps.benchmarks.check_slurm

docs: $(VENV_READY) ## Build the documentation as a site in site/
	@.venv/bin/python -c "import mkdocs, material" 2>/dev/null || .venv/bin/pip install -q -e '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(IN_VENV) mkdocs build --strict

lint: $(VENV_READY) ## Check the style and the types of the Python code, the style of the workflow
	$(IN_VENV) ruff check .
	$(IN_VENV) ruff format --check .
	$(IN_VENV) mypy
	$(IN_VENV) snakefmt --check workflow
	@# One environment is enough here: it is made by this file, and no rule has its own.
	@! $(IN_VENV) snakemake --lint 2>&1 | grep '^    [*] ' | grep -v 'Specify a conda environment'

format: $(VENV_READY) ## Lay out the Python code and the workflow
	$(IN_VENV) ruff check --fix .
	$(IN_VENV) ruff format .
	$(IN_VENV) snakefmt workflow

clean-environment: ## Remove .venv
	rm -rf .venv

# The launcher goes in after Snakemake, so that its `snakemake` script is the one that stays.
$(VENV_READY): pyproject.toml workflow/launcher/pyproject.toml workflow/launcher/rosetta_steps_launcher.py
	@echo "Installing rosetta_steps and what it needs into .venv. This takes about 2 minutes."
	$(PYTHON) -m venv .venv
	.venv/bin/pip install -q -e '.[test,slurm]'
	@echo "Installing the launcher, whose snakemake command replaces Snakemake's own in .venv."
	.venv/bin/pip install -q --no-deps --force-reinstall ./workflow/launcher
	@touch $@
	@echo "The environment in .venv is ready."
