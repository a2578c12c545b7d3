"""A small lab: Debian's own kernels in QEMU, a NAT host in each, and faults put into it.

    kernels.py    a suite's kernel and its modules, unpacked and cut down to what networks need
    userland.py   the root file system of the guest: tools, CPython, the built wheel
    cpio.py       the archive that a kernel unpacks as its first root
    machine.py    one boot: what the guest is to do goes in as files, results come out as JSON
    guest.py      in the guest: runs scenarios one after the other and cleans up between them
    router.py     in the guest: the NAT host with a client and a server, and real flows
    bridge.py     in the guest: a bridge with two pods
    advertiser.py in the guest: a router that advertises itself
    exporter.py   in the guest: the exporter under test, and its pages
    scenario.py   what a scenario is
    verdict.py    on the host again: what the pages say, held against what was done
    matrix.py     the table: scenario by kernel
    record.py     writes recordings of hosts for tests/fixtures
    witness.py    in the guest: brings it into a state, and tells what the kernel says
    tap.py        in the guest: stands between the exporter and the kernel

guest.py, router.py, exporter.py and witness.py also work in a namespace of the running kernel.

And a host of Debian's with systemd, on which the exporter is deployed:

    systemd.py        its root file system
    deployment.py     one boot of it, and the facts that come out
    administrator.py  in the guest: does what README says, step by step
    neighbours.py     in the guest: NAT rules, and a peer with private and public addresses
    service.py        in the guest: what systemctl tells, and pages
    attempts.py       in the guest, started by the unit: tries what is forbidden
"""
