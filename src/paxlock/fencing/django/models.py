"""The table of the highest terms, as a Django model."""

from __future__ import annotations

from typing import Any

from django.db import models

from paxlock.fencing.statements import TABLE

__all__ = ["ExactText", "Fence"]


class ExactText(models.CharField):
    """Text that is compared by its characters: MySQL and MariaDB do not by themselves."""

    def db_type(self, connection: Any) -> str | None:
        """The type in this database."""
        if connection.vendor == "mysql":
            return f"varchar({self.max_length}) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"
        kind: str | None = super().db_type(connection)
        return kind


class Fence(models.Model):
    """The highest term that was claimed for a name, and the cell that granted it. For reading: the guards
    write it by statements of their own.
    """

    name = ExactText(max_length=255, primary_key=True)
    cell = ExactText(max_length=64, null=True)
    term = models.BigIntegerField()

    class Meta:
        """Its table is the one of the other guards."""

        db_table = TABLE

    def __str__(self) -> str:
        return f"{self.name}: term {self.term}"
