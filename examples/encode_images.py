"""Encodes pictures of items as features with a torchvision model.

    python examples/encode_images.py items.csv --model resnet50
    tmfun prepare ... --features.image image_feat.npy

items.csv has one row per item, with its id in the column item_id and the path
of its picture, relative to the folder of items.csv, in the column image. The
features are the input of the model's last linear layer. They are written to
image_feat.npy, and the ids of their rows to image_feat_ids.txt next to it,
which `tmfun prepare` reads. Items with a missing or broken picture are left
out and counted: they lack the modality.

torchvision has to be built for your torch. The one from PyPI cannot be
imported with the CPU build of torch 2.13; take both from the same index:

    pip install torchvision --index-url https://download.pytorch.org/whl/cpu

The model has torchvision's default weights, which are downloaded once.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from tqdm import tqdm


def read_args():
    parser = argparse.ArgumentParser()
    parser.add_argument("items", type=Path)
    parser.add_argument("--model", default="resnet50")
    parser.add_argument("--item-col", default="item_id")
    parser.add_argument("--image-col", default="image")
    parser.add_argument("--out", type=Path, default=Path("image_feat.npy"))
    parser.add_argument("--batch-size", type=int, default=64)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", default=device)
    return parser.parse_args()


def load_model(name):
    """Returns a model without its last linear layer, and its transform of
    pictures.
    """
    from torchvision import models

    weights = models.get_model_weights(name).DEFAULT
    model = models.get_model(name, weights=weights).eval()
    layers = [x for x in model.modules() if isinstance(x, torch.nn.Linear)]
    layers[-1].forward = torch.nn.Identity().forward
    return model, weights.transforms()


def read_image(path, transform):
    """Returns a picture as the model reads it, or why there is none."""
    if not path.is_file():
        return "missing"
    try:
        with Image.open(path) as image:
            return transform(image.convert("RGB"))
    # The error for damaged bytes depends on the bytes.
    except Exception:
        return "broken"


def main():
    args = read_args()
    items = pd.read_csv(args.items, dtype=str, keep_default_na=False)
    for column in (args.item_col, args.image_col):
        if column not in items:
            raise SystemExit(f"no column '{column}' in '{args.items}'")
    model, transform = load_model(args.model)
    model.to(args.device)
    ids, rows = [], []
    left_out = {"missing": [], "broken": []}
    with torch.inference_mode(), tqdm(total=len(items), disable=None) as bar:
        for start in range(0, len(items), args.batch_size):
            part = items.iloc[start : start + args.batch_size]
            batch = []
            for item, name in zip(
                part[args.item_col], part[args.image_col], strict=True
            ):
                image = read_image(args.items.parent / name, transform)
                if isinstance(image, str):
                    left_out[image].append(item)
                else:
                    ids.append(item)
                    batch.append(image)
            if batch:
                x = model(torch.stack(batch).to(args.device))
                rows.append(x.flatten(1).float().cpu().numpy())
            bar.update(len(part))
    for reason, which in left_out.items():
        if which:
            print(f"{len(which)} {reason}, such as of item {which[0]}")
    if not ids:
        raise SystemExit(f"no picture in '{args.items}' could be read")
    matrix = np.concatenate(rows)
    text = "".join(f"{item}\n" for item in ids)
    args.out.with_name(f"{args.out.stem}_ids.txt").write_text(text, "utf-8")
    np.save(args.out, matrix)
    print(f"{args.out}: {matrix.shape[1]} features of {len(ids)} items")


if __name__ == "__main__":
    main()
