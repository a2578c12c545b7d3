"""Every command that is printed, run on names that are odd or hostile: it does what it says, alone.

Names are made without nft and iptables, which refuse some of them. Before and after each command
the kernel's own list is compared: nothing changes but what the command is for.
"""

import json
import os
import re
import shlex
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from netfilter_exporter.check import nft_words
from netfilter_exporter.check.command import _parser as make_parser
from netfilter_exporter.check.nft_commands import Handles, Target
from netfilter_exporter.config.model import ConfigError, parse
from netfilter_exporter.kernel import names
from netfilter_exporter.kernel.sysctl import names as sysctl_names
from netfilter_exporter.kernel.sysctl import sysctl_d
from netfilter_exporter.rules.families import IPV4
from support import inside, legacy, nft, nft_kernel
from support.commands import fixed_commands
from support.nft_kernel import MASQUERADE, Chain, accept
from support.paste import ON_THE_MACHINE, Terminal

SHELLS = [shell for shell in ("sh", "bash") if shutil.which(shell)]
CONFIGURATION = "nat: none\nnetwork_namespace: any\n"

PLAIN = (b"web", b"KUBE-POSTROUTING", b"a.b_c", b"_x", b"filter", b"nat", b"route", b"x" * 64)
KEYWORDS = (b"dnat", b"fwd", b"inet", b"handle", b"table", b"last", b"ip6", b"flush", b"comment")
ODD = (
    *(b"10_web", b"a+b", b"a*b", b"*", b"..", b"a/b", b"#c", b"!x", b"@x", b"{", b"}", b"-f"),
    *(b"-", b"--help", b" ", b"a b", b"a'b\"c", b'"', b"'", b"\\", b"a\\nb", b"%s%n"),
    *("größe".encode(), "\U0001f600".encode(), "\u202ea".encode(), b"\x1b[2J", b"a\tb", b"x" * 255),
    *(b"shop; flush ruleset", b"x { }; flush ruleset #", b"x\nflush ruleset", b"x\n", b"\n"),
    *(b"$(touch a)", b"`touch a`", b"; touch a;", b"| touch a", b"> a", b"&& touch a", b"$HOME"),
    b'include "/etc/passwd"',
)
NOT_TEXT = (b"a\xff", b"\xff\xfe", b"\xc3", b"\xed\xa0\x80", b"a\xff; touch a")
ALL = (*PLAIN, *KEYWORDS, *ODD, *NOT_TEXT)


@pytest.fixture
def terminal(namespace, tmp_path):
    """A shell in the namespace."""
    return Terminal(namespace, tmp_path / "terminal")


def is_text(*raw):
    return all(names.is_text(names.decode(name)) for name in raw)


def commands(remedy):
    return [line for line in remedy if not line.startswith("#")]


def reported(namespace, alert, configuration=CONFIGURATION, rootfs="/"):
    """Return the evidence and remedy of each finding of an alert."""
    found = namespace.call(inside.findings, configuration, rootfs)
    return [(f["evidence"], f["remedy"]) for f in found if f["alert"] == f"Netfilter{alert}"]


def place(evidence):
    """Return table and chain as evidence has them, by which a finding is told from the others."""
    return evidence["table"], evidence.get("chain", "")


def printable(*raw):
    return tuple(names.printable(names.decode(name)) for name in raw)


SHAPES = {
    "both": lambda name: (name, name),
    "table": lambda name: (name, b"c"),
    "chain": lambda name: (b"t", name),
}


@pytest.mark.parametrize(
    ("shape", "family"),
    [("both", nft.IP), ("table", nft.INET), ("chain", nft.IP6)],
    ids=["both", "table", "chain"],
)
def test_a_rule_of_any_name_is_deleted_alone(namespace, terminal, family, shape):
    """The list shows the chain, and the delete removes the one rule that hides another."""
    chains = [Chain(family, *SHAPES[shape](name), (accept(name[:40]), MASQUERADE)) for name in ALL]
    namespace.call(nft_kernel.make, chains)
    found = {
        place(evidence): remedy for evidence, remedy in reported(namespace, "NatRulesUnreachable")
    }
    assert len(found) == len(ALL)
    for number, one in enumerate(chains):
        remedy = found[printable(one.table, one.chain)]
        before = namespace.call(nft_kernel.state)
        hiding = next(r for r in before.rules if (r.table, r.chain) == (one.table, one.chain))
        if not is_text(one.table, one.chain):
            assert commands(remedy) == []
            numbers = (
                before.tables[family, one.table][1],
                before.chains[family, one.table, one.chain],
            )
            said = "table handle {}, chain handle {}, rule handle {}".format(
                *numbers, hiding.handle
            )
            assert any(said in line for line in remedy)
            continue
        listing, delete = commands(remedy)
        shell = SHELLS[number % len(SHELLS)]
        listed = terminal.paste(listing, shell)
        assert (listed.code, listed.errors) == (0, b""), listing
        assert b"masquerade" in listed.output
        assert namespace.call(nft_kernel.state) == before
        assert terminal.paste(delete, shell) == (0, b"", b""), delete
        after = namespace.call(nft_kernel.state)
        assert after == before._replace(rules=[rule for rule in before.rules if rule != hiding])
    assert list(terminal.canary.iterdir()) == []
    left = reported(namespace, "NatRulesUnreachable")
    assert len(left) == len(NOT_TEXT)


