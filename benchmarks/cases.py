"""What is measured, and what each case is held against."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Case:
    """One move of rows, done in several ways in turn."""

    name: str
    title: str
    goal: float
    """Times the limit that this project wants to stay within."""
    memory_mb: int
    """Memory that this project wants to stay within."""
    limits: tuple[str, ...] = ("limit",)
    """Sides that nothing can beat by much; the fastest is the limit."""
    others: tuple[str, ...] = ()
    """Sides that say where the difference comes from."""
    peers: tuple[str, ...] = ()
    """What a user would pick instead; measured once."""
    needs: str = "postgres"

    @property
    def sides(self) -> tuple[str, ...]:
        """All that is measured in every round."""
        return (*self.limits, "ours", *self.others)


PG_MB, FILES_MB, DELTA_MERGE_MB = 250, 600, 1000
BOTH = ("dlt", "ematix_flow")

CASES = {
    case.name: case
    for case in (
        Case("pg_arrow_numbers", "PostgreSQL to Arrow, mostly numbers", 2.0, PG_MB),
        Case("pg_arrow_texts", "PostgreSQL to Arrow, mostly texts", 2.5, PG_MB),
        Case("pg_pg", "PostgreSQL to PostgreSQL, two databases", 1.2, PG_MB, others=("wide",), peers=BOTH),
        Case("same_db", "inside one PostgreSQL database", 1.1, PG_MB, others=("wide",)),
        Case("parquet_pg", "Parquet to PostgreSQL", 1.2, PG_MB, others=("wide",), peers=("dlt",)),
        Case("merge", "merge, a tenth changed and a tenth new", 1.3, PG_MB, others=("wide",), peers=BOTH),
        Case("scd2", "scd2, a tenth changed and a tenth new", 1.2, PG_MB, peers=("ematix_flow",)),
        Case("pg_parquet", "PostgreSQL to Parquet", 1.3, PG_MB, peers=("dlt",)),
        Case("csv_parquet", "CSV to Parquet", 1.2, FILES_MB, limits=("polars", "duckdb", "pyarrow")),
        Case("parquet_delta", "Parquet to Delta", 1.3, FILES_MB, others=("wide",)),
        Case("delta_merge", "merge into Delta, a tenth changed and a tenth new", 1.5, DELTA_MERGE_MB),
        Case("parquet_mariadb", "Parquet to MariaDB", 1.3, FILES_MB, others=("wide",), needs="mariadb"),
        Case("overhead", "PostgreSQL to PostgreSQL, one row", 0.0, PG_MB, others=("cold",)),
    )
}
