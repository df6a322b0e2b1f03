"""Metrics of the api. Labels are our own words only: bounded."""

from prometheus_client import Counter, Histogram

INPUTS = Counter("trustlens_inputs_total", "What stores sent, by what became of it.", ["source", "result"])
GATE = Counter("trustlens_gate_total", "Checkouts that the gate was asked about.", ["decision", "reason"])
INTAKE_BATCH = Histogram("trustlens_intake_batch_inputs", "Inputs per commit.", buckets=(1, 2, 5, 10, 20, 50, 100, 200))
