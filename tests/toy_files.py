"""A small data set in files."""

from pathlib import Path

import numpy as np

from tmfun_pyg.datasets import SyntheticMultimodal


def write_files(folder: Path, seed: int = 0) -> None:
    """Writes toy.inter and visual_feat.npy."""
    data = SyntheticMultimodal(60, 40, {"visual": 8}, seed)[0]
    store = data["user", "interacts", "item"]
    splits = [
        store.edge_index,
        store.val_edge_label_index,
        store.test_edge_label_index,
    ]
    lines = ["userID\titemID\tx_label"]
    for label, edges in enumerate(splits):
        lines += [f"{u}\t{i}\t{label}" for u, i in edges.t().tolist()]
    folder.mkdir(exist_ok=True)
    (folder / "toy.inter").write_text("\n".join(lines) + "\n")
    np.save(folder / "visual_feat.npy", data["item"].x_visual.numpy())
