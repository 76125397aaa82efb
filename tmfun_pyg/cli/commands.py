"""The commands."""

# Where each is, imported when called, so that --help does not wait for torch,
# and what it is for.
COMMANDS = {
    "prepare": ("prepare", "make a data set of a log and feature files"),
    "search": ("search", "find options of a model on validation"),
    "fit": ("fit", "train a model"),
    "validate": ("judge", "rank the validation split with a trained model"),
    "test": ("judge", "rank the test split with a trained model"),
    "recommend": ("recommend", "write the best items for users"),
    "similar": ("similar", "write the most similar items of items"),
    "score": ("score", "write the scores of given users and items"),
    "explain": ("explain", "say why an item is recommended to a user"),
    "export": ("export", "write embeddings, indices, a scorer for serving"),
    "report": ("report", "make a page with figures of training runs"),
}
TRAINING = ("search", "fit")
# Options whose parts are modalities, which may hold a dash.
NAMED_BY_USERS = ("features", "feature_ids")


def module_of(command: str) -> str:
    """Returns the name of the module of a command."""
    return f"tmfun_pyg.cli.{COMMANDS[command][0]}"
