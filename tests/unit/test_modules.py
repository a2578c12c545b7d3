"""kernel/modules/reader.py: where each module is, by evidence and never by kernel version."""

import gzip
import lzma
import os
from pathlib import Path

import pytest

from netfilter_exporter.kernel import files
from netfilter_exporter.kernel.errors import Denied, Malformed, ReadError
from netfilter_exporter.kernel.files import Paths
from netfilter_exporter.kernel.modules import evidence as module_evidence
from netfilter_exporter.kernel.modules import reader as module_reader
from netfilter_exporter.kernel.modules.history import MERGES, MODULES, ROWS
from netfilter_exporter.kernel.modules.model import Modules, ModuleState
from netfilter_exporter.kernel.modules.reader import ModuleReader
from support.host import deny

RELEASE = "6.1.0-test"
LIB = f"lib/modules/{RELEASE}"
CONFIG = "CONFIG_MODULES=y\n"
#: modules.dep as depmod writes it, shortened.
DEP = """kernel/net/netfilter/nf_conntrack.ko: kernel/d/nf_defrag_ipv6.ko kernel/d/nf_defrag_ipv4.ko
kernel/net/netfilter/nf_nat.ko: kernel/net/netfilter/nf_conntrack.ko kernel/d/nf_defrag_ipv4.ko
kernel/net/netfilter/nf_tables.ko: kernel/net/netfilter/nfnetlink.ko
kernel/net/netfilter/nfnetlink.ko:
kernel/d/nf_defrag_ipv4.ko:
kernel/d/nf_defrag_ipv6.ko:
"""
#: Before 4.19.
OLD_DEP = """kernel/net/netfilter/nf_conntrack.ko: kernel/lib/libcrc32c.ko
kernel/d/nf_defrag_ipv4.ko:
"""
NETLINK_HEADER = "sk               Eth Pid        Groups   Rmem\n"


class Tree:
    """A host's files; a module line of /proc/modules is written from a name and its users."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.paths = Paths(f"{root}/proc", f"{root}/sys", str(root))
        self.write("proc/sys/kernel/osrelease", f"{RELEASE}\n")
        self.write("proc/sys/kernel/tainted", "0\n")
        self.write("proc/sys/kernel/modules_disabled", "0\n")
        self.write("proc/cmdline", "quiet\n")
        self.write("proc/modules", "")
        self.reader = ModuleReader(self.paths, extra=("nf_conntrack_ftp", "ip_conntrack"))

    def write(self, name: str, content: str = "") -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        if path.name == "modules.dep":  # and the files that it names
            for module in content.replace(":", " ").split():
                self.write(f"{name.rpartition('/')[0]}/{module}")

    def installed(self, dep: str = DEP, builtin: str = "kernel/net/ipv6/ipv6.ko\n") -> None:
        """Install the kernel's modules."""
        self.write(f"{LIB}/modules.dep", dep)
        self.write(f"{LIB}/modules.builtin", builtin)
        self.write(f"{LIB}/modules.alias", "alias ip_conntrack nf_conntrack\n")

    def load(self, **users: str) -> None:
        lines = (f"{name} 4096 {len(u)} {u or '-'} Live 0x0\n" for name, u in users.items())
        self.write("proc/modules", "".join(lines))

    def monolithic(self) -> None:
        """Turn the kernel into one without loadable modules."""
        (self.root / "proc/modules").unlink()
        (self.root / "proc/sys/kernel/modules_disabled").unlink()

    def read(self) -> Modules:
        return self.reader.read()

    def state(self, name: str) -> ModuleState:
        return self.read().known[name].state


@pytest.fixture
def tree(tmp_path):
    return Tree(tmp_path)


def test_loaded(tree):
    """A line of /proc/modules is a loaded module, with its references."""
    tree.installed()
    tree.load(nf_nat="xt_nat,")
    module = tree.read().known["nf_nat"]
    assert (module.state, module.references) == (ModuleState.LOADED, 7)


def test_on_its_way_out_is_not_loaded(tree):
    """A question to a module that is being unloaded would load it again."""
    tree.installed()
    tree.write("proc/modules", "nf_tables 4096 0 - Unloading 0x0\n")
    assert tree.state("nf_tables") is ModuleState.AVAILABLE
    assert tree.read().may_ask("nf_tables") is False


