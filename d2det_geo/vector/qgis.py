"""The style QGIS finds in a GeoPackage: outlines coloured by class, labels of class and score."""

from __future__ import annotations

import colorsys
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from d2det_geo.vector.features import Layer

_STYLE = "d2det"
_TABLE = """
CREATE TABLE "layer_styles" (
    "id" INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    "f_table_catalog" TEXT(256),
    "f_table_schema" TEXT(256),
    "f_table_name" TEXT(256),
    "f_geometry_column" TEXT(256),
    "styleName" TEXT(30),
    "styleQML" TEXT,
    "styleSLD" TEXT,
    "useAsDefault" BOOLEAN,
    "description" TEXT,
    "owner" TEXT(30),
    "ui" TEXT(30),
    "update_time" DATETIME DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ','now'))
)
"""
_TURN = 0.618034  # of the colour wheel from one class to the next: neighbours differ, however many there are


def finish_geopackage(path: Path, layer: Layer, date: str) -> None:
    """Store a style in a GeoPackage of one layer, and make its dates ``date``, so that it is the same every time."""
    moment = f"{date}T00:00:00.000Z"
    with closing(sqlite3.connect(path)) as database, database:
        ((table, column),) = database.execute("SELECT table_name, column_name FROM gpkg_geometry_columns")
        database.execute(_TABLE)
        database.execute(
            "INSERT INTO layer_styles VALUES (1, '', '', ?, ?, ?, ?, '', 1, ?, '', NULL, ?)",
            (table, column, _STYLE, style(layer), f"Outlines by {coloured_by(layer)[0]}, class and score", moment),
        )
        database.execute(
            "INSERT INTO gpkg_contents (table_name, data_type, identifier) VALUES ('layer_styles', 'attributes',"
            " 'layer_styles')"
        )
        database.execute("UPDATE gpkg_contents SET last_change = ?", (moment,))


def style(layer: Layer) -> str:
    """Write a QML style for polygons with columns ``class`` and ``score``; what has no such column is left out."""
    attribute, colours = coloured_by(layer)
    labelled = "class" in layer.columns
    root = Element(
        "qgis", version="3.28.0", styleCategories="Symbology|Labeling", labelsEnabled="1" if labelled else "0"
    )
    if attribute in layer.columns:
        renderer = SubElement(root, "renderer-v2", type="categorizedSymbol", attr=attribute, enableorderby="0")
        categories = SubElement(renderer, "categories")
        for number, name in enumerate(colours):
            SubElement(categories, "category", symbol=str(number), value=name, label=name, render="true", type="string")
        shown = list(colours.values())
    else:
        renderer = SubElement(root, "renderer-v2", type="singleSymbol", enableorderby="0")
        shown = [colour(0)]
    symbols = SubElement(renderer, "symbols")
    for number, rgb in enumerate(shown):
        _symbol(symbols, str(number), rgb)
    if labelled:
        _labels(root, "score" in layer.columns)
    indent(root)
    return f"<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n{tostring(root, encoding='unicode')}\n"


def coloured_by(layer: Layer) -> tuple[str, Mapping[str, tuple[int, int, int]]]:
    """Say what decides the colours of a layer, and the colour of each value."""
    if layer.colours is not None:
        return layer.colours
    return "class", {name: colour(number) for number, name in enumerate(layer.classes)}


def colour(number: int) -> tuple[int, int, int]:
    """Choose the colour of a class by its number: red, green and blue, 0 to 255."""
    red, green, blue = colorsys.hsv_to_rgb((0.08 + number * _TURN) % 1, 0.9, 0.95)
    return round(red * 255), round(green * 255), round(blue * 255)


def _symbol(symbols: Element, name: str, rgb: tuple[int, int, int]) -> None:
    symbol = SubElement(symbols, "symbol", type="fill", name=name, alpha="1", clip_to_extent="1", force_rhr="0")
    layer = SubElement(symbol, "layer", {"class": "SimpleFill", "enabled": "1", "pass": "0", "locked": "0"})
    options = SubElement(layer, "Option", type="Map")
    values = {
        "style": "no",
        "outline_color": ",".join(map(str, (*rgb, 255))),
        "outline_style": "solid",
        "outline_width": "0.5",
        "outline_width_unit": "MM",
        "joinstyle": "miter",
    }
    for key, value in values.items():
        SubElement(options, "Option", name=key, type="QString", value=value)


def _labels(root: Element, scored: bool) -> None:
    expression = "\"class\" || coalesce(' ' || format_number(\"score\", 2), '')" if scored else '"class"'
    labeling = SubElement(root, "labeling", type="simple")
    settings = SubElement(labeling, "settings", calloutType="simple")
    text = SubElement(
        settings,
        "text-style",
        fieldName=expression,
        isExpression="1",
        fontSize="8",
        fontSizeUnit="Point",
        textColor="30,30,30,255",
    )
    SubElement(
        text, "text-buffer", bufferDraw="1", bufferSize="0.8", bufferSizeUnits="MM", bufferColor="255,255,255,255"
    )
    SubElement(settings, "placement", placement="1", centroidInside="1")
    SubElement(settings, "rendering", scaleVisibility="1", scaleMin="5000", scaleMax="0", drawLabels="1")
