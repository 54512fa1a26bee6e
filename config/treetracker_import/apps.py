from django.apps import AppConfig


class TreetrackerImportConfig(AppConfig):
    name = "config.treetracker_import"
    label = "treetracker_import"
