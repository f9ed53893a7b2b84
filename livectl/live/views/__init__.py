"""What people see of streamers: glances at the store, drawn as tables."""
