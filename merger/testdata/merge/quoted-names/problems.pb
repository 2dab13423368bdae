otel: 6 samples, 0 problems
old: 2 samples, 0 problems
