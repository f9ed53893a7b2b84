"""When a schedule is due: cron lines in their zone, intervals, the sun."""
