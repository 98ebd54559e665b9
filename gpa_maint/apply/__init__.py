"""Do: carry out a plan. Adding and deleting never share a function. All need the maintenance lock (fs)."""
