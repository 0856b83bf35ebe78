"""Outputs for live results: browser page, MQTT, window, video, snapshots, JSON Lines, status line."""
