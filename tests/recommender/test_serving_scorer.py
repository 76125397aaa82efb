import torch

from tmfun_pyg.recommender.serving_scorer import ServingScorer


def test_scores() -> None:
    """Of one user by the copy, which is made once; of more without it."""
    generator = torch.Generator().manual_seed(0)
    user_emb = torch.randn(5, 8, generator=generator)
    item_emb = torch.randn(9, 8, generator=generator)
    scorer = ServingScorer(user_emb, item_emb)
    expected = (user_emb.double() @ item_emb.double().t()).float()
    torch.testing.assert_close(scorer.score(torch.arange(5)), expected)
    assert "of_items" not in vars(scorer.channels)
    for user in range(5):
        found = scorer.score(torch.tensor([user]))
        torch.testing.assert_close(found, expected[[user]])
    copied = vars(scorer.channels)["of_items"]
    assert copied.is_contiguous()
    found.fill_(0.0)  # Scores are the caller's own.
    other = scorer.for_users(-user_emb[:2])
    torch.testing.assert_close(other.score(torch.tensor([1])), -expected[[1]])
    assert vars(other.channels)["of_items"] is copied
    item = torch.tensor([7, 2])
    found = scorer.select(item).score(torch.tensor([3]))
    torch.testing.assert_close(found, expected[[3]][:, item])
    half = ServingScorer(user_emb.half(), item_emb.half())
    assert half.score(torch.tensor([3])).dtype == torch.float
