"""Expressions that Spark computes by itself, as DuckDB does: bit for bit, errors too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlglot import exp

from lakewright.data.lake.spark_sql.kinds import WHOLE, spark_type
from lakewright.data.lake.spark_sql.nodes import is_key, is_special, spark_cast

if TYPE_CHECKING:
    from lakewright.data.lake.spark_sql.planned import Plan

_COMPARED = (exp.EQ, exp.NEQ, exp.LT, exp.LTE, exp.GT, exp.GTE, exp.NullSafeEQ, exp.NullSafeNEQ)


def native(plan: Plan, node: exp.Expr, select: exp.Select) -> exp.Expr | None:
    """The expression, where Spark computes it as DuckDB does; else None."""
    if is_key(node, plan.keys):
        return plan.value(node, select)
    if isinstance(node, exp.Paren):
        inner = native(plan, node.this, select)
        return None if inner is None else exp.Paren(this=inner)
    if is_special(node):
        return plan.special(node, select)
    if isinstance(node, exp.Column):
        spark_type(plan.kind(node, select).of)  # raises, where Spark lacks it
        return node.copy()
    if isinstance(node, exp.TableColumn):  # a whole row
        fields: list[exp.Expr] = []
        for at, (name, _) in enumerate(plan.kind(node, select).of.children):
            fields += [exp.Literal.string(f"f{at}"), exp.column(name, node.name, quoted=True)]
        return exp.Anonymous(this="named_struct", expressions=fields)
    if isinstance(node, exp.Literal):
        if node.is_string or (node.name.isdecimal() and int(node.name) < 2**63):
            return node.copy()
        return None
    if isinstance(node, exp.Neg) and isinstance(node.this, exp.Literal) and node.this.name.isdecimal():
        return node.copy() if int(node.this.name) < 2**31 else None
    if isinstance(node, exp.Boolean):
        return node.copy()
    if isinstance(node, exp.Null):
        return node.copy()
    if isinstance(node, exp.Cast) and not isinstance(node, exp.TryCast):
        return _cast(plan, node, select)
    if isinstance(node, exp.And | exp.Or):
        return _rebuilt(plan, node, (node.this, node.expression), select)
    if isinstance(node, exp.Not):
        return _rebuilt(plan, node, (node.this,), select)
    if isinstance(node, exp.Is) and isinstance(node.expression, exp.Null):
        made = native(plan, node.this, select)
        return None if made is None else exp.Is(this=made, expression=exp.Null())
    if isinstance(node, _COMPARED):
        return _compared(plan, node, (node.this, node.expression), select)
    if isinstance(node, exp.Between) and not node.args.get("symmetric"):
        return _compared(plan, node, (node.this, node.args["low"], node.args["high"]), select)
    if isinstance(node, exp.In) and node.expressions and not node.args.get("unnest"):
        return _compared(plan, node, (node.this, *node.expressions), select)
    if isinstance(node, exp.Add | exp.Sub | exp.Mul):
        return _arithmetic(plan, node, select)
    if isinstance(node, exp.Case | exp.Coalesce):
        return _chosen(plan, node, select)
    return None


def _rebuilt(plan: Plan, node: exp.Expr, parts: tuple[exp.Expr, ...], select: exp.Select) -> exp.Expr | None:
    made = [native(plan, each, select) for each in parts]
    if any(each is None for each in made) or any(plan.kind(each, select).id != "boolean" for each in parts):
        return None
    keys = ("this", "expression")
    return type(node)(**{key: exp.Paren(this=each) for key, each in zip(keys, made, strict=False)})


def _compared(plan: Plan, node: exp.Expr, parts: tuple[exp.Expr, ...], select: exp.Select) -> exp.Expr | None:
    kinds = [plan.kind(each, select) for each in parts]
    if not all(kind.spark for kind in kinds):
        return None
    names = {kind.id for kind in kinds if kind.id != "sqlnull"}
    has_double = "double" in names
    if has_double:  # plain 0.5 is a decimal, which both compare as a double
        names -= (
            {"decimal"}
            if all(
                isinstance(each.unnest(), exp.Literal)
                for each, kind in zip(parts, kinds, strict=True)
                if kind.id == "decimal"
            )
            else set()
        )
    equal = len(names) <= 1 or names <= {*WHOLE} or (has_double and names <= {*WHOLE, "double"})
    if not equal or names & {"enum", "uuid", "uhugeint", "hugeint", "ubigint"} or any(k.is_nested for k in kinds):
        return None
    if "decimal" in names and len({kind.name for kind in kinds}) > 1:
        return None
    made = []
    for each, kind in zip(parts, kinds, strict=True):
        one = _double(each) if has_double and kind.id == "decimal" else native(plan, each, select)
        if one is None:
            return None
        made.append(one)
    if isinstance(node, exp.In):
        return exp.In(this=made[0], expressions=made[1:])
    keys = ("this", "low", "high") if isinstance(node, exp.Between) else ("this", "expression")
    return type(node)(**dict(zip(keys, made, strict=True)))


def _arithmetic(plan: Plan, node: exp.Binary, select: exp.Select) -> exp.Expr | None:
    result = plan.kind(node, select).id
    parts = (node.this, node.expression)
    kinds = [plan.kind(each, select).id for each in parts]
    if result not in ("integer", "bigint", "double"):
        return None
    made = []
    for each, kind in zip(parts, kinds, strict=True):
        if kind == "decimal" and result == "double" and isinstance(each.unnest(), exp.Literal):
            one: exp.Expr | None = _double(each)
        elif kind in ("integer", "bigint") or (kind == "double" and result == "double"):
            one = native(plan, each, select)
        else:
            return None
        if one is None:
            return None
        made.append(one)
    if result == "integer" and kinds != ["integer", "integer"]:
        return None
    return type(node)(this=exp.Paren(this=made[0]), expression=exp.Paren(this=made[1]))


def _cast(plan: Plan, node: exp.Cast, select: exp.Select) -> exp.Expr | None:
    of, to = plan.kind(node.this, select), plan.kind(node, select)
    if isinstance(node.this, exp.Literal) and node.this.is_string and to.id == "date":
        parts = node.this.name.split("-")
        if [len(each) for each in parts] == [4, 2, 2] and all(each.isdecimal() for each in parts):
            return spark_cast(node.this.copy(), to)
        return None
    wider = of.id in WHOLE and to.id in WHOLE and WHOLE.index(of.id) <= WHOLE.index(to.id)
    if wider or (of.id in (*WHOLE, "float") and to.id == "double") or (of.name == to.name and of.id != "varchar"):
        made = native(plan, node.this, select)
        return None if made is None else spark_cast(made, to)
    return None


def _chosen(plan: Plan, node: exp.Expr, select: exp.Select) -> exp.Expr | None:
    result = plan.kind(node, select)
    if isinstance(node, exp.Coalesce):
        parts: list[exp.Expr] = [node.this, *node.expressions]
    else:
        if node.args.get("this"):
            return None
        parts = [each.args["true"] for each in node.args["ifs"]]
        parts += [node.args["default"]] if node.args.get("default") else []
    if result.is_nested or any(
        plan.kind(each, select).name not in (result.name,) and not isinstance(each, exp.Null) for each in parts
    ):
        return None
    made = [native(plan, each, select) for each in parts]
    if any(each is None for each in made):
        return None
    if isinstance(node, exp.Coalesce):
        return exp.Coalesce(this=made[0], expressions=made[1:])
    conditions = [native(plan, each.this, select) for each in node.args["ifs"]]
    if any(each is None for each in conditions):
        return None
    if any(plan.kind(each.this, select).id != "boolean" for each in node.args["ifs"]):
        return None
    ifs = [exp.If(this=one, true=each) for one, each in zip(conditions, made, strict=False)]
    return exp.Case(ifs=ifs, default=made[len(ifs)] if len(made) > len(ifs) else None)


def _double(literal: exp.Expr) -> exp.Expr:
    return exp.Cast(this=literal.unnest().copy(), to=exp.DataType.build("double"))
