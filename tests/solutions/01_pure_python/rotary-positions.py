def rotate(x, first_position):
    """Turn each row of x by its position (Su et al. 2021): numbers 2i and 2i + 1 form a pair."""
    D = len(x[0])
    out = []
    for position, row in enumerate(x, start=first_position):
        out.append([])
        for i in range(D // 2):
            angle = position * 10000 ** (-2 * i / D)
            a, b = row[2 * i], row[2 * i + 1]
            out[-1] += [a * math.cos(angle) + b * -math.sin(angle), a * math.sin(angle) + b * math.cos(angle)]
    return out
