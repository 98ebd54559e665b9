"""The public API, one file for each verb: look, decide, do, and repeat when the plan is stale."""