def test_available_and_absent(tree):
    """What modules.dep lists can be loaded; what neither list has is not there."""
    tree.installed()
    assert tree.state("nf_nat") is ModuleState.AVAILABLE
    assert tree.state("nft_ct") is ModuleState.ABSENT
    assert tree.read().usable("nf_nat") is False


def test_without_files_nothing_is_claimed(tree):
    """Without module directory and configuration only what is loaded is known."""
    tree.load(nf_tables="")
    modules = tree.read()
    assert modules.known["nf_tables"].state is ModuleState.LOADED
    assert modules.known["nf_nat"].state is ModuleState.UNKNOWN
    assert modules.usable("nf_nat") is None


@pytest.mark.parametrize(
    ("file", "content", "name"),
    [
        (f"{LIB}/modules.builtin", "kernel/net/netfilter/nf_nat.ko\n", "nf_nat"),
        (f"boot/config-{RELEASE}", CONFIG + "CONFIG_NF_NAT=y\n", "nf_nat"),
        (f"{LIB}/config", CONFIG + "CONFIG_NF_NAT=y\n", "nf_nat"),
        (f"{LIB}/build/.config", CONFIG + "CONFIG_NF_NAT=y\n", "nf_nat"),
        ("sys/module/nf_conntrack_ftp/parameters/ports", "", "nf_conntrack_ftp"),
        ("proc/sys/net/netfilter/nf_conntrack_count", "0\n", "nf_conntrack"),
        ("proc/net/ip_tables_names", "", "ip_tables"),
        ("proc/net/netlink", NETLINK_HEADER + "0000000000000000 12  0 00000000\n", "nfnetlink"),
        ("proc/kallsyms", "0000000000000000 t nf_tables_newrule\n", "nf_tables"),
    ],
)
def test_each_proof_of_built_in(tree, file: str, content: str, name: str):
    """Each of these alone proves that a module is part of the kernel."""
    assert tree.state(name) is ModuleState.UNKNOWN
    fresh = Tree(tree.root)
    fresh.write(file, content)
    assert fresh.state(name) is ModuleState.BUILTIN
    assert fresh.read().usable(name) is True


def test_symbols_that_are_not_read_yet_are_looked_for_again(tree, monkeypatch):
    """What a slow host has not found in one look is unknown, and known after a later one."""
    monkeypatch.setattr(module_reader, "_SYMBOLS_TIME", 0.0)
    tree.write("proc/kallsyms", "0000000000000000 t nf_tables_newrule\n")
    assert tree.state("nf_tables") is ModuleState.UNKNOWN
    monkeypatch.setattr(module_reader, "_SYMBOLS_TIME", 60.0)
    assert tree.state("nf_tables") is ModuleState.BUILTIN


def test_the_running_kernels_own_configuration(tree):
    """/proc/config.gz is believed before the files on disk."""
    (tree.root / "proc/config.gz").write_bytes(gzip.compress(b"CONFIG_MODULES=y\n"))
    tree.write(f"boot/config-{RELEASE}", CONFIG + "CONFIG_NF_NAT=y\n")
    assert tree.state("nf_nat") is ModuleState.ABSENT


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("sys/module/nf_conntrack_ftp/initstate", "live\n"),
        ("sys/module/nf_conntrack_ftp/refcnt", "0\n"),
        ("proc/net/netlink", NETLINK_HEADER + "000000000000000c 4   12 0000000c 12\n"),
        ("proc/kallsyms", "0 t nf_tables_newrule\t[nf_tables]\n"),
        ("proc/kallsyms", "0 t nf_tables_newrule_old\n"),
    ],
)
def test_what_only_looks_like_a_proof(tree, file: str, content: str):
    """The directory of a loadable module, other netlink rows and modules' symbols prove nothing."""
    tree.write(file, content)
    for name in ("nf_conntrack_ftp", "nfnetlink", "nf_tables"):
        assert tree.state(name) is ModuleState.UNKNOWN


@pytest.mark.parametrize(
    ("option", "state"),
    [
        ("CONFIG_NFT_CT=m\n", ModuleState.UNKNOWN),
        ("# CONFIG_NFT_CT is not set\n", ModuleState.ABSENT),
        ("", ModuleState.ABSENT),
    ],
)
def test_configuration_without_module_directory(tree, option: str, state: ModuleState):
    """What is off is absent; what is a module may be anywhere while its directory is hidden."""
    tree.write(f"boot/config-{RELEASE}", CONFIG + option)
    assert tree.state("nft_ct") is state