def test_a_table_of_any_name_is_woken_alone(namespace, terminal):
    """The command takes the flag dormant from its table, and changes nothing else."""
    chains = [Chain(nft.IP, name, b"c", (MASQUERADE,), dormant=True) for name in ALL]
    namespace.call(nft_kernel.make, chains)
    found = {
        evidence["table"]: remedy for evidence, remedy in reported(namespace, "NatRulesUnreachable")
    }
    assert len(found) == len(ALL)
    for number, one in enumerate(chains):
        lines = commands(found[printable(one.table)[0]])
        if not is_text(one.table):
            assert lines == []
            continue
        before = namespace.call(nft_kernel.state)
        assert terminal.paste(lines[0], SHELLS[number % len(SHELLS)]) == (0, b"", b""), lines
        after = namespace.call(nft_kernel.state)
        flags, handle = before.tables[nft.IP, one.table]
        assert flags == 1
        tables = {**before.tables, (nft.IP, one.table): (0, handle)}
        assert after == before._replace(tables=tables)
    assert list(terminal.canary.iterdir()) == []


# -- the words of nft ----------------------------------------------------------------------------


def words_of_nft():
    """Return every word that nft's library holds, in which are the tokens of its grammar."""
    folders = map(Path, ("/usr/lib", "/usr/lib64", "/lib", "/usr/local/lib"))
    libraries = [path for folder in folders for path in folder.glob("**/libnftables.so.1")]
    content = libraries[0].read_bytes()
    return {word.decode() for word in re.findall(rb"[A-Za-z_][A-Za-z0-9_.-]{0,63}", content)}


def refused(namespace, script):
    """Return the lines of a script in which nft finds no name where one should be."""
    done = subprocess.run(
        ["nsenter", f"--net=/run/netns/{namespace.name}", "nft", "-c", "-f", "-"],
        input=script,
        capture_output=True,
        text=True,
        check=False,
    )
    return re.findall(r"^/dev/stdin:\S+ Error: syntax error.*\n(.*)", done.stderr, re.MULTILINE)


def test_plain_names_are_plain_for_nft(namespace):
    """Whatever word the real nft knows: in a command it is a name, or our list has it."""
    known = words_of_nft()
    assert len(known & nft_words.KEYWORDS) > 300
    words = sorted(word for word in known if nft_words.is_plain(word))
    assert len(words) > 500
    namespace.run(
        "nft", "-f", "-", stdin="".join(f"add table ip {w}\nadd chain ip {w} {w}\n" for w in words)
    )
    namespace.run(
        "nft", "-f", "-", stdin="".join(f"insert rule ip {w} {w} accept\n" for w in words)
    )
    state = namespace.call(nft_kernel.state)
    assert [name.decode() for _, name in sorted(state.tables)] == words
    assert sorted((rule.table.decode(), rule.chain.decode()) for rule in state.rules) == [
        (word, word) for word in words
    ]
    assert refused(namespace, "list chain ip web dnat\n")
    assert refused(namespace, "".join(f"list chain ip {w} {w}\n" for w in words)) == []
    delete = (
        f"delete rule ip {r.table.decode()} {r.chain.decode()} handle {r.handle}\n"
        for r in state.rules
    )
    namespace.run("nft", "-f", "-", stdin="".join(delete))
    assert namespace.call(nft_kernel.state) == state._replace(rules=[])


