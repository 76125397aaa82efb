"""The command line, `tmfun`: one file per command."""
