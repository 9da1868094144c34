"""Parameters of a clause: how fast, which way, how far, how long and with which hand, taken out of its words."""

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from text_to_num import alpha2digit

from mwl.core.errors import BadInput
from mwl.semantics.language.gestures import gesture
from mwl.semantics.language.grammar import Grammar, shipped_grammar

QUARTER = math.pi / 2
GROUNDS = {
    "stairs": "walk_rough",
    "slope": "walk_rough",
    "tunnel": "crawl",
    "hurdles": "hurdle",
    "board": "balance",
    "maze": "maze",
    "poles": "pole",
}
OWN = {"crawl": "crawl", "hurdle": "hurdle", "climb": "walk_rough", "sit": "sit"}  # skills by verbs that no other has
HURDLES, ROWS = 3, 10  # hurdles, and rows of poles, that are meant where no number is said
START = "start"  # the target of who goes back to where the episode began
BEYOND = "beyond"  # the target of who goes through a doorway that is open
_OF_GESTURES = {"duration", "count", "distance", "footsteps"}
_SECOND = re.compile(r"(?<!the )\bseconds?\b")
_AND_HALF = re.compile(r"(\d+(?:\.\d+)?)\s+and\s+a\s+half\b")
_UNIT_AND_HALF = re.compile(r"\b(?:an?|1)\s+(\w+)\s+and\s+a\s+half\b")
_FRACTION = re.compile(r"(?:(\d+)\s+)?(\d+)\s*/\s*(\d+)")
_NUMBER = re.compile(r"(?<![-.\d])\d+\b(?!\.\d)")  # a whole one, neither negative nor a part of another


@dataclass(frozen=True)
class Parameters:
    """What a clause says besides what to do; None and "" where it says nothing.

    Args:
        speed: m/s.
        pace: share of the skill's own speed; above 5 as fast as it can.
        change: share of the speed of the step before.
        direction: `forwards`, `backwards`, `left` or `right`: which way to go, facing ahead.
        angle: rad to the left, in place or, with `arc`, while going.
        arc: whether the angle is walked.
        distance: m.
        footsteps: how many.
        duration: s.
        count: how often, where nothing else is counted.
        side: `left`, `right` or `both`: the hand.
        target: where to, in the words of the clause or as `door`, `target`, `start` or `beyond`.
        ground: `stairs`, `slope`, `tunnel`, `hurdles`, `board`, `maze` or `poles`: what it is done on.
        rise: 1 up to the top of it, -1 down from there, 1 through a tunnel or a maze, so many hurdles or rows of poles;
            0 as far as else is said.
    """

    speed: float | None = None
    pace: float | None = None
    change: float | None = None
    direction: str = ""
    angle: float | None = None
    arc: bool = False
    distance: float | None = None
    footsteps: int | None = None
    duration: float | None = None
    count: int | None = None
    side: str = ""
    target: str = ""
    ground: str = ""
    rise: int = 0

    def said(self) -> dict[str, Any]:
        """What was said, as plain values."""
        return {name: value for name, value in asdict(self).items() if value not in (None, "", False, 0)}

    @property
    def moved(self) -> bool:
        """Whether they say how far, or how long."""
        return any(value is not None for value in (self.distance, self.footsteps, self.duration))

    @property
    def moves(self) -> bool:
        """Whether they are of a way to go: a direction, an angle, a distance, footsteps, a speed."""
        told = (self.speed, self.pace, self.change, self.angle, self.distance, self.footsteps)
        return bool(self.direction) or any(value is not None for value in told)


@dataclass(frozen=True)
class Parsed:
    """A clause taken apart.

    Args:
        core: its words without those of its parameters.
        skill: what its verb alone asks for, where nothing but verb and parameters is said; else "".
        parameters: the rest.
    """

    core: str
    skill: str
    parameters: Parameters


