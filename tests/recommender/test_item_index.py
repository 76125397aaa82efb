import pytest
import torch

from tmfun_pyg.recommender.item_index import (
    build_index,
    describe_index,
    index_recall,
    list_recall,
)

pytest.importorskip("faiss")


def test_list_recall():
    expected = torch.tensor([[3, 1, 2], [0, 4, 5]])
    found = torch.tensor([[2, 3, 9], [-1, -1, 4]])
    assert list_recall(found, expected) == pytest.approx(3 / 6)
    assert list_recall(expected.flip(1), expected) == 1.0
    assert list_recall(torch.full((2, 3), -1), expected) == 0.0


@pytest.mark.parametrize("kind", ["flat", "ivf", "hnsw"])
def test_largest_inner_products(kind):
    generator = torch.Generator().manual_seed(0)
    item_emb = torch.randn(3000, 8, generator=generator)
    # Lengths differ, so that this is no search by cosine or distance:
    item_emb *= torch.rand(3000, 1, generator=generator) * 4
    user_emb = torch.randn(50, 8, generator=generator)
    index = build_index(item_emb, kind)
    recall = index_recall(index, user_emb, item_emb, k=10)
    assert recall == 1.0 if kind == "flat" else recall > 0.9
    score, item = index.search(user_emb.numpy(), 10)
    expected = (user_emb.unsqueeze(1) * item_emb[torch.tensor(item)]).sum(2)
    torch.testing.assert_close(torch.tensor(score), expected)

    found = describe_index(index, kind)
    assert found.pop("kind") == kind
    assert (
        found
        == {
            "flat": {},
            "ivf": {"nlist": 76, "nprobe": 32},
            "hnsw": {"M": 32, "efSearch": 128},
        }[kind]
    )
    if kind == "ivf":  # The measure sees what a worse search loses.
        index.nprobe = 1
        assert index_recall(index, user_emb, item_emb, k=10) < recall


def test_unknown_kind():
    with pytest.raises(ValueError, match=r"flat, ivf, hnsw \(got"):
        build_index(torch.zeros(3, 2), "tree")
