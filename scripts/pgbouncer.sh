#!/usr/bin/env bash
# Prints where PgBouncer is, for the fault harness: the one in $PGBOUNCER or on the path, else the
# distribution's, which is installed where we may (root on Debian).
set -euo pipefail
PATH=$PATH:/usr/sbin # Debian puts it there.

find_pgbouncer() {
    command -v "${PGBOUNCER:-pgbouncer}"
}
if ! find_pgbouncer >/dev/null && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    apt-get update -qq
    # The package would start a service; we start our own.
    DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
        apt-get install -y -qq --no-install-recommends pgbouncer >/dev/null
fi
find_pgbouncer || {
    echo "error: no PgBouncer was found (hint: install one, or name it in PGBOUNCER)" >&2
    exit 1
}
