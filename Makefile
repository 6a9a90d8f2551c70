PYTHON ?= python3
VENV ?= .venv
RUN = $(VENV)/bin/python
DATA ?= portraits
PARTS = denoiser clip clip_noisy $(if $(filter shapes,$(DATA)),judge)

# A slow or broken connection resumes a download instead of failing.
export PIP_RESUME_RETRIES ?= 50
export PIP_RETRIES ?= 10

.PHONY: help setup dev demo test lint docs slow attack study weights clean

help:            ## list these commands
	@sed -n 's/^\([a-z]*\):.*## /\1: /p' $(MAKEFILE_LIST)

setup: $(VENV)/installed       ## a virtual environment that samples and trains

$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --upgrade pip
	$(RUN) -m pip install --quiet -c constraints.txt -e ".[imagenet]"
	@touch $@

dev: $(VENV)/dev               ## and all that tests, documentation and every launcher need

$(VENV)/dev: $(VENV)/installed
	$(RUN) -m pip install --quiet -c constraints.txt -e ".[dev]"
	@touch $@

demo: setup      ## guided samples from the shipped weights
	$(RUN) sample.py

test: dev        ## the tests, without the slow ones, a file to a core
	PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(RUN) -m pytest -m "not slow and not attack" -n auto --maxprocesses 4 --dist loadfile

lint: dev        ## formatting, lint and types, as CI checks them
	$(RUN) -m ruff format --check .
	$(RUN) -m ruff check .
	$(RUN) -m mypy

docs: dev        ## the documentation, into site/; a warning is an error
	NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --strict --quiet

slow: dev        ## the slow tests: the figures of the shipped weights, the notebook
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(RUN) -m pytest -m slow -n auto --maxprocesses 2 --dist loadfile

attack: dev      ## wrong input, kills, full disks, hostile files; ATTACK=some takes a few minutes
	ATTACK=$(or $(ATTACK),whole) OMP_NUM_THREADS=1 $(RUN) -m pytest tests/attack -n 2 --dist loadfile

study: setup     ## the central experiment: docs/study.md
	$(RUN) benchmarks/study.py outputs/study

weights: setup   ## train the shipped weights of DATA=portraits or shapes anew; hours on a CPU
	for kind in $(PARTS); do \
	  if [ -e outputs/weights/$(DATA)/$$kind/$$kind/README.md ]; then rm -r outputs/weights/$(DATA)/$$kind; fi && \
	  $(RUN) train.py data=$(DATA) encoder=$$(echo $$kind | sed 's/denoiser/none/') hydra.run.dir=outputs/weights/$(DATA)/$$kind \
	    $$(ls outputs/weights/$(DATA)/$$kind/checkpoints/*.ckpt > /dev/null 2>&1 && echo resume=true) && \
	  rm -f weights/$(DATA)/$$kind.new.safetensors && \
	  $(RUN) -m sdg.app.checkpoints convert --half outputs/weights/$(DATA)/$$kind/$$kind weights/$(DATA)/$$kind.new.safetensors && \
	  mv -f weights/$(DATA)/$$kind.new.safetensors weights/$(DATA)/$$kind.safetensors && \
	  mv -f weights/$(DATA)/$$kind.new.md weights/$(DATA)/$$kind.md || exit 1; \
	done

clean:           ## forget the environment, the runs and the rendered data
	rm -rf $(VENV) outputs site data/portraits data/shapes data/emoji