def test_a_module_whose_directory_is_gone_is_absent(tree):
    """A kernel update that removes the directory of the running kernel leaves nothing to load."""
    tree.write("lib/modules/6.1.1-next/modules.dep", DEP)
    tree.write(f"boot/config-{RELEASE}", CONFIG + "CONFIG_NFT_CT=m\n")
    modules = tree.read()
    assert modules.directory_present is False
    assert modules.known["nft_ct"].state is ModuleState.ABSENT


def test_the_module_directory(tree):
    """It is there, or it is not, or it cannot be told: hidden, or only a part of a root."""
    assert tree.read().directory_present is None
    (tree.root / "lib/modules").mkdir(parents=True)
    assert tree.read().directory_present is False
    (tree.root / "lib/modules").chmod(0)
    assert tree.read().directory_present is None
    (tree.root / "lib/modules").chmod(0o755)
    tree.installed()
    assert tree.read().directory_present is True
    tree.monolithic()
    assert tree.read().directory_present is None


def test_a_link_out_of_lib_leads_below_the_hosts_root(tree):
    """/lib may be a link with an absolute target, which is the host's and not ours."""
    tree.write(f"usr/{LIB}/modules.dep", DEP)
    (tree.root / "lib").symlink_to("/usr/lib")
    assert tree.state("nf_nat") is ModuleState.AVAILABLE


def test_merged_where_the_successor_needs_what_the_retired_module_needed(tree):
    """nf_conntrack that depends on nf_defrag_ipv4 has its IPv4 half inside."""
    tree.installed()
    module = tree.read().known["nf_conntrack_ipv4"]
    assert (module.state, module.provided_by) == (ModuleState.MERGED, "nf_conntrack")
    assert tree.read().usable("nf_conntrack_ipv4") is False
    tree.load(nf_conntrack="")
    assert tree.read().usable("nf_conntrack_ipv4") is True


def test_merged_by_the_users_in_proc_modules(tree):
    """Without any file the users of nf_defrag_ipv4 tell it."""
    tree.load(nf_conntrack="", nf_defrag_ipv4="nf_conntrack,")
    assert tree.state("nf_conntrack_ipv4") is ModuleState.MERGED


def test_merged_by_its_sysctl(tree):
    """nf_conntrack_icmp_timeout belongs to the IPv4 half: with it, the half is there."""
    tree.load(nf_conntrack="")
    assert tree.state("nf_conntrack_ipv4") is ModuleState.UNKNOWN
    tree.write("proc/sys/net/netfilter/nf_conntrack_icmp_timeout", "30\n")
    assert tree.state("nf_conntrack_ipv4") is ModuleState.MERGED


def test_merged_by_alias(tree):
    """An alias with the exact name leads to the module that has the code."""
    tree.installed()
    module = tree.read().known["ip_conntrack"]
    assert (module.state, module.provided_by) == (ModuleState.MERGED, "nf_conntrack")


@pytest.mark.parametrize(
    ("dep", "config"),
    [
        (OLD_DEP, ""),
        (OLD_DEP, "CONFIG_NF_CONNTRACK=m\nCONFIG_NF_CONNTRACK_IPV4=m\n"),
        (DEP, "CONFIG_NF_CONNTRACK=m\n# CONFIG_NF_CONNTRACK_IPV4 is not set\n"),
    ],
    ids=["no dependency", "module not installed", "switched off"],
)
def test_not_merged_where_the_kernel_still_has_two(tree, dep: str, config: str):
    """A kernel of the time before the merge may lack the IPv4 half: that is absence."""
    tree.installed(dep)
    if config:
        tree.write(f"boot/config-{RELEASE}", CONFIG + config)
    assert tree.state("nf_conntrack_ipv4") is ModuleState.ABSENT


def test_nfnetlink_inside_the_core(tree):
    """netfilter.ko in modules.builtin is no proof of nfnetlink; with its option or row it is."""
    tree.installed(DEP.replace("nfnetlink", "other"), "kernel/net/netfilter/netfilter.ko\n")
    assert tree.state("nfnetlink") is ModuleState.ABSENT
    tree.write(f"boot/config-{RELEASE}", CONFIG + "CONFIG_NETFILTER_NETLINK=y\n")
    module = tree.read().known["nfnetlink"]
    assert (module.state, module.provided_by) == (ModuleState.MERGED, "netfilter")
    assert tree.read().may_ask("nfnetlink") is True


