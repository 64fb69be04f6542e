"""Pose models: the current snapshot, run in a worker process, as score maps, poses and features."""
