"""The commands."""

# The module of each command, imported when called, so that --help does not
# wait for torch, and a summary.
COMMANDS = {
    "prepare": ("prepare", "make a data set from a log and feature files"),
    "search": ("search", "tune a model on the validation split"),
    "fit": ("fit", "train a model"),
    "validate": ("judge", "rank the validation split with a trained model"),
    "test": ("judge", "rank the test split with a trained model"),
    "recommend": ("recommend", "write a list of items for each user"),
    "similar": ("similar", "write the items most similar to each item"),
    "score": ("score", "write the scores of given pairs"),
    "explain": ("explain", "explain why an item is recommended to a user"),
    "export": ("export", "write files for a server"),
    "report": ("report", "make an HTML page about training runs"),
}
TRAINING = ("search", "fit")
# Options with keys that are modalities, whose names may contain a dash.
NAMED_BY_USERS = ("features", "feature_ids")


def module_of(command: str) -> str:
    """Returns the name of the module of a command."""
    return f"tmfun_pyg.cli.{COMMANDS[command][0]}"
