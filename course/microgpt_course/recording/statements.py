"""Which names each line of a function gives a value: read from the lesson's text with `ast`."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True, eq=False)
class Statement:
    """A statement of a function. Of `for`, `while`, `if` and `with` it is the first line, without the lines below."""

    binds: tuple[str, ...]  # names that it gives a value
    # Names whose object it may change in place, each with the attribute that it changes, if that is what it does:
    # x[0] = 1, x.data = 1, x.append(1).
    changes: tuple[tuple[str, str], ...]
    around: tuple["Statement", ...]  # the loops that it stands in, the outermost first
    is_for: bool = False
    # Of a loop: a turn goes on from the one before, as in x = block(x) or total += loss. Otherwise each turn fills in
    # another position, and the values of all turns belong together as one array.
    sequential: bool = False

    @cached_property
    def positions(self) -> tuple["Statement", ...]:
        """The loops around it that fill in positions: those inside the innermost sequential one, where there is one."""
        inner = []
        for loop in reversed(self.around):
            if loop.sequential:
                break
            inner.append(loop)
        return tuple(reversed(inner))


Lines = dict[int, Statement]  # by line number


def read_statements(source: str) -> dict[str, Lines]:
    """Return the statements of each function and method, by its qualified name: "gpt", "Value.exp"."""
    return dict(functions(ast.parse(source).body, ""))


def functions(body: list[ast.stmt], before: str) -> Iterator[tuple[str, Lines]]:
    for node in body:
        if isinstance(node, ast.ClassDef):
            yield from functions(node.body, f"{before}{node.name}.")
        elif isinstance(node, ast.FunctionDef):
            yield before + node.name, dict(lines(node.body, ()))


def lines(body: list[ast.stmt], around: tuple[Statement, ...]) -> Iterator[tuple[int, Statement]]:
    for node in body:
        parts = blocks(node)
        statement = Statement(
            binds=tuple(bound(node)),
            changes=tuple(changed(node)),
            around=around,
            is_for=isinstance(node, ast.For),
            sequential=isinstance(node, ast.While) or (isinstance(node, ast.For) and carries_on(node)),
        )
        last = parts[0][0].lineno - 1 if parts else node.end_lineno or node.lineno
        yield from ((number, statement) for number in range(node.lineno, last + 1))
        inside = (*around, statement) if isinstance(node, ast.For | ast.While) else around
        for part in parts:
            yield from lines(part, inside)


def blocks(node: ast.stmt) -> list[list[ast.stmt]]:
    """Return the blocks of a compound statement: what stands indented below its lines."""
    if isinstance(node, ast.Try):
        handlers = [handler.body for handler in node.handlers]
        return [part for part in (node.body, *handlers, node.orelse, node.finalbody) if part]
    parts = (getattr(node, "body", []), getattr(node, "orelse", []))
    return [] if isinstance(node, ast.FunctionDef | ast.ClassDef) else [part for part in parts if part]


def own_expressions(node: ast.stmt) -> Iterator[ast.AST]:
    """Yield what stands in a statement's own lines, without the blocks below them."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.stmt | ast.ExceptHandler):
            yield from ast.walk(child)


def targets(node: ast.stmt) -> list[ast.expr]:
    if isinstance(node, ast.Assign):
        return node.targets
    if isinstance(node, ast.With):
        return [item.optional_vars for item in node.items if item.optional_vars]
    return [node.target] if isinstance(node, ast.AugAssign | ast.AnnAssign | ast.For) else []


def single(target: ast.expr) -> Iterator[ast.expr]:
    """Yield the targets of a, (b, *c) = … one by one."""
    if isinstance(target, ast.Tuple | ast.List):
        for part in target.elts:
            yield from single(part)
    else:
        yield target.value if isinstance(target, ast.Starred) else target


def bound(node: ast.stmt) -> Iterator[str]:
    for target in targets(node):
        yield from (part.id for part in single(target) if isinstance(part, ast.Name))
    for part in own_expressions(node):
        if isinstance(part, ast.NamedExpr):
            yield part.target.id


def changed(node: ast.stmt) -> Iterator[tuple[str, str]]:
    for target in targets(node):
        for part in single(target):
            if isinstance(part, ast.Subscript | ast.Attribute):
                yield owner(part), part.attr if isinstance(part, ast.Attribute) else ""
    called = node.value.func if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) else None
    if isinstance(called, ast.Attribute):
        yield owner(called), ""


def owner(node: ast.expr) -> str:
    """Return x for x[0], x.a and x[0].a; "" where no name stands there."""
    while isinstance(node, ast.Subscript | ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def carries_on(loop: ast.For) -> bool:
    """Return whether a name in the loop is computed from its own last value."""
    for node in ast.walk(loop):
        if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
            return True
        if isinstance(node, ast.Assign):
            read = {part.id for part in ast.walk(node.value) if isinstance(part, ast.Name)}
            if read & set(bound(node)):
                return True
    return False
