"""kernel/nft/{changes,increments,kept}.py: what a change has read again, and what reads all."""

import errno
import os

import pytest

from netfilter_exporter.kernel.errors import Denied, NoData, ReadError, TimedOut, from_oserror
from netfilter_exporter.kernel.netlink.attributes import text
from netfilter_exporter.kernel.netlink.messages import NLM_F_DUMP_INTR, nfnetlink_map
from netfilter_exporter.kernel.nft.changes import Listener, Lost, following
from netfilter_exporter.kernel.nft.increments import Increments, NoFilter
from netfilter_exporter.kernel.nft.kept import KeptRuleset
from netfilter_exporter.kernel.nft.maps import Maps
from netfilter_exporter.kernel.nft.tables import read_tables
from netfilter_exporter.kernel.nft.uapi import (
    NFT_MSG_DELCHAIN,
    NFT_MSG_DELRULE,
    NFT_MSG_DELTABLE,
    NFT_MSG_GETRULE,
    NFT_MSG_GETSETELEM,
    NFT_MSG_NEWCHAIN,
    NFT_MSG_NEWGEN,
    NFT_MSG_NEWOBJ,
    NFT_MSG_NEWRULE,
    NFT_MSG_NEWSETELEM,
    NFT_MSG_NEWTABLE,
    NFT_TABLE_F_OWNER,
    NFTA_RULE_CHAIN,
    NFTA_SET_NAME,
)
from netfilter_exporter.rules.families import Family, Hook
from netfilter_exporter.rules.model import Action
from support import nft, wire
from support.script import Script, connect, done, dumped

MANY = 1000
BASE = nft.chain(Hook.POSTROUTING, numbered=1)
USER = nft.chain(called="a", numbered=2)


def generation(number):
    return [dumped(nft.nfgenmsg(0) + nft.number(1, number), flags=0)]


def dump(*payloads):
    return [*([dumped(*payloads)] if payloads else []), done()]


TABLES = dump(nft.table())
EMPTY = dump()
CHAINS = dump(BASE, USER)


def jump(to, chain="c"):
    return nft.rule(nft.immediate(nft.JUMP, to), chain=chain)


def masquerade(chain="a"):
    return nft.rule(nft.masquerade(), chain=chain)


#: A base chain that jumps to a chain with a rule.
RULES = [jump("a"), masquerade()]


def whole(number, rules=RULES, chains=(BASE, USER), elements=None):
    """Return the answers to a reading of all, without GETGEN before and behind it."""
    of_maps = [] if elements is None else [dump(nft.set_()), elements]
    return [generation(number), TABLES, dump(*chains), dump(*rules), *of_maps, generation(number)]


class News:
    """A socket in the group: datagrams, and failing calls."""

    def __init__(self, *datagrams):
        self.datagrams = list(datagrams)
        self.closed = False

    def receive(self, timeout):
        if not self.datagrams:
            raise TimedOut(f"nothing within {timeout} s")
        found = self.datagrams.pop(0)
        if isinstance(found, Exception):
            raise found
        return memoryview(found)

    def close(self):
        self.closed = True


def said(type_, payload):
    """Return a message of a commit, whose sequence number is that of another program's request."""
    return wire.with_sequence(wire.message(type_, 0, payload), 7000)


def ends(number):
    return said(NFT_MSG_NEWGEN, nft.nfgenmsg(0) + nft.pack(1, number.to_bytes(4, "big")))


def commit(number, *messages):
    """Return the two datagrams of a commit."""
    return [b"".join(said(*message) for message in messages), ends(number)]


def begun(*datagrams, **how):
    """Return increments of generation 5, and its tables."""
    connection, _ = connect(*whole(5, **how))
    reading = read_tables(lambda _: connection, Maps(), few=MANY)
    return Increments(reading, reading.basis, Listener(News(*datagrams), 5)), reading.tables


