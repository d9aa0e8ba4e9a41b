-- For wrk: starts runs of the scenario `bell`, which wait for an hour, and prints the 95th percentile besides.
wrk.method = "POST"
wrk.body = '{"scenario":"bell"}'
wrk.headers["Content-Type"] = "application/json"

done = function(summary, latency, requests)
  io.write(string.format("p95 %.1f ms, %d other answers\n", latency:percentile(95) / 1000, summary.errors.status))
end
