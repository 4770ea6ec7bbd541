"""Where bytes lie: durable local writes, object stores, retries."""
