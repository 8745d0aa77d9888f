"""The token prior: a causal transformer over the codes of a frozen first stage, so that a VQGAN can generate."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..data import CachedBatches, to_float
from ..errors import TinygenError
from ..nn import TransformerBlock, zero_


class TokenPrior(nn.Module):
    """p(codes | class) = prod_i p(c_i | c_1, ..., c_{i-1}, class), codes in raster order, by a GPT-like transformer.

    The sequence read is [class, c_1, ..., c_{L-1}], the sequence predicted [c_1, ..., c_L], L = h w. Class
    `num_classes` is the null class, for classifier-free guidance. The head starts at zero: an untrained prior is
    uniform, log K nats a token.
    Source: Esser et al. 2021, arXiv:2012.09841, section 3.2.

    Args:
        first_stage: has latent_shape (C, h, w), codebook_size, encode_codes and decode_codes; it is frozen here.
        num_classes: number of classes, 0 for none.
        channels, depth, heads, dropout: see TransformerBlock.
    """

    def __init__(self, first_stage: nn.Module, num_classes: int = 10, channels: int = 192, depth: int = 6,
                 heads: int = 6, dropout: float = 0.1):
        super().__init__()
        self.first_stage = first_stage.requires_grad_(False).eval()
        self.num_classes, self.codebook_size = num_classes, first_stage.codebook_size
        self.code_shape = tuple(first_stage.latent_shape[1:])                   # (h, w)
        self.tokens = nn.Embedding(self.codebook_size, channels)
        self.classes = nn.Embedding(num_classes + 1, channels)
        self.positions = nn.Parameter(0.02 * torch.randn(self.code_shape[0] * self.code_shape[1], channels))
        nn.init.normal_(self.tokens.weight, std=0.02)
        nn.init.normal_(self.classes.weight, std=0.02)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(TransformerBlock(channels, heads, causal=True, dropout=dropout)
                                    for _ in range(depth))
        self.norm = nn.LayerNorm(channels)
        self.head = zero_(nn.Linear(channels, self.codebook_size))

    def train(self, mode: bool = True) -> "TokenPrior":
        """Training mode for the transformer; the first stage stays in eval mode."""
        super().train(mode)
        self.first_stage.eval()
        return self

    def own_parameters(self) -> list[nn.Parameter]:
        """What is trained: everything but the first stage."""
        return [p for name, p in self.named_parameters() if not name.startswith("first_stage.")]

    def logits(self, codes: Tensor, labels: Tensor | None = None) -> Tensor:
        """codes (B, h, w) int64, labels (B,) from 0 to num_classes (None: the null class) -> (B, h*w, K).

        Row i are the logits of p(c_{i+1} | c_1, ..., c_i, class): they depend on earlier codes only.
        """
        codes = codes.flatten(1)                                                # (B, L)
        labels = self.null_labels(len(codes)) if labels is None else labels
        x = torch.cat([self.classes(labels)[:, None], self.tokens(codes[:, :-1])], dim=1)     # (B, L, channels)
        x = self.dropout(x + self.positions)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))

    forward = logits

    def log_likelihood(self, codes: Tensor, labels: Tensor | None = None) -> Tensor:
        """log p(codes | class) in nats: codes (B, h, w), labels (B,) -> (B,). A code rate, not one of pixels."""
        log_p = self.logits(codes, labels).float().log_softmax(dim=-1)          # (B, L, K)
        return log_p.gather(-1, codes.flatten(1)[..., None]).sum(dim=(1, 2))

    @torch.no_grad()
    def generate(self, n: int, labels: Tensor | None = None, generator: torch.Generator | None = None,
                 **options) -> Tensor:
        """Draw n images (n, 3, S, S) in [-1, 1]; labels and options as in `generate_codes`."""
        return self.first_stage.decode_codes(self.generate_codes(n, labels, generator, **options))

    @torch.no_grad()
    def generate_codes(self, n: int, labels: Tensor | None = None, generator: torch.Generator | None = None,
                       temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0,
                       guidance_scale: float = 1.0) -> Tensor:
        """Draw n maps of codes (n, h, w) int64, token by token, with a cache of keys and values.

        labels: (n,) from 0 to num_classes, the last being the null class; None draws classes uniformly.
        temperature, top_k, top_p: see `token_probabilities`.
        guidance_scale: 1 is no guidance, else the logits are null + guidance_scale * (class - null), renormalised
            (Ho and Salimans 2022, arXiv:2207.12598, on tokens); it needs a prior trained with label dropout.
        Raises TinygenError for options out of range and for a wrong number of labels.
        """
        check_sampling(temperature, top_k, top_p)
        labels = self.draw_labels(n, generator) if labels is None else labels.to(self.positions.device)
        if len(labels) != n:
            raise TinygenError(f"{n} samples need {n} labels, got {len(labels)}")
        guided = guidance_scale != 1.0
        was_training = self.training
        self.eval()
        x = self.classes(torch.cat([labels, self.null_labels(n)]) if guided else labels)       # (n or 2n, channels)
        caches, codes = [None] * len(self.blocks), []
        for position in self.positions:
            h = (x + position)[:, None]                                         # (n or 2n, 1, channels)
            for i, block in enumerate(self.blocks):
                h, caches[i] = cached_step(block, h, caches[i])
            logits = self.head(self.norm(h[:, 0])).float()                      # (n or 2n, K)
            if guided:
                conditional, null = logits.chunk(2)
                logits = null + guidance_scale * (conditional - null)
            probabilities = token_probabilities(logits, temperature, top_k, top_p)
            codes.append(torch.multinomial(probabilities, 1, generator=generator)[:, 0])       # (n,)
            x = self.tokens(codes[-1]).repeat(2 if guided else 1, 1)
        self.train(was_training)
        return torch.stack(codes, dim=1).unflatten(1, self.code_shape)          # (n, h, w)

    def null_labels(self, n: int) -> Tensor:
        """(n,) times the null class."""
        return torch.full((n,), self.num_classes, device=self.positions.device)

    def draw_labels(self, n: int, generator: torch.Generator | None) -> Tensor:
        """(n,) classes, uniformly; the null class where there are no others."""
        if self.num_classes == 0:
            return self.null_labels(n)
        return torch.randint(self.num_classes, (n,), generator=generator, device=self.positions.device)


Cache = tuple[Tensor, Tensor]                                                   # keys, values: (B, heads, n, d) each


def cached_step(block: TransformerBlock, x: Tensor, cache: Cache | None) -> tuple[Tensor, Cache]:
    """What a causal block (in eval mode) gives for one more token: x (B, 1, C) -> (B, 1, C) and the longer cache.

    cache: keys and values of the earlier tokens, or None for the first token.
    """
    attention, h = block.attention, block.norm1(x)
    k, v = attention.to_kv(h).chunk(2, dim=-1)
    q, k, v = (t.unflatten(-1, (attention.heads, -1)).transpose(1, 2)           # (B, heads, 1, d)
               for t in (attention.to_q(h), k, v))
    if cache is not None:
        k, v = torch.cat([cache[0], k], dim=2), torch.cat([cache[1], v], dim=2)
    x = x + attention.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
    return x + block.mlp(block.norm2(x)), (k, v)


def check_sampling(temperature: float, top_k: int, top_p: float) -> None:
    """Raise TinygenError where an option of `token_probabilities` is out of range."""
    if temperature < 0:
        raise TinygenError(f"temperature must be 0 (the likeliest token) or more, got {temperature}")
    if top_k < 0:
        raise TinygenError(f"top_k must be 0 (off) or more, got {top_k}")
    if not 0 < top_p <= 1:
        raise TinygenError(f"top_p must be above 0 and at most 1 (off), got {top_p}")


def token_probabilities(logits: Tensor, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0) -> Tensor:
    """Logits (B, K) -> what is sampled from, (B, K): softmax(logits / temperature), its tail cut off, renormalised.

    temperature 0 takes the likeliest token; top_k > 0 keeps that many tokens; top_p < 1 then keeps the fewest likeliest
    tokens whose probabilities reach top_p together (nucleus sampling, Holtzman et al. 2019, arXiv:1904.09751).
    """
    if temperature == 0:
        return F.one_hot(logits.argmax(dim=-1), logits.shape[-1]).to(logits.dtype)
    sorted_logits, order = (logits / temperature).sort(dim=-1, descending=True, stable=True)
    if top_k:
        sorted_logits[:, top_k:] = -torch.inf
    p = sorted_logits.softmax(dim=-1)
    before = p.cumsum(dim=-1) - p                                               # mass of the likelier tokens
    p = torch.where(before < top_p, p, 0.0)                                     # the first token always stays
    return torch.zeros_like(p).scatter(-1, order, p / p.sum(dim=-1, keepdim=True))


class PriorObjective(nn.Module):
    """Cross entropy of the codes, in nats a token, with labels dropped for classifier-free guidance.

    model: a TokenPrior; label_dropout: the probability, per image, that the prior is told the null class.
    """

    def __init__(self, model: TokenPrior, label_dropout: float = 0.1):
        super().__init__()
        self.model, self.label_dropout = model, label_dropout

    def groups(self) -> dict[str, list[nn.Parameter]]:
        """The transformer's parameters; the first stage is frozen."""
        return {"prior": self.model.own_parameters()}

    def batches(self, data, **options) -> CachedBatches:
        """Batches of codes: every image, and its mirror image unless flip is off, is encoded once, here."""
        codes = [encode_all(self.model, data.images)]                           # (N, h, w) int64
        if options.get("flip", True):
            codes.append(encode_all(self.model, data.images.flip(-1)))
        return CachedBatches(data, torch.stack(codes), **options)

    def losses(self, batch, progress) -> Iterator[tuple[str, Tensor, dict[str, Tensor]]]:
        """Mean cross entropy of all tokens of the batch (its `images` are codes), and its exponential."""
        codes, labels = batch.images, batch.labels                              # (B, h, w), (B,)
        dropped = torch.rand(len(labels), generator=progress.generator, device=labels.device) < self.label_dropout
        logits = self.model(codes, torch.where(dropped, self.model.num_classes, labels))
        loss = F.cross_entropy(logits.float().flatten(0, 1), codes.flatten())
        yield "prior", loss, {"cross_entropy": loss.detach(), "perplexity": loss.detach().exp()}

    def preview(self, model: TokenPrior, batch) -> Tensor:
        """Four samples of every class, or 32, from a fixed seed: rows run through the classes."""
        device = batch.labels.device
        labels = torch.arange(model.num_classes, device=device).repeat(4) if model.num_classes else None
        return model.generate(32 if labels is None else len(labels), labels, torch.Generator(device).manual_seed(0))

    def after_step(self, batch, progress) -> None:
        """Nothing to do between steps."""


@torch.no_grad()
def encode_all(model: TokenPrior, images: Tensor, batch_size: int = 500) -> Tensor:
    """Codes (N, h, w) int64 of uint8 images (N, 3, S, S), on the prior's device."""
    device = model.positions.device
    return torch.cat([model.first_stage.encode_codes(to_float(part.to(device))) for part in images.split(batch_size)])
