"""What only the running server knows, for the requests of scripts/fuzz.sh: whose data a token is for,
which agents, models and time zones there are; and what no schema can say: which times go together, and
which numbers are kept as they are."""

import re

import schemathesis

SCOPE = re.compile(r"[A-Za-z0-9_.:@|+=~-]{1,128}")
AGENT = re.compile(r"[A-Za-z0-9_-]{1,64}")
ZONE = re.compile(r"[A-Za-z][A-Za-z0-9_+/-]{0,63}")
TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt].+")
WEEK = {"since": "2026-01-05T00:00:00Z", "until": "2026-01-12T00:00:00Z"}


@schemathesis.hook
def map_headers(context, headers):
    """A good name that is not the token's would only ever be refused; a bad one stays."""
    for name in ("x-org-id", "x-user-id"):
        value = (headers or {}).get(name)
        if isinstance(value, str) and SCOPE.fullmatch(value):
            del headers[name]
    return headers


@schemathesis.hook
def map_query(context, query):
    """A good time is one of a week that can be summed up; a bad one stays."""
    query = query or {}
    times = [query[name] for name in WEEK if name in query]
    if times and all(isinstance(time, str) and TIME.fullmatch(time) for time in times):
        query.update(WEEK)
    return query


def kept(value):
    """Integers beyond 64 bits would be rounded, and are refused."""
    if isinstance(value, dict):
        return {name: kept(one) for name, one in value.items()}
    if isinstance(value, list):
        return [kept(one) for one in value]
    if isinstance(value, int) and not isinstance(value, bool) and not -(2**63) <= value < 2**63:
        return str(value)
    return value


@schemathesis.hook
def map_body(context, body):
    """A good name of an agent, a model or a time zone is one that is there; a bad one stays."""
    good = (("agent_id", AGENT, "main"), ("timezone", ZONE, "Asia/Shanghai"))
    for field, form, name in good if isinstance(body, dict) else ():
        if isinstance(body.get(field), str) and form.fullmatch(body[field]):
            body[field] = name
    many = body.get("memories") if isinstance(body, dict) else None
    for one in [body, *(many if isinstance(many, list) else [])]:
        if isinstance(one, dict) and isinstance(one.get("metadata"), dict):
            one["metadata"] = kept(one["metadata"])
    # No schema says which objects are schemas that we accept.
    if isinstance(body, dict) and isinstance(body.get("response_format"), dict):
        body["response_format"] = {"type": "object"}
    model = body.get("llm_config") if isinstance(body, dict) else None
    for field, name in (("provider", "demo"), ("model", "default")) if isinstance(model, dict) else ():
        if isinstance(model.get(field), str) and 1 <= len(model[field]) <= 256:
            model[field] = name
    return body
