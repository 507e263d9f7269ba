"""What every face must do, written once: trio, asyncio and blocking run the same text."""
