"""What scripts/fuzz.sh needs in a folder: a server's configuration, two users' tokens, and what is checked.

Tokens and not API keys: a key could be revoked by one of the requests.
"""

import json
import sys
import time
from pathlib import Path

import jwt  # PyJWT and cryptography come with `mcp`
from cryptography.hazmat.primitives.asymmetric import ec

SERVER = """
[server]
auth = "jwt"
[auth.jwt]
issuer = "fuzz"
audience = "fuzz"
jwks_file = "{folder}/jwks.json"
[model]
default = "demo/instant"
"""

CHECKS = """
hooks = "fuzz_hooks"

[auth.wfc]
path = "{folder}/users.json"
user = "ours"
peers = ["ours", "theirs"]

[generation]
allow-x00 = false # The database keeps no NUL; a document has no words for that.

[checks]
enabled = true
# The usual ones, and 413: what is too long for its field may be too long for any body.
negative_data_rejection.expected-statuses = [
    "400", "401", "403", "404", "405", "406", "409", "413", "415", "422", "428", "429",
]

# What only the state of the server decides: whether a key was used with another body, ...
[[operations]]
include-operation-id = "create_run"
checks.positive_data_acceptance.expected-statuses = ["2xx", "401", "403", "404", "409", "422", "429"]

# ... whether the run has come as far as the cursor, and which of its steps can be forked from.
[[operations]]
include-operation-id = "follow_run"
checks.positive_data_acceptance.expected-statuses = ["2xx", "400", "401", "403", "404", "409", "429"]

[[operations]]
include-operation-id = "follow_runs"
checks.positive_data_acceptance.expected-statuses = ["2xx", "400", "401", "403", "404", "409", "429"]

[[operations]]
include-operation-id = "list_events"
checks.positive_data_acceptance.expected-statuses = ["2xx", "400", "401", "403", "404", "409", "429"]

[[operations]]
include-operation-id = "get_trace"
checks.positive_data_acceptance.expected-statuses = ["2xx", "400", "401", "403", "404", "409", "429"]

[[operations]]
include-operation-id = "fork_run"
checks.positive_data_acceptance.expected-statuses = [
    "2xx", "400", "401", "403", "404", "409", "422", "429",
]
"""


def main(folder: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    public = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(key.public_key()))
    public |= {"kid": "fuzz", "alg": "ES256", "use": "sig"}
    (folder / "jwks.json").write_text(json.dumps({"keys": [public]}))

    def user(name: str, org_id: str) -> dict:
        claims = {"iss": "fuzz", "aud": "fuzz", "exp": int(time.time()) + 86_400, "scope": "admin"}
        claims |= {"org_id": org_id, "sub": f"user_{name}"}
        token = jwt.encode(claims, key, algorithm="ES256", headers={"kid": "fuzz"})
        header = {"name": "Authorization", "value": f"Bearer {token}"}
        return {"name": name, "fixedHeaders": [header]}

    users = {"auth": [user("ours", "org_fuzz"), user("theirs", "org_other")]}
    (folder / "users.json").write_text(json.dumps(users))
    (folder / "openintern.toml").write_text(SERVER.format(folder=folder))
    (folder / "schemathesis.toml").write_text(CHECKS.format(folder=folder))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
