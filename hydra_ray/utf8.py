"""Text as people save it: UTF-8, with or without a byte order mark, and what is said of anything else."""

from __future__ import annotations

from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE


class EncodingError(ValueError):
    """Bytes that are no UTF-8; the message reads on from the file's name."""


def check_utf8(head: bytes) -> None:
    """Looks at the first bytes of a file for the encodings that spreadsheets and Windows save.

    Raises:
        EncodingError: They are of UTF-16 or UTF-32.
    """
    # No text format begins with a zero byte; without a mark the others have one in their first two characters.
    if head.startswith((BOM_UTF16_LE, BOM_UTF16_BE)) or b"\0" in head[:4]:
        raise EncodingError("the file is UTF-16 or UTF-32, not UTF-8. Save the file as UTF-8.")


def decode(raw: bytes) -> str:
    """Return the text of a whole file, without the mark at its beginning.

    Raises:
        EncodingError: The file is saved in another encoding; the first byte that shows it is named.
    """
    check_utf8(raw[:4])
    try:
        return raw.removeprefix(BOM_UTF8).decode("utf-8")
    except UnicodeDecodeError as error:
        # Counted in the file, with the mark.
        start = error.start + (len(BOM_UTF8) if raw.startswith(BOM_UTF8) else 0)
        raise EncodingError(f"byte {start} is not UTF-8. Save the file as UTF-8.") from None
