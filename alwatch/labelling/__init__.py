"""Where queues go and labels come from: one file per labelling tool."""
