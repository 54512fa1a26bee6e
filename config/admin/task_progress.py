"""The polling endpoint of pages: progress of tasks and the cells of the 25 servers."""

import hashlib
import json

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.http import require_safe

from config.admin import server_grid
from lockers import reports
from wallets import names

# The most tasks on one page.
MOST_TASKS = 50


@require_safe
def tasks(request: HttpRequest) -> HttpResponse:
    """
    Return the progress of the tasks named as `?task=…`; 304 if it is unchanged since `If-None-Match`.

    The staff member may see tasks; unknown ones are left out.
    """
    if not request.user.has_perm("lockers.view_lockertask"):
        return JsonResponse({"error": "You may not see tasks."}, status=403)
    asked = [names.parse_uuid(text) for text in request.GET.getlist("task")[:MOST_TASKS]]
    found = reports.progress_of([task_id for task_id in asked if task_id is not None])
    told = {
        "tasks": [
            {
                "id": str(task.id),
                "state": task.state,
                "open": task.may_change,
                "step": task.step,
                "progress": task.progress,
                "message": task.message,
                "cells": [[cell.css, cell.mark, cell.title] for cell in server_grid.of_board(task.board)],
            }
            for task in found
        ],
        "running": any(task.may_change for task in found),
    }
    body = json.dumps(told, sort_keys=True)
    etag = f'"{hashlib.sha256(body.encode()).hexdigest()[:32]}"'
    if request.headers.get("If-None-Match") == etag:
        return HttpResponse(status=304, headers={"ETag": etag})
    return HttpResponse(body, content_type="application/json", headers={"ETag": etag})
