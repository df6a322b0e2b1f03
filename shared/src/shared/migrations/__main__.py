"""`python -m shared.migrations`: bring TRUSTLENS_DATABASE_URL to the newest revision."""

import os
import sys

from shared.migrations.run import upgrade


def main() -> None:
    url = os.environ.get("TRUSTLENS_DATABASE_URL")
    if not url:
        sys.exit("TRUSTLENS_DATABASE_URL is not set: give it the database to migrate, postgresql://…")
    if not url.startswith(("postgresql://", "postgres://")):
        sys.exit("TRUSTLENS_DATABASE_URL must begin with postgresql://")
    try:
        upgrade(url)
    except OSError as error:
        sys.exit(
            f"the database at TRUSTLENS_DATABASE_URL does not answer ({error}): is it running, is the address right?"
        )


if __name__ == "__main__":
    main()
