"""Recognises secrets, by the name of the key or by their own form. One list for all that is sent, written or logged."""

from __future__ import annotations

import re
from collections.abc import Iterable

NAME = re.compile(
    r"SECRET|PASSW(OR)?D|PASSPHRASE|CREDENTIAL|AUTHORIZATION|SIGNATURE|TOKEN(?!IZ)|CONNECTION_?STRING"
    r"|KEYS?(?![A-Z])|(?<![A-Z])(SAS|PWD|PAT)(?![A-Z])"
)
PLACE = re.compile(r"_(FILE|PATH|ARN|URI)$|(KMS|PUBLIC)_KEY")  # the place of a secret, or the name of a key
PLAIN = re.compile(r"|true|false|yes|no|on|off|[01]", re.IGNORECASE)  # a switch is no secret, whatever its name
_NO_TEMPLATE = r"(?![{<$]|%[(s])"  # {password}, <password>, $PASSWORD, %(password)s
FORMS = {
    "a password in an address": re.compile(rf"(?<=://)[^/\s@:\[\]'\"]*:(?!\d+/){_NO_TEMPLATE}[^\s'\"]+(?=@)"),
    "a token in an address": re.compile(rf"((?<=https://)|(?<=http://)){_NO_TEMPLATE}[^/\s@:'\"]+(?=@)"),
    "a key or signature in an address": re.compile(
        r"(?<=[?&;])([\w-]*(signature|token|passw(or)?d|secret|account_?key|access_?key|api_?key|credential)"
        rf"|sig|pwd|key)={_NO_TEMPLATE}[^&;#\s'\"]+",
        re.IGNORECASE,
    ),
    "an AWS access key": re.compile(r"\b(AKIA|ASIA)[0-9A-Z]{16}\b"),
    "a private key": re.compile(r"-----BEGIN ([A-Z0-9]+ )*PRIVATE KEY-----(.*?-----END [A-Z0-9 ]*-----|.*)", re.DOTALL),
    "an access token": re.compile(
        r"\b(dapi[0-9a-f]{32}|hf_[A-Za-z0-9]{30,}|gh[pousr]_[A-Za-z0-9]{36,}|github_pat_\w{40,}|glpat-[\w-]{20,}"
        r"|xox[abprs]-[\w-]{10,}|eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{8,}|[Bb]earer\s+[\w.~+/=-]{16,})"
    ),
}


def names_secret(name: str, value: object = "…") -> bool:
    """Whether a variable, an option or a key of this name, with this value, holds a secret."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).upper().replace("-", "_")
    plain = value is None or PLAIN.fullmatch(str(value).strip()) is not None
    return NAME.search(words) is not None and PLACE.search(words) is None and not plain


def first_secret(text: str) -> tuple[str, int] | None:
    """The kind of the first secret in the text, such as "a password in an address", and its position; None: none."""
    matches = ((kind, form.search(text)) for kind, form in FORMS.items())
    return next(((kind, match.start()) for kind, match in matches if match), None)


def secret_in(text: str) -> str:
    """The kind alone; empty if there is none."""
    secret = first_secret(text)
    return secret[0] if secret else ""


def concealed(text: str, hidden: Iterable[str] = ()) -> str:
    """The text with *** in place of each secret with a known form and of each `hidden` one; an address loses its
    user."""
    for value in hidden:
        text = text.replace(value, "***")
    for form in FORMS.values():
        text = form.sub("***", text)
    return text.replace("//***@", "//")
