"""Passwords and tokens in the URLs of storages: found, and kept out of whatever is shown.

Nothing heavy is imported here: the command line passes all that it says of errors through `redacted`.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from urllib.parse import quote, quote_plus, unquote, unquote_plus

HIDDEN = "***"
SURE = 8
"""Characters from which a secret is hidden inside of words, too; a shorter one could be part of any word."""

_URL = re.compile(
    r"(?:--[\w-]+=)?(?:[\w+.-]+:/+)?(?:(?P<user>[^:/@?]*)(?::(?P<password>[^@]*))?@)?[^?]*(?:\?(?P<query>.*))?",
    re.DOTALL,
)
_SECRET = re.compile(r"pass(?!file)|pwd|secret|token|key|credential|auth|odbc_connect", re.IGNORECASE)
"""Stands in the name of an option whose value is nobody's business."""
_WITHIN = re.compile(r"(?:pwd|password)=\{?([^;}]+)", re.IGNORECASE)
"""A password in the value of such an option, as ODBC has it."""
_OF_A_LAYER = re.compile(r"(?:--[\w-]+=)?[a-z_]+\.[a-z_]+@\d+(?:,|$)")
"""A control of one layer, such as ``constantmax.gamma@0``: nothing of a URL, though there is an @."""
_USER = re.compile(r"([\w+.-]{1,40}:/+[^\s:/@'\"]{0,200}):[^\s@'\"]{1,1000}@")
_OPTION = re.compile(r"\b(\w*(?:password|passwd|pwd|secret|token))=[^\s&;,'\"]+", re.IGNORECASE)


def secrets(url: str) -> set[str]:
    """The secrets of a URL, in each way in which somebody may write them: a password, a token in place of a user's
    name, and options that are called like one. A URL may have lost its scheme, or be the value of a flag."""
    parts = _URL.match(url)
    if not parts or _OF_A_LAYER.match(url):
        return set()
    password = parts["password"] or ""
    plain = {unquote(password), unquote(password.rpartition(":")[2])}  # the latter where a scheme came first
    if parts["user"] and parts["password"] is None and is_token(unquote(parts["user"])):
        plain.add(unquote(parts["user"]))
    for option in (parts["query"] or "").split("&"):
        name, _, value = option.partition("=")
        if _SECRET.search(name):
            plain |= {unquote_plus(value), *_WITHIN.findall(unquote_plus(value))}
    return {form for secret in plain if secret for form in _forms(secret, url)}


def is_token(user: str) -> bool:
    """Whether a user's name without a password is likely to be the password itself, as some services have it."""
    return len(user) >= 16 or sum(character.isdigit() for character in user) >= 3


def redacted(text: str, urls: Iterable[str] = ()) -> str:
    """A text without the secrets of some URLs, and without the passwords of any URL or option that stands in it."""
    for secret in sorted({secret for url in urls for secret in secrets(url)}, key=len, reverse=True):
        before = r"(?<!\w)" if len(secret) < SURE and secret[0].isalnum() else ""
        behind = r"(?!\w)" if len(secret) < SURE and secret[-1].isalnum() else ""
        text = re.sub(before + re.escape(secret) + behind, HIDDEN, text)
    return _OPTION.sub(rf"\1={HIDDEN}", _USER.sub(rf"\1:{HIDDEN}@", text))


def typed_again(words: Sequence[str]) -> str:
    """A tunemax command with the words that somebody has given, once more; a storage with a password is in the
    environment then, where nobody else can read it."""
    kept, hidden = list[str](), False
    for word in words:
        if secrets(word):
            hidden = True
            if kept[-1:] == ["--storage"]:
                del kept[-1]
        else:
            kept.append(word)
    return shlex.join(["tunemax", *kept]) + " (with TUNEMAX_STORAGE set)" * hidden


def _forms(secret: str, url: str) -> Iterator[str]:
    """A secret as it is, in a URL, in a Python string, and as this URL has it."""
    yield from (secret, quote(secret), quote(secret, safe=""), quote_plus(secret), repr(secret)[1:-1])
    yield from (raw for raw in re.split(r"[:/@?&=]", url) if secret in (unquote(raw), unquote_plus(raw)))
