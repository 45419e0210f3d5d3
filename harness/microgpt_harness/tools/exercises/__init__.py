"""`main.py exercise`: hands out lessons with holes, with planted mistakes and with something to add; checks what comes
back by its numbers, and says which known mistake they look like.
"""