def go_on(increments, *answers):
    """Return the next reading, and for which chains, and maps, was asked."""
    connection, script = connect(*answers)
    return increments.read(connection, lambda: None), asked(script)


def asked(script):
    places = {NFT_MSG_GETRULE: NFTA_RULE_CHAIN, NFT_MSG_GETSETELEM: NFTA_SET_NAME}
    requests = (r for r in script.requests if r.type in places)
    return [
        text(nfnetlink_map(memoryview(r.payload)).get(places[r.type], b"all")) for r in requests
    ]


def sizes(reading):
    (table,) = reading.tables
    return {name: len(chain.rules) for name, chain in table.chains.items()}


# -- what is read --------------------------------------------------------------------------------


def test_the_chain_of_a_rule_is_read_and_no_other():
    """A rule that comes and one that goes are two messages of one chain."""
    changes = [(NFT_MSG_DELRULE, masquerade()), (NFT_MSG_NEWRULE, masquerade())]
    increments, _ = begun(*commit(6, *changes))
    answers = [generation(6), TABLES, dump(masquerade(), masquerade()), generation(6)]
    reading, chains = go_on(increments, *answers)
    assert (reading.generation, chains, sizes(reading)) == (6, ["a"], {"c": 1, "a": 2})


@pytest.mark.parametrize(
    "message",
    [
        (NFT_MSG_NEWSETELEM, nft.elements(nft.verdict(nft.GOTO, "a"))),
        (NFT_MSG_NEWOBJ, nft.nfgenmsg(nft.IP) + nft.name(1, "t")),
        (NFT_MSG_NEWRULE, nft.rule(family=nft.NETDEV)),
    ],
    ids=["an element of a set that no jump uses", "an object", "a rule of another family"],
)
def test_what_no_packet_meets_reads_nothing(message):
    """The generation is another, and the tables are the very same: they are not analyzed again."""
    increments, tables = begun(*commit(6, message))
    reading, chains = go_on(increments, generation(6), TABLES, generation(6))
    assert (reading.generation, chains) == (6, [])
    assert reading.tables is tables


def test_a_rule_that_is_as_it_was_changes_nothing():
    """As nft replaces a rule by the same."""
    increments, tables = begun(*commit(6, (NFT_MSG_NEWRULE, masquerade())))
    reading, _ = go_on(increments, generation(6), TABLES, dump(masquerade()), generation(6))
    assert reading.tables is tables


def test_an_element_of_a_verdict_map_reads_the_map():
    """And the chains behind it that nothing led to before."""
    lookup = [nft.rule(nft.vmap("m")), masquerade()]
    to_a = dump(nft.elements(nft.verdict(nft.GOTO, "a")))
    new = nft.elements(nft.verdict(nft.GOTO, "b"))
    increments, _ = begun(*commit(6, (NFT_MSG_NEWSETELEM, new)), rules=lookup, elements=to_a)
    both = dump(nft.elements(nft.verdict(nft.GOTO, "a"), nft.verdict(nft.GOTO, "b")))
    answers = [generation(6), TABLES, [dumped(nft.set_(), flags=0)], both]
    reading, chains = go_on(increments, *answers, dump(masquerade("b")), generation(6))
    assert chains == ["m", "b"]
    assert reading.tables[0].maps == {"m": ("a", "b")}
    assert sizes(reading) == {"c": 1, "a": 1, "b": 1}


def test_a_map_that_no_rule_uses_any_more_is_forgotten():
    """It is not read for its name is in a message."""
    lookup = [nft.rule(nft.vmap("m")), masquerade()]
    to_a = dump(nft.elements(nft.verdict(nft.GOTO, "a")))
    increments, _ = begun(
        *commit(6, (NFT_MSG_DELRULE, nft.rule()), (NFT_MSG_NEWSETELEM, nft.elements())),
        rules=lookup,
        elements=to_a,
    )
    reading, chains = go_on(increments, generation(6), TABLES, EMPTY, generation(6))
    assert chains == ["c"]
    assert reading.tables[0].maps == {}