def parse(clause: str, grammar: Grammar | None = None, skills: Collection[str] = ()) -> Parsed:
    """Take the parameters out of a clause.

    Args:
        clause: its words.
        grammar: None takes the shipped one.
        skills: those that the grammar alone knows (`mwl.semantics.shipped.COMMANDED`) and that can be asked for.

    Raises:
        BadInput: two of them contradict each other, or a number is none.
    """
    grammar = grammar or shipped_grammar()
    text, found = _quantities(_in_digits(clause.lower().strip(" .,!?")), grammar)
    often, bare_text = _numbers(text, "often", grammar)
    if not found.keys() - _OF_GESTURES and (moved := gesture(bare_text, grammar, skills)):
        count = next(iter(often.values()), found.get("count"))
        told = Parameters(
            distance=found.get("distance"),  # refused later, with the reason
            footsteps=_whole(found.get("footsteps"), "footsteps"),
            duration=found.get("duration"),
            count=_whole(count, "times"),
            side=moved[1],
        )
        return Parsed(clause, moved[0], told)
    side, text = _all_taken(text, "side", grammar)
    paced: dict[str, float] = {}
    change = None
    if "speed" not in found:
        changes, text = _numbers(text, "change", grammar)
        paced, text = _numbers(text, "pace", grammar)
        change = next(iter(changes.values()), None)
    often, text = _numbers(text, "often", grammar)
    if often:
        found["count"] = next(iter(often.values()))
    rest = text
    ways, rest = _all_taken(rest, "direction", grammar)
    bends, rest = _numbers(rest, "bend", grammar)
    verbs, rest = _all_taken(rest, "verbs", grammar)
    bare = re.fullmatch(r"(\d+(?:\.\d+)?)", _without(rest, "fillers", grammar))
    if bare and "turn" in verbs.values() and "angle" not in found:
        found["angle"], rest = math.radians(float(bare[1])), ""
    told = Parameters(
        speed=found.get("speed"),
        pace=next(iter(paced.values()), None),
        change=change,
        distance=found.get("distance"),
        footsteps=_whole(found.get("footsteps"), "footsteps"),
        duration=found.get("duration"),
        count=_whole(found.get("count"), "times"),
        side=next(iter(side.values()), ""),
    )
    if len(set(side.values())) > 1 or len(set(paced.values())) > 1:
        raise BadInput(f"{clause!r}: says two things of {'hands' if side else 'speed'}; say one")
    within = found.get("within")
    if within is not None:
        if told.distance is None or told.speed is not None or within <= 0:
            raise BadInput(f"{clause!r}: a time within which needs a distance, as in `walk two metres in four seconds`")
        told = replace(told, speed=told.distance / within)
    if _goes_home(text, grammar):
        if told.distance or told.footsteps or told.duration or told.count or told.side:
            raise BadInput(f"{clause!r}: ends where the episode began; say no distance, steps or time besides")
        return Parsed(clause, "walk", replace(told, target=START))
    if (over := _over(text, rest, ways, set(verbs.values()), grammar)) and (skill := GROUNDS[over[0]]) in skills:
        return Parsed(clause, skill, replace(told, ground=over[0], rise=0 if told.moved else over[1]))
    if "sit" in skills and set(verbs.values()) == {"sit"} and not ways:
        if not _without(_without(rest, "chair", grammar), "fillers", grammar):
            return Parsed(clause, "sit", told)
    elif not {"sit", "climb", "crawl", "hurdle", "balance"} & set(verbs.values()) and not _without(
        rest, "fillers", grammar
    ):
        told, skill = _moved(clause, told, set(ways.values()), next(iter(bends.values()), 1.0), verbs, found)
        if skill:
            return Parsed(clause, skill, told)
    if (
        (to := grammar.phrases["to_door"].search(rest))
        and not _without(rest[: to.start()], "fillers", grammar)
        and "walk" in verbs.values()
    ):
        return Parsed(clause, "walk", replace(told, target="door"))
    if (
        "stand" in verbs.values()
        and (by := grammar.phrases["beside"].search(rest))
        and not _without(rest[: by.start()], "fillers", grammar)
        and (beside := _thing(by["thing"], grammar)) in grammar.names["things"].values()
    ):
        return Parsed(clause, "stand", replace(told, target=beside))
    strong = {way for phrase, way in ways.items() if phrase in grammar.lists["strong"]}
    if len(strong) == 1 and "turn" not in verbs.values():
        told, text = replace(told, direction=strong.pop()), _squeezed(grammar.patterns["strong"].sub(" ", text))
    if (angle := found.get("angle")) is not None:
        told = replace(told, angle=angle, arc=True)
    if thing := grammar.phrases["towards"].search(_squeezed(text)):
        told = replace(told, target=_thing(thing["thing"], grammar))
    return Parsed(_squeezed(text) if told.said().keys() - {"target"} else clause, "", told)


