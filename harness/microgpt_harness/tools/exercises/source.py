"""What stands in a lesson's text: its functions, and the holes that an exercise makes in them.

Only the text is looked at. Nothing here runs a lesson.
"""

import ast
import re
import textwrap
from dataclasses import dataclass
from functools import lru_cache

from ...system.errors import UserError

SHAPE = re.compile(r"^\s*(\w[\w, ]*?) = .*# (\(.*)$")  # q, k, v = …  # (H, T, D)
LINE = 120  # characters
NO_BODY = (ast.Pass, ast.Expr)  # of Expr only a constant: a docstring or an ellipsis

Function = ast.FunctionDef | ast.ClassDef


@dataclass(frozen=True)
class Hole:
    """What is taken out of a lesson: a function's body below its docstring, or some lines.

    `function` is a name such as `rmsnorm` or `Tokenizer.encode`. With `first`, only the lines from the one that begins
    so (its indentation aside) to the end of the statement that begins with `last` are taken out, `last` being `first`
    where it is not given. Without `function` those lines are looked for in the whole file.
    """

    function: str = ""
    first: str = ""
    last: str = ""


@dataclass(frozen=True)
class Place:
    """The lines of a hole, the first of them and the one behind the last, counted from 0."""

    start: int
    stop: int


def functions(tree: ast.Module) -> dict[str, Function]:
    """Return all functions, methods and classes of a file by qualified name, but no functions inside functions."""
    found: dict[str, Function] = {}
    for node in tree.body:
        if isinstance(node, Function):
            found[node.name] = node
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{inner.name}": inner for inner in node.body if isinstance(inner, ast.FunctionDef)}
    return found


def find(text: str, hole: Hole) -> Place:
    """Return where a hole is in a lesson. UserError if the lesson has no such place, or more than one."""
    tree = ast.parse(text)
    lines = text.splitlines()
    start, stop = 0, len(lines)
    body: list[ast.stmt] = tree.body
    if hole.function:
        function = functions(tree).get(hole.function)
        if function is None:
            raise UserError(f"the lesson has no function {hole.function}")
        body = below_docstring(function)
        if not body:
            raise UserError(f"{hole.function} has nothing below its docstring")
        start, stop = end_of_head(lines, function), function.end_lineno or 0
    if not hole.first:
        return Place(start, stop)
    first = line_of(lines, start, stop, hole.first)
    last = line_of(lines, first, stop, hole.last) if hole.last else first
    return Place(first, end_of_statement(tree, last))


def below_docstring(function: Function) -> list[ast.stmt]:
    return function.body[1:] if ast.get_docstring(function) is not None else function.body


def end_of_head(lines: list[str], function: Function) -> int:
    """Return how many lines of the file stand up to a function's docstring or, where it has none, its parameters."""
    if ast.get_docstring(function) is not None:
        return function.body[0].end_lineno or 0
    line = function.body[0].lineno - 1
    while not lines[line - 1].strip() or lines[line - 1].lstrip().startswith("#"):  # belongs to the body
        line -= 1
    return line


def line_of(lines: list[str], start: int, stop: int, beginning: str) -> int:
    found = [number for number in range(start, stop) if lines[number].lstrip().startswith(beginning)]
    if len(found) != 1:
        raise UserError(f"{len(found)} lines of that part of the lesson begin with {beginning!r}; one should")
    return found[0]


def end_of_statement(tree: ast.Module, line: int) -> int:
    """Return the line behind the innermost statement that stands in this one."""
    inside = [node for node in ast.walk(tree) if isinstance(node, ast.stmt) and node.lineno == line + 1]
    return max((node.end_lineno or 0 for node in inside), default=line + 1)


def cut(text: str, holes: tuple[Hole, ...], said: list[str], mark: str) -> str:
    """Return a lesson with holes, in each of which stand the comments `said`, shapes that help, and the line `mark`."""
    lines = text.splitlines()
    places = sorted((find(text, hole) for hole in holes), key=lambda place: place.start)
    for place in reversed(places):
        taken = lines[place.start : place.stop]
        indent = min(len(line) - len(line.lstrip()) for line in taken if line.strip()) * " "
        width = LINE - len(indent) - len("# ")
        here = said if place is places[0] else ["Your turn here, too."]
        comments = [line for part in (*here, *shapes_in(taken)) for line in textwrap.wrap(part, width)]
        lines[place.start : place.stop] = [*(f"{indent}# {line}" for line in comments), f"{indent}{mark}"]
    return "\n".join(lines) + "\n"


def shapes_in(lines: list[str]) -> list[str]:
    found = [match.groups() for match in map(SHAPE.match, lines) if match]
    return [f"{names} will be {shape}" for names, shape in found]


def fill(text: str, holes: tuple[Hole, ...], bodies: list[str]) -> str:
    """Return a lesson in which each hole's lines are others, indented as the first of them was."""
    lines = text.splitlines()
    places = [(find(text, hole), body) for hole, body in zip(holes, bodies, strict=True)]
    for place, body in sorted(places, key=lambda pair: pair[0].start, reverse=True):
        first = next(line for line in lines[place.start : place.stop] if line.strip())
        indent = first[: len(first) - len(first.lstrip())]
        lines[place.start : place.stop] = [indent + line if line else "" for line in body.rstrip("\n").splitlines()]
    return "\n".join(lines) + "\n"


