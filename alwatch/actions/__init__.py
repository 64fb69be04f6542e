"""What a trigger rule does when it fires. See `alwatch.protocols.Action`."""
