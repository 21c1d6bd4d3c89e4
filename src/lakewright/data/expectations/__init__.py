"""Expectations of a source's rows (`data.expect`): checked while the rows are written, in one pass over all of them.

kinds         the kinds that look at one row at a time, one function each, in the table KINDS
values        a bound, or an allowed value, in a column's own type
conditions    a condition of SQL, which DuckDB computes
sieve         the rows of a piece: those that stay, those that are dropped, and how many violate what
together      what shows only in all rows: unique, row_count, freshness
quarantine    the table of the rows that were dropped
writing       the rows as a table, and what was not as expected
proposed      expectations that a profiled table satisfies
exported      the same in the forms of SageMaker and Databricks

A kind of one row is a field of `settings.expectations.Expected` and a line of KINDS. A null violates `not_null` alone.
`unique`, `row_count` and `freshness` are of the rows that stay: what `drop` takes away does not count there.
"""
