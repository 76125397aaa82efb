import pytest
import torch
from toy_data import NUM_ITEMS, NUM_USERS, dense_interactions

from tmfun_pyg.baselines import IALS
from tmfun_pyg.testing import RankingModelTests
from tmfun_pyg.transforms import AddUsers

pytest.importorskip("implicit", reason="implicit is not installed")


class TestIALS(RankingModelTests):
    model_cls = IALS
    options = {"channels": 4}

    def test_folds_in_users(self) -> None:
        """Added users solve the least squares that trained users are near to
        solving.
        """
        model, known = self.model, torch.tensor([3, -1])
        expected = self.embed(self.graph)
        items = torch.tensor([1, 4, 7])
        pairs = torch.stack([torch.arange(2).repeat_interleave(3)] * 2)
        pairs[1] = items.repeat(2)
        found = self.embed(AddUsers(pairs, known)(self.graph))
        torch.testing.assert_close(found[0][: model.num_users], expected[0])
        torch.testing.assert_close(found[1], expected[1])
        y = model.item_emb
        gram = y.t() @ y + 0.1 * torch.eye(4) + 9 * y[items].t() @ y[items]
        solved = torch.linalg.solve(gram, 10 * y[items].sum(dim=0))
        wanted = solved.expand(2, -1)
        torch.testing.assert_close(
            found[0][model.num_users :], wanted, rtol=1e-3, atol=1e-4
        )


def test_is_a_minimum(data, graph):
    """The users solve the weighted least squares that the items pose."""
    options = {"channels": 3, "alpha": 5.0, "reg_weight": 0.2}
    model = IALS.from_data(data, num_iterations=300, **options)
    model.fit(graph)
    r = dense_interactions(data)
    user_emb, item_emb = model(graph)
    for user in range(NUM_USERS - 1):  # The last one has no interaction.
        confidence = torch.where(r[user] > 0, 5.0, 1.0).view(-1, 1)
        gram = item_emb.t() @ (confidence * item_emb) + 0.2 * torch.eye(3)
        expected = torch.linalg.solve(
            gram, item_emb.t() @ (confidence.view(-1) * r[user])
        )
        torch.testing.assert_close(
            user_emb[user], expected, atol=1e-3, rtol=1e-3
        )
    assert item_emb.shape == (NUM_ITEMS, 3)
