"""Runs the command line as `python -m tmfun_pyg`."""

import sys

from tmfun_pyg.cli.main import main

sys.exit(main())
