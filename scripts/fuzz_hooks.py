"""What only the running server knows, for the requests of scripts/fuzz.sh: whose data a token is for, and which agents there are."""

import re

import schemathesis

SCOPE = re.compile(r"[A-Za-z0-9_.:@-]{1,128}")
AGENT = re.compile(r"[A-Za-z0-9_-]{1,64}")


@schemathesis.hook
def map_headers(context, headers):
    """A good name that is not the token's would only ever be refused; a bad one stays."""
    for name in ("x-org-id", "x-user-id"):
        value = (headers or {}).get(name)
        if isinstance(value, str) and SCOPE.fullmatch(value):
            del headers[name]
    return headers


@schemathesis.hook
def map_body(context, body):
    """A good name of an agent is one that is there; a bad one stays."""
    agent = body.get("agent_id") if isinstance(body, dict) else None
    if isinstance(agent, str) and AGENT.fullmatch(agent):
        body["agent_id"] = "main"
    return body
