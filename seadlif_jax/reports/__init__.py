"""Tables and pictures of a trained network that depend on its task: functions that dispatch on the task's class."""
