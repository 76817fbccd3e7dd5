"""Answers about corrections: what there is, what is done, and what to look at next."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from starlette.responses import JSONResponse, Response

from histonuc.corrections import Operation
from histonuc.viewing.calls import Call
from histonuc.viewing.correct_describing import describe_corrections
from histonuc.viewing.errors import RequestError
from histonuc.viewing.opened import OpenResult
from histonuc.viewing.squares import USUAL_MPP
from histonuc.viewing.tuning import MINUTES
from histonuc.viewing.wishes import list_targets


def answer_corrections(call: Call) -> Response:
    """What was corrected, those of other programs included."""
    opened = call.opened
    opened.correcting().refresh()
    return JSONResponse(_describe(opened))


def answer_correct(call: Call) -> Response:
    """Correct something."""
    opened, body = call.opened, call.json()
    corrector, facts = opened.correcting(), opened.facts
    with corrector.lock:  # another tab may correct as well
        before = corrector.version
        scene = corrector.apply(body, facts.size_px, facts.mpp or USUAL_MPP)
        # Where another program wrote meanwhile as well, anything may have changed.
        is_alone = corrector.version == before + 1
        boxes = corrector.changed_boxes(opened.grids[0].side_px) if is_alone else None
        key = corrector.operations[-1].key
        found = _describe(opened)
    made = [one.id for one in scene.corrections.made if one.key == key]
    return JSONResponse(found | {"changed_boxes": boxes, "made": made})


def answer_next(call: Call) -> Response:
    """What to look at next; what is drawn at random is held out from now on."""
    opened = call.opened
    corrector = opened.correcting()
    corrector.check_writable()
    scene = opened.scene()
    proposal = opened.proposer.propose(scene, opened.teaching().choose)
    found: dict[str, Any] = {"proposal": None if proposal is None else asdict(proposal)}
    found |= {"changed_boxes": [], "made": []}
    if proposal is not None and proposal.why == "random":
        with corrector.lock:
            corrector.write(Operation(do="hold_out", nuclei=list_targets([proposal.id], scene)))
            found["changed_boxes"] = corrector.changed_boxes(opened.grids[0].side_px)
    return JSONResponse(_describe(opened) | found)


def answer_lesson(call: Call) -> Response:
    """How far teaching is."""
    return JSONResponse(_describe_lesson(call.opened))


def answer_teach(call: Call) -> Response:
    """Teach with the labels that there are, or show the model's classes again."""
    opened, do = call.opened, call.json().get("do")
    if do not in ("teach", "hide"):
        raise RequestError("Expected do to be teach or hide.")
    teacher = opened.teaching()
    teacher.teach() if do == "teach" else teacher.hide()
    return JSONResponse(_describe_lesson(opened))


def answer_tuning(call: Call) -> Response:
    """How far the fine-tuning of the network is."""
    return JSONResponse(call.library.tuner.describe(call.opened))


def answer_tune(call: Call) -> Response:
    """Fine-tune the network on the complete fields, or stop that."""
    opened, tuner, body = call.opened, call.library.tuner, call.json()
    opened.correcting().refresh()
    do, minutes = body.get("do"), body.get("minutes", MINUTES)
    with_replay = body.get("replay", False)
    if do not in ("start", "stop"):
        raise RequestError("Expected do to be start or stop.")
    if isinstance(minutes, bool) or not isinstance(minutes, int | float):
        raise RequestError("Expected minutes to be a number.")
    if not isinstance(with_replay, bool):
        raise RequestError("Expected replay to be true or false.")
    if do == "start":
        tuner.start(opened, minutes, with_replay=with_replay)
    else:
        tuner.stop(opened)
    return JSONResponse(tuner.describe(opened))


def _describe_lesson(opened: OpenResult) -> dict[str, Any]:
    teacher = opened.teaching()
    more = {"commands": teacher.commands, "version": opened.correcting().version}
    return teacher.lesson.to_dict() | more


def _describe(opened: OpenResult) -> dict[str, Any]:
    return describe_corrections(opened.correcting(), opened.scene())
