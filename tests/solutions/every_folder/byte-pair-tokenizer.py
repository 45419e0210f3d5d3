from collections import Counter
from itertools import pairwise


class BytePairTokenizer:
    """The lesson's Tokenizer with longer tokens: what often stands side by side becomes one (Sennrich et al. 2016)."""

    def __init__(self, docs: list[str], n_merges: int) -> None:
        self.chars = sorted(set("".join(docs)))
        self.texts = list(self.chars)  # of each token
        self.merges: list[tuple[int, int]] = []
        token_docs = [[self.chars.index(char) for char in doc] for doc in docs]
        for _ in range(n_merges):
            counts = Counter(pair for tokens in token_docs for pair in pairwise(tokens))
            if not counts:
                break
            pair = min(counts, key=lambda pair: (-counts[pair], pair))
            token_docs = [self.merge(tokens, pair, len(self.texts)) for tokens in token_docs]
            self.merges.append(pair)
            self.texts.append(self.texts[pair[0]] + self.texts[pair[1]])
        self.bos = len(self.texts)
        self.vocab_size = self.bos + 1

    @staticmethod
    def merge(tokens: list[int], pair: tuple[int, int], token: int) -> list[int]:
        merged = []
        while tokens:
            found = tuple(tokens[:2]) == pair
            merged.append(token if found else tokens[0])
            tokens = tokens[2 if found else 1 :]
        return merged

    def encode(self, doc: str) -> list[int]:
        tokens = [self.chars.index(char) for char in doc]
        for i, pair in enumerate(self.merges):
            tokens = self.merge(tokens, pair, len(self.chars) + i)
        return [self.bos, *tokens, self.bos]

    def decode(self, tokens: list[int]) -> str:
        return "".join(self.texts[token] for token in tokens)
