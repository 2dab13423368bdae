ztunnel: line 2: type has no word in the page's format: `# TYPE build info`
ztunnel: 6 samples, 1 problems
app: 1 samples, 0 problems
