"""The command line, `tmfun`: a file for each command."""
