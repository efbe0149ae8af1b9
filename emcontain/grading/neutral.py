"""Making foreign text safe to put into a grader's prompt. Knows no harness.

Nothing a model writes may end its own section, open a turn of its own, or hide behind characters nobody sees. Ordinary
words are left alone: what a text *says* to the grader is the rubric's to withstand, and the attack set measures it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

LONGEST = 12_000
CUT = " [… shortened …] "
# Turn and sequence marks of common chat templates. A local grader's tokenizer reads them as such wherever they stand.
_CHAT_MARKS = re.compile(
    r"<(?=[|｜])|<(?=/?(?:s|bos|eos|unk|pad|start_of_turn|end_of_turn|sep|cls|think|tool_call|unused\d+)>)|\[(?=/?(?:INST|SYS|TOOL_CALLS)\])"
    r"|<(?=</?SYS>>)",
    re.IGNORECASE,
)
# What Unicode calls default-ignorable and the categories above do not hold.
_INVISIBLE = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]")
_MARK = r"<[^<>\n]+>|\[[^\[\]\n]+\]"
_KEPT_CONTROLS = "\n\t"


def neutralise(text: str, delimiters: Sequence[str] = (), longest: int = LONGEST) -> str:
    """Make section delimiters, chat marks and invisible characters in a text harmless.

    Args:
        text: what a model or a question file wrote.
        delimiters: the lines that open and close sections in the rubric, such as `</answer>` or `[ANSWER END]`.
        longest: characters kept; a longer text loses its middle, visibly.

    Returns:
        The text with a space after the first character of each mark (`</answer>` becomes `< /answer>`), without control
        and format characters other than line breaks and tabs.
    """
    text = "".join(c for c in text if c in _KEPT_CONTROLS or unicodedata.category(c) not in ("Cc", "Cf", "Co", "Cs"))
    text = _INVISIBLE.sub("", text)
    text = _CHAT_MARKS.sub(lambda found: found[0] + " ", text)
    for delimiter in delimiters:
        # A tag with attributes closes a section for a reader just as well.
        end = r"(?:\s[^<>]*)?>" if delimiter[-1] == ">" else re.escape(delimiter[-1])
        pattern = re.escape(delimiter[0]) + r"(?=\s*" + _loose(delimiter[1:-1]) + r"\s*" + end + ")"
        text = re.sub(pattern, delimiter[0] + " ", text, flags=re.IGNORECASE)
    if len(text) > longest:
        tail = (longest - len(CUT)) // 2
        text = text[: longest - len(CUT) - tail] + CUT + text[-tail:]
    return text


def delimiters_of(body: str) -> tuple[str, ...]:
    """The tags or bracketed marks right before and after the places (`{question}`, `{answer}`) of a rubric."""
    found = []
    for place in re.finditer(rf"(?:({_MARK})\s*)?{{(?:question|answer)}}(?:\s*({_MARK}))?", body):
        found += [mark for mark in place.groups() if mark]
    return tuple(dict.fromkeys(found))


def _loose(text: str) -> str:
    """A pattern that does not care about blanks."""
    return r"\s*".join(re.escape(c) for c in re.sub(r"\s+", "", text))
