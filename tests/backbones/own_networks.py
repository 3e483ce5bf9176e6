"""Networks as people write them, whose graph is not always the network."""

import random
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STATE = torch.Generator()  # private: no seed of a run sets it


@dataclass
class Output:
    logits: Tensor


class Small(nn.Module):
    """``forward`` of the subclasses: `logits` of what they make of the images."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.fc = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 10)

    def logits(self, x):
        return self.fc(F.relu(self.norm(self.conv(x)) + 1).mean((2, 3)))

    forward = logits


class NeverReturned(Small):
    def forward(self, x):
        logits = self.logits(x)
        _ = logits.softmax(1)
        self.last = -logits
        return logits


class InPlace(Small):
    def forward(self, x):
        x = x.clone()
        x.clamp_(-0.5, 0.5)  # whose result nobody uses
        return self.logits(x)


class Flag(Small):
    def forward(self, x, flipped=False, mask=None):
        if flipped:
            x = -x
        return self.logits(x if mask is None else x * mask)


class Pair(Small):
    def forward(self, x):
        logits = self.logits(x)
        return logits, -logits


class Dict(Small):
    def forward(self, x):
        logits = self.logits(x)
        return {"aux": -logits, "logits": logits}


class Record(Small):
    def forward(self, x):
        return Output(self.logits(x))


class Maps(Small):
    """The trunk of a network, which has no logits."""

    def forward(self, x):
        return F.relu(self.norm(self.conv(x)))


class MapsOfValues(Maps):
    def forward(self, x):
        return super().forward(x if x.sum() > -1e9 else -x)


class RecordOfValues(Small):
    def forward(self, x):
        return Output(self.logits(x if x.sum() > -1e9 else -x))


class ValueFlow(Small):
    def forward(self, x):
        return self.logits(x if x.sum() > -1e9 else -x)


class Isinstance(Small):
    def forward(self, x):
        return self.logits(x if isinstance(x, torch.Tensor) else -x)


class ShapeFlow(Small):
    def forward(self, x):
        return self.logits(x if x.shape[-1] > 6 else -x)


class Counting(Small):
    calls = 0

    def forward(self, x):
        self.calls += 1
        return self.logits(x * self.calls)


class Noise(Small):
    def forward(self, x):
        return self.logits(x + torch.randn(3, 8, 8))


class NoiseOfAnyShape(Small):
    def forward(self, x):
        return self.logits(x + torch.randn_like(x))


class OwnNoise(Small):
    def forward(self, x):
        return self.logits(x + torch.randn(3, 8, 8, generator=STATE))


class Coin(Small):
    def forward(self, x):
        return self.logits(-x if random.random() < 0.5 else x)


class Dropout(Small):
    def forward(self, x):
        return self.logits(F.dropout(x, 0.5, training=True))


class AddedInPlace(nn.Module):
    def forward(self, x):
        out = x * 1
        out.add_(1)
        return out


class LaterInPlace(Small):
    """A module's value is the node before it is changed."""

    def __init__(self):
        super().__init__()
        self.add = AddedInPlace()

    def forward(self, x):
        return self.logits(self.add(x))


class Twice(Small):
    def forward(self, x):
        out = self.conv(x)
        again = self.conv(x * 2)
        return self.fc((out + again).mean((2, 3)))


class Tuple(nn.Module):
    def forward(self, x):
        return (x, x)


class TupleInside(Small):
    def __init__(self):
        super().__init__()
        self.pair = Tuple()

    def forward(self, x):
        return self.logits(self.pair(x)[0])


class Skipped(Small):
    """Calls a module for some batches only."""

    def __init__(self):
        super().__init__()
        self.extra = nn.Conv2d(3, 3, 1)

    def forward(self, x):
        return self.logits(self.extra(x) if x.sum() > 0 else x)


class Encoder(nn.Module):
    """PyTorch's own encoder, which a graph shows as one node."""

    def __init__(self, batch_first=True):
        super().__init__()
        self.patch, self.head = nn.Conv2d(3, 8, 2, 2), nn.Linear(8, 5)
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=batch_first)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.order = (0, 2, 1) if batch_first else (2, 0, 1)
        self.tokens = 1 if batch_first else 0

    def forward(self, x):
        return self.head(self.encoder(self.patch(x).flatten(2).permute(self.order)).mean(self.tokens))


class Numbered(nn.Module):
    """Names that end like those of later calls."""

    def __init__(self):
        super().__init__()
        self.conv_1, self.conv_2, self.conv_3 = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)
        self.fc = nn.Linear(4, 10)

    def forward(self, x):
        x = self.conv_3(self.conv_3(self.conv_2(self.conv_1(x))))
        return self.fc(x.mean((2, 3)))


class Together(Small):
    """Normalizes by the batch, as a network that has been left in training mode."""

    def forward(self, x):
        return self.logits(5 * (x - x.mean((0, 2, 3), keepdim=True)) / x.std((0, 2, 3), keepdim=True))


class Growing(Small):
    def __init__(self):
        super().__init__()
        self.register_buffer("n", torch.zeros(()), persistent=False)

    def forward(self, x):
        self.n += 1
        return self.logits(x) * self.n


class Caching(Small):
    """Fills a buffer that is in no file when it answers first, as rotary embeddings do."""

    def __init__(self):
        super().__init__()
        self.register_buffer("n", None, persistent=False)

    def forward(self, x):
        if self.n is None:
            self.n = torch.ones(())
        return self.logits(x) * self.n


class Saving(Small):
    """Its state dict has what it makes anew each time, as that of a quantized network."""

    def _save_to_state_dict(self, destination, prefix, keep_vars):
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[f"{prefix}scale"] = torch.ones(())


class InAList(Small):
    def __init__(self):
        super().__init__()
        self.parts = [nn.Conv2d(3, 3, 1)]

    def forward(self, x):
        return self.logits(self.parts[0](x))


class InAClosure(Small):
    def __init__(self):
        super().__init__()
        part = nn.LSTM(3, 3, batch_first=True)
        self.part = lambda x: part(x.flatten(2).movedim(1, 2))[0].movedim(2, 1).unflatten(2, x.shape[2:])

    def forward(self, x):
        return self.logits(self.part(x))


class Remembering(Small):
    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x):
        self.seen += 1
        return self.logits(x)
