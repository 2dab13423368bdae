one: 4 samples, 0 problems
two: line 1: type differs from an earlier one, now untyped: `# TYPE rpc_seconds gauge`
two: 1 samples, 1 problems
three: 1 samples, 0 problems
