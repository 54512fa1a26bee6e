"""What an audit of any app reports, and the checks derived from the models."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any, Final

from django.db import connection, models
from django.db.models import (
    BooleanField,
    Count,
    Exists,
    ExpressionWrapper,
    F,
    Max,
    Min,
    OuterRef,
    Q,
    QuerySet,
    TextField,
    Value,
)
from django.db.models.functions import Cast, Concat

# The maximum number of rows reported per rule.
FINDINGS_PER_CHECK: Final = 100


@dataclass(frozen=True, slots=True)
class Finding:
    """One violation: the name of the check, and a description without secrets."""

    check: str
    detail: str


def listed(values: Iterable[str]) -> str:
    """Return constants as the list of an SQL `IN`, e.g. `('bank', 'fracked')`."""
    return "(" + ", ".join(f"'{value}'" for value in values) + ")"


def model_checks(
    model: type[models.Model], rows: QuerySet[Any, Any] | None = None
) -> Iterator[tuple[str, QuerySet[Any, Any]]]:
    """
    Yield the name of each rule that a model states, with a query for the rows that violate it, among `rows` or all.

    These are the constraints of its Meta, unique fields, references (with or without a foreign key in the database) and
    NOT NULL. Each query returns one text per finding.
    """
    rows = model._base_manager.all() if rows is None else rows
    for constraint in model._meta.constraints:
        if isinstance(constraint, models.CheckConstraint):
            yield check_name(constraint.name), _named(model, _breaking(rows, constraint.condition))
        elif isinstance(constraint, models.UniqueConstraint):
            keys = [*constraint.expressions, *(F(field) for field in constraint.fields)]
            yield check_name(constraint.name), _repeated(model, keys, rows.filter(constraint.condition or Q()))
        else:
            raise TypeError(f"The audit has no query for constraints like {constraint!r}.")
    for field in model._meta.local_concrete_fields:
        if field.unique:
            yield f"{model._meta.db_table}.{field.column} is unique", _repeated(model, [F(field.attname)], rows)
        if isinstance(field, models.ForeignKey):
            (target,) = field.foreign_related_fields
            known = Exists(field.related_model._base_manager.filter(**{target.attname: OuterRef(field.attname)}))
            dangling = rows.filter(~known, **{f"{field.attname}__isnull": False})
            yield f"{model._meta.db_table}.{field.column} refers to a row", _named(model, dangling)
    required = [field.attname for field in model._meta.local_concrete_fields if not field.null]
    missing = Q(*((f"{name}__isnull", True) for name in required), _connector=Q.OR)
    yield f"{model._meta.db_table} has what it must have", _named(model, rows.filter(missing))


def check_name(constraint: str) -> str:
    """Return the name of the check for a constraint."""
    return constraint.replace("_", " ")


def broken_rules(
    listed_models: Iterable[type[models.Model]],
    rows: Mapping[type[models.Model], QuerySet[Any, Any]] = MappingProxyType({}),
) -> Iterator[Finding]:
    """
    Yield the rows of the models that violate a rule of their model: the first `FINDINGS_PER_CHECK` for each rule.

    `rows` are those to check of some models; of the others all are.
    """
    for model in listed_models:
        with connection.cursor() as cursor:
            cursor.execute(*(_of(model, rows[model]) if model in rows else _statement(model)))
            for detail, check in cursor.fetchall():
                yield Finding(check, detail)


@cache
def _statement(model: type[models.Model]) -> tuple[str, Sequence[Any]]:
    """Return the statement of all checks of a model, and its parameters. Deriving them takes longer than running it."""
    return _of(model, None)


def _of(model: type[models.Model], rows: QuerySet[Any, Any] | None) -> tuple[str, Sequence[Any]]:
    parts: list[str] = []
    parameters: list[Any] = []
    for check, broken in model_checks(model, rows):
        query, values = broken.query.sql_with_params()
        parts.append(f"({_first_rows(query, 'detail, %s::text')})")
        parameters += [*values, check]
    return " UNION ALL ".join(parts), tuple(parameters)


def first_rows(query: str, parameters: Any) -> list[str]:
    """Return the first `FINDINGS_PER_CHECK` texts of a query that looks for broken rows."""
    with connection.cursor() as cursor:
        cursor.execute(_first_rows(query, "detail"), parameters)
        return [detail for (detail,) in cursor.fetchall()]


def _first_rows(query: str, columns: str) -> str:
    """
    Return the SQL of the first rows of a query, whose column is `detail`.

    It is a CTE, because few rows are broken or none, and all are read. With its own LIMIT, PostgreSQL plans for
    the first rows, and looks up each row of one table by an index of another.
    """
    return (
        f"WITH broken (detail) AS MATERIALIZED ({query})"  # noqa: S608 - of models and files
        f" SELECT {columns} FROM broken LIMIT {FINDINGS_PER_CHECK}"
    )


def _breaking(rows: QuerySet[Any, Any], condition: Any) -> QuerySet[Any, Any]:
    # As in a CHECK, NULL does not violate a condition.
    holds = ExpressionWrapper(condition, output_field=BooleanField())
    breaking: QuerySet[Any, Any] = rows.alias(_holds=holds).filter(_holds=False)
    return breaking


def _named(model: type[models.Model], rows: QuerySet[Any, Any]) -> QuerySet[Any, Any]:
    name = Concat(Value(f"{model._meta.db_table} "), Cast("pk", TextField()), output_field=TextField())
    return rows.order_by().values_list(name, flat=True)


def _repeated(model: type[models.Model], keys: list[Any], rows: QuerySet[Any, Any]) -> QuerySet[Any, Any]:
    # Rows are identified by their primary keys: the shared value may be a digest.
    names = {f"_key{index}": key for index, key in enumerate(keys)}
    rows = rows.annotate(**names)
    rows = rows.filter(**{f"{name}__isnull": False for name in names}).order_by().values(*names)
    first, last = (aggregate(Cast("pk", TextField())) for aggregate in (Min, Max))
    count = Cast("_count", TextField())
    table = Value(f"{model._meta.db_table} ")
    name = Concat(table, first, Value(" and "), last, Value(": "), count, Value(" rows"), output_field=TextField())
    repeated: QuerySet[Any, Any] = rows.annotate(_count=Count("*")).filter(_count__gt=1)
    return repeated.values_list(name, flat=True)
