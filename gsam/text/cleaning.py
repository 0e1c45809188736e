"""Clean texts as CLIP and OWL were trained on them (openai/CLIP ``simple_tokenizer.py``)."""

from __future__ import annotations

import html


def clean(text: str) -> str:
    """Mend a text, undo its HTML, and write it in lower case with single blanks.

    Text that was decoded by the wrong table is mended, and curly quotes, ligatures, full-width and
    invisible characters become plain (by the package ``ftfy``, as in the original); HTML entities
    are undone twice, so that ``&amp;amp;`` is ``&``; runs of white space become one blank.

    Source: ``basic_clean`` and ``whitespace_clean`` of openai/CLIP, which Scenic's OWL-ViT has too.

    Args:
        text: Any text.

    Returns:
        The text as it is cut into tokens.

    Example:
        >>> from gsam.text.cleaning import clean
        >>> clean("The  man’s hat &amp;amp; coat")
        "the man's hat & coat"
    """
    if not (text.isascii() and text.isprintable() and "&" not in text):  # else there is nothing to mend
        import ftfy

        text = html.unescape(html.unescape(ftfy.fix_text(text)))
    return " ".join(text.split()).lower()