def test_chains_come_and_go():
    """A new one is read for its rules; one that is deleted is not asked for."""
    added = nft.chain(called="b", numbered=9)
    increments, _ = begun(
        *commit(
            6,
            (NFT_MSG_NEWCHAIN, added),
            (NFT_MSG_NEWRULE, masquerade("b")),
            (NFT_MSG_DELRULE, jump("a")),
            (NFT_MSG_DELRULE, masquerade()),
            (NFT_MSG_DELCHAIN, USER),
        )
    )
    answers = {"b": dump(masquerade("b")), "c": EMPTY}
    script = Answering(answers, 6)
    reading = increments.read(script.connection, lambda: None)
    assert sorted(script.asked) == ["b", "c"]
    assert sizes(reading) == {"c": 0, "b": 1}


class Answering:
    """A kernel that is asked for chains in any order."""

    def __init__(self, chains, number):
        self.asked = []
        self.connection, script = connect([])
        send = script.send

        def answer(datagram):
            type_ = int.from_bytes(datagram[4:6], "little")
            if type_ == NFT_MSG_GETRULE:
                name = text(nfnetlink_map(memoryview(datagram)[16:])[NFTA_RULE_CHAIN])
                self.asked.append(name)
                found = chains[name]
            else:
                found = TABLES if type_ & 0xFF == 1 else generation(number)
            script._answers = [found]
            send(datagram)

        script.send = answer


def test_a_policy_is_in_the_message():
    """No rule is read for it."""
    drops = nft.chain(Hook.POSTROUTING, numbered=1, policy=nft.DROP)
    increments, _ = begun(*commit(6, (NFT_MSG_NEWCHAIN, drops)))
    reading, chains = go_on(increments, generation(6), TABLES, generation(6))
    assert (chains, sizes(reading)) == ([], {"c": 1, "a": 1})
    assert reading.tables[0].chains["c"].drops


def test_a_new_table_is_read_from_its_messages():
    """As Docker or wg-quick make one; and the one before it is gone, with the same name."""
    increments, _ = begun(
        *commit(
            6,
            (NFT_MSG_DELTABLE, nft.table()),
            (NFT_MSG_NEWTABLE, nft.table()),
            (NFT_MSG_NEWCHAIN, BASE),
            (NFT_MSG_NEWRULE, masquerade("c")),
        )
    )
    answers = [generation(6), TABLES, dump(masquerade("c")), generation(6)]
    reading, chains = go_on(increments, *answers)
    assert (chains, sizes(reading)) == (["c"], {"c": 1})


def test_a_table_that_had_no_chain_is_read_from_its_messages():
    """As a script makes one command by command."""
    both = dump(nft.table(), nft.table(family=nft.INET))
    connection, _ = connect(generation(5), both, CHAINS, dump(*RULES), generation(5))
    reading = read_tables(lambda _: connection, Maps(), few=MANY)
    base = nft.chain(Hook.POSTROUTING, family=nft.INET, numbered=1)
    rule = nft.rule(nft.masquerade(), family=nft.INET)
    news = News(*commit(6, (NFT_MSG_NEWCHAIN, base), (NFT_MSG_NEWRULE, rule)))
    increments = Increments(reading, reading.basis, Listener(news, 5))
    found, chains = go_on(increments, generation(6), both, dump(rule), generation(6))
    assert chains == ["c"]
    assert [len(table.rules("c")) for table in found.tables] == [1, 1]


def test_a_commit_meanwhile_is_taken_in():
    """What was read before it is not served before all of it is of one generation."""
    increments, _ = begun(
        *commit(6, (NFT_MSG_NEWRULE, masquerade())), *commit(7, (NFT_MSG_NEWRULE, jump("a")))
    )
    first = [generation(6), TABLES, dump(masquerade(), masquerade()), generation(7)]
    second = [generation(7), TABLES, dump(jump("a"), jump("a")), generation(7)]
    reading, chains = go_on(increments, *first, *second)
    assert (reading.generation, chains) == (7, ["a", "c"])
    assert sizes(reading) == {"c": 2, "a": 2}


