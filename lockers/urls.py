"""Paths of the lockers app, with and without a trailing slash."""

from django.urls import URLPattern

urlpatterns: list[URLPattern] = []
