"""Real programs that write NAT, on hosts of their own.

    program.py   what a program is: its packages, its healthy host, and faults that its users report
    root.py      the root file system that the programs are in, and a private copy of it for a host
    host.py      the host: as the lab's router, with the programs' root, and guests behind bridges
    listing.py   the counts of the page, held against those of the program's own listing
    guest.py     in namespaces of its own: runs a program on a host, and tells what came of it
    run.py       runs all of them side by side, and judges them
    matrix.py    the table: program, and what came of its healthy host and of each fault
    containers.py  three containers, and what is seen of their network namespaces

The scenarios, the peers and the verdict are the lab's.
"""
