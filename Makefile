PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN := runs/demo

.PHONY: demo test check format golden clean

# A stamp tells that the environment is as pyproject.toml wants it; a fresh machine makes it by itself.
$(VENV)/core.stamp: pyproject.toml
	@echo "Installing into $(VENV); PyTorch is large, so the first time takes some minutes."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/dev.stamp: $(VENV)/core.stamp
	@echo "Installing what the tests and checks need."
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

demo: $(VENV)/core.stamp
	rm -rf $(RUN) $(RUN)-images
	$(BIN)/resnext train digits --out $(RUN)
	$(BIN)/resnext evaluate $(RUN)/best.safetensors digits
	$(BIN)/python examples/write_digits.py $(RUN)-images
	$(BIN)/resnext predict $(RUN)/best.safetensors $(RUN)-images --top 3

test: $(VENV)/dev.stamp
	$(BIN)/pytest --numprocesses auto

check: $(VENV)/dev.stamp
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/dev.stamp
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

golden: $(VENV)/dev.stamp
	$(BIN)/pytest --update-golden

clean:
	rm -rf $(VENV) runs
