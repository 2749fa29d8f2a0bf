"""What changes an endpoint that is there: update, pause, scale to zero, delete. Nothing here starts one (`starting/`).

The release at the end of a use, which asks who else is there first, is in `using/`.
"""