def test_blocked(tree):
    """A module is blocked by modprobe.d, also where only what it needs is, until that is loaded."""
    tree.installed()
    tree.write("etc/modprobe.d/block.conf", "install nf_conntrack /bin/false\n")
    assert tree.state("nf_conntrack") is ModuleState.BLOCKED
    assert tree.state("nf_nat") is ModuleState.BLOCKED
    assert tree.state("nf_tables") is ModuleState.AVAILABLE
    tree.load(nf_conntrack="")
    assert tree.state("nf_nat") is ModuleState.AVAILABLE


def test_blocked_on_the_kernel_command_line(tree):
    """module_blacklist= is enforced by the kernel."""
    tree.installed()
    tree.write("proc/cmdline", "module_blacklist=nf_defrag_ipv4\n")
    assert tree.state("nf_nat") is ModuleState.BLOCKED
    assert tree.state("nf_tables") is ModuleState.AVAILABLE


@pytest.mark.parametrize(
    ("first", "second"),
    [("", "install nf_tables /bin/false\n"), ("install nf_tables /bin/false\n", "")],
)
def test_an_edit_is_seen_at_once(tree, first: str, second: str):
    """Files are parsed once, and again as soon as one changes, appears or goes."""
    tree.installed()
    tree.write("etc/modprobe.d/block.conf", first)
    before = tree.state("nf_tables")
    tree.write("etc/modprobe.d/block.conf", second)
    assert tree.state("nf_tables") is not before
    tree.write(f"{LIB}/modules.dep", "")
    assert tree.state("nf_tables") is ModuleState.ABSENT
    (tree.root / f"{LIB}/modules.dep").unlink()
    assert tree.state("nf_tables") is ModuleState.UNKNOWN


def test_nothing_is_parsed_twice(tree, monkeypatch):
    """While no file changes the lists are not read again."""
    tree.installed()
    tree.read()
    reads = []
    monkeypatch.setattr(module_evidence, "read_bytes", reads.append)
    assert tree.state("nf_nat") is ModuleState.AVAILABLE
    assert not reads


def test_a_file_of_modprobe_d_that_may_not_be_read(tree, monkeypatch):
    """Where a part of modprobe.d is out of sight, what it blocks is not known."""
    tree.installed()
    assert tree.read().modprobe_readable is True
    tree.write("etc/modprobe.d/block.conf", "")

    def refuse(path: str, *limit: int) -> bytes:
        if path.endswith("block.conf"):
            raise Denied(path)
        return files.read_bytes(path, *limit)

    monkeypatch.setattr(module_evidence, "read_bytes", refuse)
    assert tree.read().modprobe_readable is False
    assert tree.state("nf_nat") is ModuleState.AVAILABLE


@pytest.mark.parametrize("name", ["nfnetlink", "nf_tables", "nf_conntrack_netlink"])
def test_the_gate(tree, name: str):
    """A question is allowed when its module is there, or when nothing can be loaded any more."""
    assert tree.read().may_ask(name) is False
    tree.load(**{name: ""})
    assert tree.read().may_ask(name) is True
    tree.load()
    tree.write("proc/sys/kernel/modules_disabled", "1\n")
    assert tree.read().may_ask(name) is True
    assert tree.read().locked is True
    tree.monolithic()
    modules = tree.read()
    assert modules.may_ask(name) is True
    assert (modules.loading, modules.locked) == (False, False)


def test_a_forced_unload_taints(tree):
    """Value 8 of the taint is a forced unload, value 2 a forced load."""
    tree.write("proc/sys/kernel/tainted", "2\n")
    assert tree.read().forced_unload is False
    tree.write("proc/sys/kernel/tainted", "4104\n")
    assert tree.read().forced_unload is True


@pytest.mark.parametrize("file", ["sys/kernel/osrelease", "sys/kernel/tainted"])
def test_a_proc_that_is_not_there_is_an_error(tree, file: str):
    """A wrong --path.procfs must not look like a kernel without modules."""
    (tree.root / "proc" / file).unlink()
    with pytest.raises(ReadError, match=file):
        tree.read()


