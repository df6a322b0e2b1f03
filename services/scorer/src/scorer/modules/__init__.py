"""The detection modules. Each is one pure function: features (and now) to signals."""