def _over(text: str, rest: str, ways: Mapping[str, str], asked: set[str], grammar: Grammar) -> tuple[str, int] | None:
    """The ground that something is done on, and how far over it (`Parameters.rise`); None where a clause says else."""
    grounds, bare = _all_taken(rest, "ground", grammar)
    up, down = (bool(grammar.patterns[name].search(text)) for name in ("up", "down"))
    takes = grammar.patterns["takes"].search(text) is not None
    over = up or down or takes or grammar.patterns["over"].search(text) is not None or "climb" in asked
    number = _NUMBER.search(bare)
    bare = _NUMBER.sub(" ", bare)
    for name in ("takes", "up", "down", "out", "between", "over", "fillers"):
        bare = _without(bare, name, grammar)
    if bare or not set(ways.values()) <= {"forwards"} or len(set(grounds.values())) > 1:
        return None
    ground = next(iter(grounds.values()), "")
    if (asked in ({"crawl"}, {"crawl", "walk"}) and ground in ("", "tunnel")) or (
        asked == {"walk"} and "tunnel" in grounds and over
    ):
        named = "tunnel" in grounds or "low tunnel" in grounds
        return None if number or grammar.patterns["up"].search(rest) else ("tunnel", int(named and over))
    if ground == "hurdles":
        if (
            not asked
            or not asked <= {"walk", "run", "hurdle"}
            or not (over or "hurdle" in asked)
            or up
            or down
            or takes
        ):
            return None
        many = int(number[0]) if number else 1 if set(grounds) == {"hurdle"} else HURDLES
        return ("hurdles", many) if 0 < many < 10 else None
    alone = text in grammar.lists["alone"]
    if ground in ("maze", "poles"):
        passes = grammar.patterns["out" if ground == "maze" else "between"].search(text)
        if not passes or not asked <= {"walk"} or number or up or down or takes:
            return None
        return ground, 1 if ground == "maze" else ROWS
    if ground == "board" or (alone and asked == {"balance"} and not ground):
        fits = asked == {"balance"} or (asked == {"stand"} and over)
        return ("board", 0) if fits and not (number or up or down or takes) else None
    if number or not over or not ground or ground == "tunnel":
        return None
    goes = (bool(asked) and asked <= {"walk", "climb"}) or (takes and ground == "stairs" and not asked)
    if not goes:
        return None
    return ground, int(up or (bool({"climb"} & asked or takes) and not down)) - int(down)


def belongs(clause: str, skills: Collection[str], grammar: Grammar | None = None) -> str:
    """The skill among `skills` that alone has the verb that a clause begins with, or what it names; "" without one.

    Nobody else may carry out what was said: who crawls to a door does not walk there, and no walk on a floor leads
    through a maze.
    """
    grammar = grammar or shipped_grammar()
    text = clause.lower().strip(" .,!?")
    while filler := grammar.patterns["fillers"].match(text):
        text = text[filler.end() :].lstrip(" ,")
    verb = grammar.patterns["verbs"].match(text)
    named = [phrase for phrase in grammar.patterns["ground"].findall(text) if phrase not in grammar.units["footsteps"]]
    own = [OWN.get(grammar.names["verbs"][verb[0]], "")] if verb else []
    own += [GROUNDS[grammar.names["ground"][phrase]] for phrase in named]
    return next((skill for skill in own if skill in skills), "")


def _goes_home(text: str, grammar: Grammar) -> bool:
    """Whether a text says no more than to walk back to where it all began."""
    rest = grammar.patterns["home"].sub(" ", text)
    if _squeezed(rest) == _squeezed(text):
        return False
    ways, rest = _all_taken(rest, "direction", grammar)
    verbs, rest = _all_taken(rest, "verbs", grammar)
    return (
        ways.keys() <= {"back", "all the way"}
        and set(verbs.values()) <= {"walk"}
        and not _without(rest, "fillers", grammar)
    )


def _moved(
    clause: str, told: Parameters, ways: set[str], bend: float, verbs: Mapping[str, str], found: Mapping[str, float]
) -> tuple[Parameters, str]:
    """Parameters and skill of a clause that says nothing but verbs and parameters; no skill where it is none."""
    asked = set(verbs.values())
    ways = ways - {"forwards"} if len(ways) > 1 else ways
    spin = {"clockwise": -1.0, "right": -1.0, "counterclockwise": 1.0, "left": 1.0}
    signs = {spin[way] for way in ways if way in spin}
    if len(signs) > 1 or {"forwards", "backwards"} <= ways:
        raise BadInput(f"{clause!r}: says two directions at once; say one after the other")
    sign, angle = next(iter(signs), 1.0), found.get("angle")
    times = told.count or 1
    circles = "circle" in ways or (angle is not None and "turn" not in asked and bool(asked & {"walk", "run"}))
    if circles and "turn" not in asked:
        whole = 2 * math.pi * bend if angle is None else angle
        skill = "run" if "run" in asked else "walk"
        return replace(told, angle=sign * whole * times, arc=True, count=None), skill
    if "turn" in asked and (ways or angle is not None or "walk" not in asked):
        if angle is None and not signs and "around" not in ways:
            if not ways and verbs.keys() - {"make", "do", "face"}:
                raise BadInput(f"{clause!r}: which way, and how far? say `turn left` or `turn right 45 degrees`")
            return told, ""
        usual = math.pi if "around" in ways else QUARTER
        whole = usual * bend if angle is None else angle
        return replace(told, angle=sign * whole * times, count=None), "walk"
    if told.count is not None and (told.distance or told.footsteps or told.duration):
        told = replace(
            told,
            count=None,
            distance=told.distance and told.distance * times,
            footsteps=told.footsteps and told.footsteps * times,
            duration=told.duration and told.duration * times,
        )
    if "around" in ways or "clockwise" in ways or "counterclockwise" in ways:
        return told, ""
    way = next(iter(ways), "")
    if "sidestep" in asked or way == "sideways":
        way = way if way in ("left", "right") else "left"
    if "retreat" in asked:
        way = way or "backwards"
    told = replace(told, direction=way)
    skills: list[str] = [skill for skill in ("run", "stand") if skill in asked]
    if not skills and (asked or way in ("forwards", "backwards") or told.footsteps or told.distance):
        skills = ["walk"]
    if not asked and not skills and told.duration is not None and not told.moves:
        skills = ["stand"]  # "then two seconds"
    if not skills and told.change is not None:
        return told, "same"
    return told, skills[0] if skills and (told.said() or skills == ["stand"]) else ""


