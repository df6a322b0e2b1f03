"""`python -m shared.migrations`: bring TRUSTLENS_DATABASE_URL to the newest revision."""

import os
import sys

from shared.migrations.run import upgrade


def main() -> None:
    url = os.environ.get("TRUSTLENS_DATABASE_URL")
    if not url:
        sys.exit("TRUSTLENS_DATABASE_URL is not set: give it the database to migrate, postgresql://…")
    upgrade(url)


if __name__ == "__main__":
    main()
