"""
Brings the database of a Treetracker wallet service over: `manage.py import_treetracker`.

`source` reads it, `staging` copies it into temporary tables, `findings` compares these with the rules of Coppice and
says what will be done, `writing` writes, and `checks` compares both sides. All is one transaction.
"""
