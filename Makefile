# make demo: a phantom study as DICOM, analysed with the shipped weights.   make test: everything ./check checks.
PYTHON ?= python3
BIN := .venv/bin

# The seed is chosen and not representative. Of the seeds from 0 whose MR study has three or four
# lesions of three types, none a calcification and none planned under 8 mm in radius, 989 is the
# first where the shipped weights find and type every lesion right and nothing else: the 8th of 11
# that were tried, and the only one. Of seeds 0 to 59, whatever their lesions, no study with several
# types came out so. How good the weights are on studies that were not chosen: see README.
demo: .venv/.installed
	rm -rf demo-study
	$(BIN)/liverleaf phantom --cases 1 --modality mr --format dicom --seed 989 --out demo-study
	$(BIN)/liverleaf analyze demo-study/case-00000/dicom --out demo-output --overwrite

test: .venv/.installed-dev
	./check

.venv/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "liverleaf needs Python 3.11 or newer: make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

.venv/.installed-dev: .venv/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

.PHONY: demo test
