"""The three layers in a plain PyG model: GraphSAGE that recommends items, from
their IDs alone and with their content.

    python examples/plain_pyg.py

It prints the test Recall@10 of both, and the mean attention to each modality:
images show the taste that an item suits, audio is noise.
"""

import torch
import torch.nn.functional as F
from torch_geometric.data import HeteroData
from torch_geometric.metrics import LinkPredRecall
from torch_geometric.nn import GraphSAGE
from torch_geometric.utils import to_undirected

from tmfun_pyg.nn import FeatureGraphConv, ModalityAttention, MultiStepFusion

torch.manual_seed(0)
N, C, K = 600, 32, 10  # Users (and as many items), channels, neighbors.

# Each item suits one of 20 tastes; users mostly choose items of theirs:
taste = torch.randint(20, (N,))
score = 3.0 * (torch.randint(20, (N, 1)) == taste) + torch.randn(N, N)
user, item = torch.arange(N).view(-1, 1), score.topk(5).indices
train = torch.stack([user.expand(-1, 3), item[:, :3]]).flatten(1)
test = torch.stack([user.expand(-1, 2), item[:, 3:]]).flatten(1)
data = HeteroData()
data["user", "item"].edge_index = train
for name, noise in (("image", 1.0), ("audio", 100.0)):
    x = torch.randn(20, 16)[taste] + noise * torch.randn(N, 16)
    data["item"][f"x_{name}"] = x = F.normalize(x - x.mean(dim=0))
    similar = (x @ x.t()).fill_diagonal_(-1.0).topk(K).indices.flatten()
    edge_index = torch.stack([similar, torch.arange(N).repeat_interleave(K)])
    data["item", f"similar_{name}", "item"].edge_index = edge_index


class Model(torch.nn.Module):
    def __init__(self, modalities):
        super().__init__()
        self.emb = torch.nn.Parameter(0.1 * torch.randn(2 * N, C))
        self.sage = GraphSAGE(C, C, num_layers=2)
        self.convs = torch.nn.ModuleDict(
            {m: FeatureGraphConv(C, feat_channels=16) for m in modalities}
        )
        self.attention = ModalityAttention(C, query_channels=C)
        self.fusion = MultiStepFusion(C, len(modalities), query_channels=C)

    def forward(self, data):
        edge_index = data["user", "item"].edge_index + torch.tensor([[0], [N]])
        x = self.emb + self.sage(self.emb, to_undirected(edge_index))
        user_emb, query = x.split(N)
        if len(self.convs) == 0:
            return user_emb, query, None
        hs = []  # The embeddings of similar items, gated by their features.
        for m, conv in self.convs.items():
            graph = data["item", f"similar_{m}", "item"].edge_index
            hs += [conv(self.emb[N:], graph, feat=data["item"][f"x_{m}"])]
        h = torch.stack(hs, dim=1)
        z, weight = self.attention(h, query, return_attention_weights=True)
        z = self.fusion(z, hs, query)
        return user_emb, query + z, weight.mean(dim=0).tolist()


for modalities in ([], ["image", "audio"]):
    model = Model(modalities)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(100):
        user_emb, item_emb, weight = model(data)
        logit = user_emb @ item_emb.t()
        pos, neg = logit[tuple(train)], torch.randint(N, train[0].shape)
        loss = -F.logsigmoid(pos - logit[train[0], neg]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    ranked = logit.index_put(tuple(train), torch.tensor(-torch.inf))
    recall = LinkPredRecall(k=10)
    recall.update(ranked.topk(10).indices, test)
    print(f"{modalities}: Recall@10 {float(recall.compute()):.4f}", weight)
