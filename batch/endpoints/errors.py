"""Error answers: the shapes that several APIs share, read as (field, message) pairs. Nothing here ever raises."""

from collections.abc import Mapping, Sequence
from typing import Any

from batch.http import ApiResponse
from batch.model import visible

MAX_DEPTH = 8


def tidied(errors: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Make what an API says fit to be kept and shown: not too much of it, and no escape sequences."""
    return [(visible(name[:200]), visible(message[:500])) for name, message in errors[:50]]


def parse_common_errors(data: Any) -> list[tuple[str, str]]:
    """Read the error shapes of RFC 9457 problem+json and of FastAPI / django-ninja; [] where neither fits."""
    if not isinstance(data, Mapping):
        return []
    found = []
    for error in data.get("errors") or () if isinstance(data.get("errors"), list) else ():
        if isinstance(error, Mapping) and isinstance(error.get("detail"), str):
            pointer = str(error.get("pointer") or "").lstrip("#/").replace("/", ".")
            found.append((pointer, error["detail"]))
    for error in data["detail"] if isinstance(data.get("detail"), list) else ():
        if isinstance(error, Mapping) and "msg" in error:
            loc = error.get("loc")
            path = [str(part) for part in loc] if isinstance(loc, list) else []
            found.append((".".join(path[1:] if path[:1] == ["body"] else path), str(error["msg"])))
    if not found:
        error = data.get("error")
        data = {**data, "error": error.get("message")} if isinstance(error, Mapping) else data
        texts = [data[key] for key in ("detail", "message", "error", "title") if isinstance(data.get(key), str)]
        found = [("", text) for text in texts[:1]]
    return found


def error_text(response: ApiResponse) -> str:
    """Describe an error answer that has no readable shape."""
    start = " ".join(response.text[:300].split())
    if not start:
        return f"the API answered {response.status} without saying why"
    if start.startswith("<"):
        return f"the API answered {response.status} with a web page instead of a reason"
    return f"the API answered {response.status}: {start}"


def flattened(path: str, errors: Any, depth: int = 0) -> list[tuple[str, str]]:
    """Read `{field | "__all__": [message, …]}` however deep it is nested."""
    if depth > MAX_DEPTH or errors in (None, ""):
        return []
    if isinstance(errors, Mapping):
        return [
            pair
            for key, value in list(errors.items())[:50]
            for pair in flattened(path if key == "__all__" else f"{path}.{key}".lstrip("."), value, depth + 1)
        ]
    if isinstance(errors, list):
        return [pair for value in errors[:50] for pair in flattened(path, value, depth + 1)]
    return [(path, str(errors))]
