#!/usr/bin/env bash
# Makes .venv with everything that `make demo` or `make test` needs; quick when it is there.
# usage: scripts/setup.sh demo|test      PYTHON=python3.12  TORCH=cpu|cuda
set -euo pipefail
cd "$(dirname "$0")/.."

readonly SET=${1:?usage: scripts/setup.sh demo|test}
readonly TORCH=${TORCH:-cpu}
readonly TORCH_CPU_INDEX=https://download.pytorch.org/whl/cpu
readonly PIP_PIN='pip==26.3'
readonly LOG=.venv/setup.log
# Shared libraries that open3d loads, with the Debian and Ubuntu package of each.
readonly LIBRARIES=(
  libEGL.so.1=libegl1 libGL.so.1=libgl1 libusb-1.0.so.0=libusb-1.0-0
  libgomp.so.1=libgomp1 libX11.so.6=libx11-6
)

say() { echo "setup: $*"; }
die() { echo "setup: $*" >&2; exit 1; }

apt_install() {
  say "installing $* with apt-get"
  local log
  log=$(mktemp)
  export DEBIAN_FRONTEND=noninteractive
  { apt-get update && apt-get install -y --no-install-recommends "$@"; } > "$log" 2>&1 \
    || die "apt-get could not install $* ($(grep -m1 '^E:' "$log" || tail -n1 "$log"))"
  rm -f "$log"
}

# need PACKAGE... : installs Debian packages when root, otherwise says the command and stops.
need() {
  local why=$1
  shift
  command -v apt-get > /dev/null || die "$why: install what Debian calls $*, then run make again"
  [ "$(id -u)" = 0 ] || die "$why: run 'sudo apt-get install -y $*', then run make again"
  apt_install "$@"
}

supported() {
  command -v "$1" > /dev/null && "$1" -c '
import sys
sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' 2> /dev/null
}

find_python() {
  local candidate
  if [ -n "${PYTHON:-}" ]; then
    supported "$PYTHON" || die "PYTHON=$PYTHON is not a Python 3.10 to 3.13"
    return
  fi
  for candidate in python3 python3.12 python3.11 python3.13 python3.10; do
    if supported "$candidate"; then PYTHON=$candidate; return; fi
  done
  if ! command -v python3 > /dev/null; then
    need 'no Python 3.10 to 3.13 found' python3 python3-venv
    if supported python3; then PYTHON=python3; return; fi
  fi
  die 'no Python 3.10 to 3.13 found: install one and name it, make PYTHON=/path/to/python3.12 ...'
}

make_environment() {
  if .venv/bin/python -m pip --version > /dev/null 2>&1; then return; fi
  find_python
  "$PYTHON" -c 'import ensurepip, venv' 2> /dev/null || need "$PYTHON cannot make a virtual \
environment" "python$("$PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv"
  say "making .venv with $("$PYTHON" --version)"
  rm -rf .venv
  "$PYTHON" -m venv .venv || die "$PYTHON could not make .venv"
}

system_libraries() {
  local missing=() entry
  for entry in "${LIBRARIES[@]}"; do
    .venv/bin/python -c "import ctypes; ctypes.CDLL('${entry%%=*}')" 2> /dev/null \
      || missing+=("${entry#*=}")
  done
  [ ${#missing[@]} = 0 ] || need 'open3d needs system libraries' "${missing[@]}"
}

pip_install() {
  echo "+ pip install $*" >> "$LOG"
  .venv/bin/python -m pip install --disable-pip-version-check --no-input "$@" >> "$LOG" 2>&1 \
    || die "pip failed: $(grep -m1 '^ERROR:' "$LOG" || tail -n1 "$LOG") (all of it: $LOG)"
}

reachable() {
  .venv/bin/python -c '
import sys, urllib.request
urllib.request.urlopen(sys.argv[1], timeout=5).close()' "$1" 2> /dev/null
}

install_packages() {
  : > "$LOG"
  # pip takes the two builds of one torch version for the same thing.
  if [ -e .venv/.torch ] && [ "$(cat .venv/.torch)" != "$TORCH" ]; then
    .venv/bin/python -m pip uninstall -y torch >> "$LOG" 2>&1
  fi
  local index=()
  if [ "$TORCH" = cpu ] && reachable "$TORCH_CPU_INDEX/torch/"; then
    index=(--extra-index-url "$TORCH_CPU_INDEX")
  fi
  say "installing pinned packages for $SET, torch for $TORCH (minutes; progress in $LOG)"
  pip_install "$PIP_PIN"
  pip_install "${index[@]}" -r requirements/torch.txt -r "requirements/$SET.txt"
  pip_install --no-deps --no-build-isolation --editable .
  if [ "$TORCH" = cuda ]; then
    .venv/bin/python -c 'import sys, torch; sys.exit(torch.version.cuda is None)' \
      || die 'TORCH=cuda, but pip found no CUDA build of torch for this platform; use TORCH=cpu'
  fi
  echo "$TORCH" > .venv/.torch
}

# fingerprint SET: changes with whatever the environment was made from.
fingerprint() {
  cat "requirements/$1.txt" requirements/torch.txt setup.py setup.cfg "$0" <(echo "$TORCH") \
    | sha256sum
}

case $SET in demo | test) ;; *) die "unknown set '$SET': demo or test" ;; esac
case $TORCH in cpu | cuda) ;; *) die "TORCH=$TORCH is not a choice: cpu or cuda" ;; esac

make_environment
system_libraries
if [ "$(cat ".venv/.setup-$SET" 2> /dev/null)" != "$(fingerprint "$SET")" ]; then
  install_packages
  fingerprint "$SET" > ".venv/.setup-$SET"
  # The packages of the tests are a superset of the demo's.
  if [ "$SET" = test ]; then fingerprint demo > .venv/.setup-demo; fi
  say 'done'
fi
