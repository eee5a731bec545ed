"""Programs as processes: signals, kills, terminals, cron, installed packages, disks that are full."""