def test_a_map_that_goes_meanwhile_is_a_change():
    """With the rule that named it, which the next message is about."""
    lookup = nft.rule(nft.vmap("m"))
    increments, _ = begun(
        *commit(6, (NFT_MSG_NEWRULE, lookup)), *commit(7, (NFT_MSG_DELRULE, lookup))
    )
    gone = [wire.error(errno.ENOENT)]
    first = [generation(6), TABLES, dump(lookup), gone, generation(7)]
    second = [generation(7), TABLES, dump(jump("a")), generation(7)]
    reading, _ = go_on(increments, *first, *second)
    assert (reading.generation, sizes(reading)) == (7, {"c": 1, "a": 1})


def test_generations_wrap():
    """None is 0: nf_tables_commit leaves it out."""
    assert [following(n) for n in (1, (1 << 32) - 2, (1 << 32) - 1)] == [2, (1 << 32) - 1, 1]
    listener = Listener(News(*commit((1 << 32) - 1), *commit(1), *commit(2)), (1 << 32) - 2)
    assert listener.take(2) == []


# -- what makes that all is read -----------------------------------------------------------------

RENAMED = nft.chain(called="z", numbered=2)
REBASED = nft.chain(Hook.POSTROUTING, called="z", numbered=1)


@pytest.mark.parametrize(
    ("datagrams", "match"),
    [
        (commit(7), "generation 7 came after 5"),
        (commit(5), "generation 5 came after 5"),
        ([], "nothing within"),
        ([from_oserror(OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS)), "netlink receive")],
         "No buffer space"),
        (commit(6, (NFT_MSG_NEWCHAIN, RENAMED)), "renamed to z"),
        (commit(6, (NFT_MSG_NEWCHAIN, REBASED)), "renamed to z"),
        (commit(6, (NFT_MSG_NEWGEN + 60, nft.table())), "of an unknown kind, 75"),
        (commit(6, (NFT_MSG_NEWRULE, nft.rule(family=nft.INET))), "an unknown table"),
        (commit(6, *[(NFT_MSG_NEWRULE, nft.rule(chain=f"n{n}")) for n in range(300)]),
         "300 chains have changed"),
        (commit(6, (NFT_MSG_DELCHAIN, BASE)), "another kind of base chains"),
    ],
)  # fmt: skip
def test_what_messages_do_not_say(datagrams, match):
    """A gap, silence, lost messages, a rename, a kind that is unknown: doubt is never a guess."""
    increments, _ = begun(*datagrams)
    with pytest.raises(ReadError, match=match):
        go_on(increments, generation(6), TABLES, generation(6))


def test_a_table_with_an_owner_is_in_no_message_when_it_goes():
    """Nor in a generation."""
    increments, _ = begun(*commit(6))
    owned = dump(nft.table(flags=NFT_TABLE_F_OWNER))
    with pytest.raises(Lost, match="owner"):
        go_on(increments, generation(6), owned)


def test_elements_that_expire_are_in_no_message():
    """A rule begins to use a map with a timeout."""
    increments, _ = begun(*commit(6, (NFT_MSG_NEWRULE, nft.rule())))
    answers = [generation(6), TABLES, dump(nft.rule(nft.vmap("m")))]
    with pytest.raises(Lost, match="expire"):
        go_on(increments, *answers, [dumped(nft.set_(flags=0x10), flags=0)])


def test_a_ruleset_that_changes_during_each_look_is_given_up():
    """After eight of them."""
    increments, _ = begun(*[d for n in range(6, 30) for d in commit(n)])
    answers = [a for n in range(6, 30, 2) for a in (generation(n), TABLES, generation(n + 1))]
    with pytest.raises(Lost, match="during each of 8 increments"):
        go_on(increments, *answers)


