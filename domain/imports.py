"""Imports: what a row of a file must look like."""

from enum import StrEnum


class ImportKind(StrEnum):
    CUSTOMERS = "customers"
    ORDERS = "orders"


class ImportState(StrEnum):
    UPLOADED = "uploaded"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
