"""The Django app: it brings the table."""

from __future__ import annotations

from django.apps import AppConfig

__all__ = ["FencingConfig"]


class FencingConfig(AppConfig):
    """The app "paxlock.fencing.django", under the label "paxlock"."""

    name = "paxlock.fencing.django"
    label = "paxlock"
    verbose_name = "Fencing tokens"
    default_auto_field = "django.db.models.BigAutoField"
