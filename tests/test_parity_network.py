"""The authors' R50 with made-up weights, stage by stage and from end to end, against numbers from their code."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torchvision.models.detection.image_list import ImageList

from d2det_geo.model.convention import Convention, to_corners
from d2det_ops.pyramid import roi_levels
from tests.golden import weights_rule
from tests.golden.goldens import golden
from tests.golden.network import IMAGE_SEED, IMAGE_SIZE, SEED, images, our_boxes

LEGACY = Convention.LEGACY
MAPS, HEADS, DETECT = golden("r50_features_rpn"), golden("r50_roi_heads"), golden("r50_detect")


@pytest.fixture(scope="module", autouse=True)
def without_gradients():
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
def features(official_r50):
    return official_r50.pyramid(images().contiguous(memory_format=torch.channels_last))


@pytest.fixture(scope="module")
def levels(features):
    return list(features.values())


@pytest.fixture(scope="module")
def rois():
    return our_boxes(HEADS["rois"])


def test_the_image_is_the_one_of_the_numbers():
    made = weights_rule.checksum(images())
    assert made[:2] == pytest.approx([99305.964967, 362213.503373], rel=1e-6)
    assert (MAPS["weight_seed"].item(), MAPS["image_seed"].item()) == (SEED, IMAGE_SEED)
    if MAPS.whole:
        MAPS.close("image", images(), 0)


@pytest.mark.parametrize(("stage", "step"), [(2, 64), (3, 64), (4, 32), (5, 32)])
def test_backbone(official_r50, stage, step):
    found = list(official_r50.pyramid.body(images()).values())[stage - 2]
    MAPS.close(f"C{stage}_slice", found[:1, ::step], 1e-4)
    MAPS.close(f"C{stage}_mean", found.mean((2, 3)), 1e-5)
    MAPS.close(f"C{stage}_std", found.std((2, 3)), 1e-4)


@pytest.mark.parametrize(("level", "step"), [(2, 32), (3, 16), (4, 4), (5, 1), (6, 1)])
def test_pyramid(levels, level, step):
    found = levels[level - 2]
    MAPS.close(f"P{level}_slice", found[:1, ::step], 1e-4)
    MAPS.close(f"P{level}_mean", found.mean((2, 3)), 1e-5)
    MAPS.close(f"P{level}_std", found.std((2, 3)), 1e-4)


def test_proposal_network(official_r50, features):
    objectness, deltas = official_r50.rpn.head(list(features.values()))
    for level in range(5):
        MAPS.close(f"rpn_cls_{level}", objectness[level][:1], 1e-4)
        MAPS.close(f"rpn_reg_{level}", deltas[level][:1], 1e-4)
    proposals, _ = official_r50.rpn(ImageList(images(), [IMAGE_SIZE] * 2), features)
    found = []
    for image, boxes in enumerate(proposals):
        theirs = MAPS[f"proposals_img{image}"][:, :4]
        rows = torch.cdist(theirs, to_corners(boxes, LEGACY), p=float("inf")).argmin(1)
        assert len(set(rows.tolist())) == len(boxes) == len(theirs)
        torch.testing.assert_close(to_corners(boxes, LEGACY)[rows], theirs, atol=5e-3, rtol=0)
        found.append(F.pad(boxes[rows], (1, 0)))
    assert torch.equal(roi_levels(torch.cat(found)), MAPS["proposal_levels"])


def test_discriminative_pooling(official_r50, levels, rois):
    assert torch.equal(roi_levels(rois), HEADS["levels"])
    pooling = official_r50.classifier.pooling
    order, counts = HEADS["levels"].argsort(stable=True), HEADS["levels"].bincount(minlength=4).tolist()
    glances = pooling.glance(levels, rois[order])
    offsets = pooling.predict_offsets(glances, counts)
    samples = pooling.sample(levels, rois[order], offsets)
    gates = [12 * level.gate(part).sigmoid() for level, part in zip(pooling.levels, samples.split(counts), strict=True)]
    back = order.argsort()
    HEADS.close("pool1_3x3", glances[back], 5e-5)
    HEADS.close("offset_7x7", 10 * offsets[back], 5e-5)
    HEADS.close("pool2_14x14_ch8", samples[back, ::8], 1e-4)
    HEADS.close("pool2_14x14_first4", samples[back][:4], 1e-4)
    HEADS.close("awp_gate_ch8", torch.cat(gates)[back, ::8], 2e-4)


def test_classification(official_r50, levels, rois):
    head = official_r50.classifier
    pooled = head.pooling(levels, rois)
    HEADS.close("bbox_feats", pooled, 1e-4)
    HEADS.close("bbox_fc", head.layers[:-1](pooled), 1e-4)
    HEADS.close("cls_score", head.layers(pooled), 1e-4)


def test_dense_regression(official_r50, levels, rois):
    localiser = official_r50.localiser
    pooled = localiser.trunk.pooling(levels, rois)
    HEADS.close("roialign_14x14_ch16", pooled[:, ::16], 5e-5)
    HEADS.close("roialign_first4", pooled[:4], 5e-5)
    cells = localiser.trunk.layers(pooled)
    HEADS.close("head_convs_ch8", cells[:, ::8], 1e-4)
    offsets, overlap = localiser.votes(cells)
    HEADS.close("reg_pred", offsets, 1e-4)
    HEADS.close("overlap_logit", overlap[:, None], 1e-4)
    HEADS.close(
        "decoded", torch.cat([to_corners(localiser.refine(levels, rois), LEGACY), HEADS["decode_in"][:, 4:]], 1), 2e-3
    )


def rows_of(found, labels, theirs, their_labels):
    """Find their rows of our detections, each once, by class and place."""
    apart = torch.cdist(theirs[:, :4], found[:, :4], p=float("inf")) + 1e6 * (their_labels[:, None] != labels)
    rows = apart.argmin(1)
    assert len(set(rows.tolist())) == len(found) == len(theirs)
    return rows


class Spy:
    """Note what a step returns."""

    def __init__(self, step):
        self.step, self.result = step, None

    def __call__(self, *arguments):
        self.result = self.step(*arguments)
        return self.result


@pytest.mark.parametrize("case", ["given", "rpn"])
def test_detection_step_by_step(official_r50, monkeypatch, case):
    network = official_r50
    spies = {name: Spy(getattr(network, name)) for name in ("_classify", "_localise")}
    for name, spy in spies.items():
        monkeypatch.setattr(network, name, spy)
    votes = []
    hook = network.localiser.votes.register_forward_hook(lambda *call: votes.append(call[-1]))
    given = [our_boxes(DETECT["given_proposals"][:, :4])] if case == "given" else None
    (final,) = network.detect(images()[:1], [IMAGE_SIZE], given)
    hook.remove()

    (best,), theirs = spies["_classify"].result, DETECT[f"{case}_cls_nms_dets"]
    rows = rows_of(to_corners(best.boxes, LEGACY), best.labels, theirs, DETECT[f"{case}_cls_nms_labels"])
    torch.testing.assert_close(to_corners(best.boxes, LEGACY)[rows], theirs[:, :4], atol=5e-3, rtol=0)
    torch.testing.assert_close(best.scores[rows], theirs[:, 4], atol=1e-5, rtol=0)
    ((offsets, overlap),) = votes
    DETECT.close(f"{case}_reg_pred", offsets[rows], 2e-4)
    DETECT.close(f"{case}_overlap_logit", overlap[rows, None], 2e-4)
    (refined,) = spies["_localise"].result
    corners = torch.cat([to_corners(refined.boxes, LEGACY), refined.scores[:, None]], 1)
    DETECT.close(f"{case}_avg_boxes", corners[rows], 0.01)
    assert final.boxes.dtype == np.float64
    check_final(final, DETECT[f"{case}_softnms_dets"], DETECT[f"{case}_softnms_labels"], 1.0)
    check_final(final, DETECT[f"{case}_rescale1_final_dets"], DETECT[f"{case}_rescale1_final_labels"], 1.25)
    if case == "rpn":  # of the given proposals they recorded only the one
        check_final(final, DETECT["rpn_rescale0_final_dets"], DETECT["rpn_rescale0_final_labels"], 1.0)


def check_final(found, theirs, their_labels, scale):
    """Compare with their list, whose pixels are ``scale`` times as large."""
    corners = to_corners(torch.from_numpy(found.boxes), LEGACY)
    boxes, labels = theirs[:, :4].double() * scale, torch.from_numpy(found.labels)
    rows = rows_of(corners, labels, boxes, their_labels)
    torch.testing.assert_close(corners[rows], boxes, atol=0.01, rtol=0)
    torch.testing.assert_close(torch.from_numpy(found.scores)[rows], theirs[:, 4], atol=1e-4, rtol=0)
