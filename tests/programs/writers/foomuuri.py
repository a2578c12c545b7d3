from lab.scenario import Scenario
from stage.program import Program

CONFIG = """
zone {
  localhost
  public wan
  internal lan
}

snat {
  saddr 10.0.1.0/24 oifname wan masquerade
}

dnat {
  iifname wan tcp 8080 dnat to 10.0.1.2:7
  iifname wan udp 8080 dnat to 10.0.1.2:7
}

localhost-public {
  accept
}

localhost-internal {
  accept
}

internal-public {
  accept
}

internal-localhost {
  accept
}

public-internal {
  tcp 7 accept
  udp 7 accept
  drop
}

public-localhost {
  drop
}
"""


AUTHORITIES = "usr/share/ca-certificates/mozilla"


def setup(host):
    # As the script of ca-certificates does: without it, Python's requests is not imported.
    certificates = sorted((host.root / AUTHORITIES).iterdir())
    host.file("etc/ssl/certs/ca-certificates.crt", certificates[0].read_text())
    host.file("etc/foomuuri/gateway.conf", CONFIG)
    host.program("foomuuri start")


PROGRAM = Program(
    packages=("foomuuri",),
    role="{ipv4: required, ipv6: none}",
    healthy=Scenario(
        about="Zones public and internal with masquerade and a published port.",
        setup=setup,
        works={"out": (True, True), "in": (True, True)},
    ),
    faults={
        "stopped": Scenario(
            about="foomuuri is stopped, and takes its table away.",
            setup=setup,
            fault=lambda host: host.program("foomuuri stop"),
            works={"out": (True, False)},
            alerts=frozenset({"NetfilterConntrackDisabled"}),
        ),
    },
)
