import torch

# Small tensors gain nothing by threads, which get in each other's way where
# tests run in several processes.
torch.set_num_threads(1)