def test_a_keyword_in_json_is_a_name(namespace):
    """Every keyword as the name of a table and of a chain: the printed delete takes its rule."""
    keywords = sorted(nft_words.KEYWORDS)
    namespace.call(
        nft_kernel.make,
        [Chain(nft.IP, w.encode(), w.encode(), (accept(b""), MASQUERADE)) for w in keywords],
    )
    state = namespace.call(nft_kernel.state)
    hiding = {rule.table.decode(): rule for rule in reversed(state.rules)}
    lines = []
    for word in keywords:
        target = Target(IPV4, word, word, Handles(rule=hiding[word].handle))
        lines += [*commands(target.delete_rule()), *commands(target.wake_table())]
    # Each line is one command for nft: together they cost one reading of the ruleset.
    documents = [json.loads(shlex.split(line.removesuffix(" | nft -j -f -"))[2]) for line in lines]
    merged = [command for document in documents for command in document["nftables"]]
    assert len(merged) == 2 * len(keywords)
    assert namespace.run("nft", "-j", "-f", "-", stdin=json.dumps({"nftables": merged})) == ""
    after = namespace.call(nft_kernel.state)
    gone = set(hiding.values())
    assert after == state._replace(rules=[rule for rule in state.rules if rule not in gone])


# -- iptables ------------------------------------------------------------------------------------

#: A chain's name in a legacy table has 28 bytes at most, for iptables.
CHAINS = [name for name in (*PLAIN, *KEYWORDS, *ODD, *NOT_TEXT) if len(name) <= 28]
UNNAMEABLE = (b"x\n", b"\n", b"x" * 29)


def test_a_legacy_rule_of_any_chain_is_deleted_alone(namespace, terminal):
    """Whatever bytes name a chain, iptables gets that chain, and loses the one rule."""
    chains = (*CHAINS, *UNNAMEABLE[2:])
    for number, name in enumerate(chains):
        namespace.sh(
            f"iptables-legacy -t nat -N C{number};"
            f" iptables-legacy -t nat -A POSTROUTING -s 10.0.{number}.0/24 -j C{number};"
            f" iptables-legacy -t nat -A C{number} -j ACCEPT;"
            f" iptables-legacy -t nat -A C{number} -j MASQUERADE"
        )
        namespace.call(legacy.rename_chain, f"C{number}".encode(), name)
    found = {
        evidence["chain"]: remedy for evidence, remedy in reported(namespace, "NatRulesUnreachable")
    }
    assert len(found) == len(chains)
    for number, name in enumerate(chains):
        remedy = found[printable(name)[0]]
        if name in UNNAMEABLE:
            assert commands(remedy) == []
            assert any("iptables cannot be given the name" in line for line in remedy)
            continue
        listing, delete = commands(remedy)
        shell = SHELLS[number % len(SHELLS)]
        before = namespace.call(legacy.rules)
        listed = terminal.paste(listing, shell)
        assert (listed.code, listed.errors) == (0, b""), listing
        assert listed.output.startswith(b"Chain " + name + b" ")
        assert namespace.call(legacy.rules) == before
        assert terminal.paste(delete, shell) == (0, b"", b""), delete
        after = namespace.call(legacy.rules)
        assert after == {**before, name: before[name][1:]}
    assert list(terminal.canary.iterdir()) == []


def test_a_rule_that_iptables_nft_made(namespace, terminal):
    """What iptables-nft takes for the name of a chain is no name for nft: it gets JSON."""
    chains = [n.decode() for n in (*KEYWORDS, b"10_web", b"a;b", b"$(touch a)", b"a+b", b"a'b\"c")]
    chains = [name for name in chains if " " not in name]
    for number, name in enumerate(chains):
        iptables = ("iptables-nft", "-t", "nat")
        namespace.run(*iptables, "-N", name)
        namespace.run(*iptables, "-A", "POSTROUTING", "-s", f"10.0.{number}.0/24", "-j", name)
        namespace.run(*iptables, "-A", name, "-j", "ACCEPT")
        namespace.run(*iptables, "-A", name, "-j", "MASQUERADE")
    found = {e["chain"]: remedy for e, remedy in reported(namespace, "NatRulesUnreachable")}
    assert sorted(found) == sorted(chains)
    for name in chains:
        before = namespace.call(nft_kernel.state)
        hiding = next(rule for rule in before.rules if rule.chain == name.encode())
        listing, delete = commands(found[name])
        assert terminal.paste(listing).code == 0
        assert terminal.paste(delete) == (0, b"", b"")
        after = namespace.call(nft_kernel.state)
        assert after == before._replace(rules=[rule for rule in before.rules if rule != hiding])
        assert "MASQUERADE" in namespace.run("iptables-nft", "-t", "nat", "-S", name)
    assert list(terminal.canary.iterdir()) == []


