# Everything below works from a bare checkout; the first run makes .venv (some minutes).
#   PYTHON=python3.12   the interpreter of .venv; else the first Python 3.10 to 3.13 found
#   TORCH=cpu|cuda      the build of torch in .venv; with cuda, pip's ordinary index decides which
#   ARGS='...'          options passed on to the command
#   SIZE=0.1            share of the full size that reliability runs
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?=
TORCH ?= cpu
ARGS ?=
export PYTHON TORCH
# Several processes share few cores: none of them may spin while it waits.
export OMP_NUM_THREADS ?= 1
export OMP_WAIT_POLICY ?= passive
BIN := .venv/bin
SIZE ?= 1
ROS_TESTS := test/test_transforms_tf2.py test/test_launch_files.py test/test_ament_lint.py test/ros test/conformance

.PHONY: help demo demo-ros test test-ros reliability lint format benchmark lock clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo:  ## simulated camera, node and checker as processes: table, picture, recording in results/
	@scripts/setup.sh demo
	@$(BIN)/dlc-ros demo $(ARGS)

demo-ros:  ## the same with the rclpy node, started by ros2 launch (source ROS 2 first)
	@scripts/setup.sh demo
	@scripts/demo_ros.sh $(ARGS)

test: lint  ## set-up, lint and every test; tests that need ROS 2 or data say so
	@$(BIN)/python -m pytest $(ARGS)

test-ros:  ## tests of the rclpy node, in the Python of the ROS 2 that is sourced
	@python3 -c 'import rclpy' || { echo 'test-ros: source ROS 2 first' >&2; exit 2; }
	@PYTHONPATH="$(CURDIR):$$PYTHONPATH" python3 -m pytest -rs $(ROS_TESTS) $(ARGS)

reliability:  ## faults and scenarios at full size; writes the tables of docs/reliability.md
	@scripts/setup.sh test
	@run() { $(BIN)/python -m pytest -m scenario --reliability $(SIZE) $(ARGS) "$$@"; }; \
	  run -k soak & run -k 'not soak'; others=$$?; wait $$! && exit $$others

lint:  ## style, as the tests of a change see it
	@scripts/setup.sh test
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

format:  ## rewrite the tree in that style
	@scripts/setup.sh test
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

benchmark:  ## the numbers of BENCHMARKS.md that are about speed and memory
	@scripts/setup.sh test
	@$(BIN)/dlc-eval speed $(ARGS)

lock:  ## pin requirements/*.in anew
	@scripts/lock.sh

clean:  ## remove what builds and tests leave; .venv and results/ stay
	@rm -rf build install log dlc_ros.egg-info .pytest_cache .ruff_cache .hypothesis