def _in_digits(text: str) -> str:
    """Numbers in digits, halves and fractions as decimals."""
    text = _SECOND.sub(" sec", text.replace("½", " 1/2").replace("¼", " 1/4").replace("¾", " 3/4"))
    text = re.sub(r"(\d),(?=\d{3}\b)", r"\1", text)
    text = re.sub(r"(\d),(?=\d)", r"\1.", text)
    digits = re.sub(r"\bsec\b", "second", alpha2digit(text, "en", 0))  # to the converter "second" is an ordinal
    digits = _AND_HALF.sub(lambda m: f"{float(m[1]) + 0.5:g}", re.sub(r"(\d) more\b", r"\1", digits))
    digits = _UNIT_AND_HALF.sub(r"1.5 \1", digits)
    digits = _FRACTION.sub(lambda m: f"{int(m[1] or 0) + int(m[2]) / max(int(m[3]), 1):g}", digits)
    return _squeezed(re.sub(r"\b(?:minus|negative)\s+(?=\d)", "-", digits))


def _quantities(text: str, grammar: Grammar) -> tuple[str, dict[str, float]]:
    """The text without its quantities, and their sums by kind, in SI; `within` is a time to be done in."""
    found: dict[str, float] = {}
    kinds = {unit: (kind, one) for kind, table in grammar.units.items() for unit, one in table.items()}
    kept, end = [], 0
    for match in grammar.quantity.finditer(text):
        if match["unit"] == "turn" and match["amount"] in ("a", "an"):
            continue  # "take a turn to the left"
        if match["unit"] == "circle" and text[: match.start()].rstrip().endswith(" in"):
            continue  # a way to go
        kind, one = kinds[match["unit"]]
        before = text[end : match.start()]
        number = match["number"].replace("\u2212", "-").replace(",", ".") if match["number"] else None
        if number and (not number[-1].isdigit() or math.isinf(float(number))):
            raise BadInput(
                f"{match[0]!r}: is no number that a robot can count to; say one, such as `2 {match['unit']}`"
            )
        value = one * (float(number) if number else grammar.numbers["amounts"][match["amount"]])
        if value <= 0:
            way = "; say a direction in words, such as `backwards`" if value < 0 else ""
            raise BadInput(f"{match[0]!r}: must be above 0{way}")
        within = grammar.phrases["within"]
        if kind == "duration" and within.search(before):
            kind, before = "within", within.sub("", before)
        found[kind] = found.get(kind, 0.0) + value
        kept.append(grammar.phrases["about"].sub("", before))
        end = match.end()
    return _squeezed(" ".join([*kept, text[end:]])), found


def _all_taken(text: str, table: str, grammar: Grammar) -> tuple[dict[str, str], str]:
    """What phrases of a table the text holds, with what they mean, and the text without them."""
    pattern, meaning = grammar.patterns[table], grammar.names[table]
    found = {phrase: meaning[phrase] for phrase in pattern.findall(text)}
    return found, _squeezed(pattern.sub(" ", text))


def _numbers(text: str, table: str, grammar: Grammar) -> tuple[dict[str, float], str]:
    pattern, meaning = grammar.patterns[table], grammar.numbers[table]
    found = {phrase: meaning[phrase] for phrase in pattern.findall(text)}
    return found, _squeezed(pattern.sub(" ", text)) if found else text


def _without(text: str, table: str, grammar: Grammar) -> str:
    return _squeezed(grammar.patterns[table].sub(" ", text)).strip(" ,.;:!?-")


def _thing(words: str, grammar: Grammar) -> str:
    """What a task shows, of which the words speak, or the words."""
    found = grammar.patterns["things"].findall(words)
    return grammar.names["things"][found[-1]] if found else words.strip()


def _whole(value: float | None, what: str) -> int | None:
    if value is not None and (value != round(value) or value < 1):
        raise BadInput(f"{value:g} {what}: must be a whole number")
    return None if value is None else round(value)


def _squeezed(text: str) -> str:
    return re.sub(r"\s+([,.])", r"\1", " ".join(text.split())).strip(" ,")
