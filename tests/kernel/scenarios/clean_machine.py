from pathlib import Path

from lab.scenario import Scenario

COLLECTORS = ("conntrack", "forwarding", "modules", "nat", "sysctl", "tracking")
SCRAPES = 100
FILES = (
    "/proc/modules",
    "/proc/net/ip_tables_names",
    "/proc/net/ip6_tables_names",
    "/proc/sys/kernel/tainted",
    "/proc/sys/net/netfilter/nf_conntrack_count",
)


def look():
    """Return what a look at the host must not change, of what can be seen without changing it."""
    seen = {name: Path(name).read_text() if Path(name).exists() else None for name in FILES}
    return {**seen, "sysctls": sorted(map(str, Path("/proc/sys/net/netfilter").rglob("*")))}


def check(router):
    """Scrape a hundred times with all collectors and with each alone; return what is different."""
    problems = []
    for names in ((), *((name,) for name in COLLECTORS)):
        for _ in range(SCRAPES):
            router.exporter.scrape(*names)
        now = look()
        problems += [
            f"{names or 'all collectors'}: {key}: {router.seen[key]!r} -> {now[key]!r}"
            for key in now
            if now[key] != router.seen[key]
        ]
    # Only now, for asking loads nf_tables: there must be no table and no hook of ours.
    ruleset = router.run("nft list ruleset").strip()
    hooks = router.run("nft list hooks", check=False)
    marks = [line for line in hooks.splitlines() if "nat" in line or "conntrack" in line]
    return [*problems, *([ruleset] if ruleset else []), *marks]


def setup(router):
    router.seen = look()


SCENARIO = Scenario(
    about="A machine without any netfilter module is scraped: nothing of it changes.",
    setup=setup,
    before={"conntrack_present": 0, 'conntrack_tracking{family="ipv4"}': 0},
    after={"conntrack_present": 0, 'nat_rules{family="ipv4"}': 0},
    check=check,
    network=False,
    needs_boot=True,
)
