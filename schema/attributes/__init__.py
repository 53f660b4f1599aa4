"""What an object carries besides its bytes, one class for each kind; `every.py` lists them. Imported by all rooms."""