# -- interfaces ----------------------------------------------------------------------------------

INTERFACES = (
    *(b"wan7", b"eth0.5", b"-x", b"--", b"help", b"down", b"a;b", b"$(id)", b"`id`", b"a'b\"c"),
    *(b"a*", b"*b", b"a+b", b"a\\b", b"\\", b"#c", b"!x", b"a=b", b"[ab]", b"x" * 15),
    *("größe".encode(), "\u202ea".encode(), b"\x1b[2J", b"a\xff", b"\xff\xfe"),
)
IMPOSSIBLE = (b"a%d", b"100%")  # the kernel puts a number there


def test_an_interface_of_any_name(namespace, terminal):
    """The list shows the rules that name it, and ip gives a device that very name."""
    expected = (*INTERFACES, *IMPOSSIBLE)
    rules = tuple(map(nft_kernel.masquerade_behind, expected))
    namespace.call(nft_kernel.make, [Chain(nft.IP, b"t", b"c", rules)])
    for name in (b"wan7", b"a*", b"-x", b"a'b\"c", b"a\xff"):
        namespace.call(legacy.masquerade, name)
    namespace.run("ip", "link", "add", "spare", "type", "bridge")
    index = namespace.call(inside.interfaces)[b"spare"]
    found = {e["interface"]: r for e, r in reported(namespace, "NatInterfaceMissing")}
    assert len(found) == len(expected)
    for number, name in enumerate(expected):
        remedy = found[printable(name)[0]]
        shell = SHELLS[number % len(SHELLS)]
        before = namespace.call(nft_kernel.state)
        links, *listings = commands(remedy)
        assert terminal.paste(links, shell).code == 0
        assert listings
        for line in listings:
            listed = terminal.paste(line, shell)
            assert (listed.code, listed.errors) == (0, b""), line
            shown = name.replace(b"*", b"\\*") if name == b"a*" and "nft" in line else name
            assert shown in listed.output
            assert all(shown in text for text in listed.output.splitlines())
        rename = [line for line in remedy if line.startswith("# ip link set")]
        assert bool(rename) is (name not in IMPOSSIBLE)
        for comment in rename:
            line = comment.removeprefix("# ").replace(" NAME ", " spare ")
            assert terminal.paste(line, shell) == (0, b"", b""), line
            assert namespace.call(inside.interfaces)[name] == index
            namespace.call(inside.rename_interface, name, b"spare")
        assert namespace.call(nft_kernel.state) == before
    assert list(terminal.canary.iterdir()) == []


def test_an_interface_that_was_made_again(namespace, terminal):
    """The rules that name the number of an interface that is gone are listed."""
    namespace.sh(
        "ip link add old type bridge; nft add table ip t;"
        " nft 'add chain ip t c { type nat hook postrouting priority 100; }';"
        " nft add rule ip t c oif old masquerade; ip link del old"
    )
    ((_, remedy),) = reported(namespace, "NatInterfaceMissing")
    _, listing = commands(remedy)
    listed = terminal.paste(listing)
    assert (listed.code, listed.errors) == (0, b"")
    assert listed.output.count(b"masquerade") == 1


# -- sysctls -------------------------------------------------------------------------------------

ASKED = CONFIGURATION + "sysctls:\n"


def key_of(name):
    return f"net/ipv4/conf/{name.decode()}/forwarding"


def configurable(name):
    """Return whether the configuration takes the sysctl of an interface of this name."""
    try:
        parse(f"{ASKED}  {json.dumps(key_of(name))}: 1\n", "x")
    except (ConfigError, UnicodeDecodeError):
        return False
    return True


def in_sysctl_d(name):
    """Return whether a line of sysctl.d can name the sysctl of an interface of this name."""
    return is_text(name) and not re.search(rb"[=*?\[]", name) and name.decode().isprintable()


def kept(file):
    """Return what systemd-sysctl would write."""
    options = sysctl_d.merge(sysctl_d.parse_file(file.read_bytes(), str(file)))
    return {key: setting.value for key, setting in sysctl_d.settle(options, ()).items()}


@pytest.fixture
def bridges(namespace):
    """Return a function that makes an interface of each name, and lets none forward."""

    def make(names_):
        for name in names_:
            namespace.run("ip", "link", "add", "new", "type", "bridge")
            namespace.call(inside.rename_interface, b"new", name)
        namespace.run("sysctl", "-qw", "net.ipv4.conf.all.forwarding=0")

    return make


