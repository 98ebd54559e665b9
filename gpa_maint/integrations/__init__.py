"""Other libraries, reading through PageStore. Each module translates for one of them, and decides nothing."""
