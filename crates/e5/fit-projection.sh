#!/usr/bin/env bash
# How crates/e5/src/projection.bin was made: which texts the mean and the axes were fitted on.
#
#   crates/e5/fit-projection.sh WEIGHTS     writes crates/e5/src/projection.bin
#
# The texts are of Debian packages: glosses and examples of WordNet (WordNet licence), the Chinese
# collection of fortunes-zh (GPL-3+), GNOME's user help in nine languages (CC BY-SA 3.0). None of
# their text is in the result, which is a mean and 256 directions. Needs Debian 12's apt, dpkg,
# Python 3.9 and cargo.
#
# Whoever makes another projection counts VERSION in projection.rs up.
set -euo pipefail
weights=$(realpath "$1")
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
root=$PWD

cd "$folder"
apt-get download wordnet-base=1:3.0-37 fortunes-zh=2.98 gnome-user-docs=43.0-2
for package in *.deb; do dpkg-deb -x "$package" "$folder"; done
python3 - >lines <<'PYTHON'
import glob
import random
import re
import sys

random.seed(1)


def sample(texts, count):
    texts = sorted({" ".join(text.split()) for text in texts})
    texts = [text for text in texts if 8 <= len(text) <= 400]
    return random.sample(texts, min(count, len(texts)))


# A gloss is the meaning of a word, then examples of its use in quotes.
glosses, examples = [], []
for path in sorted(glob.glob("usr/share/wordnet/data.*")):
    for line in open(path, encoding="utf-8"):
        gloss = line.partition(" | ")[2].strip()
        examples += re.findall(r'"([^"]+)"', gloss)
        glosses.append(gloss.split('; "')[0])

colour = re.compile(r"\x1b\[[0-9;]*m|\x08")
chinese = []
for part in re.split(r"^%$", open("usr/share/games/fortunes/chinese", encoding="utf-8").read(), flags=re.M):
    for paragraph in re.split(r"\n\s*\n", colour.sub("", part)):
        paragraph = re.sub(r"(?<=[^\x00-\x7f])\s+(?=[^\x00-\x7f])", "", paragraph.strip())
        chinese += [paragraph] + re.findall(r"[^。！？]+[。！？]", paragraph)


def help_of(language):
    for path in sorted(glob.glob(f"usr/share/help/{language}/gnome-help/*.page")):
        page = open(path, encoding="utf-8").read()
        for paragraph in re.findall(r"<(?:p|title|desc)>(.*?)</(?:p|title|desc)>", page, re.S):
            yield re.sub(r"<[^>]*>", "", paragraph)


lines = sample(examples, 4000) + sample(glosses, 2000) + sample(chinese, 5000)
lines += sample(help_of("C"), 1000) + sample(help_of("zh_CN"), 1000)
for language in ["de", "es", "fr", "ja", "ko", "pt_BR", "ru"]:
    lines += sample(help_of(language), 300)
random.shuffle(lines)
sys.stdout.reconfigure(encoding="utf-8")
print("\n".join(lines))
PYTHON
wc -l <lines
cd "$root"
cargo run --release --package e5 --example fit -- "$weights" crates/e5/src/projection.bin <"$folder/lines"