def set_each(namespace, terminal, found, interfaces):
    """Run what sets the sysctl of each interface; yield its name and the lines behind that one."""
    for number, name in enumerate(interfaces):
        remedy = found[sysctl_names.to_name(key_of(name))]
        before = namespace.call(inside.forwarding)
        setting, *others = commands(remedy)
        done = terminal.paste(setting, SHELLS[number % len(SHELLS)])
        assert (done.code, done.errors) == (0, b""), setting
        assert namespace.call(inside.forwarding) == {**before, name: 1}
        yield name, others
    assert list(terminal.canary.iterdir()) == []


def test_a_sysctl_that_the_configuration_wants(namespace, terminal, bridges):
    """What is printed sets the one sysctl, and keeps it where sysctl.d can hold its name."""
    interfaces = [name for name in INTERFACES if configurable(name)]
    assert {b"a;b", b"$(id)", b"-x", b"a=b", b"eth0.5"} <= set(interfaces)
    bridges(interfaces)
    wanted = "".join(f"  {json.dumps(key_of(name))}: 1\n" for name in interfaces)
    found = {e["name"]: r for e, r in reported(namespace, "SysctlNotApplied", ASKED + wanted)}
    file = terminal.etc / "sysctl.d" / "zz-netfilter.conf"
    for name, keeping in set_each(namespace, terminal, found, interfaces):
        assert bool(keeping) is in_sysctl_d(name)
        for line in keeping:
            assert terminal.paste(line) == (0, b"", b""), line
            assert kept(file) == {key_of(name): 1}
            file.unlink()


def test_a_sysctl_that_sysctl_d_wants(namespace, terminal, bridges, tmp_path):
    """Neither a name in it nor that of its file adds a command."""
    interfaces = [name for name in INTERFACES if in_sysctl_d(name)]
    assert "größe".encode() in interfaces
    bridges(interfaces)
    folder = tmp_path / "root" / "etc" / "sysctl.d"
    folder.mkdir(parents=True)
    lines = "".join(f"{key_of(name)} = 1\n" for name in interfaces)
    (folder / "x\ntouch a\n.conf").write_text(lines)
    root = str(tmp_path / "root")
    found = {e["name"]: r for e, r in reported(namespace, "SysctlNotApplied", CONFIGURATION, root)}
    for _, others in set_each(namespace, terminal, found, interfaces):
        assert others == []


# -- modules -------------------------------------------------------------------------------------

#: What the configuration takes for the name of a module, and options of modprobe that it does not.
MODULES = ("r", "0", "a-b", "A" * 55)
NO_MODULES = ("a b", "a;b", "$(touch a)", "a.b", "größe", "a\n", "", "A" * 56)


def empty_module():
    """Return an ELF file without any section but that of their names, which depmod reads."""
    texts = b"\0.shstrtab\0".ljust(16, b"\0")
    header = struct.pack(
        "<16sHHIQQQIHHHHHH",
        *(b"\x7fELF\x02\x01\x01", 1, 62, 1, 0, 0, 64 + len(texts), 0, 64, 0, 0, 64, 2, 1),
    )
    section = struct.pack("<IIQQQQIIQQ", 1, 3, 0, 0, 64, len(texts), 0, 0, 1, 0)
    return header + texts + bytes(64) + section


def test_a_module_of_any_name(namespace, terminal, tmp_path):
    """modprobe, which only says what it would do, would load the one module."""
    root, release = tmp_path / "root", os.uname().release
    folder = root / "lib" / "modules" / release
    folder.mkdir(parents=True)
    wanted = {name: name.replace("-", "_") for name in (*MODULES, "-r", "--remove")}
    for name in ("modules.order", "modules.builtin", "modules.builtin.modinfo"):
        (folder / name).write_text("")
    for name in wanted.values():
        (folder / f"{name}.ko").write_bytes(empty_module())
    subprocess.run(["depmod", "-b", str(root), release], check=True)
    listed = ", ".join(json.dumps(name) for name in wanted)
    configuration = f"{CONFIGURATION}expect: {{modules: [{listed}]}}\n"
    found = {
        e["name"]: r for e, r in reported(namespace, "ExpectedMissing", configuration, str(root))
    }
    assert sorted(found) == sorted(wanted.values())
    for name in wanted.values():
        load, at_boot = commands(found[name])
        assert terminal.paste(load) == (0, b"", b"")
        ((program, *arguments),) = terminal.noted()
        assert (program, arguments) == ("modprobe", [name])
        dry = ["modprobe", "-n", "-v", "-d", str(root), "-S", release, *arguments]
        assert subprocess.run(dry, capture_output=True, text=True, check=True).stdout.split() == [
            "insmod",
            str(folder / f"{name}.ko"),
        ]
        assert terminal.paste(at_boot) == (0, b"", b"")
    file = terminal.etc / "modules-load.d" / "netfilter.conf"
    assert file.read_text().splitlines() == list(wanted.values())
    assert list(terminal.canary.iterdir()) == []


