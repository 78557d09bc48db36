"""Many runs: sweeps, jobs and a view of what is running."""
