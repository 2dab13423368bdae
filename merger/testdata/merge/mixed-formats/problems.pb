app: 8 samples, 0 problems
worker: 8 samples, 0 problems
sidecar: 8 samples, 0 problems
