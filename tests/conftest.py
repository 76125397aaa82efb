import os

import torch

# A warning for developers would be the first line of what commands print.
os.environ["JSONARGPARSE_DEPRECATION_WARNINGS"] = "off"

# Small tensors gain nothing by threads, which get in each other's way where
# tests run in several processes.
torch.set_num_threads(1)
