"""Nothing whose last bit depends on a library or a machine may enter consensus arithmetic.

numpy's add, subtract, multiply, divide and square root are correctly rounded everywhere; what
libm computes (pow, exp, cos, …), what BLAS or numpy reduces in an order of its own (dot, sum, mean,
…), and Python's `sum` of floats (compensated from 3.12 on) are not.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import boltzmann.protocol

PROTOCOL = Path(boltzmann.protocol.__path__[0])

_MOVING = {"float32", "float64", "int32", "int64", "uint32", "array", "zeros", "empty", "append"}
_READING = {"frombuffer", "ascontiguousarray", "finfo"}
_EXACT = {"add", "subtract", "multiply", "divide", "sqrt", "minimum", "maximum", "arange"}
# On integers only: a shape's product.
ALLOWED_NUMPY = {
    "seeds.py": set[str](),
    "pages.py": set[str](),
    "slices.py": _MOVING | _READING | _EXACT | {"prod"},
    "codec.py": _MOVING | _READING | _EXACT,
    "aggregate.py": _MOVING | _READING | _EXACT,
    "outer.py": _MOVING | _READING | _EXACT,
    "root.py": _MOVING | _READING,
}
# `sum` of integers is exact; these modules have no floats to sum.
MAY_SUM = {"slices.py"}
# As methods of arrays, which no import shows.
REDUCTIONS = {
    *("sum", "mean", "dot", "prod", "std", "var", "cumsum", "cumprod", "trace", "norm", "fsum"),
    *("exp", "log", "pow", "power", "einsum", "matmul", "inner", "vdot", "tensordot", "linalg"),
    *("sin", "cos", "tan", "tanh", "hypot", "square", "reduce", "accumulate", "round", "random"),
}
FORBIDDEN_MODULES = {"math", "cmath", "statistics", "torch", "random", "decimal", "scipy"}


def violations(source: str, numpy_names: set[str], may_sum: bool) -> list[str]:
    """What `source` does that could round otherwise elsewhere, one line each."""
    found = []
    for node in ast.walk(ast.parse(source)):
        line = getattr(node, "lineno", 0)
        if isinstance(node, (ast.BinOp, ast.AugAssign)) and isinstance(
            node.op, (ast.Pow, ast.MatMult)
        ):
            found.append(f"{line}: operator {type(node.op).__name__}")
        elif isinstance(node, ast.Import):
            names = {alias.name.split(".")[0] for alias in node.names}
            found += [f"{line}: import {name}" for name in names & FORBIDDEN_MODULES]
        elif isinstance(node, ast.ImportFrom):
            root = (node.module or "").split(".")[0]
            if root in FORBIDDEN_MODULES or (root == "numpy" and node.module != "numpy.typing"):
                found.append(f"{line}: from {node.module} import")
        elif isinstance(node, ast.Attribute):
            found += _attribute_violations(node, numpy_names)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            banned = {"pow", "round", "eval", "exec", "getattr", "__import__"}
            if node.func.id in banned or (node.func.id == "sum" and not may_sum):
                found.append(f"{line}: {node.func.id}()")
    return found


def _attribute_violations(node: ast.Attribute, numpy_names: set[str]) -> list[str]:
    if isinstance(node.value, ast.Name) and node.value.id in {"np", "numpy"}:
        return [] if node.attr in numpy_names else [f"{node.lineno}: np.{node.attr}"]
    if node.attr in REDUCTIONS - numpy_names:
        return [f"{node.lineno}: .{node.attr}"]
    return []


@pytest.mark.parametrize("name", ALLOWED_NUMPY)
def test_only_exact_arithmetic(name: str) -> None:
    source = (PROTOCOL / name).read_text(encoding="utf-8")
    assert violations(source, ALLOWED_NUMPY[name], name in MAY_SUM) == []


@pytest.mark.parametrize(
    "source",
    [
        "y = x ** 2",
        "x **= 2",
        "y = a @ b",
        "y = pow(x, 2)",
        "y = sum(x)",
        "y = x.sum()",
        "y = x.mean(axis=0)",
        "y = np.sum(x)",
        "y = np.dot(x, y)",
        "y = np.power(x, 2)",
        "y = np.linalg.norm(x)",
        "y = np.exp(x)",
        "y = np.add.reduce(x)",
        "y = np.random.rand()",
        "import math",
        "import torch.nn",
        "from math import fsum",
        "from numpy import dot",
        "from numpy.linalg import norm",
        "y = getattr(np, 'sum')(x)",
    ],
)
def test_the_check_sees_each_kind_of_violation(source: str) -> None:
    assert violations(source, ALLOWED_NUMPY["outer.py"], may_sum=False)


def test_the_allowed_arithmetic_is_allowed() -> None:
    source = "y = np.sqrt(np.divide(x + y * z - w / v, np.float32(3)))"
    assert violations(source, ALLOWED_NUMPY["outer.py"], may_sum=False) == []
