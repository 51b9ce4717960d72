#!/bin/sh
# Makes the Python environment of the skills and tests in .venv. Does nothing when it is up to date.
set -eu
cd "$(dirname "$0")/.."

llmock="llmock==0.2.2"
schemathesis="schemathesis==4.32.5" # for scripts/fuzz.sh
python=${PYTHON:-python3}
want=$({ cat skills/pyproject.toml "$0"; "$python" --version; pwd; } | cksum)

if [ "$(cat .venv/stamp 2>/dev/null)" = "$want" ] && .venv/bin/python -c '' 2>/dev/null; then
    echo "python: .venv is up to date"
    exit 0
fi
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || {
    echo "python: Python 3.10 or newer is needed; hint: PYTHON=/path/to/python3 $0" >&2
    exit 1
}
rm -rf .venv # a half-made or moved one would fail later, and less clearly
"$python" -m venv .venv
.venv/bin/pip install --quiet --disable-pip-version-check -e 'skills[test]' \
    "$llmock" "$schemathesis"
echo "$want" >.venv/stamp
echo "python: .venv is ready"