@pytest.mark.parametrize(
    "content", [b"6.1\0.0\n", b"\0", b"", b"\n", b"..", b"6/../..", b"6 1", b"6\xff", b"6" * 65]
)
def test_a_release_that_is_none_is_malformed(tree, content: bytes):
    """It is a part of paths: what cannot be one leads to no other directory, and to no defect."""
    (tree.root / "proc/sys/kernel/osrelease").write_bytes(content)
    with pytest.raises(Malformed, match="osrelease: not a release"):
        tree.read()


@pytest.mark.parametrize(
    "path", [b"kernel/a\0b/nf_nat.ko", b"/a\0b/nf_nat.ko.xz", b"a\0/nf_nat.ko"]
)
def test_a_path_that_is_none_in_modules_dep(tree, path: bytes):
    """What depmod would never write leaves one module unknown or absent, and is no defect."""
    (tree.root / LIB).mkdir(parents=True, exist_ok=True)
    (tree.root / f"{LIB}/modules.dep").write_bytes(path + b":\n")
    assert tree.state("nf_nat") in {ModuleState.AVAILABLE, ModuleState.ABSENT, ModuleState.UNKNOWN}


def test_garbage_on_disk_is_no_evidence(tree):
    """Files that cannot be parsed leave the states unknown, and never fail the scrape."""
    for name in ("config-" + RELEASE,):
        (tree.root / "boot").mkdir(exist_ok=True)
        (tree.root / "boot" / name).write_bytes(os.urandom(64))
    (tree.root / "proc/config.gz").write_bytes(b"\x1f\x8bgarbage")
    (tree.root / f"{LIB}/modules.dep").mkdir(parents=True)
    assert tree.state("nf_nat") is ModuleState.UNKNOWN


def test_only_reported_names_are_on_the_page(tree):
    """What the configuration names is reported beside the fixed list; helpers of ours are not."""
    info = tree.read().info
    assert {"nf_conntrack", "nf_conntrack_ipv4", "nf_conntrack_ftp", "ip_conntrack"} <= set(info)
    assert "netfilter" not in info
    assert sum(row.reported for row in MODULES) <= 28


def test_the_tables_fit_together():
    """Each merge leads from a row to a row."""
    assert len(ROWS) == len(MODULES)
    for merge in MERGES.values():
        assert merge.name in ROWS
        assert merge.successor in ROWS
        assert not merge.uses or merge.uses in ROWS


def test_an_image_has_no_say(tree, monkeypatch):
    """In a container without the host's root neither modprobe.d nor a missing directory counts."""
    monkeypatch.setattr(module_evidence, "shows_host", lambda *_: False)
    tree.write("etc/modprobe.d/block.conf", "install nf_tables /bin/false\n")
    (tree.root / "lib/modules").mkdir(parents=True)
    assert tree.read().directory_present is None
    assert tree.read().modprobe_readable is False
    tree.installed()
    assert tree.state("nf_tables") is ModuleState.AVAILABLE


# -- the files of modules --------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["", ".xz", ".zst", ".gz"])
def test_a_file_that_the_disk_lacks(tree, suffix):
    """modprobe opens the path of modules.dep: without that file the module is absent."""
    tree.installed(DEP.replace(".ko", f".ko{suffix}"))
    assert tree.state("nf_nat") is ModuleState.AVAILABLE
    (tree.root / LIB / f"kernel/net/netfilter/nf_nat.ko{suffix}").unlink()
    found = tree.read().known["nf_nat"]
    assert (found.state, found.causes) == (ModuleState.ABSENT, ("nf_nat",))
    assert tree.state("nf_conntrack") is ModuleState.AVAILABLE
    tree.write(f"{LIB}/kernel/net/netfilter/nf_nat.ko{suffix}")
    assert tree.state("nf_nat") is ModuleState.AVAILABLE


def test_a_file_that_was_compressed_after_depmod_ran(tree):
    """kmod does not look for another suffix than the one that modules.dep gives."""
    tree.installed()
    file = tree.root / LIB / "kernel/net/netfilter/nf_nat.ko"
    file.rename(f"{file}.xz")
    assert tree.state("nf_nat") is ModuleState.ABSENT


def test_what_needs_an_absent_module_cannot_be_loaded_either(tree):
    """The module that is named is the one without a file."""
    tree.installed()
    (tree.root / LIB / "kernel/net/netfilter/nf_conntrack.ko").unlink()
    found = tree.read().known["nf_nat"]
    assert (found.state, found.causes) == (ModuleState.ABSENT, ("nf_conntrack",))
    tree.load(nf_conntrack="")
    assert tree.state("nf_nat") is ModuleState.AVAILABLE


