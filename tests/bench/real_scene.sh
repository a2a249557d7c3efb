#!/usr/bin/env bash
# The shipped model on a real scene it was not trained on: the southern quarter of an orthophoto of Banepa, Nepal.
# The imagery is not part of the project: D2DET_SHARED (default ../shared) says where it lies.
set -euo pipefail
cd "$(dirname "$0")/../.."
data=${D2DET_SHARED:-../shared}/data/buildings

if [ ! -f "$data/scene.tif" ]; then
  echo "SKIPPED real scene: no $data/scene.tif; set D2DET_SHARED to the folder that holds data/buildings"
  exit 0
fi

echo "RUN real scene: $data/scene.tif in aoi_val.geojson"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
d2det predict "$data/scene.tif" --aoi "$data/aoi_val.geojson" --out "$work/buildings.geojson" -v
d2det evaluate --truth "$data/labels.geojson" --pred "$work/buildings.geojson" --aoi "$data/aoi_val.geojson" \
  --protocol geo --fail-under ap50=0.60 --fail-under ap75=0.30 --fail-under f1=0.65