def test_what_is_remembered_of_rules_that_are_gone_is_bounded(monkeypatch):
    """All is read again once as many rules were read as there are, and some."""
    monkeypatch.setattr("netfilter_exporter.kernel.nft.increments._LEEWAY", 1)
    increments, _ = begun(*commit(6, (NFT_MSG_NEWRULE, masquerade())))
    answers = [generation(6), TABLES, dump(*[masquerade()] * 3), generation(6)]
    with pytest.raises(Lost, match="as many rules"):
        go_on(increments, *answers)


# -- one life of nf_tables -----------------------------------------------------------------------


class Life:
    """A kernel that answers as written, over a socket for each question of a reading."""

    def __init__(self, few=MANY):
        self.kept = KeptRuleset(few)
        self.joined = []
        self.news = []
        self.read(*whole(4))

    def read(self, *answers, gate=lambda: None):
        """Return the generation that is read, and the rules that masquerade."""
        self.script = Script(*answers)
        connection, _ = connect()
        connection._transport = self.script
        reading, facts = self.kept.read(lambda _: connection, self.join, gate)
        return reading.generation, facts.rules[Family.IPV4, Action.MASQUERADE]

    def join(self):
        found = self.news.pop(0) if self.news else News()
        if isinstance(found, Exception):
            raise found
        self.joined.append(found)
        return found


def test_it_joins_when_the_ruleset_has_changed_and_goes_on_from_there():
    """One question more at the second reading: whether it is still current."""
    life = Life()
    life.news = [News(*commit(6, (NFT_MSG_NEWRULE, masquerade())))]
    assert life.read(*whole(5), generation(5)) == (5, 1)
    answers = [generation(6), TABLES, dump(masquerade(), masquerade()), generation(6)]
    assert life.read(*answers) == (6, 2)
    assert asked(life.script) == ["a"]
    assert not life.joined[0].closed


#: Two readings that a change spoils, which find different things.
SPOILED = [*whole(5)[:-1], generation(6), *whole(7, rules=[jump("a")])[:-1], generation(8)]


def test_a_ruleset_that_never_rests_is_caught_up_with():
    """It joins, reads chain after chain, and then the chains that have changed meanwhile."""
    life = Life()
    life.news = [News(*commit(10, (NFT_MSG_NEWRULE, masquerade())))]
    look = [TABLES, CHAINS, dump(jump("a")), dump(masquerade())]
    rest = [generation(10), TABLES, dump(masquerade(), masquerade()), generation(10)]
    answers = [*SPOILED, generation(9), CHAINS, generation(9), *look, *rest]
    assert life.read(*answers) == (10, 2)
    assert asked(life.script)[-3:] == ["c", "a", "a"]
    assert life.read(generation(10), TABLES, generation(10)) == (10, 2)
    assert [news.closed for news in life.joined] == [False]


def test_what_cannot_be_caught_up_with_is_read_as_it_is():
    """Where a message is lost meanwhile; the socket is closed."""
    life = Life()
    life.news = [News(*commit(11))]
    look = [TABLES, CHAINS, dump(jump("a")), dump(masquerade())]
    answers = [*SPOILED, generation(9), CHAINS, generation(9), *look, generation(10)]
    restless = [generation(11), *look, generation(11)]
    assert life.read(*answers, *restless) == (11, 1)
    assert [news.closed for news in life.joined] == [True]


def test_messages_that_were_lost_are_a_reading_of_all_and_another_listener():
    """The socket that overflowed is closed."""
    life = Life()
    lost = from_oserror(OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS)), "netlink receive")
    life.news = [News(lost), News()]
    life.read(*whole(5), generation(5))
    three = whole(9, rules=[jump("a"), *[masquerade()] * 3])
    assert life.read(generation(9), *three, generation(9)) == (9, 3)
    assert [news.closed for news in life.joined] == [True, False]


