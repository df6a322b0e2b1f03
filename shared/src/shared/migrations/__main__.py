"""`python -m shared.migrations`: bring TRUSTLENS_DATABASE_URL to the newest revision."""

import sys

from shared.migrations.run import upgrade
from shared.settings import DatabaseSettings, load


def main() -> None:
    try:
        upgrade(load(DatabaseSettings).database_url)
    except OSError as error:
        sys.exit(
            f"the database at TRUSTLENS_DATABASE_URL does not answer ({error}): is it running, is the address right?"
        )


if __name__ == "__main__":
    main()
