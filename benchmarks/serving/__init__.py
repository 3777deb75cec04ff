"""The prediction service against what it replaces: latency, throughput, endurance."""