@pytest.mark.parametrize("place", range(3))
@pytest.mark.parametrize("number", [errno.EBUSY, errno.EINTR, errno.EPERM])
def test_an_answer_that_fails_is_a_reading_of_all(place, number):
    """Whichever it is: busy with another dump, interrupted, refused."""
    life = Life()
    life.news = [News(*commit(6, (NFT_MSG_NEWRULE, masquerade())))]
    life.read(*whole(5), generation(5))
    before = [generation(6), TABLES, dump(masquerade(), masquerade())][:place]
    two = whole(6, rules=[jump("a"), *[masquerade()] * 2])
    answers = [*before, [wire.error(number)], *two, generation(6)]
    assert life.read(*answers) == (6, 2)
    assert [news.closed for news in life.joined] == [True, False]


def test_a_dump_that_is_interrupted_all_the_time_is_a_reading_of_all():
    """Four times by an element of a set, then the whole is read as any other."""
    life = Life()
    life.news = [News(*commit(6, (NFT_MSG_NEWRULE, masquerade())))]
    life.read(*whole(5), generation(5))
    interrupted = [[dumped(*[masquerade()] * n), done(NLM_F_DUMP_INTR)] for n in range(1, 5)]
    two = whole(6, rules=[jump("a"), *[masquerade()] * 2])
    assert life.read(generation(6), TABLES, *interrupted, *two, generation(6)) == (6, 2)


def test_above_the_limit_nothing_joins():
    """Neither at the first reading, nor once rules were added: then it leaves."""
    life = Life(few=1)
    life.read(*whole(5))
    assert life.joined == []
    life = Life(few=2)
    life.news = [News(*commit(6, (NFT_MSG_NEWRULE, masquerade())))]
    life.read(*whole(5), generation(5))
    life.read(generation(6), TABLES, dump(masquerade(), masquerade()), generation(6))
    assert life.joined[0].closed
    life.read(*whole(7))
    assert len(life.joined) == 1


def test_a_ruleset_that_has_been_large_is_not_listened_to():
    """One command may make it large again, with a message for each rule."""
    life = Life(few=2)
    life.read(*whole(5, rules=[jump("a"), *[masquerade()] * 2]))
    life.read(*whole(6))
    assert life.joined == []


def test_a_change_between_the_reading_and_the_join_is_in_no_message():
    """So it does not go on from there."""
    life = Life()
    life.read(*whole(5), generation(6))
    assert life.joined[0].closed
    life.read(*whole(6), generation(6))
    assert not life.joined[1].closed


def test_who_may_not_join_reads_all_each_time():
    """Without CAP_NET_ADMIN over the namespace."""
    life = Life()
    life.news = [Denied("netlink bind: Operation not permitted")]
    assert life.read(*whole(5)) == (5, 1)
    assert life.read(*whole(6), generation(6)) == (6, 1)


def test_nothing_joins_where_that_may_load_a_module():
    """nf_tables may be gone by the time that all was read."""
    life = Life()
    life.read(*whole(5), generation(6))
    questions = iter([None, NoData("gone")])

    def gate():
        answer = next(questions)
        if answer:
            raise answer

    life.read(*whole(6), gate=gate)
    assert len(life.joined) == 1


def test_a_kernel_that_lists_no_single_chain_is_not_listened_to():
    """It answers with the whole table, to which nothing is added: never again."""
    life = Life()
    life.news = [News(*commit(6, (NFT_MSG_NEWRULE, masquerade())))]
    life.read(*whole(5), generation(5))
    life.read(generation(6), TABLES, dump(*RULES), *whole(6))
    life.read(*whole(7))
    assert [news.closed for news in life.joined] == [True]
    assert issubclass(NoFilter, Lost)


def test_what_is_closed_stays_closed():
    """nf_tables went: at once, or when the reading that is under way ends."""
    life = Life()
    life.read(*whole(5), generation(5))
    life.kept.close()
    assert life.joined[0].closed
    life.read(*whole(6), generation(6))
    assert life.joined[1].closed