def test_a_file_that_cannot_be_seen_is_not_missing(tree, monkeypatch):
    """A directory without the right to pass it says nothing about its files."""
    tree.installed()
    deny(monkeypatch, [str(tree.root / LIB / "kernel/net/netfilter")])
    assert tree.state("nf_nat") is ModuleState.AVAILABLE


SIGNED = b"\x7fELF ... ~Module signature appended~\n"


def sign(tree, content, suffix=""):
    """Install the modules, nf_nat with this content; return its state where signatures count."""
    tree.installed(DEP.replace("nf_nat.ko", f"nf_nat.ko{suffix}"))
    for name in ("nf_conntrack.ko", "nf_tables.ko", "nfnetlink.ko"):
        (tree.root / LIB / "kernel/net/netfilter" / name).write_bytes(SIGNED)
    for name in ("nf_defrag_ipv4.ko", "nf_defrag_ipv6.ko"):
        (tree.root / LIB / "kernel/d" / name).write_bytes(SIGNED)
    (tree.root / LIB / f"kernel/net/netfilter/nf_nat.ko{suffix}").write_bytes(content)
    return tree.state("nf_nat")


@pytest.mark.parametrize(
    ("suffix", "packed"),
    [("", bytes), (".xz", lzma.compress), (".gz", gzip.compress)],
    ids=["plain", "xz", "gz"],
)
def test_signatures(tree, suffix, packed):
    """Where the kernel demands one, a module without a signature is unsigned, compressed or not."""
    tree.write("sys/module/module/parameters/sig_enforce", "Y\n")
    assert sign(tree, packed(SIGNED), suffix) is ModuleState.AVAILABLE
    assert sign(tree, packed(b"\x7fELF ..."), suffix) is ModuleState.UNSIGNED
    assert tree.read().signatures is True
    tree.write("sys/module/module/parameters/sig_enforce", "N\n")
    tree.write("sys/kernel/security/lockdown", "[none] integrity confidentiality\n")
    assert tree.state("nf_nat") is ModuleState.AVAILABLE
    assert tree.read().signatures is False


@pytest.mark.parametrize(
    ("lockdown", "refuses"),
    [
        ("[none] integrity confidentiality\n", False),
        ("none [integrity] confidentiality\n", True),
        ("none integrity [confidentiality]\n", True),
    ],
)
def test_lockdown_demands_signatures(tree, lockdown, refuses):
    """Both of its modes do (LOCKDOWN_MODULE_SIGNATURE is below the first of them)."""
    tree.write("sys/module/module/parameters/sig_enforce", "N\n")
    tree.write("sys/kernel/security/lockdown", lockdown)
    state = ModuleState.UNSIGNED if refuses else ModuleState.AVAILABLE
    assert sign(tree, b"\x7fELF") is state
    assert tree.read().signatures is refuses


@pytest.mark.parametrize("content", [b"", b"\xfd7zXZ\0 torn", lzma.compress(SIGNED)[:-9]])
def test_what_cannot_be_unpacked_is_not_called_unsigned(tree, content):
    """Only a file that was read to its end is known to lack a signature."""
    tree.write("sys/module/module/parameters/sig_enforce", "Y\n")
    assert sign(tree, content, ".xz") is ModuleState.AVAILABLE
    assert sign(tree, b"zstd", ".zst") is ModuleState.AVAILABLE


def test_without_securityfs_lockdown_is_unknown(tree):
    """A container without it does not know what the kernel refuses."""
    tree.write("sys/module/module/parameters/sig_enforce", "N\n")
    tree.installed()
    assert tree.read().signatures is None
    tree.write("sys/kernel/security/lsm", "capability,apparmor")  # and no lockdown
    assert tree.read().signatures is False


def test_blacklist_blocks_what_only_an_alias_loads(tree):
    """nf_tables is requested as nfnetlink-subsys-10; nf_nat comes with what needs it."""
    tree.installed()
    tree.write("etc/modprobe.d/a.conf", "blacklist nf_tables\nblacklist nf_nat\n")
    found = tree.read()
    assert found.known["nf_tables"].state is ModuleState.BLOCKED
    assert found.known["nf_nat"].state is ModuleState.AVAILABLE
    assert [str(rule) for rule in found.stops["nf_tables"]] == ["blacklist nf_tables"]
