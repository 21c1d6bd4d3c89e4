"""Text files: their first bytes, which show the kind of file, their encoding, and their lines, of limited length."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from lakewright.errors import DataError, UsageError
from lakewright.records import Finding

if TYPE_CHECKING:
    from lakewright.data.sources.files import Files, SourceFile

LONGEST_LINE = 16 << 20  # characters: about two values of the greatest length; no more are in memory at once
_CHUNK_BYTES = 1 << 20
_UTF = re.compile(r"utf[-_]?(8|16|32)")

# The first bytes of files that are not text: https://en.wikipedia.org/wiki/List_of_file_signatures
_NO_TEXT = (
    (rb"\x1f\x8b", "compressed by gzip", "name it {name}.gz"),
    (rb"BZh[1-9]1AY&SY", "compressed by bzip2", "name it {name}.bz2"),
    (rb"\x28\xb5\x2f\xfd", "compressed by zstd", "name it {name}.zst"),
    (rb"\xfd7zXZ\x00", "compressed by xz", "decompress it with xz -d"),
    (rb"PK\x03\x04", "a zip archive or an Excel workbook", "unpack it, or save the sheet as csv"),
    (rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Excel workbook", "save the sheet as csv"),
    (rb"PAR1[\x00-\x1f]", "a Parquet file", "set data.format: parquet"),
    (rb"Obj\x01", "an Avro file", "write it as Parquet"),
    (rb"SQLite format 3\x00", "an SQLite database", "export the table as csv"),
    (rb"%PDF-", "a PDF document", "name a file of rows"),
)
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF8, "utf-8"),
)
# Encodings that refuse most foreign bytes, so that a match is evidence.
_SEVERAL_BYTES = {
    "gb18030": "Chinese",
    "big5": "Chinese",
    "shift_jis": "Japanese",
    "euc_jp": "Japanese",
    "euc_kr": "Korean",
}


def encoding_of(options: Mapping[str, Any], notice: Callable[[Finding], object]) -> str:
    """`options.encoding`; default utf-8. Raises UsageError for an unknown one, notices one that accepts any bytes."""
    encoding = options.get("encoding", "utf-8")
    try:
        "".encode(encoding)
    except (LookupError, TypeError, UnicodeError) as error:
        raise UsageError(f"there is no encoding {encoding!r}", "for example utf-8, cp1252, utf-16, gb18030") from error
    try:
        bytes(range(256)).decode(encoding)
    except UnicodeError:
        return str(encoding)
    detail = (
        f"options.encoding: {encoding} accepts any bytes, so that no error shows a wrong encoding: check the texts. "
        "For Western European text of Windows (– “ ” €) it is cp1252."
    )
    notice(Finding(name="any_bytes", count=1, detail=detail))
    return str(encoding)


def decoding(encoding: str) -> str:
    """The encoding that skips the mark which some editors put before UTF-8 text."""
    name = codecs.lookup(encoding).name
    return "utf-8-sig" if name == "utf-8" else name


def check_marks(files: Files, file: SourceFile, encoding: str) -> None:
    """Raises DataError if the file's first bytes show that it is not text, or text of another encoding."""
    with files.open(file) as stream:
        start: bytes = stream.read(4096)
    for mark, kind, remedy in _NO_TEXT:
        if re.match(mark, start):
            raise DataError(f"{file.name} is {kind}, not text", remedy.format(name=file.name))
    encoding_of_mark = next((name for mark, name in _MARKS if start.startswith(mark)), None) or _without_mark(start)
    width = _UTF.match(codecs.lookup(encoding).name)
    if encoding_of_mark and (width is None or width[1] != encoding_of_mark.removeprefix("utf-")[:2]):
        remedy = (
            "leave out options.encoding"
            if encoding_of_mark == "utf-8"
            else f"set options: {{encoding: {encoding_of_mark}}}"
        )
        raise DataError(f"{file.name} is {encoding_of_mark} (its first bytes show it), not {encoding}", remedy)


def _without_mark(start: bytes) -> str | None:
    """Recognises Latin letters in UTF-16 without a mark: every other byte is 0."""
    even, odd = start[0:-1:2], start[1::2]
    for halves, name in ((odd, "utf-16-le"), (even, "utf-16-be")):
        if len(halves) > 1 and 2 * halves.count(0) > len(halves) and start.count(0) < 0.6 * len(start):
            return name
    return None


