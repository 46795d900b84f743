"""What differs between two nights: lists, decisions, settings, data."""

from collections.abc import Mapping
from html import escape
from typing import Any

from tasks.cards.changed import ChangedLists, UserLists
from tasks.cards.numbers import share
from tasks.cards.page import card, tiles
from tasks.cards.sections.users import item_list
from tasks.cards.settings import Rows
from tasks.cards.sides import Side


def lists_of(lists: ChangedLists | None, one: Side, other: Side) -> list[str]:
    """How much of the lists stays, and some users' lists side by side."""
    if lists is None:
        gone = "The lists of at least one of them are no longer in the data folder."
        return ["<h2>What people would see</h2>", f'<p class="soft note">{gone}</p>']
    counted = [
        ("of the first ten stay", share(lists.overlap), f"mean over {lists.n_users:,} users"),
        ("the same ten items", f"{lists.same:,}", "users, in whatever order"),
        ("not one item stays", f"{lists.none:,}", "users"),
        ("have a list in one only", f"{lists.only_one + lists.only_other:,}", f"{lists.only_other:,} in the second"),
    ]
    examples = [card(_example(user, one, other)) for user in lists.examples]
    note = (
        "Users from the one whose list changes most to the one whose list changes least. "
        "What one list has and the other has not is marked +."
    )
    return ["<h2>What people would see</h2>", tiles(counted), f'<p class="soft note">{note}</p>', *examples]


def _example(user: UserLists, one: Side, other: Side) -> str:
    """The two lists, as a box that whoever erases a person finds: it begins and ends like those of a run card."""
    n_kept = len({item.id for item in user.one} & {item.id for item in user.other})
    columns = "".join(
        f"<div><h3>{escape(side.name)}</h3>{item_list('ol', theirs, others)}</div>"
        for side, theirs, others in ((one, user.one, user.other), (other, user.other, user.one))
    )
    return (
        f'<h3>user {escape(user.user_id)} <span class="soft">{n_kept} of {len(user.one)} items stay</span></h3>'
        f'<div class="example">{columns}</div>'
    )


def decisions(one: Side, other: Side) -> str:
    """Each check of either, as each of them was judged by it."""
    told: list[dict[str, Mapping[str, Any]]] = [
        {check["name"]: check for check in side.result["decision"]["checks"]} for side in (one, other)
    ]
    rows = "".join(
        f"<tr><td>{escape(name)}</td>{''.join(_check(checks.get(name)) for checks in told)}</tr>"
        for name in dict.fromkeys([*told[0], *told[1]])
    )
    verdicts = "".join(f"<td><b>{_became(side.result['decision'])}</b></td>" for side in (one, other))
    heads = "".join(f"<th>{escape(side.name)}</th>" for side in (one, other))
    return card(
        f'<table class="verdicts"><tr><th>check</th>{heads}</tr><tr><td>decision</td>{verdicts}</tr>{rows}</table>',
        padded=False,
    )


def _became(decision: Mapping[str, Any]) -> str:
    return "promoted" if decision["promote"] else "waits" if decision["awaits_approval"] else "refused"


def _check(check: Mapping[str, Any] | None) -> str:
    if check is None:
        return '<td class="soft">–</td>'
    mark = '<b class="good">✓</b>' if check["passed"] else '<b class="bad">✗</b>'
    return f"<td>{mark} {escape(check['detail'])}</td>"


def changed(title: str, rows: Rows, one: Side, other: Side) -> list[str]:
    """A line each; what is not the same in both stands out."""
    if not rows:
        return [f"<h2>{escape(title)}</h2>", '<p class="soft note">Nothing.</p>']
    body = "".join(
        f"<tr{'' if before == after else ' class=changed'}><td>{escape(name)}</td>"
        f"<td>{escape(before)}</td><td>{escape(after)}</td></tr>"
        for name, (before, after) in rows.items()
    )
    head = f"<tr><th></th><th>{escape(one.name)}</th><th>{escape(other.name)}</th></tr>"
    return [f"<h2>{escape(title)}</h2>", card(f'<table class="told">{head}{body}</table>', padded=False)]
