"""Makes the table paxlock_fence."""

from __future__ import annotations

from django.db import migrations, models

from paxlock.fencing.django.models import ExactText


class Migration(migrations.Migration):
    """The table of the highest terms."""

    initial = True
    operations = [  # noqa: RUF012 - Django's form
        migrations.CreateModel(
            name="Fence",
            fields=[
                ("name", ExactText(max_length=255, primary_key=True, serialize=False)),
                ("cell", ExactText(max_length=64, null=True)),
                ("term", models.BigIntegerField()),
            ],
            options={"db_table": "paxlock_fence"},
        )
    ]
