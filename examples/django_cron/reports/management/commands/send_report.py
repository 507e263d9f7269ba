"""``manage.py send_report``: it knows of paxlock only its fencing token, where there is one."""

import os

from django.core.management.base import BaseCommand


class Command(BaseCommand):
    help = "Sends the report of the day."

    def handle(self, *args: object, **options: object) -> None:
        term = os.environ.get("PAXLOCK_TERM", "none")  # goes along with every write
        self.stdout.write(f"the report was sent, fencing token {term}")
