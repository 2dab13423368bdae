worker: line 2: type has no word in the page's format: `# TYPE build info`
worker: line 4: type has no word in the page's format: `# TYPE feature stateset`
worker: line 25: exemplar is left out, the page's format has no place for it: `mixed 1 # {trace_id="a1"} 1`
worker: 16 samples, 3 problems
proxy: line 1: type has no word in the page's format: `# TYPE build info`
proxy: line 6: unit is left out, the page's format has no place for it: `# UNIT unended seconds`
proxy: 3 samples, 2 problems
