"""All SQL of the scorer, by what it is about. One function per statement, connection first; rows become types here."""
