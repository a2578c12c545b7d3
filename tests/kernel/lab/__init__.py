"""A small lab: Debian's own kernels in QEMU, a NAT host in each, and faults put into it.

    kernels.py    a suite's kernel and its modules, unpacked and cut down to what networks need
    userland.py   the root file system of the guest: tools, CPython, the built wheel
    cpio.py       the archive that a kernel unpacks as its first root
    machine.py    one boot: what the guest is to do goes in as files, results come out as JSON
    guest.py      in the guest: runs scenarios one after the other and cleans up between them
    router.py     in the guest: the NAT host with a client and a server, and real flows
    exporter.py   in the guest: the exporter under test, and its pages
    scenario.py   what a scenario is
    verdict.py    on the host again: what the pages say, held against what was done
    matrix.py     the table: scenario by kernel

guest.py, router.py and exporter.py also run scenarios in a namespace of the running kernel.
"""
