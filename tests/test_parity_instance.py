"""The authors' networks there are no recorded numbers of, with masks and deformable, against a plain second version.

``tests/oracle`` is written from the specification and the parity notes alone, in the authors' frame. Images and caps
are small, so that it is quick; what the caps do, the recorded numbers of the R50 say.
"""

import json
from dataclasses import replace
from zlib import crc32

import numpy as np
import pytest
import torch

from d2det_geo.model.bundle import build_from_card
from d2det_geo.model.convention import Convention, mask_frame
from d2det_geo.model.d2det import Candidates
from d2det_geo.model.official import official_name, translate
from d2det_geo.model.paste import paste_masks
from d2det_geo.model.targets import Positives, mask_iou_targets, mask_targets, overlap_from_masks, stack_rois
from d2det_geo.pipeline.import_weights import official_card
from tests.golden import weights_rule
from tests.golden.goldens import HERE
from tests.golden.network import KEYS, our_boxes
from tests.oracle import flow, training
from tests.oracle.flow import Settings

LEGACY = Convention.LEGACY
IMAGE_SIZE = (186, 246)  # of the valid part of 192 x 256
SETTINGS = {"r101-inst": Settings(50, 0.05, 0.3, 12, soft=False), "r101-dcn": Settings(50, 0.03, 0.5, 15, soft=True)}
MASK_PX = 56  # objects as large as their masks, so that both versions see the same pixels


def quick_draw(key, shape, seed, uniform=False):
    """In place of the rule's generator, which takes five times as long."""
    generator = np.random.default_rng(crc32(key.encode()) ^ seed)
    return generator.random(shape) if uniform else generator.standard_normal(shape)


@pytest.fixture(scope="module")
def weights():
    """Give the weights of both networks, which share all but their extra layers; drawn once."""
    keys = {entry[0]: entry for arch in SETTINGS for entry in json.loads(_keys_of(arch).read_text())}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(weights_rule, "_rand", quick_draw)
        return weights_rule.make_state_dict(list(keys.values()), 11)


def _keys_of(arch):
    return HERE / f"state_dict_keys_{KEYS[arch]}.json"


@pytest.fixture(scope="module")
def build(weights):
    """Build one of the networks; its state by the authors' names, and ours with the caps of ``SETTINGS``."""

    def network(arch):
        state = {key: weights[key] for key, *_ in json.loads(_keys_of(arch).read_text())}
        with torch.device("meta"):
            ours = build_from_card(official_card(arch), trainable_stages=3)
        ours.load_state_dict(translate(state, ours.state_dict()), assign=True)
        caps = SETTINGS[arch]
        ours.inference = replace(ours.inference, candidates=caps.candidates)
        ours.rpn._post_nms_top_n["testing"] = caps.proposals
        return state, ours.to(memory_format=torch.channels_last).eval()

    return network


@pytest.mark.parametrize(("arch", "image_seed"), [("r101-inst", 100), ("r101-inst", 3), ("r101-dcn", 100)])
def test_the_final_objects(build, arch, image_seed):
    state, ours = build(arch)
    image = weights_rule.make_image(image_seed, 192, 256, 1)
    theirs = flow.detect(state, image, IMAGE_SIZE, SETTINGS[arch])
    (found,) = ours.detect(image, [IMAGE_SIZE])
    boxes, labels = torch.from_numpy(found.boxes), torch.from_numpy(found.labels) + 1
    assert len(theirs.boxes) == len(found) > 5
    apart = torch.cdist(our_boxes(theirs.boxes).double(), boxes, p=float("inf"))
    rows = (apart + 1e6 * (theirs.labels[:, None] != labels)).argmin(1)
    assert len(set(rows.tolist())) == len(found)
    assert torch.equal(labels[rows], theirs.labels)
    torch.testing.assert_close(boxes[rows], our_boxes(theirs.boxes).double(), atol=0.01, rtol=0)
    torch.testing.assert_close(torch.from_numpy(found.scores)[rows], theirs.scores, atol=1e-4, rtol=0)
    if theirs.mask_scores is None:
        assert found.masks is None
        return
    torch.testing.assert_close(torch.from_numpy(found.mask_scores)[rows], theirs.mask_scores, atol=1e-4, rtol=0)
    pasted = paste_masks(torch.from_numpy(found.masks), boxes, IMAGE_SIZE, LEGACY)
    for row, wanted in zip(rows.tolist(), theirs.masks, strict=True):
        x1, y1, x2, y2 = pasted.windows[row].tolist()
        shared = (pasted.crop(row) & wanted[y1:y2, x1:x2]).sum()
        assert shared >= 0.99 * (pasted.crop(row).sum() + wanted.sum() - shared)


