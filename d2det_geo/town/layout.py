"""The plan of a town: streets cut it into blocks, blocks into lots, and lots hold buildings and trees."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from d2det_geo.town.geometry import (
    Points,
    Rectangle,
    Warp,
    area,
    densify,
    direction,
    inscribed_rectangle,
    longest_edge_angle,
    split,
)
from d2det_geo.town.shapes import Shape, draw_shape

SMALLEST_M2, LARGEST_M2 = 30.0, 900.0
STEP = 4.0  # longest straight piece of a warped edge, m
GAP = 0.06  # least distance of a building from its lot's edge, m


@dataclass(frozen=True)
class Street:
    """One straight cut of the plan, bent by the warp."""

    outline: Points
    axis: Points
    """``[V, 2]`` centre line."""
    width: float


@dataclass(frozen=True)
class Lot:
    """One parcel and what lies on it."""

    outline: Points
    yard: str
    """``grass``, ``garden``, ``soil``, ``paved``"""


@dataclass(frozen=True)
class Building:
    """One building: its shape stands in the frame of ``base``."""

    base: Rectangle
    shape: Shape
    height: float
    """Of the eaves or the roof slab above ground, m."""

    def outline(self) -> Points:
        """Give the roof's outline, m."""
        return self.base.place(self.shape.outline)


@dataclass(frozen=True)
class Tree:
    """One tree crown."""

    centre: Points
    radius: float
    height: float


@dataclass
class Plan:
    """A town before it is painted."""

    side: float
    streets: list[Street] = field(default_factory=list)
    lots: list[Lot] = field(default_factory=list)
    buildings: list[Building] = field(default_factory=list)
    trees: list[Tree] = field(default_factory=list)


def draw_plan(rng: np.random.Generator, side: float) -> Plan:
    """Draw the plan of a square town of ``side`` metres.

    Buildings lie in disjoint lots inside the scene, so they neither overlap nor leave it.
    """
    plan = Plan(side)
    warp = Warp.draw(rng, side)
    square = np.array([[0, 0], [side, 0], [side, side], [0, side]], np.float64)
    angle = rng.uniform(0, np.pi)
    density = rng.uniform(0.6, 1.0)
    for block in _blocks(rng, plan, warp, square, angle, depth=0):
        dense = bool(rng.random() < density)
        open_block = rng.random() < 0.06
        target = rng.uniform(1500, 4000) if open_block else (rng.uniform(46, 105) if dense else rng.uniform(110, 380))
        if not open_block and rng.random() < 0.06:
            target = rng.uniform(500, 1400)
        for lot in _lots(rng, block, target):
            _settle(rng, plan, warp, lot, dense, empty=open_block)
    return plan


def _blocks(rng: np.random.Generator, plan: Plan, warp: Warp, cell: Points, angle: float, depth: int) -> list[Points]:
    """Cut ``cell`` by streets, ever narrower, until blocks remain."""
    size = abs(area(cell))
    if size < rng.uniform(1600, 5600):
        return [cell]
    normal, point = _cut(rng, cell, angle + rng.normal(0, 0.13), 0.3)
    width = _street_width(rng, size, depth)
    one, strip, other = split(cell, point, normal, width)
    if min(len(one), len(other)) < 3 or min(abs(area(one)), abs(area(other))) < 250:
        return [cell]
    along = np.array([-normal[1], normal[0]])
    reach = (strip - point) @ along
    axis = point + np.linspace(reach.min(), reach.max(), 60)[:, None] * along
    plan.streets.append(Street(warp(densify(strip, STEP)), warp(np.clip(axis, 0, plan.side)), width))
    turn = rng.normal(0, 0.12)
    return [
        *_blocks(rng, plan, warp, one, angle + turn, depth + 1),
        *_blocks(rng, plan, warp, other, angle - turn, depth + 1),
    ]


def _street_width(rng: np.random.Generator, size: float, depth: int) -> float:
    if depth == 0 and size > 60_000:
        return float(rng.uniform(13, 19))
    if size > 20_000:
        return float(rng.uniform(5, 9))
    return float(rng.uniform(2.2, 5))


