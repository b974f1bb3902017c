#!/usr/bin/env bash
# Pins requirements/*.in for every supported Python at once: requirements/*.txt.
# torch and its CUDA packages stay out of the pins, because setup.sh chooses that build.
set -euo pipefail
cd "$(dirname "$0")/../requirements"

tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
python3 -m venv "$tools"
"$tools/bin/pip" install --quiet uv

# lock NAME [OPTION...]
lock() {
  {
    echo "# Written by scripts/lock.sh from $1.in; change that file, not this one."
    "$tools/bin/uv" pip compile --quiet --universal --python-version 3.10 --no-annotate \
      --no-header "$1.in" "${@:2}" | grep -vE '^(torch|triton|cuda-|nvidia-)'
  } > "$1.new"
  mv "$1.new" "$1.txt"
}

lock demo
lock test --constraint demo.txt
