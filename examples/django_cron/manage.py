"""A Django project with one command, which the crontab of every host starts, and one host runs:

    0 3 * * *  paxlock run send-report --try -E 0 --at-least 20s -- python manage.py send_report

``--try``: a host that finds the name taken does not wait, and ``-E 0``: that is no failure. ``--at-least``
keeps the name for a while, although the command is short: the hosts' clocks are never quite right.
"""

from pathlib import Path

from django.conf import settings
from django.core.management import execute_from_command_line

if __name__ == "__main__":
    # A project of yours has these in settings.py.
    settings.configure(
        BASE_DIR=Path(__file__).parent,
        INSTALLED_APPS=["reports"],
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
        USE_TZ=True,
    )
    execute_from_command_line()
