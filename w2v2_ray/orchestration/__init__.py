"""Ray: training workers, scaling, failure, Ray-parallel ingest, submission."""