def changed_names(lesson: str, attempt: str) -> set[str]:
    """Return the functions, classes and constants of a file that are written otherwise than in the lesson."""
    wanted, here = definitions(lesson), definitions(attempt)
    return {name for name in wanted.keys() | here.keys() if wanted.get(name) != here.get(name)}


@lru_cache(maxsize=2)  # one lesson is compared with many others
def definitions(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for node in ast.parse(text).body:
        if isinstance(node, Function):
            found[node.name] = ast.dump(node)
        elif isinstance(node, ast.Assign) and all(isinstance(target, ast.Name) for target in node.targets):
            found |= {target.id: ast.dump(node) for target in node.targets if isinstance(target, ast.Name)}
        elif not nothing(node):  # imports, and what runs by itself
            found[ast.dump(node)] = ""
    return found


def uses(text: str, name: str) -> set[str]:
    """Return the name of a function, class or constant, and all names that stand in it."""
    return {name} | names_in(text).get(name, set())


@lru_cache(maxsize=2)  # an attempt is asked about each of its names, and parsing takes its time
def names_in(text: str) -> dict[str, set[str]]:
    """Return for each function, class and constant of a file the names that stand in it."""
    found: dict[str, set[str]] = {}
    for node in ast.parse(text).body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        defined = [target.id for target in targets if isinstance(target, ast.Name)]
        if isinstance(node, Function):
            defined.append(node.name)
        for name in defined:
            found.setdefault(name, set()).update(inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name))
    return found


def reaches(text: str, name: str) -> set[str]:
    """Return all names that a function uses, directly or through others."""
    found: set[str] = set()
    new = {name}
    while new:
        found |= new
        new = {used for each in new for used in uses(text, each)} - found
    return found


def imported(text: str) -> set[str]:
    """Return the packages and modules that a file imports, at its outermost level, by the first part of their names."""
    found: set[str] = set()
    for node in ast.parse(text).body:
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return found


def parameters(function: ast.FunctionDef) -> tuple[list[str], list[str]]:
    """Return the names of a function's parameters in order: those that a call must give, and those that it may."""
    given = [arg.arg for arg in (*function.args.posonlyargs, *function.args.args)]
    optional = len(function.args.defaults)
    return given[: len(given) - optional], given[len(given) - optional :]


def signature(function: ast.FunctionDef) -> str:
    return f"{function.name}({ast.unparse(function.args)})"


def changed_signature(lesson: str, attempt: str) -> str | None:
    """Say which function of the lesson an attempt lacks, or has with other parameters. More optional ones are fine."""
    wanted, here = functions(ast.parse(lesson)), functions(ast.parse(attempt))
    for name, function in wanted.items():
        found = here.get(name)
        if found is None:
            return f"{name} is not there any more; the lesson defines it, and others call it"
        if not isinstance(function, ast.FunctionDef) or not isinstance(found, ast.FunctionDef):
            continue
        must, may = parameters(function)
        must_here, may_here = parameters(found)
        if must != must_here or may != may_here[: len(may)]:
            return (
                f"line {found.lineno}: {signature(found)} has other parameters than the lesson's {signature(function)}"
            )
    return None


def empty_functions(lesson: str, attempt: str) -> list[str]:
    """Return the functions that do something in the lesson, and have nothing but a docstring in the attempt."""
    wanted, here = functions(ast.parse(lesson)), functions(ast.parse(attempt))
    return [
        name
        for name, found in here.items()
        if isinstance(found, ast.FunctionDef)
        and all(nothing(statement) for statement in found.body)
        and name in wanted
        and not all(nothing(statement) for statement in wanted[name].body)
    ]


def nothing(statement: ast.stmt) -> bool:
    return isinstance(statement, NO_BODY) and isinstance(getattr(statement, "value", ast.Constant(None)), ast.Constant)


def without_return(lesson: str, attempt: str) -> list[str]:
    """Return the functions that return something in the lesson, and nowhere do in the attempt."""
    wanted, here = functions(ast.parse(lesson)), functions(ast.parse(attempt))
    return [
        name
        for name, found in here.items()
        if isinstance(found, ast.FunctionDef) and name in wanted and returns(wanted[name]) and not returns(found)
    ]


def returns(function: Function) -> bool:
    return any(isinstance(node, ast.Return) and node.value is not None for node in ast.walk(function)) or any(
        isinstance(node, ast.Yield | ast.YieldFrom) for node in ast.walk(function)
    )


def line_of_mark(attempt: str, mark: str) -> int:
    """Return the line, from 1, in which what an exercise put into its hole still stands, or 0."""
    return next((n for n, line in enumerate(attempt.splitlines(), start=1) if line.strip() == mark), 0)


def why_unreadable(text: str) -> str:
    """Say why a text is no Python, and where, or return an empty string."""
    try:
        compile(text, "attempt", "exec")
    except SyntaxError as error:
        return f"line {error.lineno}: {error.msg}" if error.lineno else str(error.msg)
    except (ValueError, RecursionError, MemoryError) as error:  # NUL characters; brackets nested too deeply
        return str(error) or type(error).__name__
    return ""
