"""``python -m netfilter_exporter``."""

import sys

from netfilter_exporter.cli import main

sys.exit(main())