def lines(stream: Any, name: str, encoding: str) -> Iterator[str]:
    """The lines of a stream of bytes, with their ends. Raises DataError for an endless one, UnicodeError."""
    text = io.TextIOWrapper(stream, encoding=decoding(encoding), newline="")
    for number, line in enumerate(iter(partial(text.readline, LONGEST_LINE + 1), ""), 1):
        if len(line) > LONGEST_LINE:
            raise endless(name, number)
        yield line


def endless(name: str, line: int) -> DataError:
    return DataError(
        f"{name} line {line} is longer than {LONGEST_LINE:,} characters",
        "check whether the file is damaged, or has other line ends; shorten the texts at the source",
    )


def undecodable(files: Files, file: SourceFile, encoding: str) -> DataError:
    """The error for bytes that are not text in this encoding: the first such line, and the encodings that fit."""
    number, reason = _first_line(files, file, encoding)
    cause = f"{file.name} line {number} is not {encoding}: {reason}"
    if decoding(encoding) == "utf-8-sig" and _decodes(files, file, "utf-8", "surrogatepass"):
        return DataError(
            f"{cause}; the file has surrogates, which are not characters (CESU-8 writes emoji this way)",
            "write the file as UTF-8; Python: "
            "data.decode('utf-8', 'surrogatepass').encode('utf-16', 'surrogatepass').decode('utf-16')",
        )
    letters, broken = _as_utf_8(files, file)
    if decoding(encoding) == "utf-8-sig" and letters > broken:
        return DataError(
            f"{cause}; the rest is utf-8, except for {broken:,} bytes",
            "correct the lines that were written in another encoding: that encoding would damage the other lines",
        )
    possible = [f"{name} ({language})" for name, language in _SEVERAL_BYTES.items() if _decodes(files, file, name)]
    usual = ["utf-8 (of most programs)"] if _decodes(files, file, "utf-8") else []
    windows = ["cp1252 (Western European text of Windows)"] if _decodes(files, file, "cp1252") else []
    fit = usual + (possible + windows if possible and _in_pairs(files, file) else windows + possible)
    if not fit:
        remedy = (
            "no other common encoding fits: check whether the file is damaged, or mixes several encodings; latin-1 "
            "would accept any bytes, correct or not"
        )
    else:
        others = f"; it could be {', '.join(fit[1:])} as well" if fit[1:] else ""
        first, _, language = fit[0].partition(" ")
        remedy = (
            f"set options: {{encoding: {first}}} {language}{others}; then check the texts, since other alphabets have "
            "other encodings (cp1250, cp1251 …)"
        )
    return DataError(cause, remedy)


def _first_line(files: Files, file: SourceFile, encoding: str) -> tuple[int, str]:
    decoder = codecs.getincrementaldecoder(decoding(encoding))()
    number = 1
    with files.open(file) as stream:
        while True:
            chunk: bytes = stream.read(_CHUNK_BYTES)
            try:
                number += decoder.decode(chunk, final=not chunk).count("\n")
            except UnicodeDecodeError as error:
                # The text before this chunk's wrong bytes, including bytes that the decoder kept from the last chunk.
                before = error.object[: error.start].decode(error.encoding, "replace")
                return number + before.count("\n"), f"byte 0x{error.object[error.start]:02x}: {error.reason}"
            except UnicodeError as error:
                return number, str(error)
            if not chunk:
                return number, "its end is missing"


def _as_utf_8(files: Files, file: SourceFile) -> tuple[int, int]:
    """The number of letters beyond ASCII that UTF-8 finds in a file, and of places that it cannot decode."""
    decoder, letters, broken = codecs.getincrementaldecoder("utf-8")("replace"), 0, 0
    with files.open(file) as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            text = decoder.decode(chunk)
            broken += text.count("\ufffd")
            letters += len(text) - len(text.encode("ascii", "ignore"))
    return letters - broken, broken


def _decodes(files: Files, file: SourceFile, encoding: str, errors: str = "strict") -> bool:
    decoder = codecs.getincrementaldecoder(encoding)(errors)
    with files.open(file) as stream:
        try:
            while chunk := stream.read(_CHUNK_BYTES):
                decoder.decode(chunk)
            decoder.decode(b"", final=True)
        except UnicodeError:
            return False
    return True


def _in_pairs(files: Files, file: SourceFile) -> bool:
    """Whether bytes beyond ASCII come in runs, like letters of several bytes, rather than alone, like accents."""
    with files.open(file) as stream:
        runs = re.findall(rb"[\x80-\xff]+", stream.read(_CHUNK_BYTES))
    return sum(len(run) > 1 for run in runs) > 0.9 * len(runs)
