def top_p(probs, p):
    """Keep the fewest most likely tokens that together have probability p (Holtzman et al. 2020)."""
    kept, total = set(), 0.0
    for token in sorted(range(len(probs)), key=lambda token: -probs[token]):
        kept.add(token)
        total += probs[token]
        if total >= p:
            break
    return [prob / total if token in kept else 0.0 for token, prob in enumerate(probs)]
