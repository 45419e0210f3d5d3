def rotate(x, first_position):
    """Turn each row of x by its position (Su et al. 2021): number i and number i + D / 2 form a pair."""
    T, D = x.shape
    positions = first_position + torch.arange(T, dtype=x.dtype, device=x.device)
    speeds = 10000.0 ** (-2 * torch.arange(D // 2, dtype=x.dtype, device=x.device) / D)
    angles = torch.outer(positions, speeds)  # (T, D / 2)
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * angles.cos() - b * angles.sin(), a * angles.sin() + b * angles.cos()], dim=-1)
