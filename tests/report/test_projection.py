import numpy as np
import torch

from tmfun_pyg.report._projection import project_items


def test_against_full_decomposition() -> None:
    torch.manual_seed(3)
    x = torch.randn(200, 8) * torch.tensor([5.0, 3, 1, 1, 1, 1, 1, 1]) + 7
    state = torch.get_rng_state()
    out = project_items(x)
    assert torch.equal(torch.get_rng_state(), state)
    centered = x - x.mean(dim=0)
    _, s, vt = torch.linalg.svd(centered, full_matrices=False)
    assert out.item.tolist() == list(range(200))
    expected = (centered @ vt[:2].t()).numpy()
    for axis in range(2):
        sign = np.sign(expected[:, axis] @ out.place[:, axis])
        np.testing.assert_allclose(
            out.place[:, axis], sign * expected[:, axis], atol=0.05
        )
    share = (s[:2] ** 2 / (s**2).sum()).numpy()
    np.testing.assert_allclose(out.share, share, rtol=1e-3)


def test_signs_do_not_matter() -> None:
    torch.manual_seed(0)
    x = torch.randn(50, 6)
    # The components of -x are those of x; the places are mirrored.
    np.testing.assert_allclose(
        project_items(x).place, -project_items(-x).place, atol=1e-4
    )


def test_some_are_drawn() -> None:
    torch.manual_seed(0)
    x = torch.randn(100, 5)
    every, some = project_items(x), project_items(x, max_points=10)
    assert len(set(some.item.tolist())) == 10
    assert some.item.tolist() == project_items(x, 10).item.tolist()
    np.testing.assert_array_equal(some.place, every.place[some.item])
    np.testing.assert_array_equal(some.share, every.share)


def test_few_dimensions() -> None:
    one = project_items(torch.tensor([[1.0], [3.0], [5.0]]))
    np.testing.assert_allclose(one.place, [[-2, 0], [0, 0], [2, 0]], atol=1e-6)
    same = project_items(torch.ones(4, 3))
    assert same.place.tolist() == [[0, 0]] * 4
    assert same.share.tolist() == [0, 0]
