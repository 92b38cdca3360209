-- Load on a running server: short completions, as many as --parallel allows at a time, or far more.
--     wrk -t1 -c8 -d10s --latency -s tests/bench/bench_load.lua http://127.0.0.1:8080/v1/completions
wrk.method = "POST"
wrk.body = '{"model": "pack", "prompt": "Once upon a time", "max_tokens": 16, "temperature": 0}'
wrk.headers["Content-Type"] = "application/json"
