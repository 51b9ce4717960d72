#!/usr/bin/env bash
# Fetches the JSON Schema Test Suite (https://github.com/json-schema-org/JSON-Schema-Test-Suite, MIT)
# for the tests of `response_format`, into .cache/json-schema-tests.json: the groups of draft 2020-12,
# by file. The source package of Python's `jsonschema` carries it; its code is not used.
#
# Needs bash and Python 3.9 with pip. Does nothing when the file is there.
set -euo pipefail

package=jsonschema==4.26.0
sha256=0c26707e2efad8aa1bfc5b7ce170f3fccc2e4918ff85989ba9ffa9facb2be326

cd "$(dirname "${BASH_SOURCE[0]}")/.."
suite=.cache/json-schema-tests.json
if [[ -f $suite ]]; then
  echo "json-schema-tests: $suite is there"
  exit 0
fi

mkdir -p .cache
download=$(mktemp -d .cache/download.XXXXXX)
trap 'rm -rf "$download"' EXIT
echo "$package --hash=sha256:$sha256" >"$download/requirements.txt"
python3 -m pip --disable-pip-version-check --quiet download --no-deps --no-binary=:all: \
  --dest "$download" --requirement "$download/requirements.txt"

python3 - "$download"/*.tar.gz "$download/suite" <<'PYTHON'
import json
import pathlib
import sys
import tarfile

package, suite = sys.argv[1:]
groups = {}
with tarfile.open(package) as files:
    for file in files:
        path = pathlib.PurePosixPath(file.name)
        if path.match("json/tests/draft2020-12/*.json"):
            groups[path.stem] = json.load(files.extractfile(file))
if not groups:
    sys.exit("fetch-json-schema-tests: the package has no tests")
pathlib.Path(suite).write_text(json.dumps(dict(sorted(groups.items()))))
PYTHON
mv "$download/suite" "$suite"
echo "json-schema-tests: fetched $suite"
