"""Answers that come back: a shortfall is an answer that no logits give."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lakewright.evaluation.scorers.answers import exact_match
from lakewright.model.tasks.answering import FIRST, LAST, QuestionAnswering
from recipes import recipe_for


@given(st.data())
def test_shortfalls_are_the_answers_that_do_not_come_back(tiny_base: Path, data: st.DataObject) -> None:
    context = "b" + data.draw(st.text(alphabet=st.sampled_from("cb d😀é\u0301"), max_size=50))
    start, end = sorted(data.draw(st.tuples(st.integers(0, len(context) - 1), st.integers(1, len(context)))))
    answers = [{"start": start, "end": end, "text": context[start:end]}] if context[start:end].strip() else []
    long_texts, stride = data.draw(st.sampled_from([("cut", 0), ("windows", 3)]))
    task = QuestionAnswering(max_answer_length=5, may_lack=data.draw(st.booleans()))
    rows = [{"question": "a", "context": context}]
    encoded = recipe_for(task, tiny_base, 16, long_texts, stride).encode(rows)
    targets = task.targets([answers], encoded, rows)
    logits = []
    for sequence in range(len(encoded.ids)):
        bits = targets[sequence]
        sure = np.where(np.flatnonzero(bits > 0)[0] == 0, 5.0, 9.0)  # a window that holds the answer decides
        sides = [np.where((bits > 0) & (bits & bit > 0), sure, -9.0) for bit in (FIRST, LAST)]
        logits.append(np.stack(sides, axis=1).astype(np.float32))
    (prediction,) = task.decode(logits, encoded, rows)
    comes_back = exact_match([answer["text"] for answer in answers], prediction["answer"]) == 1.0
    lost = {each.name for each in task.shortfalls([answers], encoded, targets, rows) if each.lost.any()}
    if lost != {"answers_cut"}:  # of which any span is as likely as the answer
        assert comes_back == (not lost), (prediction, lost)
