"""Parts of bench/run.py: process trees and their memory, the machine, the benches, the table."""
