"""Plain English: no text has a word that costs a second reading.

codespell checks the spelling of the same files, in test_lint.py.
"""

import io
import re
import subprocess
import tokenize

from support.wheel import ROOT

#: Words and phrases that no text has, as patterns, and what to write instead.
BANNED = {
    r"tells?|told|telling": "report, show, detect, distinguish",
    r"asks? for|asked for|asking for": "request, require, read, set",
    r"wish|wishes|wished": "want, request",
    r"of (?:its|their) own": "separate",
    r"nobody's": "name who acts",
    r"in vain": "without success",
    r"for moments": "briefly",
    r"anew": "again",
    r"till": "until",
    r"mostly": "usually",
    r"(?:is|are|was|were) meant": "is intended; or what it does",
    r"beside": "next to, with",
    r"switch(?:ed|es)? (?:on|off)": "enable, disable",
    r"at a time": "concurrent, one after the other",
    r"one more": "another",
    r"(?:has|have) to have": "requires",
    r"(?:is|are) not there|(?:is|are) there(?=[.,;:)]| and| but| or)": "is present, is absent",
    r"(?:is|are) no (?:fault|mismatch|finding|rule|host)": "is not a",
    r"(?:packets|connections|flows|times|bytes) a second": "per second",
    r"meets? (?:no|the|this|a) (?:rule|chain)": "matches",
    r"any more(?=[.,;:)]| and| but)": "no longer",
}
#: File and word that may stand there, and why.
ALLOWED: dict[tuple[str, str], str] = {
    ("tests/kernel/README.md", "is there"): "in the matrix, which its next run writes",
    ("tests/kernel/README.md", "any more"): "in the matrix, which its next run writes",
}
_WORDS = {
    re.compile(rf"\b(?:{words})\b".replace(" ", r"\s+"), re.IGNORECASE): instead
    for words, instead in BANNED.items()
}
_SUFFIXES = (".md", ".py", ".yml", ".yaml", ".cfg", ".toml", ".service", ".timer", ".socket", ".1")
#: Made from other files, recorded from hosts, or read only by those who change a test.
_LEFT_OUT = re.compile(
    r"prometheusrule\.yml$|^tests/(fixtures|golden)/|^(alerts/)?tests/.*\.(py|yml)$"
)


def files():
    """Return the files of the project that people read."""
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [
        name
        for name in done.stdout.split()
        if name.endswith(_SUFFIXES) and not _LEFT_OUT.search(name)
    ]


def prose(name):
    """Yield text that people read, each with its first line: of Python, comments and strings."""
    text = (ROOT / name).read_text(encoding="utf-8")
    if not name.endswith(".py"):
        yield 1, text
        return
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT or tokenize.tok_name[token.type].endswith("STRING"):
            yield token.start[0], token.string


def banned(text):
    """Yield the offset of each banned word in `text`, the word, and what to write instead."""
    for words, instead in _WORDS.items():
        for match in words.finditer(text):
            yield match.start(), " ".join(match[0].split()), instead


def found(name):
    """Return the banned words of a file, as FILE:LINE: WORD."""
    return [
        f"{name}:{first + text.count(chr(10), 0, offset)}: {word!r}: write: {instead}"
        for first, text in prose(name)
        for offset, word, instead in banned(text)
        if (name, word.lower()) not in ALLOWED
    ]


def test_words_are_plain():
    """No file has a word for which the vocabulary has another one."""
    wrong = [line for name in files() for line in found(name)]
    assert not wrong, "\n".join(wrong)


def test_a_banned_word_is_found():
    """Also over the end of a line, and in capitals; a word that only contains it is another."""
    assert [word for _, word, _ in banned("Tells more, at a\n  time. Until, toll.")] == [
        "Tells",
        "at a time",
    ]


def test_what_is_allowed_is_used():
    """An entry of the allow-list whose word is gone goes too."""
    there = {
        (name, word.lower())
        for name in {name for name, _ in ALLOWED}
        for _, text in prose(name)
        for _, word, _ in banned(text)
    }
    assert there == set(ALLOWED)
