"""Lines of a remedy: what a shell makes of them, and that they come from one place."""

import ast
import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netfilter_exporter.check import shell
from netfilter_exporter.check.findings import Found, Severity, finding
from netfilter_exporter.check.shell import Line
from netfilter_exporter.kernel import names
from support.commands import calls, fixed_commands

SHELLS = [
    found.split() for found in ("dash", "bash", "busybox sh") if shutil.which(found.split()[0])
]

ODD = (
    *("", " ", "a b", "-n", "--", "!x", "'", '"', "a'b\"c", "$(touch x)", "`touch x`", "; reboot"),
    *("a\\nb", "%s", "*", "~", "{a,b}", "#", "é", "\x1b[2J", "\u202e", "a\nb", "\udcff", "!!"),
)
_BYTES = st.binary(max_size=40).map(lambda raw: names.decode(raw.replace(b"\0", b"")))


def words_of(interpreter, *words):
    """Return the words that a shell reads in a command made of `words`."""
    line = shell.command("printf", r"%s\0", *words)
    done = subprocess.run([*interpreter, "-c", line], capture_output=True, check=True)
    return done.stdout.split(b"\0")[:-1]


@pytest.mark.parametrize("interpreter", SHELLS, ids=" ".join)
def test_a_shell_reads_the_words_that_were_meant(interpreter):
    """Whatever a word holds, a shell hands the same bytes to the command."""
    assert words_of(interpreter, *ODD) == [names.encode(word) for word in ODD]


@pytest.mark.parametrize("interpreter", SHELLS, ids=" ".join)
@settings(max_examples=10)
@given(words=st.lists(_BYTES.filter(lambda word: not word.endswith("\n")), min_size=1))
def test_any_bytes_are_a_word(interpreter, words):
    """The same for bytes that nobody thought of."""
    assert words_of(interpreter, *words) == [names.encode(word) for word in words]


def test_a_word_cannot_end_with_a_newline():
    """Command substitution would cut it off: refused rather than changed."""
    assert shell.word("a\n \n.").isprintable()
    with pytest.raises(ValueError, match="no word of a command"):
        shell.word("a\n")


def test_a_prompt_reads_no_history():
    """An exclamation mark stands in single quotes only, where an interactive shell leaves it."""
    assert shell.word("a!b") == "'a!b'"
    assert "!" not in shell.word("é!b")


@given(_BYTES)
def test_lines_are_printable(text):
    """Neither a comment nor a command holds what a terminal obeys, or more than one line."""
    lines = [shell.comment(text)]
    if not text.endswith("\n"):
        lines += [shell.command("ip", text), shell.append("/etc/x", text), shell.write(text, "1")]
    assert all(line.isprintable() for line in lines)
    assert all(line.isascii() for line in lines[1:])


def test_lines_that_are_appended_arrive(tmp_path):
    """What is added to a file is the text, whatever the shell's echo makes of a backslash."""
    file = tmp_path / "a file"
    for interpreter in SHELLS:
        subprocess.run([*interpreter, "-c", shell.append(str(file), r"a\nb", "-n")], check=True)
    assert file.read_text() == "a\\nb\n-n\n" * len(SHELLS)
    subprocess.run(["sh", "-c", shell.write(str(file), "1")], check=True)
    assert file.read_text() == "1\n"


# -- one place -----------------------------------------------------------------------------------


def test_only_one_module_makes_lines():
    """What has the type of a line, which mypy wants in every remedy, comes out of one module."""
    assert {where for where, _ in calls("Line")} == {"check/shell.py"}
    casts = {where for where, node in calls("cast") if "Line" in ast.dump(node)}
    assert casts == set()


def test_what_is_fixed_is_a_literal():
    """No name gets into a command without being quoted for the shell."""
    arguments = [argument for _, node in calls("fixed") for argument in node.args]
    assert arguments
    assert all(isinstance(argument, ast.Constant) for argument in arguments)


@pytest.mark.parametrize("command", fixed_commands())
def test_what_is_fixed_is_a_command(command):
    """Every literal is one line that a shell can parse."""
    assert command.isprintable()
    subprocess.run(["sh", "-nc", command], check=True)


def test_the_texts_of_a_finding_are_printable():
    """Names and comments of rules are free; a terminal sees escapes."""
    made = shell.comment("x")
    found = finding(
        "A", Severity.INFO, Found("a\x1b[2J", "b\u202e", {"c": "d\udcff", "e": 1}, (made,))
    )
    assert (found.summary, found.why) == (r"a\x1b[2J", r"b\u202e")
    assert found.evidence == {"c": r"d\xff", "e": 1}
    assert found.remedy == (Line("# x"),)
