"""kernel/lab/results.py: results of the lab that are kept between two runs."""

import contextlib

from lab import results, run

NAMES = ["twin-outcome@procfs", "twin-outcome@ctnetlink"]


def made(pages):
    """Return a result as a guest makes it."""
    return {"before": [], "after": ["page"] * pages, "flows": [[], []], "problems": []}


def test_what_was_kept_is_not_run_again(tmp_path):
    """A run that has everything starts no scenario."""
    for name in NAMES:
        results.Kept(tmp_path).add(run.HERE, name, made(run.SCRAPES[1]))
    collected = run.collect_here(NAMES, results.Kept(tmp_path))
    assert collected.found == dict.fromkeys(NAMES, made(run.SCRAPES[1]))
    assert run.collect_here(NAMES[:1], results.Kept(tmp_path)).found.keys() == {NAMES[0]}


def test_what_did_not_end_is_run_again(tmp_path, monkeypatch):
    """It is returned, and not kept."""
    ran = []
    monkeypatch.setattr(run.limit, "kept", contextlib.nullcontext)  # nothing is to be waited for
    monkeypatch.setattr(run, "_run_here", lambda name: ran.append(name) or made(len(ran)))
    for _ in range(2):
        collected = run.collect_here(NAMES[:1], results.Kept(tmp_path))
    assert collected.found == {NAMES[0]: made(2)}
    assert ran == [NAMES[0]] * 2


def test_nothing_is_kept_without_a_folder():
    """As in all runs but those of lab.outcome."""
    results.Kept().add(run.HERE, NAMES[0], made(1))
    assert results.Kept().load(run.HERE) == {}
