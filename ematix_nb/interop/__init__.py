"""Rows as the frames of other libraries: polars, pandas, Spark."""