FILES = (
    *("plain.conf", "a b.conf", "-e.conf", "$(touch a).conf", "; touch a;.conf", "a'b\"c.conf"),
    *("x\ntouch a\n.conf", "größe.conf", "\x1b[2J.conf", "a\udcff.conf", "a\\nb.conf", "&.conf"),
)


def test_a_file_of_modprobe_d_of_any_name(namespace, terminal, tmp_path):
    """What takes a line out of modprobe.d changes that line of that file, and nothing else."""
    root, release = tmp_path / "root", os.uname().release
    folder, kept = root / "lib" / "modules" / release, terminal.etc / "modprobe.d"
    folder.mkdir(parents=True)
    kept.mkdir()
    modules = [f"m{number}" for number in range(len(FILES))]
    (folder / "modules.dep").write_text("".join(f"{module}.ko:\n" for module in modules))
    for module, name in zip(modules, FILES):
        (folder / f"{module}.ko").write_bytes(empty_module())
        (kept / name).write_text(f"# kept\ninstall {module} /bin/false\n")
    shutil.copytree(kept, root / "etc" / "modprobe.d")
    configuration = f"{CONFIGURATION}expect: {{modules: [{', '.join(modules)}]}}\n"
    missing = reported(namespace, "ExpectedMissing", configuration, str(root))
    found = {evidence["name"]: remedy for evidence, remedy in missing}
    before = {name: (kept / name).read_text() for name in FILES}
    for number, (module, name) in enumerate(zip(modules, FILES)):
        edit, *_ = commands(found[module])
        assert terminal.paste(edit, SHELLS[number % len(SHELLS)]) == (0, b"", b""), edit
        before[name] = f"# kept\n# install {module} /bin/false\n"
        assert {path.name: path.read_text() for path in kept.iterdir()} == before
    assert list(terminal.canary.iterdir()) == []


@pytest.mark.parametrize("name", NO_MODULES)
def test_what_is_no_name_of_a_module(name):
    """The configuration refuses it, so that no command is made of it."""
    with pytest.raises(ConfigError, match="a module: letters"):
        parse(f"expect: {{modules: [{json.dumps(name)}]}}", "x")


# -- commands without a name ---------------------------------------------------------------------

#: What greps end with 1 where there is nothing to find, as in an empty namespace.
NOTHING_FOUND = re.compile(r"^grep |\| grep -n notrack$")
#: What is said on standard error where all is well.
SAID = re.compile(
    rb"(?:conntrack v\S+ \(conntrack-tools\): \d+ flow entries have been shown\.\n"
    rb"|ls: cannot access '/lib/modules': No such file or directory\n)?"
)


@pytest.fixture
def routes(namespace):
    """Default routes, for what asks for the way to an address."""
    namespace.sh(
        "ip link add way type bridge; ip link set way up;"
        " ip route add default dev way; ip -6 route add default dev way"
    )


@pytest.mark.usefixtures("routes")
@pytest.mark.parametrize("command", fixed_commands())
def test_a_command_without_a_name(namespace, terminal, command):
    """Each runs without an error, and changes nothing in the namespace; the machine is spared."""
    before = namespace.call(nft_kernel.state)
    done = terminal.paste(command)
    assert SAID.fullmatch(done.errors), done.errors
    assert done.code in ({0, 1} if NOTHING_FOUND.search(command) else {0})
    assert namespace.call(nft_kernel.state) == before
    words = shlex.split(command, comments=True)
    assert terminal.noted() == ([words] if words[0] in ON_THE_MACHINE else [])


@pytest.mark.parametrize("command", [c for c in fixed_commands() if "netfilter_exporter" in c])
def test_our_own_command_exists(command):
    """Its flags are those of the program."""
    words = shlex.split(command)
    own = words[words.index("netfilter_exporter") + 1 :]
    assert own[0] == "check"
    make_parser().parse_args(own[1:])
