#!/bin/sh
# Makes the virtual environment $1 with everything that demo, tests and scripts need, in the
# versions of constraints.txt. What is missing is said in one line.
set -eu

venv=$1
python=${PYTHON:-python3.11}
needed_gb=5
log=$venv/set_up.log

fail() {
    echo "set-up: $*" >&2
    exit 1
}

command -v "$python" >/dev/null 2>&1 ||
    fail "$python is not installed; install Python 3.11, or name it: make PYTHON=/path/to/python3.11"
"$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null ||
    fail "$python is not Python 3.11, the newest that TensorFlow 2.15 runs on; make PYTHON=/path/to/python3.11"
"$python" -c 'import venv, ensurepip' 2>/dev/null ||
    fail "$python lacks the module venv; install it (Debian: apt install python3.11-venv)"

free_gb=$(df -Pk . | awk 'NR == 2 { print int($4 / 1048576) }')
if [ ! -e "$venv/ready" ] && [ "$free_gb" -lt "$needed_gb" ]; then
    fail "$needed_gb GB of free disk are needed, $free_gb GB are there; free some and run again"
fi

[ -x "$venv/bin/python" ] || "$python" -m venv "$venv" || fail "$venv cannot be made here"
echo "set-up: installing into $venv (about 3 GB, some minutes; log in $log)"
if ! "$venv/bin/python" -m pip install --disable-pip-version-check \
    --constraint constraints.txt --editable '.[train,synthetic,dev,docs]' >"$log" 2>&1; then
    if grep -qiE 'no space left' "$log"; then
        fail "the disk is full; free $needed_gb GB and run again"
    elif grep -qiE 'connection|resolve|timed out|unreachable|proxy|No matching distribution' "$log"; then
        fail "the package index cannot be reached or lacks a package; check the network and run again (log: $log)"
    fi
    fail "installing failed: $(grep -iE '^error' "$log" | tail -n 1) (log: $log)"
fi
# LiteRT.js, for the page of ser-nsl serve.
if command -v npm >/dev/null 2>&1; then
    npm ci --ignore-scripts --no-audit --no-fund --prefix ser_nsl/web >>"$log" 2>&1 ||
        fail "LiteRT.js cannot be installed by npm; check the network and run again (log: $log)"
else
    echo "set-up: npm is not installed, so ser-nsl serve will not run"
fi