def _cut(rng: np.random.Generator, cell: Points, angle: float, spread: float) -> tuple[Points, Points]:
    """Choose a cut across the longer side of ``cell``, seen along ``angle``: its normal and a point on it."""
    axes = np.stack([direction(angle), direction(angle + np.pi / 2)])
    local = cell @ axes.T
    extent = local.max(0) - local.min(0)
    normal = axes[int(np.argmax(extent))]
    share = rng.uniform(0.5 - spread / 2, 0.5 + spread / 2)
    return normal, (local.min(0) + extent * share) @ axes


def _lots(rng: np.random.Generator, cell: Points, target: float) -> list[Points]:
    """Cut a block into lots of about ``target`` m2, square to its longest side."""
    if abs(area(cell)) < target * rng.uniform(0.8, 2.0):
        return [cell]
    normal, point = _cut(rng, cell, longest_edge_angle(cell), 0.25)
    one, _, other = split(cell, point, normal, 0.0)
    if min(len(one), len(other)) < 3 or min(abs(area(one)), abs(area(other))) < 0.45 * target:
        return [cell]
    return [*_lots(rng, one, target), *_lots(rng, other, target)]


def _settle(rng: np.random.Generator, plan: Plan, warp: Warp, cell: Points, dense: bool, empty: bool) -> None:
    """Put a yard, perhaps a building, and trees on a lot."""
    outline = warp(densify(cell, STEP))
    vacant = empty or rng.random() < (0.06 if dense else 0.14)
    yards = ["grass", "garden", "soil", "paved"]
    weights = (0.35, 0.35, 0.25, 0.05) if vacant else ((0.1, 0.2, 0.4, 0.3) if dense else (0.25, 0.3, 0.3, 0.15))
    yard = str(rng.choice(yards, p=weights))
    plan.lots.append(Lot(outline, yard))
    building = None if vacant else _build(rng, outline, longest_edge_angle(warp(cell)), dense)
    if building is not None:
        plan.buildings.append(building)
    _plant(rng, plan, outline, yard, vacant)


def _build(rng: np.random.Generator, outline: Points, angle: float, dense: bool) -> Building | None:
    setback = rng.uniform(GAP, 0.5) if dense else rng.uniform(0.3, 1.8)
    room = inscribed_rectangle(outline, angle, setback)
    if room is None or min(room.length, room.width) < 3.6:
        return None
    share = np.ones(2) if dense and rng.random() < 0.7 else rng.uniform(0.6, 1.0, 2)
    size = np.maximum(np.array([room.length, room.width]) * share, 3.6)
    size = np.minimum(size, [room.length, room.width])
    size *= min(1.0, float(np.sqrt(LARGEST_M2 * 0.98 / np.prod(size))))
    slack = (np.array([room.length, room.width]) - size) / 2
    centre = room.place((slack * rng.uniform(-1, 1, 2))[None])[0]
    base = Rectangle(centre, room.angle, float(size[0]), float(size[1]))
    shape = draw_shape(rng, base.length, base.width)
    if not SMALLEST_M2 <= abs(area(shape.outline)) <= LARGEST_M2:
        return None
    floors = 1 + rng.binomial(3, 0.35) if np.prod(size) < 250 else rng.integers(1, 3)
    return Building(base, shape, float(floors * rng.uniform(2.8, 3.3) + rng.uniform(0, 0.5)))


def _plant(rng: np.random.Generator, plan: Plan, outline: Points, yard: str, vacant: bool) -> None:
    """Scatter clumps of trees over a lot; those that meet a roof are not grown (see ``things``)."""
    per_m2 = {"grass": 0.008, "garden": 0.022, "soil": 0.004, "paved": 0.0015}[yard] * (1.0 if vacant else 1.6)
    low, high = outline.min(0), outline.max(0)
    for _ in range(rng.poisson(per_m2 * abs(area(outline)))):
        spot = rng.uniform(low, high)
        for _ in range(rng.integers(1, 4)):
            radius = float(np.clip(rng.lognormal(0.2, 0.5), 0.4, 4.2))
            tree = Tree(spot + rng.normal(0, 1.5, 2), radius, float(radius * rng.uniform(1.2, 2.2) + 0.5))
            plan.trees.append(tree)
