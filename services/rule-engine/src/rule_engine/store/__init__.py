"""All SQL of the rule engine. One function per statement, connection first; rows become types here."""
