"""Reads the plans in a log of PostgreSQL (`debug_print_plan`), for scripts/postgres-16.sh.

Fails where one would be compiled, or where one of our statements costs so much that only what is
switched off can be the reason.
"""

import re
import sys

# What starts the compiler by default is 1e5; what is switched off costs 1e10.
COST_MAX = 1e9

plans = costly = compiled = 0
text = open(sys.argv[1], encoding="utf-8", errors="replace").read()
for entry in re.split(r"\n(?=\d{4}-\d\d-\d\d )", text):
    if not re.match(r"\S+ \S+ \S+ openintern ", entry):
        continue  # Of the tests themselves, or of the server.
    found = re.search(r":jitFlags (\d+) :planTree \{\w+ :plan\.startup_cost \S+\s+:plan\.total_cost (\S+)",
                      re.sub(r"\s+", " ", entry))
    if found is None:
        continue
    plans += 1
    if int(found[1]) != 0:
        compiled += 1
        print("compiled:", entry[-400:], file=sys.stderr)
    if float(found[2]) > COST_MAX:
        costly += 1
        print(f"costs {found[2]}:", entry[-400:], file=sys.stderr)

print(f"plans: {plans}, compiled: {compiled}, above {COST_MAX:.0e}: {costly}")
if plans == 0:
    sys.exit("the log has no plans")
sys.exit(1 if compiled or costly else 0)
