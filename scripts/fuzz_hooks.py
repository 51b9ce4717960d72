"""What only the running server knows, for the requests of scripts/fuzz.sh: whose data a token is for, which agents there are, which models, and which time zones."""

import re

import schemathesis

SCOPE = re.compile(r"[A-Za-z0-9_.:@-]{1,128}")
AGENT = re.compile(r"[A-Za-z0-9_-]{1,64}")
ZONE = re.compile(r"[A-Za-z][A-Za-z0-9_+/-]{0,63}")


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
    """A good name of an agent, a model or a time zone is one that is there; a bad one stays."""
    good = (("agent_id", AGENT, "main"), ("timezone", ZONE, "Asia/Shanghai"))
    for field, form, name in good if isinstance(body, dict) else ():
        if isinstance(body.get(field), str) and form.fullmatch(body[field]):
            body[field] = name
    # No schema says which objects are schemas that we accept.
    if isinstance(body, dict) and isinstance(body.get("response_format"), dict):
        body["response_format"] = {"type": "object"}
    model = body.get("llm_config") if isinstance(body, dict) else None
    for field, name in (("provider", "demo"), ("model", "default")) if isinstance(model, dict) else ():
        if isinstance(model.get(field), str) and 1 <= len(model[field]) <= 256:
            model[field] = name
    return body
