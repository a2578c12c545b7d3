"""The command ``netfilter_exporter``, and ``python -m netfilter_exporter``.

Imports little by itself: importing the rest takes a third of a second, in which a SIGHUP must not
end the process.
"""

import signal
import sys


def main() -> int:
    """Hold SIGHUP, then run the command; returns the exit code. cli.py releases the signal."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    from netfilter_exporter import malloc  # noqa: PLC0415 - after the signal is held

    malloc.give_back()  # before anything large is imported
    from netfilter_exporter import cli  # noqa: PLC0415

    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