def test_boxes_that_votes_turned_inside_out_are_kept(build):
    """Half a pixel has cells left of its left side; far votes then make a last pixel come before the first."""
    state, ours = build("r101-dcn")
    bias = state["D2Det_head.D2Det_reg.bias"] + 3
    ours.localiser.votes.offsets.bias = torch.nn.Parameter(bias)
    proposals = torch.tensor([[10.0, 10, 9.4, 60], [10.0, 10, 60, 90], [70.0, 30, 69.3, 29.4], [12.0, 10, 60, 80]])
    labels, scores = torch.tensor([3, 3, 3, 3]), torch.tensor([0.9, 0.8, 0.7, 0.6])
    levels = [torch.randn(1, 256, 48 >> level, 64 >> level) for level in range(4)]
    with torch.no_grad():
        boxes = flow.refine(state | {"D2Det_head.D2Det_reg.bias": bias}, levels, proposals)
        theirs = flow.suppress_softly(boxes, scores, labels, 100)
        (refined,) = ours._localise(levels, [Candidates(our_boxes(proposals), scores, labels)], [IMAGE_SIZE])
        found = ours._suppress(refined)
    assert (theirs[0][:, 2] - theirs[0][:, 0] < -1).any()
    torch.testing.assert_close(found.boxes, our_boxes(theirs[0]), atol=0.01, rtol=0)
    torch.testing.assert_close(found.scores, theirs[1], atol=1e-4, rtol=0)


def pieces(seed):
    """RoIs ``[K, 4]`` that left objects of 56 px, the objects, their classes from 1, and masks of the image."""
    random = torch.Generator().manual_seed(seed)
    corner = torch.tensor([[20, 30], [100, 80], [60, 130], [150, 4], [181, 140], [7, 90], [90, 20]])
    objects = torch.cat([corner, corner + MASK_PX - 1], 1).float()
    noise = (torch.rand(len(objects), 4, generator=random) - 0.5) * torch.tensor([0.9, 0.9, 1.4, 1.4])
    size = (objects[:, 2:] - objects[:, :2]) * (1 + noise[:, 2:])
    centre = (objects[:, :2] + objects[:, 2:]) / 2 + noise[:, :2] * MASK_PX
    rois = torch.cat([centre - size / 2, centre + size / 2], 1)
    rois = torch.minimum(rois.clamp(min=0), torch.tensor([239.0, 199, 239, 199]))
    masks = torch.zeros(len(objects), 200, 240, dtype=torch.uint8)
    rough = torch.rand(len(objects), 1, 7, 7, generator=random) > 0.4
    shapes = torch.nn.functional.interpolate(rough.float(), size=MASK_PX, mode="bilinear")[:, 0] > 0.45
    for mask, shape, (x, y) in zip(masks, shapes, corner.tolist(), strict=True):
        mask[y : y + MASK_PX, x : x + MASK_PX] = shape
    return rois, objects, torch.randint(1, 81, (len(objects),), generator=random), masks, shapes.byte()


def far_from_half(rois, masks):
    """Targets' cells that no rounding turns over."""
    crops = [training.resized_crop(mask, roi) for mask, roi in zip(masks, rois, strict=True)]
    return (torch.stack(crops) - 0.5).abs() > 1e-4


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("shrink", [1.0, 0.3])  # a RoI of less than 28 px reads between the pixels at its border
def test_mask_targets_and_what_follows_from_them(seed, shrink):
    rois, objects, _, masks, shapes = pieces(seed)
    centre, half = (rois[:, :2] + rois[:, 2:]) / 2, (rois[:, 2:] - rois[:, :2]) / 2 * shrink
    rois = torch.cat([centre - half, centre + half], 1)
    ours, spans = our_boxes(rois), our_boxes(objects)
    targets = mask_targets(ours, spans, shapes, LEGACY)
    theirs = torch.stack([(training.resized_crop(*pair) >= 0.5).float() for pair in zip(masks, rois, strict=True)])
    sure = far_from_half(rois, masks)
    assert sure.float().mean() > 0.95
    assert torch.equal(targets[sure], theirs[sure])
    assert torch.equal(overlap_from_masks(theirs), torch.stack([training.overlap_label(part) for part in theirs]))
    logits = torch.randn(len(rois), 28, 28, generator=torch.Generator().manual_seed(seed)) + 3 * theirs - 1
    expected = [training.mask_iou_target(*row) for row in zip(logits, theirs, masks, rois, strict=True)]
    reached = mask_iou_targets(logits, theirs, mask_frame(ours, LEGACY), spans, shapes)
    torch.testing.assert_close(reached, torch.stack(expected), atol=1e-5, rtol=0)


def test_losses_and_gradients_of_masks(build):
    state, ours = build("r101-inst")
    learning = {name: value.requires_grad_() for name, value in state.items() if name.startswith("D2Det_head.")}
    rois, objects, labels, masks, shapes = pieces(4)
    levels = [torch.randn(1, 256, 50 >> level, 60 >> level) / 4 for level in range(4)]
    theirs = training.losses(state, levels, rois, objects, labels, masks)
    positives = Positives(stack_rois([our_boxes(rois)]), our_boxes(objects), labels - 1, shapes)
    found = ours.localiser.losses(levels, positives, "official")
    assert found.keys() == theirs.keys()
    for name, value in theirs.items():
        torch.testing.assert_close(found[name], value, atol=0, rtol=1e-4, msg=lambda text, name=name: f"{name}: {text}")
    sum(theirs.values()).backward()
    sum(found.values()).backward()
    norms = {official_name(name): value.grad for name, value in ours.named_parameters() if value.grad is not None}
    assert norms.keys() == {name for name, value in learning.items() if value.grad is not None}
    for name, gradient in norms.items():
        whole = learning[name].grad
        assert gradient.norm() == pytest.approx(whole.norm().item(), rel=2e-3, abs=1e-7), name
