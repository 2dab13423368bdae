mesh: 6 samples, 0 problems
app: 3 samples, 0 problems
