"""One file a verb: look, decide, do, and again when the plan is stale. The public API."""
