"""The routes of what REST tells about streams."""

urlpatterns = []
